"""What users hang into the graph: hooks, and Functions with a backward of their own."""

from __future__ import annotations

import pytest

import jitgrad
from jitgrad import autograd
from jitgrad.autograd import Function, grad


def leaf(*values):
    return jitgrad.tensor(values, requires_grad=True)


# -- hooks


def test_tensor_hooks():
    x, seen = leaf(1.0, 2.0), []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = y.register_hook(lambda g: g * 10)
    (y * y).sum().backward(retain_graph=True)
    assert (seen, x.grad.tolist()) == ([[4, 8]], [80, 160])
    handle.remove()
    x.grad = None
    (y * y).sum().backward()
    assert x.grad.tolist() == [8, 16]


def test_hooks_on_leaves_and_retain_grad():
    x = leaf(1.0)
    x.register_hook(lambda g: g + 1)
    y = x * 2
    y.retain_grad()
    y.sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([3], [1])
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        jitgrad.ones(1).register_hook(print)


def test_node_hooks():
    x, seen = leaf(1.0), []
    y = x * 2
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs[0].item(), outputs[0].item())))
    y.grad_fn.register_prehook(lambda outputs: (outputs[0] * 5,))
    y.sum().backward()
    assert (seen, x.grad.item()) == ([(10, 5)], 10)


@pytest.mark.parametrize("of_leaf", [True, False])
@pytest.mark.parametrize("returned, error, words", [
    (jitgrad.ones(5), RuntimeError, "changed the size"), (jitgrad.ones(2).double(), RuntimeError, "changed the type"),
    (3.0, TypeError, "hook returned 'float'"), ((jitgrad.ones(2),), TypeError, "hook returned 'tuple'"),
])
def test_hooks_return_what_fits(of_leaf, returned, error, words):
    x = leaf(1.0, 2.0)
    y = x if of_leaf else x * 1
    y.register_hook(lambda g: returned)
    with pytest.raises(error, match=words):
        (y * 2).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("returned, error, words", [
    ((jitgrad.ones(2),), RuntimeError, "got 1, but expected 2"), (3, TypeError, "expected tuple"),
    ((jitgrad.ones(5), None), RuntimeError, "changed the size"), ((2.0, None), TypeError, "hook returned 'float'"),
])
def test_node_hooks_return_what_fits(returned, error, words):
    x = leaf(1.0, 2.0)
    y = x * 2
    y.grad_fn.register_hook(lambda inputs, outputs: returned)
    with pytest.raises(error, match=words):
        y.sum().backward()


# -- Function


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x * x * g


def test_a_function_with_its_own_backward():
    x = leaf(2.0)
    y = Cube.apply(x)
    assert y.grad_fn.name() == "CubeBackward" and y.requires_grad
    (g,) = grad(y, x, create_graph=True)
    assert g.item() == 12
    g.backward()
    assert x.grad.item() == 12  # second derivative, through the saved input
    assert not Cube.apply(jitgrad.ones(1)).requires_grad
    with pytest.raises(RuntimeError, match="second time"):
        z = Cube.apply(x)
        z.backward()
        z.backward()


def test_a_saved_result_is_in_the_graph():
    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return y * g

    x = jitgrad.tensor([0.5], dtype=jitgrad.float64, requires_grad=True)
    assert autograd.gradcheck(Exp.apply, (x,))
    assert autograd.gradgradcheck(Exp.apply, (x,))


def test_a_function_of_several():
    class Mixed(Function):
        @staticmethod
        def forward(ctx, x, scale, y):
            ctx.scale = scale
            assert ctx.needs_input_grad == (True, False, False)
            whole = (y * 2).long()
            ctx.mark_non_differentiable(whole)
            return x * scale, whole

        @staticmethod
        def backward(ctx, g, _):
            return g * ctx.scale, None, None

    x = leaf(1.0, 2.0)
    out, whole = Mixed.apply(x, 3.0, jitgrad.ones(2))
    assert out.requires_grad and not whole.requires_grad
    out.sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_a_function_gets_a_gradient_for_each_of_its_results():
    class Counted(Function):
        @staticmethod
        def forward(ctx, x):
            return len(x), x * 2, "doubled", x * 3

        @staticmethod
        def backward(ctx, length, double, word, triple):
            assert length is None and word is None
            return (double * 2 + triple * 3).double()  # taken in the dtype of x

    for wrap in (lambda f: f, jitgrad.trace):
        x = leaf(1.0, 2.0)
        n, _, word, triple = wrap(Counted.apply)(x)
        assert (n, word) == (2, "doubled")
        triple.sum().backward()
        assert x.grad.dtype is jitgrad.float32 and x.grad.tolist() == [3, 3]


def test_a_function_does_not_change_a_leaf():
    class Doubled(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf(1.0, 2.0)
    y = x * 1
    assert Doubled.apply(y) is y
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad has been used in an in-place"):
        Doubled.apply(x)


def test_function_errors():
    class TooMany(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g, g

    class WrongShape(TooMany):
        @staticmethod
        def backward(ctx, g):
            return g.sum().expand(5)

    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 1, got 2\)"):
        TooMany.apply(x).sum().backward()
    with pytest.raises(RuntimeError, match="invalid gradient"):
        WrongShape.apply(x).sum().backward()
    with pytest.raises(RuntimeError, match="non-static forward"):
        Cube()
