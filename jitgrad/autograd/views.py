"""Views and the graph: what a write through a view, or under one, does to who comes from whom.

A write to a view is a write to its base: the base becomes "the base with that region replaced"
(`replaced`), and the view is taken from it anew. Every other view of the base follows when next used, for
it remembers where the base was in the graph when it took its own place (`View.node`).

Imports: `domains`, `dispatch`, `tensors`, `state`, `errors`, `ir.ops.shape`, `ir.types`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dispatch import apply, lift
from ..errors import InplaceError
from ..ir.ops.shape import inverse_permutation, laid_on_diagonal, window_places
from ..ir.types import bool_
from ..state import state
from ..tensors import Tensor, shape_of
from .domains import TensorBuilder

OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory "
    "location. Please clone() the tensor before performing the operation."
)
Step = tuple[str, dict[str, Any]]


def overlaps(op: str, attrs: Mapping[str, Any]) -> bool:
    """Whether a view op shows elements in several places."""
    return op == "unfold" and attrs["step"] < attrs["size"]


def follow(t: Tensor) -> None:
    """Take the place of the view `t` in the graph from its base again. A leaf stays one."""
    view = t._view
    assert view is not None
    view.node = view.base._node
    if t._requires_grad and t._node is None:
        return
    before, state.grad_enabled = state.grad_enabled, True
    try:
        fresh = view.base
        for op, attrs in view.steps:
            fresh = apply(op, fresh, **attrs)
    finally:
        state.grad_enabled = before
    t._node, t._output_nr, t._requires_grad = fresh._node, fresh._output_nr, fresh._requires_grad


def replaced(base: Tensor, steps: Sequence[Step], value: Tensor) -> Tensor:
    """`base` with what `steps` view of it replaced by `value`, of the view's type."""
    sources = [base]
    for op, attrs in steps[:-1]:
        sources.append(apply(op, sources[-1], **attrs))
    for (op, attrs), source in zip(reversed(steps), reversed(sources), strict=True):
        value = _undone(op, attrs, source, value)
    return value


def _undone(op: str, attrs: dict[str, Any], source: Tensor, value: Tensor) -> Tensor:
    """`source` with what one view op shows of it replaced by `value`."""
    shape = shape_of(source)
    if op == "permute":
        return apply("permute", value, perm=inverse_permutation(attrs["perm"]))
    if op == "unfold":
        if overlaps(op, attrs):
            raise InplaceError(OVERLAP)
        places, order = window_places(TensorBuilder(), attrs["axis"], attrs["step"], shape_of(value))
        return apply("scatter", source, places, apply("permute", value, perm=order), axis=attrs["axis"], batch=0)
    if op not in ("slice", "diagonal"):
        if value.type_.size != source.type_.size:  # a broadcast that repeats
            raise InplaceError(OVERLAP)
        return apply("reshape", value, shape=shape)
    if not value.type_.size:
        return source
    if op == "diagonal":
        on, rows = laid_on_diagonal(TensorBuilder(), value, source.type_, attrs["offset"])
        return apply("select", on, rows, source)
    interior = tuple(s - 1 for s in attrs["step"])
    high = tuple(
        n - lo - ((m - 1) * s + 1)
        for n, lo, s, m in zip(shape, attrs["start"], attrs["step"], value.shape, strict=True)
    )
    window = {"low": attrs["start"], "high": high, "interior": interior}
    inside = apply("pad", lift(True, bool_, shape_of(value)), lift(False, bool_), **window)
    return apply("select", inside, apply("pad", value, lift(0, value.dtype), **window), source)


def check_write(t: Tensor, result: Tensor) -> None:
    """Raises InplaceError where the graph forbids writing `result` into the view `t`."""
    view = t._view
    assert view is not None
    base = view.base
    if base._requires_grad and base.grad_fn is None:
        raise InplaceError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation.",
            hint="write under jitgrad.no_grad(), or to a view of a computed tensor",
        )
    if not view.follows and (base._requires_grad or result._requires_grad):
        raise InplaceError(
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled.",
            hint="make the view where the graph is recorded, or write under jitgrad.no_grad()",
        )


def written(t: Tensor, result: Tensor) -> None:
    """Bring base and view up to date in the graph after `result` was written into the view `t`."""
    view = t._view
    assert view is not None
    base = view.base
    if not (base._requires_grad or result._requires_grad):
        return
    moved = replaced(base, view.steps, result)
    base._node, base._output_nr, base._requires_grad = moved._node, moved._output_nr, moved._requires_grad
    follow(t)
