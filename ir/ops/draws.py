"""Arrays for samples: random elements of a domain, special values, and how operands lie in memory.

Imports: `types`, `record`, numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..types import DTYPES, DType, Shape, bool_
from .record import Sample

if TYPE_CHECKING:
    Rng = np.random.Generator  # not at run time: importing numpy.random takes as long as all of ir
Make = Callable[[DType, Shape], np.ndarray]  # an array of random elements
ALL = tuple(DTYPES.values())
NUMBERS = ALL[1:]
LONG = 67  # more than two vectors of any dtype and processor, and no multiple of a vector


def of_kinds(kinds: frozenset[str]) -> tuple[DType, ...]:
    return tuple(d for d in ALL if d.kind in kinds)


def limits(dtype: DType) -> tuple[int, int]:
    if dtype is bool_:
        return 0, 1
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def special(dtype: DType) -> np.ndarray:
    """The values of `dtype` at which functions go wrong."""
    if not dtype.is_floating_point:
        low, high = limits(dtype)
        around = {low, low + 1, -2, -1, 0, 1, 2, 3, high - 1, high}
        return np.array(sorted(v for v in around if low <= v <= high), dtype.numpy)
    info = np.finfo(dtype.numpy)
    tiny, huge, eps = float(info.smallest_subnormal), float(info.max), float(info.eps)
    small, normal = [0.0, tiny, 3 * tiny, float(info.tiny), eps], [0.5, 1.0, 1.0 + eps, 1.5, 2.5, 1e5]
    positive = np.array([*small, *normal, huge, math.inf], dtype.numpy)
    return np.concatenate([positive, -positive, [dtype.numpy.type(math.nan)]])


# Where random elements lie. An op names the domain of its operands; x is the first operand, y another.


def _whole(rng: Rng, dtype: DType, shape: Shape, low: int, high: int) -> np.ndarray:
    """Integers (or truth values) in [low, high], as far as `dtype` reaches."""
    least, most = limits(dtype)
    return rng.integers(max(low, least), min(high, most), shape, dtype.numpy, endpoint=True)


def real(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
    if dtype.is_floating_point:
        return np.asarray(rng.normal(0.0, 2.0, shape), dtype.numpy)
    return _whole(rng, dtype, shape, -9, 99)


def _uniform(low: float, high: float) -> Callable[[Rng, DType, Shape], np.ndarray]:
    def draw(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
        return np.asarray(rng.uniform(low, high, shape), dtype.numpy)

    return draw


def _nonzero(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
    """Nothing near a zero, an integer or half of one."""
    sign = np.where(rng.random(shape) < 0.5, -1, 1)
    if dtype.is_floating_point:
        halves = rng.integers(0, 6, shape) / 2
        return np.asarray(sign * (halves + rng.uniform(0.15, 0.35, shape)), dtype.numpy)
    return np.asarray(_whole(rng, dtype, shape, 1, 20) * (1 if dtype.kind == "uint" else sign), dtype.numpy)


def _bits(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
    return _whole(rng, dtype, shape, *limits(dtype))


def _power_base(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
    draw = _uniform(0.2, 4.0) if dtype.is_floating_point else real
    return draw(rng, dtype, shape)


def _exponent(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
    return real(rng, dtype, shape) if dtype.is_floating_point else _whole(rng, dtype, shape, -3, 9)


def _shift_amount(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
    return _whole(rng, dtype, shape, 0, dtype.bits + 2)


DOMAINS = {
    "real": (real, real),
    "positive": (_uniform(0.2, 4.0), _uniform(0.2, 4.0)),
    "nonzero": (_nonzero, _nonzero),
    "unit": (_uniform(-0.9, 0.9), _uniform(-0.9, 0.9)),
    "above one": (_uniform(1.1, 4.0), _uniform(1.1, 4.0)),
    "power": (_power_base, _exponent),
    "bits": (_bits, _bits),
    "shift": (_bits, _shift_amount),
}


# How an operand lies in memory.


def laid_out(make: Make, dtype: DType, shape: Shape, how: str) -> np.ndarray:
    match how:
        case "transposed":
            return make(dtype, shape[::-1]).T
        case "strided":
            return make(dtype, tuple(2 * n for n in shape))[tuple(slice(None, None, 2) for _ in shape)]
        case "reversed":
            return make(dtype, shape)[tuple(slice(None, None, -1) for _ in shape)]
        case "spread":
            return np.broadcast_to(make(dtype, (1,) * len(shape)), shape)
        case _:
            return make(dtype, shape)


LAYOUTS = ("transposed", "strided", "reversed", "spread")
PLACES: tuple[tuple[Shape, tuple[str, ...]], ...] = (
    ((2, 3), ("",)), ((), ("",)), ((0, 3), ("",)), ((LONG,), ("",)),
    ((4, 3), LAYOUTS), ((4, 3), LAYOUTS[1:] + LAYOUTS[:1]), ((LONG,), LAYOUTS[2:] + LAYOUTS[:2]),
    ((4, 3), LAYOUTS[3:] + LAYOUTS[:3]),
)


def everywhere(
    makes: Sequence[Make], dtypes: Sequence[DType], attrs: dict[str, Any], grad: bool
) -> Iterator[Sample]:
    """A sample for each of PLACES; operand i has elements of `makes[i]` and dtype `dtypes[i]`."""
    for shape, how in PLACES:
        args = [
            laid_out(make, dtype, shape, how[i % len(how)])
            for i, (make, dtype) in enumerate(zip(makes, dtypes, strict=True))
        ]
        yield Sample(tuple(args), attrs, grad)


def drawing(rng: Rng, draw: Callable[[Rng, DType, Shape], np.ndarray]) -> Make:
    return lambda dtype, shape: draw(rng, dtype, shape)


def combinations(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every combination of elements, one operand a column."""
    return tuple(grid.reshape(-1) for grid in np.meshgrid(*columns, indexing="ij"))
