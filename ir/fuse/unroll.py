"""Short axes that are summed away are unrolled, so that the long ones are left for the vectors.

Points of three coordinates, colours of four channels: a row of so few elements fills no vector, and what a sum over
it gives is a scalar a row. Where a reduction runs over a short axis of many rows, every item over that iteration
becomes one item for each place on the axis, and the reduction becomes additions in a fixed tree. What remains are
items over the long axes alone, which share kernels as any others do: distances of all pairs are elementwise over
the pairs, their sums over either point reductions of rows and of columns.

Roots that something else reads whole are put together from their parts, each of which writes its window.

Cost model: an axis of up to `SHORT` places is unrolled where at least `MANY` rows remain and the code that results
stays below `MOST` items. An axis that is not the fastest is unrolled only where all reductions over the iteration
run over it, for there rows are long already.

Imports: `items`, `prepare`, `views`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from ..types import bool_
from . import views
from .items import Item, Pattern, Ref, Root
from .prepare import Program, merge_runs
from .views import View

SHORT = 8  # places
MANY = 64  # rows
MOST = 768  # items

_JOIN = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}


class Digit(NamedTuple):
    """An axis of `n` places in an iteration of `size` steps, `weight` steps from place to place."""

    size: int
    n: int
    weight: int

    def steps(self, place: int) -> View:
        """The steps at one place."""
        slow = self.size // (self.n * self.weight)
        return views.canonical(place * self.weight, ((slow, self.n * self.weight), (self.weight, 1)))

    @property
    def rest(self) -> int:
        return self.size // self.n


def unroll(program: Program) -> None:
    """Unroll the short reduced axes of `program`."""
    seeds = [item for item in program.items if _digits(item)]
    done: set[Item] = set()
    while seeds:
        item = seeds.pop()
        if item in done:
            continue
        for digit in _digits(item):
            region = _Region(program, item, digit)
            if region.worthwhile():
                made = region.unroll()
                done.update(region.members)
                seeds += [i for i in made if _digits(i)]
                break


def _digits(item: Item) -> Iterator[Digit]:
    """The short axes that a reduction runs over while others stay."""
    if item.kind != "reduce" or item.op not in _JOIN or len(item.pattern) < 2:
        return
    for (n, reduced), weight in zip(item.pattern, _weights(item.pattern), strict=True):
        if reduced and n <= SHORT and item.size >= n * MANY:
            yield Digit(item.size, n, weight)


def _weights(pattern: Pattern) -> list[int]:
    """The steps from one place of each run to the next."""
    return [math.prod(n for n, _ in pattern[i + 1 :]) for i in range(len(pattern))]


def _run_of(pattern: Pattern, digit: Digit) -> int | None:
    """The run of the pattern that the digit is part of."""
    for i, ((n, _), weight) in enumerate(zip(pattern, _weights(pattern), strict=True)):
        inside = digit.weight % weight == 0 and (n * weight) % (digit.weight * digit.n) == 0
        if inside and digit.weight < n * weight:
            return i
    return None


class _Region:
    """The items that are unrolled together with the reduction `seed`: those that read, or make, the element at
    the same step, and what their results are read by."""

    def __init__(self, program: Program, seed: Item, digit: Digit) -> None:
        self.program = program
        self.digits: dict[Root, Digit] = {}  # of roots that come to be in parts
        self.members: dict[Item, Digit] = {}  # by the digit of the iteration
        self.readers: dict[Root, list[Item]] = defaultdict(list)
        self.possible = True
        for item in program.items:
            for root in dict.fromkeys(ref.root for ref in item.args):
                self.readers[root].append(item)
        todo = [(seed, digit)]
        while todo and self.possible:
            item, own = todo.pop()
            if item not in self.members:
                todo += self._take(item, own)

    # What belongs to it.

    def _take(self, item: Item, digit: Digit) -> list[tuple[Item, Digit]]:
        """Make `item` a member; what may follow it."""
        self.members[item] = digit
        out = self._digit_of_out(item, digit)
        if not self.possible:
            return []
        found: list[tuple[Item, Digit]] = []
        for ref in item.args:
            made = ref.root.item
            if made is not None and _walked_alike(ref, digit) and _may_follow(made):
                found.append((made, digit))
        if out is not None:
            self.digits[item.out] = out
            for reader in self.readers[item.out]:
                same = any(_walked_alike(ref, out) for ref in reader.args if ref.root is item.out)
                if same and (reader.kind == "reduce" or _may_follow(reader)):
                    found.append((reader, out))
        else:
            found += [(r, digit) for r in self.readers[item.out] if r.size == digit.size and _may_follow(r)]
        return found

    def _digit_of_out(self, item: Item, digit: Digit) -> Digit | None:
        """The digit that is left in the result; None where it is reduced."""
        if item.kind == "map":
            return digit
        run = _run_of(item.pattern, digit)
        if run is None or item.op not in _JOIN or item.out.dtype is bool_:
            self.possible = False
            return None
        if item.pattern[run][1]:
            return None
        self.possible &= digit.weight == 1
        inside = digit.weight // _weights(item.pattern)[run]
        faster = math.prod(n for n, gone in item.pattern[run + 1 :] if not gone)
        return Digit(item.out.size, digit.n, inside * faster)

    def worthwhile(self) -> bool:
        """Whether all members can be unrolled, into not too much code."""
        if not self.possible or sum(d.n for d in self.members.values()) > MOST:
            return False
        return all(self._has_parts(item, digit) for item, digit in self.members.items())

    def _has_parts(self, item: Item, digit: Digit) -> bool:
        last = digit.steps(digit.n - 1)
        return all(self._in_parts(ref, digit) or views.compose(ref.view, last) is not None for ref in item.args)

    def _in_parts(self, ref: Ref, digit: Digit) -> bool:
        return self.digits.get(ref.root) == digit and _walked_alike(ref, digit)

    # Unrolling.

    def unroll(self) -> list[Item]:
        """Put the parts in the place of the members; the new items."""
        self.parts: dict[Root, list[Ref]] = {}
        whole = self._read_whole()
        original, self.program.items = self.program.items, []
        made: list[Item] = []
        for item in original:
            digit = self.members.get(item)
            if digit is None:
                self._add(item)
                continue
            start = len(self.program.items)
            if item.kind == "map":
                self.parts[item.out] = [self._map(item, digit, k) for k in range(digit.n)]
            else:
                self._reduce(item, digit)
            if item.out in whole:
                self._assemble(item.out)
            made += self.program.items[start:]
        return made

    def _read_whole(self) -> set[Root]:
        """Roots in parts that are stored, or that something reads in another way than part by part."""
        found = set()
        for root, digit in self.digits.items():
            apart = all(
                self.members.get(reader) == digit and _walked_alike(ref, digit)
                for reader in self.readers[root] for ref in reader.args if ref.root is root
            )
            if root in self.program.stored or not apart:
                found.add(root)
        return found

    def _add(self, item: Item) -> Item:
        item.order = len(self.program.items)
        self.program.items.append(item)
        return item

    def _ref(self, ref: Ref, digit: Digit, place: int) -> Ref:
        """What an operand is at one place of the digit."""
        if self._in_parts(ref, digit):
            return self.parts[ref.root][place]
        view = views.compose(ref.view, digit.steps(place))
        assert view is not None
        return Ref(ref.root, view)

    def _item(self, kind: str, op: str, args: tuple[Ref, ...], like: Item, out: Root, pattern: Pattern = ()) -> Ref:
        size = args[0].view.size if args else out.size
        attrs = like.attrs if op == like.op else {}
        out.item = self._add(Item(kind, op, args, attrs, (out,), size, like.loc, pattern))
        return Ref(out, views.identity(out.size))

    def _part(self, root: Root, size: int, place: int | str) -> Root:
        return Root(f"{root.name}.{place}", root.dtype, size)

    def _map(self, item: Item, digit: Digit, place: int) -> Ref:
        args = tuple(self._ref(ref, digit, place) for ref in item.args)
        return self._item("map", item.op, args, item, self._part(item.out, digit.rest, place))

    def _reduce(self, item: Item, digit: Digit) -> None:
        run = _run_of(item.pattern, digit)
        assert run is not None
        places = [self._ref(item.args[0], digit, k) for k in range(digit.n)]
        runs = [(n // digit.n if i == run else n, gone) for i, (n, gone) in enumerate(item.pattern)]
        left = merge_runs(runs)
        out = item.out
        if not item.pattern[run][1]:
            size = out.size // digit.n
            self.parts[out] = [
                self._item("reduce", item.op, (ref,), item, self._part(out, size, k), left)
                for k, ref in enumerate(places)
            ]
        elif any(gone for _, gone in left):
            joined = self._joined(item, places, self._part(out, digit.rest, "all"))
            self._item("reduce", item.op, (joined,), item, out, left)
        else:
            self._joined(item, places, out)

    def _joined(self, item: Item, places: list[Ref], out: Root) -> Ref:
        """The places joined in a tree, whose last item makes `out`."""
        while len(places) > 2:
            pairs = [places[i : i + 2] for i in range(0, len(places), 2)]
            places = [
                pair[0] if len(pair) == 1 else self._item(
                    "map", _JOIN[item.op], tuple(pair), item, self._part(out, out.size, f"{len(places)}_{i}")
                )
                for i, pair in enumerate(pairs)
            ]
        return self._item("map", _JOIN[item.op], tuple(places), item, out)

    def _assemble(self, root: Root) -> None:
        """Let the parts write their windows of `root`."""
        digit = self.digits[root]
        root.item = None
        self.program.stored.add(root)
        for place, part in enumerate(self.parts[root]):
            window = digit.steps(place)
            root.writers.append(
                self._add(Item("map", "copy", (part,), {}, (root,), digit.rest, window=window))
            )


def _walked_alike(ref: Ref, digit: Digit) -> bool:
    """Whether the operand is, at each step of the digit's iteration, the element of that step."""
    return ref.root.size == ref.view.size == digit.size and ref.view.is_identity()


def _may_follow(item: Item) -> bool:
    return item.kind == "map" and item.op != "philox" and item.window is None
