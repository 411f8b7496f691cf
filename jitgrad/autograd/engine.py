"""Reverse-mode differentiation over the graph: `backward` and `grad`.

Nodes run from the youngest to the oldest. A node's inputs are older than the node, so when it is its turn
all of its cotangents have arrived, and nothing needs counting. Gradients of leaves are collected and
added to `.grad` after the last node has run: an error half way leaves every `.grad` as it was. The loop is
iterative and reentrant; what flows is arrays, IR values or tensors (see `domains`).

Imports: `domains`, `graph`, `dispatch`, `tensors`, `state`, `ir.types`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.types import TensorType
from ..state import state
from ..tensors import Size, Tensor
from .domains import Domain, current_domain
from .graph import AccumulateGrad, Edge, Node, gradient_edge

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Tensor | Sequence[Tensor | None] | None = None,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradients of `tensors` with respect to the graph's leaves to their `.grad`.

    grad_tensors: the cotangent of each tensor, of its shape; None is allowed for a tensor of one element
    and means 1. retain_graph keeps what the graph saved (default: create_graph). create_graph gives the
    gradients a graph of their own. inputs: add to these leaves only. `grad_variables` is the older name
    of grad_tensors. Raises RuntimeError where a tensor does not require grad, a cotangent is missing or of
    another shape, or the graph's buffers have been freed.
    """
    outputs = _listed(tensors)
    given = grad_tensors if grad_tensors is not None else grad_variables
    domain = current_domain(create_graph)
    roots = _roots(outputs, _cotangents(outputs, given), domain)
    only = None
    if inputs is not None:
        only = [_edge_of(t, "one of the inputs") for t in _listed(inputs)]
        if not only:
            raise RuntimeError("'inputs' argument to backward() cannot be empty.")
    keep = create_graph if retain_graph is None else retain_graph
    found = _run(roots, domain, keep, create_graph, only)
    for leaf, gradient in found.leaves.items():
        accumulate(leaf.variable, gradient, domain)
    if inputs is not None:
        for t, edge in zip(_listed(inputs), only or (), strict=True):
            if edge in found.captured and not isinstance(edge[0], AccumulateGrad):
                accumulate(t, found.captured[edge], domain)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; `.grad` is not touched.

    Arguments as for `backward`. An input that `outputs` do not depend on is an error unless allow_unused
    (then None) or materialize_grads (then zeros). Raises RuntimeError as `backward` does.
    """
    outs, ins = _listed(outputs), _listed(inputs)
    if not only_inputs:
        raise ValueError("only_inputs=False is not supported: call backward() to accumulate into the leaves")
    domain = current_domain(create_graph)
    roots = _roots(outs, _cotangents(outs, grad_outputs), domain)
    targets = [_edge_of(t, "One of the differentiated Tensors") for t in ins]
    keep = create_graph if retain_graph is None else retain_graph
    captured = _run(roots, domain, keep, create_graph, targets).captured
    results: list[Tensor | None] = []
    for t, edge in zip(ins, targets, strict=True):
        value = captured.get(edge)
        if value is None and state.recording is not None:
            state.recording.misses()
        if value is not None:
            results.append(domain.wrap(value))
        elif materialize_grads:
            results.append(domain.wrap(domain.builder.zeros(t.type_)))
        elif allow_unused:
            results.append(None)
        else:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
    return tuple(results)


class _Found:
    """What a run delivers: gradients by leaf, and by the edges that were asked for."""

    def __init__(self) -> None:
        self.leaves: dict[AccumulateGrad, Any] = {}
        self.captured: dict[Edge, Any] = {}


def _run(
    roots: list[tuple[Edge, Any]], domain: Domain, keep: bool, create_graph: bool, only: list[Edge] | None
) -> _Found:
    """Run the graph from `roots`; with `only`, no further than those edges need."""
    found = _Found()
    builder = domain.builder
    wanted_edges = set(only) if only is not None else None
    needed = None if wanted_edges is None else _ancestors([e[0] for e, _ in roots], wanted_edges)
    pending: dict[Node, list[Any]] = {}
    heap: list[tuple[int, int, Node]] = []

    def deliver(edge: Edge, ct: Any) -> None:
        node, number = edge
        slots = pending.get(node)
        if slots is None:
            slots = pending[node] = [None] * len(node.result_types)
            if not isinstance(node, AccumulateGrad):
                heapq.heappush(heap, (-node.sequence, id(node), node))
        slots[number] = ct if slots[number] is None else builder.add(slots[number], ct)

    before, state.grad_enabled = state.grad_enabled, create_graph
    try:
        for edge, ct in roots:
            deliver(edge, ct)
        while heap:
            node = heapq.heappop(heap)[2]
            cts = _after_tensor_hooks(node, pending.pop(node), domain)
            if wanted_edges is not None:
                _capture(found, node, cts, wanted_edges)
            if state.recording is not None:
                state.recording.blame(node)
            asked = [e is not None and (needed is None or e[0] in needed) for e in node.edges]
            if any(asked):
                for edge, ct in zip(node.edges, _pull(node, cts, asked, domain), strict=True):
                    if edge is not None and ct is not None:
                        deliver(edge, ct)
            if not keep:
                node.release()
        for node, cts in pending.items():
            assert isinstance(node, AccumulateGrad)
            if state.recording is not None:
                state.recording.reaches(node.variable)
            cts = _after_tensor_hooks(node, cts, domain)
            if wanted_edges is None or (node, 0) in wanted_edges:
                found.leaves[node] = found.captured[(node, 0)] = cts[0]
    finally:
        state.grad_enabled = before
        if state.recording is not None:
            state.recording.blame(None)
    return found


def _capture(found: _Found, node: Node, cts: list[Any], wanted: set[Edge]) -> None:
    for number, ct in enumerate(cts):
        if ct is not None and (node, number) in wanted:
            found.captured[(node, number)] = ct


def _ancestors(start: list[Node], wanted: set[Edge]) -> set[Node]:
    """The nodes on the way from `start` to a wanted edge: those worth running or delivering to."""
    seen: set[Node] = set(start)
    stack = list(seen)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    needed = {e[0] for e in wanted}
    for node in sorted(seen, key=lambda n: n.sequence):  # inputs are older, so they come first
        if any(e is not None and e[0] in needed for e in node.edges):
            needed.add(node)
    return needed


def _pull(node: Node, cts: list[Any], asked: list[bool], domain: Domain) -> Sequence[Any]:
    if node.prehooks:
        for hook in list(node.prehooks.values()):
            replaced = hook(tuple(None if c is None else domain.wrap(c) for c in cts))
            if replaced is not None:
                cts = _several(hook, replaced, node.result_types, domain)
    grads = node.pull(domain, cts, asked)
    if node.hooks:
        outer = tuple(None if c is None else domain.wrap(c) for c in cts)
        for hook in list(node.hooks.values()):
            replaced = hook(tuple(None if g is None else domain.wrap(g) for g in grads), outer)
            if replaced is not None:
                types = [None if e is None else e[0].result_types[e[1]] for e in node.edges]
                grads = _several(hook, replaced, types, domain)
    return grads


def _several(hook: Any, replaced: Any, types: Sequence[TensorType | None], domain: Domain) -> list[Any]:
    """What a hook on a node returned, as handles. Raises RuntimeError or TypeError where it does not fit."""
    if not isinstance(replaced, (tuple, list, Tensor)):
        raise TypeError(f"expected tuple, but hook returned '{type(replaced).__name__}'")
    listed = [replaced] if isinstance(replaced, Tensor) else list(replaced)
    if len(listed) != len(types):
        raise RuntimeError(
            f"hook '{_name(hook)}' has returned an incorrect number of values (got {len(listed)}, but expected "
            f"{len(types)})"
        )
    return [None if g is None else _accepted(hook, g, t, domain) for g, t in zip(listed, types, strict=True)]


def _accepted(hook: Any, replaced: Any, want: TensorType | None, domain: Domain) -> Any:
    """The gradient that a hook returned, as a handle. Raises RuntimeError or TypeError if it is not of type `want`."""
    if not isinstance(replaced, Tensor):
        raise TypeError(f"expected Tensor, but hook returned '{type(replaced).__name__}'")
    if want is not None and replaced.type_ != want:
        what = "size" if replaced.type_.shape != want.shape else "type"
        raise RuntimeError(
            f"hook '{_name(hook)}' has changed the {what} of value (was {want} got {replaced.type_})"
        )
    return domain.unwrap(replaced)


def _name(hook: Any) -> str:
    return getattr(hook, "__name__", repr(hook))


def _after_tensor_hooks(node: Node, cts: list[Any], domain: Domain) -> list[Any]:
    """The cotangents of a node's results after the hooks on those tensors; `retain_grad` is served too."""
    hooked = node.tensor_hooks
    if not hooked:
        return cts
    for number, watch in list(hooked.items()):
        if cts[number] is None:
            continue
        for hook in list(watch.hooks.values()):
            replaced = hook(domain.wrap(cts[number]))
            if replaced is not None:
                cts[number] = _accepted(hook, replaced, node.result_types[number], domain)
        retained = watch.retained() if watch.retained is not None else None
        if retained is not None:
            accumulate(retained, cts[number], domain)
    return cts


def accumulate(leaf: Tensor, gradient: Any, domain: Domain) -> None:
    """`leaf.grad += gradient`, in place where nothing can notice."""
    if state.recording is not None:
        state.recording.accumulates(leaf)
    old = leaf._grad
    if old is None:
        if isinstance(gradient, np.ndarray):
            gradient = gradient.copy()  # a rule may hand one array to several leaves
        leaf._grad = domain.wrap(gradient)
    elif (
        isinstance(gradient, np.ndarray) and isinstance(old._array, np.ndarray) and old._array.flags.writeable
    ):
        np.add(old._array, gradient, out=old._array)
        old._storage.version += 1
    elif state.recording is not None and not domain.records_graph:
        state.recording.write(old, domain.wrap(domain.builder.add(domain.unwrap(old), gradient)), False)
    else:
        leaf._grad = domain.wrap(domain.builder.add(domain.unwrap(old), gradient))


# -- arguments


def _listed(tensors: Tensors) -> list[Tensor]:
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for t in listed:
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor or a sequence of Tensors, got {type(t).__name__}")
    return listed


def _cotangents(outputs: list[Tensor], given: Tensor | Sequence[Tensor | None] | None) -> list[Tensor | None]:
    if given is None:
        return [None] * len(outputs)
    listed = list(given) if isinstance(given, (tuple, list)) else [given]
    if len(listed) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(listed)} gradients")
    return listed


def _roots(outputs: list[Tensor], cts: list[Tensor | None], domain: Domain) -> list[tuple[Edge, Any]]:
    roots = []
    for i, (t, ct) in enumerate(zip(outputs, cts, strict=True)):
        edge = gradient_edge(_standing(t))
        if edge is None:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        roots.append((edge, domain.unwrap(_cotangent(i, t, ct)) if ct is not None else _one(t, domain)))
    return roots


def _one(t: Tensor, domain: Domain) -> Any:
    if t.type_.size != 1:
        raise RuntimeError(
            "grad can be implicitly created only for scalar outputs: this one is "
            f"{t.type_}, so give backward() its gradient, of that shape"
        )
    return domain.builder.constant(1, t.type_)


def _cotangent(i: int, t: Tensor, ct: Tensor) -> Tensor:
    from ..dispatch import cast

    if not isinstance(ct, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(ct).__name__}")
    want: TensorType = t.type_
    if ct.type_.shape != want.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {Size(ct.shape)} and output[{i}] has a shape "
            f"of {Size(want.shape)}."
        )
    return cast(ct, want.dtype)


def _standing(t: Tensor) -> Tensor:
    """Inside a recording, what stands for a tensor from outside."""
    return t if state.recording is None else state.recording.standing(t)


def _edge_of(t: Tensor, what: str) -> Edge:
    edge = gradient_edge(_standing(t))
    if edge is None:
        raise RuntimeError(f"{what} does not require grad")
    return edge
