"""A schedule as one LLVM module: a function for each kernel, `@program`, which runs them in
order, and `@call`, its entry for array objects.

Imports: `ir.fuse`, `abi`, `alike`, `blocks`, `loops`, `calls`, `contraction`, `control`, `fork`, `nodes`,
`target`, `text`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..ir.fuse import CallKernel, Contraction, LoopKernel, Schedule
from .abi import PARAMETERS, PROGRAM, Frame, Traps, emit_call_entry
from .alike import bases, likeness
from .blocks import BlockEmitter
from .calls import emit_call
from .contraction import ProductEmitter
from .control import element
from .fork import emit_chunk_entry, emit_fork
from .loops import Emitter
from .nodes import used_often
from .target import Target
from .text import Code

_Own = LoopKernel | Contraction


@dataclass(frozen=True, slots=True)
class Module:
    """`text`: LLVM assembly. `functions`: names of outside functions, whose addresses follow those of the
    constants in the table."""

    text: str
    functions: tuple[str, ...]
    traps: Traps


def emit_module(schedule: Schedule, target: Target, times: int = 1) -> Module:
    """The module of `schedule`, which a call runs `times` over."""
    code, traps = Code(has_fma=target.has_fma), Traps()
    names = _define_all(code, schedule, target, traps)
    frame = Frame(code)
    frame.constants = 1 + max((b.place[1] for b, _ in schedule.constants), default=-1)
    # It only calls: LLVM's quick way to code is a third quicker on it, and as good.
    with code.function(f"void @{PROGRAM}({PARAMETERS}) noinline optnone"):
        for i, kernel in enumerate(schedule.kernels):
            if i == schedule.commit and i and traps.table:
                _leave_if_failed(code)
            if isinstance(kernel, CallKernel):
                emit_call(code, frame, kernel, target)
            else:
                _run(code, frame, names[kernel], kernel)
        code.line("ret void")
    emit_call_entry(code, len(schedule.params), len(schedule.results), times)
    head = f'target triple = "{target.triple}"\n'
    return Module(head + code.text(), tuple(frame.functions), traps)


def _leave_if_failed(code: Code) -> None:
    """Return, before anything is written to a parameter, where an instruction has failed."""
    noted, failed = code.fresh(), code.fresh()
    left, on = code.new_label("left"), code.new_label("on")
    code.line(f"{noted} = load i64, ptr %traps")
    code.line(f"{failed} = icmp ne i64 {noted}, 0")
    code.line(f"br i1 {failed}, label %{left}, label %{on}")
    code.start_block(left)
    code.line("ret void")
    code.start_block(on)


def _define_all(code: Code, schedule: Schedule, target: Target, traps: Traps) -> dict[_Own, str]:
    """Write a function for each loop kernel and contraction, one for those that are alike; their names."""
    written: dict[Hashable, tuple[str, _Own]] = {}
    names: dict[_Own, str] = {}
    for i, kernel in enumerate(schedule.kernels):
        if not isinstance(kernel, CallKernel):
            names[kernel], _ = written.setdefault(likeness(kernel), (f"kernel{i}", kernel))
    code.often = used_often(kernel for _, kernel in written.values())
    for name, kernel in written.values():
        _define(code, name, kernel, target, traps)
    return names


def _define(code: Code, name: str, kernel: _Own, target: Target, traps: Traps) -> None:
    """Write the function `name`, which runs `kernel` (or one chunk of it)."""
    if isinstance(kernel, Contraction):
        product = ProductEmitter(code, kernel, target, traps)
        product.function(name)
        size = product.range()
    else:
        emitter = BlockEmitter if kernel.block else Emitter
        loops = emitter(code, kernel, target, traps)
        loops.function(name)
        size = loops.range()
    if kernel.chunks > 1:
        emit_chunk_entry(code, name, len(kernel.buffers()) + 1, size, kernel.chunks)


def _run(code: Code, frame: Frame, name: str, kernel: _Own) -> None:
    """Call the kernel, or hand its chunks to the pool of threads."""
    begun = bases(kernel)
    places = [element(code, frame.pointer(b), b.dtype, str(begun.get(b, 0))) for b in kernel.buffers()]
    pointers = [*places, "%traps"]
    if kernel.chunks == 1:
        code.line(f"call void @{name}({', '.join(f'ptr {p}' for p in pointers)})")
        return
    emit_fork(code, frame, name, pointers, kernel.chunks)
