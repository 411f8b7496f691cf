"""How far each function may be from the exact value. Data: read by people and by the tests.

The bounds are in units in the last place of the result, for every argument, on targets with FMA and
without: the largest error measured, rounded up. f32 is measured at every bit pattern (`make ulp`), f64 on
millions of random arguments. The exceptions:
  - lgamma and digamma of negative arguments cross zero between the poles; near such a zero the bound is
    in units of the larger term of the reflection formula.
  - polygamma(n) has the bound n + 4 for x > 0, as a power n multiplies the rounding of its base; its
    negative arguments are as above.

Imports: `ir.types`.
"""

from __future__ import annotations

from typing import NamedTuple

from ...ir.types import DType, f32


class Bound(NamedTuple):
    """The largest error in ULP."""

    f32: float
    f64: float

    def of(self, dtype: DType) -> float:
        return self.f32 if dtype is f32 else self.f64


BOUNDS: dict[str, Bound] = {
    "exp": Bound(1.25, 1.25),
    "exp2": Bound(1.25, 1.25),
    "expm1": Bound(2.0, 2.5),
    "sigmoid": Bound(2.5, 2.75),
    "sinh": Bound(2.5, 2.5),
    "cosh": Bound(1.75, 1.75),
    "tanh": Bound(1.75, 1.75),
    "log": Bound(1.0, 1.0),
    "log2": Bound(2.0, 2.0),
    "log10": Bound(0.51, 0.51),
    "log1p": Bound(1.75, 1.5),
    "asinh": Bound(2.0, 2.0),
    "acosh": Bound(2.25, 2.25),
    "atanh": Bound(2.25, 2.25),
    "sin": Bound(2.5, 2.25),
    "cos": Bound(2.5, 2.25),
    "tan": Bound(3.25, 3.75),
    "asin": Bound(2.5, 2.5),
    "acos": Bound(1.25, 1.5),
    "atan": Bound(2.25, 2.5),
    "atan2": Bound(2.25, 2.25),
    "erf": Bound(1.5, 1.5),
    "lgamma": Bound(0.51, 2.5),
    "digamma": Bound(0.51, 2.75),
    "pow": Bound(0.75, 1.5),
    "fmod": Bound(0.0, 0.0),
    "remainder": Bound(0.5, 0.5),
}


def polygamma_bound(n: int) -> float:
    return n + 4.0
