"""asin, acos, atan, atan2.

Imports: `text`, `formats`, `coefficients`.
"""

from __future__ import annotations

import math

from ..text import Lanes, Vec
from .coefficients import ASIN, ATAN, PI, QUARTER_PI
from .formats import FORMATS, INF, odd_polynomial

_TAN_EIGHTH = math.tan(math.pi / 8)


def _atan_of_rest(m: Lanes, t: Vec) -> Vec:
    """atan(t) for |t| <= tan(pi / 8)."""
    return odd_polynomial(m, t, m.mul(t, t), ATAN[t.dtype])


def _with_quarters(m: Lanes, angle: Vec, quarters: Vec) -> Vec:
    """angle + quarters pi / 4, for up to 4 quarters: the product with the first part of pi / 4 is exact."""
    high, low = QUARTER_PI[angle.dtype]
    return m.fma(quarters, high, m.fma(quarters, low, angle))


def atan(m: Lanes, x: Vec) -> Vec:
    """atan(a) is pi / 4 + atan((a - 1) / (a + 1)), and pi / 2 - atan(1 / a), whichever argument is small."""
    dtype = x.dtype
    a = m.abs(x)
    middle = m.compare("gt", a, _TAN_EIGHTH)
    large = m.compare("gt", a, 1.0 / _TAN_EIGHTH)
    top = m.select(large, -1.0, m.select(middle, m.sub(a, 1.0), a))
    bottom = m.select(large, a, m.select(middle, m.add(a, 1.0), 1.0))
    quarters = m.select(large, 2.0, m.select(middle, 1.0, 0.0, dtype))
    return m.copysign(_with_quarters(m, _atan_of_rest(m, m.div(top, bottom)), quarters), x)


def atan2(m: Lanes, y: Vec, x: Vec) -> Vec:
    """The angle of the point (x, y), with the signs of zeros told apart."""
    dtype = x.dtype
    form = FORMATS[dtype]
    ax, ay = m.abs(x), m.abs(y)
    steep = m.compare("gt", ay, ax)
    high, low = m.select(steep, ay, ax), m.select(steep, ax, ay)
    # Of two infinities the ratio is 1, of two zeros 0; and the sum of the two must not overflow.
    infinite = m.compare("eq", low, INF)
    scale = m.select(m.compare("gt", high, 2.0 ** (form.bias - 1)), 0.25, 1.0, dtype)
    high = m.select(infinite, 1.0, m.mul(high, scale))
    low = m.select(infinite, 1.0, m.mul(low, scale))
    high = m.select(m.compare("eq", high, 0.0), 1.0, high)
    middle = m.compare("gt", low, m.mul(high, _TAN_EIGHTH))
    top = m.select(middle, m.sub(low, high), low)
    bottom = m.select(middle, m.add(low, high), high)
    angle = _atan_of_rest(m, m.div(top, bottom))
    quarters = m.select(middle, 1.0, 0.0, dtype)
    # Mirror at the diagonal, then at the vertical axis.
    angle = m.select(steep, m.neg(angle), angle)
    quarters = m.select(steep, m.sub(2.0, quarters), quarters)
    left = m.compare("lt", m.bits(x), 0)
    angle = m.select(left, m.neg(angle), angle)
    quarters = m.select(left, m.sub(4.0, quarters), quarters)
    result = m.copysign(_with_quarters(m, angle, quarters), y)
    unordered = m.is_nan(m.add(ax, ay))
    return m.select(unordered, m.add(x, y), result)


def _asin_of_part(m: Lanes, x: Vec) -> tuple[Vec, Vec]:
    """Whether |x| > 1/2, and then asin(sqrt((1 - |x|) / 2)), else asin(|x|)."""
    a = m.abs(x)
    large = m.compare("gt", a, 0.5)
    z = m.select(large, m.fma(a, -0.5, 0.5), m.mul(a, a))
    s = m.select(large, m.sqrt(z), a)
    return large, odd_polynomial(m, s, z, ASIN[x.dtype])


def asin(m: Lanes, x: Vec) -> Vec:
    """pi / 2 - 2 asin(sqrt((1 - a) / 2)) above 1/2."""
    large, angle = _asin_of_part(m, x)
    high, low = (part / 2 for part in PI[x.dtype][:2])
    folded = m.add(m.fma(angle, -2.0, low), high)
    return m.copysign(m.select(large, folded, angle), x)


def acos(m: Lanes, x: Vec) -> Vec:
    """2 asin(sqrt((1 - a) / 2)) above 1/2, pi less that below -1/2, pi / 2 - asin(x) between."""
    large, angle = _asin_of_part(m, x)
    negative = m.compare("lt", x, 0.0)
    signed = m.select(negative, angle, m.neg(angle))  # -asin(x) between
    high, low = PI[x.dtype][:2]
    between = m.add(m.add(signed, low / 2), high / 2)
    twice = m.add(angle, angle)
    outer = m.select(negative, m.add(m.sub(low, twice), high), twice)
    return m.select(large, outer, between)
