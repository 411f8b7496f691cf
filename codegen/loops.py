"""A `LoopKernel` as an LLVM function: row loops around phases of vector loops.

    void @name(ptr noalias %b0, ..., ptr %traps)      one pointer for each of the kernel's buffers
    void @name(..., i64 %lo, i64 %hi, i64 %chunk)     of a kernel in chunks: one of them, in steps of its first outer
                                                      axis, or in vectors where it has none

Every trip count is a constant. A phase picks its lanes: as many registers a value as its body is light (two
by default: two chains of dependences hide latency), never more lanes than the row has. No remainder loop:
the last vector of a row begins where it ends with the row, so it does some elements again, which changes
nothing, for outputs never alias inputs. Where counting twice would matter (sums), the lanes done before are
masked: in the loop where the body is long, in a copy of the body after the loop where it is short. So are those of
a phase that changes a buffer in place: always in a copy, which stores the new lanes alone. Where its rows are long,
its vectors begin at cache lines, which the system's allocator does not give to arrays; the copy does both edges.

Trapping lanes set a flag on a branch that is not taken, and go on with a value that cannot fault.

Imports: `ir.fuse`, `ir.types`, `abi`, `control`, `lines`, `nodes`, `reductions`, `target`, `text`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.fuse import ELEMENT, Access, LoopKernel, Node, Phase, Store
from ..ir.types import bool_, i32, i64
from .abi import Traps
from .control import choose, clamp, element, linear, loop
from .lines import Lines
from .nodes import NodeEmitter, Place
from .reductions import BLOCK, Accumulator, combine, identity_of, positions
from .target import Target
from .text import Code, Lanes, Vec

PEEL_NODES = 24  # bodies up to this size are written twice rather than masked in the loop
LINE = 64  # bytes that a store should not leave
ALIGNED_VECTORS = 32  # of a row, from which on it pays to begin at a line


@dataclass(slots=True)
class Walk:
    """One phase on its lanes: what it accumulates, whose values go where."""

    phase: Phase
    lanes: Lanes
    values: dict[Node, Vec]  # rows' and kernel's scalars, splat
    sums: list[Accumulator]
    sources: list[Node]  # what each accumulator adds
    n: int  # steps of the vector axis
    peel: bool
    in_place: bool  # reads what it writes: each lane may be stored once
    aligned: Store | None  # whose lines the vectors are to begin at
    mask: Vec | None = None  # lanes not done before, where some were

    @property
    def vectors(self) -> int:
        """How many the loop has: without the last one, where that is peeled."""
        return self.n // self.lanes.width if self.peel else -(-self.n // self.lanes.width)


class Emitter(NodeEmitter):
    """Writes one kernel. `row_lanes` are the lanes of what is computed once a row."""

    def __init__(self, code: Code, kernel: LoopKernel, target: Target, traps: Traps) -> None:
        super().__init__(code, kernel, traps)
        self.kernel = kernel
        self.target = target
        self.row_lanes = self.scalar
        self.vectors_of_line = 1
        self.totals: dict[Store, tuple[str, Accumulator]] = {}
        self.lines = Lines(code, kernel, target, self.pointers)

    def function(self, name: str) -> None:
        with self.code.function(f"internal void @{name}({', '.join(self.parameters())})"):
            self.own_parts()
            self.lines.start()
            self.enter(self.accesses(), [])
            once = Place(self.memory, self.scalar, [], "0")
            for node in self.kernel.prologue:
                self.values[node] = self.node(node, once, self.values)
            if self.kernel.unless is not None:
                self.leave_if_idle(self.values[self.kernel.unless])
            self.start_totals()
            self.rows(self.loops())
            self.lines.finish(self.loops())
            self.finish_totals()
            self.code.line("ret void")

    def range(self) -> int:
        """What the chunks divide: steps of the first outer axis; without one, the vectors that `piece` found."""
        return self.kernel.outer[0] if self.kernel.outer else self.vectors_of_line

    def leave_if_idle(self, scalar: Vec) -> None:
        """Return where `scalar` is -0.0."""
        idle, on = self.code.new_label("idle"), self.code.new_label("on")
        nothing = self.scalar.compare("eq", self.scalar.bits(scalar), 1 << (scalar.dtype.bits - 1))
        self.code.line(f"br i1 {nothing.text}, label %{idle}, label %{on}")
        self.code.start_block(idle)
        self.code.line("ret void")
        self.code.start_block(on)

    def accesses(self) -> list[Access | None]:
        return [n.access for n in self.kernel.nodes()] + [s.access for s in self.kernel.stores()]

    def enter(self, accesses: Sequence[Access | None], outer: Sequence[str]) -> None:
        self.memory.enter(accesses, outer)

    def loops(self) -> list[int]:
        """The sizes of the loops around `row`."""
        return list(self.kernel.outer)

    def rows(self, sizes: list[int]) -> None:
        """Loops over the outer axes around the phases."""
        if not sizes:
            if self.outer:
                self.enter(self.accesses(), self.outer)
            self.row()
            return

        def body(i: str, _: list[Vec]) -> list[Vec]:
            self.outer.append(i)
            self.rows(sizes[1:])
            self.outer.pop()
            return []

        split = self.kernel.chunks > 1 and not self.outer
        start, stop = ("%lo", "%hi") if split else ("0", str(sizes[0]))
        self.lines.loop(start, stop, len(self.outer), self.loops(), body)

    def row(self) -> None:
        """One row: phases, each its scalars and then its lanes."""
        here = Place(self.memory, self.scalar, [], "0")
        for phase in self.kernel.phases:
            for node in phase.row:
                self.values[node] = self.node(node, here, self.values)
            for store in phase.row_stores:
                self.row_store(store, self.values[store.node], here)
            self.phase(phase)

    def own_parts(self) -> None:
        """Point at this chunk's part of the private buffers."""
        for buffer, size in self.kernel.private.items():
            start = linear(self.code, 0, [("%chunk", size)])
            self.pointers[buffer] = element(self.code, self.pointers[buffer], buffer.dtype, start)

    # Phases.

    def phase(self, phase: Phase) -> None:
        """The lanes of a phase; what its reductions give is in `values` afterwards."""
        if not (phase.body or phase.stores or phase.reductions):
            return
        inner = self.kernel.inner or (1,)
        walk = self.walk(phase, inner[-1])
        totals = [s for s in phase.stores if s.total]
        states = [a.wide_start() if a.blocked else a.start() for a in walk.sums[: len(phase.reductions)]]
        for store in totals:
            states.append([self.load_total(store)])
        states = self.slow_axes(walk, list(inner[:-1]), [], states)
        for store, state in zip(totals, states[len(phase.reductions) :], strict=True):
            self.save_total(store, state[0])
        for node, acc, state in zip(phase.reductions, walk.sums, states, strict=False):
            self.values[node] = acc.finish(state, node.dtype)

    def walk(self, phase: Phase, n: int) -> Walk:
        lanes = Lanes(self.code, self.target.lanes(phase, n), lambda _: None)
        long = math.prod(self.kernel.inner) > BLOCK
        sums = [
            Accumulator(self.code, lanes, r.attrs["op"], r.args[0].dtype, long=long) for r in phase.reductions
        ]
        sums += [self.totals[s][1] for s in phase.stores if s.total]
        sources = [r.args[0] for r in phase.reductions] + [s.node for s in phase.stores if s.total]
        partial = n % lanes.width != 0
        counted = any(a.masked for a in sums) or any(
            s.combine in ("sum", "prod") for s in phase.stores if not s.total
        )
        in_place = _changes_in_place(phase)
        peel = partial and (in_place or (counted and len(phase.body) <= PEEL_NODES))
        aligned = _aligned_store(phase, n, lanes.width) if in_place else None
        walk = Walk(phase, lanes, {}, sums, sources, n, peel, in_place, aligned)
        used = {a for node in phase.body for a in node.args} | {s.node for s in phase.stores} | set(sources)
        for node, value in self.values.items():
            if node in used and node.level != ELEMENT:
                walk.values[node] = self.splat(lanes, node, value)
        return walk

    def splat(self, lanes: Lanes, node: Node, value: Vec) -> Vec:
        return lanes.const(node.attrs["value"], node.dtype) if node.op == "const" else lanes.splat(value)

    def slow_axes(
        self, walk: Walk, sizes: list[int], slow: list[str], states: list[list[Vec]]
    ) -> list[list[Vec]]:
        """Loops over the inner axes but the last, carrying the states."""
        if not sizes:
            return self.line(walk, slow, states)

        def body(i: str, now: list[Vec]) -> list[Vec]:
            return _flat(self.slow_axes(walk, sizes[1:], [*slow, i], _like(states, now)))

        carried = [(walk.lanes, v) for v in _flat(states)]
        return _like(states, loop(self.code, "0", str(sizes[0]), 1, carried, body))

    def line(self, walk: Walk, slow: list[str], states: list[list[Vec]]) -> list[list[Vec]]:
        """The vector axis: whole, or in blocks where a sum is long."""
        if self.kernel.chunks > 1 and not self.kernel.outer:
            return self.piece(walk, states)
        if walk.aligned is not None:
            self.aligned_vectors(walk, walk.aligned, slow)
            return states
        width = walk.lanes.width
        full = walk.n // width * width if walk.peel else walk.n
        per_block = max(BLOCK // width, 1) * width
        if not any(a.blocked for a in walk.sums):
            return self.vectors(walk, slow, states, "0", str(full), full <= width, last=True)
        if full <= per_block:
            return self.block(walk, slow, states, "0", str(full), full <= width, last=True)
        begun = (full - 1) // per_block * per_block  # where the last block begins
        carried = [(walk.lanes, v) for v in _flat(states)]

        def body(lo: str, now: list[Vec]) -> list[Vec]:
            hi = self.code.fresh("i")
            self.code.line(f"{hi} = add nuw nsw i64 {lo}, {per_block}")
            return _flat(self.block(walk, slow, _like(states, now), lo, hi, per_block == width, last=False))

        states = _like(states, loop(self.code, "0", str(begun), per_block, carried, body, once=begun == per_block))
        return self.block(walk, slow, states, str(begun), str(full), full - begun <= width, last=True)

    def block(
        self, walk: Walk, slow: list[str], states: list[list[Vec]], lo: str, hi: str, once: bool, last: bool
    ) -> list[list[Vec]]:
        """`vectors` with fresh narrow states for blocked sums, flushed at its end."""
        return self.flushed(walk, states, lambda narrow: self.vectors(walk, slow, narrow, lo, hi, once, last))

    def flushed(
        self, walk: Walk, states: list[list[Vec]], run: Callable[[list[list[Vec]]], list[list[Vec]]]
    ) -> list[list[Vec]]:
        narrow = [a.start() if a.blocked else s for a, s in zip(walk.sums, states, strict=True)]
        done = run(narrow)
        return [
            a.flush(s, d) if a.blocked else d for a, s, d in zip(walk.sums, states, done, strict=True)
        ]

    def piece(self, walk: Walk, states: list[list[Vec]]) -> list[list[Vec]]:
        """A chunk of a kernel that is one line: its vectors, by blocks, and after the last what is peeled."""
        width, ragged = walk.lanes.width, not walk.peel
        self.vectors_of_line = walk.vectors
        assert walk.vectors >= self.kernel.chunks, "no chunk is empty"
        lo, hi = (linear(self.code, 0, [(i, width)]) for i in ("%lo", "%hi"))

        def body(i: str, now: list[Vec]) -> list[Vec]:
            end = clamp(self.code, linear(self.code, max(BLOCK // width, 1) * width, [(i, 1)]), hi)
            return _flat(self.block(walk, [], _like(states, now), i, end, False, last=ragged))

        carried = [(walk.lanes, v) for v in _flat(states)]
        states = _like(states, loop(self.code, lo, hi, max(BLOCK // width, 1) * width, carried, body))
        if walk.peel:
            ends = self.code.fresh("c")
            self.code.line(f"{ends} = icmp eq i64 %hi, {walk.vectors}")
            before = states
            after = choose(
                self.code, ends,
                lambda: _flat(self.flushed(walk, before, lambda narrow: self.peeled(walk, [], narrow))),
                lambda: _flat(before), [walk.lanes] * len(_flat(before)),
            )
            states = _like(states, after)
        return states

    def vectors(
        self, walk: Walk, slow: list[str], states: list[list[Vec]], lo: str, hi: str, once: bool, last: bool
    ) -> list[list[Vec]]:
        """The loop over vectors from lo to hi, then the peeled one if the row ends here."""
        width, n = walk.lanes.width, walk.n
        ragged = n % width != 0 and not walk.peel and last

        def body(i: str, now: list[Vec]) -> list[Vec]:
            at = i
            walk.mask = None
            if ragged:
                at = clamp(self.code, i, n - width)
                walk.mask = self.fresh_lanes(walk, i, at)
            return _flat(self.body(walk, slow, at, i, _like(states, now)))

        carried = [(walk.lanes, v) for v in _flat(states)]
        states = _like(states, loop(self.code, lo, hi, width, carried, body, once=once))
        return self.peeled(walk, slow, states) if walk.peel and last else states

    def peeled(self, walk: Walk, slow: list[str], states: list[list[Vec]]) -> list[list[Vec]]:
        """The last vector of a row, of which some lanes are done."""
        width, n = walk.lanes.width, walk.n
        walk.mask = _constant_mask(width, width - n % width)
        states = self.body(walk, slow, str(n - width), str(n // width * width), states)
        walk.mask = None
        return states

    def aligned_vectors(self, walk: Walk, store: Store, slow: list[str]) -> None:
        """The vectors of a row, each at the beginning of a cache line of what `store` writes: a store across two of
        them takes twice as long. Then what is left at both edges of the row."""
        code, m, n = self.code, self.scalar, walk.n
        width, dtype = walk.lanes.width, store.node.dtype
        per_line = min(LINE // dtype.itemsize, width)
        address = Vec(code.fresh(), i64)
        code.line(f"{address.text} = ptrtoint ptr {self.memory.address(store.access, dtype, slow, '0')} to i64")
        lo = m.and_(m.sub(0, m.lshr(address, dtype.itemsize.bit_length() - 1)), per_line - 1)
        end = m.add(lo, m.and_(m.sub(n, lo), -width))

        def body(i: str, _: list[Vec]) -> list[Vec]:
            self.body(walk, slow, i, i, [])
            return []

        loop(code, lo.text, str(n - width + 1), width, [], body)
        first_left, stop_left = m.sub(end, n - width), m.sub(width, lo)

        def edge(which: str, _: list[Vec]) -> list[Vec]:
            e, lane = Vec(which, i64), positions(walk.lanes, i32)
            start, stop = m.mul(e, first_left), m.add(lo, m.mul(e, stop_left))
            bounds = [walk.lanes.splat(Vec(self.truncate(x), i32)) for x in (start, stop)]
            walk.mask = walk.lanes.and_(
                walk.lanes.compare("ge", lane, bounds[0]), walk.lanes.compare("lt", lane, bounds[1])
            )
            at = m.mul(e, n - width).text
            self.body(walk, slow, at, at, [])
            walk.mask = None
            return []

        loop(code, "0", "2", 1, [], edge)

    def fresh_lanes(self, walk: Walk, i: str, at: str) -> Vec | None:
        """The lanes that the vector before has not done, where any sum asks."""
        counted = any(a.masked for a in walk.sums)
        if not counted and not any(s.combine in ("sum", "prod") for s in walk.phase.stores):
            return None
        done = self.scalar.sub(Vec(i, i64), Vec(at, i64))
        from_ = walk.lanes.splat(Vec(self.truncate(done), i32))
        return walk.lanes.compare("ge", positions(walk.lanes, i32), from_)

    def truncate(self, x: Vec) -> str:
        return self.scalar.cast(x, i32).text

    def body(
        self, walk: Walk, slow: list[str], at: str, turn: str, states: list[list[Vec]]
    ) -> list[list[Vec]]:
        place = Place(self.memory, walk.lanes, slow, at, turn)
        values = dict(walk.values)
        for node in walk.phase.body:
            values[node] = self.node(node, place, values)
        for store in walk.phase.stores:
            if not store.total:
                self.store(walk, store, place, values[store.node])
        after = []
        position = self.position(slow, at) if any(a.positional for a in walk.sums) else ""
        for acc, state, source in zip(walk.sums, states, walk.sources, strict=True):
            value = values[source]
            if acc.masked and walk.mask is not None:
                value = walk.lanes.select(walk.mask, value, identity_of(acc.op, acc.dtype))
            after.append(acc.step(state, value, position))
        return after

    def position(self, slow: list[str], index: str) -> str:
        """The number of an element in its row, whatever axes the row is walked by."""
        inner = self.kernel.inner
        return linear(self.code, 0, [(i, math.prod(inner[k + 1 :])) for k, i in enumerate([*slow, index])])

    def store(self, walk: Walk, store: Store, place: Place, value: Vec) -> None:
        if not store.combine:
            mask = walk.mask if walk.in_place else None
            self.memory.store(value, store.access, place.lanes, place.slow, place.index, mask)
            return
        if walk.mask is not None and store.combine in ("sum", "prod"):
            value = walk.lanes.select(walk.mask, value, identity_of(store.combine, value.dtype))
        if self.lines.holds(store):
            self.lines.add(store, value, place.turn)
            return
        old = self.memory.load(store.access, value.dtype, place.lanes, place.slow, place.index)
        value = combine(place.lanes, store.combine, old, value)
        self.memory.store(value, store.access, place.lanes, place.slow, place.index)

    def row_store(self, store: Store, value: Vec, place: Place) -> None:
        if store.total:
            self.save_total(store, self.add_wide(store, value))
            return
        if store.combine:
            old = place.memory.load(store.access, value.dtype, place.lanes, place.slow, place.index)
            value = combine(place.lanes, store.combine, old, value)
        place.memory.store(value, store.access, place.lanes, place.slow, place.index)

    # Totals: over the whole kernel, on the stack.

    def start_totals(self) -> None:
        for phase in self.kernel.phases:
            n = (self.kernel.inner or (1,))[-1]
            lanes = Lanes(self.code, self.target.lanes(phase, n))
            for stores, width in ((phase.row_stores, self.row_lanes), (phase.stores, lanes)):
                for store in stores:
                    if store.total:
                        self.start_total(store, width)

    def start_total(self, store: Store, lanes: Lanes) -> None:
        acc = Accumulator(self.code, lanes, store.combine, store.node.dtype, long=True)
        slot = self.code.fresh("total")
        first = acc.wide_start() if acc.blocked else acc.start()
        self.code.line(f"{slot} = alloca {lanes.memory_type(first[0].dtype)}, align 64")
        self.totals[store] = slot, acc
        self.save_total(store, first[0])

    def load_total(self, store: Store) -> Vec:
        slot, acc = self.totals[store]
        return acc.lanes.load(slot, acc.wide_dtype if acc.blocked else acc.dtype, 64)

    def save_total(self, store: Store, value: Vec) -> None:
        slot, acc = self.totals[store]
        acc.lanes.store(value, slot, 64)

    def add_wide(self, store: Store, value: Vec) -> Vec:
        old = self.load_total(store)
        return combine(self.row_lanes, store.combine, old, self.row_lanes.cast(value, old.dtype))

    def finish_totals(self) -> None:
        for store, (_, acc) in self.totals.items():
            buffer = store.access.buffer
            assert buffer is not None
            self.scalar.store(acc.finish([self.load_total(store)], buffer.dtype), self.pointers[buffer])


def _aligned_store(phase: Phase, n: int, width: int) -> Store | None:
    """The store whose lines the vectors of a phase in place should begin at, if any."""
    plain = not phase.reductions and not any(s.combine for s in phase.stores)
    masks = all(s.node.dtype.itemsize >= 4 for s in phase.stores)  # narrower ones are stored lane by lane
    if n < ALIGNED_VECTORS * width or not (plain and masks) or any(node.op == "philox" for node in phase.body):
        return None
    return next((s for s in phase.stores if s.access.strides[-1:] == (1,)), None)


def _changes_in_place(phase: Phase) -> bool:
    """Whether the lanes of a phase write to a buffer that they load from."""
    written = {s.access.buffer for s in phase.stores if not s.combine}
    return any(n.op == "load" and n.access is not None and n.access.buffer in written for n in phase.body)


def _flat(states: Sequence[Sequence[Vec]]) -> list[Vec]:
    return [v for state in states for v in state]


def _like(states: Sequence[Sequence[Vec]], flat: Sequence[Vec]) -> list[list[Vec]]:
    left = list(flat)
    out = []
    for state in states:
        out.append(left[: len(state)])
        left = left[len(state) :]
    return out


def _constant_mask(width: int, done: int) -> Vec:
    """True in the lanes from `done` on."""
    if width == 1:
        return Vec("true", bool_)
    return Vec(f"<{', '.join(f'i1 {int(i >= done)}' for i in range(width))}>", bool_)
