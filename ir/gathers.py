"""Passes over indexing: read before computing, and compare instead of scattering.

`sink_gathers` moves a gather towards what it reads from: of a whole elementwise expression of which only
some elements are read (the log-probabilities of the labels), only those are computed. What others read as
well is computed a second time for these elements, if they are few: at most one in FEW, and at most RECOMPUTE
instructions; for else it would have to be written to memory whole.

`one_hot` turns a scatter into zeros, of one element a row, into a comparison of positions with the index,
which fuses with what is around it. A scatter checks its index, a comparison does not: so only where another
instruction of the block checks the same index against the same size.

Invariants: values stay the same bit for bit. What is computed for fewer elements keeps its location.
An index out of range stays an error: a gather sinks only if one of the same index and size remains, on an
operand.

Imports: `patterns`, `rewrite`, `rules`, `core`, `ops`, `types`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from .core import Block, Function, Instr, Value
from .ops import TABLE
from .patterns import Procedure
from .rewrite import Candidate, Rewriter, RuleTable, rewrite
from .rules import RULES
from .types import i32, i64

Key = tuple[object, ...]
INT32_MAX = 2**31 - 1
FEW = 4
RECOMPUTE = 4


def definitions(block: Block) -> dict[Value, Instr]:
    """The instruction that makes each value of `block`."""
    return {out: instr for instr in block.instrs for out in instr.outs}


def trap_key(instr: Instr, defs: Mapping[Value, Instr]) -> Key | None:
    """What an instruction checks, equal for two that check the same; None where nothing can go wrong."""
    record = TABLE[instr.op]
    if "traps" not in record.traits or not any(a.type.dtype.is_integer for a in instr.args):
        return None
    checked = instr.args[1]
    size = instr.args[0].type.shape[instr.attrs["axis"]] if "axis" in instr.attrs else None
    made = defs.get(checked)
    if checked.type.size == 0 or (made is not None and made.op == "const" and _passes(made, size)):
        return None
    return checked, size


def _passes(const: Instr, size: int | None) -> bool:
    """Whether a constant divisor (no `size`) or index is one that no check stops."""
    value = np.asarray(const.attrs["value"])
    return bool(np.all(value != 0)) if size is None else bool(np.all((value >= 0) & (value < size)))


def one_hot(f: Function) -> Function:
    """Scatters into zeros, of one element a row, as comparisons that fuse."""
    if not any(instr.op == "scatter_add" for instr in f.walk()):
        return f
    checks = Counter[Key]()
    for block in f.blocks:
        defs = definitions(block)
        checks.update(key for instr in block.instrs if (key := trap_key(instr, defs)))

    def compare(b: Rewriter, at: Candidate) -> Any:
        x, index, update = at.args
        if not scatters_one_a_row(b, at):
            return None
        key = trap_key(Instr(at.op, at.args, at.attrs, ()), b.defs)
        if key is not None:
            if checks[key] < 2:
                return None
            checks[key] -= 1
        axis, shape = at.attrs["axis"], x.type.shape
        dtype = i32 if shape[axis] <= INT32_MAX else i64
        (place,) = b.emit("iota", (), {"axis": axis, "dtype": dtype, "shape": shape})
        wanted = b.broadcast(b.cast(index, dtype=dtype), shape=shape, dims=tuple(range(index.type.rank)))
        # The scatter adds to 0.0, which makes 0.0 of -0.0.
        added = b.add(update, b.zeros(update.type))
        others = tuple(i for i in range(x.type.rank) if i != axis)
        return b.select(b.eq(place, wanted), b.broadcast(added, shape=shape, dims=others), x)

    return rewrite(f, RuleTable([Procedure(["scatter_add"], compare), *RULES.rules]))


def scatters_one_a_row(b: Rewriter, at: Candidate) -> bool:
    """Whether a scatter puts one element a row into zeros."""
    x, index, _ = at.args
    number = b.number(x)
    zeros = number is not None and number == 0 and not np.signbit(number)
    return zeros and index.type.shape == x.type.shape[: at.attrs["batch"]]


def sink_gathers(f: Function) -> Function:
    """Gathers moved before the elementwise expressions that they read a part of."""
    if not any(instr.op == "gather" for instr in f.walk()):
        return f
    readers = Counter[Value]()
    position: dict[Value, int] = {}
    for block in f.blocks:
        for i, instr in enumerate(block.instrs):
            readers.update(set(instr.args))
            position.update(dict.fromkeys(instr.outs, i))
        readers.update(set(block.uses()))

    def sink(b: Rewriter, at: Candidate) -> Any:
        read, held = at.types[0].size, at.args[0].type.size
        if read >= held:
            return None
        region = _expression(b, at.args[0], readers, RECOMPUTE if read * FEW <= held else 0)
        if not region:
            return _through_broadcast(b, at, at.args[0]) if _reads_axis(b, at, at.args[0]) else None
        leaves = dict.fromkeys(a for instr in region.values() for a in instr.args if a not in region)
        if not any(_reads_axis(b, at, leaf) for leaf in leaves):
            return None
        sunk = {leaf: _gathered(b, at, leaf) for leaf in leaves}
        for value in sorted(region, key=position.__getitem__):
            instr = region[value]
            b.loc = instr.loc
            (sunk[value],) = b.emit(instr.op, [sunk[a] for a in instr.args], instr.attrs)
        return sunk[at.args[0]]

    return rewrite(f, RuleTable([Procedure(["gather"], sink), *RULES.rules]))


def _expression(b: Rewriter, x: Value, readers: Mapping[Value, int], shared: int) -> dict[Value, Instr]:
    """The elementwise expression that ends in `x`: what it alone reads, and `shared` instructions more."""
    found: dict[Value, Instr] = {}
    stack = [x]
    while stack:
        value = stack.pop()
        instr = b.defs.get(value)
        if instr is None or value in found or not TABLE[instr.op].elementwise or trap_key(instr, b.defs):
            continue
        if readers[value] != 1:
            if not readers[value] or not shared:  # one without readers was made by a rule just now
                continue
            shared -= 1
        found[value] = instr
        stack.extend(instr.args)
    return found


def _reads_axis(b: Rewriter, at: Candidate, leaf: Value) -> bool:
    """Whether what the gather reads of `leaf` depends on the index."""
    repeat = b.made_by(leaf, "broadcast")
    return b.number(leaf) is None and (repeat is None or at.attrs["axis"] in repeat.attrs["dims"])


def _gathered(b: Rewriter, at: Candidate, leaf: Value) -> Any:
    """What the gather reads of `leaf`, which has the shape of its operand."""
    number = b.number(leaf)
    if number is not None:
        return b.constant(number, leaf.type.with_shape(at.types[0].shape))
    repeated = _through_broadcast(b, at, leaf)
    return b.gather(leaf, at.args[1], **at.attrs) if repeated is None else repeated


def _through_broadcast(b: Rewriter, at: Candidate, x: Value) -> Any:
    """The gather of a broadcast as the broadcast of a gather, or of nothing gathered; None elsewhere."""
    repeat = b.made_by(x, "broadcast")
    if repeat is None or 1 in repeat.args[0].type.shape:
        return None
    index, axis, batch = at.args[1], at.attrs["axis"], at.attrs["batch"]
    (y,), dims, shape = repeat.args, repeat.attrs["dims"], at.types[0].shape
    own = index.type.rank - batch  # axes of the result that stand where `axis` stood
    moved = [d if d < axis else d - 1 + own for d in dims]
    if axis not in dims:
        return b.broadcast(y, shape=shape, dims=tuple(moved))
    k = dims.index(axis)
    if dims[:batch] == tuple(range(batch)):
        picked, before = b.gather(y, index, axis=k, batch=batch), dims[:k]
    elif k == 0:  # each row of the batch reads the same row
        picked, before = b.gather(y, index, axis=0, batch=0), tuple(range(batch))
    else:
        return None
    return b.broadcast(picked, shape=shape, dims=(*before, *range(axis, axis + own), *moved[k + 1 :]))
