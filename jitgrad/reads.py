"""What a function reads that is not among its arguments, and whether it has changed.

Recording sees tensors. It cannot see Python: a global float, an attribute, the length of a list, a
helper that is replaced. So after a recording a `Snapshot` is taken of everything that the code which ran
could have read by name: the globals and closure cells of the user's functions that ran, and from there
attributes (those whose names occur in that code; all, where it computes names), items of containers,
defaults of functions. A later call compares; a tensor counts as the same if it is the same object (its data
is read anew at every call), a number or a string if it is equal, a NumPy array if it is the same object with the
same layout and the same elements, anything else if it is the same object with the same contents.

The elements of an array are compared with a copy (`contents`), unless all the code does with it, by its name, does
not depend on them (`uses`) or nobody can change them. Above `BYTES` this would cost as much as to record anew.

Some things a snapshot cannot guard: a call into code whose result depends on hidden state, which `watcher` finds
while the function is recorded; an iterator or a NumPy generator within reach; more than can be compared; a change
that the function itself makes to what it reads (`log.append(t)`). The recording is then good for the one call that
made it, and the next call records again: slower, never stale.

Imports: `contents`, `uses`, `functional.creation`, `tensors`, `errors`.
"""

from __future__ import annotations

import functools
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .contents import BUFFERS, Held, hold, owner
from .errors import is_own_code
from .functional.creation import as_tensor, from_numpy
from .tensors import Tensor
from .uses import Uses

# What a snapshot follows; beyond, the function is recorded at every call.
LIMIT = 20_000  # objects
BYTES = 1 << 25  # of arrays compared by content, which takes 1 to 2 ms

_TOO_MANY = "it can reach too many Python objects to watch them for changes"
_TOO_LARGE = (
    f"it can read more than {BYTES >> 20} MiB in NumPy arrays that are not its arguments, too much to compare at every "
    "call (pass them as arguments, or make tensors of them once, outside)"
)
# Code with these names in it may read attributes whose names are not in it.
_COMPUTED_NAMES = frozenset({"getattr", "hasattr", "setattr", "delattr", "vars", "dir", "attrgetter", "__dict__"})
# What reads no elements of an array; the tensors are over its memory, which is read at every call.
_HARMLESS = (len, from_numpy, as_tensor)
_WALKED_WHOLE = ("jitgrad.nn", "jitgrad.optim")
_ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_CONTAINERS = (list, tuple, deque, dict, OrderedDict, defaultdict, types.MappingProxyType, set, frozenset, *BUFFERS)
_OPAQUE = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    np.ufunc,
    np.dtype,
)


class Snapshot:
    """What was read, as it was: a list of checks, each a container, a key in it, and what was there."""

    def __init__(self, roots: Iterable[Any], codes: dict[types.CodeType, dict[str, Any]]) -> None:
        self.excess = ""  # why there is more to read than this snapshot compares
        self.obstacle = ""  # why this snapshot cannot guard what was read
        self._items: list[tuple[dict[Any, Any], Any, Any]] = []  # (dict, key, seen): most of it, and the fastest
        self._checks: list[tuple[Any, Any, Any]] = []  # (any other container or `_Whole` key, key, seen)
        self._held: dict[int, Held] = {}  # arrays and other buffers, by id
        self.bytes = 0  # compared of these
        self._seen: set[int] = set()
        self._keep: list[Any] = []  # ids stay unique while their objects live
        self._codes = set(codes)
        self._uses = Uses(codes.items(), _HARMLESS)
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
                self._walk(self._check_named(variables, name, name, variables[name]))
            else:
                self._note(variables, name, _GONE)

    def changed(self) -> str:
        """What differs now, in words; '' if nothing does."""
        for container, key, seen in self._items:
            now = dict.get(container, key, _GONE)
            if now is not seen and not _equal(now, seen):
                return f"{_describe(container, key)} changed"
        for container, key, seen in self._checks:
            now = _look(container, key)
            if now is not seen and not _equal(now, seen):
                if key is LENGTH:
                    return f"the length of a {type(container).__name__} changed from {seen} to {now}"
                return f"{_describe(container, key)} changed"
        for held in self._held.values():
            if why := held.changed():
                return why
        return ""

    def covers(self, array: np.ndarray) -> bool:
        """Whether the memory of `array` is that of an array that is guarded: the same at every call."""
        arrays = [h.buffer for h in self._held.values() if isinstance(h.buffer, np.ndarray)]
        return any(owner(a) is owner(array) for a in arrays)

    def compares(self, array: np.ndarray) -> bool:
        """Whether what the memory of `array` holds is guarded."""
        return any(h.elements and owner(h.buffer) is owner(array) for h in self._held.values())

    def _check(self, container: Any, key: Any, value: Any) -> Iterator[Any]:
        self._note(container, key, value)
        yield value

    def _check_named(self, container: Any, key: Any, name: str, value: Any) -> Iterator[Any]:
        """`_check` of what code gets by `name`."""
        if self._reads_no_element(name, value):
            self._note(container, key, value)
            self._hold(value, elements=False)
        else:
            yield from self._check(container, key, value)

    def _reads_no_element(self, name: str, value: Any) -> bool:
        """Whether `value` is an array, and nothing that code does with it, by `name`, depends on its elements."""
        return (
            type(value) in (np.ndarray, np.memmap) and not self._all_names and not self._uses.reads_elements(name)
        )

    def _hold(self, buffer: Any, elements: bool) -> None:
        known = self._held.get(id(buffer))
        if known is not None and (known.elements or not elements):
            return
        if elements:
            self.bytes += memoryview(buffer).nbytes if not isinstance(buffer, np.ndarray) else buffer.nbytes
            if self.bytes > BYTES:
                self.excess = _TOO_LARGE
                return
        self._held[id(buffer)] = hold(buffer) if elements else Held(buffer, elements=False)

    def _note(self, container: Any, key: Any, seen: Any) -> None:
        of_dict = isinstance(container, dict) and not isinstance(key, _Whole)
        (self._items if of_dict else self._checks).append((container, key, seen))

    def _visit(self, x: Any) -> Iterator[Any]:
        """Note the contents of `x` that code could read; yields what to follow."""
        if isinstance(x, (*_ATOMS, Tensor)) or id(x) in self._seen:
            return
        self._seen.add(id(x))
        self._keep.append(x)
        if len(self._keep) > LIMIT:
            self.excess = _TOO_MANY
            return
        if isinstance(x, types.FunctionType):
            yield from self._visit_function(x)
        elif isinstance(x, types.MethodType):
            yield x.__func__
            yield x.__self__
        elif isinstance(x, (types.BuiltinFunctionType, types.MethodWrapperType)):
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
        elif isinstance(x, BUFFERS):
            self._hold(x, elements=not isinstance(owner(x), bytes))
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
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            try:
                yield from self._check_named(cell, CELL, name, cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            yield from self._check(f, name, getattr(f, name))

    def _visit_names(self, variables: Any, every: bool = False) -> Iterator[Any]:
        """Note the variables that code names; with `every`, all but those that Python looks up by itself."""
        for name in [n for n in variables if not n.startswith("__")] if every else self._names:
            if name in variables:
                yield from self._check_named(variables, name, name, variables[name])

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
                    yield from self._check_named(_Slots(x), name, name, getattr(x, name))


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
        self._uses = Uses([(code, frame.f_globals)], _HARMLESS)
        self._seen = self._by_code.setdefault(code, set())
        if first:
            self._walk_globals(frame.f_globals, code.co_names)
        walked: dict[int, Any] = {}
        self._walk_within([x for n, x in frame.f_locals.items() if not self._reads_no_element(n, x)], walked)

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

    def _hold(self, buffer: Any, elements: bool) -> None:
        if self._noting:
            self._outside.add(id(buffer))
            super()._hold(buffer, elements)

    def _visit_function(self, f: types.FunctionType) -> Iterator[Any]:
        uses, self._uses = self._uses, Uses([(f.__code__, f.__globals__)], _HARMLESS)  # what others do, they show
        yield from super()._visit_function(f)
        self._uses = uses

    def _follows(self, code: types.CodeType) -> bool:
        return True


class _Whole:
    """A key that stands for all that a container holds."""


CELL = _Whole()  # the key for what a closure cell holds
LENGTH = _Whole()  # the key for how many items a container has
CONTENTS = _Whole()  # the key for what a set holds


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
        return frozenset(container)
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
