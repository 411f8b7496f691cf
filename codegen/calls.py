"""Kernels of their own kind in LLVM: products by BLAS, running sums, scatters, sorting.

Each is written into the program under construction; operands but those of matmul are row-major.

Imports: `ir.fuse`, `abi`, `control`, `matmul`, `sort`, `target`, `text`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..ir.fuse import CallKernel
from ..ir.types import DType, i64
from .abi import Frame
from .control import clamp, element, linear, loop, nest, power_of_two_below
from .matmul import emit_matmul
from .sort import emit_sort
from .target import Target
from .text import Code, Lanes, Vec


def emit_call(code: Code, frame: Frame, kernel: CallKernel, target: Target) -> None:
    """Write `kernel` into the program under construction."""
    _EMIT[kernel.op](code, frame, kernel, target)


def _natural(target: Target, dtype: DType, n: int) -> int:
    """Lanes of one register, at most `n`."""
    return min(max(target.vector_bytes // dtype.itemsize, 1), power_of_two_below(n))


def _cumsum(code: Code, frame: Frame, kernel: CallKernel, target: Target) -> None:
    """Running sums down the middle axis of (outer, n, inner): by vectors across `inner`, one by one where it
    is 1, for each sum waits for the one before."""
    (operand,), (out,) = kernel.args, kernel.outs
    outer, n, inner = operand.shape
    dtype = out.dtype
    source, dest = frame.pointer(operand.buffer), frame.pointer(out)
    lanes = Lanes(code, _natural(target, dtype, inner))
    width = lanes.width
    zero = lanes.const(-0.0 if dtype.is_floating_point else 0, dtype)

    def line(indices: list[str]) -> None:
        plane, vector = indices
        column = linear(code, 0, [(vector, width)])
        if inner % width:
            column = clamp(code, column, inner - width)

        def step(i: str, now: list[Vec]) -> list[Vec]:
            at = linear(code, 0, [(plane, n * inner), (column, 1), (i, inner)])
            total = lanes.add(now[0], lanes.load(element(code, source, dtype, at), dtype))
            lanes.store(total, element(code, dest, dtype, at))
            return [total]

        loop(code, "0", str(n), 1, [(lanes, zero)], step, once=n == 1)

    nest(code, [outer, -(-inner // width)], line)


def _scatter(code: Code, frame: Frame, kernel: CallKernel, target: Target) -> None:
    """In place on the first operand (lead, mid, size, rest): rows of the update (lead, mid, own, rest) go to
    the checked index (lead, own), one after another, so that the last of equal places wins."""
    into, index = kernel.args[:2]
    lead, mid, size, rest = into.shape
    own = index.shape[1]
    dtype = into.buffer.dtype
    dest, places, source = (frame.pointer(a.buffer) for a in kernel.args)
    widths = _widths(_natural(target, dtype, rest), rest)

    def piece(lanes: Lanes, there: str, here: str) -> None:
        at = element(code, dest, dtype, there)
        value = lanes.load(element(code, source, dtype, here), dtype)
        if kernel.op == "scatter_add":
            value = lanes.add(lanes.load(at, dtype), value)
        lanes.store(value, at)

    def row(indices: list[str]) -> None:
        batch, line, i = indices
        place = element(code, places, i64, linear(code, 0, [(batch, own), (i, 1)]))
        where = Lanes(code, 1).load(place, i64).text
        plane = linear(code, 0, [(batch, mid), (line, 1)])
        there = linear(code, 0, [(plane, size * rest), (where, rest)])
        here = linear(code, 0, [(plane, own * rest), (i, rest)])
        begun = 0
        for width, count in widths:
            part = partial(_part, code, Lanes(code, width), begun, there, here, piece)
            nest(code, [count], part)
            begun += width * count

    nest(code, [lead, mid, own], row)


def _part(
    code: Code, lanes: Lanes, begun: int, there: str, here: str, piece: Callable[[Lanes, str, str], None],
    indices: list[str],
) -> None:
    """One vector of a row whose first `begun` elements are done."""
    step = (indices[0], lanes.width)
    piece(lanes, linear(code, begun, [(there, 1), step]), linear(code, begun, [(here, 1), step]))


def _widths(width: int, n: int) -> list[tuple[int, int]]:
    """`n` as (lanes, how often): whole vectors, then the rest by halves, each element once."""
    out = []
    while n:
        if count := n // width:
            out.append((width, count))
            n -= width * count
        width //= 2
    return out


_EMIT: dict[str, Callable[[Code, Frame, CallKernel, Target], None]] = {
    "matmul": emit_matmul,
    "sort": emit_sort,
    "cumsum": _cumsum,
    "scatter": _scatter,
    "scatter_add": _scatter,
}
