"""log, log2, log10, log1p, asinh, acosh, atanh, and a logarithm in two parts for functions that need more bits.

x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2); then log x = k log 2 + log(1 + f), the latter as
f - f^2 / 2 + ... so that the largest term is exact.

Imports: `text`, `formats`, `exact`, `coefficients`, `ir.types`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...ir.types import DType, f32, f64
from ..text import Lanes, Vec
from .coefficients import LN2, LOG, LOG_ODD, LOG_ODD_LONG, LOG_ODD_SHORT, ONE_OVER_LN10, TWO_THIRDS
from .exact import two_product
from .formats import FORMATS, INF, NAN, outlined

# The bits of the float next to sqrt(1/2): subtracting them carries into the exponent at sqrt(2).
_SQRT_HALF = {f32: 0x3F3504F3, f64: 0x3FE6A09E667F3BCD}


class _Split(NamedTuple):
    k_bits: Vec  # k in the exponent bits, the others 0
    k: Vec  # k as an integer
    mantissa: Vec  # 1 + f


def _split(m: Lanes, x: Vec) -> _Split:
    form = FORMATS[x.dtype]
    bits = m.bits(x)
    above = m.sub(bits, _SQRT_HALF[x.dtype])
    k_bits = m.and_(above, -(1 << form.mantissa))
    return _Split(k_bits, m.ashr(above, form.mantissa), m.from_bits(m.sub(bits, k_bits)))


def _as_float(m: Lanes, k: Vec, dtype: DType) -> Vec:
    """A small integer as a float; in f64 by the magic number, for AVX2 converts no i64."""
    if dtype is f32:
        return m.cast(k, f32)
    magic = FORMATS[f64].magic
    magic_bits = (FORMATS[f64].bias + 52 << 52) | (1 << 51)
    return m.sub(m.from_bits(m.add(k, magic_bits)), magic)


def _normalize(m: Lanes, x: Vec) -> tuple[Vec, Vec]:
    """x with denormals scaled up, and what to add to the exponent for it."""
    form = FORMATS[x.dtype]
    denormal = m.compare("lt", x, form.smallest_normal)
    scaled = m.select(denormal, m.mul(x, 2.0**form.mantissa), x)
    return scaled, m.select(denormal, -float(form.mantissa), 0.0, x.dtype)


def _log_of(m: Lanes, f: Vec, k: Vec) -> Vec:
    """log(1 + f) + k log 2 for the float k."""
    high, low = LN2[f.dtype]
    square = m.mul(f, f)
    if f.dtype is f32:
        tail = m.mul(m.estrin(f, LOG[f32]), f)
        y = m.fma(tail, square, m.fma(k, low, m.mul(square, -0.5)))
    else:
        # log(1 + f) = f - (f^2/2 - d (f^2/2 + R)) with d = f / (2 + f)
        d = m.div(f, m.add(f, 2.0))
        z = m.mul(d, d)
        rest = m.mul(z, m.estrin(z, LOG_ODD[f64]))
        half = m.mul(square, 0.5)
        y = m.sub(m.fma(d, m.add(half, rest), m.mul(k, low)), half)
    return m.fma(k, high, m.add(f, y))


def _outside(m: Lanes, result: Vec, x: Vec, edge: float) -> Vec:
    """The logarithm outside its domain: -inf at `edge`, nan below, inf at inf; nan of nan."""
    result = m.select(m.compare("eq", x, INF), x, result)
    special = m.select(m.compare("eq", x, edge), -INF, NAN, x.dtype)
    return m.select(m.compare("gt", x, edge), result, special)


def log(m: Lanes, x: Vec) -> Vec:
    scaled, adjust = _normalize(m, x)
    split = _split(m, scaled)
    k = m.add(_as_float(m, split.k, x.dtype), adjust)
    return _outside(m, _log_of(m, m.sub(split.mantissa, 1.0), k), x, 0.0)


def log2(m: Lanes, x: Vec) -> Vec:
    """k + log(1 + f) / log 2: exact of a power of two, where f is 0."""
    scaled, adjust = _normalize(m, x)
    split = _split(m, scaled)
    k = m.add(_as_float(m, split.k, x.dtype), adjust)
    natural = _log_of(m, m.sub(split.mantissa, 1.0), m.const(0.0, x.dtype))
    return _outside(m, m.fma(natural, 1.0 / math.log(2.0), k), x, 0.0)


def log10(m: Lanes, x: Vec) -> Vec:
    """From a logarithm of more bits, so rounded once: exact of a power of ten."""
    if x.dtype is f32:
        wide = m.cast(x, f64)
        return m.cast(_outside(m, m.mul(log2_for_f32(m, wide), math.log10(2.0)), wide, 0.0), f32)
    return _outside(m, _log10_of_f64(m, x), x, 0.0)


@outlined
def _log10_of_f64(m: Lanes, x: Vec) -> Vec:
    high, low = log_in_two_parts(m, x)
    factor, factor_low = ONE_OVER_LN10[f64]
    product, error = two_product(m, high, m.const(factor, f64))
    return m.add(product, m.fma(high, factor_low, m.fma(low, factor, error)))


def _log1p(m: Lanes, x: Vec) -> Vec:
    """log(1 + x) for finite x > -1. With 1 + x = 2^k (1 + f), f is x 2^-k + (2^-k - 1), rounded once, and
    exact where k is 0: no correction for the rounding of 1 + x is needed."""
    form = FORMATS[x.dtype]
    sum = m.add(x, 1.0)
    split = _split(m, sum)
    scale = m.from_bits(m.sub(form.bias << form.mantissa, split.k_bits))
    f = m.add(m.mul(x, scale), m.sub(scale, 1.0))
    # For a large x the scale may be denormal, and 1 + x is x.
    huge = m.compare("gt", x, 2.0 ** (2 * form.mantissa))
    f = m.select(huge, m.sub(split.mantissa, 1.0), f)
    return _log_of(m, f, _as_float(m, split.k, x.dtype))


def log1p(m: Lanes, x: Vec) -> Vec:
    return m.copysign(_outside(m, _log1p(m, x), x, -1.0), x)


def asinh(m: Lanes, x: Vec) -> Vec:
    """log1p(a + a^2 / (1 + sqrt(1 + a^2))), and log(2 a) where a^2 could overflow."""
    a = m.abs(x)
    huge = m.compare("gt", a, 2.0 ** FORMATS[x.dtype].mantissa)
    square = m.mul(a, a)
    exact = m.add(a, m.div(square, m.add(m.sqrt(m.add(square, 1.0)), 1.0)))
    result = m.add(_log1p(m, m.select(huge, a, exact)), m.select(huge, math.log(2.0), 0.0, x.dtype))
    finite = m.compare("lt", a, INF)  # else inf or nan
    return m.copysign(m.select(finite, result, a), x)


def acosh(m: Lanes, x: Vec) -> Vec:
    """log1p(t + sqrt(t^2 + 2 t)) with t = x - 1, which is exact near 1; log(2 x) where it could overflow."""
    huge = m.compare("gt", x, 2.0 ** FORMATS[x.dtype].mantissa)
    t = m.sub(x, 1.0)
    exact = m.add(t, m.sqrt(m.fma(t, t, m.add(t, t))))
    result = m.add(_log1p(m, m.select(huge, x, exact)), m.select(huge, math.log(2.0), 0.0, x.dtype))
    result = m.select(m.compare("lt", x, INF), result, x)
    return m.select(m.compare("lt", x, 1.0), NAN, result)


def atanh(m: Lanes, x: Vec) -> Vec:
    """log1p(2 a / (1 - a)) / 2."""
    a = m.abs(x)
    t = m.div(m.add(a, a), m.sub(1.0, a))
    result = m.mul(_log1p(m, t), 0.5)
    result = m.select(m.compare("eq", a, 1.0), INF, result)
    tiny = m.compare("lt", a, 2.0 ** -(FORMATS[x.dtype].mantissa // 2 + 2))  # halving could lose a bit
    result = m.select(tiny, a, result)
    return m.copysign(m.select(m.compare("le", a, 1.0), result, NAN), x)


def log2_for_f32(m: Lanes, x: Vec) -> Vec:
    """log2 in f64 of x > 0, a widened f32, to the accuracy that rounding to f32 needs."""
    split = _split(m, x)
    d = m.div(m.sub(split.mantissa, 1.0), m.add(split.mantissa, 1.0))
    z = m.mul(d, d)
    natural = m.fma(m.mul(d, z), m.estrin(z, LOG_ODD_SHORT[f64]), m.add(d, d))
    return m.fma(natural, 1.0 / math.log(2.0), _as_float(m, split.k, f64))


def log_in_two_parts(m: Lanes, x: Vec) -> tuple[Vec, Vec]:
    """log x of f64 as a sum of two floats, good to 2^-62 of it, for x > 0 (0 gives garbage, as inf and nan).

    With d = f / (2 + f) it is k log 2 + 2 d + 2/3 d^3 + d^5 P(d^2), the first terms in two parts each."""
    scaled, adjust = _normalize(m, x)
    split = _split(m, scaled)
    k = m.add(_as_float(m, split.k, f64), adjust)
    high, low = LN2[f64]
    f = m.sub(split.mantissa, 1.0)
    over = m.add(split.mantissa, 1.0)
    over_low = m.sub(split.mantissa, m.sub(over, 1.0))
    reciprocal = m.div(m.const(1.0, f64), over)
    d = m.mul(f, reciprocal)
    back, back_low = two_product(m, d, over)
    rest = m.sub(m.sub(m.sub(f, back), back_low), m.mul(d, over_low))
    d_low = m.mul(rest, reciprocal)
    z, z_low = two_product(m, d, d)
    z_low = m.fma(m.add(d, d), d_low, z_low)
    cube, cube_low = two_product(m, d, z)
    cube_low = m.add(cube_low, m.fma(d, z_low, m.mul(d_low, z)))
    third, third_low = TWO_THIRDS[f64]
    u, u_low = two_product(m, cube, m.const(third, f64))
    u_low = m.add(u_low, m.fma(cube, third_low, m.mul(cube_low, third)))
    tail = m.mul(m.mul(cube, z), m.estrin(z, LOG_ODD_LONG[f64]))
    twice = m.add(d, d)
    h = m.add(twice, u)
    h_low = m.add(m.add(m.add(m.sub(twice, h), u), m.add(d_low, d_low)), m.add(u_low, tail))
    k_high = m.mul(k, high)  # exact
    total = m.add(k_high, h)
    total_low = m.add(m.add(m.sub(k_high, total), h), m.fma(k, low, h_low))
    rounded = m.add(total, total_low)
    return rounded, m.add(m.sub(total, rounded), total_low)
