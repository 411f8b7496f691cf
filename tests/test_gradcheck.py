"""gradcheck and gradgradcheck: they pass right gradients and find each kind of wrong one."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad
from jitgrad.autograd import Function, GradcheckError, gradcheck, gradgradcheck


def leaf(*shape: int, seed: int = 0) -> jitgrad.Tensor:
    values = np.random.default_rng(seed).uniform(0.5, 2.0, shape)
    return jitgrad.from_numpy(values).requires_grad_()


class Wrong(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x  # a factor of 2 is missing


class WrongSecond(Function):
    """x^3, with a first derivative that is right as a value and wrong as a function."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 3 * x * x.detach()


class Pair(Function):
    """(2x, 3x), whose backward forgets that a gradient can be undefined."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, first, second):
        return first * 2 + second * 3


@pytest.mark.parametrize("name", ["exp", "tanh", "sqrt", "sigmoid", "tan", "expm1", "log", "reciprocal"])
def test_functions_to_second_order(name):
    # exp, tanh, ... keep their own result for backward, and it must be part of the graph again.
    x = leaf(2, 3) if name != "tan" else (leaf(2, 3).detach() * 0.5).requires_grad_()
    assert gradcheck(getattr(jitgrad, name), x)
    assert gradgradcheck(getattr(jitgrad, name), x)


def test_several_inputs_outputs_and_plain_arguments():
    def f(x, n, y, negate):
        out = x**n * y
        return (out.sum(0), -y if negate else y, x.detach())

    inputs = (leaf(2, 3), 3, leaf(2, 3, seed=1), True)
    assert gradcheck(f, inputs)
    assert gradgradcheck(f, inputs)


def test_list_of_results_and_of_inputs():
    assert gradcheck(lambda x, y: [x * y, x + y], [leaf(2), leaf(2, seed=1)])


@pytest.mark.parametrize("make", [
    lambda x: x.t(), lambda x: x[::2], lambda x: x[:, 1:],
], ids=["transposed", "strided", "sliced"])
def test_noncontiguous_inputs(make):
    x = make(jitgrad.from_numpy(np.random.default_rng(0).uniform(0.5, 2, (4, 3)))).requires_grad_()
    before = x.detach().numpy().copy()
    assert gradcheck(lambda x: (x.exp() * x).sum(-1), x)
    assert (x.detach().numpy() == before).all()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1)])
def test_shapes(shape):
    assert gradcheck(lambda x: x.sin().sum(), leaf(*shape))
    assert gradgradcheck(lambda x: x.sin(), leaf(*shape))


def test_result_that_is_the_input():
    assert gradcheck(lambda x: x, leaf(3))


def test_mismatch_is_found_and_shown():
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0") as info:
        gradcheck(Wrong.apply, leaf(2))
    assert isinstance(info.value, RuntimeError)
    assert "numerical:[[" in str(info.value) and "analytical:[[" in str(info.value)
    assert gradcheck(Wrong.apply, leaf(2), raise_exception=False) is False


def test_mismatch_names_output_and_input():
    with pytest.raises(GradcheckError, match="output 1 with respect to input 1"):
        gradcheck(lambda x, y: (x * y, x + Wrong.apply(y)), (leaf(2), leaf(2, seed=1)))


def test_second_order_mismatch():
    x = leaf(2)
    assert gradcheck(WrongSecond.apply, x)
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradgradcheck(WrongSecond.apply, x)


def test_missing_gradient_is_a_mismatch():
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(lambda x: x * x.detach(), leaf(2))


def test_nan_is_a_mismatch():
    x = jitgrad.zeros(1, dtype=jitgrad.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(lambda x: (x * x).sqrt(), x)


def test_tolerances():
    off = 1e-4
    assert gradcheck(lambda x: x.sin() + off * x.detach(), leaf(3), atol=1e-3)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: x.sin() + off * x.detach(), leaf(3), atol=1e-6, rtol=1e-6)


def test_function_that_is_not_deterministic():
    calls = iter(range(1000))
    with pytest.raises(GradcheckError, match="not deterministic"):
        gradcheck(lambda x: x + next(calls), leaf(2))


def test_backward_that_is_not_deterministic():
    class Drifting(Function):
        steps = iter(range(1000))

        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            return grad * (1 + 1e-7 * next(Drifting.steps))

    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(Drifting.apply, leaf(2))
    assert gradcheck(Drifting.apply, leaf(2), nondet_tol=1e-3)


def test_undefined_gradients():
    x = leaf(2)
    with pytest.raises(GradcheckError, match="undefined output grads"):
        gradcheck(Pair.apply, x)
    assert gradcheck(Pair.apply, x, check_undefined_grad=False)


def test_gradient_dtype():
    class Narrow(Function):
        @staticmethod
        def forward(ctx, x):
            return x.double()

        @staticmethod
        def backward(ctx, grad):
            return grad

    x = leaf(2).detach().float().requires_grad_()
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision"):
        assert gradcheck(Narrow.apply, x, eps=1e-3, atol=1e-2, rtol=1e-2)
    with pytest.warns(UserWarning):  # what the backward of a Function returns is converted to the input's dtype
        assert gradcheck(Narrow.apply, x, eps=1e-3, atol=1e-2, rtol=1e-2, check_grad_dtypes=True)


def test_outputs_without_gradient():
    assert gradcheck(lambda x: x > 10, leaf(2))
    assert gradcheck(lambda x: x.detach() * 0, leaf(2))
    with pytest.raises(GradcheckError, match="expected to be zero"):
        gradcheck(lambda x: x.detach() * 2, leaf(2))


def test_inputs_that_cannot_be_checked():
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, jitgrad.zeros(2))
    with pytest.raises(ValueError, match="stride 0"):
        gradcheck(lambda x: x, leaf(1).detach().expand(3).requires_grad_())
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        gradcheck(lambda x: x, jitgrad.from_numpy(frozen).requires_grad_())
    with pytest.raises(NotImplementedError, match="vmap"):
        gradcheck(lambda x: x, leaf(1), check_batched_grad=True)


def test_a_perturbed_input_is_put_back_when_the_function_raises():
    x = leaf(3)
    before = x.detach().numpy().copy()
    calls = iter([False, False, True])

    def f(x):
        if next(calls):
            raise KeyError("half way")
        return x * 2

    with pytest.raises(KeyError):
        gradcheck(f, x)
    assert (x.detach().numpy() == before).all()


def test_given_grad_outputs():
    x, ct = leaf(3), leaf(3, seed=2)
    assert gradgradcheck(lambda x: x**3, x, ct)
    assert gradgradcheck(lambda x: (x**3, x.sin()), x, gen_non_contig_grad_outputs=True)


def test_traced_functions():
    f = jitgrad.trace(lambda x, y: ((x * y).tanh().sum(0), x.exp() @ y.t()))
    inputs = (leaf(3, 2), leaf(2, 3, seed=1).detach().t().requires_grad_())
    assert gradcheck(f, inputs)
    assert gradgradcheck(f, inputs)
    with pytest.raises(RuntimeError, match=r"gradcheck\(\) asks for the value"):
        jitgrad.trace(lambda x: gradcheck(jitgrad.sin, x))(inputs[0])
