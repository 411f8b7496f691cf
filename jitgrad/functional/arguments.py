"""What the functions share: reading axes, shapes and tensors from arguments, and naming graph nodes.

Errors carry torch's words and the user's line.
Imports: `tensors`, `dispatch`, `autograd.graph`, `ir.types`, `errors`, `state`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..autograd.graph import OpNode, node_class
from ..dispatch import Number, blame, cast
from ..errors import DTypeError, JitgradError
from ..ir.types import Shape, bool_, normalize_axes, normalize_axis
from ..state import defaults
from ..tensors import Tensor

Dims = int | Sequence[int] | None


def want_tensor(function: str, x: Any, name: str = "input", position: int | None = 1) -> Tensor:
    """`x`, if it is a tensor. Raises TypeError in torch's words."""
    if not isinstance(x, Tensor):
        place = "" if position is None else f" (position {position})"
        raise TypeError(f"{function}(): argument '{name}'{place} must be Tensor, not {type(x).__name__}")
    return x


def want_tensors(function: str, xs: Iterable[Any]) -> list[Tensor]:
    """`xs`, if it is a list or tuple of tensors. Raises TypeError in torch's words."""
    if not isinstance(xs, (list, tuple)):
        raise TypeError(
            f"{function}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(xs).__name__}"
        )
    return [want_tensor(function, x, "tensors", i) for i, x in enumerate(xs)]


def want_int(function: str, name: str, x: Any) -> int:
    """`x` as an int, if it is one. Raises TypeError in torch's words."""
    try:
        return operator.index(x)
    except TypeError:
        raise TypeError(f"{function}(): argument '{name}' must be int, not {type(x).__name__}") from None


def want_number(function: str, name: str, x: Any) -> Any:
    """`x`, if it is a number or a tensor of one element. Raises TypeError in torch's words."""
    if not isinstance(x, Number) and not (isinstance(x, Tensor) and x.type_.size == 1):
        raise TypeError(f"{function}(): argument '{name}' must be Number, not {type(x).__name__}")
    return x


def as_float(function: str, x: Any) -> Tensor:
    """`x`, converted to the default dtype unless it is floating point already."""
    t = want_tensor(function, x)
    return t if t.dtype.is_floating_point else cast(t, defaults.dtype)


def want_float(function: str, x: Any) -> Tensor:
    """`x`, if it is floating point. Raises DTypeError."""
    t = want_tensor(function, x)
    if not t.dtype.is_floating_point:
        raise blame(DTypeError(f'"{function}" is not implemented for {t.dtype}', hint="call .float() on it"))
    return t


def not_bool(function: str, *tensors: Tensor) -> None:
    """Raises DTypeError for a bool tensor, which `function` does not take."""
    for t in tensors:
        if t.dtype is bool_:
            raise blame(DTypeError(f'"{function}" is not implemented for {bool_}', hint="call .long() on it"))


def is_number(x: Any, value: float) -> bool:
    """Whether `x` is the Python number `value` (a tensor is not, nor a number that a recording leaves open)."""
    return not isinstance(x, Tensor) and x == value


def axis_of(dim: int, rank: int) -> int:
    """`dim` counted from the front. Raises AxisError."""
    try:
        return normalize_axis(_dimension(dim), rank)
    except JitgradError as error:
        raise blame(error) from None


def _dimension(dim: Any) -> int:
    try:
        return operator.index(dim)
    except TypeError:
        raise TypeError(f"a dimension must be int, not {type(dim).__name__}") from None


def axes_of(dim: Dims, rank: int) -> Shape:
    """The axes `dim` names, sorted; None or an empty sequence means all. Raises AxisError."""
    if type(dim) is int and rank:
        return (axis_of(dim, rank),)
    if dim is not None and not isinstance(dim, int):
        dim = tuple([_dimension(d) for d in dim]) if isinstance(dim, Iterable) else _dimension(dim)
    try:
        return normalize_axes(None if dim == () else dim, rank)
    except JitgradError as error:
        raise blame(error) from None


def ints(function: str, name: str, values: Iterable[Any]) -> Shape:
    """`values` as a tuple of ints. Raises TypeError in torch's words."""
    try:
        return tuple([operator.index(v) for v in values])
    except TypeError:
        raise TypeError(f"{function}(): argument '{name}' must be tuple of ints{_other_than_int(values)}") from None


def _other_than_int(values: Any) -> str:
    """What an error says of the first of `values` that is no int."""
    if not isinstance(values, Sequence):
        return f", not {type(values).__name__}"
    for i, v in enumerate(values):
        try:
            operator.index(v)
        except TypeError:
            return f", but found element of type {type(v).__name__} at pos {i}"
    return ""


def packed(function: str, name: str, args: tuple[Any, ...]) -> Shape:
    """The ints of `f(2, 3)` or `f((2, 3))`."""
    if len(args) == 1 and isinstance(args[0], Iterable) and not (isinstance(args[0], Tensor) and args[0].ndim == 0):
        args = tuple(args[0])
    return ints(function, name, args)


def takes_ints(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Lets `f(input, (2, 3))` be called as `f(input, 2, 3)` and as `f(input, name=(2, 3))` too."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        label = function.__name__

        @functools.wraps(function)
        def wrapped(input: Tensor, *args: Any, **kwargs: Any) -> Any:
            want_tensor(label, input)
            values = kwargs.pop(name, None)
            return function(input, packed(label, name, args if values is None else (values, *args)), **kwargs)

        return wrapped

    return decorate


def node_name(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives the node of what the function returns torch's name for the function (`MeanBackward0`), which
    would otherwise be that of the last primitive it is composed of."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return named(name, function(*args, **kwargs), args)

        return wrapped

    return decorate


def named(name: str, result: Any, sources: Sequence[Any]) -> Any:
    """`result`, its node renamed unless it is the node of one of `sources`."""
    node = result._node if isinstance(result, Tensor) else None
    if isinstance(node, OpNode) and not any(isinstance(a, Tensor) and a._node is node for a in sources):
        node.__class__ = node_class(node.op_name, name)
    return result


_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets `dim` and `keepdim` be called `axis` and `keepdims` too, as torch does."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for name, ours in _NUMPY_NAMES.items():
            if name in kwargs:
                if ours in kwargs:
                    raise TypeError(f"{function.__name__}() got both {ours!r} and {name!r}")
                kwargs[ours] = kwargs.pop(name)
        return function(*args, **kwargs)

    return wrapped
