"""`@jitgrad.trace`: a function recorded once a signature and compiled.

A call looks its signature up; an entry whose guards hold (what the function read is as it was, captured
tensors have the types they had) runs its program. Otherwise the Python function runs on the recording's
tensors, what it did becomes a `Program`, and the call runs that. In a thread that records already, a
traced function is simply called: it becomes part of the outer program.

Invariants: a recording that could not be guarded (see `reads`) serves the call that made it and is not
kept. Effects on tensors from outside, gradients and random generators are committed once, after the
program has run. Imports: `recording`, `program`, `reads`, `signature`, `pytree`, `state`.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import ConcretizationError, TraceError
from .ir.core import Function, Value
from .ir.types import TensorType, f64
from .program import Program, Strides, readable, strides_of
from .pytree import Structure, flatten, paths, unflatten
from .reads import Snapshot, Watcher
from .recording import Argument, Capture, GradOf, Key, Offset, Recording, Source, StandIn, array_of
from .signature import FLOAT, STATIC, Signature, difference, tensor_key
from .state import state
from .tensors import Tensor, become, make

MAX_COMPILES = 32  # signatures of one function before the warning: beyond, something varies that should not


class RecompileWarning(UserWarning):
    """A traced function keeps compiling for new signatures."""


@dataclass(frozen=True)
class Output:
    """One leaf of what the function returned: a result of the program, the number it is, a tensor from
    outside (`source`), or a constant."""

    kind: str  # "result", "number", "outside", "constant"
    index: int = 0
    value: Any = None
    source: Source | None = None


@dataclass(frozen=True)
class Effects:
    """What is committed after the program ran; positions are among its results."""

    writes: tuple[tuple[Source, int], ...] = ()
    grads: tuple[tuple[Source, int | None], ...] = ()
    draws: tuple[tuple[Any, int], ...] = ()


@dataclass
class Recorded:
    """A finished recording: the IR function, where its parameters come from, what becomes of its results."""

    function: Function
    sources: list[Source]
    outputs: list[Output]
    structure: Structure
    effects: Effects
    wrt: list[int]
    differentiable: list[int]
    param_paths: list[str]
    reads_grad: list[tuple[Source, Any]]  # the key of the .grad of each, or None where it has none
    survivors: list[tuple[Tensor, int]]  # tensors that outlive the call, and the results they become
    stand_ins: list[Tensor]


@dataclass
class Entry:
    """A compiled program under a signature, with its guards."""

    recorded: Recorded
    program: Program
    snapshot: Snapshot
    captures: list[tuple[Tensor, Any]]
    objects: list[Any]
    calls: int = 0
    reason: str = "first call"

    def stale(self, leaves: Sequence[Any]) -> str:
        """Why this entry cannot serve a call with `leaves`; '' if it can."""
        for t, key in self.captures:
            if tensor_key(t) != key:
                return f"a captured tensor changed: {t.type_}"
        for source, key in self.recorded.reads_grad:
            grad = _tensor(source, leaves)._grad
            if (None if grad is None else tensor_key(grad)) != key:
                how = "is None now" if grad is None else "is not None now" if key is None else "changed its layout"
                return f"a .grad that the function reads {how}"
        return self.snapshot.changed()


@dataclass
class _Stats:
    uncached: int = 0
    notes: list[str] = field(default_factory=list)


class TracedFunction:
    """The callable that `trace` makes. `explain()` says what is compiled and why."""

    def __init__(self, function: Callable[..., Any], max_compiles: int) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        self.max_compiles = max_compiles
        self._entries: dict[Any, list[Entry]] = {}
        self._static_floats: frozenset[int] = frozenset()
        self._lock = threading.RLock()
        self._stats = _Stats()
        self._bind = binder(function)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.eager or state.recording is not None:
            return self.__wrapped__(*args, **kwargs)
        leaves, structure = flatten((args, kwargs))
        signature = Signature(leaves, structure, self._static_floats)
        stale = ""
        for entry in self._entries.get(signature.key, ()):
            stale = entry.stale(leaves)
            if not stale:
                entry.calls += 1
                return run(entry.recorded, entry.program, leaves)
        return self._record(args, kwargs, leaves, structure, signature, stale)

    def _record(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        leaves: list[Any],
        structure: Structure,
        signature: Signature,
        stale: str,
    ) -> Any:
        with self._lock:
            names = self._bind(args, kwargs)
            roots = signature.objects
            before = Snapshot.before(self.__wrapped__, roots)
            while True:
                try:
                    recorded, watcher = record(
                        self.__wrapped__, args, kwargs, leaves, structure, names, self._static_floats
                    )
                    break
                except _Consumed as consumed:
                    self._static_floats |= set(consumed.leaves)
                    signature = Signature(leaves, structure, self._static_floats)
            snapshot = Snapshot([self.__wrapped__, *roots], watcher.codes)
            obstacle = _obstacle(recorded, watcher, before, snapshot)
            program = program_of(recorded, leaves, compiled=not obstacle)
            if obstacle:
                self._note_uncached(obstacle)
                adopt_stand_ins(recorded, leaves)
            else:
                reason = self._reason(signature, names, stale)
                captures = [
                    (s.tensor, tensor_key(s.tensor)) for s in recorded.sources if isinstance(s, Capture)
                ]
                entry = Entry(recorded, program, snapshot, captures, signature.objects, 1, reason)
                entries = self._entries.setdefault(signature.key, [])
                entries[:] = [entry, *(e for e in entries if not e.stale(leaves))]
                self._warn_if_many(signature, names)
        return run(recorded, program, leaves)

    # -- what happened

    def _reason(self, signature: Signature, names: list[str], stale: str) -> str:
        if stale:
            return stale
        if not self._entries:
            return "first call"
        return difference(next(reversed(self._entries)), signature.key, names)

    def _warn_if_many(self, signature: Signature, names: list[str]) -> None:
        if len(self._entries) != self.max_compiles + 1:
            return
        keys = list(self._entries)
        varies = difference(keys[-2], signature.key, names)
        warnings.warn(
            f"{self.__name__} has been compiled for {len(keys)} signatures (max_compiles={self.max_compiles}); "
            f"between the last two, this varied: {varies}. Pass it as a tensor or a float, or pad it to a few "
            "sizes; explain() lists all.",
            RecompileWarning,
            stacklevel=4,
        )

    def _note_uncached(self, obstacle: str) -> None:
        self._stats.uncached += 1
        if obstacle not in self._stats.notes:
            self._stats.notes.append(obstacle)
            warnings.warn(
                f"{self.__name__} is recorded anew at every call and not compiled: {obstacle}",
                RecompileWarning,
                stacklevel=5,
            )

    def explain(self) -> str:
        """What is compiled: a line a signature with its reason, calls, compile time; what is not, and why."""
        entries = [e for group in self._entries.values() for e in group]
        lines = [f"{self.__name__}: {len(entries)} program{'s' if len(entries) != 1 else ''} compiled"]
        for i, e in enumerate(entries):
            params = ", ".join(
                f"{p} {v.type}"
                for p, v in zip(e.recorded.param_paths, e.recorded.function.params, strict=True)
            )
            lines.append(
                f"  [{i}] ({params})  calls {e.calls}, compiled in {e.program.compile_seconds * 1e3:.1f} ms"
                f"\n      why: {e.reason}"
            )
        if self._static_floats:
            lines.append(
                f"  floats compiled as constants, for Python asked for their value: {len(self._static_floats)}"
            )
        lines += [f"  not compiled, {self._stats.uncached} calls: {note}" for note in self._stats.notes]
        return "\n".join(lines)

    @property
    def programs(self) -> list[Program]:
        """The compiled programs, one a signature."""
        return [e.program for group in self._entries.values() for e in group]

    def __repr__(self) -> str:
        return f"<traced {self.__name__}>"

    def __reduce__(self) -> Any:
        return self.__qualname__


def trace(function: Callable[..., Any] | None = None, *, max_compiles: int = MAX_COMPILES) -> Any:
    """Compile `function`: record it once a signature, then run native code.

    Usable bare (`@trace`) and with arguments (`@trace(max_compiles=8)`), on functions and methods.
    Arguments and results may be nested tuples, lists, dicts and dataclasses of tensors, NumPy arrays,
    numbers and other objects. Results that depend on tensors that require grad have a `grad_fn` whose
    backward is compiled too. max_compiles: how many signatures may be compiled before a RecompileWarning
    names the argument that varies. Raises TypeError if `function` is not callable; calls raise TraceError
    where the function does something that cannot be compiled and kept right.
    """
    if function is None:
        return functools.partial(trace, max_compiles=max_compiles)
    if isinstance(function, Tensor):
        return function.trace()
    if not callable(function):
        raise TypeError(f"trace takes a function, got {type(function).__name__}")
    return TracedFunction(function, max_compiles)


class eager:
    """Inside, traced functions run as plain Python, operation by operation, for debugging."""

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(state.eager)
        state.eager = True

    def __exit__(self, *_: object) -> None:
        state.eager = self._before.pop()


# -- recording


class _Consumed(Exception):
    """Python asked float arguments for their value: record again with the values as constants."""

    def __init__(self, leaves: tuple[int, ...]) -> None:
        self.leaves = leaves


def record(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaves: list[Any],
    structure: Structure,
    names: list[str],
    static_floats: frozenset[int] = frozenset(),
) -> tuple[Recorded, Watcher]:
    """Run `function` on the tensors of a new recording."""
    recording = Recording()
    inside = [_enter(recording, i, x, names[i], i in static_floats) for i, x in enumerate(leaves)]
    new_args, new_kwargs = unflatten(structure, inside)
    watcher = Watcher()
    state.recording = recording
    try:
        with watcher:
            returned = function(*new_args, **new_kwargs)
        outputs, out_structure, values, differentiable = _outputs(recording, returned)
        effects = _effects(recording, values)
        del returned
        survivors = _survivors(recording, values, differentiable)
    except ConcretizationError as error:
        if not static_floats.issuperset(error.floats):
            raise _Consumed(error.floats) from None
        raise
    finally:
        state.recording = None
    finished = _finish(
        recording, function, outputs, out_structure, values, differentiable, effects, survivors, names
    )
    return finished, watcher


def _enter(recording: Recording, i: int, x: Any, name: str, static: bool) -> Any:
    """What stands for argument leaf `i` in the recording."""
    ident = re.sub(r"\W+", "_", name).strip("_") or f"arg{i}"
    if isinstance(x, np.ndarray):
        x = make(x)
        return recording.stand_in(x, Argument(i), ident).tensor
    if isinstance(x, Tensor):
        known = recording.known(x)
        return known if known is not None else recording.stand_in(x, Argument(i), ident).tensor
    if isinstance(x, FLOAT) and not static:
        return recording.scalar(Argument(i), TensorType(f64, ()), ident, weak=True)
    return x


def _outputs(recording: Recording, returned: Any) -> tuple[list[Output], Structure, list[Value], list[int]]:
    leaves, structure = flatten(returned)
    outputs: list[Output] = []
    values: list[Value] = []
    differentiable: list[int] = []
    for x in leaves:
        if not isinstance(x, Tensor):
            if not isinstance(x, (*STATIC, *FLOAT)) and not callable(x):
                raise TraceError(
                    f"a traced function returned a {type(x).__name__}, which cannot be rebuilt at the next call",
                    hint="return tensors, numbers, and tuples, lists, dicts or dataclasses of them",
                )
            outputs.append(Output("constant", value=x))
            continue
        outside = None if recording.owns(x) else x
        made = recording.stand_in_of(recording.standing(x))
        if made is not None and made.outside is not None:
            outputs.append(Output("outside", source=made.source, value=outside))
            continue
        outputs.append(Output("number" if x._weak else "result", len(values)))
        if x._requires_grad:
            differentiable.append(len(values))
        values.append(recording.value(x))
    return outputs, structure, values, differentiable


def _effects(recording: Recording, values: list[Value]) -> Effects:
    """Append the final values of what was written to `values`; raises where a write cannot be kept right."""
    writes: list[tuple[Source, int]] = []
    grads: list[tuple[Source, int | None]] = []
    for made in list(recording.stand_ins):
        inner, outside = made.tensor, made.outside
        if outside is None:
            continue
        if inner._array is not made.initial:
            _check_write(made)
            writes.append((made.source, len(values)))
            values.append(recording.value(inner))
        if made.reads_grad and inner._grad is not made.initial_grad:
            grads.append((made.source, None if inner._grad is None else len(values)))
            if inner._grad is not None:
                values.append(recording.value(inner._grad))
    return Effects(tuple(writes), tuple(grads), tuple(recording.generators()))


def _survivors(
    recording: Recording, values: list[Value], differentiable: list[int]
) -> list[tuple[Tensor, int]]:
    """Tensors that the function stored somewhere; each becomes one more result, and gets its value from it."""
    found = []
    for t in recording.survivors():
        if t._requires_grad:
            differentiable.append(len(values))
        found.append((t, len(values)))
        values.append(recording.value(t))
    return found


def _check_write(made: StandIn) -> None:
    outside = made.outside
    assert outside is not None
    if made.tensor._requires_grad and not outside._requires_grad:
        raise TraceError(
            "an in-place write inside a traced function made a tensor from outside depend on one that requires grad",
            hint="return the new value instead, or write under jitgrad.no_grad()",
        )


def _finish(
    recording: Recording,
    function: Callable[..., Any],
    outputs: list[Output],
    structure: Structure,
    values: list[Value],
    differentiable: list[int],
    effects: Effects,
    survivors: list[tuple[Tensor, int]],
    names: list[str],
) -> Recorded:
    builder = recording.builder
    name = re.sub(r"\W+", "_", getattr(function, "__name__", "f")).strip("_") or "f"
    sources = [m.source for m in recording.stand_ins]
    wrt = [i for i, m in enumerate(recording.stand_ins) if m.outside is not None and m.outside._requires_grad]
    labels = [
        names[s.index] if isinstance(s, Argument) else p.name
        for s, p in zip(sources, builder.params, strict=True)
    ]
    reads = [
        (m.source, None if m.outside._grad is None else tensor_key(m.outside._grad))
        for m in recording.stand_ins
        if m.reads_grad and m.outside is not None
    ]
    return Recorded(
        builder.finish(name, values),
        sources,
        outputs,
        structure,
        effects,
        wrt,
        differentiable,
        labels,
        reads,
        survivors,
        [m.tensor for m in recording.stand_ins],
    )


def _obstacle(recorded: Recorded, watcher: Watcher, before: Snapshot, after: Snapshot) -> str:
    """Why a recording cannot be kept; '' if it can."""
    if watcher.hidden is not None:
        name, loc = watcher.hidden
        return f"it calls {name}, whose result or effect a recording cannot repeat" + (
            f"\n{loc.excerpt()}" if loc else ""
        )
    if not before.complete or not after.complete:
        return "it can reach too many Python objects to watch them for changes"
    changed = before.changed()
    if changed:
        return f"it changes what it reads itself: {changed}"
    return "it stores a tensor outside, other than as a result" if recorded.survivors else ""


# -- running


def _tensor(source: Source, leaves: Sequence[Any]) -> Tensor:
    """The tensor that a source gives at this call."""
    match source:
        case Argument(i):
            x = leaves[i]
            if isinstance(x, Tensor):
                return x
            return make(x if isinstance(x, np.ndarray) else np.asarray(x, np.float64))
        case Capture(tensor):
            return tensor
        case GradOf(inner):
            grad = _tensor(inner, leaves)._grad
            assert grad is not None  # guarded
            return grad
        case Key(generator):
            return make(np.asarray(generator.key, np.int64))
        case Offset(generator):
            return make(np.asarray(generator.offset, np.int64))


def program_of(recorded: Recorded, leaves: Sequence[Any], compiled: bool = True) -> Program:
    """The program of a recording, laid out for the strides of this call's inputs."""
    strides: list[Strides] = [strides_of(readable(array_of(_tensor(s, leaves)))) for s in recorded.sources]
    return Program(recorded.function, recorded.wrt, recorded.differentiable, strides, compiled)


def run(recorded: Recorded, program: Program, leaves: Sequence[Any]) -> Any:
    """Run the program on this call's inputs, commit its effects, build what the function returns."""
    inputs = [_tensor(s, leaves) for s in recorded.sources]
    if recorded.effects.writes:
        _check_writes(recorded, inputs, leaves)
    results = program(inputs)
    _commit(recorded.effects, results, leaves)
    for t, i in recorded.survivors:
        become(t, results[i])
    out: list[Any] = []
    for o in recorded.outputs:
        if o.kind == "result":
            out.append(results[o.index])
        elif o.kind == "number":
            out.append(results[o.index]._array.item())  # type: ignore[union-attr]
        elif o.kind == "outside":
            out.append(o.value if o.value is not None else _tensor(o.source, leaves))  # type: ignore[arg-type]
        else:
            out.append(o.value)
    return unflatten(recorded.structure, out)


def _check_writes(recorded: Recorded, inputs: Sequence[Tensor], leaves: Sequence[Any]) -> None:
    """Raises TraceError before anything ran if a tensor to be written to overlaps another input."""
    for source, _ in recorded.effects.writes:
        target = _tensor(source, leaves)
        if not array_of(target).flags.writeable:
            raise TraceError(
                f"a traced function writes in place to a tensor whose memory is read-only ({target.type_})"
            )
        for other in inputs:
            if other is not target and np.may_share_memory(array_of(other), array_of(target)):
                raise TraceError(
                    "a traced function writes in place to a tensor that shares its memory with another one it uses "
                    f"({target.type_})",
                    hint="pass one of them and take the view inside the function",
                )


def adopt_stand_ins(recorded: Recorded, leaves: Sequence[Any]) -> None:
    """Stand-ins that the function stored somewhere become the tensors they stood for."""
    for source, inner in zip(recorded.sources, recorded.stand_ins, strict=True):
        if isinstance(source, (Argument, Capture)) and not inner._weak:
            become(inner, _tensor(source, leaves))


def _commit(effects: Effects, results: Sequence[Tensor], leaves: Sequence[Any]) -> None:
    for generator, counters in effects.draws:
        generator.offset += counters
    gradients = [(_tensor(s, leaves), i) for s, i in effects.grads]
    for source, i in effects.writes:
        target = _tensor(source, leaves)
        np.copyto(array_of(target), array_of(results[i]))
        target._storage.version += 1
    for t, position in gradients:
        t._grad = None if position is None else results[position].detach()


# -- names


def binder(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], list[str]]:
    """Gives the leaves of a call their names: `x`, `params['w']`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")

    def names(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        out: list[str] = []
        for i, a in enumerate(args):
            root = positional[i] if i < len(positional) else f"{rest}[{i - len(positional)}]"
            out += paths(flatten(a)[1], root)
        for key, a in kwargs.items():
            out += paths(flatten(a)[1], key)
        return out

    return names


def record_function(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
) -> Recorded:
    """The recording of one call, for tools that show the IR. Raises what `function` raises."""
    kwargs = kwargs or {}
    if isinstance(function, TracedFunction):
        function = function.__wrapped__
    leaves, structure = flatten((args, kwargs))
    recorded, _ = record(function, args, kwargs, leaves, structure, binder(function)(args, kwargs))
    return recorded
