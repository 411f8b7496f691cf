"""Reductions, scans and sorting along axes.

`sum` and `cumsum` are linear. `max` and `min` share the cotangent evenly among ties, as torch's amax.
A reduction drops its axes; keepdim is a reshape that the user's face adds.

Imports: `record`, `infer`, `sampling`, `shape`, `errors`, `types`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..types import Shape, TensorType, drop_axes, i64
from . import sampling
from .infer import ANY, NUMBER, want_axis, want_kind, want_rising
from .record import Linear, Nondiff, OpDef, Rules
from .shape import inverse_permutation

_REDUCTION = frozenset({"reduction"})


def _infer_reduce(op: str, kinds: frozenset[str], empty: bool) -> Any:
    def infer(x: TensorType, axes: Shape) -> TensorType:
        want_kind(op, kinds, x)
        want_rising(op, axes, x)
        if not empty and any(x.shape[a] == 0 for a in axes):
            raise ShapeError(f"{op}: cannot reduce an axis of size 0 of {x}: the operation has no identity")
        return x.with_shape(drop_axes(x.shape, axes))

    return infer


def _infer_arg(op: str) -> Any:
    def infer(x: TensorType, axis: int) -> TensorType:
        want_kind(op, ANY, x)
        want_axis(op, axis, x)
        if x.shape[axis] == 0:
            raise ShapeError(f"{op}: cannot search an axis of size 0 of {x}")
        return TensorType(i64, drop_axes(x.shape, (axis,)))

    return infer


def spread(b: Any, v: Any, shape: Shape, axes: Shape) -> Any:
    """`v`, which a reduction over `axes` left, repeated along them again."""
    return b.broadcast(v, shape=shape, dims=tuple(i for i in range(len(shape)) if i not in axes))


def _hits(b: Any, x: Any, out: Any, axes: Shape) -> Any:
    """Where x is the extremum: equal to it, or nan, for nan wins."""
    return b.bitwise_or(b.eq(x, spread(b, out, b.type_of(x).shape, axes)), b.isnan(x))


def _share_extremum(b: Any, ct: Any, x: Any, out: Any, axes: Shape) -> Any:
    """`ct` shared evenly among the elements that are the extremum."""
    type = b.type_of(x)
    hit = _hits(b, x, out, axes)
    share = b.div(ct, b.sum(b.cast(hit, dtype=type.dtype), axes=axes))
    return b.select(hit, spread(b, share, type.shape, axes), 0.0)


def _push_extremum(b: Any, t: Any, x: Any, out: Any, axes: Shape) -> Any:
    type = b.type_of(x)
    hit = _hits(b, x, out, axes)
    total = b.sum(b.select(hit, t, 0.0), axes=axes)
    return b.div(total, b.sum(b.cast(hit, dtype=type.dtype), axes=axes))


def _scan_product(b: Any, v: Any, axis: int, reverse: bool) -> Any:
    """Products of all elements before (or behind) each one along `axis`, by doubling strides."""
    shape = b.type_of(v).shape
    n, none = shape[axis], (0,) * len(shape)
    one = b.constant(1, b.type_of(v).with_shape(()))

    def shifted(u: Any, by: int) -> Any:
        by = min(by, n)
        low, high = (0, by) if reverse else (by, 0)  # ones enter at one end, as many leave at the other
        start, limit = _at(none, axis, high), _at(shape, axis, n - low)
        cut = b.slice(u, start=start, limit=limit, step=(1,) * len(shape))
        return b.pad(cut, one, low=_at(none, axis, low), high=_at(none, axis, high), interior=none)

    out, step = shifted(v, 1), 1
    while step < n:
        out = b.mul(out, shifted(out, step))
        step *= 2
    return out


def _at(shape: Shape, axis: int, size: int) -> Shape:
    """`shape` with another size at `axis`."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def _prod_partial(b: Any, x: Any, axes: Shape) -> Any:
    """The product of all other elements, right where one or several are zero: prefix times suffix."""
    shape = b.type_of(x).shape
    kept = tuple(i for i in range(len(shape)) if i not in axes)
    perm = kept + tuple(axes)
    flat_shape = (*(shape[i] for i in kept), math.prod(shape[i] for i in axes))
    flat = b.reshape(b.permute(x, perm=perm), shape=flat_shape)
    last = len(flat_shape) - 1
    others = b.mul(_scan_product(b, flat, last, False), _scan_product(b, flat, last, True))
    back = b.reshape(others, shape=tuple(shape[i] for i in perm))
    return b.permute(back, perm=inverse_permutation(perm))


def _vjp_prod(b: Any, ct: Any, x: Any, axes: Shape) -> Any:
    return b.mul(spread(b, ct, b.type_of(x).shape, axes), _prod_partial(b, x, axes))


def _jvp_prod(b: Any, t: Any, x: Any, axes: Shape) -> Any:
    return b.sum(b.mul(t, _prod_partial(b, x, axes)), axes=axes)


def _infer_scan(x: TensorType, axis: int) -> TensorType:
    want_kind("cumsum", NUMBER, x)
    want_axis("cumsum", axis, x)
    return x


def _infer_sort(x: TensorType, axis: int, descending: bool) -> tuple[TensorType, TensorType]:
    want_axis("sort", axis, x)
    return x, x.with_dtype(i64)


def _ref_sort(x: np.ndarray, axis: int, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    if descending:
        # A stable descending order is the reversed stable ascending order of the reversed axis.
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    return np.take_along_axis(x, order, axis), order.astype(np.int64)


def along(b: Any, x: Any, index: Any, axis: int) -> Any:
    """`numpy.take_along_axis`: gather with every axis but one as batch."""
    rank = b.type_of(x).rank
    perm = (*(i for i in range(rank) if i != axis), axis)
    picked = b.gather(b.permute(x, perm=perm), b.permute(index, perm=perm), axis=rank - 1, batch=rank - 1)
    return b.permute(picked, perm=inverse_permutation(perm))


def _vjp_sort(b: Any, ct: Any, out1: Any, x_type: TensorType, axis: int) -> Any:
    rank = x_type.rank
    perm = (*(i for i in range(rank) if i != axis), axis)
    placed = b.scatter_add(
        b.zeros(x_type.with_shape(x_type.shape[p] for p in perm)), b.permute(out1, perm=perm),
        b.permute(ct, perm=perm), axis=rank - 1, batch=rank - 1,
    )
    return b.permute(placed, perm=inverse_permutation(perm))


_EXTREMUM = Rules(vjp=(_share_extremum,), jvp=(_push_extremum,))
_INDEX = Nondiff("its result is an index")

OPS = (
    OpDef("sum", ("x",), ("axes",), _infer_reduce("sum", NUMBER, True),
          lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype),
          Linear(lambda b, ct, x_type, axes: spread(b, ct, x_type.shape, axes)), sampling.reduction,
          "sum over axes, in the dtype of x", _REDUCTION),
    OpDef("prod", ("x",), ("axes",), _infer_reduce("prod", NUMBER, True),
          lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype),
          Rules(vjp=(_vjp_prod,), jvp=(_jvp_prod,)), sampling.reduction, "product over axes", _REDUCTION),
    OpDef("max", ("x",), ("axes",), _infer_reduce("max", ANY, False), lambda x, axes: np.max(x, axis=axes),
          _EXTREMUM, sampling.extremum, "largest over axes; nan wins; on bool, any", _REDUCTION),
    OpDef("min", ("x",), ("axes",), _infer_reduce("min", ANY, False), lambda x, axes: np.min(x, axis=axes),
          _EXTREMUM, sampling.extremum, "smallest over axes; nan wins; on bool, all", _REDUCTION),
    OpDef("argmax", ("x",), ("axis",), _infer_arg("argmax"), lambda x, axis: np.argmax(x, axis),
          _INDEX, sampling.arg, "first position of the largest along axis; nan wins", _REDUCTION),
    OpDef("argmin", ("x",), ("axis",), _infer_arg("argmin"), lambda x, axis: np.argmin(x, axis),
          _INDEX, sampling.arg, "first position of the smallest along axis; nan wins", _REDUCTION),
    OpDef("cumsum", ("x",), ("axis",), _infer_scan, lambda x, axis: np.cumsum(x, axis, dtype=x.dtype),
          Linear(lambda b, ct, axis: b.flip(b.cumsum(b.flip(ct, axes=(axis,)), axis=axis), axes=(axis,))),
          sampling.scan, "running sums along axis"),
    OpDef("sort", ("x",), ("axis", "descending"), _infer_sort, _ref_sort,
          Rules(vjp=(_vjp_sort,), jvp=(lambda b, t, out1, axis: along(b, t, out1, axis),)), sampling.sort,
          "x sorted along axis (stable, nan last when ascending), and the positions it came from (i64)"),
)
