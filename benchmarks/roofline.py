"""How near each class of kernel comes to what the machine can do: `python -m benchmarks.roofline`.

The limits come first (`limits`), measured in the same run: bytes a second of read, write, copy and triad over memory
of the size of each cache and beyond, and multiply-adds a second. Then each class, compiled by jitgrad, at those sizes.

A kernel's limit is the longer of two times: its bytes (each argument read once, each result written once) at the
speed of the loop above whose share of writes is nearest, at that size; its flops at the peak. The table has the limit's
time over the kernel's. It is of the native code alone: what a call from Python costs is not in it.

    python -m benchmarks.roofline [--threads 1,2] [--only softmax,matmul] [--realtime]

Imports: `limits`, `environment`; jitgrad.
"""

import argparse
import contextlib
from dataclasses import dataclass

import numpy as np

import jitgrad
from benchmarks import environment, limits
from jitgrad import stages
from jitgrad.codegen import report
from jitgrad.codegen.machine import cache_sizes
from jitgrad.program import Program
from jitgrad.tracing import program_of, record_function

LEVELS = ("L1", "L2", "L3", "memory")
MATMUL = (32, 64, 128, 256, 512, 1024)


def level_bytes(level, threads):
    """How much memory a measurement at a level touches: about half of a cache, eight times the last one."""
    first, second, third = cache_sizes()
    return {"L1": first // 2 * threads, "L2": second // 2 * threads, "L3": third // 3, "memory": third * 6}[level]


@dataclass
class Kind:
    """A class of kernels. make(n): the function and its arguments, of about n float32 in arguments and results. levels:
    ('-',) where its size is its own. grad: with the gradients of all arguments."""

    name: str
    make: object
    levels: tuple = LEVELS
    grad: bool = False


def _floats(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _rows(n, columns=512):
    return max(n // columns, 4), columns


def _step(p, g, m, v):
    with jitgrad.no_grad():
        m.mul_(0.9).add_(g, alpha=0.1)
        v.mul_(0.999).addcmul_(g, g, value=0.001)
        p.sub_(m / (v.sqrt() + 1e-8) * 1e-3)


def _black_scholes(s, k, t, r, sigma):
    root = sigma * t.sqrt()
    d1 = ((s / k).log() + (r + sigma * sigma / 2) * t) / root
    cdf = [0.5 * (1 + jitgrad.erf(d * 0.7071067811865476)) for d in (d1, d1 - root)]
    return s * cdf[0] - k * jitgrad.exp(-r * t) * cdf[1]


def _positive(n):
    return np.abs(_floats(n)) + 0.5


def _layer_norm(x, w, b):
    return jitgrad.nn.functional.layer_norm(x, x.shape[-1:], w, b)


def _indices(n, below):
    return np.random.default_rng(1).integers(0, below, n)


def _scatter(table, i, rows):
    return table.index_add(0, i, rows)


KINDS = [
    Kind("add", lambda n: (lambda x, y: x + y, _floats(n // 3), _floats(n // 3))),
    Kind("x * 2 + 1", lambda n: (lambda x: x * 2 + 1, _floats(n // 2))),
    Kind("exp(tanh(x)) * x", lambda n: (lambda x: jitgrad.exp(jitgrad.tanh(x)) * x, _floats(n // 2))),
    Kind("sum", lambda n: (lambda x: x.sum(), _floats(n))),
    Kind("sum of columns", lambda n: (lambda x: x.sum(dim=0), _floats(*_rows(n)))),
    Kind("sum of rows", lambda n: (lambda x: x.sum(dim=1), _floats(*_rows(n)))),
    Kind("softmax", lambda n: (lambda x: x.softmax(dim=1), _floats(*_rows(n // 2)))),
    Kind("layer norm", lambda n: (_layer_norm, _floats(*_rows(n // 2)), _floats(512), _floats(512))),
    Kind("layer norm, gradients",
         lambda n: (lambda x, w, b: _layer_norm(x, w, b), _floats(*_rows(n // 4)), _floats(512), _floats(512)),
         grad=True),
    Kind("Black-Scholes", lambda n: (_black_scholes, *(_positive(n // 6) for _ in range(5)))),
    Kind("transpose", lambda n: (lambda x: x.T.contiguous(), _floats(*(int((n / 2) ** 0.5),) * 2))),
    Kind("gather rows", lambda n: (lambda t, i: t[i], _floats(*_rows(n // 2, 64)), _indices(_rows(n // 2, 64)[0],
                                                                                          _rows(n // 2, 64)[0]))),
    Kind("scatter_add rows", lambda n: (_scatter, _floats(*_rows(n // 3, 64)), _indices(_rows(n // 3, 64)[0],
                                        _rows(n // 3, 64)[0]), _floats(*_rows(n // 3, 64)))),
    Kind("Adam, in place", lambda n: (_step, *(_floats(n // 4) for _ in range(3)), _positive(n // 4))),
]
KINDS += [
    Kind(f"matmul {n}", lambda _, n=n: (lambda x, y: x @ y, _floats(n, n), _floats(n, n)), ("-",)) for n in MATMUL
]
KINDS += [
    Kind("attention 8x256x64",
         lambda _: (jitgrad.nn.functional.scaled_dot_product_attention, *(_floats(8, 256, 64) for _ in range(3))),
         ("-",)),
    Kind("conv2d 32x16x28x28 by 3x3",
         lambda _: (lambda x, w: jitgrad.nn.functional.conv2d(x, w, padding=1), _floats(32, 16, 28, 28),
                    _floats(32, 16, 3, 3)), ("-",)),
]


def measured(kind, n):
    """(seconds, bytes read, bytes written, flops) of the kernels of a call."""
    function, *arrays = kind.make(n)
    tensors = [jitgrad.from_numpy(a) for a in arrays]
    if kind.grad:
        for t in tensors:
            t.requires_grad_()
    recorded = record_function(function, tuple(tensors), {})
    program = program_of(recorded, tensors)
    part = "joint" if kind.grad else "forward"
    if not kind.grad:
        program = Program(recorded.function, (), (), program.strides, writes=program.writes)
    plan = report.describe(*stages.function_of(program, "joint"))
    given = stages.inputs(program, recorded, tensors, part, 0)
    seconds = report.measure_whole(plan, given) / 1e9
    written = {b for k in plan.schedule.kernels for b in k.writes()}
    read = {b for k in plan.schedule.kernels for b in k.reads()}
    params = [b for b in plan.schedule.params if b in read]
    outside = dict.fromkeys([*params, *plan.schedule.results])
    reads = sum(b.nbytes for b in params)
    writes = sum(b.nbytes for b in outside if b in written)
    return seconds, reads, writes, sum(f.flops for f in plan.facts)


def table_of_limits(threads):
    found = {}
    print(f"\n### Limits, {threads} thread{'s' if threads > 1 else ''}\n")
    print("| GB/s | " + " | ".join(LEVELS) + " |\n|---|" + "---:|" * len(LEVELS))
    for name in limits.ARRAYS:
        for level in LEVELS:
            found[name, level] = limits.bandwidth(name, level_bytes(level, threads), threads)
        print(f"| {name} | " + " | ".join(f"{found[name, level]:.0f}" for level in LEVELS) + " |", flush=True)
    found["peak"] = limits.peak("float", threads)
    print(f"\nMultiply-adds of float32: {found['peak']:.0f} GFLOP/s.")
    return found


def at_the_limit(found, level, reads, writes, flops):
    """Seconds that the limits allow, and which one counts."""
    share = writes / (reads + writes)
    name = min(limits.WRITES, key=lambda k: abs(limits.WRITES[k] - share))
    moving = (reads + writes) / found[name, level] / 1e9
    computing = flops / found["peak"] / 1e9
    return max(moving, computing), "flops" if computing > moving else name


def level_of(nbytes):
    return LEVELS[sum(nbytes > size for size in cache_sizes())]


def table(kinds, threads, found):
    print(f"\n### Fractions of the limit, {threads} thread{'s' if threads > 1 else ''}\n")
    print("| kernel | " + " | ".join(LEVELS) + " | bound |\n|---|" + "---:|" * len(LEVELS) + "---|")
    for kind in kinds:
        cells, bounds = dict.fromkeys(LEVELS, ""), []
        for level in kind.levels:
            n = 0 if level == "-" else level_bytes(level, threads) // 4
            try:
                with jitgrad.threads(threads):
                    seconds, reads, writes, flops = measured(kind, n)
            except (jitgrad.JitgradError, AttributeError) as problem:
                cells[LEVELS[0]] = f"- ({type(problem).__name__})"
                break
            at = level if level != "-" else level_of(reads + writes)
            limit, bound = at_the_limit(found, at, reads, writes, flops)
            cells[at] = f"{limit / seconds:.0%}"
            bounds.append(bound)
        print(f"| {kind.name} | " + " | ".join(cells.values()) + f" | {', '.join(dict.fromkeys(bounds))} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", default="1,2", help="default: 1,2")
    parser.add_argument("--only", default="", help="classes, by the beginnings of their names")
    parser.add_argument("--realtime", action="store_true", help="at real-time priority, where cores are shared")
    options = parser.parse_args()
    chosen = [k for k in KINDS if k.name.startswith(tuple(options.only.split(",")))]
    for threads in map(int, options.threads.split(",")):
        with environment.realtime() if options.realtime else contextlib.nullcontext():
            table(chosen, threads, table_of_limits(threads))


if __name__ == "__main__":
    main()
