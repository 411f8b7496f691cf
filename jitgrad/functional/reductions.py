"""Reductions over axes and the softmax family.

`dim` is an axis, several, or None for all; `keepdim` keeps them with size 1.
Imports: `arguments`, `creation`, `elementwise`, `shaping`, `dispatch`, `tensors`, `ir.types`, `errors`, `comparison`,
`state`.
"""

from __future__ import annotations

import builtins
import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

from ..dispatch import apply, blame, cast, expand_to, lift
from ..errors import AxisError, DTypeError, JitgradError
from ..ir.types import DType, Shape, bool_, dtype_of, i64, keep_axes, u8
from ..state import defaults
from ..tensors import Tensor, concrete, shape_of
from .arguments import Dims, axes_of, axis_of, named, node_name, numpy_names, want_float, want_number, want_tensor
from .comparison import isfinite, truth, where
from .creation import filled
from .elementwise import abs as absolute
from .elementwise import add, clone, div, log, maximum, minimum, sqrt, sub
from .elementwise import pow as power
from .shaping import reshape, squeeze


def _reduced(op: str, x: Tensor, axes: Shape, keepdim: bool) -> Tensor:
    """`op` over `axes`, which stay with size 1 if keepdim."""
    shape = shape_of(x)
    out = apply(op, x, axes=axes)
    return apply("reshape", out, shape=keep_axes(shape, axes)) if keepdim and axes else out


def accumulated(input: Any, function: str, dtype: Any) -> Tensor:
    """`input` in the dtype a sum or product of it has: integers and bools give int64."""
    x = want_tensor(function, input)
    if dtype is not None:
        return cast(x, dtype_of(dtype))
    return x if x.dtype.is_floating_point else cast(x, i64)


@numpy_names
@node_name("Sum")
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over dim; of integers and bools in int64."""
    x = accumulated(input, "sum", dtype)
    return _reduced("sum", x, axes_of(dim, x.ndim), keepdim)


@numpy_names
@node_name("Prod")
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over dim; of integers and bools in int64."""
    x = accumulated(input, "prod", dtype)
    return _reduced("prod", x, axes_of(dim, x.ndim), keepdim)


def _count(x: Tensor, axes: Shape) -> int:
    return math.prod(x.shape[a] for a in axes)


@numpy_names
@node_name("Mean")
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over dim; nan of no elements. Raises DTypeError for integers without dtype."""
    x = want_tensor("mean", input) if dtype is None else cast(want_tensor("mean", input), dtype_of(dtype))
    if not x.dtype.is_floating_point:
        raise blame(DTypeError(
            f"mean(): could not infer output dtype. Input dtype must be a floating point dtype. Got: {x.dtype}",
            hint="x.float().mean()",
        ))
    axes = axes_of(dim, x.ndim)
    total = _reduced("sum", x, axes, keepdim)
    return apply("div", total, lift(_count(x, axes), x.dtype, shape_of(total)))


@numpy_names
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The mean of what is not nan."""
    x = want_float("nanmean", input)
    there = apply("bitwise_not", apply("isnan", x))
    return div(nansum(x, dim, keepdim), sum(there, dim, keepdim))


@numpy_names
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum, nan counted as 0."""
    x = accumulated(input, "nansum", dtype)
    if x.dtype.is_floating_point:
        x = where(apply("isnan", x), 0.0, x)
    return sum(x, dim, keepdim)


def _correction(unbiased: Any, correction: Any) -> float:
    if unbiased is not None and correction is not None:
        raise TypeError("var() and std() take unbiased or correction, not both")
    if unbiased is not None:
        return 1 if unbiased else 0
    return 1 if correction is None else want_number("var", "correction", correction)


def _variance(function: str, input: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> Tensor:
    if isinstance(dim, bool):  # the form var(input, unbiased)
        dim, unbiased = None, dim
    x = want_float(function, input)
    axes = axes_of(dim, x.ndim)
    freedom = builtins.max(0, _count(x, axes) - _correction(unbiased, correction))
    centre = apply("div", _reduced("sum", x, axes, True), lift(_count(x, axes), x.dtype, keep_axes(shape_of(x), axes)))
    off = apply("sub", x, expand_to(centre, shape_of(x)))
    total = _reduced("sum", apply("mul", off, off), axes, keepdim)
    return apply("div", total, lift(freedom, x.dtype, shape_of(total)))


@numpy_names
@node_name("Var")
def var(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The variance over dim, divided by n - correction (1 by default; unbiased=False is 0). Two passes."""
    return _variance("var", input, dim, unbiased, keepdim, correction)


@numpy_names
@node_name("Std")
def std(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The square root of `var`. Its gradient is 0 where all elements are equal."""
    return _root(_variance("std", input, dim, unbiased, keepdim, correction))


@numpy_names
def var_mean(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """`var` and `mean`."""
    where_ = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, where_, keepdim)


@numpy_names
def std_mean(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """`std` and `mean`."""
    where_ = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, where_, keepdim)


@node_name("LinalgVectorNorm")
def norm(input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The vector p-norm over dim: (sum |x|^p)^(1/p); p may be inf, -inf, 0 or "fro" (2).

    The gradient at 0 is 0.
    """
    x = want_tensor("norm", input) if dtype is None else cast(want_tensor("norm", input), dtype_of(dtype))
    if not x.dtype.is_floating_point:
        raise blame(
            DTypeError(f"norm: Expected a floating point tensor as input. Got {x.dtype}", hint="x.float().norm()")
        )
    order = 2.0 if p in ("fro", None) else float(p)
    axes = axes_of(dim, x.ndim)
    if order == 2.0:
        return _root(_reduced("sum", apply("mul", x, x), axes, keepdim))
    size = absolute(x)
    if order in (math.inf, -math.inf):
        return (amax if order > 0 else amin)(size, axes, keepdim) if x.ndim else size
    if order == 0.0:
        return _reduced("sum", cast(truth(x), x.dtype), axes, keepdim)
    if order == 1.0:
        return _reduced("sum", size, axes, keepdim)
    if order < 0.0:
        return power(_reduced("sum", power(size, order), axes, keepdim), 1.0 / order)
    terms = power(size, order) if order > 1.0 else _apart_from_zero(lambda t: power(t, order), size)
    return _apart_from_zero(lambda t: power(t, 1.0 / order), _reduced("sum", terms, axes, keepdim))


def _apart_from_zero(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function`, which is 0 at 0, of x >= 0, with gradient 0 there."""
    zero = apply("eq", x, lift(0, x.dtype, shape_of(x)))
    return where(zero, 0.0, function(where(zero, 1.0, x)))


def _root(x: Tensor) -> Tensor:
    """The square root of x >= 0, with gradient 0 at 0."""
    return _apart_from_zero(sqrt, x)


def dist(input: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm of input - other."""
    return norm(sub(input, other), p)


# -- extrema


def _extremum_axes(function: str, x: Tensor, dim: Dims) -> Shape:
    axes = axes_of(dim, x.ndim)
    if 0 in [x.shape[a] for a in axes]:
        raise nothing(function, None if dim in (None, ()) else dim)
    return axes


def nothing(function: str, dim: Any) -> JitgradError:
    """The error for the extremum of no elements."""
    what = "to be specified for input.numel() == 0" if dim is None else f"{dim} to have non-zero size"
    return blame(AxisError(f"{function}(): Expected reduction dim {what}."))


@numpy_names
@node_name("Amax")
def amax(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The largest over dim; nan wins; equal ones share the gradient. Raises ShapeError where there is none."""
    x = want_tensor("amax", input)
    return _reduced("max", x, _extremum_axes("amax", x, dim), keepdim)


@numpy_names
@node_name("Amin")
def amin(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The smallest over dim; nan wins; equal ones share the gradient. Raises ShapeError where there is none."""
    x = want_tensor("amin", input)
    return _reduced("min", x, _extremum_axes("amin", x, dim), keepdim)


@numpy_names
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """`amin` and `amax`, as a named tuple (min, max)."""
    return _AMINMAX(amin(input, dim, keepdim), amax(input, dim, keepdim))


_MAX = namedtuple("max", ("values", "indices"))
_MIN = namedtuple("min", ("values", "indices"))
_AMINMAX = namedtuple("aminmax", ("min", "max"))


def _argument(op: str, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    x = want_tensor(op, input)
    if x.type_.size == 0 and (dim is None or x.shape[axis_of(dim, x.ndim)] == 0):
        raise nothing(op, dim)
    if dim is None or x.ndim == 0:
        axis, kept = 0, (1,) * x.ndim
        x = apply("reshape", x, shape=(x.type_.size,))
    else:
        axis = axis_of(dim, x.ndim)
        kept = keep_axes(shape_of(x), (axis,))
    out = apply(op, x, axis=axis)
    return apply("reshape", out, shape=kept) if keepdim else out


@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the (first) largest along dim, or in the flattened input; int64; nan wins."""
    return _argument("argmax", input, dim, keepdim)


@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the (first) smallest along dim, or in the flattened input; int64; nan wins."""
    return _argument("argmin", input, dim, keepdim)


def taken_along(input: Tensor, index: Tensor, axis: int) -> Tensor:
    """`numpy.take_along_axis`: the other axes of `index` are those of `input`."""
    rank = input.ndim
    perm = (*(i for i in range(rank) if i != axis), axis)
    x, at = apply("permute", input, perm=perm), apply("permute", index, perm=perm)
    picked = apply("gather", x, at, axis=rank - 1, batch=rank - 1)
    return apply("permute", picked, perm=tuple(perm.index(i) for i in range(rank)))


def _picked(kind: Any, arg: Any, name: str, input: Tensor, dim: int, keepdim: bool) -> Any:
    """The extremum along one axis and its position; the gradient goes to that position alone."""
    if input.ndim == 0:
        axis_of(dim, 0)
        return kind(clone(input), filled(0, i64, ()))
    axis = axis_of(dim, input.ndim)
    index = arg(input, axis, True)
    values = named(name, taken_along(input, index, axis), (input,))
    return kind(values, index) if keepdim else kind(squeeze(values, axis), squeeze(index, axis))


@numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """`max(x)` the largest; `max(x, dim)` the named tuple (values, indices); `max(x, y)` as `maximum`."""
    if isinstance(dim, Tensor):
        return maximum(input, dim)
    x = want_tensor("max", input)
    if dim is None:
        return named("Max", _reduced("max", x, _extremum_axes("max", x, None), False), (x,))
    return _picked(_MAX, argmax, "Max", x, dim, keepdim)


@numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """`min(x)` the smallest; `min(x, dim)` the named tuple (values, indices); `min(x, y)` as `minimum`."""
    if isinstance(dim, Tensor):
        return minimum(input, dim)
    x = want_tensor("min", input)
    if dim is None:
        return named("Min", _reduced("min", x, _extremum_axes("min", x, None), False), (x,))
    return _picked(_MIN, argmin, "Min", x, dim, keepdim)


# -- truth


@numpy_names
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over dim are not 0; true of none."""
    return _quantified("min", True, input, dim, keepdim)


@numpy_names
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over dim is not 0; false of none."""
    return _quantified("max", False, input, dim, keepdim)


def _quantified(op: str, of_none: bool, input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    x = truth(want_tensor("all" if of_none else "any", input))
    if input.dtype is u8:  # torch keeps the dtype that stood for bool before there was one
        return cast(_quantified(op, of_none, x, dim, keepdim), u8)
    axes = axes_of(dim, x.ndim)
    if _count(x, axes) == 0 and axes:
        shape = tuple(
            1 if i in axes else n for i, n in enumerate(x.shape) if keepdim or i not in axes
        )
        return filled(of_none, bool_, shape)
    return _reduced(op, x, axes, keepdim)


@numpy_names
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements over dim are not 0; int64."""
    return sum(truth(want_tensor("count_nonzero", input)), dim)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal, as a bool."""
    if shape_of(input) != shape_of(other):
        return False
    from .comparison import eq

    return bool(concrete(all(eq(input, other)), "equal()"))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether `isclose` holds everywhere, as a bool."""
    from .comparison import isclose

    return bool(concrete(all(isclose(input, other, rtol, atol, equal_nan)), "allclose()"))


# -- softmax


def _top(x: Tensor, axes: Shape) -> Tensor:
    """The largest over `axes`, kept with size 1, outside the graph: its gradient cancels in what uses it."""
    return _reduced("max", apply("detach", x), axes, True)


def finite_top(x: Tensor, axes: Shape) -> Tensor:
    """`_top`, with 0 for an infinite one, which subtracted would give nan."""
    top = _top(x, axes)
    return where(isfinite(top), top, 0.0)


def _soft(function: str, input: Any, dim: int | None, dtype: Any) -> tuple[Tensor, int]:
    x = want_tensor(function, input) if dtype is None else cast(want_tensor(function, input), dtype_of(dtype))
    x = want_float(function, x)
    if dim is None:
        raise TypeError(f"{function}() missing 1 required positional argument: 'dim'")
    return x, axis_of(dim, x.ndim)


def _of_scalar(function: Any, x: Tensor) -> Tensor:
    return reshape(function(reshape(x, (1,)), 0), ())


@numpy_names
@node_name("Softmax")
def softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """exp(input) / sum(exp(input)) along dim, computed from the distance to the largest element."""
    x, axis = _soft("softmax", input, dim, dtype)
    if not x.ndim:
        return _of_scalar(softmax, x)
    if not x.type_.size:
        return clone(x)
    shape = shape_of(x)
    weights = apply("exp", apply("sub", x, expand_to(_top(x, (axis,)), shape)))
    return apply("div", weights, expand_to(_reduced("sum", weights, (axis,), True), shape))


@numpy_names
@node_name("LogSoftmax")
def log_softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """log(softmax(input, dim)), without overflow."""
    x, axis = _soft("log_softmax", input, dim, dtype)
    if not x.ndim:
        return _of_scalar(log_softmax, x)
    if not x.type_.size:
        return clone(x)
    shape = shape_of(x)
    off = apply("sub", x, expand_to(_top(x, (axis,)), shape))
    total = apply("log", _reduced("sum", apply("exp", off), (axis,), True))
    return apply("sub", off, expand_to(total, shape))


def softmin(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """softmax(-input, dim)."""
    return softmax(apply("neg", want_float("softmin", input)), dim, dtype)


@numpy_names
@node_name("Logsumexp")
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over dim, without overflow; -inf of no elements."""
    x = want_tensor("logsumexp", input)
    x = x if x.dtype.is_floating_point else cast(x, defaults.dtype)
    axes = axes_of(dim, x.ndim)
    if _count(x, axes) == 0:
        return log(sum(x, axes, keepdim))
    top = finite_top(x, axes)
    total = log(_reduced("sum", apply("exp", apply("sub", x, expand_to(top, shape_of(x)))), axes, True))
    out = add(total, top)
    return out if keepdim or not axes else squeeze(out, axes)

