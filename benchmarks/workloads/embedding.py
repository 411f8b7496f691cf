"""Rows of a large table looked up, averaged and classified, and one step of gradient descent in place: of the table,
only the rows that were used change."""

import numpy as np

from ..workload import Workload
from .cross_entropy import cross_entropy

W = Workload("embedding", "embedding, mean and SGD, in place", wrt=("table", "w"), kind="sgd", tolerance=1e-3)


@W.inputs("50000x64")
def inputs(case):
    rng = np.random.default_rng(13)
    rows, width = map(int, case.split("x"))
    return {"table": np.float32(0.1) * rng.standard_normal((rows, width), np.float32),
            "ids": rng.integers(0, rows, (64, 32)), "w": rng.standard_normal((width, 10), np.float32) / 8,
            "y": rng.integers(0, 10, 64), "lr": 5.0}


@W.reference
def reference(d):
    ids = d["ids"]
    pooled = d["table"][ids].mean(1)
    loss, g = cross_entropy(pooled @ d["w"], d["y"])
    dtable = np.zeros_like(d["table"])
    np.add.at(dtable, ids, (g @ d["w"].T / ids.shape[1])[:, None])
    return loss, dtable, pooled.T @ g


def pooled_loss(peer, table, w, ids, y):
    return peer.F.cross_entropy(table[ids].mean(1) @ w, y)


@W.step("jitgrad")
def jitgrad(d, peer):
    table, w, ids, y, lr = *(peer.array(d[k]) for k in ("table", "w", "ids", "y")), d["lr"]
    gradients = peer.lib.value_and_grad(lambda table, w, ids, y: pooled_loss(peer, table, w, ids, y), (0, 1))

    @peer.lib.trace
    def step(table, w, ids, y):
        value, (dtable, dw) = gradients(table, w, ids, y)
        table -= lr * dtable
        w -= lr * dw
        return value

    return lambda: (step(table, w, ids, y), table, w)


def with_optimizer(sparse):
    def make(d, peer):
        torch = peer.lib
        table, w = (peer.array(d[k]).requires_grad_() for k in ("table", "w"))
        ids, y = peer.array(d["ids"]), peer.array(d["y"])
        sgd = torch.optim.SGD([table, w], lr=d["lr"])

        def step():
            sgd.zero_grad()
            value = peer.F.cross_entropy(peer.F.embedding(ids, table, sparse=sparse).mean(1) @ w, y)
            value.backward()
            sgd.step()
            return value, table, w

        return step

    return make


W.step("torch")(with_optimizer(sparse=False))
W.step("torch:sparse")(with_optimizer(sparse=True))


@W.step("torch.compile:func")
def torch_compiled(d, peer):
    torch = peer.lib
    table, w, ids, y = (peer.array(d[k]) for k in ("table", "w", "ids", "y"))
    gradients = torch.func.grad_and_value(lambda table, w, ids, y: pooled_loss(peer, table, w, ids, y), (0, 1))

    @peer.compile
    def compiled(table, w, ids, y):
        (dtable, dw), value = gradients(table, w, ids, y)
        table.sub_(d["lr"] * dtable)
        w.sub_(d["lr"] * dw)
        return value

    def step():
        with torch.no_grad():
            return compiled(table, w, ids, y), table, w

    return step


def with_donation(by_rows):
    def make(d, peer):
        import jax

        ids, y = peer.array(d["ids"]), peer.array(d["y"])
        state = [peer.array(d["table"]), peer.array(d["w"])]

        def loss(rows, w):
            z = rows.mean(1) @ w
            return peer.np.mean(peer.logsumexp(z, axis=1) - z[peer.np.arange(len(y)), y])

        def dense(table, w):
            value, (dtable, dw) = jax.value_and_grad(lambda table, w: loss(table[ids], w), (0, 1))(table, w)
            return value, table - d["lr"] * dtable, w - d["lr"] * dw

        def sparse(table, w):
            value, (drows, dw) = jax.value_and_grad(loss, (0, 1))(table[ids], w)
            return value, table.at[ids].add(-d["lr"] * drows), w - d["lr"] * dw

        compiled = jax.jit(sparse if by_rows else dense, donate_argnums=(0, 1))

        def step():
            value, *state[:] = compiled(*state)
            return value, *state

        return step

    return make


W.step("jax")(with_donation(by_rows=False))
W.step("jax:rows")(with_donation(by_rows=True))


@W.step("numba")
def numba(d, peer):
    import numba

    table, w, ids, y = (peer.array(d[k]) for k in ("table", "w", "ids", "y"))
    lr = np.float32(d["lr"])

    @numba.njit(fastmath=True)
    def compiled(table, w, ids, y, lr):
        batch, length = ids.shape
        width = table.shape[1]
        pooled = np.zeros((batch, width), np.float32)
        for i in range(batch):
            for j in range(length):
                for k in range(width):
                    pooled[i, k] += table[ids[i, j], k]
        pooled /= np.float32(length)
        z = pooled @ w
        loss = 0.0
        for i in range(batch):
            top = z[i].max()
            e = np.exp(z[i] - top)
            total = e.sum()
            loss += np.log(total) + top - z[i, y[i]]
            z[i] = e / total
            z[i, y[i]] -= np.float32(1)
        z /= np.float32(batch)
        drows = (z @ w.T) * (lr / np.float32(length))
        w -= lr * (pooled.T @ z)
        for i in range(batch):
            for j in range(length):
                for k in range(width):
                    table[ids[i, j], k] -= drows[i, k]
        return loss / batch

    return lambda: (compiled(table, w, ids, y, lr), table, w)
