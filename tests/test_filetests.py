"""The files tests/filetests/*.jir: functions, the stages to run them through, and the text to expect.

    ; test: simplify, dce            stages: names of passes, pipeline, vjp, jvp, split (after vjp)
    ; compare: rounding              results may differ in rounding; without it, in nothing
    func @f(...) -> (...) { ... }
    ; expect:
    ; func @f(...) ...

`pytest --bless` rewrites the expected part. It cannot bless a wrong one: functions are interpreted before
and after, on random arguments with special values, and their derivatives are compared. Every rule of the
rule table must fire on some function here, alone, and then keep its values as exactly as it says.
"""

from functools import cache
from pathlib import Path

import pytest
from generate import arguments, assert_same, normal_arguments, outcome

from jitgrad.ir.core import Function
from jitgrad.ir.differentiate import jvp, vjp
from jitgrad.ir.errors import DifferentiationError
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.passes import PASSES, run_pipeline, simplify
from jitgrad.ir.printer import to_text
from jitgrad.ir.residuals import split
from jitgrad.ir.rewrite import Rewrite, RuleTable, rewrite
from jitgrad.ir.rules import RULES
from jitgrad.ir.verify import verify

FOLDER = Path(__file__).parent / "filetests"
FILES = sorted(FOLDER.glob("*.jir"))
EXPECT = "; expect:\n"
SEEDS = range(4)


def header(text: str, key: str) -> list[str]:
    """The words, separated by commas, of the line `; key: ...`."""
    for line in text.splitlines():
        if line.startswith(f"; {key}:"):
            return [word.strip() for word in line.split(":", 1)[1].split(",")]
    return []


def floats(f: Function) -> list[int]:
    return [i for i, p in enumerate(f.params) if p.type.dtype.is_floating_point]


def roots(text: str, name: str) -> list[Function]:
    """The functions of a file that no other one refers to: those follow them through every stage."""
    functions = parse(text, name)
    referred = {v for f in functions for i in f.walk() for v in i.attrs.values() if isinstance(v, Function)}
    return [f for f in functions if f not in referred]


STAGES = {
    "vjp": lambda f: vjp(f, floats(f)), "jvp": lambda f: jvp(f, floats(f)), "pipeline": run_pipeline,
}


def run(f: Function, stages: list[str]) -> list[Function]:
    """`f` after the stages: one function, or two after a split."""
    out = [f]
    for stage in stages:
        if stage == "split":
            halves = split(out[0], len(f.params), len(f.results))
            out = [halves.forward, halves.backward]
        else:
            out = [STAGES.get(stage, PASSES.get(stage))(g) for g in out]
    return out


def check_gradients(before: Function, after: Function) -> None:
    """Both have the same derivatives at random places, or neither has one."""
    if not before.is_straight or not floats(before):
        return
    try:
        joint = vjp(before, floats(before))
    except DifferentiationError:
        return
    rewritten = vjp(after, floats(after))
    for seed in SEEDS:
        args = normal_arguments(joint, seed)
        assert_same(outcome(rewritten, args), outcome(joint, args), exact=False, rtol=1e-4)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file(path: Path, bless: bool) -> None:
    given, _, expected = path.read_text(encoding="utf-8").partition(EXPECT)
    stages, exact = header(given, "test"), header(given, "compare") != ["rounding"]
    assert stages, "the header '; test: ...' is missing"
    made: list[Function] = []
    for f in roots(given, path.name):
        verify(f)
        out = run(f, stages)
        made += out
        for g in out:
            verify(g)
        if set(stages) <= {*PASSES, "pipeline"}:
            for seed in SEEDS:
                for wild in (True, False):
                    args = arguments(f, seed, wild)
                    assert_same(outcome(out[0], args), outcome(f, args), exact=exact)
            if "strip" not in stages:
                check_gradients(f, out[0])
    text = to_text(made)
    assert to_text(parse(text)) == text
    got = "".join(f"; {line}".rstrip() + "\n" for line in text.splitlines())
    if bless:
        path.write_text(given.rstrip() + "\n\n" + EXPECT + got, encoding="utf-8")
    else:
        assert got == expected, "if the new text is right, run pytest --bless"


def test_split_computes_the_joint_function() -> None:
    """The files with a split are checked by running its halves one after the other."""
    for path in FILES:
        given = path.read_text(encoding="utf-8").partition(EXPECT)[0]
        stages = header(given, "test")
        if stages[-1:] != ["split"]:
            continue
        for f in roots(given, path.name):
            (joint,) = run(f, stages[:-1])
            halves = split(joint, len(f.params), len(f.results))
            args = normal_arguments(joint, 0)
            forward = interpret(halves.forward, args[: len(f.params)])
            results, residuals = forward[: len(f.results)], forward[len(f.results) :]
            places = {"param": args, "result": results, "residual": residuals}
            saved = [places[kind][i] for kind, i in halves.saved]
            gradients = interpret(halves.backward, [*saved, *args[len(f.params) :]])
            assert_same([*results, *gradients], interpret(joint, args))


# Rules.


@cache
def functions() -> list[Function]:
    return [f for path in FILES for f in roots(path.read_text(encoding="utf-8"), path.name)]


NOTHING = RuleTable(())


@pytest.mark.parametrize("rule", RULES.rules, ids=str)
def test_rule_fires_and_keeps_values(rule: Rewrite) -> None:
    table = RuleTable([rule])
    fired = 0
    for f in functions():
        shared = rewrite(f, NOTHING)
        g = rewrite(f, table)
        if to_text(g) == to_text(shared):
            continue
        fired += 1
        verify(g)
        for seed in SEEDS:
            args = arguments(f, seed, wild=seed % 2 == 0)
            assert_same(outcome(g, args), outcome(f, args), exact=rule.exact)
    assert fired, "no function of tests/filetests shows this rule"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_simplify_reaches_the_fixed_point(path: Path) -> None:
    """No rule applies to what `simplify` leaves: so none undoes another, and none was forgotten."""
    for f in roots(path.read_text(encoding="utf-8"), path.name):
        simple = simplify(f)
        for rule in RULES.rules:
            assert rewrite(simple, RuleTable([rule])) is simple, rule


def test_a_wrong_rewrite_cannot_be_blessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """x + 0.0 is not x: a pass that says so fails on -0.0, whatever the file expects."""
    text = """; test: wrong
func @f(%x: f32[64]) -> (f32[64]) {
  %0: f32[64] = const {value=0.0, dtype=f32, shape=[64]}
  %1: f32[64] = add %x, %0
  return %1
}
"""

    def wrong(f: Function) -> Function:
        return Function.straight(f.name, f.params, (), f.params)

    monkeypatch.setitem(PASSES, "wrong", wrong)
    path = tmp_path / "wrong.jir"
    path.write_text(text)
    with pytest.raises(AssertionError, match="signs of zero"):
        test_file(path, bless=True)
    assert path.read_text() == text


def test_the_text_before_and_after_is_interpreted() -> None:
    """A function and its printed and parsed self have one meaning."""
    for f in functions():
        (again,) = (g for g in parse(to_text(f)) if g.name == f.name)
        for seed in SEEDS:
            args = arguments(f, seed)
            assert_same(outcome(again, args), outcome(f, args))
