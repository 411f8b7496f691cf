"""What to keep and what to compute again, chosen by a minimum cut.

`keep_or_recompute` answers the question that `residuals` asks, about numbers only: of a graph of values,
each with a price for keeping it and a price for computing it again from its operands, which are kept so
that all needed ones can be had at the least total price? `minimum_cut` is the max-flow below it.

As a cut: the source's side lies before the border (the forward function), the sink's side behind it. A
value is two nodes, `in` and `out`. The edge in -> out bears the price of keeping the value, source -> in
the price of computing it again; out -> in edges from its operands are infinite, for who computes it again
needs them; out -> sink is infinite where the value is needed.

The graph is made small first, by rules that leave the optimum unchanged (each is stated where it is
applied); what a program leaves after them is most often nothing. A graph library would do the rest, but
its import alone costs several times what a small function's whole first call may.

Invariants: prices are non-negative integers; operands come before their users. No recursion.
Imports: the standard library only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def minimum_cut(
    nodes: int, edges: Iterable[tuple[int, int, int]], source: int, sink: int
) -> tuple[int, list[bool]]:
    """The least capacity that parts `sink` from `source`, and for each node whether it is on the source's
    side. Of all least cuts it is the one nearest the source.

    Edges are (tail, head, capacity). Dinic's algorithm: flow is pushed along shortest ways, all of one
    length at a time, until there is none.
    """
    heads: list[int] = []
    capacity: list[int] = []
    leaving: list[list[int]] = [[] for _ in range(nodes)]
    for tail, head, c in edges:  # edge e has its reverse at e ^ 1
        leaving[tail].append(len(heads))
        leaving[head].append(len(heads) + 1)
        heads += (head, tail)
        capacity += (c, 0)
    flow = 0
    while True:
        level = _levels(heads, capacity, leaving, source)
        if level[sink] < 0:
            return flow, [at >= 0 for at in level]
        flow += _blocking_flow(heads, capacity, leaving, level, source, sink)


def _levels(heads: list[int], capacity: list[int], leaving: list[list[int]], source: int) -> list[int]:
    """How many edges with capacity left lead from the source to each node; -1 where none do."""
    level = [-1] * len(leaving)
    level[source] = 0
    queue = [source]
    for u in queue:  # grows while it is walked
        for e in leaving[u]:
            v = heads[e]
            if capacity[e] and level[v] < 0:
                level[v] = level[u] + 1
                queue.append(v)
    return level


def _blocking_flow(
    heads: list[int], capacity: list[int], leaving: list[list[int]], level: list[int], source: int, sink: int
) -> int:
    """Push what goes along ways that rise one level an edge, until each has a full edge."""
    flow, u = 0, source
    path: list[int] = []
    tried = [0] * len(leaving)  # the edges before this one lead nowhere any more
    while True:
        if u == sink:
            pushed = min(capacity[e] for e in path)
            flow += pushed
            for e in path:
                capacity[e] -= pushed
                capacity[e ^ 1] += pushed
            full = next(k for k, e in enumerate(path) if not capacity[e])
            u = heads[path[full] ^ 1]
            del path[full:]
        for k in range(tried[u], len(leaving[u])):
            e = leaving[u][k]
            if capacity[e] and level[heads[e]] == level[u] + 1:
                tried[u] = k
                path.append(e)
                u = heads[e]
                break
        else:
            if not path:
                return flow
            level[u] = -1
            u = heads[path.pop() ^ 1]


def keep_or_recompute(
    operands: Sequence[Collection[int]], keep: Sequence[int], work: Sequence[int | None],
    needed: Collection[int],
) -> tuple[int, set[int]]:
    """The least total price, and the values to keep for it.

    Value i costs `keep[i]` to keep, or `work[i]` to compute again once its `operands[i]` (all below i) are
    there; None: it cannot be computed again. What is not kept but needed is computed again.
    """
    graph = _Graph(operands, keep, work, needed)
    graph.walk_back()
    graph.settle()
    graph.contract()
    graph.cut()
    return graph.price, graph.kept


class _Graph:
    """The values that are not decided on yet: those in `inputs`, with the undecided operands of each.

    `needed` ones are needed in every solution. `work` is None where keeping is the only choice left.
    """

    def __init__(
        self, operands: Sequence[Collection[int]], keep: Sequence[int], work: Sequence[int | None],
        needed: Collection[int],
    ) -> None:
        self.operands, self.keep, self.work = [set(o) for o in operands], keep, list(work)
        self.needed = set(needed)
        self.price = 0
        self.kept: set[int] = set()
        self.inputs: dict[int, set[int]] = {}

    def _only_keep(self, v: int) -> bool:
        """Whether keeping `v` is never dearer than computing it again; then that is the only choice."""
        work = self.work[v]
        if work is not None and work >= self.keep[v]:
            self.work[v] = work = None
        return work is None

    def walk_back(self) -> None:
        """Find what may be asked for. Compute again, for sure, what is needed and no cheaper to keep than
        to compute from operands that are each had in the cheapest way known; they are needed then."""
        known: list[int] = []  # a price for which each value can be had, if nothing else is there
        for rest, keep, work in zip(self.operands, self.keep, self.work, strict=True):
            known.append(keep if work is None else min(keep, work + sum(known[o] for o in rest)))
        relevant = set(self.needed)
        for v in reversed(range(len(self.keep))):
            if v not in relevant or self._only_keep(v):
                continue
            work = self.work[v] or 0
            relevant |= self.operands[v]
            missing = self.operands[v] - self.needed
            if v in self.needed and work + sum(known[o] for o in missing) <= self.keep[v]:
                self.needed |= missing
        self.relevant = sorted(relevant)

    def settle(self) -> None:
        """Decide what can be decided value by value; leave the rest in `inputs`."""
        there = set(self.needed)  # at hand in every solution, or free to have
        for v in self.relevant:
            work = self.work[v]
            rest = set() if work is None else self.operands[v] - there
            if v in self.needed and not rest:
                if work is None:
                    self._keep(v)
                else:
                    self.price += work
            elif work == 0 and not rest:
                there.add(v)
            else:
                self.inputs[v] = rest

    def _keep(self, v: int) -> None:
        self.price += self.keep[v]
        self.kept.add(v)

    def contract(self) -> None:
        """Merge a value into its only user where keeping the user is no dearer: then the value is never
        kept, for who would keep it keeps the user instead."""
        users: dict[int, set[int]] = {v: set() for v in self.inputs}
        for v, rest in self.inputs.items():
            for o in rest:
                users[o].add(v)
        for v in sorted(self.inputs, reverse=True):
            if v in self.needed or len(users[v]) != 1:
                continue
            (user,) = users[v]
            if self.keep[v] < self.keep[user]:
                continue
            mine, theirs = self.work[v], self.work[user]
            self.work[user] = None if mine is None or theirs is None else mine + theirs
            rest = self.inputs.pop(v)
            for o in rest:
                users[o].discard(v)
            self.inputs[user].discard(v)
            if self._only_keep(user):
                for o in self.inputs[user]:
                    users[o].discard(user)
                self.inputs[user].clear()
            else:
                self.inputs[user] |= rest
                for o in rest:
                    users[o].add(user)

    def cut(self) -> None:
        """Decide the rest by a minimum cut."""
        source, sink, nodes = 0, 1, 2
        endless = 1 + sum(self.keep[v] + (self.work[v] or 0) for v in self.inputs)
        edges: list[tuple[int, int, int]] = []
        ways: dict[int, tuple[int, int]] = {}
        for v in sorted(self.inputs):
            rest, work = self.inputs[v], self.work[v]
            if v in self.needed:
                out = sink
            else:
                out, nodes = nodes, nodes + 1
            before, nodes = (source, nodes) if work is None else (nodes, nodes + 1)
            ways[v] = before, out
            edges.append((before, out, self.keep[v]))
            if work is not None:
                edges.append((source, before, work))
                edges.extend((ways[o][1], before, endless) for o in sorted(rest))
        if not edges:
            return
        flow, near = minimum_cut(nodes, edges, source, sink)
        self.price += flow
        self.kept.update(v for v, (before, out) in ways.items() if near[before] and not near[out])
