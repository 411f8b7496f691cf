"""How view ops lay memory out: strides (in elements) of a view, from those of what it is a view of.

A recording has no memory, yet must know what shares memory with what: `reshape` is a view or a copy as the
strides say. Results of all other ops lie contiguously, eager and compiled.

Imports: `ir.ops`, `ir.types`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .ir.ops.shape import window_strides
from .ir.types import Shape, contiguous_strides

Strides = tuple[int, ...]


def view_strides(op: str, attrs: Mapping[str, Any], shape: Shape, strides: Strides) -> Strides | None:
    """The strides of view op `op` over memory of `shape` and `strides`; None where it has to copy."""
    match op:
        case "permute":
            return tuple(strides[i] for i in attrs["perm"])
        case "slice":
            return tuple(n * s for n, s in zip(strides, attrs["step"], strict=True))
        case "diagonal":
            return (*strides[:-2], strides[-2] + strides[-1])
        case "unfold":
            return window_strides(strides, attrs["axis"], attrs["step"])
        case "broadcast":
            out = [0] * len(attrs["shape"])
            for i, d in enumerate(attrs["dims"]):
                out[d] = strides[i] if shape[i] == attrs["shape"][d] else 0
            return tuple(out)
        case "reshape":
            return _reshaped(shape, strides, attrs["shape"])
    return None


def _reshaped(shape: Shape, strides: Strides, target: Shape) -> Strides | None:
    """Strides under which the same memory has the shape `target`, in row-major order; None if there are none."""
    if 0 in shape:
        return contiguous_strides(target)
    runs = _runs(shape, strides)
    out: list[int] = []
    size, stride = runs.pop() if runs else (1, 1)
    for n in reversed(target):
        if n == 1:
            out.append(stride)
            continue
        if size == 1 and runs:
            size, stride = runs.pop()
        if size % n:
            return None
        out.append(stride)
        size, stride = size // n, stride * n
    return tuple(reversed(out))


def _runs(shape: Shape, strides: Strides) -> list[tuple[int, int]]:
    """Sizes and strides with axes that follow each other in memory made one, those of size 1 left out."""
    runs: list[tuple[int, int]] = []
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * s:
            runs[-1] = (runs[-1][0] * n, s)
        else:
            runs.append((n, s))
    return runs


def is_contiguous(shape: Sequence[int], strides: Strides) -> bool:
    """Whether elements follow each other in row-major order without gaps."""
    if 0 in shape:
        return True
    want = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and s != want:
            return False
        want *= n
    return True
