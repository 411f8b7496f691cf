"""`@jitgrad.trace`: a traced call equals the eager call, values, gradients and effects included."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import jitgrad
from jitgrad import Tensor, TraceError
from jitgrad.tracing import RecompileWarning


def rand(*shape: int, dtype: str = "float64", seed: int = 0, requires_grad: bool = False) -> Tensor:
    a = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    return jitgrad.from_numpy(a).requires_grad_(requires_grad)


def close(a: Tensor, b: Tensor, tol: float = 1e-12) -> None:
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


def mlp(x, w, b):
    return ((x @ w + b).tanh() ** 2).mean()


def test_forward_and_gradient_equal_eager():
    args = [rand(5, 4), rand(4, 3, seed=1, requires_grad=True), rand(3, seed=2, requires_grad=True)]
    traced = jitgrad.trace(mlp)
    for _ in range(3):
        out = traced(*args)
        assert out.requires_grad and out.grad_fn is not None
        grads = jitgrad.autograd.grad(out, args[1:])
        expected = mlp(*args)
        close(out, expected)
        for g, e in zip(grads, jitgrad.autograd.grad(expected, args[1:]), strict=True):
            close(g, e)
    assert len(traced.programs) == 1


def test_backward_accumulates_into_grad():
    x = rand(4, requires_grad=True)
    traced = jitgrad.trace(lambda x: (x * x).sum())
    traced(x).backward()
    traced(x).backward()
    close(x.grad, 4 * x.detach())


def test_second_backward_needs_retain_graph():
    x = rand(4, requires_grad=True)
    out = jitgrad.trace(lambda x: (x.exp() * x).sum())(x)
    out.backward(retain_graph=True)
    out.backward()
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph"):
        out.backward()


def test_overwritten_input_is_found():
    x = rand(4, requires_grad=True)
    y = x * 1
    out = jitgrad.trace(lambda y: (y * y).sum())(y)
    with jitgrad.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_double_backward():
    x = rand(3, requires_grad=True)
    traced = jitgrad.trace(lambda x: (x**3).sum())
    (g,) = jitgrad.autograd.grad(traced(x), x, create_graph=True)
    (h,) = jitgrad.autograd.grad(g.sum(), x, create_graph=True)
    (t,) = jitgrad.autograd.grad(h.sum(), x)
    close(g, 3 * x.detach() ** 2)
    close(h, 6 * x.detach())
    close(t, 6 * jitgrad.ones_like(x.detach()))


def test_graph_goes_on_through_a_traced_call():
    x = rand(3, requires_grad=True)
    traced = jitgrad.trace(lambda x: x.sin())
    y = traced(x * 2).sum()
    y.backward()
    close(x.grad, 2 * (2 * x.detach()).cos())


def test_several_results_and_unused_gradients():
    x, y = rand(3, requires_grad=True), rand(3, seed=1, requires_grad=True)

    @jitgrad.trace
    def f(x, y):
        return x.exp(), {"b": (y * x).sum()}, 3, "s", None

    a, _, three, s, none = f(x, y)
    assert (three, s, none) == (3, "s", None)
    a.sum().backward()
    close(x.grad, x.detach().exp())
    assert y.grad is None or float(y.grad.abs().sum()) == 0.0
    x.grad = None
    f(x, y)[1]["b"].backward()
    close(y.grad, x.detach())


def test_no_grad_and_detach_inside():
    x = rand(3, requires_grad=True)

    @jitgrad.trace
    def f(x):
        with jitgrad.no_grad():
            c = x * 3
        return (x * c + x.detach() * x).sum(), c

    out, c = f(x)
    assert not c.requires_grad
    out.backward()
    close(x.grad, 4 * x.detach())


def test_under_no_grad_results_need_none():
    x = rand(3, requires_grad=True)
    traced = jitgrad.trace(lambda x: x * 2)
    with jitgrad.no_grad():
        assert not traced(x).requires_grad
    assert traced(x).requires_grad


class Cube(jitgrad.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x * x * x
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * (3 * x * x + 0 * y) * 10  # ten times the truth, so that we see whose it is


def test_custom_function_keeps_its_gradient():
    x = rand(3, requires_grad=True)
    traced = jitgrad.trace(lambda x: Cube.apply(x).sum())
    traced(x).backward()
    close(x.grad, 30 * x.detach() ** 2)
    (g,) = jitgrad.autograd.grad(traced(x), x, create_graph=True)
    (h,) = jitgrad.autograd.grad(g.sum(), x)
    (ge,) = jitgrad.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    (he,) = jitgrad.autograd.grad(ge.sum(), x)
    close(h, he)


def test_grad_inside_a_traced_function():
    x = rand(3, requires_grad=True)

    @jitgrad.trace
    def f(x):
        (g,) = jitgrad.autograd.grad((x**4).sum(), x, create_graph=True)
        return (g * g).sum()

    f(x).backward()
    x0 = x.detach()
    close(x.grad, 2 * 4 * x0**3 * 12 * x0**2, 1e-10)


# -- value_and_grad


def loss(w, b, x):
    return ((x @ w + b) ** 2).mean()


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_value_and_grad(wrap):
    w, b, x = rand(4, 2), rand(2, seed=1), rand(5, 4, seed=2)
    f = wrap(jitgrad.value_and_grad(loss, (0, 1)))
    for _ in range(2):
        value, grads = f(w, b, x)
        assert isinstance(grads, tuple) and not value.requires_grad and not grads[0].requires_grad
        r = x @ w + b
        close(value, (r**2).mean())
        close(grads[0], x.T @ r * (2 / 10))
        close(grads[1], r.sum(0) * (2 / 10))
    one = wrap(jitgrad.value_and_grad(loss, (1,)))(w, b, x)[1]
    assert isinstance(one, tuple) and len(one) == 1
    assert isinstance(wrap(jitgrad.value_and_grad(loss, 1))(w, b, x)[1], Tensor)
    close(wrap(jitgrad.grad(loss, 1))(w, b, x), grads[1])


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_value_and_grad_same_tensor_twice_and_aux(wrap):
    x = rand(3)

    def f(a, b):
        return (a * a * b).sum(), a + 1

    (value, aux), (ga, gb) = wrap(jitgrad.value_and_grad(f, (0, 1), has_aux=True))(x, x)
    close(value, (x**3).sum())
    close(aux, x + 1)
    close(ga, 2 * x * x)
    close(gb, x * x)


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_grad_of_grad_and_pytrees(wrap):
    params = {"w": rand(3), "b": [rand(3, seed=1)]}

    def f(p):
        return (p["w"] ** 3 * p["b"][0]).sum()

    g = wrap(jitgrad.grad(f))(params)
    close(g["w"], 3 * params["w"] ** 2 * params["b"][0])
    close(g["b"][0], params["w"] ** 3)
    h = wrap(jitgrad.grad(lambda p: jitgrad.grad(f)(p)["w"].sum()))(params)
    close(h["w"], 6 * params["w"] * params["b"][0])


def test_value_and_grad_refuses_bad_input():
    with pytest.raises(TypeError, match="floating-point"):
        jitgrad.value_and_grad(lambda x: x.sum())(jitgrad.tensor([1, 2]))
    with pytest.raises(RuntimeError, match="scalar"):
        jitgrad.value_and_grad(lambda x: x * 2)(rand(3))
    with pytest.raises(IndexError, match="argument 2"):
        jitgrad.value_and_grad(lambda x: x.sum(), 2)(rand(3))
    for twice in ((0, 0), (0, -2)):  # the second leaf would take the first one's gradient
        with pytest.raises(ValueError, match="argument 0 of <lambda> twice"):
            jitgrad.grad(lambda x, y: (x * y).sum(), twice)(rand(3), rand(3))
    for names in ("x", ("x",), 0.0, None):
        with pytest.raises(TypeError, match="argnums must be positions"):
            jitgrad.grad(lambda x: x.sum(), names)
    for returned in (1.0, (1, 2, 3)):
        with pytest.raises(TypeError, match="must return a pair"):
            jitgrad.value_and_grad(lambda x, r=returned: r, has_aux=True)(rand(3))
    with pytest.raises(RuntimeError, match=r"scalar outputs.*got a tuple of 2"):
        jitgrad.grad(lambda x: (x.sum(), 1))(rand(3))


# -- arguments


Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    a: Tensor
    b: float


def test_structures_in_and_out():
    @jitgrad.trace
    def f(p, pair, *rest, scale=1.0):
        return Point(p.x + rest[0]["k"], pair.a * pair.b), [p.y * scale]

    x = rand(3)
    for scale in (1.5, 2.5):
        point, (y,) = f(Point(x, x * 2), Pair(x, 3.0), {"k": x}, scale=scale)
        assert isinstance(point, Point)
        close(point.x, 2 * x)
        close(point.y, 3 * x)
        close(y, 2 * x * scale)
    assert len(f.programs) == 1


def test_floats_do_not_recompile_and_keep_precision():
    traced = jitgrad.trace(lambda x, lr: x - lr * x)
    x = rand(3, dtype="float32")
    for lr in (0.1, 0.2, 1e-3):
        out = traced(x, lr)
        assert out.dtype is jitgrad.float32
        np.testing.assert_allclose(out.numpy(), (x - lr * x).numpy(), rtol=1e-7)
    assert len(traced.programs) == 1


def test_a_float_that_python_reads_is_compiled_as_a_constant():
    def f(x, k):
        return x * 2 if k > 0.5 else x * 3

    traced = jitgrad.trace(f)
    x = rand(3)
    for k in (0.7, 0.2, 0.9, 0.7):
        close(traced(x, k), f(x, k))
    assert "constants" in traced.explain()


def test_what_python_does_with_a_float_sees_its_value():
    @jitgrad.trace
    def f(x, a):
        name = {0.5: "half", 1.0: "one"}.get(a, "other")
        return x * a, f"{a:.2f}", str(a), repr([a]), round(a, 1), name, jitgrad.tensor([a, 1]), jitgrad.tensor(a)

    x = rand(3)
    for a in (0.5, 1.0, 0.25):
        for _ in range(2):
            y, *rest, pair, single = f(x, a)
            close(y, x * a)
            names = {0.5: "half", 1.0: "one"}
            assert rest == [f"{a:.2f}", str(a), repr([a]), round(a, 1), names.get(a, "other")]
            assert pair.dtype is single.dtype is jitgrad.float32
            assert (pair.tolist(), single.item()) == ([a, 1], a)


def test_arguments_that_are_made_anew_do_not_recompile():
    class Scale:
        k = 2.0

        def apply(self, x):
            return x * self.k

    def f(x, shape, steps, method):
        return method(x.view(*shape)), shape, steps

    scale, traced = Scale(), jitgrad.trace(f)
    for _ in range(3):
        x = rand(3, 2)
        y, shape, steps = traced(x, x.shape, range(3), scale.apply)
        close(y, x * scale.k)
        assert (shape, shape.numel(), steps) == ((3, 2), 6, range(3))
    assert len(traced.programs) == 1
    scale.k = 3.0
    close(traced(x, x.shape, range(3), scale.apply)[0], x * 3)
    close(traced(x, x.shape, range(3), Scale().apply)[0], x * 2)
    assert len(traced.programs) == 3


def test_static_arguments_recompile():
    traced = jitgrad.trace(lambda x, n, flag: sum([x] * n) if flag else x)
    x = rand(3)
    for n, flag in ((2, True), (3, True), (3, False), (2, True)):
        close(traced(x, n, flag), x * n if flag else x)
    assert len(traced.programs) == 3
    assert "n: 2, then 3" in traced.explain()


def test_numpy_arrays_and_strided_inputs():
    traced = jitgrad.trace(lambda x: x * 2 + 1)
    a = np.arange(24.0).reshape(4, 6)
    for view in (a, a.T, a[::2, 1::2], a[::-1], np.broadcast_to(a[0], (3, 6)), a[:0], np.array(3.0)):
        np.testing.assert_array_equal(traced(view).numpy(), np.asarray(view) * 2 + 1)
        np.testing.assert_array_equal(traced(jitgrad.from_numpy(view.copy())).numpy(), view * 2 + 1)


def test_detached_results_share_the_memory_of_the_argument():
    for take in (lambda x: x.detach(), lambda x: x.data, lambda x: x.detach()[1:], lambda x: x[1:].detach()):
        x = jitgrad.zeros(3, requires_grad=True)
        out = jitgrad.trace(take)(x)
        out += 1
        assert x.tolist()[1:] == [1, 1] and not out.requires_grad


def test_what_cannot_be_returned_and_how_trace_is_called():
    class Made:
        def __call__(self):
            return self

    for made in (Made, lambda: {1, 2}, lambda: iter([1])):  # at the next call it would be the same object
        with pytest.raises(TraceError, match="cannot be rebuilt"):
            jitgrad.trace(lambda x, f=made: (x, f()))(rand(2))
    assert jitgrad.trace(lambda x: (x.exp(), len, int))(rand(2))[1:] == (len, int)
    for wrong in (0, -1, "a", 1.5):
        with pytest.raises(ValueError, match="max_compiles must be an integer"):
            jitgrad.trace(max_compiles=wrong)
    with pytest.raises(TypeError, match="takes a function, got int"):
        jitgrad.trace(3)


def test_argument_returned_as_it_is():
    x = rand(3, requires_grad=True)
    same, other = jitgrad.trace(lambda x: (x, x * 2))(x)
    assert same is x
    close(other, x * 2)


def test_result_shared_by_two_outputs_is_not_aliased():
    def f(x):
        y = x * 2
        return y, x * 2

    a, b = jitgrad.trace(f)(rand(3))
    a.add_(1)
    assert float((a - b).min()) == pytest.approx(1.0)


def test_outputs_are_fresh_at_every_call():
    traced = jitgrad.trace(lambda x: x * 2)
    x = rand(3)
    first = traced(x)
    kept = first.clone()
    traced(x + 5)
    close(first, kept)


# -- what the function reads


SCALE = 2.0
WEIGHT = jitgrad.ones(3, dtype=jitgrad.float64)


def helper(x):
    return x + 1


def test_globals_are_seen(monkeypatch):
    @jitgrad.trace
    def f(x):
        return helper(x) * SCALE * WEIGHT

    x = rand(3)
    close(f(x), (x + 1) * 2)
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    close(f(x), (x + 1) * 5)
    monkeypatch.setitem(globals(), "helper", lambda x: x - 1)
    close(f(x), (x - 1) * 5)
    monkeypatch.setitem(globals(), "WEIGHT", jitgrad.ones(3, dtype=jitgrad.float64) * 2)
    close(f(x), (x - 1) * 10)


def test_captured_tensor_is_read_again():
    w = jitgrad.ones(3, dtype=jitgrad.float64)
    f = jitgrad.trace(lambda x: x * w)
    x = rand(3)
    close(f(x), x)
    w.mul_(3)
    close(f(x), x * 3)
    assert len(f.programs) == 1


def test_closure_attributes_and_containers_are_seen():
    k = 2.0

    class Model:
        layers = 1

        def __init__(self):
            self.w = [jitgrad.ones(3, dtype=jitgrad.float64)]
            self.training = True

        @jitgrad.trace
        def __call__(self, x):
            for w in self.w:
                x = x * w * k
            return x * 10 if self.training else x * self.layers

    m, x = Model(), rand(3)
    close(m(x), x * 20)
    m.training = False
    close(m(x), x * 2)
    m.w.append(jitgrad.ones(3, dtype=jitgrad.float64))
    close(m(x), x * 4)
    m.w[0] = m.w[0] * 3
    close(m(x), x * 12)
    Model.layers = 7
    close(m(x), x * 84)
    k = 1.0
    close(m(x), x * 21)


def test_captured_gradient_reaches_the_capture():
    w = rand(3, requires_grad=True)
    f = jitgrad.trace(lambda x: (x * w).sum())
    x = rand(3, seed=1)
    f(x).backward()
    close(w.grad, x)


def test_hidden_state_is_not_frozen():
    import random

    @jitgrad.trace
    def f(x):
        return x * random.random()

    x = jitgrad.ones(3)
    with pytest.warns(RecompileWarning, match=r"random"):
        seen = {float(f(x)[0]) for _ in range(5)}
    assert len(seen) == 5
    assert not f.programs and "random" in f.explain()


def test_what_the_first_call_makes_is_no_reason_to_warn():
    memo = {}

    @jitgrad.trace
    def f(x):
        if "scale" not in memo:
            memo["scale"] = 2
        return x * memo["scale"]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            close(f(jitgrad.ones(3)), jitgrad.ones(3) * 2)
    assert "1 program compiled" in f.explain()
    assert "not compiled: 1 calls, the last one because it changes what it reads itself" in f.explain()


def test_a_growing_list_warns_once():
    log = []
    f = jitgrad.trace(lambda x: log.append(1) or x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            f(jitgrad.ones(3))
    assert len(caught) == 1 and caught[0].filename == __file__


def test_python_side_effects_happen_at_every_call(capsys):
    log = []

    @jitgrad.trace
    def f(x):
        log.append(x.shape)
        print("called")
        return x * 2

    with pytest.warns(RecompileWarning):
        for _ in range(3):
            f(jitgrad.ones(3))
    assert len(log) == 3 and capsys.readouterr().out == "called\n" * 3


# -- effects


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


# -- errors


@pytest.mark.parametrize("ask", [bool, float, int, lambda t: t.item(), lambda t: t.tolist(), lambda t: t.numpy()])
def test_asking_for_a_value_names_the_line(ask):
    def f(x):
        return x * 2 if ask(x.sum()) else x

    with pytest.raises(RuntimeError, match=r"inside a traced function(.|\n)*test_trace.py:\d+(.|\n)*hint"):
        jitgrad.trace(f)(rand(3))


def test_captured_value_is_not_baked_in():
    w = jitgrad.ones(())
    with pytest.raises(RuntimeError, match="inside a traced function"):
        jitgrad.trace(lambda x: x * w.item())(rand(3))


def test_tensors_stored_outside_get_their_values():
    class Model:
        def __init__(self):
            self.h, self.seen = jitgrad.zeros(3), []

    m = Model()
    w = rand(3, requires_grad=True)

    @jitgrad.trace
    def f(x):
        m.h = (m.h + x) * w
        m.seen.append(x)
        return m.h.sum()

    x = rand(3, seed=1)
    h = jitgrad.zeros(3)
    with pytest.warns(RecompileWarning, match="changes what it reads"):
        for _ in range(3):
            out = f(x)
            h = (h + x) * w
            close(m.h, h)
            close(out, h.sum())
    assert m.h.requires_grad
    (g,) = jitgrad.autograd.grad(m.h.sum(), w)
    close(g, jitgrad.autograd.grad(h.sum(), w)[0])
    for t in m.seen:
        close(t, x)


def test_arguments_stored_outside_are_what_they_were():
    seen = {}

    @jitgrad.trace
    def f(x):
        seen["x"] = x
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        for seed in range(3):
            x = rand(3, seed=seed, requires_grad=True)
            close(f(x), x * 2)
            close(seen["x"], x)
            (seen["x"] * 3).sum().backward()
            close(x.grad, jitgrad.full_like(x, 3))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_program_does_not_keep_the_arguments_of_its_first_call(requires_grad):
    f = jitgrad.trace(lambda x: (x * x).sum())
    x = rand(3, requires_grad=requires_grad)
    alive = weakref.ref(x)
    out = f(x)
    del x, out
    gc.collect()
    assert alive() is None and f.programs


def test_tensor_stored_where_nothing_is_read():
    kept = []

    def keep(t):
        kept.insert(0, t)

    @jitgrad.trace
    def f(x, put):
        put(x * 2)
        return x * 3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        for n in range(1, 4):
            close(f(jitgrad.ones(2) * n, keep), jitgrad.ones(2) * 3 * n)
            close(kept[0], jitgrad.ones(2) * 2 * n)
    assert len(kept) == 3


def test_leaked_tensor_of_an_interrupted_call_says_so():
    kept = []

    @jitgrad.trace
    def f(x):
        kept.append(x * 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        f(rand(3))
    with pytest.raises(RuntimeError, match="left it other than as a result"):
        kept[0] + 1


def test_exception_in_the_function_leaves_no_trace():
    state = jitgrad.zeros(3)

    @jitgrad.trace
    def f(x):
        y = x * 2
        if x.shape[0] == 3:
            raise KeyError("mine")
        return y

    with pytest.raises(KeyError, match="mine"):
        f(state)
    assert jitgrad.state.state.recording is None
    close(f(jitgrad.ones(4)), jitgrad.ones(4) * 2, 1e-7)


def test_shape_error_names_the_users_line():
    with pytest.raises(RuntimeError, match=r"matmul(.|\n)*test_trace.py:\d+(.|\n)*\^"):
        jitgrad.trace(lambda a, b: a @ b)(rand(8, 4), rand(3, 4))


def test_signature_explosion_warns_and_names_the_argument():
    f = jitgrad.trace(lambda x, n: x * n, max_compiles=3)
    x = rand(3)
    with pytest.warns(RecompileWarning, match=r"n: 3, then 4"):
        for n in range(1, 6):
            f(x, n)


# -- modes


def test_changes_of_what_is_read_are_counted_too():
    scale = 0

    @jitgrad.trace(max_compiles=3)
    def f(x):
        return x * scale

    x = rand(3)
    with pytest.warns(RecompileWarning, match=r"compiled 4 times(.|\n)*enclosing function changed") as caught:
        for scale in range(5):
            close(f(x), x * scale)
    assert caught[0].filename == __file__
    for scale in (1, 3, 0):  # those programs were kept
        close(f(x), x * scale)
    assert "5 programs" in f.explain()


def test_a_training_step_keeps_a_program_for_each_state_of_grad():
    w = rand(3).requires_grad_()

    @jitgrad.trace
    def step(x):
        (w * x).sum().backward()

    x = rand(3)
    for i in range(6):
        if i % 2 == 0:
            w.grad = None
        step(x)
        close(w.grad, x * (1 + i % 2))
    assert "2 programs" in step.explain() and "calls 3" in step.explain()


@pytest.mark.parametrize("value", ["1", "0"])
def test_the_environment_makes_everything_eager(value):
    program = (
        "import threading, jitgrad\n"
        "@jitgrad.trace\n"
        "def f(x): return x * 2, jitgrad.state.state.recording is None\n"
        "def show(): print(f(jitgrad.ones(2))[1], len(f.programs))\n"
        "show(); t = threading.Thread(target=show); t.start(); t.join()"
    )
    environment = {**os.environ, "JITGRAD_EAGER": value, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == (["True 0"] * 2 if value == "1" else ["False 1"] * 2)


def test_eager_context_runs_python(monkeypatch):
    seen = []

    @jitgrad.trace
    def f(x):
        seen.append(float(x.sum()))
        return x

    with jitgrad.eager():
        f(jitgrad.ones(2))
    assert seen == [2.0]


def test_traced_inside_traced_is_one_program():
    inner = jitgrad.trace(lambda x: x.sin())
    outer = jitgrad.trace(lambda x: inner(x) * 2)
    x = rand(3)
    close(outer(x), x.sin() * 2)
    assert not inner.programs and len(outer.programs) == 1


def test_threads_call_and_compile_at_once():
    f = jitgrad.trace(lambda x: (x * 2 + 1).sum())
    results: dict[int, float] = {}

    def work(n):
        for _ in range(20):
            results[n] = float(f(jitgrad.ones(n + 1)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {n: 3.0 * (n + 1) for n in range(8)}
    assert len(f.programs) == 8


def test_backward_instructions_carry_the_forward_line():
    from jitgrad.tracing import record_function

    def f(x):
        y = x.exp()
        return (y * 2).sum()

    function = record_function(jitgrad.value_and_grad(f), (rand(3),)).function
    exp = next(i for i in function.instrs if i.op == "exp")
    adjoints = [i for i in function.instrs if i.loc and i.loc.adjoint == exp.out.name]
    assert adjoints and all((i.loc.file, i.loc.line) == (exp.loc.file, exp.loc.line) for i in adjoints)


def test_own_code_is_known_by_whatever_path_it_was_found():
    program = (
        "import os, sys; sys.path.insert(0, os.path.join(sys.argv[1], 'tests', '..'))\n"
        "import jitgrad\n"
        "f = jitgrad.trace(lambda x: x * 2)\n"
        "f(jitgrad.ones(2)), f(jitgrad.ones(2))\n"
        "assert len(f.programs) == 1, f.explain()\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    subprocess.run([sys.executable, "-c", program, root], cwd=os.path.dirname(root), check=True)
