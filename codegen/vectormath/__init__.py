"""Vector mathematics: the functions of the op table on lanes of f32 and f64, of our own in LLVM IR.

Straight-line, branch-free code on any number of lanes, with the same bits whatever the width. On targets
with FMA nothing calls a library. Rare arguments (angles beyond 1e5 in f32 and 1e9 in f64, huge quotients
in fmod) branch to slow and exact code. Large functions are written once a module and called.

`exponential`, `logarithm`, `power`, `trigonometric` (on the range `reduction` of angles), `inverse`, `error`, `gamma`
and `division` have the functions; `formats` and `exact` what they share.

`bounds` says how accurate each function is; tools/derive_coefficients.py where the `coefficients` come from.

Imports: `ir`, `text`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..text import Lanes, Vec
from .division import floor_divide, fmod, remainder
from .error import erf
from .exponential import cosh, exp, exp2, expm1, sigmoid, sinh, tanh
from .gamma import digamma, lgamma, polygamma
from .inverse import acos, asin, atan, atan2
from .logarithm import acosh, asinh, atanh, log, log1p, log2, log10
from .power import pow
from .trigonometric import cos, sin, tan

__all__ = ["UNARY", "atan2", "floor_divide", "fmod", "polygamma", "pow", "remainder"]

UNARY: dict[str, Callable[[Lanes, Vec], Vec]] = {
    f.__name__: f
    for f in (
        exp, exp2, expm1, sigmoid, sinh, cosh, tanh, log, log2, log10, log1p, asinh, acosh, atanh, sin, cos, tan, asin,
        acos, atan, erf, lgamma, digamma,
    )
}
