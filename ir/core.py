"""The SSA graph: functions of blocks of instructions over typed values. All of it is immutable.

    Function(name, blocks)            blocks[0] is the entry; its parameters are the function's
    Block(label, params, instrs, terminator)
    Instr(op, args, attrs, outs, loc) one operation of the op table (`ops`)
    Value(type, name)                 defined once: a block parameter or a result of an instruction
    Return(values) | Guard(cond, then, orelse)   with Edge(label, args) or None, "not recorded yet"

Invariants (checked by `verify`, each stated in its header):
  - Values are compared by identity; a name is unique in its function, for the text form.
  - Blocks are closed: a block uses its own parameters and instructions only. What flows between blocks
    flows through edge arguments. So a block can be rewritten, differentiated and compiled by itself.
  - `attrs` is a dict by convention never changed after it was given to an `Instr`; its values are
    immutable (int, float, bool, str, DType, tuples of them, a Function, or a read-only array).

Imports: `types`, `errors`. Why no use lists: they would make values mutable; a pass that needs uses counts them in
one walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import excerpt
from .types import TensorType


@dataclass(frozen=True, slots=True)
class Loc:
    """Where in the user's source an instruction comes from; `adjoint` names the forward value that a
    backward instruction belongs to. Columns are those of `co_positions`: `col` inclusive, from 0. The file
    is "" where only the adjoint is known."""

    file: str
    line: int
    col: int = 0
    end_col: int = 0
    adjoint: str = ""

    def of_adjoint(self, name: str) -> Loc:
        return replace(self, adjoint=name)

    def excerpt(self) -> str:
        return excerpt(self.file, self.line, self.col, self.end_col) if self.file else ""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """One definition. `name` is unique in its function and only there for people and the text form."""

    type: TensorType
    name: str

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


Attrs = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Instr:
    """One operation: `outs = op(args) {attrs}`."""

    op: str
    args: tuple[Value, ...]
    attrs: Attrs
    outs: tuple[Value, ...]
    loc: Loc | None = None

    @property
    def out(self) -> Value:
        """The result of an instruction that has one."""
        (out,) = self.outs
        return out


@dataclass(frozen=True, slots=True)
class Edge:
    """A way into the block `label`, its parameters bound to `args`."""

    label: str
    args: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Return:
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Guard:
    """Goes to `then` where the bool scalar `cond` holds, else to `orelse`; None: never recorded."""

    cond: Value
    then: Edge | None
    orelse: Edge | None
    loc: Loc | None = None


Terminator = Return | Guard


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    label: str
    params: tuple[Value, ...]
    instrs: tuple[Instr, ...]
    terminator: Terminator

    def uses(self) -> tuple[Value, ...]:
        """What the terminator reads, in order."""
        match self.terminator:
            case Return(values):
                return values
            case Guard(cond, then, orelse):
                edges = [e.args for e in (then, orelse) if e is not None]
                return (cond, *(v for args in edges for v in args))


ENTRY = "entry"


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A named graph of blocks. `Function.straight` makes the common one of a single block."""

    name: str
    blocks: tuple[Block, ...]

    @staticmethod
    def straight(
        name: str, params: tuple[Value, ...], instrs: tuple[Instr, ...], results: tuple[Value, ...]
    ) -> Function:
        return Function(name, (Block(ENTRY, params, instrs, Return(results)),))

    @property
    def entry(self) -> Block:
        return self.blocks[0]

    @property
    def params(self) -> tuple[Value, ...]:
        return self.blocks[0].params

    @property
    def is_straight(self) -> bool:
        return len(self.blocks) == 1 and isinstance(self.blocks[0].terminator, Return)

    @property
    def results(self) -> tuple[Value, ...]:
        """The results of a straight-line function."""
        terminator = self.blocks[0].terminator
        if len(self.blocks) != 1 or not isinstance(terminator, Return):
            raise ValueError(f"@{self.name} has control flow: its results differ from path to path")
        return terminator.values

    @property
    def result_types(self) -> tuple[TensorType, ...]:
        """Types of the results; every `return` of a function agrees on them."""
        for block in self.blocks:
            if isinstance(block.terminator, Return):
                return tuple(v.type for v in block.terminator.values)
        return ()

    @property
    def instrs(self) -> tuple[Instr, ...]:
        """The instructions of a straight-line function."""
        if not self.is_straight:
            raise ValueError(f"@{self.name} has control flow: ask its blocks for their instructions")
        return self.blocks[0].instrs

    def walk(self) -> Iterator[Instr]:
        """Every instruction, block by block."""
        for block in self.blocks:
            yield from block.instrs
