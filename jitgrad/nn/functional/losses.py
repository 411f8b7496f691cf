"""Loss functions on real targets, and what all loss functions share; `classification` has the others.

All take torch's `reduction`, and the older pair `size_average`, `reduce` in torch's places.

Imports: `functional`, `tensors`, `dispatch`, `errors`.
"""

from __future__ import annotations

import warnings
from typing import Any

from ...dispatch import blame, cast, result_dtype
from ...errors import DTypeError
from ...functional.arguments import node_name, want_number, want_tensor
from ...functional.comparison import where
from ...functional.elementwise import absolute
from ...functional.reductions import mean, sum
from ...tensors import Tensor


def reduction_of(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction meant, by the older arguments where they are given. Raises ValueError."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=4,
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """`loss` summed, averaged or as it is."""
    if reduction == "mean":
        return mean(loss)
    return sum(loss) if reduction == "sum" else loss


def _pair(function: str, input: Any, target: Any) -> None:
    want_tensor(function, input)
    want_tensor(function, target, "target", 2)
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=4,
        )


def _weighted(function: str, loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """`loss` reduced; "mean" divides by the sum of weights where they are given."""
    if weight is None:
        return reduced(loss, reduction)
    if want_tensor(function, weight, "weight", None).shape != loss.shape:
        raise ValueError("Inputs and weight must have the same size.")
    weighted = loss * weight
    return sum(weighted) / sum(weight) if reduction == "mean" else reduced(weighted, reduction)


@node_name("MseLoss")
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2. weight, of the loss's shape, multiplies it; "mean" then divides by its sum.

    Raises DTypeError if neither is floating point.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    _pair("mse_loss", input, target)
    dtype = result_dtype(input, target)
    if not dtype.is_floating_point:
        raise blame(DTypeError(f'"mse_loss" is not implemented for {dtype}', hint="call .float() on it"))
    difference = cast(input, dtype) - cast(target, dtype)
    return _weighted("mse_loss", difference * difference, weight, reduction)


@node_name("L1Loss")
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    """|input - target|; its derivative where they are equal is 0. weight as in `mse_loss`."""
    reduction = reduction_of(reduction, size_average, reduce)
    _pair("l1_loss", input, target)
    return _weighted("l1_loss", absolute(input - target), weight, reduction)


@node_name("SmoothL1Loss")
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:
    """d^2 / (2 beta) where the distance d is below beta, d - beta / 2 elsewhere (Girshick, 2015).

    beta of 0 gives l1_loss. Raises RuntimeError for a negative one.
    """
    if want_number("smooth_l1_loss", "beta", beta) < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, size_average, reduce, reduction)
    reduction = reduction_of(reduction, size_average, reduce)
    _pair("smooth_l1_loss", input, target)
    distance = absolute(input - target)
    loss = where(distance < beta, distance * distance * (0.5 / beta), distance - 0.5 * beta)
    return reduced(loss, reduction)


@node_name("HuberLoss")
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d^2 / 2 where the distance d is at most delta, delta * (d - delta / 2) elsewhere (Huber, 1964).

    weight as in `mse_loss`. Raises RuntimeError unless delta is positive.
    """
    if want_number("huber_loss", "delta", delta) <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    reduction = reduction_of(reduction)
    _pair("huber_loss", input, target)
    distance = absolute(input - target)
    loss = where(distance <= delta, distance * distance * 0.5, (distance - 0.5 * delta) * delta)
    return _weighted("huber_loss", loss, weight, reduction)
