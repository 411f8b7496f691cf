"""A schedule as one LLVM module: a function for each kernel, `@program`, which runs them in
order, and `@call`, its entry for array objects.

Imports: `ir.fuse`, `abi`, `loops`, `calls`, `fork`, `target`, `text`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.fuse import LoopKernel, Schedule
from .abi import PARAMETERS, PROGRAM, Frame, Traps, emit_call_entry
from .calls import emit_call
from .fork import emit_fork
from .loops import emit_loops
from .target import Target
from .text import Code


@dataclass(frozen=True, slots=True)
class Module:
    """`text`: LLVM assembly. `functions`: names of outside functions, whose addresses follow those of the
    constants in the table."""

    text: str
    functions: tuple[str, ...]
    traps: Traps


def emit_module(schedule: Schedule, target: Target) -> Module:
    code, traps = Code(has_fma=target.has_fma), Traps()
    for i, kernel in enumerate(schedule.kernels):
        if isinstance(kernel, LoopKernel):
            emit_loops(code, f"kernel{i}", kernel, target, traps)
    frame = Frame(code)
    frame.constants = 1 + max((b.place[1] for b, _ in schedule.constants), default=-1)
    with code.function(f"void @{PROGRAM}({PARAMETERS})"):
        for i, kernel in enumerate(schedule.kernels):
            if isinstance(kernel, LoopKernel):
                _run(code, frame, f"kernel{i}", kernel)
            else:
                emit_call(code, frame, kernel, target)
        code.line("ret void")
    emit_call_entry(code, len(schedule.params), len(schedule.results))
    head = f'target triple = "{target.triple}"\n'
    return Module(head + code.text(), tuple(frame.functions), traps)


def _run(code: Code, frame: Frame, name: str, kernel: LoopKernel) -> None:
    """Call the kernel, or hand its chunks to the pool of threads."""
    pointers = [*(frame.pointer(b) for b in kernel.buffers()), "%traps"]
    if kernel.chunks == 1:
        code.line(f"call void @{name}({', '.join(f'ptr {p}' for p in pointers)})")
        return
    emit_fork(code, frame, name, pointers, kernel.chunks)
