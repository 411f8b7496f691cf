"""Kernels of their own kind in LLVM: products by BLAS, running sums, scatters, transposes, sorting.

Each becomes a function over its buffers, one for those that are alike, and a call in the program under construction;
operands but those of matmul and transpose are row-major.

Imports: `ir.fuse`, `ir.types`, `abi`, `control`, `fork`, `matmul`, `sort`, `target`, `text`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

from ..ir.fuse import TILE, Buffer, CallKernel
from ..ir.types import DType, bool_, contiguous_strides, i64, u8
from .abi import Frame, Parameters, Pointers
from .control import clamp, element, linear, loop, nest, power_of_two_below
from .fork import RANGE, emit_chunk_entry, emit_fork
from .matmul import emit_matmul
from .sort import emit_sort
from .target import Target
from .text import Code, Lanes, Vec


def emit_call(code: Code, frame: Frame, kernel: CallKernel, target: Target) -> None:
    """Write `kernel` into the program under construction."""
    if kernel.op == "matmul":
        emit_matmul(code, frame, kernel)
        return
    buffers = kernel.buffers()
    key = _likeness(kernel, buffers)
    name = frame.written.get(key)
    if name is None:
        name = frame.written[key] = code.new_label(kernel.op)
        params = Parameters(buffers)
        with code.function(f"internal void @{name}({', '.join([str(params), *(RANGE if kernel.chunks > 1 else ())])})"):
            _EMIT[kernel.op](code, params, kernel, target)
            code.line("ret void")
        if kernel.chunks > 1:
            emit_chunk_entry(code, name, len(buffers), _tiles(kernel, target)[0], kernel.chunks)
    pointers = [frame.pointer(b) for b in buffers]
    if kernel.chunks > 1:
        emit_fork(code, frame, name, pointers, kernel.chunks)
    else:
        code.line(f"call void @{name}({', '.join(f'ptr {p}' for p in pointers)})")


def _likeness(kernel: CallKernel, buffers: Sequence[Buffer]) -> Hashable:
    """Equal for calls that differ only in which buffers they work on."""
    places = {b: i for i, b in enumerate(buffers)}
    operands = tuple((places[a.buffer], a.type, a.offset, a.strides) for a in kernel.args)
    written = tuple((places[b], b.dtype.code, b.size) for b in kernel.writes())
    attrs = tuple((name, repr(value)) for name, value in kernel.attrs.items())
    return kernel.op, kernel.chunks, operands, written, attrs


def _natural(target: Target, dtype: DType, n: int) -> int:
    """Lanes of one register, at most `n`."""
    return min(max(target.vector_bytes // dtype.itemsize, 1), power_of_two_below(n))


def _cumsum(code: Code, frame: Pointers, kernel: CallKernel, target: Target) -> None:
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


def _transpose(code: Code, frame: Pointers, kernel: CallKernel, target: Target) -> None:
    """The operand in row-major order: square tiles of its last axis and of attrs["axis"], along which it lies
    in memory, each turned in registers. The last tiles overlap those before. In chunks: the tiles from %lo to %hi of
    the slowest of their axes."""
    (operand,), (out,) = kernel.args, kernel.outs
    shape, strides = operand.shape, operand.strides
    along, last = kernel.attrs["axis"], len(shape) - 1
    dtype, width = _turned(kernel, target)
    lanes = Lanes(code, width)
    source, dest = frame.pointer(operand.buffer), frame.pointer(out)
    steps = contiguous_strides(shape)
    others = [i for i in range(last) if i != along]

    def tile(indices: list[str]) -> None:
        corner = [linear(code, 0, [(i, width)]) for i in indices[-2:]]
        for k, axis in enumerate((along, last)):
            if shape[axis] % width:
                corner[k] = clamp(code, corner[k], shape[axis] - width)
        at = [*zip(others, indices[:-2], strict=True), (along, corner[0]), (last, corner[1])]
        start = element(code, source, dtype, linear(code, operand.offset, [(i, strides[a]) for a, i in at]))
        stop = element(code, dest, dtype, linear(code, 0, [(i, steps[a]) for a, i in at]))
        rows = [lanes.load(element(code, start, dtype, str(k * strides[last])), dtype) for k in range(width)]
        for k, row in enumerate(_turn(lanes, rows)):
            lanes.store(row, element(code, stop, dtype, str(k * steps[along])))

    sizes = _tiles(kernel, target)
    if kernel.chunks == 1:
        nest(code, sizes, tile)
        return

    def chunk(first: str, _: list[Vec]) -> list[Vec]:
        nest(code, sizes[1:], lambda rest: tile([first, *rest]))
        return []

    loop(code, "%lo", "%hi", 1, [], chunk)


def _turned(kernel: CallKernel, target: Target) -> tuple[DType, int]:
    """The dtype in memory, and the rows of a tile."""
    shape, dtype = kernel.args[0].shape, kernel.outs[0].dtype
    dtype = u8 if dtype is bool_ else dtype
    return dtype, min(*(_natural(target, dtype, shape[axis]) for axis in (kernel.attrs["axis"], -1)), TILE)


def _tiles(kernel: CallKernel, target: Target) -> list[int]:
    """How many tiles there are along each axis; the two that a tile has come last."""
    shape, along = kernel.args[0].shape, kernel.attrs["axis"]
    _, width = _turned(kernel, target)
    others = [n for i, n in enumerate(shape[:-1]) if i != along]
    return [*others, -(-shape[along] // width), -(-shape[-1] // width)]


def _turn(lanes: Lanes, rows: list[Vec]) -> list[Vec]:
    """A square of vectors transposed: lanes exchange with rows, one bit of their numbers at a time."""
    width, type = lanes.width, lanes.type(rows[0].dtype)
    bit = 1
    while bit < width:
        after = list(rows)
        for i in range(width):
            if not i & bit:
                a, b = rows[i], rows[i | bit]
                low = [lane if not lane & bit else width + (lane ^ bit) for lane in range(width)]
                high = [lane | bit if not lane & bit else width + lane for lane in range(width)]
                for place, order in ((i, low), (i | bit, high)):
                    mask = ", ".join(f"i32 {k}" for k in order)
                    after[place] = lanes.emit(
                        f"shufflevector {type} {a.text}, {type} {b.text}, <{width} x i32> <{mask}>", a.dtype
                    )
        rows, bit = after, bit * 2
    return rows


def _scatter(code: Code, frame: Pointers, kernel: CallKernel, target: Target) -> None:
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


_EMIT: dict[str, Callable[[Code, Pointers, CallKernel, Target], None]] = {
    "sort": emit_sort,
    "cumsum": _cumsum,
    "transpose": _transpose,
    "scatter": _scatter,
    "scatter_add": _scatter,
}
