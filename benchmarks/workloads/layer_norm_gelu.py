"""gelu(layer_norm(x)) against a fixed cotangent, and the gradients of x, weight and bias: row programs whose
backward also sums columns."""

import math

import numpy as np
from scipy.special import erf

from ..workload import Workload

W = Workload("layer_norm_gelu", "layer norm + gelu and gradients", wrt=("x", "weight", "bias"), consts=("c",))
EPS = 1e-5


@W.inputs("2048x768")
def inputs(case):
    rng = np.random.default_rng(4)
    x, c = rng.standard_normal((2, 2048, 768), np.float32)
    weight, bias = rng.standard_normal((2, 768), np.float32) * np.float32(0.1)
    return {"x": x, "weight": 1 + weight, "bias": bias, "c": c}


@W.reference
def reference(d):
    x, c = d["x"], d["c"]
    rstd = 1 / np.sqrt(x.var(1, keepdims=True) + EPS)
    normal = (x - x.mean(1, keepdims=True)) * rstd
    y = normal * d["weight"] + d["bias"]
    cdf = 0.5 * (1 + erf(y / math.sqrt(2)))
    dy = c * (cdf + y * np.exp(-0.5 * y * y) / math.sqrt(2 * math.pi))
    dn = dy * d["weight"]
    dx = rstd * (dn - dn.mean(1, keepdims=True) - normal * (dn * normal).mean(1, keepdims=True))
    return (y * cdf * c).sum(), dx, (dy * normal).sum(0), dy.sum(0)


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    return lambda x, weight, bias, c: (peer.F.gelu(peer.F.layer_norm(x, (768,), weight, bias)) * c).sum()


@W.loss("jax", "autograd")
def numpy_like(d, peer):
    def loss(x, weight, bias, c):
        centred = x - peer.np.mean(x, axis=1, keepdims=True)
        var = peer.np.mean(centred * centred, axis=1, keepdims=True)
        y = centred / peer.np.sqrt(var + EPS) * weight + bias
        return peer.np.sum(0.5 * y * (1 + peer.erf(y * 0.7071067811865476)) * c)

    return loss


@W.step("numba")
def numba(d, peer):
    import numba

    args = [peer.array(d[k]) for k in ("x", "weight", "bias", "c")]
    workers = numba.get_num_threads()

    @numba.njit(parallel=True, fastmath=True)
    def compiled(x, weight, bias, c):
        rows, n = x.shape
        dx = np.empty_like(x)
        dw, db = np.zeros((workers, n), np.float32), np.zeros((workers, n), np.float32)
        inv, one, half = np.float32(1 / n), np.float32(1), np.float32(0.5)
        root, norm = np.float32(math.sqrt(0.5)), np.float32(1 / math.sqrt(2 * math.pi))
        total = 0.0
        for t in numba.prange(workers):
            normal, dn = np.empty(n, np.float32), np.empty(n, np.float32)
            part = 0.0
            for i in range(t * rows // workers, (t + 1) * rows // workers):
                mean = np.float32(0)
                for j in range(n):
                    mean += x[i, j]
                mean *= inv
                var = np.float32(0)
                for j in range(n):
                    var += (x[i, j] - mean) ** 2
                rstd = one / math.sqrt(var * inv + np.float32(EPS))
                value, sum_dn, sum_dn_normal = np.float32(0), np.float32(0), np.float32(0)
                for j in range(n):
                    h = (x[i, j] - mean) * rstd
                    y = h * weight[j] + bias[j]
                    cdf = half * (one + math.erf(y * root))
                    value += y * cdf * c[i, j]
                    dy = c[i, j] * (cdf + y * norm * math.exp(-half * y * y))
                    dw[t, j] += dy * h
                    db[t, j] += dy
                    g = dy * weight[j]
                    normal[j], dn[j] = h, g
                    sum_dn += g
                    sum_dn_normal += g * h
                sum_dn *= inv
                sum_dn_normal *= inv
                for j in range(n):
                    dx[i, j] = rstd * (dn[j] - sum_dn - normal[j] * sum_dn_normal)
                part += value
            total += part
        return total, dx, dw.sum(0), db.sum(0)

    return lambda: compiled(*args)
