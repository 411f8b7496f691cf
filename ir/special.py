"""Functions of the op table that numpy lacks, as vectorised numpy: their reference meaning.

float32 inputs are computed in float64 and rounded once. The float64 results are within 4 ULP (`erf` and
`sigmoid` within 2, `fma` exact, `polygamma` n + 4, for a power n multiplies the rounding of its base).
One exception: `lgamma`, `digamma` and `polygamma` cross zero between negative poles, and near such a zero
that bound is in ULP of the larger term of the reflection formula, not of the result. Division by zero and
overflow are normal here; who calls these silences numpy's warnings (`ops.record` does).

The polynomials are Chebyshev interpolants computed with 60 digits; each name says its interval. The
classical formulas (recurrence, reflection, Stirling and Euler-Maclaurin series) have the numbers that
they carry in the NIST Digital Library of Mathematical Functions (https://dlmf.nist.gov).

Imports: numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# erf(x)/x - 1, by x^2 - 1/2, for x^2 in [0, 1]
ERF = (
    -0.03453126133013269, -0.2810721780454342, 0.07940998675593483, -0.018283884489152538,
    0.0034802744966656173, -0.0005611894221277441, 7.829649525455377e-05, -9.614808525709598e-06,
    1.0536449530013862e-06, -1.0420476859445043e-07, 9.38762931097412e-09, -7.764167415589177e-10,
    5.958930343261137e-11, -4.230945824295338e-12,
)
# e^(x^2) erfc(x), by (x - 3)/(x + 3), for x in [1, 9]
ERFCX = (
    0.17900115118138996, -0.3262335600430372, 0.24560380171233018, -0.15011593650077723,
    0.07166583719805474, -0.024392499318670734, 0.004269136329683794, 0.0007077464388879064,
    -0.0005970618833012518, 4.525529901606051e-05, 6.40557964577407e-05, -1.2860501458308026e-05,
    -7.972923692540456e-06, 2.1200323760459356e-06, 1.2314855005874264e-06, -2.9404202312839705e-07,
    -1.879440782811402e-07, 2.8905093028228597e-08,
)
# lgamma(x) / ((x - 1)(x - 2)), by x less the middle of the interval
LGAMMA_HALF_TO_1 = (
    0.6504990445801452, -0.35235940133201404, 0.2940853672244361, -0.28891120177365553, 0.30726139434977534,
    -0.34197894986537564, 0.39194610226486226, -0.45856511694430363, 0.5448303112833561,
    -0.6551522415961885, 0.7954832398116802, -0.9736396959210937, 1.1999105026827217, -1.4870965072841196,
    1.8473388646565838, -2.3107310048807546, 2.994639960076686, -3.7748708687945545, 3.6614222354637915,
    -4.627344380816668, 13.34970945138487, -17.034836481060527,
)
LGAMMA_1_TO_2 = (
    0.4831289505409809, -0.14595989591430608, 0.06291140107456439, -0.031308487501010646,
    0.01679709863127416, -0.009425622448525798, 0.005446457839126065, -0.0032120740737152814,
    0.0019229163127905161, -0.0011644145847310124, 0.000711519067515296, -0.00043799307479613914,
    0.00027131373861446925, -0.0001689178215524898, 0.00010535512483785591, -6.614136022346414e-05,
    4.30276814976503e-05, -2.7201673025504752e-05, 1.3186019073996835e-05, -8.355075869795273e-06,
    1.2140008083973407e-05, -7.760660152513446e-06,
)
LGAMMA_2_TO_3 = (
    0.37957716063055885, -0.07466357415449942, 0.01990515430474318, -0.006018768527033188,
    0.0019490574889487018, -0.0006586397067739795, 0.00022905363739927705, -8.130228881990515e-05,
    2.9299284312449592e-05, -1.0682329332621241e-05, 3.930575906345698e-06, -1.457022694289878e-06,
    5.436564684414454e-07, -2.0380010719173372e-07, 7.573826671079655e-08, -2.8618147642799965e-08,
    1.2966891078973113e-08, -4.934519518036778e-09,
)
# digamma(x) / (x - root), by x - 3/2, for x in [1, 2]; the root is the sum of the two numbers
DIGAMMA_1_TO_2 = (
    0.9510558760318328, -0.4236274212814606, 0.24054248424078697, -0.14840492305388092, 0.09498872445289039,
    -0.06192213327548831, 0.040760833940846085, -0.026975796659787055, 0.017907248317313294,
    -0.011908220105959716, 0.007927021796868154, -0.005279937255532708, 0.003518106563802472,
    -0.0023454947397380833, 0.0015633696313653504, -0.0010364584817312839, 0.0006909255761282986,
    -0.00048595039220036254, 0.00032395945401345196, -0.00014480643368061614, 9.653646261410062e-05,
    -0.0001782188548855923, 0.00011881232908510335,
)
DIGAMMA_ROOT = (1.4616321449683622, 9.549995429965697e-17)


def bernoulli(n: int) -> list[Fraction]:
    """The Bernoulli numbers B_2, B_4, ..., B_2n (DLMF 24.5.3)."""
    b = [Fraction(1)]
    for m in range(1, 2 * n + 1):
        b.append(-sum((math.comb(m + 1, k) * b[k] for k in range(m)), Fraction(0)) / (m + 1))
    return b[2::2]


_B = bernoulli(13)
# Asymptotic series in 1/x^2: DLMF 5.11.1 (times x), 5.11.2, and the sums of DLMF 25.11.43.
STIRLING = tuple(float(b / (2 * k * (2 * k - 1))) for k, b in enumerate(_B[:9], 1))
DIGAMMA_SERIES = tuple(float(b / (2 * k)) for k, b in enumerate(_B[:9], 1))
HALF_LOG_2PI = 0.9189385332046728
POLYGAMMA_MAX = 133  # behind it the numbers of the reflection formula leave the range of a float64


def _in_float64(f: Callable[..., Array]) -> Callable[..., np.ndarray]:
    def wrapped(x: np.ndarray, **attrs: int) -> np.ndarray:
        return f(x.astype(np.float64), **attrs).astype(x.dtype, copy=False)

    wrapped.__name__, wrapped.__doc__ = f.__name__, f.__doc__
    return wrapped


def _poly(coefficients: Sequence[float], x: Array) -> Array:
    """c0 + c1 x + c2 x^2 + ... by Horner's scheme."""
    out = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        out = out * x + c
    return out


def _from_nearest_integer(x: Array) -> Array:
    """x - round(x), exact: what the period of sin(pi x) leaves of x."""
    return x - np.rint(x)


def _cotangent_of_pi_times(x: Array) -> Array:
    """cot(pi x), accurate near its zeros, too: there as the tangent of the distance, which is exact."""
    r = _from_nearest_integer(x)
    steep = np.abs(r) > 0.25
    tangent = np.tan(np.pi * np.where(steep, 0.5 - np.abs(r), np.abs(r)))
    signed: Array = np.copysign(np.where(steep, tangent, 1.0 / tangent), r)
    return signed


@_in_float64
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), by e^-|x| so that nothing overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def _erf_tail(x: Array) -> Array:
    """erf for |x| > 1: 1 - erfc(|x|), its sign that of x; from 6 on it is 1 in float64."""
    a = np.minimum(np.abs(x), 6.0)
    erfc = np.exp(-a * a) * _poly(ERFCX, (a - 3.0) / (a + 3.0))
    signed: Array = np.copysign(1.0 - erfc, x)
    return signed


@_in_float64
def erf(x: Array) -> Array:
    """The error function, 2/sqrt(pi) times the integral of e^-t^2 from 0 to x."""
    return np.piecewise(
        x, [np.abs(x) <= 1.0, np.isnan(x)], [lambda v: v + v * _poly(ERF, v * v - 0.5), np.nan, _erf_tail]
    )


def _lgamma_at_least_half(x: Array) -> Array:
    def near_roots(middle: float, coefficients: Sequence[float]) -> Callable[[Array], Array]:
        # The sum with 0 makes a root 0, not -0.
        return lambda v: (v - 1.0) * (v - 2.0) * _poly(coefficients, v - middle) + 0.0

    last = near_roots(2.5, LGAMMA_2_TO_3)

    def by_recurrence(v: Array) -> Array:  # DLMF 5.5.1, from [2, 3) up
        y = v - np.floor(v) + 2.0
        product = np.ones_like(v)
        for k in range(1, 6):
            product = np.where(v - k >= 2.0, product * (v - k), product)
        return np.log(product) + last(y)

    def stirling(v: Array) -> Array:  # DLMF 5.11.1; log v - 1 first, lest v log v overflow
        return (v - 0.5) * (np.log(v) - 1.0) + (HALF_LOG_2PI - 0.5 + _poly(STIRLING, 1.0 / (v * v)) / v)

    return np.piecewise(
        x,
        [x < 1.0, (x >= 1.0) & (x < 2.0), (x >= 2.0) & (x < 3.0), (x >= 3.0) & (x < 8.0)],
        [near_roots(0.75, LGAMMA_HALF_TO_1), near_roots(1.5, LGAMMA_1_TO_2), last, by_recurrence, stirling],
    )


@_in_float64
def lgamma(x: Array) -> Array:
    """log |gamma(x)|; inf at the poles 0, -1, -2, ... and at both infinities."""

    def small(v: Array) -> Array:  # DLMF 5.5.1
        return _lgamma_at_least_half(v + 1.0) - np.log(np.abs(v))

    def negative(v: Array) -> Array:  # DLMF 5.5.3
        sine = np.sin(np.pi * _from_nearest_integer(v))
        return np.log(np.pi / np.abs(v * sine)) - _lgamma_at_least_half(-v)

    pole = (x <= 0.0) & (x == np.floor(x))
    return np.piecewise(
        x,
        [pole, ~pole & (np.abs(x) < 0.5), ~pole & (x <= -0.5)],
        [np.inf, small, negative, _lgamma_at_least_half],
    )


def _digamma_positive(x: Array) -> Array:
    def near_root(v: Array) -> Array:
        return (v - DIGAMMA_ROOT[0] - DIGAMMA_ROOT[1]) * _poly(DIGAMMA_1_TO_2, v - 1.5)

    def small(v: Array) -> Array:  # DLMF 5.5.2
        return near_root(v + 1.0) - 1.0 / v

    def by_recurrence(v: Array) -> Array:  # DLMF 5.5.2, the small terms first
        total = np.zeros_like(v)
        for k in range(1, 9):
            total = np.where(v - k >= 1.0, total + 1.0 / (v - k), total)
        return near_root(v - np.floor(v) + 1.0) + total

    def series(v: Array) -> Array:  # DLMF 5.11.2
        w = 1.0 / (v * v)
        return np.log(v) - (0.5 / v + w * _poly(DIGAMMA_SERIES, w))

    return np.piecewise(
        x,
        [x < 1.0, (x >= 1.0) & (x < 2.0), (x >= 2.0) & (x < 10.0)],
        [small, near_root, by_recurrence, series],
    )


@_in_float64
def digamma(x: Array) -> Array:
    """The derivative of lgamma; at 0 an infinity of the sign of -x, nan at -1, -2, ... and -inf."""

    def negative(v: Array) -> Array:  # DLMF 5.5.4
        return _digamma_positive(1.0 - v) - np.pi * _cotangent_of_pi_times(v)

    return np.piecewise(
        x,
        [x == 0.0, (x < 0.0) & (x == np.floor(x)), (x < 0.0) & (x != np.floor(x))],
        [lambda v: -np.copysign(np.inf, v), np.nan, negative, _digamma_positive],
    )


def cotangent_derivative(n: int) -> tuple[int, ...]:
    """Coefficients of the polynomial P with d^n/dt^n cot t = P(cot t), for (cot t)' = -(1 + cot^2 t)."""
    p = [0, 1]
    for _ in range(n):
        slope = [k * c for k, c in enumerate(p)][1:]
        p = [-(a + b) for a, b in zip([*slope, 0, 0], [0, 0, *slope], strict=True)]
    return tuple(p)


def polygamma_series(n: int) -> tuple[float, ...]:
    """Coefficients in 1/y^2 of the tail of the sum of (y + k)^-(n+1) over k, less its two first terms
    1/(n y^n) and 1/(2 y^(n+1)), times y^n (Euler-Maclaurin, DLMF 25.11.43)."""
    rising = [math.prod(range(n + 1, n + 2 * k)) for k in range(1, len(_B) + 1)]
    terms = enumerate(zip(_B, rising, strict=True), 1)
    return tuple(float(b * r / math.factorial(2 * k)) for k, (b, r) in terms)


def polygamma_scale(n: int) -> tuple[float, float]:
    """A power of two s and n! / s^(n+1), which is moderate: with powers of x / s instead of x, those overflow
    only where polygamma does."""
    s = 2.0 ** round(math.log2(math.factorial(n)) / (n + 1))
    return s, math.factorial(n) / s ** (n + 1)


def _polygamma_positive(x: Array, n: int) -> Array:
    """(-1)^(n+1) n! times the sum of (x + k)^-(n+1) over k >= 0 (DLMF 25.11.12)."""
    s, factor = polygamma_scale(n)
    y, total = x.copy(), np.zeros_like(x)
    while np.any(near := y < n + 12.0):
        total[near] += (y[near] / s) ** -(n + 1.0)
        y[near] += 1.0
    w = 1.0 / (y * y)
    tail = (y / s) ** -float(n) * s * (1.0 / n + (0.5 / y + w * _poly(polygamma_series(n), w)))
    return (-1.0) ** (n + 1) * factor * (total + tail)


@_in_float64
def polygamma(x: Array, n: int) -> Array:
    """Derivative n of digamma, 0 <= n <= POLYGAMMA_MAX. At the poles inf for odd n, -inf for even n >= 2."""
    if n == 0:
        return digamma(x)
    sign = (-1.0) ** (n + 1)
    cotangent = [float(c) for c in cotangent_derivative(n)]

    def negative(v: Array) -> Array:  # DLMF 5.15.6
        c = _cotangent_of_pi_times(v)
        return -sign * _polygamma_positive(1.0 - v, n) - np.pi ** (n + 1) * _poly(cotangent, c)

    pole = (x <= 0.0) & (x == np.floor(x)) & np.isfinite(x)
    return np.piecewise(
        x, [pole, ~pole & (x < 0.0)], [sign * np.inf, negative, lambda v: _polygamma_positive(v, n)]
    )


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b rounded, and what the rounding lost (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b rounded, and what the rounding lost (Dekker, with Veltkamp's split into halves)."""

    def halves(v: Array) -> tuple[Array, Array]:
        c = v * 134217729.0  # 2^27 + 1
        high = c - (c - v)
        return high, v - high

    p = a * b
    (ah, al), (bh, bl) = halves(a), halves(b)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def _sum_to_odd(a: Array, b: Array) -> Array:
    """a + b rounded to odd: an inexact sum keeps a last bit of 1, so rounding it again rounds once."""
    s, lost = _two_sum(a, b)
    even = (s.view(np.int64) & 1) == 0
    return np.where((lost != 0.0) & even, np.nextafter(s, np.copysign(np.inf, lost)), s)


def _fma_rational(x: float, y: float, z: float) -> float:
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _fma_float64(x: Array, y: Array, z: Array) -> Array:
    finite = np.isfinite(x) & np.isfinite(y)
    product = np.abs(x * y)
    out = np.where(finite & ~np.isfinite(z), z, x * y + z)  # inf, nan, a product of exactly 0
    inside = (product > 1e-280) & (product < 1e290) & (np.abs(z) < 1e290)
    inside &= (np.abs(x) < 1e290) & (np.abs(y) < 1e290)
    p, p_low = _two_product(x[inside], y[inside])
    s, s_low = _two_sum(z[inside], p_low)
    t, t_low = _two_sum(p, s)
    out[inside] = t + _sum_to_odd(t_low, s_low)  # Boldo and Melquiond, IEEE Trans. Computers 57 (2008)
    # Near overflow and underflow the error terms are not exact; few elements lie there.
    outside = ~inside & finite & np.isfinite(z) & (x != 0.0) & (y != 0.0)
    for i in zip(*np.nonzero(outside), strict=True):
        out[i] = _fma_rational(float(x[i]), float(y[i]), float(z[i]))
    return out


def fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x * y + z rounded once. Exact: the same bits as the processor's instruction."""
    if x.dtype == np.float64:
        return _fma_float64(*map(np.atleast_1d, (x, y, z))).reshape(x.shape)
    # The product of two float32 is exact in float64; the sum is rounded to odd, then once to float32.
    return _sum_to_odd(x.astype(np.float64) * y, z.astype(np.float64)).astype(x.dtype)
