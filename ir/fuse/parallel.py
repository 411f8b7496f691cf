"""Splitting a kernel into chunks that may run side by side.

A kernel is split along its slowest axis into `chunks` runs of about equal length. What a chunk accumulates goes to
memory of its own (`private`: one part for each chunk), and a kernel that follows adds up the parts, in order. Scratch
rows are private too. A kernel that is one line is cut into rows where its length divides well; else its chunks are
runs of the line's vectors.

How many chunks there are is told by the work and the shapes alone, never by cores or threads, so that the result is
the same to the bit whoever runs what: on one thread, which runs the chunks one after another, and on any machine.
More chunks than threads cost little, and one thread that is late finds less to do. The cost model:

- work that one core does in less than `WORTH_NS` is not split: two threads were measured to pay from 6,000 where the
  other one is awake, as it is between the kernels of a program, and from 20,000 where it must be woken;
- a chunk is `GRAIN_NS` of work or more: to hand one out costs a hundredth of that;
- memory that each chunk has for itself, which is filled, written and added up, costs at most `SHARE` of the work;
- a product goes in slices of `BLOCK` rows or columns or more, and of `PRODUCT_NS`: smaller ones reuse less of a cache.

Imports: `costs`, `types`, `kernel`.
"""

from __future__ import annotations

import math

from ..costs import WORK
from ..types import f32, f64
from .kernel import ELEMENT, ROW, TILE, Access, Buffer, CallKernel, Contraction, Kernel, LoopKernel, Node, Phase, Store

WORTH_NS = 15_000.0
GRAIN_NS = 5_000.0
SHARE = 1 / 16
MOST = 64  # chunks: threads that a kernel can use
LANES = 256  # of a vector, at most: a chunk of a line has one vector or more
_NS_PASS = 0.04  # to move a float32 once, cached or from DRAM, on one core; kernels were found within 2 of the sum
_ALONE = 8.0  # what is computed once a row, one at a time, beside what is computed by vectors
_GATHERED = 6.0  # passes of a load from where an index says
_OTHERS = {"reduce": WORK["add"], "index": WORK["add"], "philox": 10.0}  # of a kernel's nodes that are not elementwise
_TURN = 4.0  # passes of a transpose
_NS_FLOP = 0.008  # of a matmul
BLOCK = 64
PRODUCT_NS = 20_000.0


def split(kernel: Kernel) -> list[Kernel]:
    """The kernels that do the work of `kernel` in chunks where it is worth it: itself, where that is best."""
    if isinstance(kernel, CallKernel):
        if kernel.op == "matmul":
            _split_call(kernel)
        elif kernel.op == "transpose":
            _split_turn(kernel)
        return [kernel]
    if isinstance(kernel, Contraction):
        _split_contraction(kernel)
        return [kernel]
    spent = _nanoseconds(kernel)
    chunks = int(min(spent / GRAIN_NS, MOST))
    if chunks < 2 or spent < WORTH_NS or not (kernel.outer or _is_line(kernel)):
        return [kernel]
    if not kernel.outer:
        _cut_into_rows(kernel, chunks)
    stores = kernel.stores()
    alone = kernel.block and len(kernel.outer) == 1
    if alone or any(s.combine and s.access.strides[0] for s in stores):
        return [kernel]
    own = [s for s in stores if s.combine or not s.access.strides[0]]
    touched = 3 * _NS_PASS * sum(_private_bytes(s) / 4 for s in own)
    length = kernel.outer[0] if kernel.outer else kernel.inner[0] // LANES
    chunks = min(chunks, length, int(SHARE * spent / touched) if touched else MOST)
    if chunks < 2:
        return [kernel]
    kernel.chunks = chunks
    sums: list[Kernel] = []
    for store in stores:
        if store.combine:
            sums.append(_sum_up(kernel, store))
    for store in stores:
        if not store.combine and not store.access.strides[0]:
            _privatise(kernel, store.access.buffer)
    return [kernel, *sums]


def _private_bytes(store: Store) -> int:
    assert store.access.buffer is not None
    return store.access.buffer.nbytes


def _nanoseconds(kernel: LoopKernel) -> float:
    """About how long the kernel runs on one core."""
    rows = math.prod(kernel.outer)
    passes = 0.0
    for phase in kernel.phases:
        passes += _ALONE * rows * sum(map(_passes, phase.row))
        stored = [s.node.dtype.itemsize / 4 for s in phase.stores if not s.total]
        each = sum(map(_passes, (*phase.body, *phase.reductions))) + sum(stored)
        passes += rows * math.prod(kernel.inner) * each
    return passes * _NS_PASS


def _passes(node: Node) -> float:
    """What a node costs an element: in passes, as `costs` counts."""
    wide = node.dtype.itemsize / 4
    if node.op in ("load", "keep"):
        return _GATHERED if node.args else wide
    return wide * WORK.get(node.op, _OTHERS.get(node.op, 0.0))


def _split_contraction(kernel: Contraction) -> None:
    groups = kernel.batch, kernel.rows, kernel.columns, kernel.terms
    around = kernel.around[0] if kernel.around else 0
    work = math.prod(n for sizes in groups for n in sizes)
    kernel.axis, kernel.chunks = _product_chunks(around, kernel.rows[-1], kernel.columns[-1], work, "around")


def _split_call(kernel: CallKernel) -> None:
    x, y = kernel.args
    batch = x.shape[0] if len(x.shape) > 2 else 0
    work = math.prod(x.shape) * y.shape[-1]
    axis, kernel.chunks = _product_chunks(batch, x.shape[-2], y.shape[-1], work, "batch")
    kernel.attrs = {**kernel.attrs, "axis": axis}


def _split_turn(kernel: CallKernel) -> None:
    """In runs of the slowest axis that stays, or of the tiles along the one that is exchanged with the last."""
    (x,), along = kernel.args, kernel.attrs["axis"]
    spent = _TURN * _NS_PASS * math.prod(x.shape) * x.buffer.dtype.itemsize / 4
    others = [n for i, n in enumerate(x.shape[:-1]) if i != along]
    most = others[0] if others else x.shape[along] // TILE
    kernel.chunks = max(int(min(spent / GRAIN_NS, MOST, most)), 1) if spent >= WORTH_NS else 1


def _product_chunks(slow: int, rows: int, columns: int, work: int, around: str) -> tuple[str, int]:
    """The axis along which a product is split: the one `around` the matrices where it is long, else the longer one of
    a matrix, in blocks that are still done at full speed; and in how many. `work`: multiplications."""
    ways = [("rows", rows), ("columns", columns), (around, slow * BLOCK)]
    axis, length = max(ways, key=lambda way: way[1])
    spent = 2.0 * work * _NS_FLOP
    return axis, max(int(min(spent / PRODUCT_NS, MOST, length // BLOCK)), 1)


def _is_line(kernel: LoopKernel) -> bool:
    """Whether the kernel is a loop over one axis that carries nothing but totals."""
    return len(kernel.inner) == len(kernel.phases) == 1 and not (kernel.phases[0].row or kernel.phases[0].reductions)


def _cut_into_rows(kernel: LoopKernel, most: int) -> None:
    """Make up to `most` rows of a kernel that is one line, and at least half as many, where its length divides."""
    (n,) = kernel.inner
    rows = next((r for r in range(most, max(most // 2, 2) - 1, -1) if n % r == 0 and n > r), 0)
    if not rows:
        return
    held: dict[Node | Store, None] = dict.fromkeys((*kernel.nodes(), *kernel.stores()))
    for holder in held:
        if holder.access is not None:
            (step,) = holder.access.strides
            holder.access = Access(holder.access.buffer, holder.access.offset, (step * (n // rows), step))
    kernel.outer, kernel.inner = (rows,), (n // rows,)


def _privatise(kernel: LoopKernel, buffer: Buffer | None) -> None:
    """Give each chunk its own `buffer`, one behind the other."""
    assert buffer is not None
    if buffer not in kernel.private:
        kernel.private[buffer] = buffer.size
        buffer.size *= kernel.chunks


def _sum_up(kernel: LoopKernel, store: Store) -> LoopKernel:
    """Let `store` accumulate into a part for each chunk; the kernel that adds up the parts."""
    out, op = store.access.buffer, store.combine
    assert out is not None
    wide = f64 if store.total and op == "sum" and out.dtype is f32 else out.dtype
    parts = Buffer("parts", wide, out.size, ("temp", 0))
    store.access = Access(parts, store.access.offset, store.access.strides)
    _privatise(kernel, parts)
    if out.size > 1:
        each = Node("load", (), {}, wide, ELEMENT, access=Access(parts, 0, (out.size, 1)))
        add = Store(each, Access(out, 0, (0, 1)), op)
        return LoopKernel((kernel.chunks,), (out.size,), [], [Phase(body=[each], stores=[add])])
    part = Node("load", (), {}, wide, ELEMENT, access=Access(parts, 0, (1,)))
    total = Node("reduce", (part,), {"op": op}, wide, ROW, 1)
    given = total if wide is out.dtype else Node("cast", (total,), {"dtype": out.dtype}, out.dtype, ROW, 1)
    row = [] if given is total else [given]
    last = Phase(row=row, row_stores=[Store(given, Access(out, 0, (0,)))])
    return LoopKernel((), (kernel.chunks,), [], [Phase(body=[part], reductions=[total]), last])
