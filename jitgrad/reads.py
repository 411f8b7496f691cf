"""What a function reads that is not among its arguments, and whether it has changed.

Recording sees tensors. It cannot see Python: a global float, an attribute, the length of a list, a
helper that is replaced. So after a recording a `Snapshot` is taken of everything that the code which ran
could have read by name: the globals and closure cells of the user's functions that ran, and from there
attributes (those whose names occur in that code), items of containers, defaults of functions. A later call
compares; a tensor counts as the same if it is the same object (its data is read anew at every call), a
number, a string or a NumPy array if it is equal, anything else if it is the same object with the same
contents.

Two things a snapshot cannot guard, and `Watcher` finds both while the function is recorded: a call into
code whose result depends on hidden state (`random.random()`, `time.time()`, `input()`, `print` for its
effect), and a change that the function itself makes to what it reads (`log.append(t)`). The recording is
then good for the one call that made it, and the next call records again: slower, never stale.

Imports: `tensors`, `errors`.
"""

from __future__ import annotations

import dis
import gc
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .errors import Loc, is_own_code, user_location
from .tensors import Tensor

# What a snapshot follows; beyond, the function is recorded at every call.
LIMIT = 20_000  # objects
ARRAY_LIMIT = 1 << 16  # bytes of a NumPy array, which is compared by content

# Modules whose functions give another result at another time, or act on the world.
TOO_MANY = "it can reach too many Python objects to watch them for changes"
_HIDDEN_STATE = frozenset(
    {"random", "_random", "time", "_time", "os", "posix", "secrets", "uuid", "socket", "_io", "io"}
)
_HIDDEN_BUILTINS = frozenset({"input", "open", "print", "next"})
_WALKED_WHOLE = ("jitgrad.nn", "jitgrad.optim")
_ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_OPAQUE = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    np.ufunc,
    np.dtype,
    type,
)


class Watcher:
    """Watches a recording: which of the user's code runs, and the first call that cannot be guarded.

    Uses `sys.setprofile`, restored on leaving; a profiler of the user's own goes on being called. Garbage is
    not collected meanwhile: what the collector's callbacks do is not the function's doing.
    """

    def __init__(self) -> None:
        self.codes: dict[types.CodeType, dict[str, Any]] = {}  # code that ran, with its globals
        self.hidden: tuple[str, Loc | None] | None = None
        self._before: Any = None
        self._collects = False

    def __enter__(self) -> Watcher:
        self._collects = gc.isenabled()
        gc.disable()
        self._before = sys.getprofile()
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)
        if self._collects:
            gc.enable()

    def _event(self, frame: types.FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event == "call":
            if code not in self.codes and not is_own_code(code):
                self.codes[code] = frame.f_globals
        elif event == "c_call" and self.hidden is None and not is_own_code(code):
            name = _hidden(arg)
            if name:
                self.hidden = (name, user_location(1))
        if self._before is not None:
            self._before(frame, event, arg)


def _hidden(function: Any) -> str:
    """The name of a built-in function whose result a recording cannot keep, or ''."""
    module = getattr(function, "__module__", None)
    owner = getattr(function, "__self__", None)
    if module is None and owner is not None and not isinstance(owner, types.ModuleType):
        module = type(owner).__module__
    name = getattr(function, "__qualname__", getattr(function, "__name__", ""))
    if module == "builtins":
        return name if name in _HIDDEN_BUILTINS else ""
    root = (module or "").split(".")[0]
    if root in _HIDDEN_STATE or (module or "").startswith("numpy.random"):
        return f"{module}.{name}"
    return ""


class Snapshot:
    """What was read, as it was: a list of checks, each a container, a key in it, and what was there."""

    def __init__(self, roots: Iterable[Any], codes: dict[types.CodeType, dict[str, Any]]) -> None:
        self.obstacle = ""  # why this snapshot cannot guard what is read
        self._checks: list[tuple[Any, Any, Any]] = []  # (container, key, seen)
        self._lengths: list[tuple[Any, int]] = []
        self._seen: set[int] = set()
        self._keep: list[Any] = []  # ids stay unique while their objects live
        self.functions: dict[types.CodeType, dict[str, Any]] = {}  # met on the way, not among `codes`
        self._codes = set(codes)
        self._names = {n for code in codes for n in code.co_names}
        self._globals: dict[int, tuple[dict[str, Any], set[str]]] = {}
        for code, variables in codes.items():
            self._globals.setdefault(id(variables), (variables, set()))[1].update(code.co_names)
        queue = list(roots)
        for variables, names in self._globals.values():
            for name in names:
                if name in variables:
                    queue.extend(self._check(variables, name, variables[name]))
        for code, variables in codes.items():
            for name in _stored_globals(code) - variables.keys():
                self._checks.append((variables, name, _GONE))
        while queue:
            queue.extend(self._visit(queue.pop()))

    @staticmethod
    def before(function: Any, roots: Iterable[Any]) -> Snapshot:
        """A snapshot of what `function`, and whatever it can reach by name, could read."""
        roots = [function, *roots]
        codes: dict[types.CodeType, dict[str, Any]] = {}
        while True:
            snapshot = Snapshot(roots, codes)
            found = {c: g for c, g in snapshot.functions.items() if c not in codes}
            if not found or snapshot.obstacle:
                return snapshot
            codes.update(found)

    def changed(self) -> str:
        """What differs now, in words; '' if nothing does."""
        for container, length in self._lengths:
            if len(container) != length:
                return f"the length of a {type(container).__name__} changed from {length} to {len(container)}"
        for container, key, seen in self._checks:
            now = _look(container, key)
            if now is not seen and not _equal(now, seen):
                return f"{_describe(container, key)} changed"
        return ""

    def _check(self, container: Any, key: Any, value: Any) -> Iterator[Any]:
        self._checks.append((container, key, value))
        yield value

    def _visit(self, x: Any) -> Iterator[Any]:
        """Note the contents of `x` that code could read; yields what to follow."""
        if isinstance(x, (*_ATOMS, Tensor)) or id(x) in self._seen:
            return
        self._seen.add(id(x))
        self._keep.append(x)
        if len(self._seen) > LIMIT:
            self.obstacle = TOO_MANY
            return
        if isinstance(x, types.FunctionType):
            yield from self._visit_function(x)
        elif isinstance(x, np.ndarray):
            if x.nbytes > ARRAY_LIMIT:
                self.obstacle = TOO_MANY
            self._checks.append((x, CONTENTS, x.tobytes()))
        elif isinstance(x, types.MethodType):
            yield x.__func__
            yield x.__self__
        elif isinstance(x, (list, tuple)):
            self._lengths.append((x, len(x)))
            for i, item in enumerate(x):
                yield from self._check(x, i, item)
        elif isinstance(x, dict):
            self._lengths.append((x, len(x)))
            for key, item in list(x.items()):
                yield from self._check(x, key, item)
        elif isinstance(x, (set, frozenset)):
            self._checks.append((x, CONTENTS, frozenset(x)))
        elif isinstance(x, types.ModuleType):
            if not x.__name__.startswith("jitgrad"):
                yield from self._visit_names(x.__dict__)
        elif not isinstance(x, type) and hasattr(x, "__wrapped__"):  # a traced function, a partial...
            yield x.__wrapped__
        elif not isinstance(x, _OPAQUE):
            yield from self._visit_object(x)
        elif isinstance(x, type) and x.__module__ != "builtins":
            yield from self._visit_names(x.__dict__)

    def _visit_function(self, f: types.FunctionType) -> Iterator[Any]:
        code = f.__code__
        if is_own_code(code):
            return
        if code not in self._codes:
            self.functions[code] = f.__globals__
            for inner in code.co_consts:
                if isinstance(inner, types.CodeType):
                    self.functions[inner] = f.__globals__
            return
        for cell in f.__closure__ or ():
            try:
                yield from self._check(cell, CELL, cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        yield from self._check(f, "__code__", f.__code__)
        yield f.__defaults__
        yield f.__kwdefaults__
        if (wrapped := getattr(f, "__wrapped__", None)) is not None:
            yield wrapped

    def _visit_names(self, variables: Any) -> Iterator[Any]:
        for name in self._names:
            if name in variables:
                yield from self._check(variables, name, variables[name])

    def _visit_object(self, x: Any) -> Iterator[Any]:
        variables = getattr(x, "__dict__", None)
        cls = type(x)
        if isinstance(variables, dict):
            if cls.__module__.startswith(_WALKED_WHOLE):  # its own code reads more than the user's names
                yield variables
            else:
                self._lengths.append((variables, len(variables)))  # an attribute set for the first time
                yield from self._visit_names(variables)
        for base in cls.__mro__:
            if base.__module__ != "builtins":
                yield from self._visit_names(base.__dict__)
            for name in getattr(base, "__slots__", ()):
                if name in self._names and hasattr(x, name):
                    yield from self._check(_Slots(x), name, getattr(x, name))


class _Whole:
    """A key that stands for all that a container holds."""


CELL = _Whole()  # the key for what a closure cell holds
CONTENTS = _Whole()  # the key for what a set or an array holds


class _Slots:
    """Marks a check that reads an attribute of an object without `__dict__`."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner


_GONE = object()


def _stored_globals(code: types.CodeType) -> set[str]:
    """The globals that `code` assigns or deletes."""
    return {i.argval for i in dis.get_instructions(code) if i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")}


def _look(container: Any, key: Any) -> Any:
    if key is CELL:
        try:
            return container.cell_contents
        except ValueError:
            return _GONE
    if key is CONTENTS:
        return container.tobytes() if isinstance(container, np.ndarray) else frozenset(container)
    if isinstance(container, _Slots):
        return getattr(container.owner, key, _GONE)
    if isinstance(container, types.FunctionType):
        return getattr(container, key)
    try:
        return container[key]
    except (KeyError, IndexError):
        return _GONE


def _equal(now: Any, seen: Any) -> bool:
    """Whether two different objects are the same value: numbers, strings and the like."""
    if type(now) is not type(seen):
        return False
    if isinstance(now, float):
        return now.hex() == seen.hex()  # -0.0 is not 0.0, nan is nan
    return isinstance(now, (*_ATOMS, types.MethodType, frozenset)) and bool(now == seen)


def _describe(container: Any, key: Any) -> str:
    if key is CELL:
        return "a variable of an enclosing function"
    if key is CONTENTS:
        return f"what a {type(container).__name__} holds"
    if isinstance(container, dict) and "__name__" in container:
        return f"the global '{key}'"
    if isinstance(container, _Slots):
        return f"attribute '{key}' of a {type(container.owner).__name__}"
    return f"'{key}'" if isinstance(key, str) else f"item {key!r} of a {type(container).__name__}"
