"""A gradient of one's own: an autograd.Function, checked numerically, used eagerly and under a trace.

Rounding has a derivative of zero almost everywhere, so nothing can be learned through it. The straight-through
estimator rounds on the way forward and passes the gradient on the way back as if it had not (Bengio, Léonard and
Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation", 2013).

    python examples/custom_function.py
"""

import jitgrad
from jitgrad.autograd import Function, gradcheck


class RoundStraightThrough(Function):
    @staticmethod
    def forward(ctx, x):
        return jitgrad.round(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Softplus(Function):
    """log(1 + exp(x)) without overflow; its backward needs nothing but x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return jitgrad.clamp(x, min=0) + jitgrad.log1p(jitgrad.exp(-jitgrad.abs(x)))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * jitgrad.sigmoid(x)


def loss(x):
    return (Softplus.apply(x) * RoundStraightThrough.apply(x)).sum()


def main():
    far = jitgrad.tensor([-800.0, -1.5, 0.4, 800.0], dtype=jitgrad.float64)
    print("softplus       ", Softplus.apply(far).tolist())
    x = jitgrad.tensor([-1.5, 0.4, 2.0], dtype=jitgrad.float64, requires_grad=True)
    print("gradcheck      ", gradcheck(Softplus.apply, (x,)))
    eager = jitgrad.grad(loss)(x)
    traced = jitgrad.trace(jitgrad.grad(loss))(x)
    print("eager gradient ", eager.tolist())
    print("traced gradient", traced.tolist())
    assert jitgrad.allclose(eager, traced)


if __name__ == "__main__":
    main()
