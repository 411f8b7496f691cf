"""Which items share a kernel: groups of items over one iteration, chosen greedily in program order.

A group is a future kernel: `size` steps, of which the last `inner` are a row once a reduction over rows is in
it. Its members are at one of two levels: ELEMENT (every step) or ROW (every row). An item joins the group of
its operands where each operand made there is read in place: the element at the same step, or the row's scalar.
What a reduction over rows gives is such a scalar; sums over other axes are whole only after the kernel. Groups
merge when an item reads from both, when they read the same, and when they are small. A contraction is a group by
itself; work on each element of its result joins it.

Cost model: joining a group saves the store and the loads of what is passed on, so it is done wherever allowed.
Cheap items made from memory alone are no members at all (`inline`). Row scalars are computed one at
a time, so a group takes no more of them than its rows are long (`_row_budget`).

Invariants: the graph of groups has no cycle; a group's `cuts` divide one another, so one loop nest has them.
Imports: `inline`, `items`, `pack`, `parts`, `prepare`, `reasons`, `transpose`, `unroll`, `views`, `kernel`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from . import reasons
from .inline import inline, leaves
from .items import TRAPS, Item, Ref, Root, cost, grouped
from .kernel import ELEMENT, ROW
from .pack import pack
from .parts import work_in_parts
from .prepare import Program
from .transpose import turn_crosswise
from .unroll import unroll
from .views import View, canonical, common_cuts, cuts_between

_APART = TRAPS | {"philox"}  # no part of a contraction
AFTER = -1  # the level of a result that is whole only after the kernel
SMALL = 64  # steps: of so short a kernel the call is what counts


@dataclass(eq=False, slots=True)
class Group:
    """`before`: groups that must run earlier, as a bit set; `bits`: this group's own."""

    bits: int
    size: int
    call: Item | None = None
    inner: int = 0  # steps in a row; 0 while no reduction has fixed it
    kept_runs: list[int] = field(default_factory=list)  # a row must divide these
    cuts: tuple[int, ...] = ()
    members: list[tuple[Item, int]] = field(default_factory=list)
    row_cost: float = 0.0
    before: int = 0
    followed: bool = False  # whether some group must run later
    edges: list[tuple[int, Ref]] = field(default_factory=list)  # (level, operand) from other loop groups
    reads: dict[Root, None] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.size // self.inner if self.inner else 1

    def items(self) -> list[Item]:
        return [*([] if self.call is None else [self.call]), *(i for i, _ in self.members)]


@dataclass(frozen=True, slots=True)
class Fit:
    """How an item would join a group: its level, and what becomes of the group's row and cuts."""

    level: int
    inner: int
    kept_runs: tuple[int, ...]
    cuts: tuple[int, ...]


def _row_budget(inner: int) -> float:
    return max(256.0, 2.0 * inner)


class Grouping:
    """Groups of a program's items; `home` says where each computed root is made and at which level."""

    def __init__(self, program: Program) -> None:
        work_in_parts(program)
        unroll(program)
        pack(program)
        inline(program)
        turn_crosswise(program)
        self.program = program
        self.groups: dict[int, Group] = {}
        self._next = 1
        self.home: dict[Root, tuple[Group, int]] = {}
        self.part_homes: dict[Root, list[Group]] = {}
        self._readers: dict[Root, list[Group]] = {}
        self._read: dict[Item, list[Ref]] = {}
        for item in self._needed():
            if item.kind == "call":
                self._place_call(item)
            else:
                self._place(item)
        self._merge_siblings()
        self._merge_into_rows()

    def _needed(self) -> list[Item]:
        """The needed items without what is only computed where it is read."""
        needed, stored = self.program.needed(), self.program.stored
        return [i for i in self.program.items if i in needed and (not i.out.inline or i.out in stored)]

    # The graph of groups.

    def _new_group(self, size: int) -> Group:
        group = Group(self._next, size)
        self.groups[self._next] = group
        self._next <<= 1
        return group

    def wait(self, group: Group, on: Iterable[Group]) -> None:
        """Let `group` run after all of `on`, none of which runs after it."""
        new = 0
        for other in on:
            new |= other.before | other.bits
            other.followed = True
        new &= ~group.before
        group.before |= new
        if new and group.followed:
            for other in self.groups.values():
                if other.before & group.bits:
                    other.before |= new

    def _one_between(self, a: Group, b: Group) -> bool:
        """Whether a group must run after one of two and before the other."""
        first, last = (b, a) if a.before & b.bits else (a, b)
        if not last.before & first.bits:
            return False
        left = last.before & ~first.before & ~first.bits
        while left:
            bits = left & -left
            if self.groups[bits].before & first.bits:
                return True
            left ^= bits
        return False

    def _sources(self, item: Item) -> dict[Group, list[Ref]]:
        """The groups that make what the item reads."""
        found: dict[Group, list[Ref]] = {}
        for ref in self._leaves(item):
            for group in self._makers(ref.root):
                found.setdefault(group, []).append(ref)
        return found

    def _leaves(self, item: Item) -> list[Ref]:
        """What the item reads, inline operands replaced by what they are computed from."""
        found = self._read.get(item)
        if found is None:
            found = self._read[item] = leaves(item.args)
        return found

    def _makers(self, root: Root) -> list[Group]:
        if root in self.home:
            return [self.home[root][0]]
        return self.part_homes.get(root, [])

    # Placing items.

    def _place_call(self, item: Item) -> None:
        group = self._new_group(0)
        group.call = item
        if item.op == "contract":
            group.size, group.cuts = item.out.size, cuts_between([n for group in grouped(item)[:3] for n in group])
        for source in self._sources(item):
            self.wait(group, [source])
        for root in item.outs:
            self.home[root] = (group, ELEMENT if item.op == "contract" else AFTER)

    def _place(self, item: Item) -> None:
        sources = self._sources(item)
        chosen: Group | None = None
        fit: Fit | None = None
        merged = False
        for group in self._candidates(item, sources):
            if chosen is None:
                fit = self._may_join(group, item, sources)
                chosen = None if fit is None else group
            elif group.bits in self.groups and self._merge(chosen, group):
                sources, merged = self._sources(item), True
                if self.groups.get(chosen.bits) is not chosen:
                    chosen = group
        if chosen is not None and merged:
            fit = self._may_join(chosen, item, sources)
        if chosen is None or fit is None:
            chosen = self._new_group(item.size)
            fit = self._fit(chosen, item)
        self._join(chosen, item, sources, fit)

    def _candidates(self, item: Item, sources: dict[Group, list[Ref]]) -> list[Group]:
        """Groups worth joining: those that make an operand, latest first, then those that read the same."""
        found = {g: None for g in sorted(sources, key=lambda g: -g.bits) if g.call is None or g.size}
        for root in _memory_read(self._leaves(item)):
            for group in self._readers.get(root, [])[-4:]:
                if group.bits in self.groups and group.size == item.size and group.call is None:
                    found.setdefault(group)
        return list(found)

    def _may_join(self, group: Group, item: Item, sources: dict[Group, list[Ref]]) -> Fit | None:
        if any(s is not group and s.before & group.bits for s in sources):
            return None
        return self._fit(group, item)

    def _fit(self, group: Group, item: Item) -> Fit | None:
        if group.call is not None and not _may_follow(group, item):
            return None
        if item.size == group.size:
            fit = self._fit_reduction(group, item) if item.kind == "reduce" else Fit(
                ELEMENT, group.inner, tuple(group.kept_runs), group.cuts
            )
            scale = 1
        elif group.inner and item.size == group.rows:
            if item.op in ("argmax", "argmin") or group.row_cost + cost(item.op) > _row_budget(group.inner):
                return None
            fit, scale = Fit(ROW, group.inner, tuple(group.kept_runs), group.cuts), group.inner
        else:
            return None
        if fit is None or not all(
            self._in_place(group, fit.level, ref, fit.inner)
            for ref in self._leaves(item) if any(g is group for g in self._makers(ref.root))
        ):
            return None
        cuts = common_cuts(fit.cuts, _item_cuts(item, self._leaves(item), scale))
        if group.call is not None and cuts != group.cuts:
            return None
        return Fit(fit.level, fit.inner, fit.kept_runs, cuts) if cuts is not None else None

    def _fit_reduction(self, group: Group, item: Item) -> Fit | None:
        pattern = item.pattern
        inner, kept = group.inner, list(group.kept_runs)
        row = _row_of(item)
        if row:
            if inner not in (0, row):
                return None
            inner = row
        if not pattern[-1][1]:
            kept.append(pattern[-1][0])
        if inner and any(run % inner for run in kept):
            return None
        cuts = common_cuts(group.cuts, [inner] if 1 < inner < group.size else [])
        return Fit(ELEMENT, inner, tuple(kept), cuts) if cuts is not None else None

    def _in_place(self, group: Group, level: int, ref: Ref, inner: int) -> bool:
        """Whether an operand made in `group` is read at the step, or the row, that makes it."""
        return in_place(level, self._level(ref.root), ref.view, group.size, inner)

    def _level(self, root: Root) -> int:
        """The level that a root is made at; one put together from parts is whole only after their kernels."""
        return self.home[root][1] if root in self.home else AFTER

    def _join(self, group: Group, item: Item, sources: dict[Group, list[Ref]], fit: Fit | None) -> None:
        if fit is None:
            # The operands' own views have no common loop nest: the widest is kept, the others are copied.
            item = self._untangle(item)
            sources = self._sources(item)
            fit = self._fit(group, item)
            assert fit is not None
        group.inner, group.kept_runs, group.cuts = fit.inner, list(fit.kept_runs), fit.cuts
        group.members.append((item, fit.level))
        if fit.level == ROW:
            group.row_cost += cost(item.op)
        for source, refs in sources.items():
            if source is not group:
                self.wait(group, [source])
                if source.call is None or source.size:
                    group.edges += [(fit.level, ref) for ref in refs]
        for root in _memory_read(self._leaves(item)):
            group.reads[root] = None
            self._readers.setdefault(root, []).append(group)
        self._set_home(group, item, fit.level)

    def _set_home(self, group: Group, item: Item, level: int) -> None:
        if item.window is not None:
            self.part_homes.setdefault(item.out, []).append(group)
            return
        if item.kind == "reduce":
            pattern = item.pattern
            by_row = level == ELEMENT and len(pattern) <= 2 and pattern[-1][1] and _row_of(item) > 0
            level = ROW if by_row else AFTER
        self.home[item.out] = (group, level)

    def _untangle(self, item: Item) -> Item:
        """The item with copies, made by items of their own, for operands whose cuts do not go together."""
        cuts: tuple[int, ...] = common_cuts(_pattern_cuts(item)) or ()
        if item.window is not None:
            cuts = tuple(item.window.cuts())
        args: list[Ref] = []
        for ref in item.args:
            both = common_cuts(cuts, *(leaf.view.cuts() for leaf in leaves([ref])))
            if both is None:
                copied = self.program.copy(ref)
                assert copied.root.item is not None
                self._place(copied.root.item)
                args.append(copied)
            else:
                cuts = both
                args.append(ref)
        item.args = tuple(args)
        self._read.pop(item, None)
        return item

    # Merging groups.

    def _merge(self, into: Group, other: Group) -> bool:
        """Make one group of two where that is allowed."""
        if into is other:
            return True
        into, other = _larger_first(into, other)
        joint = self.joint(into, other)
        if isinstance(joint, str):
            return False
        if joint.level == ELEMENT:
            self._absorb(into, other, other.members)
            into.row_cost += other.row_cost
        else:
            self._absorb(into, other, [(i, ROW) for i, _ in other.members])
            into.row_cost += sum(cost(i.op) for i, _ in other.members)
            for item, _ in other.members:
                if item.window is None and self.home[item.out][1] != AFTER:
                    self.home[item.out] = (into, ROW)
        into.inner, into.kept_runs, into.cuts = joint.inner, list(joint.kept_runs), joint.cuts
        return True

    def joint(self, a: Group, b: Group) -> Fit | str:
        """How two groups would be one, or why they cannot be (of `reasons`)."""
        into, other = _larger_first(a, b)
        if into.call is not None and other.call is not None:
            return reasons.FOLLOW
        if into.call is not None and any(other in self._makers(ref.root) for ref in leaves(into.call.args)):
            return reasons.PLACE  # a call's operands are whole before it begins
        if into.size != other.size:
            return self._joint_rows(into, other)
        if self._one_between(into, other):
            return reasons.BETWEEN
        if into.inner and other.inner and into.inner != other.inner:
            return reasons.ROWS
        inner = into.inner or other.inner
        kept = (*into.kept_runs, *other.kept_runs)
        cuts = common_cuts(into.cuts, other.cuts)
        if cuts is None or (into.call is not None and cuts != into.cuts):
            return reasons.CUTS
        if inner and any(run % inner for run in kept):
            return reasons.ROWS
        if not self._edges_in_place(into, other, inner):
            return reasons.PLACE
        if into.call is not None and not all(_may_follow(into, i) for i, _ in other.members):
            return reasons.FOLLOW
        return Fit(ELEMENT, inner, kept, cuts)

    def _joint_rows(self, into: Group, other: Group) -> Fit | str:
        """The same where elementwise work of `other` would be done over the rows of `into`, a scalar a row."""
        if not into.inner or other.size != into.rows or other.inner:
            return reasons.SIZES
        if self._one_between(into, other):
            return reasons.BETWEEN
        cuts = common_cuts(into.cuts, [c * into.inner for c in other.cuts])
        if cuts is None:
            return reasons.CUTS
        if into.row_cost + sum(cost(i.op) for i, _ in other.members) > _row_budget(into.inner):
            return reasons.BUDGET
        for level, ref in into.edges:
            if any(g is other for g in self._makers(ref.root)):
                made = AFTER if self._level(ref.root) == AFTER else ROW
                if not in_place(level, made, ref.view, into.size, into.inner):
                    return reasons.PLACE
        for _, ref in other.edges:
            if any(g is into for g in self._makers(ref.root)) and not self._in_place(into, ROW, ref, into.inner):
                return reasons.PLACE
        return Fit(ROW, into.inner, tuple(into.kept_runs), cuts)

    def _edges_in_place(self, a: Group, b: Group, inner: int) -> bool:
        for group, source in ((a, b), (b, a)):
            for level, ref in group.edges:
                if any(g is source for g in self._makers(ref.root)) and not self._in_place(
                    source, level, ref, inner
                ):
                    return False
        return True

    def _absorb(self, into: Group, other: Group, members: list[tuple[Item, int]]) -> None:
        into.members += members
        del self.groups[other.bits]
        for item, _ in other.members:
            if item.window is not None:
                homes = self.part_homes[item.out]
                homes[:] = [into if g is other else g for g in homes]
            else:
                self.home[item.out] = (into, self.home[item.out][1])
        both = into.bits | other.bits
        into.before = (into.before | other.before) & ~both
        into.followed = into.followed or other.followed
        if into.followed:
            for group in self.groups.values():
                if group is not into and group.before & both:
                    group.before = (group.before & ~other.bits) | into.bits | into.before
        into.edges += other.edges
        for root in other.reads:
            into.reads[root] = None
            self._readers[root] = [into if g is other else g for g in self._readers[root]]

    def _merge_siblings(self) -> None:
        """Merge groups over equal iterations that read the same, and any that are small."""
        readers = {root: list(groups) for root, groups in self._readers.items()}
        small: dict[int, list[Group]] = {}
        for group in self.groups.values():
            for _, ref in group.edges:
                readers.setdefault(ref.root, []).append(group)
            if group.call is None and group.size <= SMALL:
                small.setdefault(group.size, []).append(group)
        for alike in [*readers.values(), *small.values()]:
            latest: dict[int, Group] = {}  # by size
            for group in list(dict.fromkeys(alike)):
                if group.bits not in self.groups or group.call is not None:
                    continue
                last = latest.get(group.size)
                if last is None or last.bits not in self.groups or not self._merge(last, group):
                    latest[group.size] = group

    def _merge_into_rows(self) -> None:
        """Move short work over rows (a checked index, a scale) into the row programs that read it."""
        for group in list(self.groups.values()):
            if group.bits not in self.groups or not group.inner:
                continue
            for source in list(dict.fromkeys(g for _, ref in group.edges for g in self._makers(ref.root))):
                spent = sum(cost(i.op) for i, _ in source.members)
                if source.size == group.rows and spent <= max(8.0, group.inner / 8):
                    self._merge(group, source)

    # The result.

    def ordered(self) -> list[Group]:
        """The groups in an order that respects what each reads; members in program order."""
        for group in self.groups.values():
            group.members.sort(key=lambda m: m[0].order)
        done = 0
        left = sorted(self.groups.values(), key=_first)
        alive = 0
        for group in left:
            alive |= group.bits
        out: list[Group] = []
        while left:
            later: list[Group] = []
            for group in left:
                if group.before & alive & ~done:
                    later.append(group)
                else:
                    done |= group.bits
                    out.append(group)
            assert len(later) < len(left), "groups wait for each other"
            left = later
        return out


def _larger_first(a: Group, b: Group) -> tuple[Group, Group]:
    """The group that takes the other in: the one with a call, or that whose rows are the other's steps."""
    if a.call is not None:
        return a, b
    turned = b.call is not None or (a.size != b.size and b.inner and a.size == b.rows)
    return (b, a) if turned else (a, b)


def _first(group: Group) -> int:
    return group.call.order if group.call is not None else min(i.order for i, _ in group.members)


def in_place(level: int, made: int, view: View, size: int, inner: int) -> bool:
    """Whether an item at `level` reads the element, or the row scalar, that its own step makes."""
    if made == AFTER:
        return False
    if level == made:
        return view.is_identity() and view.size == (size if level == ELEMENT else size // (inner or 1))
    if level == ELEMENT and made == ROW and inner:
        return view == canonical(0, ((size // inner, 1), (inner, 0)))
    return False


def _may_follow(group: Group, item: Item) -> bool:
    """Whether an item is work on each element of a contraction's result, and cannot fail."""
    return item.kind == "map" and item.size == group.size and item.op not in _APART


def _row_of(item: Item) -> int:
    """The length of the row that a reduction works on; 0 where any will do."""
    pattern = item.pattern
    if pattern[-1][1] and (len(pattern) > 1 or item.op in ("argmax", "argmin")):
        return pattern[-1][0]
    return 0


def _pattern_cuts(item: Item) -> list[int]:
    cuts, step = [], 1
    for n, _ in reversed(item.pattern[1:]):
        step *= n
        cuts.append(step)
    return cuts


def _item_cuts(item: Item, reads: Iterable[Ref], scale: int) -> list[int]:
    cuts = _pattern_cuts(item)
    for ref in reads:
        cuts += ref.view.cuts()
    if item.window is not None:
        cuts += item.window.cuts()
    return [c * scale for c in cuts]


def _memory_read(reads: Iterable[Ref]) -> list[Root]:
    """Memory from outside the loop groups among what an item reads."""
    return [r.root for r in reads if r.root.is_memory or r.root.writers or _from_call(r.root)]


def _from_call(root: Root) -> bool:
    return root.item is not None and root.item.kind == "call"
