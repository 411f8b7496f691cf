"""Differentiation of straight-line functions: reverse mode (`vjp`) and forward mode (`jvp`).

Both extend a function instead of making another program beside it: the primal instructions stand
unchanged, values and names included, and the derivative's follow (reverse) or lie between them (forward).
The result is an ordinary function, so it can be differentiated again, to any order.

  - Only what depends on a parameter in `wrt` through floating-point values and reaches a wanted result is
    differentiated. An integer or bool never carries a cotangent or a tangent: a path that leads through one
    only (argmax, a comparison) is no path. `detach` ends a path, `custom_grad` goes by its `backward`.
  - What no path reaches has the gradient zero.
  - The cotangent of a value is the sum of its terms in this order, added from the left: those of the
    results it is, in their order, then its uses from the last instruction to the first, and in one
    instruction its operands in their order.
  - Every backward instruction has the location of the forward instruction it comes from, and `adjoint`
    names the forward value: the first result whose cotangent the instruction carries on, or, for the sum of
    two terms and for a zero, the value that the sum is the cotangent of.

Each walk goes over the instructions once, without recursion.

Imports: `builder`, `core`, `errors`, `ops`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .builder import FunctionBuilder, pullback, pushforward
from .core import Function, Guard, Instr, Loc, Value
from .errors import DifferentiationError, JitgradError
from .ops import TABLE
from .ops.record import Nondiff

_NOWHERE = Loc("", 0)


def vjp(f: Function, wrt: Sequence[int], results: Sequence[int] | None = None) -> Function:
    """The joint forward and backward function of `f`, named `<f>_vjp`.

    Its parameters are those of `f`, then one cotangent for each of the `results` (positions; by default
    every floating-point result), of its type. Its results are those of `f`, then one gradient for each
    parameter position in `wrt`, of the parameter's type.

    Raises DifferentiationError for control flow, for a parameter or a result asked for that is not
    floating-point, and where a path leads through an op without a derivative; IndexError for a position
    that `f` has not; ValueError for a parameter asked for twice.
    """
    wanted = _wrt(f, wrt)
    targets = _float_results(f) if results is None else _asked_results(f, results)
    b = _extend(f)
    seeds = [(target, b.param(target.type, f"ct_{target.name}")) for target in targets]
    active = _active(f, wanted)
    cotangents: dict[Value, Value] = {}
    for target, seed in seeds:
        if target in active:
            _accumulate(b, cotangents, target, seed, _NOWHERE)
    for instr in reversed(f.instrs):
        _pull(b, instr, active, cotangents)
    gradients = []
    for param in wanted:
        b.loc = _NOWHERE.of_adjoint(param.name)
        gradients.append(cotangents[param] if param in cotangents else b.zeros(param.type))
    return b.finish(f"{f.name}_vjp", (*f.results, *gradients))


def jvp(f: Function, wrt: Sequence[int]) -> Function:
    """The function and its directional derivative, named `<f>_jvp`.

    Its parameters are those of `f`, then one tangent for each parameter position in `wrt`, of its type.
    Its results are those of `f`, then one tangent for each floating-point result, of its type.

    Raises as `vjp` does, and for a `custom_grad` on the path, which has a reverse derivative only.
    """
    wanted = _wrt(f, wrt)
    b = _extend(f)
    b.instrs.clear()
    tangents = {param: b.param(param.type, f"t_{param.name}") for param in wanted}
    active = _reaching(f, _float_results(f), _active(f, wanted))
    for instr in f.instrs:
        b.instrs.append(instr)
        _push(b, instr, active, tangents)
    b.loc = None
    outs = [tangents[r] if r in tangents else b.zeros(r.type) for r in _float_results(f)]
    return b.finish(f"{f.name}_jvp", (*f.results, *outs))


def _wrt(f: Function, wrt: Sequence[int]) -> list[Value]:
    """The parameters at the positions `wrt`, checked."""
    if not f.is_straight:
        raise _control_flow(f)
    if len(set(wrt)) != len(wrt):
        raise ValueError(f"@{f.name}: a parameter is asked for twice in wrt={list(wrt)}")
    return [_floating(f, "parameter", i, f.params) for i in wrt]


def _asked_results(f: Function, results: Sequence[int]) -> list[Value]:
    return [_floating(f, "result", i, f.results) for i in results]


def _float_results(f: Function) -> list[Value]:
    return [r for r in f.results if _is_float(r)]


def _is_float(value: Value) -> bool:
    return value.type.dtype.is_floating_point


def _floating(f: Function, what: str, i: int, values: Sequence[Value]) -> Value:
    if not 0 <= i < len(values):
        raise IndexError(f"@{f.name} has {len(values)} {what}s, there is no {what} {i}")
    if not _is_float(values[i]):
        raise DifferentiationError(
            f"@{f.name}: {what} {i}, %{values[i].name}, is {values[i].type}: "
            f"only floating-point {what}s can be differentiated"
        )
    return values[i]


def _control_flow(f: Function) -> DifferentiationError:
    error = DifferentiationError(
        f"@{f.name} has control flow: only a function of one block can be differentiated as a whole"
    )
    for block in f.blocks:
        if isinstance(block.terminator, Guard) and block.terminator.loc is not None:
            return error.at(block.terminator.loc.excerpt())
    return error


def _extend(f: Function) -> FunctionBuilder:
    """A builder that holds all of `f` and goes on from there."""
    b = FunctionBuilder()
    b.params.extend(f.params)
    b.instrs.extend(f.instrs)
    b.adopt(*f.params, *(out for instr in f.instrs for out in instr.outs))
    return b


def _paths(instr: Instr, active: Collection[Value]) -> list[bool]:
    """Which operands of `instr` are active and have their derivative asked for by its results.

    An op without derivative counts as a path, for asking for its derivative must raise.
    """
    op = TABLE[instr.op]
    nondiff = isinstance(op.derivative, Nondiff)
    first, last = 0, len(instr.args)
    if instr.op == "custom_grad":  # its cotangents go to the inputs, not to the results it passes through
        first = instr.attrs["results"]
        last = first + instr.attrs["inputs"]
    return [
        a in active and first <= i < last and (nondiff or op.vjp_rule(i) is not None)
        for i, a in enumerate(instr.args)
    ]


def _active(f: Function, wanted: Sequence[Value]) -> set[Value]:
    """The floating-point values that depend on those in `wanted` by a differentiable path."""
    active = set(wanted)
    for instr in f.instrs:
        if any(_paths(instr, active)):
            active.update(o for o in instr.outs if _is_float(o))
    return active


def _reaching(f: Function, targets: Sequence[Value], active: set[Value]) -> set[Value]:
    """Those of the active values that a target depends on by a differentiable path."""
    reached = {t for t in targets if t in active}
    for instr in reversed(f.instrs):
        if not reached.isdisjoint(instr.outs):
            reached.update(a for a, path in zip(instr.args, _paths(instr, active), strict=True) if path)
    return reached


def _pull(
    b: FunctionBuilder, instr: Instr, active: Collection[Value], cotangents: dict[Value, Value]
) -> None:
    """Carry the cotangents of an instruction's results on to its operands."""
    cts = [cotangents.get(out) for out in instr.outs]
    carried = next((out for out in instr.outs if out in cotangents), None)
    if carried is None:
        return
    loc = instr.loc or _NOWHERE
    b.loc = loc.of_adjoint(carried.name)
    paths = _paths(instr, active)
    types = [a.type for a in instr.args]
    try:
        terms = pullback(b, TABLE[instr.op], instr.attrs, types, instr.args, instr.outs, cts, paths)
    except JitgradError as error:
        raise error.at(loc.excerpt()) from None
    for operand, path, term in zip(instr.args, paths, terms, strict=True):
        if path and term is not None:
            _accumulate(b, cotangents, operand, term, loc)


def _accumulate(
    b: FunctionBuilder, cotangents: dict[Value, Value], value: Value, term: Value, loc: Loc
) -> None:
    if value in cotangents:
        b.loc = loc.of_adjoint(value.name)
        (term,) = b.emit("add", (cotangents[value], term), {})
    cotangents[value] = term


def _push(b: FunctionBuilder, instr: Instr, active: Collection[Value], tangents: dict[Value, Value]) -> None:
    """Write the tangent of an instruction's first result, where it has one that is asked for."""
    if not any(out in active for out in instr.outs):
        return
    paths = _paths(instr, tangents)
    b.loc = instr.loc
    moving = [tangents[a] if path else None for a, path in zip(instr.args, paths, strict=True)]
    try:
        tangent = pushforward(b, TABLE[instr.op], instr.attrs, instr.args, instr.outs, moving)
    except JitgradError as error:
        raise error.at(b.loc.excerpt() if b.loc else "") from None
    if tangent is not None:
        tangents[instr.outs[0]] = tangent
