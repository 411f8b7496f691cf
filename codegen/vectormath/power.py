"""pow: x^y of floats.

f32 is computed in f64 as 2^(y log2 x). f64 takes log x in two parts, for an error of the exponent is
multiplied by up to 700.

Imports: `text`, `formats`, `exact`, `exponential`, `logarithm`, `coefficients`, `ir.types`.
"""

from __future__ import annotations

from ...ir.types import f32, f64
from ..text import Lanes, Vec
from .coefficients import EXP2
from .exact import two_product
from .exponential import EXP_RANGE, exp_scaled
from .formats import FORMATS, INF, NAN, clamp, is_integer, outlined
from .logarithm import log2_for_f32, log_in_two_parts


def pow(m: Lanes, x: Vec, y: Vec) -> Vec:
    size = _pow_f32(m, m.abs(x), y) if x.dtype is f32 else _pow_f64(m, m.abs(x), y)
    return _signed(m, size, x, y)


def _limits(m: Lanes, logarithm: Vec, a: Vec) -> Vec:
    """The logarithm of a, right at 0, inf and nan too."""
    logarithm = m.select(m.compare("eq", a, 0.0), -INF, logarithm)
    return m.select(m.compare("lt", a, INF), logarithm, a)


def _pow_f32(m: Lanes, a: Vec, y: Vec) -> Vec:
    """a^y for a >= 0."""
    form = FORMATS[f64]
    wide = m.cast(a, f64)
    exponent = m.mul(m.cast(y, f64), _limits(m, log2_for_f32(m, wide), wide))
    exponent = m.select(m.compare("eq", a, 1.0), 0.0, exponent)  # for an infinite y
    exponent = clamp(m, exponent, -200.0, 200.0)
    shifted = m.add(exponent, form.magic)
    rest = m.sub(exponent, m.sub(shifted, form.magic))
    mantissa = m.fma(m.estrin(rest, EXP2[f64]), rest, 1.0)
    scale = m.from_bits(m.add(m.shl(m.bits(shifted), form.mantissa), form.bias << form.mantissa))
    return m.cast(m.mul(mantissa, scale), f32)


@outlined
def _pow_f64(m: Lanes, a: Vec, y: Vec) -> Vec:
    """a^y for a >= 0."""
    high, low = log_in_two_parts(m, a)
    high = _limits(m, high, a)
    # Beyond this the result is 0, infinite or a power of 1, and the exact product could overflow.
    limit = 2.0 * EXP_RANGE[f64][1]
    rough = m.mul(y, high)
    inside = m.and_(m.compare("lt", m.abs(rough), limit), m.compare("lt", m.abs(y), 2.0**900))
    safe_y = m.select(inside, y, 0.0)
    product, error = two_product(m, safe_y, m.select(inside, high, 0.0))
    rest = m.add(error, m.mul(safe_y, m.select(inside, low, 0.0)))
    exponent = m.select(inside, product, rough)
    exponent = m.select(m.compare("eq", a, 1.0), 0.0, exponent)  # for an infinite y
    return exp_scaled(m, exponent, rest=rest)


def _signed(m: Lanes, size: Vec, x: Vec, y: Vec) -> Vec:
    """x^y from |x|^y: the sign, and what IEEE 754 says of exceptional operands."""
    form = FORMATS[x.dtype]
    whole = is_integer(m, y)
    odd = m.and_(whole, m.not_(is_integer(m, m.mul(y, 0.5))))
    sign = m.select(odd, m.and_(m.bits(x), form.sign_bit), 0)
    result = m.from_bits(m.or_(m.bits(size), sign))
    negative = m.and_(m.compare("lt", x, 0.0), m.compare("gt", x, -INF))
    undefined = m.or_(m.and_(negative, m.not_(whole)), m.is_nan(m.add(m.abs(x), m.abs(y))))
    result = m.select(undefined, NAN, result)
    one = m.or_(m.compare("eq", x, 1.0), m.compare("eq", y, 0.0))
    return m.select(one, 1.0, result)
