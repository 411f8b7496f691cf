"""Ops that make, move and relabel elements, and compute none: constants, views, pad, concat.

Those with the trait 'view' are index maps of their operand; the scheduler never copies for them unless a
copy is cheaper. All of them are linear, so each has one transpose and no other derivative rule. numpy
refs may return views of their inputs; who owns memory is the business of `jitgrad`.

Imports: `record`, `infer`, `sampling`, `errors`, `types`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import AxisError, DTypeError, ShapeError
from ..types import DType, Shape, TensorType, i64, type_of_array
from . import sampling
from .infer import NUMBER, want_axis, want_kind, want_rising
from .record import Linear, Nondiff, OpDef

Constant = bool | int | float | np.ndarray
_LARGEST = int(np.finfo(np.float64).max)  # an int beyond it cannot become a float


def _check_length(op: str, name: str, value: Sequence[int], x: TensorType) -> None:
    if len(value) != x.rank:
        raise ShapeError(f"{op}: {name} {tuple(value)} has {len(value)} entries for {x}")


def _infer_const(value: Constant, dtype: DType, shape: Shape) -> TensorType:
    type = TensorType(dtype, shape)
    if isinstance(value, np.ndarray):
        got = type_of_array(value)
        if got != type:
            error = ShapeError if got.dtype is dtype else DTypeError
            raise error(f"const: an array {got} for {type}")
    elif not _holds(dtype, value):
        raise DTypeError(f"const: {value!r} is not a value of {type}")
    return type


def _holds(dtype: DType, number: bool | int | float) -> bool:
    """Whether `number` is a value of `dtype`; a float dtype takes the nearest of any number."""
    match dtype.kind:
        case "float":
            return isinstance(number, float) or abs(number) <= _LARGEST
        case "bool":
            return number in (0, 1)
        case _:
            info = np.iinfo(dtype.numpy)
            return int(info.min) <= number <= int(info.max) and number == int(number)


def _ref_const(value: Constant, dtype: DType, shape: Shape) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.full(shape, value, dtype.numpy)


def _infer_iota(axis: int, dtype: DType, shape: Shape) -> TensorType:
    type = TensorType(dtype, shape)
    want_kind("iota", NUMBER, type)
    want_axis("iota", axis, type)
    return type


def _ref_iota(axis: int, dtype: DType, shape: Shape) -> np.ndarray:
    line = np.arange(shape[axis], dtype=dtype.numpy)
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


def _infer_broadcast(x: TensorType, shape: Shape, dims: Shape) -> TensorType:
    _check_length("broadcast", "dims", dims, x)
    want_rising("broadcast", dims, x.with_shape(shape))
    for d, n in zip(dims, x.shape, strict=True):
        if n not in (1, shape[d]):
            raise ShapeError(f"broadcast: axis of size {n} in {x} cannot become {shape[d]} in {list(shape)}")
    return x.with_shape(shape)


def _ref_broadcast(x: np.ndarray, shape: Shape, dims: Shape) -> np.ndarray:
    aligned = [1] * len(shape)
    for d, n in zip(dims, x.shape, strict=True):
        aligned[d] = n
    return np.broadcast_to(x.reshape(aligned), shape)


def _transpose_broadcast(b: Any, ct: Any, x_type: TensorType, shape: Shape, dims: Shape) -> Any:
    at = dict(zip(dims, x_type.shape, strict=True))
    summed = tuple(i for i, n in enumerate(shape) if i not in at or at[i] != n)
    if not summed:
        return ct if tuple(shape) == x_type.shape else b.reshape(ct, shape=x_type.shape)
    total = b.sum(ct, axes=summed)
    return total if b.type_of(total).shape == x_type.shape else b.reshape(total, shape=x_type.shape)


def _infer_reshape(x: TensorType, shape: Shape) -> TensorType:
    if math.prod(shape) != x.size or any(n < 0 for n in shape):
        raise ShapeError(f"shape {list(shape)} is invalid for input of size {x.size}: reshape of {x}")
    return x.with_shape(shape)


def _infer_permute(x: TensorType, perm: Shape) -> TensorType:
    if sorted(perm) != list(range(x.rank)):
        raise AxisError(f"permute: {perm} is not a permutation of the {x.rank} axes of {x}")
    return x.with_shape(x.shape[p] for p in perm)


def inverse_permutation(perm: Shape) -> Shape:
    out = [0] * len(perm)
    for i, p in enumerate(perm):
        out[p] = i
    return tuple(out)


def _infer_slice(x: TensorType, start: Shape, limit: Shape, step: Shape) -> TensorType:
    for name, value in (("start", start), ("limit", limit), ("step", step)):
        _check_length("slice", name, value, x)
    sizes = []
    for lo, hi, s, n in zip(start, limit, step, x.shape, strict=True):
        if not (0 <= lo <= hi <= n and s >= 1):
            raise ShapeError(f"slice: {lo}:{hi}:{s} does not lie in an axis of size {n} of {x}")
        sizes.append(-((lo - hi) // s))
    return x.with_shape(sizes)


def _ref_slice(x: np.ndarray, start: Shape, limit: Shape, step: Shape) -> np.ndarray:
    return x[tuple(map(slice, start, limit, step))]


def _transpose_slice(b: Any, ct: Any, x_type: TensorType, start: Shape, limit: Shape, step: Shape) -> Any:
    got = b.type_of(ct).shape
    # n elements at distance `step` span (n - 1) * step + 1 places; the rest of the axis is padding behind.
    high = tuple(
        size - lo - ((n - 1) * s + 1 if n else 0)
        for size, lo, s, n in zip(x_type.shape, start, step, got, strict=True)
    )
    interior = tuple(s - 1 for s in step)
    zero = b.zeros(TensorType(x_type.dtype, ()))
    return b.pad(ct, zero, low=start, high=high, interior=interior)


def _infer_pad(x: TensorType, fill: TensorType, low: Shape, high: Shape, interior: Shape) -> TensorType:
    for name, value in (("low", low), ("high", high), ("interior", interior)):
        _check_length("pad", name, value, x)
        if min(value, default=0) < 0:
            raise ShapeError(f"pad: negative {name} {tuple(value)}", hint="slice to make it smaller")
    if fill.dtype is not x.dtype or fill.shape:
        raise DTypeError(f"pad: the fill of {x} must be {x.dtype.code}[], got {fill}")
    return x.with_shape(
        lo + hi + n + max(n - 1, 0) * k for lo, hi, k, n in zip(low, high, interior, x.shape, strict=True)
    )


def _ref_pad(x: np.ndarray, fill: np.ndarray, low: Shape, high: Shape, interior: Shape) -> np.ndarray:
    shape = [a + b + n + max(n - 1, 0) * k for a, b, k, n in zip(low, high, interior, x.shape, strict=True)]
    out = np.full(shape, fill, x.dtype)
    if x.size:
        out[_pad_window(x.shape, low, interior)] = x
    return out


def _pad_window(shape: Shape, low: Shape, interior: Shape) -> tuple[slice, ...]:
    return tuple(
        slice(lo, lo + (n - 1) * (k + 1) + 1, k + 1) for n, lo, k in zip(shape, low, interior, strict=True)
    )


def _unpad(b: Any, ct: Any, x_type: TensorType, low: Shape, interior: Shape) -> Any:
    """The elements of `ct` where the padded operand's lie."""
    if x_type.size == 0:
        return b.zeros(x_type)
    window = _pad_window(x_type.shape, low, interior)
    limit, step = tuple(w.stop for w in window), tuple(w.step for w in window)
    return b.slice(ct, start=low, limit=limit, step=step)


def _transpose_pad_fill(b: Any, ct: Any, x_type: TensorType, low: Shape, interior: Shape) -> Any:
    """What lies outside the operand: all of `ct` less the operand's part."""
    def total(v: Any) -> Any:
        return b.sum(v, axes=tuple(range(b.type_of(v).rank)))

    return b.sub(total(ct), total(_unpad(b, ct, x_type, low, interior)))


def _infer_concat(*xs: TensorType, axis: int) -> TensorType:
    if not xs:
        raise TypeError("concat: needs at least one tensor")
    first = xs[0]
    want_axis("concat", axis, first)
    for x in xs[1:]:
        if x.dtype is not first.dtype:
            raise DTypeError(f"concat: dtypes differ: {first} and {x}")
        if x.rank != first.rank or any(
            m != n for i, (m, n) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis
        ):
            raise ShapeError(
                f"concat: sizes of tensors must match except in dimension {axis}: {first} and {x}"
            )
    return first.with_shape(
        sum(x.shape[axis] for x in xs) if i == axis else n for i, n in enumerate(first.shape)
    )


def _transpose_concat(
    b: Any, ct: Any, xs_type: Sequence[TensorType], wanted: Sequence[bool], axis: int
) -> list[Any]:
    out, before = [], 0
    for x, want in zip(xs_type, wanted, strict=True):
        start = tuple(before if k == axis else 0 for k in range(x.rank))
        limit = tuple(s + n for s, n in zip(start, x.shape, strict=True))
        out.append(b.slice(ct, start=start, limit=limit, step=(1,) * x.rank) if want else None)
        before += x.shape[axis]
    return out


def _infer_flip(x: TensorType, axes: Shape) -> TensorType:
    want_rising("flip", axes, x)
    return x


def diagonal_window(shape: Shape, offset: int) -> tuple[int, int, int]:
    """Row and column of the first element of the diagonal `offset` of matrices, and how many elements it has."""
    row, column = max(-offset, 0), max(offset, 0)
    return row, column, max(min(shape[-2] - row, shape[-1] - column), 0)


def _infer_diagonal(x: TensorType, offset: int) -> TensorType:
    if x.rank < 2:
        raise ShapeError(f"diagonal: {x} has no two axes")
    return x.with_shape((*x.shape[:-2], diagonal_window(x.shape, offset)[2]))


def laid_on_diagonal(b: Any, x: Any, type: TensorType, offset: int) -> tuple[Any, Any]:
    """Which elements of matrices lie on the diagonal `offset`, and matrices with the elements of `x` there: each row
    repeats `x`."""
    shape, outer = type.shape, type.rank - 2
    _, column, n = diagonal_window(shape, offset)
    none = (0,) * outer
    line = b.pad(
        x, b.zeros(TensorType(type.dtype, ())), low=(*none, column if n else 0),
        high=(*none, shape[-1] - column - n if n else shape[-1]), interior=(*none, 0),
    )
    rows = b.broadcast(line, shape=shape, dims=(*range(outer), outer + 1))
    at = [b.iota(axis=outer + k, dtype=i64, shape=shape) for k in range(2)]
    return b.eq(at[1], b.add(at[0], offset)), rows


def _transpose_diagonal(b: Any, ct: Any, x_type: TensorType, offset: int) -> Any:
    return b.select(*laid_on_diagonal(b, ct, x_type, offset), 0.0)


def _infer_unfold(x: TensorType, axis: int, size: int, step: int) -> TensorType:
    want_axis("unfold", axis, x)
    n = x.shape[axis]
    if not (1 <= size <= n and step >= 1):
        raise ShapeError(f"unfold: windows of {size} elements, {step} apart, do not lie in axis {axis} of {x}")
    return x.with_shape((*x.shape[:axis], (n - size) // step + 1, *x.shape[axis + 1 :], size))


def window_strides(strides: Shape, axis: int, step: int) -> Shape:
    """Those of windows along `axis`, `step` apart, of memory with `strides`."""
    return (*strides[:axis], strides[axis] * step, *strides[axis + 1 :], strides[axis])


def _ref_unfold(x: np.ndarray, axis: int, size: int, step: int) -> np.ndarray:
    shape = _infer_unfold(type_of_array(x), axis, size, step).shape
    return np.lib.stride_tricks.as_strided(x, shape, window_strides(x.strides, axis, step))


def window_places(b: Any, axis: int, step: int, shape: Shape) -> tuple[Any, Shape]:
    """Of windows of `shape`: where along `axis` each element lies, and the order of axes in which a scatter along it
    takes them."""
    last = len(shape) - 1
    places = (shape[axis], shape[last])
    first, inside = (b.iota(axis=k, dtype=i64, shape=places) for k in range(2))
    return b.add(b.mul(first, step), inside), (*range(axis + 1), last, *range(axis + 1, last))


def _transpose_unfold(b: Any, ct: Any, x_type: TensorType, axis: int, step: int) -> Any:
    places, order = window_places(b, axis, step, b.type_of(ct).shape)
    return b.scatter_add(b.zeros(x_type), places, b.permute(ct, perm=order), axis=axis, batch=0)


_VIEW = frozenset({"view"})

OPS = (
    OpDef("const", (), ("value", "dtype", "shape"), _infer_const, _ref_const,
          Nondiff("it is a constant"), sampling.const,
          "a tensor filled with a number, or with the elements of an array of its shape"),
    OpDef("iota", (), ("axis", "dtype", "shape"), _infer_iota, _ref_iota, Nondiff("it is a constant"),
          sampling.iota, "each element its own position along axis"),
    OpDef("broadcast", ("x",), ("shape", "dims"), _infer_broadcast, _ref_broadcast,
          Linear(_transpose_broadcast), sampling.broadcast,
          "operand axis i becomes result axis dims[i] (dims rise); size 1 is repeated, as is every new axis",
          _VIEW),
    OpDef("reshape", ("x",), ("shape",), _infer_reshape, lambda x, shape: x.reshape(shape),
          Linear(lambda b, ct, x_type: b.reshape(ct, shape=x_type.shape)), sampling.reshape,
          "the same elements in row-major order under another shape", _VIEW),
    OpDef("permute", ("x",), ("perm",), _infer_permute, lambda x, perm: x.transpose(perm),
          Linear(lambda b, ct, perm: b.permute(ct, perm=inverse_permutation(perm))), sampling.permute,
          "result axis i is operand axis perm[i]", _VIEW),
    OpDef("slice", ("x",), ("start", "limit", "step"), _infer_slice, _ref_slice, Linear(_transpose_slice),
          sampling.slice_, "elements start, start + step, ... below limit of each axis; step >= 1", _VIEW),
    OpDef("flip", ("x",), ("axes",), _infer_flip, lambda x, axes: np.flip(x, axes),
          Linear(lambda b, ct, axes: b.flip(ct, axes=axes)), sampling.flip, "axes reversed", _VIEW),
    OpDef("diagonal", ("x",), ("offset",), _infer_diagonal,
          lambda x, offset: x.diagonal(offset, -2, -1),
          Linear(_transpose_diagonal), sampling.diagonal,
          "elements (i, i + offset) of the matrices that the last two axes are, as the last axis", _VIEW),
    OpDef("unfold", ("x",), ("axis", "size", "step"), _infer_unfold, _ref_unfold, Linear(_transpose_unfold),
          sampling.unfold,
          "windows of size elements along axis, step apart: they are axis, and the last what is in them", _VIEW),
    OpDef("pad", ("x", "fill"), ("low", "high", "interior"), _infer_pad, _ref_pad,
          Linear(_unpad, _transpose_pad_fill), sampling.pad,
          "low fills before, high after, interior between the elements of each axis"),
    OpDef("concat", ("xs*",), ("axis",), _infer_concat, lambda *xs, axis: np.concatenate(xs, axis),
          Linear(_transpose_concat), sampling.concat, "operands one after another along axis"),
)
