"""The IR as text. README.md gives the grammar, `parser` reads it back: `to_text(parse(text)) == text`.

Numbers round-trip exactly: a float is printed by `repr` (`2.0`, `-0.0`, `nan`, `inf`), an int is never
mistaken for one. Functions that instructions refer to (`custom_grad`'s `backward`) are printed after those
asked for, and named `@name` where they are used; of two different functions with one name the later
prints as `@name_1`.

Imports: `core`, `types`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .core import Block, Edge, Function, Guard, Instr, Loc, Value
from .types import DType

ALIGN_LIMIT = 72  # locations line up in one column where the instructions before them are not longer
_BARE = re.compile(r"[\w.]+")
_BARE_FILE = re.compile(r'[^\s:";]+')
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def to_text(f: Function | Iterable[Function], *, loc: bool = True) -> str:
    """The text of one or several functions, without source locations where `loc` is false."""
    names = _name_all([f] if isinstance(f, Function) else list(f))
    return "\n".join(_function(g, names, loc) for g in names)


def _name_all(functions: Sequence[Function]) -> dict[Function, str]:
    """The functions asked for, then those they refer to, each with a name of its own."""
    names: dict[Function, str] = {}
    taken: set[str] = set()
    queue = list(functions)
    for f in queue:  # grows while it is walked
        if f in names:
            continue
        name, n = f.name, 0
        while name in taken:
            n += 1
            name = f"{f.name}_{n}"
        names[f] = name
        taken.add(name)
        queue.extend(v for instr in f.walk() for v in instr.attrs.values() if isinstance(v, Function))
    return names


def _function(f: Function, names: Mapping[Function, str], loc: bool) -> str:
    results = ", ".join(map(str, f.result_types))
    lines = [f"func {_name('@', names[f])}({_declared(f.params)}) -> ({results}) {{"]
    for i, block in enumerate(f.blocks):
        if i:
            lines.append(f"{_name('^', block.label)}({_declared(block.params)}):")
        lines += _body(block, names, loc)
    return "\n".join((*lines, "}", ""))


def _body(block: Block, names: Mapping[Function, str], loc: bool) -> list[str]:
    rows = [(_instr(i, names), _loc(i.loc)) for i in block.instrs]
    terminator = block.terminator
    if isinstance(terminator, Guard):
        edges = f"{_edge(terminator.then)} : {_edge(terminator.orelse)}"
        rows.append((f"  guard {_use(terminator.cond)} ? {edges}", _loc(terminator.loc)))
    else:
        rows.append((f"  return {_uses(terminator.values)}".rstrip(), ""))
    if not loc:
        return [text for text, _ in rows]
    width = max((len(text) for text, at in rows if at and len(text) <= ALIGN_LIMIT), default=0)
    return [f"{text:<{width}}  {at}" if at else text for text, at in rows]


def _instr(instr: Instr, names: Mapping[Function, str]) -> str:
    head = f"{_declared(instr.outs)} = {instr.op}" if instr.outs else instr.op
    args = f" {_uses(instr.args)}" if instr.args else ""
    attrs = ", ".join(f"{k}={_attr(v, names)}" for k, v in instr.attrs.items())
    return f"  {head}{args} {{{attrs}}}" if attrs else f"  {head}{args}"


def _name(sigil: str, name: str) -> str:
    return sigil + (name if _BARE.fullmatch(name) else quote(name))


def _use(value: Value) -> str:
    return _name("%", value.name)


def _uses(values: Iterable[Value]) -> str:
    return ", ".join(map(_use, values))


def _declared(values: Iterable[Value]) -> str:
    return ", ".join(f"{_use(v)}: {v.type}" for v in values)


def _edge(edge: Edge | None) -> str:
    return "^?" if edge is None else f"{_name('^', edge.label)}({_uses(edge.args)})"


def _loc(loc: Loc | None) -> str:
    if loc is None or not (loc.file or loc.adjoint):
        return ""
    parts = ["@"]
    if loc.file:
        file = loc.file if _BARE_FILE.fullmatch(loc.file) else quote(loc.file)
        columns = f":{loc.col}-{loc.end_col}" if loc.col or loc.end_col else ""
        parts.append(f"{file}:{loc.line}{columns}")
    if loc.adjoint:
        parts.append(f"~{_name('%', loc.adjoint)}")
    return " ".join(parts)


def quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(c, c) for c in text) + '"'


def _attr(value: object, names: Mapping[Function, str]) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return int.__repr__(value)
        case float():
            return float.__repr__(value)
        case str():
            return quote(value)
        case DType():
            return value.code
        case tuple():
            return f"[{', '.join(_attr(v, names) for v in value)}]"
        case np.ndarray():
            return f"[{', '.join(_element(v) for v in value.reshape(-1))}]"
        case Function():
            return _name("@", names[value])
    raise TypeError(f"an attribute cannot be a {type(value).__name__}: {value!r}")


def _element(x: np.generic) -> str:
    """The shortest text that reads back as exactly this element."""
    if isinstance(x, np.float32):
        short = str(x)
        exact = np.float32(float(short)) == x or bool(np.isnan(x))
        return short if exact else repr(float(x))
    return _attr(x.item(), {})
