"""`value_and_grad` and `grad`: functions that return gradients, in any mode.

They call the function on fresh leaves over the arguments' data and differentiate with the one engine.
Eagerly that happens at once; inside a traced function, or under `trace`, forward and backward become one
compiled program. Arguments need not require grad; the same tensor passed twice gets a gradient for each.

Imports: `autograd`, `pytree`, `tensors`, `state`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd.engine import grad as differentiate
from .pytree import flatten, paths, tree_map, unflatten
from .state import state
from .tensors import Tensor, again


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns `(value, grads)` of `f`, which returns a scalar tensor.

    argnums: position of the argument to differentiate by, or several; each may be a nested structure of
    floating-point tensors. grads has the argument's structure; it is a tuple whenever argnums is a
    sequence. has_aux: `f` returns `(scalar, aux)`, and the result is `((value, aux), grads)`. Results do
    not require grad; inside another value_and_grad or grad they are differentiable, to any order.
    Raises TypeError for positions that are not integers, an argument that is not floating point and a result
    that is no pair with has_aux; RuntimeError for a result that is not a scalar tensor, IndexError for a
    position that was not passed, ValueError for an argument named twice.
    """
    several = isinstance(argnums, Sequence)
    positions = _positions(argnums if several else (argnums,))

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nested = state.transforms > 0 and state.grad_enabled
        called, leaves, structures = _fresh_leaves(f, positions, args, nested)
        before, state.grad_enabled = state.grad_enabled, True
        state.transforms += 1
        try:
            returned = f(*called, **kwargs)
            value, aux = _pair(f, returned) if has_aux else (returned, None)
            grads = _gradients(f, value, leaves, nested)
        finally:
            state.grad_enabled = before
            state.transforms -= 1
        if not nested:
            value, aux = tree_map(_detached, (value, aux))
        rest = iter(grads)
        trees = [unflatten(s, [next(rest) for _ in paths(s)]) for s in structures]
        result = tuple(trees) if several else trees[0]
        return ((value, aux), result) if has_aux else (value, result)

    return wrapped


def grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """As `value_and_grad`, but the function returns the gradients only (`(grads, aux)` with has_aux)."""
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapped


def _positions(argnums: Sequence[Any]) -> tuple[int, ...]:
    try:
        return tuple([operator.index(p) for p in argnums])
    except TypeError:
        raise TypeError(f"argnums must be positions of arguments, got {argnums!r}") from None


def _pair(f: Callable[..., Any], returned: Any) -> tuple[Any, Any]:
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(f"with has_aux=True, {_name(f)} must return a pair (value, aux), got {_described(returned)}")
    return returned


def _described(x: Any) -> str:
    if isinstance(x, tuple):
        return f"a tuple of {len(x)}"
    return str(x.type_) if isinstance(x, Tensor) else type(x).__name__


def _fresh_leaves(
    f: Callable[..., Any], positions: Sequence[int], args: tuple[Any, ...], nested: bool
) -> tuple[list[Any], list[Tensor], list[Any]]:
    """The arguments with those at `positions` replaced by leaves that require grad, and those leaves."""
    called, leaves, structures = list(args), [], []
    taken: set[int] = set()
    for p in positions:
        if not -len(args) <= p < len(args):
            raise IndexError(
                f"argnums names argument {p}, but {_name(f)} was called with {len(args)} positional arguments"
            )
        if p % len(args) in taken:
            raise ValueError(f"argnums names argument {p % len(args)} of {_name(f)} twice: {tuple(positions)}")
        taken.add(p % len(args))
        parts, structure = flatten(args[p])
        fresh = [
            _leaf(x, path, nested) for x, path in zip(parts, paths(structure, f"argument {p}"), strict=True)
        ]
        called[p] = unflatten(structure, fresh)
        leaves.extend(fresh)
        structures.append(structure)
    return called, leaves, structures


def _leaf(x: Any, path: str, nested: bool) -> Tensor:
    """A leaf over the data of `x`; inside another transform a node over `x`, so that its gradient goes on."""
    from .functional.creation import as_tensor

    if isinstance(x, (float, np.ndarray)) or (isinstance(x, Tensor) and x._weak):
        x = as_tensor(x)
    if not isinstance(x, Tensor):
        raise TypeError(f"value_and_grad: {path} must be a floating-point tensor, got {type(x).__name__}")
    if not x.dtype.is_floating_point:
        raise TypeError(f"value_and_grad: {path} must be a floating-point tensor, got {x.type_}")
    if nested and x._requires_grad:
        return x.view_as(x)
    if state.recording is not None:
        leaf = state.recording.alias(x)
    else:
        leaf = again(x)
        leaf._view = x._view
    leaf._requires_grad = True
    return leaf


def _gradients(f: Callable[..., Any], value: Any, leaves: list[Tensor], nested: bool) -> list[Any]:
    if not isinstance(value, Tensor) or value.type_.size != 1:
        raise RuntimeError(
            f"value_and_grad: {_name(f)} must return a scalar tensor (one with scalar outputs), got {_described(value)}"
        )
    if not value._requires_grad:
        return [t.new_zeros(t.shape) for t in leaves]
    return list(differentiate(value, leaves, create_graph=nested, materialize_grads=True))


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) and x.requires_grad else x


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", repr(f))
