"""RMSprop (Tieleman and Hinton, 2012), with the centred variant of Graves (2013).

Imports: `optimizer`, `functional.creation`, `tensors`, `ir.types`.
"""

from __future__ import annotations

from ..functional.creation import tensor, zeros_like
from ..ir.types import f64
from ..tensors import Tensor
from .optimizer import Group, Optimizer, Params, check_at_least_zero


class RMSprop(Optimizer):
    """p -= lr * g / (sqrt(v) + eps), with v the running average of the squared gradient.

    centered: v less the square of the gradient's running average. With momentum the step goes into the
    buffer b = momentum * b + g / (sqrt(v) + eps), and p -= lr * b. weight_decay * p is added to the gradient.
    State: `step`, which counts the updates, `square_avg`, `momentum_buffer`, `grad_avg`.
    """

    def __init__(
        self, params: Params, lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False, *, maximize: bool = False,
    ) -> None:
        check_at_least_zero(
            learning_rate=lr, epsilon_value=eps, momentum_value=momentum, weight_decay_value=weight_decay,
            alpha_value=alpha,
        )
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "maximize": maximize,
        })

    def _update(self, p: Tensor, grad: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            state["step"], state["square_avg"] = tensor(0.0, dtype=f64), zeros_like(p)
            if group["momentum"] > 0:
                state["momentum_buffer"] = zeros_like(p)
            if group["centered"]:
                state["grad_avg"] = zeros_like(p)
        state["step"].add_(1)
        alpha, square = group["alpha"], state["square_avg"]
        if group["weight_decay"] != 0:
            grad = grad + group["weight_decay"] * p
        square.mul_(alpha).add_((1 - alpha) * grad * grad)
        variance = square
        if group["centered"]:
            mean = state["grad_avg"]
            mean.add_((1 - alpha) * (grad - mean))
            variance = square - mean * mean
        direction = grad / (variance.sqrt() + group["eps"])
        if group["momentum"] > 0:
            direction = state["momentum_buffer"].mul_(group["momentum"]).add_(direction)
        p.sub_(group["lr"] * direction)
