"""The rewrite driver: functions in, simpler functions out, by rules that are data (see `patterns`, `rules`).

A block is rewritten in one pass over its instructions, each written to a new block through a builder.
When an instruction is written, its operands already have their final form, so a rule that looks at what
its operands are made of needs to be tried here and nowhere again; what a rule writes goes the same way.
So one pass reaches the fixed point, in time linear in instructions. An instruction equal to one already
written (same op, operands, attributes) is that one: common subexpressions vanish on the way, and patterns
that name an operand twice find it.

Invariants:
  - A rule writes with a builder and copies no location; everything written for an instruction is stamped
    with that instruction's location, and its result keeps that instruction's name.
  - A replacement has the types of what it replaces; a rule that breaks this is an error at once.
  - What a rule writes is rewritten to a depth of DEPTH, so a chain of any length cannot meet the recursion
    limit; deeper it is written as it is, which is right, only less simple.
  - Ops with the trait 'barrier' or 'effect' are never shared: two calls of a user's backward are two.

Imports: `builder`, `core`, `ops`, `types`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .builder import FunctionBuilder
from .core import Attrs, Block, Edge, Function, Guard, Instr, Return, Terminator, Value
from .ops import TABLE
from .types import DType, TensorType

DEPTH = 32
LARGE = 4096  # elements above which two constant arrays are not compared
NO_OVERFLOW = 2.0**127  # numbers up to here are finite in every float dtype

Outs = tuple[Value, ...]


class Candidate(NamedTuple):
    """An instruction about to be written, and the result types it has."""

    op: str
    args: Outs
    attrs: Attrs
    types: tuple[TensorType, ...]


class Rewrite:
    """Something that may replace an instruction of one of `ops`.

    `needs`: ops that must be among those that made the operands. `exact`: it changes no bit of the results
    (a nan's payload and sign apart); otherwise only their rounding, or the sign of a zero.
    """

    ops: tuple[str, ...]
    needs: frozenset[str] = frozenset()
    exact: bool = True

    def apply(self, b: Rewriter, at: Candidate) -> Outs | None:
        raise NotImplementedError


class RuleTable:
    """Rules in order, found by the op of an instruction and the ops that made its operands."""

    def __init__(self, rules: Iterable[Rewrite]) -> None:
        self.rules = tuple(rules)
        self._by_op: dict[str, list[Rewrite]] = {}
        self._found: dict[tuple[str, frozenset[str]], tuple[Rewrite, ...]] = {}
        for rule in self.rules:
            for op in rule.ops:
                self._by_op.setdefault(op, []).append(rule)

    def __contains__(self, op: str) -> bool:
        return op in self._by_op

    def find(self, op: str, made: frozenset[str]) -> tuple[Rewrite, ...]:
        rules = self._found.get((op, made))
        if rules is None:
            rules = tuple(rule for rule in self._by_op.get(op, ()) if rule.needs <= made)
            self._found[op, made] = rules
        return rules


class Rewriter(FunctionBuilder):
    """Writes the blocks of `f`, one after the other, by `rules`. `defs` says how each value that was
    written in the present block was made."""

    def __init__(self, f: Function, rules: RuleTable) -> None:
        super().__init__()
        self.rules = rules
        self.defs: dict[Value, Instr] = {}
        self._written: dict[object, Outs] = {}
        self._depth = 0
        for block in f.blocks:
            self.adopt(*block.params, *[v for instr in block.instrs for v in instr.outs])

    def block(self, block: Block) -> Block:
        """`block`, rewritten."""
        self.instrs, self.defs, self._written = [], {}, {}
        env: dict[Value, Value] = {}
        for instr in block.instrs:
            args = tuple([env.get(a, a) for a in instr.args]) if env else instr.args
            outs = self.take(instr, args)
            if outs is not instr.outs:
                env.update(zip(instr.outs, outs, strict=True))
        return with_instrs(block, self.instrs, env)

    def emit(self, op: str, args: Sequence[Value], attrs: Mapping[str, Any]) -> Outs:
        types = TABLE[op].result_types([a.type for a in args], attrs)
        at = Candidate(op, tuple(args), attrs, types)
        return self._rewritten(at) or self._write(at)

    def take(self, instr: Instr, args: Outs) -> Outs:
        """Write `instr` of the old block with these operands; its results, or what replaces them."""
        self.loc = instr.loc
        at = Candidate(instr.op, args, instr.attrs, tuple([o.type for o in instr.outs]))
        if instr.op in self.rules:
            count = len(self.instrs)
            outs = self._rewritten(at)
            if outs is not None:
                return self.inherit(instr.outs, outs) if len(self.instrs) > count else outs
        return self._write(at, instr)

    def number(self, value: Value) -> bool | int | float | None:
        """The number that `value` is filled with, as its dtype holds it; None where it is not one."""
        instr = self.defs.get(value)
        if instr is None or instr.op != "const" or isinstance(instr.attrs["value"], np.ndarray):
            return None
        return held(instr.attrs["value"], value.type.dtype)

    def made_by(self, value: Value, op: str) -> Instr | None:
        """The instruction of this op that made `value`, if one did."""
        instr = self.defs.get(value)
        return instr if instr is not None and instr.op == op else None

    def _rewritten(self, at: Candidate) -> Outs | None:
        if self._depth == DEPTH:
            return None
        made = frozenset([d.op for a in at.args if (d := self.defs.get(a)) is not None])
        self._depth += 1
        for rule in self.rules.find(at.op, made):
            outs = rule.apply(self, at)
            if outs is not None:
                if tuple([o.type for o in outs]) != at.types:
                    raise AssertionError(f"rule {rule} made {outs} of {at}")
                break
        else:
            outs = None
        self._depth -= 1
        return outs

    def _write(self, at: Candidate, origin: Instr | None = None) -> Outs:
        """Append the instruction, under the results of `origin` if given, or find its equal."""
        key = share_key(at.op, at.args, at.attrs)
        known = self._written.get(key)
        if known is not None:
            return known
        if origin is not None and at.args == origin.args:
            instr = origin
        else:
            outs = origin.outs if origin is not None else tuple([Value(t, self.fresh()) for t in at.types])
            instr = Instr(at.op, at.args, at.attrs, outs, self.loc)
        self.instrs.append(instr)
        for out in instr.outs:
            self.defs[out] = instr
        if key is not None:
            self._written[key] = instr.outs
        return instr.outs

    def inherit(self, old: Outs, outs: Outs) -> Outs:
        """`old` in the place of `outs`, if the instruction just written made these; so names persist."""
        last = self.instrs[-1]
        if last.outs != outs:
            return outs
        instr = self.instrs[-1] = Instr(last.op, last.args, last.attrs, old, last.loc)
        for before, after in zip(outs, old, strict=True):
            del self.defs[before]
            self.defs[after] = instr
        key = share_key(instr.op, instr.args, instr.attrs)
        if key is not None:
            self._written[key] = old
        return old


def held(number: bool | int | float, dtype: DType) -> bool | int | float:
    """`number` as `dtype` holds it."""
    if abs(number) <= NO_OVERFLOW:
        as_it_is: bool | int | float = dtype.numpy.type(number).item()
        return as_it_is
    with np.errstate(over="ignore"):
        as_it_is = dtype.numpy.type(number).item()
    return as_it_is


def share_key(op: str, args: Outs, attrs: Attrs) -> object:
    """Equal for two instructions that compute the same; None for one that is never shared.

    Constants are compared by their bits: 0.0 is not -0.0, and nan is nan.
    """
    record = TABLE[op]
    if op == "const":
        value = attrs["value"]
        if isinstance(value, np.ndarray):
            bits: object = value.tobytes() if value.size <= LARGE else id(value)
        else:
            bits = float(value).hex() if attrs["dtype"].is_floating_point else int(value)
        return op, bits, attrs["dtype"], attrs["shape"]
    if not record.traits.isdisjoint(_NEVER_SHARED):
        return None
    if "commutative" in record.traits and id(args[0]) > id(args[1]):
        args = (args[1], args[0])
    return (op, args, *[attrs[name] for name in record.attrs]) if attrs else (op, args)


_NEVER_SHARED = frozenset({"barrier", "effect"})


def rewrite(f: Function, rules: RuleTable) -> Function:
    """`f` with `rules` applied to each block until none applies any more."""
    return with_blocks(f, map(Rewriter(f, rules).block, f.blocks))


def with_blocks(f: Function, blocks: Iterable[Block]) -> Function:
    """`f` with other blocks: `f` itself if they are its own."""
    blocks = tuple(blocks)
    return f if all(map(operator.is_, blocks, f.blocks)) else Function(f.name, blocks)


def with_instrs(block: Block, instrs: Sequence[Instr], env: Mapping[Value, Value]) -> Block:
    """`block` with other instructions, its terminator reading what `env` says: itself if nothing changed."""
    if len(instrs) == len(block.instrs) and all(map(operator.is_, instrs, block.instrs)):
        return block
    return Block(block.label, block.params, tuple(instrs), renamed(block.terminator, env))


def renamed(terminator: Terminator, env: Mapping[Value, Value]) -> Terminator:
    """`terminator` with the values it reads replaced as `env` says."""
    def each(values: Outs) -> Outs:
        return tuple([env.get(v, v) for v in values])

    def edge(e: Edge | None) -> Edge | None:
        return e and Edge(e.label, each(e.args))

    if isinstance(terminator, Return):
        return Return(each(terminator.values))
    cond = env.get(terminator.cond, terminator.cond)
    return Guard(cond, edge(terminator.then), edge(terminator.orelse), terminator.loc)
