"""Derive the polynomial coefficients of the vector mathematics: `python tools/derive_coefficients.py`.

Writes codegen/vectormath/coefficients.py. Each row of `FITS` is a function, an interval, the weight that
turns the error of the fit into an error of the result, and how many terms each dtype takes. The fit is
the weighted minimax polynomial, by the exchange algorithm of Remez in 50 digits. Needs mpmath.

Source of the algorithm: L. Veidinger, "On the numerical determination of the best approximations in the
Chebyshev sense", Numerische Mathematik 2 (1960).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpmath import mp, mpf

mp.dps = 50  # of all that follows
TARGET = Path(__file__).resolve().parents[1] / "codegen" / "vectormath" / "coefficients.py"
Real = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Fit:
    """The polynomial p(x) nearest to `f` on [low, high] where errors count `weight(x)` times."""

    name: str
    doc: str
    f: Real
    weight: Real
    low: mpf
    high: mpf
    terms: dict[str, int]


def remez(fit: Fit, n: int) -> tuple[list[mpf], mpf]:
    """The n coefficients of the weighted minimax polynomial, lowest power first, and its largest error."""
    middle, half = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
    count = 40 * (n + 1)
    grid = [fit.low, *(middle - half * mp.cos(mp.pi * (i + mpf("0.5")) / count) for i in range(count)), fit.high]
    values, weights = [fit.f(x) for x in grid], [fit.weight(x) for x in grid]
    nodes = [min(range(len(grid)), key=lambda k: abs(grid[k] - t)) for t in
             (middle - half * mp.cos(mp.pi * i / n) for i in range(n + 1))]
    for _ in range(20):
        system, right = mp.matrix(n + 1, n + 1), mp.matrix(n + 1, 1)
        for i, k in enumerate(nodes):
            for j in range(n):
                system[i, j] = weights[k] * (grid[k] ** j if j else 1)
            system[i, n] = (-1) ** i
            right[i] = weights[k] * values[k]
        solution = mp.lu_solve(system, right)
        coefficients = [solution[j] for j in range(n)]
        errors = [w * (horner(coefficients, x) - v) for x, v, w in zip(grid, values, weights, strict=True)]
        extrema = alternation(errors, n + 1)
        largest = max(abs(e) for e in errors)
        if len(extrema) < n + 1 or min(abs(errors[k]) for k in extrema) > largest * mpf("0.99"):
            break
        nodes = extrema
    return coefficients, largest


def horner(coefficients: list[mpf], x: mpf) -> mpf:
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def alternation(errors: list[mpf], count: int) -> list[int]:
    """Where the error is largest on each run of one sign, at most `count` of them, the larger end kept."""
    runs: list[list[int]] = [[0]]
    for k in range(1, len(errors)):
        if (errors[k] > 0) == (errors[k - 1] > 0):
            runs[-1].append(k)
        else:
            runs.append([k])
    peaks = [max(run, key=lambda k: abs(errors[k])) for run in runs]
    while len(peaks) > count:
        peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
    return peaks


def near_zero(f: Real, limit: Callable[[mpf], mpf], radius: str = "1e-12") -> Real:
    """`f`, with its leading terms `limit` where f would be 0 / 0."""
    return lambda x: limit(x) if abs(x) < mpf(radius) else f(x)


def of_root(f: Real) -> Real:
    """z -> f(sqrt z)."""
    return lambda z: f(mp.sqrt(z))


HALF_LN2 = mp.log(2) / 2 * mpf("1.0001")
ROOT = mp.findroot(mp.digamma, mpf("1.4616"))  # the positive zero of digamma
EDGE = mpf("0.0294373")  # ((sqrt 2 - 1) / (sqrt 2 + 1))^2: the largest square of f / (2 + f)
PI_2, PI_4 = mp.pi / 2, mp.pi / 4
EULER = 1 - mp.euler  # the slope of log gamma at 2


def log_tail(d: mpf) -> mpf:
    return (mp.log((1 + d) / (1 - d)) - 2 * d) / d**3


def stirling_rest(z: mpf) -> mpf:
    if z == 0:
        return mpf(1) / 12
    x = 1 / mp.sqrt(z)
    return (mp.loggamma(x) - (x - mpf("0.5")) * mp.log(x) + x - mp.log(2 * mp.pi) / 2) * x


def digamma_rest(z: mpf) -> mpf:
    if z == 0:
        return mpf(1) / 12
    x = 1 / mp.sqrt(z)
    return (mp.log(x) - 1 / (2 * x) - mp.digamma(x)) * x * x


FITS = (
    Fit("EXP", "(e^r - 1 - r) / r^2, |r| <= ln(2) / 2; error relative to e^r - 1",
        near_zero(lambda r: (mp.expm1(r) - r) / r**2, lambda r: mpf(1) / 2 + r / 6),
        lambda r: abs(r), -HALF_LN2, HALF_LN2, {"f32": 5, "f64": 10}),
    Fit("EXP2", "(2^r - 1) / r, |r| <= 1/2, in f64 for powers of f32",
        near_zero(lambda r: (mpf(2) ** r - 1) / r, lambda r: mp.log(2)),
        lambda r: abs(r) + mpf("1e-9"), mpf("-0.5"), mpf("0.5"), {"f64": 7}),
    Fit("LOG", "(log(1 + f) - f + f^2 / 2) / f^3, sqrt(1/2) <= 1 + f <= sqrt(2); relative to log(1 + f)",
        near_zero(lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3, lambda f: mpf(1) / 3 - f / 4, "1e-10"),
        near_zero(lambda f: abs(f**3 / mp.log1p(f)), lambda f: mpf(0)),
        mp.sqrt(mpf("0.5")) - mpf("1.0001"), mp.sqrt(2) - mpf("0.9999"), {"f32": 8}),
    Fit("LOG_ODD", "(log((1 + d) / (1 - d)) - 2 d) / d^3 in z = d^2, d = f / (2 + f)",
        near_zero(of_root(log_tail), lambda z: mpf(2) / 3 + z * 2 / 5, "1e-15"),
        lambda z: z, mpf(0), EDGE, {"f64": 7}),
    Fit("LOG_ODD_SHORT", "the same, to the accuracy that f32 needs",
        near_zero(of_root(log_tail), lambda z: mpf(2) / 3 + z * 2 / 5, "1e-15"),
        lambda z: z, mpf(0), EDGE, {"f64": 5}),
    Fit("LOG_ODD_LONG", "((log((1 + d) / (1 - d)) - 2 d) / d^3 - 2/3) / d^2 in z = d^2",
        near_zero(lambda z: (log_tail(mp.sqrt(z)) - mpf(2) / 3) / z, lambda z: mpf(2) / 5 + z * 2 / 7, "1e-15"),
        lambda z: z**2, mpf(0), EDGE, {"f64": 7}),
    Fit("SIN", "(sin(r) - r) / r^3 in z = r^2, |r| <= pi / 2; relative to sin(r)",
        near_zero(of_root(lambda r: (mp.sin(r) - r) / r**3), lambda z: -mpf(1) / 6 + z / 120, "1e-15"),
        near_zero(of_root(lambda r: r**3 / mp.sin(r)), lambda z: z),
        mpf(0), (PI_2 * mpf("1.0001")) ** 2, {"f32": 5, "f64": 8}),
    Fit("SIN_QUARTER", "the same, |r| <= pi / 4",
        near_zero(of_root(lambda r: (mp.sin(r) - r) / r**3), lambda z: -mpf(1) / 6 + z / 120, "1e-15"),
        near_zero(of_root(lambda r: r**3 / mp.sin(r)), lambda z: z),
        mpf(0), (PI_4 * mpf("1.0001")) ** 2, {"f32": 4, "f64": 7}),
    Fit("COS_QUARTER", "(cos(r) - 1 + r^2 / 2) / r^4 in z = r^2, |r| <= pi / 4",
        near_zero(of_root(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4), lambda z: mpf(1) / 24 - z / 720, "1e-15"),
        lambda z: z**2, mpf(0), (PI_4 * mpf("1.0001")) ** 2, {"f32": 3, "f64": 6}),
    Fit("ATAN", "(atan(t) - t) / t^3 in z = t^2, |t| <= tan(pi / 8)",
        near_zero(of_root(lambda t: (mp.atan(t) - t) / t**3), lambda z: -mpf(1) / 3 + z / 5, "1e-15"),
        lambda z: z, mpf(0), mp.tan(mp.pi / 8) ** 2 * mpf("1.0001"), {"f32": 5, "f64": 11}),
    Fit("ASIN", "(asin(s) - s) / s^3 in z = s^2, |s| <= 1/2",
        near_zero(of_root(lambda s: (mp.asin(s) - s) / s**3), lambda z: mpf(1) / 6 + z * 3 / 40, "1e-15"),
        lambda z: z, mpf(0), mpf("0.25"), {"f32": 5, "f64": 12}),
    Fit("TANH", "(tanh(x) - x) / x^3 in z = x^2, |x| <= 0.55",
        near_zero(of_root(lambda x: (mp.tanh(x) - x) / x**3), lambda z: -mpf(1) / 3 + z * 2 / 15, "1e-15"),
        lambda z: z, mpf(0), mpf("0.55") ** 2, {"f32": 5, "f64": 11}),
    Fit("ERF_SMALL", "erf(x) / x - 1 in z = x^2, |x| <= 0.93 (f32), 1 (f64)",
        near_zero(of_root(lambda x: mp.erf(x) / x - 1), lambda z: 2 / mp.sqrt(mp.pi) - 1, "1e-20"),
        near_zero(of_root(lambda x: x / mp.erf(x)), lambda z: mp.sqrt(mp.pi) / 2, "1e-20"),
        mpf(0), mpf(1), {"f32": 7, "f64": 12}),
    Fit("ERF_LOG", "log(1 - erf(a)) / a, 0.92 <= a <= 4; error relative to erf(a)",
        lambda a: mp.log(mp.erfc(a)) / a, lambda a: a * mp.erfc(a), mpf("0.92"), mpf(4), {"f32": 7}),
    Fit("ERF_SCALED", "(1 - erf(a)) e^(a^2) in u = 1 / (a + 3), 1 <= a <= 6; error relative to erf(a)",
        lambda u: mp.erfc(1 / u - 3) * mp.exp((1 / u - 3) ** 2), lambda u: mp.exp(-((1 / u - 3) ** 2)),
        mpf(1) / 9, mpf(1) / 4 * mpf("1.001"), {"f64": 12}),
    Fit("LGAMMA", "(lgamma(2 + t) - t (1 - gamma)) / t^2, |t| <= 1/2, gamma being Euler's constant",
        near_zero(lambda t: (mp.loggamma(2 + t) - t * EULER) / t**2, lambda t: (mp.zeta(2) - 1) / 2, "1e-15"),
        lambda t: abs(t) + mpf("1e-9"), mpf("-0.5"), mpf("0.5"), {"f64": 17}),
    Fit("STIRLING", "(lgamma(x) - (x - 1/2) log(x) + x - log(2 pi) / 2) x in z = 1 / x^2, x >= 6",
        stirling_rest, lambda z: mp.sqrt(z) + mpf("1e-9"), mpf(0), mpf(1) / 36, {"f64": 7}),
    Fit("DIGAMMA", "digamma(2 + t) / (2 + t - root), |t| <= 1",
        near_zero(lambda t: mp.digamma(2 + t) / (2 + t - ROOT), lambda t: mp.digamma(2) / (2 - ROOT)),
        lambda t: 1 / (mp.digamma(2 + t) / (2 + t - ROOT)), mpf(-1), mpf(1), {"f64": 30}),
    Fit("DIGAMMA_LARGE", "(log(x) - 1 / (2 x) - digamma(x)) x^2 in z = 1 / x^2, x >= 6",
        digamma_rest, lambda z: z + mpf("1e-9"), mpf(0), mpf(1) / 36, {"f64": 7}),
)

HEADER = '''"""Coefficients of the vector mathematics, by dtype, lowest power first. Data: no code.

Written by tools/derive_coefficients.py, which says how; change that, not this. The figure behind each row
is the largest weighted error of the polynomial before its coefficients were rounded.

Imports: `ir.types`.
"""

from __future__ import annotations

from ...ir.types import DType, f32, f64

Coefficients = dict[DType, tuple[float, ...]]
'''


def split(value: mpf, *bits: int) -> tuple[float, ...]:
    """`value` as a sum of floats of so many bits each."""
    parts = []
    for b in bits:
        with mp.workprec(b):
            part = +value
        parts.append(float(part))
        value -= part
    return tuple(parts)


# Constants as sums of parts of so many bits, so that products with small integers are exact in the first
# ones. Pi for targets with FMA keeps all bits of the format, for others 33 (integers below 2^20).
PARTS = (
    ("PI", "pi", mp.pi, {"f32": (24, 24, 24), "f64": (53, 53, 53)}),
    ("PI_SHORT", "pi in parts for multiplication without FMA", mp.pi, {"f64": (33, 33, 53)}),
    ("LN2", "log 2, its first part short", mp.log(2), {"f32": (10, 24), "f64": (33, 53)}),
    ("QUARTER_PI", "pi / 4; 4 times the first part is exact, and 3 times", mp.pi / 4,
     {"f32": (22, 24), "f64": (51, 53)}),
    ("DIGAMMA_ROOT", "the positive zero of digamma", ROOT, {"f64": (53, 53)}),
    ("EULER_SLOPE", "1 - Euler's constant: digamma(2)", EULER, {"f64": (53, 53)}),
    ("TWO_THIRDS", "2/3", mpf(2) / 3, {"f64": (53, 53)}),
    ("ONE_OVER_LN10", "1 / log 10", 1 / mp.log(10), {"f64": (53, 53)}),
    ("HALF_LOG_2PI", "log(2 pi) / 2", mp.log(2 * mp.pi) / 2, {"f64": (53, 53)}),
)


def rounded(value: mpf, dtype: str) -> float:
    with mp.workprec(24 if dtype == "f32" else 53):
        return float(+value)


def row(doc: str, name: str, by_dtype: dict[str, tuple[float, ...]], notes: dict[str, str]) -> str:
    lines = [f"\n# {doc}.", f"{name}: Coefficients = {{"]
    for dtype, values in by_dtype.items():
        lines.append(f"    {dtype}: ({notes[dtype]}")
        lines += [f"        {v!r}," for v in values]
        lines.append("    ),")
    return "\n".join([*lines, "}\n"])


def derive() -> str:
    """The text of coefficients.py."""
    text = HEADER
    for fit in FITS:
        by_dtype, notes = {}, {}
        for dtype, n in fit.terms.items():
            coefficients, error = remez(fit, n)
            by_dtype[dtype] = tuple(rounded(c, dtype) for c in coefficients)
            notes[dtype] = f"  # 2^{float(mp.log(error, 2)):.1f}"
        text += row(fit.doc, fit.name, by_dtype, notes)
    for name, doc, value, parts in PARTS:
        by_dtype = {dtype: split(value, *bits) for dtype, bits in parts.items()}
        text += row(doc, name, by_dtype, dict.fromkeys(parts, ""))
    # 2 / pi as a little-endian integer, for the reduction of any angle (see `reduction`).
    with mp.workdps(450):
        digits = int(mp.floor(2 / mp.pi * mpf(2) ** TWO_OVER_PI_BITS))
    blob = digits.to_bytes(TWO_OVER_PI_BITS // 8 + 32, "little")
    lines = "\n".join(f"    {blob[i : i + 24]!r}" for i in range(0, len(blob), 24))
    text += f"\n# floor(2 / pi * 2^{TWO_OVER_PI_BITS}), little-endian, with room to read 256 bits anywhere.\n"
    text += f"TWO_OVER_PI_BITS = {TWO_OVER_PI_BITS}\nTWO_OVER_PI = (\n{lines}\n)\n"
    return text


TWO_OVER_PI_BITS = 1280


if __name__ == "__main__":
    TARGET.write_text(derive())
