"""sin, cos, tan.

Imports: `text`, `formats`, `reduction`, `coefficients`.
"""

from __future__ import annotations

from ..text import Lanes, Vec
from .coefficients import COS_QUARTER, SIN, SIN_QUARTER
from .formats import flip_sign, odd_polynomial
from .reduction import COSINE, SINE, TANGENT, reduce


def sine_of_rest(m: Lanes, r: Vec) -> Vec:
    """sin(r) for |r| <= pi / 2."""
    return odd_polynomial(m, r, m.mul(r, r), SIN[r.dtype])


def sin(m: Lanes, x: Vec) -> Vec:
    """(-1)^n sin(r), with x = n pi + r."""
    r, parity = reduce(m, x, SINE)
    y = flip_sign(m, sine_of_rest(m, r), parity)
    return m.select(m.compare("eq", x, 0.0), x, y)  # -0.0, too


def cos(m: Lanes, x: Vec) -> Vec:
    """(-1)^n sin(r), with x + pi / 2 = n pi + r."""
    r, parity = reduce(m, x, COSINE)
    return flip_sign(m, sine_of_rest(m, r), parity)


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
