"""The loop IR: kernels as data. The LLVM emitter for the CPU is one reader of it.

    Schedule    buffers and kernels in order: one function, no allocation but the arena
    Buffer      parameter, result, constant or temporary (a place in the arena)
    LoopKernel  rows of elements: `outer` axes around `inner` axes, the last of which is walked by vectors
    Contraction a product of two operands summed over some axes, and elementwise work on it where it is made
    CallKernel  one op of its own kind over whole buffers: matmul by BLAS, sort, cumsum, scatter, transpose

A `LoopKernel` runs, for every step of `outer` (a row), its phases in order. A phase computes its `row` nodes
(scalars, once a row), then walks the inner axes with the `body` nodes (lanes); what a reduction in a body
gives is a row scalar from the next phase on. Nodes say their `level`: KERNEL (once, before the loops), ROW,
ELEMENT. So softmax is one kernel of three phases, and an elementwise chain one of one phase.

A `Node` is an operation of the op table, or one of these:
    load      from `access`; args are dynamic indices, added with the strides in `attrs["strides"]`
    const     attrs["value"]
    iota      the number that the affine form `access` (which has no buffer) gives
    first     its first operand (the second is there to be checked)
    index     its operand, an index, checked against [0, attrs["limit"]) and clamped into it
    philox    args key, offset; word number `access`
    reduce    attrs["op"] over the inner axes: element nodes to a row scalar
    keep      written by an earlier phase to scratch (`access`), or to a buffer that is stored anyway
What leaves a kernel is a `Store`: an element or row node written at `access`; with `combine`, accumulated
there over the axes of stride 0, which the kernel first fills with the identity. `total` is accumulated over
everything into one element, in float64 for floats.

With a `block`, the last outer axis, of that size, is walked phase by phase: first the row nodes of a phase for the
whole block, then its body row by row.

A `Contraction` has its axes in four groups: `batch` (walked by both operands), `rows` (by the left one), `columns`
(by the right one), `terms` (by both, and summed). Its `body` are element nodes over the axes of the result, made of
the node `product`, the sum, once that is complete: sums of more than `block` steps of the first axis of terms are
put together, block after block, in the memory of `partial`.

With `unless`, a scalar of the prologue, the kernel has nothing to do where that is -0.0.

A kernel with `chunks` may run as that many pieces of its first outer axis, or of its line if it has none, at once.
Each piece has its own part of the buffers in `private`, of the size that stands there.

Invariants: nodes of a list come after their arguments; strides of an access are in elements, one for each
axis of `outer + inner`; no kernel has an axis of size 0 or 1; buffers of a kernel are distinct memory. A buffer
that a kernel both loads from and writes to without `combine` (a `keep` apart) is one that it changes in place: each
element is loaded at the step that writes it, and not after.
Imports: `core` and `types` of the IR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..core import Attrs, Loc
from ..types import DType, Shape, TensorType

KERNEL, ROW, ELEMENT = 0, 1, 2
TILE = 16  # rows of the largest tile that a transpose turns in registers


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory of `size` elements. `place`: ('param', i), ('result', i), ('constant', i) or ('temp', offset),
    the offset in bytes into the arena."""

    name: str
    dtype: DType
    size: int
    place: tuple[str, int]

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Access:
    """Element `offset + sum(step of axis k * strides[k])` of a buffer, or that number itself without one."""

    buffer: Buffer | None
    offset: int
    strides: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Node:
    op: str
    args: tuple[Node, ...]
    attrs: Attrs
    dtype: DType
    level: int
    phase: int = 0
    access: Access | None = None
    loc: Loc | None = None
    name: str = ""


@dataclass(eq=False, slots=True)
class Store:
    node: Node
    access: Access
    combine: str = ""
    total: bool = False


@dataclass(eq=False, slots=True)
class Phase:
    row: list[Node] = field(default_factory=list)
    row_stores: list[Store] = field(default_factory=list)
    body: list[Node] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class LoopKernel:
    outer: tuple[int, ...]
    inner: tuple[int, ...]
    prologue: list[Node]
    phases: list[Phase]
    block: int = 0
    chunks: int = 1
    private: dict[Buffer, int] = field(default_factory=dict)
    unless: Node | None = None

    def stores(self) -> list[Store]:
        return [s for p in self.phases for s in (*p.row_stores, *p.stores)]

    def nodes(self) -> list[Node]:
        return [*self.prologue, *(n for p in self.phases for n in (*p.row, *p.body, *p.reductions))]

    def reads(self) -> list[Buffer]:
        """Buffers that the kernel loads from, in order of first use."""
        found = (n.access.buffer for n in self.nodes() if n.access is not None and n.access.buffer is not None)
        return list(dict.fromkeys(found))

    def writes(self) -> list[Buffer]:
        found = (s.access.buffer for s in self.stores() if s.access.buffer is not None)
        return list(dict.fromkeys(found))

    def buffers(self) -> list[Buffer]:
        return list(dict.fromkeys([*self.reads(), *self.writes()]))


@dataclass(eq=False, slots=True)
class Operand:
    """A strided array read by a `CallKernel`."""

    buffer: Buffer
    offset: int
    shape: Shape
    strides: tuple[int, ...]

    @property
    def type(self) -> TensorType:
        return TensorType(self.buffer.dtype, self.shape)


@dataclass(eq=False, slots=True)
class CallKernel:
    """`outs = op(args)`; outs are whole buffers in row-major order. `scratch` is working memory. A matmul may be
    done in `chunks` of the axis of its result that attrs["axis"] names: 'batch', 'rows' or 'columns'; a transpose in
    chunks of the first axis that its tiles lie along."""

    op: str
    args: list[Operand]
    outs: list[Buffer]
    attrs: Attrs
    loc: Loc | None = None
    scratch: list[Buffer] = field(default_factory=list)
    chunks: int = 1

    def reads(self) -> list[Buffer]:
        return list(dict.fromkeys(a.buffer for a in self.args))

    def writes(self) -> list[Buffer]:
        return [*self.outs, *self.scratch]

    def buffers(self) -> list[Buffer]:
        return list(dict.fromkeys([*self.reads(), *self.writes()]))


@dataclass(eq=False, slots=True)
class Contraction:
    """`product = sum over terms of left * right`; accesses have a stride for each axis of batch, rows, columns and
    terms. With `chunks`, these divide what `axis` names: 'around', the first of the axes that go around the tiles, or
    'rows' or 'columns', the last of its group."""

    batch: Shape
    rows: Shape
    columns: Shape
    terms: Shape
    left: Access
    right: Access
    product: Node
    body: list[Node]
    stores: list[Store]
    block: int = 0
    partial: Access | None = None
    axis: str = "rows"
    chunks: int = 1

    @property
    def around(self) -> Shape:
        """The axes that go around the tiles, which have the last of the rows and of the columns."""
        return self.batch + self.rows[:-1] + self.columns[:-1]

    @property
    def outer(self) -> Shape:
        return self.batch + self.rows

    @property
    def inner(self) -> Shape:
        return self.columns

    def nodes(self) -> list[Node]:
        return self.body

    def accesses(self) -> list[Access]:
        """Of the operands, then of the nodes and stores."""
        held = [*(n.access for n in self.body), *(s.access for s in self.stores)]
        partial = [] if self.partial is None else [self.partial]
        return [self.left, self.right, *(a for a in held if a is not None), *partial]

    def reads(self) -> list[Buffer]:
        found = [self.left, self.right, *(n.access for n in self.body if n.access is not None)]
        return list(dict.fromkeys(a.buffer for a in found if a.buffer is not None))

    def writes(self) -> list[Buffer]:
        found = [s.access for s in self.stores]
        found += [] if self.partial is None else [self.partial]
        return list(dict.fromkeys(a.buffer for a in found if a.buffer is not None))

    def buffers(self) -> list[Buffer]:
        return list(dict.fromkeys([*self.reads(), *self.writes()]))


Kernel = LoopKernel | CallKernel | Contraction


@dataclass(eq=False, slots=True)
class Schedule:
    """`results`: of one that replaces a parameter, the parameter's own. Kernels before number `commit` write to no
    parameter; those from there on cannot fail."""

    name: str
    params: list[Buffer]
    results: list[Buffer]
    constants: list[tuple[Buffer, np.ndarray]]
    kernels: list[Kernel]
    arena_bytes: int
    commit: int

    def __str__(self) -> str:
        return to_text(self)


def _affine(access: Access, axes: Sequence[str]) -> str:
    terms = [f"{axis}*{s}" if s != 1 else axis for axis, s in zip(axes, access.strides, strict=True) if s]
    if access.offset or not terms:
        terms.append(str(access.offset))
    return " + ".join(terms)


def _place(access: Access, axes: Sequence[str], extra: str = "") -> str:
    assert access.buffer is not None
    return f"{access.buffer.name}[{_affine(access, axes)}{extra}]"


def _attrs(node: Node) -> str:
    shown = [f"{k}={v.code if isinstance(v, DType) else v}" for k, v in node.attrs.items() if k != "strides"]
    return f" {{{', '.join(shown)}}}" if shown else ""


def _node(node: Node, axes: Sequence[str]) -> str:
    head = f"{node.name}: {node.dtype.code} = "
    match node.op:
        case "load" | "keep":
            assert node.access is not None
            pairs = zip(node.args, node.attrs.get("strides", ()), strict=True)
            extra = "".join(f" + {a.name}*{s}" for a, s in pairs)
            return head + _place(node.access, axes, extra)
        case "const":
            return head + str(node.attrs["value"])
        case "iota":
            assert node.access is not None
            return head + _affine(node.access, axes)
        case "reduce":
            return f"{head}{node.attrs['op']} of {node.args[0].name} over the row"
    return f"{head}{node.op} {', '.join(a.name for a in node.args)}{_attrs(node)}"


def _store(store: Store, axes: Sequence[str]) -> str:
    how = f"{store.combine}=" if store.combine else "="
    whole = "  (total)" if store.total else ""
    return f"{_place(store.access, axes)} {how} {store.node.name}{whole}"


def _loops(kernel: LoopKernel) -> list[str]:
    axes = [f"r{i}" for i in range(len(kernel.outer))] + [f"i{i}" for i in range(len(kernel.inner))]
    named = kernel.prologue + [n for p in kernel.phases for n in (*p.row, *p.body, *p.reductions)]
    count = 0
    for node in dict.fromkeys(named):
        node.name, count = f"%{count}", count + 1
    lines = [f"  {_node(n, axes)}" for n in kernel.prologue]
    pad = "  "
    if kernel.unless is not None:
        lines.append(f"  unless {kernel.unless.name} is -0.0")
    if kernel.chunks > 1:
        lines.append(f"  in {kernel.chunks} chunks")
    if kernel.block:
        lines.append(f"  by blocks of {kernel.block} rows")
    if kernel.outer:
        bounds = ", ".join(f"{a} < {n}" for a, n in zip(axes, kernel.outer, strict=False))
        lines.append(f"{pad}for {bounds}:")
        pad += "  "
    for phase in kernel.phases:
        lines += [f"{pad}{_node(n, axes)}" for n in phase.row]
        lines += [f"{pad}{_store(s, axes)}" for s in phase.row_stores]
        if not (phase.body or phase.stores or phase.reductions):
            continue
        bounds = ", ".join(f"{a} < {n}" for a, n in zip(axes[len(kernel.outer):], kernel.inner, strict=True))
        lines.append(f"{pad}lanes {bounds or 'once'}:")
        lines += [f"{pad}  {_node(n, axes)}" for n in phase.body]
        lines += [f"{pad}  {_node(n, axes)}" for n in phase.reductions]
        lines += [f"{pad}  {_store(s, axes)}" for s in phase.stores]
    return lines


def _call(kernel: CallKernel) -> list[str]:
    shown = {k: v for k, v in kernel.attrs.items() if not isinstance(v, np.ndarray)}
    args = [f"{a.buffer.name}[{a.offset}] {a.type} strides {list(a.strides)}" for a in kernel.args]
    many = f" in {kernel.chunks} chunks" if kernel.chunks > 1 else ""
    return [
        f"  {', '.join(b.name for b in kernel.outs)} = {kernel.op} {'; '.join(args)}"
        + (f" {shown}" if shown else "") + many
    ]


def _contraction(kernel: Contraction) -> list[str]:
    groups = (("b", kernel.batch), ("r", kernel.rows), ("c", kernel.columns), ("k", kernel.terms))
    named = [(f"{letter}{i}", n) for letter, sizes in groups for i, n in enumerate(sizes)]
    axes = [axis for axis, _ in named]
    bounds = [f"{axis} < {n}" for axis, n in named]
    result = len(axes) - len(kernel.terms)
    for i, node in enumerate(dict.fromkeys((kernel.product, *kernel.body))):
        node.name = f"%{i}"
    lines = [f"  in {kernel.chunks} chunks of {kernel.axis}"] if kernel.chunks > 1 else []
    lines.append(f"  for {', '.join(bounds[:result])}:")
    summed = f"sum over {', '.join(bounds[result:])}"
    if kernel.partial is not None:
        summed += f" (by {kernel.block} of {axes[result]}, so far in {_place(kernel.partial, axes)})"
    lines.append(f"    {kernel.product.name}: {kernel.product.dtype.code} = {summed}")
    lines.append(f"        of {_place(kernel.left, axes)} * {_place(kernel.right, axes)}")
    lines += [f"    {_node(n, axes)}" for n in kernel.body if n is not kernel.product]
    return lines + [f"    {_store(s, axes)}" for s in kernel.stores]


def to_text(schedule: Schedule, notes: Sequence[Sequence[str]] = ()) -> str:
    """The schedule for people: buffers, then each kernel's loops, under its `notes`. It is not parsed."""
    lines = [f"schedule @{schedule.name} arena {schedule.arena_bytes} bytes"]
    named = dict.fromkeys([*schedule.params, *schedule.results, *(b for b, _ in schedule.constants)])
    lines += [f"  {b.name}: {b.dtype.code} x {b.size}  {b.place[0]} {b.place[1]}" for b in named]
    for i, kernel in enumerate(schedule.kernels):
        if i == schedule.commit:
            lines.append("commit: parameters are written to from here on")
        kind, written = _kernel(kernel)
        lines.append(f"kernel {i}: {kind}")
        lines += [f"  ; {note}" for note in notes[i]] if notes else []
        lines += written
    return "\n".join(lines) + "\n"


def _kernel(kernel: Kernel) -> tuple[str, list[str]]:
    if isinstance(kernel, LoopKernel):
        return "loops", _loops(kernel)
    if isinstance(kernel, Contraction):
        return "contraction", _contraction(kernel)
    return "call", _call(kernel)
