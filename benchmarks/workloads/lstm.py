"""A long short-term memory unrolled over time, and the gradients of its weights."""

import numpy as np

from ..workload import Workload

W = Workload("lstm", "LSTM and gradients", wrt=("wx", "wh", "b"), consts=("x",))


@W.inputs("T32 B16 H64")
def inputs(case):
    rng = np.random.default_rng(10)
    steps, batch, width = (int(word[1:]) for word in case.split())
    scale = np.float32(1 / np.sqrt(width))
    return {"x": rng.standard_normal((steps, batch, width), np.float32),
            "wx": scale * rng.standard_normal((width, 4 * width), np.float32),
            "wh": scale * rng.standard_normal((width, 4 * width), np.float32),
            "b": np.float32(0.1) * rng.standard_normal(4 * width, np.float32)}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@W.reference
def reference(d):
    wx, wh, b, x = d["wx"], d["wh"], d["b"], d["x"]
    h = c = np.zeros((x.shape[1], wh.shape[0]))
    saved = []
    for now in x:
        i, f, g, o = np.split(now @ wx + h @ wh + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        after = f * c + i * g
        saved.append((now, h, c, i, f, g, o, np.tanh(after)))
        h, c = o * np.tanh(after), after
    dwx, dwh, db = np.zeros_like(wx), np.zeros_like(wh), np.zeros_like(b)
    dh, dc = 2 * h / h.size, np.zeros_like(c)
    for now, before, c, i, f, g, o, t in reversed(saved):
        dc = dc + dh * o * (1 - t * t)
        parts = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o)
        dz = np.concatenate(parts, axis=1)
        dwx, dwh, db = dwx + now.T @ dz, dwh + before.T @ dz, db + dz.sum(0)
        dh, dc = dz @ wh.T, dc * f
    return np.mean(h * h), dwx, dwh, db


def unrolled(zeros, split, sigmoid, tanh):
    def loss(wx, wh, b, x):
        h = c = zeros((x.shape[1], wh.shape[0]))
        for t in range(x.shape[0]):
            i, f, g, o = split(x[t] @ wx + h @ wh + b)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
        return (h * h).mean()

    return loss


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    return unrolled(peer.lib.zeros, lambda z: z.chunk(4, 1), peer.lib.sigmoid, peer.lib.tanh)


@W.loss("autograd")
def numpy_like(d, peer):
    np = peer.np
    return unrolled(np.zeros, lambda z: np.split(z, 4, axis=1), lambda x: 0.5 * np.tanh(0.5 * x) + 0.5, np.tanh)


@W.loss("jax")
def jax_unrolled(d, peer):
    import jax

    np = peer.np
    return unrolled(np.zeros, lambda z: np.split(z, 4, axis=1), jax.nn.sigmoid, np.tanh)


@W.loss("jax:scan")
def jax_scan(d, peer):
    import jax

    def loss(wx, wh, b, x):
        def step(state, now):
            h, c = state
            i, f, g, o = peer.np.split(now @ wx + h @ wh + b, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * peer.np.tanh(g)
            return (jax.nn.sigmoid(o) * peer.np.tanh(c), c), None

        zero = peer.np.zeros((x.shape[1], wh.shape[0]))
        (h, _), _ = jax.lax.scan(step, (zero, zero), x)
        return (h * h).mean()

    return loss


@W.step("torch:nn")
def torch_nn(d, peer):
    torch = peer.lib
    width = d["wh"].shape[0]
    module = torch.nn.LSTM(width, width)
    with torch.no_grad():
        module.weight_ih_l0.copy_(peer.array(d["wx"]).T)
        module.weight_hh_l0.copy_(peer.array(d["wh"]).T)
        module.bias_ih_l0.copy_(peer.array(d["b"]))
        module.bias_hh_l0.zero_()
    x = peer.array(d["x"])
    wrt = module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0

    def step():
        value = module(x)[1][0].square().mean()
        dwx, dwh, db = torch.autograd.grad(value, wrt)
        return value, dwx.T, dwh.T, db

    return step
