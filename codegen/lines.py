"""What a kernel accumulates over its rows, one element for each column.

Most of it is added to the result in memory. But a store has a line on the stack, flushed to the result after each
run of rows, where it is a long float sum, because runs of sums added up are more accurate than one long sum; and
where its rows have an odd length: in the result the last vector would overlap the one before, and loading what
two stores wrote stalls, while in the line each vector has its own place.

Imports: `ir.fuse`, `control`, `literals`, `reductions`, `target`, `text`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from ..ir.fuse import Buffer, LoopKernel, Phase, Store
from .control import LoopBody, clamp, element, fill, linear, loop, nest, power_of_two_below
from .literals import MEMORY_TYPE
from .reductions import combine, identity_of
from .target import Target
from .text import Code, Lanes, Vec

LINE_BYTES = 1 << 14
RUN = 512  # rows


class Lines:
    """The accumulating stores of one kernel. `pointers`: of its buffers."""

    def __init__(self, code: Code, kernel: LoopKernel, target: Target, pointers: Mapping[Buffer, str]) -> None:
        self.code = code
        self.kernel = kernel
        self.target = target
        self.pointers = pointers
        self.lines: dict[Store, tuple[str, Lanes]] = {}

    def holds(self, store: Store) -> bool:
        return store in self.lines

    def start(self) -> None:
        """Fill results, and lines, with the identities."""
        for phase in self.kernel.phases:
            for store in (*phase.row_stores, *phase.stores):
                if store.combine and not store.total:
                    self._fill(store, self._lanes(phase, store) if store in phase.stores else None)

    def add(self, store: Store, value: Vec, turn: str) -> None:
        """Add a vector of a row to its place in the line."""
        line, lanes = self.lines[store]
        place = element(self.code, line, value.dtype, turn)
        lanes.store(combine(lanes, store.combine, lanes.load(place, value.dtype), value), place)

    def loop(self, start: str, stop: str, depth: int, sizes: Sequence[int], body: LoopBody) -> None:
        """The loop of depth `depth` of the loops over rows, which have `sizes`; of the innermost that goes over
        enough rows, in runs, each flushed."""
        if not self.lines or depth != self._depth(sizes):
            loop(self.code, start, stop, 1, [], body)
            return
        length = max(RUN // self._rows(sizes[depth + 1 :]), 1)

        def run(first: str, _: list[Vec]) -> list[Vec]:
            end = clamp(self.code, linear(self.code, length, [(first, 1)]), stop)
            loop(self.code, first, end, 1, [], body)
            self._flush()
            return []

        loop(self.code, start, stop, length, [], run)

    def finish(self, sizes: Sequence[int]) -> None:
        """Flush what no loop has flushed."""
        if not sizes:
            self._flush()

    def _rows(self, sizes: Sequence[int]) -> int:
        return math.prod(sizes) * max(self.kernel.block, 1)

    def _depth(self, sizes: Sequence[int]) -> int:
        return next((d for d in reversed(range(len(sizes))) if self._rows(sizes[d:]) * 8 >= RUN), 0)

    def _lanes(self, phase: Phase, store: Store) -> Lanes | None:
        """The lanes of the line that `store` gets, if any."""
        inner, outer, strides = self.kernel.inner, self.kernel.outer, store.access.strides
        if len(inner) != 1 or not outer or strides != (0,) * len(outer) + (1,) or store.access.offset:
            return None
        lanes = Lanes(self.code, self.target.lanes(phase, inner[0]))
        long = store.combine == "sum" and store.node.dtype.is_floating_point and math.prod(outer) > RUN
        small = inner[0] * store.node.dtype.itemsize <= LINE_BYTES
        return lanes if small and (long or inner[0] % lanes.width) else None

    def _fill(self, store: Store, lanes: Lanes | None) -> None:
        buffer = store.access.buffer
        assert buffer is not None
        dtype, identity = buffer.dtype, identity_of(store.combine, buffer.dtype)
        size = self.kernel.private.get(buffer, buffer.size)
        whole = Lanes(self.code, min(self.target.vector_bytes // dtype.itemsize, power_of_two_below(size)))
        fill(self.code, whole, self.pointers[buffer], size, whole.const(identity, dtype))
        if lanes is not None:
            length = -(-size // lanes.width) * lanes.width
            line = self.code.fresh("line")
            self.code.line(f"{line} = alloca [{length} x {MEMORY_TYPE[dtype.code]}], align 64")
            self.lines[store] = line, lanes
            fill(self.code, lanes, line, length, lanes.const(identity, dtype))

    def _flush(self) -> None:
        """Add the lines to the results, and empty them."""
        for store, (_, lanes) in self.lines.items():
            turns = -(-self.kernel.inner[0] // lanes.width)
            nest(self.code, [turns], partial(self._flush_vector, store))

    def _flush_vector(self, store: Store, turn: list[str]) -> None:
        """One vector. Of the elements that the last shares with the one before, it holds the identity, or for
        an extremum the same."""
        (line, lanes), buffer = self.lines[store], store.access.buffer
        assert buffer is not None
        dtype, n = buffer.dtype, self.kernel.inner[0]
        index = linear(self.code, 0, [(turn[0], lanes.width)])
        at = clamp(self.code, index, n - lanes.width) if n % lanes.width else index
        source, dest = element(self.code, line, dtype, index), element(self.code, self.pointers[buffer], dtype, at)
        value = combine(lanes, store.combine, lanes.load(dest, dtype), lanes.load(source, dtype))
        lanes.store(value, dest)
        lanes.store(lanes.const(identity_of(store.combine, dtype), dtype), source)
