"""A compiled function that runs on arrays.

Results come from the pool. Each call takes an arena from a free list and gives it back: two calls in flight never
share one. The linked code lives as long as its Executable. ctypes lets go of the interpreter's lock while native
code runs. Native code is given the array objects and reads their data pointers itself: asking NumPy for each would
cost more than the rest.

Imports: `ir`, `abi`, `arrays`, `module`, `pool`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.core import Function
from ..ir.errors import DTypeError, ShapeError
from ..ir.fuse import Schedule
from ..ir.types import TensorType, contiguous_strides, type_of_array
from .abi import CALL, THREADS
from .arrays import DATA_OFFSET
from .module import Module
from .pool import POOL, aligned

if TYPE_CHECKING:
    from .compiler import Compiler
    from .threads import Threads

_Native = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, ctypes.c_int64)
_Slots = ctypes.c_int64 * 4  # what failed, and how many threads may work: see `abi`


class Executable:
    """A function compiled for the strides of its parameters. Call it with their arrays: the results are fresh, but for
    those that overwrite a parameter, which are its array.

    Attributes: function, schedule (prints its kernels), llvm_text, compile_seconds, arena_bytes, result_types.
    """

    def __init__(
        self, function: Function, schedule: Schedule, module: Module,
        strides: Sequence[Sequence[int] | None] | None, compiler: Compiler, library: Any, functions: Sequence[int],
        compile_seconds: float, overwrites: Mapping[int, int] | None = None, threads: Threads | None = None,
    ) -> None:
        self.function = function
        self.schedule = schedule
        self.llvm_text = module.text
        self.compile_seconds = compile_seconds
        self.arena_bytes = schedule.arena_bytes
        self.result_types: tuple[TensorType, ...] = function.result_types
        self._compiler = compiler
        self._library = library  # the code is unloaded with it
        self._traps = module.traps
        self._threads = threads  # of kernels in chunks, if there are any
        self._native = _Native(library[CALL])
        self._types = [p.type for p in function.params]
        self._strides = _byte_strides(self._types, strides)
        self._layouts = [
            (t.dtype.numpy, t.shape, steps) for t, steps in zip(self._types, self._strides, strict=True)
        ]
        self._overwrites = dict(overwrites or {})
        self._outputs = [(t.shape, t.dtype.numpy, t.nbytes) for t in self.result_types]
        self._arenas: list[np.ndarray] = []  # those that no call works in
        self._input_array = ctypes.c_void_p * len(self._types)
        self._output_array = ctypes.c_void_p * len(self._outputs)
        self._constants = [array for _, array in schedule.constants]
        self._table = _table(schedule, functions)

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results on `arrays`, which are aligned and have the parameters' types and strides.

        Raises TypeError, ShapeError, DTypeError or ValueError for others (alignment is not checked); BoundsError
        or DivisionByZero, with the user's line, where the program meets one: then no array has changed. An array
        that is overwritten shares no memory with the others; this is not checked.
        """
        if len(arrays) != len(self._layouts):
            raise TypeError(f"@{self.function.name} takes {len(self._layouts)} arguments, got {len(arrays)}")
        for i, (array, (dtype, shape, strides)) in enumerate(zip(arrays, self._layouts, strict=True)):
            alike = array.dtype == dtype and array.shape == shape and array.strides == strides
            if not (alike and isinstance(array, np.ndarray)):
                self._check(i, array)
        over = self._overwrites
        for p in over.values():
            if not arrays[p].flags.writeable:
                raise ValueError(f"@{self.function.name}: %{self.function.params[p].name}, written to, is read-only")
        results = [
            arrays[over[i]] if i in over else POOL.empty(shape, dtype, nbytes)
            for i, (shape, dtype, nbytes) in enumerate(self._outputs)
        ]
        self.run_into(arrays, results)
        return results

    def run_into(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> None:
        """Write the results on `arrays` into `results`. Nothing is checked: types, strides and alignment are
        those of the parameters and of the results, and results overlap nothing (one that overwrites a parameter is not
        looked at).

        Raises BoundsError or DivisionByZero; what `results` hold then means nothing.
        """
        arena = self._take_arena()
        slots = _Slots()
        if self._threads is not None:
            slots[THREADS] = self._threads.ready()
        self._native(
            self._input_array(*map(id, arrays)), self._output_array(*map(id, results)), id(arena), self._table,
            slots, DATA_OFFSET,
        )
        self._arenas.append(arena)
        if slots[0]:
            raise self._traps.error(slots[0], slots[1])

    def _take_arena(self) -> np.ndarray:
        try:
            return self._arenas.pop()
        except IndexError:
            memory, start = aligned(self.arena_bytes)
            return memory[start:]

    def _check(self, i: int, array: np.ndarray) -> None:
        """Raise where array i is not what the code was compiled for; strides of axes that are never walked
        (size 1, no elements) may be anything."""
        name = f"@{self.function.name}: %{self.function.params[i].name}"
        if not isinstance(array, np.ndarray):  # a NumPy scalar looks like an array, and is laid out otherwise
            raise TypeError(f"{name} must be an ndarray, got {type(array).__name__}")
        want, got = self._types[i], type_of_array(array)
        if got != want:
            error = DTypeError if got.dtype is not want.dtype else ShapeError
            raise error(f"{name} must be {want}, got {got}")
        pairs = zip(want.shape, array.strides, self._strides[i], strict=True)
        if want.size and any(n > 1 and a != b for n, a, b in pairs):
            raise ValueError(f"{name} must have strides {self._strides[i]} in bytes, got {array.strides}")

    def optimized_text(self) -> str:
        """The LLVM module as LLVM prints it after its passes (it runs none by default: verified, renumbered)."""
        return str(self._compiler.parse(self.llvm_text))

    def asm_text(self) -> str:
        """The machine code as assembly."""
        return self._compiler.assembly(self.llvm_text)


def _byte_strides(
    types: Sequence[TensorType], strides: Sequence[Sequence[int] | None] | None
) -> list[tuple[int, ...]]:
    given = strides if strides is not None else [None] * len(types)
    return [
        tuple(s * t.dtype.itemsize for s in (contiguous_strides(t.shape) if steps is None else steps))
        for t, steps in zip(types, given, strict=True)
    ]


def _table(schedule: Schedule, functions: Sequence[int]) -> Any:
    """The pointers that the code reads from outside: constants, then functions."""
    size = 1 + max((b.place[1] for b, _ in schedule.constants), default=-1)
    table = (ctypes.c_void_p * (size + len(functions)))()
    for buffer, array in schedule.constants:
        table[buffer.place[1]] = array.ctypes.data
    table[size:] = list(functions)
    return table
