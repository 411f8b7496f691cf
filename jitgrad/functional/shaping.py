"""Shapes: views, joining, splitting, repeating, triangles and diagonals.

Views share memory as torch's do; what numpy cannot give as a view is a copy where torch copies too.
Imports: `arguments`, `creation`, `elementwise`, `dispatch`, `tensors`, `ir.types`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import apply, blame, cast, expand_to, lift
from ..errors import ShapeError
from ..ir.types import Shape, i64, promote
from ..state import state
from ..tensors import Size, Tensor, shape_of
from .arguments import Dims, axes_of, axis_of, ints, node_name, takes_ints, want_tensor
from .creation import iota
from .elementwise import clone

# -- reshaping


def _resolved(function: str, input: Tensor, shape: Shape) -> Shape:
    """`shape` with its -1 replaced. Raises ShapeError where the number of elements differs."""
    size = input.type_.size
    if -1 in shape:
        known = math.prod(n for n in shape if n != -1)
        if shape.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred")
        if known == 0 and size == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension "
                "size -1 can be any value and is ambiguous"
            )
        if known and size % known == 0:
            shape = tuple(size // known if n == -1 else n for n in shape)
    if math.prod(shape) != size or any(n < 0 for n in shape):
        raise blame(ShapeError(f"shape '{list(shape)}' is invalid for input of size {size}"))
    return shape


@takes_ints("shape")
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in row-major order under another shape; one size may be -1. A view where it can be."""
    return apply("reshape", input, shape=_resolved("reshape", input, tuple(shape)))


def view(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """`reshape` that never copies; `view(dtype)` with a dtype of the same width reads the bytes as that.

    Raises RuntimeError where the memory's order does not allow a view.
    """
    from ..ir.types import DType

    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], DType)):
        raise RuntimeError("view(dtype) is not supported: convert with .to(dtype)")
    result = reshape(self, *shape)
    if state.recording is None and result._view is None and result.type_.size:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
            "two contiguous subspaces). Use .reshape(...) instead."
        )
    return result


def view_as(self: Tensor, other: Tensor) -> Tensor:
    """`view` with the shape of other."""
    return view(self, tuple(other.shape))


def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """`reshape` with the shape of other."""
    return reshape(self, tuple(other.shape))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim to end_dim made one."""
    shape = shape_of(want_tensor("flatten", input))
    first, last = axis_of(start_dim, len(shape)), axis_of(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, (1,))
    return reshape(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis dim made several, of `sizes`; one may be -1."""
    shape = shape_of(input)
    axis = axis_of(dim, len(shape))
    inner = ints("unflatten", "sizes", sizes)
    known = math.prod(n for n in inner if n != -1)
    if inner.count(-1) == 1 and known and shape[axis] % known == 0:
        inner = tuple(shape[axis] // known if n == -1 else n for n in inner)
    if math.prod(inner) != shape[axis]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {axis} ({shape[axis]}) "
            "in the input tensor"
        )
    return reshape(input, (*shape[:axis], *inner, *shape[axis + 1 :]))


@node_name("Squeeze")
def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """Without the axes of size 1 (or those among `dim`)."""
    shape = shape_of(want_tensor("squeeze", input))
    among = range(len(shape)) if dim is None else axes_of(dim, len(shape)) if dim != () else ()
    return apply("reshape", input, shape=tuple(n for i, n in enumerate(shape) if n != 1 or i not in among))


@node_name("Unsqueeze")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With an axis of size 1 put at dim."""
    shape = shape_of(want_tensor("unsqueeze", input))
    at = axis_of(dim, len(shape) + 1)
    return apply("reshape", input, shape=(*shape[:at], 1, *shape[at:]))


# -- order of axes


@takes_ints("dims")
def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Result axis i is input's axis dims[i]."""
    rank = input.ndim
    if len(dims) != rank:
        raise RuntimeError(
            "permute: number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {rank} is not equal to len(dims) = {len(dims)}"
        )
    perm = tuple(axis_of(d, rank) for d in dims)
    if len(set(perm)) != rank:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return apply("permute", input, perm=perm)


@node_name("Transpose")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Axes dim0 and dim1 exchanged."""
    rank = want_tensor("transpose", input).ndim
    a, b = axis_of(dim0, rank), axis_of(dim1, rank)
    perm = list(range(rank))
    if rank:
        perm[a], perm[b] = b, a
    return apply("permute", input, perm=tuple(perm))


swapaxes = swapdims = transpose


@node_name("T")
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; tensors of fewer axes as they are."""
    rank = want_tensor("t", input).ndim
    if rank > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {rank}D")
    return apply("permute", input, perm=tuple(reversed(range(rank))))


@node_name("Permute")
def reversed_axes(input: Tensor) -> Tensor:
    """`x.T`: all axes in reverse."""
    return apply("permute", input, perm=tuple(reversed(range(input.ndim))))


@node_name("Transpose")
def matrix_transpose(input: Tensor) -> Tensor:
    """`x.mT`: the last two axes exchanged."""
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose(input, -2, -1)


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes `source` put at the places `destination`, the others in their order."""
    rank = want_tensor("movedim", input).ndim
    src = [axis_of(d, rank) for d in ((source,) if isinstance(source, int) else source)]
    dst = [axis_of(d, rank) for d in ((destination,) if isinstance(destination, int) else destination)]
    if len(src) != len(dst) or len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({source} dims) should contain the same number of "
            f"distinct dims as destination ({destination} dims)"
        )
    rest = iter([i for i in range(rank) if i not in src])
    at = dict(zip(dst, src, strict=True))
    return apply("permute", input, perm=tuple(at[i] if i in at else next(rest) for i in range(rank)))


moveaxis = movedim


# -- repeating


@takes_ints("size")
def expand(input: Tensor, size: Sequence[int]) -> Tensor:
    """A view with axes of size 1 repeated to `size`; -1 keeps a size, new axes come in front."""
    shape = shape_of(input)
    lead = len(size) - len(shape)
    if lead < 0:
        raise RuntimeError(
            f"expand({input.type_}, size={list(size)}): the number of sizes provided ({len(size)}) must be greater or "
            f"equal to the number of dimensions in the tensor ({len(shape)})"
        )
    out = tuple(shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(size))
    for i, n in enumerate(shape):
        if n not in (1, out[i + lead]):
            raise blame(ShapeError(
                f"The expanded size of the tensor ({out[i + lead]}) must match the existing size ({n}) at "
                f"non-singleton dimension {i + lead}.  Target sizes: {list(size)}.  Tensor sizes: {list(shape)}"
            ))
    if any(n < 0 for n in out):
        raise RuntimeError(
            f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension: {list(size)}"
        )
    return apply("broadcast", input, shape=out, dims=tuple(range(lead, len(out))))


broadcast_to = expand


def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of other."""
    return expand(self, tuple(other.shape))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All of them expanded to their common shape."""
    from ..dispatch import common_shape

    listed = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    shape = common_shape(*listed)
    return tuple(expand_to(x, shape) for x in listed)


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
    return clone(result) if result._view is not None and state.recording is None else result


@takes_ints("dims")
def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """`repeat`, with ones put before dims where it is short."""
    return repeat(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


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


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along dim, in their common dtype. Raises ShapeError."""
    listed = [want_tensor("cat", x, "tensors", i) for i, x in enumerate(tensors)]
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


@node_name("Stack")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors along a new axis at dim; all of one shape."""
    listed = [want_tensor("stack", x, "tensors", i) for i, x in enumerate(tensors)]
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
    listed = [x if x.ndim else reshape(x, (1,)) for x in tensors]
    return cat(listed, 0 if listed and listed[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors one above another: vectors as rows."""
    return cat([reshape(x, (1, -1)) if x.ndim < 2 else x for x in tensors], 0)


def sliced(input: Tensor, axis: int, start: int, limit: int, step: int = 1) -> Tensor:
    """input[start:limit:step] along `axis`; bounds that lie in it."""
    shape = shape_of(input)
    rank = len(shape)
    return apply(
        "slice", input,
        start=tuple(start if i == axis else 0 for i in range(rank)),
        limit=tuple(limit if i == axis else n for i, n in enumerate(shape)),
        step=tuple(step if i == axis else 1 for i in range(rank)),
    )


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


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal size along dim; the last may be smaller."""
    axis = axis_of(dim, want_tensor("chunk", input).ndim)
    if not input.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[axis]
    if n == 0:
        return split(input, [0] * chunks, axis)
    return split(input, -(-n // chunks), axis)


@node_name("Select")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The view input[index] along dim, which goes. Raises IndexError."""
    shape = shape_of(want_tensor("select", input))
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis, at = axis_of(dim, len(shape)), operator.index(index)
    n = shape[axis]
    if not -n <= at < n:
        raise IndexError(
            f"select(): index {at} out of range for tensor of size {list(shape)} at dimension {axis}"
        )
    at %= n
    return apply("reshape", sliced(input, axis, at, at + 1), shape=(*shape[:axis], *shape[axis + 1 :]))


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The views input[0], input[1], ... along dim."""
    axis = axis_of(dim, want_tensor("unbind", input).ndim)
    if not input.ndim:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    return tuple(select(input, axis, i) for i in range(input.shape[axis]))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The view of `length` elements from `start` along dim."""
    axis = axis_of(dim, want_tensor("narrow", input).ndim)
    n, at, count = input.shape[axis], operator.index(start), operator.index(length)
    if not -n <= at <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {at})")
    at = at + n if at < 0 else at
    if count < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if at + count > n:
        raise RuntimeError(f"start ({at}) + length ({count}) exceeds dimension size ({n}).")
    return sliced(input, axis, at, at + count)


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
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None:
        return reshape(roll(flatten(input), moves, (0,)), tuple(input.shape))
    axes = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(moves) != len(axes):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}")
    out = want_tensor("roll", input)
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
    rank = len(shape)
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
    """The diagonal of axes dim1 and dim2, put as the last axis. A copy."""
    rank = want_tensor("diagonal", input).ndim
    a, b = axis_of(dim1, rank), axis_of(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = [i for i in range(rank) if i not in (a, b)]
    x = apply("permute", input, perm=(*rest, a, b))
    rows, columns = input.shape[a], input.shape[b]
    first_row, first_column = max(-offset, 0), max(offset, 0)
    n = max(min(rows - first_row, columns - first_column), 0)
    lead = tuple(x.shape[:-2])
    flat = apply("reshape", x, shape=(*lead, rows * columns))
    if n == 0:
        return sliced(flat, len(lead), 0, 0)
    start = first_row * columns + first_column
    return sliced(flat, len(lead), start, start + (n - 1) * (columns + 1) + 1, columns + 1)


_diagonal = diagonal


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
    listed = tuple(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
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


# -- what a tensor is


def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or one size of it."""
    shape = self.shape
    return shape if dim is None else shape[axis_of(dim, len(shape))] if shape else _no_dims(dim)


def _no_dims(dim: int) -> int:
    raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")


def numel(input: Tensor) -> int:
    """The number of elements."""
    return want_tensor("numel", input).type_.size


def dim(self: Tensor) -> int:
    """The number of axes."""
    return self.ndim


def contiguous(input: Tensor) -> Tensor:
    """`input` itself if its memory is in row-major order, else a copy that is."""
    return input if input.is_contiguous() else clone(input)


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return shape_of(self) == shape_of(other)


def element_size(self: Tensor) -> int:
    """Bytes an element."""
    return self.dtype.itemsize


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes broadcast to. Raises ShapeError."""
    from ..ir.types import broadcast_shapes as common

    return Size(common(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes]))
