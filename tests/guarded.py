"""A program that ends with a fault if compiled code touches memory outside its arrays.

Arguments, results and arenas lie flush against pages that may not be touched, at their end or at their beginning.
`test_codegen` runs it in a process of its own.
"""

import ctypes
import mmap
from collections.abc import Mapping

import numpy as np
import pytest
from chunks import in_chunks
from generate import arguments, assert_same, functions, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import (
    black_scholes,
    convolution,
    cross_entropy,
    energy,
    gradient,
    kept_rows,
    laplacian,
    layer_norm,
    product,
    rosenbrock,
    softmax,
)

import jitgrad.codegen.compiler as compiler
from jitgrad.codegen import executable
from jitgrad.ir.core import Function
from jitgrad.ir.differentiate import vjp
from jitgrad.ir.errors import JitgradError
from jitgrad.ir.parser import parse_function
from jitgrad.ir.passes import run_pipeline, strip
from jitgrad.ir.types import f32, f64

PAGE = mmap.PAGESIZE
PATCH = pytest.MonkeyPatch()


class Guarded:
    """Memory for compiled code, in the place of the pool and of arenas. `at_end`: where the guard is tight."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.at_end = True

    def memory(self, nbytes: int) -> np.ndarray:
        """`nbytes` bytes, filled with what is neither a number nor a likely index."""
        pages = max(-(-nbytes // PAGE), 1)
        region = (ctypes.c_char * ((pages + 2) * PAGE)).from_buffer(mmap.mmap(-1, (pages + 2) * PAGE))
        for page in (0, pages + 1):
            place = ctypes.c_void_p(ctypes.addressof(region) + page * PAGE)
            if self.libc.mprotect(place, ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        start = PAGE + (pages * PAGE - nbytes if self.at_end else 0)
        memory = np.ndarray((nbytes,), np.uint8, region, start)
        memory[...] = 0xFF
        return memory

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, nbytes: int) -> np.ndarray:
        return self.memory(nbytes).view(dtype).reshape(shape) if nbytes else np.empty(shape, dtype)

    def aligned(self, nbytes: int) -> tuple[np.ndarray, int]:
        return self.memory(nbytes), 0

    def copy(self, array: np.ndarray) -> np.ndarray:
        held = self.empty(array.shape, array.dtype, array.nbytes)
        held[...] = array
        return held


GUARDED = Guarded()
executable.POOL = GUARDED
executable.aligned = GUARDED.aligned


def run(
    f: Function, args: list[np.ndarray], chunks: int, overwrites: Mapping[int, int] | None = None
) -> list[np.ndarray] | type[Exception]:
    in_chunks(PATCH, chunks)
    try:
        return compiler.compile_function(f, None, overwrites)([GUARDED.copy(a) for a in args])
    except JitgradError as error:
        return type(error)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(functions(instructions=20), st.integers(0, 1000), st.booleans(), st.booleans(), st.sampled_from((1, 6)))
def random_functions(f: Function, seed: int, simplified: bool, at_end: bool, chunks: int) -> None:
    GUARDED.at_end = at_end
    f = strip(run_pipeline(f) if simplified else f)
    args = arguments(f, seed)
    assert_same(run(f, args, chunks), outcome(f, args))


def odd_sizes() -> None:
    for at_end in (True, False):
        GUARDED.at_end = at_end
        for columns in (1, 7, 33, 257):
            for make in (softmax, layer_norm, cross_entropy, kept_rows):
                for rows, chunks in ((13, 1), (13, 6), (48, 1), (48, 6)):
                    f = make(rows, columns)
                    run(f, arguments(f, columns, wild=False), chunks)
        for chunks in (1, 6):
            for f in (black_scholes(1003), gradient(energy(n=67)), rosenbrock(1001), laplacian(67, 43)):
                run(f, arguments(f, 0, wild=False), chunks)


def products() -> None:
    for at_end in (True, False):
        GUARDED.at_end = at_end
        for shape in ((2, 2, 2), (3, 5, 7), (13, 9, 17), (31, 33, 50), (9, 700, 19)):
            for dtype in (f32, f64):
                for turned in ((False, False), (True, False), (False, True)):
                    f = product(shape, dtype, turned)
                    args = arguments(f, 0, wild=False)
                    for chunks in (1, 6):
                        assert_same(run(f, args, chunks), outcome(f, args))


def convolutions() -> None:
    """The cotangents are not constants: these would be copied."""
    for at_end in (True, False):
        GUARDED.at_end = at_end
        for x, w, stride, dilation in (
            ((1, 3, 1, 16, 16), (1, 6, 1, 5, 5), (1, 1), (1, 1)), ((1, 2, 3, 7, 40), (1, 5, 3, 3, 3), (1, 1), (1, 1)),
            ((2, 2, 5, 9, 11), (2, 33, 5, 3, 4), (2, 3), (1, 1)), ((1, 2, 3, 11, 12), (1, 4, 3, 3, 3), (1, 2), (2, 2)),
            ((5, 2, 1, 6, 18), (5, 1, 1, 3, 3), (1, 1), (1, 1)), ((1, 2, 9, 5, 7), (1, 8, 9, 1, 1), (2, 2), (1, 1)),
        ):
            for dtype in (f32, f64):
                f = vjp(convolution(x, w, stride, dilation, dtype), (0, 1), (0,))
                args = arguments(f, 0, wild=False)
                for chunks in (1, 6):
                    assert_same(run(f, args, chunks), outcome(f, args), exact=False)


STEP = """func @step(%p: {t}[{n},3], %m: {t}[{n},3], %i: i64[2], %u: {t}[2,3]) -> ({t}[{n},3], {t}[{n},3]) {{
  %0: {t}[{n},3] = add %p, %m
  %1: {t}[{n},3] = mul %0, %m
  %2: {t}[{n},3] = scatter_add %1, %i, %u {{axis=0, batch=0}}
  return %0, %2
}}"""


def in_place() -> None:
    for at_end in (True, False):
        GUARDED.at_end = at_end
        for n in (2, 11, 333, 1001):
            for dtype in ("f32", "f64", "i16"):
                f = parse_function(STEP.format(n=n, t=dtype))
                args = arguments(f, n, wild=False)
                args[2] = np.array([n - 1, 0])
                for chunks in (1, 6):
                    assert_same(run(f, args, chunks, {0: 0, 1: 1}), outcome(f, args), exact=False)


if __name__ == "__main__":
    odd_sizes()
    products()
    convolutions()
    in_place()
    random_functions()
