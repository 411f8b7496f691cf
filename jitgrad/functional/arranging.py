"""Arranging elements anew: repeating, joining, splitting, turning, triangles and diagonals.

Splitting, diagonals and windows give views, all else copies.
Imports: `arguments`, `creation`, `elementwise`, `shaping`, `dispatch`, `tensors`, `ir.types`, `errors`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import apply, blame, cast, lift
from ..errors import ShapeError
from ..ir.types import i64, promote
from ..tensors import Tensor, shape_of
from .arguments import axis_of, ints, node_name, numpy_names, packed, takes_ints, want_int, want_tensor, want_tensors
from .creation import iota
from .elementwise import clone
from .shaping import flatten, reshape, select, sliced, unsqueeze

# -- repeating


@takes_ints("sizes")
@node_name("Repeat")
def repeat(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """A copy tiled `sizes` times along each axis; new axes come in front."""
    shape = shape_of(input)
    lead = len(sizes) - len(shape)
    if lead < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(n < 0 for n in sizes):
        raise RuntimeError(f"Trying to create tensor with negative dimension: repeat sizes {list(sizes)}")
    full = (1,) * lead + shape
    # Each axis n becomes (times, n), the new one repeated, then both are made one.
    spread = tuple(k for times, n in zip(sizes, full, strict=True) for k in (times, n))
    dims = tuple(2 * i + 1 for i in range(lead, len(full)))
    wide = apply("broadcast", input, shape=spread, dims=dims)
    return _copied(apply("reshape", wide, shape=tuple(r * n for r, n in zip(sizes, full, strict=True))))


def _copied(result: Tensor) -> Tensor:
    """`result` itself if it is no view (or nobody can tell), else a copy."""
    return clone(result) if result._view is not None else result


@takes_ints("dims")
def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """`repeat`, with ones put before dims where it is short."""
    return repeat(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


@numpy_names
def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each element repeated `repeats` times in a row, along dim (of the flattened input without one)."""
    if dim is None:
        input, dim = flatten(input), 0
    shape, times = shape_of(input), operator.index(repeats)
    axis = axis_of(dim, len(shape))
    spread = (*shape[: axis + 1], times, *shape[axis + 1 :])
    dims = tuple(i for i in range(len(spread)) if i != axis + 1)
    wide = apply("broadcast", input, shape=spread, dims=dims)
    return _copied(apply("reshape", wide, shape=(*shape[:axis], shape[axis] * times, *shape[axis + 1 :])))


# -- joining and splitting


@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along dim, in their common dtype. Raises ShapeError."""
    listed = want_tensors("cat", tensors)
    if not listed:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    dtype = listed[0].dtype
    for x in listed[1:]:
        dtype = promote(dtype, x.dtype)
    # Torch lets an empty 1-d tensor stand for nothing among tensors of more axes.
    whole = [x for x in listed if shape_of(x) != (0,)] or listed[:1]
    if any(x.ndim == 0 for x in whole):
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    axis = axis_of(dim, whole[0].ndim)
    first = shape_of(whole[0])
    for i, x in enumerate(whole):
        other = shape_of(x)
        if len(other) != len(first):
            raise blame(ShapeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(other)}"))
        if any(m != n for k, (m, n) in enumerate(zip(first, other, strict=True)) if k != axis):
            raise blame(ShapeError(
                f"Sizes of tensors must match except in dimension {axis}. Expected {list(first)} but got "
                f"{list(other)} for tensor number {i} in the list."
            ))
    return apply("concat", *[cast(x, dtype) for x in whole], axis=axis)


concat = concatenate = cat


@numpy_names
@node_name("Stack")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors along a new axis at dim; all of one shape."""
    listed = want_tensors("stack", tensors)
    if not listed:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = shape_of(listed[0])
    for i, x in enumerate(listed):
        if shape_of(x) != first:
            raise blame(ShapeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(shape_of(x))} at entry {i}"
            ))
    return cat([unsqueeze(x, dim) for x in listed], axis_of(dim, len(first) + 1))


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side: along axis 1, or 0 for vectors."""
    listed = [x if x.ndim else reshape(x, (1,)) for x in want_tensors("hstack", tensors)]
    return cat(listed, 0 if listed and listed[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors one above another: vectors as rows."""
    return cat([reshape(x, (1, -1)) if x.ndim < 2 else x for x in want_tensors("vstack", tensors)], 0)


@node_name("Split")
def _piece(input: Tensor, axis: int, start: int, limit: int) -> Tensor:
    return sliced(input, axis, start, limit)


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of pieces along dim: of a size each (the last may be smaller), or of the sizes listed."""
    axis = axis_of(dim, want_tensor("split", tensor).ndim)
    if not tensor.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    n = tensor.shape[axis]
    if isinstance(split_size_or_sections, (int, np.integer)):
        size = int(split_size_or_sections)
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        sizes = [min(size, n - at) for at in range(0, n, size)] if n else [0]
    else:
        sizes = list(ints("split", "split_sizes", split_size_or_sections))
        if sum(sizes) != n or any(s < 0 for s in sizes):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension "
                f"{axis}), but got split_sizes={sizes}"
            )
    out, at = [], 0
    for size in sizes:
        out.append(_piece(tensor, axis, at, at + size))
        at += size
    return tuple(out)


@numpy_names
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal size along dim; the last may be smaller."""
    axis = axis_of(dim, want_tensor("chunk", input).ndim)
    if not input.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    chunks = want_int("chunk", "chunks", chunks)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[axis]
    if n == 0:
        return split(input, [0] * chunks, axis)
    return split(input, -(-n // chunks), axis)


@numpy_names
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The views input[0], input[1], ... along dim."""
    axis = axis_of(dim, want_tensor("unbind", input).ndim)
    if not input.ndim:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    return tuple(select(input, axis, i) for i in range(input.shape[axis]))


# -- turning


@takes_ints("dims")
def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    """A copy with the axes in dims reversed."""
    axes = tuple(sorted(axis_of(d, input.ndim) for d in dims))
    if len(set(axes)) != len(axes):
        raise RuntimeError("dim appears multiple times in the list of dims")
    if not axes or not input.ndim:
        return clone(input)
    return apply("flip", input, axes=axes)


def fliplr(input: Tensor) -> Tensor:
    """A copy with columns reversed."""
    return flip(input, (1,))


def flipud(input: Tensor) -> Tensor:
    """A copy with rows reversed."""
    return flip(input, (0,))


@node_name("Roll")
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements shifted along dims (of the flattened input without), those that fall off coming in again."""
    want_tensor("roll", input)
    moves = packed("roll", "shifts", (shifts,))
    if dims is None:
        return reshape(roll(flatten(input), moves, (0,)), tuple(input.shape))
    axes = packed("roll", "dims", (dims,))
    if len(moves) != len(axes):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}")
    out = input
    for move, dim in zip(moves, axes, strict=True):
        axis = axis_of(dim, out.ndim)
        n = out.shape[axis]
        by = move % n if n else 0
        if by:
            out = apply("concat", sliced(out, axis, n - by, n), sliced(out, axis, 0, n - by), axis=axis)
    return clone(out) if out is input else out


# -- triangles and diagonals


def _kept_triangle(input: Tensor, function: str, op: str, diagonal: int) -> Tensor:
    shape = shape_of(want_tensor(function, input))
    if len(shape) < 2:
        raise RuntimeError(f"{function}: input tensor must have at least 2 dimensions")
    rank, diagonal = len(shape), want_int(function, "diagonal", diagonal)
    row, column = iota(0, i64, rank - 2, shape), iota(0, i64, rank - 1, shape)
    keep = apply(op, column, apply("add", row, lift(diagonal, i64, shape)))
    return apply("select", keep, input, lift(0, input.dtype, shape))


@node_name("Tril")
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, up to `diagonal`; 0 above."""
    return _kept_triangle(input, "tril", "le", diagonal)


@node_name("Triu")
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, from `diagonal` on; 0 below."""
    return _kept_triangle(input, "triu", "ge", diagonal)


@node_name("Diagonal")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of axes dim1 and dim2, put as the last axis: a view."""
    rank = want_tensor("diagonal", input).ndim
    offset = want_int("diagonal", "offset", offset)
    a, b = (axis_of(want_int("diagonal", name, dim), rank) for name, dim in (("dim1", dim1), ("dim2", dim2)))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = [i for i in range(rank) if i not in (a, b)]
    x = apply("permute", input, perm=(*rest, a, b))
    return apply("diagonal", x, offset=offset)


_diagonal = diagonal


@node_name("Unfold")
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` elements along dimension, `step` apart; what is in them is a new last axis.

    Windows that overlap are not written to. Raises RuntimeError for a size that is not in [1, the axis's] and a step
    below 1.
    """
    x = want_tensor("unfold", self)
    size, step = want_int("unfold", "size", size), want_int("unfold", "step", step)
    axis = axis_of(want_int("unfold", "dimension", dimension), x.ndim)
    n = x.shape[axis] if x.ndim else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {n} but size is {size}")
    if size < 1:
        raise RuntimeError(f"size is {size} but must be > 0")
    if step < 1:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not x.ndim:
        return reshape(x, (1,))
    return apply("unfold", x, axis=axis, size=size, step=step)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Of a matrix its diagonal, of a vector the matrix with it on the diagonal."""
    if want_tensor("diag", input).ndim == 2:
        return clone(_diagonal(input, diagonal))
    if input.ndim != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return diag_embed(input, diagonal)


@node_name("DiagEmbed")
def diag_embed(input: Tensor, offset: int = 0) -> Tensor:
    """Matrices with the last axis of input on their diagonal `offset`, 0 elsewhere."""
    shape = shape_of(want_tensor("diag_embed", input))
    offset = want_int("diag_embed", "offset", offset)
    axis_of(-2, len(shape) + 1)  # a 0-d tensor has no axis for a diagonal
    n = shape[-1] + abs(offset)
    out = (*shape[:-1], n, n)
    rank = len(out)
    low, high = (0,) * (rank - 2), (0,) * (rank - 2)
    along_columns = (max(offset, 0), max(-offset, 0))
    padded = apply(
        "pad", input, lift(0, input.dtype), low=(*low, along_columns[0]), high=(*high, along_columns[1]),
        interior=(0,) * (rank - 1),
    )
    wide = apply("broadcast", padded, shape=out, dims=(*range(rank - 2), rank - 1))
    row, column = iota(0, i64, rank - 2, out), iota(0, i64, rank - 1, out)
    on = apply("eq", column, apply("add", row, lift(offset, i64, out)))
    return apply("select", on, wide, lift(0, input.dtype, out))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Grids of the coordinates in vectors; indexing "xy" exchanges the first two axes."""
    listed = want_tensors(
        "meshgrid", tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    )
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if len({x.dtype for x in listed}) > 1:
        raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    order = list(range(len(listed)))
    if indexing == "xy" and len(listed) > 1:
        order[:2] = 1, 0
    shape = tuple(x.type_.size for x in (listed[i] for i in order))
    return tuple(
        apply("broadcast", reshape(x, (-1,)), shape=shape, dims=(order.index(i),)) for i, x in enumerate(listed)
    )
