"""What a traced function does to tensors from outside, to their `.grad` and to random generators."""

from __future__ import annotations

import pytest
from traced import close, rand

import jitgrad
from jitgrad import TraceError


def test_in_place_writes_are_committed():
    @jitgrad.trace
    def f(state, x):
        state.mul_(0.5)
        state.add_(x)
        return state * 1

    state, x = jitgrad.zeros(3), jitgrad.ones(3)
    expected = jitgrad.zeros(3)
    for _ in range(4):
        out = f(state, x)
        expected = expected * 0.5 + 1
        close(state, expected, 1e-6)
        close(out, expected, 1e-6)
    assert len(f.programs) == 1


@pytest.mark.parametrize("change", [
    lambda x: x.mul_(3).sum(), lambda x: x.exp_().sum() * 2, lambda x: x.zero_(), lambda x: (x[0].mul_(3) * x)[1:],
    lambda x: x.add_(x.detach()),
])
def test_in_place_writes_to_a_computed_argument_are_in_its_graph(change):
    results = []
    for f in (change, jitgrad.trace(change)):
        leaf = rand(3, requires_grad=True)
        x = leaf * 1
        y = f(x)
        ((x * jitgrad.tensor([1.0, 10.0, 100.0])).sum() + y.sum()).backward()
        results.append((x, y, leaf.grad))
    for eager, traced in zip(*results, strict=True):
        close(eager, traced)


def test_views_inside_see_the_write():
    @jitgrad.trace
    def f(x):
        y = x * 1
        row = y[0]
        y.mul_(2)
        return row * 1

    x = rand(2, 3)
    close(f(x), x[0] * 2)


def test_training_step_inside():
    w = rand(4, 3, requires_grad=True)
    w2 = w.detach().clone().requires_grad_()
    x = rand(5, 4, seed=1)

    def step(w, x, lr):
        loss = ((x @ w) ** 2).mean()
        loss.backward()
        with jitgrad.no_grad():
            w.sub_(lr * w.grad)
        w.grad = None
        return loss.detach()

    traced = jitgrad.trace(step)
    for _ in range(4):
        close(traced(w, x, 0.1), step(w2, x, 0.1))
        close(w, w2)
        assert w.grad is None
    assert len(traced.programs) == 1


def test_gradient_accumulates_inside():
    w = rand(3, requires_grad=True)
    f = jitgrad.trace(lambda w: (w * w).sum().backward())
    for n in range(1, 4):
        f(w)
        close(w.grad, 2 * n * w.detach())


def test_a_captured_tensor_that_is_also_an_argument():
    w = jitgrad.zeros(3)

    @jitgrad.trace
    def add(x):
        return x + w

    @jitgrad.trace
    def write(x):
        x += 1
        return w * 2

    assert add(w).tolist() == [0, 0, 0]
    assert add(jitgrad.ones(3)).tolist() == [1, 1, 1]  # not x + x
    assert add(w).tolist() == [0, 0, 0]
    assert len(add.programs) == 2
    assert write(jitgrad.zeros(3)).tolist() == [0, 0, 0]
    assert write(w).tolist() == [2, 2, 2]  # not the value before the write
    assert write(jitgrad.zeros(3)).tolist() == [2, 2, 2]


def test_a_gradient_that_is_also_an_argument():
    w = rand(3).requires_grad_()
    w.grad = jitgrad.ones_like(w)

    @jitgrad.trace
    def f(w, g):
        w.grad.zero_()
        return g * 2

    with pytest.raises(TraceError, match="shares its memory"):
        f(w, w.grad)
    assert w.grad.tolist() == [1, 1, 1]
    assert f(w, jitgrad.ones(3)).tolist() == [2, 2, 2]


def test_hooks_and_graphs_from_outside_are_not_passed_over():
    w = rand(3).requires_grad_()
    base = w * 2

    @jitgrad.trace
    def step(x):
        (w * x).sum().backward()

    step(rand(3))
    handle = w.register_hook(lambda g: g * 10)
    before = w.grad.clone()
    with pytest.raises(TraceError, match="tensor with a hook"):
        step(rand(3))
    close(w.grad, before)
    handle.remove()
    step(rand(3))
    close(w.grad, before * 2)

    for unused in (False, True):  # eager finds a way from base to w
        with pytest.raises(TraceError, match="built outside"):
            jitgrad.trace(lambda x, u=unused: jitgrad.autograd.grad((base * x).sum(), w, allow_unused=u))(rand(3))


def test_aliases_are_refused():
    base = jitgrad.zeros(4)
    with pytest.raises(RuntimeError, match="shares its memory"):
        jitgrad.trace(lambda a, b: (a.add_(1), b * 2))(base, base[1:])
    assert float(base.sum()) == 0.0


def test_random_stream_is_the_same_eager_and_traced():
    def f(x):
        return x + jitgrad.rand(3, 5), jitgrad.randn(7)

    traced = jitgrad.trace(f)
    x = jitgrad.zeros(3, 5)
    results = []
    for run in (f, traced):
        jitgrad.manual_seed(7)
        results.append([t for _ in range(3) for t in run(x)])
    for a, b in zip(*results, strict=True):
        close(a, b, 1e-6)
    assert float((results[0][0] - results[0][2]).abs().sum()) > 0
