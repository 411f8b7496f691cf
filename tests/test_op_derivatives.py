"""The op contract, derivatives: every differentiable op's rules against central differences in float64,
against each other, and differentiated once more."""

import numpy as np
import pytest
from op_contract import differentiable, every_op, function_of, samples_of, types_of

from jitgrad.ir.builder import pullback, pushforward
from jitgrad.ir.differentiate import vjp
from jitgrad.ir.errors import DifferentiationError
from jitgrad.ir.interpreter import NumpyBuilder, interpret
from jitgrad.ir.ops import TABLE
from jitgrad.ir.ops.record import Nondiff, Rules
from jitgrad.ir.types import type_of_array

B = NumpyBuilder()
STEP = 1e-6
FLOAT_OPS = [op.name for op in TABLE.values() if differentiable(op)]


def wanted_operands(op, sample):
    """For each operand, whether its cotangent can be asked for."""
    return [a.dtype.kind == "f" and op.vjp_rule(i) is not None for i, a in enumerate(sample.args)]


def float_results(op, sample):
    return [t.dtype.is_floating_point for t in op.result_types(types_of(sample), sample.attrs)]


def pull(op, sample, cts):
    """Cotangents of the operands, with what the op declares to save and nothing more."""
    wanted = wanted_operands(op, sample)
    outs = op.evaluate(sample.args, sample.attrs)
    kept, kept_outs = op.saves(wanted)
    operands = [a if i in kept else None for i, a in enumerate(sample.args)]
    results = [r if i in kept_outs else None for i, r in enumerate(outs)]
    return pullback(B, op, sample.attrs, types_of(sample), operands, results, cts, wanted)


def push(op, sample, tangents):
    outs = op.evaluate(sample.args, sample.attrs)
    return pushforward(B, op, sample.attrs, sample.args, outs, tangents)


def difference(f, args, tangents):
    """The central difference of the results of the function `f` along `tangents` (None: along 0)."""

    def at(step):
        return interpret(f, [a if t is None else a + step * t for a, t in zip(args, tangents, strict=True)])

    return [(up - down) / (2 * STEP) for up, down in zip(at(STEP), at(-STEP), strict=True)]


def random_like(rng, arrays):
    return [rng.normal(size=a.shape) for a in arrays]


def inner(xs, ys):
    return sum(float(np.vdot(x, y)) for x, y in zip(xs, ys, strict=True) if x is not None and y is not None)


def close(a, b, scale, tolerance=2e-6):
    """Equal to `tolerance` of the larger of 1 and what went into the sums."""
    return abs(a - b) <= tolerance * max(1.0, scale)


def smooth_samples(op):
    return [s for s in samples_of(op.name) if s.grad]


@every_op(where=differentiable)
def test_vjp_and_jvp_equal_central_differences(op):
    rng = np.random.default_rng(2)
    for sample in smooth_samples(op):
        outs = op.evaluate(sample.args, sample.attrs)
        (ct,) = random_like(rng, outs[:1])
        cts = [ct, *[None] * (len(outs) - 1)]
        grads = pull(op, sample, cts)
        for i, wanted in enumerate(wanted_operands(op, sample)):
            if not wanted:
                assert grads[i] is None
                continue
            assert type_of_array(grads[i]) == type_of_array(sample.args[i])
            tangents = [rng.normal(size=a.shape) if k == i else None for k, a in enumerate(sample.args)]
            moved = difference(function_of(op, sample), sample.args, tangents)[0]
            size = np.abs(ct).sum() * np.abs(moved).max(initial=0.0)
            assert close(inner([grads[i]], [tangents[i]]), inner([ct], [moved]), size), f"VJP, operand {i}: {sample}"
            pushed = push(op, sample, tangents)
            if pushed is None:
                pushed = np.zeros_like(moved)
            assert type_of_array(pushed) == type_of_array(outs[0])
            np.testing.assert_allclose(pushed, moved, rtol=1e-5, atol=1e-5 * max(1, np.abs(moved).max(initial=0)))


@every_op(where=differentiable)
def test_adjoint_identity(op):
    """<ct, J v> = <J^T ct, v>, to rounding: the two modes cannot disagree."""
    rng = np.random.default_rng(3)
    for sample in smooth_samples(op):
        tangents = [
            rng.normal(size=a.shape) if wanted else None
            for a, wanted in zip(sample.args, wanted_operands(op, sample), strict=True)
        ]
        outs = op.evaluate(sample.args, sample.attrs)
        (ct,) = random_like(rng, outs[:1])
        pushed = push(op, sample, tangents)
        grads = pull(op, sample, [ct, *[None] * (len(outs) - 1)])
        forward, backward = inner([ct], [pushed]), inner(grads, tangents)
        assert close(forward, backward, np.abs(ct).sum() * np.abs(pushed).max(initial=0), 1e-10), sample


@every_op(where=differentiable)
def test_second_order_equals_differences_of_the_first(op):
    """The joint function of the op, differentiated again, for its cotangents too."""
    rng = np.random.default_rng(4)
    for sample in smooth_samples(op):
        wrt = [i for i, wanted in enumerate(wanted_operands(op, sample)) if wanted]
        joint = vjp(function_of(op, sample), wrt, [0])
        cts = random_like(rng, op.evaluate(sample.args, sample.attrs)[:1])
        n_args, n_grads = len(sample.args), len(wrt)
        inputs = [*sample.args, *cts]
        around = [*wrt, n_args]
        grads = range(len(joint.results) - n_grads, len(joint.results))
        second = vjp(joint, around, list(grads))
        weights = random_like(rng, interpret(joint, inputs)[-n_grads:])
        got = interpret(second, [*inputs, *weights])[-len(around) :]
        tangents = [rng.normal(size=a.shape) if i in around else None for i, a in enumerate(inputs)]
        moved = difference(joint, inputs, tangents)[-n_grads:]
        size = sum(np.abs(w).sum() * np.abs(m).max(initial=0) for w, m in zip(weights, moved, strict=True))
        assert close(inner(got, [tangents[i] for i in around]), inner(weights, moved), size, 1e-5), sample


@every_op(where=differentiable)
def test_gradients_have_the_operands_types_in_every_dtype(op):
    """On special values too, where only the type is asked."""
    for sample in samples_of(op.name):
        results = float_results(op, sample)
        if not results[0]:
            continue
        outs = op.evaluate(sample.args, sample.attrs)
        grads = pull(op, sample, [np.ones_like(outs[0]), *[None] * (len(outs) - 1)])
        for grad, arg, wanted in zip(grads, sample.args, wanted_operands(op, sample), strict=True):
            assert (grad is not None) == wanted
            assert grad is None or type_of_array(grad) == type_of_array(arg)


@every_op(where=lambda op: isinstance(op.derivative, Nondiff))
def test_an_op_without_derivative_says_why(op):
    sample = samples_of(op.name)[0]
    outs = op.evaluate(sample.args, sample.attrs)
    wanted = [True] * len(sample.args)
    reason = f"{op.name} is not differentiable: {op.derivative.reason}"
    with pytest.raises(DifferentiationError, match=reason):
        pullback(B, op, sample.attrs, types_of(sample), sample.args, outs, list(outs), wanted)
    with pytest.raises(DifferentiationError, match=reason):
        push(op, sample, list(sample.args))


# What the walk cannot see: kinks, ties, zeros, infinities.


def gradient(name, *args, ct=None, **attrs):
    """Cotangents of all operands for the cotangent `ct` (by default ones) of result 0."""
    op, args = TABLE[name], [np.asarray(a) for a in args]
    outs = op.evaluate(args, attrs)
    ct = np.ones_like(outs[0]) if ct is None else np.asarray(ct)
    types, wanted = [*map(type_of_array, args)], [a.dtype.kind == "f" for a in args]
    grads = pullback(B, op, attrs, types, args, outs, [ct], wanted)
    return [None if g is None else g.tolist() for g in grads]


NAN, INF = float("nan"), float("inf")


def test_ties_of_maximum_and_minimum_share_evenly():
    for name in ("maximum", "minimum"):
        assert gradient(name, [1.0, 2.0], [1.0, 2.0]) == [[0.5, 0.5], [0.5, 0.5]]
    assert gradient("maximum", [1.0, 3.0], [2.0, -1.0]) == [[0.0, 1.0], [1.0, 0.0]]
    for name in ("max", "min"):
        assert gradient(name, [2.0, 2.0, 2.0, 2.0], axes=(0,)) == [[0.25] * 4]
        assert gradient(name, [2.0, NAN, 3.0, NAN], axes=(0,)) == [[0.0, 0.5, 0.0, 0.5]]
    assert gradient("max", [[1.0, 3.0, 3.0]], ct=[8.0], axes=(1,)) == [[[0.0, 4.0, 4.0]]]


def test_an_infinite_cotangent_does_not_leak_into_the_loser():
    assert gradient("maximum", [1.0], [2.0], ct=[INF]) == [[0.0], [INF]]
    assert gradient("select", [True], [1.0], [2.0], ct=[INF]) == [None, [INF], [0.0]]
    assert gradient("max", [1.0, 2.0], ct=INF, axes=(0,)) == [[0.0, INF]]
    assert gradient("floor", [1.5], ct=[INF]) == [[0.0]]


def test_kinks_have_torchs_derivatives():
    assert gradient("abs", [0.0, -0.0, -2.0]) == [[0.0, 0.0, -1.0]]
    assert gradient("sqrt", [0.0]) == [[INF]]
    assert gradient("pow", [0.0, 0.0, 0.0, 2.0], [0.0, 2.0, 1.0, 0.0])[0] == [0.0, 0.0, 1.0, 0.0]
    assert gradient("pow", [0.0, 0.0, 0.0], [0.0, 2.0, -1.0])[1] == [0.0, 0.0, -INF]
    assert gradient("sign", [0.0, 3.0]) == [[0.0, 0.0]]
    assert gradient("atan2", [0.0, 2.0], [0.0, 0.0]) == [[0.0, 0.0], [0.0, -0.5]]


def test_product_of_zeros():
    assert gradient("prod", [2.0, 3.0, 4.0], axes=(0,)) == [[12.0, 8.0, 6.0]]
    assert gradient("prod", [2.0, 0.0, 4.0], axes=(0,)) == [[0.0, 8.0, 0.0]]
    assert gradient("prod", [2.0, 0.0, 0.0], axes=(0,)) == [[0.0, 0.0, 0.0]]
    assert gradient("prod", np.zeros((0, 2)), axes=(0,)) == [[]]


def test_an_overwritten_update_of_scatter_has_no_gradient():
    x, index, update = [0.0, 0.0, 0.0], [1, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]
    assert gradient("scatter", x, index, update, ct=[5.0, 6.0, 7.0], axis=0, batch=0) == [
        [0.0, 0.0, 7.0], None, [0.0, 0.0, 5.0, 6.0],
    ]


def test_sort_sends_the_cotangent_back_where_the_element_came_from():
    assert gradient("sort", [3.0, 1.0, 2.0], ct=[10.0, 20.0, 30.0], axis=0, descending=False) == [[30.0, 10.0, 20.0]]


def test_barriers():
    detach, x = TABLE["detach"], np.ones(2)
    assert pullback(B, detach, {}, [type_of_array(x)], [x], [x], [x], [True]) == [None]
    assert pushforward(B, detach, {}, [x], [x], [x]) is None
    op = TABLE["custom_grad"]
    sample = samples_of("custom_grad")[0]
    out, a, b, *_ = sample.args
    grads = pullback(B, op, sample.attrs, types_of(sample), sample.args, [out], [out], [True] * 5)
    assert grads[0] is None and grads[3:] == [None, None]
    np.testing.assert_array_equal(grads[1], b * out)
    np.testing.assert_array_equal(grads[2], a * out)
    with pytest.raises(DifferentiationError, match="reverse derivative only"):
        push(op, sample, [None, a, b, None, None])


def test_rules_save_only_what_they_name():
    """What an elementwise op keeps for its backward, as (operands, results)."""
    expected = {
        "add": ((), ()), "mul": ((0, 1), ()), "exp": ((), (0,)), "log": ((0,), ()), "tanh": ((), (0,)),
        "sigmoid": ((), (0,)), "div": ((0, 1), ()), "select": ((0,), ()), "neg": ((), ()), "sum": ((), ()),
        "sort": ((), (1,)), "gather": ((1,), ()), "reshape": ((), ()), "cast": ((), ()), "sqrt": ((), (0,)),
        "reciprocal": ((), (0,)), "exp2": ((), (0,)),
    }
    for name, saved in expected.items():
        op = TABLE[name]
        assert op.saves([True] * len(op.operands)) == saved, name
    assert TABLE["mul"].saves([True, False]) == ((1,), ())
    assert isinstance(TABLE["matmul"].derivative, Rules) and TABLE["matmul"].saves([False, True]) == ((0,), ())
