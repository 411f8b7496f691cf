"""The meaning of the IR: each op is its NumPy reference, a function is its blocks walked in order.

`NumpyBuilder` runs operations at once on arrays; `interpret` runs a function with it. Everything else
that gives the IR a meaning (rewrites, derivatives, compiled code) is tested against this page.

Invariants: results are ndarrays of exactly the types that inference gives, 0-d ones included. They may be
views of arguments or read-only; who owns memory is not the IR's business.

Imports: `builder`, `core`, `ops`, `types`, `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .builder import Builder
from .core import Edge, Function, Guard, Instr, Value
from .errors import DTypeError, JitgradError, ShapeError, SideExit
from .ops import TABLE
from .types import TensorType, type_of_array


class NumpyBuilder(Builder[np.ndarray]):
    """Runs each operation at once."""

    def emit(self, op: str, args: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
        record = TABLE[op]
        record.result_types([type_of_array(a) for a in args], attrs)
        return record.evaluate(args, attrs)

    def type_of(self, value: np.ndarray) -> TensorType:
        return type_of_array(value)


def interpret(f: Function, args: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of `f` on arrays of exactly the types of its parameters.

    Raises ShapeError or DTypeError for other arguments, SideExit where a guard takes a way that was never
    recorded, and what the ops raise (BoundsError, DivisionByZero), blamed on the user's line.
    """
    values = _check(f, args)
    blocks = {block.label: block for block in f.blocks}
    block, builder = f.entry, NumpyBuilder()
    while True:
        env = dict(zip(block.params, values, strict=True))
        for instr in block.instrs:
            env.update(zip(instr.outs, _run(builder, instr, env), strict=True))
        terminator = block.terminator
        if not isinstance(terminator, Guard):
            return [env[v] for v in terminator.values]
        edge = _choose(f, terminator, bool(env[terminator.cond]))
        block, values = blocks[edge.label], [env[v] for v in edge.args]


def _check(f: Function, args: Sequence[np.ndarray]) -> list[np.ndarray]:
    if len(args) != len(f.params):
        raise TypeError(f"@{f.name} takes {len(f.params)} arguments, got {len(args)}")
    arrays = [np.asarray(a) for a in args]
    for param, array in zip(f.params, arrays, strict=True):
        got = type_of_array(array)
        if got != param.type:
            error = DTypeError if got.dtype is not param.type.dtype else ShapeError
            raise error(f"@{f.name}: %{param.name} must be {param.type}, got {got}")
    return arrays


def _run(builder: NumpyBuilder, instr: Instr, env: Mapping[Value, np.ndarray]) -> tuple[np.ndarray, ...]:
    try:
        return builder.emit(instr.op, [env[a] for a in instr.args], instr.attrs)
    except JitgradError as error:
        raise error.at(instr.loc.excerpt()) if instr.loc else error from None


def _choose(f: Function, guard: Guard, holds: bool) -> Edge:
    edge = guard.then if holds else guard.orelse
    if edge is None:
        raise SideExit(
            f"@{f.name}: the way taken where %{guard.cond.name} is {holds} was never recorded",
            where=guard.loc.excerpt() if guard.loc else "",
        )
    return edge
