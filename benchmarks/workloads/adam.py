"""One step of Adam over a million parameters, in place: four arrays read, three written, no arithmetic to speak of."""

import math

import numpy as np

from ..workload import Workload

W = Workload("adam", "Adam step, in place", wrt=(), kind="custom", tolerance=1e-5)
RATE, BETA1, BETA2, EPSILON = 1e-2, 0.9, 0.999, 1e-8
DONE = 10  # steps taken before the first one that is timed


@W.inputs("1e6")
def inputs(case):
    rng = np.random.default_rng(15)
    n = int(float(case))
    return {"p": rng.standard_normal(n, np.float32), "g": rng.standard_normal(n, np.float32),
            "m": np.float32(0.1) * rng.standard_normal(n, np.float32),
            "v": rng.uniform(0.01, 0.1, n).astype(np.float32)}


@W.reference
def reference(d):
    return update(np.sqrt, *(d[k] for k in "pgmv"), DONE + 1)


def update(sqrt, p, g, m, v, t):
    m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
    return p - RATE * (m / (1 - BETA1**t)) / (sqrt(v / (1 - BETA2**t)) + EPSILON), m, v


def in_place(d, peer, compile):
    p, g, m, v = (peer.array(d[k]) for k in "pgmv")
    t = peer.array(np.array(DONE, np.float32))

    @compile
    def step(p, m, v, t, g):
        t.add_(1)
        for old, new in zip((p, m, v), update(peer.lib.sqrt, p, g, m, v, t), strict=True):
            old.copy_(new)

    def run():
        step(p, m, v, t, g)
        return p, m, v

    return run


@W.step("jitgrad")
def jitgrad(d, peer):
    return in_place(d, peer, peer.lib.trace)


@W.step("torch.compile")
def torch_compiled(d, peer):
    return in_place(d, peer, peer.compile)


def optimizer(**options):
    def make(d, peer):
        p = peer.array(d["p"]).requires_grad_()
        p.grad = peer.array(d["g"])
        adam = peer.lib.optim.Adam([p], lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, **options)
        state = {"step": peer.lib.tensor(float(DONE)), "exp_avg": peer.array(d["m"]), "exp_avg_sq": peer.array(d["v"])}
        adam.state[p] = state

        def run():
            adam.step()
            return p, state["exp_avg"], state["exp_avg_sq"]

        return run

    return make


W.step("torch")(optimizer())
W.step("torch:fused")(optimizer(fused=True))


@W.step("jax")
def jax(d, peer):
    import jax

    g = peer.array(d["g"])
    state = [*(peer.array(d[k]) for k in "pmv"), peer.array(np.float32(DONE))]

    def step(p, m, v, t, g):
        return *update(peer.np.sqrt, p, g, m, v, t + 1), t + 1

    compiled = jax.jit(step, donate_argnums=(0, 1, 2, 3))

    def run():
        state[:] = compiled(*state, g)
        return state[:3]

    return run


@W.step("drjit", "drjit:freeze")
def drjit(d, peer):
    dr = peer.dr
    g, state, done = peer.array(d["g"]), [peer.array(d[k]) for k in "pmv"], [DONE]
    compiled = peer.compile(lambda p, m, v, t, g: update(dr.sqrt, p, g, m, v, t))

    def run():
        done[0] += 1
        state[:] = compiled(*state, dr.opaque(peer.Float, done[0]), g)
        return state

    return run


@W.step("numba")
def numba(d, peer):
    import numba

    p, g, m, v = (peer.array(d[k]) for k in "pgmv")
    done = [DONE]

    @numba.njit(parallel=True, fastmath=True)
    def step(p, g, m, v, size, root, epsilon):
        b1, b2, one = np.float32(BETA1), np.float32(BETA2), np.float32(1)
        for i in numba.prange(p.size):
            m[i] = b1 * m[i] + (one - b1) * g[i]
            v[i] = b2 * v[i] + (one - b2) * g[i] * g[i]
            p[i] -= size * m[i] / (math.sqrt(v[i]) * root + epsilon)

    def run():
        done[0] += 1
        size, root = RATE / (1 - BETA1 ** done[0]), 1 / math.sqrt(1 - BETA2 ** done[0])
        step(p, g, m, v, np.float32(size), np.float32(root), np.float32(EPSILON))
        return p, m, v

    return run
