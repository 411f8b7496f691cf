"""lgamma, digamma, polygamma: in f64 (f32 is widened), each written once a module.

The argument is moved by the recurrence into an interval with a polynomial or up to where the asymptotic
series holds; negative arguments are reflected. Formulas: NIST Digital Library of Mathematical Functions,
sections 5.5, 5.11, 5.15 (https://dlmf.nist.gov).

Imports: `ir.special` (series and derivatives of the cotangent as numbers), `text`, `formats`, `exact`, `logarithm`,
`trigonometric`, `coefficients`, `ir.types`.
"""

from __future__ import annotations

import math

from ...ir import special
from ...ir.types import f64
from ..text import Lanes, Vec
from .coefficients import DIGAMMA, DIGAMMA_LARGE, DIGAMMA_ROOT, EULER_SLOPE, HALF_LOG_2PI, LGAMMA, STIRLING
from .exact import two_product
from .formats import FORMATS, INF, NAN, in_f64, is_integer, outlined
from .logarithm import log, log_in_two_parts
from .trigonometric import sine_of_rest, tan

_LARGE = 6.0  # from here on the series in 1 / x^2


def _rest(m: Lanes, x: Vec) -> Vec:
    """What is left of x by the nearest integer, for |x| < 2^51, beyond which there are but poles."""
    magic = FORMATS[f64].magic
    return m.sub(x, m.sub(m.add(x, magic), magic))


def _sine_of_pi_times(m: Lanes, x: Vec) -> Vec:
    """sin(pi x), but for its sign."""
    return sine_of_rest(m, m.mul(_rest(m, x), math.pi))


def _cotangent_of_pi_times(m: Lanes, x: Vec) -> Vec:
    """cot(pi x), accurate near its zeros, too: there as the tangent of the distance, which is exact."""
    r = _rest(m, x)
    size = m.abs(r)
    steep = m.compare("gt", size, 0.25)
    tangent = tan(m, m.mul(m.select(steep, m.sub(0.5, size), size), math.pi))
    return m.copysign(m.select(steep, tangent, m.div(m.const(1.0, f64), tangent)), r)


def _is_pole(m: Lanes, x: Vec) -> Vec:
    """Whether x is 0, a negative integer or -inf."""
    return m.and_(m.compare("le", x, 0.0), is_integer(m, x))


@in_f64
@outlined
def lgamma(m: Lanes, x: Vec) -> Vec:
    """log |gamma(x)|; inf at the poles. Below -1/2 by reflection: log(pi / (a |sin(pi a)|)) - lgamma(a)."""
    a = m.abs(x)
    reflected = m.compare("lt", x, -0.5)
    result = _lgamma(m, m.select(reflected, a, x))
    sine = m.abs(_sine_of_pi_times(m, a))
    mirror = m.sub(log(m, m.div(m.const(math.pi, f64), m.mul(a, sine))), result)
    result = m.select(reflected, mirror, result)
    infinite = m.or_(_is_pole(m, x), m.compare("eq", a, INF))
    return m.select(m.is_nan(x), x, m.select(infinite, INF, result))


def _lgamma(m: Lanes, x: Vec) -> Vec:
    """log |gamma(x)| for x >= -1/2. With x moved by k steps to 2 + t, |t| <= 1/2, it is
    lgamma(2 + t) plus (k > 0) or minus (k < 0) the logarithm of the factors that the steps took out. The
    zeros at 1 and 2 need that logarithm and the slope at 2 in two parts."""
    large = m.compare("ge", x, _LARGE)
    y, factors = x, m.const(1.0, f64)
    for _ in range(4):
        step = m.compare("ge", y, 2.5)
        y = m.select(step, m.sub(y, 1.0), y)
        factors = m.select(step, m.mul(factors, y), factors)
    below, far_below = m.compare("lt", y, 1.5), m.compare("lt", y, 0.5)
    t = m.sub(y, m.select(below, m.select(far_below, 0.0, 1.0, f64), 2.0))
    taken = m.select(far_below, m.abs(m.fma(y, y, y)), y)
    factors = m.select(large, x, m.select(below, taken, factors))
    high, low = log_in_two_parts(m, factors)
    high_signed, low_signed = (m.select(below, m.neg(v), v) for v in (high, low))
    slope, slope_low = EULER_SLOPE[f64]
    line, line_low = two_product(m, t, m.const(slope, f64))
    rest = m.fma(m.mul(t, t), m.estrin(t, LGAMMA[f64]), m.fma(t, slope_low, line_low))
    moderate = m.add(m.add(line, high_signed), m.add(rest, low_signed))
    # (x - 1/2)(log x - 1) + log(2 pi) / 2 - 1/2 + P(1 / x^2) / x
    reciprocal = m.div(m.const(1.0, f64), x)
    tail = m.fma(m.estrin(m.mul(reciprocal, reciprocal), STIRLING[f64]), reciprocal, HALF_LOG_2PI[f64][0] - 0.5)
    series = m.fma(m.sub(x, 0.5), m.add(m.sub(high, 1.0), low), tail)
    return m.select(large, series, moderate)


@in_f64
@outlined
def digamma(m: Lanes, x: Vec) -> Vec:
    """The derivative of lgamma; at 0 an infinity of the sign of -x, nan at -1, -2, ... and -inf. Negative
    arguments by reflection: digamma(1 - x) - pi / tan(pi x)."""
    negative = m.compare("lt", x, 0.0)
    result = _digamma(m, m.select(negative, m.sub(1.0, x), x))
    reflection = m.fma(_cotangent_of_pi_times(m, x), -math.pi, result)
    result = m.select(negative, reflection, result)
    at_zero = m.copysign(INF, m.neg(x))
    at_pole = m.select(m.compare("eq", x, 0.0), at_zero, NAN)
    return m.select(_is_pole(m, x), at_pole, result)


def _digamma(m: Lanes, x: Vec) -> Vec:
    """digamma of x > 0: moved into [1, 3) the polynomial times the distance from the root, and what the
    steps added: 1 / (x - 1) + ... or -1 / x, as one fraction."""
    large = m.compare("ge", x, _LARGE)
    y, top, bottom = x, m.const(0.0, f64), m.const(1.0, f64)
    for _ in range(3):
        step = m.compare("ge", y, 3.0)
        y = m.select(step, m.sub(y, 1.0), y)
        top = m.select(step, m.fma(top, y, bottom), top)
        bottom = m.select(step, m.mul(bottom, y), bottom)
    below = m.compare("lt", y, 1.0)
    top, bottom = m.select(below, -1.0, top), m.select(below, y, bottom)
    y = m.select(below, m.add(y, 1.0), y)
    root, root_low = DIGAMMA_ROOT[f64]
    distance = m.sub(m.sub(y, root), root_low)
    moderate = m.fma(distance, m.horner(m.sub(y, 2.0), DIGAMMA[f64]), m.div(top, bottom))
    reciprocal = m.div(m.const(1.0, f64), x)
    z = m.mul(reciprocal, reciprocal)
    tail = m.fma(z, m.estrin(z, DIGAMMA_LARGE[f64]), m.mul(reciprocal, 0.5))
    return m.select(large, m.sub(log(m, x), tail), moderate)


def polygamma(m: Lanes, x: Vec, n: int) -> Vec:
    """Derivative n of digamma. At the poles inf for odd n, -inf for even n >= 2."""
    if n == 0:
        return digamma(m, x)
    if n > special.POLYGAMMA_MAX:
        raise ValueError(f"polygamma: n is at most {special.POLYGAMMA_MAX}, got {n}")
    wide = m.cast(x, f64)
    (result,) = m.call(f"polygamma{n}", [wide], [f64], lambda y: [_polygamma(m, y, n)])
    return m.cast(result, x.dtype)


def _polygamma(m: Lanes, x: Vec, n: int) -> Vec:
    """The body of the outlined function. Negative arguments by reflection (DLMF 5.15.6)."""
    negative = m.compare("lt", x, 0.0)
    positive = _hurwitz(m, m.select(negative, m.sub(1.0, x), x), n)
    cotangent = _cotangent_of_pi_times(m, x)
    odd = (n + 1) % 2  # the polynomial has powers of one parity
    coefficients = [c * math.pi ** (n + 1) for c in special.cotangent_derivative(n)[odd::2]]
    slope = m.horner(m.mul(cotangent, cotangent), coefficients)
    slope = m.mul(slope, cotangent) if odd else slope
    sign = -1.0 if n % 2 == 0 else 1.0
    result = m.select(negative, m.sub(m.neg(positive), slope), m.mul(positive, sign))
    return m.select(_is_pole(m, x), m.select(m.compare("eq", x, -INF), NAN, sign * INF, f64), result)


def _hurwitz(m: Lanes, x: Vec, n: int) -> Vec:
    """n! times the sum of (x + k)^-(n+1) over k >= 0, for x > 0: terms until x + k is large, then the
    Euler-Maclaurin series (DLMF 25.11.43). The powers are of y / s, for a power of two s that makes
    n! / s^(n+1) moderate: so they overflow only where the result does."""
    s, factor = special.polygamma_scale(n)
    y, total = _sum_up_to(m, x, n, s)
    reciprocal = m.div(m.const(1.0, f64), y)
    w = m.mul(reciprocal, reciprocal)
    series = m.fma(w, m.horner(w, special.polygamma_series(n)), m.fma(reciprocal, 0.5, 1.0 / n))
    power = _power(m, m.mul(reciprocal, s), n)
    return m.mul(m.fma(m.mul(power, s), series, total), factor)


def _sum_up_to(m: Lanes, x: Vec, n: int, s: float) -> tuple[Vec, Vec]:
    """y = x + k >= n + 12 and the sum of the terms before it: a loop until no lane needs another."""
    code, type = m.code, m.type(f64)
    test, body, done = (code.new_label(name) for name in ("test", "body", "done"))
    y, total, next_y, next_total = (Vec(code.fresh(), f64) for _ in range(4))
    start = code.block
    code.line(f"br label %{test}")
    code.start_block(test)
    code.line(f"{y.text} = phi {type} [ {x.text}, %{start} ], [ {next_y.text}, %{body} ]")
    zero = m.const(0.0, f64).text
    code.line(f"{total.text} = phi {type} [ {zero}, %{start} ], [ {next_total.text}, %{body} ]")
    near = m.compare("lt", y, n + 12.0)
    code.line(f"br i1 {m.any(near).text}, label %{body}, label %{done}")
    code.start_block(body)
    term = m.div(m.const(1.0, f64), _power(m, m.mul(y, 1.0 / s), n + 1))
    code.line(f"{next_total.text} = fadd {type} {total.text}, {m.select(near, term, 0.0).text}")
    code.line(f"{next_y.text} = fadd {type} {y.text}, {m.select(near, 1.0, 0.0, f64).text}")
    code.line(f"br label %{test}")
    code.start_block(done)
    return y, total


def _power(m: Lanes, x: Vec, n: int) -> Vec:
    """x^n for n >= 1 by squaring."""
    result: Vec | None = None
    while True:
        if n & 1:
            result = x if result is None else m.mul(result, x)
        n >>= 1
        if not n:
            assert result is not None
            return result
        x = m.mul(x, x)
