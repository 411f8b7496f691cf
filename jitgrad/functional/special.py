"""Elementwise functions composed of selections too: erfc, logaddexp, hypot, lerp.

Imports: `arguments`, `comparison`, `elementwise`, `autograd.function`, `dispatch`, `tensors`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.function import Function
from ..dispatch import Number, apply, lift, operands, result_dtype
from ..tensors import Tensor, shape_of
from .arguments import as_float, node_name, want_float, want_tensor
from .comparison import eq, isinf, isnan, logical_and, logical_or, lt, where
from .elementwise import abs, add, div, exp, log1p, mul, neg, sqrt, sub

# Rational approximations of exp(x^2) erfc(x): W. J. Cody, "Rational Chebyshev approximations for the error
# function", Mathematics of Computation 23 (1969), for 0.46875 <= x <= 4 and, in 1 / x^2, for x > 4. Highest power
# first.
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 66.1191906371416295, 298.635138197400131,
     881.952221241769090, 1712.04761263407058, 2051.07837782607147, 1230.33935479799725),
    (1.0, 15.7449261107098347, 117.693950891312499, 537.181101862009858, 1621.38957456669019, 3290.79923573345963,
     4362.61909014324716, 3439.36767414372164, 1230.33935480374942),
)
_TAIL = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)
_ONE_OVER_SQRT_PI = 1 / math.sqrt(math.pi)


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    shape = shape_of(x)
    out = lift(coefficients[0], x.dtype, shape)
    for c in coefficients[1:]:
        out = apply("add", apply("mul", out, x), lift(c, x.dtype, shape))
    return out


def _ratio(x: Tensor, pair: tuple[Sequence[float], Sequence[float]]) -> Tensor:
    return div(_polynomial(x, pair[0]), _polynomial(x, pair[1]))


class Erfc(Function):
    """erfc and its derivative; the branches would make a longer one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        size = abs(x)
        near, far = lt(size, 0.46875), lt(4.0, size)
        # Each branch is computed on arguments of its own range, so that none overflows.
        middle = where(near | far, 1.0, size)
        tail = where(far, size, 5.0)
        inverse = div(1.0, mul(tail, tail))
        scaled = div(sub(_ONE_OVER_SQRT_PI, mul(inverse, _ratio(inverse, _TAIL))), tail)
        positive = mul(_exp_of_minus_square(size), where(far, scaled, _ratio(middle, _MIDDLE)))
        beyond = where(lt(x, 0), sub(2.0, positive), positive)
        return where(near, sub(1.0, apply("erf", x)), beyond)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return mul(grad, mul(exp(neg(mul(x, x))), -2 * _ONE_OVER_SQRT_PI))


def _exp_of_minus_square(x: Tensor) -> Tensor:
    """exp(-x^2) for x >= 0, of x split in two so that rounding the square costs no digits (Cody, as above)."""
    head = div(apply("trunc", mul(x, 16.0)), 16.0)
    rest = mul(sub(x, head), x + head)
    return where(lt(30.0, x), 0.0, mul(exp(neg(mul(head, head))), exp(neg(rest))))


def erfc(input: Tensor) -> Tensor:
    """1 - erf(input), exact where that would cancel. No forward-mode derivative."""
    return Erfc.apply(as_float("erfc", input))


def _two_floats(function: str, input: Any, other: Any) -> tuple[Tensor, ...]:
    """Two tensors brought together, in a floating-point dtype. Raises DTypeError if neither is floating point."""
    x, y = want_tensor(function, input), want_tensor(function, other, "other", 2)
    return operands(x, y) if result_dtype(x, y).is_floating_point else operands(want_float(function, x), y)


@node_name("Logaddexp")
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    x, y = _two_floats("logaddexp", input, other)
    larger = apply("maximum", x, y)
    # Equal infinities differ by nan, and are their own result.
    apart = where(apply("eq", x, y), 0.0, apply("abs", apply("sub", x, y)))
    return add(larger, log1p(exp(apply("neg", apart))))


@node_name("Hypot")
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2), scaled by the larger so that the squares neither overflow nor vanish; infinite where
    either is, beside nan too."""
    x, y = _two_floats("hypot", input, other)
    x, y = apply("abs", x), apply("abs", y)
    high, low = apply("maximum", x, y), apply("minimum", x, y)
    plain = logical_or(eq(high, 0), isinf(high))
    ratio = where(plain, 0.0, div(low, where(plain, 1.0, high)))
    length = mul(high, sqrt(add(mul(ratio, ratio), 1)))
    return where(logical_and(isnan(length), logical_or(isinf(x), isinf(y))), math.inf, length)


def lerp(input: Tensor, end: Any, weight: Any) -> Tensor:
    """input + weight * (end - input), computed from the nearer end so that both ends are exact."""
    if isinstance(weight, Number):
        near = math.fabs(weight) < 0.5
        difference = sub(end, input)
        return add(input, mul(difference, weight)) if near else sub(end, mul(difference, 1 - weight))
    difference = sub(end, input)
    from_start = add(input, mul(difference, weight))
    from_end = sub(end, mul(difference, sub(1, weight)))
    return where(lt(abs(weight), 0.5), from_start, from_end)
