"""Softmax cross-entropy, the mean over rows, and its gradient with respect to the logits: row programs."""

import math

import numpy as np

from ..workload import Workload

W = Workload("cross_entropy", "softmax cross-entropy and gradient", wrt=("logits",), consts=("labels",))
SIZES = {"256x1000": (256, 1000), "8192x100": (8192, 100)}


@W.inputs(*SIZES)
def inputs(case):
    rng = np.random.default_rng(3)
    rows, classes = SIZES[case]
    logits = 3 * rng.standard_normal((rows, classes), np.float32)
    return {"logits": logits, "labels": rng.integers(0, classes, rows)}


def cross_entropy(logits, labels):
    """The mean loss and its gradient, in plain NumPy."""
    shifted = logits - logits.max(1, keepdims=True)
    p = np.exp(shifted)
    total = p.sum(1, keepdims=True)
    p /= total
    rows = np.arange(len(labels))
    loss = np.mean(np.log(total[:, 0]) - shifted[rows, labels])
    p[rows, labels] -= 1
    return loss, p / len(labels)


@W.reference
def reference(d):
    return cross_entropy(d["logits"], d["labels"])


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    return peer.F.cross_entropy


@W.loss("jax")
def jax_gather(d, peer):
    def loss(logits, labels):
        picked = peer.np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
        return peer.np.mean(peer.logsumexp(logits, axis=1) - picked)

    return loss


@W.loss("jax:onehot")
def jax_onehot(d, peer):
    import jax

    def loss(logits, labels):
        return -peer.np.mean((jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, logits.shape[1])).sum(1))

    return loss


@W.loss("autograd")
def indexed(d, peer):
    def loss(logits, labels):
        picked = logits[np.arange(len(labels)), labels]
        return peer.np.mean(peer.logsumexp(logits, axis=1) - picked)

    return loss


@W.step("numba")
def numba(d, peer):
    import numba

    logits, labels = peer.array(d["logits"]), peer.array(d["labels"])

    @numba.njit(parallel=True, fastmath=True)
    def compiled(logits, labels):
        rows, classes = logits.shape
        grad = np.empty_like(logits)
        loss = 0.0
        for i in numba.prange(rows):
            top = logits[i, 0]
            for j in range(1, classes):
                top = max(top, logits[i, j])
            total = np.float32(0)
            for j in range(classes):
                p = math.exp(logits[i, j] - top)
                grad[i, j] = p
                total += p
            loss += math.log(total) - (logits[i, labels[i]] - top)
            scale = np.float32(1) / (total * rows)
            for j in range(classes):
                grad[i, j] *= scale
            grad[i, labels[i]] -= np.float32(1.0 / rows)
        return loss / rows, grad

    return lambda: compiled(logits, labels)
