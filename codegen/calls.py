"""Kernels of their own kind in LLVM: products by BLAS, running sums, scatters, sorting.

Each is written into the program under construction; operands but those of matmul are row-major.

Imports: `ir.fuse`, `abi`, `control`, `matmul`, `sort`, `target`, `text`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir.fuse import CallKernel
from ..ir.types import DType, i64
from .abi import Frame
from .control import clamp, element, linear, loop, power_of_two_below
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

    def line(start: str, column: str) -> None:
        def step(i: str, now: list[Vec]) -> list[Vec]:
            at = linear(code, 0, [(start, 1), (column, 1), (i, inner)])
            total = lanes.add(now[0], lanes.load(element(code, lanes, source, now[0], at), dtype))
            lanes.store(total, element(code, lanes, dest, total, at))
            return [total]

        zero = lanes.const(-0.0 if dtype.is_floating_point else 0, dtype)
        loop(code, "0", str(n), 1, [(lanes, zero)], step, once=n == 1)

    def columns(start: str) -> None:
        def body(i: str, _: list[Vec]) -> list[Vec]:
            line(start, clamp(code, i, inner - lanes.width) if inner % lanes.width else i)
            return []

        loop(code, "0", str(inner), lanes.width, [], body, once=inner == lanes.width)

    def body(i: str, _: list[Vec]) -> list[Vec]:
        columns(linear(code, 0, [(i, n * inner)]))
        return []

    loop(code, "0", str(outer), 1, [], body, once=outer == 1)


def _scatter(code: Code, frame: Frame, kernel: CallKernel, target: Target) -> None:
    """In place on the first operand (lead, mid, size, rest): rows of the update (lead, mid, own, rest) go to
    the checked index (lead, own), one after another, so that the last of equal places wins."""
    into, index, update = kernel.args
    lead, mid, size, rest = into.shape
    own = index.shape[1]
    dtype = into.buffer.dtype
    dest, places, source = (frame.pointer(a.buffer) for a in kernel.args)
    one = Lanes(code, 1)
    widths = _widths(_natural(target, dtype, rest), rest)

    def piece(lanes: Lanes, there: str, here: str) -> None:
        like = Vec("", dtype)
        at = element(code, lanes, dest, like, there)
        value = lanes.load(element(code, lanes, source, like, here), dtype)
        if kernel.op == "scatter_add":
            value = lanes.add(lanes.load(at, dtype), value)
        lanes.store(value, at)

    def row(batch: str, plane: str, i: str) -> None:
        like = Vec("", i64)
        where = one.load(element(code, one, places, like, linear(code, 0, [(batch, own), (i, 1)])), i64)
        there = linear(code, 0, [(plane, size * rest), (where.text, rest)])
        here = linear(code, 0, [(plane, own * rest), (i, rest)])
        begun = 0
        for width, count in widths:
            def body(k: str, _: list[Vec], lanes: Lanes = Lanes(code, width), begun: int = begun) -> list[Vec]:
                piece(lanes, linear(code, begun, [(there, 1), (k, 1)]), linear(code, begun, [(here, 1), (k, 1)]))
                return []

            loop(code, "0", str(width * count), width, [], body, once=count == 1)
            begun += width * count

    def planes(batch: str) -> None:
        def body(j: str, _: list[Vec]) -> list[Vec]:
            plane = linear(code, 0, [(batch, mid), (j, 1)])
            return rows(batch, plane)

        loop(code, "0", str(mid), 1, [], body, once=mid == 1)

    def rows(batch: str, plane: str) -> list[Vec]:
        def body(i: str, _: list[Vec]) -> list[Vec]:
            row(batch, plane, i)
            return []

        return loop(code, "0", str(own), 1, [], body, once=own == 1)

    def body(b: str, _: list[Vec]) -> list[Vec]:
        planes(b)
        return []

    loop(code, "0", str(lead), 1, [], body, once=lead == 1)


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
