"""A pass over sums of padded tensors: what was read slice by slice has a gradient of one piece a slice.

The cotangent of `x[i]`, or of a chunk, is padded with zeros to the size of x, and those of all pieces are
added: as many passes over the whole of x as there are pieces. `join_pads` finds such sums and lays the pieces
side by side: one concat, zeros in its gaps, which writes each element once.

Invariants: a piece that overlaps another keeps its pad and is added, unless it has the very same place: then
the pieces are added before. So values change in the order of additions and the sign of zeros only.

Imports: `patterns`, `rewrite`, `rules`, `core`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from .core import Function, Value
from .patterns import Procedure
from .rewrite import Candidate, Rewriter, RuleTable, rewrite
from .rules import RULES


class Piece(NamedTuple):
    """`value` at `start` of `axis`, zeros before and behind it, whole in all other axes."""

    axis: int
    start: int
    value: Value

    @property
    def end(self) -> int:
        return self.start + self.value.type.shape[self.axis]


def join_pads(f: Function) -> Function:
    """Sums of tensors that are zero outside a slice as one concat of the slices."""
    if sum(instr.op == "pad" for instr in f.walk()) < 2:
        return f
    readers = Counter(v for block in f.blocks for instr in block.instrs for v in instr.args)
    inner: set[Value] = set()  # sums that a sum alone reads
    for block in f.blocks:
        readers.update(block.uses())
        inner.update(v for instr in block.instrs if instr.op == "add" for v in instr.args if readers[v] == 1)
    outer = {
        instr.args for block in f.blocks for instr in block.instrs
        if instr.op == "add" and instr.out not in inner
    }

    def join(b: Rewriter, at: Candidate) -> Any:
        return _joined(b, _terms(b, at, inner)) if at.args in outer else None

    return rewrite(f, RuleTable([Procedure(["add"], join), *RULES.rules]))


def _terms(b: Rewriter, at: Candidate, inner: set[Value]) -> list[Value]:
    """What the sum adds up, from the left."""
    terms: list[Value] = []
    stack = list(reversed(at.args))
    while stack:
        value = stack.pop()
        made = b.made_by(value, "add") if value in inner else None
        if made is None:
            terms.append(value)
        else:
            stack.extend(reversed(made.args))
    return terms


def _joined(b: Rewriter, terms: list[Value]) -> Any:
    """The sum of `terms`, the pieces among them joined; None where no two go together."""
    pieces = {i: piece for i, term in enumerate(terms) if (piece := _piece(b, term)) is not None}
    groups: dict[int, list[int]] = {}  # the terms that have pieces along an axis
    for i, piece in pieces.items():
        groups.setdefault(piece.axis, []).append(i)
    joined: dict[int, Value | None] = {}  # by term; None: part of another
    for members in groups.values():
        chosen = _apart([pieces[i] for i in members])
        used = [i for i in members if (pieces[i].start, pieces[i].end) in chosen]
        if len(used) > 1:
            joined.update(dict.fromkeys(used))
            joined[used[0]] = _side_by_side(b, terms[used[0]], [pieces[i] for i in used])
    if not joined:
        return None
    total: Value | None = None
    for i, term in enumerate(terms):
        value = joined.get(i, term)
        if value is not None:
            total = value if total is None else b.add(total, value)
    return total


def _piece(b: Rewriter, term: Value) -> Piece | None:
    """The slice that `term` pads with zeros along one axis."""
    made = b.made_by(term, "pad")
    if made is None or any(made.attrs["interior"]) or not _is_zero(b, made.args[1]):
        return None
    low, high = made.attrs["low"], made.attrs["high"]
    padded = [k for k, (before, after) in enumerate(zip(low, high, strict=True)) if before or after]
    if len(padded) != 1 or not made.args[0].type.size:
        return None
    return Piece(padded[0], low[padded[0]], made.args[0])


def _is_zero(b: Rewriter, fill: Value) -> bool:
    number = b.number(fill)
    return number is not None and not isinstance(number, bool) and number == 0


def _apart(pieces: list[Piece]) -> set[tuple[int, int]]:
    """Places of pieces that do not overlap, chosen from the front."""
    chosen: set[tuple[int, int]] = set()
    end = 0
    for start, stop in sorted({(p.start, p.end) for p in pieces}):
        if start >= end:
            chosen.add((start, stop))
            end = stop
    return chosen


def _side_by_side(b: Rewriter, whole: Value, pieces: list[Piece]) -> Any:
    """The concat of `pieces`, and of zeros between them, in the type of `whole`."""
    axis, shape = pieces[0].axis, whole.type.shape
    parts: list[Value] = []
    end = 0

    def fill(until: int) -> None:
        if until > end:
            size = tuple(until - end if k == axis else n for k, n in enumerate(shape))
            parts.append(b.zeros(whole.type.with_shape(size)))

    at: dict[int, Value] = {}
    ends: Mapping[int, int] = {p.start: p.end for p in pieces}
    for piece in pieces:
        before = at.get(piece.start)
        at[piece.start] = piece.value if before is None else b.add(before, piece.value)
    for start in sorted(at):
        fill(start)
        parts.append(at[start])
        end = ends[start]
    fill(shape[axis])
    return b.concat(*parts, axis=axis)
