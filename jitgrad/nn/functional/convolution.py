"""Convolutions: padding, and the primitive `conv`, of which the groups are the first axis.

Written for any number of spatial axes.

Imports: `functional`, `windows`, `dispatch`, `tensors`, `errors`, `ir.types`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...dispatch import apply, blame
from ...errors import DTypeError, ShapeError
from ...functional.arguments import node_name, want_float, want_tensor
from ...functional.elementwise import clone
from ...functional.shaping import transpose
from ...ir.types import Shape
from ...tensors import Tensor
from .windows import padded, per_axis

Ints = int | Sequence[int]


@node_name("Convolution")
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: Ints | str = 0,
    dilation: Ints = 1, groups: int = 1,
) -> Tensor:
    """Convolution along the last axis of input (N, C, L) or (C, L); see `conv2d`."""
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@node_name("Convolution")
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: Ints | str = 0,
    dilation: Ints = 1, groups: int = 1,
) -> Tensor:
    """The cross-correlation of input (N, C, H, W) or (C, H, W) with weight (out, C / groups, kH, kW).

    bias: (out). padding: zeros on both sides, "valid" for none, "same" (stride 1 only) for a result as
    large as the input. dilation spaces the elements of the window. Raises RuntimeError, ShapeError,
    DTypeError in torch's words.
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def _convolution(
    function: str, axes: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Ints,
    padding: Ints | str, dilation: Ints, groups: int,
) -> Tensor:
    x, w = want_float(function, input), want_tensor(function, weight, "weight", 2)
    if x.ndim not in (axes + 1, axes + 2):
        raise blame(ShapeError(
            f"Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input to {function}, but got input of size: "
            f"{list(x.shape)}"
        ))
    if x.ndim == axes + 1:
        return _convolution(
            function, axes, x.unsqueeze(0), w, bias, stride, padding, dilation, groups
        ).squeeze(0)
    steps = per_axis(function, "stride", stride, axes)
    gaps = per_axis(function, "dilation", dilation, axes)
    _check(x, w, bias, axes, steps, gaps, groups)
    low, high = _padding(function, padding, axes, tuple(w.shape[2:]), steps, gaps)
    x = padded(x, 0.0, low, high)
    _check_fits(x, w, gaps)
    out = apply("conv", *_grouped(x, w, groups), stride=steps, dilation=gaps)
    out = transpose(out, 0, 1).reshape((x.shape[0], w.shape[0], *out.shape[3:]))
    if bias is not None:
        out = out + bias.reshape((-1, *(1,) * axes))
    return out if out._view is None else clone(out)


def _check(
    x: Tensor, w: Tensor, bias: Tensor | None, axes: int, stride: Shape, dilation: Shape, groups: int
) -> None:
    if w.ndim != axes + 2:
        raise blame(ShapeError(f"expected weight with {axes + 2} dimensions, but got weight of size {list(w.shape)}"))
    for t, name in ((w, "weight"), (bias, "bias")):
        if t is not None and t.dtype is not x.dtype:
            raise blame(DTypeError(f"Input type ({x.dtype}) and {name} type ({t.dtype}) should be the same"))
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) <= 0:
        raise RuntimeError("dilation should be greater than zero")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    given = f"Given groups={groups}, weight of size {list(w.shape)}, expected"
    if w.shape[0] % groups:
        raise blame(ShapeError(f"{given} weight to be divisible by {groups} at dimension 0"))
    if x.shape[1] != w.shape[1] * groups:
        raise blame(ShapeError(
            f"{given} input{list(x.shape)} to have {w.shape[1] * groups} channels, but got {x.shape[1]} channels "
            "instead"
        ))
    if bias is not None and tuple(bias.shape) != (w.shape[0],):
        raise blame(ShapeError(
            f"Given weight of size {list(w.shape)}, expected bias to be 1-dimensional with {w.shape[0]} elements, but "
            f"got bias of size {list(bias.shape)} instead"
        ))


def _padding(
    function: str, padding: Ints | str, axes: int, window: Shape, stride: Shape, dilation: Shape
) -> tuple[Shape, Shape]:
    """Zeros before and behind each spatial axis."""
    if isinstance(padding, str):
        if padding == "valid":
            return (0,) * axes, (0,) * axes
        if padding != "same":
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    both = per_axis(function, "padding", padding, axes)
    if min(both) < 0:
        raise RuntimeError("negative padding is not supported")
    return both, both


def _check_fits(x: Tensor, w: Tensor, dilation: Shape) -> None:
    sizes, window = tuple(x.shape[2:]), tuple(w.shape[2:])
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    if any(n < span for n, span in zip(sizes, spans, strict=True)):
        raise blame(ShapeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, sizes))}). Kernel size: "
            f"({' x '.join(map(str, spans))}). Kernel size can't be greater than actual input size"
        ))


def _grouped(x: Tensor, w: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Both with the groups as their first axis."""
    channels, outputs = x.shape[1] // groups, w.shape[0] // groups
    return (
        transpose(x.reshape((x.shape[0], groups, channels, *x.shape[2:])), 0, 1),
        w.reshape((groups, outputs, *w.shape[1:])),
    )
