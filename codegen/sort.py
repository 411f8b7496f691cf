"""Sorting in LLVM: stable merge sort, bottom up, of lines of keys with their positions.

Ascending puts nan last, descending first (it is the reverse of the stable ascending order of the reversed
line). A line is copied to scratch, merged back and forth between two halves of it, and written out; the
merges of one width are one loop over all places, whose choice is a select, so that no branch is mispredicted.

Imports: `ir.fuse`, `abi`, `control`, `target`, `text`, `ir.types`.
"""

from __future__ import annotations

from ..ir.fuse import CallKernel
from ..ir.types import DType, bool_, i64
from .abi import Pointers
from .control import element, linear, loop, nest
from .target import Target
from .text import Code, Lanes, Vec


def emit_sort(code: Code, frame: Pointers, kernel: CallKernel, target: Target) -> None:
    """Write the sort of the middle axis of (outer, n, inner) into the program under construction."""
    (operand,), (values, order), (keys, places) = kernel.args, kernel.outs, kernel.scratch
    outer, n, inner = operand.shape
    dtype = values.dtype
    one = Lanes(code, 1)
    name = f"jg.sort.{dtype.code}.{'down' if kernel.attrs['descending'] else 'up'}"
    if code.first_use(name):
        _Sort(code, dtype, kernel.attrs["descending"]).function(name)
    source, to_values, to_order = (frame.pointer(b) for b in (operand.buffer, values, order))
    key_line, place_line = frame.pointer(keys), frame.pointer(places)

    def line(indices: list[str]) -> None:
        start = linear(code, 0, [(indices[0], n * inner), (indices[1], 1)])

        def read(at: list[str]) -> None:
            key = element(code, source, dtype, linear(code, 0, [(start, 1), (at[0], inner)]))
            one.store(one.load(key, dtype), element(code, key_line, dtype, at[0]))
            one.store(Vec(at[0], i64), element(code, place_line, i64, at[0]))

        nest(code, [n], read)
        begun = code.fresh("i")
        code.line(f"{begun} = call i64 @{name}(ptr {key_line}, ptr {place_line}, i64 {n})")

        def write(at: list[str]) -> None:
            here = linear(code, 0, [(begun, 1), (at[0], 1)])
            there = linear(code, 0, [(start, 1), (at[0], inner)])
            for line, out, kind in ((key_line, to_values, dtype), (place_line, to_order, i64)):
                one.store(one.load(element(code, line, kind, here), kind), element(code, out, kind, there))

        nest(code, [n], write)

    nest(code, [outer, inner], line)


class _Sort:
    """The function `i64 @name(ptr keys, ptr places, i64 n)`: sorts the first n of 2 n elements; the sorted ones
    begin at the place it returns, 0 or n."""

    def __init__(self, code: Code, dtype: DType, descending: bool) -> None:
        self.code = code
        self.dtype = dtype
        self.descending = descending
        self.one = Lanes(code, 1)

    def function(self, name: str) -> None:
        code = self.code
        with code.function(f"internal i64 @{name}(ptr %keys, ptr %places, i64 %n)"):
            sorted_, merge = code.new_label("done"), code.new_label("width")
            code.line("%single = icmp slt i64 %n, 2")
            code.line(f"br i1 %single, label %{sorted_}, label %{merge}")
            code.start_block(merge)
            place = code.reserve()
            width, source = Vec("%width", i64), Vec("%source", i64)
            dest = self.one.sub(Vec("%n", i64), source)
            self.pass_(width, source, dest)
            doubled = self.one.shl(width, 1)
            more = self.one.compare("lt", doubled, Vec("%n", i64))
            code.fill(place, [
                f"%width = phi i64 [ 1, %entry ], [ {doubled.text}, %{code.block} ]",
                f"%source = phi i64 [ 0, %entry ], [ {dest.text}, %{code.block} ]",
            ])
            last = code.block
            code.line(f"br i1 {more.text}, label %{merge}, label %{sorted_}")
            code.start_block(sorted_)
            code.line(f"%begun = phi i64 [ 0, %entry ], [ {dest.text}, %{last} ]")
            code.line("ret i64 %begun")

    def pass_(self, width: Vec, source: Vec, dest: Vec) -> None:
        """Merge neighbouring runs of `width`: i and j walk through the two runs, k through the result."""
        m = self.one

        def body(k: str, now: list[Vec]) -> list[Vec]:
            i, j, middle, end = now
            here = Vec(k, i64)
            # A pair of runs is used up: the next begins.
            fresh = m.compare("eq", here, end)
            middle = m.select(fresh, self.low(m.add(here, width)), middle)
            end = m.select(fresh, self.low(m.add(here, m.shl(width, 1))), end)
            i, j = m.select(fresh, here, i), m.select(fresh, middle, j)
            left_over, right_over = m.compare("ge", i, middle), m.compare("ge", j, end)
            a, b = self.key(i, source), self.key(j, source)
            right = m.and_(m.not_(right_over), m.or_(left_over, self.before(b, a)))
            taken = m.select(right, j, i)
            at = m.add(here, dest)
            m.store(m.select(right, b, a), self.address("%keys", self.dtype, at))
            m.store(m.load(self.address("%places", i64, m.add(taken, source)), i64), self.address("%places", i64, at))
            step = m.cast(right, i64)
            return [m.add(i, m.sub(1, step)), m.add(j, step), middle, end]

        zero = m.const(0, i64)
        loop(self.code, "0", "%n", 1, [(m, zero)] * 4, body)

    def key(self, i: Vec, source: Vec) -> Vec:
        """The key at place i, or any key where the run is used up."""
        inside = self.low(i, "%last")
        return self.one.load(self.address("%keys", self.dtype, self.one.add(inside, source)), self.dtype)

    def low(self, x: Vec, bound: str = "%n") -> Vec:
        limit = Vec("%n", i64) if bound == "%n" else self.one.sub(Vec("%n", i64), 1)
        return self.one.select(self.one.compare("lt", x, limit), x, limit)

    def address(self, pointer: str, dtype: DType, index: Vec) -> str:
        return element(self.code, pointer, dtype, index.text)

    def before(self, x: Vec, y: Vec) -> Vec:
        """Whether x goes before y even though y came first."""
        m = self.one
        if self.dtype is bool_:
            return m.and_(x, m.not_(y)) if self.descending else m.and_(m.not_(x), y)
        ordered = m.compare("gt" if self.descending else "lt", x, y)
        if not self.dtype.is_floating_point:
            return ordered
        odd, other = (x, y) if self.descending else (y, x)
        return m.or_(ordered, m.and_(m.is_nan(odd), m.not_(m.is_nan(other))))
