"""What the scheduler works on: a function without shapes and without views.

    Root   an array that is stored or computed in row-major order
    Ref    a root seen through a view: what an operand is
    Item   work that computes a root: 'map' (elementwise over `size` steps), 'reduce', or 'call' (an op with
           a kernel of its own)

A shape is only how the steps of an iteration are named, so items have none: a map item runs `size` steps and
each operand's view says which element a step reads. A reduce item's `pattern` says which runs of its
iteration are summed away.

Imports: `core`, `costs`, `ops` (which of them can fail), `types`, `views`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core import Loc
from ..costs import WORK
from ..ops import TABLE
from ..types import DType, Shape
from .views import View

Pattern = tuple[tuple[int, bool], ...]  # runs of the iteration, slowest first: size, whether it is reduced


@dataclass(eq=False, slots=True)
class Root:
    """`place` is ('param', i) or ('constant', i) for memory given from outside, ('result', i) for what is
    computed into a result, ('overwrite', i) for what replaces parameter i, None for a temporary. `item` computes
    it; a root put together from several parts has `writers` instead. `alias`: the root whose memory an in-place call
    takes over."""

    name: str
    dtype: DType
    size: int
    place: tuple[str, int] | None = None
    item: Item | None = None
    writers: list[Item] = field(default_factory=list)
    alias: Root | None = None
    inline: bool = False  # computed again wherever it is read (see `inline`)
    leaves: tuple[Ref, ...] = ()  # what an inline root is computed from, seen from its own steps

    @property
    def is_memory(self) -> bool:
        return self.place is not None and self.place[0] in ("param", "constant")

    def producers(self) -> list[Item]:
        return self.writers if self.item is None else [self.item]


class Ref(NamedTuple):
    root: Root
    view: View


@dataclass(eq=False, slots=True)
class Item:
    kind: str
    op: str
    args: tuple[Ref, ...]
    attrs: Mapping[str, Any]
    outs: tuple[Root, ...]
    size: int
    loc: Loc | None = None
    pattern: Pattern = ()
    window: View | None = None  # where in the root each step writes, if not in order
    shapes: tuple[tuple[int, ...], ...] = ()  # of a call's operands
    order: int = 0  # position in the program

    @property
    def out(self) -> Root:
        return self.outs[0]


def grouped(item: Item) -> tuple[Shape, Shape, Shape, Shape]:
    """The sizes of a contraction's axes: batch, rows, columns, terms. Its left operand has the axes batch, rows,
    terms, its right one batch, terms, columns, its result batch, rows, columns; attrs["groups"] counts them."""
    batch, rows, columns, _ = item.attrs["groups"]
    left, right = item.shapes
    at = len(right) - columns
    return left[:batch], left[batch : batch + rows], right[at:], left[batch + rows :]


CHEAP, DIVISION, TRANSCENDENTAL = 1.0, 5.0, 16.0
_BANDS = ((0.2, CHEAP), (1.0, DIVISION))  # up to so many passes (see `costs`)
_FREE = ("const", "iota", "copy", "first")  # `first` is its first operand
# What kernels have beside ops: a value read from memory or kept from an earlier phase, and a reduction over a row. They
# count as much as a long function, for they are waited for: the choices made by `cost` (registers a value, blocks of
# rows, threads) are tuned with that.
_WAITING = ("load", "keep", "reduce")


def _banded(passes: float) -> float:
    return next((cost for most, cost in _BANDS if passes <= most), TRANSCENDENTAL)


_COST = dict.fromkeys((*TABLE, *_WAITING), TRANSCENDENTAL)  # of ops: those with a loop of their own, unless they follow
_COST |= {op: _banded(passes) for op, passes in WORK.items()}
_COST |= dict.fromkeys(_FREE, 0.0) | {"index": CHEAP, "gather": DIVISION}


def cost(op: str) -> float:
    """What one element of `op` costs beside an addition: about its time in vector code. Raises ValueError for a name
    that is neither an op nor one of a kernel's nodes."""
    if op not in _COST:
        raise ValueError(f"no op '{op}' with a cost")
    return _COST[op]


_DIVISIONS = frozenset(op.name for op in TABLE.values() if {"traps", "elementwise"} <= op.traits)

# Ops that can fail, or read what did: they run for every element, never for a part of them.
TRAPS = _DIVISIONS | {"index", "gather"}


def fails(op: str, dtype: DType) -> bool:
    """Whether `op` giving `dtype` can fail, and so must run even if nobody reads its result."""
    return op == "index" or (op in _DIVISIONS and dtype.is_integer)


IDENTITY: dict[str, float] = {"sum": 0, "prod": 1}
JOIN = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}  # of two elements
