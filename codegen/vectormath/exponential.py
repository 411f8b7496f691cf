"""exp, exp2, expm1, sigmoid, sinh, cosh, tanh.

x = n log 2 + r with an integer n and |r| <= log(2) / 2; then e^x = 2^n e^r. The power of two is built in
the exponent bits. Where it can leave the range of the format it is applied in two factors, the second
multiplication rounding once into the denormals or to infinity.

Imports: `text`, `formats`, `coefficients`, `ir.types`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...ir.types import f32, f64
from ..text import Lanes, Vec
from .coefficients import EXP, LN2, TANH
from .formats import FORMATS, clamp, odd_polynomial

# Beyond these, e^x and e^x / 2 are 0 or infinite, and within them the exponent bits do not overflow.
EXP_RANGE = {f32: (-104.0, 90.0), f64: (-746.0, 711.0)}
EXP2_RANGE = {f32: (-150.0, 129.0), f64: (-1076.0, 1025.0)}
# Below, e^x - 1 is -1; above, even (e^x - 1) / 2 is infinite.
EXPM1_RANGE = {f32: (-25.0, 89.5), f64: (-50.0, 710.5)}
# From here on tanh rounds to 1.
TANH_LIMIT = {f32: 9.5, f64: 20.0}


class _Reduced(NamedTuple):
    n: Vec  # a float
    n_bits: Vec  # its integer value in the low bits
    r: Vec


def _reduce(m: Lanes, x: Vec) -> _Reduced:
    magic = FORMATS[x.dtype].magic
    high, low = LN2[x.dtype]
    shifted = m.fma(x, 1.0 / math.log(2.0), magic)
    n = m.sub(shifted, magic)
    return _Reduced(n, m.bits(shifted), m.fma(n, -low, m.fma(n, -high, x)))


def _expm1_of_rest(m: Lanes, r: Vec) -> Vec:
    """e^r - 1 for |r| <= log(2) / 2."""
    return m.fma(m.mul(r, r), m.estrin(r, EXP[r.dtype]), r)


def _power_of_two(m: Lanes, reduced: _Reduced, exponent: int = 0) -> Vec:
    """2^(n + exponent), which must be a normal number."""
    form = FORMATS[reduced.n.dtype]
    shifted = m.shl(reduced.n_bits, form.mantissa)
    return m.from_bits(m.add(shifted, (form.bias + exponent) << form.mantissa))


def exp_scaled(m: Lanes, x: Vec, exponent: int = 0, rest: Vec | None = None) -> Vec:
    """2^exponent e^(x + rest), for an exponent of 0 or -1 and a rest below one ULP of x."""
    x = clamp(m, x, *EXP_RANGE[x.dtype])
    reduced = _reduce(m, x)
    r = reduced.r if rest is None else m.add(reduced.r, rest)
    return _scaled(m, reduced.n_bits, r, m.compare("lt", x, 0.0), exponent)


def _scaled(m: Lanes, n_bits: Vec, r: Vec, negative: Vec, exponent: int = 0) -> Vec:
    """2^(n + exponent) e^r, `negative` where n is not above 0."""
    form = FORMATS[r.dtype]
    result = m.add(_expm1_of_rest(m, r), 1.0)
    # 2^n = 2^(n + half) 2^-half below 0, 2^(n - half) 2^half above: both factors are normal numbers.
    half = (form.bias + 1) // 2
    bias = m.select(
        negative, (form.bias + half) << form.mantissa, (form.bias - half) << form.mantissa, form.integer
    )
    first = m.from_bits(m.add(m.shl(n_bits, form.mantissa), bias))
    second = m.select(negative, 2.0 ** (exponent - half), 2.0 ** (exponent + half), r.dtype)
    return m.mul(m.mul(result, first), second)


def exp(m: Lanes, x: Vec) -> Vec:
    return exp_scaled(m, x)


def exp2(m: Lanes, x: Vec) -> Vec:
    """2^n e^(f log 2), with x = n + f: exact where f is 0."""
    x = clamp(m, x, *EXP2_RANGE[x.dtype])
    magic = FORMATS[x.dtype].magic
    shifted = m.add(x, magic)
    r = m.mul(m.sub(x, m.sub(shifted, magic)), math.log(2.0))
    return _scaled(m, m.bits(shifted), r, m.compare("lt", x, 0.0))


def exp_normal(m: Lanes, x: Vec) -> Vec:
    """e^x where it is known to be a normal number."""
    reduced = _reduce(m, x)
    return m.mul(m.add(_expm1_of_rest(m, reduced.r), 1.0), _power_of_two(m, reduced))


def _expm1_quarter(m: Lanes, x: Vec) -> tuple[Vec, Vec, Vec]:
    """(e^x - 1) / 4, e^r - 1, and whether n is 0 (so that the latter is the exact-scaled result)."""
    reduced = _reduce(m, clamp(m, x, *EXPM1_RANGE[x.dtype]))
    small = _expm1_of_rest(m, reduced.r)
    scale = _power_of_two(m, reduced, -2)
    quarter = m.fma(small, scale, m.sub(scale, 0.25))
    return quarter, small, m.compare("eq", reduced.n, 0.0)


def expm1(m: Lanes, x: Vec) -> Vec:
    quarter, small, is_small = _expm1_quarter(m, x)
    return m.copysign(m.select(is_small, small, m.mul(quarter, 4.0)), x)


def sigmoid(m: Lanes, x: Vec) -> Vec:
    """1 / (1 + e^-x), by e^-|x| so that nothing overflows."""
    e = exp_scaled(m, m.neg(m.abs(x)))
    return m.div(m.select(m.compare("lt", x, 0.0), e, 1.0), m.add(e, 1.0))


def sinh(m: Lanes, x: Vec) -> Vec:
    """With h = (e^a - 1) / 2 it is h + h / (2 h + 1), which overflows only where sinh does."""
    a = m.abs(x)
    quarter, small, is_small = _expm1_quarter(m, a)
    half = m.select(is_small, m.mul(small, 0.5), m.mul(quarter, 2.0))
    reciprocal = m.div(half, m.fma(half, 2.0, 1.0))
    huge = 0.6 * EXPM1_RANGE[x.dtype][1]  # the quotient is 1/2 there, lost beside half
    total = m.add(half, m.select(m.compare("gt", a, huge), 0.5, reciprocal))
    tiny = 2.0 ** -(FORMATS[x.dtype].mantissa // 2 + 2)  # halving could lose a bit of a denormal
    return m.copysign(m.select(m.compare("lt", a, tiny), a, total), x)


def cosh(m: Lanes, x: Vec) -> Vec:
    """With h = e^|x| / 2 it is h + 1 / (4 h)."""
    half = exp_scaled(m, m.abs(x), -1)
    return m.add(half, m.div(m.const(0.25, x.dtype), half))


def tanh(m: Lanes, x: Vec) -> Vec:
    """A polynomial below 0.55, 1 - 2 / (e^(2 a) + 1) above."""
    small = odd_polynomial(m, x, m.mul(x, x), TANH[x.dtype])
    a = m.abs(x)
    limit = TANH_LIMIT[x.dtype]
    e = exp_normal(m, m.mul(m.select(m.compare("gt", a, limit), limit, a), 2.0))
    large = m.sub(1.0, m.div(m.const(2.0, x.dtype), m.add(e, 1.0)))
    return m.copysign(m.select(m.compare("lt", a, 0.55), small, large), x)
