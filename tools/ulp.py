"""The error of the vector mathematics at every float32: `python -m tools.ulp [NAME ...]`, or `make ulp`.

All 2^32 bit patterns go through the compiled function and a float64 reference, in blocks, on all cores; the worst is
computed again in 50 digits. Prints a table: the largest error in ULP, where it is, the bound that
`codegen/vectormath/bounds.py` states. Exit status 1 where a bound does not hold.

What is done is noted in out/ulp/ after every 2^24 patterns, so that a run goes on where the last one ended; what was
noted of other code than today's is dropped.

`--every N` takes every pattern N apart, from an odd offset; the numbers are then of a sample.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

import jitgrad
from jitgrad.codegen.vectormath import UNARY
from jitgrad.codegen.vectormath.bounds import BOUNDS
from jitgrad.tracing import program_of, record_function

from .exact import error_in_ulps, exactly, in_float64

FIRST = ("exp", "log", "tanh", "sin", "cos", "erf", "sigmoid")
NAMES = (*FIRST, *(n for n in UNARY if n not in FIRST))
LINE, TASK, BLOCK = 2**32, 2**24, 2**16
STATE = Path(__file__).resolve().parents[1] / "out" / "ulp"

# Below 0 these cross zero between poles, where their bounds are not in ULP of the result: see `bounds`.
GAMMA = ("lgamma", "digamma")


@dataclass
class Found:
    """What is known of a function: the worst pattern, how many results are not the float nearest to the exact value,
    which tasks are done."""

    code: str = ""
    error: float = 0.0
    at: int = 0
    missed: int = 0
    seen: int = 0
    done: list[int] = field(default_factory=list)

    def add(self, other: Found) -> None:
        if other.error > self.error:
            self.error, self.at = other.error, other.at
        self.missed += other.missed
        self.seen += other.seen
        self.done += other.done


@cache
def compiled(name: str) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """The function on a block of float32, as a traced function of the user's would run it."""
    x = jitgrad.from_numpy(np.ones(BLOCK, np.float32))
    return program_of(record_function(getattr(jitgrad, name), (x,), {}), [x]).plain


def compare(got: np.ndarray, exact: np.ndarray) -> tuple[float, int, int]:
    """The largest error, its index, and how many results are not the nearest float. Only those are looked at
    closely; the error of the others is at most 1/2, which stands for it if there are no others."""
    with np.errstate(all="ignore"):
        nearest = exact.astype(np.float32)
    missed = np.flatnonzero(nearest.view(np.int32) != got.view(np.int32))
    missed = missed[~(np.isnan(nearest[missed]) & np.isnan(got[missed]))]
    if not len(missed):
        return 0.5, 0, 0
    errors = error_in_ulps(got[missed], exact[missed])
    worst = int(np.argmax(errors))
    return float(errors[worst]), int(missed[worst]), len(missed)


def blocks(task: int, every: int) -> Iterator[np.ndarray]:
    """The bit patterns of a task, in blocks of `BLOCK`; the last is filled up with its first."""
    offset = 0 if every == 1 else (every // 2) | 1
    for low in range(task * TASK + offset, (task + 1) * TASK, BLOCK * every):
        bits = np.arange(low, min(low + BLOCK * every, (task + 1) * TASK), every, dtype=np.uint64).astype(np.uint32)
        yield np.resize(bits, BLOCK)


def measure(job: tuple[str, int, int], run: Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None = None) -> Found:
    """One task of one function."""
    name, task, every = job
    run = run or compiled(name)
    found = Found(done=[task])
    for bits in blocks(task, every):
        x = bits.view(np.float32)
        exact = in_float64(name, x)
        (got,) = run([x])
        if name in GAMMA:
            exact = np.where((x < 0) & (x > -1e30), got.astype(np.float64), exact)
        error, where, missed = compare(got, exact)
        found.add(Found("", error, int(bits[where]), missed, BLOCK))
    return found


def _fingerprint(name: str) -> str:
    return hashlib.sha256(compiled(name).llvm_text.encode()).hexdigest()  # type: ignore[attr-defined]


def _note(name: str, every: int) -> Path:
    return STATE / (f"{name}.json" if every == 1 else f"{name}.every{every}.json")


def load(name: str, every: int) -> Found:
    """What is noted of today's code."""
    path, code = _note(name, every), _fingerprint(name)
    if path.exists():
        found = Found(**json.loads(path.read_text()))
        if found.code == code:
            return found
    return Found(code)


def save(name: str, every: int, found: Found) -> None:
    STATE.mkdir(parents=True, exist_ok=True)
    path = _note(name, every)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(found)))
    fresh.replace(path)


def sweep(name: str, every: int, pool: multiprocessing.pool.Pool) -> Found:
    found = load(name, every)
    left = sorted(set(range(LINE // TASK)) - set(found.done))
    for part in pool.imap_unordered(measure, [(name, task, every) for task in left]):
        found.add(part)
        save(name, every, found)
        if sys.stderr.isatty():
            print(f"\r{name} {len(found.done) * TASK / LINE:6.1%}", end="\r", file=sys.stderr)
    return found


def confirmed(name: str, found: Found) -> float:
    """The error at the worst pattern by an exact value, which the reference cannot spoil."""
    x = np.array([found.at], np.uint32).view(np.float32)
    if not np.isfinite(found.error) or not found.missed:
        return found.error
    (got,) = compiled(name)([np.resize(x, BLOCK)])
    return float(error_in_ulps(got[:1], np.array([exactly(name, float(x[0]))]))[0])


def _cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _alone(number: multiprocessing.sharedctypes.Synchronized[int]) -> None:
    """Give the worker a core: its kernels start no threads then."""
    if hasattr(os, "sched_setaffinity"):
        cores = _cores()
        with number.get_lock():
            os.sched_setaffinity(0, {cores[number.value % len(cores)]})
            number.value += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all, {', '.join(NAMES)}")
    parser.add_argument("--every", type=int, default=1, help="the distance of bit patterns; default: 1, all of them")
    parser.add_argument("--processes", type=int, default=len(_cores()), help="default: one a core")
    options = parser.parse_args()
    if unknown := [n for n in options.names if n not in NAMES]:
        parser.error(f"no function '{unknown[0]}'; there is: {', '.join(NAMES)}")
    context = multiprocessing.get_context("spawn")
    print("| function | max ULP | at | bound | nearest | patterns |\n|---|---|---|---|---|---|")
    held = True
    with context.Pool(options.processes, _alone, (context.Value("i", 0),)) as pool:
        for name in options.names or NAMES:
            found = sweep(name, options.every, pool)
            error = confirmed(name, found)
            bound = BOUNDS[name].f32 if name in BOUNDS else None
            held = held and (bound is None or error <= bound)
            x = np.array([found.at], np.uint32).view(np.float32)[0]
            nearest = 1 - found.missed / found.seen
            shown = "-" if bound is None else f"{bound}"
            print(f"| {name} | {error:.4f} | {x!s} (0x{found.at:08x}) | {shown} | {nearest:.3%} | {found.seen} |",
                  flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
