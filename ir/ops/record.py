"""One op, one record: everything the project knows of a primitive, but for its lowering to LLVM.

An `OpDef` holds the op's type inference, its meaning in NumPy, its derivative and its sample inputs.
A derivative is exactly one of four:

  Partials(p0, p1, ...)   elementwise ops. `p_i` gives the partial derivative with respect to operand i,
                          a value or a Python number; VJP and JVP both multiply by it.
  Linear(t0, t1, ...)     ops linear in the operands that have a transpose. `t_i(ct)` maps the cotangent
                          of the result to operand i's; the JVP is the op itself.
  Rules(vjp=, jvp=)       the others: `vjp[i](ct)` is operand i's cotangent, `jvp[i](t)` is the tangent
                          that operand i's tangent `t` contributes.
  Nondiff(reason)         no derivative, and the reason stands in the error message.

An entry of None says that the op has no derivative there (an index, say). In every rule THE NAMES OF ITS
PARAMETERS SAY WHAT IT NEEDS: `b` is the builder to write with, `ct` the cotangent (of result 0) or `cts`
(of all, None where absent), `t` a tangent, `out` the result (`out1` the second, `outs` all), the name of
an operand its value, that name with `_type` its type, the name of an attribute its value. What a rule does
not name is not saved for it. The one rule of an op with any number of operands gives the list for all of
them; it can name `wanted`, which says for each whether it is asked for. Rules are written against a builder
(see `builder.Builder`): given the IR builder they make IR, given an eager builder they run at once.

Imports: `types`. The table itself is `ops.TABLE`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..types import TensorType

Rule = Callable[..., Any]


class Scope(NamedTuple):
    """What the rules of an op can ask for, where it is applied."""

    b: Any
    attrs: Mapping[str, Any]
    operands: Sequence[Any]
    types: Sequence[TensorType]
    outs: Sequence[Any]
    cts: Sequence[Any] = ()
    wanted: Sequence[bool] = ()
    t: Any = None


Source = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """A rule with its parameter names read. `sources` says of each where in a Scope it stands: the field,
    and the key in it or None. `operands` and `outs` are the positions it asks for."""

    rule: Rule
    sources: tuple[Source, ...]
    operands: tuple[int, ...]
    outs: tuple[int, ...]

    @staticmethod
    def of(rule: Rule, operands: Sequence[str], attrs: Sequence[str]) -> Bound:
        names = tuple(inspect.signature(rule).parameters)
        known = _sources(operands, attrs)
        if unknown := set(names) - set(known):
            raise ValueError(f"rule asks for {sorted(unknown)}; it can have {sorted(known)}")
        return Bound(
            rule,
            tuple(known[n] for n in names),
            tuple(i for i, o in enumerate(operands) if o.rstrip("*") in names),
            tuple(i for i, o in enumerate(OUTS) if o in names or "outs" in names),
        )

    def __call__(self, scope: Scope) -> Any:
        return self.rule(*[scope[at] if key is None else scope[at][key] for at, key in self.sources])


OUTS = ("out", "out1", "out2")


def _sources(operands: Sequence[str], attrs: Sequence[str]) -> dict[str, Source]:
    """Where in a Scope each name stands that a rule of an op with these operands and attributes can have."""
    at = {name: i for i, name in enumerate(Scope._fields)}
    found: dict[str, Source] = {name: (at[name], None) for name in ("b", "cts", "wanted", "outs", "t")}
    found["ct"] = (at["cts"], 0)
    found |= {out: (at["outs"], i) for i, out in enumerate(OUTS)}
    found |= {attr: (at["attrs"], attr) for attr in attrs}
    for i, operand in enumerate(operands):
        name, key = (operand[:-1], None) if operand.endswith("*") else (operand, i)
        found[name], found[f"{name}_type"] = (at["operands"], key), (at["types"], key)
    return found


@dataclass(frozen=True)
class Partials:
    rules: tuple[Rule | None, ...]

    def __init__(self, *rules: Rule | None) -> None:
        object.__setattr__(self, "rules", rules)


@dataclass(frozen=True)
class Linear:
    transposes: tuple[Rule | None, ...]

    def __init__(self, *transposes: Rule | None) -> None:
        object.__setattr__(self, "transposes", transposes)


@dataclass(frozen=True)
class Rules:
    vjp: tuple[Rule | None, ...]
    jvp: tuple[Rule | None, ...]


@dataclass(frozen=True)
class Nondiff:
    reason: str


Derivative = Partials | Linear | Rules | Nondiff


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs for the op contract test: arrays and attributes. `grad` says whether its gradient can be
    compared with finite differences there (no kinks, no ties, inside the domain)."""

    args: tuple[np.ndarray, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    grad: bool = True


TRAITS = {
    "elementwise": "operands and the one result have one shape; each element comes from those at its place",
    "commutative": "two operands, which may be exchanged",
    "view": "an index map of its first operand: every element of the result is one of the operand's",
    "reduction": "the one result has fewer axes, each element made of those along the axes dropped",
    "traps": "some operand values are errors (a zero integer divisor, an index out of range): never "
    "to be computed where the program would not have",
    "effect": "does something beside giving its results (prints, calls the host): never dropped, never shared",
    "barrier": "steers differentiation: no rewrite looks through it until differentiation is done",
}

Samples = Callable[["np.random.Generator"], Iterable[Sample]]


@dataclass(frozen=True)
class OpDef:
    """A primitive. `operands` are their names; a last one that ends in `*` takes any number.

    infer(*types, **attrs) -> TensorType, or a tuple of them for an op with several results; raises
    ShapeError, DTypeError or AxisError, and names the types it saw. ref(*arrays, **attrs) -> array or
    tuple, the meaning in NumPy: values of exactly the inferred types; call it through `evaluate`.
    `traits` are some of TRAITS.
    """

    name: str
    operands: tuple[str, ...]
    attrs: tuple[str, ...]
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    ref: Callable[..., Any]
    derivative: Derivative
    samples: Samples
    doc: str
    traits: frozenset[str] = frozenset()
    vjp: tuple[Bound | None, ...] = field(init=False)
    jvp: tuple[Bound | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        if unknown := self.traits - TRAITS.keys():
            raise ValueError(f"{self.name}: unknown traits {sorted(unknown)}; there are {sorted(TRAITS)}")
        match self.derivative:
            case Partials(rules):
                vjp = jvp = rules
            case Linear(transposes):
                vjp, jvp = transposes, ()
            case Rules(vjp, jvp):
                pass
            case Nondiff():
                vjp, jvp = (), ()
        bind = self._bind
        object.__setattr__(self, "vjp", tuple(map(bind, vjp)))
        object.__setattr__(self, "jvp", tuple(map(bind, jvp)))

    def _bind(self, rule: Rule | None) -> Bound | None:
        return None if rule is None else Bound.of(rule, self.operands, self.attrs)

    @property
    def variadic(self) -> bool:
        return self.operands[-1:] != () and self.operands[-1].endswith("*")

    @property
    def elementwise(self) -> bool:
        return "elementwise" in self.traits

    def result_types(self, types: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """The types of the results. Raises TypeError for a wrong number of operands or wrong attributes."""
        if not self.variadic and len(types) != len(self.operands):
            raise TypeError(f"{self.name} takes {len(self.operands)} operands, got {len(types)}")
        if set(attrs) != set(self.attrs):
            raise TypeError(f"{self.name} takes attributes {list(self.attrs)}, got {list(attrs)}")
        inferred = self.infer(*types, **attrs)
        return inferred if isinstance(inferred, tuple) else (inferred,)

    def evaluate(self, args: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
        """The results on arrays whose types `result_types` accepts; read-only, perhaps views of `args`.

        The one place where NumPy's floating-point warnings are silenced (nan and inf are values here) and
        where the scalars it makes of 0-d arrays become arrays again. Raises BoundsError, DivisionByZero.
        """
        if "view" in self.traits:  # it computes nothing, and setting the state takes longer than a view
            result = self.ref(*args, **attrs)
        else:
            with np.errstate(all="ignore"):
                result = self.ref(*args, **attrs)
        if isinstance(result, tuple):
            return tuple([r if type(r) is np.ndarray else np.asarray(r) for r in result])
        return (result if type(result) is np.ndarray else np.asarray(result),)

    def _rule(self, rules: tuple[Bound | None, ...], i: int) -> Bound | None:
        if not rules:
            return None
        return rules[0] if self.variadic else rules[i]

    def vjp_rule(self, i: int) -> Bound | None:
        """The rule for operand i's cotangent, or None where the op has no derivative there."""
        return self._rule(self.vjp, i)

    def jvp_rule(self, i: int) -> Bound | None:
        """The rule for operand i's tangent; None too for a linear op, whose JVP is itself."""
        return self._rule(self.jvp, i)

    def saves(self, wanted: Sequence[bool]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which operands and which results the VJP reads when the cotangents in `wanted` are asked for."""
        rules = [r for i, w in enumerate(wanted) if w and (r := self.vjp_rule(i)) is not None]
        operands = {i for r in rules for i in r.operands}
        if self.variadic and operands:
            operands = set(range(len(wanted)))
        return tuple(sorted(operands)), tuple(sorted({i for r in rules for i in r.outs}))
