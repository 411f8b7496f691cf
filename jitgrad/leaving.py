"""What leaves a recording, and how it comes to be at every call.

A tensor that a function returns, stores or leaves in a `.grad` may be a result of the program, a tensor from
outside, or a view of either: eager hands out views, so they are taken again, on the tensors of the call and in
their graph. Two tensors over one memory are over one memory again. Each tensor object has one `Place`.

The graph that the recorded function built is audited too: a result whose graph eager could not run backward
(its buffers freed by a backward inside, a saved value overwritten) gets a node that raises what eager raises.

Invariants: places refer only to places before them.
Imports: `recording`, `sources`, `autograd`, `pytree`, `tensors`, `state`, `dispatch`, `errors`, `ir.core`.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .autograd.function import FunctionNode
from .autograd.graph import AccumulateGrad, Node, OpNode, Saved, gradient_edge, second_backward
from .dispatch import apply
from .errors import InplaceError, TraceError
from .ir.core import Value
from .pytree import containers
from .recording import Recording
from .sources import Argument, RecordedStorage
from .state import state
from .tensors import Steps, Tensor, again, as_number, up_to_date


@dataclass(frozen=True, eq=False)
class Constant:
    """A Python value, the same at every call."""

    value: Any

    def build(self, call: Call) -> Any:
        return self.value


@dataclass(frozen=True, eq=False)
class Leaf:
    """An argument that is no tensor."""

    index: int

    def build(self, call: Call) -> Any:
        return call.leaves[self.index]


class Passed:
    """A list, dict or object that was among the arguments. No dataclass, for it stands in what was returned, where
    it is a leaf."""

    def __init__(self, index: int) -> None:
        self.index = index

    def build(self, call: Call) -> Any:
        return containers(call.arguments)[self.index]


@dataclass(frozen=True, eq=False)
class Number:
    """A result that is a number, a float or an np.float64."""

    index: int
    kind: type

    def build(self, call: Call) -> Any:
        return as_number(call.results[self.index]._array, self.kind)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Outside:
    """A tensor from outside: an input of the program."""

    position: int

    def build(self, call: Call) -> Any:
        return call.inputs[self.position]


@dataclass(frozen=True, eq=False)
class Broken:
    """Why backward from a result raises, and the inputs that it would reach otherwise."""

    error: Exception
    reached: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """A result of the program. `leaf`: one that requires grad; `broken`: that its backward raises; `memory`: the
    place over whose memory it lies."""

    index: int
    leaf: bool = False
    broken: Broken | None = None
    memory: int | None = None

    def build(self, call: Call) -> Any:
        t = call.results[self.index]
        if self.memory is not None:
            over = call.built[self.memory]
            t._array, t._storage = over._array, over._storage
        if self.leaf:
            t._requires_grad = True
        if self.broken is not None:
            t._node, t._requires_grad = BrokenBackward(t, self.broken, call.inputs), True
        return t


@dataclass(frozen=True, eq=False)
class Shown:
    """A view of another place: `steps` taken on it, with or without the graph, or detached from it."""

    base: int
    steps: Steps
    mode: str  # "graph", "no_grad", "detached"
    leaf: bool = False

    def build(self, call: Call) -> Any:
        base = call.built[self.base]
        if self.mode == "detached":
            base = again(base)
        before, state.grad_enabled = state.grad_enabled, self.mode == "graph"
        try:
            for op, attrs in self.steps:
                base = apply(op, base, **attrs)
        finally:
            state.grad_enabled = before
        if self.mode == "detached":
            base._view = None
            base._requires_grad = self.leaf
        return base


Place = Constant | Leaf | Passed | Number | Outside | Result | Shown


@dataclass(eq=False)
class Call:
    """One run of a program: what went in, what came out, and the places built so far."""

    leaves: Sequence[Any]
    arguments: Any
    inputs: Sequence[Tensor]
    results: Sequence[Tensor]
    built: list[Any]


class BrokenBackward(Node):
    """The backward of a result whose graph cannot be run: it raises what eager raises."""

    __slots__ = ("error",)

    def __init__(self, t: Tensor, broken: Broken, inputs: Sequence[Tensor]) -> None:
        super().__init__([gradient_edge(inputs[i]) for i in broken.reached], [t.type_])
        self.error = broken.error

    def pull(self, domain: Any, cts: list[Any], wanted: Sequence[bool]) -> Sequence[Any]:
        raise type(self.error)(*self.error.args)


class Audits:
    """What is known of the graphs of tensors: why backward from them raises, by id, and the leaves, made by the
    function itself, that those graphs lead to. Such a leaf is one step among others as long as nobody has it after
    the call to ask for its gradient."""

    def __init__(self) -> None:
        self.broken: dict[int, Broken | None] = {}
        self.leaves: list[weakref.ref[Tensor]] = []

    def check_lost(self) -> None:
        """Raises TraceError where one of the leaves lives on: for when all else that the call made is gone."""
        if any(leaf() is not None for leaf in self.leaves):
            raise lost_gradient()


def lost_gradient() -> TraceError:
    return TraceError(
        "a result of a traced function depends on a tensor that the function itself made to require grad: "
        "its gradient would be lost",
        hint="return the result detached, or make the leaf outside and pass it",
    )


class Exit:
    """Collects what leaves `recording`: `places`, and the values of the program's results."""

    def __init__(self, recording: Recording, leaving: Iterable[Any], audits: Audits) -> None:
        self.recording = recording
        self.audits = audits
        self.places: list[Place] = []
        self.values: list[Value] = []
        self.differentiable: list[int] = []
        inner = {id(t): t for x in leaving if isinstance(x, Tensor) for t in (recording.standing(x),)}
        self._leaving = set(inner)
        self._sharing = Counter(id(t._storage) for t in inner.values())
        self._known: dict[int, int] = {}  # by id of a tensor that is alive as long as new ones are made
        self._positions = {id(m.tensor): i for i, m in enumerate(recording.stand_ins)}

    def result(self, t: Tensor | Value) -> int:
        """The number of a new result of the program that holds `t`."""
        self.values.append(t if isinstance(t, Value) else self.recording.value(t))
        return len(self.values) - 1

    def place(self, x: Any) -> int:
        """The number of the place of `x`, made where it has none yet."""
        if isinstance(x, Passed):
            return self._add(x)
        if not isinstance(x, Tensor):
            return self._add(Constant(x))
        t = self.recording.standing(x)
        if t._view is not None:
            up_to_date(t)
        found = self._known.get(id(t))
        if found is None:
            found = self._known[id(t)] = self._place(t)
        return found

    def memory(self, t: Tensor, leaf: bool = False) -> int:
        """The number of a place that is a tensor over the memory of `t`, outside the graph. leaf: one that requires
        grad."""
        storage = t._storage
        assert isinstance(storage, RecordedStorage)
        return self._add(Shown(self._root(storage), storage.steps_of(t), "detached", leaf))

    def _add(self, place: Place) -> int:
        self.places.append(place)
        return len(self.places) - 1

    def _place(self, t: Tensor) -> int:
        made = self.recording.stand_in_of(t)
        if made is not None:
            if t._weak and isinstance(made.source, Argument):
                return self._add(Leaf(made.source.index))
            return self._add(Outside(self._position(t)))
        if t._weak:
            return self._add(Number(self.result(t), t._weak))
        storage = t._storage
        assert isinstance(storage, RecordedStorage)
        leaf = t._requires_grad and t._node is None
        alone = self._sharing[id(storage)] <= 1 and self.recording.memory_of(t) is None and not _repeats(t)
        if not alone and t._view is not None and _is_replay(t):
            mode = "graph" if t._view.follows else "no_grad"
            return self._add(Shown(self.place(t._view.base), t._view.steps, mode))
        memory = None
        if not alone and not self._holds(t, storage):
            memory = self.memory(t, leaf)
            if t._node is None:
                return memory
        broken = self._audited(t) if t._requires_grad and not leaf else None
        index = self.result(t)
        if t._requires_grad and not leaf and broken is None:
            self.differentiable.append(index)
        return self._add(Result(index, leaf, broken, memory))

    def _audited(self, t: Tensor) -> Broken | None:
        known = self.audits.broken
        if id(t) not in known:
            error, leaves = audit(t)
            outside = [x for x in leaves if self.recording.stand_in_of(x) is not None]
            made = [x for x in leaves if self.recording.stand_in_of(x) is None]
            if made and (not outside or any(id(x) in self._leaving for x in made)):
                raise lost_gradient()
            self.audits.leaves += [weakref.ref(x) for x in made]
            known[id(t)] = None if error is None else Broken(error, tuple([self._position(x) for x in outside]))
        return known[id(t)]

    def _position(self, t: Tensor) -> int:
        if id(t) not in self._positions:  # captured only now: it is returned as it is
            self._positions = {id(m.tensor): i for i, m in enumerate(self.recording.stand_ins)}
        return self._positions[id(t)]

    def _first(self, storage: RecordedStorage) -> Tensor | None:
        """The tensor of this recording that shows the whole memory of `storage`, if it lives."""
        whole = (t for t, steps in storage.living() if not steps and self.recording.stand_in_of(t) is None)
        return next(whole, None)

    def _holds(self, t: Tensor, storage: RecordedStorage) -> bool:
        """Whether the memory of `storage` comes to be as the result that `t` is."""
        return self.recording.owner(storage) is None and self._first(storage) is t

    def _root(self, storage: RecordedStorage) -> int:
        """The place that holds the memory of `storage`."""
        made = self.recording.owner(storage)
        if made is not None:
            return self.place(made.tensor)
        first = self._first(storage)
        if first is not None:
            return self.place(first)
        if id(storage) not in self._known:
            self._known[id(storage)] = self._add(Result(self.result(storage.value)))
        return self._known[id(storage)]


def _repeats(t: Tensor) -> bool:
    """Whether elements of `t` share memory with each other."""
    return any(s == 0 and n > 1 for s, n in zip(t.stride(), t.shape, strict=True))


def _is_replay(t: Tensor) -> bool:
    """Whether taking the view `t` again gives it its place in the graph."""
    assert t._view is not None
    if not t._requires_grad:
        return not (t._view.follows and t._view.base._requires_grad)
    return isinstance(t._node, OpNode) and t._node.op_name == t._view.steps[-1][0]


def audit(t: Tensor) -> tuple[Exception | None, list[Tensor]]:
    """Why eager could not run backward from `t`, if it could not, and the leaves that it leads to: stand-ins, and
    those that the function made. Walks the graph that the function built."""
    edge = gradient_edge(t)
    assert edge is not None
    error: Exception | None = None
    leaves: list[Tensor] = []
    seen, stack = {edge[0]}, [edge[0]]
    while stack:
        node = stack.pop()
        if isinstance(node, AccumulateGrad):
            leaves.append(node.variable)
        error = error or _broken(node)
        for following in node.edges:
            if following is not None and following[0] not in seen:
                seen.add(following[0])
                stack.append(following[0])
    return error, leaves


def _broken(node: Node) -> Exception | None:
    """Why `node` cannot run, if it cannot."""
    saved: list[Saved] = []
    if isinstance(node, OpNode):
        if node.released:
            return second_backward()
        saved = [s for _, s in (*(node.operands or ()), *node.outs)]
    elif isinstance(node, FunctionNode):
        if node._released:
            return second_backward()
        saved = [s for s, _ in node._saved if s is not None]
    for s in saved:
        try:
            s.check()
        except InplaceError as error:
            return error.with_traceback(None)
    return None
