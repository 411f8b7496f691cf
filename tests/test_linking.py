"""Linking in an address space with little room: sections of one object must not land out of each other's reach. What
the linker keeps of objects that were unloaded does not add up."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from jitgrad.codegen import compiler
from jitgrad.codegen.compiler import compile_function
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.types import TensorType, f32

ROOT = Path(__file__).resolve().parent.parent

# Leaves no hole in the address space above a reserved 4 GB, then before each link opens one of a few pages. Sections
# that were mapped one by one would fall into it and below the 4 GB in turn.
CRAMPED = """
import ctypes
import jitgrad

GB, PAGE = 1 << 30, 4096
PRIVATE_ANONYMOUS_NORESERVE = 0x4022
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

def reserve(size):
    return libc.mmap(None, size, 0, PRIVATE_ANONYMOUS_NORESERVE, -1, 0)

x = jitgrad.linspace(0, 1, 100)
jitgrad.trace(jitgrad.exp)(x)  # what is imported and started on the way finds room
room = reserve(64 << 20)
for shift in range(26, 11, -1):
    while (block := reserve(1 << shift)) > room:
        pass
    libc.munmap(block, 1 << shift)
reserve(4 * GB)

kept = []
for i in range(12):
    libc.munmap(room + 64 * i * PAGE, PAGE * (1 + i % 3))
    f = jitgrad.trace(lambda x: jitgrad.tanh(x) * jitgrad.exp(x) * float(i) + jitgrad.sin(x))
    kept.append((f, f(x)))
with jitgrad.eager():
    assert jitgrad.allclose(kept[-1][1], f(x), rtol=1e-5)
print("linked", len(kept))
"""


@pytest.mark.skipif(sys.platform != "linux" or sys.maxsize < 2**32, reason="lays out the address space as Linux does")
def test_objects_link_where_little_room_is_left():
    done = subprocess.run([sys.executable, "-c", CRAMPED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "linked 12\n"


def times(factor: int) -> Function:
    b = FunctionBuilder()
    return b.finish("times", [b.mul(b.param(TensorType(f32, (4,))), float(factor))])


def test_linkers_are_renewed_and_code_outlives_its_linker(monkeypatch):
    monkeypatch.setattr(compiler, "PER_LINKER", 3)
    compiled, renewed = [], 0
    for i in range(10):
        before = weakref.ref(compiler.compiler().jit)
        compiled.append(compile_function(times(i)))
        gc.collect()
        renewed += before() is not compiler.compiler().jit
    assert renewed >= 3
    for i, run in enumerate(compiled):
        np.testing.assert_array_equal(run([np.ones(4, np.float32)])[0], np.full(4, i, np.float32))


DROPPED = """
import gc
from jitgrad.codegen import compiler

llvm = compiler.compiler()
code = llvm.object_code("define void @f() { ret void }")

def link(n):
    for _ in range(n * compiler.PER_LINKER):
        llvm.link(code, "f")
    gc.collect()
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096

before = link(3)
print((link(5) - before) / (5 * compiler.PER_LINKER))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_dropped_programs_leave_no_memory_behind():
    done = subprocess.run([sys.executable, "-c", DROPPED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2000, "bytes a program"
