"""Backwards without some of their cotangents."""

import numpy as np
import pytest

import jitgrad
from jitgrad.ir.absent import without
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.parser import parse_function
from jitgrad.ir.verify import verify


def reduced(text, absent):
    f = without(parse_function(text), absent)
    verify(f)
    return f


def test_an_infinite_residual_does_not_reach_a_gradient_that_it_has_no_part_in():
    f = reduced(
        """
        func @back(%s: f32[3], %ct0: f32[], %ct1: f32[]) -> (f32[3]) {
          %0: f32[3] = broadcast %ct0 {shape=[3], dims=[]}
          %1: f32[3] = broadcast %ct1 {shape=[3], dims=[]}
          %2: f32[3] = mul %1, %s
          %3: f32[3] = add %0, %2
          return %3
        }
        """,
        [2],
    )
    (out,) = interpret(f, [np.full(3, np.inf, np.float32), np.float32(2)])
    assert np.array_equal(out, [2, 2, 2])
    assert [i.op for i in f.instrs] == ["broadcast"]


@pytest.mark.parametrize(("absent", "want"), [((0,), -5.0), ((1,), 3.0), ((0, 1), 0.0)])
def test_sums_and_differences_of_what_is_left(absent, want):
    f = reduced(
        """
        func @back(%a: f32[], %b: f32[]) -> (f32[]) {
          %0: f32[] = sub %a, %b
          return %0
        }
        """,
        absent,
    )
    given = [x for i, x in enumerate([np.float32(3), np.float32(5)]) if i not in absent]
    assert interpret(f, given)[0] == want


def test_zeros_that_a_rule_writes_count_as_nothing():
    f = reduced(
        """
        func @back(%c: bool[2], %s: f32[2], %ct: f32[2]) -> (f32[4]) {
          %0: f32[2] = const {value=0.0, dtype=f32, shape=[2]}
          %1: f32[2] = select %c, %ct, %0
          %2: f32[2] = mul %1, %s
          %3: f32[4] = concat %2, %0 {axis=0}
          return %3
        }
        """,
        [2],
    )
    (out,) = interpret(f, [np.array([True, False]), np.array([np.inf, np.nan], np.float32)])
    assert np.array_equal(out, np.zeros(4))


def test_what_is_not_linear_meets_zeros():
    f = reduced("func @f(%x: f32[2]) -> (f32[2]) {\n  %0: f32[2] = exp %x\n  return %0\n}", [0])
    assert np.array_equal(interpret(f, [])[0], [1, 1])


def functions():
    def apart(w):
        return w.sum(), (w * 1000).exp().sum()

    def products(w):
        return (w @ w).sum(), (w @ (w * 1e30 * 1e30)).sum()

    def choices(w):
        big = (w * 1e38 * 1e5).where(w > 0, w)
        return w.amax(), (big * w).max(0).values.sum()

    def pieces(w):
        return w[0].sum(), (jitgrad.cat([w, w * 1e38 * 1e3])[1:] ** 3).cumsum(0).sum()

    return apart, products, choices, pieces


@pytest.mark.parametrize("function", functions(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("result", [0, 1])
def test_backward_of_one_result_is_the_eager_one(function, result):
    def gradient(f, create_graph):
        w = jitgrad.tensor([[0.5, 2.0], [1.5, 3.0]], requires_grad=True)
        f(w)[result].backward(create_graph=create_graph)
        return w.grad.detach().numpy()

    for create_graph in (False, True):
        eager, traced = (gradient(f, create_graph) for f in (function, jitgrad.trace(function)))
        np.testing.assert_allclose(traced, eager, rtol=1e-5)
    if result == 0:
        assert np.isfinite(eager).all()


def test_backwards_from_results_one_after_the_other():
    @jitgrad.trace
    def f(x, y):
        return (x * y).exp().sum(), (x / y).sin().sum()

    x, y = (jitgrad.tensor(v, requires_grad=True) for v in ([1.0, 2.0], [3.0, 0.5]))
    a, b = f(x, y)
    a.backward()
    b.backward()
    grads = [t.grad.numpy().copy() for t in (x, y)]
    x.grad = y.grad = None
    sum(f(x, y)).backward()
    for got, t in zip(grads, (x, y), strict=True):
        np.testing.assert_allclose(got, t.grad.numpy(), rtol=1e-6)
    for again in (a, b):
        with pytest.raises(RuntimeError, match="second time"):
            again.backward()


def test_what_one_backward_freed_is_not_there_for_another():
    @jitgrad.trace
    def f(x, w):
        h = (x @ w).exp() @ w
        return (h @ w).sum(), h.tanh().sum()

    x, w = jitgrad.rand(3, 3), jitgrad.rand(3, 3).requires_grad_()
    a, b = f(x, w)
    a.backward(retain_graph=True)
    b.backward()
    with pytest.raises(RuntimeError, match="second time"):
        a.backward()


def test_a_result_that_needs_nothing_saved_can_go_back_twice():
    f = jitgrad.trace(lambda x: (2 * x + 3, x.exp()))
    x = jitgrad.ones(2, requires_grad=True)
    y, _ = f(x)
    y.sum().backward()
    y.sum().backward()
    assert x.grad.tolist() == [4, 4]
