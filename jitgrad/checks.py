"""The parts of a guard: what an object held, compared with what it holds now.

A check belongs to one object that was read. `changed(x, found)` is given what is in that object's place at a later
call, says what differs ('' if nothing does), and appends to `found` those of its parts that have checks of their own,
in the order in which these were made: a guard that holds walks the same objects in the same order (`reads`).

So a guard needs no reference to what it guards. A part is recognised by its id; that no other object has taken the id
since is seen to by who makes the checks (`Parts.make`): constants are kept; of other objects a weak reference tells
when they die; lists, dicts and tuples, which know no weak references, are recognised by what they hold.

Imports: `exact`, `attributes`, `contents`, NumPy.
"""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .attributes import looks_up_plainly, slot_value, variables_of
from .contents import Held
from .exact import ATOMS, exact, same

if TYPE_CHECKING:
    from .guards import Source

LruCache = type(functools.lru_cache(len))
SEQUENCES = (list, tuple, deque, set, frozenset)
SHORT = 16  # items of a list that are compared one by one
MAPPINGS = (OrderedDict, dict, types.MappingProxyType)


class _Gone:
    """In the place of what is not there."""

    def __repr__(self) -> str:
        return "nothing"


GONE = _Gone()


class Check(Protocol):
    """See the module's header.

    `unroll` gives, for `guards`, the expressions of the values that `parts` compares, of the object that is called `x`,
    and adds to `source` what else must hold; None where `changed` is to be called.
    """

    parts: Parts

    def changed(self, x: Any, found: list[Any]) -> str: ...

    def unroll(self, x: str, source: Source) -> list[str] | None: ...


class Parts:
    """Values, in their order, as they were. `follow`: the positions of those that have checks of their own."""

    __slots__ = ("constants", "follow", "ids")

    def __init__(self, ids: list[int], constants: dict[int, Any], follow: list[int]) -> None:
        self.ids = ids
        self.constants = constants  # by position: kept, so their ids are theirs, and compared as values
        self.follow = follow

    def differs(self, now: list[Any], found: list[Any]) -> int:
        """The position of the first value that differs; -1 if none does."""
        if list(map(id, now)) != self.ids:
            if len(now) != len(self.ids):
                return min(len(now), len(self.ids))
            for i, x in enumerate(now):
                if id(x) != self.ids[i] and not (i in self.constants and same(x, self.constants[i])):
                    return i
        for i in self.follow:
            found.append(now[i])
        return -1


Make = Callable[[Sequence[Any]], Parts]


def is_constant(x: Any) -> bool:
    """Whether `x` is compared as a value."""
    return x is GONE or type(x) in ATOMS or (type(x) is not tuple and type(x) is not frozenset and exact(x) is not None)


def _gets(variables: str, names: Iterable[str]) -> list[str]:
    return [f"{variables}.get({name!r}, GONE)" for name in names]


class Whole:
    """A check that is made as a whole."""

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        return None


class Names:
    """The variables of a module, a class or the like, by name."""

    def __init__(self, variables: Any, names: Iterable[str], make: Make, what: str) -> None:
        self._names = tuple(names)
        self._what = what
        self.parts = make(self._now(variables))

    def _now(self, variables: Any) -> list[Any]:
        return list(map(variables.get, self._names, repeat(GONE)))

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        i = self.parts.differs(self._now(x), found)
        return "" if i < 0 else f"{self._what} '{self._names[i]}' changed"

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        source.lines.append(f"get = {x}.get")
        return [f"get({name!r}, GONE)" for name in self._names]


class Module:
    """A module, by the names of its variables."""

    def __init__(self, module: types.ModuleType, names: Iterable[str], make: Make) -> None:
        self._names = Names(module.__dict__, names, make, f"{module.__name__}:")
        self.parts = self._names.parts

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        return self._names.changed(x.__dict__, found)

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        return self._names.unroll(f"{x}.__dict__", source)


class Row:
    """All that a list, tuple, deque or set holds, in its order."""

    def __init__(self, x: Any, make: Make) -> None:
        self._class = type(x)
        self._iterate = next(b for b in self._class.__mro__ if b in SEQUENCES).__iter__
        self.parts = make(list(self._iterate(x)))

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        if type(x) is not self._class:
            return f"a {self._class.__name__} became a {type(x).__name__}"
        now = list(self._iterate(x))
        i = self.parts.differs(now, found)
        if i < 0:
            return ""
        name, before = self._class.__name__, len(self.parts.ids)
        if len(now) != before:
            return f"the length of a {name} changed from {before} to {len(now)}"
        return f"what a {name} holds changed" if issubclass(self._class, (set, frozenset)) else (
            f"item {i} of a {name} changed"
        )

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        n = len(self.parts.ids)
        if self._class not in (list, tuple) or n > SHORT:
            return None
        source.require(f"type({x}) is {self._class.__name__} and len({x}) == {n}")
        return [f"{x}[{i}]" for i in range(n)]


class Mapping(Whole):
    """All that a dict holds, in its order."""

    def __init__(self, x: Any, make: Make) -> None:
        self._class = type(x)
        self._base: Any = next(b for b in self._class.__mro__ if b in MAPPINGS)
        self.parts = make(self._now(x))

    def _now(self, x: Any) -> list[Any]:
        return [*self._base.keys(x), *self._base.values(x)]

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        if type(x) is not self._class:
            return f"a {self._class.__name__} became a {type(x).__name__}"
        now = self._now(x)
        i = self.parts.differs(now, found)
        if i < 0:
            return ""
        name, before = self._class.__name__, len(self.parts.ids)
        if len(now) != before:
            return f"the length of a {name} changed from {before // 2} to {len(now) // 2}"
        if i < before // 2:
            return f"the keys of a {name}, or their order, changed"
        return f"item {now[i - before // 2]!r} of a {name} changed"


class Items:
    """Single items of a list, tuple or dict, where code reads no others. keys: constants."""

    def __init__(self, x: Any, keys: Iterable[Any], make: Make) -> None:
        self._class = type(x)
        self._keys = tuple(keys)
        self.parts = make(self._now(x))

    def _now(self, x: Any) -> list[Any]:
        return list(map(x.get if self._class is dict else _getter(x), self._keys, repeat(GONE)))

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        if type(x) is not self._class:
            return f"a {self._class.__name__} became a {type(x).__name__}"
        i = self.parts.differs(self._now(x), found)
        return "" if i < 0 else f"item {self._keys[i]!r} of a {self._class.__name__} changed"

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        source.require(f"type({x}) is {self._class.__name__}")
        if self._class is dict:
            return [f"{x}.get({key!r}, GONE)" for key in self._keys]
        n = f"len({x})"
        return [f"({x}[{k}] if -{n} <= {k} < {n} else GONE)" if type(k) is int else "GONE" for k in self._keys]


def _getter(x: Sequence[Any]) -> Callable[[Any, Any], Any]:
    """What `dict.get` is, of a list or a tuple, for keys of any class."""
    n = len(x)
    return lambda key, default: x[key] if type(key) is int and -n <= key < n else default


class Object:
    """The class of an object, and its attributes by name. whole: it has no others, and their order counts."""

    def __init__(self, x: Any, names: Sequence[str], slots: dict[str, Any], whole: bool, make: Make) -> None:
        self._names = tuple(names)
        self._slots = slots
        variables = variables_of(x)
        self._plain = looks_up_plainly(type(x))
        self._length = None if variables is None else len(variables)
        self._keys = list(variables or ()) if whole else None
        self.parts = make(self._now(x, variables))

    def _now(self, x: Any, variables: dict[str, Any] | None) -> list[Any]:
        now: list[Any] = [type(x)]
        if self._names and variables is not None:
            now += map(variables.get, self._names, repeat(GONE))
        if self._slots:
            now += [slot_value(slot, x, GONE) for slot in self._slots.values()]
        return now

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        variables = variables_of(x)
        if self._length is not None:
            if variables is None or len(variables) != self._length:
                return f"the attributes of a {type(x).__name__} changed in number"
            if self._keys is not None and list(variables) != self._keys:
                return f"the order of the attributes of a {type(x).__name__} changed"
        i = self.parts.differs(self._now(x, variables), found)
        if i < 0:
            return ""
        names = ["__class__", *self._names, *self._slots]
        return f"attribute '{names[i]}' of a {type(x).__name__} changed"

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        values = [f"type({x})"]
        if self._length is not None:
            source.lines.append(f"d = {x}.__dict__" if self._plain else f"d = variables_of({x})")
            source.require(f"d is not None and len(d) == {self._length}")
            if self._keys is not None:
                source.require(f"list(d) == {source.name(self._keys)}")
            values += _gets("d", self._names)
        return [*values, *(f"slot_value({source.name(slot)}, {x}, GONE)" for slot in self._slots.values())]


class Class:
    """A class: the classes it derives from, and their attributes by name. names: of each, which."""

    def __init__(self, cls: type, names: Sequence[Sequence[str]], make: Make) -> None:
        self._names = names
        self._plain = type(cls) is type
        self.parts = make(self._now(cls))

    def _now(self, cls: type) -> list[Any]:
        bases = chain_of(cls)
        now: list[Any] = [*bases]
        for base, names in zip(bases, self._names, strict=False):
            if names:
                now += map(base.__dict__.get, names, repeat(GONE))
        return now

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        i = self.parts.differs(self._now(x), found)
        if i < 0:
            return ""
        bases = chain_of(x)
        if i < len(bases) or len(bases) != len(self._names):
            return f"what the class {x.__name__} derives from changed"
        names = [(base, name) for base, names in zip(bases, self._names, strict=True) for name in names]
        base, name = names[i - len(bases)]
        return f"attribute '{name}' of the class {base.__name__} changed"

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        source.lines.append(f"bases = {x}.__mro__" + ("" if self._plain else f" + type({x}).__mro__"))
        source.require(f"len(bases) == {len(self._names)}")
        values = [f"bases[{i}]" for i in range(len(self._names))]
        for i, names in enumerate(self._names):
            values += _gets(f"bases[{i}].__dict__", names)
        return values


def chain_of(cls: type) -> list[type]:
    """Where attributes of `cls` are looked up: in the classes it derives from, then in those of its metaclass."""
    bases = list(cls.__mro__)
    return bases if type(cls) is type else [*bases, *type(cls).__mro__]


class Function:
    """A Python function. ran: whether its code ran, so that what it closes over, its defaults and its code count."""

    def __init__(self, f: types.FunctionType, names: Iterable[str], ran: bool, make: Make) -> None:
        self._code = f.__code__ if ran else None
        self._names = tuple(names)
        self._length = len(f.__dict__)
        self.parts = make(self._now(f))

    def _now(self, f: types.FunctionType) -> list[Any]:
        now: list[Any] = []
        if self._code is not None:
            now += (f.__defaults__, f.__kwdefaults__)
            if f.__closure__:
                now += map(cell_contents, f.__closure__)
        if self._names:
            now += map(f.__dict__.get, self._names, repeat(GONE))
        return now

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        if self._code is not None and x.__code__ is not self._code:
            return f"the code of {x.__name__} changed"
        if len(x.__dict__) != self._length:
            return f"the attributes of the function {x.__name__} changed in number"
        i = self.parts.differs(self._now(x), found)
        if i < 0:
            return ""
        free = () if self._code is None else self._code.co_freevars
        i -= 0 if self._code is None else 2 + len(free)
        if i >= 0:
            return f"attribute '{self._names[i]}' of the function {x.__name__} changed"
        return (
            f"a variable of an enclosing function changed: '{free[i]}'" if -i <= len(free)
            else f"the defaults of {x.__name__} changed"
        )

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        source.require(f"len({x}.__dict__) == {self._length}")
        values: list[str] = []
        if self._code is not None:
            source.require(f"{x}.__code__ is {source.name(self._code)}")
            values += [f"{x}.__defaults__", f"{x}.__kwdefaults__"]
            values += [f"cell_contents({x}.__closure__[{i}])" for i in range(len(self._code.co_freevars))]
        return values + _gets(f"{x}.__dict__", self._names)


def cell_contents(cell: types.CellType) -> Any:
    """What a closure cell holds."""
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return GONE


class Cache(Whole):
    """A function with a `functools.lru_cache`: what it gave before it gives again, until that is dropped."""

    def __init__(self, f: Any, make: Make) -> None:
        self._cached, others = self._entries(f)
        self._cached = dict(self._cached)
        self._misses = f.cache_info().misses
        self._results = [*others, *self._cached.values()]  # kept: while the cache is what it was, these are
        self.parts = make([f.__wrapped__, *self._results])

    def _entries(self, f: Any) -> tuple[dict[Any, Any], list[Any]]:
        """The dict of the cache, and, where it has a limit, the results, which are not the values of that dict."""
        parts = gc.get_referents(f)
        for i in reversed(range(len(parts) - 1)):
            if type(parts[i]) is dict and parts[i + 1] is f.__wrapped__:
                return parts[i], [x for x in parts[:i] if not isinstance(x, type)]
        return {}, []

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        now, _ = self._entries(x)
        info = x.cache_info()
        dropped = info.currsize == info.maxsize and info.misses != self._misses
        if dropped or any(now.get(k, GONE) is not v for k, v in self._cached.items()):
            return f"what the cache of {x.__name__} holds changed"
        return "" if self.parts.differs([x.__wrapped__, *self._results], found) < 0 else f"{x.__name__} changed"


class Attributes:
    """What an object consists of by its type: a method of its function and its object, for instance."""

    def __init__(self, x: Any, get: Callable[[Any], list[Any]], make: Make) -> None:
        self._class = type(x)
        self._get = get
        self.parts = make(get(x))

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        if type(x) is self._class and self.parts.differs(self._get(x), found) < 0:
            return ""
        return f"what a {self._class.__name__} consists of changed"

    def unroll(self, x: str, source: Source) -> list[str] | None:
        """See `Check`."""
        source.require(f"type({x}) is {source.name(self._class)}")
        source.lines.append(f"got = {source.name(self._get)}({x})")
        return [f"got[{i}]" for i in range(len(self.parts.ids))]


def referent(ref: weakref.ref[Any]) -> list[Any]:
    """What a weak reference refers to."""
    return [weakref.ref.__call__(ref)]


class Buffer(Whole):
    """An array or another buffer."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.parts = Parts([], {}, [])

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        return self.held.changed(x)


class Objects(Whole):
    """The objects in an array of objects."""

    def __init__(self, x: Any, make: Make) -> None:
        self.parts = make(_objects_in(x))

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        return "" if self.parts.differs(_objects_in(x), found) < 0 else "what an array of objects holds changed"


def _objects_in(array: Any) -> list[Any]:
    """The objects in an array of objects, or of records with fields of objects."""
    fields = [np.asarray(array)]
    found: list[Any] = []
    while fields:
        field = fields.pop()
        if field.dtype.names is not None:
            fields += [field[name] for name in field.dtype.names if field.dtype[name].hasobject]
        else:
            found += field.ravel().tolist()
    return found


class Several(Whole):
    """Checks of one object."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.first = checks[0]
        self._checks = checks
        self.parts = Parts([i for c in checks for i in c.parts.ids], {}, [i for c in checks for i in c.parts.follow])

    def changed(self, x: Any, found: list[Any]) -> str:
        """See `Check`."""
        for check in self._checks:
            if why := check.changed(x, found):
                return why
        return ""
