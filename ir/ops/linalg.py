"""Matrix products, indexing by tensors, and random bits.

Gather, scatter and matmul carry leading batch axes, which are shared by their operands. An index must
lie in [0, size): an index outside is an error (BoundsError), compiled code included, never a wild read.

Imports: `record`, `infer`, `sampling`, `philox`, `errors`, `types`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import BoundsError, DTypeError, ShapeError
from ..philox import philox_bits
from ..types import Shape, TensorType, contiguous_strides, drop_axes, i32, i64
from . import sampling
from .infer import ANY, NUMBER, want_axis, want_index, want_kind
from .record import Linear, Nondiff, OpDef, Rules


def _infer_matmul(x: TensorType, y: TensorType) -> TensorType:
    want_kind("matmul", NUMBER, x, y)
    if x.dtype is not y.dtype:
        raise DTypeError(f"matmul: dtypes differ: {x} @ {y}", hint="cast one operand")
    if x.rank != y.rank or x.rank < 2 or x.shape[:-2] != y.shape[:-2]:
        raise ShapeError(f"matmul: needs matrices with equal batch axes: {x} @ {y}")
    if x.shape[-1] != y.shape[-2]:
        hint = ""
        if x.shape[-1] == y.shape[-1]:
            hint = f"x @ y.mT is {x.with_shape((*x.shape[:-1], y.shape[-2]))}"
        elif x.shape[-2] == y.shape[-2]:
            hint = f"x.mT @ y is {x.with_shape((*x.shape[:-2], x.shape[-1], y.shape[-1]))}"
        raise ShapeError(f"matmul: inner sizes differ: {x} @ {y}", hint=hint)
    return x.with_shape((*x.shape[:-1], y.shape[-1]))


def transposed(b: Any, m: Any) -> Any:
    """The last two axes exchanged."""
    rank = b.type_of(m).rank
    return b.permute(m, perm=(*range(rank - 2), rank - 1, rank - 2))


def _picked(op: str, x: TensorType, index: TensorType, axis: int, batch: int) -> TensorType:
    """The type of x at index: what gather reads and scatter writes."""
    want_index(op, index)
    want_axis(op, axis, x)
    if not 0 <= batch <= min(axis, index.rank) or x.shape[:batch] != index.shape[:batch]:
        raise ShapeError(f"{op}: {batch} batch axes before axis {axis} are not shared by {x} and {index}")
    return x.with_shape((*x.shape[:axis], *index.shape[batch:], *x.shape[axis + 1 :]))


def _infer_gather(x: TensorType, index: TensorType, axis: int, batch: int) -> TensorType:
    return _picked("gather", x, index, axis, batch)


def check_bounds(op: str, index: np.ndarray, size: int) -> None:
    """Raises BoundsError unless every index lies in [0, size)."""
    if index.size and (index.min() < 0 or index.max() >= size):
        bad = index[(index < 0) | (index >= size)].flat[0]
        raise BoundsError(f"{op}: index {bad} is out of bounds for dimension with size {size}")


def _places(shape: Shape, index: np.ndarray, axis: int, batch: int) -> np.ndarray:
    """Row-major positions in an array of `shape` of what gather reads, in the shape of its result."""
    strides, own = contiguous_strides(shape), index.ndim - batch
    rank = len(shape) - 1 + own
    along = tuple(range(axis, axis + own))  # the result's axes that come from the index
    places = np.expand_dims(index.astype(np.int64) * strides[axis], tuple(range(batch, axis)))
    places = places.reshape(places.shape + (1,) * (rank - places.ndim))
    others = [k for k in range(rank) if k not in along]
    for k, n, stride in zip(others, drop_axes(shape, (axis,)), drop_axes(strides, (axis,)), strict=True):
        places = places + (np.arange(n) * stride).reshape([-1 if i == k else 1 for i in range(rank)])
    return places


def _ref_gather(x: np.ndarray, index: np.ndarray, axis: int, batch: int) -> Any:
    check_bounds("gather", index, x.shape[axis])
    if batch == 0:
        return np.take(x, index, axis)
    return x.reshape(-1)[_places(x.shape, index, axis, batch)]


def _infer_scatter(op: str, kinds: frozenset[str]) -> Any:
    def infer(x: TensorType, index: TensorType, update: TensorType, axis: int, batch: int) -> TensorType:
        want_kind(op, kinds, x)
        want = _picked(op, x, index, axis, batch)
        if update != want:
            raise ShapeError(f"{op}: the update of {x} at {index} must be {want}, got {update}")
        return x

    return infer


def _ref_scatter(op: str, write: Callable[[np.ndarray, np.ndarray, np.ndarray], None]) -> Any:
    """`write(flat, places, values)` in the row-major order of the update, whatever its layout: which of
    equal places is the last, and in which order they are added, depends on it."""

    def ref(x: np.ndarray, index: np.ndarray, update: np.ndarray, axis: int, batch: int) -> np.ndarray:
        check_bounds(op, index, x.shape[axis])
        flat = x.flatten()
        write(flat, _places(x.shape, index, axis, batch).reshape(-1), update.reshape(-1))
        return flat.reshape(x.shape)

    return ref


def _transpose_gather(b: Any, ct: Any, index: Any, x_type: TensorType, axis: int, batch: int) -> Any:
    return b.scatter_add(b.zeros(x_type), index, ct, axis=axis, batch=batch)


def _read_back(b: Any, ct: Any, index: Any, axis: int, batch: int) -> Any:
    return b.gather(ct, index, axis=axis, batch=batch)


def _read_last(
    b: Any, ct: Any, index: Any, index_type: TensorType, x_type: TensorType, axis: int, batch: int
) -> Any:
    """The cotangent of scatter's update: what it wrote and no later write of an equal place replaced.

    Each write leaves its number in a table of the places; those that find it there were the last.
    """
    shape = index_type.shape
    numbers = b.reshape(b.iota(axis=0, dtype=i64, shape=(index_type.size,)), shape=shape)
    table = b.zeros(TensorType(i64, (*x_type.shape[:batch], x_type.shape[axis])))
    table = b.scatter(table, index, numbers, axis=batch, batch=batch)
    last = b.eq(b.gather(table, index, axis=batch, batch=batch), numbers)
    read = b.gather(ct, index, axis=axis, batch=batch)
    dims = (*range(batch), *range(axis, axis + len(shape) - batch))
    return b.select(b.broadcast(last, shape=b.type_of(read).shape, dims=dims), read, 0.0)


def _keep_unwritten(b: Any, ct: Any, index: Any, index_type: TensorType, axis: int, batch: int) -> Any:
    zeros = b.zeros(_picked("scatter", b.type_of(ct), index_type, axis, batch))
    return b.scatter(ct, index, zeros, axis=axis, batch=batch)


def _infer_philox(key: TensorType, offset: TensorType, shape: Shape) -> TensorType:
    for t in (key, offset):
        if t.dtype is not i64 or t.shape:
            raise DTypeError(f"philox: key and offset are i64[], got {key}, {offset}")
    return TensorType(i32, shape)


_AT = ("axis", "batch")
_TRAPS = frozenset({"traps"})

OPS = (
    OpDef("matmul", ("x", "y"), (), _infer_matmul, np.matmul,
          Rules(vjp=(lambda b, ct, y: b.matmul(ct, transposed(b, y)),
                     lambda b, ct, x: b.matmul(transposed(b, x), ct)),
                jvp=(lambda b, t, y: b.matmul(t, y), lambda b, t, x: b.matmul(x, t))), sampling.matmul,
          "product of the matrices in the last two axes; the axes before are a batch, equal in both"),
    OpDef("gather", ("x", "index"), _AT, _infer_gather, _ref_gather, Linear(_transpose_gather, None),
          sampling.gather,
          "x at index along axis, of shape x[:axis] + index[batch:] + x[axis+1:]; batch: leading axes shared",
          _TRAPS),
    OpDef("scatter_add", ("x", "index", "update"), _AT, _infer_scatter("scatter_add", NUMBER),
          _ref_scatter("scatter_add", np.add.at), Linear(lambda ct: ct, None, _read_back), sampling.scatter_add,
          "x with update added at the places that gather would read", _TRAPS),
    OpDef("scatter", ("x", "index", "update"), _AT, _infer_scatter("scatter", ANY),
          _ref_scatter("scatter", np.put), Linear(_keep_unwritten, None, _read_last), sampling.scatter,
          "x with update written at the places that gather would read; of equal places the last wins",
          _TRAPS),
    OpDef("philox", ("key", "offset"), ("shape",), _infer_philox, philox_bits,
          Nondiff("random bits do not depend smoothly on anything"), sampling.philox,
          "32 random bits an element: Philox4x32-10 of key and of the counter offset + i // 4, word i % 4"),
)
