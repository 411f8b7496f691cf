"""A recording: one run of a user function on tensors that have no values yet.

While a recording is active, `dispatch` hands every primitive to `Recording.run`, which appends it to the
IR with the user's line and gives back a tensor whose payload is an IR value. Tensors from outside (the
arguments, and whatever the function captures) take part through stand-ins: a parameter of the IR function
each, with a `Source` that says where its array is found at every call.

Effects are not done but noted: in-place writes to tensors from outside, assignments to their `.grad`, and
draws from random generators become results of the program and are committed after it ran.

Invariants: the IR being recorded merges nothing; a stand-in is made once a tensor; a tensor that shares a
storage with one written to is computed again from it (`View.steps`).
Imports: `tensors`, `dispatch` (through it is called), `state`, `errors`, `ir`.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import TraceError, user_location, variable_name
from .ir.builder import FunctionBuilder
from .ir.core import Function, Instr, Loc, Value
from .ir.ops import TABLE
from .ir.types import TensorType, i64
from .tensors import Storage, Tensor, View, leaked, make

if TYPE_CHECKING:
    from .autograd.function import FunctionNode
    from .autograd.graph import Node
    from .rng import Generator


@dataclass(frozen=True, eq=False)
class Argument:
    """A source: leaf `index` of the flattened arguments."""

    index: int


@dataclass(frozen=True, eq=False)
class Capture:
    """A source: a tensor that the function reached by itself."""

    tensor: Tensor


@dataclass(frozen=True, eq=False)
class GradOf:
    """A source: the `.grad` of the tensor that another source gives."""

    source: Source


@dataclass(frozen=True, eq=False)
class Key:
    """A source: the key of a random generator."""

    generator: Generator


@dataclass(frozen=True, eq=False)
class Offset:
    """A source: the counter at which a random generator stands."""

    generator: Generator


Source = Argument | Capture | GradOf | Key | Offset


class RecordedStorage(Storage):
    """A storage inside a recording; it knows the tensors over it, to bring them up to date on a write."""

    __slots__ = ("members",)

    def __init__(self, owner: Recording) -> None:
        super().__init__(owner)
        self.members: list[weakref.ref[Tensor]] = []


@dataclass
class StandIn:
    """A tensor from outside, and what stands for it."""

    source: Source
    outside: Tensor | None
    tensor: Tensor
    initial: Value
    initial_grad: Tensor | None = None
    reads_grad: bool = False


class Recording:
    def __init__(self) -> None:
        self.builder = FunctionBuilder()
        self.stand_ins: list[StandIn] = []
        self._by_id: dict[int, StandIn] = {}  # by id of the outside tensor; StandIn keeps it alive
        self._by_tensor: dict[int, StandIn] = {}  # by id of the stand-in
        self._lines: dict[Value, Loc] = {}
        self._blamed: Loc | None = None
        self._made: list[weakref.ref[Tensor]] = []
        self._random: dict[int, tuple[Generator, Tensor, Tensor]] = {}
        self.drawn: dict[int, int] = {}  # by id of the generator: counters used

    # -- tensors of this recording

    def owns(self, t: Tensor) -> bool:
        return t._storage.owner is self

    def _wrap(self, value: Value, storage: RecordedStorage | None = None) -> Tensor:
        storage = storage if storage is not None else RecordedStorage(self)
        t = make(value, storage)
        ref = weakref.ref(t)
        storage.members.append(ref)
        self._made.append(ref)
        return t

    def survivors(self) -> list[Tensor]:
        """Tensors of this recording that something still holds, other than the stand-ins and their `.grad`."""
        own = {id(t) for m in self.stand_ins for t in (m.tensor, m.tensor._grad)}
        alive = (ref() for ref in self._made)
        return [t for t in alive if t is not None and id(t) not in own]

    def wrap_constant(self, value: Value) -> Tensor:
        """A tensor over `value` that is a constant for any differentiation of the whole."""
        (out,) = self._emit("detach", (value,), {})
        return self._wrap(out)

    def value(self, t: Tensor) -> Value:
        """What `t` is in the IR. Raises LeakedTensorError for a tensor of another recording."""
        if t._storage.owner is self:
            return t._array  # type: ignore[return-value]
        if isinstance(t._array, Value):
            raise leaked(t)
        return self.standing(t)._array  # type: ignore[return-value]

    def standing(self, t: Tensor) -> Tensor:
        """`t` itself if it is of this recording, else what stands for it."""
        if t._storage.owner is self:
            return t
        found = self._by_id.get(id(t))
        return found.tensor if found is not None else self.stand_in(t, Capture(t), variable_name(t)).tensor

    def known(self, t: Tensor) -> Tensor | None:
        """The stand-in of an outside tensor, if it has one."""
        found = self._by_id.get(id(t))
        return found.tensor if found is not None else None

    def stand_in(self, t: Tensor, source: Source, name: str) -> StandIn:
        """Make the parameter that stands for an outside tensor."""
        if isinstance(t._array, Value):
            raise leaked(t)
        inner = self._input(t.type_, name or f"c{len(self.stand_ins)}")
        inner._requires_grad = t._requires_grad
        made = StandIn(source, t, inner, inner._array)  # type: ignore[arg-type]
        self._register(made)
        self._by_id[id(t)] = made
        return made

    def scalar(self, source: Source, type: TensorType, name: str, weak: bool) -> Tensor:
        """The parameter for a Python number or a piece of state, as a 0-d tensor."""
        inner = self._input(type, name)
        inner._weak = weak
        self._register(StandIn(source, None, inner, inner._array))  # type: ignore[arg-type]
        return inner

    def _input(self, type: TensorType, name: str) -> Tensor:
        return self._wrap(self.builder.param(type, name))

    def _register(self, made: StandIn) -> None:
        self.stand_ins.append(made)
        self._by_tensor[id(made.tensor)] = made

    def stand_in_of(self, inner: Tensor) -> StandIn | None:
        """The stand-in that `inner` is, if it is one."""
        return self._by_tensor.get(id(inner))

    def where(self, value: object) -> Loc | None:
        """The user's line that made `value`."""
        return self._lines.get(value) if isinstance(value, Value) else None

    # -- operations

    def _emit(self, op: str, values: Sequence[Value], attrs: dict[str, Any]) -> tuple[Value, ...]:
        self.builder.loc = loc = self._blamed or user_location(2)
        outs = self.builder.emit(op, values, attrs)
        if loc is not None:
            for out in outs:
                self._lines[out] = loc
        return outs

    def blame(self, node: Node | None) -> None:
        """From now on instructions are adjoints of what `node` is the backward of; None: the user's own."""
        if node is None or node.origin is None:
            self._blamed = None
        else:
            loc = self._lines.get(node.origin, Loc("", 0))
            self._blamed = self.builder.loc = replace(loc, adjoint=node.origin.name)

    def run(self, op: str, tensors: Sequence[Tensor], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        """Append `op`. Raises what its inference raises."""
        inside = [self.standing(t) for t in tensors]
        values = [self.value(t) for t in inside]
        outs = self._emit(op, values, attrs)
        if tensors and op != "cast" and all(t._weak for t in tensors):  # numbers among themselves
            number = self._wrap(outs[0])
            number._weak = True
            return (number,)
        if "view" in TABLE[op].traits and op != "flip":
            return (self._view(inside[0], op, attrs, outs[0]),)
        return tuple([self._wrap(v) for v in outs])

    def _view(self, source: Tensor, op: str, attrs: dict[str, Any], value: Value) -> Tensor:
        storage = source._storage
        assert isinstance(storage, RecordedStorage)
        t = self._wrap(value, storage)
        base, steps = (source, ()) if source._view is None else (source._view.base, source._view.steps)
        t._view = View(base, (*steps, (op, attrs)))
        return t

    def detach(self, outs: Sequence[Tensor]) -> None:
        """No derivative flows through `outs`: they were computed under no_grad."""
        for t in outs:
            if t.dtype.is_floating_point:
                (t._array,) = self._emit("detach", (self.value(t),), {})

    # -- effects

    def write(self, t: Tensor, result: Tensor) -> None:
        """`t` now holds `result`: an in-place write, committed to memory when the program has run.

        Raises TraceError for a write through a view.
        """
        inner = self.standing(t)
        if inner._view is not None:
            raise self._error(
                "an in-place write through a view inside a traced function is not compiled",
                "write to the whole tensor, or build it with jitgrad.where or cat",
            )
        inner._array = self.value(result)
        storage = inner._storage
        storage.version += 1
        assert isinstance(storage, RecordedStorage)
        for ref in storage.members:
            member = ref()
            if member is not None and member is not inner and member._view is not None:
                value = inner._array
                for op, attrs in member._view.steps:
                    (value,) = self._emit(op, (value,), attrs)
                member._array = value
            elif member is not None and member is not inner:
                member._array = inner._array

    def alias(self, t: Tensor) -> Tensor:
        """A second tensor over the storage of `t` (what `detach()` and `.data` give)."""
        inner = self.standing(t)
        assert isinstance(inner._storage, RecordedStorage)
        (value,) = self._emit("detach", (self.value(inner),), {})
        out = self._wrap(value, inner._storage)
        out._view = inner._view
        return out

    def grad_of(self, t: Tensor) -> Tensor | None:
        """`t.grad` as the recorded program sees it."""
        inner = self.standing(t)
        self.touch_grad(inner)
        return inner._grad

    def set_grad(self, t: Tensor, value: Tensor | None) -> None:
        """`t.grad = value`, committed when the program has run."""
        inner = self.standing(t)
        self.touch_grad(inner)
        inner._grad = None if value is None else self.standing(value)

    def touch_grad(self, inner: Tensor) -> None:
        """From now on the program depends on whether the tensor that `inner` stands for has a gradient."""
        made = self.stand_in_of(inner)
        if made is None or made.reads_grad or made.outside is None:
            return
        made.reads_grad = True
        if made.outside._grad is not None:
            grad = self.stand_in(made.outside._grad, GradOf(made.source), "")
            made.initial_grad = inner._grad = grad.tensor

    def float_arguments(self, t: Tensor) -> tuple[int, ...]:
        """The float arguments that the runtime scalar `t` was computed from; () for a tensor."""
        if not t._weak:
            return ()
        wanted = {self.value(t)}
        for instr in reversed(self.builder.instrs):
            if not wanted.isdisjoint(instr.outs):
                wanted.update(instr.args)
        return tuple(
            m.source.index for m in self.stand_ins if m.initial in wanted and isinstance(m.source, Argument)
        )

    def draw(self, generator: Generator, counters: int) -> tuple[Tensor, Tensor]:
        """Key and counter offset of a random draw of `counters` counters."""
        from .dispatch import apply, lift

        found = self._random.get(id(generator))
        if found is None:
            scalar = TensorType(i64, ())
            key = self.scalar(Key(generator), scalar, "key", weak=False)
            start = self.scalar(Offset(generator), scalar, "offset", weak=False)
            found = self._random[id(generator)] = (generator, key, start)
        _, key, start = found
        used = self.drawn.get(id(generator), 0)
        self.drawn[id(generator)] = used + counters
        return key, (start if used == 0 else apply("add", start, lift(used, i64)))

    def generators(self) -> list[tuple[Generator, int]]:
        """The generators drawn from, and how many counters each was advanced by."""
        return [(g, self.drawn[i]) for i, (g, _, _) in self._random.items()]

    # -- derivatives that the user wrote

    def custom_gradient(self, node: FunctionNode, args: Sequence[Any], results: list[Tensor]) -> None:
        """Route the gradient of `results` to the tensors in `args` through the user's backward.

        The backward is recorded at once: its instructions are cut out of the recording and become the
        function of a `custom_grad` op over what they use.
        """
        from .autograd.domains import ValueDomain

        inputs = [a for a in args if isinstance(a, Tensor) and a.dtype.is_floating_point]
        passed = [t for t in results if t._node is node]
        if not inputs or not passed:
            return
        builder = self.builder
        mark = len(builder.instrs)
        cts = [self._wrap(Value(t.type_, builder.fresh())) for t in passed]
        by_result = {t._output_nr: c._array for t, c in zip(passed, cts, strict=True)}
        grads = node.pull(ValueDomain(self), [by_result.get(i) for i in range(len(node.result_types))], [])
        wanted = [
            (a, g)
            for a, g in zip(args, grads, strict=True)
            if isinstance(a, Tensor) and a.dtype.is_floating_point
        ]
        outs = [builder.zeros(a.type_) if g is None else g for a, g in wanted]
        cut = builder.instrs[mark:]
        del builder.instrs[mark:]
        own = [self.value(t) for t in passed]
        bound = (*own, *(self.value(c) for c in cts))
        saved = _free(cut, outs, set(bound))
        backward = Function.straight(f"{node.name()}{mark}", (*saved, *bound), tuple(cut), tuple(outs))
        operands = (*own, *(self.value(a) for a in inputs), *saved)
        attrs = {"backward": backward, "results": len(passed), "inputs": len(inputs)}
        node.origin = own[0]
        for t, value in zip(passed, self._emit("custom_grad", operands, attrs), strict=True):
            node.rebind(self.value(t), value)
            t._array = value

    # -- the end

    def _error(self, message: str, hint: str) -> TraceError:
        error = TraceError(message, hint=hint)
        loc = user_location(2)
        return error.at(loc.excerpt()) if loc else error


def _free(instrs: Sequence[Instr], results: Sequence[Value], bound: set[Any]) -> list[Value]:
    """The values that `instrs` and `results` use and neither they nor `bound` define, in order of use."""
    known, free = set(bound), []
    for instr in instrs:
        for arg in instr.args:
            if arg not in known:
                known.add(arg)
                free.append(arg)
        known.update(instr.outs)
    for value in results:
        if value not in known:
            known.add(value)
            free.append(value)
    return free


def array_of(t: Tensor) -> np.ndarray:
    """The array of an outside tensor."""
    payload = t._array
    if isinstance(payload, Value):
        raise leaked(t)
    return payload
