"""What NumPy arrays and other buffers held, kept to compare with: the part of a guard that costs memory speed.

A buffer is compared with a copy of its bytes (`bytearray.__eq__` is `memcmp`: about 20 us a MB in the cache, 40 to 60
beyond, an eighth of what a CRC and a fortieth of what a BLAKE2 takes, and exact). The copy is shared by all that
hold the same buffer with the same contents. The buffer itself is not kept alive.

Imports: NumPy.
"""

from __future__ import annotations

import array
import weakref
from typing import Any

import numpy as np

BUFFERS = (np.ndarray, bytearray, memoryview, array.array)


class Held:
    """What a buffer was: the layout of an array and, with `elements`, what it held."""

    __slots__ = ("__weakref__", "_bytes", "_layout")

    def __init__(self, buffer: Any, elements: bool = True) -> None:
        self._layout = _layout(buffer)
        self._bytes = bytearray(_raw(buffer).tobytes()) if elements else None

    @property
    def elements(self) -> bool:
        """Whether the elements are compared."""
        return self._bytes is not None

    def changed(self, buffer: Any) -> str:
        """In what `buffer` differs now, in words; '' if in nothing."""
        if _layout(buffer) != self._layout:
            return f"the shape, strides, dtype or flags of a {type(buffer).__name__} changed"
        if self._bytes is not None and self._bytes.__eq__(_raw(buffer)) is not True:
            return f"what a {type(buffer).__name__} holds changed"
        return ""


_shared: weakref.WeakValueDictionary[int, Held] = weakref.WeakValueDictionary()  # by the id of a buffer


def hold(buffer: Any) -> Held:
    """What `buffer` is now."""
    found = _shared.get(id(buffer))
    if found is None or found.changed(buffer):
        found = _shared[id(buffer)] = Held(buffer)
    return found


def owner(buffer: Any) -> Any:
    """The object whose memory an array shows: itself, another array, `bytes`, a memory map..."""
    while isinstance(buffer, np.ndarray) and buffer.base is not None:
        buffer = buffer.base
    return buffer


def _layout(buffer: Any) -> Any:
    if not isinstance(buffer, np.ndarray):
        return type(buffer)
    return buffer.dtype, buffer.shape, buffer.strides, buffer.flags.writeable


def _raw(buffer: Any) -> Any:
    """A contiguous buffer of the elements, in an order that the layout alone decides; a copy only where it must be."""
    if not isinstance(buffer, np.ndarray):
        view = memoryview(buffer)
        return view if view.c_contiguous else memoryview(view.tobytes())
    if buffer.dtype.kind == "T":  # strings of any length, whose memory is elsewhere
        return memoryview(repr(buffer.tolist()).encode("utf-8", "surrogatepass"))
    if buffer.flags.c_contiguous:
        return buffer
    return buffer.T if buffer.flags.f_contiguous else np.ascontiguousarray(buffer)
