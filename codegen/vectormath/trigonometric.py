"""sin, cos, tan.

Imports: `ir.types`, `text`, `formats`, `reduction`, `coefficients`.
"""

from __future__ import annotations

from ...ir.types import f32
from ..text import Lanes, Vec
from .coefficients import COS_QUARTER, SIN, SIN_QUARTER
from .formats import FORMATS, clamp, flip_sign, odd_polynomial
from .reduction import COSINE, SINE, TANGENT, reduce


def sine_of_rest(m: Lanes, r: Vec) -> Vec:
    """sin(r) for |r| <= pi / 2."""
    y = odd_polynomial(m, r, m.mul(r, r), SIN[r.dtype])
    return y if r.dtype is f32 else clamp(m, y, -1.0, 1.0)  # f32 never rounds to more than 1


def sin(m: Lanes, x: Vec) -> Vec:
    """(-1)^n sin(r), with x = n pi + r."""
    r, parity = reduce(m, x, SINE)
    y = flip_sign(m, sine_of_rest(m, r), parity)
    return m.select(m.compare("eq", x, 0.0), x, y)  # -0.0, too


def cos(m: Lanes, x: Vec) -> Vec:
    """(-1)^n sin(r), with |x| + pi / 2 = n pi + r; near 0, where that loses the last bit, 1 - x^2 / 2."""
    x = m.abs(x)
    r, parity = reduce(m, x, COSINE)
    y = flip_sign(m, sine_of_rest(m, r), parity)
    near = m.compare("lt", x, 2.0 ** -(FORMATS[x.dtype].mantissa // 2))
    return m.select(near, m.fma(m.mul(x, -0.5), x, 1.0), y)


def tan(m: Lanes, x: Vec) -> Vec:
    """sin(r) / cos(r) for an even number of quarter turns, -cos(r) / sin(r) for an odd one."""
    r, parity = reduce(m, x, TANGENT)
    z = m.mul(r, r)
    sine = odd_polynomial(m, r, z, SIN_QUARTER[x.dtype])
    tail = m.mul(m.estrin(z, COS_QUARTER[x.dtype]), m.mul(z, z))
    half = m.mul(z, 0.5)
    rough = m.sub(1.0, half)
    cosine = m.add(rough, m.add(m.sub(m.sub(1.0, rough), half), tail))
    odd = m.compare("lt", parity, 0)
    top, bottom = m.select(odd, cosine, sine), m.select(odd, sine, cosine)
    y = flip_sign(m, m.div(top, bottom), parity)
    return m.select(m.compare("eq", x, 0.0), x, y)
