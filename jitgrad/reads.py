"""What a function reads that is not among its arguments, and whether it has changed.

Recording sees tensors. It cannot see Python: a global float, an attribute, the length of a list, a
helper that is replaced. So after a recording a `Snapshot` is taken of everything that the code which ran
could have read by name: the globals and closure cells of the user's functions that ran, and from there
attributes (those whose names occur in that code; all, where it computes names), items of containers,
defaults of functions. A later call compares; a tensor counts as the same if it is the same object (its data
is read anew at every call), a number, a string or a NumPy array if it is equal, anything else if it is the
same object with the same contents.

Some things a snapshot cannot guard: a call into code whose result depends on hidden state
(`random.random()`, `time.time()`, `input()`, `print` for its effect), which `Watcher` finds while the function
is recorded; an iterator or a NumPy generator within reach; a change that the function itself makes to what it
reads (`log.append(t)`). The recording is then good for the one call that made it, and the next call records again:
slower, never stale.

Imports: `tensors`, `errors`.
"""

from __future__ import annotations

import array
import functools
import gc
import os
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .errors import Loc, is_own_code, user_location
from .tensors import Tensor

# What a snapshot follows; beyond, the function is recorded at every call.
LIMIT = 20_000  # objects
ARRAY_LIMIT = 1 << 16  # bytes of a NumPy array, which is compared by content

# Modules whose functions give another result at another time, or act on the world.
_HIDDEN_STATE = frozenset(
    {
        "random", "_random", "time", "_time", "os", "posix", "nt", "secrets", "uuid", "socket", "_io", "io",
        "_contextvars", "_queue", "_ctypes", "ctypes",
    }
)
_HIDDEN_BUILTINS = frozenset({"input", "open", "print", "next", "eval", "exec", "globals", "id"})
_HIDDEN_CLOCKS = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})
# Code with these names in it may read attributes whose names are not in it.
_COMPUTED_NAMES = frozenset({"getattr", "hasattr", "setattr", "delattr", "vars", "dir", "attrgetter", "__dict__"})
# Where code lies that jitgrad itself calls; generated methods have no file, nor have modules frozen into Python.
_LIBRARIES = (os.path.dirname(os.__file__) + os.sep, os.path.dirname(np.__file__) + os.sep, "<string>", "<frozen ")
_WALKED_WHOLE = ("jitgrad.nn", "jitgrad.optim")
_ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_BUFFERS = (np.ndarray, bytearray, memoryview, array.array)
_CONTAINERS = (list, tuple, deque, dict, OrderedDict, defaultdict, types.MappingProxyType, set, frozenset, *_BUFFERS)
_OPAQUE = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    np.ufunc,
    np.dtype,
)


TOO_MANY = "it can reach too many Python objects to watch them for changes"


class Watcher:
    """Watches a recording: which of the user's code runs, and the first call that cannot be guarded.

    Uses `sys.setprofile`, restored on leaving; a profiler of the user's own goes on being called. Garbage is
    not collected meanwhile: what the collector's callbacks do is not the function's doing.
    """

    def __init__(self, before: Beforehand) -> None:
        self.before = before
        self.codes: dict[types.CodeType, dict[str, Any]] = {}  # code that ran, with its globals
        self.hidden: tuple[str, Loc | None] | None = None
        self.changed = ""  # what the function changed of what it can read
        self._collects = False

    def __enter__(self) -> Watcher:
        self._collects = gc.isenabled()
        gc.disable()
        self._profiler = sys.getprofile()  # the user's own
        sys.setprofile(self._watch(self._profiler))
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._profiler)
        if self._collects:
            gc.enable()
        changed = self.before.changed()
        if changed:
            self.changed = f"it changes what it reads itself: {changed}"
        elif not self.before.complete:
            self.changed = TOO_MANY
        self.before = Beforehand(None, ())  # holds nothing any more: what the function made must be free to die

    def _watch(self, profiler: Any) -> Any:
        """The function that is called at every call and return: most are our own, and those it lets go at once."""

        def watch(frame: types.FrameType, event: str, arg: Any) -> None:
            if event == "call":
                if not is_own_code(frame.f_code):
                    self._called(frame)
            elif event == "c_call" and not is_own_code(frame.f_code):
                self._called_builtin(frame, arg)
            if profiler is not None:
                profiler(frame, event, arg)

        return watch

    def _called(self, frame: types.FrameType) -> None:
        if not _helps_us(frame):
            self.codes[frame.f_code] = frame.f_globals
            self.before.enter(frame)

    def _called_builtin(self, frame: types.FrameType, function: Any) -> None:
        name = _hidden(function) if self.hidden is None else ""
        if name and not _helps_us(frame):
            self.hidden = (name, user_location(2))


def _helps_us(frame: types.FrameType) -> bool:
    """Whether a library runs here on our own behalf, not on that of the user's code."""
    at: types.FrameType | None = frame
    while at is not None and at.f_code.co_filename.startswith(_LIBRARIES):
        at = at.f_back
    return at is not None and at is not frame and is_own_code(at.f_code)


def _hidden(function: Any) -> str:
    """The name of a built-in function whose result a recording cannot keep, or ''."""
    module = getattr(function, "__module__", None)
    owner = getattr(function, "__self__", None)
    if module is None and owner is not None and not isinstance(owner, types.ModuleType):
        module = (owner if isinstance(owner, type) else type(owner)).__module__
    name = getattr(function, "__qualname__", getattr(function, "__name__", ""))
    if module == "builtins":
        return name if name in _HIDDEN_BUILTINS else ""
    root = (module or "").split(".")[0]
    if root == "datetime":
        return name if name in _HIDDEN_CLOCKS else ""
    if root in _HIDDEN_STATE or (module or "").startswith("numpy.random"):
        return f"{module}.{name}"
    return ""


class Snapshot:
    """What was read, as it was: a list of checks, each a container, a key in it, and what was there."""

    def __init__(self, roots: Iterable[Any], codes: dict[types.CodeType, dict[str, Any]]) -> None:
        self.complete = True
        self.obstacle = ""  # why this snapshot cannot guard what was read
        self._checks: list[tuple[Any, Any, Any]] = []  # (container, key, seen)
        self._seen: set[int] = set()
        self._keep: list[Any] = []  # ids stay unique while their objects live
        self._codes = set(codes)
        self._names = {n for code in codes for n in code.co_names}
        self._all_names = not self._names.isdisjoint(_COMPUTED_NAMES)
        if self._all_names:
            self._names.update(c for code in codes for c in code.co_consts if isinstance(c, str))
        self._visited: set[types.CodeType] = set()
        self._globals: dict[int, tuple[dict[str, Any], set[str]]] = {}
        for code, variables in codes.items():
            self._globals.setdefault(id(variables), (variables, set()))[1].update(code.co_names)
        self._walk(roots)
        for variables, names in self._globals.values():
            self._walk_globals(variables, names)
        known = self._visited.union(c for code in codes for c in code.co_consts if isinstance(c, types.CodeType))
        for code in codes.keys() - known:
            if any(not n.startswith("__") for n in code.co_freevars):
                self.obstacle = f"it calls {code.co_name}, and the variables that it closes over were not found"

    def _follows(self, code: types.CodeType) -> bool:
        """Whether what functions with `code` close over is of interest."""
        return code in self._codes

    def _walk(self, roots: Iterable[Any]) -> None:
        queue = list(roots)
        while queue:
            queue.extend(self._visit(queue.pop()))

    def _walk_globals(self, variables: dict[str, Any], names: Iterable[str]) -> None:
        for name in names:
            if name in variables:
                self._walk(self._check(variables, name, variables[name]))
            else:
                self._note(variables, name, _GONE)

    def changed(self) -> str:
        """What differs now, in words; '' if nothing does."""
        for container, key, seen in self._checks:
            now = _look(container, key)
            if now is not seen and not _equal(now, seen):
                if key is LENGTH:
                    return f"the length of a {type(container).__name__} changed from {seen} to {now}"
                return f"{_describe(container, key)} changed"
        return ""

    def _check(self, container: Any, key: Any, value: Any) -> Iterator[Any]:
        self._note(container, key, value)
        yield value

    def _note(self, container: Any, key: Any, seen: Any) -> None:
        self._checks.append((container, key, seen))

    def _visit(self, x: Any) -> Iterator[Any]:
        """Note the contents of `x` that code could read; yields what to follow."""
        if isinstance(x, (*_ATOMS, Tensor)) or id(x) in self._seen:
            return
        self._seen.add(id(x))
        self._keep.append(x)
        if len(self._keep) > LIMIT:
            self.complete = False
            return
        if isinstance(x, types.FunctionType):
            yield from self._visit_function(x)
        elif isinstance(x, types.MethodType):
            yield x.__func__
            yield x.__self__
        elif isinstance(x, types.BuiltinFunctionType):
            if not isinstance(x.__self__, (types.ModuleType, type)):
                yield x.__self__
        elif isinstance(x, functools.partial):
            yield from (x.func, x.args, x.keywords)
        elif isinstance(x, property):
            yield from (x.fget, x.fset, x.fdel)
        elif isinstance(x, _CONTAINERS):
            yield from self._visit_contents(x)
            if type(x) not in _CONTAINERS:  # a class of the user's, which may have attributes
                yield from self._visit_object(x)
        elif isinstance(x, types.ModuleType):
            if not x.__name__.startswith("jitgrad"):
                yield from self._visit_names(x.__dict__)
        elif not isinstance(x, type) and hasattr(x, "__wrapped__"):  # a traced function, a partial...
            yield x.__wrapped__
        elif isinstance(x, type):
            yield from self._visit_class(x)
        elif not isinstance(x, _OPAQUE):
            yield from self._visit_object(x)

    def _visit_contents(self, x: Any) -> Iterator[Any]:
        if isinstance(x, (set, frozenset)):
            self._note(x, CONTENTS, frozenset(x))
        elif isinstance(x, _BUFFERS):
            if memoryview(x).nbytes > ARRAY_LIMIT:
                self.complete = False
            else:
                self._note(x, CONTENTS, _contents(x))
            if isinstance(x, np.ndarray) and x.dtype.hasobject:
                yield x.tolist()
        else:
            self._note(x, LENGTH, len(x))
            for key, item in list(enumerate(x) if isinstance(x, (list, tuple, deque)) else x.items()):
                yield from self._check(x, key, item)

    def _visit_function(self, f: types.FunctionType) -> Iterator[Any]:
        code = f.__code__
        if (wrapped := getattr(f, "__wrapped__", None)) is not None:
            yield wrapped
        if is_own_code(code):
            return
        if not self._follows(code):
            return
        self._visited.add(code)
        for cell in f.__closure__ or ():
            try:
                yield from self._check(cell, CELL, cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            yield from self._check(f, name, getattr(f, name))

    def _visit_names(self, variables: Any, every: bool = False) -> Iterator[Any]:
        """Note the variables that code names; with `every`, all but those that Python looks up by itself."""
        for name in [n for n in variables if not n.startswith("__")] if every else self._names:
            if name in variables:
                yield from self._check(variables, name, variables[name])

    def _visit_class(self, cls: type) -> Iterator[Any]:
        """The attributes that code names, and the methods that Python calls by itself."""
        bases = [b for b in cls.__mro__ if b.__module__ != "builtins"]
        for i, base in enumerate(bases):
            yield from self._visit_names(base.__dict__, self._all_names)
            for name, x in base.__dict__.items():
                if isinstance(x, types.FunctionType) and name.startswith("__"):
                    yield x
            below = {n for b in bases[i + 1 :] for n in b.__dict__ if n in self._names}
            for name in below - base.__dict__.keys():
                self._note(base.__dict__, name, _GONE)

    def _visit_object(self, x: Any) -> Iterator[Any]:
        cls = type(x)
        if _hides_state(cls):
            self.obstacle = f"it can reach a {cls.__module__}.{cls.__name__}, whose state cannot be watched"
            return
        variables = getattr(x, "__dict__", None)
        if isinstance(variables, dict):
            if cls.__module__.startswith(_WALKED_WHOLE):  # its own code reads more than the user's names
                yield variables
            else:
                self._note(variables, LENGTH, len(variables))  # an attribute set for the first time
                yield from self._visit_names(variables, self._all_names)
        yield from self._check(_Slots(x), "__class__", cls)
        for base in cls.__mro__:
            for name in getattr(base, "__slots__", ()):
                if (name in self._names or self._all_names) and hasattr(x, name):
                    yield from self._check(_Slots(x), name, getattr(x, name))


def _hides_state(cls: type) -> bool:
    """Whether objects of `cls` give another result each time they are asked, and not by Python code of theirs."""
    advance = getattr(cls, "__next__", None)
    return (advance is not None and not isinstance(advance, types.FunctionType)) or cls.__module__.startswith(
        "numpy.random"
    )


class Beforehand(Snapshot):
    """What the code that runs can read and change, as it was when it was entered.

    Each piece of code adds what it can reach from its globals and its local variables, by the names that it
    uses itself. What the function made while it ran is walked through, but is its own to change.
    """

    def __init__(self, function: Any, roots: Iterable[Any]) -> None:
        self._outside: set[int] = set()  # what was there before the function ran
        self._noting = True
        super().__init__([function, *roots], {})
        self._by_code: dict[types.CodeType, set[int]] = {}

    def enter(self, frame: types.FrameType) -> None:
        """`frame` starts to run."""
        code = frame.f_code
        first = code not in self._by_code
        self._names = set(code.co_names)
        self._all_names = not self._names.isdisjoint(_COMPUTED_NAMES)
        self._seen = self._by_code.setdefault(code, set())
        if first:
            self._walk_globals(frame.f_globals, code.co_names)
        walked: dict[int, Any] = {}
        self._walk_within(list(frame.f_locals.values()), walked)

    def _walk(self, roots: Iterable[Any]) -> None:
        queue = list(roots)
        while queue:
            x = queue.pop()
            self._outside.add(id(x))
            self._noting = True
            queue.extend(self._visit(x))

    def _walk_within(self, queue: list[Any], walked: dict[int, Any]) -> None:
        """Walk through what the function made, to what was there before."""
        while queue:
            x = queue.pop()
            if id(x) in self._outside:
                self._walk([x])
            elif id(x) not in walked:
                walked[id(x)] = x
                self._noting = False
                queue.extend(self._visit(x))
                self._seen.discard(id(x))
                if self._keep and self._keep[-1] is x:
                    self._keep.pop()

    def _note(self, container: Any, key: Any, seen: Any) -> None:
        if self._noting:
            super()._note(container, key, seen)

    def _follows(self, code: types.CodeType) -> bool:
        return True


class _Whole:
    """A key that stands for all that a container holds."""


CELL = _Whole()  # the key for what a closure cell holds
LENGTH = _Whole()  # the key for how many items a container has
CONTENTS = _Whole()  # the key for what a set or an array holds


class _Slots:
    """Marks a check that reads an attribute of an object without `__dict__`."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner


_GONE = object()


def _look(container: Any, key: Any) -> Any:
    if key is CELL:
        try:
            return container.cell_contents
        except ValueError:
            return _GONE
    if key is LENGTH:
        return len(container)
    if key is CONTENTS:
        if isinstance(container, np.ndarray):
            return container.tobytes()
        return _contents(container)
    if isinstance(container, _Slots):
        return getattr(container.owner, key, _GONE)
    if isinstance(container, types.FunctionType):
        return getattr(container, key)
    try:
        return container[key]
    except (KeyError, IndexError):
        return _GONE


def _contents(container: Any) -> Any:
    """What a set or an array holds, to compare with later."""
    if isinstance(container, (set, frozenset)):
        return frozenset(container)
    return container.tobytes() if isinstance(container, np.ndarray) else bytes(container)


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
