"""HIPS autograd: gradients of plain NumPy programs, interpreted."""

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import erf, logsumexp

from . import Engine


class Autograd(Engine):
    np, erf, logsumexp = anp, staticmethod(erf), staticmethod(logsumexp)

    def forward(self, f, wrt, consts):
        return lambda: (f(*wrt, *consts),)

    def value_and_grad(self, f, wrt, consts):
        gradients = autograd.value_and_grad(f, tuple(range(len(wrt))))

        def step():
            value, grads = gradients(*wrt, *consts)
            return value, *grads

        return step

    def sgd(self, f, params, consts, lr):
        gradients = self.value_and_grad(f, params, consts)

        def step():
            value, *grads = gradients()
            for p, g in zip(params, grads, strict=True):
                p -= np.float32(lr) * g
            return value, *params

        return step


def make(name, threads):
    return Autograd()
