"""Elementwise functions that compare, combine truth values and bits, and select.

Operands are brought to a common dtype and shape by torch's rules (`dispatch.operands`).
Imports: `arguments`, `creation`, `elementwise`, `dispatch`, `tensors`, `ir.types`, `errors`, `state`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import apply, blame, cast, check_int, common_shape, expand_to, lift, operands, result_dtype
from ..errors import DTypeError, JitgradError
from ..ir.types import bool_, i64
from ..state import defaults
from ..tensors import Tensor
from .arguments import node_name, not_bool, want_tensor
from .creation import filled
from .elementwise import abs, add, clone, fits, modular, mul, sub

# -- comparison


def _comparison(op: str, sign: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        if fits(input) and fits(other):
            return apply(op, *operands(input, other))
        return _compared(op, input, other)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"Whether input {sign} other, elementwise."
    return function


def _compared(op: str, input: Any, other: Any) -> Tensor:
    """A comparison with a large integer: with one that the dtype does not hold, of that integer's own value."""
    dtype = result_dtype(input, other)
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        for x, t in ((input, other), (other, input)):
            if isinstance(x, (int, np.integer)) and isinstance(t, Tensor) and not limits.min <= x <= limits.max:
                check_int(x)
                zero, beyond = (lift(n, i64, tuple(t.shape)) for n in (0, 1 if x > 0 else -1))
                return apply(op, *((beyond, zero) if x is input else (zero, beyond)))
    return apply(op, *operands(input, other))


eq = _comparison("eq", "==")
ne = _comparison("ne", "!=")
lt = _comparison("lt", "<")
le = _comparison("le", "<=")
gt = _comparison("gt", ">")
ge = _comparison("ge", ">=")
not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, elementwise; equal infinities are close."""
    if want_tensor("isclose", input).dtype is not want_tensor("isclose", other, "other", 2).dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    same = eq(input, other)
    if equal_nan and input.dtype.is_floating_point:
        same = logical_or(same, logical_and(isnan(input), isnan(other)))
    if rtol == 0 and atol == 0:
        return same
    if not input.dtype.is_floating_point:
        input, other = cast(input, defaults.dtype), cast(other, defaults.dtype)
    difference = abs(sub(input, other))
    near = le(difference, add(mul(abs(other), rtol), atol))
    return logical_or(same, logical_and(isfinite(difference), near))


def isnan(input: Tensor) -> Tensor:
    """Whether each element is nan."""
    return _test("isnan", input)


def isinf(input: Tensor) -> Tensor:
    """Whether each element is infinite."""
    return _test("isinf", input)


def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither nan nor infinite."""
    if not want_tensor("isfinite", input).dtype.is_floating_point:
        return filled(True, bool_, tuple(input.shape))
    return apply("bitwise_not", apply("bitwise_or", apply("isnan", input), apply("isinf", input)))


def _test(op: str, input: Tensor) -> Tensor:
    if not want_tensor(op, input).dtype.is_floating_point:
        return filled(False, bool_, tuple(input.shape))
    return apply(op, input)


# -- logic


def truth(input: Any) -> Tensor:
    """`input` as bool: whether each element is not 0."""
    t = input if isinstance(input, Tensor) else lift(bool(input), bool_)
    return t if t.dtype is bool_ else apply("ne", t, lift(0, t.dtype, tuple(t.shape)))


def logical_not(input: Tensor) -> Tensor:
    """Whether each element is 0."""
    return apply("bitwise_not", truth(want_tensor("logical_not", input)))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both are not 0, elementwise."""
    return apply("bitwise_and", *operands(truth(input), truth(other)))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether one or both are not 0, elementwise."""
    return apply("bitwise_or", *operands(truth(input), truth(other)))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether exactly one is not 0, elementwise."""
    return apply("bitwise_xor", *operands(truth(input), truth(other)))


def _no_bits(op: str, x: Tensor) -> JitgradError:
    return blame(DTypeError(f'"{op}" is not implemented for {x.dtype}', hint="it works on the bits of integers"))


def _bitwise(op: str, doc: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        x, y = operands(input, other) if op.startswith("shift") else modular(input, other)
        if x.dtype.is_floating_point or (op.startswith("shift") and x.dtype is bool_):
            raise _no_bits(op, x)
        return apply(op, x, y)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    return function


bitwise_and = _bitwise("bitwise_and", "The bits set in both; of bools, logical and.")
bitwise_or = _bitwise("bitwise_or", "The bits set in one or both; of bools, logical or.")
bitwise_xor = _bitwise("bitwise_xor", "The bits set in exactly one; of bools, logical xor.")
bitwise_left_shift = _bitwise("shift_left", "input shifted left by other bits.")
bitwise_right_shift = _bitwise("shift_right", "input shifted right by other bits, its sign kept.")


def bitwise_not(input: Tensor) -> Tensor:
    """Every bit flipped; of bools, logical not. Raises DTypeError for floating point."""
    if want_tensor("bitwise_not", input).dtype.is_floating_point:
        raise _no_bits("bitwise_not", input)
    return apply("bitwise_not", input)


# -- selection


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where condition, else other. `where(condition)` alone gives the positions, as `nonzero` does.

    Raises DTypeError unless condition is bool.
    """
    if input is None and other is None:
        from .indexing import nonzero

        return nonzero(condition, as_tuple=True)
    if want_tensor("where", condition).dtype is not bool_:
        raise blame(DTypeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}",
            hint="compare it: condition != 0",
        ))
    dtype = result_dtype(input, other)
    x, y = (cast(t, dtype) for t in operands(input, other))
    if condition.shape == x.shape:
        return apply("select", condition, x, y)
    shape = common_shape(condition, x)
    return apply("select", expand_to(condition, shape), expand_to(x, shape), expand_to(y, shape))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input, with `value` where mask holds; the dtype of input stays."""
    want_tensor("masked_fill", input)
    if want_tensor("masked_fill", mask, "mask", 2).dtype is not bool_:
        raise blame(DTypeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}"))
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = cast(value, input.dtype)
    else:
        value = lift(value, input.dtype)
    return where(mask, value, input)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """input, limited to [min, max], numbers or tensors; at a limit the gradient goes to input."""
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    x = want_tensor("clamp", input)
    dtype = result_dtype(*[v for v in (x, min, max) if v is not None])
    not_bool("clamp", cast(x, dtype))
    if min is not None:
        x = _limit("lt", x, min, dtype)
    return x if max is None else _limit("gt", x, max, dtype)


@node_name("Clamp")
def _limit(beyond: str, input: Tensor, limit: Any, dtype: Any) -> Tensor:
    """`limit` where input lies beyond it or limit is nan, else input."""
    x, y = operands(input, limit, dtype=dtype)
    outside = apply(beyond, x, y)
    if dtype.is_floating_point and (isinstance(limit, Tensor) or limit != limit):
        outside = apply("bitwise_or", outside, apply("isnan", y))
    return apply("select", outside, y, x)


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """input, or min where that is larger."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """input, or max where that is smaller."""
    return clamp(input, max=max)


def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """input, with nan replaced by `nan` (0) and infinities by posinf, neginf (the dtype's limits)."""
    if not want_tensor("nan_to_num", input).dtype.is_floating_point:
        return clone(input)
    limits = np.finfo(input.dtype.numpy)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    x = where(isnan(input), 0.0 if nan is None else nan, input)
    x = where(eq(input, math.inf), high, x)
    return where(eq(input, -math.inf), low, x)
