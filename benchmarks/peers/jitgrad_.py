"""jitgrad: every step one traced function; losses are written with torch's names and shared with torch."""

import numpy as np

import jitgrad

from . import Engine


class Jitgrad(Engine):
    lib = jitgrad

    @property
    def F(self):
        return jitgrad.nn.functional

    def array(self, a):
        return jitgrad.from_numpy(a.copy())

    def forward(self, f, wrt, consts):
        compiled = jitgrad.trace(f)
        return lambda: (compiled(*wrt, *consts),)

    def value_and_grad(self, f, wrt, consts):
        compiled = jitgrad.trace(jitgrad.value_and_grad(f, tuple(range(len(wrt)))))

        def step():
            value, grads = compiled(*wrt, *consts)
            return value, *grads

        return step

    def sgd(self, f, params, consts, lr):
        n = len(params)
        gradients = jitgrad.value_and_grad(f, tuple(range(n)))

        @jitgrad.trace
        def update(*args):
            value, grads = gradients(*args)
            return value, [p - lr * g for p, g in zip(args[:n], grads, strict=True)]

        def step():
            value, params[:] = update(*params, *consts)
            return value, *params

        return step

    def numpy(self, out):
        return [np.array(x.detach().numpy()) for x in out]

    def start(self):
        jitgrad.trace(lambda x: x + 1)(jitgrad.from_numpy(np.ones(3, np.float32)))


def make(name, threads):
    return Jitgrad()
