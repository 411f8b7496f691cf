"""What code reads from outside, read off its bytecode: global names and imported modules.

Imports: the standard library.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
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
