"""What each kernel of a function is and how long it takes: for people, and as plain data.

    describe(f, strides, overwrites) -> Plan     schedule and facts; nothing is compiled
    measure(plan, arrays) -> list[float]         each kernel alone, in nanoseconds (`measure_whole`: all together)

A kernel is timed as a program of its own over the memory of the whole one, which has run before, so that indices and
flags that it reads are sound. The time is the smallest of many calls in a row, less that of a program without kernels:
what it touches lies in the caches as far as it fits.

Imports: `ir.core`, `ir.fuse`, `compiler`, `cores`, `executable`, `machine`, `target`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..ir import fuse
from ..ir.core import Function
from ..ir.fuse import Contraction, Facts, Kernel, LoopKernel, Schedule
from . import machine
from .compiler import compile_schedule
from .cores import number as threads_of_a_call
from .executable import Executable
from .machine import Estimate
from .target import host

ROUNDS, SAMPLE = 7, 2e-3  # samples of a kernel, and how many seconds each takes
LONG = 100_000.0  # nanoseconds of a call beside which what the call itself costs does not count

Strides = Sequence[Sequence[int] | None] | None


@dataclass(frozen=True)
class Plan:
    """A function's kernels with what is known of each."""

    function: Function
    strides: Strides
    overwrites: Mapping[int, int] | None
    schedule: Schedule
    facts: list[Facts]
    vectors: list[str]
    estimates: list[Estimate]


def describe(f: Function, strides: Strides = None, overwrites: Mapping[int, int] | None = None) -> Plan:
    """The plan of `f`; see `schedule` for the arguments and what is raised."""
    schedule, reasons = fuse.explained(f, strides, overwrites=overwrites)
    facts = fuse.facts(schedule, reasons)
    target, threads = host(), threads_of_a_call()
    pairs = list(zip(schedule.kernels, facts, strict=True))
    return Plan(
        f, strides, overwrites, schedule, facts, [machine.vectors(k, target) for k, _ in pairs],
        [machine.estimate(k, x, target, threads) for k, x in pairs],
    )


def measure(plan: Plan, arrays: Sequence[np.ndarray]) -> list[float]:
    """Nanoseconds of each kernel, called with `arrays`; those that the function overwrites change. Raises what a call
    of the function raises."""
    bench = _Bench(plan, arrays)
    return [bench.nanoseconds([k]) for k in plan.schedule.kernels]


def measure_whole(plan: Plan, arrays: Sequence[np.ndarray]) -> float:
    """The same of all kernels together."""
    return _Bench(plan, arrays).nanoseconds(plan.schedule.kernels)


class _Bench:
    """The function, called once: its results and its arena are there for each of its kernels."""

    def __init__(self, plan: Plan, arrays: Sequence[np.ndarray]) -> None:
        self.plan, self.arrays = plan, arrays
        self.whole = self.compiled(plan.schedule.kernels)
        self.results = self.whole(arrays)
        self.call = self.smallest(self.compiled([]))

    def compiled(self, kernels: Sequence[Kernel], times: int = 1) -> Executable:
        plan = self.plan
        part = replace(plan.schedule, kernels=list(kernels), commit=len(kernels))
        return compile_schedule(plan.function, part, plan.strides, plan.overwrites, times)

    def nanoseconds(self, kernels: Sequence[Kernel]) -> float:
        """Of the kernels, without what a call costs. Short ones run many times in a call."""
        made = self.compiled(kernels)
        made._arenas = self.whole._arenas  # what the other kernels have left there is what these read
        rough = max(self.smallest(made, rounds=3) - self.call, 10.0)
        times = max(int(LONG / rough), 1)
        if times > 1:
            made = self.compiled(kernels, times)
            made._arenas = self.whole._arenas
        return max(self.smallest(made) - self.call, 0.0) / times

    def smallest(self, made: Executable, rounds: int = ROUNDS) -> float:
        """Nanoseconds of a call."""
        made.run_into(self.arrays, self.results)
        begun = time.perf_counter()
        made.run_into(self.arrays, self.results)
        calls = max(int(SAMPLE / max(time.perf_counter() - begun, 1e-7)), 1)
        best = float("inf")
        for _ in range(rounds):
            begun = time.perf_counter()
            for _ in range(calls):
                made.run_into(self.arrays, self.results)
            best = min(best, (time.perf_counter() - begun) / calls)
        return best * 1e9


def notes(plan: Plan, measured: Sequence[float] | None = None) -> list[list[str]]:
    """For each kernel the lines that say what is known of it."""
    out = []
    for i, (kernel, facts) in enumerate(zip(plan.schedule.kernels, plan.facts, strict=True)):
        found = plan.estimates[i]
        lines = [
            f"space {_space(facts)}" + _where(facts),
            f"ops {', '.join(f'{n} {op}' if n > 1 else op for op, n in facts.ops.items()) or 'none'}",
            f"vectors {plan.vectors[i]}; {_parallel(kernel)}",
            f"reads {_sizes(facts.reads)}, writes {_sizes(facts.writes)}; {_number(facts.flops, 'flop')}, "
            f"{facts.flops / max(facts.bytes, 1):.2g} a byte",
        ]
        lines += [f"apart {buffer}, {why}" for buffer, why in facts.passed.items()]
        told = "" if measured is None else f", measured {_time(measured[i])}"
        lines.append(f"time estimated {_time(found.total)} (bound by {found.bound}){told}")
        out.append(lines)
    return out


def as_data(plan: Plan, measured: Sequence[float] | None = None) -> list[dict[str, Any]]:
    """The same as plain data, for JSON; times in nanoseconds."""
    out = []
    for i, facts in enumerate(plan.facts):
        told = {} if measured is None else {"measured_ns": measured[i]}
        estimate = asdict(plan.estimates[i])
        out.append({**asdict(facts), "bytes": facts.bytes, "vectors": plan.vectors[i], "estimate_ns": estimate, **told})
    return out


def _space(facts: Facts) -> str:
    outer, inner = (" x ".join(map(str, sizes)) for sizes in (facts.outer, facts.inner))
    what = {"loops": "rows of", "contraction": "results, sums of"}.get(facts.kind, "by")
    shown = f"{outer} {what} {inner}" if outer and inner else outer or inner or "once"
    return shown + (f" in {facts.phases} phases" if facts.phases > 1 else "")


def _where(facts: Facts) -> str:
    shown = [f"{Path(file).name}:{_runs(lines)}" for file, lines in facts.lines.items()]
    return f" from {', '.join(shown)}" if shown else ""


def _runs(lines: Sequence[int]) -> str:
    """Line numbers as runs: 3-5,9."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][-1] + 1:
            runs[-1].append(line)
        else:
            runs.append([line])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _parallel(kernel: Kernel) -> str:
    if kernel.chunks == 1:
        return "one chunk"
    if isinstance(kernel, LoopKernel):
        return f"{kernel.chunks} chunks of r0"
    if isinstance(kernel, Contraction):
        return f"{kernel.chunks} chunks of {kernel.axis}"
    return f"{kernel.chunks} chunks of {kernel.attrs['axis'] if kernel.op == 'matmul' else 'tiles'}"


def _sizes(by_buffer: Mapping[str, int]) -> str:
    if not by_buffer:
        return "nothing"
    return f"{_number(sum(by_buffer.values()), 'B')} ({', '.join(by_buffer)})"


def _number(n: float, unit: str) -> str:
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g} {prefix}{unit}"
    return f"{n:.0f} {unit}"


def _time(ns: float) -> str:
    for size, unit in ((1e6, "ms"), (1e3, "us")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"
