"""The backward that a user wrote, inside a recording: a function of its own in the IR.

It is recorded at once, when the Function is applied. Its instructions are cut out of the recording and become the
function of a `custom_grad` op over what they use, so compiled gradients are the user's. A backward that gets None for
results without gradient is recorded for every set of results with one.

Invariants: nothing else of such a backward lasts. It has no effects (`Recording` refuses them), and a tensor that it
made and stored somewhere is as one of a recording that has ended.
Imports: `domains`, `dispatch`, `errors`, `tensors`, `sources`, `ir`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..dispatch import blame
from ..errors import TraceError
from ..ir.core import Function, Instr, Value
from ..sources import RecordedStorage
from ..tensors import Storage, Tensor
from .domains import ValueDomain

if TYPE_CHECKING:
    from ..recording import Recording
    from .function import FunctionNode

MOST_RESULTS = 4  # 15 sets


def record_backward(
    recording: Recording, node: FunctionNode, args: Sequence[Any], results: list[Tensor]
) -> None:
    """Route the gradient of `results` to the tensors in `args` through the user's backward."""
    inputs = [a for a in args if isinstance(a, Tensor) and a.dtype.is_floating_point]
    passed = [t for t in results if t._node is node]
    if not inputs or not passed:
        return
    cts = [Value(t.type_, recording.builder.fresh()) for t in passed]
    sets, cut, outs = _recorded_sets(recording, node, args, passed, cts)
    own = [recording.value(t) for t in passed]
    bound = (*own, *cts)
    saved = _free(cut, outs, set(bound))
    name = f"{node.name()}{len(recording.builder.instrs)}"
    backward = Function.straight(name, (*saved, *bound), tuple(cut), tuple(outs))
    operands = (*own, *(recording.value(a) for a in inputs), *saved)
    attrs = {"backward": backward, "results": len(passed), "inputs": len(inputs), "sets": sets}
    node.origin = own[0]
    for t, value in zip(passed, recording.emit("custom_grad", operands, attrs), strict=True):
        node.rebind(recording.value(t), value)
        t._array = value


def _recorded_sets(
    recording: Recording, node: FunctionNode, args: Sequence[Any], passed: Sequence[Tensor], cts: Sequence[Value]
) -> tuple[tuple[int, ...], list[Instr], list[Value]]:
    """The `sets` of custom_grad, all instructions, and the gradients, one group after another.

    Sets for which the backward raises are left out, for they may never be asked for; raises what it raises for all
    results, and TraceError for too many of them.
    """
    if node.materializes or len(passed) == 1:
        return (), *_recorded(recording, node, args, passed, cts)
    if len(passed) > MOST_RESULTS:
        raise blame(TraceError(
            f"set_materialize_grads(False) inside a traced function, in a Function with {len(passed)} results that "
            f"have a gradient: backward is compiled for every set of them, which is done for up to {MOST_RESULTS}",
            hint="let it get zeros, mark results as non-differentiable, or run the function under jitgrad.eager()",
        ))
    everything = (1 << len(passed)) - 1
    sets: list[int] = []
    cut: list[Instr] = []
    outs: list[Value] = []
    for members in range(everything, 0, -1):
        chosen = [i for i in range(len(passed)) if members >> i & 1]
        failure = recording.failure
        try:
            more, gradients = _recorded(recording, node, args, [passed[i] for i in chosen], [cts[i] for i in chosen])
        except Exception:
            if members == everything:
                raise
            recording.failure = failure  # of a set that may never be asked for
            continue
        sets.append(members)
        cut += more
        outs += gradients
    return tuple(sets), cut, outs


def _recorded(
    recording: Recording, node: FunctionNode, args: Sequence[Any], passed: Sequence[Tensor], cts: Sequence[Value]
) -> tuple[list[Instr], list[Value]]:
    """The instructions of the backward and the gradients of the floating-point `args`, from the cotangents `cts` of
    the results `passed`. The recording is left as it was."""
    builder = recording.builder
    by_result = {t._output_nr: ct for t, ct in zip(passed, cts, strict=True)}
    given = [by_result.get(i) for i in range(len(node.result_types))]
    mark = len(builder.instrs)
    recording.backwards.append(len(recording.made))
    try:
        grads = node.pull(ValueDomain(recording, constant=False), given, [])
        outs = [
            builder.zeros(a.type_) if g is None else g
            for a, g in zip(args, grads, strict=True)
            if isinstance(a, Tensor) and a.dtype.is_floating_point
        ]
    finally:
        cut = builder.instrs[mark:]
        del builder.instrs[mark:]
        _forget(recording, recording.backwards.pop())
    return cut, outs


def _forget(recording: Recording, start: int) -> None:
    """Give up the tensors of a backward, those from number `start` on, that something still holds."""
    for t in recording.living(start):
        if recording.stand_in_of(t) is None:
            assert isinstance(t._storage, RecordedStorage)
            del t._storage.members[id(t)]
            t._storage, t._view = Storage(None), None
    del recording.made[start:]


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
