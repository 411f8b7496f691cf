"""How code uses the arrays that it names: for what the elements decide, or only for what they do not.

`DATA.shape`, `len(DATA)` and `jitgrad.from_numpy(DATA)` do not depend on what DATA holds (the memory of the last is
read at every call), so a guard need not compare it. This is read off the bytecode: a load of a name counts as
harmless where the next instruction asks for such an attribute, or calls such a function with it as the only
argument. Anything else may read elements. Of a container, `TABLE[3]` and `TABLE["w"]` read the item alone.

Invariants: a name is harmless only if all its loads are, in all the code that ran. Imports: the standard library.
"""

from __future__ import annotations

import builtins
import dis
import functools
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

ATTRIBUTES = frozenset({"shape", "ndim", "size", "dtype", "itemsize", "nbytes", "strides", "flags"})
_NO_OPERATION = frozenset({"PUSH_NULL", "PRECALL", "NOP", "EXTENDED_ARG"})
_BY_NAME = frozenset(dis.hasname) | frozenset(dis.hasfree)
_LOADS = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_GLOBAL", "LOAD_NAME"})
_GETS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
Callee = tuple[str, ...]  # ("len",), ("jitgrad", "from_numpy")


@dataclass(frozen=True)
class Key:
    """A constant that a container is indexed with."""

    value: int | str


Use = Callee | Key | None


class Uses:
    """What `codes` (with their globals) do with the names in them. `harmless`: functions that read no elements."""

    def __init__(
        self, codes: Iterable[tuple[types.CodeType, dict[str, Any]]], harmless: Sequence[Any]
    ) -> None:
        self._codes = list(codes)
        self._harmless = harmless

    def reads_elements(self, name: str) -> bool:
        """Whether the code may read the elements of an array that it gets by `name`."""
        uses = self._uses_of(name)
        return not uses or any(not isinstance(use, tuple) or not self._is_harmless(use, g) for use, g in uses)

    def keys(self, name: str) -> tuple[int | str, ...] | None:
        """The constants that the code indexes with what it gets by `name`, if it does nothing else with it."""
        uses = self._uses_of(name)
        keys = tuple(dict.fromkeys(use.value for use, _ in uses if isinstance(use, Key)))
        return keys if uses and all(isinstance(use, Key) for use, _ in uses) else None

    def _uses_of(self, name: str) -> list[tuple[Use, dict[str, Any]]]:
        return [(use, g) for code, g in self._codes for n, use in _uses(code) if n == name]

    def _is_harmless(self, callee: Callee, variables: dict[str, Any]) -> bool:
        """Whether `callee` is a harmless function there, or nothing is called."""
        if not callee:
            return True
        x = variables.get(callee[0], getattr(builtins, callee[0], None))
        for name in callee[1:]:
            x = getattr(x, name, None) if isinstance(x, types.ModuleType) else None
        return any(x is f for f in self._harmless)


@functools.lru_cache(maxsize=4096)
def _uses(code: types.CodeType) -> list[tuple[str, Use]]:
    """The loads of names in `code`: what each is the only argument of, () for a harmless attribute, the key of a single
    item, None for what may read elements."""
    steps: list[tuple[dis.Instruction, bool]] = []  # with whether it is jumped to
    target = False
    for step in dis.get_instructions(code):
        target = target or step.is_jump_target
        if step.opname not in _NO_OPERATION:
            steps.append((step, target))
            target = False
    found: list[tuple[str, Use]] = []
    for i, (step, _) in enumerate(steps):
        if step.opcode in _BY_NAME and not step.opname.startswith(("STORE_", "DELETE_", "MAKE_CELL")):
            found.append((step.argval, _use(steps, i)))
    return found


def _use(steps: list[tuple[dis.Instruction, bool]], i: int) -> Use:
    after = steps[i + 1][0]
    if after.opname == "LOAD_CONST" and steps[i + 2][0].opname == "BINARY_SUBSCR" and not steps[i + 2][1]:
        return Key(after.argval) if type(after.argval) in (int, str) else None
    if after.opname == "LOAD_ATTR" and after.argval in ATTRIBUTES:
        return ()
    if after.opname == "CALL" and after.arg == 1 and steps[i][0].opname in _GETS | _LOADS:
        return _callee(steps, i)
    return None


def _callee(steps: list[tuple[dis.Instruction, bool]], i: int) -> Callee | None:
    """What is called with the value loaded at `i`: a global, or an attribute of one, loaded right before it."""
    if steps[i + 1][1]:
        return None
    while steps[i][0].opname in _GETS and not steps[i][1]:
        i -= 1
    if steps[i][0].opname not in _LOADS or steps[i][1]:
        return None
    path: list[str] = []
    i -= 1
    while i >= 0 and steps[i][0].opname in _GETS and not steps[i][1]:
        path.insert(0, steps[i][0].argval)
        i -= 1
    if i < 0 or steps[i][0].opname not in ("LOAD_GLOBAL", "LOAD_NAME"):
        return None
    return (steps[i][0].argval, *path)
