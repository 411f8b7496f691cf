"""Pooling over windows of spatial axes, one axis after the other.

Imports: `functional`, `windows`, `dispatch`, `tensors`, `errors`, `ir.types`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dispatch import blame
from ...errors import ShapeError
from ...functional.arguments import named, node_name, want_float, want_tensor
from ...functional.comparison import isnan, where
from ...functional.creation import tensor
from ...functional.elementwise import clone
from ...functional.linalg import matmul
from ...functional.reductions import mean
from ...functional.shaping import expand, movedim
from ...ir.types import i64
from ...tensors import Tensor
from .windows import padded, per_axis, shifts

Ints = int | Sequence[int]
AXES = 2


def max_pool2d(
    input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:
    """The largest element of each window of (N, C, H, W) or (C, H, W); nan wins.

    stride is kernel_size by default. Of equal elements the first, in row-major order, gets the gradient.
    ceil_mode: a last window that begins inside the input, but does not end there, counts too. return_indices: also
    the positions of those elements in the flattened H and W, int64. Raises RuntimeError, ShapeError in torch's words.
    """
    x = want_tensor("max_pool2d", input)
    windows = _Windows("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    lowest = -math.inf if x.dtype.is_floating_point else int(np.iinfo(x.dtype.numpy).min)
    places = _places(x, windows) if return_indices else None
    x = padded(x, lowest, windows.low, windows.high)
    # The last axis first: then the row-major first of equal elements is the first of both rounds.
    for axis in reversed(range(AXES)):
        x, *rest = windows.along(x, axis)
        if places is not None:
            places, *positions = windows.along(places, axis)
        for k, other in enumerate(rest):
            larger = other > x
            if x.dtype.is_floating_point:
                larger = larger | isnan(other)
            x = where(larger, other, x)
            if places is not None:
                places = where(larger, positions[k], places)
    out = named("MaxPool2DWithIndices", x if x._view is None and x is not input else clone(x), (input,))
    return out if places is None else (out, clone(places))


def _places(x: Tensor, windows: _Windows) -> Tensor:
    """For each element of the padded `x` its position in the flattened H and W, or the nearest one's."""
    rows, columns = (
        np.clip(np.arange(-lo, n + hi), 0, n - 1)
        for n, lo, hi in zip(x.shape[-AXES:], windows.low, windows.high, strict=True)
    )
    plane = tensor(rows[:, None] * x.shape[-1] + columns, i64)
    return expand(plane, (*x.shape[:-AXES], *plane.shape))


@node_name("AvgPool2D")
def avg_pool2d(
    input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (N, C, H, W) or (C, H, W).

    stride is kernel_size by default. count_include_pad: the zeros of the padding count as elements.
    divisor_override: divide by it instead. ceil_mode as in `max_pool2d`. Raises RuntimeError, ShapeError.
    """
    x = want_float("avg_pool2d", input)
    windows = _Windows("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    sizes = tuple(x.shape[-AXES:])
    x = padded(x, 0.0, windows.low, windows.high)
    for axis in range(AXES):
        first, *rest = windows.along(x, axis)
        x = first
        for other in rest:
            x = x + other
    if divisor_override is not None:
        return x / divisor_override
    lengths = [windows.lengths(axis, sizes[axis], count_include_pad) for axis in range(AXES)]
    counts = np.multiply.outer(*lengths)
    if counts.size and (counts == counts.flat[0]).all():
        return x / float(counts.flat[0])
    return x / tensor(counts, x.dtype)


class _Windows:
    """Where the windows of a pooling lie."""

    def __init__(
        self, function: str, x: Tensor, kernel_size: Ints, stride: Ints | None, padding: Ints, dilation: Ints,
        ceil_mode: bool,
    ) -> None:
        if x.ndim not in (AXES + 1, AXES + 2):
            raise blame(ShapeError(f"{function}: Expected 3D or 4D input, but got {x.type_}"))
        self.kernel = per_axis(function, "kernel_size", kernel_size, AXES)
        given = stride is not None and stride != ()
        self.stride = per_axis(function, "stride", stride, AXES) if given else self.kernel
        self.low = per_axis(function, "padding", padding, AXES)
        self.dilation = per_axis(function, "dilation", dilation, AXES)
        if min(self.kernel) <= 0 or min(self.dilation) <= 0:
            raise RuntimeError(f"{function}: kernel size and dilation should be greater than zero")
        if min(self.stride) <= 0:
            raise RuntimeError("stride should not be zero")
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        for pad, span in zip(self.low, self.kernel, strict=True):
            if pad < 0 or pad > span // 2:
                raise RuntimeError(
                    f"pad should be at most half of effective kernel size, but got pad={pad}, "
                    f"kernel_size={span}"
                )
        sizes = x.shape[-AXES:]
        self.counts = tuple(map(_count, sizes, self.low, spans, self.stride, (ceil_mode,) * AXES))
        if min(self.counts) < 1:
            raise blame(ShapeError(
                f"Given input size: ({'x'.join(map(str, x.shape[-3:]))}). Calculated output size: "
                f"({'x'.join(map(str, (x.shape[-3], *self.counts)))}). Output size is too small"
            ))
        ends = [(n - 1) * s + span for n, s, span in zip(self.counts, self.stride, spans, strict=True)]
        self.high = tuple(max(end - size - pad, 0) for end, size, pad in zip(ends, sizes, self.low, strict=True))

    def along(self, x: Tensor, axis: int) -> list[Tensor]:
        """The elements of the windows along spatial axis `axis`: all first ones, all second ones, ..."""
        return shifts(
            x, x.ndim - AXES + axis, self.kernel[axis], self.stride[axis], self.dilation[axis], self.counts[axis]
        )

    def lengths(self, axis: int, size: int, include_pad: bool) -> np.ndarray:
        """How many elements each window along `axis` has, in the input or in the padded input."""
        pad = self.low[axis]
        start = np.arange(self.counts[axis]) * self.stride[axis] - pad
        end = np.minimum(start + self.kernel[axis], size + pad)
        return end - start if include_pad else np.minimum(end, size) - np.maximum(start, 0)


def _count(size: int, pad: int, span: int, stride: int, ceil_mode: bool) -> int:
    """The number of windows along an axis; with ceil_mode the last must begin in the input or before it."""
    room = size + 2 * pad - span
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + pad else count


@node_name("AdaptiveAvgPool2D")
def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean over windows that cut H and W of (N, C, H, W) or (C, H, W) into output_size parts.

    Part i of n along an axis of size s is [floor(i s / n), ceil((i + 1) s / n)). None keeps a size. Raises
    ShapeError.
    """
    x = want_float("adaptive_avg_pool2d", input)
    if x.ndim not in (AXES + 1, AXES + 2):
        raise blame(ShapeError(f"adaptive_avg_pool2d(): Expected 3D or 4D tensor, but got {list(x.shape)}"))
    asked = (output_size,) * AXES if isinstance(output_size, int) else tuple(output_size)
    if len(asked) != AXES:
        raise RuntimeError(f"adaptive_avg_pool2d: output_size must be {AXES}")
    for axis, parts in zip(range(x.ndim - AXES, x.ndim), asked, strict=True):
        if parts is not None:
            x = _adapted(x, axis, parts)
    return clone(x) if x is input else x


def _adapted(x: Tensor, axis: int, parts: int) -> Tensor:
    size = x.shape[axis]
    if parts < 0 or size == 0:
        raise blame(ShapeError(f"adaptive_avg_pool2d: cannot make {parts} parts of an axis of size {size}"))
    if parts and size % parts == 0:
        cut = x.reshape((*x.shape[:axis], parts, size // parts, *x.shape[axis + 1 :]))
        return mean(cut, axis + 1)
    part, place = np.arange(parts)[:, None], np.arange(size)
    inside = (part * size // parts <= place) & (place < -(-(part + 1) * size // parts))
    means = (inside / inside.sum(1, keepdims=True)).T
    return movedim(matmul(movedim(x, axis, -1), tensor(means, x.dtype)), -1, axis)
