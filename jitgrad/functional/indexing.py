"""Reading and writing at positions: `x[...]` with NumPy's rules.

Basic indexing (ints, slices, None, ...) gives views. Advanced indexing (tensors, lists, bool masks) becomes
one `gather` over the indexed axes, made one axis; an int beside them is basic, as torch has it. Negative
indices count from the end; an index outside is an IndexError, which compiled code raises too. The size of
what a bool mask selects depends on values, so a tensor as a mask is refused inside a recording; Python's
and NumPy's bools are known there.

Imports: `arguments`, `comparison`, `creation`, `shaping`, `autograd.views`, `dispatch`, `tensors`, `ir.ops`,
`ir.types`, `errors`, `state`.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd.views import replaced
from ..dispatch import apply, blame, cast, common_shape, expand_to, lift
from ..errors import BoundsError, DTypeError, ShapeError
from ..ir.ops.shape import inverse_permutation
from ..ir.types import Shape, bool_, contiguous_strides, i64, u8
from ..state import state
from ..tensors import Tensor, concrete, make, shape_of
from .arguments import named, node_name, want_tensor
from .comparison import truth
from .creation import array_from, tensor
from .shaping import contiguous

# -- positions


def checked_index(function: str, index: Tensor, size: int, axis: int, wraps: bool = False) -> Tensor:
    """`index` as int64; with `wraps`, negative ones counted from the end.

    Raises IndexError for another dtype, BoundsError where the values are known; compiled code checks when
    it runs.
    """
    if not index.dtype.is_integer:
        raise IndexError(
            f"{function}: tensors used as indices must be long, int, byte or bool tensors, got {index.dtype}"
        )
    at = cast(index, i64)
    if state.recording is None:
        values = index._array
        if not values.size:
            return at
        low, high = int(values.min()), int(values.max())
        if low < (-size if wraps else 0) or high >= size:
            bad = high if high >= size else low
            raise blame(BoundsError(f"{function}: index {bad} is out of bounds for dimension {axis} with size {size}"))
        if low >= 0:
            return at
    if not wraps:
        return at
    shape = shape_of(at)
    negative = apply("lt", at, lift(0, i64, shape))
    return apply("select", negative, apply("add", at, lift(size, i64, shape)), at)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not 0: one row each, or one tensor an axis (as_tuple).

    How many there are depends on the values, so not inside a traced function.
    """
    found = np.nonzero(np.atleast_1d(concrete(want_tensor("nonzero", input), "nonzero()")))
    if as_tuple:
        return tuple(make(f.astype(np.int64)) for f in found)
    if not input.ndim:
        return make(np.zeros((len(found[0]), 0), np.int64))
    return make(np.stack(found, axis=1).astype(np.int64))


argwhere = nonzero


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements of input where mask holds, as a vector; eager only, for its size depends on values."""
    if want_tensor("masked_select", mask, "mask", 2).dtype is not bool_:
        raise blame(DTypeError("masked_select: expected BoolTensor for mask"))
    shape = common_shape(input, mask)
    return getitem(expand_to(input, shape), expand_to(mask, shape))


# -- x[...]


@dataclass(frozen=True)
class _Parsed:
    """An index, taken apart: a basic part that gives `view`, then index tensors by axis of that view."""

    view: Tensor
    advanced: tuple[tuple[int, Tensor], ...]


def _as_index(item: Any) -> Any:
    """Masks that are known (bools, lists and arrays of them) as arrays, other lists and arrays as tensors."""
    if isinstance(item, (bool, np.bool_)):
        return np.asarray(item)
    if isinstance(item, (list, range, np.ndarray)):
        array = array_from(list(item) if isinstance(item, range) else item, None)
        if array.dtype.kind == "b":
            return array
        return tensor(array if array.size else array.astype(np.int64))
    if isinstance(item, Tensor) and item.dtype is u8:
        return truth(item)  # as in torch, where bytes stood for bools
    return item


def as_written(index: Any) -> Any:
    """`index`, as a tuple where it is a list that counts as one: of this the caller's caller is warned."""
    if isinstance(index, list) and len(index) < 32 and any(
        i is None or i is Ellipsis or isinstance(i, (list, tuple, slice, Tensor)) for i in index
    ):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated; use x[tuple(seq)] instead of "
            "x[seq], or x[jitgrad.tensor(seq)] to index with the sequence as an array", stacklevel=3,
        )
        return tuple(index)
    return index


def _items(index: Any) -> list[Any]:
    if isinstance(index, tuple):
        return [_as_index(i) for i in index]
    return [_as_index(index)]


def _axes_used(item: Any) -> int:
    """How many axes of the tensor an item of the index takes."""
    if item is None:
        return 0
    return item.ndim if _is_mask(item) else 1


def _is_mask(item: Any) -> bool:
    return isinstance(item, np.ndarray) or (isinstance(item, Tensor) and item.dtype is bool_)


def _bounds(s: slice, n: int) -> tuple[int, int, int]:
    """start, limit and step of a slice of an axis of size n."""
    step = 1 if s.step is None else operator.index(s.step)
    if step <= 0:
        raise ValueError("step must be greater than zero (flip the tensor to read it backwards)")
    start, stop, _ = slice(
        None if s.start is None else operator.index(s.start), None if s.stop is None else operator.index(s.stop), step
    ).indices(n)
    return start, max(start, stop), step


def _parse(x: Tensor, index: Any) -> _Parsed:
    items = _items(index)
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:  # as torch, where those behind the first stand for nothing
        if any(_axes_used(item) for item in items[dots[1] :] if item is not Ellipsis):
            raise IndexError("an index can only have a single ellipsis ('...')")
        items = [item for i, item in enumerate(items) if i not in dots[1:]]
    shape = shape_of(x)
    used = sum(_axes_used(item) for item in items if item is not Ellipsis)
    if used > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    fill = [slice(None)] * (len(shape) - used)
    at = dots[0] if dots else len(items)
    items[at : at + 1 if dots else at] = fill

    start, limit, step = [0] * len(shape), list(shape), [1] * len(shape)
    result: list[int] = []  # the shape after slicing, int axes dropped, None axes added
    advanced: list[tuple[int, Tensor]] = []
    axis = 0
    for item in items:
        if item is None:
            result.append(1)
        elif isinstance(item, slice):
            start[axis], limit[axis], step[axis] = _bounds(item, shape[axis])
            result.append(-((start[axis] - limit[axis]) // step[axis]))
            axis += 1
        elif _is_mask(item):
            for k, (found, n) in enumerate(zip(_found(item), item.shape or (1,), strict=True)):
                if item.ndim and n != shape[axis + k]:
                    raise IndexError(
                        f"The shape of the mask {list(item.shape)} at index {k} does not match the shape of the "
                        f"indexed tensor {list(shape)} at index {axis + k}"
                    )
                advanced.append((len(result), found))
                result.append(shape[axis + k] if item.ndim else 1)
            axis += item.ndim
        elif isinstance(item, Tensor) and (item.ndim or state.recording is not None):
            advanced.append((len(result), checked_index("index", item, shape[axis], axis, wraps=True)))
            result.append(shape[axis])
            axis += 1
        else:
            try:
                i = operator.index(item)
            except TypeError:
                raise IndexError(
                    "only integers, slices (`:`), ellipsis (`...`), None and long, byte or bool tensors are valid "
                    f"indices (got {type(item).__name__})"
                ) from None
            n = shape[axis]
            if not -n <= i < n:
                raise IndexError(f"index {i} is out of bounds for dimension {axis} with size {n}")
            start[axis], limit[axis] = i % n, i % n + 1
            axis += 1
    view = x
    if start != [0] * len(shape) or limit != list(shape) or step != [1] * len(shape):
        view = apply("slice", x, start=tuple(start), limit=tuple(limit), step=tuple(step))
    if tuple(result) != shape_of(view):
        only_ints = all(isinstance(i, (int, np.integer)) or (isinstance(i, slice) and i == slice(None)) for i in items)
        view = named("Select" if only_ints else "Slice", apply("reshape", view, shape=tuple(result)), (x,))
    elif view is x and not advanced:
        view = named("Alias", apply("reshape", x, shape=shape), (x,))
    return _Parsed(view, tuple(advanced))


def _found(mask: Tensor | np.ndarray) -> tuple[Tensor, ...]:
    """The positions where a mask holds, a tensor for each of its axes."""
    if isinstance(mask, Tensor):
        mask = concrete(mask, "a bool mask as an index (its result's size)")
    return tuple(tensor(f.astype(np.int64)) for f in np.nonzero(np.atleast_1d(mask)))


@dataclass(frozen=True)
class _Gather:
    """An advanced index as one gather: permute by `perm`, make the `count` axes from `axis` one, gather."""

    perm: Shape
    axis: int
    count: int
    flat: Tensor


def _planned(parsed: _Parsed) -> _Gather:
    """Raises IndexError where index tensors do not broadcast together."""
    shape = shape_of(parsed.view)
    axes = [a for a, _ in parsed.advanced]
    try:
        common = common_shape(*[t for _, t in parsed.advanced])
    except ShapeError:
        shapes = ", ".join(str(list(t.shape)) for _, t in parsed.advanced)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    rest = [i for i in range(len(shape)) if i not in axes]
    first = axes[0] if together else 0  # as in NumPy: indices apart from each other put their axes in front
    perm = (*rest[:first], *axes, *rest[first:])
    sizes = [shape[a] for a in axes]
    flat, outside = None, None
    for (_, index), n, stride in zip(parsed.advanced, sizes, contiguous_strides(sizes), strict=True):
        index = expand_to(index, common)
        if len(axes) > 1:
            # Made one axis, an index too large for its own could hit another row: send it out of bounds instead.
            for beyond, limit in (("lt", 0), ("ge", n)):
                wrong = apply(beyond, index, lift(limit, i64, common))
                outside = wrong if outside is None else apply("bitwise_or", outside, wrong)
            index = apply("mul", index, lift(stride, i64, common))
        flat = index if flat is None else apply("add", flat, index)
    if outside is not None and state.recording is not None:
        flat = apply("select", outside, lift(-1, i64, common), flat)
    assert flat is not None
    return _Gather(perm, first, len(axes), flat)


def _merged(x: Tensor, plan: _Gather) -> Tensor:
    """`x` permuted, its indexed axes made one."""
    if plan.perm != tuple(range(x.ndim)):
        x = apply("permute", x, perm=plan.perm)
    shape = shape_of(x)
    if plan.count == 1:
        return x
    end = plan.axis + plan.count
    return apply("reshape", x, shape=(*shape[: plan.axis], math.prod(shape[plan.axis : end]), *shape[end:]))


def getitem(input: Tensor, index: Any) -> Tensor:
    """`input[index]`. Raises IndexError."""
    index = as_written(index)
    parsed = _parse(input, index)
    if not parsed.advanced:
        return parsed.view
    plan = _planned(parsed)
    out = apply("gather", _merged(parsed.view, plan), plan.flat, axis=plan.axis, batch=0)
    if state.recording is not None and is_basic(index):
        state.recording.copied(input, out)
    return out


def is_basic(index: Any) -> bool:
    """Whether `index` has ints, slices, None and ... only, so that it is a view."""
    return not any(
        isinstance(i, (Tensor, np.ndarray)) and not (isinstance(i, Tensor) and not i.ndim and i.dtype.is_integer)
        for i in _items(index)
    )


def set_item(input: Tensor, index: Any, value: Tensor) -> Tensor:
    """A copy of `input` with `value`, broadcast, at `input[index]`: what `input[index] = value` would leave."""
    parsed = _parse(input, index)
    value = cast(value, input.dtype)
    part = parsed.view
    new = _assigned(parsed, value) if parsed.advanced else fitting(value, shape_of(part))
    if part is input:
        return new
    own = 0 if input._view is None else len(input._view.steps)
    assert part._view is not None
    return replaced(input, part._view.steps[own:], new)


def _assigned(parsed: _Parsed, value: Tensor) -> Tensor:
    """The view that an index has cut out, with `value` where its index tensors say."""
    plan = _planned(parsed)
    whole = _merged(parsed.view, plan)
    sizes, own = shape_of(whole), shape_of(plan.flat)
    value = fitting(value, (*sizes[: plan.axis], *own, *sizes[plan.axis + 1 :]))
    out = apply("scatter", whole, plan.flat, value, axis=plan.axis, batch=0)
    shape = shape_of(parsed.view)
    out = apply("reshape", out, shape=tuple([shape[i] for i in plan.perm]))
    return apply("permute", out, perm=inverse_permutation(plan.perm))


def fitting(value: Tensor, shape: Shape) -> Tensor:
    """`value` broadcast to the indexed shape; axes of size 1 in front are dropped."""
    own = shape_of(value)
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    value = value if own == shape_of(value) else apply("reshape", value, shape=own)
    try:
        if common_shape(value, lift(0, value.dtype, shape)) == shape:
            return expand_to(value, shape)
    except ShapeError:
        pass
    raise blame(ShapeError(
        f"shape mismatch: value tensor of shape {list(own)} cannot be broadcast to indexing result of shape "
        f"{list(shape)}"
    ))


def unpermuted(x: Tensor, perm: Shape) -> Tensor:
    """`x` with its axes in the order they had before they were permuted by `perm`, in row-major memory."""
    return contiguous(apply("permute", x, perm=tuple(perm.index(i) for i in range(len(perm)))))


@node_name("IndexPut")
def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with values at input[indices], added to what is there if `accumulate`."""
    want_tensor("index_put", input)
    want_tensor("index_put", values, "values", 3)
    if not isinstance(indices, (list, tuple)):
        raise TypeError(
            f"index_put(): argument 'indices' (position 2) must be tuple of Tensors, not {type(indices).__name__}"
        )
    if not accumulate:
        return set_item(input, tuple(indices), values)
    zeros = lift(0, input.dtype, shape_of(input))
    parsed = _parse(input, tuple(indices))
    plan = _planned(parsed)
    target = _merged(parsed.view, plan)
    want = shape_of(apply("gather", _merged(zeros, plan), plan.flat, axis=plan.axis, batch=0))
    out = apply("scatter_add", target, plan.flat, fitting(values, want), axis=plan.axis, batch=0)
    permuted = apply("reshape", out, shape=tuple(input.shape[p] for p in plan.perm))
    return unpermuted(permuted, plan.perm)
