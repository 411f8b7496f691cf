"""One step of gradient descent on LeNet-5, a small convolutional network, over images of 28 x 28."""

import numpy as np

from ..workload import Workload
from .cross_entropy import cross_entropy

W = Workload("lenet", "LeNet training step", wrt=("k1", "c1", "k2", "c2", "w1", "b1", "w2", "b2", "w3", "b3"),
             consts=("x", "y"), kind="sgd", tolerance=2e-3)
SHAPES = {"k1": (6, 1, 5, 5), "c1": (6,), "k2": (16, 6, 5, 5), "c2": (16,), "w1": (400, 120), "b1": (120,),
          "w2": (120, 84), "b2": (84,), "w3": (84, 10), "b3": (10,)}


@W.inputs("batch 32")
def inputs(case):
    rng = np.random.default_rng(12)
    batch = int(case.split()[1])
    d = {"x": rng.standard_normal((batch, 1, 28, 28), np.float32), "y": rng.integers(0, 10, batch), "lr": 0.05}
    for name, shape in SHAPES.items():
        fan = np.prod(shape[1:]) if name[0] == "k" else shape[0] if len(shape) > 1 else 100
        d[name] = np.float32(np.sqrt(2 / fan)) * rng.standard_normal(shape, np.float32)
    return d


def windows(x, size):
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))


def convolve(x, k, c):
    return np.einsum("nihwab,oiab->nohw", windows(x, 5), k, optimize=True) + c[:, None, None]


def convolve_back(x, k, g):
    wide = np.pad(g, ((0, 0), (0, 0), (4, 4), (4, 4)))
    dx = np.einsum("nohwab,oiab->nihw", windows(wide, 5), k[:, :, ::-1, ::-1], optimize=True)
    return dx, np.einsum("nihwab,nohw->oiab", windows(x, 5), g, optimize=True), g.sum((0, 2, 3))


def pool(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def pool_back(g):
    return g.repeat(2, axis=2).repeat(2, axis=3) / 4


@W.reference
def reference(d):
    x = np.pad(d["x"], ((0, 0), (0, 0), (2, 2), (2, 2)))
    z1 = convolve(x, d["k1"], d["c1"])
    p1 = pool(np.maximum(z1, 0))
    z2 = convolve(p1, d["k2"], d["c2"])
    flat = pool(np.maximum(z2, 0)).reshape(len(x), 400)
    a1 = flat @ d["w1"] + d["b1"]
    h1 = np.maximum(a1, 0)
    a2 = h1 @ d["w2"] + d["b2"]
    h2 = np.maximum(a2, 0)
    loss, g = cross_entropy(h2 @ d["w3"] + d["b3"], d["y"])
    g2 = (g @ d["w3"].T) * (a2 > 0)
    g1 = (g2 @ d["w2"].T) * (a1 > 0)
    gz2 = pool_back((g1 @ d["w1"].T).reshape(len(x), 16, 5, 5)) * (z2 > 0)
    gp1, dk2, dc2 = convolve_back(p1, d["k2"], gz2)
    _, dk1, dc1 = convolve_back(x, d["k1"], pool_back(gp1) * (z1 > 0))
    return loss, dk1, dc1, dk2, dc2, flat.T @ g1, g1.sum(0), h1.T @ g2, g2.sum(0), h2.T @ g, g.sum(0)


def lenet(convolve, pool, relu, criterion):
    def loss(k1, c1, k2, c2, w1, b1, w2, b2, w3, b3, x, y):
        h = pool(relu(convolve(x, k1, c1, 2)))
        h = pool(relu(convolve(h, k2, c2, 0))).reshape(-1, 400)
        h = relu(h @ w1 + b1)
        return criterion(relu(h @ w2 + b2) @ w3 + b3, y)

    return loss


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    F = peer.F
    return lenet(lambda x, k, c, p: F.conv2d(x, k, c, padding=p), lambda x: F.avg_pool2d(x, 2), F.relu, F.cross_entropy)


@W.loss("jax")
def jax(d, peer):
    import jax

    def convolve(x, k, c, padding):
        return jax.lax.conv(x, k, (1, 1), "SAME" if padding else "VALID") + c[:, None, None]

    def pool(x):
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4

    def cross(z, y):
        return peer.np.mean(peer.logsumexp(z, axis=1) - z[peer.np.arange(len(y)), y])

    return lenet(convolve, pool, jax.nn.relu, cross)
