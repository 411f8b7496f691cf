"""The signature of a call: everything about its arguments that a compiled program depends on.

One record serves the dispatcher and, later, the native entry. It holds the structure of the arguments;
for a tensor its dtype, shape, strides, requires_grad, whether it is a leaf, its class; which tensors are
the same object; the values of static leaves (bool, int, str, None, dtypes, NumPy's other scalars...), exactly: 1 and
True are two; of a float or an np.float64 only that it is one, for these are runtime scalars inside a trace; of any
other object which it is. Grad mode and default dtype complete it.

Imports: `exact`, `attributes`, `pytree`, `tensors`, `state`, `ir.core`, `ir.types`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import numpy as np

from .attributes import slots_of, variables_of
from .exact import ATOMS, exact, show
from .ir.core import Value
from .ir.types import DType
from .pytree import Structure
from .state import defaults, state
from .tensors import Size, Tensor, leaked, up_to_date

# What a function may return as it is, the same at every call.
STATIC = (
    bool, int, np.bool_, np.integer, np.floating, str, bytes, complex, type(None), DType, type, type(Ellipsis), slice,
    range, Size,
)
# Objects of classes derived from these are constants, if they hold nothing else. How to get at the value of one without
# any code of its class.
_SUBCLASSED: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    bytes: lambda x: bytes.__getitem__(x, slice(None)),
}
Key = tuple[Any, ...]


class Signature:
    """`key` is hashable; `objects` are the leaves that it holds by identity, kept alive by who keeps it."""

    __slots__ = ("key", "objects")

    def __init__(self, leaves: Sequence[Any], structure: Structure, static_floats: frozenset[int]) -> None:
        self.objects: list[Any] = []
        parts: list[Any] = [structure, state.grad_enabled, defaults.dtype]
        for i, x in enumerate(leaves):
            parts.append(leaf_key(x, i in static_floats, self.objects))
        tensors = [id(x) for x in leaves if isinstance(x, (Tensor, np.ndarray))]
        if len(set(tensors)) != len(tensors):
            parts.append(tuple([tensors.index(t) for t in tensors]))
        self.key: Key = tuple(parts)


def is_number(x: Any) -> bool:
    """Whether `x` is a runtime scalar inside a trace."""
    return type(x) in (float, np.float64)


def array_key(a: np.ndarray) -> Key:
    """Dtype, shape and layout of an array."""
    return (a.dtype, a.shape, None if a.flags.c_contiguous else a.strides)


def tensor_key(t: Tensor) -> Key:
    """What a compiled program depends on in a tensor."""
    a = t._array
    if isinstance(a, Value):
        raise leaked(t)
    if t._view is not None:
        up_to_date(t)
    return (*array_key(a), t._requires_grad, t._node is None, type(t))


def leaf_key(x: Any, static: bool, objects: list[Any]) -> Any:
    if isinstance(x, Tensor):
        return tensor_key(x)
    kind = type(x)
    if kind is float or kind is np.float64:
        return (kind, float(x).hex()) if static else kind
    if isinstance(x, np.ndarray):
        return (np.ndarray, kind, *array_key(x))
    if kind is DType:
        return kind, x
    key = exact(tuple(x) if kind is Size else x)
    if key is not None:
        return key if kind is not Size else (Size, key)
    base = next((b for b in _SUBCLASSED if issubclass(kind, b)), None)
    if base is not None and not variables_of(x) and not slots_of(kind):
        objects.append(kind)  # whose attributes count
        return kind, exact(_SUBCLASSED[base](x))
    objects.append(x)
    if isinstance(x, MethodType):  # made anew at every access
        return (object, id(x.__func__), id(x.__self__))
    return (object, id(x))


def difference(old: Key, new: Key, paths: Sequence[str]) -> str:
    """The first thing in which two signatures differ, in words."""
    if old[0] != new[0]:
        return "the structure of the arguments"
    if old[1] != new[1]:
        return f"grad mode: {_mode(old[1])}, then {_mode(new[1])}"
    if old[2] != new[2]:
        return f"the default dtype: {old[2]}, then {new[2]}"
    for path, a, b in zip(paths, old[3:], new[3:], strict=False):
        if a != b:
            before, now = _show(a), _show(b)
            return f"{path}: {before}, then {now}" if before != now else f"{path}: {now}"
    return "which of the arguments are the same tensor"


def _mode(enabled: bool) -> str:
    return "on" if enabled else "off"


def _show(part: Any) -> str:
    if isinstance(part, type):
        return f"a {part.__name__}"
    head = part[0]
    if head is np.ndarray:
        return f"an array {part[2]}{list(part[3])}"
    if isinstance(head, np.dtype):
        dtype, shape, strides, requires_grad, *_ = part
        extra = " requiring grad" if requires_grad else ""
        return f"{dtype}{list(shape)}{extra}{f' strided {strides}' if strides is not None else ''}"
    if head is float or head is np.float64:
        return f"{head.__name__} {float.fromhex(part[1])}"
    if head is DType:
        return str(part[1])
    if head is object:
        return "another object"
    if head is Size or (head not in ATOMS and issubclass(head, tuple(_SUBCLASSED)) and head is not np.str_):
        return f"{head.__name__} {show(part[1])}"
    return show(part)
