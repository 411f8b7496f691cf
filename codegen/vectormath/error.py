"""erf.

Imports: `text`, `exponential`, `coefficients`, `ir.types`.
"""

from __future__ import annotations

from ...ir.types import f32, f64
from ..text import Lanes, Vec
from .coefficients import ERF_LOG, ERF_SCALED, ERF_SMALL
from .exponential import exp_normal

_SMALL = {f32: 0.93, f64: 1.0}  # up to here the odd polynomial
_LIMIT = {f32: 3.95, f64: 5.95}  # from here on erf rounds to 1


def erf(m: Lanes, x: Vec) -> Vec:
    """x + x P(x^2) near 0; else 1 - erfc(|x|), with erfc as e^(a Q(a)) (f32) or e^(-a^2) R(1 / (a + 3))."""
    dtype = x.dtype
    z = m.mul(x, x)
    small = m.fma(m.estrin(z, ERF_SMALL[dtype]), x, x)
    a = m.abs(x)
    inside = m.select(m.compare("gt", a, _LIMIT[dtype]), _LIMIT[dtype], a)
    if dtype is f32:
        erfc = exp_normal(m, m.mul(m.estrin(inside, ERF_LOG[f32]), inside))
    else:
        u = m.div(m.const(1.0, f64), m.add(inside, 3.0))
        erfc = m.mul(exp_normal(m, m.neg(m.mul(inside, inside))), m.estrin(u, ERF_SCALED[f64]))
    large = m.sub(1.0, erfc)
    return m.copysign(m.select(m.compare("lt", a, _SMALL[dtype]), small, large), x)
