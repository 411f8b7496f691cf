"""Stochastic gradient descent, with momentum (Sutskever et al., 2013) and Nesterov's variant of it.

Imports: `optimizer`, `tensors`.
"""

from __future__ import annotations

from ..tensors import Tensor
from .optimizer import Group, Optimizer, Params, check_at_least_zero


class SGD(Optimizer):
    """p -= lr * g, with g the gradient plus weight_decay * p.

    With momentum, g is replaced by the buffer b = momentum * b + (1 - dampening) * g (b = g at first), with
    nesterov by g + momentum * b. maximize: go up instead. State: `momentum_buffer`.
    """

    def __init__(
        self, params: Params, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
    ) -> None:
        check_at_least_zero(learning_rate=lr, momentum_value=momentum, weight_decay_value=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        })

    def _update(self, p: Tensor, grad: Tensor, group: Group) -> None:
        if group["weight_decay"] != 0:
            grad = grad + group["weight_decay"] * p
        if group["momentum"] != 0:
            state = self.state[p]
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = grad.detach().clone()
            else:
                buffer.mul_(group["momentum"]).add_((1 - group["dampening"]) * grad)
            grad = grad + group["momentum"] * buffer if group["nesterov"] else buffer
        p.sub_(group["lr"] * grad)
