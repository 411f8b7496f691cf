"""How a contraction is cut for a machine's registers and caches.

A tile of `rows` by `vectors` of the result is summed in registers: each step of the sum loads `vectors` vectors of
the right operand and one number for all lanes of each row of the left one. Where the last axis of rows or columns is
short, as those of the windows of a convolution are, several steps of the next slower one share a tile, which hides
the latency. The model below prices a step in cycles of a core with two multiply-adds and two loads a cycle and a
latency of four or five, which is what x86-64 and AArch64 cores of the last ten years have; the tiles of a result are
priced together, remainders at its edges included.

Imports: `ir.fuse`, `ir.types`, `target`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..ir.fuse import Contraction
from ..ir.types import Shape
from .target import Target

_LATENCY, _PER_CYCLE = 5.0, 2.0
_FROM_LEFT, _FROM_RIGHT = 0.05, 0.2  # cycles more for each load: the right operand comes from the second cache
_FAR = 2.0  # and for each step, where that operand's rows lie pages apart
_PAGE = 4096
_TILE = 12.0  # cycles to begin and end a tile
_VARIANT = 0.03  # more for each kind of tile at an edge, which is compiled too
_MOST_VECTORS = 6
_MOST_STEPS = 16  # of a slower axis in a tile
_WAY = 4096  # bytes: lines so far apart, or a multiple, share a set of the first cache
_ROWS_IN_SET = 6  # of a tile, beside the right operand's lines: caches of eight ways and more keep them
_SHORT = 8  # steps
_UNROLL = 2  # cores that issue six instructions and more a cycle need none
GROUP_BYTES = 1 << 18  # of the left operand, read again for each panel of columns: half of a small second cache


@dataclass(frozen=True, slots=True)
class Tiling:
    """`width` lanes a vector; a tile has `rows` and `vectors`, in each of `lines` steps of the next slower axis of rows
    and `bands` steps of that of columns; a step of the loop over terms is written `unroll` times, which go to `chains`
    sums in turn, so that a tile of few sums need not wait for each; the rows of `group` tiles are done before the next
    panel of columns."""

    width: int
    rows: int
    vectors: int
    unroll: int
    chains: int
    group: int
    lines: int = 1
    bands: int = 1

    @property
    def columns(self) -> int:
        """Of a tile."""
        return self.width * self.vectors

    @property
    def registers(self) -> int:
        """That the sums of a tile take."""
        return self.rows * self.lines * self.vectors * self.bands


def tiling(kernel: Contraction, target: Target) -> Tiling:
    """The cheapest one."""
    m, n, depth = kernel.rows[-1], kernel.columns[-1], math.prod(kernel.terms)
    itemsize = kernel.product.dtype.itemsize
    most = target.registers
    if kernel.left.strides[len(kernel.outer) - 1] * itemsize % _WAY == 0:
        most = _ROWS_IN_SET
    width = min(target.vector_bytes // itemsize, 1 << (n - 1).bit_length())
    across = -(-n // width)
    far = _FAR * (abs(kernel.right.strides[-1]) * itemsize >= _PAGE)
    best, least = (1, 1, 1, 1), math.inf
    for vectors, bands in _pieces(min(_MOST_VECTORS, across), across, kernel.columns):
        for rows, lines in _pieces(min(most, m), m, kernel.rows):
            height, breadth = rows * lines, vectors * bands
            if height > most or height * breadth + breadth + 1 > target.registers:
                continue
            kinds = [(r * lines, v * bands, a * b) for r, a in _cut(m, rows) for v, b in _cut(across, vectors)]
            spent = sum(count * _cycles(r, v, depth, far) for r, v, count in kinds) / (lines * bands)
            spent *= 1 + _VARIANT * len(kinds)
            if spent < least * 0.999:
                best, least = (rows, vectors, lines, bands), spent
    rows, vectors, lines, bands = best
    steps = min(kernel.block, depth) * itemsize
    group = max(GROUP_BYTES // (rows * steps), 1)
    sums, right = rows * lines * vectors * bands, vectors * bands
    wanted = min(_LATENCY * _PER_CYCLE, target.registers - right - 1) / sums
    unroll = _unroll(kernel, max(_UNROLL, math.ceil(wanted)))
    if sums + right + rows + unroll > target.registers and _recurs(kernel, rows, unroll):
        unroll = 1
    return Tiling(width, rows, vectors, unroll, max(min(unroll, int(wanted + 0.5)), 1), group, lines, bands)


def _pieces(most: int, size: int, axes: Shape) -> Iterator[tuple[int, int]]:
    """How much of the last of `axes`, of `size`, a tile can have, with one step of the axis before it; all of it with
    several steps, as many as divide that axis."""
    for piece in range(1, most + 1):
        yield piece, 1
    if most == size and len(axes) > 1:
        for steps in range(2, min(axes[-2], _MOST_STEPS) + 1):
            if axes[-2] % steps == 0:
                yield size, steps


def _cut(size: int, piece: int) -> list[tuple[int, int]]:
    """How many pieces of which size."""
    return [(n, count) for n, count in ((piece, size // piece), (size % piece, 1)) if n and count]


def _cycles(rows: int, vectors: int, depth: int, far: float) -> float:
    step = max(rows * vectors / _PER_CYCLE, (rows + vectors) / _PER_CYCLE, _LATENCY)
    return depth * (step + far + _FROM_LEFT * rows + _FROM_RIGHT * vectors) + rows * vectors + _TILE


def _recurs(kernel: Contraction, rows: int, steps: int) -> bool:
    """Whether a number of the left operand is one row's at one of `steps` and another row's at a later one, as of
    windows that overlap: the compiler keeps such in registers, if it sees the steps together."""
    down, step = kernel.left.strides[len(kernel.outer) - 1], kernel.left.strides[-1]
    return down != 0 and any(u * step % down == 0 and 0 < abs(u * step // down) < rows for u in range(1, steps))


def _unroll(kernel: Contraction, most: int) -> int:
    """A divisor of every trip count of the innermost loop: all of a short one inside others, else `most` or less."""
    if len(kernel.terms) > 1 and kernel.terms[-1] <= _SHORT:
        return kernel.terms[-1]
    counts = (kernel.block, kernel.terms[0] % kernel.block) if len(kernel.terms) == 1 else (kernel.terms[-1],)
    return next(u for u in range(min(most, _SHORT), 0, -1) if all(n % u == 0 for n in counts))
