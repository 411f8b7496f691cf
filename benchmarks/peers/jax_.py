"""JAX: everything under jax.jit, the parameters of training steps donated."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, logsumexp

from . import Engine


class Jax(Engine):
    np, erf, logsumexp = jnp, staticmethod(erf), staticmethod(logsumexp)

    def array(self, a):
        return jnp.array(a)

    def forward(self, f, wrt, consts):
        compiled = jax.jit(f)
        return lambda: (compiled(*wrt, *consts),)

    def value_and_grad(self, f, wrt, consts):
        compiled = jax.jit(jax.value_and_grad(f, argnums=tuple(range(len(wrt)))))
        return lambda: jax.tree.leaves(compiled(*wrt, *consts))

    def sgd(self, f, params, consts, lr):
        def update(params, consts):
            value, grads = jax.value_and_grad(f, argnums=tuple(range(len(params))))(*params, *consts)
            return value, [p - lr * g for p, g in zip(params, grads, strict=True)]

        compiled = jax.jit(update, donate_argnums=0)

        def step():
            value, params[:] = compiled(params, consts)
            return value, *params

        return step

    def sync(self, out):
        out[0].block_until_ready()  # all results of one executable become ready together

    def numpy(self, out):
        return [np.array(x) for x in out]

    def begin_case(self):
        jax.clear_caches()

    def start(self):
        jax.jit(lambda x: x + 1)(jnp.ones(3)).block_until_ready()


def make(name, threads):
    return Jax()  # takes its thread count from the process's cores
