"""Short axes that are summed away are unrolled, so that the long ones are left for the vectors.

Points of three coordinates, colours of four channels: a row of so few elements fills no vector, and what a sum over
it gives is a scalar a row. Where a reduction runs over a short axis of many rows, every item over that iteration
becomes one item for each place on the axis, and the reduction becomes additions in a fixed tree. What remains are
items over the long axes alone, which share kernels as any others do: distances of all pairs are elementwise over
the pairs, their sums over either point reductions of rows and of columns.

Roots that something else reads whole are put together from their parts, each of which writes its window.

Cost model: an axis of up to `SHORT` places is unrolled where at least `MANY` rows remain, for each result of other
reductions too, and the code that results stays below `MOST` items. Where it is the fastest axis, memory is walked with
gaps: no array as large as the iteration (`AGAIN`) may be stored so, or be read so with more than `NEAR` places. What is
smaller is read again and again, and packed before (`pack`). Where it is not, each place is a stream through memory of
its own: up to `STREAMS` of them.

Imports: `types`, `items`, `pack`, `prepare`, `views`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..types import bool_
from . import views
from .items import JOIN, Item, Pattern, Ref, Root
from .pack import AGAIN, has_gaps, moving
from .prepare import Program, merge_runs
from .views import View

SHORT = 32  # places
STREAMS = 8
NEAR = 4
MANY = 64  # rows
MOST = 768  # items


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
    """Unroll the short axes that reductions of `program` run over."""
    graph = _Graph(program)
    seeds = [item for item in program.items if item.kind == "reduce"]
    refused: set[tuple[Item, Digit]] = set()
    while seeds:
        item = seeds.pop()
        for digit in graph.digits(item):
            if item in graph.replaced:
                break
            if (item, digit) in refused:
                continue
            region = _Region(graph, item, digit)
            if region.is_worth_it():
                seeds += [made for made in _Parts(region).unroll() if made.kind == "reduce"]
            else:
                refused.update(region.members.items())
    graph.finish()


class _Graph:
    """The items of a program with what reads each root, and what took the place of items."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.readers: dict[Root, list[Item]] = defaultdict(list)
        self.replaced: dict[Item, list[Item]] = {}
        self.short: dict[Root, int] = {}  # the axis on which operands that repeat were cut
        self.place: dict[Item, tuple[int, int]] = {}  # arguments before readers
        self.add(program.items)

    def add(self, items: Sequence[Item]) -> None:
        for item in items:
            self.place[item] = item.order, len(self.place)
            for root in dict.fromkeys(ref.root for ref in item.args):
                self.readers[root].append(item)
            found = [n for ref in item.args if (n := self._short(ref))]
            if found and item.kind == "map":
                self.short[item.out] = min(found)

    def _short(self, ref: Ref) -> int:
        """The length of the fastest axis, where it is short and the next one repeats it."""
        if ref.view.is_identity():
            return self.short.get(ref.root, 0)
        axes = ref.view.axes
        cut = len(axes) > 2 and axes[-1][1] and 1 < axes[-1][0] <= SHORT and not axes[-2][1] and axes[-2][0] >= MANY
        return axes[-1][0] if cut else 0

    def readers_of(self, root: Root) -> list[Item]:
        return [item for item in self.readers[root] if item not in self.replaced]

    def digits(self, item: Item) -> Iterator[Digit]:
        """The short axes of a reduction: those that it runs over while others stay, and those that cut its rows."""
        if item.op not in JOIN:
            return
        if len(item.pattern) > 1:
            for (n, reduced), weight in zip(item.pattern, _weights(item.pattern), strict=True):
                if reduced and n <= (SHORT if weight == 1 else STREAMS) and item.size >= n * MANY:
                    yield Digit(item.size, n, weight)
        cut = self._short(item.args[0])
        if cut and item.size >= cut * MANY:
            yield Digit(item.size, cut, 1)

    def finish(self) -> None:
        """Put the new items in the places of the replaced ones."""
        items: list[Item] = []
        todo = self.program.items[::-1]
        while todo:
            item = todo.pop()
            if item in self.replaced:
                todo += reversed(self.replaced[item])
            else:
                item.order = len(items)
                items.append(item)
        self.program.items = items


class _Region:
    """The items that are unrolled together with the reduction `seed`: those that read, or make, the element at
    the same step, and what their results are read by."""

    def __init__(self, graph: _Graph, seed: Item, digit: Digit) -> None:
        self.graph = graph
        self.most = seed.size // AGAIN  # elements of an array that is walked with gaps
        self.digits: dict[Root, Digit] = {}  # of roots that come to be in parts
        self.members: dict[Item, Digit] = {}  # by the digit of the iteration
        self.possible = True
        todo = [(seed, digit)]
        while todo and self.possible:
            item, own = todo.pop()
            if item not in self.members:
                self.members[item] = own
                todo += self._neighbours(item, own)
                self.possible &= len(self.members) * digit.n <= MOST

    def _neighbours(self, item: Item, digit: Digit) -> list[tuple[Item, Digit]]:
        out = self._digit_of_out(item, digit)
        readers = self.graph.readers_of(item.out)
        found = [
            (ref.root.item, digit) for ref in item.args
            if ref.root.item is not None and _walked_alike(ref, digit) and _may_follow(ref.root.item)
        ]
        if out is None:
            return found + [(r, digit) for r in readers if r.size == digit.size and _may_follow(r)]
        self.digits[item.out] = out
        for reader in readers:
            alike = any(_walked_alike(ref, out) for ref in reader.args if ref.root is item.out)
            if alike and (reader.kind == "reduce" or _may_follow(reader)):
                found.append((reader, out))
        return found

    def _digit_of_out(self, item: Item, digit: Digit) -> Digit | None:
        """The digit that is left in the result; None where it is reduced."""
        if item.kind == "map":
            return digit
        run = _run_of(item.pattern, digit)
        if run is None or item.op not in JOIN or item.out.dtype is bool_:
            self.possible = False
            return None
        if item.pattern[run][1]:
            return None
        self.possible &= item.out.size >= digit.n * MANY
        inside = digit.weight // _weights(item.pattern)[run]
        faster = math.prod(n for n, gone in item.pattern[run + 1 :] if not gone)
        return Digit(item.out.size, digit.n, inside * faster)

    def is_worth_it(self) -> bool:
        """Whether all members can be unrolled, and no large array is then walked with gaps."""
        return (
            self.possible
            and all(root.size <= self.most or self.digits[root].weight > 1 for root in self.read_whole())
            and all(
                self.in_parts(ref, digit) or self._may_be_read(ref, digit)
                for item, digit in self.members.items() for ref in item.args
            )
        )

    def _may_be_read(self, ref: Ref, digit: Digit) -> bool:
        view = views.compose(ref.view, digit.steps(digit.n - 1))
        return view is not None and (
            not has_gaps(view) or digit.n <= NEAR or moving(view).size * digit.n <= self.most
        )

    def in_parts(self, ref: Ref, digit: Digit) -> bool:
        """Whether the operand is read part by part."""
        return self.digits.get(ref.root) == digit and _walked_alike(ref, digit)

    def read_whole(self) -> set[Root]:
        """Roots in parts that are stored, or that something reads in another way than part by part."""
        found = set()
        for root, digit in self.digits.items():
            apart = all(
                self.members.get(reader) == digit and _walked_alike(ref, digit)
                for reader in self.graph.readers_of(root) for ref in reader.args if ref.root is root
            )
            if root in self.graph.program.stored or not apart:
                found.add(root)
        return found


class _Parts:
    """The parts that the members of a region become."""

    def __init__(self, region: _Region) -> None:
        self.region = region
        self.graph = region.graph
        self.parts: dict[Root, list[Ref]] = {}
        self.made: list[Item] = []  # of the member at hand

    def unroll(self) -> list[Item]:
        """Replace the members; the new items."""
        whole, every = self.region.read_whole(), []
        for item, digit in sorted(self.region.members.items(), key=lambda m: self.graph.place[m[0]]):
            self.made = []
            if item.kind == "map":
                self.parts[item.out] = [self._map(item, digit, k) for k in range(digit.n)]
            else:
                self._reduce(item, digit)
            if item.out in whole:
                self._assemble(item.out)
            for made in self.made:
                made.order = item.order
            self.graph.replaced[item] = self.made
            self.graph.add(self.made)
            every += self.made
        return every

    def _ref(self, ref: Ref, digit: Digit, place: int) -> Ref:
        """What an operand is at one place of the digit."""
        if self.region.in_parts(ref, digit):
            return self.parts[ref.root][place]
        view = views.compose(ref.view, digit.steps(place))
        assert view is not None
        return Ref(ref.root, view)

    def _item(self, kind: str, op: str, args: Sequence[Ref], like: Item, out: Root, pattern: Pattern = ()) -> Ref:
        size = args[0].view.size if args else out.size
        attrs = like.attrs if op == like.op else {}
        out.item = Item(kind, op, tuple(args), attrs, (out,), size, like.loc, pattern)
        self.made.append(out.item)
        return Ref(out, views.identity(out.size))

    def _root(self, root: Root, size: int, place: int | str) -> Root:
        return Root(f"{root.name}.{place}", root.dtype, size)

    def _map(self, item: Item, digit: Digit, place: int) -> Ref:
        args = [self._ref(ref, digit, place) for ref in item.args]
        return self._item("map", item.op, args, item, self._root(item.out, digit.rest, place))

    def _reduce(self, item: Item, digit: Digit) -> None:
        run, out = _run_of(item.pattern, digit), item.out
        assert run is not None
        places = [self._ref(item.args[0], digit, k) for k in range(digit.n)]
        left = merge_runs([(n // digit.n if i == run else n, gone) for i, (n, gone) in enumerate(item.pattern)])
        if not item.pattern[run][1]:
            roots = [self._root(out, out.size // digit.n, k) for k in range(digit.n)]
            self.parts[out] = [
                self._item("reduce", item.op, [ref], item, root, left) for ref, root in zip(places, roots, strict=True)
            ]
        elif any(gone for _, gone in left):
            joined = self._joined(item, places, self._root(out, digit.rest, "all"))
            self._item("reduce", item.op, [joined], item, out, left)
        else:
            self._joined(item, places, out)

    def _joined(self, item: Item, places: list[Ref], out: Root) -> Ref:
        """The places joined in a tree, whose last item makes `out`."""
        join = JOIN[item.op]
        while len(places) > 2:
            level = len(places)
            pairs = [places[i : i + 2] for i in range(0, level, 2)]
            places = [
                self._item("map", join, pair, item, self._root(out, out.size, f"{level}.{i}")) if len(pair) == 2
                else pair[0]
                for i, pair in enumerate(pairs)
            ]
        return self._item("map", join, places, item, out)

    def _assemble(self, root: Root) -> None:
        """Let the parts write their windows of `root`."""
        digit = self.region.digits[root]
        root.item = None
        self.graph.program.stored.add(root)
        for place, part in enumerate(self.parts[root]):
            write = Item("map", "copy", (part,), {}, (root,), digit.rest, window=digit.steps(place))
            root.writers.append(write)
            self.made.append(write)


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


def _walked_alike(ref: Ref, digit: Digit) -> bool:
    """Whether the operand is, at each step of the digit's iteration, the element of that step."""
    return ref.root.size == ref.view.size == digit.size and ref.view.is_identity()


def _may_follow(item: Item) -> bool:
    return item.kind == "map" and item.op != "philox" and item.window is None
