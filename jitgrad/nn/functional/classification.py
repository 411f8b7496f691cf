"""Loss functions on classes and probabilities.

The score of a target class is looked up by gather, so gather's check of bounds is the check of targets.
Reductions are those of `losses`.

Imports: `functional`, `losses`, `activations`, `dispatch`, `tensors`, `errors`.
"""

from __future__ import annotations

import warnings

from ...dispatch import apply, blame, cast
from ...errors import DTypeError, ShapeError
from ...functional.arguments import node_name, want_float, want_int, want_number, want_tensor
from ...functional.comparison import where
from ...functional.elementwise import exp, log, log1p, maximum
from ...functional.reductions import amax, log_softmax, sum
from ...functional.shaping import movedim
from ...tensors import Tensor
from .activations import logsigmoid
from .losses import reduced, reduction_of


@node_name("NllLoss")
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input) at the target class, or averaged over target probabilities.

    input: scores, (C), (N, C) or (N, C, d1, ...). target: class indices, of input's shape without C, or
    probabilities, of input's shape. weight: (C), of each class; "mean" divides by the weights of the
    targets. A sample whose target is ignore_index counts for nothing. label_smoothing mixes the target
    with the uniform distribution.

    Raises ValueError for another batch size, RuntimeError for other shapes and dtypes and for a
    label_smoothing outside [0, 1], BoundsError (an IndexError) for a target that is no class.
    """
    x = want_float("cross_entropy", input)
    want_tensor("cross_entropy", target, "target", 2)
    reduction = reduction_of(reduction, size_average, reduce)
    want_int("cross_entropy", "ignore_index", ignore_index)
    if not 0.0 <= want_number("cross_entropy", "label_smoothing", label_smoothing) <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.shape == x.shape and x.ndim:
        return _soft_cross_entropy(x, target, weight, ignore_index, reduction, label_smoothing)
    _check_classes("cross_entropy", x, target, weight)
    scores = _classes_last(x)
    shifted = scores - amax(scores.detach(), -1, keepdim=True)
    log_total = log(sum(exp(shifted), -1))
    picked = _Targets(target, ignore_index, weight)
    loss = picked.loss(log_total - picked.of(shifted), reduction)
    if label_smoothing == 0.0:
        return loss
    classes = scores.shape[-1]
    if weight is None:
        spread = log_total * classes - sum(shifted, -1)
    else:
        spread = sum((log_total.unsqueeze(-1) - shifted) * weight, -1)
    smooth = picked.reduced(spread, reduction)
    return loss * (1.0 - label_smoothing) + smooth * (label_smoothing / classes)


@node_name("NllLoss")
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """-input at the target class, input being log-probabilities. Arguments and errors of `cross_entropy`,
    with class indices as target."""
    x = want_float("nll_loss", input)
    want_tensor("nll_loss", target, "target", 2)
    reduction = reduction_of(reduction, size_average, reduce)
    _check_classes("nll_loss", x, target, weight)
    picked = _Targets(target, ignore_index, weight)
    return picked.loss(-picked.of(_classes_last(x)), reduction)


def _classes_last(x: Tensor) -> Tensor:
    return movedim(x, 1, -1) if x.ndim > 2 else x


class _Targets:
    """Class indices, those that are ignored replaced by 0, and the weight of each."""

    def __init__(self, target: Tensor, ignore_index: int, weight: Tensor | None) -> None:
        self.ignored = target == ignore_index
        self.classes = where(self.ignored, 0, target)
        self.weights = None if weight is None else apply("gather", weight, self.classes, axis=0, batch=0)

    def of(self, scores: Tensor) -> Tensor:
        """The score of each target, the classes being the last axis."""
        axis = scores.ndim - 1
        return apply("gather", scores, self.classes, axis=axis, batch=axis)

    def loss(self, losses: Tensor, reduction: str) -> Tensor:
        """The loss from that of each sample before weights."""
        return self.reduced(losses if self.weights is None else losses * self.weights, reduction)

    def reduced(self, losses: Tensor, reduction: str) -> Tensor:
        counted = where(self.ignored, 0.0, losses)
        if reduction != "mean":
            return reduced(counted, reduction)
        if self.weights is None:
            total = sum(cast(~self.ignored, losses.dtype))
        else:
            total = sum(where(self.ignored, 0.0, self.weights))
        return sum(counted) / total


def _soft_cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor:
    if not target.dtype.is_floating_point:
        raise blame(DTypeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype}",
            hint="class indices have the shape of input without the class dimension",
        ))
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    axis = 1 if x.ndim > 1 else 0
    classes = x.shape[axis]
    _check_weight("cross_entropy", weight, classes)
    if label_smoothing > 0.0:
        target = target * (1.0 - label_smoothing) + label_smoothing / classes
    terms = log_softmax(x, axis) * target
    if weight is not None:
        terms = terms * weight.reshape((classes,) + (1,) * (x.ndim - axis - 1))
    losses = -sum(terms, axis)
    if reduction == "mean":
        return sum(losses) / (x.numel() / classes)
    return reduced(losses, reduction)


def _check_classes(function: str, x: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Raises unless `target` can hold a class index for each sample of the scores `x`."""
    if x.ndim == 0:
        raise blame(ShapeError(f"{function}: Expected 1 or more dimensions, got {x.type_}"))
    want = (*x.shape[:1], *x.shape[2:]) if x.ndim > 1 else ()
    if x.ndim > 1 and target.ndim and x.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    if tuple(target.shape) != want:
        raise blame(ShapeError(
            f"{function}: Expected target size {list(want)}, got {list(target.shape)}: multi-target not supported"
        ))
    if not target.dtype.is_integer:
        raise blame(DTypeError(
            f"{function}: expected scalar type Long but found {target.dtype} in target",
            hint="class indices are integers, target.long(); probabilities have the shape of input",
        ))
    _check_weight(function, weight, x.shape[1] if x.ndim > 1 else x.shape[0])


def _check_weight(function: str, weight: Tensor | None, classes: int) -> None:
    if weight is not None and tuple(want_tensor(function, weight, "weight", 3).shape) != (classes,):
        raise blame(ShapeError(
            f"{function}: weight tensor should be defined either for all {classes} classes or no classes but got "
            f"weight tensor of shape: {list(weight.shape)}"
        ))


@node_name("BinaryCrossEntropy")
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """-(target log(input) + (1 - target) log(1 - input)), input being probabilities.

    Logarithms are at least -100, as in torch. weight multiplies the loss of each element. Raises
    ValueError where shapes differ. An input outside [0, 1] gives nan.
    """
    x = want_float("binary_cross_entropy", input)
    reduction = reduction_of(reduction, size_average, reduce)
    if x.shape != want_tensor("binary_cross_entropy", target, "target", 2).shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({x.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    # At the ends log has no finite slope. There, as in torch, logarithms are at least -100, and the slope is
    # (input - target) / (input (1 - input)) with a divisor of at least 1e-12.
    ends = x * (1.0 - x) < 1e-12
    inside, fixed = where(ends, 0.5, x), x.detach()
    loss = (target - 1.0) * log1p(-inside) - target * log(inside)
    at_ends = (target - 1.0) * maximum(log1p(-fixed), -100.0) - target * maximum(log(fixed), -100.0)
    slope = ((x - target) * 1e12).detach()
    loss = where(ends, at_ends + (x - fixed) * slope, loss)
    return reduced(loss if weight is None else loss * weight, reduction)


@node_name("BinaryCrossEntropyWithLogits")
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input), without overflow. pos_weight multiplies the loss of positive
    targets, weight that of each element; both broadcast. Raises ValueError where shapes differ."""
    x = want_float("binary_cross_entropy_with_logits", input)
    reduction = reduction_of(reduction, size_average, reduce)
    if x.shape != want_tensor("binary_cross_entropy_with_logits", target, "target", 2).shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({x.shape})")
    log_yes = logsigmoid(x)
    if pos_weight is not None:
        want_tensor("binary_cross_entropy_with_logits", pos_weight, "pos_weight", 7)
        log_yes = log_yes * ((pos_weight - 1.0) * target + 1.0)
    loss = (1.0 - target) * x - log_yes
    return reduced(loss if weight is None else loss * weight, reduction)


@node_name("KlDiv")
def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:
    """target * (log target - input), input being log-probabilities; 0 where target is 0.

    With log_target, target holds log-probabilities too. reduction "batchmean" divides the sum by
    input.size(0), which is what the divergence means; "mean" divides by the number of elements.
    """
    batchmean = reduction == "batchmean" and size_average is None and reduce is None
    reduction = "sum" if batchmean else reduction_of(reduction, size_average, reduce)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. 'batchmean' "
            "divides only by the batch size, and aligns with the KL div math definition.", stacklevel=3,
        )
    want_tensor("kl_div", input)
    want_tensor("kl_div", target, "target", 2)
    if log_target:
        loss = exp(target) * (target - input)
    else:
        zero = target == 0
        loss = where(zero, 0.0, target * log(where(zero, 1.0, target))) - target * input
    total = reduced(loss, reduction)
    return total / input.shape[0] if batchmean and input.ndim else total
