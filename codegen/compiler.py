"""From a function to an Executable: schedule, LLVM text, machine code, link.

LLVM runs no passes of its own on the text (kernels are written as they should run); the code generator works at
level `LEVEL`, which was measured to be as fast as higher ones on vector code and compiles sooner. Objects are
emitted for the host and linked by LLJIT, which keeps each object until its tracker dies, and for good the 9 KB that
it knows of it: so after `PER_LINKER` objects there is a new LLJIT, and the old one dies with its last tracker.

Imports: `ir`, `abi`, `executable`, `matmul` (addresses of BLAS), `module`, `target`, `threads`. llvmlite is
imported when the first function is compiled.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ..ir.core import Function
from ..ir.fuse import Schedule, schedule
from .abi import CALL
from .executable import Executable
from .matmul import address_of as blas_address
from .module import emit_module
from .target import Target, host
from .threads import PARALLEL, POOL, WORKER, Threads, runtime_text

LEVEL = 1
PER_LINKER = 128  # objects; an LLJIT takes 0.1 MB and 0.3 ms
_lock = threading.RLock()  # reentrant: the garbage collector may run a finalizer that compiles, or forks
_numbers = itertools.count()


class Compiler:
    """LLVM set up for one target. Not used by two threads at once: see `compile_function`."""

    def __init__(self, target: Target) -> None:
        from llvmlite import binding

        self.binding: Any = binding
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        found = binding.Target.from_triple(target.triple)
        self.machine: Any = found.create_target_machine(
            cpu=target.cpu, features=target.features, opt=LEVEL, reloc="pic", codemodel="small"
        )
        self.layout = str(self.machine.target_data)
        self.jit: Any = self._linker()
        self._linked = 0

    def _linker(self) -> Any:
        # JITLink lays all sections of an object out in one piece. The older linker maps each by itself, and where
        # large arrays leave no room between them their distance overflows a relocation, which ends the process.
        return self.binding.create_lljit_compiler(self.machine, use_jit_link=True)

    def object_code(self, text: str) -> bytes:
        """The relocatable object of an LLVM module."""
        code: bytes = self.machine.emit_object(self.parse(text))
        return code

    def parse(self, text: str) -> Any:
        return self.binding.parse_assembly(f'target datalayout = "{self.layout}"\n{text}')

    def link(self, code: bytes, *symbols: str) -> Any:
        """The linked code: it gives the addresses of `symbols`, and is unloaded when nobody refers to it."""
        library = self.binding.JITLibraryBuilder().add_object_img(code).add_current_process()
        for symbol in symbols:
            library.export_symbol(symbol)
        if self._linked >= PER_LINKER:
            self.jit, self._linked = self._linker(), 0
        self._linked += 1
        return library.link(self.jit, f"library{next(_numbers)}")

    def assembly(self, text: str) -> str:
        """The machine code of a module, for people."""
        code: str = self.machine.emit_assembly(self.parse(text))
        return code


@cache
def compiler() -> Compiler:
    """The compiler for this machine."""
    return Compiler(host())


@cache
def pool() -> Threads:
    """The threads of this process, and nothing running yet."""
    return Threads(host().triple)


@cache
def runtime() -> Any:
    """The linked runtime of `threads`. Workers run in it to the last moment of the process, so that nothing may ever
    unload it: its references and the linker's are never given back."""
    llvm = compiler()
    code = llvm.object_code(runtime_text(host().triple, pool().system))
    library = llvm.link(code, PARALLEL, WORKER)
    for held in (library, llvm.jit):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    pool().start(library[WORKER])
    return library


def _locks() -> list[Any]:
    """What threads at work with LLVM hold: our lock and llvmlite's own, taken to unload code as well."""
    ffi: Any = sys.modules.get("llvmlite.binding.ffi")
    return [_lock] if ffi is None else [_lock, ffi.lib._lock]


def _before_fork() -> None:
    for lock in _locks():
        lock.__enter__()


def _after_fork() -> None:
    for lock in reversed(_locks()):
        lock.__exit__(None, None, None)


if hasattr(os, "register_at_fork"):  # a child must find LLVM whole and its locks free
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _address(function: str) -> int:
    """Where a function (or the pool) that programs refer to lies."""
    if function == POOL:
        return pool().address
    return int(runtime()[PARALLEL]) if function == PARALLEL else blas_address(function)


def compile_function(
    f: Function, strides: Sequence[Sequence[int] | None] | None = None, overwrites: Mapping[int, int] | None = None
) -> Executable:
    """Compile the straight-line function `f`, which has no ops that only steer differentiation.

    `strides`: for each parameter its strides in elements, or None where it is row-major. `overwrites`: the results
    that are written into the memory of a parameter, by number, and that parameter (see `schedule`). Raises
    ValueError for a function with control flow. Threads may call it; they compile one after another.
    """
    begun = time.perf_counter()
    plan = schedule(f, strides, overwrites=overwrites)
    seconds = time.perf_counter() - begun
    made = compile_schedule(f, plan, strides, overwrites)
    made.compile_seconds += seconds
    return made


def compile_schedule(
    f: Function, plan: Schedule, strides: Sequence[Sequence[int] | None] | None = None,
    overwrites: Mapping[int, int] | None = None, times: int = 1,
) -> Executable:
    """The same for a function whose kernels are known: `plan` was made of `f` with these strides and overwrites. A
    call runs them `times` over, to measure them."""
    begun = time.perf_counter()
    module = emit_module(plan, host(), times)
    with _lock:
        llvm = compiler()
        library = llvm.link(llvm.object_code(module.text), CALL)
        addresses = [_address(name) for name in module.functions]
    seconds = time.perf_counter() - begun
    threads = pool() if PARALLEL in module.functions else None
    return Executable(f, plan, module, strides, llvm, library, addresses, seconds, overwrites, threads)
