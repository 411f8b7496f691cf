"""Scheduling: which operations share a kernel, and each kernel as data.

    schedule(f) -> Schedule      `to_text` prints it; `codegen` reads it

In the order that data takes: `prepare` (a function as items over views; `factors` for its products, `convolutions`,
`pick` for its gathers), `parts` (work on what is put together), `unroll` (short axes that are summed away), `pack`
(operands walked with gaps), `inline` (what is computed again), `groups` (what shares a kernel; `transpose` turns its
crosswise operands), `overwrite` (what is done in place), `build` (a group as loops and phases), `products`
(contractions), `rows` (blocks of rows), `widen` (short rows), `parallel` (chunks for several cores), `schedule`
(buffers, the arena).
`kernel` is the loop IR, `views` the arithmetic of index maps, `items` what the first four work on.

Imports: `core`, `types` and `ops` of the IR.
"""

from .facts import Facts, facts
from .items import cost
from .kernel import (
    ELEMENT,
    KERNEL,
    ROW,
    TILE,
    Access,
    Buffer,
    CallKernel,
    Contraction,
    Kernel,
    LoopKernel,
    Node,
    Operand,
    Phase,
    Schedule,
    Store,
    to_text,
)
from .schedule import explained, schedule

__all__ = [
    "ELEMENT", "KERNEL", "ROW", "TILE", "Access", "Buffer", "CallKernel", "Contraction", "Facts", "Kernel",
    "LoopKernel", "Node", "Operand", "Phase", "Schedule", "Store", "cost", "explained", "facts", "schedule", "to_text",
]
