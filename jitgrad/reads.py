"""What a function reads that is not among its arguments, and whether it has changed.

Recording sees tensors. It cannot see Python: a global float, an attribute, the length of a list, a
helper that is replaced. So after a recording a `Snapshot` is taken of everything that the code which ran
could have read by name: the globals, built-in functions, imported modules and closure cells of the user's functions
that ran, and from there attributes (those whose names occur in that code; all, where it computes names), items of
containers, defaults of functions. A later call compares (`checks`); a tensor counts as the same if it is the same
object (its data is read anew at every call), a number or a string if it is equal in every respect, a NumPy array if
it is the same object with the same layout and the same elements, anything else if it is the same object with the
same contents.

The elements of an array are compared with a copy (`contents`), unless all the code does with it, by its name, does
not depend on them (`uses`) or nobody can change them. Above `BYTES` this would cost as much as to record anew. Of a
container only the items are compared that code asks for by constants, if that is all it does with it.

Some things a snapshot cannot guard: a call into code whose result depends on hidden state, which `watcher` finds
while the function is recorded; an iterator or a NumPy generator within reach; more than can be compared; a change
that the function itself makes to what it reads (`log.append(t)`). The recording is then good for the one call that
made it, and the next call records again: slower, never stale.

Invariants: no code of the user's runs here, but for `keys` and `values` of what a mappingproxy shows. A snapshot keeps
nothing alive that knows weak references, other than the dicts of modules.
Imports: `checks`, `guards`, `contents`, `uses`, `pure`, `names`, `attributes`, `functional.creation`, `tensors`,
`errors`, `ir.types`.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .attributes import looked_up, module_of, slots_of, variables_of
from .checks import (
    MAPPINGS,
    SEQUENCES,
    Attributes,
    Buffer,
    Cache,
    Check,
    Class,
    Function,
    Items,
    LruCache,
    Mapping,
    Module,
    Names,
    Object,
    Objects,
    Parts,
    Row,
    Several,
    chain_of,
    is_constant,
    referent,
)
from .contents import BUFFERS, Held, hold, owner
from .errors import is_own_code
from .functional.creation import as_tensor, from_numpy
from .guards import compiled
from .ir.types import DType
from .names import attributes_named, computes_names, global_names, modules_read
from .pure import shows_state
from .tensors import Tensor
from .uses import Uses

# What a snapshot follows; beyond, the function is recorded at every call.
LIMIT = 20_000  # objects
BYTES = 1 << 25  # of arrays compared by content, which takes 1 to 2 ms
MANY = 10_000  # items of containers compared, which takes about a millisecond: worth a warning

_TOO_MANY = "it can reach too many Python objects to watch them for changes"
_TOO_LARGE = (
    f"it can read more than {BYTES >> 20} MiB in NumPy arrays that are not its arguments, too much to compare at every "
    "call (pass them as arguments, or make tensors of them once, outside)"
)
# What reads no elements of an array; the tensors are over its memory, which is read at every call.
_HARMLESS = (len, from_numpy, as_tensor)
_WALKED_WHOLE = ("jitgrad.nn", "jitgrad.optim")
_OPAQUE = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.GetSetDescriptorType,
    types.CodeType,
    np.ufunc,
    np.dtype,
    DType,
)
_CONTENT = (list, dict, tuple, bytearray)  # they know no weak references; all they are is compared
_CTYPES = frozenset({"_SimpleCData", "Array", "Structure", "Union"})
# What objects consist of by their type.
_CONSIST: tuple[tuple[Any, Callable[[Any], list[Any]]], ...] = (
    (types.MethodType, lambda x: [x.__func__, x.__self__]),
    ((types.BuiltinFunctionType, types.MethodWrapperType), lambda x: [x.__self__]),
    (functools.partial, lambda x: [x.func, x.args, x.keywords]),
    (property, lambda x: [x.fget, x.fset, x.fdel]),
    ((staticmethod, classmethod), lambda x: [x.__func__]),
    (functools.cached_property, lambda x: [x.func]),
    (weakref.ref, referent),
)
LAYOUT = object()  # see `Walk`


class Walk:
    """Makes checks of objects. A part of an object that needs a check of its own goes to `_queue`, with a limit: LAYOUT
    of an array of which no element is read, the keys of a container of which no other item is, else None."""

    def __init__(self) -> None:
        self.excess = ""  # why there is more to read than is compared
        self.obstacle = ""  # why what was read cannot be guarded
        self.bytes = 0  # compared of arrays and other buffers
        self.items = 0  # compared of all objects
        self._queue: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()  # objects without limit that were in the queue
        self._measured: set[int] = set()  # buffers counted in `bytes`
        self._names: set[str] = set()
        self.all_names = False  # whether all attributes may be read
        self.computed = False  # whether something within reach computes names of attributes
        self._uses = Uses((), _HARMLESS)
        self._noting = True

    def _enter_code(self, codes: dict[types.CodeType, dict[str, Any]]) -> None:
        """From now on the names in `codes` are those that may be read."""
        self._names = {n for code in codes for n in attributes_named(code) or code.co_names}
        self.all_names = self.computed or any(attributes_named(code) is None for code in codes)
        if self.all_names:
            self._names.update(c for code in codes for c in code.co_consts if isinstance(c, str))
        self._uses = Uses(codes.items(), _HARMLESS)

    # -- parts

    def _part(self, x: Any) -> None:
        """`x` is compared by identity."""
        raise NotImplementedError

    def _make(self, values: Sequence[Any], names: Sequence[str] = ()) -> Parts:
        """Parts whose values are to be compared. names: by what code gets the last of them."""
        constants: dict[int, Any] = {}
        follow: list[int] = []
        unnamed = len(values) - len(names)
        if self._noting:
            self.items += len(values)
        for i, x in enumerate(values):
            if is_constant(x):
                constants[i] = x
                continue
            self._part(x)
            self.computed = self.computed or computes_names(x)
            if self._is_followed(x):
                limit = self._limit(names[i - unnamed], x) if i >= unnamed else None
                if limit is not None or id(x) not in self._seen:
                    if limit is None:
                        self._seen.add(id(x))
                    follow.append(i)
                    self._queue.append((x, limit))
        return Parts(list(map(id, values)), constants, follow)

    def _named(self, names: Sequence[str]) -> Callable[[Sequence[Any]], Parts]:
        """`_make` where the last values have these names."""
        return lambda values: self._make(values, names)

    def _limit(self, name: str, x: Any) -> Any:
        """What of `x`, which code gets by `name`, it reads at most; None: everything."""
        if self.all_names:
            return None
        if type(x) in (np.ndarray, np.memmap):
            return None if self._uses.reads_elements(name) else LAYOUT
        return self._uses.keys(name) if type(x) in (dict, list, tuple) else None

    def _is_followed(self, x: Any) -> bool:
        if isinstance(x, _OPAQUE) or type(x) is Tensor:
            return False
        if isinstance(x, types.FunctionType):
            return not is_own_code(x.__code__) or "__wrapped__" in x.__dict__
        if isinstance(x, (types.BuiltinFunctionType, types.MethodWrapperType)):
            return not isinstance(x.__self__, (types.ModuleType, type, type(None)))
        return not (isinstance(x, type) and module_of(x) == "builtins")

    # -- checks

    def _check(self, x: Any, limit: Any) -> Check:
        """The check of `x`."""
        if isinstance(x, types.FunctionType):
            return self._check_function(x)
        if isinstance(x, LruCache):
            return Cache(x, self._make)
        if isinstance(x, types.ModuleType):
            names = self._present(x.__dict__)
            return Module(x, names, self._named(names))
        if isinstance(x, type):
            return self._check_class(x)
        for kind, get in _CONSIST:
            if isinstance(x, kind):
                return Attributes(x, get, self._make)
        if isinstance(x, BUFFERS) or _is_ctypes(type(x)):
            return self._check_buffer(x, limit)
        if isinstance(x, (*SEQUENCES, *MAPPINGS)):
            if limit is not None:
                return Items(x, limit, self._make)
            check: Check = (Row if isinstance(x, SEQUENCES) else Mapping)(x, self._make)
            return check if type(x) in SEQUENCES + MAPPINGS else Several([check, self._check_object(x)])
        return self._check_object(x)

    def _present(self, variables: Any) -> list[str]:
        return [n for n in self._names if n in variables]

    def _ran(self, code: types.CodeType) -> bool:
        """Whether what functions with `code` close over is of interest."""
        raise NotImplementedError

    def _check_function(self, f: types.FunctionType) -> Check:
        ran = not is_own_code(f.__code__) and self._ran(f.__code__)
        names = [n for n in f.__dict__ if n in self._names or n == "__wrapped__"]
        free = f.__code__.co_freevars if ran else ()
        return Function(f, names, ran, self._named([*free, *names]))

    def _check_buffer(self, x: Any, limit: Any) -> Check:
        elements = limit is not LAYOUT and not isinstance(owner(x), bytes)
        if elements and id(x) not in self._measured:
            self._measured.add(id(x))
            self.bytes += x.nbytes if isinstance(x, np.ndarray) else memoryview(x).nbytes
            if self.bytes > BYTES:
                self.excess = _TOO_LARGE
                elements = False
        check = Buffer(hold(x) if elements else Held(x, elements=False))
        if isinstance(x, np.ndarray) and x.dtype.hasobject and limit is not LAYOUT:
            return Several([check, Objects(x, self._make)])
        return check

    def _check_class(self, cls: type) -> Check:
        """The attributes that code names, and the methods that Python calls by itself."""
        if shows_state(cls) and not _is_ctypes(cls):  # that of the objects which code may make of it
            self._meets(cls)
        names: list[list[str]] = []
        chain = chain_of(cls)
        for i, base in enumerate(chain):
            if module_of(base) == "builtins":
                names.append([])
                continue
            below = {n for b in chain[i + 1 :] if module_of(b) != "builtins" for n in b.__dict__}
            names.append([
                n for n in {**base.__dict__, **dict.fromkeys(below)}
                if n in self._names or (self.all_names and not n.startswith("__") and n in base.__dict__)
                or (n.startswith("__") and isinstance(base.__dict__.get(n), types.FunctionType))
            ])
        return Class(cls, names, self._named([n for ns in names for n in ns]))

    def _check_object(self, x: Any) -> Check:
        cls = type(x)
        if _hides_state(cls):
            self._meets(cls)
        variables = variables_of(x) or {}
        if module_of(cls).startswith(_WALKED_WHOLE):  # its own code reads more than the user's names
            names, slots, whole = list(variables), slots_of(cls), False
        else:
            names = [n for n in variables if n in self._names or n == "__wrapped__" or self.all_names]
            slots = {n: s for n, s in slots_of(cls).items() if n in self._names or self.all_names}
            whole = self.all_names
        return Object(x, names, slots, whole, self._named([*names, *slots]))

    def _meets(self, cls: type) -> None:
        """`cls`, or an object of it, is within reach, and what such objects hold is not to be seen."""
        if self._noting:
            self.obstacle = f"it can reach a {module_of(cls)}.{cls.__name__}, whose state cannot be watched"

    def _check_globals(self, variables: dict[str, Any], names: Iterable[str]) -> list[tuple[Any, Check]]:
        """The checks of what code finds by these names among its globals and the built-in functions."""
        names = sorted(names)
        inbuilt = variables.get("__builtins__", builtins)
        inbuilt = inbuilt.__dict__ if isinstance(inbuilt, types.ModuleType) else inbuilt
        missing = [n for n in names if n not in variables]
        out: list[tuple[Any, Check]] = []
        if names:
            out.append((variables, Names(variables, names, self._named(names), "the global")))
        if missing:
            out.append((inbuilt, Names(inbuilt, missing, self._named(missing), "the built-in")))
        return out


def _is_ctypes(cls: type) -> bool:
    return any(module_of(b) == "_ctypes" and b.__name__ in _CTYPES for b in cls.__mro__)


def _hides_state(cls: type) -> bool:
    """Whether objects of `cls` have a state that is not seen, as it is not Python's: that of an iterator, of a file."""
    advance = looked_up(cls, "__next__")
    if advance is not None and not isinstance(advance, types.FunctionType):
        return True
    return shows_state(cls)


class Life:
    """Whether all objects live that a snapshot recognises by their ids. bell: gives what is called when one died."""

    def __init__(self) -> None:
        self.over = False
        self.bell: Callable[[], Callable[[], None] | None] = lambda: None

    def died(self, _: object) -> None:
        """An object died."""
        if not self.over:
            self.over = True
            if (ring := self.bell()) is not None:
                ring()


class Snapshot(Walk):
    """What was read, as it was.

    function: the one that ran. objects: arguments that are followed; the same are given to `changed`. codes: the code
    that ran, with its globals. computed: names of attributes are computed, so all count.
    """

    def __init__(
        self,
        function: Any,
        objects: Sequence[Any],
        codes: dict[types.CodeType, dict[str, Any]],
        computed: bool = False,
    ) -> None:
        super().__init__()
        self.computed = computed
        self.life = Life()
        self.tensors: dict[int, weakref.ref[Tensor]] = {}  # those within reach, by id
        self.arrays: list[tuple[weakref.ref[np.ndarray], Buffer]] = []
        self._refs: dict[int, Any] = {}  # by id: weak references, and what knows none
        self._codes = frozenset(codes)
        self._visited: set[types.CodeType] = set()
        self._checks: list[Check] = []
        self._enter_code(codes)
        roots = self._roots_of(codes)
        self._checks += [check for _, check in roots]
        for x in (function, *objects):
            if type(x) is not types.MethodType:  # made anew at every access; its parts are what counts
                self._part(x)
            self._seen.add(id(x))
        self._take([(x, None) for x in (function, *objects)])
        self._take(self._queue)
        self._roots = [*(x for x, _ in roots), function]
        known = self._visited.union(c for code in codes for c in code.co_consts if isinstance(c, types.CodeType))
        for code in self._codes - known:
            if any(not n.startswith("__") for n in code.co_freevars):
                self.obstacle = f"it calls {code.co_name}, and the variables that it closes over were not found"
        self._guard = None if self.excess or self.obstacle else compiled(self._checks, len(self._roots) + len(objects))
        del self._queue, self._seen, self._visited, self._uses

    def changed(self, objects: Sequence[Any]) -> str:
        """What differs now, in words; '' if nothing does."""
        found = [*self._roots, *objects]
        if self.life.over:
            return "an object that it reads is gone"
        try:
            if self._guard is not None and self._guard(found):
                return ""
        except Exception:  # something is of another kind now: what, the checks tell
            pass
        for x, check in zip(found, self._checks, strict=False):  # `found` grows
            if why := check.changed(x, found):
                return why
        return ""

    def covers(self, array: np.ndarray) -> bool:
        """Whether the memory of `array` is that of an array that is guarded: the same at every call."""
        return any(owner(ref()) is owner(array) for ref, _ in self.arrays)

    def compares(self, array: np.ndarray) -> bool:
        """Whether what the memory of `array` holds is guarded."""
        return any(check.held.elements and owner(ref()) is owner(array) for ref, check in self.arrays)

    def _roots_of(self, codes: dict[types.CodeType, dict[str, Any]]) -> list[tuple[Any, Check]]:
        """What code reads without any object: globals, modules that it imports, methods of tensors."""
        named: dict[int, tuple[dict[str, Any], set[str]]] = {}
        modules: set[str] = set()
        for code, variables in codes.items():
            named.setdefault(id(variables), (variables, set()))[1].update(global_names(code))
            modules |= modules_read(code, variables)
        roots = [root for variables, names in named.values() for root in self._check_globals(variables, names)]
        methods = self._present(Tensor.__dict__)
        if methods:
            roots.append((Tensor.__dict__, Names(Tensor.__dict__, methods, self._make, "the method")))
        if modules:
            roots.append((sys.modules, Names(sys.modules, sorted(modules), self._make, "the module")))
        return roots

    def _take(self, queue: list[tuple[Any, Any]]) -> None:
        """Make the checks of what is in `queue`, which may grow meanwhile."""
        for x, limit in queue:
            if len(self._checks) > LIMIT:
                self.excess = _TOO_MANY
            if self.excess:
                return
            self._checks.append(self._check(x, limit))

    def _part(self, x: Any) -> None:
        if type(x) in _CONTENT or id(x) in self._refs:
            return
        try:
            self._refs[id(x)] = ref = weakref.ref(x, self.life.died)
        except TypeError:
            self._refs[id(x)] = x
        else:
            if type(x) is Tensor:
                self.tensors[id(x)] = ref

    def _ran(self, code: types.CodeType) -> bool:
        return code in self._codes

    def _check_function(self, f: types.FunctionType) -> Check:
        if f.__code__ in self._codes:
            self._visited.add(f.__code__)
        return super()._check_function(f)

    def _check_buffer(self, x: Any, limit: Any) -> Check:
        check = super()._check_buffer(x, limit)
        if isinstance(x, np.ndarray):
            buffer = check.first if isinstance(check, Several) else check
            assert isinstance(buffer, Buffer)
            self.arrays.append((weakref.ref(x), buffer))
        return check


def take_snapshot(function: Any, objects: Sequence[Any], codes: dict[types.CodeType, dict[str, Any]]) -> Snapshot:
    """The `Snapshot` of what is within reach now; of all attributes, if something there computes their names."""
    snapshot = Snapshot(function, objects, codes)
    if snapshot.computed and not snapshot.all_names:
        return Snapshot(function, objects, codes, computed=True)
    return snapshot


class Beforehand(Walk):
    """What the code that runs can read and change, as it was when it was entered.

    Each piece of code adds what it can reach from its globals and its local variables, by the names that it
    uses itself. What the function made while it ran is walked through, but is its own to change.
    """

    def __init__(self, function: Any, roots: Iterable[Any]) -> None:
        super().__init__()
        self._outside: set[int] = set()  # what was there before the function ran
        self._checked: list[tuple[Any, Check]] = []
        self._keep: list[Any] = []  # ids stay unique while their objects live
        self._by_code: dict[types.CodeType, set[int]] = {}
        self._walk([(x, None) for x in (function, *roots) if not is_constant(x)])

    def enter(self, frame: types.FrameType) -> None:
        """`frame` starts to run."""
        code, variables = frame.f_code, frame.f_globals
        first = code not in self._by_code
        self.computed = False  # what a function changes, it names
        self._enter_code({code: variables})
        self._seen = self._by_code.setdefault(code, set())
        if first:
            self._checked += self._check_globals(variables, global_names(code))
            modules = [m for m in modules_read(code, variables) if m in sys.modules]
            if modules:
                self._checked.append((sys.modules, Names(sys.modules, modules, self._make, "the module")))
            self._walk([])
        found = [(x, self._limit(n, x)) for n, x in frame.f_locals.items() if not is_constant(x)]
        self._walk_within([(x, limit) for x, limit in found if limit is not LAYOUT and self._is_followed(x)])

    def changed(self) -> str:
        """What differs now, in words; '' if nothing does."""
        return next((why for x, check in self._checked if (why := check.changed(x, []))), "")

    def _walk(self, roots: list[tuple[Any, Any]]) -> None:
        """Make checks of `roots`, of what is in the queue, and of all that they lead to."""
        for x, limit in roots:
            if limit is not None or id(x) not in self._seen:
                self._part(x)
                self._seen.add(id(x))
                if self._is_followed(x):
                    self._queue.append((x, limit))
        while self._queue and not self.excess:
            if len(self._checked) > LIMIT:
                self.excess = _TOO_MANY
            x, limit = self._queue.pop()
            self._checked.append((x, self._check(x, limit)))
        self._queue.clear()

    def _walk_within(self, queue: list[tuple[Any, Any]]) -> None:
        """Walk through what the function made, to what was there before."""
        walked: dict[int, Any] = {}
        while queue:
            x, limit = queue.pop()
            if id(x) in self._outside:
                self._walk([(x, limit)])
            elif id(x) not in walked:
                walked[id(x)] = x
                queue.extend(self._parts_of(x))

    def _parts_of(self, x: Any) -> list[tuple[Any, Any]]:
        """The parts of what the function made; nothing of it is compared."""
        seen, self._seen, self._noting = self._seen, set(), False
        self._check(x, LAYOUT if isinstance(x, BUFFERS) else None)
        parts = self._queue[:]
        self._queue.clear()
        self._seen, self._noting = seen, True
        return parts

    def _part(self, x: Any) -> None:
        if self._noting:
            self._outside.add(id(x))
            self._keep.append(x)

    def _ran(self, code: types.CodeType) -> bool:
        return True

    def _check_function(self, f: types.FunctionType) -> Check:
        uses, self._uses = self._uses, Uses([(f.__code__, f.__globals__)], _HARMLESS)  # what others do, they show
        check = super()._check_function(f)
        self._uses = uses
        return check
