"""Kernels that are written alike: an unrolled loop has many, and each function is written and compiled once.

Two kernels are alike if they differ only in which buffers they work on, and from where on they read them (`bases`):
functions take those places as pointers.

Imports: `ir.fuse`.
"""

from __future__ import annotations

from collections.abc import Hashable

from ..ir.fuse import Access, Buffer, CallKernel, Contraction, LoopKernel, Node, Store


def likeness(kernel: LoopKernel | Contraction) -> Hashable:
    """Equal for kernels that are alike. An instruction that can fail keeps its place in the user's source."""
    found = _Likeness(kernel)
    return found.product(kernel) if isinstance(kernel, Contraction) else found.loops(kernel)


def bases(kernel: LoopKernel | Contraction) -> dict[Buffer, int]:
    """For each buffer that the kernel only reads, the first of the elements at which its accesses begin. The function
    takes a pointer to it, so that kernels over other parts of an array are alike."""
    held = kernel.accesses() if isinstance(kernel, Contraction) else [n.access for n in kernel.nodes()]
    written = set(kernel.writes())
    found: dict[Buffer, int] = {}
    for access in held:
        if access is not None and access.buffer is not None and access.buffer not in written:
            found[access.buffer] = min(access.offset, found.get(access.buffer, access.offset))
    return found


def product_likeness(kernel: CallKernel) -> Hashable:
    """The same for matrix products."""
    operands = tuple((a.type, a.offset, a.strides) for a in kernel.args)
    return kernel.op, operands, kernel.attrs["axis"], kernel.chunks


class _Likeness:
    def __init__(self, kernel: LoopKernel | Contraction) -> None:
        self.buffers = {b: i for i, b in enumerate(kernel.buffers())}
        self.bases = bases(kernel)
        self.numbers: dict[Node, int] = {}

    def product(self, k: Contraction) -> Hashable:
        groups = k.batch, k.rows, k.columns, k.terms, k.block, k.axis, k.chunks
        operands = tuple(map(self.access, (k.left, k.right, k.partial)))
        body = tuple(map(self.node, (k.product, *k.body)))
        return "contraction", groups, operands, body, tuple(map(self.store, k.stores))

    def loops(self, k: LoopKernel) -> Hashable:
        written = set(k.writes())
        sizes = tuple((b.dtype.code, b in written and (b.size, k.private.get(b, 0))) for b in self.buffers)
        prologue = tuple(map(self.node, k.prologue))
        phases = tuple(
            (
                tuple(map(self.node, p.row)), tuple(map(self.store, p.row_stores)), tuple(map(self.node, p.body)),
                tuple(map(self.store, p.stores)), tuple(map(self.node, p.reductions)),
            )
            for p in k.phases
        )
        unless = -1 if k.unless is None else self.numbers[k.unless]
        return k.outer, k.inner, k.block, k.chunks, sizes, prologue, phases, unless

    def node(self, node: Node) -> Hashable:
        number = self.numbers.setdefault(node, len(self.numbers))
        args = tuple(self.numbers.setdefault(a, len(self.numbers)) for a in node.args)
        # By their text: 0.0, -0.0 and False are equal otherwise.
        attrs = tuple((name, repr(value)) for name, value in node.attrs.items())
        loc = node.loc if node.op == "index" or node.dtype.is_integer else None
        return number, node.op, args, attrs, node.dtype.code, node.level, self.access(node.access), loc

    def store(self, store: Store) -> Hashable:
        number = self.numbers.setdefault(store.node, len(self.numbers))
        return number, self.access(store.access), store.combine, store.total

    def access(self, access: Access | None) -> Hashable:
        if access is None:
            return None
        if access.buffer is None:
            return -1, access.offset, access.strides
        return self.buffers[access.buffer], access.offset - self.bases.get(access.buffer, 0), access.strides
