"""Which code that is not Python a recording can keep: what its results depend on shows in its arguments.

A snapshot follows Python objects. It sees into lists and dicts, not into a file, a lock or the interpreter. So
built-in functions, and classes that are not made by a `class` statement, count as pure only if they are listed here:
by module, less what of a module has a state of its own or acts on the world. What is not listed (an extension module,
for instance) makes the function that uses it one that is recorded at every call.

Invariants: no code of the user's runs here.
Imports: `attributes`, `checks`.
"""

from __future__ import annotations

import types
from typing import Any

from .attributes import module_of
from .checks import chain_of

# Modules whose built-in functions and methods depend on their arguments alone, and change nothing else.
_MODULES = frozenset(
    {
        "math", "cmath", "operator", "_operator", "functools", "_functools", "itertools", "collections", "_collections",
        "re", "_sre", "struct", "_struct", "_stat", "copyreg", "weakref", "_weakref", "_abc", "_bisect", "_heapq",
        "_string", "binascii", "_json", "unicodedata", "_codecs", "array", "_statistics", "types", "typing", "_typing",
        "datetime", "numpy", "builtins",
    }
)
# What of them is not, by module: functions, and methods as `class.name`.
_IMPURE = {
    "builtins": {
        "input", "open", "print", "eval", "exec", "globals", "id", "breakpoint", "type.__subclasses__", "frame.clear",
    },
    "datetime": {
        "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.fromtimestamp",
        "date.fromtimestamp", "datetime.timestamp", "datetime.astimezone",
    },
    "array": {"array.fromfile", "array.tofile"},
    "numpy": {
        "fromfile", "ndarray.tofile", "ndarray.dump", "_get_extobj_dict", "_make_extobj", "getbufsize", "setbufsize",
        "geterrobj", "seterrobj", "set_string_function", "set_numeric_ops", "_set_madvise_hugepage",
        "_get_madvise_hugepage", "_get_promotion_state", "_set_promotion_state", "get_handler_name",
        "get_handler_version", "_reload_guard",
    },
    "weakref": {"getweakrefcount", "getweakrefs"},
}
_IMPURE["_weakref"] = _IMPURE["weakref"]
# What other modules have that is pure.
_PURE = frozenset(
    {
        ("posix", "fspath"), ("nt", "fspath"), ("sys", "intern"), ("sys", "exc_info"), ("sys", "exception"),
        ("_warnings", "_filters_mutated"), ("_thread", "lock.__enter__"), ("_thread", "lock.__exit__"),
        ("_thread", "RLock.__enter__"), ("_thread", "RLock.__exit__"),  # `with lock:` leaves it as it was
    }
)
# Classes of other modules that show their state only in built-in methods, which are seen when they are called.
_SHOW_NOTHING = frozenset({"_thread", "_contextvars", "contextvars", "_hashlib"})
_MADE_IN_PYTHON = frozenset({"__dict__", "__weakref__", "__slots__"})  # a `class` statement gives one of them


def is_pure(function: Any) -> bool:
    """Whether a recording keeps the result and the effect of a built-in function or method."""
    module, name = named(function)
    if (module, name) in _PURE:
        return True
    return _is_listed(module) and name not in _IMPURE.get(module.split(".")[0], ())


def _is_listed(module: str) -> bool:
    return module.split(".")[0] in _MODULES and not module.startswith("numpy.random")


def named(function: Any) -> tuple[str, str]:
    """The module of a built-in function or method, and its name there; that of the class that has the method."""
    owner = function.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return function.__module__ or "", function.__name__
    for cls in chain_of(owner if isinstance(owner, type) else type(owner)):
        if function.__name__ in cls.__dict__:
            return module_of(cls), f"{cls.__name__}.{function.__name__}"
    return module_of(type(owner)), function.__qualname__


def shows_state(cls: type) -> bool:
    """Whether objects of `cls` may have a state that shows in other ways than by Python code or built-in methods."""
    module = module_of(_native(cls))
    return not _is_listed(module) and module not in _SHOW_NOTHING


def _native(cls: type) -> type:
    """The class, `cls` or one that it derives from, that is not made in Python."""
    native = cls
    at: type | None = cls
    while at is not None:
        if not _MADE_IN_PYTHON.isdisjoint(at.__dict__) and at.__base__ is not None:
            native = at.__base__
        at = at.__base__
    return native
