"""Constants, equal only where one can take the place of the other.

In Python 1 == 1.0 == True, 0.0 == -0.0, range(0, 3, 2) == range(0, 4, 2), and nan differs from itself; a program
compiled for one of them is wrong for the other.

Imports: NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PLAIN = frozenset({bool, int, str, bytes, type(None), type(Ellipsis), type(NotImplemented)})
ATOMS = PLAIN | {float, complex}
_NUMPY_SCALARS = frozenset(np.sctypeDict.values()) - {np.void, np.object_}


def exact(x: Any) -> Any:
    """A hashable that two constants share only if nothing tells them apart; None for what is no constant. An object
    of a class derived from `int`, `str`, ... is none: it may have attributes."""
    kind = type(x)
    if kind in PLAIN:
        return kind, x
    if kind is float:
        return kind, x.hex()
    if kind is complex:
        return kind, x.real.hex(), x.imag.hex()
    if kind is range or kind is slice:
        return _all(kind, (x.start, x.stop, x.step))
    if kind is tuple or kind is frozenset:  # in their order: equal sets may differ in it
        return _all(kind, x)
    if kind in _NUMPY_SCALARS:
        return kind, x.dtype.str, x.tobytes()
    return None


def _all(kind: type, parts: Any) -> Any:
    keys = tuple([exact(x) for x in parts])
    return None if None in keys else (kind, keys)


def show(key: Any) -> str:
    """What `exact` gave, as Python writes the constant."""
    kind, *rest = key
    if kind in PLAIN:
        return repr(rest[0])
    if kind is float:
        return repr(float.fromhex(rest[0]))
    if kind is complex:
        return repr(complex(*map(float.fromhex, rest)))
    if kind in _NUMPY_SCALARS:
        return f"{kind.__name__}({np.ndarray((), rest[0], rest[1])})"
    return f"{kind.__name__}({', '.join(map(show, rest[0]))})"


def same(a: Any, b: Any) -> bool:
    """Whether `a` and `b` are constants that nothing tells apart."""
    if type(a) is not type(b):
        return False
    key = exact(a)
    return key is not None and key == exact(b)


class Keys(tuple[Any, ...]):
    """The keys of a dict, not all of them strings: equal to others only if nothing tells them apart."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Keys and len(self) == len(other) and all(
            a is b or same(a, b) or (exact(a) is None and type(a) is type(b) and bool(a == b))
            for a, b in zip(self, other, strict=True)
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__
