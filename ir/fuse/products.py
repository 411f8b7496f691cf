"""A contraction's group as a kernel: its axes in groups, as few of them as all operands allow, and what follows it.

A batch axis along which one operand stays where it is belongs to the rows (or columns) of the other, so that
`x[b, t, :] @ w` is one product of b * t rows. The group's members become the nodes that finish an element.

Imports: `build`, `groups`, `items`, `kernel`, `views`.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from itertools import pairwise

from . import views
from .build import BufferOf, Builder
from .groups import Group, Grouping
from .items import Item, Root, grouped
from .kernel import ELEMENT, Access, Buffer, Contraction, Node, Store

BLOCK = 512  # terms summed in registers: more make a float32 sum less accurate, fewer cost traffic
FEW = 3  # rows: tiles that have so many can have several steps of the axis before

Strides = tuple[int, ...]


def contraction(
    group: Group, grouping: Grouping, buffer_of: BufferOf, external: set[Root], elided: Container[Item] = ()
) -> Contraction:
    """The kernel of `group` without its members in `elided`. `external`: roots that other kernels or the caller
    read."""
    return _Builder(group, grouping, buffer_of, external).contraction(elided)


class _Builder(Builder):
    def contraction(self, elided: Container[Item]) -> Contraction:
        item = self.group.call
        assert item is not None
        product = self.product(item)
        for member, level in self.group.members:
            if member not in elided:
                self.member(member, level)
        self.drop_dead()
        for node in self.nodes:
            node.level = ELEMENT
        body = [n for n in self.nodes if n is not product]
        operands = self.operands(item)
        held: list[Node | Store] = [*(n for n in body if n.access is not None), *self.body_stores]
        sizes, order = self.axes(item, operands)
        accesses = [*operands, *(_over(h.access, len(order[-1])) for h in held)]
        groups, (left, right, *others) = _merged(sizes, order, accesses)
        for holder, access in zip(held, others, strict=True):
            holder.access = access
        kernel = Contraction(*groups, left, right, product, body, self.body_stores)
        _block(kernel)
        return kernel

    def product(self, item: Item) -> Node:
        product = self.node("product", (), {}, item.out.dtype, loc=item.loc)
        self.at[item.out, 0, self.natural(ELEMENT)] = product
        if item.out in self.external:
            self.body_stores.append(Store(product, Access(self.buffer_of(item.out), 0, self.natural(ELEMENT))))
        return product

    def operands(self, item: Item) -> list[Access]:
        """The operands over the axes of the result and those of the terms, without axes of size 1."""
        batch, rows, columns, terms = result = grouped(item)
        wanted = [n > 1 for group in result for n in group]
        if not any(wanted[-len(terms) :]):
            wanted[-1] = True
        out = []
        for left, (root, view), shape in zip((True, False), item.args, item.shapes, strict=True):
            strides = views.strides_over(view, shape)
            assert strides is not None
            first, rest = strides[: len(batch)], strides[len(batch) :]
            if left:
                mine = (*rest[: len(rows)], *(0 for _ in columns), *rest[len(rows) :])
            else:
                mine = (*(0 for _ in rows), *rest[len(terms) :], *rest[: len(terms)])
            kept = tuple(s for s, want in zip((*first, *mine), wanted, strict=True) if want)
            out.append(Access(self.buffer_of(root), view.offset, kept))
        return out

    def axes(self, item: Item, operands: Sequence[Access]) -> tuple[Strides, list[list[int]]]:
        """The sizes of all axes, and which of them are batch, rows, columns and terms."""
        batch, rows, columns, terms = (tuple(n for n in group if n > 1) for group in grouped(item))
        sizes = (*batch, *rows, *columns, *(terms or (1,)))
        bounds = [0, len(batch), len(batch) + len(rows), len(self.sizes), len(sizes)]
        assert min(len(rows), len(columns)) and sizes[: len(self.sizes)] == self.sizes
        order = [list(range(lo, hi)) for lo, hi in pairwise(bounds)]
        for i in order[0][:]:
            by_left, by_right = (a.strides[i] != 0 for a in operands)
            if by_left != by_right:
                order[0].remove(i)
                order[1 if by_left else 2].append(i)
        return sizes, [sorted(group) for group in order]


def _over(access: Access | None, more: int) -> Access:
    """`access` over further axes, along which it stays."""
    assert access is not None
    return Access(access.buffer, access.offset, access.strides + (0,) * more)


def _merged(
    sizes: Sequence[int], order: Iterable[list[int]], accesses: Sequence[Access]
) -> tuple[tuple[Strides, Strides, Strides, Strides], list[Access]]:
    """The sizes of the axes group by group, and the accesses over them; neighbours in a group are one axis where
    every access walks them as one. Where the last of the rows, which the tiles have, is very short, the longest is."""
    vectors = {a.strides for a in accesses}
    runs: list[list[int]] = []
    groups: list[Strides] = []
    for number, group in enumerate(order):
        mine: list[list[int]] = []
        for i in group:
            if mine and all(v[mine[-1][-1]] == v[i] * sizes[i] for v in vectors):
                mine[-1].append(i)
            else:
                mine.append([i])
        if number == 1 and mine and math.prod(sizes[i] for i in mine[-1]) < FEW:
            mine.sort(key=lambda run: math.prod(sizes[i] for i in run))
        groups.append(tuple(math.prod(sizes[i] for i in run) for run in mine))
        runs += mine
    moved = [Access(a.buffer, a.offset, tuple(a.strides[run[-1]] for run in runs)) for a in accesses]
    batch, rows, columns, terms = groups
    return (batch, rows, columns, terms), moved


def _block(kernel: Contraction) -> None:
    """Cut a long sum into blocks of about equal length, gathered where a result is stored that nothing reads
    before, or else in memory of their own."""
    n = kernel.terms[0]
    blocks = -(-math.prod(kernel.terms) // BLOCK)
    kernel.block = -(-n // min(blocks, n))
    if kernel.block == n:
        return
    read = kernel.reads()
    dtype = kernel.product.dtype
    for store in kernel.stores:
        buffer = store.access.buffer
        if store.node.dtype is dtype and buffer not in read and buffer is not None:
            kernel.partial = store.access
            return
    sizes = kernel.batch + kernel.rows + kernel.columns
    steps = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    own = Buffer("partial", dtype, math.prod(sizes), ("temp", 0))
    kernel.partial = Access(own, 0, (*steps, *(0 for _ in kernel.terms)))
