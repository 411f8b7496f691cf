"""Causal scaled dot-product attention over four heads, and the gradients of queries, keys and values."""

import math

import numpy as np

from ..workload import Workload

W = Workload("attention", "causal attention and gradients", wrt=("q", "k", "v"), consts=("w",), tolerance=1e-3)


@W.inputs("2x4x256x32")
def inputs(case):
    rng = np.random.default_rng(9)
    shape = tuple(map(int, case.split("x")))
    return {name: rng.standard_normal(shape, np.float32) for name in "qkvw"}


@W.reference
def reference(d):
    q, k, v, w = (d[name] for name in "qkvw")
    scale = 1 / math.sqrt(q.shape[-1])
    scores = np.where(np.tri(q.shape[-2], dtype=bool), q @ k.swapaxes(-1, -2) * scale, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    dp = w @ v.swapaxes(-1, -2)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * scale
    return (p @ v * w).sum(), ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ w


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    def loss(q, k, v, w):
        return (peer.F.scaled_dot_product_attention(q, k, v, is_causal=True) * w).sum()

    return loss


@W.loss("jax", "autograd")
def numpy_like(d, peer):
    causal = np.tri(d["q"].shape[-2], dtype=bool)
    scale = 1 / math.sqrt(d["q"].shape[-1])

    def loss(q, k, v, w):
        scores = peer.np.where(causal, peer.np.matmul(q, peer.np.swapaxes(k, -1, -2)) * scale, -1e30)
        p = peer.np.exp(scores - peer.logsumexp(scores, axis=-1, keepdims=True))
        return (peer.np.matmul(p, v) * w).sum()

    return loss


@W.loss("jax:nn")
def jax_nn(d, peer):
    import jax

    def loss(q, k, v, w):
        q, k, v, w = (x.swapaxes(1, 2) for x in (q, k, v, w))  # (batch, time, heads, width)
        return (jax.nn.dot_product_attention(q, k, v, is_causal=True) * w).sum()

    return loss
