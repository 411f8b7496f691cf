"""The invariants of the IR, checked. A pass that breaks one is a bug, so tests verify after every pass.

A function
  F1  has blocks; the first is labelled `entry`, and no two labels are equal.
  F2  defines every value once, and no two values have one name.
  F3  gives values of the same types at every `return`.
  F4  does not refer to itself through an attribute; a function it refers to is straight-line and valid.
A block
  B1  is closed: an instruction or terminator uses only parameters of its own block and results of earlier
      instructions in it, the very same `Value` objects.
  B2  takes its parameters from edges: an edge names a block that exists, with as many arguments as that
      block has parameters, of the same types.
  B3  guards on a `bool[]`.
An instruction
  I1  names an op of the table.
  I2  has exactly the attributes of the op, and the operands and attribute values its inference accepts.
  I3  has the results, in number and type, that inference gives when it is run again (never restated here).
  I4  has immutable attributes: bool, int, float, str, DType, Function, tuples of these, read-only arrays.
A type
  T1  has a dtype of the table and sizes that are ints, none negative.

Imports: `core`, `ops`, `types`, `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import NoReturn

import numpy as np

from .core import ENTRY, Block, Edge, Function, Guard, Instr, Return, Value
from .errors import VerifyError
from .ops import TABLE
from .types import DTYPES, DType, TensorType, bool_


def verify(f: Function) -> None:
    """Raises VerifyError unless `f`, and every function it refers to, keeps the invariants above."""
    references: dict[Function, list[Function]] = {}
    queue = [f]
    for g in queue:  # grows while it is walked
        if g not in references:
            _Checker(g).check()
            references[g] = [v for i in g.walk() for v in i.attrs.values() if isinstance(v, Function)]
            queue += references[g]
    for g in references:
        if g is not f and not g.is_straight:
            raise VerifyError(f"@{g.name}: a function that an attribute refers to must be straight-line")
    try:
        TopologicalSorter(references).prepare()
    except CycleError as error:
        names = " -> ".join(f"@{g.name}" for g in error.args[1])
        raise VerifyError(f"@{f.name}: functions refer to each other in a circle: {names}") from None


class _Checker:
    """Checks one function; `place` says in an error where it was."""

    def __init__(self, f: Function) -> None:
        self.f = f
        self.place = f"@{f.name}"
        self.names: set[str] = set()
        self.types: set[TensorType] = set()  # those already seen to be well formed

    def fail(self, message: str, instr: Instr | None = None) -> NoReturn:
        error = VerifyError(f"{self.place}: {message}")
        raise error.at(instr.loc.excerpt()) if instr is not None and instr.loc else error

    def check(self) -> None:
        blocks = self.f.blocks
        if not blocks or blocks[0].label != ENTRY:
            self.fail(f"the first block must be labelled ^{ENTRY}")
        params: dict[str, tuple[Value, ...]] = {}
        for block in blocks:
            if block.label in params:
                self.fail(f"two blocks are labelled ^{block.label}")
            params[block.label] = block.params
        for block in blocks:
            self.block(block, params)
        self.returns(block.terminator.values for block in blocks if isinstance(block.terminator, Return))

    def returns(self, results: Iterable[tuple[Value, ...]]) -> None:
        self.place = f"@{self.f.name}"
        found = {tuple(v.type for v in values): None for values in results}
        if len(found) > 1:
            listed = " and ".join(f"({', '.join(map(str, types))})" for types in found)
            self.fail(f"returns differ in type: {listed}")

    def block(self, block: Block, params: dict[str, tuple[Value, ...]]) -> None:
        at = f"@{self.f.name} ^{block.label}"
        self.place = at
        defined: set[Value] = set()
        for value in block.params:
            self.define(value, defined)
        for instr in block.instrs:
            self.place = f"{at}, {', '.join(f'%{v.name}' for v in instr.outs)} = {instr.op}"
            self.instr(instr, defined)
            for out in instr.outs:
                self.define(out, defined)
        self.place = f"{at}, terminator"
        self.used(block.uses(), defined)
        if isinstance(block.terminator, Guard):
            self.guard(block.terminator, params)

    def define(self, value: Value, defined: set[Value]) -> None:
        if value.name in self.names:
            self.fail(f"%{value.name} is defined twice")
        self.type(value)
        self.names.add(value.name)
        defined.add(value)

    def type(self, value: Value) -> None:
        type = value.type
        if type in self.types:
            return
        if not isinstance(type.dtype, DType) or DTYPES.get(type.dtype.code) is not type.dtype:
            self.fail(f"%{value.name} has a dtype that is not of the table: {type.dtype!r}")
        for n in type.shape:
            if not (_is_int(n) and n >= 0):
                self.fail(f"%{value.name} has a size that is not an int of at least 0: {n!r}")
        self.types.add(type)

    def used(self, values: Iterable[Value], defined: set[Value], instr: Instr | None = None) -> None:
        for value in values:
            if value not in defined:
                self.fail(f"%{value.name} is not defined before it in this block", instr)

    def instr(self, instr: Instr, defined: set[Value]) -> None:
        if instr.op not in TABLE:
            self.fail(f"no op {instr.op!r} in the table", instr)
        self.used(instr.args, defined, instr)
        for key, value in instr.attrs.items():
            if reason := _mutable(value):
                self.fail(f"attribute {key} {reason}", instr)
        try:
            want = TABLE[instr.op].result_types([a.type for a in instr.args], instr.attrs)
        except Exception as error:  # whatever inference trips over, it does not accept this
            self.fail(f"{type(error).__name__}: {error}", instr)
        got = tuple(v.type for v in instr.outs)
        if got != want:
            self.fail(f"results are ({_listed(got)}), inference gives ({_listed(want)})", instr)

    def guard(self, guard: Guard, params: dict[str, tuple[Value, ...]]) -> None:
        if guard.cond.type != TensorType(bool_, ()):
            self.fail(f"guard on %{guard.cond.name}, which is {guard.cond.type} and not bool[]")
        for edge in (guard.then, guard.orelse):
            if edge is not None:
                self.edge(edge, params)

    def edge(self, edge: Edge, params: dict[str, tuple[Value, ...]]) -> None:
        if edge.label not in params:
            self.fail(f"no block ^{edge.label}")
        want = tuple(v.type for v in params[edge.label])
        got = tuple(v.type for v in edge.args)
        if got != want:
            self.fail(f"^{edge.label} takes ({_listed(want)}), the edge gives ({_listed(got)})")


def _listed(types: Iterable[TensorType]) -> str:
    return ", ".join(map(str, types))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flat(value: object) -> Iterator[object]:
    """`value`, or what lies in it if it is a tuple of tuples."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, tuple):
            stack.extend(value)
        else:
            yield value


def _mutable(value: object) -> str:
    """Why `value` cannot be an attribute; nothing if it can."""
    for part in _flat(value):
        if isinstance(part, np.ndarray):
            if part.flags.writeable:
                return "holds an array that can be written"
        elif type(part) not in (bool, int, float, str, DType, Function):
            return f"holds a {type(part).__name__}"
    return ""
