"""How compiled code and its caller meet.

    void @program(ptr %inputs, ptr %outputs, ptr %arena, ptr %table, ptr %traps)

    void @call(ptr %inputs, ptr %outputs, ptr %arena, ptr %table, ptr %traps, i64 %offset)

inputs, outputs: arrays of pointers to the parameters' first elements and to the results, row-major and fresh.
arena: `Schedule.arena_bytes` bytes, aligned to 64. table: pointers to the large constants and to functions
outside (BLAS), filled by the caller: the object itself holds no address and can be stored and reloaded.
traps: four i64. The first three are zeros before the call: the number of the first instruction that failed, counted
from 1 (0: none), a value that it failed on, and a lock for who notes them. Code that traps runs to its end, or to where
it would write to a parameter; its results mean nothing then, and the caller raises. The fourth is how many threads may
share a kernel that is in chunks.

`@call` is `@program` for arrays as objects: inputs and outputs hold addresses of ndarray objects, arena is one,
and each has the address of its data at `offset`.

Invariants: outputs, arena and table overlap nothing; inputs may overlap each other, but for those that a result
overwrites, whose outputs are not looked at.
Imports: `ir.core`, `ir.errors`, `ir.fuse`, `ir.types`, `control`, `text`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ..ir.core import Loc
from ..ir.errors import BoundsError, DivisionByZero, JitgradError
from ..ir.fuse import Buffer, Node
from ..ir.types import i64
from .control import nest
from .text import Code, Lanes, Vec

PROGRAM, CALL = "program", "call"
THREADS = 3  # where in %traps the number of threads stands
PARAMETERS = "ptr noalias %inputs, ptr noalias %outputs, ptr noalias %arena, ptr noalias %table, ptr noalias %traps"


def emit_call_entry(code: Code, inputs: int, outputs: int, times: int = 1) -> None:
    """Write `@call`, which runs the program `times` over."""

    def data(holder: str) -> str:
        place, address = code.fresh("p"), code.fresh("p")
        code.line(f"{place} = getelementptr i8, ptr {holder}, i64 %offset")
        code.line(f"{address} = load ptr, ptr {place}")
        return address

    def gather(array: str, count: int) -> str:
        found = code.fresh("p")
        code.line(f"{found} = alloca [{count} x ptr]")
        for i in range(count):
            source, holder, dest = code.fresh("p"), code.fresh("p"), code.fresh("p")
            code.line(f"{source} = getelementptr ptr, ptr {array}, i64 {i}")
            code.line(f"{holder} = load ptr, ptr {source}")
            code.line(f"{dest} = getelementptr ptr, ptr {found}, i64 {i}")
            code.line(f"store ptr {data(holder)}, ptr {dest}")
        return found

    with code.function(f"void @{CALL}({PARAMETERS}, i64 %offset)"):
        held = gather("%inputs", inputs), gather("%outputs", outputs), data("%arena")
        program = f"call void @{PROGRAM}({', '.join(f'ptr {h}' for h in held)}, ptr %table, ptr %traps)"
        nest(code, [times], lambda _: code.line(program))
        code.line("ret void")


@dataclass(frozen=True, slots=True)
class Trap:
    """What went wrong where: `op` by name, `limit` the size that an index had to stay below."""

    op: str
    limit: int
    loc: Loc | None


@dataclass(slots=True)
class Traps:
    """The instructions of one program that can fail, in the order of the program's text."""

    table: list[Trap] = field(default_factory=list)

    def report(self, code: Code, lanes: Lanes, node: Node, condition: Vec, value: Vec | None) -> None:
        """Write: where `condition` holds in any lane, note the node (and the i64 `value` of such a lane)."""
        trap = Trap(node.attrs.get("what", node.op), node.attrs.get("limit", 0), node.loc)
        if trap not in self.table:
            self.table.append(trap)
        number = self.table.index(trap) + 1
        failed, on = code.new_label("trap"), code.new_label("on")
        code.line(f"br i1 {lanes.any(condition).text}, label %{failed}, label %{on}")
        code.start_block(failed)
        if code.first_use(_NOTE):
            code.define(_NOTE_TEXT)
        failing = "0" if value is None else _failing(code, lanes, condition, value).text
        code.line(f"call void @{_NOTE}(ptr %traps, i64 {number}, i64 {failing})")
        code.line(f"br label %{on}")
        code.start_block(on)

    def error(self, number: int, value: int) -> JitgradError:
        """The exception for what the program left in %traps."""
        trap = self.table[number - 1]
        error: JitgradError
        if trap.limit or trap.op in _INDEXED:
            error = BoundsError(
                f"{trap.op}: index {value} is out of bounds for dimension with size {trap.limit}"
            )
        else:
            error = DivisionByZero(f"{trap.op}: integer division by zero")
        return error.at(trap.loc.excerpt()) if trap.loc is not None else error


# The first in the program wins: numbers minus 1 compare as unsigned, so that 0 (none) is the largest. Chunks of a
# kernel may fail at once, so the third word is a lock.
_NOTE = "note_trap"
_NOTE_TEXT = f"""define internal void @{_NOTE}(ptr %traps, i64 %number, i64 %value) cold noinline nounwind {{
entry:
  %lock = getelementptr i64, ptr %traps, i64 2
  br label %acquire
acquire:
  %exchanged = cmpxchg ptr %lock, i64 0, i64 1 acquire monotonic
  %held = extractvalue {{ i64, i1 }} %exchanged, 1
  br i1 %held, label %compare, label %acquire
compare:
  %noted = load i64, ptr %traps, align 8
  %seen = sub i64 %noted, 1
  %mine = sub i64 %number, 1
  %first = icmp ult i64 %mine, %seen
  br i1 %first, label %note, label %release
note:
  store i64 %number, ptr %traps, align 8
  %on = getelementptr i64, ptr %traps, i64 1
  store i64 %value, ptr %on, align 8
  br label %release
release:
  store atomic i64 0, ptr %lock release, align 8
  ret void
}}"""

_INDEXED = frozenset({"gather", "scatter", "scatter_add"})


def _failing(code: Code, lanes: Lanes, condition: Vec, value: Vec) -> Vec:
    """`value` in the first lane where `condition` holds."""
    if lanes.width == 1:
        return value
    width = lanes.width
    mask, lane = code.fresh(), code.fresh()
    code.line(f"{mask} = bitcast <{width} x i1> {condition.text} to i{width}")
    name = f"llvm.cttz.i{width}"
    code.declare(name, f"i{width}", [f"i{width}", "i1"])
    code.line(f"{lane} = call i{width} @{name}(i{width} {mask}, i1 false)")
    found = code.fresh()
    code.line(f"{found} = extractelement {lanes.type(i64)} {value.text}, i{width} {lane}")
    return Vec(found, i64)


class Pointers(Protocol):
    """Where a kernel finds its buffers."""

    def pointer(self, buffer: Buffer) -> str: ...


class Parameters:
    """Buffers as the parameters of a function: distinct memory."""

    def __init__(self, buffers: Iterable[Buffer]) -> None:
        self._names = {b: f"%b{i}" for i, b in enumerate(buffers)}

    def pointer(self, buffer: Buffer) -> str:
        return self._names[buffer]

    def __str__(self) -> str:
        return ", ".join(f"ptr noalias {name}" for name in self._names.values())


class Frame:
    """The buffers of a program as pointers in its entry block; `table` numbers what comes from outside."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.functions: list[str] = []  # names of the functions in the table, after the constants
        self.constants = 0
        self.written: dict[Hashable, str] = {}  # functions that several calls share, by what they do
        self._pointers: dict[Buffer, str] = {}

    def pointer(self, buffer: Buffer) -> str:
        if buffer not in self._pointers:
            kind, number = buffer.place
            match kind:
                case "temp":
                    self._pointers[buffer] = self._offset("%arena", number)
                case "param":
                    self._pointers[buffer] = self._entry("%inputs", number)
                case "result":
                    self._pointers[buffer] = self._entry("%outputs", number)
                case _:
                    self._pointers[buffer] = self._entry("%table", number)
        return self._pointers[buffer]

    def function(self, name: str) -> str:
        """A pointer to the outside function `name`."""
        if name not in self.functions:
            self.functions.append(name)
        return self._entry("%table", self.constants + self.functions.index(name))

    def _offset(self, base: str, offset: int) -> str:
        if not offset:
            return base
        address = self.code.fresh("p")
        self.code.line(f"{address} = getelementptr i8, ptr {base}, i64 {offset}")
        return address

    def _entry(self, array: str, number: int) -> str:
        slot, loaded = self.code.fresh("p"), self.code.fresh("p")
        self.code.line(f"{slot} = getelementptr ptr, ptr {array}, i64 {number}")
        self.code.line(f"{loaded} = load ptr, ptr {slot}")
        return loaded
