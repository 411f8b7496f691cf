"""A recording: one run of a user function on tensors that have no values yet.

While a recording is active, `dispatch` hands every primitive to `Recording.run`, which appends it to the
IR with the user's line and gives back a tensor whose payload is an IR value. Tensors from outside (the
arguments, and whatever the function captures) take part through stand-ins: a parameter of the IR function
each, with a `Source` that says where its array is found at every call.

Effects are not done but noted: in-place writes to tensors from outside, assignments to their `.grad`, and
draws from random generators become results of the program and are committed after it ran.

Invariants: the IR being recorded merges nothing; a stand-in is made once a tensor; a tensor that shares a
storage with one written to is computed again from it (`View.steps`); the value of a tensor that does not
require grad has no way for a gradient.
Imports: `sources`, `generators`, `tensors`, `layout`, `state`, `errors`, `ir`.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import TraceError, user_location, variable_name
from .generators import Generators
from .ir.builder import FunctionBuilder
from .ir.core import Function, Instr, Loc, Value
from .ir.ops import TABLE
from .ir.types import DType, Shape, TensorType
from .layout import Strides
from .sources import Argument, Capture, GradOf, NumberStorage, RecordedStorage, Source, StandIn
from .state import state
from .tensors import (
    Steps,
    Storage,
    Tensor,
    View,
    again,
    array_of,
    follows,
    hooked,
    leaked,
    number_class,
    strides_of,
    up_to_date,
)

if TYPE_CHECKING:
    from .autograd.graph import Node


_OUTSIDE = (
    "backward inside a traced function reached a graph that was built outside of it",
    "build the graph inside the traced function, or call backward outside",
)


class Recording:
    def __init__(self) -> None:
        self.builder = FunctionBuilder()
        self.stand_ins: list[StandIn] = []
        self._by_id: dict[int, StandIn] = {}  # by id of the outside tensor; StandIn keeps it alive
        self._by_tensor: dict[int, StandIn] = {}  # by id of the stand-in
        self._by_storage: dict[int, StandIn] = {}  # by id of the storage that a stand-in came with
        self._lines: dict[Value, Loc] = {}
        self._blamed: Loc | None = None
        self.made: list[weakref.ref[Tensor]] = []  # every tensor of this recording
        self.backwards: list[int] = []  # those that are being recorded, one in another: how much was made before each
        self.generators = Generators(self)
        self.floats: dict[int, float] = {}  # the float arguments, by leaf
        self.consumed: set[int] = set()  # those that Python asked for their value
        self.divisors: list[Value] = []  # numbers that Python divides numbers by
        self.made_here: list[Tensor] = []  # tensors over arrays, made by the function itself
        self.failure: TraceError | None = None
        self.obstacle = ""  # why the recording serves no other call

    # -- tensors of this recording

    def owns(self, t: Tensor) -> bool:
        return t._storage.owner is self

    def _wrap(self, value: Value, storage: RecordedStorage | None = None, steps: Steps = ()) -> Tensor:
        storage = storage if storage is not None else RecordedStorage(self, value)
        return storage.tensor(value, steps)

    def alive(self) -> list[Tensor]:
        """Tensors of this recording that something still holds, other than the stand-ins and their `.grad`."""
        own = {id(t) for m in self.stand_ins for t in (m.tensor, m.tensor._grad)}
        return [t for t in self.living() if id(t) not in own]

    def living(self, start: int = 0) -> list[Tensor]:
        """The tensors of this recording, from number `start` on, that something holds."""
        return [t for ref in self.made[start:] if (t := ref()) is not None]

    def wrap(self, value: Value, constant: bool) -> Tensor:
        """A tensor over `value`; `constant` for any differentiation of the whole."""
        return self._wrap(self.emit("detach", (value,), {})[0] if constant else value)

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
        if found is None:
            return self.stand_in(t, Capture(weakref.ref(t), t), variable_name(t)).tensor
        return found.tensor

    def known(self, t: Tensor) -> Tensor:
        """The stand-in of an outside tensor, if it has one yet; else `t` itself."""
        found = self._by_id.get(id(t))
        return found.tensor if found is not None else t

    def outside(self, t: Tensor) -> Tensor:
        """The tensor from outside that `t` stands for; else `t` itself."""
        found = self._by_tensor.get(id(t))
        return t if found is None or found.outside is None else found.outside

    def grad_fn(self, t: Tensor) -> Node | None:
        """The node of `t`; that of the tensor from outside where `t` stands for one and has not moved."""
        inner = self.known(t)
        if inner._view is not None:
            up_to_date(inner)
        if inner._node is None and inner._requires_grad:
            return self.outside(inner)._node
        return inner._node

    def writeable(self, t: Tensor) -> bool:
        """Whether the memory of `t` may be written to."""
        made = self.memory_of(t)
        return made is None or made.outside is None or array_of(made.outside).flags.writeable

    def memory_of(self, t: Tensor) -> StandIn | None:
        """The stand-in whose memory `t` shows, if it is memory from outside."""
        return self.owner(t._storage)

    def owner(self, storage: Storage) -> StandIn | None:
        """The stand-in whose memory `storage` is, if it is memory from outside."""
        return self._by_storage.get(id(storage))

    def stand_in(self, t: Tensor, source: Source, name: str) -> StandIn:
        """Make the parameter that stands for an outside tensor."""
        if isinstance(t._array, Value):
            raise leaked(t)
        inner = self._input(t.type_, name or f"c{len(self.stand_ins)}", strides_of(t._array))
        inner._requires_grad = t._requires_grad
        made = StandIn(source, t, inner, inner._array, inner._storage)  # type: ignore[arg-type]
        self._register(made)
        self._by_id[id(t)] = made
        return made

    def scalar(self, source: Source, type: TensorType, name: str, weak: Any) -> Tensor:
        """The parameter for a number (`weak`: its class) or a piece of state (False), as a 0-d tensor."""
        inner = self._input(type, name)
        inner._weak = weak
        self._register(StandIn(source, None, inner, inner._array, inner._storage))  # type: ignore[arg-type]
        return inner

    def _input(self, type: TensorType, name: str, strides: Strides | None = None) -> Tensor:
        value = self.builder.param(type, name)
        storage = RecordedStorage(self, value, strides)
        storage.depth = 0  # whoever met it first
        return self._wrap(value, storage)

    def _register(self, made: StandIn) -> None:
        self.stand_ins.append(made)
        self._by_tensor[id(made.tensor)] = made
        self._by_storage[id(made.tensor._storage)] = made

    def stand_in_of(self, inner: Tensor) -> StandIn | None:
        """The stand-in that `inner` is, if it is one."""
        return self._by_tensor.get(id(inner))

    def where(self, value: object) -> Loc | None:
        """The user's line that made `value`."""
        return self._lines.get(value) if isinstance(value, Value) else None

    # -- operations

    def emit(self, op: str, values: Sequence[Value], attrs: dict[str, Any]) -> tuple[Value, ...]:
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
        outs = self.emit(op, values, attrs)
        if tensors and op != "cast" and all(t._weak for t in tensors):  # numbers among themselves
            number = self._wrap(outs[0])
            number._weak = number_class(*tensors)
            if number._weak is float and op in ("div", "floor_divide", "remainder", "fmod"):
                self.divisors.append(values[1])
            return (number,)
        if "view" in TABLE[op].traits and op != "flip":
            return (self._view(inside[0], op, attrs, outs[0]),)
        return tuple([self._wrap(v) for v in outs])

    def constant(self, number: Any, dtype: DType, shape: Shape) -> Tensor:
        """A tensor filled with a Python number."""
        (value,) = self.emit("const", (), {"value": number, "dtype": dtype, "shape": shape})
        return self._wrap(value, NumberStorage(self, value))

    def _view(self, source: Tensor, op: str, attrs: dict[str, Any], value: Value) -> Tensor:
        """The result of a view op: over the memory of `source`, unless it has to copy there."""
        storage = source._storage
        assert isinstance(storage, RecordedStorage)
        steps = (*storage.steps_of(source), (op, attrs))
        if op == "reshape" and storage.layout(steps)[1] is None:
            return self._wrap(value)
        t = self._wrap(value, storage, steps)
        base, steps = (source, ()) if source._view is None else (source._view.base, source._view.steps)
        t._view = View(base, (*steps, (op, attrs)))
        return t

    def copied(self, t: Tensor, copy: Tensor) -> None:
        """`copy` is made of elements of `t`, where eager has a view."""
        ours, theirs = self.standing(t)._storage, copy._storage
        assert isinstance(ours, RecordedStorage) and isinstance(theirs, RecordedStorage)
        ours.copies.append(weakref.ref(copy))
        theirs.copies.append(weakref.ref(copy))

    def strides(self, t: Tensor) -> Strides:
        """The strides, in elements, that `t` has in eager."""
        inner = self.standing(t)
        storage = inner._storage
        assert isinstance(storage, RecordedStorage)
        strides = storage.layout(storage.steps_of(inner))[1]
        assert strides is not None
        return strides

    def saved(self, t: Tensor) -> Tensor:
        """`t` as it is now, in its place in the graph, whatever is written to it later."""
        inner = self.standing(t)
        old = self._wrap(self.value(inner))
        old._node, old._output_nr, old._requires_grad = inner._node, inner._output_nr, inner._requires_grad
        if old._requires_grad and old._node is None:
            from .autograd.graph import accumulator

            arrival = accumulator(inner)
            old._accumulator = lambda: arrival  # its gradient is that of what it was
        return old

    def detach(self, outs: Sequence[Tensor]) -> None:
        """No derivative flows through `outs`: they were computed under no_grad."""
        for t in outs:
            if t.dtype.is_floating_point:
                (t._array,) = self.emit("detach", (self.value(t),), {})

    def version(self, t: Tensor) -> int:
        """How often the memory of `t` was written to; of one from outside, this is another number at every call."""
        inner = self.known(t)
        made = self.owner(inner._storage)
        if made is not None or not self.owns(inner):
            self.obstacle = "it reads the _version of a tensor from outside"
        before = 0 if made is None or made.outside is None else made.outside._storage.version
        return before + inner._storage.version

    # -- effects

    def write(self, t: Tensor, result: Tensor, graph: bool) -> None:
        """`t` now holds `result`: an in-place write, committed to memory when the program has run.

        Every tensor over the memory shows it. With `graph`, `t` and the views that follow it take their
        gradient from `result`; all others get new values and keep the gradient they had.
        """
        inner, moved = self.standing(t), self.value(result)
        storage = inner._storage
        assert isinstance(storage, RecordedStorage)
        if any(ref() is not None for ref in storage.copies):
            raise self._error(
                "an in-place write inside a traced function, to a tensor that was indexed with a tensor of one integer "
                "(or to what that gave): eager has one memory there, a compiled program two",
                "index with a Python int, or assign with x[i] = ...",
            )
        if storage.depth < len(self.backwards):
            raise self.effect("writes in place to a tensor made outside of it")
        storage.version += 1
        storage.value = self._whole(storage, storage.steps_of(inner), moved)
        shown: dict[int, Value] = {}
        for member, steps in storage.living():
            if member is inner:
                inner._array = moved if graph else self._kept(moved, inner)
            elif graph and follows(member, inner):
                assert member._view is not None
                member._array = self._replayed(moved, member._view.steps)
            else:
                if id(steps) not in shown:
                    shown[id(steps)] = self._replayed(storage.value, steps)
                member._array = self._kept(shown[id(steps)], member)

    def _whole(self, storage: RecordedStorage, steps: Steps, part: Value) -> Value:
        """What the memory holds after `part` was written where `steps` show it."""
        from .autograd.views import replaced

        if not steps:
            return part
        before, state.grad_enabled = state.grad_enabled, False
        try:
            return self.value(replaced(self._wrap(storage.value), steps, self._wrap(part)))
        finally:
            state.grad_enabled = before

    def _replayed(self, value: Value, steps: Steps) -> Value:
        for op, attrs in steps:
            (value,) = self.emit(op, (value,), attrs)
        return value

    def _kept(self, value: Value, t: Tensor) -> Value:
        """`value` with the gradient of what `t` was before: none, or passed on to it as it is."""
        if not t.dtype.is_floating_point:
            return value
        if not t._requires_grad:
            return self.emit("detach", (value,), {})[0]
        ct = Value(t.type_, self.builder.fresh())
        backward = Function.straight(f"overwritten{len(self.builder.instrs)}", (value, ct), (), (ct,))
        attrs = {"backward": backward, "results": 1, "inputs": 1, "sets": ()}
        return self.emit("custom_grad", (value, self.value(t)), attrs)[0]

    def alias(self, t: Tensor) -> Tensor:
        """A second tensor over the memory of `t`, outside the graph (what `detach()` and `.data` give)."""
        inner = again(self.standing(t))
        (inner._array,) = self.emit("detach", (self.value(inner),), {})
        return inner

    def grad_of(self, t: Tensor) -> Tensor | None:
        """`t.grad` as the recorded program sees it."""
        inner = self.standing(t)
        self.touch_grad(inner)
        return inner._grad

    def set_grad(self, t: Tensor, value: Tensor | None) -> None:
        """`t.grad = value`, committed when the program has run."""
        inner = self.standing(t)
        self._check_own(inner)
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

    def reaches(self, leaf: Tensor) -> None:
        """A gradient arrives at `leaf`. Raises TraceError where a hook waits for it outside."""
        made = self.stand_in_of(leaf)
        if made is None or made.outside is None:
            return
        made.reached = True
        if hooked(made.outside):
            raise self._error(
                "a gradient inside a traced function reached a tensor with a hook, and hooks are not compiled",
                "call backward outside, remove the hook, or run the function under jitgrad.eager()",
            )

    def misses(self) -> None:
        """A gradient did not arrive where asked for. Raises TraceError where a graph made outside may lead there."""
        if any(m.outside is not None and m.outside._node is not None for m in self.stand_ins):
            raise self._error(*_OUTSIDE)

    def accumulates(self, leaf: Tensor) -> None:
        """A backward adds to `leaf.grad`. Raises TraceError where eager would go on in a graph made outside."""
        if self.outside(leaf)._node is not None:
            raise self._error(*_OUTSIDE)
        self._check_own(leaf)
        self.touch_grad(leaf)

    def require_grad(self, t: Tensor, value: bool) -> None:
        """`t.requires_grad_(value)`; for a tensor from outside committed before the program runs."""
        inner = self.standing(t)
        made = self.stand_in_of(inner)
        if made is not None and inner._requires_grad and not value:
            raise self._error(
                "requires_grad_(False) inside a traced function, on a tensor from outside, is not compiled",
                "detach() it, or set the flag outside",
            )
        if made is not None and value and not inner._requires_grad:
            made.flagged = True
        inner._requires_grad = value

    def detach_(self, t: Tensor) -> Tensor:
        """`t.detach_()`, of a tensor made in this recording."""
        if self.stand_in_of(self.standing(t)) is not None:
            raise self._error(
                "detach_() inside a traced function, on a tensor from outside, is not compiled",
                "use detach(), or call detach_() outside",
            )
        self._check_own(t)
        (t._array,) = self.emit("detach", (self.value(t),), {})
        return t

    def rebind(self, t: Tensor, value: Tensor) -> None:
        """`t.data = value`: `t` shows the memory of `value` from now on."""
        inner, source = self.standing(t), self.standing(value)
        if inner._view is not None or self.memory_of(source) is not None or inner.type_ != source.type_:
            raise self._error(
                "this assignment to .data inside a traced function is not compiled",
                "assign a new tensor of the same type, or copy into it under jitgrad.no_grad()",
            )
        self._check_own(inner)
        before, storage = inner._storage, source._storage
        assert isinstance(before, RecordedStorage) and isinstance(storage, RecordedStorage)
        steps = storage.steps_of(source)
        del before.members[id(inner)]
        storage.join(inner, steps)
        (data,) = self.emit("detach", (self.value(source),), {})
        inner._array, inner._storage = self._kept(data, inner), storage

    def number(self, t: Tensor) -> np.ndarray | None:
        """The value of a number computed from float arguments, which are constants of the program from now on;
        None for a tensor."""
        if not t._weak:
            return None
        value = self.value(t)
        needed: list[Instr] = []
        wanted = {value}
        for instr in reversed(self.builder.instrs):
            if not wanted.isdisjoint(instr.outs):
                wanted.update(instr.args)
                needed.append(instr)
        known: dict[Value, np.ndarray] = {}
        for made in self.stand_ins:
            if made.initial in wanted and isinstance(made.source, Argument):
                self.consumed.add(made.source.index)
                known[made.initial] = np.asarray(self.floats[made.source.index])
        for instr in reversed(needed):
            results = TABLE[instr.op].evaluate([known[a] for a in instr.args], instr.attrs)
            known.update(zip(instr.outs, results, strict=True))
        return known[value]

    # -- backwards that are recorded as functions of their own

    def _check_own(self, t: Tensor) -> None:
        """Raises TraceError in a backward that is being recorded, for a tensor that is not its own."""
        if not self.backwards:
            return
        if self.stand_in_of(t) is not None or not any(t is u for u in self.living(self.backwards[-1])):
            raise self.effect("changes a tensor made outside of it, or its .grad")

    def effect(self, what: str) -> TraceError:
        """The error for a backward that is being recorded and `what`."""
        return self._error(
            f"the backward of a Function, inside a traced function, {what}, and it is compiled without effects",
            "compute with new tensors there, or run the function under jitgrad.eager()",
        )

    # -- the end

    def _error(self, message: str, hint: str) -> TraceError:
        error = TraceError(message, hint=hint)
        loc = user_location(2)
        return error.at(loc.excerpt()) if loc else error
