"""Random user programs for the tests of tracing: data that shrinks, and the function that it means.

A program is a list of steps; a step is an operation with three small integers, which choose its operands
from a stack of tensors and its parameters. Operations push results or write in place. A step that raises is
noted and skipped, so that every program runs, and the errors are part of what it returns.
Values stay tame: where eager and compiled code may round differently, nothing must hang on the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import jitgrad
from jitgrad import Tensor
from jitgrad.errors import TraceError

STEP_ERRORS = (RuntimeError, TypeError, ValueError, IndexError, ArithmeticError)


@dataclass(frozen=True)
class Input:
    """An argument or a capture: a tensor of `shape` and `dtype`, laid out as `layout` says."""

    shape: tuple[int, ...]
    dtype: str
    layout: str  # "plain", "transposed", "sliced", "view", "computed"
    grad: bool

    def make(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The tensor, and the leaf that it comes from."""
        shape = {"transposed": self.shape[::-1], "sliced": tuple(2 * n for n in self.shape)}.get(
            self.layout, self.shape
        )
        a = rng.integers(-16, 17, shape) / 8 if self.dtype.startswith("float") else rng.integers(0, 3, shape)
        leaf = jitgrad.from_numpy(np.asarray(a, dtype=self.dtype)).requires_grad_(
            self.grad and self.dtype.startswith("float")
        )
        return LAYOUTS[self.layout](leaf), leaf


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "transposed": lambda x: x.permute(*reversed(range(x.ndim))),
    "sliced": lambda x: x[(slice(1, None, 2),) * x.ndim],
    "view": lambda x: x.view(x.shape),
    "computed": lambda x: x * 1 if x.is_floating_point() else x,
}


@dataclass(frozen=True)
class Program:
    arguments: tuple[Input, ...]
    captures: tuple[Input, ...]
    same: bool  # the first argument is passed twice
    steps: tuple[tuple[str, int, int, int], ...]
    results: tuple[int, ...]

    @property
    def tolerance(self) -> float:
        """How far values may lie apart, relative to the largest: there may be float32 among them."""
        single = {"single", "rand", "dropout", "uniform_"}.intersection(name for name, *_ in self.steps)
        doubles = all(i.dtype == "float64" for i in (*self.arguments, *self.captures))
        return 1e-10 if doubles and not single else 2e-4

    def function(self, captures: list[Tensor]) -> Callable[..., Any]:
        """The program as a Python function of a list of tensors and a float."""

        def program(tensors: list[Tensor], number: float) -> Any:
            stack, errors = [*tensors, *captures], []
            for name, *numbers in self.steps:
                try:
                    OPERATIONS[name](stack, number, *numbers)
                except TraceError:
                    raise
                except STEP_ERRORS as error:
                    errors.append((name, type(error).__name__))
            return {"results": [stack[r % len(stack)] for r in self.results], "errors": errors}

        return program


OPERATIONS: dict[str, Callable[..., None]] = {}


def operation(function: Callable[..., None]) -> Callable[..., None]:
    OPERATIONS[function.__name__] = function
    return function


def _push(name: str, compute: Callable[..., Any]) -> None:
    def run(stack: list[Tensor], number: float, i: int, j: int, k: int) -> None:
        x, y = stack[i % len(stack)], stack[j % len(stack)]
        out = compute(x, y, k)
        stack.extend(out if isinstance(out, (tuple, list)) else [out])

    OPERATIONS[name] = run


def _in_place(name: str, change: Callable[..., Any]) -> None:
    def run(stack: list[Tensor], number: float, i: int, j: int, k: int) -> None:
        if stack[i % len(stack)].numel():
            change(stack[i % len(stack)], stack[j % len(stack)], k)

    OPERATIONS[name] = run


def _axis(x: Tensor, k: int) -> int:
    return k % x.ndim if x.ndim else 0


for _name, _compute in {
    "add": lambda x, y, k: x + y,
    "sub": lambda x, y, k: x - y * k,
    "mul": lambda x, y, k: (x * y).clamp(-8, 8),
    "div": lambda x, y, k: x / (y * y + 1),
    "number_left": lambda x, y, k: k - x * 0.5,
    "power": lambda x, y, k: x.tanh() ** (1 + k % 3),
    "maximum": lambda x, y, k: jitgrad.maximum(x, y + 0.0625),
    "where": lambda x, y, k: jitgrad.where(x > y + 0.03125, x, y),
    "compare": lambda x, y, k: x + 0.03125 < y,
    "tanh": lambda x, y, k: x.tanh(),
    "exp": lambda x, y, k: x.clamp(-3, 3).exp(),
    "sin": lambda x, y, k: jitgrad.sin(x),
    "sqrt": lambda x, y, k: (x * x + 1).sqrt(),
    "log": lambda x, y, k: (x * x + 0.5).log(),
    "neg": lambda x, y, k: -x,
    "sum": lambda x, y, k: x.sum() if k == 7 else x.sum(_axis(x, k), keepdim=k > 3),
    "mean": lambda x, y, k: x.mean(_axis(x, k)),
    "amax": lambda x, y, k: x.amax(_axis(x, k)),
    "prod": lambda x, y, k: x.tanh().prod(_axis(x, k)),
    "cumsum": lambda x, y, k: x.cumsum(_axis(x, k)),
    "softmax": lambda x, y, k: x.softmax(_axis(x, k)),
    "logsumexp": lambda x, y, k: x.logsumexp(_axis(x, k)),
    "var": lambda x, y, k: x.var(_axis(x, k), correction=0),
    "matmul": lambda x, y, k: (x @ y).tanh(),
    "matmul_t": lambda x, y, k: (x @ y.mT).tanh(),
    "transpose": lambda x, y, k: x.transpose(0, k % x.ndim),
    "reshape": lambda x, y, k: x.reshape(-1) if k % 2 else x.reshape(*reversed(x.shape)),
    "view": lambda x, y, k: x.view(-1),
    "unsqueeze": lambda x, y, k: x.unsqueeze(k % (x.ndim + 1)),
    "squeeze": lambda x, y, k: x.squeeze(),
    "expand": lambda x, y, k: x.expand(2, *x.shape),
    "row": lambda x, y, k: x[k % x.shape[0]],
    "slice": lambda x, y, k: x[k % 2 :: 1 + k % 3],
    "column": lambda x, y, k: x[..., k % x.shape[-1]],
    "flip": lambda x, y, k: x.flip(_axis(x, k)),
    "chunk": lambda x, y, k: x.chunk(2, _axis(x, k)),
    "unbind": lambda x, y, k: x.unbind(_axis(x, k)),
    "cat": lambda x, y, k: jitgrad.cat([x, y], _axis(x, k)),
    "stack": lambda x, y, k: jitgrad.stack([x, y, x]),
    "index": lambda x, y, k: x[jitgrad.tensor([0, k % 2, 0])],
    "index_by": lambda x, y, k: x[y.long().reshape(-1) % x.shape[0]],
    "gather": lambda x, y, k: x.gather(_axis(x, k), jitgrad.zeros(x.shape, dtype=jitgrad.int64)),
    "scatter_add": lambda x, y, k: x.scatter_add(0, jitgrad.zeros(x.shape, dtype=jitgrad.int64), x),
    "sort": lambda x, y, k: (x + jitgrad.arange(x.shape[-1]) / 64).sort(-1)[0],
    "topk": lambda x, y, k: (x + jitgrad.arange(x.shape[-1]) / 64).topk(1)[0],
    "argmax": lambda x, y, k: (x + jitgrad.arange(x.shape[-1]) / 64).argmax(-1),
    "tril": lambda x, y, k: x.tril(),
    "masked_fill": lambda x, y, k: x.masked_fill(y > 0.53125, float(k)),
    "single": lambda x, y, k: x.float(),
    "double": lambda x, y, k: x.double(),
    "integers": lambda x, y, k: (x * 4 + 0.125).int(),
    "detach": lambda x, y, k: x.detach(),
    "leaf": lambda x, y, k: x.detach().clone().requires_grad_(),
    "clone": lambda x, y, k: x.clone(),
    "contiguous": lambda x, y, k: x.contiguous(),
    "data": lambda x, y, k: x.data,
    "rand": lambda x, y, k: x + jitgrad.rand(x.shape),
    "dropout": lambda x, y, k: jitgrad.nn.functional.dropout(x, 0.5),
    "square": lambda x, y, k: Square.apply(x),
    "grad_inside": lambda x, y, k: jitgrad.autograd.grad((x * x).sum(), x, create_graph=bool(k % 2))[0],
    "gradient_of": lambda x, y, k: jitgrad.autograd.grad(
        (y.tanh() * y).sum(), x, create_graph=bool(k % 2), allow_unused=True, materialize_grads=True
    )[0],
    "value_and_grad": lambda x, y, k: jitgrad.value_and_grad(lambda z: (z.sin() * z * y).sum())(x)[1],
    "force": lambda x, y, k: jitgrad.grad(lambda z: jitgrad.grad(lambda u: (u**3).sum())(z).sum())(x),
    "scatter": lambda x, y, k: x.scatter(0, jitgrad.zeros(x.shape, dtype=jitgrad.int64), 1.5),
    "einsum": lambda x, y, k: jitgrad.einsum("i...,i...->...", x, y).tanh(),
}.items():
    _push(_name, _compute)

for _name, _change in {
    "add_": lambda x, y, k: x.add_(y),
    "mul_": lambda x, y, k: x.mul_(0.5 if k % 2 else y.tanh()),
    "zero_": lambda x, y, k: x.zero_(),
    "copy_": lambda x, y, k: x.copy_(y),
    "tanh_": lambda x, y, k: x.tanh_(),
    "set_row": lambda x, y, k: x.__setitem__(k % x.shape[0], y.sum().tanh()),
    "set_slice": lambda x, y, k: x.__setitem__(slice(k % 2, None, 2), 0.25),
    "set_mask": lambda x, y, k: x.__setitem__(x > 1.03125, 0.5),
    "add_to_row": lambda x, y, k: x[k % x.shape[0]].add_(1.0),
    "add_to_transposed": lambda x, y, k: x.transpose(0, -1).add_(y),
    "uniform_": lambda x, y, k: x.uniform_(),
    "backward": lambda x, y, k: (x * y).sum().backward(),
    "clear_grad": lambda x, y, k: setattr(x, "grad", None),
    "set_data": lambda x, y, k: setattr(x, "data", y.data * 1.5),
}.items():
    _in_place(_name, _change)


@operation
def grad_of(stack: list[Tensor], number: float, i: int, j: int, k: int) -> None:
    grad = stack[i % len(stack)].grad
    if grad is not None:
        stack.append(grad)


@operation
def scaled_by_number(stack: list[Tensor], number: float, i: int, j: int, k: int) -> None:
    factor = (number * k + 0.5) / (abs(number) + 1.0) if k % 2 else math.tanh(number)
    stack.append(stack[i % len(stack)] * factor)


@operation
def without_graph(stack: list[Tensor], number: float, i: int, j: int, k: int) -> None:
    x, y = stack[i % len(stack)], stack[j % len(stack)]
    with jitgrad.no_grad():
        if k % 3 == 0:
            x.sub_(y * 0.125)
        elif k % 3 == 1:
            stack.append(x[0])
        else:
            stack.append(x * y.tanh())


@operation
def with_graph(stack: list[Tensor], number: float, i: int, j: int, k: int) -> None:
    with jitgrad.enable_grad():
        stack.append(stack[i % len(stack)] * 2)


class Square(jitgrad.Function):
    """x², with a gradient that is not its own, so that one sees whose was taken."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * x * 3


SHAPES = [(), (3,), (2, 3), (3, 3), (1,), (3, 2), (2, 1, 3), (0,), (0, 3)]
inputs = st.builds(
    Input,
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(["float64", "float32", "float64", "int64", "bool"]),
    layout=st.sampled_from(sorted(LAYOUTS)),
    grad=st.booleans(),
)
numbers = st.integers(0, 7)
steps = st.tuples(st.sampled_from(sorted(OPERATIONS)), numbers, numbers, numbers)
programs = st.builds(
    Program,
    arguments=st.lists(inputs, min_size=1, max_size=3).map(tuple),
    captures=st.lists(inputs, max_size=1).map(tuple),
    same=st.sampled_from([False, False, False, True]),
    steps=st.lists(steps, min_size=1, max_size=12).map(tuple),
    results=st.lists(st.integers(0, 31), min_size=1, max_size=4).map(tuple),
)
