"""Softened gravitational energy of a thousand bodies, by broadcasting over all pairs, and its gradient."""

import math

import numpy as np

from ..workload import Workload

W = Workload("nbody", "N-body energy and gradient", wrt=("p",), consts=("m",))
SOFT = 0.01  # squared softening length; a body's pair with itself adds a constant and is left in


@W.inputs("1000")
def inputs(case):
    rng = np.random.default_rng(8)
    n = int(case)
    return {"p": rng.standard_normal((n, 3), np.float32), "m": rng.uniform(0.5, 1.5, n).astype(np.float32)}


@W.reference
def reference(d):
    p, m = d["p"], d["m"]
    apart = p[:, None] - p[None]
    inverse = 1 / np.sqrt((apart**2).sum(-1) + SOFT)
    masses = m[:, None] * m[None]
    return -0.5 * (masses * inverse).sum(), ((masses * inverse**3)[:, :, None] * apart).sum(1)


def energy(sqrt):
    def loss(p, m):
        apart = p[:, None, :] - p[None, :, :]
        distance = sqrt((apart * apart).sum(-1) + SOFT)
        return -0.5 * (m[:, None] * m[None, :] / distance).sum()

    return loss


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    return energy(peer.lib.sqrt)


@W.loss("jax", "autograd")
def numpy_like(d, peer):
    return energy(peer.np.sqrt)


@W.loss("drjit")
def pairs(d, peer):
    dr, n = peer.dr, len(d["m"])

    def loss(p, m):
        pair = dr.arange(peer.UInt, n * n)
        i, j = pair // n, pair % n
        square = dr.opaque(peer.Float, SOFT)
        for k in range(3):
            apart = dr.gather(peer.Float, p, 3 * i + k) - dr.gather(peer.Float, p, 3 * j + k)
            square += apart * apart
        return -0.5 * dr.sum(dr.gather(peer.Float, m, i) * dr.gather(peer.Float, m, j) * dr.rsqrt(square))

    return loss


@W.step("numba")
def numba(d, peer):
    import numba

    x, y, z = (np.ascontiguousarray(d["p"][:, k]) for k in range(3))
    m = peer.array(d["m"])

    @numba.njit(parallel=True, fastmath=True)
    def compiled(x, y, z, m):
        n = x.size
        grad = np.empty((n, 3), np.float32)
        total = 0.0
        for i in numba.prange(n):
            u = gx = gy = gz = np.float32(0)
            for j in range(n):
                dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
                inverse = np.float32(1) / math.sqrt(dx * dx + dy * dy + dz * dz + np.float32(SOFT))
                s = m[j] * inverse
                u += s
                s *= inverse * inverse
                gx += s * dx
                gy += s * dy
                gz += s * dz
            total += m[i] * u
            grad[i, 0], grad[i, 1], grad[i, 2] = m[i] * gx, m[i] * gy, m[i] * gz
        return -0.5 * total, grad

    return lambda: compiled(x, y, z, m)
