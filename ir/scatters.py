"""A pass over sums with scattered terms: only the rows that are named change.

The gradient of rows looked up in a table is zeros with rows added to it; a step of gradient descent scales it and
subtracts it from the table: three passes over all of the table, of which few rows change. `sink_scatters` moves
scaling and sums into the rows: `x - c * scatter_add(0, i, u)` is `scatter_add(x, i, -c * u)`, also where the
scattered part is itself a sum of scaled scatters.

It is done where nobody else reads the scattered array, or where x is a parameter, whose memory the result may take
over; else the array has to be made anyway, and adding it fuses with what is around it.

A factor that is computed may not be finite; 0 times it is nan, in rows that no index names too. So -abs(c * 0) is
added to x first: -0.0, which changes no bit (and is not done at all in place: see `fuse.overwrite`), or nan.

Invariants: values change in the order of additions and the sign of zeros only, where factors are finite, as numbers
must be; where a computed one is not, nan stands for infinities in the rows that are named, as in all others.

Imports: `rewrite`, `rules`, `core`, `gathers`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .core import Block, Function, Instr, Value
from .gathers import definitions
from .rewrite import Outs, Rewriter, held, with_blocks
from .rules import RULES

MOST = 16  # scattered terms of one sum
SUMS = ("add", "sub")

Factors = tuple[tuple[str, Value | float | None], ...]


class Term(NamedTuple):
    """`scatter_add(0, places, update)` with `factors` applied one after the other: an op, and the scalar that is its
    second operand (none for neg)."""

    places: Value
    update: Value
    axis: int
    batch: int
    factors: Factors = ()


def sink_scatters(f: Function) -> Function:
    """Sums of an array and scaled scatters into zeros as scatters into the array."""
    if not any(instr.op == "scatter_add" for instr in f.walk()):
        return f
    b = _Sinker(f, RULES)
    return with_blocks(f, map(b.block, f.blocks))


class _Sinker(Rewriter):
    """`scattered`: what values are made of, if they are sums of terms; `chosen`: the sums to be rewritten, by their
    results in the old block."""

    def block(self, block: Block) -> Block:
        self.scattered: dict[Value, tuple[Term, ...]] = {}
        self.chosen = _chosen(block)
        return super().block(block)

    def take(self, instr: Instr, args: Outs) -> Outs:
        if instr.outs[0] in self.chosen and any(a in self.scattered for a in args):
            self.loc = instr.loc
            count = len(self.instrs)
            outs: Outs = (self.updated(instr.op, *args),)
            outs = self.inherit(instr.outs, outs) if len(self.instrs) > count else outs
        else:
            outs = super().take(instr, args)
        terms = scattered_terms(instr.op, args, instr.attrs, self.defs, self.scattered)
        if terms:
            self.scattered[outs[0]] = terms
        return outs

    def updated(self, op: str, x: Value, y: Value) -> Value:
        """x + y or x - y, of which one is scattered, as updates of the other."""
        terms = self.scattered.get(y)
        negative = op == "sub" and terms is not None
        if terms is None:
            x, terms = y if op == "add" else self.neg(y), self.scattered[x]
        for factors in dict.fromkeys(t.factors for t in terms):
            if any(isinstance(scalar, Value) for _, scalar in factors) and x.type.dtype.is_floating_point:
                nothing = self.neg(self.abs(self.scaled(self.zeros(x.type.with_shape(())), factors)))
                x = self.add(x, self.broadcast(nothing, shape=x.type.shape, dims=()))
        for term in terms:
            update = self.scaled(term.update, term.factors)
            update = self.neg(update) if negative else update
            x = self.scatter_add(x, term.places, update, axis=term.axis, batch=term.batch)
        return x

    def scaled(self, update: Value, factors: Factors) -> Value:
        """`update` with `factors` applied."""
        for op, scalar in factors:
            if scalar is None:
                (update,) = self.emit(op, [update], {})
                continue
            if isinstance(scalar, Value):
                spread = self.broadcast(self.reshape(scalar, shape=()), shape=update.type.shape, dims=())
            else:
                spread = self.constant(scalar, update.type)
            (update,) = self.emit(op, [update, spread], {})
        return update


def _chosen(block: Block) -> set[Value]:
    """The results of the sums that become updates."""
    defs = definitions(block)
    scattered: dict[Value, tuple[Term, ...]] = {}
    for instr in block.instrs:
        terms = scattered_terms(instr.op, instr.args, instr.attrs, defs, scattered)
        if terms:
            scattered[instr.out] = terms
    whole = set(block.uses())  # values that have to be made
    chosen: set[Value] = set()
    sums: list[Instr] = []
    for instr in reversed(block.instrs):
        if instr.outs[0] in scattered:
            if instr.out not in whole:
                continue
            if instr.op in SUMS and all(a in scattered for a in instr.args):  # the second goes into the first
                chosen.add(instr.out)
                whole.add(instr.args[0])
            else:
                whole.update(instr.args)
        elif instr.op in SUMS and any(a in scattered for a in instr.args):
            sums.append(instr)
        else:
            whole.update(instr.args)
    params = set(block.params)
    for instr in sums:
        x, y = instr.args
        part, other = (y, x) if y in scattered else (x, y)
        if part not in whole or (other in params and (instr.op == "add" or part is y)):
            chosen.add(instr.out)
    return chosen


def scattered_terms(
    op: str, args: Outs, attrs: Mapping[str, object], defs: Mapping[Value, Instr],
    known: Mapping[Value, tuple[Term, ...]],
) -> tuple[Term, ...]:
    """The terms that an instruction's result is the sum of, given those of its operands; none where it is not."""
    of = [known.get(a, ()) for a in args]
    terms: tuple[Term, ...] = ()
    match op:
        case "scatter_add":
            x, index, update = args
            axis, batch = attrs["axis"], attrs["batch"]
            assert isinstance(axis, int) and isinstance(batch, int)
            if index.type.rank > batch and (of[0] or _number(x, defs) == 0):
                terms = (*of[0], Term(index, update, axis, batch))
        case "neg":
            terms = _with_factor(of[0], "neg", None)
        case "mul" | "div":
            part, other = (of[1], args[0]) if op == "mul" and of[1] else (of[0], args[1])
            scalar = _scalar(other, defs)
            if scalar is not None and not (op == "div" and scalar == 0):
                terms = _with_factor(part, op, scalar)
        case "add" | "sub" if of[0] and of[1]:
            terms = of[0] + (_with_factor(of[1], "neg", None) if op == "sub" else of[1])
    return terms if len(terms) <= MOST else ()


def _with_factor(terms: tuple[Term, ...], op: str, scalar: Value | float | None) -> tuple[Term, ...]:
    return tuple([t._replace(factors=(*t.factors, (op, scalar))) for t in terms])


def _scalar(x: Value, defs: Mapping[Value, Instr]) -> Value | float | None:
    """The one value, or finite number, that fills `x`; None where there is none."""
    number = _number(x, defs)
    if number is not None:
        return number if math.isfinite(number) else None
    made = defs.get(x)
    if made is not None and made.op == "broadcast" and made.args[0].type.size == 1:
        return made.args[0]
    return x if x.type.size == 1 else None


def _number(x: Value, defs: Mapping[Value, Instr]) -> float | None:
    made = defs.get(x)
    if made is None or made.op != "const" or isinstance(made.attrs["value"], np.ndarray):
        return None
    return held(made.attrs["value"], x.type.dtype)
