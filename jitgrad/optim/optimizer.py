"""`Optimizer`: what all optimizers share.

Parameters come in groups, each a dict with `params` and the options of its updates; options that a group
does not give are the optimizer's defaults. `state[p]` is a dict of what the method remembers of parameter
p, in tensors, so that a traced step reads and writes it like any other tensor. Subclasses write `_update`.

Imports: `tensors`, `autograd.modes`.
"""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ..autograd.modes import enable_grad, no_grad
from ..tensors import Tensor

Group = dict[str, Any]
Params = Iterable[Tensor] | Iterable[Group]


class Optimizer:
    """Base class of optimizers.

    params: the tensors to optimize, or dicts that describe groups of them. defaults: options for groups
    that do not give their own. Raises TypeError for what is no list of tensors or dicts, ValueError for
    an empty one, for a tensor that is not a leaf and for one that is in two groups.
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got Tensor"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        listed: list[Any] = list(params)
        if not listed:
            raise ValueError("optimizer got an empty parameter list")
        for group in listed if isinstance(listed[0], dict) else [{"params": listed}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Also optimize the tensors in `param_group["params"]`, with the options that stand beside."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs. Please use a list instead."
            )
        listed = [params] if isinstance(params, Tensor) else list(params)
        for p in listed:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        if len(set(listed)) != len(listed):
            warnings.warn("optimizer contains a parameter group with duplicate parameters", stacklevel=3)
        if not set(listed).isdisjoint(chain.from_iterable(g["params"] for g in self.param_groups)):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append({**self.defaults, **param_group, "params": listed})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = p.grad.detach()
                    p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. closure: computes the loss again (gradients
        included); it is called first and its result returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self._update(p, -p.grad if group["maximize"] else p.grad, group)
        return loss

    def _update(self, p: Tensor, grad: Tensor, group: Group) -> None:
        """Move `p` down along `grad`, which must not be changed in place; remember in `self.state[p]`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to update a parameter")

    def state_dict(self) -> dict[str, Any]:
        """The state and the options, with parameters replaced by their positions; tensors are shared."""
        positions = {p: i for i, p in enumerate(self._parameters())}
        groups = [{**g, "params": [positions[p] for p in g["params"]]} for g in self.param_groups]
        return {"state": {positions[p]: s for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned: copies of the options, and of the state the tensors themselves
        where they have the parameter's dtype. Raises ValueError if the groups differ in number or size."""
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(groups, self.param_groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        saved = chain.from_iterable(g["params"] for g in groups)
        parameters = dict(zip(saved, self._parameters(), strict=True))
        self.state = defaultdict(dict)
        for position, entries in state_dict["state"].items():
            p = parameters[position]
            self.state[p] = {key: _taken_over(key, value, p) for key, value in entries.items()}
        self.param_groups = [
            {**copy.deepcopy({k: v for k, v in g.items() if k != "params"}), "params": own["params"]}
            for g, own in zip(groups, self.param_groups, strict=True)
        ]

    def _parameters(self) -> list[Tensor]:
        return list(dict.fromkeys(chain.from_iterable(g["params"] for g in self.param_groups)))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _taken_over(key: str, value: Any, p: Tensor) -> Any:
    """A loaded entry; a tensor in the parameter's dtype, unless it is the step count. As in torch not copied if it has
    that: who goes on with both optimizers copies the state first."""
    if not isinstance(value, Tensor) or key == "step" or not value.dtype.is_floating_point:
        return value
    return value.to(p.dtype)


def check_at_least_zero(**options: Any) -> None:
    """Raises ValueError for a number below zero; keyword names, as in the message, with blanks for `_`."""
    for name, value in options.items():
        if not isinstance(value, Tensor) and not value >= 0:
            raise ValueError(f"Invalid {name.replace('_', ' ')}: {value}")
