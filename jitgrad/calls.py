"""One recorded call: what it is made of, and running it again.

`record` runs a function on the tensors of a new recording; the `Recorded` it gives knows where the program's
inputs come from, what leaves the call (`leaving`), and its effects on what lies outside. `run` makes a call of
it: runs the program, commits the effects, builds what the function returns.

Invariants: effects are committed once, after the program has run and everything that can raise has been
checked; compiled code that writes to inputs in place does so after all that can fail in it.
Imports: `recording`, `leaving`, `program`, `reads`, `watcher`, `signature`, `sources`, `pytree`,
`inplace`, `tensors`, `state`, `errors`, `autograd`, `functional.creation`, `ir`, and of `codegen` where arrays lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from .autograd import views
from .autograd.graph import share_gradient
from .codegen.arrays import extent
from .errors import TraceError
from .functional.creation import from_numpy
from .inplace import commit
from .ir.core import Function
from .ir.types import TensorType, f64
from .leaving import Audits, Call, Exit, Passed, Place
from .program import Program, Strides, layout_of, readable
from .pytree import DEEPEST, Structure, containers, flatten, too_deep, unflatten
from .reads import Beforehand
from .recording import Recording
from .signature import STATIC, is_number, tensor_key
from .sources import Argument, Capture, Draw, GradOf, Key, Offset, Over, Source, StandIn
from .state import defaults, state
from .tensors import Tensor, array_of, become, make
from .watcher import Watcher

OVERLAP_WORK = 10_000  # candidates that are tried to find an element that two arrays share
_FUNCTIONS = (FunctionType, BuiltinFunctionType)
Containers = list[tuple[Any, Any]]  # mutable containers among the arguments, and what the function got for them


@dataclass
class Effects:
    """What a call does to what lies outside. Positions are among the program's inputs, numbers among its
    results, places among the `Place`s of the recording."""

    writes: list[tuple[int, int, bool]] = field(default_factory=list)  # position, number, whether the graph moves
    memory: dict[int, int] = field(default_factory=dict)  # place and position: `x.data = ...`
    flags: list[int] = field(default_factory=list)  # positions: `x.requires_grad_()`
    grads: list[tuple[int, int | None]] = field(default_factory=list)  # the place whose .grad becomes a place
    draws: list[Draw] = field(default_factory=list)
    divisors: list[int] = field(default_factory=list)  # numbers: Python raises where one is 0


@dataclass
class Recorded:
    """A finished recording: the IR function, where its parameters come from, what becomes of its results."""

    function: Function
    sources: list[Source]
    places: list[Place]
    outputs: list[int]  # places, one a leaf of what the function returned
    structure: Structure
    effects: Effects
    wrt: list[int]
    differentiable: list[int]
    param_paths: list[str]
    reads_grad: list[tuple[Source, Any]]  # the key of the .grad of each, or None where it has none
    reached: list[Source]  # those that a gradient inside arrived at
    stand_ins: list[StandIn]  # until the first run is over
    consumed: frozenset[int]  # float arguments that are constants of the program
    survivors: list[tuple[Tensor, int]]  # tensors that the function stored, and their places
    containers: Containers  # those that the function changed
    obstacle: str  # why the recording serves no other call


# -- recording


def record(
    function: Callable[..., Any],
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaves: list[Any],
    structure: Structure,
    names: list[str],
    static_floats: frozenset[int] = frozenset(),
    roots: Sequence[Any] = (),
) -> tuple[Recorded, Watcher]:
    """Run `function` on the tensors of a new recording. `roots`: objects among the arguments.

    Raises what it raises, after the effects that came before; TraceError leaves no effects.
    """
    recording = Recording()
    inside = [_enter(recording, i, x, names[i], i in static_floats) for i, x in enumerate(leaves)]
    new_args, new_kwargs = unflatten(structure, inside)
    containers_in = containers((new_args, new_kwargs))
    pairs = list(zip(containers((args, kwargs)), containers_in, strict=True))
    modes = (state.grad_enabled, defaults.dtype)
    watcher = Watcher(Beforehand(function, roots))
    failed: Exception | None = None
    returned = None
    state.recording = recording
    try:
        try:
            with watcher:
                returned = function(*new_args, **new_kwargs)
        except Exception as error:  # raised again once what came before it is committed
            failed = error
        if recording.failure is not None:
            raise recording.failure
        _renew(recording)
        changed = _changed(pairs, structure, inside, (new_args, new_kwargs))
        obstacle = _obstacle(recording, modes, bool(changed))
        holder, returned = [_marked(returned, {id(c): i for i, c in enumerate(containers_in)})], None
        del new_args, new_kwargs, containers_in, pairs, inside
        recorded = _finish(recording, name, holder, names, changed, obstacle, failed is not None)
    finally:
        state.recording = None
    if failed is not None:
        run(recorded, program_of(recorded, leaves, compiled=False), leaves, (args, kwargs), first=True)
        raise failed
    return recorded, watcher


def _enter(recording: Recording, i: int, x: Any, name: str, static: bool) -> Any:
    """What stands for argument leaf `i` in the recording."""
    ident = re.sub(r"\W+", "_", name).strip("_") or f"arg{i}"
    if isinstance(x, np.ndarray):
        return recording.stand_in(from_numpy(x), Argument(i), ident).tensor
    if isinstance(x, Tensor):  # itself, as what the function reaches by itself: `x is w` is what it is in eager
        if recording.known(x) is x:
            recording.stand_in(x, Argument(i), ident)
        return x
    if is_number(x) and not static:
        recording.floats[i] = x
        return recording.scalar(Argument(i), TensorType(f64, ()), ident, weak=type(x))
    return x


def _marked(x: Any, known: dict[int, int], depth: int = DEEPEST) -> Any:
    """`x` with the containers among the arguments, numbered in `known`, replaced by `Passed`."""
    if id(x) in known:
        return Passed(known[id(x)])
    kind = type(x)
    if kind not in (list, tuple, dict):
        return x
    if not depth:
        raise too_deep(x)
    if kind is dict:
        return {k: _marked(y, known, depth - 1) for k, y in x.items()}
    return kind([_marked(y, known, depth - 1) for y in x])


def _changed(containers: Containers, structure: Structure, inside: list[Any], now: Any) -> Containers:
    """`containers` if the function changed one of them (all, for their counterparts must be known), else none."""
    if not containers:
        return []
    leaves, after = flatten(now)
    same = after == structure and len(leaves) == len(inside)
    same = same and all(a is b for a, b in zip(leaves, inside, strict=True))
    return [] if same else containers


def _renew(recording: Recording) -> None:
    """What the function made over NumPy arrays is made anew at every call."""
    made = {id(t): array_of(t) for t in recording.made_here}
    for m in recording.stand_ins:
        if id(m.outside) in made:
            m.source = Over(made[id(m.outside)])


def _obstacle(recording: Recording, modes: tuple[Any, Any], changed: bool) -> str:
    if modes != (state.grad_enabled, defaults.dtype):
        return "it leaves another grad mode or default dtype behind"
    if changed:
        return "it changes a list, dict or object that was passed to it"
    return recording.obstacle


def _leaves(returned: Any) -> tuple[list[Any], Structure]:
    leaves, structure = flatten(returned)
    for x in leaves:
        if not isinstance(x, (Tensor, Passed, *STATIC, *_FUNCTIONS)) and not is_number(x):
            raise TraceError(
                f"a traced function returned a {type(x).__name__}, which cannot be rebuilt at the next call",
                hint="return tensors, numbers, and tuples, lists, dicts or dataclasses of them",
            )
    return leaves, structure


def _finish(
    recording: Recording,
    name: str,
    holder: list[Any],
    names: list[str],
    changed: Containers,
    obstacle: str,
    failed: bool,
) -> Recorded:
    """Take down what leaves the recording. `holder` holds what was returned, which must die here: a tensor that
    is alive afterwards was stored by the function."""
    leaves, structure = _leaves(None if failed else holder[0])
    rebound = [m.tensor for m in recording.stand_ins if m.tensor._storage is not m.storage]
    audits = Audits()
    plain = Exit(recording, [*leaves, *rebound], audits)
    whole = Exit(recording, [*leaves, *rebound, *recording.alive()], audits)
    plans = [(exit, *_plan(exit, leaves)) for exit in (plain, whole)]
    del leaves
    holder.clear()
    survivors = recording.alive()
    audits.check_lost()
    exit, outputs, effects = plans[bool(survivors)]
    kept = [(t, exit.place(t)) for t in survivors]
    effects.divisors = [exit.result(v) for v in recording.divisors]
    if any(t._weak for t in survivors):
        raise TraceError(
            "a traced function stored a number computed from a float argument",
            hint="return it, or compute it outside the traced function",
        )
    made = recording.stand_ins
    name = re.sub(r"\W+", "_", name).strip("_") or "f"
    return Recorded(
        function=recording.builder.finish(name, exit.values),
        sources=[m.source for m in made],
        places=exit.places,
        outputs=outputs,
        structure=structure,
        effects=effects,
        wrt=[i for i, m in enumerate(made) if m.outside is not None and (m.outside._requires_grad or m.flagged)],
        differentiable=exit.differentiable,
        param_paths=[
            names[m.source.index] if isinstance(m.source, Argument) else p.name
            for m, p in zip(made, recording.builder.params, strict=True)
        ],
        reads_grad=[
            (m.source, None if m.outside._grad is None else tensor_key(m.outside._grad))
            for m in made
            if m.reads_grad and m.outside is not None
        ],
        reached=[m.source for m in made if m.reached],
        stand_ins=list(made),
        consumed=frozenset(recording.consumed),
        survivors=kept,
        containers=changed,
        obstacle=obstacle or ("it stores a tensor outside, other than as a result" if survivors else ""),
    )


def _plan(exit: Exit, leaves: list[Any]) -> tuple[list[int], Effects]:
    """The places of what was returned, and the effects, with their places."""
    recording, effects = exit.recording, Effects(draws=exit.recording.generators.effects())
    for i, m in enumerate(recording.stand_ins):
        if m.tensor._storage is not m.storage:
            effects.memory[exit.memory(m.tensor)] = i
    outputs = [exit.place(x) for x in leaves]
    for i, m in enumerate(recording.stand_ins):
        inner = m.tensor
        if m.outside is None:
            continue
        if m.flagged:
            effects.flags.append(i)
        if m.storage.version:
            rebound = inner._storage is not m.storage
            moves = inner._node is not None and not rebound
            number = exit.result(m.storage.value if rebound else inner)
            if moves:
                exit.differentiable.append(number)
            effects.writes.append((i, number, moves))
        if m.reads_grad and inner._grad is not m.initial_grad:
            value = None if inner._grad is None else exit.place(inner._grad)
            effects.grads.append((exit.place(inner), value))
    for x in leaves:
        if isinstance(x, Tensor) and recording.owns(x) and recording.stand_in_of(x) is None and x._grad is not None:
            effects.grads.append((exit.place(x), exit.place(x._grad)))
    return outputs, effects


# -- running


def source_tensor(source: Source, leaves: Sequence[Any]) -> Tensor:
    """The tensor that a source gives at this call. Raises Gone if there is none any more."""
    match source:
        case Argument(i):
            x = leaves[i]
            if isinstance(x, Tensor):
                return x
            return make(np.asarray(x).view() if isinstance(x, np.ndarray) else np.asarray(x, np.float64))
        case Capture():
            return source.tensor
        case Over(array):
            return make(array.view())
        case GradOf(inner):
            grad = source_tensor(inner, leaves)._grad
            assert grad is not None  # guarded
            return grad
        case Key(generator):
            return make(np.asarray(generator.key, np.int64))
        case Offset(generator):
            return make(np.asarray(generator.offset, np.int64))


def program_of(recorded: Recorded, leaves: Sequence[Any], compiled: bool = True) -> Program:
    """The program of a recording, laid out for the strides of this call's inputs."""
    inputs = [source_tensor(s, leaves) for s in recorded.sources]
    strides: list[Strides] = [layout_of(readable(array_of(t))) for t in inputs]
    effects = recorded.effects
    writes = {number: i for i, number, _ in effects.writes}
    in_place = not effects.divisors  # they are looked at when the program has run
    return Program(recorded.function, recorded.wrt, recorded.differentiable, strides, compiled, writes, in_place)


def run(
    recorded: Recorded, program: Program, leaves: Sequence[Any], arguments: Any, first: bool = False
) -> Any:
    """Run the program on this call's inputs, commit its effects, build what the function returns. first: this is the
    call that was recorded, in which the function may have stored tensors of the recording."""
    inputs = [source_tensor(s, leaves) for s in recorded.sources]
    if first:  # the function has made its tensors over arrays itself
        made = [m.outside if isinstance(m.source, Over) else None for m in recorded.stand_ins]
        inputs = [t if own is None else own for t, own in zip(inputs, made, strict=True)]
    effects = recorded.effects
    if effects.writes:
        _check_writes(effects, inputs)
    flagged = [inputs[i] for i in effects.flags if not inputs[i]._requires_grad]
    try:
        for t in flagged:
            t._requires_grad = True
        results = program(inputs)
        for i in effects.divisors:
            if results[i]._array == 0:
                raise ZeroDivisionError("float division by zero")
    except BaseException as error:
        for t in flagged:
            t._requires_grad = False
        if not isinstance(error, Exception):  # an interrupt: the program may have run, and written in place
            for position, _, _ in effects.writes:
                inputs[position]._storage.version += 1
        raise
    call = Call(leaves, arguments, inputs, results, [])
    _commit(recorded, call)
    if first:
        _adopt(recorded, call)
    built = call.built
    return unflatten(recorded.structure, [built[o] for o in recorded.outputs])


def _check_writes(effects: Effects, inputs: Sequence[Tensor]) -> None:
    """Raises before anything ran where a tensor that is written to must not be."""
    for position, _, moves in effects.writes:
        target = inputs[position]
        if not array_of(target).flags.writeable:
            raise TraceError(
                f"a traced function writes in place to a tensor whose memory is read-only ({target.type_})"
            )
        if moves and target._view is not None:
            views.check_write(target, target)
    shared = _sharing(inputs, {position for position, _, _ in effects.writes})
    if shared is not None:
        raise TraceError(
            "a traced function writes in place to a tensor that shares its memory with another one it uses "
            f"({shared.type_})",
            hint="pass one of them and take the view inside the function",
        )


def _sharing(inputs: Sequence[Tensor], written: Container[int]) -> Tensor | None:
    """An input whose memory overlaps that of another one, where one of the two is `written`."""
    held = [array_of(t) for t in inputs]
    owners = [a if a.base is None else a.base for a in held]
    if len(set(map(id, owners))) == len(owners) and all(map(_owns, owners)):
        return None
    crossing: list[tuple[int, int]] = []  # the ends and numbers of those that reach beyond where the next begins
    for first, stop, i in sorted([(*extent(a), i) for i, a in enumerate(held) if a.size]):
        crossing = [(end, k) for end, k in crossing if end > first]
        for _, k in crossing:
            if (i in written or k in written) and _overlap(held[i], held[k]):
                return inputs[i]
        crossing.append((stop, i))
    return None


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether an element of one lies in the memory of the other, also where it is too hard to say."""
    try:
        return np.shares_memory(a, b, max_work=OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True


def _owns(holder: Any) -> bool:
    """Whether `holder` is an array with memory of its own from NumPy."""
    return type(holder) is np.ndarray and holder.flags.owndata


def _commit(recorded: Recorded, call: Call) -> None:
    """Commit the effects, and build the places."""
    effects = recorded.effects
    for draw in effects.draws:
        draw.commit()
    for position, number, moves in effects.writes:
        commit(call.inputs[position], call.results[number], moves)
    survivors = {place: t for t, place in recorded.survivors}
    for number, place in enumerate(recorded.places):
        built = place.build(call)
        if number in survivors:
            become(survivors[number], built)
            built = survivors[number]
        call.built.append(built)
        if number in effects.memory:
            target = call.inputs[effects.memory[number]]
            target._array, target._storage = built._array, built._storage
    for owner, value in effects.grads:
        call.built[owner]._grad = None if value is None else call.built[value]


def _adopt(recorded: Recorded, call: Call) -> None:
    """What the function stored or changed by itself: stand-ins become the tensors they stood for, and the
    containers it got copies of become what it made of them."""
    outside: dict[int, Any] = {}
    for m, t in zip(recorded.stand_ins, call.inputs, strict=True):
        if isinstance(m.source, (Argument, Capture, Over, GradOf)):
            outside[id(m.tensor)] = call.leaves[m.source.index] if m.tensor._weak else t  # type: ignore[union-attr]
            if not m.tensor._weak:
                become(m.tensor, t)
                if t._requires_grad and t._node is None:
                    share_gradient(m.tensor, t)
    recorded.stand_ins.clear()  # they hold the tensors of this call
    counterparts = {id(b): a for a, b in recorded.containers}
    seen: set[int] = set()

    def back(x: Any) -> Any:
        """`x`, as the function put it into a container, as eager would have put it there."""
        if type(x) is tuple:
            return tuple([back(y) for y in x])
        if type(x) in (list, dict) and id(x) not in counterparts and id(x) not in seen:
            seen.add(id(x))
            _refill(x, x, back)
        return counterparts.get(id(x), outside.get(id(x), x))

    for a, b in recorded.containers:
        _refill(a, b, back)


def _refill(target: Any, source: Any, back: Callable[[Any], Any]) -> None:
    """Let the container `target` hold what `source` holds, each item taken `back`."""
    if isinstance(target, list):
        target[:] = [back(x) for x in source]
    elif isinstance(target, dict):
        items = [(k, back(x)) for k, x in source.items()]
        target.clear()
        target.update(items)
    else:
        for k, x in vars(source).items():
            object.__setattr__(target, k, back(x))
