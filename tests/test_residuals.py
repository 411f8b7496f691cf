"""split: the halves compute what the joint function computes, and save what a person would."""

import numpy as np
import pytest
from generate import arguments, functions, normal_arguments, outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.costs import WORK
from jitgrad.ir.differentiate import vjp
from jitgrad.ir.errors import BoundsError
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.ops import TABLE
from jitgrad.ir.parser import parse_function
from jitgrad.ir.passes import run_pipeline, strip
from jitgrad.ir.printer import to_text
from jitgrad.ir.residuals import split
from jitgrad.ir.types import TensorType, f32
from jitgrad.ir.verify import verify


def halves(f, wrt=None, results=None):
    wrt = range(len(f.params)) if wrt is None else wrt
    return split(vjp(f, wrt, results), len(f.params), len(f.results))


def saved_names(s):
    """What the backward reads of the forward, by name, and where it is."""
    return {p.name: source[0] for p, source in zip(s.backward.params, s.saved, strict=False)}


def run_halves(s, args, cts, n_results):
    """Forward, then backward on what it saved; also holds the layout that `Split` documents."""
    out = interpret(s.forward, args)
    places = {"param": args, "result": out[:n_results], "residual": out[n_results:]}
    kept = [places[kind][i] for kind, i in s.saved]
    assert len(s.backward.params) == len(kept) + len(cts)
    residuals = [i for kind, i in s.saved if kind == "residual"]
    assert residuals == list(range(len(out) - n_results))
    return out[:n_results], interpret(s.backward, [*kept, *cts])


def build(write, *types):
    """The function that `write(b, *params)` returns the results of."""
    b = FunctionBuilder()
    results = write(b, *(b.param(t, "xyzuvw"[i]) for i, t in enumerate(types)))
    return b.finish("f", results if isinstance(results, tuple) else (results,))


LARGE, ROW = TensorType(f32, (512, 256)), TensorType(f32, (256,))
SQUARE = TensorType(f32, (256, 256))


def total(b, x):
    return b.sum(x, axes=tuple(range(x.type.rank)))


def test_x_times_x_keeps_the_parameter():
    s = halves(build(lambda b, x: b.mul(x, x), LARGE))
    assert s.saved == (("param", 0),)
    assert len(s.forward.results) == 1
    assert [p.name for p in s.backward.params] == ["x", "ct_0"]


def test_tanh_keeps_its_output():
    s = halves(build(lambda b, x, y: b.tanh(b.matmul(x, y)), LARGE, SQUARE))
    assert s.saved == (("param", 0), ("param", 1), ("result", 0))
    s = halves(build(lambda b, x, y: total(b, b.tanh(b.matmul(x, y))), LARGE, SQUARE))
    assert saved_names(s) == {"x": "param", "y": "param", "s1": "residual"}
    assert s.forward.results[1].name == "1"
    assert "tanh" not in [i.op for i in s.backward.instrs]


def test_a_chain_computes_cheap_parts_again():
    """y = x*2+1 is two cheap passes: x is read again, and nothing is saved for sin and the square."""
    f = build(lambda b, x: total(b, b.mul(b.add(b.mul(x, 2.0), 1.0), b.sin(b.add(b.mul(x, 2.0), 1.0)))), LARGE)
    s = halves(f)
    assert saved_names(s) == {"x": "param"}


def test_a_dear_chain_is_kept_unless_it_is_short():
    """An allocation costs more than a few elements of anything."""
    def f(b, x):
        return total(b, b.mul(b.pow(b.abs(x), 0.3), b.pow(b.abs(x), 0.3)))

    assert "residual" in saved_names(halves(build(f, LARGE))).values()
    assert saved_names(halves(build(f, TensorType(f32, (8,))))) == {"x": "param"}


def test_a_product_is_kept_rather_than_what_is_computed_from_it():
    """It is written in any case, what is fused behind it is not."""
    def f(b, x, y, z):
        h = b.add(b.matmul(x, y), b.broadcast(z, shape=LARGE.shape, dims=(1,)))
        return total(b, b.mul(h, h))

    assert saved_names(halves(build(f, LARGE, SQUARE, ROW))) == {
        "x": "param", "y": "param", "z": "param", "s0": "residual"
    }


def test_exp_of_sin():
    f = build(lambda b, x: b.exp(b.sin(x)), LARGE)
    assert saved_names(halves(f)) == {"x": "param", "s1": "result"}


def test_softmax_keeps_one_array():
    """The exponentials and the sums of the rows; the quotient, a result, is read again or computed."""
    def softmax(b, x):
        def spread(v):
            return b.broadcast(v, shape=LARGE.shape, dims=(0,))

        e = b.exp(b.sub(x, spread(b.max(b.detach(x), axes=(1,)))))
        return b.div(e, spread(b.sum(e, axes=(1,))))

    s = halves(build(softmax, LARGE))
    kept = [r.type for r in s.forward.results[1:]]
    assert kept.count(LARGE) <= 1
    assert all(t.shape == (512,) for t in kept if t != LARGE)


def test_a_broadcast_is_not_kept():
    def f(b, x, y):
        return total(b, b.mul(x, b.broadcast(b.exp(b.tanh(y)), shape=LARGE.shape, dims=(1,))))

    s = halves(build(f, LARGE, ROW))
    assert all(src[0] == "param" or p.type == ROW
               for p, src in zip(s.backward.params, s.saved, strict=False))


@pytest.mark.parametrize(("points", "pairs_kept"), [(100, 1), (1000, 0)])
def test_what_every_pair_of_many_points_has_is_computed_again(points, pairs_kept):
    """From the coordinates; what each pair of few points has stays in the cache and is kept."""

    def energy(b, p):
        shape = (points, points, 3)
        apart = b.sub(b.broadcast(p, shape=shape, dims=(0, 2)), b.broadcast(p, shape=shape, dims=(1, 2)))
        distance = b.sqrt(b.add(b.sum(b.mul(apart, apart), axes=(2,)), 0.01))
        return total(b, b.exp(b.sin(distance)))

    s = halves(run_pipeline(build(energy, TensorType(f32, (points, 3)))))
    saved = [p.type.size for p, _ in zip(s.backward.params, s.saved, strict=False)]
    assert sum(n >= points**2 for n in saved) == pairs_kept


def test_relu_keeps_the_activation_and_masks():
    """The second product reads the activation from memory, so keeping it costs little, and computing it
    again would mean to write it again; of the kink, one-byte masks are kept."""
    def f(b, x, y, z):
        h = b.maximum(b.matmul(x, y), 0.0)
        return total(b, b.matmul(h, z))

    s = halves(build(f, LARGE, SQUARE, SQUARE))
    kept = [r.type for r in s.forward.results[1:]]
    assert sorted(t.dtype.name for t in kept) == ["bool", "bool", "float32"]
    assert "maximum" not in [i.op for i in s.backward.instrs]


def test_constants_are_written_again():
    def f(b, x):
        weights = np.arange(LARGE.size, dtype=np.float32).reshape(LARGE.shape)
        weights.flags.writeable = False
        (c,) = b.emit("const", (), {"value": weights, "dtype": f32, "shape": LARGE.shape})
        return b.mul(x, b.mul(b.constant(2.0, LARGE), c))

    s = halves(build(f, LARGE))
    assert s.saved == ()
    assert [i.op for i in s.backward.instrs] == ["const", "const", "mul", "mul"]


def test_a_linear_function_saves_nothing():
    s = halves(build(lambda b, x: b.add(b.neg(x), 3.0), LARGE))
    assert s.saved == ()
    assert s.forward.results[0].name == s.forward.instrs[-1].out.name
    assert len(s.forward.results) == 1


def test_what_has_a_loop_of_its_own_is_not_computed_twice():
    def f(b, x, y):
        s = b.broadcast(b.sum(b.exp(x), axes=(1,)), shape=LARGE.shape, dims=(0,))
        values, _ = b.sort(b.mul(x, s), axis=1, descending=False)
        return total(b, b.mul(b.cumsum(values, axis=0), b.matmul(x, y)))

    s = halves(build(f, LARGE, SQUARE))
    forward = [i.op for i in s.forward.instrs]
    backward = [i.op for i in s.backward.instrs]
    assert forward.count("matmul") == 1
    assert backward.count("matmul") == 2  # the gradients of x and y, not the product again
    assert forward.count("sort") == 1 and "sort" not in backward


def test_random_bits_are_not_drawn_twice():
    f = parse_function("""
func @dropout(%x: f32[4096], %key: i64[], %offset: i64[]) -> (f32[4096]) {
  %bits: i32[4096] = philox %key, %offset {shape=[4096]}
  %0: i32[4096] = const {value=0, dtype=i32, shape=[4096]}
  %keep: bool[4096] = gt %bits, %0
  %1: f32[4096] = const {value=0.0, dtype=f32, shape=[4096]}
  %2: f32[4096] = select %keep, %x, %1
  return %2
}""")
    s = halves(f, [0])
    assert saved_names(s) == {"s_keep": "residual"}  # a byte an element, not the bits


def test_residuals_are_named_after_what_they_save():
    f = parse_function("""
func @f(%x: f32[4096], %s_h: f32[4096]) -> (f32[]) {
  %h: f32[4096] = cumsum %x {axis=0}
  %0: f32[4096] = cumsum %s_h {axis=0}
  %1: f32[4096] = mul %h, %0
  %2: f32[4096] = mul %1, %s_h
  %3: f32[] = sum %2 {axes=[0]}
  return %3
}""")
    s = halves(f)
    assert [p.name for p in s.backward.params] == ["s_h", "s_h_0", "s0", "ct_3"]
    assert (s.forward.name, s.backward.name) == ("f_forward", "f_backward")
    assert to_text(parse_function(to_text(s.backward))) == to_text(s.backward)


def test_errors_stay_in_the_forward():
    """An index out of range is found by the forward alone, also where only the backward would read it."""
    f = parse_function("""
func @f(%x: f32[8,64], %n: i64[3], %w: f32[3,64]) -> (f32[]) {
  %0: f32[3,64] = gather %x, %n {axis=0, batch=0}  @ user.py:4
  %1: f32[3,64] = mul %0, %w
  %2: f32[] = sum %1 {axes=[0, 1]}
  return %2
}""")
    joint = vjp(f, [2])
    dropped = Function.straight(joint.name, joint.params, joint.instrs, (joint.params[0], *joint.results[1:]))
    for j in (joint, dropped):
        s = split(j, 3, 1)
        assert [i.op for i in s.forward.instrs].count("gather") == 1
        assert "gather" not in [i.op for i in s.backward.instrs]
        with pytest.raises(BoundsError) as raised:
            interpret(s.forward, [np.ones((8, 64), "f4"), np.array([0, 8, 1]), np.ones((3, 64), "f4")])
        assert "user.py:4" in str(raised.value)


def test_gradients_that_need_no_cotangent():
    """Zeros, and a gradient that is the cotangent or a value of the forward itself."""
    f = build(lambda b, x, y: (x, b.sum(y, axes=(0,))), ROW, ROW)
    joint = vjp(f, [0, 1], [0])
    assert split(joint, 2, 2).saved == ()
    check_outcomes(joint, 2, 2, 0)
    steady = Function.straight(
        joint.name, joint.params, joint.instrs, (*joint.results, joint.params[1], joint.results[1])
    )
    assert split(steady, 2, 2).saved == (("param", 1), ("result", 1))
    check_outcomes(steady, 2, 2, 0)


def test_bad_requests():
    f = build(lambda b, x: b.mul(x, x), ROW)
    with pytest.raises(ValueError, match="depends on a cotangent"):
        split(vjp(f, [0]), 1, 2)


def test_the_cost_table_knows_every_elementwise_op():
    """A new op gets its price here, or is of a kind that is not computed again."""
    assert set(WORK) <= set(TABLE)
    assert {op.name for op in TABLE.values() if op.traits & {"elementwise", "view"}} <= set(WORK)
    assert not {op.name for op in TABLE.values() if "reduction" in op.traits} & set(WORK)


def check_outcomes(joint, n_params, n_results, seed):
    """The halves do what the joint function does on awkward values; an error comes from the forward."""
    s = split(joint, n_params, n_results)
    verify(s.forward)
    verify(s.backward)
    args, cts = arguments(joint, seed)[:n_params], normal_arguments(joint, seed)[n_params:]
    want = outcome(joint, [*args, *cts])
    if isinstance(want, type):
        assert outcome(s.forward, args) is want
        return
    results, gradients = run_halves(s, args, cts, n_results)
    for got, expected in zip([*results, *gradients], want, strict=True):
        assert (got.dtype, got.shape, got.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def float_positions(values):
    return [i for i, v in enumerate(values) if v.type.dtype.is_floating_point]


@settings(max_examples=300, deadline=None)
@given(functions(instructions=25, smooth=True), st.integers(0, 2**32))
def test_random_functions_bit_for_bit(f, seed):
    joint = vjp(f, float_positions(f.params))
    check_outcomes(joint, len(f.params), len(f.results), seed)


@settings(max_examples=100, deadline=None)
@given(functions(instructions=10, smooth=True), st.integers(0, 2**32))
def test_after_the_pipeline_bit_for_bit(f, seed):
    """As it is compiled: simplified before and after differentiation, barriers removed."""
    joint = strip(run_pipeline(vjp(run_pipeline(f), float_positions(f.params))))
    check_outcomes(joint, len(f.params), len(f.results), seed)


@settings(max_examples=50, deadline=None)
@given(functions(instructions=6, smooth=True), st.integers(0, 2**32))
def test_second_order_bit_for_bit(f, seed):
    joint = vjp(f, float_positions(f.params))
    again = vjp(joint, float_positions(joint.params))
    check_outcomes(again, len(joint.params), len(joint.results), seed)


def test_two_thousand_instructions():
    """A long recurrence: what is kept is bounded by the choice, not by its length in memory traffic."""
    def f(b, x):
        v = x
        for i in range(2000):
            v = (b.sin, b.tanh, lambda u: b.mul(u, x))[i % 3](v)
        return total(b, v)

    s = halves(build(f, ROW))
    kept = sum(r.type.nbytes for r in s.forward.results[1:])
    assert kept < 2000 * ROW.nbytes / 2
    check_outcomes(vjp(build(f, ROW), [0]), 1, 1, 0)
