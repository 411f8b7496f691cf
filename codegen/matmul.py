"""Matrix products through OpenBLAS, called from compiled code by pointer.

A transposed operand is a flag and a leading dimension, never a copy; a batch is a loop. The library is that of
the package scipy-openblas32 (32-bit integers, C interface, names with the prefix `scipy_`).

Imports: `ir.fuse`, `ir.types`, `abi`, `alike`, `control`, `fork`, `literals`, `text`. `blas()` loads the package.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from ..ir.fuse import CallKernel, Operand
from ..ir.types import f32
from .abi import Frame
from .alike import product_likeness
from .control import element, linear, loop, nest
from .fork import RANGE, emit_chunk_entry, emit_fork
from .literals import REGISTER_TYPE, literal
from .text import Code, Vec

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # CBLAS_ORDER, CBLAS_TRANSPOSE
_INT32_MAX = 2**31 - 1


@cache
def blas() -> ctypes.CDLL:
    """The BLAS library, which works with the calling thread alone.

    Its own threads spin for each other: beside any other load on the cores a product was measured to take a
    hundred times longer. Large products are shared out by our own pool instead. Where the environment names no
    number of threads, the library is loaded such that it makes none.
    """
    ours = "OPENBLAS_NUM_THREADS" not in os.environ
    if ours:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        import scipy_openblas32  # this loads it

        folder = Path(scipy_openblas32.get_lib_dir())
        library = ctypes.CDLL(str(folder / scipy_openblas32.get_library(fullname=True)))
    finally:
        if ours:
            del os.environ["OPENBLAS_NUM_THREADS"]
    library.scipy_openblas_set_num_threads(1)
    return library


def address_of(function: str) -> int:
    """Where the BLAS function lies in this process."""
    address = ctypes.cast(getattr(blas(), function), ctypes.c_void_p).value
    assert address is not None
    return address


def _layout(operand: Operand) -> tuple[int, int]:
    """CBLAS's transpose flag and leading dimension of the last two axes."""
    (rows, columns), (down, along) = operand.shape[-2:], operand.strides[-2:]
    if along == 1 and down >= columns:
        return _PLAIN, down
    assert down == 1 and along >= rows, "the scheduler gives BLAS only what it can walk"
    return _TRANSPOSED, along


def emit_matmul(code: Code, frame: Frame, kernel: CallKernel) -> None:
    """Write the product into the program under construction; in chunks, if the scheduler made some."""
    product = _Product(code, kernel)
    key = product_likeness(kernel)
    name = frame.written.get(key)
    if name is None:
        name = frame.written[key] = code.new_label("matmul")
        product.function(name)
        if kernel.chunks > 1:
            emit_chunk_entry(code, name, 4, product.range, kernel.chunks)
    operands = [frame.pointer(b) for b in (*(a.buffer for a in kernel.args), *kernel.outs)]
    pointers = [frame.function(product.routine), *operands]
    if kernel.chunks == 1:
        args = ", ".join(f"ptr {p}" for p in pointers)
        code.line(f"call void @{name}({args}, i64 0, i64 {product.range}, i64 0)")
    else:
        emit_fork(code, frame, name, pointers, kernel.chunks)


class _Product:
    """The function `void @name(ptr %gemm, ptr %x, ptr %y, ptr %out, i64 %lo, i64 %hi, i64 %chunk)`: the product for a
    range of the batch (its slowest axis), of the rows or of the columns of the result, whichever `axis` says."""

    def __init__(self, code: Code, kernel: CallKernel) -> None:
        self.code = code
        self.x, self.y = kernel.args
        self.dtype = kernel.outs[0].dtype
        self.batch, (self.m, self.k), self.n = self.x.shape[:-2], self.x.shape[-2:], self.y.shape[-1]
        self.layouts = _layout(self.x), _layout(self.y)
        self.routine = f"scipy_cblas_{'s' if self.dtype is f32 else 'd'}gemm"
        self.axis = kernel.attrs["axis"]
        self.range = {"batch": self.x.shape[0], "rows": self.m, "columns": self.n}[self.axis]
        if max(self.m, self.k, self.n, *(lead for _, lead in self.layouts)) > _INT32_MAX:
            raise ValueError(f"matmul: {self.x.type} @ {self.y.type} is too large for a BLAS with 32-bit sizes")

    def function(self, name: str) -> None:
        code = self.code
        with code.function(f"internal void @{name}(ptr %gemm, ptr %x, ptr %y, ptr %out, {', '.join(RANGE)})"):
            if self.axis == "batch":
                def body(i: str, _: list[Vec]) -> list[Vec]:
                    nest(code, self.batch[1:], lambda rest: self.call([i, *rest], "0", str(self.m), "0", str(self.n)))
                    return []

                loop(code, "%lo", "%hi", 1, [], body)
            elif self.axis == "columns":
                nest(code, self.batch, lambda at: self.call(at, "0", str(self.m), "%lo", self.length()))
            else:
                nest(code, self.batch, lambda at: self.call(at, "%lo", self.length(), "0", str(self.n)))
            code.line("ret void")

    def length(self) -> str:
        count = self.code.fresh("i")
        self.code.line(f"{count} = sub i64 %hi, %lo")
        return count

    def call(self, indices: list[str], row: str, rows: str, column: str, columns: str) -> None:
        """The block of the result from (row, column) on, of so many rows and columns."""
        code, scalar = self.code, REGISTER_TYPE[self.dtype.code]
        corners = (
            ("%x", self.x.offset, self.x.strides[:-2], [(row, self.x.strides[-2])]),
            ("%y", self.y.offset, self.y.strides[:-2], [(column, self.y.strides[-1])]),
            ("%out", 0, _batch_steps(self.batch, self.m * self.n), [(row, self.n), (column, 1)]),
        )
        at = []
        for pointer, offset, steps, moved in corners:
            terms = [*zip(indices, steps, strict=True), *moved]
            at.append(element(code, pointer, self.dtype, linear(code, offset, [t for t in terms if t[0] != "0"])))
        sizes = []
        for size in (rows, columns):
            sizes.append(code.fresh("n"))
            code.line(f"{sizes[-1]} = trunc i64 {size} to i32")
        (flag_x, lead_x), (flag_y, lead_y) = self.layouts
        code.line(
            f"call void %gemm(i32 {_ROW_MAJOR}, i32 {flag_x}, i32 {flag_y}, i32 {sizes[0]}, i32 {sizes[1]}, "
            f"i32 {self.k}, {scalar} {literal(1, self.dtype)}, ptr {at[0]}, i32 {lead_x}, ptr {at[1]}, i32 {lead_y}, "
            f"{scalar} {literal(0, self.dtype)}, ptr {at[2]}, i32 {self.n})"
        )


def _batch_steps(batch: tuple[int, ...], matrix: int) -> list[int]:
    """The strides of the batch axes of a row-major result."""
    out, step = [], matrix
    for n in reversed(batch):
        out.append(step)
        step *= n
    return out[::-1]
