"""What the machine can move and compute: sizes of its caches, and a model of how long a kernel takes.

The model is a roofline: a kernel takes as long as its bytes or as its work, whichever is longer, and a call's
overhead. Bytes move at the speed of the smallest cache that holds all that the kernel touches. Work is counted in
additions (`ir.fuse.cost`), as the scheduler does.

Sizes are read from the system. Speeds (`_NS_...`) were measured by benchmarks/roofline.py on one core with vectors of
64 bytes (231 GFLOP/s); the model is for comparing kernels and for finding those that are slower than they should be,
not for telling time on another machine.

Imports: `ir.fuse`, `target`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..ir.fuse import CallKernel, Contraction, Facts, Kernel, LoopKernel, Phase, cost
from .target import Target

_SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache")
_USUAL = (32 << 10, 1 << 20, 32 << 20)  # bytes of L1, L2, L3 where the system does not say
_LEVELS = ("L1", "L2", "L3", "memory")

_NS_BYTE = (0.0025, 0.005, 0.01, 0.02)  # by level
_NS_WORK = 0.008  # an addition of a lane of 32 bits, in vectors of 64 bytes
_NS_SCALAR = 0.25  # the same of a scalar, once a row
_NS_FLOP = 0.0045  # of a product of f32
_NS_CALL, _NS_FORK = 10.0, 1500.0  # of a kernel, and of chunks handed to threads
_FULL = 64  # bytes of the vectors that were measured


@dataclass(frozen=True, slots=True)
class Estimate:
    """Nanoseconds. `bound`: the level that the bytes come from ('L1', ..., 'memory') where they take longest, else
    'work'."""

    total: float
    moving: float
    work: float
    bound: str


@cache
def cache_sizes() -> tuple[int, int, int]:
    """Bytes of the first, second and third cache that holds data, of one core."""
    found = {}
    for place in sorted(_SYSTEM.glob("index*")):
        try:
            kind, level, size = ((place / n).read_text().strip() for n in ("type", "level", "size"))
            if kind != "Instruction":
                found[int(level)] = int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
        except (OSError, ValueError):
            continue
    first, second, third = (found.get(i + 1, usual) for i, usual in enumerate(_USUAL))
    return first, second, third


def estimate(kernel: Kernel, facts: Facts, target: Target, threads: int) -> Estimate:
    """How long `kernel`, called again and again, takes on up to `threads` cores."""
    level = sum(facts.bytes > size for size in cache_sizes())
    ways = min(threads, kernel.chunks)
    moving = facts.bytes * _NS_BYTE[level] / ways
    work = _work(kernel, facts, target) / ways
    overhead = _NS_CALL + (_NS_FORK if kernel.chunks > 1 and threads > 1 else 0.0)
    return Estimate(max(moving, work) + overhead, moving, work, _LEVELS[level] if moving >= work else "work")


def _work(kernel: Kernel, facts: Facts, target: Target) -> float:
    if isinstance(kernel, CallKernel):
        width = kernel.args[0].buffer.dtype.itemsize / 4 if kernel.args else 1.0
        return facts.flops * _NS_FLOP * width
    narrow = _FULL / target.vector_bytes
    steps = math.prod(kernel.outer + kernel.inner)
    if isinstance(kernel, Contraction):
        width = kernel.product.dtype.itemsize / 4
        after = sum(cost(n.op) for n in kernel.body if n.op not in ("load", "product"))
        return (2 * steps * math.prod(kernel.terms) * _NS_FLOP + steps * after * _NS_WORK) * width * narrow
    rows = math.prod(kernel.outer)
    spent = 0.0
    for phase in kernel.phases:
        spent += rows * sum(cost(n.op) for n in phase.row) * _NS_SCALAR
        spent += steps * _of_body(phase) * _NS_WORK * narrow
    return spent


def _of_body(phase: Phase) -> float:
    """Of a step: loads are counted as bytes."""
    of_nodes = sum(cost(n.op) * max(n.dtype.itemsize, 4) / 4 for n in phase.body if n.op not in ("load", "keep"))
    return of_nodes + sum(max(r.dtype.itemsize, 4) / 4 for r in phase.reductions)


def vectors(kernel: Kernel, target: Target) -> str:
    """The vectors that the kernel is written in, in words."""
    if isinstance(kernel, LoopKernel):
        n = kernel.inner[-1] if kernel.inner else 1
        shown = [_of_phase(p, n, target) for p in kernel.phases if p.body or p.stores or p.reductions]
        return ", then ".join(dict.fromkeys(shown)) or "scalars"
    if isinstance(kernel, Contraction):
        from .tiling import tiling

        cut = tiling(kernel, target)
        rows, vectors = cut.rows * cut.lines, cut.vectors * cut.bands
        return f"{kernel.product.dtype.code} tiles of {rows} x {vectors} vectors of {cut.width} lanes"
    return "those of BLAS" if kernel.op == "matmul" else "scalars"


def _of_phase(phase: Phase, n: int, target: Target) -> str:
    nodes = [*phase.body, *(s.node for s in phase.stores)]
    widest = max((x.dtype for x in nodes), key=lambda d: d.bits, default=None)
    lanes = target.lanes(phase, n)
    if widest is None or lanes == 1:
        return "scalars"
    registers = max(lanes * max(widest.bits, 32) // (8 * target.vector_bytes), 1)
    return f"{lanes} lanes of {widest.code} in {registers} register{'s' if registers > 1 else ''}"
