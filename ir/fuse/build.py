"""A group as a `LoopKernel`: nodes at the steps of one loop nest, in phases, with what leaves it.

The nest has the group's cuts as axes; operands become accesses with one stride an axis; inline producers are
expanded where they are read. Then axes merge where every access allows, nodes get their level (the loops they
depend on) and phase (how many row reductions stand before them), and each phase gets its body.

Keep or compute again: what a later phase needs of an earlier one is loaded from where it is stored anyway, or,
when computing it again costs more than `KEEP_COST`, from a scratch row in L1; else it is computed again.

Imports: `core`, `types`, `items`, `groups`, `kernel`, `views`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from ..core import Loc
from ..types import DType
from . import views
from .groups import Group, Grouping
from .items import Item, Ref, Root, cost, fails
from .kernel import ELEMENT, KERNEL, ROW, Access, Buffer, LoopKernel, Node, Phase, Store
from .views import View

KEEP_COST = 6.0
Strides = tuple[int, ...]
BufferOf = Callable[[Root], Buffer]


def build(
    group: Group, grouping: Grouping, buffer_of: BufferOf, external: set[Root], elided: Container[Item] = ()
) -> LoopKernel:
    """The kernel of `group` without its members in `elided`. `external`: roots that other kernels or the caller
    read."""
    return Builder(group, grouping, buffer_of, external).kernel(elided)


class Builder:
    """The nodes of a group's members, and what leaves them."""

    def __init__(self, group: Group, grouping: Grouping, buffer_of: BufferOf, external: set[Root]) -> None:
        self.group = group
        self.grouping = grouping
        self.buffer_of = buffer_of
        self.external = external
        self.sizes = views.sizes_between(group.cuts, group.size)
        self.n_outer = len(self.sizes)
        if group.inner:
            while math.prod(self.sizes[self.n_outer :]) < group.inner:
                self.n_outer -= 1
        self.nodes: list[Node] = []  # arguments first
        self.at: dict[tuple[Root, int, Strides], Node] = {}
        self.again: dict[tuple[Ref, int], Node] = {}  # inline roots
        self.body_stores: list[Store] = []
        self.row_stores: list[Store] = []
        self.reductions: list[Node] = []

    # Nodes.

    def node(
        self, op: str, args: Sequence[Node], attrs: Mapping[str, Any], dtype: DType,
        access: Access | None = None, loc: Loc | None = None,
    ) -> Node:
        made = Node(op, tuple(args), attrs, dtype, KERNEL, access=access, loc=loc)
        self.nodes.append(made)
        return made

    def natural(self, level: int) -> Strides:
        """The strides of what is made at `level`, step by step."""
        steps = views.strides_over(views.identity(self.group.size), self.sizes)
        assert steps is not None
        if level == ELEMENT:
            return steps
        return tuple(s // self.group.inner if i < self.n_outer else 0 for i, s in enumerate(steps))

    def strides(self, view: View, level: int) -> Strides:
        sizes = self.sizes if level == ELEMENT else self.sizes[: self.n_outer]
        found = views.strides_over(view, sizes)
        assert found is not None, "a group holds an operand that its loop nest cannot walk"
        return found + (0,) * (len(self.sizes) - len(sizes))

    def read(self, ref: Ref, level: int) -> Node:
        """What an operand is at each step of `level`."""
        root, view = ref
        if root.inline:
            return self.inlined(ref, level)
        key = (root, view.offset, self.strides(view, level))
        if key not in self.at:
            self.at[key] = self.node("load", (), {}, root.dtype, Access(self.buffer_of(root), *key[1:]))
        return self.at[key]

    def inlined(self, ref: Ref, level: int) -> Node:
        key = (ref, level)
        if key not in self.again:
            item = ref.root.item
            assert item is not None
            self.again[key] = self.expand(item, ref.view, level)
        return self.again[key]

    def expand(self, item: Item, view: View, level: int) -> Node:
        """An inline item computed here, its operands seen through `view`."""
        dtype = item.out.dtype
        if item.op == "const":
            return self.node("const", (), item.attrs, dtype)
        if item.op == "iota":
            return self.node("iota", (), {}, dtype, Access(None, view.offset, self.strides(view, level)))
        args = []
        for arg in item.args:
            composed = views.compose(arg.view, view)
            assert composed is not None
            args.append(self.read(Ref(arg.root, composed), level))
        return args[0] if item.op == "copy" else self.node(item.op, args, item.attrs, dtype, loc=item.loc)

    def map(self, item: Item, level: int) -> Node:
        if item.op in ("const", "iota"):
            return self.expand(item, views.identity(item.size), level)
        if item.op == "gather" and item.attrs["stride"]:
            base, place = item.args
            access = Access(self.buffer_of(base.root), base.view.offset, self.strides(base.view, level))
            attrs = {"strides": (item.attrs["stride"],)}
            return self.node("load", (self.read(place, level),), attrs, item.out.dtype, access, item.loc)
        args = [self.read(ref, level) for ref in item.args]
        if item.op == "copy":
            return args[0]
        if item.op == "gather":
            return self.node("first", args, {}, item.out.dtype)
        own = Access(None, 0, self.natural(level)) if item.op == "philox" else None
        return self.node(item.op, args, item.attrs, item.out.dtype, own, item.loc)

    # What leaves.

    def member(self, item: Item, level: int) -> None:
        if item.kind == "reduce":
            self.reduction(item, level)
            return
        node = self.map(item, level)
        stores = self.body_stores if level == ELEMENT else self.row_stores
        if item.window is not None:
            window = Access(self.buffer_of(item.out), item.window.offset, self.strides(item.window, level))
            stores.append(Store(node, window))
            return
        self.at[item.out, 0, self.natural(level)] = node
        if item.out in self.external:
            stores.append(Store(node, Access(self.buffer_of(item.out), 0, self.natural(level))))

    def reduction(self, item: Item, level: int) -> None:
        root, op = item.out, item.op
        node = self.read(item.args[0], level)
        if self.grouping.home[root][1] == ROW:
            row = self.row_reduction(node, op, root.dtype)
            self.at[root, 0, self.natural(ROW)] = row
            if root in self.external:
                self.row_stores.append(Store(row, Access(self.buffer_of(root), 0, self.natural(ROW))))
            return
        sizes = self.sizes if level == ELEMENT else self.sizes[: self.n_outer]
        flags = _flags(item.pattern, sizes)
        stores = self.body_stores if level == ELEMENT else self.row_stores
        if all(flags):
            zero = Access(self.buffer_of(root), 0, (0,) * len(self.sizes))
            stores.append(Store(node, zero, op, total=True))
            return
        if level == ELEMENT and flags[-1]:
            node = self.row_reduction(node, op, root.dtype)
            stores = self.row_stores
        strides, step = [0] * len(self.sizes), 1
        for i in reversed(range(len(sizes))):
            if not flags[i]:
                strides[i] = step
                step *= sizes[i]
        stores.append(Store(node, Access(self.buffer_of(root), 0, tuple(strides)), op))

    def row_reduction(self, node: Node, op: str, dtype: DType) -> Node:
        row = self.node("reduce", (node,), {"op": op}, dtype)
        self.reductions.append(row)
        return row

    # The kernel.

    def kernel(self, elided: Container[Item]) -> LoopKernel:
        for item, level in self.group.members:
            if item not in elided:
                self.member(item, level)
        self.drop_dead()
        outer, inner = self.collapse()
        self.place(len(outer))
        once = [n for n in self.nodes if n.level == KERNEL]
        return LoopKernel(outer, inner, once, self.phases(len(outer), inner))

    def drop_dead(self) -> None:
        live = {s.node for s in (*self.body_stores, *self.row_stores)}
        live |= {n for n in self.nodes if fails(n.op, n.dtype)}
        for node in reversed(self.nodes):
            if node in live:
                live.update(node.args)
        self.nodes = [n for n in self.nodes if n in live]
        self.reductions = [n for n in self.reductions if n in live]

    def collapse(self) -> tuple[Strides, Strides]:
        """Merge axes that every access walks as one; the sizes of the outer and of the inner axes."""
        stores = (*self.body_stores, *self.row_stores)
        holders: list[Node | Store] = [*(n for n in self.nodes if n.access is not None), *stores]
        vectors = {h.access.strides for h in holders if h.access is not None}
        sizes, boundary = self.sizes, self.n_outer if self.group.inner else -1
        runs: list[list[int]] = []
        for i in range(len(sizes)):
            joins = i > 0 and i != boundary and all(v[i - 1] == v[i] * sizes[i] for v in vectors)
            if joins:
                runs[-1].append(i)
            else:
                runs.append([i])
        for h in holders:
            access = h.access
            assert access is not None
            h.access = Access(access.buffer, access.offset, tuple(access.strides[r[-1]] for r in runs))
        merged = tuple(math.prod(sizes[i] for i in r) for r in runs)
        if not self.group.inner:
            return merged[:-1], merged[-1:]
        n_outer = sum(r[-1] < boundary for r in runs)
        return merged[:n_outer], merged[n_outer:]

    def place(self, n_outer: int) -> None:
        """Levels and phases."""
        for node in self.nodes:
            level = max((a.level for a in node.args), default=KERNEL)
            if node.access is not None:
                strides = node.access.strides
                level = max(level, ELEMENT if any(strides[n_outer:]) else ROW if any(strides) else KERNEL)
            node.phase = max((a.phase for a in node.args), default=0)
            if node.op == "reduce":
                level, node.phase = ROW, node.phase + 1
            node.level = level

    def phases(self, outer_rank: int, inner: Strides) -> list[Phase]:
        last = max((n.phase for n in self.nodes), default=0)
        out = [Phase() for _ in range(last + 1)]
        for node in self.nodes:
            if node.level == ROW and node.op != "reduce":
                out[node.phase].row.append(node)
            elif node.op == "reduce":
                out[node.args[0].phase].reductions.append(node)
        for store in self.row_stores:
            out[store.node.phase].row_stores.append(store)
        for store in self.body_stores:
            out[store.node.phase].stores.append(store)
        return _fill_bodies(self.nodes, out, outer_rank, inner)


def _flags(pattern: Sequence[tuple[int, bool]], sizes: Sequence[int]) -> list[bool]:
    """Whether each axis of `sizes`, of which every run of the pattern has some, is reduced."""
    out: list[bool] = []
    runs = list(pattern)
    left, reduced = runs.pop()
    for size in reversed(sizes):
        if left == 1:
            left, reduced = runs.pop()
        out.append(reduced)
        left //= size
    return out[::-1]


def _recompute_costs(nodes: Sequence[Node], stored: Mapping[Node, Access]) -> dict[Node, float]:
    """What each element node costs a later phase: its operations, or 1 where it would be kept."""
    costs: dict[Node, float] = {}
    for node in nodes:
        if node.level != ELEMENT:
            continue
        spent = 1.0 if node.op == "load" else 0.5 if node.op == "iota" else cost(node.op)
        spent += sum(costs.get(a, 0.0) for a in node.args)
        costs[node] = spent
        if _is_kept(node, spent, stored):
            costs[node] = 1.0
    return costs


def _is_kept(node: Node, spent: float, stored: Mapping[Node, Access]) -> bool:
    if node.op in ("load", "iota") and not node.args:
        return False
    return spent > (1.5 if node in stored else KEEP_COST)


def _fill_bodies(nodes: Sequence[Node], phases: list[Phase], outer_rank: int, inner: Strides) -> list[Phase]:
    """Give each phase the element nodes that its stores and reductions need."""
    stored: dict[Node, Access] = {}
    for phase in phases:
        for store in phase.stores:
            if not store.combine and store.node.level == ELEMENT:
                stored.setdefault(store.node, store.access)
    elements = [n for n in nodes if n.level == ELEMENT]
    spent: dict[Node, float] = {}
    costs = _recompute_costs(nodes, stored)
    for node in elements:
        own = 1.0 if node.op == "load" else cost(node.op)
        spent[node] = own + sum(costs.get(a, 0.0) for a in node.args)
    kept: dict[Node, Access] = {}
    copies: dict[Node, Node] = {}
    for number in reversed(range(len(phases))):
        phase = phases[number]
        needed = {s.node for s in phase.stores} | {r.args[0] for r in phase.reductions}
        needed |= {n for n in elements if n.phase == number and (n in kept or fails(n.op, n.dtype))}
        body: list[Node] = []
        replaced: dict[Node, Node] = {}
        for node in reversed(elements):
            if node not in needed:
                continue
            if node.phase < number and _is_kept(node, spent[node], stored):
                if node not in kept:
                    kept[node] = stored[node] if node in stored else _scratch(node, inner, outer_rank)
                again = Node("keep", (), {}, node.dtype, ELEMENT, number, kept[node])
                replaced[node] = again
                body.append(again)
            else:
                body.append(node)
                needed.update(node.args)
        phase.body = body[::-1]
        env = _substitute(phase, replaced)
        copies.update({node: env[node] for node in kept if node.phase == number and node in env})
    for node, access in kept.items():
        if node not in stored:
            phases[node.phase].stores.append(Store(copies.get(node, node), access))
    return phases


def _substitute(phase: Phase, replaced: Mapping[Node, Node]) -> dict[Node, Node]:
    """Let the phase's nodes read the kept copies. A node that other phases compute too is copied for it.
    Gives what stands in this phase for each node that was replaced or copied."""
    env = dict(replaced)
    if not replaced:
        return env
    body: list[Node] = []
    for node in phase.body:
        if node.op != "keep" and any(a in env for a in node.args):
            args = tuple(env.get(a, a) for a in node.args)
            fresh = Node(node.op, args, node.attrs, node.dtype, node.level, node.phase, node.access, node.loc)
            env[node] = fresh
            node = fresh
        body.append(node)
    phase.body = body
    for store in phase.stores:
        store.node = env.get(store.node, store.node)
    phase.reductions = list(phase.reductions)
    for reduction in phase.reductions:
        reduction.args = (env.get(reduction.args[0], reduction.args[0]),)
    return env


def _scratch(node: Node, inner: Strides, outer_rank: int) -> Access:
    size = math.prod(inner)
    strides = views.strides_over(views.identity(size), inner)
    assert strides is not None
    buffer = Buffer("scratch", node.dtype, size, ("temp", 0))
    return Access(buffer, 0, (0,) * outer_rank + strides)
