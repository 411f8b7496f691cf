"""Types: what a value is before anyone asks what it holds.

A `TensorType` is a dtype and a shape. Dtypes are interned objects, one a dtype, so `is` compares
them; the table below is the only place that lists them. All shape arithmetic of the project lives in
this module too (broadcasting, axis normalisation, strides), for a dimension is an int today and may be
a symbol later.

Invariants: a `TensorType` is immutable and hashable; a dimension is a non-negative int.
Imports: `errors`, numpy. Everything else in `ir` stands on this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from .errors import AxisError, DTypeError, ShapeError

Shape = tuple[int, ...]


class DType:
    """An element type. `code` is its name in the IR (`f32`), `name` its name in Python (`float32`)."""

    __slots__ = ("bits", "code", "kind", "name", "numpy")

    def __init__(self, code: str, name: str, kind: str, bits: int) -> None:
        self.code = code
        self.name = name
        self.kind = kind  # 'bool', 'uint', 'int', 'float'
        self.bits = bits  # width in memory; a bool is a byte, as in numpy
        self.numpy: np.dtype = np.dtype(name)

    @property
    def itemsize(self) -> int:
        return self.bits // 8

    @property
    def is_floating_point(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    def __repr__(self) -> str:
        return f"jitgrad.{self.name}"

    def __reduce__(self) -> tuple[object, ...]:
        return (dtype_of, (self.name,))


_ROWS = (
    ("bool", "bool", "bool", 8),
    ("u8", "uint8", "uint", 8),
    ("i8", "int8", "int", 8),
    ("i16", "int16", "int", 16),
    ("i32", "int32", "int", 32),
    ("i64", "int64", "int", 64),
    ("f32", "float32", "float", 32),
    ("f64", "float64", "float", 64),
)
DTYPES: dict[str, DType] = {row[0]: DType(*row) for row in _ROWS}
bool_, u8, i8, i16, i32, i64, f32, f64 = DTYPES.values()

_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}
_BY_NAME = {d.name: d for d in DTYPES.values()} | DTYPES


def dtype_of(spec: object) -> DType:
    """The dtype that `spec` names: a `DType`, its code or name, a numpy dtype or scalar type.

    Raises DTypeError where jitgrad has no such dtype.
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, str) and spec in _BY_NAME:
        return _BY_NAME[spec]
    try:
        return _BY_NUMPY[np.dtype(spec)]  # type: ignore[call-overload]
    except (KeyError, TypeError):
        known = ", ".join(d.name for d in DTYPES.values())
        raise DTypeError(f"no dtype {spec!r}: jitgrad has {known}") from None


# Promotion of two dtypes, as torch.promote_types: the wider kind wins (bool < integer < float), within
# a kind the wider type, and unsigned with signed gives the next signed type that holds both.
_KIND_RANK = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def promote(a: DType, b: DType) -> DType:
    """The dtype both `a` and `b` convert to, as in `torch.promote_types`."""
    if a is b:
        return a
    ra, rb = _KIND_RANK[a.kind], _KIND_RANK[b.kind]
    if ra != rb:
        return a if ra > rb else b
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    unsigned, signed = (a, b) if a.kind == "uint" else (b, a)
    return signed if signed.bits > unsigned.bits else i16


@dataclass(frozen=True, slots=True)
class TensorType:
    """A dtype and a shape; prints as `f32[8,4]`, a scalar as `f32[]`."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: Iterable[int]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.code}[{','.join(map(str, self.shape))}]"


def type_of_array(array: np.ndarray) -> TensorType:
    """The type of a numpy array. Raises DTypeError for a dtype jitgrad has not."""
    return _array_type(array.dtype, array.shape)


@lru_cache(maxsize=1024)
def _array_type(dtype: np.dtype, shape: Shape) -> TensorType:
    return TensorType(dtype_of(dtype), shape)


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all `shapes` broadcast to by NumPy's rule. Raises ShapeError."""
    rank = max(map(len, shapes), default=0)
    out = [1] * rank
    for shape in shapes:
        offset = rank - len(shape)
        for i, n in enumerate(shape):
            m = out[offset + i]
            if m != n and n != 1:
                if m != 1:
                    raise ShapeError(
                        f"the size of tensor a ({m}) must match the size of tensor b ({n}) at dimension "
                        f"{offset + i}: shapes {' and '.join(map(str, shapes))} do not broadcast",
                        hint="sizes must be equal, or one of them 1, counted from the last dimension",
                    )
                out[offset + i] = n
    return tuple(out)


def normalize_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front, 0-d tensors taking 0 and -1 as torch does. Raises AxisError."""
    limit = max(rank, 1)
    if not -limit <= axis < limit:
        raise AxisError(
            f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {axis})"
        )
    return axis % limit


def normalize_axes(axes: int | Iterable[int] | None, rank: int) -> Shape:
    """Sorted, distinct axes counted from the front; None means all. Raises AxisError."""
    if axes is None:
        return tuple(range(rank))
    listed = (axes,) if isinstance(axes, int) else tuple(axes)
    out = sorted(normalize_axis(a, rank) for a in listed)
    for a, b in pairwise(out):
        if a == b:
            raise AxisError(f"dim {a} appears multiple times in the list of dims")
    return tuple(out) if rank else ()


def drop_axes(shape: Sequence[int], axes: Iterable[int]) -> Shape:
    """`shape` without `axes` (what a reduction over them leaves)."""
    gone = set(axes)
    return tuple(n for i, n in enumerate(shape) if i not in gone)


def keep_axes(shape: Sequence[int], axes: Iterable[int]) -> Shape:
    """`shape` with size 1 at `axes` (what a reduction with keepdim leaves)."""
    ones = set(axes)
    return tuple(1 if i in ones else n for i, n in enumerate(shape))


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Row-major strides in elements; an axis of size 0 counts as one of size 1."""
    out, step = [0] * len(shape), 1
    for i in reversed(range(len(shape))):
        out[i] = step
        step *= max(shape[i], 1)
    return tuple(out)
