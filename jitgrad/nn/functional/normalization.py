"""Normalization: over the last axes of a tensor, and to unit length.

Imports: `functional`, `tensors`, `dispatch`, `errors`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...dispatch import blame
from ...errors import ShapeError
from ...functional.arguments import Dims, ints, node_name, want_float
from ...functional.comparison import clamp_min
from ...functional.elementwise import rsqrt
from ...functional.reductions import mean, norm
from ...tensors import Tensor, shape_of


def _normalized_axes(
    function: str, x: Tensor, normalized_shape: Sequence[int], **affine: Tensor | None
) -> tuple[int, ...]:
    """The axes that `normalized_shape` stands for. Raises ShapeError."""
    if isinstance(normalized_shape, int):
        normalized_shape = (normalized_shape,)
    shape = ints(function, "normalized_shape", normalized_shape)
    if not shape:
        raise blame(ShapeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        ))
    for name, t in affine.items():
        if t is not None and shape_of(t) != shape:
            raise blame(ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(t.shape)} and normalized_shape = {list(shape)}"
            ))
    if x.ndim < len(shape) or tuple(x.shape[x.ndim - len(shape) :]) != shape:
        raise blame(ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but "
            f"got input of size{list(x.shape)}"
        ))
    return tuple(range(x.ndim - len(shape), x.ndim))


@node_name("NativeLayerNorm")
def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(input - mean) / sqrt(variance + eps) * weight + bias over the last axes (Ba et al., 2016).

    normalized_shape, the sizes of those axes, is also the shape of weight and bias. The variance is the
    biased one. Raises ShapeError.
    """
    x = want_float("layer_norm", input)
    axes = _normalized_axes("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    centred = x - mean(x, axes, keepdim=True)
    variance = mean(centred * centred, axes, keepdim=True)
    out = centred * rsqrt(variance + eps)
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


@node_name("RmsNorm")
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """input / sqrt(mean(input^2) + eps) * weight over the last axes (Zhang and Sennrich, 2019).

    normalized_shape as in `layer_norm`; eps is the dtype's machine epsilon by default. Raises ShapeError.
    """
    x = want_float("rms_norm", input)
    axes = _normalized_axes("rms_norm", x, normalized_shape, weight=weight)
    smallest = float(np.finfo(x.dtype.numpy).eps) if eps is None else eps
    out = x * rsqrt(mean(x * x, axes, keepdim=True) + smallest)
    return out if weight is None else out * weight


def normalize(input: Tensor, p: float = 2.0, dim: Dims = 1, eps: float = 1e-12) -> Tensor:
    """input divided by its p-norm along `dim`, or by eps where that is larger."""
    x = want_float("normalize", input)
    return x / clamp_min(norm(x, p, dim, keepdim=True), eps)
