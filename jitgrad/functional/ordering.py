"""Scans and order: running sums, sorting, and what follows from it (topk, median, quantile, unique).

Imports: `arguments`, `creation`, `elementwise`, `reductions`, `shaping`, `dispatch`, `tensors`, `ir.types`.
"""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from ..dispatch import apply, expand_to, lift
from ..ir.types import i64
from ..tensors import Tensor, concrete, make, shape_of
from .arguments import axis_of, node_name, want_float, want_tensor
from .creation import filled
from .elementwise import add, clone, exp, log, mul, sub, where
from .reductions import accumulated, argmax, finite_top
from .shaping import flatten, reshape, sliced, squeeze

_SORT = namedtuple("sort", ("values", "indices"))
_TOPK = namedtuple("topk", ("values", "indices"))
_MEDIAN = namedtuple("median", ("values", "indices"))
_KTH = namedtuple("kthvalue", ("values", "indices"))

# -- scans


@node_name("Cumsum")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along dim; of integers and bools in int64."""
    x = accumulated(input, "cumsum", dtype)
    axis = axis_of(dim, x.ndim)
    return apply("cumsum", x, axis=axis) if x.ndim else clone(x)


@node_name("Diff")
def diff(input: Tensor, n: int = 1, dim: int = -1) -> Tensor:
    """Each element less the one before it along dim, n times over."""
    x = want_tensor("diff", input)
    axis = axis_of(dim, x.ndim)
    if not x.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    for _ in range(min(n, x.shape[axis])):
        size = x.shape[axis]
        x = sub(sliced(x, axis, 1, size), sliced(x, axis, 0, size - 1))
    return x


@node_name("Cumprod")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along dim, by doubling strides; of integers and bools in int64."""
    x = accumulated(input, "cumprod", dtype)
    axis = axis_of(dim, x.ndim)
    if not x.ndim:
        return clone(x)
    n, step, rank = x.shape[axis], 1, x.ndim
    one, none = lift(1, x.dtype), (0,) * rank
    out = clone(x) if n < 2 else x
    while step < n:
        low = tuple(step if i == axis else 0 for i in range(rank))
        before = apply("pad", sliced(out, axis, 0, n - step), one, low=low, high=none, interior=none)
        out = apply("mul", out, before)
        step *= 2
    return out


@node_name("Logcumsumexp")
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sums of exp(input) along dim, from the largest element's distance."""
    x = want_float("logcumsumexp", input)
    axis = axis_of(dim, x.ndim)
    if not x.ndim or not x.shape[axis]:
        return clone(x)
    top = expand_to(finite_top(x, (axis,)), shape_of(x))
    return add(log(cumsum(exp(sub(x, top)), axis)), top)


# -- order


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Sorted along dim (always stable; nan counts as largest), as the named tuple (values, indices)."""
    x = want_tensor("sort", input)
    axis = axis_of(dim, x.ndim)
    if not x.ndim:
        return _SORT(clone(x), filled(0, i64, ()))
    return _SORT(*apply("sort", x, axis=axis, descending=bool(descending)))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that sort input along dim; int64."""
    return sort(input, dim, descending).indices


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) along dim, in order, as the named tuple (values, indices)."""
    x = want_tensor("topk", input)
    axis = axis_of(dim, x.ndim)
    n = x.shape[axis] if x.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    ordered = sort(x, axis, largest)
    if not x.ndim:
        return _TOPK(*ordered)
    return _TOPK(sliced(ordered.values, axis, 0, k), sliced(ordered.indices, axis, 0, k))


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest along dim (k from 1), as the named tuple (values, indices)."""
    x = want_tensor("kthvalue", input)
    axis = axis_of(dim, x.ndim)
    n = x.shape[axis] if x.ndim else 1
    if not 1 <= k <= n:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(axis))
    return _KTH(*_ranked(x, k - 1, axis, keepdim))


def _ranked(x: Tensor, at: int, axis: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    ordered = sort(x, axis)
    if not x.ndim:
        return ordered.values, ordered.indices
    found = [sliced(part, axis, at, at + 1) for part in ordered]
    return tuple(found if keepdim else [squeeze(part, axis) for part in found])  # type: ignore[return-value]


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, the lower one of two; nan if there is any. With dim the named tuple (values, indices)."""
    x = want_tensor("median", input)
    if dim is None:
        if not x.type_.size:
            return filled(math.nan, x.dtype, ())
        return median(flatten(x), 0).values
    axis = axis_of(dim, x.ndim)
    n = x.shape[axis] if x.ndim else 1
    values, indices = _ranked(x, (n - 1) // 2, axis, True)
    if x.dtype.is_floating_point and x.ndim:
        last_value, _ = _ranked(x, n - 1, axis, True)  # nan sorts last
        first_nan = argmax(apply("isnan", x), axis, True)
        spoiled = apply("isnan", last_value)
        values, indices = where(spoiled, last_value, values), where(spoiled, first_nan, indices)
    if not keepdim and x.ndim:
        values, indices = squeeze(values, axis), squeeze(indices, axis)
    return _MEDIAN(values, indices)


def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The q-quantile (0 <= q <= 1, a number) along dim, interpolated linearly; nan if there is any."""
    x = want_float("quantile", input)
    if not 0 <= q <= 1:
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
