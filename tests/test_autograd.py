"""The semantics of the eager graph and engine: accumulation, lifetimes, higher orders, what records."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import jitgrad
from jitgrad import autograd
from jitgrad.autograd import Function, grad


def leaf(*values):
    return jitgrad.tensor(values, requires_grad=True)


# -- backward


def test_gradients_accumulate():
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first
    assert x.grad.tolist() == [5, 5]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4]
    x.grad.zero_()
    x.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_gradients_of_two_leaves_do_not_share_memory():
    x, y = leaf(1.0), leaf(2.0)
    (x + y).sum().backward()
    x.grad.add_(1)
    assert y.grad.tolist() == [1]


def test_the_gradient_given_is_not_kept():
    x, g = leaf(1.0, 2.0), jitgrad.ones(2)
    (x * 1).backward(g)
    x.backward(g)
    assert (x.grad.tolist(), g.tolist()) == ([2, 2], [1, 1])
    g.zero_()
    assert x.grad.tolist() == [2, 2]


def test_one_value_used_many_times():
    x = leaf(3.0)
    y = x * x
    z = (y + y * x).sum() + y.sum()
    z.backward()
    assert x.grad.item() == 2 * 2 * 3 + 3 * 9


def test_backward_needs_a_scalar_or_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(jitgrad.ones(3))
    with pytest.raises(TypeError, match="gradients can be either Tensors or None"):
        (x * 2).backward(1.0)
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        jitgrad.ones(2).sum().backward()
    (x * 2)[:1].backward()  # one element is scalar enough
    assert x.grad.tolist() == [2, 0]


def test_a_second_backward_says_what_to_do():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time") as caught:
        y.backward()
    assert "retain_graph=True" in str(caught.value)
    assert x.grad.tolist() == [2, 4]
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [6, 12]


def test_what_saves_nothing_goes_backward_twice():
    x = leaf(1.0, 2.0)
    y = 2 * x + 3
    y.backward(jitgrad.ones(2))
    y.backward(jitgrad.ones(2))
    assert x.grad.tolist() == [4, 4]


def test_buffers_are_freed_with_backward():
    x = leaf(1.0, 2.0)
    hidden = x.exp()
    y = (hidden * hidden).sum()
    alive = weakref.ref(hidden._array)
    del hidden
    gc.collect()
    assert alive() is not None
    y.backward()
    gc.collect()
    assert alive() is None


def test_a_graph_is_no_cycle():
    x = leaf(1.0, 2.0)
    gc.collect()
    gc.disable()
    try:
        y = x.exp()
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_inputs_limits_backward():
    x, y = leaf(1.0), leaf(2.0)
    z = (x * y).sum()
    z.backward(inputs=[x], retain_graph=True)
    assert (x.grad.tolist(), y.grad) == ([2], None)
    with pytest.raises(RuntimeError, match="cannot be empty"):
        z.backward(inputs=[])


def test_several_roots():
    x = leaf(1.0, 2.0)
    autograd.backward([(x * 2).sum(), x * 3], [None, jitgrad.tensor([1.0, 10.0])])
    assert x.grad.tolist() == [5, 32]
    with pytest.raises(RuntimeError, match="got 1 tensors and 2 gradients"):
        autograd.backward([x.sum()], [None, None])


def test_an_error_on_the_way_leaves_gradients_alone():
    class Broken(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise ValueError("broken")

    x = leaf(1.0)
    x.grad = jitgrad.ones(1)
    with pytest.raises(ValueError, match="broken"):
        (x * 2 + Broken.apply(x)).sum().backward()
    assert x.grad.tolist() == [1]


@pytest.mark.slow
def test_deep_graphs_do_not_recurse():
    x = leaf(1.0)
    y = x
    for _ in range(200_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 200_001
    del y  # neither does dropping them


def test_wide_graphs():
    x = leaf(1.0)
    sum(x * i for i in range(2000)).backward()
    assert x.grad.item() == sum(range(2000))


def test_grad_of_other_dtypes():
    x = leaf(1.0, 2.0)
    y = (x.double() * 2).sum()
    y.backward()
    assert x.grad.dtype is jitgrad.float32
    n = jitgrad.tensor([1, 2])
    assert not (n * 2).requires_grad
    z = x * n
    assert z.requires_grad
    assert not (x > 1).requires_grad and not x.long().requires_grad and not x.argmax().requires_grad
    with pytest.raises(RuntimeError, match="only Tensors of floating point dtype can require gradients"):
        n.requires_grad_()


# -- autograd.grad


def test_grad_touches_no_grad():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    gx, gy = grad((x * y).sum(), [x, y])
    assert (gx.tolist(), gy.tolist(), x.grad, gx.requires_grad) == ([3, 4], [1, 2], None, False)
    (g,) = grad(x * 2, x, jitgrad.tensor([1.0, 10.0]))
    assert g.tolist() == [2, 20]
    middle = x * 2
    (g,) = grad((middle * middle).sum(), middle)
    assert g.tolist() == [4, 8]
    (g,) = grad(x.sum(), x)
    assert g.tolist() == [1, 1]


def test_unused_inputs():
    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match="allow_unused=True"):
        grad(x.sum(), y)
    assert grad(x.sum(), [x, y], allow_unused=True)[1] is None
    assert grad(x.sum(), [y], materialize_grads=True)[0].tolist() == [0]
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad(x.sum(), jitgrad.ones(1))


def test_create_graph_to_the_third_order():
    x = leaf(2.0)
    y = (x**4).sum()
    for want in (4 * 8, 12 * 4, 24 * 2):
        (y,) = grad(y, x, create_graph=True)
        assert y.item() == want
    y.backward()
    assert x.grad.item() == 24


def test_gradient_penalty():
    x, w = leaf(1.0, 2.0), leaf(3.0, -1.0)
    (g,) = grad((x * w).tanh().sum(), x, create_graph=True)
    (g * g).sum().backward()

    def penalty(v):
        return ((v * (1 - np.tanh(np.array([1.0, 2.0]) * v) ** 2)) ** 2).sum()

    for i in range(2):
        step = np.zeros(2)
        step[i] = 1e-5
        v = np.array([3.0, -1.0])
        assert abs(w.grad[i].item() - (penalty(v + step) - penalty(v - step)) / 2e-5) < 1e-5


def test_create_graph_does_not_free():
    x = leaf(1.0)
    y = (x * x).sum()
    grad(y, x, create_graph=True)
    y.backward()
    assert x.grad.item() == 2


# -- the graph one sees


def test_names_and_next_functions():
    x = leaf(1.0, 2.0)
    y = 2 * x + 3
    add = y.grad_fn
    assert add.name() == type(add).__name__ == "AddBackward0"
    (mul, number), constant = add.next_functions
    assert (mul.name(), number, constant) == ("MulBackward0", 0, (None, 0))
    accumulate = mul.next_functions[0][0]
    assert accumulate.name() == "AccumulateGrad" and accumulate.variable is x
    assert (x.grad_fn, x.is_leaf, y.is_leaf, y.requires_grad) == (None, True, False, True)
    assert "AddBackward0 object at 0x" in repr(add)


NAMES = {
    "Add": lambda x: x + 1, "Mul": lambda x: x * x, "Sub": lambda x: x - 1, "Div": lambda x: x / 2, "Neg": lambda x: -x,
    "Mm": lambda x: x @ x, "Mv": lambda x: x @ x[0].detach(), "Pow": lambda x: x**2, "Sum": lambda x: x.sum(),
    "Mean": lambda x: x.mean(), "Exp": lambda x: x.exp(), "Relu": lambda x: x.relu(), "T": lambda x: x.t(),
    "Select": lambda x: x[0], "Slice": lambda x: x[0:1], "Index": lambda x: x[[0, 1]], "View": lambda x: x.view(4),
    "Clone": lambda x: x.clone(), "Cat": lambda x: jitgrad.cat([x, x]), "Stack": lambda x: jitgrad.stack([x, x]),
    "Softmax": lambda x: x.softmax(0), "LogSoftmax": lambda x: x.log_softmax(0), "Std": lambda x: x.std(),
    "Unsqueeze": lambda x: x.unsqueeze(0), "Expand": lambda x: x.expand(3, 2, 2),
    "Where": lambda x: jitgrad.where(x > 0, x, x),
    "Transpose": lambda x: x.transpose(0, 1), "ToCopy": lambda x: x.double(), "Max": lambda x: x.max(),
    "Sigmoid": lambda x: x.sigmoid(), "Tanh": lambda x: x.tanh(), "Addmm": lambda x: jitgrad.addmm(x, x, x),
}


@pytest.mark.parametrize("name", NAMES)
def test_nodes_have_torchs_names(name):
    x = jitgrad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert NAMES[name](x).grad_fn.name() == f"{name}Backward0"


def test_a_node_can_be_called():
    x = leaf(1.0, 2.0)
    assert (x * 3).grad_fn(jitgrad.ones(2))[0].tolist() == [3, 3]


# -- what records, and what does not


def test_no_grad_and_enable_grad():
    x = leaf(1.0)
    with jitgrad.no_grad():
        assert not jitgrad.is_grad_enabled()
        assert not (x * 2).requires_grad
        with jitgrad.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @jitgrad.no_grad()
    def quiet(v):
        return v * 2

    @jitgrad.no_grad
    def silent(v):
        return v * 2

    assert not quiet(x).requires_grad and not silent(x).requires_grad
    with jitgrad.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    jitgrad.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    jitgrad.set_grad_enabled(True)
    with pytest.raises(ValueError), jitgrad.no_grad():
        raise ValueError
    assert jitgrad.is_grad_enabled()


def test_detach_and_requires_grad():
    x = leaf(1.0, 2.0)
    d = x.detach()
    assert (d.requires_grad, d.is_leaf) == (False, True)
    d[0] = 5
    assert x.tolist() == [5, 2]
    y = (x * 2).detach_()
    assert y.is_leaf and not y.requires_grad
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [5, 2]
    with pytest.raises(RuntimeError, match="only change requires_grad flags of leaf"):
        (x * 2).requires_grad = False
    z = jitgrad.ones(2)
    assert z.requires_grad_() is z and z.requires_grad


def test_assigning_grad():
    x = leaf(1.0, 2.0)
    x.grad = jitgrad.tensor([1.0, 1.0])
    x.sum().backward()
    assert x.grad.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="different size or type"):
        x.grad = jitgrad.ones(3)
    with pytest.raises(RuntimeError, match="different size or type"):
        x.grad = jitgrad.ones(2, dtype=jitgrad.float64)
    with pytest.raises(TypeError, match="expected to be a Tensor or None"):
        x.grad = 1
