"""`Function`: operations whose derivative the user writes.

    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x ** 3
        @staticmethod
        def backward(ctx, grad):
            x, = ctx.saved_tensors
            return 3 * x ** 2 * grad
    y = Cube.apply(x)

`ctx` is the graph node itself (`CubeBackward`), as in torch. Inside a recording `backward` is recorded
too, at once (`custom`).

Imports: `custom`, `graph`, `dispatch`, `tensors`, `state`, `errors`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ..dispatch import cast
from ..errors import InplaceError
from ..state import state
from ..tensors import Tensor, again
from .custom import record_backward
from .graph import Node, Saved, gradient_edge, second_backward


class FunctionNode(Node):
    """The node of one application of a Function, and the `ctx` of its forward and backward."""

    __slots__ = (
        "__dict__",
        "_dirty",
        "_inputs",
        "_materialize",
        "_nondifferentiable",
        "_places",
        "_released",
        "_saved",
        "_to_save",
    )
    function: type[Function]

    def __init__(self) -> None:
        super().__init__((), ())
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Tensor | None, ...] = ()
        self._saved: tuple[tuple[Saved | None, bool], ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._nondifferentiable: tuple[Tensor, ...] = ()
        self._materialize = True
        self._released = False
        self._inputs = 0
        self._places: list[int | None] = []  # for each result of forward, its number among the tensors

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (inputs, results, others, None) for `saved_tensors` in backward."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What `save_for_backward` kept. Raises RuntimeError after it was freed or overwritten."""
        if self._released:
            raise second_backward()
        out: list[Tensor | None] = []
        for saved, own in self._saved:
            if saved is not None:
                saved.check()
            out.append(None if saved is None else saved.tensor(self if own else None))
        return tuple(out)

    @property
    def saved_variables(self) -> tuple[Tensor | None, ...]:
        """`saved_tensors` under its older name."""
        return self.saved_tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These results get no gradient and require none."""
        self._nondifferentiable = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """These inputs were changed in place and are results."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for results without gradient."""
        self._materialize = bool(value)

    @property
    def materializes(self) -> bool:
        """Whether backward gets zeros for results without gradient."""
        return self._materialize

    def pull(self, domain: Any, cts: list[Any], wanted: Sequence[bool]) -> Sequence[Any]:
        full = [
            domain.builder.zeros(t) if ct is None and self._materialize else ct
            for ct, t in zip(cts, self.result_types, strict=True)
        ]
        handles = [None if i is None else full[i] for i in self._places]
        grads = self.function.backward(self, *[None if c is None else domain.wrap(c) for c in handles])
        return [None if g is None else domain.unwrap(g) for g in self._checked(grads)]

    def _checked(self, grads: Any) -> list[Tensor | None]:
        """What backward returned, one entry an input, in its dtype. Raises RuntimeError or TypeError."""
        name = self.function.__name__
        listed = list(grads) if isinstance(grads, (tuple, list)) else [grads]
        while len(listed) > self._inputs and listed[-1] is None:
            listed.pop()
        if len(listed) != self._inputs:
            raise RuntimeError(
                f"function {name}Backward returned an incorrect number of gradients (expected {self._inputs}, "
                f"got {len(listed)})"
            )
        for i, (g, edge) in enumerate(zip(listed, self.edges, strict=True)):
            if g is not None and not isinstance(g, Tensor):
                raise TypeError(
                    f"function {name}Backward: expected a Tensor or None as gradient, got {type(g).__name__}"
                )
            if g is not None and edge is not None:
                want = edge[0].result_types[edge[1]]
                if g.type_.shape != want.shape:
                    raise RuntimeError(
                        f"Function {name}Backward returned an invalid gradient at index {i} - got {list(g.shape)} but "
                        f"expected shape compatible with {list(want.shape)}"
                    )
                listed[i] = cast(g, want.dtype)
        return listed

    def rebind(self, old: object, new: Any) -> None:
        """A saved result is `new` from now on (a recording routes the results through `custom_grad`)."""
        for saved, own in self._saved:
            if own and saved is not None and saved.payload is old:
                saved.payload = new

    def release(self) -> None:
        if self._saved:
            self._released, self._saved = True, ()


class Function:
    """Base class of operations with a derivative of their own; see the module's header."""

    _node_class: type[FunctionNode]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._node_class = type(f"{cls.__name__}Backward", (FunctionNode,), {"__slots__": (), "function": cls})

    def __new__(cls, *_: Any, **__: Any) -> Function:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            f"function with static forward and backward methods, and call {cls.__name__}.apply(...)"
        )

    @staticmethod
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the results (a tensor or a tuple); override it."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradient for each argument of forward (None where there is none); override it."""
        raise NotImplementedError("You must implement the backward function for custom autograd.Function.")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward` outside the graph and attach `backward` to its results."""
        recording = state.recording
        if recording is not None:
            args = tuple(recording.standing(a) if isinstance(a, Tensor) else a for a in args)
        node = cls._node_class()
        node.needs_input_grad = tuple(isinstance(a, Tensor) and a._requires_grad for a in args)
        node._inputs = len(args)
        attach = state.grad_enabled and any(node.needs_input_grad)
        before, state.grad_enabled = state.grad_enabled, False
        try:
            returned = cls.forward(node, *args)
        finally:
            state.grad_enabled = before
        results = returned if isinstance(returned, tuple) else (returned,)
        if attach:
            results = _attach(node, args, results)
        return results if isinstance(returned, tuple) else results[0]


def _attach(node: FunctionNode, args: Sequence[Any], results: tuple[Any, ...]) -> tuple[Any, ...]:
    """The results as results of `node`; an argument that was returned as it is becomes a new tensor.

    Raises InplaceError for a leaf that requires grad and was changed in place.
    """
    if any(d._requires_grad and d._node is None for d in node._dirty):
        raise InplaceError("a leaf Variable that requires grad has been used in an in-place operation.")
    node.edges = tuple(gradient_edge(a) if isinstance(a, Tensor) else None for a in args)
    out: list[Any] = []
    for r in results:
        if not isinstance(r, Tensor):
            out.append(r)
            continue
        dirty = any(r is d for d in node._dirty)
        fresh = r if dirty or not any(r is a for a in args) else again(r)
        out.append(fresh)
    tensors = [r for r in out if isinstance(r, Tensor)]
    node.result_types = tuple(t.type_ for t in tensors)
    numbers = itertools.count()
    node._places = [next(numbers) if isinstance(r, Tensor) else None for r in out]
    skip = node._nondifferentiable
    for number, (t, original) in enumerate(
        zip(tensors, [r for r in results if isinstance(r, Tensor)], strict=True)
    ):
        if t.dtype.is_floating_point and not any(original is s for s in skip):
            t._node, t._output_nr, t._requires_grad = node, number, True
    node._saved = tuple(_save(node, t, results, out) for t in node._to_save)
    node._to_save = ()
    if state.recording is not None:
        record_backward(state.recording, node, args, tensors)
    return tuple(out)


def _save(
    node: FunctionNode, t: Tensor | None, results: Sequence[Any], out: Sequence[Any]
) -> tuple[Saved | None, bool]:
    if t is None:
        return None, False
    for original, result in zip(results, out, strict=True):
        if t is original and isinstance(result, Tensor) and result._node is node:
            return Saved(result, None, result._output_nr), True
    return Saved(t, gradient_edge(t)), False


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a backward whose own operations have no derivative: differentiating it twice is an error."""

    def wrapped(ctx: Any, *grads: Any) -> Any:
        from .modes import no_grad

        with no_grad():
            results = backward(ctx, *grads)
        if not any(isinstance(g, Tensor) and g._requires_grad for g in grads) or not state.grad_enabled:
            return results
        raise_twice = _Once.apply
        if isinstance(results, tuple):
            return tuple(raise_twice(r, *grads) if isinstance(r, Tensor) else r for r in results)
        return raise_twice(results, *grads)

    return wrapped


class _Once(Function):
    """Passes a result through; its backward says that there is none."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, *grads: Tensor) -> Tensor:
        return result

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
