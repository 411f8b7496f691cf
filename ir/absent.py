"""A backward without some of its cotangents.

A result that takes no part in what is differentiated has no cotangent. Zeros in its place would do, but for 0 * inf,
which is nan: an infinite residual of that result would spoil gradients that have nothing to do with it. So what is
zero because a cotangent is absent is followed through the function, which is linear in its cotangents, and left out.

Imports: `builder`, `core`, `ops`.
"""

from __future__ import annotations

from collections.abc import Collection

from .builder import FunctionBuilder
from .core import Function, Instr, Value
from .ops import TABLE
from .ops.record import Linear

# Operands of which one that is absent makes the result absent. Of others, all that carry a cotangent must be.
_FACTORS = {"mul": (0, 1), "matmul": (0, 1), "conv": (0, 1), "div": (0,)}
_CARRIERS = {"add": (0, 1), "sub": (0, 1), "neg": (0,), "select": (1, 2)}


def without(backward: Function, absent: Collection[int]) -> Function:
    """`backward`, linear in the parameters numbered `absent`, without them: as if they were zeros that not even
    infinity makes nan. Gradients that depend on no other cotangent are zeros."""
    b = FunctionBuilder()
    gone = {backward.params[i] for i in absent}
    env: dict[Value, Value] = {p: b.param(p.type, p.name) for p in backward.params if p not in gone}
    nothing: set[Value] = set()  # constants of zero

    def given(v: Value) -> Value:
        if v not in env:
            env[v] = b.zeros(v.type)
        return env[v]

    for instr in backward.instrs:
        b.loc = instr.loc
        if instr.op == "const" and _is_zero(instr):
            nothing.update(instr.outs)
        missing = gone.intersection(instr.args)
        if missing and _vanishes(instr, gone, nothing):
            gone.update(instr.outs)
        elif missing and instr.op in ("add", "sub"):
            x, y = instr.args
            rest = given(y if x in gone else x)
            env[instr.out] = b.neg(rest) if instr.op == "sub" and x in gone else rest
        else:
            for operand in instr.args:
                given(operand)
            env.update(zip(instr.outs, b.copy(instr, env), strict=True))
    return b.finish(backward.name, [given(g) for g in backward.results])


def _is_zero(instr: Instr) -> bool:
    value = instr.attrs["value"]
    return isinstance(value, (bool, int, float)) and value == 0


def _vanishes(instr: Instr, gone: Collection[Value], nothing: Collection[Value]) -> bool:
    """Whether the instruction, some operand of which is gone, gives nothing but zeros."""
    op = TABLE[instr.op]
    if instr.op in _FACTORS:
        return any(instr.args[i] in gone for i in _FACTORS[instr.op])
    carriers = _CARRIERS.get(instr.op)
    if carriers is None and isinstance(op.derivative, Linear):
        carriers = tuple(i for i in range(len(instr.args)) if op.vjp_rule(i) is not None)
    return carriers is not None and all(instr.args[i] in gone or instr.args[i] in nothing for i in carriers)
