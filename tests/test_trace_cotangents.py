"""Functions of several results inside a trace whose backward gets None for those without gradient."""

import pytest

import jitgrad
from jitgrad.autograd import Function, grad
from jitgrad.errors import DifferentiationError, TraceError


class Pair(Function):
    """2x and 3x, with a backward that tells zeros from None."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return 2 * x, 3 * x

    @staticmethod
    def backward(ctx, a, b):
        (x,) = ctx.saved_tensors
        missing = 100.0 * (a is None) + 1000.0 * (b is None)
        return x * ((0 if a is None else 2 * a) + (0 if b is None else 3 * b)) + missing


def both(function, use):
    """What `use` gives for `function` eager and traced, at the first call and the second."""
    traced = jitgrad.trace(function)
    results = []
    for f in (function, traced, traced):
        x = jitgrad.tensor([1.0, 5.0], requires_grad=True)
        results.append(use(f(x), x))
    assert results[0] == results[1] == results[2]
    return results[0]


def gradient(output, x):
    return grad(output.sum(), x)[0].tolist()


def test_a_result_that_is_not_used():
    assert both(lambda x: Pair.apply(x)[0], gradient) == [1002.0, 1010.0]
    assert both(lambda x: Pair.apply(x)[1], gradient) == [103.0, 115.0]
    assert both(lambda x: sum(Pair.apply(x)), gradient) == [5.0, 25.0]


def test_a_result_that_the_caller_does_not_use():
    assert both(Pair.apply, lambda pair, x: gradient(pair[0], x)) == [1002.0, 1010.0]
    assert both(Pair.apply, lambda pair, x: gradient(pair[1], x)) == [103.0, 115.0]
    assert both(Pair.apply, lambda pair, x: gradient(pair[0] + pair[1], x)) == [5.0, 25.0]


def test_a_gradient_inside_the_trace():
    def inside(x):
        a, _ = Pair.apply(x)
        return grad(a.sum(), x)[0]

    assert both(inside, lambda g, x: g.tolist()) == [1002.0, 1010.0]


def test_a_second_derivative():
    def second(pair, x):
        (g,) = grad((pair[0] * pair[0]).sum(), x, create_graph=True)  # 8x^2 + 1000; by x as x (2 ct), and as ct = 2a
        return g.tolist(), gradient(g, x)

    assert both(Pair.apply, second) == ([1008.0, 1200.0], [1016.0, 1240.0])


def test_results_without_gradient_are_zeros_by_default():
    class Zeros(Pair):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return 2 * x, 3 * x

    assert both(lambda x: Zeros.apply(x)[0], gradient) == [2.0, 10.0]
    assert both(Zeros.apply, lambda pair, x: gradient(pair[0], x)) == [2.0, 10.0]


def test_a_set_of_results_that_the_backward_does_not_take():
    class First(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return 2 * x, 3 * x

        @staticmethod
        def backward(ctx, a, b):
            return a * 2 if b is None else a * 2 + b * 3

    assert both(lambda x: First.apply(x)[0], gradient) == [2.0, 2.0]
    pair = jitgrad.trace(First.apply)(jitgrad.ones(2, requires_grad=True))
    with pytest.raises(DifferentiationError, match=r"of its 2 results only \[1\] have one"):
        pair[1].sum().backward()


def test_a_set_of_results_that_cannot_be_recorded():
    class Concrete(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return 2 * x, 3 * x

        @staticmethod
        def backward(ctx, a, b):
            if a is None:
                return jitgrad.ones(2) * float(b.sum())
            return a * 2 if b is None else a * 2 + b * 3

    assert both(lambda x: Concrete.apply(x)[0], gradient) == [2.0, 2.0]
    pair = jitgrad.trace(Concrete.apply)(jitgrad.ones(2, requires_grad=True))
    with pytest.raises(DifferentiationError, match=r"of its 2 results only \[1\] have one"):
        pair[1].sum().backward()


@pytest.mark.parametrize("body, error, words", [
    (lambda a, b: undefined * a, NameError, "undefined"),  # noqa: F821
    (lambda a, b: {}[0], KeyError, "0"),
    (lambda a, b: (a, b), RuntimeError, r"incorrect number of gradients \(expected 1, got 2\)"),
    (lambda a, b: jitgrad.ones(7), RuntimeError, r"invalid gradient at index 0 - got \[7\]"),
    (lambda a, b: "a", TypeError, "expected a Tensor or None as gradient, got str"),
])
def test_a_wrong_backward_raises_as_in_eager(body, error, words):
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x.sin(), x.cos()

        @staticmethod
        def backward(ctx, a, b):
            return body(a, b)

    for wrap in (jitgrad.trace, lambda f: f):
        with pytest.raises(error, match=words):
            wrap(lambda x: sum(Wrong.apply(x)).sum())(jitgrad.ones(2, requires_grad=True)).backward()


@pytest.mark.parametrize("materialize", [True, False])
def test_what_every_backward_raises_is_what_the_call_raises(materialize):
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(materialize)
            return x.sin(), x.cos()

        @staticmethod
        def backward(ctx, a, b):
            raise LookupError(f"half way {a * 2 is b}")

    with pytest.raises(LookupError, match="half way"):
        jitgrad.trace(Wrong.apply)(jitgrad.ones(2, requires_grad=True))


def test_more_results_than_sets_are_recorded_for():
    class Five(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return tuple(x * i for i in range(5))

        @staticmethod
        def backward(ctx, *cts):
            return sum(i * c for i, c in enumerate(cts) if c is not None)

    with pytest.raises(TraceError, match="5 results"):
        jitgrad.trace(Five.apply)(jitgrad.ones(2, requires_grad=True))
