"""Reads the text form of the IR (README.md gives the grammar); `printer` writes it.

A line is a statement: the head of a function or of a block, an instruction, a terminator, `}`. Comments
run from `;` to the end of the line. Names are resolved here, so the text of an unknown value, label,
function or op is a ParseError with its line and a caret; what the text means (types, attributes, edges) is
the business of `verify`.

Imports: `core`, `ops`, `types`, `printer` (quoting), `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import numpy as np

from .core import ENTRY, Block, Edge, Function, Guard, Instr, Loc, Return, Terminator, Value
from .errors import ParseError
from .ops import TABLE
from .printer import _ESCAPES
from .types import DTYPES, TensorType

T = TypeVar("T")

MAX_DEPTH = 16  # of lists in lists; the attributes of ops nest two deep

_STRING = r'"(?:[^"\\]|\\.)*"'
_NAME = rf"(?:[\w.]+|{_STRING})"
_LOC = re.compile(
    rf'@(?: +(?P<file>{_STRING}|[^\s:";]+):(?P<line>\d+)(?::(?P<col>\d+)-(?P<end>\d+))?)?'
    rf"(?: +~%(?P<adjoint>{_NAME}))?"
)
_TOKEN = re.compile(
    r"(?P<space>\s+|;.*)"
    rf"|(?P<value>%{_NAME})|(?P<function>@{_NAME})|(?P<label>\^{_NAME}|\^\?)"
    rf"|(?P<loc>{re.sub('[?]P<[a-z]+>', '?:', _LOC.pattern)})"
    r"|(?P<number>-?(?:(?:inf|nan)\b|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?))"
    r"|(?P<type>[a-z]\w*\[[\d,]*\])"
    rf"|(?P<string>{_STRING})"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<mark>->|[(){}\[\],:=?])"
    r"|(?P<unknown>.)"
)
_UNESCAPES = {escaped: char for char, escaped in _ESCAPES.items()}
_SAID = {
    "value": "a value (%name)", "function": "a function (@name)", "label": "a label (^name)",
    "type": "a type (f32[2,3])", "word": "a word", "number": "a number",
}


def parse(text: str, filename: str = "<text>") -> list[Function]:
    """The functions that `text` holds, in order. Raises ParseError."""
    return _File(text, filename).functions()


def parse_function(text: str, filename: str = "<text>") -> Function:
    """The first function of `text` (those after it are ones that it refers to). Raises ParseError."""
    functions = parse(text, filename)
    if not functions:
        raise ParseError(f"{filename}: no function in it")
    return functions[0]


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    return re.sub(r"\\.", lambda m: _UNESCAPES.get(m[0], m[0][1]), text[1:-1])


class _Line:
    """The tokens of one line and a position among them."""

    def __init__(self, text: str, number: int, filename: str) -> None:
        self.text, self.number, self.filename = text, number, filename
        # (kind, text, column); the end of the line is a token too.
        self.tokens = [
            (m.lastgroup or "", m[0], m.start()) for m in _TOKEN.finditer(text) if m.lastgroup != "space"
        ]
        self.tokens.append(("end", "the end of the line", len(text.rstrip())))
        self.at = 0

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def token(self) -> str:
        return self.tokens[self.at][1]

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        column = self.tokens[self.at if at is None else at][2]
        raise ParseError(
            f"{self.filename}:{self.number}:{column + 1}: {message}",
            where=f"  {self.text}\n  {' ' * column}^",
        )

    def expected(self, what: str) -> NoReturn:
        shown = self.token if self.kind == "end" else f"'{self.token}'"
        self.fail(f"expected {what}, got {shown}")

    def take(self, kind: str) -> str:
        """The text of a token of this kind, sigil and quotes removed from a name."""
        if self.kind != kind:
            self.expected(_SAID[kind])
        token = self.token
        self.at += 1
        return _unquote(token[1:]) if kind in ("value", "function", "label") else token

    def skip(self, mark: str) -> bool:
        if self.token == mark and self.kind in ("mark", "word"):
            self.at += 1
            return True
        return False

    def want(self, *marks: str) -> str:
        for mark in marks:
            if self.skip(mark):
                return mark
        self.expected(" or ".join(f"'{m}'" for m in marks))

    def integer(self, text: str) -> int:
        try:
            return int(text)
        except ValueError:  # more digits than Python reads
            self.fail(f"a number of {len(text)} digits")

    def end(self) -> None:
        if self.kind != "end":
            self.expected("the end of the line")

    def listed(self, item: Callable[[], T], close: str) -> list[T]:
        """Items separated by commas, up to the closing mark."""
        items: list[T] = []
        if self.skip(close):
            return items
        while True:
            items.append(item())
            if self.want(",", close) == close:
                return items


class _File:
    def __init__(self, text: str, filename: str) -> None:
        self.filename = filename
        self.lines = [
            line for n, t in enumerate(text.split("\n"), 1) if (line := _Line(t, n, filename)).kind != "end"
        ]
        self.position = 0
        self.types: dict[str, TensorType] = {}
        self.found: dict[str, Function] = {}
        self.references: list[tuple[_Line, int, dict[str, Any], str, str]] = []

    def next_line(self, wanted: str) -> _Line:
        if self.position == len(self.lines):
            if self.lines:
                line = self.lines[-1]
                line.fail(f"expected {wanted} after this line", len(line.tokens) - 1)
            raise ParseError(f"{self.filename}: expected {wanted}, got nothing")
        self.position += 1
        return self.lines[self.position - 1]

    def functions(self) -> list[Function]:
        while self.position < len(self.lines):
            line = self.next_line("'func'")
            line.want("func")
            at, name = line.at, line.take("function")
            if name in self.found:
                line.fail(f"@{name} is defined twice", at)
            self.found[name] = _FunctionText(self, line, name).function()
        for line, at, attrs, key, name in self.references:
            if name not in self.found:
                line.fail(f"no function @{name} in this text", at)
            attrs[key] = self.found[name]
        return list(self.found.values())

    def type(self, line: _Line) -> TensorType:
        text = line.take("type")
        known = self.types.get(text)
        if known is None:
            code, _, sizes = text[:-1].partition("[")
            parts = sizes.split(",") if sizes else []
            if code not in DTYPES or "" in parts:
                line.fail(f"no type {text}: a dtype is one of {', '.join(DTYPES)}", line.at - 1)
            known = self.types[text] = TensorType(DTYPES[code], tuple(map(line.integer, parts)))
        return known


class _FunctionText:
    """One function of a file."""

    def __init__(self, file: _File, head: _Line, name: str) -> None:
        self.file, self.head, self.name = file, head, name
        self.values: dict[str, Value] = {}
        self.edges: list[tuple[_Line, int, str]] = []

    def function(self) -> Function:
        line = self.head
        params = self.params(line)
        line.want("->")
        line.want("(")
        results = tuple(line.listed(lambda: self.file.type(line), ")"))
        line.want("{")
        line.end()
        blocks = {ENTRY: self.block(ENTRY, params)}
        while not (line := self.file.next_line("a block or '}'")).skip("}"):
            at, label = line.at, line.take("label")
            if label in blocks:
                line.fail(f"^{label} is defined twice", at)
            params = self.params(line)
            line.want(":")
            line.end()
            blocks[label] = self.block(label, params)
        line.end()
        for where, at, label in self.edges:
            if label not in blocks:
                where.fail(f"no block ^{label} in @{self.name}", at)
        f = Function(self.name, tuple(blocks.values()))
        if f.result_types != results:
            self.head.fail(f"@{self.name} returns ({', '.join(map(str, f.result_types))})", 0)
        return f

    def block(self, label: str, params: tuple[Value, ...]) -> Block:
        instrs: list[Instr] = []
        while True:
            line = self.file.next_line("an instruction or a terminator")
            terminator = self.terminator(line)
            if terminator is not None:
                return Block(label, params, tuple(instrs), terminator)
            instrs.append(self.instr(line))

    def params(self, line: _Line) -> tuple[Value, ...]:
        line.want("(")
        return tuple(line.listed(lambda: self.declare(line), ")"))

    def declare(self, line: _Line) -> Value:
        at, name = line.at, line.take("value")
        if name in self.values:
            line.fail(f"%{name} is defined twice", at)
        line.want(":")
        value = self.values[name] = Value(self.file.type(line), name)
        return value

    def use(self, line: _Line) -> Value:
        at, name = line.at, line.take("value")
        if name not in self.values:
            line.fail(f"%{name} is not defined before this line", at)
        return self.values[name]

    def terminator(self, line: _Line) -> Terminator | None:
        if line.skip("return"):
            values: list[Value] = []
            while line.kind != "end":
                values.append(self.use(line))
                if not line.skip(","):
                    line.end()
            return Return(tuple(values))
        if line.skip("guard"):
            cond = self.use(line)
            line.want("?")
            then = self.edge(line)
            line.want(":")
            return Guard(cond, then, self.edge(line), self.loc(line))
        return None

    def edge(self, line: _Line) -> Edge | None:
        at, label = line.at, line.take("label")
        if line.tokens[at][1] == "^?":
            return None
        self.edges.append((line, at, label))
        line.want("(")
        return Edge(label, tuple(line.listed(lambda: self.use(line), ")")))

    def instr(self, line: _Line) -> Instr:
        outs: list[Value] = []
        # Results are declared after the operands are read, so that no instruction can use its own.
        declared_at = line.at
        while line.kind == "value":
            line.take("value")
            line.want(":")
            line.take("type")
            line.want(",", "=")
        if line.kind != "word":
            line.expected("an op" if line.at else "an instruction or a terminator")
        at, op = line.at, line.take("word")
        if op not in TABLE:
            line.fail(f"no op '{op}' in the table", at)
        args: list[Value] = []
        while line.kind == "value":
            args.append(self.use(line))
            if not line.skip(","):
                break
        attrs = self.attrs(line, op) if line.skip("{") else {}
        loc = self.loc(line)
        line.at = declared_at
        while line.kind == "value":
            outs.append(self.declare(line))
            line.want(",", "=")
        return Instr(op, tuple(args), attrs, tuple(outs), loc)

    def attrs(self, line: _Line, op: str) -> dict[str, Any]:
        attrs: dict[str, Any] = {}

        def item() -> None:
            at, key = line.at, line.take("word")
            if key in attrs:
                line.fail(f"{key} is given twice", at)
            line.want("=")
            if line.kind == "function":
                self.file.references.append((line, line.at, attrs, key, line.take("function")))
                attrs[key] = None
            else:
                attrs[key] = self.attr(line)

        at = line.at
        line.listed(item, "}")
        if op == "const" and isinstance(attrs.get("value"), tuple):
            attrs["value"] = self.array(line, at, attrs)
        return attrs

    def attr(self, line: _Line, depth: int = 0) -> Any:
        kind, token = line.kind, line.token
        if line.skip("["):
            if depth == MAX_DEPTH:
                line.fail(f"lists nest deeper than {MAX_DEPTH}", line.at - 1)
            return tuple(line.listed(lambda: self.attr(line, depth + 1), "]"))
        if kind == "string":
            line.at += 1
            return _unquote(token)
        if kind == "number":
            line.at += 1
            return line.integer(token) if token.lstrip("-").isdigit() else float(token)
        if kind == "word" and token in _WORDS:
            line.at += 1
            return _WORDS[token]
        line.expected("a number, true, false, a string, a dtype, a list or a function")

    def array(self, line: _Line, at: int, attrs: dict[str, Any]) -> np.ndarray:
        try:
            array = np.array(attrs["value"], attrs["dtype"].numpy).reshape(attrs["shape"])
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
            line.fail(f"these elements do not fit the dtype and the shape of the constant: {error}", at)
        array.flags.writeable = False
        return array

    def loc(self, line: _Line) -> Loc | None:
        if line.kind != "loc":
            line.end()
            return None
        m = _LOC.fullmatch(line.token)
        assert m is not None
        line.at += 1
        if m.end() == 1:  # nothing but the sign
            line.expected("file:line, file:line:column-column or ~%name")
        line.end()
        number, col, end = (line.integer(m[part] or "0") for part in ("line", "col", "end"))
        return Loc(_unquote(m["file"] or ""), number, col, end, _unquote(m["adjoint"] or ""))


_WORDS: dict[str, Any] = {"true": True, "false": False, **DTYPES}
