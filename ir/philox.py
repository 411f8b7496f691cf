"""Philox4x32-10, the counter-based random generator, in numpy.

Reference: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
(constants in section 3). A draw of n words takes ceil(n / 4) counters; element i is word i % 4 of counter
offset + i // 4. The 64-bit offset fills the low half of the 128-bit counter, the high half is 0.

Imports: numpy.
"""

from __future__ import annotations

import math

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORDS = 4  # 32-bit words that one counter gives
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def counters(n: int) -> int:
    """How many counters a draw of `n` words advances the offset by."""
    return -(-n // WORDS)


def philox_bits(key: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """int32 words of shape `shape` for the int64 scalars `key` and `offset`."""
    n = math.prod(shape)
    with np.errstate(over="ignore"):
        start = np.asarray(offset, np.int64).view(np.uint64)
        counter = start + np.arange(counters(n), dtype=np.uint64)
        words = _rounds(counter, int(np.asarray(key, np.int64).view(np.uint64)))
    bits = np.stack(words, axis=1).astype(np.uint32).view(np.int32)
    return bits.reshape(-1)[:n].reshape(shape)


def _rounds(counter: np.ndarray, key: int) -> tuple[np.ndarray, ...]:
    x0, x1 = counter & _LOW, counter >> _HALF
    x2, x3 = np.zeros_like(x0), np.zeros_like(x0)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(ROUNDS):
        p0, p1 = x0 * np.uint64(MULTIPLIERS[0]), x2 * np.uint64(MULTIPLIERS[1])
        x0, x2 = (p1 >> _HALF) ^ x1 ^ np.uint64(k0), (p0 >> _HALF) ^ x3 ^ np.uint64(k1)
        x1, x3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return x0, x1, x2, x3
