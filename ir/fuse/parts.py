"""Elementwise work on arrays that are put together from parts is done part by part.

The gradient of a stencil is a sum of cotangents, each padded with zeros to the size of what was sliced. Made whole,
each is an array that is written and read again. Instead, the space is cut where the parts begin and end; in each
piece the operands are what their parts are there (of a select that chooses one for the whole piece, that alone), and
what results writes its window: the interior in one kernel, the edges in small ones.

A part that lies shifted against another is read at another step than the one that makes it. It is stored by a
kernel before, or computed again where it is read.

A sum of all elements of a line that is a little longer than the largest piece, computed from the same memory, is cut
to its length: so they share a kernel, and what both compute.

Cost model, in additions a step: `STORED` for an array that is written, and read by another kernel; to compute a
part again, its operations and the distinct loads of what it is computed from, for each shift. The work is done part
by part where that costs less than to store the arrays that were put together, and makes at most `MOST` pieces, of
`LEAST` elements in the mean.

Imports: `items`, `prepare`, `views`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from . import views
from .items import JOIN, TRAPS, Item, Ref, Root, cost
from .prepare import Program
from .views import View

STORED = 16.0
MOST = 32  # pieces
LEAST = 256  # elements
LARGEST = 64  # items done part by part together
LONGER = 64  # of a line that is cut, the part that is cut off is at most one of so many


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What `item` computes, its operands replaced by `args`."""

    item: Item
    args: tuple[Work | Ref, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """A root in pieces, each with its window. `items` make it as a whole, from `assembled` roots."""

    pieces: list[tuple[View, Work | Ref]]
    items: list[Item]
    assembled: list[Root]


def work_in_parts(program: Program) -> None:
    """Let maps of roots that are put together write their results part by part."""
    if any(item.window is not None for item in program.items):
        _Parts(program).run()


class _Parts:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.readers = _readers(program.items)
        self.open: dict[Root, Whole] = {}  # not written yet
        self.lines: dict[int, set[Ref]] = {}  # what the largest pieces read, by their lengths
        self.done: dict[Ref, Ref] = {}  # what was computed again

    def run(self) -> None:
        original, self.program.items = self.program.items, []
        for item in original:
            if item.window is not None:
                self._part(item)
                continue
            whole = self._in_pieces(item)
            for root in dict.fromkeys(ref.root for ref in item.args):
                if whole is not None and self._may_join(root, item):
                    del self.open[root]
                else:
                    self._close(root)
            if whole is None:
                self._add(item)
            else:
                self.open[item.out] = whole
        for root in list(self.open):
            self._close(root)
        if self.lines:
            self._cut_totals()

    def _add(self, item: Item) -> None:
        item.order = len(self.program.items)
        self.program.items.append(item)

    def _part(self, item: Item) -> None:
        """A part of a root: kept until all of them are known and something reads the root."""
        assert item.window is not None
        for ref in item.args:
            self._close(ref.root)
        whole = self.open.setdefault(item.out, Whole([], [], [item.out]))
        whole.pieces.append((item.window, item.args[0]))
        whole.items.append(item)

    # What is done in pieces.

    def _in_pieces(self, item: Item) -> Whole | None:
        """The pieces of what `item` makes, where an operand is in pieces that nothing else reads."""
        if item.kind != "map" or item.op in TRAPS or item.op == "philox":
            return None
        parts = [self.open[ref.root] if self._may_join(ref.root, item) else None for ref in item.args]
        found = list({id(p): p for p in parts if p is not None}.values())
        if not found or sum(len(p.items) for p in found) >= LARGEST:
            return None
        cells = _cells(item.size, found)
        if cells is None or len(cells) > MOST or item.size < LEAST * len(cells):
            return None
        pieces: list[tuple[View, Work | Ref]] = []
        for window, inside in cells:
            args = [_seen(ref, window) if p is None else inside[id(p)] for ref, p in zip(item.args, parts, strict=True)]
            if any(a is None for a in args):
                return None
            pieces.append((window, Work(item, tuple(a for a in args if a is not None))))
        return Whole(pieces, [*(i for p in found for i in p.items), item], [r for p in found for r in p.assembled])

    def _may_join(self, root: Root, item: Item) -> bool:
        """Whether `root` is in pieces, and `item` alone reads it, each element at its own step."""
        alone = root in self.open and root.place is None and self.readers[root] == [item]
        return alone and all(_is_whole(ref) for ref in item.args if ref.root is root)

    # What is written.

    def _close(self, root: Root) -> None:
        """Write what makes `root`, if it was not written yet."""
        whole = self.open.pop(root, None)
        if whole is None:
            return
        again = self._computed_again(whole) if root not in whole.assembled else None
        if again is None:
            for item in sorted(whole.items, key=lambda i: i.order):
                self._add(item)
            return
        self.program.stored -= set(whole.assembled)
        self.program.stored.add(root)
        root.item = None
        writer = _Writer(self.program, again, self.done)
        for window, work in whole.pieces:
            ref = writer.ref(work)
            copy = Item("map", "copy", (ref,), {}, (root,), ref.view.size, whole.items[-1].loc, window=window)
            root.writers.append(copy)
            self._add(copy)
        largest = max(root.writers, key=lambda item: item.size)
        self.lines.setdefault(largest.size, set()).update(_memory_of(largest.args[0]))

    def _computed_again(self, whole: Whole) -> set[Root] | None:
        """The roots that the pieces compute again; None where it costs least to put the roots together."""
        _, largest = max(whole.pieces, key=lambda p: p[0].size)
        shifts: dict[Root, set[View]] = defaultdict(set)
        for ref in _leaves(largest):
            if _is_computed(ref.root) and not _is_whole(ref):
                shifts[ref.root].add(ref.view)
        again: set[Root] = set()
        spent = 0.0
        for root, seen in shifts.items():
            work = len(seen) * _work(root)
            if work <= STORED:
                again.add(root)
            spent += min(work, STORED)
        return again if spent <= STORED * len(whole.assembled) else None


    # Totals of lines that are a little longer than a piece.

    def _cut_totals(self) -> None:
        live = self.program.needed()
        self.readers = _readers(live)
        original, self.program.items = self.program.items, []
        for item in original:
            cut = self._cut(item) if item in live else None
            if cut is not None:
                self._write_cut(item, *cut)
            self._add(item)

    def _cut(self, item: Item) -> tuple[int, int] | None:
        """Where in the line that `item` reduces a piece begins, and its length."""
        if item.kind != "reduce" or item.op not in JOIN or len(item.pattern) > 1 or not self._is_cheap(item):
            return None
        read = _memory_of(item.args[0])
        for length, others in self.lines.items():
            spare = item.size - length
            if 0 < spare * LONGER <= length and all(map(_is_line, read)):
                starts = [_shift(r, o) for r in read for o in others if r.root is o.root and _is_line(o)]
                fits = sorted(s for s in starts if 0 <= s <= spare)
                if fits:
                    return max(fits, key=fits.count), length
        return None

    def _is_cheap(self, total: Item) -> bool:
        """Whether what the total is computed from is cheap, and nothing else reads it."""
        (ref,) = total.args
        if not _is_computed(ref.root) or not _is_whole(ref) or _work(ref.root) > STORED:
            return False
        todo, cone = [ref.root], {total}
        while todo:
            item = todo.pop().item
            if item is not None and _may_move(item) and item not in cone:
                cone.add(item)
                todo += [arg.root for arg in item.args]
        made = [item.out for item in cone if item is not total]
        return not any(root in self.program.stored or not cone.issuperset(self.readers[root]) for root in made)

    def _write_cut(self, item: Item, start: int, length: int) -> None:
        """Make `item` the join of what is reduced before the piece, at it, and behind it."""
        (ref,) = item.args
        writer = _Writer(self.program, {ref.root}, self.done)
        parts: list[Ref] = []
        for begin, end in ((0, start), (start, start + length), (start + length, item.size)):
            if begin < end:
                part = writer.ref(Ref(ref.root, views.canonical(begin, [(end - begin, 1)])))
                parts.append(self.program.reduce(item.op, part, [(end - begin, True)], item.out.dtype))
        while len(parts) > 2:
            parts[:2] = [self.program.map(JOIN[item.op], parts[:2], item.out.dtype, 1)]
        item.kind, item.op, item.args, item.size, item.pattern = "map", JOIN[item.op], tuple(parts), 1, ()


class _Writer:
    """Writes items for work; the operands in `again` are computed where they are read."""

    def __init__(self, program: Program, again: set[Root], done: dict[Ref, Ref]) -> None:
        self.program = program
        self.again = again
        self.done = done
        self.made: dict[Work, Ref] = {}

    def ref(self, work: Work | Ref) -> Ref:
        if isinstance(work, Ref):
            return self._read(work, work.root in self.again)
        if work.item.op == "select" and (holds := _constant(work.args[0])) is not None:
            return self.ref(work.args[1 if holds else 2])
        if work not in self.made:
            self.made[work] = self._map(work.item, [self.ref(arg) for arg in work.args])
        return self.made[work]

    def _read(self, ref: Ref, again: bool) -> Ref:
        item = ref.root.item
        if not again or item is None or not _may_move(item) or _is_whole(ref):
            return ref
        if ref not in self.done:
            args = [_seen(arg, ref.view) for arg in item.args]
            found = [self._read(arg, True) for arg in args if arg is not None]
            self.done[ref] = self._map(item, found) if len(found) == len(args) else ref
        return self.done[ref]

    def _map(self, item: Item, args: Sequence[Ref]) -> Ref:
        size = args[0].view.size
        made = self.program.map(item.op, args, item.out.dtype, size, **item.attrs)
        assert made.root.item is not None
        made.root.item.loc = item.loc
        return made


def _readers(items: Iterable[Item]) -> dict[Root, list[Item]]:
    found: dict[Root, list[Item]] = defaultdict(list)
    for item in items:
        for root in dict.fromkeys(ref.root for ref in item.args):
            found[root].append(item)
    return found


def _is_whole(ref: Ref) -> bool:
    """Whether step i of the operand is element i of its root."""
    return ref.view.is_identity() and ref.view.size == ref.root.size


def _constant(work: Work | Ref) -> bool | None:
    """The truth value that `work` is everywhere, if it is one."""
    item = work.root.item if isinstance(work, Ref) else None
    return bool(item.attrs["value"]) if item is not None and item.op == "const" else None


def _seen(ref: Ref, through: View) -> Ref | None:
    view = views.compose(ref.view, through)
    return None if view is None else Ref(ref.root, view)


def _may_move(item: Item) -> bool:
    """Whether any elements of what the item makes can be computed again."""
    return item.kind == "map" and bool(item.args) and item.op not in TRAPS and item.op != "philox"


def _is_computed(root: Root) -> bool:
    return root.item is not None and _may_move(root.item)


def _leaves(work: Work | Ref) -> Iterator[Ref]:
    """The operands that the work reads, each once."""
    todo, met = [work], set()
    while todo:
        at = todo.pop()
        if at in met:
            continue
        met.add(at)
        if isinstance(at, Ref):
            yield at
        else:
            todo += at.args


def _memory_of(ref: Ref) -> set[Ref]:
    """What an element is computed from, through all that can be computed again; nothing where that is much."""
    todo = [ref]
    met: set[Ref] = set()
    found: set[Ref] = set()
    while todo:
        if len(met) > LARGEST:
            return set()
        at = todo.pop()
        if at in met:
            continue
        met.add(at)
        item = at.root.item
        if item is None or not _may_move(item):
            found.add(at)
            continue
        args = [_seen(arg, at.view) for arg in item.args]
        todo += [a for a in args if a is not None]
    return {at for at in found if at.root.item is None or at.root.item.op != "const"}


def _is_line(ref: Ref) -> bool:
    """Whether memory is walked element by element, or not at all."""
    return len(ref.view.axes) <= 1 and all(s in (0, 1) for _, s in ref.view.axes)


def _shift(line: Ref, other: Ref) -> int:
    """How far into `line` the other begins; -1 where one of them does not move."""
    moves = line.view.axes[-1:] + other.view.axes[-1:]
    return other.view.offset - line.view.offset if all(s for _, s in moves) else -1


def _work(root: Root) -> float:
    """What it costs to compute an element of `root` from memory; more than `STORED` is not told apart."""
    todo, met, spent = [Ref(root, views.identity(root.size))], set(), 0.0
    while todo and spent <= STORED:
        ref = todo.pop()
        if ref in met:
            continue
        met.add(ref)
        item = ref.root.item
        if item is None or not _may_move(item):
            spent += 0.0 if item is not None and item.op in ("const", "iota") else 1.0
            continue
        spent += cost(item.op)
        args = [_seen(arg, ref.view) for arg in item.args]
        if any(a is None for a in args):
            return math.inf
        todo += [a for a in args if a is not None]
    return spent


# Boxes: begin and end along each axis of the space that the windows divide.

Box = tuple[tuple[int, int], ...]
Inside = dict[int, "Work | Ref"]  # by the identity of the whole


def _cells(size: int, wholes: Sequence[Whole]) -> list[tuple[View, Inside]] | None:
    """The boxes in which each of `wholes` has one piece: their windows, and what the pieces are there."""
    shape = _shape(size, [window for whole in wholes for window, _ in whole.pieces])
    if shape is None:
        return None
    cells: list[tuple[Box, Inside]] = [(tuple((0, n) for n in shape), {})]
    for whole in wholes:
        finer: list[tuple[Box, Inside]] = []
        for window, work in whole.pieces:
            own = _box(window, shape)
            if own is None:
                return None
            for box, inside in cells:
                both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, own, strict=True))
                if any(a >= b for a, b in both):
                    continue
                within = {k: _restricted(w, _steps(both, box), _volume(box)) for k, w in inside.items()}
                within[id(whole)] = _restricted(work, _steps(both, own), _volume(own))
                found = {k: w for k, w in within.items() if w is not None}
                if len(found) < len(within):
                    return None
                finer.append((both, found))
        cells = finer
        if len(cells) > MOST * 4:
            return None
    everything: Box = tuple((0, n) for n in shape)
    return [(_steps(box, everything), inside) for box, inside in cells]


def _shape(size: int, windows: Sequence[View]) -> tuple[int, ...] | None:
    """The axes whose steps the windows walk along."""
    weights = sorted({1, *(s for window in windows for _, s in window.axes)})
    if weights[0] < 1 or any(b % a for a, b in pairwise([*weights, size])):
        return None
    return tuple(b // a for a, b in pairwise([*weights, size]))[::-1]


def _box(window: View, shape: Sequence[int]) -> Box | None:
    """The window as a box, if it is one whose steps are in order."""
    box: list[tuple[int, int]] = []
    left, offset, weight = list(window.axes), window.offset, 1
    for n in reversed(shape):
        start, offset = offset % n, offset // n
        count = 1
        if left and left[-1][1] == weight:
            count = left.pop()[0]
            if count > n - start:
                if start or count % n:
                    return None
                left.append((count // n, weight * n))
                count = n
        box.append((start, start + count))
        weight *= n
    return tuple(box[::-1]) if not left else None


def _volume(box: Box) -> int:
    return math.prod(b - a for a, b in box)


def _steps(box: Box, outer: Box) -> View:
    """The steps of `outer` that are in `box`."""
    extents = tuple(b - a for a, b in outer)
    start = tuple(a - lo for (a, _), (lo, _) in zip(box, outer, strict=True))
    stop = tuple(b - lo for (_, b), (lo, _) in zip(box, outer, strict=True))
    view = views.slice_(views.identity(math.prod(extents)), extents, start, stop, (1,) * len(extents))
    assert view is not None
    return view


def _restricted(work: Work | Ref, inner: View, size: int) -> Work | Ref | None:
    """The work, of `size` steps, at the steps `inner` of its own."""
    if inner.is_identity() and inner.size == size:
        return work
    done: dict[Work | Ref, Work | Ref | None] = {}

    def at(part: Work | Ref) -> Work | Ref | None:
        if part not in done:
            if isinstance(part, Ref):
                done[part] = _seen(part, inner)
            else:
                args = [at(arg) for arg in part.args]
                found = tuple(a for a in args if a is not None)
                done[part] = Work(part.item, found) if len(found) == len(args) else None
        return done[part]

    return at(work)
