"""`Tensor`: an array with a place in the autograd graph.

A tensor's payload `_array` is a numpy array or, while a function is being recorded, the `ir.Value` that
stands for one; everything that reads it goes through `dispatch`, which knows which. Tensors over the same
memory share a `Storage`, whose version counts the writes: a gradient that saved a value finds out that it
was overwritten. `detach()` and views share the storage; `.data` shares the memory under a fresh version.
`_view` says of a view which tensor it is a view of and by which ops.

Methods with a function of the same name are that function (`functional.METHODS`), attached at import.
The slots are fixed early: compiled callables read them by offset.

Invariants: a tensor with `_node` requires grad; `_weak` marks a number inside a recording (0-d, yields to the
dtype of any tensor) and is its class there: float, or np.float64, which is one too.
Imports: `state`, `errors`, `layout`, `ir.types`, `ir.core`.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ConcretizationError, LeakedTensorError, user_location
from .ir.core import Value
from .ir.types import DType, Shape, TensorType, contiguous_strides, dtype_of, type_of_array
from .layout import Strides, is_contiguous
from .state import state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .autograd.graph import AccumulateGrad, Node


Steps = tuple[tuple[str, dict[str, Any]], ...]  # view ops, outermost last


class Storage:
    """Memory that tensors share: `owner` holds it (an array, or the recording it is part of), `version`
    counts the writes to it. A recorded storage also knows which part of it each tensor over it shows."""

    __slots__ = ("owner", "version")
    holds_number = False  # whether it is the memory of a constant that a Python number became

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.version = 0

    def steps_of(self, t: Tensor) -> Steps:
        """The view ops from the whole memory to the part that `t` shows, where they are kept: in a recording."""
        return ()

    def tensor(self, payload: np.ndarray | Value, steps: Steps = ()) -> Tensor:
        """A new tensor over this memory, outside the graph: `payload`, the part of it that `steps` show."""
        return make(payload, self)


class View:
    """How a tensor is a view of `base`: the view ops from it, outermost last.

    `node` is where the base was in the graph when the view took its own place from it: if the base moves
    (a write in place), the view follows when next used (`autograd.views`). A view made under no_grad does
    not (`follows`).
    """

    __slots__ = ("base", "follows", "node", "steps")

    def __init__(self, base: Tensor, steps: Steps) -> None:
        self.base = base
        self.steps = steps
        self.node = base._node
        self.follows = state.grad_enabled


class Size(tuple[int, ...]):
    """A shape, as `torch.Size`: a tuple that knows its number of elements."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        n = 1
        for size in self:
            n *= size
        return n

    def __repr__(self) -> str:
        return f"jitgrad.Size({list(self)})"


class Tensor:
    """A tensor. Made by the constructors (`jitgrad.tensor`, `zeros`, ...); `Tensor(data)` takes a list or
    an array and gives float32, `Tensor(2, 3)` a tensor of that size, as in torch."""

    __slots__ = (
        "__weakref__",
        "_accumulator",
        "_array",
        "_grad",
        "_node",
        "_output_nr",
        "_requires_grad",
        "_storage",
        "_view",
        "_weak",
    )
    __array_priority__ = 1000  # numpy's operators yield to ours

    _array: np.ndarray | Value
    _storage: Storage
    _view: View | None
    _node: Node | None
    _grad: Tensor | None
    _accumulator: weakref.ref[AccumulateGrad] | None

    if TYPE_CHECKING:  # attached by `functional.methods`

        def __getattr__(self, name: str) -> Any: ...

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...
        def __index__(self) -> int: ...
        def __bool__(self) -> bool: ...

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        from .functional.creation import legacy_constructor

        return legacy_constructor(*args, **kwargs)

    # -- what it is

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """For `isinstance`: inside a recording a Python float is one still, and an np.float64."""
        return self._weak or type(self)

    @property
    def type_(self) -> TensorType:
        """Its dtype and shape, as the IR names them."""
        payload = self._array
        return payload.type if isinstance(payload, Value) else type_of_array(payload)

    @property
    def dtype(self) -> DType:
        """The type of its elements."""
        payload = self._array
        return payload.type.dtype if isinstance(payload, Value) else dtype_of(payload.dtype)

    @property
    def shape(self) -> Size:
        """Its size along each axis."""
        payload = self._array
        return Size(payload.type.shape if isinstance(payload, Value) else payload.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def device(self) -> str:
        """"cpu": there is no other."""
        return "cpu"

    @property
    def is_cuda(self) -> bool:
        """False: there is no other device than the CPU."""
        return False

    @property
    def is_sparse(self) -> bool:
        """False: every tensor is dense."""
        return False

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Strides in elements, of all axes or of axis `dim`; row-major ones where there are no elements.

        Raises AxisError.
        """
        payload = self._array
        if isinstance(payload, Value) and state.recording is None:
            raise leaked(self)
        if 0 in self.shape:
            strides = contiguous_strides(self.shape)
        elif isinstance(payload, Value):
            strides = state.recording.strides(self)
        else:
            strides = tuple([s // payload.itemsize for s in payload.strides])
        if dim is None:
            return strides
        from .functional.arguments import axis_of

        return strides[axis_of(dim, len(strides))]

    def is_contiguous(self) -> bool:
        """Whether the elements follow each other in row-major order."""
        payload = self._array
        if isinstance(payload, Value):
            return is_contiguous(payload.type.shape, self.stride())
        return payload.flags.c_contiguous

    def data_ptr(self) -> int:
        """Address of the first element."""
        return int(concrete(self, "data_ptr()").__array_interface__["data"][0])

    # -- its place in the graph

    @property
    def requires_grad(self) -> bool:
        """Whether gradients with respect to it are computed; assignable for leaves (see `requires_grad_`)."""
        if state.recording is not None:
            self = state.recording.known(self)
        if self._view is not None:
            up_to_date(self)
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for gradients with respect to this tensor. Raises RuntimeError for a non-leaf set to False
        and for a dtype that is not floating point."""
        if not requires_grad and self.grad_fn is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if requires_grad and not self.dtype.is_floating_point:
            raise RuntimeError(
                f"only Tensors of floating point dtype can require gradients, not {self.dtype}"
            )
        if state.recording is not None:
            state.recording.require_grad(self, bool(requires_grad))
        else:
            self._requires_grad = bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was not computed from tensors that require grad: `backward` adds to the `.grad` of leaves."""
        return self.grad_fn is None

    @property
    def grad_fn(self) -> Node | None:
        """The node of the graph that it is a result of; None for a leaf."""
        if state.recording is not None:
            return state.recording.grad_fn(self)
        if self._view is not None:
            up_to_date(self)
        return self._node

    @property
    def creator(self) -> Node | None:
        """`grad_fn` under its older name."""
        return self.grad_fn

    @property
    def volatile(self) -> bool:
        """Of an older interface; `jitgrad.no_grad()` took its place. Always False."""
        return False

    @property
    def output_nr(self) -> int:
        """Which of the results of `grad_fn` it is."""
        return self._output_nr

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward()`, or None."""
        return self._grad if state.recording is None else state.recording.grad_of(self)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got {type(value).__name__}"
                )
            if value.type_ != self.type_:
                raise RuntimeError(
                    f"assigned grad has data of a different size or type: {value.type_} for {self.type_}"
                )
        if state.recording is not None:
            state.recording.set_grad(self, value)
        else:
            self._grad = value

    @property
    def _version(self) -> int:
        return self._storage.version if state.recording is None else state.recording.version(self)

    def __repr__(self) -> str:
        from .printing import tensor_repr

        return tensor_repr(self)

    def __hash__(self) -> int:  # by identity, but a Python number in a recording is found where it would be
        return hash(concrete(self, "hash()").item()) if self._weak else object.__hash__(self)


def up_to_date(t: Tensor) -> None:
    """Let a view take its place in the graph again if its base has moved there."""
    view = t._view
    if view is not None and view.node is not view.base._node and view.follows:
        from .autograd.views import follow

        follow(t)


_new = object.__new__


def make(array: np.ndarray | Value, storage: Storage | None = None) -> Tensor:
    """A tensor over `array`, outside the graph."""
    t = _new(Tensor)
    t._array = array
    t._storage = storage if storage is not None else Storage(array)
    t._view = t._node = t._grad = t._accumulator = None
    t._output_nr = 0
    t._requires_grad = t._weak = False
    return t


def again(t: Tensor) -> Tensor:
    """A second tensor over the memory of `t`, outside the graph."""
    storage = t._storage
    return storage.tensor(t._array, storage.steps_of(t))


def become(t: Tensor, other: Tensor) -> None:
    """`t`, of a recording that has ended, is from now on what `other` is."""
    t._array, t._storage, t._view = other._array, other._storage, other._view
    t._node, t._output_nr, t._requires_grad = other._node, other._output_nr, other._requires_grad
    t._accumulator = None


def concrete(t: Tensor, what: str) -> np.ndarray:
    """The array of `t`. Raises ConcretizationError inside a recording: `what` asked for a value."""
    payload = t._array
    if state.recording is not None:
        number = state.recording.number(t)
        if number is None:
            raise concretization_error(t, what)
        return number
    if isinstance(payload, Value):
        raise leaked(t)
    return payload


def number_class(*xs: Any) -> type:
    """The class of what numbers give among themselves: np.float64 where one of them is of it, else float."""
    return np.float64 if any(isinstance(x, np.float64) for x in xs) else float


def as_number(array: np.ndarray, kind: type) -> Any:
    """What a number of a recording, of the class `kind`, is in Python. (A comparison of numbers gives a bool.)"""
    number = array.item()
    return kind(number) if isinstance(number, float) else number


def concretization_error(t: Tensor, what: str) -> ConcretizationError:
    loc = user_location(2)
    error = ConcretizationError(
        f"{what} asks for the value of a tensor ({t.type_}) inside a traced function, and while a function is "
        "traced there is none yet",
        hint="compute with tensors instead (jitgrad.where, clamp, masks), move this out of the traced function, "
        "or run it under jitgrad.eager()",
    )
    return error.at(loc.excerpt()) if loc else error


def leaked(t: Tensor) -> LeakedTensorError:
    """The error for a tensor of a recording that has ended."""
    loc = getattr(t._storage.owner, "where", lambda _: None)(t._array)
    error = LeakedTensorError(
        f"this tensor ({t.type_}) was made inside a traced function and left it other than as a result, so it "
        "never had a value",
        hint="return it from the traced function",
    )
    return error.at(loc.excerpt()) if loc else error


def shape_of(t: Tensor) -> Shape:
    """`t.shape` as a plain tuple. Raises TypeError for what is no tensor."""
    try:
        payload = t._array
    except AttributeError:
        raise TypeError(f"expected a Tensor, got {type(t).__name__}") from None
    return payload.type.shape if isinstance(payload, Value) else payload.shape


def hooked(t: Tensor) -> bool:
    """Whether a hook of the user's waits for the gradient of `t`."""
    node = t._node if t._node is not None else t._accumulator() if t._accumulator is not None else None
    watch = None if node is None or node.tensor_hooks is None else node.tensor_hooks.get(t._output_nr)
    return watch is not None and bool(watch.hooks)


def follows(view: Tensor, base: Tensor) -> bool:
    """Whether a write to `base` takes `view` along in the graph."""
    record = view._view
    if record is None or record.base is not base or not record.follows:
        return False
    return view._node is not None or not view._requires_grad


def strides_of(array: Any) -> Strides:
    """The strides of an array in elements."""
    return tuple([s // array.itemsize for s in array.strides])


def array_of(t: Tensor) -> np.ndarray:
    """The array of an outside tensor."""
    payload = t._array
    if isinstance(payload, Value):
        raise leaked(t)
    return payload
