"""The passes, the driver and the pipeline: meanings, derivatives, traps, names and locations stay."""

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from generate import arguments, assert_same, branching_functions, functions, normal_arguments, outcome
from hypothesis import given
from hypothesis import strategies as st

from jitgrad.ir import passes
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function, Instr, Value
from jitgrad.ir.differentiate import vjp
from jitgrad.ir.errors import BoundsError, DifferentiationError, VerifyError
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.ops import TABLE
from jitgrad.ir.parser import parse_function
from jitgrad.ir.passes import PASSES, PIPELINE, cse, dce, run_pipeline, simplify, strip
from jitgrad.ir.patterns import Procedure, Rule
from jitgrad.ir.printer import to_text
from jitgrad.ir.rewrite import DEPTH, RuleTable, rewrite
from jitgrad.ir.rules import RULES, holds
from jitgrad.ir.types import DTYPES, TensorType, f32, f64, i64
from jitgrad.ir.verify import verify

VECTOR = TensorType(f32, (4,))

# Properties.


@given(functions(custom=True), st.integers(0, 99), st.booleans())
def test_passes_keep_meanings(f: Function, seed: int, wild: bool) -> None:
    args = arguments(f, seed, wild)
    want = outcome(f, args)
    for name, run in PASSES.items():
        g = run(f)
        verify(g)
        assert_same(outcome(g, args), want)
        assert g.params == f.params, name
    assert_same(outcome(run_pipeline(f), args), want)


@given(branching_functions(), st.integers(0, 99))
def test_passes_keep_meanings_of_branches(f: Function, seed: int) -> None:
    args = arguments(f, seed)
    want = outcome(f, args)
    for run in (*PASSES.values(), run_pipeline):
        g = run(f)
        verify(g)
        assert_same(outcome(g, args), want)
        assert [b.label for b in g.blocks] == [b.label for b in f.blocks]


@given(functions(custom=True), st.integers(0, 99))
def test_the_pipeline_keeps_derivatives(f: Function, seed: int) -> None:
    wrt = [i for i, p in enumerate(f.params) if p.type.dtype.is_floating_point]
    try:
        before = vjp(f, wrt)
    except DifferentiationError:
        return
    after = vjp(run_pipeline(f), wrt)
    args = normal_arguments(before, seed)
    want, got = outcome(before, args), outcome(after, args)
    if not isinstance(want, type):
        finite = all(np.isfinite(a).all() for a in want if a.dtype.kind == "f")
        if not finite:  # 0 times inf in one of the two, and not in the other
            return
    assert_same(got, want, exact=False, rtol=1e-3)


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_pipeline_keeps_derivatives_where_elements_tie(op: str) -> None:
    """Two reductions share a cotangent first among rows, then in them: not as one over both axes would."""
    b = FunctionBuilder()
    x = b.param(TensorType(f64, (2, 2)))
    rows = b.apply(op, (x,), {"axes": (1,)})
    f = b.finish("f", [b.apply(op, (rows,), {"axes": (0,)})])
    args = [np.array([[1.0, 1.0], [1.0, 0.0 if op == "max" else 2.0]]), np.array(1.0)]
    assert_same(interpret(vjp(run_pipeline(f), [0]), args), interpret(vjp(f, [0]), args))


@given(functions(custom=True))
def test_simplify_is_idempotent(f: Function) -> None:
    once = simplify(f)
    assert simplify(once) is once


@given(functions(custom=True))
def test_dce_and_cse_are_idempotent(f: Function) -> None:
    for run in (dce, cse, strip):
        once = run(f)
        assert run(once) is once


# The pipeline.


def test_the_pipeline_names_its_passes() -> None:
    assert {p.__name__ for p in PIPELINE} <= PASSES.keys()
    assert all(p.__doc__ for p in PASSES.values())
    assert passes.VERIFY_EACH  # set for all tests


def test_a_pass_that_breaks_the_ir_is_named() -> None:
    def breaks(f: Function) -> Function:
        return Function.straight(f.name, f.params, (), (Value(VECTOR, "nowhere"),))

    f = Function.straight("f", (x := Value(VECTOR, "x"),), (), (x,))
    with pytest.raises(VerifyError, match=r"after breaks: @f .*%nowhere is not defined"):
        run_pipeline(f, (simplify, breaks), verify_each=True)
    run_pipeline(f, (simplify, breaks), verify_each=False)


def test_nothing_to_do_is_the_same_function() -> None:
    f = parse_function("func @f(%x: f32[2]) -> (f32[2]) {\n%0: f32[2] = exp %x\nreturn %0\n}")
    for run in PASSES.values():
        assert run(f) is f


def test_a_gather_out_of_range_stays_an_error() -> None:
    text = """func @loss(%x: f32[4,8], %y: i64[4]) -> (f32[4]) {
      %0: f32[4,8] = exp %x
      %1: f32[4] = gather %0, %y {axis=1, batch=1}
      return %1
    }"""
    f = run_pipeline(parse_function(text))
    assert [i.op for i in f.instrs] == ["gather", "exp"]
    joint = run_pipeline(strip(vjp(f, [0])))
    assert "scatter_add" not in {i.op for i in joint.instrs}
    args = [np.zeros((4, 8), np.float32), np.array([0, 1, 8, 3]), np.ones(4, np.float32)]
    with pytest.raises(BoundsError):
        interpret(joint, args)


def test_one_hot_holds_where_the_index_has_a_small_dtype() -> None:
    """An index of 8 bits into more places than it can count."""
    f = parse_function(
        """func @f(%y: u8[4], %x: f32[4,300], %u: f32[4]) -> (f32[4], f32[4,300]) {
          %0: f32[4] = gather %x, %y {axis=1, batch=1}
          %1: f32[4,300] = const {value=0.0, dtype=f32, shape=[4, 300]}
          %2: f32[4,300] = scatter_add %1, %y, %u {axis=1, batch=1}
          return %0, %2
        }"""
    )
    args = [np.array([0, 255, 44, 3], np.uint8), np.ones((4, 300), np.float32), np.arange(4, dtype=np.float32)]
    g = run_pipeline(f)
    assert "scatter_add" not in {i.op for i in g.instrs}
    assert_same(interpret(g, args), interpret(f, args))


# The driver.


def test_patterns_tell_constants_apart() -> None:
    """0 matches 0.0 and 0, not -0.0; True matches no number."""
    table = RuleTable([Rule("add(x, 0)", "x"), Rule("maximum(x, True)", "x")])
    for dtype, value, fires in (
        ("f32", 0.0, True), ("f32", 0, True), ("f32", -0.0, False), ("i64", 0, True), ("i64", False, True),
    ):
        type = TensorType(DTYPES[dtype], (2,))
        b = FunctionBuilder()
        x = b.param(type)
        f = b.finish("f", [b.add(x, b.constant(value, type))])
        assert (rewrite(f, table).results == (x,)) is fires, (dtype, value)
    for dtype, fires in (("i64", False), ("bool", True)):
        type = TensorType(DTYPES[dtype], (2,))
        b = FunctionBuilder()
        x = b.param(type)
        f = b.finish("f", [b.maximum(x, b.constant(1, type))])
        assert (rewrite(f, table).results == (x,)) is fires, dtype


def test_a_constant_is_what_its_dtype_holds() -> None:
    """1e300 is inf in float32, 1 + 2^-30 is 1: said without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype, value, fires in ((f32, 1 + 2**-30, True), (f64, 1 + 2**-30, False), (f32, 1e300, False)):
            type = TensorType(dtype, (2,))
            b = FunctionBuilder()
            x = b.param(type)
            f = b.finish("f", [b.mul(x, b.constant(value, type))])
            assert (simplify(f).results == (x,)) is fires, (dtype, value)


def test_a_name_twice_is_one_value_and_operands_commute() -> None:
    table = RuleTable([Rule("add(mul(x, y), mul(x, z))", "mul(x, add(y, z))")])
    b = FunctionBuilder()
    x, y, z = (b.param(VECTOR, n) for n in "xyz")
    f = b.finish("f", [b.add(b.mul(x, y), b.mul(z, x)), b.add(b.mul(x, y), b.mul(z, z))])
    g = rewrite(f, table)
    made = {i.out: i for i in g.instrs}
    shared, other = g.results
    assert (made[shared].op, made[other].op) == ("mul", "add")
    assert made[shared].args[0] is x


def test_a_replacement_of_another_type_is_an_error() -> None:
    table = RuleTable([Rule("exp(x)", lambda b, x: b.sum(x, axes=(0,)))])
    b = FunctionBuilder()
    f = b.finish("f", [b.exp(b.param(VECTOR))])
    with pytest.raises(AssertionError, match=r"rule exp\(x\) made"):
        rewrite(f, table)


def test_rules_that_undo_each_other_end() -> None:
    table = RuleTable([Rule("neg(x)", "mul(x, -1.0)"), Rule("mul(x, -1.0)", "neg(x)")])
    b = FunctionBuilder()
    x = b.param(VECTOR)
    f = b.finish("f", [b.neg(x)])
    g = rewrite(f, table)
    assert len(g.instrs) <= DEPTH + 1
    args = [np.array([0, -0.0, 1, math.nan], np.float32)]
    assert_same(interpret(g, args), interpret(f, args))


def test_nested_rewrites_meet_no_recursion_limit() -> None:
    """A slice of what 5000 concats nest: each rewrite writes the next candidate."""
    b = FunctionBuilder()
    one, two = (TensorType(f32, (n,)) for n in (1, 2))
    x = v = b.param(two, "x")
    y = b.param(one, "y")
    for _ in range(5000):
        v = b.slice(b.concat(v, y, axis=0), start=(0,), limit=(2,), step=(1,))
    f = b.finish("f", [v])
    assert simplify(f).results == (x,)


def test_effects_are_neither_dropped_nor_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    told = replace(TABLE["neg"], name="tell", traits=frozenset({"effect"}))
    monkeypatch.setitem(TABLE, "tell", told)
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (2,)))
    for _ in range(2):
        b.emit("tell", (b.mul(x, 2.0),), {})
    f = run_pipeline(b.finish("f", [x]))
    assert [i.op for i in f.instrs] == ["const", "mul", "tell", "tell"]


def test_detach_is_a_wall() -> None:
    f = parse_function(
        """func @f(%x: f32[4]) -> (f32[4], f32[4]) {
          %0: f32[4] = neg %x
          %1: f32[4] = detach %0
          %2: f32[4] = neg %1
          %3: f32[4] = neg %0
          return %2, %3
        }"""
    )
    g = run_pipeline(f)
    assert [i.op for i in g.instrs] == ["neg", "detach", "neg"]
    assert g.results[1] is f.params[0]
    assert strip(g).results[0] is not f.params[0]
    assert run_pipeline(strip(g)).results == (f.params[0], f.params[0])


def test_names_and_locations_stay() -> None:
    f = parse_function(
        """func @f(%x: f32[4], %y: f32[4]) -> (f32[4], f32[4]) {
          %a: f32[4] = const {value=-1.0, dtype=f32, shape=[4]}  @ a.py:1
          %b: f32[4] = mul %x, %a                                @ a.py:2:4-9 ~%q
          %c: f32[4] = add %b, %y                                @ a.py:3
          return %b, %c
        }"""
    )
    assert to_text(run_pipeline(f)).splitlines()[1:-1] == [
        "  %b: f32[4] = neg %x      @ a.py:2:4-9 ~%q",
        "  %c: f32[4] = sub %y, %x  @ a.py:3",
        "  return %b, %c",
    ]


def test_casts_go_at_once_only_where_nothing_is_lost() -> None:
    """`holds` against NumPy: every value of the narrow dtype survives the way there and back."""
    for a, b in itertools.product(DTYPES.values(), repeat=2):
        if a.kind == "float":
            values = np.array([1 / 3, 1e30, -0.0, np.finfo(a.numpy).tiny, np.finfo(a.numpy).max], a.numpy)
        elif a.kind == "bool":
            values = np.array([False, True])
        else:
            info = np.iinfo(a.numpy)
            values = np.array([info.min, info.min + 1, 0, 1, info.max - 1, info.max], a.numpy)
        there = TABLE["cast"].evaluate([values], {"dtype": b})[0]
        survived = [float(v) if a.kind == "float" else int(v) for v in values] == [
            float(v) if a.kind == "float" else int(v) if np.isfinite(v) else None for v in there]
        assert holds(a, b) == survived, (a, b)


def test_every_rule_names_ops_of_the_table() -> None:
    for rule in RULES.rules:
        assert rule.ops
        assert set(rule.ops) <= TABLE.keys()
        assert isinstance(rule, Rule | Procedure)


# Size.


def chain(n: int) -> Function:
    b = FunctionBuilder()
    x = b.param(VECTOR, "x")
    v = x
    for _ in range(n // 4):
        v = b.sub(b.mul(b.tanh(v), 1.5), b.neg(x))
    return b.finish("f", [v])


@pytest.mark.parametrize("run", [*PASSES.values(), run_pipeline], ids=lambda p: p.__name__)
def test_passes_take_long_functions(run: Callable[[Function], Function]) -> None:
    """Nothing recurses along a chain of instructions, and no step looks at all of them."""
    f = chain(30_000)
    g = run(f)
    assert len(g.instrs) <= len(f.instrs)
    assert g.params == f.params


def test_dead_instructions_with_deep_dependencies() -> None:
    b = FunctionBuilder()
    x = b.param(TensorType(i64, (2,)))
    v = x
    for _ in range(20_000):
        v = b.neg(v)
    b.floor_divide(x, v)
    f = b.finish("f", [x])
    assert len(dce(f).instrs) == 20_001
    assert isinstance(f.instrs[0], Instr)
