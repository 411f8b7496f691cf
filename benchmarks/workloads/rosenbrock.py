"""The Rosenbrock function of many variables and its gradient: slices of one vector."""

import numpy as np

from ..workload import Workload

W = Workload("rosenbrock", "Rosenbrock function and gradient", wrt=("x",))


@W.inputs("1e5")
def inputs(case):
    return {"x": np.random.default_rng(11).uniform(-1.5, 1.5, int(float(case))).astype(np.float32)}


@W.reference
def reference(d):
    a, b = d["x"][:-1], d["x"][1:]
    t = b - a * a
    grad = np.zeros_like(d["x"])
    grad[:-1] = -400 * a * t - 2 * (1 - a)
    grad[1:] += 200 * t
    return (100 * t * t + (1 - a) ** 2).sum(), grad


@W.loss("jitgrad", "torch", "jax", "autograd")
def slices(d, peer):
    def loss(x):
        a, b = x[:-1], x[1:]
        t = b - a * a
        return (100 * t * t + (1 - a) ** 2).sum()

    return loss


@W.loss("drjit")
def gathers(d, peer):
    dr, n = peer.dr, len(d["x"]) - 1

    def loss(x):
        i = dr.arange(peer.UInt, n)
        a, b = dr.gather(peer.Float, x, i), dr.gather(peer.Float, x, i + 1)
        t = b - a * a
        return dr.sum(100 * t * t + (1 - a) * (1 - a))

    return loss


def by_hand(parallel):
    def make(d, peer):
        import numba

        x = peer.array(d["x"])

        @numba.njit(parallel=parallel, fastmath=True)
        def compiled(x):
            n = x.size
            grad = np.empty_like(x)
            value = np.float32(0)
            two, hundred = np.float32(2), np.float32(100)
            for i in numba.prange(1, n - 1):
                t = x[i + 1] - x[i] * x[i]
                u = np.float32(1) - x[i]
                value += hundred * t * t + u * u
                grad[i] = two * hundred * (x[i] - x[i - 1] * x[i - 1] - two * x[i] * t) - two * u
            t = x[1] - x[0] * x[0]
            value += hundred * t * t + (1 - x[0]) ** 2
            grad[0] = -4 * hundred * x[0] * t - 2 * (1 - x[0])
            grad[n - 1] = 2 * hundred * (x[n - 1] - x[n - 2] * x[n - 2])
            return value, grad

        return lambda: compiled(x)

    return make


W.step("numba")(by_hand(parallel=True))
W.step("numba:serial")(by_hand(parallel=False))
