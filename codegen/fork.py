"""A function over a range, run in chunks by the pool of threads.

The function is `void @name(ptr ..., i64 %lo, i64 %hi, i64 %chunk)`. Threads call
`@name.chunk(ptr %context, i64 %chunk)`, which takes its pointers from the context and works out its part.

Imports: `ir.types`, `abi`, `control`, `text`, `threads`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import i64
from .abi import THREADS, Frame
from .control import element, linear
from .text import Code
from .threads import PARALLEL, POOL

RANGE = ("i64 %lo", "i64 %hi", "i64 %chunk")


def emit_chunk_entry(code: Code, name: str, pointers: int, size: int, chunks: int) -> None:
    """Write `@name.chunk` for a function of so many pointers over the range [0, size)."""
    with code.function(f"internal void @{name}.chunk(ptr %context, i64 %chunk)"):
        args = []
        for i in range(pointers):
            place, pointer = element(code, "%context", i64, str(i)), code.fresh("p")
            code.line(f"{pointer} = load ptr, ptr {place}")
            args.append(f"ptr {pointer}")
        for start in (0, size):
            scaled, bound = linear(code, start, [("%chunk", size)]), code.fresh("i")
            code.line(f"{bound} = udiv i64 {scaled}, {chunks}")
            args.append(f"i64 {bound}")
        code.line(f"call void @{name}({', '.join([*args, 'i64 %chunk'])})")
        code.line("ret void")


def emit_fork(code: Code, frame: Frame, name: str, pointers: Sequence[str], chunks: int) -> None:
    """Write, into the program under construction, the call that runs all chunks and returns when they are done."""
    context = code.fresh("p")
    code.line(f"{context} = alloca [{len(pointers)} x ptr]")
    for i, pointer in enumerate(pointers):
        code.line(f"store ptr {pointer}, ptr {element(code, context, i64, str(i))}")
    run, pool, most = frame.function(PARALLEL), frame.function(POOL), code.fresh("most")
    code.line(f"{most} = load i64, ptr {element(code, '%traps', i64, str(THREADS))}")
    code.line(f"call void {run}(ptr {pool}, ptr @{name}.chunk, ptr {context}, i64 {chunks}, i64 {most})")
