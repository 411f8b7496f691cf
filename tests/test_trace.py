"""`@jitgrad.trace`: a traced call equals the eager call, values and gradients; `value_and_grad`."""

from __future__ import annotations

import pytest
from traced import close, rand

import jitgrad
from jitgrad import Tensor


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


def test_double_backward_through_matmul_inside():
    def hvp(w, v, x):
        (g,) = jitgrad.autograd.grad((((x @ (w * 1)).tanh() @ w.T) ** 2).mean(), [w], create_graph=True)
        return jitgrad.autograd.grad((g * v).sum(), [w])[0]

    w, v, x = rand(3, 4, requires_grad=True), rand(3, 4, seed=1), rand(8, 3, seed=2)
    close(jitgrad.trace(hvp)(w, v, x), hvp(w, v, x))
