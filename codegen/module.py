"""A schedule as one LLVM module: a function for each kernel, and `@program`, which runs them in order.

Imports: `ir.fuse`, `abi`, `loops`, `calls`, `target`, `text`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.fuse import LoopKernel, Schedule
from .abi import PARAMETERS, PROGRAM, Frame, Traps
from .calls import emit_call
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
                args = [f"ptr {frame.pointer(b)}" for b in kernel.buffers()]
                code.line(f"call void @kernel{i}({', '.join([*args, 'ptr %traps'])})")
            else:
                emit_call(code, frame, kernel, target)
        code.line("ret void")
    head = f'target triple = "{target.triple}"\n'
    return Module(head + code.text(), tuple(frame.functions), traps)
