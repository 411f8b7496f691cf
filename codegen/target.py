"""The machine that code is generated for: what LLVM is told of it, and how wide kernels are.

Imports: `ir.fuse`, `control`. llvmlite is imported by `host()`, when code is first generated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from ..ir.fuse import Phase, cost
from .control import power_of_two_below


@dataclass(frozen=True, slots=True)
class Target:
    """`vector_bytes`: of the widest vector register. `features` as LLVM writes them."""

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    has_fma: bool

    @property
    def registers(self) -> int:
        """How many vector registers there are."""
        return 32 if self.vector_bytes == 64 or self.triple.startswith(("aarch64", "arm64")) else 16

    def lanes(self, phase: Phase, n: int) -> int:
        """How many lanes the vector loop of a phase over `n` steps has: a power of two, at most n.

        A value takes several registers where the body is light enough: independent chains hide latency,
        and a sum has as many accumulators. Of the widths that fit, the one that does least work in all.
        """
        nodes = [*phase.body, *(s.node for s in phase.stores)]
        widest = max((x.dtype.bits for x in nodes), default=32)
        natural = max(self.vector_bytes * 8 // max(widest, 32), 1)
        body = 1.0 + sum(cost(x.op) for x in phase.body)
        most = next(registers for limit, registers in _REGISTERS if body <= limit)
        best, least = 1, math.inf
        for registers in (1, 2, 4):
            lanes = natural * registers
            if registers > most or (registers > 1 and lanes > n):
                break
            lanes = min(lanes, power_of_two_below(n))
            # A turn costs its body, and some latency that more registers share.
            work = -(-n // lanes) * (registers * body + 4 / registers)
            if work < least * 0.999:
                best, least = lanes, work
        return best


# Registers a value by what the body costs (in additions). Measured on chains of 1e5 float32: 4 against 1 is
# 1.2 times as fast for one exp, 2 against 1 for a body of 220; wider ones only compile longer.
_REGISTERS = ((40.0, 4), (400.0, 2), (math.inf, 1))


def _vector_bytes(features: dict[str, bool]) -> int:
    if features.get("avx512f"):
        return 64
    if features.get("avx2"):
        return 32
    return 16


@cache
def host() -> Target:
    """The machine this process runs on."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    triple = binding.get_process_triple()
    arm = triple.startswith(("aarch64", "arm64"))
    return Target(
        triple, binding.get_host_cpu_name(), features.flatten(), _vector_bytes(features),
        has_fma=arm or bool(features.get("fma")),
    )
