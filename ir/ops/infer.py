"""Type inference shared by many ops, and the errors it raises. Each error names the types it saw.

Imports: `types`, `errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from ..errors import AxisError, DTypeError, ShapeError
from ..types import Shape, TensorType, bool_

# What an op accepts, by the kinds of `DType.kind`.
ANY = frozenset({"bool", "uint", "int", "float"})
NUMBER = frozenset({"uint", "int", "float"})
FLOAT = frozenset({"float"})
BITS = frozenset({"bool", "uint", "int"})
INTEGER = frozenset({"uint", "int"})
BOOL = frozenset({"bool"})

_WORDS = {
    ANY: "any", NUMBER: "a number", FLOAT: "a floating-point", BITS: "an integer or bool",
    INTEGER: "an integer", BOOL: "a bool",
}


def listed(types: tuple[TensorType, ...]) -> str:
    return ", ".join(map(str, types))


def want_kind(op: str, kinds: frozenset[str], *types: TensorType) -> None:
    for t in types:
        if t.dtype.kind not in kinds:
            raise DTypeError(f"{op}: needs {_WORDS[kinds]} dtype, got {listed(types)}")


def want_equal(op: str, *types: TensorType) -> None:
    first = types[0]
    for t in types[1:]:
        if t.dtype is not first.dtype:
            raise DTypeError(f"{op}: dtypes differ: {listed(types)}", hint="cast one operand")
        if t.shape != first.shape:
            raise ShapeError(f"{op}: shapes differ: {listed(types)}", hint="broadcast one operand")


def want_index(op: str, index: TensorType) -> None:
    if not index.dtype.is_integer:
        raise DTypeError(f"{op}: an index must be an integer, got {index}")


def want_axis(op: str, axis: int, x: TensorType) -> None:
    if not 0 <= axis < x.rank:
        raise AxisError(f"{op}: axis {axis} is not one of {x}")


def want_rising(op: str, axes: Shape, x: TensorType) -> None:
    """Axes in rising order, so none twice."""
    for axis in axes:
        want_axis(op, axis, x)
    if any(a >= b for a, b in pairwise(axes)):
        raise AxisError(f"{op}: axes {axes} of {x} do not rise")


Infer = Callable[..., TensorType]


def same(op: str, kinds: frozenset[str]) -> Infer:
    """All operands and the result have one type."""

    def infer(*types: TensorType, **_: object) -> TensorType:
        want_kind(op, kinds, *types)
        want_equal(op, *types)
        return types[0]

    return infer


def predicate(op: str, kinds: frozenset[str]) -> Infer:
    """All operands have one type; the result is bool of that shape."""

    def infer(*types: TensorType) -> TensorType:
        want_kind(op, kinds, *types)
        want_equal(op, *types)
        return types[0].with_dtype(bool_)

    return infer
