"""What each kernel does, counted: steps, bytes, flops, the lines of the source that it covers.

Bytes are those of distinct elements that a kernel touches, of memory that outlives it: what it keeps for itself (rows
of scratch, the parts of its chunks) is not counted, nor what is read again. Flops count an addition, a multiplication,
a division, a root, a maximum, ... as one, a multiply-add as two, and exp, log, ... as what the vector mathematics does
for one f32 on a machine with FMA (`_FUNCTIONS`, which a test compares with the code). Operations on integers and bools
are no flops.

Imports: `kernel`, and `core` and `types` of the IR.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core import Loc
from ..types import Shape
from .kernel import (
    ELEMENT,
    KERNEL,
    ROW,
    Access,
    Buffer,
    CallKernel,
    Contraction,
    Kernel,
    LoopKernel,
    Node,
    Schedule,
    Store,
)

_ONE = (
    "add", "sub", "mul", "div", "reciprocal", "sqrt", "maximum", "minimum", "floor", "ceil", "round", "trunc", "eq",
    "ne", "lt", "le", "gt", "ge",
)
_FUNCTIONS = {
    "exp": 26, "exp2": 25, "expm1": 27, "sigmoid": 30, "sinh": 34, "cosh": 28, "tanh": 41, "log": 33, "log2": 34,
    "log10": 30, "log1p": 35, "asinh": 41, "acosh": 42, "atanh": 39, "sin": 20, "cos": 22, "tan": 30, "asin": 20,
    "acos": 24, "atan": 22, "erf": 57, "lgamma": 240, "digamma": 200, "pow": 62, "atan2": 35, "fmod": 14,
    "remainder": 16, "floor_divide": 25,
}
FLOPS: dict[str, int] = {**dict.fromkeys(_ONE, 1), "fma": 2, **_FUNCTIONS}
_NO_WORK = ("load", "keep", "const", "iota", "first", "reduce", "product")  # nodes that are no op of the user's


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one kernel.

    kind: 'loops', 'contraction' or the op of a call. outer, inner: the iteration space (of a contraction the axes of
    the result, and the terms). ops: what is fused, by name and how often. reads, writes: bytes by buffer. lines: of
    the source, by file. passed: why what it reads of other kernels goes through memory, by buffer.
    """

    kind: str
    outer: Shape
    inner: Shape
    phases: int
    ops: dict[str, int]
    reads: dict[str, int]
    writes: dict[str, int]
    flops: int
    lines: dict[str, tuple[int, ...]]
    chunks: int
    passed: dict[str, str]

    @property
    def bytes(self) -> int:
        return sum(self.reads.values()) + sum(self.writes.values())


def facts(schedule: Schedule, reasons: Mapping[Buffer, str]) -> list[Facts]:
    """Of each kernel of `schedule`; `reasons` as `explained` gives them."""
    users = Counter(b for k in schedule.kernels for b in k.buffers())
    found: list[Facts] = []
    made: dict[Buffer, int] = {}
    for i, kernel in enumerate(schedule.kernels):
        own = {b for b in kernel.buffers() if b.place[0] == "temp" and users[b] == 1}
        reads, writes = _reads(kernel, own), _writes(kernel, own)
        passed = {b.name: f"made by kernel {made[b]}: {_why(b, reasons)}" for b in reads if b in made}
        found.append(_facts(kernel, reads, writes, passed))
        made |= dict.fromkeys(writes, i)
    return found


def _why(buffer: Buffer, reasons: Mapping[Buffer, str]) -> str:
    return reasons.get(buffer) or _LAID_OUT.get(buffer.name, "the layout of its reader")


# Buffers that `parallel` and `widen` put between the kernels that they make of one.
_LAID_OUT = {"parts": "a part for each chunk, added up in order", "wide": "short rows are laid side by side"}


def _facts(kernel: Kernel, reads: dict[Buffer, int], writes: dict[Buffer, int], passed: dict[str, str]) -> Facts:
    if isinstance(kernel, CallKernel):
        outer, inner = _call_space(kernel)
        ops: Counter[str] = Counter({kernel.op: 1})
        locs = [kernel.loc]
    else:
        outer, inner = kernel.outer, kernel.inner
        nodes = [*([kernel.product] if isinstance(kernel, Contraction) else []), *kernel.nodes()]
        ops = Counter(n.attrs["op"] if n.op == "reduce" else n.op for n in nodes if _is_work(n))
        ops.update(s.combine for s in _stores(kernel) if s.combine)
        locs = [n.loc for n in nodes]
    phases = len(kernel.phases) if isinstance(kernel, LoopKernel) else 1
    kind = "loops"
    terms: Shape = ()
    if isinstance(kernel, Contraction):
        kind, terms = "contraction", kernel.terms
    elif isinstance(kernel, CallKernel):
        kind = kernel.op
    return Facts(
        kind, outer, (*inner, *terms), phases, dict(ops.most_common()), _named(reads), _named(writes),
        _flops(kernel), _lines(locs), kernel.chunks, passed,
    )


def _named(by_buffer: Mapping[Buffer, int]) -> dict[str, int]:
    named: Counter[str] = Counter()
    for buffer, n in by_buffer.items():
        named[buffer.name] += n
    return dict(named)


def _stores(kernel: LoopKernel | Contraction) -> list[Store]:
    return kernel.stores() if isinstance(kernel, LoopKernel) else kernel.stores


def _is_work(node: Node) -> bool:
    return node.op not in _NO_WORK or node.op == "reduce"


def _call_space(kernel: CallKernel) -> tuple[Shape, Shape]:
    """The steps of a call: of a product those of the result, and the terms; else its operand's."""
    if kernel.op == "matmul":
        x, y = kernel.args
        return (*x.shape[:-1], y.shape[-1]), x.shape[-1:]
    return kernel.args[0].shape[:-1], kernel.args[0].shape[-1:]


def _lines(locs: Iterable[Loc | None]) -> dict[str, tuple[int, ...]]:
    found: dict[str, set[int]] = {}
    for loc in locs:
        if loc is not None and loc.file:
            found.setdefault(loc.file, set()).add(loc.line)
    return {file: tuple(sorted(lines)) for file, lines in sorted(found.items())}


# Bytes.


def _reads(kernel: Kernel, own: set[Buffer]) -> dict[Buffer, int]:
    """Bytes of distinct elements that are loaded, by buffer, without those of `own`."""
    touched: list[tuple[Buffer, int]] = []
    if isinstance(kernel, CallKernel):
        touched = [(a.buffer, math.prod(n for n, s in zip(a.shape, a.strides, strict=True) if s)) for a in kernel.args]
    else:
        sizes = kernel.outer + kernel.inner
        if isinstance(kernel, Contraction):
            sizes += kernel.terms
            touched = _elements([(kernel.left, False), (kernel.right, False)], sizes)
        loads = [(n.access, bool(n.args)) for n in kernel.nodes() if n.op == "load" and n.access is not None]
        touched += _elements(loads, sizes)
    return _bytes(touched, own)


def _writes(kernel: Kernel, own: set[Buffer]) -> dict[Buffer, int]:
    if isinstance(kernel, CallKernel):
        return _bytes([(b, b.size) for b in kernel.outs], own)
    terms = kernel.terms if isinstance(kernel, Contraction) else ()
    return _bytes(_elements([(s.access, False) for s in _stores(kernel)], kernel.outer + kernel.inner + terms), own)


def _elements(accesses: Sequence[tuple[Access, bool]], sizes: Shape) -> list[tuple[Buffer, int]]:
    """How many elements each access touches at most: those of the axes that it walks; where an index is added that is
    only known when it runs (True), one a step."""
    out = []
    for access, anywhere in accesses:
        if access.buffer is not None:
            walked = [n for n, s in zip(sizes, access.strides, strict=True) if s or anywhere]
            out.append((access.buffer, math.prod(walked)))
    return out


def _bytes(touched: Iterable[tuple[Buffer, int]], own: set[Buffer]) -> dict[Buffer, int]:
    """By buffer; accesses of one buffer at other places count each, up to its size."""
    total: dict[Buffer, int] = {}
    for buffer, n in touched:
        if buffer not in own:
            total[buffer] = min(total.get(buffer, 0) + n, buffer.size)
    return {b: n * b.dtype.itemsize for b, n in total.items()}


# Flops.


def _flops(kernel: Kernel) -> int:
    if isinstance(kernel, CallKernel):
        if kernel.op != "matmul":
            return 0
        outer, inner = _call_space(kernel)
        return 2 * math.prod(outer + inner)
    rows = math.prod(kernel.outer)
    steps = rows * math.prod(kernel.inner)
    times = {KERNEL: 1, ROW: rows, ELEMENT: steps}
    if isinstance(kernel, Contraction):
        total = 2 * steps * math.prod(kernel.terms)
        return total + steps * sum(_of_node(n) for n in kernel.body)
    total = sum(times[n.level] * _of_node(n) for n in kernel.prologue)
    for phase in kernel.phases:
        total += rows * sum(map(_of_node, phase.row)) + steps * sum(map(_of_node, phase.body))
        total += steps * sum(_is_float(r.args[0]) for r in phase.reductions)
        total += steps * sum(bool(s.combine) and _is_float(s.node) for s in phase.stores)
    return total


def _of_node(node: Node) -> int:
    return FLOPS.get(node.op, 0) if any(map(_is_float, (node, *node.args))) else 0


def _is_float(node: Node) -> bool:
    return node.dtype.is_floating_point
