"""Short rows laid side by side.

Rows of a few elements (points, colours) fill no vector. In an elementwise kernel over them, several rows become
one: what walks memory goes on from row to row, an operand that each row reads anew (a bias) is repeated to the new
length first, and what is summed over the rows is summed into as many copies, which are added up afterwards.

Imports: `kernel`.
"""

from __future__ import annotations

from .kernel import ELEMENT, Access, Buffer, Kernel, LoopKernel, Node, Phase, Store

SHORT = 32  # elements of a row that is worth it
WIDEST = 256
MOST = 64  # rows side by side


def widen(kernel: LoopKernel) -> list[Kernel]:
    """The kernels that do the work of `kernel`: itself where its rows are long, or do more than one thing."""
    count = _rows_together(kernel)
    if count < 4:
        return [kernel]
    holders: list[Node | Store] = list(dict.fromkeys((*kernel.nodes(), *kernel.stores())))
    if not all(_continues(kernel, h) or _repeats(h) for h in holders):
        return [kernel]
    before: list[Kernel] = []
    after: list[Kernel] = []
    (n,), rows = kernel.inner, kernel.outer[-1]
    for h in holders:
        access = h.access
        if access is None:
            continue
        if _continues(kernel, h):
            steps = (*access.strides[:-2], access.strides[-2] * count, access.strides[-1])
            h.access = Access(access.buffer, access.offset, steps)
            continue
        buffer = access.buffer
        assert buffer is not None
        wide = Buffer("wide", buffer.dtype, n * count, ("temp", 0))
        h.access = Access(wide, 0, (*access.strides[:-1], 1))
        if isinstance(h, Store):
            after.append(_copies(count, n, wide, (n, 1), Access(buffer, access.offset, (0, 1)), h.combine))
        else:
            target = Access(wide, 0, (n, 1))
            before.append(_copies(count, n, buffer, (0, access.strides[-1]), target, "", access.offset))
    kernel.outer, kernel.inner = (*kernel.outer[:-1], rows // count), (n * count,)
    if rows == count:
        _drop_axis(kernel, holders)
    return [*before, kernel, *after]


def _rows_together(kernel: LoopKernel) -> int:
    """How many rows to lay side by side: a power of two that divides their number; 0 where none may."""
    simple = len(kernel.phases) == 1 and not kernel.phases[0].row and not kernel.phases[0].reductions
    if not simple or len(kernel.inner) != 1 or not kernel.outer or kernel.inner[0] > SHORT or kernel.block:
        return 0
    count = 1
    while 2 * count <= MOST and 2 * count * kernel.inner[0] <= WIDEST and kernel.outer[-1] % (2 * count) == 0:
        count *= 2
    return count


def _continues(kernel: LoopKernel, holder: Node | Store) -> bool:
    """Whether the holder's access goes on from one row to the next (or does not move at all)."""
    if holder.access is None:
        return True
    strides = holder.access.strides
    if isinstance(holder, Store) and holder.combine and not holder.total:
        return False
    return strides[-2] == strides[-1] * kernel.inner[0]


def _repeats(holder: Node | Store) -> bool:
    """Whether each row reads, or adds to, the same elements."""
    access = holder.access
    if access is None or access.buffer is None or any(access.strides[:-1]):
        return False
    if isinstance(holder, Store):
        return access.strides[-1] == 1 and access.offset == 0
    return holder.op == "load" and not holder.args


def _copies(
    count: int, n: int, source: Buffer, steps: tuple[int, int], target: Access, combine: str, offset: int = 0
) -> LoopKernel:
    """From `source` to `target`, over (count, n)."""
    each = Node("load", (), {}, source.dtype, ELEMENT, access=Access(source, offset, steps))
    return LoopKernel((count,), (n,), [], [Phase(body=[each], stores=[Store(each, target, combine)])])


def _drop_axis(kernel: LoopKernel, holders: list[Node | Store]) -> None:
    """Take away the last outer axis, which has size 1."""
    kernel.outer = kernel.outer[:-1]
    for h in holders:
        if h.access is not None:
            h.access = Access(h.access.buffer, h.access.offset, (*h.access.strides[:-2], h.access.strides[-1]))
