"""Shapes: views under other shapes and orders of axes, pieces, and what a tensor is.

Views share memory as torch's do; what numpy cannot give as a view is a copy where torch copies too.
Imports: `arguments`, `elementwise`, `dispatch`, `tensors`, `ir.types`, `errors`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from ..dispatch import apply, blame, expand_to
from ..errors import ShapeError
from ..ir.types import Shape
from ..tensors import Size, Tensor, shape_of
from .arguments import (
    Dims,
    axes_of,
    axis_of,
    ints,
    node_name,
    numpy_names,
    packed,
    takes_ints,
    want_tensor,
    want_tensors,
)
from .elementwise import clone

# -- reshaping


def _resolved(input: Tensor, shape: Shape) -> Shape:
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
    return apply("reshape", input, shape=_resolved(input, tuple(shape)))


def view(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """`reshape` that never copies; `view(dtype)` with a dtype of the same width reads the bytes as that.

    Raises RuntimeError where the memory's order does not allow a view.
    """
    from ..ir.types import DType

    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], DType)):
        raise RuntimeError("view(dtype) is not supported: convert with .to(dtype)")
    result = reshape(self, *shape)
    if result._view is None and result.type_.size:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
            "two contiguous subspaces). Use .reshape(...) instead."
        )
    return result


def view_as(self: Tensor, other: Tensor) -> Tensor:
    """`view` with the shape of other."""
    return view(self, shape_of(other))


def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """`reshape` with the shape of other."""
    return reshape(self, shape_of(other))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim to end_dim made one."""
    shape = shape_of(want_tensor("flatten", input))
    first, last = axis_of(start_dim, len(shape)), axis_of(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, (1,))
    if first == last:
        return input
    return reshape(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def ravel(input: Tensor) -> Tensor:
    """All axes made one."""
    return reshape(want_tensor("ravel", input), (input.type_.size,))


def _of_each(function: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """`function`, of one tensor, for several: it gives a tuple then."""

    @functools.wraps(function)
    def wrapped(*tensors: Any) -> Any:
        listed = want_tensors(function.__name__, tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor)
                              else tensors)
        if len(tensors) == 1 and listed and tensors[0] is listed[0]:
            return function(listed[0])
        return tuple(function(x) for x in listed)

    return wrapped


@_of_each
def atleast_1d(input: Tensor) -> Tensor:
    """`input`; a 0-d tensor as a view with one axis. Of several tensors a tuple."""
    return input if input.ndim else reshape(input, (1,))


@_of_each
def atleast_2d(input: Tensor) -> Tensor:
    """`input`; one of fewer axes as a view with two, a vector as a row. Of several tensors a tuple."""
    return input if input.ndim > 1 else reshape(input, (1, input.type_.size))


@_of_each
def atleast_3d(input: Tensor) -> Tensor:
    """`input`; one of fewer axes as a view with three, a matrix with one behind. Of several tensors a tuple."""
    return input if input.ndim > 2 else unsqueeze(atleast_2d(input), -1)


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


@numpy_names
@node_name("Squeeze")
def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """Without the axes of size 1 (or those among `dim`)."""
    shape = shape_of(want_tensor("squeeze", input))
    among = range(len(shape)) if dim is None else axes_of(dim, len(shape)) if dim != () else ()
    return apply("reshape", input, shape=tuple(n for i, n in enumerate(shape) if n != 1 or i not in among))


@numpy_names
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
    src = [axis_of(d, rank) for d in packed("movedim", "source", (source,))]
    dst = [axis_of(d, rank) for d in packed("movedim", "destination", (destination,))]
    if len(src) != len(dst) or len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({source} dims) should contain the same number of "
            f"distinct dims as destination ({destination} dims)"
        )
    rest = iter([i for i in range(rank) if i not in src])
    at = dict(zip(dst, src, strict=True))
    return apply("permute", input, perm=tuple(at[i] if i in at else next(rest) for i in range(rank)))


moveaxis = movedim


# -- expanding


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
    return expand(self, shape_of(other))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All of them expanded to their common shape."""
    from ..dispatch import common_shape

    listed = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    shape = common_shape(*listed)
    return tuple(expand_to(x, shape) for x in listed)


# -- pieces


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


@numpy_names
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


@numpy_names
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

    return Size(common(*[packed("broadcast_shapes", "shapes", (s,)) for s in shapes]))
