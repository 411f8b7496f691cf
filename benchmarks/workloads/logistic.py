"""Logistic regression with an L2 penalty, and its gradient: a loss between two matrix-vector products."""

import math

import numpy as np

from ..workload import Workload

W = Workload("logistic", "logistic regression and gradient", wrt=("w", "b"), consts=("X", "y"))
PENALTY = 1e-3


@W.inputs("20000x50")
def inputs(case):
    rng = np.random.default_rng(6)
    X = rng.standard_normal((20000, 50), np.float32)
    truth, noise = rng.standard_normal((2, 50), np.float32)
    y = rng.random(20000) < 1 / (1 + np.exp(-0.3 * X @ truth))
    return {"X": X, "y": y.astype(np.float32), "w": np.float32(0.3) * truth + np.float32(0.1) * noise,
            "b": np.array(0.1, np.float32)}


@W.reference
def reference(d):
    z = d["X"] @ d["w"] + d["b"]
    residual = (1 / (1 + np.exp(-z)) - d["y"]) / len(z)
    loss = np.mean(np.logaddexp(0, z) - d["y"] * z) + 0.5 * PENALTY * (d["w"] ** 2).sum()
    return loss, d["X"].T @ residual + PENALTY * d["w"], residual.sum()


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    def loss(w, b, X, y):
        return peer.F.binary_cross_entropy_with_logits(X @ w + b, y) + 0.5 * PENALTY * (w * w).sum()

    return loss


@W.loss("jax", "autograd")
def numpy_like(d, peer):
    def loss(w, b, X, y):
        z = X @ w + b
        return peer.np.mean(peer.np.logaddexp(0, z) - y * z) + 0.5 * PENALTY * peer.np.sum(w * w)

    return loss


@W.step("numba")
def numba(d, peer):
    import numba

    w, b, X, y = (peer.array(d[k]) for k in ("w", "b", "X", "y"))
    workers = numba.get_num_threads()

    @numba.njit(parallel=True, fastmath=True)
    def compiled(w, b, X, y):
        rows, n = X.shape
        grad = np.zeros((workers, n), np.float32)
        loss, db = 0.0, 0.0
        for t in numba.prange(workers):
            part, dpart = 0.0, 0.0
            for i in range(t * rows // workers, (t + 1) * rows // workers):
                z = np.float32(b)
                for j in range(n):
                    z += X[i, j] * w[j]
                q = math.exp(-abs(z))
                part += max(z, np.float32(0)) + math.log1p(q) - y[i] * z
                s = (np.float32(1) if z >= 0 else q) / (np.float32(1) + q)
                r = (s - y[i]) / np.float32(rows)
                dpart += r
                for j in range(n):
                    grad[t, j] += r * X[i, j]
            loss += part
            db += dpart
        return loss / rows + 0.5 * PENALTY * (w * w).sum(), grad.sum(0) + np.float32(PENALTY) * w, db

    bias = np.float32(b)
    return lambda: compiled(w, bias, X, y)
