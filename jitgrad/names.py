"""What code reads from outside, read off its bytecode: global names, imported modules, attributes.

Imports: the standard library.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import operator
import re
import sys
import types
from typing import Any

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})
# Code with one of these names in it may get a module by a name that is a string.
_IMPORTERS = frozenset({"import_module", "__import__", "modules"})


@functools.lru_cache(maxsize=4096)
def global_names(code: types.CodeType) -> frozenset[str]:
    """The names that `code` looks up among the globals, and then the built-in functions."""
    return frozenset(s.argval for s in dis.get_instructions(code) if s.opname in _GLOBAL)


# Code with one of these names in it may read attributes whose names are not in it.
_COMPUTED_NAMES = frozenset(
    {
        "getattr", "hasattr", "setattr", "delattr", "vars", "dir", "attrgetter", "methodcaller", "__dict__",
        "__getattribute__",
    }
)
_FORMATS = frozenset({"format", "format_map"})
# The same, by whatever name code has them.
_READERS = (operator.attrgetter, operator.methodcaller)
_READ_BY_NAME = (getattr, hasattr, setattr, delattr, vars, dir)


@functools.lru_cache(maxsize=4096)
def attributes_named(code: types.CodeType) -> frozenset[str] | None:
    """The names of the attributes that `code` may read; None where it computes names: by a function for that, a class
    pattern (`__match_args__`), or a format that is no constant (`"{0.name}"` is one)."""
    names = set(code.co_names)
    if not names.isdisjoint(_COMPUTED_NAMES):
        return None
    before: dis.Instruction | None = None
    for step in dis.get_instructions(code):
        if step.opname == "MATCH_CLASS":
            return None
        if step.opcode in dis.hasname and step.argval in _FORMATS:
            if before is None or before.opname != "LOAD_CONST" or not isinstance(before.argval, str):
                return None
            names.update(re.findall(r"\.(\w+)", before.argval))
        before = step
    return frozenset(names)


def computes_names(x: Any) -> bool:
    """Whether the object `x`, which code may have by any name, reads attributes by names that it is given or keeps."""
    if isinstance(x, types.BuiltinFunctionType):
        return any(x is f for f in _READ_BY_NAME) or (isinstance(x.__self__, str) and x.__name__ in _FORMATS)
    return type(x) in _READERS or any(x is reader for reader in _READERS)


def modules_read(code: types.CodeType, variables: dict[str, Any]) -> set[str]:
    """The names of modules that `code`, with the globals `variables`, may import or find in `sys.modules`."""
    found = {full for name, level in _imports(code) if (full := _absolute(name, level, variables))}
    if not _IMPORTERS.isdisjoint(code.co_names):
        found.update(c for c in code.co_consts if isinstance(c, str) and c in sys.modules)
    for name in tuple(found):  # `import a.b` gives a
        while name := name.rpartition(".")[0]:
            found.add(name)
    return found


@functools.lru_cache(maxsize=4096)
def _imports(code: types.CodeType) -> tuple[tuple[str, int], ...]:
    """Names and levels of the import statements in `code`."""
    steps = list(dis.get_instructions(code))
    return tuple(
        (step.argval, steps[i - 2].argval) for i, step in enumerate(steps) if step.opname == "IMPORT_NAME"
    )


def _absolute(name: str, level: int, variables: dict[str, Any]) -> str:
    if not level:
        return name
    package = variables.get("__package__") or str(variables.get("__name__", "")).rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * level + name, package)
    except ImportError:
        return ""
