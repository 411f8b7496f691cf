"""Where NumPy arrays lie in memory, asked without NumPy, which takes a microsecond to say.

Imports: numpy.
"""

from __future__ import annotations

import ctypes

import numpy as np


def _data_offset() -> int:
    """Where an ndarray object holds the address of its first element, found by looking for it."""
    array = np.zeros(3)
    for offset in range(0, 64, 8):
        if ctypes.c_void_p.from_address(id(array) + offset).value == array.ctypes.data:
            return offset
    raise RuntimeError(f"numpy {np.__version__} keeps the address of an array's data in an unknown place")


DATA_OFFSET = _data_offset()
_Address = ctypes.c_size_t


def extent(array: np.ndarray) -> tuple[int, int]:
    """The first byte of an array that has elements, and the one after its last."""
    first = _Address.from_address(id(array) + DATA_OFFSET).value
    if array.flags.c_contiguous:
        return first, first + array.nbytes
    reach = [s * (n - 1) for n, s in zip(array.shape, array.strides, strict=True)]
    return first + sum(r for r in reach if r < 0), first + sum(r for r in reach if r > 0) + array.itemsize
