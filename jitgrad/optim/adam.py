"""Adam (Kingma and Ba, 2015), AMSGrad (Reddi et al., 2018), AdamW (Loshchilov and Hutter, 2019).

Imports: `optimizer`, `functional`, `tensors`, `ir.types`.
"""

from __future__ import annotations

from ..functional.creation import tensor, zeros_like
from ..functional.elementwise import maximum
from ..ir.types import f64
from ..tensors import Tensor
from .optimizer import Group, Optimizer, Params, check_at_least_zero


class Adam(Optimizer):
    """p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), with m and v the running averages of
    the gradient and of its square.

    weight_decay * p is added to the gradient, or, with decoupled_weight_decay, p is first scaled by
    1 - lr * weight_decay. amsgrad: v is replaced by the largest v so far. maximize: go up instead.
    State: `step`, `exp_avg`, `exp_avg_sq`, `max_exp_avg_sq`.
    """

    def __init__(
        self, params: Params, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_at_least_zero(learning_rate=lr, epsilon_value=eps, weight_decay_value=weight_decay)
        for i, beta in enumerate(betas):
            if not 0 <= beta < 1:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay,
        })

    def _update(self, p: Tensor, grad: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            # float64, for 1 - beta2^t loses half of float32's digits in the first steps.
            state["step"] = tensor(0.0, dtype=f64)
            state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = zeros_like(p)
        lr, (beta1, beta2) = group["lr"], group["betas"]
        step, average, square = state["step"], state["exp_avg"], state["exp_avg_sq"]
        step.add_(1)
        if group["weight_decay"] != 0:
            if group["decoupled_weight_decay"]:
                p.mul_(1 - lr * group["weight_decay"])
            else:
                grad = grad + group["weight_decay"] * p
        average.add_((1 - beta1) * (grad - average))
        square.mul_(beta2).add_((1 - beta2) * grad * grad)
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"].copy_(maximum(state["max_exp_avg_sq"], square))
        denominator = square.sqrt() / (1 - beta2**step).sqrt() + group["eps"]
        p.sub_(lr / (1 - beta1**step) * average / denominator)


class AdamW(Adam):
    """Adam whose weight decay scales the parameter and does not enter the gradient."""

    def __init__(
        self, params: Params, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True
        )
