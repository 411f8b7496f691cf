"""Convolution, by which its own derivatives are written.

    x[G, N, C, *S], w[G, O, C, *K] -> [G, N, O, *S']     S' = (S - dilation * (K - 1) - 1) // stride + 1

It is the cross-correlation that neural networks call so: out[g, n, o, i] sums w[g, o, c, k] * x[g, n, c, i * stride +
k * dilation] over c and k. Groups are the batch axis G; padding is an op of its own. With N and C, or O and C,
exchanged it is the gradient of the other operand: of w with the cotangent as weights and stride and dilation
exchanged, of x with w flipped over the cotangent between zeros (Dumoulin & Visin, "A guide to convolution arithmetic
for deep learning", 2016).

Imports: `record`, `infer`, `sampling`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..types import Shape, TensorType, f32, f64
from .infer import NUMBER, want_kind
from .record import OpDef, Rules, Sample
from .sampling import _HOW, NUMBERS, _laid_out, _real

if TYPE_CHECKING:
    Rng = np.random.Generator

FEW = 64  # windows of one sample: of fewer, the reference makes one product for all samples


def counts(sizes: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> Shape:
    """How many windows lie along each spatial axis."""
    return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True))


def _infer_conv(x: TensorType, w: TensorType, stride: Shape, dilation: Shape) -> TensorType:
    want_kind("conv", NUMBER, x, w)
    if x.dtype is not w.dtype:
        raise DTypeError(f"conv: dtypes differ: {x} by {w}", hint="cast one operand")
    axes = x.rank - 3
    if axes < 0 or w.rank != x.rank or x.shape[0] != w.shape[0]:
        raise ShapeError(f"conv: needs x[G, N, C, ...] and w[G, O, C, ...]: {x} by {w}")
    if x.shape[2] != w.shape[2]:
        raise ShapeError(f"conv: channels differ: {x} by {w}")
    if not len(stride) == len(dilation) == axes or min((*stride, *dilation), default=1) < 1:
        raise ShapeError(f"conv: stride {stride} and dilation {dilation} are not {axes} positive numbers each")
    windows = counts(x.shape[3:], w.shape[3:], stride, dilation)
    if min((*w.shape[3:], *windows), default=1) < 1:
        raise ShapeError(f"conv: no window of {w} with dilation {dilation} lies in {x}")
    return x.with_shape((*x.shape[:2], w.shape[1], *windows))


def _ref_conv(x: np.ndarray, w: np.ndarray, stride: Shape, dilation: Shape) -> np.ndarray:
    """A product with all windows, laid side by side."""
    (g, n, c), o, kernel = x.shape[:3], w.shape[1], w.shape[3:]
    windows = counts(x.shape[3:], kernel, stride, dilation)
    own, spatial = x.strides[:3], x.strides[3:]
    within = tuple(s * d for s, d in zip(spatial, dilation, strict=True))
    between = tuple(s * t for s, t in zip(spatial, stride, strict=True))
    seen = np.lib.stride_tricks.as_strided(x, (g, n, c, *kernel, *windows), (*own, *within, *between), writeable=False)
    terms, places = c * math.prod(kernel), math.prod(windows)
    rows = w.reshape(g, o, terms)
    if places >= FEW:
        by_sample: np.ndarray = np.matmul(rows[:, None], seen.reshape(g, n, terms, places))
        return by_sample.reshape(g, n, o, *windows)
    columns = np.moveaxis(seen, 1, 2 + len(kernel)).reshape(g, terms, n * places)
    out: np.ndarray = np.matmul(rows, columns)
    return np.swapaxes(out.reshape(g, o, n, *windows), 1, 2)


def exchanged(b: Any, v: Any) -> Any:
    """Axes 1 and 2 exchanged."""
    return b.permute(v, perm=(0, 2, 1, *range(3, b.type_of(v).rank)))


def _kernel_cotangent(b: Any, ct: Any, x: Any, w_type: TensorType, stride: Shape, dilation: Shape) -> Any:
    all_places = b.conv(exchanged(b, x), exchanged(b, ct), stride=dilation, dilation=stride)
    got = b.type_of(all_places).shape
    limit = (*got[:3], *w_type.shape[3:])
    if limit != got:  # a stride that does not divide leaves room for more
        all_places = b.slice(all_places, start=(0,) * len(got), limit=limit, step=(1,) * len(got))
    return exchanged(b, all_places)


def _input_cotangent(b: Any, ct: Any, w: Any, x_type: TensorType, stride: Shape, dilation: Shape) -> Any:
    """`ct` between zeros, convolved with `w` flipped. Along axes where w has one element the zeros come after."""
    kernel, windows = b.type_of(w).shape[3:], b.type_of(ct).shape[3:]
    before: list[tuple[int, int, int]] = []
    after: list[tuple[int, int, int]] = []
    for size, k, n, s, d in zip(x_type.shape[3:], kernel, windows, stride, dilation, strict=True):
        reach = d * (k - 1)
        zeros = (reach, size - (n - 1) * s - 1, s - 1)
        before.append(zeros if k > 1 else (0, 0, 0))
        after.append((0, 0, 0) if k > 1 else zeros)
    turned = b.flip(exchanged(b, w), axes=tuple(3 + i for i, k in enumerate(kernel) if k > 1))
    return _padded(b, b.conv(_padded(b, ct, before), turned, stride=(1,) * len(stride), dilation=dilation), after)


def _padded(b: Any, v: Any, zeros: list[tuple[int, int, int]]) -> Any:
    """Zeros before, behind and between the elements along each spatial axis."""
    if not any(map(any, zeros)):
        return v
    low, high, interior = zip(*[(0, 0, 0)] * 3, *zeros, strict=True)
    zero = b.zeros(TensorType(b.type_of(v).dtype, ()))
    return b.pad(v, zero, low=low, high=high, interior=interior)


# (shape of x, shape of w, stride, dilation)
_CASES: tuple[tuple[Shape, Shape, Shape, Shape], ...] = (
    ((1, 2, 3, 5, 6), (1, 4, 3, 3, 2), (1, 1), (1, 1)), ((2, 1, 2, 7, 8), (2, 3, 2, 3, 3), (2, 3), (1, 2)),
    ((3, 2, 1, 4, 5), (3, 1, 1, 2, 3), (1, 1), (1, 1)), ((1, 3, 4, 3, 3), (1, 2, 4, 1, 1), (2, 1), (1, 1)),
    ((1, 2, 2, 3, 4), (1, 3, 2, 3, 4), (1, 1), (1, 1)), ((1, 1, 3, 4, 4), (1, 1, 3, 2, 2), (1, 1), (1, 1)),
    ((1, 2, 2, 9), (1, 2, 2, 3), (3,), (2,)), ((2, 2, 3), (2, 4, 3), (), ()),
    ((1, 2, 2, 3, 4, 3), (1, 2, 2, 2, 2, 2), (1, 1, 1), (1, 2, 1)), ((1, 2, 3, 67), (1, 18, 3, 5), (1,), (1,)),
    ((1, 0, 3, 4), (1, 2, 3, 2), (1,), (1,)), ((1, 2, 0, 4), (1, 2, 0, 2), (1,), (1,)),
    ((1, 2, 3, 4), (1, 0, 3, 2), (1,), (1,)), ((0, 2, 3, 4), (0, 2, 3, 2), (1,), (1,)),
)


def _samples(rng: Rng) -> Iterator[Sample]:
    for x, w, stride, dilation in _CASES:
        for dtype in (f32, f64):
            operands = _real(rng, dtype, x), _real(rng, dtype, w)
            yield Sample(operands, {"stride": stride, "dilation": dilation}, dtype is f64)

    def make(dtype: Any, shape: Shape) -> np.ndarray:
        return _real(rng, dtype, shape)

    attrs = {"stride": (1, 2), "dilation": (2, 1)}
    for dtype in NUMBERS:
        for how, other in zip(_HOW, (*_HOW[1:], ""), strict=True):
            operands = _laid_out(make, dtype, (2, 2, 3, 6, 5), how), _laid_out(make, dtype, (2, 4, 3, 2, 3), other)
            yield Sample(operands, attrs, dtype is f64)
    for dtype in (f32, f64):
        x_array, w_array = make(dtype, (1, 2, 2, 4, 5)), make(dtype, (1, 3, 2, 2, 2))
        x_array[0, 0, 0, 0, 0], x_array[0, 1, 1, 3, 4], w_array[0, 2, 1, 1, 1] = math.inf, math.nan, -math.inf
        yield Sample((x_array, w_array), {"stride": (1, 1), "dilation": (1, 1)}, grad=False)


OPS = (
    OpDef("conv", ("x", "w"), ("stride", "dilation"), _infer_conv, _ref_conv,
          Rules(vjp=(_input_cotangent, _kernel_cotangent),
                jvp=(lambda b, t, w, stride, dilation: b.conv(t, w, stride=stride, dilation=dilation),
                     lambda b, t, x, stride, dilation: b.conv(x, t, stride=stride, dilation=dilation))),
          _samples,
          "sums of w[g, o] * window of x[g, n], windows stride apart, their elements dilation: [g, n, o, ...]"),
)
