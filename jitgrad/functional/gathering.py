"""Reading and writing along an axis: gather, scatter and their relatives, by tensors of indices.

Indices outside are an IndexError, which compiled code raises too; where torch takes negative ones, they count from
the end.
Imports: `arguments`, `elementwise`, `indexing`, `shaping`, `dispatch`, `tensors`, `ir.types`, `errors`.
"""

from __future__ import annotations

from typing import Any

from ..dispatch import apply, blame, cast, common_shape, expand_to, lift
from ..errors import DTypeError, ShapeError
from ..ir.types import Shape, bool_, i64
from ..tensors import Tensor, shape_of
from .arguments import axis_of, is_number, node_name, numpy_names, want_tensor
from .elementwise import clone, mul
from .indexing import checked_index, nonzero, unpermuted
from .shaping import reshape


def _vector_index(function: str, index: Any, size: int, axis: int) -> Tensor:
    t = want_tensor(function, index, "index", 3)
    if t.ndim > 1:
        raise IndexError(f"{function}(): Index is supposed to be a vector, but got dim: {t.ndim}")
    return checked_index(function, reshape(t, (-1,)) if t.ndim == 0 else t, size, axis)


@numpy_names
@node_name("IndexSelect")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of input along dim that the vector `index` names."""
    x = want_tensor("index_select", input)
    axis = axis_of(dim, x.ndim)
    if not x.ndim:
        return clone(x)
    return apply("gather", x, _vector_index("index_select", index, x.shape[axis], axis), axis=axis, batch=0)


def _along(function: str, input: Tensor, dim: int, index: Tensor) -> tuple[Tensor, Tensor, int, Shape]:
    """`input` and `index` with `dim` last and the other axes cut to those of `index`, a shared batch."""
    x, at = want_tensor(function, input), want_tensor(function, index, "index", 3)
    if at.dtype is not i64 and at.dtype.name != "int32":
        raise blame(DTypeError(f"{function}(): Expected dtype int64 for index, got {at.dtype}"))
    if x.ndim == 0:
        x = apply("reshape", x, shape=(1,))
    if at.ndim == 0:
        at = apply("reshape", at, shape=(1,))
    if x.ndim != at.ndim:
        raise blame(ShapeError(
            f"Index tensor must have the same number of dimensions as input tensor: {x.type_} and {at.type_}"
        ))
    axis = axis_of(dim, x.ndim)
    if any(i != axis and n > m for i, (m, n) in enumerate(zip(x.shape, at.shape, strict=True))):
        raise blame(ShapeError(
            f"Size does not match at dimension: expected index {list(at.shape)} to be no larger than self "
            f"{list(x.shape)} apart from dimension {axis}"
        ))
    at = checked_index(function, at, x.shape[axis], axis)
    perm = (*(i for i in range(x.ndim) if i != axis), axis)
    return x, apply("permute", at, perm=perm), axis, perm


def _cut(x: Tensor, axis: int, like: Shape) -> Tensor:
    """`x` with every axis but `axis` cut to the size in `like`."""
    shape = shape_of(x)
    limit = tuple(n if i == axis else like[i] for i, n in enumerate(shape))
    if limit == shape:
        return x
    return apply("slice", x, start=(0,) * len(shape), limit=limit, step=(1,) * len(shape))


@numpy_names
@node_name("Gather")
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j][k] = input[i][index[i][j][k]][k] (for dim=1): the shape of index."""
    x, at, axis, perm = _along("gather", input, dim, index)
    shape = shape_of(index)
    x = _cut(x, axis, shape or (1,))
    last = x.ndim - 1
    out = unpermuted(apply("gather", apply("permute", x, perm=perm), at, axis=last, batch=last), perm)
    return out if shape_of(out) == shape else apply("reshape", out, shape=shape)


@numpy_names
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` along dim, the other axes broadcast; of the flattened tensors without dim."""
    want_tensor("take_along_dim", input)
    want_tensor("take_along_dim", indices, "indices", 2)
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    axis = axis_of(dim, input.ndim)
    if input.ndim != indices.ndim or not input.ndim:
        raise RuntimeError(
            "take_along_dim(): input and indices should have the same number of dimensions, one or more, but got "
            f"{input.ndim} and {indices.ndim}"
        )
    rest = [tuple(1 if i == axis else n for i, n in enumerate(t.shape)) for t in (input, indices)]
    common = common_shape(*[lift(0, i64, shape) for shape in rest])
    both = [
        expand_to(t, tuple(t.shape[i] if i == axis else n for i, n in enumerate(common))) for t in (input, indices)
    ]
    return gather(both[0], axis, both[1])


@node_name("Take")
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of the flattened input that index names, in its shape."""
    x = want_tensor("take", input)
    at = checked_index("take", want_tensor("take", index, "index", 2), x.type_.size, 0, wraps=True)
    return apply("gather", apply("reshape", x, shape=(x.type_.size,)), at, axis=0, batch=0)


def _scattered(op: str, function: str, input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    x, at, axis, perm = _along(function, input, dim, index)
    shape = shape_of(index) or (1,)
    if isinstance(src, Tensor) and src._weak:  # a number that a recording leaves open
        update = expand_to(cast(src, x.dtype), shape)
    elif isinstance(src, Tensor):
        if src.dtype is not x.dtype:
            raise blame(DTypeError(
                f"{function}(): Expected self.dtype to be equal to src.dtype: {x.dtype} and {src.dtype}"
            ))
        update = src if src.ndim else apply("reshape", src, shape=(1,))
        if update.ndim != len(shape) or any(n < m for m, n in zip(shape, update.shape, strict=True)):
            raise blame(ShapeError(
                f"{function}(): index {list(shape)} must not be larger than src {list(update.shape)}"
            ))
        update = apply("slice", update, start=(0,) * len(shape), limit=shape, step=(1,) * len(shape))
    else:
        update = lift(src, x.dtype, shape)
    last = x.ndim - 1
    target = _cut(x, axis, shape)
    written = unpermuted(apply(
        op, apply("permute", target, perm=perm), at, apply("permute", update, perm=perm), axis=last, batch=last
    ), perm)
    out = written if shape_of(written) == shape_of(x) else _pasted(x, written)
    return out if shape_of(out) == shape_of(input) else apply("reshape", out, shape=shape_of(input))


def _pasted(x: Tensor, corner: Tensor) -> Tensor:
    """`x` with its first corner replaced."""
    shape, part = shape_of(x), shape_of(corner)
    none = (0,) * len(shape)
    high = tuple(n - m for n, m in zip(shape, part, strict=True))
    wide = apply("pad", corner, lift(0, x.dtype), low=none, high=high, interior=none)
    inside = apply("pad", lift(True, bool_, part), lift(False, bool_), low=none, high=high, interior=none)
    return apply("select", inside, wide, x)


@numpy_names
@node_name("Scatter")
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None) -> Tensor:
    """A copy with out[index[i][j]][j] = src[i][j] (for dim=0), or a number; of equal places the last wins."""
    return _scattered("scatter", "scatter", input, dim, index, value if src is None else src)


@numpy_names
@node_name("ScatterAdd")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with src[i][j] added at [index[i][j]][j] (for dim=0)."""
    return _scattered("scatter_add", "scatter_add", input, dim, index, src)


def _at_slices(op: str, function: str, input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    x = want_tensor(function, input)
    axis = axis_of(dim, x.ndim)
    at = _vector_index(function, index, x.shape[axis], axis)
    want_tensor(function, source, "source", 4)
    update = cast(source, x.dtype) if source.ndim else apply("reshape", source, shape=(1,))
    want = tuple(at.shape[0] if i == axis else n for i, n in enumerate(x.shape))
    if shape_of(update) != want:
        raise blame(ShapeError(f"{function}(): source must be {list(want)}, got {list(source.shape)}"))
    return apply(op, x, at, update, axis=axis, batch=0)


@numpy_names
@node_name("IndexAdd")
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy with the slices of alpha * source added at those along dim that the vector `index` names."""
    scaled = source if is_number(alpha, 1) else mul(source, alpha)
    return _at_slices("scatter_add", "index_add", input, dim, index, scaled)


@numpy_names
@node_name("IndexCopy")
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with the slices of source at those along dim that the vector `index` names."""
    return _at_slices("scatter", "index_copy", input, dim, index, source)


@numpy_names
@node_name("IndexFill")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with `value` in the slices along dim that the vector `index` names."""
    axis = axis_of(dim, want_tensor("index_fill", input).ndim)
    n = want_tensor("index_fill", index, "index", 3).type_.size
    shape = tuple(n if i == axis else m for i, m in enumerate(input.shape))
    index = checked_index("index_fill", index, input.shape[axis] if input.ndim else 1, axis, wraps=True)
    number = not isinstance(value, Tensor)
    filler = lift(value, input.dtype, shape) if number else expand_to(cast(value, input.dtype), shape)
    return _at_slices("scatter", "index_fill", input, axis, index, filler)


@node_name("MaskedScatter")
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the elements of source, in order, where mask holds; eager only."""
    shape = common_shape(input, mask)
    places = nonzero(reshape(expand_to(mask, shape), (-1,)), as_tuple=True)[0]
    taken = reshape(source, (-1,))[: places.shape[0]]
    flat = index_copy(reshape(expand_to(input, shape), (-1,)), 0, places, taken)
    return reshape(flat, shape)
