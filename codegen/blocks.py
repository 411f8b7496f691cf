"""Kernels with blocks of rows: the scalars of a phase for all rows of a block at once, in lanes.

The last outer axis is the block. Row scalars that bodies read, and what reductions give, lie in slots on the stack,
one element a row: the code of a phase computes vectors and stores them, the loop over the rows of the block loads
one element of each, and puts back what its row's reductions gave.

Imports: `ir.fuse`, `abi`, `control`, `loops`, `memory`, `nodes`, `reductions`, `target`, `text`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.fuse import ROW, Access, LoopKernel, Node, Phase, Store
from .abi import Traps
from .control import element, loop
from .loops import Emitter
from .memory import Memory
from .nodes import Place
from .reductions import across
from .target import Target
from .text import Code, Lanes, Vec


class BlockEmitter(Emitter):
    """Writes a kernel that has a block."""

    def __init__(self, code: Code, kernel: LoopKernel, target: Target, traps: Traps) -> None:
        super().__init__(code, kernel, target, traps)
        self.row_lanes = Lanes(code, kernel.block, lambda _: None)
        self.row_memory = Memory(code, len(kernel.outer) - 1, 1, self.pointers, self.bases)
        self.slots: dict[Node, str] = {}
        self.by_row: dict[Node, Vec] = {}  # row scalars of the current block, and the kernel's, as lanes

    def loops(self) -> list[int]:
        return list(self.kernel.outer[:-1])

    def enter(self, accesses: Sequence[Access | None], outer: Sequence[str]) -> None:
        held: list[Node | Store] = [n for p in self.kernel.phases for n in p.row]
        held += [s for p in self.kernel.phases for s in p.row_stores]
        self.row_memory.enter([h.access for h in held], outer)
        if not outer:
            self.memory.enter(accesses, [])
            self.make_slots()

    def make_slots(self) -> None:
        """A place on the stack for each row scalar that lanes read or make."""
        read = {a for p in self.kernel.phases for n in p.body for a in n.args}
        read |= {s.node for p in self.kernel.phases for s in p.stores}
        read |= {r.args[0] for p in self.kernel.phases for r in p.reductions}
        made = [n for p in self.kernel.phases for n in p.row if n in read]
        for node in [*made, *(r for p in self.kernel.phases for r in p.reductions)]:
            self.slots[node] = self.code.fresh("slot")
            self.code.line(f"{self.slots[node]} = alloca {self.row_lanes.memory_type(node.dtype)}, align 64")

    def row(self) -> None:
        """One block: phases, each its scalars for all rows and then its lanes, row by row."""
        here = Place(self.row_memory, self.row_lanes, [], "0")
        self.by_row = {}
        for phase in self.kernel.phases:
            for node in phase.row:
                self.by_row[node] = self.node(node, here, self.scalars(node.args))
                if node in self.slots:
                    self.row_lanes.store(self.by_row[node], self.slots[node], 64)
            for store in phase.row_stores:
                self.row_store(store, self.scalars([store.node])[store.node], here)
            if phase.body or phase.stores or phase.reductions:
                self.each_row(phase)

    def scalars(self, nodes: Sequence[Node]) -> dict[Node, Vec]:
        """These row scalars as lanes, one for each row of the block."""
        for node in nodes:
            if node in self.by_row:
                continue
            if node.level == ROW:
                self.by_row[node] = self.row_lanes.load(self.slots[node], node.dtype, 64)
            else:
                self.by_row[node] = self.splat(self.row_lanes, node, self.values[node])
        return {n: self.by_row[n] for n in nodes}

    def each_row(self, phase: Phase) -> None:
        """The lanes of a phase for each row of the block."""
        held: list[Node | Store] = [*phase.body, *phase.stores]
        read = {a for n in phase.body for a in n.args} | {s.node for s in phase.stores}
        read |= {r.args[0] for r in phase.reductions}

        def body(i: str, _: list[Vec]) -> list[Vec]:
            self.outer.append(i)
            self.memory.enter([h.access for h in held], self.outer)
            for node in self.slots:
                if node in read:
                    place = element(self.code, self.slots[node], node.dtype, i)
                    self.values[node] = self.scalar.load(place, node.dtype)
            self.phase(phase)
            for node in phase.reductions:
                self.scalar.store(self.values[node], element(self.code, self.slots[node], node.dtype, i))
            self.outer.pop()
            return []

        loop(self.code, "0", str(self.kernel.block), 1, [], body)

    def row_store(self, store: Store, value: Vec, place: Place) -> None:
        if store.combine and not store.total and place.memory.step(store.access) == 0:
            # All rows of the block add to one element.
            one = Place(place.memory, self.scalar, [], "0")
            super().row_store(store, across(place.lanes, store.combine, value), one)
        else:
            super().row_store(store, value, place)
