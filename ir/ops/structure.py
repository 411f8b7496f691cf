"""Ops that compute nothing and steer differentiation: `detach` and `custom_grad`.

They survive every pass until differentiation is done, and are removed after it. `custom_grad` is how a
derivative that a user wrote (an autograd Function, a hook) enters the IR. Its operands are the `results`
tensors that it passes through, then the `inputs` they were computed from, then what is saved. The
cotangents of the inputs come from the function `backward`, called with what is saved, with the results
and with their cotangents; no derivative flows from a result to the way it was computed.

Where `sets` is empty, a result without cotangent counts as one with zeros. Else `backward` tells which results have
a cotangent: `sets` lists sets of results (bit i: result i), and `backward` returns a group of gradients for each,
which reads no other cotangent. A gradient with another set of cotangents is an error.

Imports: `record`, `sampling`, `core`, `errors`, `infer`, `types`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Function
from ..errors import DifferentiationError, ShapeError
from ..types import TensorType
from . import sampling
from .infer import listed
from .record import Linear, OpDef, Rules


def _infer_custom_grad(
    *xs: TensorType, backward: Function, results: int, inputs: int, sets: tuple[int, ...]
) -> tuple[TensorType, ...]:
    if len(xs) < results + inputs:
        raise TypeError(f"custom_grad: {results} results and {inputs} inputs, but {len(xs)} operands")
    if len(set(sets)) != len(sets) or not all(0 < s < 1 << results for s in sets):
        raise TypeError(f"custom_grad: {list(sets)} are no sets of {results} results, each listed once")
    want = (*xs[results + inputs :], *xs[:results], *xs[:results])
    grads = xs[results : results + inputs] * max(len(sets), 1)
    if tuple(v.type for v in backward.params) != want or backward.result_types != grads:
        raise ShapeError(
            f"custom_grad: @{backward.name} must take ({listed(want)}) and return ({listed(grads)})"
        )
    return xs[:results]


def _vjp_custom(
    b: Any, cts: Any, xs: Any, xs_type: Any, outs: Any, backward: Function, results: int, inputs: int,
    sets: tuple[int, ...],
) -> list[Any]:
    group = _group([ct is not None for ct in cts], backward, sets) if sets else 0
    full = [b.zeros(t) if ct is None else ct for ct, t in zip(cts, xs_type[:results], strict=True)]
    grads = b.inline(backward, (*xs[results + inputs :], *outs, *full))
    own = grads[group * inputs : (group + 1) * inputs]
    return [None] * results + list(own) + [None] * (len(xs) - results - inputs)


def _group(present: Sequence[bool], backward: Function, sets: tuple[int, ...]) -> int:
    """Which group of gradients belongs to the results whose cotangent is `present`."""
    wanted = sum(1 << i for i, there in enumerate(present) if there)
    if wanted not in sets:
        given = [i for i, there in enumerate(present) if there]
        raise DifferentiationError(
            f"custom_grad: @{backward.name} has no gradient for the case that of its {len(present)} results only "
            f"{given} have one",
            hint="let the backward take None for any of its cotangents",
        )
    return sets.index(wanted)


def _ref_custom_grad(
    *xs: np.ndarray, backward: Function, results: int, inputs: int, sets: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    return xs[:results]


OPS = (
    OpDef("detach", ("x",), (), lambda x: x, lambda x: x, Linear(None), sampling.anything,
          "x, through which no derivative flows", frozenset({"barrier"})),
    OpDef("custom_grad", ("xs*",), ("backward", "results", "inputs", "sets"), _infer_custom_grad, _ref_custom_grad,
          Rules(vjp=(_vjp_custom,), jvp=(None,)), sampling.custom_grad,
          "its first `results` operands; cotangents of the next `inputs` operands come from `backward`, a group for "
          "each of the `sets` of results that have one",
          frozenset({"barrier"})),
)
