"""Sliding windows over spatial axes, as slices: what convolution and pooling are made of.

A window of k positions along one axis is k strided slices. Axes are taken one after another, so a window
of 3 by 3 is 6 slices and not 9. The gradient of a slice is a pad: no scattered writes anywhere.

Imports: `functional`, `dispatch`, `tensors`, `ir.types`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...dispatch import apply, lift
from ...functional.arguments import ints
from ...ir.types import Shape
from ...tensors import Tensor


def per_axis(function: str, name: str, value: int | Sequence[int], axes: int) -> Shape:
    """`value` for each of `axes` spatial axes. Raises RuntimeError for another number of values."""
    listed = ints(function, name, (value,) if isinstance(value, int) else value)
    if len(listed) == 1:
        return listed * axes
    if len(listed) != axes:
        raise RuntimeError(
            f"{function}: expected {name} to be a single integer value or a list of {axes} values, got {value}"
        )
    return listed


def padded(x: Tensor, fill: float, low: Sequence[int], high: Sequence[int]) -> Tensor:
    """`x` with `fill` before and after its last axes."""
    if not any(low) and not any(high):
        return x
    front = (0,) * (x.ndim - len(low))
    return apply(
        "pad", x, lift(fill, x.dtype), low=(*front, *low), high=(*front, *high), interior=(0,) * x.ndim
    )


def slid(x: Tensor, axis: int, start: int, count: int, stride: int) -> Tensor:
    """`count` elements of `axis`, from `start` on, `stride` apart."""
    shape = tuple(x.shape)
    limit = start + (count - 1) * stride + 1 if count else start
    if start == 0 and stride == 1 and limit == shape[axis]:
        return x
    starts, limits, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], limits[axis], steps[axis] = start, limit, stride
    return apply("slice", x, start=tuple(starts), limit=tuple(limits), step=tuple(steps))


def shifts(x: Tensor, axis: int, size: int, stride: int, dilation: int, count: int) -> list[Tensor]:
    """The first element of each of `count` windows along `axis`, the second of each, and so on."""
    return [slid(x, axis, k * dilation, count, stride) for k in range(size)]
