"""vjp and jvp of straight-line functions against central differences and against each other."""

import numpy as np
import pytest
from generate import functions, normal_arguments
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jitgrad.ir import ops
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Block, Function, Guard, Loc, Return, Value
from jitgrad.ir.differentiate import jvp, vjp
from jitgrad.ir.errors import BoundsError, DifferentiationError, DivisionByZero
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.ops.record import Nondiff, OpDef
from jitgrad.ir.parser import parse_function
from jitgrad.ir.printer import to_text
from jitgrad.ir.types import TensorType, bool_, f32, f64, i64
from jitgrad.ir.verify import verify

# Smooth at the arguments drawn below (normal, so distinct and not zero), all in f64.
FUNCTIONS = {
    "chain": """
func @chain(%x: f64[3,2]) -> (f64[3,2]) {
  %0: f64[3,2] = sin %x
  %1: f64[3,2] = exp %0
  %2: f64[3,2] = tanh %1
  %3: f64[3,2] = mul %2, %x
  return %3
}""",
    "fan_out": """
func @fan_out(%x: f64[4], %y: f64[4]) -> (f64[4], f64[4]) {
  %0: f64[4] = mul %x, %y
  %1: f64[4] = mul %0, %0
  %2: f64[4] = sub %1, %0
  %3: f64[4] = div %2, %y
  %4: f64[4] = atan2 %3, %x
  return %4, %0
}""",
    "matmul": """
func @matmul(%x: f64[2,3,4], %w: f64[2,4,2], %b: f64[2]) -> (f64[]) {
  %0: f64[2,3,2] = matmul %x, %w
  %1: f64[2,3,2] = broadcast %b {shape=[2, 3, 2], dims=[2]}
  %2: f64[2,3,2] = add %0, %1
  %3: f64[2,3,2] = sigmoid %2
  %4: f64[] = sum %3 {axes=[0, 1, 2]}
  return %4
}""",
    "softmax": """
func @softmax(%x: f64[3,4]) -> (f64[3,4]) {
  %0: f64[3] = max %x {axes=[1]}
  %1: f64[3,4] = broadcast %0 {shape=[3, 4], dims=[0]}
  %2: f64[3,4] = sub %x, %1
  %3: f64[3,4] = exp %2
  %4: f64[3] = sum %3 {axes=[1]}
  %5: f64[3,4] = broadcast %4 {shape=[3, 4], dims=[0]}
  %6: f64[3,4] = div %3, %5
  return %6
}""",
    "views": """
func @views(%x: f64[2,3], %f: f64[]) -> (f64[14]) {
  %0: f64[3,2] = permute %x {perm=[1, 0]}
  %1: f64[3,2] = flip %0 {axes=[0]}
  %2: f64[2,1] = slice %1 {start=[0, 1], limit=[3, 2], step=[2, 1]}
  %3: f64[2,3] = broadcast %2 {shape=[2, 3], dims=[0, 1]}
  %4: f64[6] = reshape %3 {shape=[6]}
  %5: f64[8] = pad %4 {low=[1], high=[1], interior=[0]}
  %6: f64[6] = reshape %x {shape=[6]}
  %7: f64[14] = concat %5, %6 {axis=0}
  return %7
}""".replace("pad %4", "pad %4, %f"),
    "indexing": """
func @indexing(%x: f64[4,3], %u: f64[2,3]) -> (f64[2,3], f64[4,3], f64[4,3], f64[4,3]) {
  %0: i64[2] = const {value=[3, 1], dtype=i64, shape=[2]}
  %1: f64[2,3] = gather %x, %0 {axis=0, batch=0}
  %2: f64[2,3] = mul %1, %u
  %3: f64[4,3] = scatter_add %x, %0, %2 {axis=0, batch=0}
  %4: f64[4,3] = scatter %3, %0, %u {axis=0, batch=0}
  %5: f64[4,3] = cumsum %x {axis=0}
  return %2, %3, %4, %5
}""",
    "reductions": """
func @reductions(%x: f64[3,4]) -> (f64[3], f64[4], f64[3,4], f64[3,4]) {
  %0: f64[3] = prod %x {axes=[1]}
  %1: f64[4] = min %x {axes=[0]}
  %2: f64[3,4], %3: i64[3,4] = sort %x {axis=1, descending=false}
  %4: f64[3,4] = mul %2, %x
  %5: f64[3,4], %6: i64[3,4] = sort %4 {axis=0, descending=true}
  return %0, %1, %4, %5
}""",
    "branches": """
func @branches(%x: f64[5], %y: f64[5]) -> (f64[5], f64[5]) {
  %0: bool[5] = lt %x, %y
  %1: f64[5] = mul %x, %x
  %2: f64[5] = select %0, %1, %y
  %3: f64[5] = maximum %x, %y
  %4: f64[5] = minimum %3, %2
  %5: f64[5] = fma %4, %x, %2
  return %5, %4
}""",
    "scalars": """
func @scalars(%x: f64[], %y: f64[]) -> (f64[]) {
  %0: f64[] = abs %x
  %1: f64[] = pow %0, %y
  %2: f64[] = lgamma %1
  %3: f64[] = erf %2
  return %3
}""",
    "empty": """
func @empty(%x: f64[0,3]) -> (f64[3], f64[0,3]) {
  %0: f64[3] = sum %x {axes=[0]}
  %1: f64[0,3] = mul %x, %x
  return %0, %1
}""",
    "parameter_returned": """
func @parameter_returned(%x: f64[2], %y: f64[2]) -> (f64[2], f64[2], f64[2]) {
  return %x, %y, %x
}""",
}


def arguments(f, rng):
    return [np.asarray(rng.standard_normal(p.type.shape), p.type.dtype.numpy) for p in f.params]


def weighted(f, args, cts):
    """The number whose gradient a vjp with cotangents `cts` computes."""
    results = [r for r in interpret(f, args) if r.dtype.kind == "f"]
    with np.errstate(all="ignore"):
        return sum(float(np.sum(c * r)) for c, r in zip(cts, results, strict=True))


def central_differences(f, args, cts, wrt, h=1e-6):
    gradients = []
    for k in wrt:
        gradient = np.zeros_like(args[k])
        for i in np.ndindex(*args[k].shape):
            shifted = [a.copy() for a in args]
            shifted[k][i] += h
            above = weighted(f, shifted, cts)
            shifted[k][i] -= 2 * h
            gradient[i] = (above - weighted(f, shifted, cts)) / (2 * h)
        gradients.append(gradient)
    return gradients


def check(f, seed=0, rtol=1e-5):
    """vjp of every parameter against central differences, and the adjoint identity for jvp."""
    rng = np.random.default_rng(seed)
    args, wrt = arguments(f, rng), range(len(f.params))
    joint, forward = vjp(f, wrt), jvp(f, wrt)
    verify(joint)
    verify(forward)
    results = interpret(f, args)
    cts = [np.asarray(rng.standard_normal(r.shape)) for r in results if r.dtype.kind == "f"]
    out = interpret(joint, [*args, *cts])
    for got, want in zip(out, results, strict=False):
        np.testing.assert_array_equal(got, want)
    gradients = out[len(results):]
    for got, want in zip(gradients, central_differences(f, args, cts, wrt), strict=True):
        np.testing.assert_allclose(got, want, rtol, 1e-6)
    ts = [np.asarray(rng.standard_normal(a.shape)) for a in args]
    pushed = interpret(forward, [*args, *ts])
    for got, want in zip(pushed, results, strict=False):
        np.testing.assert_array_equal(got, want)
    left = sum(np.sum(c * t) for c, t in zip(cts, pushed[len(results):], strict=True))
    right = sum(np.sum(g * t) for g, t in zip(gradients, ts, strict=True))
    np.testing.assert_allclose(left, right, 1e-9, 1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_central_differences(name):
    check(parse_function(FUNCTIONS[name]))


def float_positions(values):
    return [i for i, v in enumerate(values) if v.type.dtype.is_floating_point]


def in_double(f):
    """`f` as finite differences can follow it: float64 for float32, no constant that is tiny against their
    step or huge against their precision, and no `detach`, which they see through."""
    def double(attr):
        if isinstance(attr, float) and attr and not 1e-2 < abs(attr) < 1e2:
            return 0.5
        return f64 if attr is f32 else attr

    b = FunctionBuilder()
    env = {p: b.param(p.type.with_dtype(double(p.type.dtype)), p.name) for p in f.params}
    for instr in f.instrs:
        args = [env[a] for a in instr.args]
        attrs = {k: double(v) for k, v in instr.attrs.items()}
        if isinstance(attrs.get("value"), np.ndarray):
            attrs["value"] = attrs["value"].astype(attrs["dtype"].numpy)
            attrs["value"].flags.writeable = False
        outs = args if instr.op == "detach" else b.emit(instr.op, args, attrs)
        env.update(zip(instr.outs, outs, strict=True))
    return b.finish(f.name, [env[r] for r in f.results])


@settings(max_examples=250, deadline=None)
@given(functions(smooth=True), st.integers(0, 2**32))
def test_random_functions(f, seed):
    """At random points, which are almost never at a kink. Where differences of two step sizes disagree
    (a jump, a point where the function is too steep) they say nothing about the derivative."""
    f = in_double(f)
    wrt = float_positions(f.params)
    joint, forward = vjp(f, wrt), jvp(f, wrt)
    verify(joint)
    verify(forward)
    values = normal_arguments(joint, seed)
    args, cts = values[: len(f.params)], values[len(f.params) :]
    try:
        out, differences = interpret(joint, values), central_differences(f, args, cts, wrt)
    except (BoundsError, DivisionByZero):
        assume(False)
    assume(all(np.all(np.abs(v) < 1e4) for v in out if v.dtype.kind == "f"))
    finer = central_differences(f, args, cts, wrt, 1e-7)
    gradients = out[len(f.results) :]
    for got, want, other in zip(gradients, differences, finer, strict=True):
        steady = np.abs(want - other) <= 1e-4 * (1 + np.abs(want))
        np.testing.assert_allclose(got[steady], want[steady], 1e-3, 1e-3)
    ts = [args[i] for i in wrt]
    pushed = interpret(forward, [*args, *ts])[len(f.results) :]
    left = sum(np.sum(c * t) for c, t in zip(cts, pushed, strict=True))
    right = sum(np.sum(g * t) for g, t in zip(gradients, ts, strict=True))
    if np.isfinite(left) and np.isfinite(right):  # a partial of inf times 0 is nan in one mode only
        np.testing.assert_allclose(left, right, 1e-6, 1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_joint_function_is_text(name):
    for g in (vjp(parse_function(FUNCTIONS[name]), [0]), jvp(parse_function(FUNCTIONS[name]), [0])):
        text = to_text(g)
        assert to_text(parse_function(text)) == text


@pytest.mark.parametrize("name", ["chain", "fan_out", "matmul", "softmax", "views", "indexing", "branches"])
def test_second_order(name):
    """The joint function, differentiated again in both modes, by everything it takes."""
    check(vjp(parse_function(FUNCTIONS[name]), [0]), rtol=1e-4)


def test_third_order():
    f = parse_function("func @f(%x: f64[3]) -> (f64[3]) {\n %0: f64[3] = sin %x\n return %0\n}")
    x, one = np.array([0.3, -1.0, 2.0]), np.ones(3)
    for _ in range(3):  # each time, the gradient alone is what is differentiated next
        g = vjp(f, [0])
        b = FunctionBuilder()
        param = b.param(g.params[0].type, "x")
        outs = b.inline(g, [param, b.constant(1, g.params[1].type)])
        f = b.finish("g", outs[1:])
    np.testing.assert_allclose(interpret(f, [x])[0], -np.cos(x) * one, 1e-14)


def test_hessian_vector_product():
    f = parse_function("""
func @f(%x: f64[3]) -> (f64[]) {
  %0: f64[3] = mul %x, %x
  %1: f64[3] = mul %0, %x
  %2: f64[] = sum %1 {axes=[0]}
  return %2
}""")
    hvp = jvp(vjp(f, [0]), [0])
    x, v = np.array([1.0, -2.0, 3.0]), np.array([0.5, 1.0, 2.0])
    *_, product = interpret(hvp, [x, np.array(1.0), v])
    np.testing.assert_allclose(product, 6 * x * v, 1e-14)


def test_primal_is_untouched_and_locations_name_the_adjoint():
    f = parse_function("""
func @f(%x: f64[3]) -> (f64[3]) {
  %a: f64[3] = sin %x  @ user.py:7:4-9
  %b: f64[3] = mul %a, %x
  return %b
}""")
    joint = vjp(f, [0])
    assert joint.name == "f_vjp"
    assert joint.instrs[:2] == f.instrs
    assert joint.params[:1] == f.params
    assert [p.name for p in joint.params] == ["x", "ct_b"]
    user = Loc("user.py", 7, 4, 9)
    assert [(i.op, i.loc) for i in joint.instrs[2:]] == [
        ("mul", Loc("", 0, adjoint="b")),
        ("mul", Loc("", 0, adjoint="b")),
        ("cos", user.of_adjoint("a")),
        ("mul", user.of_adjoint("a")),
        ("add", user.of_adjoint("x")),
    ]
    assert [i.loc for i in jvp(f, [0]).instrs if i.op == "cos"] == [user]


def test_accumulation_order():
    """Results first, in order, then uses from last to first, operands in order."""
    f = parse_function("""
func @f(%x: f64[]) -> (f64[], f64[], f64[]) {
  %0: f64[] = sin %x
  %1: f64[] = cos %x
  %2: f64[] = sub %x, %x
  return %x, %2, %1
}""")
    big = 2.0**60
    joint = vjp(f, [0])
    # ct0 + ct1 - ct1 - ct2 sin x, from the left: only this order loses and regains the small terms so.
    x, (ct0, ct1, ct2) = np.array(1.0), map(np.array, (1.0, big, -1.0))
    got = interpret(joint, [x, ct0, ct1, ct2])[-1]
    assert got == ((ct0 + ct1) + -ct1) + ct2 * -np.sin(x)
    assert got != ct0 + (ct1 + (-ct1 + ct2 * -np.sin(x)))


def test_unreached_gradients_are_zeros():
    f = parse_function("""
func @f(%x: f64[2], %y: f64[3], %n: i64[3]) -> (f64[2], i64[3]) {
  %0: f64[2] = exp %x
  %1: f64[3] = exp %y
  return %0, %n
}""")
    joint = vjp(f, [1, 0])
    assert len(joint.params) == 4
    *_, dy, dx = interpret(joint, [np.zeros(2), np.zeros(3), np.arange(3), np.array([1.0, 2.0])])
    np.testing.assert_array_equal(dy, np.zeros(3))
    np.testing.assert_array_equal(dx, [1.0, 2.0])
    assert not any(i.op == "mul" and i.out.type.shape == (3,) for i in joint.instrs)


def test_inactive_values_are_not_differentiated():
    f = parse_function("""
func @f(%x: f64[], %y: f64[]) -> (f64[], f64[]) {
  %0: f64[] = lgamma %y
  %1: f64[] = mul %x, %0
  %2: f64[] = sin %x
  return %1, %2
}""")
    ops_of = [i.op for i in vjp(f, [0], [0]).instrs[3:]]
    assert ops_of == ["mul"]  # no digamma of %y, no cos: %y is not asked for, %2 not either


def test_results_asked_for():
    f = parse_function("""
func @f(%x: f64[2]) -> (f64[2], i64[], f64[2]) {
  %0: f64[2] = exp %x
  %1: i64[] = argmax %x {axis=0}
  %2: f64[2] = neg %x
  return %0, %1, %2
}""")
    joint = vjp(f, [0], [2])
    assert len(joint.params) == 2
    np.testing.assert_array_equal(interpret(joint, [np.ones(2), np.array([1.0, 3.0])])[-1], [-1.0, -3.0])
    with pytest.raises(DifferentiationError, match=r"result 1, %1, is i64\[\]"):
        vjp(f, [0], [1])
    with pytest.raises(IndexError, match="3 results"):
        vjp(f, [0], [3])


def test_an_integer_is_no_path():
    f = parse_function("""
func @f(%x: f64[3], %y: f64[3]) -> (f64[], f64[3]) {
  %0: i64[] = argmax %x {axis=0}
  %1: f64[] = gather %y, %0 {axis=0, batch=0}
  %2: i64[3] = cast %x {dtype=i64}
  %3: f64[3] = cast %2 {dtype=f64}
  %4: f64[3] = mul %3, %y
  return %1, %4
}""")
    x, y = np.array([1.0, 5.0, 2.0]), np.array([7.0, 8.0, 9.0])
    dx, dy = interpret(vjp(f, [0, 1]), [x, y, np.array(1.0), np.ones(3)])[2:]
    np.testing.assert_array_equal(dx, np.zeros(3))
    np.testing.assert_array_equal(dy, [1.0, 6.0, 2.0])
    tangents = interpret(jvp(f, [0]), [x, y, np.ones(3)])[2:]
    np.testing.assert_array_equal(tangents[0], 0.0)
    np.testing.assert_array_equal(tangents[1], np.zeros(3))


def test_mixed_precision():
    f = parse_function("""
func @f(%x: f32[3]) -> (f64[3]) {
  %0: f64[3] = cast %x {dtype=f64}
  %1: f64[3] = mul %0, %0
  return %1
}""")
    (gradient,) = interpret(vjp(f, [0]), [np.array([1, 2, 3], np.float32), np.ones(3)])[1:]
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, np.array([2, 4, 6], np.float32))


def test_detach_stops():
    f = parse_function("""
func @f(%x: f64[2]) -> (f64[2]) {
  %0: f64[2] = detach %x
  %1: f64[2] = mul %0, %x
  return %1
}""")
    x = np.array([3.0, 4.0])
    joint = vjp(f, [0])
    np.testing.assert_array_equal(interpret(joint, [x, np.ones(2)])[1], x)
    np.testing.assert_array_equal(interpret(jvp(f, [0]), [x, np.ones(2)])[1], x)
    # d x by x through the cotangent's own path: the gradient is ct * detach(x), constant in x.
    np.testing.assert_array_equal(interpret(vjp(joint, [0], [1]), [x, np.ones(2), np.ones(2)])[-1], [0, 0])


CUSTOM = """
func @f(%x: f64[2], %s: f64[2]) -> (f64[2]) {
  %0: f64[2] = exp %x  @ user.py:3
  %1: f64[2] = custom_grad %0, %x, %s {backward=@back, results=1, inputs=1, sets=[]}  @ user.py:4
  return %1
}

func @back(%saved: f64[2], %out: f64[2], %ct: f64[2]) -> (f64[2]) {
  %0: f64[2] = mul %saved, %saved
  %1: f64[2] = mul %0, %ct
  return %1
}
"""


def test_custom_grad_goes_by_its_backward():
    joint = vjp(parse_function(CUSTOM), [0, 1])
    x, s, ct = np.array([1.0, 2.0]), np.array([3.0, 5.0]), np.array([1.0, 10.0])
    out, dx, ds = interpret(joint, [x, s, ct])
    np.testing.assert_array_equal(out, np.exp(x))
    np.testing.assert_array_equal(dx, s * s * ct)  # not exp's derivative
    np.testing.assert_array_equal(ds, [0, 0])  # what is saved has no gradient of its own
    assert {i.loc for i in joint.instrs[2:4]} == {Loc("user.py", 4, adjoint="1")}
    # To the second order the gradient s^2 ct is a function of s like any other.
    again = interpret(vjp(joint, [1], [1]), [x, s, ct, np.ones(2)])[-1]
    np.testing.assert_array_equal(again, 2 * s * ct)


def test_custom_grad_of_several_results():
    """A result that nothing reads gives a cotangent of zeros, an integer input no gradient."""
    f = parse_function("""
func @f(%x: f64[2], %n: i64[2]) -> (f64[2]) {
  %0: f64[2] = sin %x
  %1: f64[2] = cos %x
  %2: f64[2], %3: f64[2] = custom_grad %0, %1, %x, %n {backward=@back, results=2, inputs=2, sets=[]}
  %4: f64[2] = mul %3, %3
  return %4
}
func @back(%out0: f64[2], %out1: f64[2], %ct0: f64[2], %ct1: f64[2]) -> (f64[2], i64[2]) {
  %0: f64[2] = sub %ct1, %ct0
  %1: f64[2] = mul %0, %out0
  %2: i64[2] = const {value=7, dtype=i64, shape=[2]}
  return %1, %2
}""")
    joint = vjp(f, [0])
    verify(joint)
    x, ct = np.array([1.0, 2.0]), np.array([1.0, 10.0])
    gradient = interpret(joint, [x, np.arange(2), ct])[-1]
    np.testing.assert_array_equal(gradient, 2 * ct * np.cos(x) * np.sin(x))


def test_custom_grad_tells_which_results_have_a_cotangent():
    f = parse_function("""
func @f(%x: f64[]) -> (f64[], f64[]) {
  %0: f64[], %1: f64[] = custom_grad %x, %x, %x {backward=@back, results=2, inputs=1, sets=[3, 1]}
  return %0, %1
}
func @back(%out0: f64[], %out1: f64[], %ct0: f64[], %ct1: f64[]) -> (f64[], f64[]) {
  %0: f64[] = sub %ct0, %ct1
  %1: f64[] = neg %ct0
  return %0, %1
}""")
    verify(f)
    x, a, b = np.array(1.0), np.array(10.0), np.array(3.0)
    assert interpret(vjp(f, [0]), [x, a, b])[-1] == 7
    assert interpret(vjp(f, [0], [0]), [x, a])[-1] == -10
    with pytest.raises(DifferentiationError, match=r"@back has no gradient .* of its 2 results only \[1\]"):
        vjp(f, [0], [1])


def test_custom_grad_has_no_forward_mode():
    f = parse_function(CUSTOM)
    with pytest.raises(DifferentiationError, match="reverse derivative only") as raised:
        jvp(f, [0])
    assert "user.py:4" in str(raised.value)
    # Nothing of its inputs moves: no derivative is asked for.
    np.testing.assert_array_equal(interpret(jvp(f, [1]), [np.ones(2), np.ones(2), np.ones(2)])[1], [0, 0])


def rounded_to_grid():
    """An op with a floating-point result and no derivative."""
    return OpDef(
        "grid", ("x",), (), lambda x: x, np.rint, Nondiff("it rounds to a grid"), lambda rng: [], "rounds"
    )


def test_an_op_without_derivative_raises_only_on_the_path(monkeypatch):
    monkeypatch.setitem(ops.TABLE, "grid", rounded_to_grid())
    f = parse_function("""
func @f(%x: f64[2], %y: f64[2]) -> (f64[2], f64[2]) {
  %0: f64[2] = mul %x, %x    @ user.py:1
  %1: f64[2] = grid %0       @ user.py:2
  %2: f64[2] = mul %1, %y    @ user.py:3
  return %2, %0
}""")
    for wrt, derive in (([0], vjp), ([0, 1], vjp), ([0], jvp)):
        with pytest.raises(DifferentiationError, match="grid is not differentiable: it rounds to") as raised:
            derive(f, wrt)
        assert "user.py:2" in str(raised.value)
    x = np.array([1.2, 2.0])
    np.testing.assert_array_equal(interpret(vjp(f, [1]), [x, x, x, x])[-1], np.rint(x * x) * x)
    np.testing.assert_array_equal(interpret(vjp(f, [0], [1]), [x, x, x])[-1], 2 * x * x)
    dead = Function.straight("dead", f.params, f.instrs, f.results[1:])
    np.testing.assert_array_equal(interpret(jvp(dead, [0]), [x, x, x])[-1], 2 * x * x)


def test_bad_requests():
    f = parse_function("func @f(%x: f64[2], %n: i64[]) -> (f64[2]) {\n return %x\n}")
    for derive in (vjp, jvp):
        with pytest.raises(DifferentiationError, match=r"parameter 1, %n, is i64\[\]"):
            derive(f, [1])
        with pytest.raises(IndexError, match="2 parameters"):
            derive(f, [2])
        with pytest.raises(IndexError, match="2 parameters"):
            derive(f, [-1])
        with pytest.raises(ValueError, match="twice"):
            derive(f, [0, 0])


def test_control_flow_is_refused_with_the_line():
    x, c = Value(TensorType(f64, ()), "x"), Value(TensorType(bool_, ()), "c")
    guarded = Function("f", (Block("entry", (x, c), (), Guard(c, None, None, Loc("user.py", 9))),))
    for derive in (vjp, jvp):
        with pytest.raises(DifferentiationError, match="@f has control flow") as raised:
            derive(guarded, [0])
        assert "user.py:9" in str(raised.value)


def test_no_floating_point_results():
    n = Value(TensorType(i64, ()), "n")
    x = Value(TensorType(f64, (2,)), "x")
    f = Function("f", (Block("entry", (x, n), (), Return((n,))),))
    joint = vjp(f, [0])
    assert len(joint.params) == 2
    np.testing.assert_array_equal(interpret(joint, [np.ones(2), np.array(4)])[1], [0, 0])
    assert len(jvp(f, [0]).results) == 1


def test_special_values():
    """nan and inf pass by IEEE rules; a branch not taken gives no nan."""
    f = parse_function("""
func @f(%x: f64[3]) -> (f64[3]) {
  %0: f64[3] = const {value=0.0, dtype=f64, shape=[3]}
  %1: bool[3] = gt %x, %0
  %2: f64[3] = maximum %x, %0
  return %2
}""")
    x = np.array([np.inf, -np.inf, np.nan])
    got = interpret(vjp(f, [0]), [x, np.array([1.0, np.inf, 1.0])])[1]
    np.testing.assert_array_equal(got[:2], [1.0, 0.0])


def test_linear_and_iterative():
    """Ten thousand instructions, some used again far away: no recursion, and a linear count of new ones."""
    b = FunctionBuilder()
    x = b.param(TensorType(f64, ()), "x")
    v = x
    for i in range(10_000):
        v = b.sin(v) if i % 2 else b.mul(v, x)
    f = b.finish("long", [v])
    assert len(vjp(f, [0]).instrs) < 5 * len(f.instrs)
    assert len(jvp(f, [0]).instrs) < 6 * len(f.instrs)
