"""The native stages of a program, for `jitgrad dump`: its kernels with what is known of them, its LLVM, its code.

Imports: `arguments`, `calls`, `program`, `ir.fuse`, `codegen`, `ir.core`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arguments import random_array
from .calls import Recorded, source_tensor
from .codegen import report
from .codegen.compiler import compile_schedule
from .ir import fuse
from .ir.core import Function
from .program import Program, Strides, readable


@dataclass(frozen=True)
class Native:
    """A function of the IR, its text at the stage, and its kernels as plain data."""

    function: Function
    text: str
    kernels: list[dict[str, Any]]


def native(program: Program, stage: str, part: str, arrays: list[np.ndarray] | None) -> Native:
    """A stage ('kernels', 'llvm', 'optimized', 'asm') of one of the program's parts ('joint', 'forward', 'backward').
    With `arrays` to call it with, each kernel is timed."""
    function, strides, overwrites = function_of(program, part)
    plan = report.describe(function, strides, overwrites)
    measured = None if arrays is None else report.measure(plan, arrays)
    if stage == "kernels":
        text = fuse.to_text(plan.schedule, report.notes(plan, measured))
    else:
        made = compile_schedule(function, plan.schedule, strides, overwrites)
        texts: dict[str, Callable[[], str]] = {
            "llvm": lambda: made.llvm_text, "optimized": made.optimized_text, "asm": made.asm_text,
        }
        text = texts[stage]()
    return Native(function, text, report.as_data(plan, measured))


def function_of(program: Program, part: str) -> tuple[Function, list[Strides], Mapping[int, int]]:
    """The function of a part, the strides of its parameters, the results that overwrite one."""
    of_params = list(program.strides)
    if part == "backward":
        strides = [of_params[i] if kind == "param" else None for kind, i in program.split.saved]
        return program.split.backward, strides + [None] * len(program.differentiable), {}
    if part == "forward":
        return program.split.forward, of_params, program.overwrites(program.kept_results)
    if not program.differentiable:
        return program.primal, of_params, program.overwrites()
    return program.joint, of_params + [None] * len(program.differentiable), {}


def inputs(program: Program, recorded: Recorded, leaves: Sequence[Any], part: str, seed: int) -> list[np.ndarray]:
    """Arrays to call a part with: the arguments, and random cotangents where it takes any."""
    rng = np.random.default_rng(seed)
    given = [readable(source_tensor(s, leaves)._array) for s in recorded.sources]  # type: ignore[arg-type]
    cotangents = [random_array(t, rng) for t in program.result_types]
    if part == "forward" or not program.differentiable:
        return given
    if part == "joint":
        return given + cotangents
    out = program.forward(given)
    count = len(recorded.function.results)
    places = {"param": given, "result": out[:count], "residual": out[count:]}
    return [places[kind][i] for kind, i in program.split.saved] + cotangents
