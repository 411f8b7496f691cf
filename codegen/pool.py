"""Memory for results and arenas: aligned, and used again once nobody holds it.

Memory fresh from the system costs more than most kernels that write it (every page faults), so the pool keeps
the blocks that it handed out. An array made in a block has it as its base, and so have all views of the array:
a block that only the pool refers to is free. Nothing is registered and nothing has to be given back.

Invariants: arrays begin on a cache line; a block in use is never handed out again; at most `capacity` bytes
are kept (the pool forgets all its blocks when it would keep more).
Imports: `ir.types`.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from ..ir.types import Shape

ALIGN = 64
SMALL = 1 << 15  # bytes: below, the system's own allocator reuses memory as well
CAPACITY = 1 << 29
_FREE = 2  # references to a free block while it is looked at: the local variable and getrefcount's argument


class Pool:
    """Blocks of memory by size. Safe to use from several threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._blocks: dict[int, list[np.ndarray]] = {}
        self._kept = 0
        # Reentrant: an allocation may run the garbage collector, and a finalizer may allocate.
        self._lock = threading.RLock()

    def empty(self, shape: Shape, dtype: np.dtype, nbytes: int) -> np.ndarray:
        """An uninitialised row-major array of `nbytes` bytes that shares memory with nothing in use."""
        if nbytes < SMALL:
            return np.empty(shape, dtype)
        with self._lock:
            block = self._free_block(nbytes)
            if block is None:
                block = np.empty(nbytes + ALIGN, np.uint8)
            start = -block.ctypes.data % ALIGN
            array: np.ndarray = np.ndarray(shape, dtype, block, start)
            self._keep(nbytes, block)
        return array

    def _free_block(self, nbytes: int) -> np.ndarray | None:
        """A block taken from the pool that nobody refers to."""
        blocks = self._blocks.get(nbytes, [])
        for _ in range(len(blocks)):
            block = blocks.pop(0)
            if sys.getrefcount(block) == _FREE:
                self._kept -= nbytes
                return block
            blocks.append(block)
        return None

    def _keep(self, nbytes: int, block: np.ndarray) -> None:
        if self._kept + nbytes > self.capacity:
            self._blocks.clear()
            self._kept = 0
        if nbytes <= self.capacity:
            self._blocks.setdefault(nbytes, []).append(block)
            self._kept += nbytes


POOL = Pool()
