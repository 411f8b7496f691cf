"""Memory for results: aligned, and used again once nobody holds it.

Memory fresh from the system costs more than most kernels that write it (every page faults), so the pool keeps
the blocks that it lent. An array made in a block has a holder as its base, made for this array alone; it, its
views and whatever shares its memory keep the holder alive, and when the holder dies the block comes back.

Invariants: arrays begin on a cache line; a block is lent to one holder at a time; at most `capacity` bytes lie
unused (what comes back beyond that goes to the system).
Imports: `ir.types`.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Any

import numpy as np

from ..ir.types import Shape

ALIGN = 64
SMALL = 1 << 15  # bytes: below, the system's own allocator reuses memory as well
CAPACITY = 1 << 29


Block = tuple[np.ndarray, int]  # the memory, and where in it the first cache line begins


class _Lent(weakref.ref[Any]):
    """A holder that is alive, and the block that it holds."""

    __slots__ = ("block", "nbytes")
    block: Block
    nbytes: int


def aligned(nbytes: int) -> Block:
    """New memory for `nbytes` bytes from a cache line on."""
    memory = np.empty(nbytes + ALIGN, np.uint8)
    return memory, -memory.ctypes.data % ALIGN


class Pool:
    """Blocks of memory by size. Safe to use from several threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._free: dict[int, list[Block]] = {}
        self._unused = 0
        self._lent: dict[int, _Lent] = {}  # by their own identity: their hash is that of what they refer to
        self._holders: dict[int, Any] = {}
        # Reentrant: an allocation may run the garbage collector, and with it `_returned`.
        self._lock = threading.RLock()

    def empty(self, shape: Shape, dtype: np.dtype, nbytes: int) -> np.ndarray:
        """An uninitialised row-major array of `nbytes` bytes that shares memory with nothing in use."""
        if nbytes < SMALL:
            return np.empty(shape, dtype)
        with self._lock:
            block = self._take(nbytes)
            holder_type: Any = self._holders.get(nbytes)
            if holder_type is None:
                holder_type = self._holders[nbytes] = ctypes.c_char * nbytes
            holder: Any = holder_type.from_buffer(*block)
            lent = _Lent(holder, self._returned)
            lent.block, lent.nbytes = block, nbytes
            self._lent[id(lent)] = lent
        array: np.ndarray = np.ndarray(shape, dtype, holder)
        return array

    def _take(self, nbytes: int) -> Block:
        blocks = self._free.get(nbytes)
        if blocks:
            self._unused -= nbytes
            return blocks.pop()
        return aligned(nbytes)

    def _returned(self, lent: weakref.ref[Any]) -> None:
        assert isinstance(lent, _Lent)
        with self._lock:
            del self._lent[id(lent)]
            if self._unused + lent.nbytes > self.capacity:
                self._free.clear()
                self._unused = 0
            if lent.nbytes <= self.capacity:
                self._free.setdefault(lent.nbytes, []).append(lent.block)
                self._unused += lent.nbytes


    def forked(self) -> None:
        """In a forked child: whoever held the lock may have stayed behind. Cut short by a fork, a method leaves
        at worst a block that is lost."""
        self._lock = threading.RLock()


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forked)
