"""One step of gradient descent on a multilayer perceptron: a classifier led by matmul, and a small regressor
led by the cost of calls."""

import itertools

import numpy as np

from ..workload import Workload
from .cross_entropy import cross_entropy

W = Workload("mlp", "MLP training step", wrt=("w1", "b1", "w2", "b2", "w3", "b3"), consts=("x", "y"),
             kind="sgd", tolerance=1e-3)
SIZES = {"784-512-512-10, batch 128": ((784, 512, 512, 10), 128), "8-32-32-1, batch 16": ((8, 32, 32, 1), 16)}


@W.inputs(*SIZES)
def inputs(case):
    rng = np.random.default_rng(5)
    widths, batch = SIZES[case]
    d = {"x": rng.standard_normal((batch, widths[0]), np.float32), "lr": 0.05}
    d["y"] = rng.integers(0, 10, batch) if widths[-1] > 1 else rng.standard_normal((batch, 1), np.float32)
    for i, (n, m) in enumerate(itertools.pairwise(widths), 1):
        d[f"w{i}"] = rng.standard_normal((n, m), np.float32) * np.float32(np.sqrt(2 / n))
        d[f"b{i}"] = rng.standard_normal(m, np.float32) * np.float32(0.1)
    return d


def classifies(d):
    return d["w3"].shape[1] > 1


@W.reference
def reference(d):
    z1 = d["x"] @ d["w1"] + d["b1"]
    h1 = np.maximum(z1, 0)
    z2 = h1 @ d["w2"] + d["b2"]
    h2 = np.maximum(z2, 0)
    z3 = h2 @ d["w3"] + d["b3"]
    if classifies(d):
        loss, g3 = cross_entropy(z3, d["y"])
    else:
        loss, g3 = np.mean((z3 - d["y"]) ** 2), 2 * (z3 - d["y"]) / len(z3)
    g2 = (g3 @ d["w3"].T) * (z2 > 0)
    g1 = (g2 @ d["w2"].T) * (z1 > 0)
    return loss, d["x"].T @ g1, g1.sum(0), h1.T @ g2, g2.sum(0), h2.T @ g3, g3.sum(0)


def mlp(relu, criterion):
    def loss(w1, b1, w2, b2, w3, b3, x, y):
        h = relu(x @ w1 + b1)
        h = relu(h @ w2 + b2)
        return criterion(h @ w3 + b3, y)

    return loss


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    return mlp(peer.F.relu, peer.F.cross_entropy if classifies(d) else peer.F.mse_loss)


@W.loss("jax", "autograd")
def numpy_like(d, peer):
    rows = np.arange(len(d["x"]))

    def cross(z, y):
        return peer.np.mean(peer.logsumexp(z, axis=1) - z[rows, y])

    def square(z, y):
        return peer.np.mean((z - y) ** 2)

    return mlp(lambda z: peer.np.maximum(z, 0), cross if classifies(d) else square)
