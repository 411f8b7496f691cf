"""Rules for the rewrite driver, written as patterns.

A pattern is a Python expression over ops:
  mul(x, neg(y))             an op and its operands; a commutative op is tried in both orders, and keeps the
                             first that matches, whatever the rest of the pattern then finds
  x, y, ...                  any value; the same name twice, the same value
  1, -0.0, True              a constant filled with this; numbers match bit for bit (0 is not -0.0), True and
                             False match bool constants only
  C, D                       (capitals) a constant filled with one number, which is bound
  permute(x, perm=p)         an attribute, bound to p; or a literal that it must equal: sum(x, axes=())
A replacement is an expression of the same kind, or a function whose parameter names say what it needs:
`b` the builder, what the pattern binds, `out_type` the type to make. It may return None: not here. `when`
is a condition on the same names. Patterns are compiled to closures once, when a rule is made.

Imports: `rewrite`, `core`, `ops`.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

from .core import Attrs, Value
from .ops import TABLE
from .rewrite import Candidate, Outs, Rewrite, Rewriter

Env = dict[str, Any]
Matcher = Callable[[Rewriter, Value, Env], bool]


class Procedure(Rewrite):
    """A rule as a function: `compute(b, at)` gives the replacement of the candidate `at`, or None."""

    def __init__(
        self, ops: Iterable[str], compute: Callable[[Rewriter, Candidate], Value | Outs | None], *,
        needs: str = "", exact: bool = True,
    ) -> None:
        self.ops, self.compute, self.exact = tuple(ops), compute, exact
        self.needs = frozenset(needs.split())

    def __str__(self) -> str:
        return self.compute.__name__

    def apply(self, b: Rewriter, at: Candidate) -> Outs | None:
        out = self.compute(b, at)
        return (out,) if isinstance(out, Value) else out


class Rule(Rewrite):
    """`pattern` becomes `replacement` where `when` holds; the header of this module explains them."""

    def __init__(
        self, pattern: str, replacement: str | Callable[..., Value | None],
        when: Callable[..., bool] | None = None, *, exact: bool = True,
    ) -> None:
        root = _expression(pattern)
        assert isinstance(root, ast.Call)
        self.pattern, self.exact = pattern, exact
        self.ops = (_op_of(root),)
        self.needs = frozenset(n for a in root.args if (n := _needed(a)) is not None)
        self.match = _match_call(root)
        self.build = _named(_build(replacement) if isinstance(replacement, str) else replacement)
        self.when = _named(when) if when is not None else None

    def __str__(self) -> str:
        return self.pattern

    def apply(self, b: Rewriter, at: Candidate) -> Outs | None:
        env: Env = {}
        if not self.match(b, at.args, at.attrs, env):
            return None
        env["b"], env["out_type"] = b, at.types[0]
        if self.when is not None and not self.when(env):
            return None
        out = self.build(env)
        return None if out is None else (out,)


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _op_of(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Name)
    return TABLE[call.func.id].name


def _literal(node: ast.expr) -> Any:
    """The literal that `node` is; None for a name or a call."""
    return None if isinstance(node, ast.Name | ast.Call) else ast.literal_eval(node)


def _needed(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call):
        return _op_of(node)
    free = isinstance(node, ast.Name) and not node.id.isupper()
    return None if free else "const"


def _named(f: Callable[..., Any]) -> Callable[[Env], Any]:
    """`f`, called with what its parameters name."""
    names = tuple(inspect.signature(f).parameters)
    if names == ("env",):
        return f
    return lambda env: f(*[env[n] for n in names])


def _match(node: ast.expr) -> Matcher:
    match node:
        case ast.Name(name) if name.isupper():
            return lambda b, value, env: (n := b.number(value)) is not None and _bind(env, name, n)
        case ast.Name(name):
            return lambda b, value, env: _bind(env, name, value)
        case ast.Call():
            op, inner = _op_of(node), _match_call(node)

            def call(b: Rewriter, value: Value, env: Env) -> bool:
                instr = b.defs.get(value)
                return instr is not None and instr.op == op and inner(b, instr.args, instr.attrs, env)

            return call
    literal = _literal(node)
    return lambda b, value, env: _is_number(b.number(value), literal)


def _match_call(node: ast.Call) -> Callable[[Rewriter, Outs, Attrs, Env], bool]:
    operands = tuple(_match(a) for a in node.args)
    attrs = tuple((k.arg or "", _match_attr(k.value)) for k in node.keywords)
    commutes = "commutative" in TABLE[_op_of(node)].traits

    def in_order(b: Rewriter, args: Outs, env: Env) -> bool:
        return all(match(b, a, env) for match, a in zip(operands, args, strict=True))

    def call(b: Rewriter, args: Outs, given: Attrs, env: Env) -> bool:
        if len(args) != len(operands):
            return False
        before = dict(env) if commutes else env
        if not in_order(b, args, env):
            if not commutes:
                return False
            env.clear()
            env.update(before)
            if not in_order(b, args[::-1], env):
                return False
        return all(match(given[key], env) for key, match in attrs)

    return call


def _match_attr(node: ast.expr) -> Callable[[Any, Env], bool]:
    if isinstance(node, ast.Name):
        return lambda value, env: _bind(env, node.id, value)
    literal = _literal(node)
    return lambda value, env: bool(value == literal)


def _bind(env: Env, name: str, value: Any) -> bool:
    if name in env:
        return bool(env[name] == value)
    env[name] = value
    return True


def _is_number(number: bool | int | float | None, literal: bool | int | float) -> bool:
    """Whether they are the same number, bit for bit; a bool is no number but True or False."""
    if number is None or isinstance(number, bool) is not isinstance(literal, bool):
        return False
    return number == literal and math.copysign(1, number) == math.copysign(1, literal)


def _build(text: str) -> Callable[[Env], Value]:
    """The function that writes the expression `text`."""
    make = _make(_expression(text))

    def build(env: Env) -> Value:
        made = make(env)
        return made if isinstance(made, Value) else env["b"].constant(made, env["out_type"])

    return build


def _make(node: ast.expr) -> Callable[[Env], Any]:
    if isinstance(node, ast.Name):
        name = node.id
        return lambda env: env[name]
    if not isinstance(node, ast.Call):
        literal = _literal(node)
        return lambda env: literal
    op = _op_of(node)
    operands = tuple(_make(a) for a in node.args)
    attrs = tuple((k.arg or "", _make(k.value)) for k in node.keywords)

    def make(env: Env) -> Value:
        written: Value = env["b"].apply(op, [m(env) for m in operands], {key: m(env) for key, m in attrs})
        return written

    return make
