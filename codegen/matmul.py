"""Matrix products through OpenBLAS, called from compiled code by pointer.

A transposed operand is a flag and a leading dimension, never a copy; a batch is a loop. The library is that of
the package scipy-openblas32 (32-bit integers, C interface, names with the prefix `scipy_`).

Imports: `ir.fuse`, `abi`, `control`, `target`, `text`. The package is loaded by `blas()`.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from ..ir.fuse import CallKernel, Operand
from ..ir.types import f32
from .abi import Frame
from .control import element, linear, nest
from .target import Target
from .text import REGISTER_TYPE, Code, literal

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # CBLAS_ORDER, CBLAS_TRANSPOSE
_INT32_MAX = 2**31 - 1


@cache
def blas() -> ctypes.CDLL:
    """The BLAS library, which works with the calling thread alone.

    Its own threads spin for each other: beside any other load on the cores a product was measured to take a
    hundred times longer. It reads their number from the environment, once, when it is loaded.
    """
    ours = "OPENBLAS_NUM_THREADS" not in os.environ
    if ours:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        import scipy_openblas32  # this loads it

        folder = Path(scipy_openblas32.get_lib_dir())
        return ctypes.CDLL(str(folder / scipy_openblas32.get_library(fullname=True)))
    finally:
        if ours:
            del os.environ["OPENBLAS_NUM_THREADS"]


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


def emit_matmul(code: Code, frame: Frame, kernel: CallKernel, target: Target) -> None:
    """Write the product into the program under construction."""
    x, y = kernel.args
    (out,) = kernel.outs
    batch, m, k, n = x.shape[:-2], x.shape[-2], x.shape[-1], y.shape[-1]
    (flag_x, lead_x), (flag_y, lead_y) = _layout(x), _layout(y)
    if max(m, k, n, lead_x, lead_y) > _INT32_MAX:
        raise ValueError(f"matmul: {x.type} @ {y.type} is too large for a BLAS with 32-bit sizes")
    scalar = REGISTER_TYPE[out.dtype.code]
    name = f"scipy_cblas_{'s' if out.dtype is f32 else 'd'}gemm"
    function = frame.function(name)
    pointers = [frame.pointer(b) for b in (x.buffer, y.buffer, out)]
    steps = list(zip(x.strides, y.strides, _batch_steps(batch, m * n), strict=False))
    alpha, beta = literal(1, out.dtype), literal(0, out.dtype)

    def call(indices: list[str]) -> None:
        at = []
        for pointer, offset, which in zip(pointers, (x.offset, y.offset, 0), range(3), strict=True):
            terms = [(i, step[which]) for i, step in zip(indices, steps, strict=True)]
            at.append(element(code, pointer, out.dtype, linear(code, offset, terms)))
        code.line(
            f"call void {function}(i32 {_ROW_MAJOR}, i32 {flag_x}, i32 {flag_y}, i32 {m}, i32 {n}, i32 {k}, "
            f"{scalar} {alpha}, ptr {at[0]}, i32 {lead_x}, ptr {at[1]}, i32 {lead_y}, "
            f"{scalar} {beta}, ptr {at[2]}, i32 {n})"
        )

    nest(code, batch, call)


def _batch_steps(batch: tuple[int, ...], matrix: int) -> list[int]:
    """The strides of the batch axes of a row-major result."""
    out, step = [], matrix
    for n in reversed(batch):
        out.append(step)
        step *= n
    return out[::-1]
