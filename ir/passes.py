"""The passes, and the one order they run in.

A pass takes a function and gives one that computes the same: bit for bit but for the rules that say
otherwise (`rules`). Each works block by block, and keeps names, locations and traps. Those in PIPELINE
preserve derivatives as well, so the pipeline runs before differentiation and again after it; `strip` alone
does not, for it removes what steers differentiation.

With VERIFY_EACH (or the argument of `run_pipeline`) the result of every pass is verified; tests set it.

Imports: `core`, `ops`, `gathers`, `pads`, `rewrite`, `rules`, `scatters`, `verify`, `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .core import Block, Function, Instr, Value
from .errors import VerifyError
from .gathers import Key, definitions, one_hot, sink_gathers, trap_key
from .ops import TABLE
from .pads import join_pads
from .rewrite import RuleTable, rewrite, with_blocks, with_instrs
from .rules import FOLD, RULES
from .scatters import sink_scatters
from .verify import verify

Pass = Callable[[Function], Function]

VERIFY_EACH = False

_NONE = RuleTable(())
_FOLD = RuleTable(FOLD)


def cse(f: Function) -> Function:
    """Common subexpressions: of equal instructions (NaN constants and -0.0 by their bits) the first stays."""
    return rewrite(f, _NONE)


def fold(f: Function) -> Function:
    """What constants make is a constant, where it is one number or small."""
    return rewrite(f, _FOLD)


def simplify(f: Function) -> Function:
    """All rules of `rules.RULES`, to their fixed point; folds and shares on the way."""
    return rewrite(f, RULES)


def dce(f: Function) -> Function:
    """Instructions that no result needs go, unless they have an effect.

    One that may trap goes if it cannot (a constant divisor) or if one that stays checks the same; else an
    error that the program would have raised would be lost.
    """
    return with_blocks(f, map(_without_dead, f.blocks))


def _without_dead(block: Block) -> Block:
    defs = definitions(block)
    needed: set[Value] = set()
    checked: set[Key] = set()

    def need(values: Iterable[Value]) -> None:
        stack = list(values)
        while stack:
            value = stack.pop()
            instr = defs.get(value)
            if value in needed or instr is None:
                continue
            needed.update(instr.outs)
            stack.extend(instr.args)
            if key := trap_key(instr, defs):
                checked.add(key)

    need(block.uses())
    need(out for instr in block.instrs if "effect" in TABLE[instr.op].traits for out in instr.outs)
    for instr in block.instrs:
        key = trap_key(instr, defs)
        if key is not None and key not in checked:
            need(instr.outs)
    return with_instrs(block, [i for i in block.instrs if not needed.isdisjoint(i.outs)], {})


def strip(f: Function) -> Function:
    """`detach` and `custom_grad` go, their results becoming their operands: after differentiation."""
    return with_blocks(f, map(_stripped, f.blocks))


def _stripped(block: Block) -> Block:
    env: dict[Value, Value] = {}
    instrs: list[Instr] = []
    for instr in block.instrs:
        args = tuple([env.get(a, a) for a in instr.args])
        if "barrier" in TABLE[instr.op].traits:
            env.update(zip(instr.outs, args, strict=False))
        else:
            same = args == instr.args
            instrs.append(instr if same else Instr(instr.op, args, instr.attrs, instr.outs, instr.loc))
    return with_instrs(block, instrs, env)


# simplify first, for the passes behind it ask for canonical forms: it folds, shares and rewrites at once,
# so that one run reaches the fixed point of all three. dce before sink_gathers and join_pads, which ask who
# reads a value and must not count dead readers; one_hot after sink_gathers, since a gather that sank still
# checks the index for the scatter; sink_scatters after one_hot, which takes the scatters that fuse. dce last, for
# what these four left unread.
PIPELINE: tuple[Pass, ...] = (simplify, dce, join_pads, sink_gathers, one_hot, sink_scatters, dce)

# By name, for the command line and the tests.
PASSES: dict[str, Pass] = {
    p.__name__: p for p in (cse, fold, simplify, dce, join_pads, sink_gathers, one_hot, sink_scatters, strip)
}


def run_pipeline(
    f: Function, passes: Iterable[Pass] = PIPELINE, verify_each: bool | None = None
) -> Function:
    """`f` after the passes, in order. Raises VerifyError, naming the pass, if one breaks an invariant."""
    check = VERIFY_EACH if verify_each is None else verify_each
    for p in passes:
        f = p(f)
        if check:
            try:
                verify(f)
            except VerifyError as error:
                raise VerifyError(f"after {p.__name__}: {error.message}", where=error.where) from error
    return f
