"""In-place operations: each is its out-of-place function, whose result is then written into the tensor.

The result must have the tensor's shape and a dtype that converts to the tensor's. A leaf that requires grad
is not written to while the graph is recorded; memory whose elements overlap is not written to at all. A
write counts in the storage's version, so that a backward that saved the old values finds out, and the
tensor takes the result's place in the graph; a view takes its base along (`autograd.views`). Inside a
recording the write is noted, and done when the compiled program has run.

Imports: `functional`, `autograd.views`, `dispatch`, `tensors`, `state`, `errors`, `ir.types`, `rng`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .autograd import views
from .dispatch import OPERAND, apply, blame, cast, expand_to, lift
from .errors import DTypeError, InplaceError, ShapeError
from .functional import arranging, comparison, elementwise, gathering, indexing, linalg, random, shaping, special
from .functional.arguments import want_number, want_tensor
from .functional.creation import filled, from_numpy, tensor
from .ir.types import DType, bool_, f32
from .rng import Generator
from .state import state
from .tensors import Tensor, make, shape_of

_KIND = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def _converts(source: DType, target: DType) -> bool:
    """Whether torch writes a result of dtype `source` into a tensor of `target`."""
    return _KIND[source.kind] <= _KIND[target.kind]


def write(t: Tensor, result: Tensor) -> Tensor:
    """Let `t` hold `result`, in memory and in the graph. Returns `t`.

    Raises RuntimeError for a leaf that requires grad, overlapping memory, a dtype that does not convert
    or another shape.
    """
    if not _converts(result.dtype, t.dtype):
        raise blame(DTypeError(
            f"result type {_CTYPE[result.dtype.name]} can't be cast to the desired output type {_CTYPE[t.dtype.name]}"
        ))
    if shape_of(result) != shape_of(t):
        raise blame(ShapeError(
            f"output with shape {list(t.shape)} doesn't match the broadcast shape {list(result.shape)}"
        ))
    return store(t, cast(result, t.dtype))


_CTYPE = {
    "float32": "Float", "float64": "Double", "int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char",
    "uint8": "Byte", "bool": "Bool",
}


def store(t: Tensor, result: Tensor) -> Tensor:
    """`write` of a result of exactly the type of `t`."""
    graph = state.grad_enabled
    if state.recording is not None:
        t = state.recording.standing(t)
    if graph:
        _check_graph(t, result)
        if t.requires_grad and not result._requires_grad:
            # The old value gets no gradient, and `t` still requires grad.
            everywhere = lift(True, bool_, shape_of(t))
            result = apply("select", everywhere, result, t)
    if state.recording is not None:
        _check_memory(t, state.recording.writeable(t))
        _record(t, result, graph)
        return t
    _check_memory(t, t._array.flags.writeable)
    commit(t, result, graph)
    return t


def commit(t: Tensor, result: Tensor, graph: bool) -> None:
    """`result` into the memory of `t`, if it is not there already, and, with `graph`, `t` into the place of
    `result`."""
    if result._array is not t._array:
        np.copyto(t._array, result._array)
    t._storage.version += 1
    if graph and t._view is not None:
        views.written(t, result)
    elif graph:
        _place(t, result)


def _record(t: Tensor, result: Tensor, graph: bool) -> None:
    """The write, inside a recording; with the graph, one through a view becomes one to its base."""
    recording = state.recording
    assert recording is not None
    whole, moved = t, result
    if graph and t._view is not None:
        whole = t._view.base
        moved = views.replaced(whole, t._view.steps, result)
    recording.write(whole, moved, graph)
    if graph:
        _place(whole, moved)
        if whole is not t:
            views.follow(t)


def _check_graph(t: Tensor, result: Tensor) -> None:
    if t._requires_grad and t.grad_fn is None:
        raise blame(InplaceError(
            "a leaf Variable that requires grad is being used in an in-place operation.",
            hint="write under jitgrad.no_grad(), or to a computed tensor",
        ))
    checked = [t]
    if state.recording is not None:  # what stands for a view of a tensor outside is a view of that
        checked.append(state.recording.outside(t if t._view is None else t._view.base))
    for view in checked:
        if view._view is not None:
            try:
                views.check_write(view, result)
            except InplaceError as error:
                raise blame(error) from None


def _check_memory(t: Tensor, writeable: bool) -> None:
    shape = shape_of(t)
    twice = t._view is not None and any(views.overlaps(op, attrs) for op, attrs in t._view.steps)
    if 0 not in shape and (twice or any(s == 0 and n > 1 for s, n in zip(t.stride(), shape, strict=True))):
        raise blame(InplaceError(views.OVERLAP))
    if not writeable:
        raise blame(InplaceError("the tensor's memory is read-only: it came from a read-only array"))


def _place(t: Tensor, result: Tensor) -> None:
    t._node, t._output_nr, t._requires_grad = result._node, result._output_nr, result._requires_grad


def set_data(t: Tensor, value: Tensor) -> None:
    """`t.data = value`: `t` is over the memory of `value` from now on; its place in the graph stays."""
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
    if t._requires_grad and not value.dtype.is_floating_point:
        raise RuntimeError("data set to a tensor that requires gradients must be floating point")
    if state.recording is not None:
        state.recording.rebind(t, value)
        return
    t._array, t._storage = value._array, value._storage


def _in_place(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return write(self, function(_before(self, args), *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{function.__name__}`, written into the tensor, which is returned."
    return method


def _before(t: Tensor, args: tuple[Any, ...]) -> Tensor:
    """`t` as it is before the write, for a backward to save: a copy of its memory where there is one to be."""
    if not state.grad_enabled or not (t.requires_grad or any(isinstance(a, Tensor) and a._requires_grad for a in args)):
        return t
    if state.recording is not None:
        return state.recording.saved(t)
    if t._node is None and t._requires_grad:
        return t  # refused by the write
    old = make(t._array.copy())
    old._node, old._output_nr, old._requires_grad = t._node, t._output_nr, t._requires_grad
    return old


_FUNCTIONS: tuple[tuple[Any, str], ...] = (
    (elementwise, """
        abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh ceil cos cosh digamma div erf exp exp2 expm1
        floor floor_divide fmod frac lgamma log log10 log1p log2 mul neg pow reciprocal relu remainder round rsqrt
        sigmoid sign sin sinh sqrt square sub tan tanh trunc
    """),
    (comparison, """
        bitwise_and bitwise_not bitwise_or bitwise_xor clamp clamp_max clamp_min eq ge gt le logical_and logical_not
        logical_or logical_xor lt masked_fill nan_to_num ne
    """),
    (special, "lerp"),
    (arranging, "tril triu"),
    (gathering, "index_add index_copy index_fill masked_scatter scatter scatter_add"),
    (indexing, "index_put"),
    (linalg, "addmm addmv baddbmm addbmm"),
)

METHODS: dict[str, Callable[..., Any]] = {
    f"{name}_": _in_place(getattr(module, name), f"{name}_") for module, names in _FUNCTIONS for name in names.split()
}


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    METHODS[function.__name__] = function
    return function


@_method
def zero_(self: Tensor) -> Tensor:
    """Every element 0."""
    return store(self, lift(0, self.dtype, shape_of(self)))


@_method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Every element `value`, a number or a 0-d tensor."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
            )
        return store(self, expand_to(cast(value, self.dtype), shape_of(self)))
    return store(self, lift(value, self.dtype, shape_of(self)))


@_method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """The elements of src, broadcast and converted."""
    result = cast(want_tensor("copy_", src, "other"), self.dtype)
    if shape_of(result) != shape_of(self):
        result = shaping.expand(result, shape_of(self))
    elif result is src:
        result = elementwise.clone(src)
    return store(self, result)


@_method
def detach_(self: Tensor) -> Tensor:
    """Takes the tensor out of the graph: a leaf that does not require grad."""
    if self._view is not None:
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    if state.recording is not None:
        self = state.recording.detach_(self)
    self._node, self._output_nr, self._requires_grad = None, 0, False
    return self


@_method
def uniform_(self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Uniform random numbers in [from_, to)."""
    want_number("uniform_", "from", from_)
    want_number("uniform_", "to", to)
    drawn = random.uniform(shape_of(self), self.dtype, generator)
    return store(self, elementwise.add(elementwise.mul(drawn, to - from_), from_))


@_method
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Normal random numbers of that mean and standard deviation."""
    drawn = random.gaussian(shape_of(self), self.dtype, generator)
    return store(self, elementwise.add(elementwise.mul(drawn, std), mean))


@_method
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """1 with probability p (a number, or a tensor of one for each element), else 0."""
    chance = p if isinstance(p, Tensor) else filled(p, f32, shape_of(self))
    return store(self, cast(random.bernoulli(chance, generator=generator), self.dtype))


@_method
def random_(self: Tensor, from_: int = 0, to: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Random integers in [from_, to); `random_(to)` starts at 0."""
    if to is None:
        from_, to = 0, from_
    return store(self, random.integers(from_, to, shape_of(self), self.dtype, generator))


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """`self[index] = value`, value broadcast to the indexed shape and converted."""
    index = indexing.as_written(index)
    if state.recording is not None:
        self = state.recording.standing(self)
    if not isinstance(value, Tensor):
        value = tensor(value, self.dtype)
    if isinstance(index, Tensor) and index.dtype is bool_ and value.ndim <= self.ndim - index.ndim:
        # One value wherever the mask holds: no need to know how many places those are.
        store(self, comparison.where(_as_mask(index, self), cast(value, self.dtype), self))
    elif state.recording is None and indexing.is_basic(index):
        region = indexing.getitem(self, index)
        store(region, elementwise.clone(indexing.fitting(cast(value, self.dtype), shape_of(region))))
    else:
        store(self, indexing.set_item(self, index, value))


def _as_mask(mask: Tensor, t: Tensor) -> Tensor:
    """A mask over the first axes as one over all. Raises IndexError where it does not fit them."""
    if mask.shape != t.shape[: mask.ndim]:
        raise IndexError(
            f"The shape of the mask {list(mask.shape)} does not match the shape of the indexed tensor {list(t.shape)}"
        )
    return shaping.reshape(mask, (*mask.shape, *(1,) * (t.ndim - mask.ndim)))


def _operator(name: str) -> Callable[[Tensor, Any], Any]:
    method = METHODS[name]

    def operate(self: Tensor, other: Any) -> Any:
        if self._weak:  # a Python number in a recording cannot change
            return NotImplemented
        if isinstance(other, OPERAND):
            return method(self, other)
        return method(self, from_numpy(other)) if isinstance(other, np.ndarray) else NotImplemented

    return operate


OPERATORS: dict[str, Callable[..., Any]] = {
    **{
        f"__i{name}__": _operator(method)
        for name, method in (
            ("add", "add_"), ("sub", "sub_"), ("mul", "mul_"), ("truediv", "div_"), ("floordiv", "floor_divide_"),
            ("mod", "remainder_"), ("pow", "pow_"), ("and", "bitwise_and_"), ("or", "bitwise_or_"),
            ("xor", "bitwise_xor_"),
        )
    },
    "__setitem__": setitem,
}
