"""Splits a joint function into forward and backward, and chooses what the forward saves for the backward.

Of the values that both need, each is kept (a residual), read again where the caller has it anyway (a
parameter or a result of the forward), or computed again in the backward from others that are there. A
minimum cut (`mincut`) finds the choice of the least estimated time.

The prices are in bytes: the memory traffic that takes as long. One pass is a value's bytes moved once.

  - To keep a value costs two passes, to write it and to read it, HELD passes for the cache and the memory it
    takes meanwhile, and KEEP_BYTES for its allocation. It need not be written for the backward where it lies
    in memory anyway: where an op in IN_MEMORY makes it, or reads it in the forward. A value of more than
    CACHED bytes that is not there anyway costs SPREAD passes more where it is SPREAD_FROM times as large as
    all that it is computed from (something of every pair of n points): memory for it grows as that of no other.
  - To read a parameter or a result again costs one pass and REFERENCE_BYTES.
  - To compute a value again costs `WORK[op]` passes (see `costs`), and two more, written and read, where an
    op in IN_MEMORY reads it in the backward. A reduction over up to SHORT elements of something of every pair is
    so many additions (it is unrolled). An op that is not in that table is never computed again.
  - What the results of the forward do not need costs nothing to compute in the backward, whatever it is:
    it is computed once on either side. Constants are written again, for nothing.
  - What can trap and depends on no cotangent is computed in the forward and only there, needed or not:
    the backward reports no error of the forward's, and the forward none less than the joint function.

What is computed again is computed by the same instructions, so it is the same to the last bit.

Imports: `builder`, `core`, `costs`, `gathers` (what can trap), `mincut`, `ops`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .builder import FunctionBuilder
from .core import Function, Instr, Value
from .costs import WORK
from .gathers import trap_key
from .mincut import keep_or_recompute
from .ops import TABLE

KEEP_BYTES = 1024
HELD = 0.5
CACHED = 1 << 20
SPREAD = 8
SPREAD_FROM = 8
SHORT = 32
REFERENCE_BYTES = 64

# Ops that read and write whole arrays: what passes between them and others is not fused away.
IN_MEMORY = frozenset({"matmul", "conv", "sort", "cumsum", "scatter", "scatter_add"})

Source = tuple[Literal["param", "result", "residual"], int]


@dataclass(frozen=True)
class Split:
    """`forward`: parameters -> results and residuals. `backward`: what was saved, then the cotangents ->
    gradients. `saved` says where each of the backward's first parameters comes from: a parameter of the
    forward, a result of it, or its residual k, which is result number `n_results + k`."""

    forward: Function
    backward: Function
    saved: tuple[Source, ...]


def split(joint: Function, n_params: int, n_results: int) -> Split:
    """The two halves of a joint function, such as `differentiate.vjp` makes.

    Of its parameters the first `n_params` are the forward's, the others cotangents; of its results the
    first `n_results` are the forward's, the others gradients. `@f_vjp` becomes `@f_forward` and
    `@f_backward`. A residual is named after the value it saved: `%s1` of `%1`, `%s_h` of `%h`.

    Raises ValueError where a result of the forward depends on a cotangent, or for control flow.
    """
    graph = _Joint(joint, n_params, n_results)
    kept = graph.choose()
    name = joint.name.removesuffix("_vjp")
    residuals = [v for v in kept if v not in graph.given]
    forward = graph.forward(f"{name}_forward", residuals)
    backward = graph.backward(f"{name}_backward", kept)
    order: dict[Value, Source] = {v: ("residual", k) for k, v in enumerate(residuals)}
    return Split(forward, backward, tuple(graph.given.get(v) or order[v] for v in kept))


class _Joint:
    """A joint function, each of its values known as the forward's or the backward's.

    The backward's values are those that depend on a cotangent. `made_by` is the index of the instruction
    that makes a value, `traps` are the indices of those that can fail; `given` the values the caller has in
    any case; `needed` the forward's values that the backward reads.
    """

    def __init__(self, joint: Function, n_params: int, n_results: int) -> None:
        self.instrs = joint.instrs
        self.params, self.cotangents = joint.params[:n_params], joint.params[n_params:]
        self.results, self.gradients = joint.results[:n_results], joint.results[n_results:]
        self.made_by = {out: i for i, instr in enumerate(self.instrs) for out in instr.outs}
        defs = {out: instr for instr in self.instrs for out in instr.outs}
        self.traps = {i for i, instr in enumerate(self.instrs) if trap_key(instr, defs)}
        self.behind = _depending(self.instrs, self.cotangents)
        if late := [r.name for r in self.results if r in self.behind]:
            raise ValueError(f"@{joint.name}: the result %{late[0]} depends on a cotangent")
        self.given: dict[Value, Source] = {v: ("result", i) for i, v in enumerate(self.results)}
        self.given |= {v: ("param", i) for i, v in enumerate(self.params)}
        self.backward_part = self._ancestors(self.gradients, within=self.behind)
        read = (a for i in self.backward_part for a in self.instrs[i].args)
        self.needed = {v for v in (*self.gradients, *read) if v not in self.behind}

    def _ancestors(self, values: Iterable[Value], within: Collection[Value] | None = None) -> list[int]:
        """The instructions that `values` depend on, in order, walking through values in `within` only."""
        found: set[int] = set()
        stack = list(values)
        while stack:
            v = stack.pop()
            i = self.made_by.get(v)
            if i is not None and i not in found and (within is None or v in within):
                found.add(i)
                stack.extend(self.instrs[i].args)
        return sorted(found)

    def choose(self) -> list[Value]:
        """What the backward gets from the forward: parameters, then computed values in their order."""
        earlier = self._ancestors(self.needed)
        values = [*self.params, *(out for i in earlier for out in self.instrs[i].outs)]
        number = {v: n for n, v in enumerate(values)}
        primal = set(self._ancestors(self.results))
        stored_before = self._stored(primal) | {
            out for i in primal if self.instrs[i].op in IN_MEMORY for out in self.instrs[i].outs
        }
        stored_behind = self._stored(self.backward_part)
        sources = self._sources(values)
        operands: list[Sequence[int]] = []
        keep: list[int] = []
        work: list[int | None] = []
        for v in values:
            made = self.made_by.get(v)
            operands.append([] if made is None else [number[a] for a in self.instrs[made].args])
            spread = v.type.nbytes > CACHED and v not in stored_before and _is_spread(v, sources)
            keep.append(_keep(v, v in self.given, v in stored_before, spread))
            if made is None or made in self.traps:
                work.append(None)
            else:
                passes = _passes(self.instrs[made], sources)
                work.append(_work(self.instrs[made], v, passes, made in primal, v in stored_behind))
        _, kept = keep_or_recompute(operands, keep, work, [number[v] for v in self.needed])
        return [values[n] for n in sorted(kept)]

    def _sources(self, values: Iterable[Value]) -> dict[Value, int]:
        """The size of the largest array that each value is computed from by ops that can be done again."""
        found: dict[Value, int] = {}
        for v in values:
            made = self.made_by.get(v)
            instr = None if made is None else self.instrs[made]
            if instr is None or _passes(instr, found) is None:
                found[v] = v.type.size
            else:
                found[v] = max((found[a] for a in instr.args), default=1)
        return found

    def _stored(self, part: Iterable[int]) -> set[Value]:
        """What ops in IN_MEMORY read in a part of the function, seen through views."""
        found: set[Value] = set()
        for i in part:
            for v in self.instrs[i].args if self.instrs[i].op in IN_MEMORY else ():
                while (made := self.made_by.get(v)) is not None and "view" in TABLE[self.instrs[made].op].traits:
                    v = self.instrs[made].args[0]
                found.add(v)
        return found

    def forward(self, name: str, residuals: Sequence[Value]) -> Function:
        results = (*self.results, *residuals)
        errors = [out for i in self.traps for out in self.instrs[i].outs if out not in self.behind]
        instrs = tuple(self.instrs[i] for i in self._ancestors((*results, *errors)))
        return Function.straight(name, self.params, instrs, results)

    def backward(self, name: str, kept: Sequence[Value]) -> Function:
        b = FunctionBuilder()
        env = {v: b.param(v.type, v.name if v not in self.made_by else _saved_name(v.name)) for v in kept}
        env |= {ct: b.param(ct.type, ct.name) for ct in self.cotangents}
        for i in self.backward_part:
            for operand in self.instrs[i].args:
                self._recompute(b, operand, env)
            _copy(b, self.instrs[i], env)
        for gradient in self.gradients:
            self._recompute(b, gradient, env)
        return b.finish(name, [env[g] for g in self.gradients])

    def _recompute(self, b: FunctionBuilder, value: Value, env: dict[Value, Value]) -> None:
        """Write what `value` is computed from, as far as it is not there; so it stands at its first use."""
        missing: set[int] = set()
        stack = [value]
        while stack:
            v = stack.pop()
            if v not in env and self.made_by[v] not in missing:
                missing.add(self.made_by[v])
                stack.extend(self.instrs[self.made_by[v]].args)
        for i in sorted(missing):
            _copy(b, self.instrs[i], env)


def _depending(instrs: Sequence[Instr], on: Iterable[Value]) -> set[Value]:
    found = set(on)
    for instr in instrs:
        if not found.isdisjoint(instr.args):
            found.update(instr.outs)
    return found


def _copy(b: FunctionBuilder, instr: Instr, env: dict[Value, Value]) -> None:
    env.update(zip(instr.outs, b.copy(instr, env), strict=True))


def _saved_name(name: str) -> str:
    return f"s{name}" if name.isdigit() else f"s_{name}"


def _keep(value: Value, given: bool, stored: bool, spread: bool) -> int:
    if given:
        return REFERENCE_BYTES + value.type.nbytes
    return KEEP_BYTES + round((HELD + (1 if stored else 2) + (SPREAD if spread else 0)) * value.type.nbytes)


def _is_spread(value: Value, sources: Mapping[Value, int]) -> bool:
    return value.type.size > SPREAD_FROM * sources[value]


def _passes(instr: Instr, sources: Mapping[Value, int]) -> float | None:
    """What `instr` costs, in passes over its result; None where it is not computed again."""
    if instr.op in ("sum", "prod", "max", "min"):
        x, size = instr.args[0], max(instr.out.type.size, 1)
        short = x.type.size <= SHORT * size and _is_spread(x, sources)
        return WORK["add"] * x.type.size / size if short else None
    return WORK.get(instr.op)


def _work(instr: Instr, value: Value, passes: float | None, primal: bool, stored: bool) -> int | None:
    """The price of computing `value` in the backward; None where it is not computed again."""
    extra = 2 * value.type.nbytes if stored else 0
    if not primal:
        return extra
    if passes is None:
        return None
    itemsize = max(v.type.dtype.itemsize for v in (value, *instr.args))
    return extra + round(passes * value.type.size * itemsize)
