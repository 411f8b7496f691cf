"""`@jitgrad.trace`: a function recorded once a signature and compiled.

A call looks its signature up; an entry whose guards hold (what the function read is as it was, captured
tensors have the types they had) runs its program. Otherwise the Python function runs on the recording's
tensors, what it did becomes a `Program`, and the call runs that. In a thread that records already, a
traced function is simply called: it becomes part of the outer program.

Invariants: a recording that could not be guarded (see `reads`) serves the call that made it and is not
kept; entries keep neither arguments nor captured tensors alive, and go when one of the objects dies that they are
guarded by, as they can never serve again; their dict is replaced, never changed, for threads and the collector look
at it at any time.
Imports: `calls`, `program`, `reads`, `watcher`, `signature`, `pytree`, `sources`, `state`, `locks`,
`memory`, `tensors`, `ir.core`.
"""

from __future__ import annotations

import functools
import inspect
import types
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, KeysView, Sequence
from dataclasses import dataclass, field
from typing import Any

from .calls import Recorded, program_of, record, run, source_tensor
from .ir.core import Value
from .locks import lock_of
from .memory import Memory, call_memory
from .program import Program
from .pytree import Structure, flatten, paths
from .reads import MANY, Snapshot, take_snapshot
from .signature import Signature, difference, tensor_key
from .sources import Capture, Gone, Over
from .state import state
from .tensors import Tensor, hooked
from .watcher import Watcher

MAX_COMPILES = 32  # programs of one function before the warning: beyond, something varies that should not
VARIANTS = 8  # programs kept for one signature, which differ in what the function read; `max_compiles` if that is more
REASONS = 32  # the last recompilations that `explain` lists


class RecompileWarning(UserWarning):
    """A traced function keeps compiling for new signatures."""


@dataclass
class Entry:
    """A compiled program under a signature, with its guards."""

    recorded: Recorded
    program: Program
    snapshot: Snapshot
    captures: list[tuple[Capture, Any]]
    others: list[tuple[weakref.ref[Tensor], Any]]  # tensors within reach that are no inputs, with what they show
    passed: list[int]  # ids of the arguments that are tensors within the function's own reach too
    calls: int = 0
    reason: str = "first call"

    @property
    def params(self) -> str:
        """Its parameters with their types."""
        pairs = zip(self.recorded.param_paths, self.recorded.function.params, strict=True)
        return ", ".join(f"{path} {p.type}" for path, p in pairs)

    def stale(self, leaves: Sequence[Any], objects: Sequence[Any]) -> str:
        """Why this entry cannot serve a call with `leaves`, `objects` among them; '' if it can."""
        snapshot = self.snapshot
        if snapshot.life.over:
            return "an object that it reads is gone"
        for source, key in self.captures:
            if tensor_key(source.tensor) != key:
                return f"a captured tensor changed: {source.tensor.type_}"
        for ref, shown in self.others:
            t = ref()
            if t is None or shown_by(t) != shown:
                return "a tensor that the function can ask for its shape, layout or flags changed in them"
        if snapshot.tensors and aliases(leaves, snapshot.tensors.keys()) != self.passed:
            return "which arguments are tensors that the function also reaches by itself"
        for source, key in self.recorded.reads_grad:
            grad = source_tensor(source, leaves)._grad
            if (None if grad is None else tensor_key(grad)) != key:
                how = "is None now" if grad is None else "is not None now" if key is None else "changed its layout"
                return f"a .grad that the function reads {how}"
        for source in self.recorded.reached:
            if hooked(source_tensor(source, leaves)):
                return "a tensor that a gradient inside reaches has got a hook"
        return snapshot.changed(objects)


def shown_by(t: Tensor) -> Any:
    """What Python can ask of a tensor without its value; None of one that has none, as its recording is over."""
    return None if isinstance(t._array, Value) else (tensor_key(t), t._array.strides)


def aliases(leaves: Sequence[Any], within_reach: KeysView[int]) -> list[int]:
    """For each leaf its id, if that is in `within_reach`, else 0; nothing if none is."""
    ids = list(map(id, leaves))
    return [] if within_reach.isdisjoint(ids) else [i if i in within_reach else 0 for i in ids]


@dataclass
class _Stats:
    compiled: int = 0
    warned: bool = False  # of what guards cost
    reasons: deque[str] = field(default_factory=lambda: deque(maxlen=REASONS))  # why, of each
    uncached: int = 0
    obstacle: str = ""  # why the last of those was not kept


class TracedFunction:
    """The callable that `trace` makes. `explain()` says what is compiled and why, `memory()` what it allocates."""

    def __init__(self, function: Callable[..., Any], max_compiles: int) -> None:
        functools.update_wrapper(self, function)
        if not hasattr(function, "__name__"):  # a partial, or an object that can be called
            inner = function.func if isinstance(function, functools.partial) else type(function)
            self.__name__ = self.__qualname__ = getattr(inner, "__name__", "function")
        self.__wrapped__ = function
        self.max_compiles = max_compiles
        self._entries: dict[Any, tuple[Entry, ...]] = {}  # by signature; never changed, but replaced
        self._last: Any = None  # the signature that was compiled for last
        self._static_floats: frozenset[int] = frozenset()
        self._lock = lock_of(self)
        self._stats = _Stats()
        self._bind = binder(function)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if state.eager or state.recording is not None:
            return self.__wrapped__(*args, **kwargs)
        leaves, structure = flatten((args, kwargs))
        signature = Signature(leaves, structure, self._static_floats)
        stale = ""
        for entry in self._entries.get(signature.key, ()):
            try:
                why = entry.stale(leaves, signature.objects)
                if not why:
                    entry.calls += 1
                    return run(entry.recorded, entry.program, leaves, (args, kwargs))
            except Gone:
                why = "a captured tensor is gone"
            stale = stale or why
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
            recorded, watcher = record(
                self.__wrapped__, self.__name__, args, kwargs, leaves, structure, names, self._static_floats, roots
            )
            if recorded.consumed - self._static_floats:
                self._static_floats |= recorded.consumed
                signature = Signature(leaves, structure, self._static_floats)
            snapshot = take_snapshot(self.__wrapped__, roots, watcher.codes)
            obstacle = _obstacle(recorded, watcher, snapshot)
            program = program_of(recorded, leaves, compiled=not obstacle)
            if obstacle:
                self._note_uncached(obstacle)
            else:
                self._keep(recorded, program, snapshot, signature, leaves, self._reason(signature, names, stale))
        return run(recorded, program, leaves, (args, kwargs), first=True)

    def _keep(
        self,
        recorded: Recorded,
        program: Program,
        snapshot: Snapshot,
        signature: Signature,
        leaves: Sequence[Any],
        reason: str,
    ) -> None:
        """Keep what was recorded for later calls."""
        sources = [s for s in recorded.sources if isinstance(s, Capture)]
        entry = Entry(
            recorded,
            program,
            snapshot,
            [(s, tensor_key(s.tensor)) for s in sources],
            _others(snapshot, [*(s.tensor for s in sources), *leaves]),
            aliases(leaves, snapshot.tensors.keys()),
            1,
            reason,
        )
        variants = self._entries.get(signature.key, ())[: max(self.max_compiles, VARIANTS) - 1]
        self._entries = {**self._entries, signature.key: (entry, *variants)}
        self._last = signature.key
        for s in sources:
            if id(s.tensor) in snapshot.tensors:
                s.held = None
        snapshot.life.bell = weakref.WeakMethod(self._sweep)
        self._sweep()
        self._stats.compiled += 1
        self._stats.reasons.append(reason)
        if self._stats.compiled == self.max_compiles + 1:
            self._warn_of_many(reason)
        if snapshot.items > MANY and not self._stats.warned:
            self._stats.warned = True
            self._warn(
                f"{self.__name__} reads containers with {snapshot.items} items, compared at every call (about "
                "40 us a thousand). Read single items by constants, or pass what is needed as an argument",
                0,
            )

    def _sweep(self) -> None:
        """Let go the entries that can never serve again. May run at any time, where an object dies: in the midst of
        `_keep` and of itself too, so it looks again when it is done."""
        if self._lock.acquire(blocking=False):
            try:
                while any(e.snapshot.life.over for e in self._all()):
                    alive = {
                        key: tuple([e for e in group if not e.snapshot.life.over])
                        for key, group in self._entries.items()
                    }
                    self._entries = {key: group for key, group in alive.items() if group}
            finally:
                self._lock.release()

    def _all(self) -> Iterator[Entry]:
        """The entries as they are now."""
        return (e for group in self._entries.values() for e in group)

    # -- what happened

    def _reason(self, signature: Signature, names: list[str], stale: str) -> str:
        if stale:
            return stale
        if self._last is None:
            return "first call"
        if self._last == signature.key:
            return "an object that it reads is gone"
        return difference(self._last, signature.key, names)

    def _warn_of_many(self, reason: str) -> None:
        self._warn(
            f"{self.__name__} has been compiled {self._stats.compiled} times (max_compiles={self.max_compiles}); "
            f"the last time for this: {reason}. Pass what varies as a tensor or a float, or pad it to a few sizes; "
            f"explain() lists the last {REASONS} reasons.",
            1,
        )

    def _warn(self, message: str, depth: int) -> None:
        """Warn of what the user calls; `depth` functions lie between this one and `_keep`."""
        warnings.warn(message, RecompileWarning, stacklevel=5 + depth)

    def _note_uncached(self, obstacle: str) -> None:
        self._stats.uncached += 1
        self._stats.obstacle = obstacle
        if self._stats.uncached == 2:  # once may be the first call, which makes what the others find
            warnings.warn(
                f"{self.__name__} is recorded anew at every call and not compiled: {obstacle}",
                RecompileWarning,
                stacklevel=4,
            )

    def explain(self) -> str:
        """What is compiled: for each signature its reason, calls, compile time, kernels; what is not, and why."""
        entries = list(self._all())
        compiled = self._stats.compiled
        lines = [f"{self.__name__}: {len(entries)} program{'s' if len(entries) != 1 else ''} compiled"]
        if compiled > len(entries):
            gone = compiled - len(entries)
            lines[0] += f"; {compiled} compilations in all, {gone} program{'s were' if gone != 1 else ' was'} let go"
        for i, e in enumerate(entries):
            lines.append(
                f"  [{i}] ({e.params})  calls {e.calls}, compiled in {e.program.compile_seconds * 1e3:.1f} ms"
                f"\n      why: {e.reason}"
            )
            lines += [f"      {part}: {_kernels(made.schedule.kernels)}" for part, made in e.program.executables()]
            if e.snapshot.bytes >= 1 << 20:
                lines.append(f"      compares {e.snapshot.bytes / 1e6:.1f} MB of NumPy arrays at every call")
            if e.snapshot.items >= 1000:
                lines.append(f"      compares {e.snapshot.items} items of containers and objects at every call")
        if compiled > len(entries):
            reasons = list(self._stats.reasons)
            lines.append(f"  why, of the last {len(reasons)} compilation{'s' if len(reasons) != 1 else ''}:")
            lines += [f"      {reason}" for reason in reasons]
        if self._static_floats:
            lines.append(
                f"  floats compiled as constants, for Python asked for their value: {len(self._static_floats)}"
            )
        if self._stats.uncached:
            lines.append(f"  not compiled: {self._stats.uncached} calls, the last one because {self._stats.obstacle}")
        return "\n".join(lines)

    def memory(self) -> Memory:
        """What the compiled programs allocate: arena, outputs, saved residuals and peak, in bytes, forward and
        backward of each signature; see `jitgrad.memory.Memory`. It prints as a table."""
        entries = list(self._all())
        return Memory(self.__name__, tuple(call_memory(e.params, e.program) for e in entries))

    @property
    def programs(self) -> list[Program]:
        """The compiled programs, one a signature."""
        return [e.program for e in self._all()]

    def __repr__(self) -> str:
        return f"<traced {self.__name__}>"

    def __reduce__(self) -> Any:
        return self.__qualname__


def _kernels(kernels: Sequence[Any]) -> str:
    """How many they are, and the chunks that threads share of those that have some."""
    chunks = [str(k.chunks) for k in kernels if k.chunks > 1]
    many = f"{len(kernels)} kernel{'' if len(kernels) == 1 else 's'}"
    return f"{many}, {len(chunks)} in chunks ({', '.join(chunks)})" if chunks else many


def trace(function: Callable[..., Any] | None = None, *, max_compiles: int = MAX_COMPILES) -> Any:
    """Compile `function`: record it once a signature, then run native code.

    Usable bare (`@trace`) and with arguments (`@trace(max_compiles=8)`), on functions and methods.
    Arguments and results may be nested tuples, lists, dicts and dataclasses of tensors, NumPy arrays,
    numbers and other objects. A float or np.float64 is a scalar of the program, which may change, unless Python asks
    for its value; of other numbers (int, bool, np.float32, ...) each value is a constant and has its own program.
    Results that depend on tensors that require grad have a `grad_fn` whose backward is compiled too.

    max_compiles: how many programs may be compiled before a RecompileWarning names what varies, and how many (at
    least 8) are kept of those that differ only in what the function reads besides its arguments. Raises TypeError if
    `function` is not callable, ValueError for a max_compiles below 1; calls raise TraceError where the function does
    something that cannot be compiled and kept right.
    """
    if not isinstance(max_compiles, int) or max_compiles < 1:
        raise ValueError(f"max_compiles must be an integer of at least 1, got {max_compiles!r}")
    if function is None:
        return functools.partial(trace, max_compiles=max_compiles)
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(trace(function.__func__, max_compiles=max_compiles))
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


def _others(snapshot: Snapshot, inputs: Sequence[Any]) -> list[tuple[weakref.ref[Tensor], Any]]:
    """The tensors within reach that are not among `inputs`, whose types are compared anyway; with what they show."""
    known = set(map(id, inputs))
    return [(ref, shown_by(t)) for i, ref in snapshot.tensors.items() if i not in known and (t := ref()) is not None]


def _obstacle(recorded: Recorded, watcher: Watcher, after: Snapshot) -> str:
    """Why a recording cannot be kept; '' if it can."""
    if watcher.hidden is not None:
        name, loc = watcher.hidden
        return f"it calls {name}, whose result or effect a recording cannot repeat" + (
            f"\n{loc.excerpt()}" if loc else ""
        )
    if watcher.changed:
        return watcher.changed
    written = {i for i, _, _ in recorded.effects.writes}
    for i, source in enumerate(recorded.sources):
        if isinstance(source, Over) and not after.covers(source.array):
            return "it makes a tensor over a NumPy array, whose memory is another at every call"
        if isinstance(source, Over) and i in written and after.compares(source.array):
            return "it changes what it reads itself: it writes to a NumPy array"
    return after.excess or after.obstacle or recorded.obstacle


# -- names


def binder(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], list[str]]:
    """Gives the leaves of a call their names: `x`, `params['w']`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except Exception:  # an object whose attributes raise what they like
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
    name = getattr(function, "__name__", "f")
    recorded, _ = record(function, name, args, kwargs, leaves, structure, binder(function)(args, kwargs))
    return recorded
