"""Hooks on tensors: see or replace a gradient on its way, keep the gradient of a non-leaf.

Imports: `graph`, `state`, `errors`, `tensors`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..errors import TraceError, user_location
from ..state import state
from ..tensors import Tensor
from .graph import AccumulateGrad, RemovableHandle, Watch, gradient_edge


def _watch(t: Tensor, what: str) -> Watch:
    if state.recording is not None:
        error = TraceError(
            f"{what} inside a traced function is not compiled",
            hint="register it on the tensor outside, or run the function under jitgrad.eager()",
        )
        loc = user_location(2)
        raise error.at(loc.excerpt()) if loc else error
    edge = gradient_edge(t)
    if edge is None:
        raise RuntimeError(f"{what}: cannot be used on a tensor that doesn't require gradient")
    node, number = edge
    if isinstance(node, AccumulateGrad):
        t._accumulator = lambda: node  # the leaf keeps its node alive, for the hooks live there
    return node.watch(number)


def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `hook(grad)` whenever the gradient of this tensor is computed; a tensor it returns replaces it.

    Returns a handle with `remove()`. Raises RuntimeError if the tensor does not require grad.
    """
    return RemovableHandle(_watch(self, "register_hook").hooks, hook)


def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this non-leaf in `.grad`. No effect on a leaf."""
    watch = _watch(self, "retain_grad")
    if not self.is_leaf:
        watch.retained = weakref.ref(self)


def tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
    retain_variables: bool | None = None,
) -> None:
    """Add the gradients of this tensor with respect to the graph's leaves to their `.grad`.

    gradient: the cotangent, of this tensor's shape; may be left out for a single element (then 1).
    retain_graph keeps what the graph saved for a second backward (older name: retain_variables);
    create_graph makes the gradients differentiable. Raises RuntimeError as `autograd.backward`.
    """
    from .engine import backward

    keep = retain_graph if retain_graph is not None else retain_variables
    backward(self, gradient, keep, create_graph, inputs=inputs)


METHODS: dict[str, Callable[..., Any]] = {
    "register_hook": register_hook,
    "retain_grad": retain_grad,
    "backward": tensor_backward,
}
