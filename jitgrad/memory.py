"""What the compiled programs of a traced function hold in memory: `fn.memory()`.

All figures are bytes and follow from the programs alone; nothing is run. Results and gradients are fresh memory at
every call, but for results that replace an argument in place, which take none. An arena holds the temporaries of one
native call: it is kept for the next one, and each call in flight has its own.

Imports: `program`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .program import Program

_FIELDS = ("arguments", "arena", "outputs", "saved", "peak")


@dataclass(frozen=True)
class PartMemory:
    """One native function.

    part: 'function' (a call that needs no gradient), 'forward', 'backward', or one of these after 'gradient' where a
    gradient was differentiated again.
    arguments: what it reads, of the caller's (for a backward the residuals too). arena: its temporaries. outputs: its
    results or gradients. saved: residuals that a forward leaves to the backward, beside arguments and results.
    """

    part: str
    arguments: int
    arena: int
    outputs: int
    saved: int = 0

    @property
    def peak(self) -> int:
        """What a call allocates: arena, outputs and residuals."""
        return self.arena + self.outputs + self.saved


@dataclass(frozen=True)
class CallMemory:
    """The native functions of one signature, as far as they have been compiled: a backward is when it is first run."""

    signature: str
    parts: tuple[PartMemory, ...]

    @property
    def peak(self) -> int:
        """What a call and its backward allocate together: the largest of the functions that may be called first, and
        the largest of their backwards."""
        first = [p.peak for p in self.parts if not p.part.endswith("backward")]
        return max(first, default=0) + max((p.peak for p in self.parts if p.part.endswith("backward")), default=0)


@dataclass(frozen=True)
class Memory:
    """What all compiled signatures of a traced function hold; printed, a line for each native function."""

    name: str
    calls: tuple[CallMemory, ...]

    @property
    def peak(self) -> int:
        """The largest of a signature."""
        return max((c.peak for c in self.calls), default=0)

    def __str__(self) -> str:
        many = "" if len(self.calls) == 1 else "s"
        lines = [f"{self.name}: {len(self.calls)} program{many} compiled, peak {_shown(self.peak)}"]
        for i, call in enumerate(self.calls):
            lines.append(f"  [{i}] ({call.signature})  peak {_shown(call.peak)}")
            for part in call.parts:
                sizes = [f"{field} {_shown(getattr(part, field))}" for field in _FIELDS]
                lines.append(f"      {part.part}: {', '.join(sizes)}")
        return "\n".join(lines)


def call_memory(signature: str, program: Program) -> CallMemory:
    """The memory of what is compiled of `program`."""
    return CallMemory(signature, tuple(_parts(program, "")))


def _parts(program: Program, prefix: str) -> Iterator[PartMemory]:
    for name, made in program.executables():
        count = len(program.recorded.results) if name == "forward" else len(made.schedule.results)
        fresh = [b.nbytes if b.place[0] == "result" else 0 for b in made.schedule.results]
        arguments = sum(p.type.nbytes for p in made.function.params)
        yield PartMemory(prefix + name, arguments, made.arena_bytes, sum(fresh[:count]), sum(fresh[count:]))
    for gradient in program.gradients():
        yield from _parts(gradient, f"{prefix}gradient ")


def _shown(n: int) -> str:
    """Bytes for people."""
    for size, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if n >= size:
            return f"{n / size:.4g} {unit}"
    return f"{n} B"
