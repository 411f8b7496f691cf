"""Cheap producers are computed again where they are read, instead of being stored.

A root is inline where it is a constant, or made by few cheap operations (`MAX_COST`) from memory alone
(parameters, constants, results of calls), at most `MAX_LOADS` arrays of its own size. Computing it again costs
less than the store and the load that it saves, and it fuses with any reader, through any view. What alone reads a
contraction's result, element by element, is none of it: it is done where the result is made, which then is not stored.

Invariant after `inline`: every operand that is an inline root can be composed with its view, and the views
that result have common cuts; where that fails the operand is a stored copy instead.

Imports: `items`, `views`, `prepare`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from . import views
from .items import TRAPS, Item, Ref, Root, cost
from .prepare import Program
from .views import View

MAX_COST = 6.0
MAX_LOADS = 3


def inline(program: Program) -> None:
    """Mark the inline roots of `program` and note their leaves."""
    costs: dict[Root, tuple[float, int]] = {}
    readers = Counter(root for item in program.items for root in {ref.root for ref in item.args})
    original, program.items = program.items, []
    for item in original:
        item.args = tuple(_reachable(program, ref) for ref in item.args)
        item.order = len(program.items)
        program.items.append(item)
        if item.kind == "map" and item.window is None:
            _decide(program, item, costs, readers)


def _decide(
    program: Program, item: Item, costs: dict[Root, tuple[float, int]], readers: Mapping[Root, int]
) -> None:
    root = item.out
    if item.op in ("const", "iota"):
        root.inline = True
        root.leaves = (Ref(root, views.identity(root.size)),) if item.op == "iota" else ()
        costs[root] = (0.0, 0)
        return
    if item.op in TRAPS or item.op == "philox" or root in program.stored:
        return
    total, loads = cost(item.op), 0
    for made, view in item.args:
        if made.inline:
            spent, read = costs[made]
            total, loads = total + spent, loads + read
        elif made.is_memory or made.writers or (made.item is not None and made.item.kind == "call"):
            loads += view.size * 16 > item.size
        else:
            total = math.inf
    found = leaves(item.args)
    if any(_is_product(made) and readers[made] == 1 and _in_order(view, item) for made, view in item.args):
        return
    if total <= MAX_COST and loads <= MAX_LOADS and views.common_cuts(*(r.view.cuts() for r in found)) is not None:
        root.inline, root.leaves = True, tuple(found)
        costs[root] = (total, loads)


def _is_product(root: Root) -> bool:
    return root.item is not None and root.item.op == "contract"


def _in_order(view: View, item: Item) -> bool:
    return view.is_identity() and view.size == item.size


def _reachable(program: Program, ref: Ref) -> Ref:
    root, view = ref
    if not root.inline:
        return ref
    composed = [views.compose(leaf.view, view) for leaf in root.leaves]
    found = [v for v in composed if v is not None]
    if len(found) == len(composed) and views.common_cuts(*(v.cuts() for v in found)) is not None:
        return ref
    return Ref(program.copy(Ref(root, views.identity(root.size))).root, view)


def leaves(refs: Iterable[Ref]) -> list[Ref]:
    """`refs` with each inline root replaced by what it is computed from, through the same view."""
    out: list[Ref] = []
    for root, view in refs:
        if not root.inline:
            out.append(Ref(root, view))
            continue
        for leaf in root.leaves:
            composed = views.compose(leaf.view, view)
            assert composed is not None, "inline() left an operand that cannot be reached"
            out.append(Ref(leaf.root, composed))
    return out
