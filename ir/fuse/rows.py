"""Blocks of rows: row scalars computed for many rows at once.

Where rows are short, a row program spends its time on the scalars between its phases: a logarithm a row, done
one at a time, costs as much as a row of exponentials. In a kernel with `block`, the last outer axis is a block
of rows: each phase computes its scalars for the whole block, as lanes, then walks the block's rows.

Imports: `items` (costs), `kernel`.
"""

from __future__ import annotations

import math

from .items import cost
from .kernel import ROW, Access, Buffer, LoopKernel, Node, Store

BLOCK = 16  # rows
LONGEST = 512  # elements of a row; of longer rows the scalars do not matter, and a block would leave the cache
LEAST = 8.0  # cost of the scalars of a row, below which a block does not pay


def block_rows(kernel: LoopKernel) -> None:
    """Give `kernel` blocks of rows where they pay and its rows come in such numbers."""
    row = math.prod(kernel.inner)
    scalars = sum(cost(n.op) for p in kernel.phases for n in p.row if n.level == ROW)
    if not kernel.outer or row > LONGEST or scalars < LEAST:
        return
    rows = kernel.outer[-1]
    size = next((b for b in (BLOCK, BLOCK // 2, BLOCK // 4) if rows % b == 0), 0)
    if not size:
        return
    at = len(kernel.outer) - 1
    scratch = _scratch_rows(kernel)
    for buffer in scratch:
        buffer.size *= size
    held: dict[Node | Store, None] = dict.fromkeys((*kernel.nodes(), *kernel.stores()))
    for holder in held:
        access = holder.access
        if access is None:
            continue
        kept = access.buffer in scratch
        step = row if kept else access.strides[at]
        slow = [] if rows == size else [0 if kept else step * size]
        steps = (*access.strides[:at], *slow, step, *access.strides[at + 1 :])
        holder.access = Access(access.buffer, access.offset, steps)
    kernel.outer = (*kernel.outer[:at], *((rows // size,) if rows > size else ()), size)
    kernel.block = size


def _scratch_rows(kernel: LoopKernel) -> list[Buffer]:
    """Buffers that hold a row from one phase to the next: no outer axis moves in them."""
    n_outer = len(kernel.outer)
    found = [
        s.access.buffer for p in kernel.phases for s in p.stores
        if not s.combine and not any(s.access.strides[:n_outer])
    ]
    return list(dict.fromkeys(b for b in found if b is not None))
