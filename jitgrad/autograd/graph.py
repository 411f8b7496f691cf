"""The autograd graph: nodes that map cotangents of results to cotangents of inputs.

A tensor that requires grad points to the node it came from (`grad_fn`) or, if it is a leaf, to an
`AccumulateGrad` node made when first needed. A node's `edges` say where each of its input cotangents
goes: (node, result number) or None. `sequence` orders nodes by creation; the engine runs them from the
youngest.

What a node keeps for its backward are `Saved` values: payload, storage and version, so that a later
overwrite is found and named. The payloads of nodes recorded in a traced function are IR values.

Invariants: a node never holds a tensor it produced (that would be a cycle); `release` drops what it saved.
Imports: `tensors`, `ir.builder`, `ir.ops`, `errors`, `ir.core`, `ir.types`.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InplaceError
from ..ir.builder import pullback
from ..ir.core import Value
from ..ir.ops import TABLE
from ..ir.types import TensorType, type_of_array
from ..tensors import Tensor, up_to_date

if TYPE_CHECKING:
    from .domains import Domain

Edge = tuple["Node", int]
_sequence = itertools.count()
LAST = 1 << 62  # AccumulateGrad nodes run as soon as their gradient is complete


class Node:
    """One step of the backward graph, named as torch names it (`AddBackward0`)."""

    __slots__ = (
        "__weakref__",
        "edges",
        "hooks",
        "origin",
        "prehooks",
        "result_types",
        "sequence",
        "tensor_hooks",
    )

    def __init__(self, edges: Sequence[Edge | None], result_types: Sequence[TensorType]) -> None:
        self.edges = tuple(edges)
        self.result_types = tuple(result_types)
        self.sequence = next(_sequence)
        self.origin: Value | None = None  # in a recording, the forward value that this is the backward of
        self.hooks: dict[int, Callable[..., Any]] | None = None
        self.prehooks: dict[int, Callable[..., Any]] | None = None
        self.tensor_hooks: dict[int, Watch] | None = None  # by result number

    def watch(self, number: int) -> Watch:
        """What is to happen to the gradient of result `number` before this node sees it."""
        self.tensor_hooks = {} if self.tensor_hooks is None else self.tensor_hooks
        return self.tensor_hooks.setdefault(number, Watch())

    def name(self) -> str:
        """The name of its class, as torch has it: "MulBackward0"."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """For each input, the node that its gradient goes to (None: nowhere), and which of its results it was."""
        return tuple((None, 0) if e is None else e for e in self.edges)

    def pull(self, domain: Domain, cts: list[Any], wanted: Sequence[bool]) -> Sequence[Any]:
        """Cotangents for `edges` (None: zero) from those of the results (None: zero), as `domain`'s values."""
        raise NotImplementedError

    def release(self) -> None:
        """Drop what was saved for backward."""

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after this node ran; it may return new grad_inputs."""
        self.hooks = {} if self.hooks is None else self.hooks
        return RemovableHandle(self.hooks, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(grad_outputs)` before this node runs; it may return new grad_outputs."""
        self.prehooks = {} if self.prehooks is None else self.prehooks
        return RemovableHandle(self.prehooks, hook)

    def __call__(self, *grad_outputs: Tensor) -> Any:
        """Run this node alone on `grad_outputs`."""
        from .domains import current_domain

        domain = current_domain(create_graph=False)
        cts = [domain.unwrap(g) for g in grad_outputs]
        grads = self.pull(domain, cts, [e is not None for e in self.edges])
        out = tuple(None if g is None else domain.wrap(g) for g in grads)
        return out[0] if len(out) == 1 else out

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


class RemovableHandle:
    """Removes the hook it was given for; also a context manager that does."""

    _next = itertools.count()

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks, self.id = hooks, next(self._next)
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook away; no effect a second time."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Watch:
    """Hooks on one tensor's gradient, and the tensor whose `.grad` retains it."""

    __slots__ = ("hooks", "retained")

    def __init__(self) -> None:
        self.hooks: dict[int, Callable[..., Any]] = {}
        self.retained: weakref.ref[Tensor] | None = None


class Saved:
    """A value kept for backward, with the version of its memory at that time. A result that its own node
    keeps has no edge, which would be a cycle: `number` says which result it is."""

    __slots__ = ("edge", "number", "payload", "requires_grad", "steps", "storage", "version")

    def __init__(self, t: Tensor, edge: Edge | None, number: int = 0) -> None:
        self.number = number
        self.payload = t._array
        self.storage = storage = t._storage
        self.steps = storage.steps_of(t)
        self.version = storage.version
        self.edge = edge
        self.requires_grad = t._requires_grad

    @property
    def type(self) -> TensorType:
        payload = self.payload
        return payload.type if isinstance(payload, Value) else type_of_array(payload)

    def check(self) -> None:
        """Raises InplaceError if the memory has been written to since."""
        if self.storage.version != self.version:
            producer = f", which is output {self.edge[1]} of {self.edge[0].name()}," if self.edge else ""
            raise InplaceError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"[{self.type}]{producer} is at version {self.storage.version}; expected version {self.version} "
                "instead.",
                hint="write x = x + 1 instead of x += 1 where the old value is still needed",
            )

    def tensor(self, producer: Node | None = None) -> Tensor:
        """The saved tensor again, in its place in the graph (`producer`: the node it is a result of)."""
        t = self.storage.tensor(self.payload, self.steps)
        t._requires_grad = self.requires_grad
        if self.edge is not None:
            node, number = self.edge
            if isinstance(node, AccumulateGrad):
                leaf = node.variable
                if leaf._array is self.payload:
                    return leaf
            t._node, t._output_nr = node, number
        elif producer is not None and self.type.dtype.is_floating_point:
            t._node, t._output_nr, t._requires_grad = producer, self.number, True
        return t


class AccumulateGrad(Node):
    """Where a leaf's gradient arrives: it is added to `variable.grad`."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor) -> None:
        super().__init__((), (variable.type_,))
        self.variable = variable
        self.sequence = LAST


def accumulator(leaf: Tensor) -> AccumulateGrad:
    """The one AccumulateGrad node of `leaf`, alive as long as a graph uses it."""
    ref = leaf._accumulator
    node = ref() if ref is not None else None
    if node is None:
        node = AccumulateGrad(leaf)
        leaf._accumulator = weakref.ref(node)
    return node


def share_gradient(t: Tensor, leaf: Tensor) -> None:
    """The gradient of the leaf `t` arrives at `leaf` from now on."""
    arrival = accumulator(leaf)
    t._accumulator = lambda: arrival


def gradient_edge(t: Tensor) -> Edge | None:
    """Where the gradient of `t` goes; None if it needs none."""
    if t._view is not None:
        up_to_date(t)
    if t._node is not None:
        return (t._node, t._output_nr)
    return (accumulator(t), 0) if t._requires_grad else None


class OpNode(Node):
    """The backward of one primitive, by the op's own rule."""

    __slots__ = ("attrs", "op", "operands", "outs", "released", "types")
    op_name: str

    def __init__(
        self,
        tensors: Sequence[Tensor],
        attrs: dict[str, Any],
        outs: Sequence[Tensor],
        plan: Plan,
    ) -> None:
        edges: list[Edge | None] = [None] * len(tensors)
        for i in plan.edges:
            edges[i] = gradient_edge(tensors[i])
        super().__init__(edges, [o.type_ for o in outs])
        self.attrs = attrs
        self.types = tuple([t.type_ for t in tensors])
        self.operands: tuple[tuple[int, Saved], ...] | None = tuple(
            [(i, Saved(tensors[i], edges[i])) for i in plan.operands]
        )
        self.outs = tuple([(i, Saved(outs[i], None, i)) for i in plan.results])
        self.released = False

    def pull(self, domain: Domain, cts: list[Any], wanted: Sequence[bool]) -> Sequence[Any]:
        if self.released:
            raise second_backward()
        operands: list[Any] = [None] * len(self.types)
        for i, saved in self.operands or ():
            saved.check()
            operands[i] = domain.load(saved, None)
        outs: list[Any] = [None] * len(self.result_types)
        for i, saved in self.outs:
            saved.check()
            outs[i] = domain.load(saved, self)
        op = TABLE[self.op_name]
        return pullback(domain.builder, op, self.attrs, self.types, operands, outs, cts, wanted)

    def release(self) -> None:
        if any(not is_number(s) for _, s in self.operands or ()) or self.outs:
            self.released = True
            self.operands, self.outs = None, ()


def is_number(saved: Saved) -> bool:
    """Whether `saved` is a constant that a Python number became: kept for nothing, so never released."""
    return saved.edge is None and not saved.requires_grad and saved.storage.holds_number


class Plan(NamedTuple):
    """What a node needs: the operands that get a cotangent, and the operands and results that are saved."""

    edges: tuple[int, ...]
    operands: tuple[int, ...]
    results: tuple[int, ...]


@lru_cache(maxsize=4096)
def backward_plan(op: str, asked: tuple[bool, ...]) -> Plan | None:
    """The plan for `op` where the operands in `asked` require grad; None if none of them can get one."""
    record = TABLE[op]
    wanted = [want and record.vjp_rule(i) is not None for i, want in enumerate(asked)]
    return Plan(tuple(i for i, w in enumerate(wanted) if w), *record.saves(wanted)) if any(wanted) else None


def second_backward() -> RuntimeError:
    return RuntimeError(
        "Trying to backward through the graph a second time (or directly access saved tensors after they have "
        "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
        "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or "
        "if you need to access saved tensors after calling backward."
    )


# Torch's node names where they are not the op's own name in camel case.
_NAMES = {
    "broadcast": "Expand",
    "reshape": "View",
    "matmul": "Bmm",
    "select": "Where",
    "max": "Amax",
    "min": "Amin",
    "slice": "Slice",
    "concat": "Cat",
    "pad": "ConstantPadNd",
    "gather": "Index",
    "cast": "ToCopy",
    "scatter_add": "IndexAdd",
    "scatter": "IndexCopy",
}


@cache
def node_class(op: str, name: str = "") -> type[OpNode]:
    """The class of the nodes of `op`: `AddBackward0` for add, or with the name of a function made of ops."""
    name = name or _NAMES.get(op) or "".join(part.capitalize() for part in op.split("_"))
    return type(f"{name}Backward0", (OpNode,), {"__slots__": (), "op_name": op})
