"""A `Contraction` as an LLVM function: loops over tiles of the result, each summed in registers and then finished.

    void @name(ptr noalias %b0, ..., ptr %traps)      one pointer for each of the kernel's buffers
    void @name(..., i64 %lo, i64 %hi, i64 %chunk)     of a kernel in chunks: one of them, in tiles of its axis

Around the tiles go, from the outside: the batch and the slower axes of rows and columns, blocks of terms, groups of
tiles of rows, panels of columns, tiles. The tiles at the right and lower edges are smaller and written apart; the
last vector of a row is masked where its end is. A tile that has all of the last axis of rows, or of columns, may have
several steps of the next slower one: `lines` of rows, `bands` of columns. Each element is summed in one order of the
terms whatever tile it lies in, so the chunks change no bit of it.

The operations on a finished product are written for each vector of the tile where they are few. Else the tile goes
to the stack, and a loop over it runs them.

Imports: `ir.fuse`, `ir.types`, `abi`, `control`, `target`, `text`, `tiling`, `memory`, `nodes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.fuse import Access, Contraction, Node, cost
from ..ir.types import bool_
from .abi import Traps
from .control import branch, choose, clamp, element, linear, loop, nest
from .memory import load_lanes
from .nodes import NodeEmitter, Place
from .target import Target
from .text import Code, Lanes, Vec
from .tiling import Tiling, tiling

INLINE = 3.0  # cost of the operations on a product that are written out for each vector of a tile


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and vectors of a tile, in each of its lines and bands, and where it lies: its first row and column, its
    operands. `ragged`: lanes of the last vector of a row, where these are not all."""

    rows: int
    vectors: int
    lines: int
    bands: int
    ragged: int
    row: str
    column: str
    left: str
    right: str

    @property
    def height(self) -> int:
        return self.rows * self.lines

    @property
    def breadth(self) -> int:
        """Vectors in a row of the tile, all bands together."""
        return self.vectors * self.bands


class ProductEmitter(NodeEmitter):
    """Writes one contraction."""

    def __init__(self, code: Code, kernel: Contraction, target: Target, traps: Traps) -> None:
        super().__init__(code, kernel, traps)
        self.product = kernel
        self.cut: Tiling = tiling(kernel, target)
        self.dtype = kernel.product.dtype
        self.lanes = Lanes(code, self.cut.width, lambda _: None)
        self.rank = len(kernel.outer) + len(kernel.inner)  # axes of the result
        self.tiles = -(-kernel.rows[-1] // self.cut.rows)
        self.panels = -(-kernel.columns[-1] // self.cut.columns)
        self.slow: list[str] = []  # where the slower axes of columns are, at the tile's first band
        self.first: list[str] = []  # where batch and the slower axes of rows are, at its first line
        self.lanes_bytes = self.cut.width * self.dtype.itemsize
        self.stack = ""
        self.varies = self.variation()
        self.steps_around = [1] * len(kernel.around)  # of each axis from tile to tile
        if self.cut.bands > 1:
            self.steps_around[-1] = self.cut.bands
        if self.cut.lines > 1:
            self.steps_around[len(kernel.outer) - 2] = self.cut.lines
        self.sizes = [n // step for n, step in zip(kernel.around, self.steps_around, strict=True)]
        self.axis = kernel.axis
        if self.axis == "around" and self.sizes[0] == 1:  # a tile has all of it
            self.axis = "rows" if self.tiles > self.panels else "columns"

    def range(self) -> int:
        """What the chunks divide."""
        return {"around": (self.sizes or [1])[0], "rows": self.tiles, "columns": self.panels}[self.axis]

    def function(self, name: str) -> None:
        code = self.code
        with code.function(f"internal void @{name}({', '.join(self.parameters())})"):
            if not self.inlined():
                type = self.lanes.memory_type(self.dtype)
                self.stack = code.fresh("tile")
                code.line(f"{self.stack} = alloca [{self.cut.registers} x {type}], align 64")
            if self.product.chunks > 1:
                some = code.fresh("c")
                code.line(f"{some} = icmp slt i64 %lo, %hi")
                branch(code, some, self.around)
            else:
                self.around()
            code.line("ret void")

    def around(self) -> None:
        """Loops over the axes that no tile has."""
        k = self.product
        sizes, outer = self.sizes, len(k.outer) - 1

        def body(numbers: list[str]) -> None:
            at = [linear(self.code, 0, [(i, step)]) for i, step in zip(numbers, self.steps_around, strict=True)]
            self.first, self.slow = at[:outer], at[outer:]
            fixed = [*self.first, "0", *self.slow]
            self.blocks(*(self.start(access, fixed) for access in (k.left, k.right)))

        if self.axis == "around" and k.chunks > 1:
            def chunk(first: str, _: list[Vec]) -> list[Vec]:
                nest(self.code, sizes[1:], lambda rest: body([first, *rest]))
                return []

            loop(self.code, "%lo", "%hi", 1, [], chunk)
        else:
            nest(self.code, sizes, body)

    def start(self, access: Access, at: Sequence[str]) -> str:
        """The address of the element of an operand at these steps of the result's first axes."""
        assert access.buffer is not None
        terms = [(i, s) for i, s in zip(at, access.strides, strict=False) if i != "0"]
        offset = access.offset - self.bases.get(access.buffer, 0)
        return element(self.code, self.pointers[access.buffer], self.dtype, linear(self.code, offset, terms))

    def moved(self, pointer: str, terms: Sequence[tuple[str, int]]) -> str:
        return element(self.code, pointer, self.dtype, linear(self.code, 0, [t for t in terms if t[0] != "0"]))

    # Blocks of terms, groups of rows, panels, tiles.

    def blocks(self, left: str, right: str) -> None:
        k = self.product
        n, block = k.terms[0], k.block
        steps = k.left.strides[self.rank], k.right.strides[self.rank]

        def body(first: str, _: list[Vec]) -> list[Vec]:
            here = self.moved(left, [(first, steps[0])]), self.moved(right, [(first, steps[1])])
            length = str(n) if block == n else self.least(str(block), self.rest(str(n), first))
            self.groups(*here, first, length)
            return []

        loop(self.code, "0", str(n), block, [], body, once=block == n)

    def rest(self, stop: str, start: str) -> str:
        left = self.code.fresh("i")
        self.code.line(f"{left} = sub i64 {stop}, {start}")
        return left

    def least(self, a: str, b: str) -> str:
        return clamp(self.code, a, b)

    def bounds(self, axis: str, count: int) -> tuple[str, str]:
        split = self.product.chunks > 1 and self.axis == axis
        return ("%lo", "%hi") if split else ("0", str(count))

    def groups(self, left: str, right: str, term: str, length: str) -> None:
        """Runs of tiles of rows, for each of which all panels are done."""
        start, stop = self.bounds("rows", self.tiles)
        first, last = self.bounds("columns", self.panels)
        group = self.cut.group

        def panels(begin: str, _: list[Vec]) -> list[Vec]:
            end = stop if group >= self.tiles else self.least(linear(self.code, group, [(begin, 1)]), stop)

            def panel(p: str, _: list[Vec]) -> list[Vec]:
                def tile(t: str, _: list[Vec]) -> list[Vec]:
                    self.at(t, p, left, right, term, length)
                    return []

                loop(self.code, begin, end, 1, [], tile, once=self.tiles == 1)
                return []

            loop(self.code, first, last, 1, [], panel, once=self.panels == 1)
            return []

        loop(self.code, start, stop, group, [], panels, once=group >= self.tiles)

    def at(self, t: str, p: str, left: str, right: str, term: str, length: str) -> None:
        """The tile number (t, p): whole, or cut at the edges."""
        k, cut, code = self.product, self.cut, self.code
        row, column = linear(code, 0, [(t, cut.rows)]), linear(code, 0, [(p, cut.columns)])
        here = self.moved(left, [(row, k.left.strides[len(k.outer) - 1])])
        there = self.moved(right, [(column, k.right.strides[self.rank - 1])])
        m, n = k.rows[-1], k.columns[-1]
        last_rows, last_columns = m - (self.tiles - 1) * cut.rows, n - (self.panels - 1) * cut.columns

        def across(rows: int) -> None:
            def whole() -> None:
                self.tile(Tile(rows, cut.vectors, cut.lines, cut.bands, 0, row, column, here, there), term, length)

            def edge() -> None:
                vectors, ragged = -(-last_columns // cut.width), last_columns % cut.width
                self.tile(Tile(rows, vectors, cut.lines, cut.bands, ragged, row, column, here, there), term, length)

            self.apart(p, self.panels, last_columns < cut.columns, whole, edge)

        self.apart(t, self.tiles, last_rows < cut.rows, lambda: across(cut.rows), lambda: across(last_rows))

    def apart(
        self, i: str, count: int, differs: bool, usual: Callable[[], None], last: Callable[[], None]
    ) -> None:
        """`last` for the last of `count` where it differs from the others, else `usual`."""
        if not differs:
            usual()
        elif count == 1:
            last()
        else:
            condition = self.code.fresh("c")
            self.code.line(f"{condition} = icmp eq i64 {i}, {count - 1}")
            branch(self.code, condition, last, usual)

    # One tile.

    def tile(self, tile: Tile, term: str, length: str) -> None:
        """Sum a block of terms; finish the tile after the last."""
        k = self.product
        zero = self.lanes.const(0.0, self.dtype)
        sums = self.sum(tile, [zero] * (tile.height * tile.breadth), length)
        if k.partial is None:
            self.finish(tile, sums)
            return
        partial, first, last = k.partial, self.code.fresh("c"), self.code.fresh("c")
        final = (k.terms[0] - 1) // k.block * k.block
        self.code.line(f"{first} = icmp eq i64 {term}, 0")
        self.code.line(f"{last} = icmp eq i64 {term}, {final}")

        def more() -> list[Vec]:
            return [self.lanes.add(a, b) for a, b in zip(self.load_tile(tile, partial), sums, strict=True)]

        after = choose(self.code, first, lambda: sums, more, [self.lanes] * len(sums))
        branch(self.code, last, lambda: self.finish(tile, after), lambda: self.store_tile(tile, partial, after))

    def sum(self, tile: Tile, sums: Sequence[Vec], length: str) -> list[Vec]:
        """`sums`, zeros, with the terms of the block added: in order, or in chains that are then added up."""
        counts = [length, *(str(n) for n in self.product.terms[1:])]
        chains = self.steps(tile, counts, tile.left, tile.right, [*sums] * self.cut.chains)
        total = chains[: len(sums)]
        for start in range(len(sums), len(chains), len(sums)):
            total = [self.lanes.add(a, b) for a, b in zip(total, chains[start : start + len(sums)], strict=True)]
        return total

    def steps(self, tile: Tile, counts: Sequence[str], left: str, right: str, sums: Sequence[Vec]) -> list[Vec]:
        k = self.product
        axis = self.rank + len(k.terms) - len(counts)
        by_left, by_right = k.left.strides[axis], k.right.strides[axis]
        carried = [(self.lanes, v) for v in sums]

        def moved(i: str) -> tuple[str, str]:
            return self.moved(left, [(i, by_left)]), self.moved(right, [(i, by_right)])

        def outer(i: str, now: list[Vec]) -> list[Vec]:
            return self.steps(tile, counts[1:], *moved(i), now)

        def inner(i: str, now: list[Vec]) -> list[Vec]:
            x, y = moved(i)
            now, size = list(now), tile.height * tile.breadth
            for u in range(self.cut.unroll):
                mine = slice(u % self.cut.chains * size, (u % self.cut.chains + 1) * size)
                now[mine] = self.step(tile, x, y, u * by_left, u * by_right, now[mine])
            return now

        if len(counts) > 1:
            return loop(self.code, "0", counts[0], 1, carried, outer, once=counts[0] == "1")
        unroll = self.cut.unroll
        return loop(self.code, "0", counts[0], unroll, carried, inner, once=counts[0] == str(unroll))

    def step(self, tile: Tile, left: str, right: str, x: int, y: int, sums: Sequence[Vec]) -> list[Vec]:
        """One term: an outer product of a column of the left operand and a row of the right one."""
        one, k = Lanes(self.code, 1), self.product
        row, column = len(k.outer) - 1, self.rank - 1
        columns = []
        for j in range(tile.breadth):
            band, number = divmod(j, tile.vectors)
            at = y + number * self.cut.width + (band * k.right.strides[column - 1] if band else 0)
            columns.append(load_lanes(self.lanes, self.at_step(right, at), self.dtype, self.mask(tile, j)))
        after = []
        for i in range(tile.height):
            line, number = divmod(i, tile.rows)
            at = x + number * k.left.strides[row] + (line * k.left.strides[row - 1] if line else 0)
            factor = self.lanes.splat(one.load(self.at_step(left, at), self.dtype))
            held = sums[i * tile.breadth : (i + 1) * tile.breadth]
            after += [self.lanes.fma(factor, column, s) for column, s in zip(columns, held, strict=True)]
        return after

    def at_step(self, pointer: str, offset: int) -> str:
        return element(self.code, pointer, self.dtype, str(offset))

    def mask(self, tile: Tile, j: int) -> Vec | None:
        """The lanes of the tile's vector `j` that lie in the result, where not all do."""
        if not tile.ragged or j % tile.vectors < tile.vectors - 1:
            return None
        width = self.cut.width
        return Vec(f"<{', '.join(f'i1 {int(i < tile.ragged)}' for i in range(width))}>", bool_)

    # What becomes of the sums.

    def load_tile(self, tile: Tile, access: Access) -> list[Vec]:
        out = []
        for i in range(tile.height):
            self.begin_row(tile, *divmod(i, tile.rows), [access])
            for j in range(tile.breadth):
                place = self.place(tile, j)
                out.append(self.memory.load(access, self.dtype, place.lanes, place.slow, place.index))
        self.memory.mask = None
        return out

    def store_tile(self, tile: Tile, access: Access, sums: Sequence[Vec]) -> None:
        for i in range(tile.height):
            self.begin_row(tile, *divmod(i, tile.rows), [access])
            for j in range(tile.breadth):
                place = self.place(tile, j)
                self.memory.store(sums[i * tile.breadth + j], access, place.lanes, place.slow, place.index)
        self.memory.mask = None

    def begin_row(self, tile: Tile, line: int | str, i: int | str, accesses: Sequence[Access | None]) -> None:
        """Work out where row `i` of a line of the tile lies."""
        at = [*self.first, tile.row]
        if tile.lines > 1:
            at[-2] = self.further(at[-2], line)
        at[-1] = self.further(at[-1], i)
        self.memory.rows.clear()
        self.memory.enter(accesses, [])
        self.memory.enter(accesses, at)
        self.outer = at

    def further(self, index: str, steps: int | str) -> str:
        return linear(self.code, 0, [(index, 1), (str(steps), 1)]) if steps else index

    def place(self, tile: Tile, j: int) -> Place:
        """Where vector `j` of the row lies."""
        band, number = divmod(j, tile.vectors)
        self.memory.mask = self.mask(tile, j)
        index = linear(self.code, number * self.cut.width, [(tile.column, 1)])
        return Place(self.memory, self.lanes, self.slow_at(band), index)

    def slow_at(self, band: int) -> list[str]:
        return [*self.slow[:-1], self.further(self.slow[-1], band)] if band else self.slow

    def inlined(self) -> bool:
        return sum(cost(n.op) for n in self.product.body if n.op != "load") <= INLINE

    def finish(self, tile: Tile, sums: Sequence[Vec]) -> None:
        """Run the operations on the product, and store what leaves."""
        accesses = [*(n.access for n in self.product.body), *(s.access for s in self.product.stores)]
        if self.inlined():
            made: dict[tuple[Node, int, int], Vec] = {}
            for i in range(tile.height):
                self.begin_row(tile, *divmod(i, tile.rows), accesses)
                for j in range(tile.breadth):
                    self.elements(self.place(tile, j), sums[i * tile.breadth + j], made, i, j)
            self.memory.mask = None
            return
        for number, value in enumerate(sums):
            place = element(self.code, self.stack, self.dtype, str(number * self.cut.width))
            self.lanes.store(value, place, self.lanes_bytes)

        def row(line: str, i: str) -> None:
            self.begin_row(tile, line, i, accesses)
            size = tile.breadth * self.cut.width
            start = linear(self.code, 0, [(line, tile.rows * size), (i, size)])
            here = element(self.code, self.stack, self.dtype, start)
            for band in range(tile.bands):
                self.finish_band(tile, band, here)

        nest(self.code, [tile.lines, tile.rows], lambda at: row(*at))

    def finish_band(self, tile: Tile, band: int, row: str) -> None:
        """The operations on the vectors of a band, whose sums are on the stack from `row` on."""
        slow, whole = self.slow_at(band), tile.vectors - bool(tile.ragged)
        row = element(self.code, row, self.dtype, str(band * tile.vectors * self.cut.width))

        def vector(j: str, _: list[Vec]) -> list[Vec]:
            self.memory.mask = None
            at = linear(self.code, 0, [(j, self.cut.width)])
            value = self.lanes.load(element(self.code, row, self.dtype, at), self.dtype, self.lanes_bytes)
            index = linear(self.code, 0, [(tile.column, 1), (at, 1)])
            self.elements(Place(self.memory, self.lanes, slow, index), value, {}, 0, 0)
            return []

        if whole:
            loop(self.code, "0", str(whole), 1, [], vector, once=whole == 1)
        if tile.ragged:
            last = element(self.code, row, self.dtype, str(whole * self.cut.width))
            value = self.lanes.load(last, self.dtype, self.lanes_bytes)
            self.elements(self.place(tile, band * tile.vectors + whole), value, {}, 0, 0)
            self.memory.mask = None

    def elements(self, place: Place, product: Vec, made: dict[tuple[Node, int, int], Vec], i: int, j: int) -> None:
        """The nodes of one vector. `made` has those that another row, or another column, has written already."""
        values = {self.product.product: product}
        for node in self.product.body:
            down, along = self.varies[node]
            key = node, i if down else -1, j if along else -1
            if key not in made:
                made[key] = self.node(node, place, values)
            values[node] = made[key]
        for store in self.product.stores:
            self.memory.store(values[store.node], store.access, place.lanes, place.slow, place.index)

    def variation(self) -> dict[Node, tuple[bool, bool]]:
        """Whether each node differs between the rows, and between the columns, of a tile."""
        found = {self.product.product: (True, True)}
        row, column = len(self.product.outer) - 1, self.rank - 1
        down = [row, row - 1] if self.cut.lines > 1 else [row]
        along = [column, column - 1] if self.cut.bands > 1 else [column]
        for node in self.product.body:
            ways = [found[a] for a in node.args]
            if node.access is not None:
                steps = node.access.strides
                ways.append((any(steps[i] for i in down), any(steps[i] for i in along)))
            found[node] = any(d for d, _ in ways), any(a for _, a in ways)
        return found
