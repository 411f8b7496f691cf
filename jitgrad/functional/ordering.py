"""Scans and order: running sums, sorting, and what follows from it (topk, median, quantile, unique).

Imports: `arguments`, `creation`, `elementwise`, `reductions`, `shaping`, `dispatch`, `tensors`, `ir.types`,
`comparison`, `special`.
"""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import apply, lift
from ..ir.types import bool_, i64
from ..tensors import Tensor, concrete, make
from .arguments import axis_of, node_name, not_bool, numpy_names, want_float, want_int, want_number, want_tensor
from .comparison import eq, logical_or, logical_xor, where
from .creation import filled
from .elementwise import add, clone, mul, sub
from .reductions import accumulated, amax, argmax, nothing
from .shaping import flatten, reshape, sliced, squeeze
from .special import logaddexp

_SORT = namedtuple("sort", ("values", "indices"))
_TOPK = namedtuple("topk", ("values", "indices"))
_MEDIAN = namedtuple("median", ("values", "indices"))
_KTH = namedtuple("kthvalue", ("values", "indices"))

# -- scans


@numpy_names
@node_name("Cumsum")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along dim; of integers and bools in int64."""
    x = accumulated(input, "cumsum", dtype)
    axis = axis_of(dim, x.ndim)
    return apply("cumsum", x, axis=axis) if x.ndim else clone(x)


@numpy_names
@node_name("Diff")
def diff(input: Tensor, n: int = 1, dim: int = -1) -> Tensor:
    """Each element less the one before it along dim, n times over; of bools, whether they differ."""
    x = want_tensor("diff", input)
    axis, n = axis_of(dim, x.ndim), want_int("diff", "n", n)
    if not x.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if n == 0:
        return clone(x)
    minus = logical_xor if x.dtype is bool_ else sub
    for _ in range(min(n, x.shape[axis])):
        size = x.shape[axis]
        x = minus(sliced(x, axis, 1, size), sliced(x, axis, 0, size - 1))
    return x


@numpy_names
@node_name("Cumprod")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along dim, by doubling strides; of integers and bools in int64."""
    x = accumulated(input, "cumprod", dtype)
    axis = axis_of(dim, x.ndim)
    return _doubled(x, axis, 1, mul) if x.ndim else clone(x)


def _doubled(x: Tensor, axis: int, neutral: float, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The results of `combine` over all elements up to each along `axis`: of 2, of 4, of 8 ... elements."""
    n, step, rank = x.shape[axis], 1, x.ndim
    fill, none = lift(neutral, x.dtype), (0,) * rank
    out = clone(x) if n < 2 else x
    while step < n:
        low = tuple(step if i == axis else 0 for i in range(rank))
        before = apply("pad", sliced(out, axis, 0, n - step), fill, low=low, high=none, interior=none)
        out = combine(out, before)
        step *= 2
    return out


@numpy_names
@node_name("Logcumsumexp")
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sums of exp(input) along dim, by doubling strides of `logaddexp`: each is as exact as if it
    were summed alone."""
    x = want_float("logcumsumexp", input)
    axis = axis_of(dim, x.ndim)
    return _doubled(x, axis, -math.inf, logaddexp) if x.ndim else clone(x)


# -- order


@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Sorted along dim (always stable; nan counts as largest), as the named tuple (values, indices)."""
    x = want_tensor("sort", input)
    axis = axis_of(dim, x.ndim)
    if not x.ndim:
        return _SORT(clone(x), filled(0, i64, ()))
    return _SORT(*apply("sort", x, axis=axis, descending=bool(descending)))


@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that sort input along dim; int64."""
    return sort(input, dim, descending).indices


@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) along dim, in order, as the named tuple (values, indices)."""
    x = want_tensor("topk", input)
    axis = axis_of(dim, x.ndim)
    n = x.shape[axis] if x.ndim else 1
    if not 0 <= want_int("topk", "k", k) <= n:
        raise RuntimeError("selected index k out of range")
    ordered = sort(x, axis, largest)
    if not x.ndim:
        return _TOPK(*ordered)
    return _TOPK(*[clone(sliced(part, axis, 0, k)) for part in ordered])


@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest along dim (k from 1), as the named tuple (values, indices)."""
    x = want_tensor("kthvalue", input)
    axis = axis_of(dim, x.ndim)
    n = x.shape[axis] if x.ndim else 1
    if not 1 <= want_int("kthvalue", "k", k) <= n:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(axis))
    return _KTH(*_ranked(x, k - 1, axis, keepdim))


def _ranked(x: Tensor, at: int, axis: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    ordered = sort(x, axis)
    if not x.ndim:
        return ordered.values, ordered.indices
    found = [clone(sliced(part, axis, at, at + 1)) for part in ordered]
    return tuple(found if keepdim else [squeeze(part, axis) for part in found])  # type: ignore[return-value]


@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, the lower one of two; nan if there is any. With dim the named tuple (values, indices).

    Without dim, elements equal to it share the gradient, and that of no elements is nan (the least integer); with
    dim, an axis of size 0 is an AxisError.
    """
    x = want_tensor("median", input)
    not_bool("median", x)
    if dim is None:
        return _median_of_all(flatten(x))
    axis = axis_of(dim, x.ndim)
    n = x.shape[axis] if x.ndim else 1
    if n == 0:
        raise nothing("median", dim)
    values, indices = _ranked(x, (n - 1) // 2, axis, True)
    if x.dtype.is_floating_point and x.ndim:
        last_value, _ = _ranked(x, n - 1, axis, True)  # nan sorts last
        first_nan = argmax(apply("isnan", x), axis, True)
        spoiled = apply("isnan", last_value)
        values, indices = where(spoiled, last_value, values), where(spoiled, first_nan, indices)
    if not keepdim and x.ndim:
        values, indices = squeeze(values, axis), squeeze(indices, axis)
    return _MEDIAN(values, indices)


def _median_of_all(x: Tensor) -> Tensor:
    floating = x.dtype.is_floating_point
    if not x.type_.size:
        return filled(math.nan if floating else int(np.iinfo(x.dtype.numpy).min), x.dtype, ())
    value = median(apply("detach", x), 0).values
    if not floating:
        return value
    tied = logical_or(eq(x, value), apply("isnan", x))
    return amax(where(tied, x, -math.inf))  # whose gradient ties share, as torch's median has it


@numpy_names
def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The q-quantile (0 <= q <= 1, a number) along dim, interpolated linearly; nan if there is any."""
    x = want_float("quantile", input)
    if not 0 <= want_number("quantile", "q", q) <= 1:
        raise RuntimeError("quantile() q values must be in the range [0, 1]")
    if dim is None:
        kept = (1,) * x.ndim
        out = quantile(flatten(x), q, 0)
        return reshape(out, kept) if keepdim else out
    axis = axis_of(dim, x.ndim)
    ordered = sort(x, axis).values
    n = x.shape[axis]
    place = q * (n - 1)
    low = math.floor(place)
    below = sliced(ordered, axis, low, low + 1)
    above = sliced(ordered, axis, min(low + 1, n - 1), min(low + 1, n - 1) + 1)
    value = add(below, mul(sub(above, below), place - low))
    value = where(apply("isnan", sliced(ordered, axis, n - 1, n)), math.nan, value)
    return value if keepdim else squeeze(value, axis)


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False
) -> Any:
    """The distinct elements, sorted; with the place of each element among them and how often each occurs.

    How many there are depends on the values, so not inside a traced function.
    """
    array = concrete(want_tensor("unique", input), "unique()")
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    out = [make(values)]
    if return_inverse:
        out.append(make(inverse.reshape(array.shape).astype(np.int64)))
    if return_counts:
        out.append(make(counts.astype(np.int64)))
    return out[0] if len(out) == 1 else tuple(out)
