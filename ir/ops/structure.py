"""Ops that compute nothing and steer differentiation: `detach` and `custom_grad`.

They survive every pass until differentiation is done, and are removed after it. `custom_grad` is how a
derivative that a user wrote (an autograd Function, a hook) enters the IR. Its operands are the `results`
tensors that it passes through, then the `inputs` they were computed from, then what is saved. The
cotangents of the inputs come from the function `backward`, called with what is saved, with the results
and with their cotangents; no derivative flows from a result to the way it was computed.

Imports: `record`, `sampling`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import Function
from ..errors import ShapeError
from ..types import TensorType
from . import sampling
from .infer import listed
from .record import Linear, OpDef, Rules


def _infer_custom_grad(
    *xs: TensorType, backward: Function, results: int, inputs: int
) -> tuple[TensorType, ...]:
    if len(xs) < results + inputs:
        raise TypeError(f"custom_grad: {results} results and {inputs} inputs, but {len(xs)} operands")
    want = (*xs[results + inputs :], *xs[:results], *xs[:results])
    grads = xs[results : results + inputs]
    if tuple(v.type for v in backward.params) != want or backward.result_types != grads:
        raise ShapeError(
            f"custom_grad: @{backward.name} must take ({listed(want)}) and return ({listed(grads)})"
        )
    return xs[:results]


def _vjp_custom(
    b: Any, cts: Any, xs: Any, xs_type: Any, outs: Any, backward: Function, results: int, inputs: int
) -> list[Any]:
    full = [b.zeros(t) if ct is None else ct for ct, t in zip(cts, xs_type[:results], strict=True)]
    grads = b.inline(backward, (*xs[results + inputs :], *outs, *full))
    return [None] * results + list(grads) + [None] * (len(xs) - results - inputs)


def _ref_custom_grad(
    *xs: np.ndarray, backward: Function, results: int, inputs: int
) -> tuple[np.ndarray, ...]:
    return xs[:results]


OPS = (
    OpDef("detach", ("x",), (), lambda x: x, lambda x: x, Linear(None), sampling.anything,
          "x, through which no derivative flows", frozenset({"barrier"})),
    OpDef("custom_grad", ("xs*",), ("backward", "results", "inputs"), _infer_custom_grad, _ref_custom_grad,
          Rules(vjp=(_vjp_custom,), jvp=(None,)), sampling.custom_grad,
          "its first `results` operands; cotangents of the next `inputs` operands come from `backward`",
          frozenset({"barrier"})),
)
