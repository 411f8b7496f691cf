"""Convolution, by which its own derivatives are written.

    x[G, N, C, *S], w[G, O, C, *K] -> [G, N, O, *S']     S' = (S - dilation * (K - 1) - 1) // stride + 1

It is the cross-correlation that neural networks call so: out[g, n, o, i] sums w[g, o, c, k] * x[g, n, c, i * stride +
k * dilation] over c and k. Groups are the batch axis G; padding is an op of its own. With N and C, or O and C,
exchanged it is the gradient of the other operand: of w with the cotangent as weights and stride and dilation
exchanged, of x with w flipped over the cotangent between zeros (Dumoulin & Visin, "A guide to convolution arithmetic
for deep learning", 2016).

Imports: `record`, `infer`, `draws`, `errors`, `types`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..types import Shape, TensorType, f32, f64
from .draws import LAYOUTS, NUMBERS, laid_out, real
from .infer import NUMBER, want_kind
from .record import OpDef, Rules, Sample

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
    order = (0, 1, *range(3 + len(kernel), seen.ndim), *range(2, 3 + len(kernel)))
    columns = seen.transpose(order).reshape(g, n * places, terms)
    out: np.ndarray = np.matmul(rows, np.swapaxes(columns, 1, 2))
    return np.swapaxes(out.reshape(g, o, n, *windows), 1, 2)


def exchanged(b: Any, v: Any) -> Any:
    """Axes 1 and 2 exchanged."""
    return b.permute(v, perm=(0, 2, 1, *range(3, b.type_of(v).rank)))


def _kernel_cotangent(b: Any, ct: Any, x: Any, w_type: TensorType, stride: Shape, dilation: Shape) -> Any:
    """Of x, only what some window has seen."""
    shape, windows = b.type_of(x).shape, b.type_of(ct).shape[3:]
    sizes = zip(windows, stride, w_type.shape[3:], dilation, strict=True)
    limit = (*shape[:3], *((n - 1) * s + (k - 1) * d + 1 for n, s, k, d in sizes))
    if limit != shape:
        x = b.slice(x, start=(0,) * len(shape), limit=limit, step=(1,) * len(shape))
    return exchanged(b, b.conv(exchanged(b, x), exchanged(b, ct), stride=dilation, dilation=stride))


def _input_cotangent(b: Any, ct: Any, w: Any, x_type: TensorType, stride: Shape, dilation: Shape) -> Any:
    """`ct` convolved with `w` flipped, each axis in its own way:

    - where w has one element, zeros come between the results;
    - with a stride s, what lies at m * s + p is a result of every s-th element of w from p on, alone: these are
      channels of their own, `phases`, laid side by side along the axis in the end;
    - else zeros come between the elements of `ct`.
    """
    kernel, windows = b.type_of(w).shape[3:], b.type_of(ct).shape[3:]
    phases, steps, spread = [], [], []
    before, rest = [], []
    for size, k, n, s, d in zip(x_type.shape[3:], kernel, windows, stride, dilation, strict=True):
        end = size - (n - 1) * s - 1
        split = k > 1 < s and d == 1
        taps = -(-k // s) if split else k
        phases.append(s if split else 1)
        steps.append(taps)
        rest.append((0, taps * phases[-1] - k, 0))
        spread.append((0, end, s - 1) if k == 1 else (0, 0, 0))
        before.append((taps - 1, -(-size // s) - n, 0) if split else (0, 0, 0) if k == 1 else (d * (k - 1), end, s - 1))
    turned = _by_phase(b, _padded(b, exchanged(b, w), rest), tuple(phases), tuple(steps))
    out = b.conv(_padded(b, ct, before), turned, stride=(1,) * len(stride), dilation=dilation)
    return _padded(b, _joined(b, out, tuple(phases), x_type.shape), spread)


def _by_phase(b: Any, w: Any, phases: Shape, taps: Shape) -> Any:
    """w[G, C, O, *(taps * phases)] flipped, as [G, phases * C, O, *taps]."""
    g, c, o = b.type_of(w).shape[:3]
    axes = len(phases)
    if math.prod(phases) > 1:
        w = b.reshape(w, shape=(g, c, o, *(n for pair in zip(taps, phases, strict=True) for n in pair)))
        w = b.permute(w, perm=(0, *range(4, 3 + 2 * axes, 2), 1, 2, *range(3, 3 + 2 * axes, 2)))
        w = b.reshape(w, shape=(g, math.prod(phases) * c, o, *taps))
    return b.flip(w, axes=tuple(3 + i for i, k in enumerate(taps) if k > 1))


def _joined(b: Any, v: Any, phases: Shape, shape: Shape) -> Any:
    """v[G, N, phases * C, *M] as [G, N, C, *(M * phases)], cut to `shape` where there are phases."""
    if math.prod(phases) == 1:
        return v
    (g, n, _, *m), c, axes = b.type_of(v).shape, shape[2], len(phases)
    v = b.reshape(v, shape=(g, n, *phases, c, *m))
    order = (i for pair in zip(range(3 + axes, 3 + 2 * axes), range(2, 2 + axes), strict=True) for i in pair)
    v = b.permute(v, perm=(0, 1, 2 + axes, *order))
    whole = (g, n, c, *(k * p for k, p in zip(m, phases, strict=True)))
    limit = tuple(size if p > 1 else k for size, k, p in zip(shape, whole, (1, 1, 1, *phases), strict=True))
    v = b.reshape(v, shape=whole)
    return b.slice(v, start=(0,) * len(whole), limit=limit, step=(1,) * len(whole))


def _padded(b: Any, v: Any, zeros: list[tuple[int, int, int]]) -> Any:
    """Zeros before, behind and between the elements along each spatial axis."""
    if not any(map(any, zeros)):
        return v
    low, high, interior = zip(*[(0, 0, 0)] * 3, *zeros, strict=True)
    return b.pad(v, b.zeros(TensorType(b.type_of(v).dtype, ())), low=low, high=high, interior=interior)


# (shape of x, shape of w, stride, dilation)
_CASES: tuple[tuple[Shape, Shape, Shape, Shape], ...] = (
    ((1, 2, 3, 5, 6), (1, 4, 3, 3, 2), (1, 1), (1, 1)), ((2, 1, 2, 7, 8), (2, 3, 2, 3, 3), (2, 3), (1, 2)),
    ((3, 2, 1, 4, 5), (3, 1, 1, 2, 3), (1, 1), (1, 1)), ((1, 3, 4, 3, 3), (1, 2, 4, 1, 1), (2, 1), (1, 1)),
    ((1, 2, 2, 3, 4), (1, 3, 2, 3, 4), (1, 1), (1, 1)), ((1, 1, 3, 4, 4), (1, 1, 3, 2, 2), (1, 1), (1, 1)),
    ((1, 2, 2, 6, 7), (1, 3, 2, 3, 1), (2, 2), (1, 1)), ((1, 1, 2, 9, 8), (1, 2, 2, 4, 5), (3, 2), (1, 1)),
    ((1, 2, 2, 9), (1, 2, 2, 3), (3,), (2,)), ((2, 2, 3), (2, 4, 3), (), ()),
    ((1, 2, 2, 3, 4, 3), (1, 2, 2, 2, 2, 2), (1, 1, 1), (1, 2, 1)), ((1, 2, 3, 67), (1, 18, 3, 5), (1,), (1,)),
    ((1, 0, 3, 4), (1, 2, 3, 2), (1,), (1,)), ((1, 2, 0, 4), (1, 2, 0, 2), (1,), (1,)),
    ((1, 2, 3, 4), (1, 0, 3, 2), (1,), (1,)), ((0, 2, 3, 4), (0, 2, 3, 2), (1,), (1,)),
)


def _samples(rng: Rng) -> Iterator[Sample]:
    for x, w, stride, dilation in _CASES:
        for dtype in (f32, f64):
            operands = real(rng, dtype, x), real(rng, dtype, w)
            yield Sample(operands, {"stride": stride, "dilation": dilation}, dtype is f64)

    def make(dtype: Any, shape: Shape) -> np.ndarray:
        return real(rng, dtype, shape)

    attrs = {"stride": (1, 2), "dilation": (2, 1)}
    for dtype in NUMBERS:
        for how, other in zip(LAYOUTS, (*LAYOUTS[1:], ""), strict=True):
            operands = laid_out(make, dtype, (2, 2, 3, 6, 5), how), laid_out(make, dtype, (2, 4, 3, 2, 3), other)
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
