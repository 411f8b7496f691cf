"""Builders: one interface to write operations with, whatever an operation then does.

`Builder[V]` has a method for every op of the table (`b.mul(x, y)`, `b.sum(x, axes=(0,))`) over handles of
some kind V; a subclass says what `emit` does. Derivative rules and rewrites are written against it, so one
rule serves IR construction (`FunctionBuilder`, V = Value), immediate evaluation (`interpreter`,
V = ndarray) and recording (`jitgrad.recording`). Python numbers stand for constants of the type of the
last operand that is not one.

`pullback` and `pushforward` apply an op's derivative rules with any builder.

Imports: `core`, `ops`, `types`, `errors`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .core import Function, Instr, Loc, Value
from .errors import DifferentiationError
from .ops import TABLE
from .ops.record import Linear, Nondiff, OpDef, Partials, Scope
from .types import TensorType

V = TypeVar("V")
Number = (bool, int, float)


class Builder(ABC, Generic[V]):
    """Writes operations over handles of type V."""

    @abstractmethod
    def emit(self, op: str, args: Sequence[V], attrs: Mapping[str, Any]) -> tuple[V, ...]:
        """The results of `op`. Raises what the op's inference raises."""

    @abstractmethod
    def type_of(self, value: V) -> TensorType: ...

    def constant(self, value: bool | int | float, type: TensorType) -> V:
        """A tensor of `type` filled with `value`."""
        (out,) = self.emit("const", (), {"value": value, "dtype": type.dtype, "shape": type.shape})
        return out

    def zeros(self, type: TensorType) -> V:
        return self.constant(0, type)

    def apply(self, op: str, args: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
        """`emit`, numbers lifted to constants, a single result unpacked."""
        lifted = [self._lift(a, args) if isinstance(a, Number) else a for a in args]
        outs = self.emit(op, lifted, attrs)
        return outs[0] if len(outs) == 1 else outs

    def inline(self, function: Function, args: Sequence[V]) -> tuple[V, ...]:
        """The results of a straight-line function, its instructions written here."""
        env = dict(zip(function.params, args, strict=True))
        for instr in function.instrs:
            outs = self.emit(instr.op, [env[a] for a in instr.args], instr.attrs)
            env.update(zip(instr.outs, outs, strict=True))
        return tuple(env[v] for v in function.results)

    def _lift(self, number: bool | int | float, args: Sequence[Any]) -> V:
        # The last one: in select(cond, x, 0.0) the constant is of the branches' type.
        like = next(a for a in reversed(args) if not isinstance(a, Number))
        return self.constant(number, self.type_of(like))

    if TYPE_CHECKING:

        def __getattr__(self, op: str) -> Callable[..., Any]: ...


def _method(op: str) -> Callable[..., Any]:
    def method(self: Builder[Any], *args: Any, **attrs: Any) -> Any:
        return self.apply(op, args, attrs)

    method.__name__ = op
    method.__doc__ = TABLE[op].doc
    return method


for _op in TABLE:
    setattr(Builder, _op, _method(_op))


class FunctionBuilder(Builder[Value]):
    """Writes a straight-line `Function`, stamping each instruction with the current `loc`."""

    def __init__(self) -> None:
        self.params: list[Value] = []
        self.instrs: list[Instr] = []
        self.loc: Loc | None = None
        self._names: set[str] = set()
        self._next = 0

    def fresh(self, hint: str = "") -> str:
        """A name not yet used in this function: `hint` itself, if it is free."""
        if hint and hint not in self._names:
            name = hint
        else:
            while True:
                name = f"{hint}_{self._next}" if hint else str(self._next)
                self._next += 1
                if name not in self._names:
                    break
        self._names.add(name)
        return name

    def param(self, type: TensorType, name: str = "") -> Value:
        value = Value(type, self.fresh(name))
        self.params.append(value)
        return value

    def adopt(self, *values: Value) -> None:
        """Reserve the names of values that this function will share with another."""
        self._names.update(v.name for v in values)

    def emit(self, op: str, args: Sequence[Value], attrs: Mapping[str, Any]) -> tuple[Value, ...]:
        types = TABLE[op].result_types([a.type for a in args], attrs)
        outs = tuple(Value(t, self.fresh()) for t in types)
        self.instrs.append(Instr(op, tuple(args), attrs, outs, self.loc))
        return outs

    def copy(self, instr: Instr, env: Mapping[Value, Value]) -> tuple[Value, ...]:
        """Emit `instr` again with its operands replaced as `env` says, its location and names kept."""
        args = tuple(env.get(a, a) for a in instr.args)
        outs = tuple(Value(o.type, self.fresh(o.name)) for o in instr.outs)
        self.instrs.append(Instr(instr.op, args, instr.attrs, outs, instr.loc))
        return outs

    def type_of(self, value: Value) -> TensorType:
        return value.type

    def finish(self, name: str, results: Sequence[Value]) -> Function:
        return Function.straight(name, tuple(self.params), tuple(self.instrs), tuple(results))


def _times(b: Builder[V], factor: Any, partial: Any) -> Any:
    if not isinstance(partial, Number):
        return b.mul(factor, partial)
    match partial:
        case 1:
            return factor
        case -1:
            return b.neg(factor)
        case 0:  # by nature, so not 0 * factor, which is nan for an infinite factor
            return b.zeros(b.type_of(factor))
    return b.mul(factor, partial)


def refuse(op: OpDef, operand: int | None = None) -> DifferentiationError:
    """The error for a derivative that `op` has not."""
    if isinstance(op.derivative, Nondiff):
        return DifferentiationError(f"{op.name} is not differentiable: {op.derivative.reason}")
    which = f" with respect to operand {operand}" if operand is not None else ""
    return DifferentiationError(f"{op.name} is not differentiable{which}")


def pullback(
    b: Builder[V], op: OpDef, attrs: Mapping[str, Any], types: Sequence[TensorType],
    operands: Sequence[V | None], outs: Sequence[V | None], cts: Sequence[V | None],
    wanted: Sequence[bool],
) -> list[V | None]:
    """Cotangents of the operands in `wanted` from those of the results.

    `operands` and `outs` need hold only what `op.saves(wanted)` names. An operand whose cotangent is
    zero by nature (an index) yields None. Raises DifferentiationError where the op has no derivative.
    """
    if isinstance(op.derivative, Nondiff):
        raise refuse(op)
    scope = Scope(b, attrs, operands, types, outs, cts, wanted)
    if op.variadic:
        rule = op.vjp_rule(0)
        return list(rule(scope)) if rule is not None else [None] * len(wanted)
    partials = isinstance(op.derivative, Partials)
    grads: list[V | None] = []
    for want, rule in zip(wanted, op.vjp, strict=True):
        grad = rule(scope) if want and rule is not None else None
        if partials and grad is not None:
            grad = _times(b, cts[0], grad)
        grads.append(grad)
    return grads


def pushforward(
    b: Builder[V], op: OpDef, attrs: Mapping[str, Any], operands: Sequence[V], outs: Sequence[V],
    tangents: Sequence[V | None],
) -> V | None:
    """The tangent of result 0 from those of the operands (None: zero); None where it is zero.

    Raises DifferentiationError where the op has no derivative.
    """
    if isinstance(op.derivative, Nondiff):
        raise refuse(op)
    types = [b.type_of(v) for v in operands]
    if isinstance(op.derivative, Linear):
        return _push_linear(b, op, attrs, operands, types, tangents)
    total: V | None = None
    for i, tangent in enumerate(tangents):
        if tangent is None:
            continue
        rule = op.jvp_rule(i)
        if rule is None:
            if op.vjp_rule(i) is None:
                continue
            raise DifferentiationError(f"{op.name} has a reverse derivative only: no forward mode through it")
        term = rule(Scope(b, attrs, operands, types, outs, t=tangent))
        if isinstance(op.derivative, Partials):
            term = _times(b, tangent, term)
        total = term if total is None else b.add(total, term)
    return total


def _push_linear(
    b: Builder[V], op: OpDef, attrs: Mapping[str, Any], operands: Sequence[V],
    types: Sequence[TensorType], tangents: Sequence[V | None],
) -> V | None:
    """The op applied to the tangents; operands it is not linear in (indices) pass as they are."""
    args: list[V] = []
    moved = False
    for i, (value, type, tangent) in enumerate(zip(operands, types, tangents, strict=True)):
        if op.vjp_rule(i) is None:
            args.append(value)
        elif tangent is None:
            args.append(b.zeros(type))
        else:
            moved = True
            args.append(tangent)
    return b.emit(op.name, args, attrs)[0] if moved else None
