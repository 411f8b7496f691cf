"""Loss functions against NumPy written out, gradients against finite differences, and the errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from arrays import close, gradient, leaf, log_softmax, normal, rng

import jitgrad
import jitgrad.nn.functional as F
from jitgrad.autograd import gradcheck, gradgradcheck

inf, nan = math.inf, math.nan


# -- classification


def np_cross_entropy(x, target, weight=None, ignore=-100, smoothing=0.0):
    """Losses and weights of each sample; x is (N, C), target (N) or (N, C)."""
    logp = log_softmax(x, 1)
    classes = x.shape[1]
    weight = np.ones(classes) if weight is None else weight
    if target.ndim == 2:
        mixed = target * (1 - smoothing) + smoothing / classes
        return -(logp * mixed * weight).sum(1), np.ones(len(x))
    keep = target != ignore
    safe = np.where(keep, target, 0)
    hard = -logp[np.arange(len(x)), safe] * weight[safe]
    smooth = -(logp * weight).sum(1) / classes
    return np.where(keep, hard * (1 - smoothing) + smooth * smoothing, 0), np.where(keep, weight[safe], 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["index", "probability"])
def test_cross_entropy(kind, weighted, smoothing):
    x, weight = normal(6, 4) * 3, rng.uniform(0.5, 2, 4) if weighted else None
    target = np.array([0, 1, 2, 3, 1, 2]) if kind == "index" else rng.dirichlet(np.ones(4), 6)
    ignore = 2 if kind == "index" else -100
    losses, weights = np_cross_entropy(x, target, weight, ignore, smoothing)
    t = jitgrad.from_numpy(target)
    w = None if weight is None else jitgrad.from_numpy(weight)

    def f(x, reduction="mean"):
        return F.cross_entropy(x, t, w, ignore_index=ignore, reduction=reduction, label_smoothing=smoothing)

    close(f(jitgrad.from_numpy(x), "none"), losses)
    close(f(jitgrad.from_numpy(x), "sum"), losses.sum())
    close(f(jitgrad.from_numpy(x)), losses.sum() / weights.sum())
    assert gradcheck(f, leaf(x))
    assert gradgradcheck(f, leaf(x))
    # the same samples spread over two more axes, the classes in the middle
    image = np.ascontiguousarray(np.moveaxis(x.reshape(2, 3, 1, 4), -1, 1))
    shape = (2, 3, 1) if kind == "index" else (2, 3, 1, 4)
    t = target.reshape(shape)
    t = jitgrad.from_numpy(t if kind == "index" else np.ascontiguousarray(np.moveaxis(t, -1, 1)))
    close(f(jitgrad.from_numpy(image), "none"), losses.reshape(2, 3, 1))
    close(f(jitgrad.from_numpy(image)), losses.sum() / weights.sum())


def test_cross_entropy_gradient_is_softmax_minus_target():
    x, target = normal(5, 3), np.array([0, 1, 2, 1, 0])
    (got,) = gradient(lambda x: F.cross_entropy(x, jitgrad.from_numpy(target), reduction="sum"), x)
    np.testing.assert_allclose(got, np.exp(log_softmax(x, 1)) - np.eye(3)[target], rtol=1e-12)


def test_cross_entropy_edges():
    f = F.cross_entropy
    assert math.isnan(f(jitgrad.zeros(2, 3), jitgrad.tensor([-100, -100])).item())
    assert f(jitgrad.zeros(2, 3), jitgrad.tensor([-100, -100]), reduction="sum").item() == 0
    assert math.isnan(f(jitgrad.zeros(0, 3), jitgrad.zeros(0, dtype=jitgrad.int64)).item())
    assert f(jitgrad.ones(2, 1), jitgrad.tensor([0, 0])).item() == 0
    assert f(jitgrad.tensor([1.0, -inf, 1.0]), jitgrad.tensor(1)).item() == inf
    assert f(jitgrad.tensor([3e4, 0.0]), jitgrad.tensor(0)).item() == 0
    close(f(jitgrad.tensor([1.0, 2.0]), jitgrad.tensor(1)), math.log1p(math.exp(-1)), 1e-6)
    ignored = gradient(lambda x: f(x, jitgrad.tensor([-100, 1]), reduction="sum"), np.full((2, 2), inf))[0]
    assert (ignored[0] == 0).all() or np.isnan(ignored[0]).all()


def test_nll_loss():
    x, target, weight = np.log(rng.dirichlet(np.ones(3), 4)), np.array([0, 1, 2, 1]), rng.uniform(0.5, 2, 3)
    w = jitgrad.from_numpy(weight)
    losses = -x[np.arange(4), target] * weight[target] * (target != 0)
    close(F.nll_loss(jitgrad.from_numpy(x), jitgrad.from_numpy(target), w, ignore_index=0, reduction="none"), losses)
    total = (weight[target] * (target != 0)).sum()
    close(F.nll_loss(jitgrad.from_numpy(x), jitgrad.from_numpy(target), w, ignore_index=0), losses.sum() / total)
    assert gradcheck(lambda x: F.nll_loss(x, jitgrad.from_numpy(target), w), leaf(x))


@pytest.mark.parametrize("f", [F.cross_entropy, F.nll_loss])
def test_classification_errors(f):
    x = jitgrad.zeros(4, 3)
    for bad in (3, -1):
        for run in (f, jitgrad.trace(f)):
            with pytest.raises(IndexError, match=f"index {bad} is out of bounds"):
                run(x, jitgrad.tensor([0, 1, bad, 2]))
    with pytest.raises(ValueError, match=r"batch_size \(4\) to match target batch_size \(3\)"):
        f(x, jitgrad.tensor([0, 1, 2]))
    with pytest.raises(RuntimeError, match="expected scalar type Long"):
        f(x, jitgrad.zeros(4))
    with pytest.raises(RuntimeError, match="target size"):
        f(jitgrad.zeros(4, 3, 2), jitgrad.zeros(4, 5, dtype=jitgrad.int64))
    with pytest.raises(RuntimeError, match="weight tensor should be defined"):
        f(x, jitgrad.tensor([0, 1, 2, 0]), weight=jitgrad.ones(2))
    with pytest.raises(ValueError, match="average is not a valid value for reduction"):
        f(x, jitgrad.tensor([0, 1, 2, 0]), reduction="average")
    with pytest.raises(TypeError, match="must be Tensor, not list"):
        f(x, [0, 1, 2, 0])


def test_cross_entropy_errors():
    x = jitgrad.zeros(4, 3)
    with pytest.raises(RuntimeError, match="Expected floating point type for target"):
        F.cross_entropy(x, jitgrad.zeros(4, 3, dtype=jitgrad.int64))
    with pytest.raises(RuntimeError, match="ignore_index is not supported"):
        F.cross_entropy(x, jitgrad.zeros(4, 3), ignore_index=1)
    with pytest.raises(RuntimeError, match="label_smoothing must be between"):
        F.cross_entropy(x, jitgrad.tensor([0, 1, 2, 0]), label_smoothing=1.5)


def test_binary_cross_entropy():
    p, y, w = rng.uniform(0.05, 0.95, (4, 3)), rng.uniform(0, 1, (4, 3)), rng.uniform(0.5, 2, (4, 3))
    want = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    close(F.binary_cross_entropy(jitgrad.from_numpy(p), jitgrad.from_numpy(y)), want.mean())
    got = F.binary_cross_entropy(jitgrad.from_numpy(p), jitgrad.from_numpy(y), jitgrad.from_numpy(w), reduction="none")
    close(got, want * w)
    assert gradcheck(F.binary_cross_entropy, (leaf(p), leaf(y)))
    assert gradgradcheck(F.binary_cross_entropy, (leaf(p), leaf(y)))


def test_binary_cross_entropy_at_the_ends():
    p, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    t = jitgrad.from_numpy(y)
    close(F.binary_cross_entropy(jitgrad.from_numpy(p), t, reduction="none"), [100, 100, 0, 0])
    (got,) = gradient(lambda p: F.binary_cross_entropy(p, t, reduction="sum"), p)
    assert got.tolist() == [-1e12, 1e12, 0, 0]
    outside = F.binary_cross_entropy(jitgrad.tensor([-0.5, 1.5]), jitgrad.tensor([1.0, 0.0]), reduction="none")
    assert np.isnan(outside.numpy()).all()


def test_binary_cross_entropy_with_logits():
    x, y, w, p = normal(5, 3) * 4, rng.uniform(0, 1, (5, 3)), rng.uniform(0.5, 2, (5, 3)), rng.uniform(0.5, 2, 3)
    want = y * np.logaddexp(0, -x) * p + (1 - y) * np.logaddexp(0, x)
    f = F.binary_cross_entropy_with_logits
    tensors = [jitgrad.from_numpy(a) for a in (x, y)]
    close(f(*tensors, pos_weight=jitgrad.from_numpy(p), reduction="none"), want)
    close(f(*tensors, jitgrad.from_numpy(w), pos_weight=jitgrad.from_numpy(p)), (want * w).mean())
    assert gradcheck(f, (leaf(x), leaf(y)))
    assert gradgradcheck(f, (leaf(x), leaf(y)))
    (got,) = gradient(lambda x: f(x, jitgrad.tensor([1.0, 0.0, 0.5]), reduction="sum"), np.array([0.0, 900.0, -900.0]))
    assert got.tolist() == [-0.5, 1.0, -0.5]
    with pytest.raises(ValueError, match="must be the same as input size"):
        f(jitgrad.zeros(2), jitgrad.zeros(3))
    with pytest.raises(ValueError, match="different to the input size"):
        F.binary_cross_entropy(jitgrad.zeros(2), jitgrad.zeros(3))


def test_kl_div():
    logq, p = log_softmax(normal(4, 3), 1), rng.dirichlet(np.ones(3), 4)
    p[0] = [0, 0.25, 0.75]
    with np.errstate(divide="ignore", invalid="ignore"):
        want = np.where(p > 0, p * np.log(p), 0) - p * logq
    t = jitgrad.from_numpy(p)
    close(F.kl_div(jitgrad.from_numpy(logq), t, reduction="none"), want)
    close(F.kl_div(jitgrad.from_numpy(logq), t, reduction="batchmean"), want.sum() / 4)
    with pytest.warns(UserWarning, match="batchmean"):
        close(F.kl_div(jitgrad.from_numpy(logq), t), want.mean())
    logp = np.log(p[1:])
    got = F.kl_div(jitgrad.from_numpy(logq[1:]), jitgrad.from_numpy(logp), reduction="sum", log_target=True)
    close(got, want[1:].sum())
    assert gradcheck(lambda a, b: F.kl_div(a, b, reduction="sum"), (leaf(logq[1:]), leaf(p[1:])))
    assert gradcheck(lambda a, b: F.kl_div(a, b, reduction="sum", log_target=True), (leaf(logq[1:]), leaf(logp)))


# -- regression

DISTANCES = {
    F.mse_loss: lambda d: d * d,
    F.l1_loss: np.abs,
    F.smooth_l1_loss: lambda d: np.where(np.abs(d) < 1, 0.5 * d * d, np.abs(d) - 0.5),
    F.huber_loss: lambda d: np.where(np.abs(d) <= 1, 0.5 * d * d, np.abs(d) - 0.5),
}


@pytest.mark.parametrize("f", DISTANCES, ids=lambda f: f.__name__)
def test_regression_loss(f):
    x, y = normal(4, 3) * 2, normal(4, 3)
    want = DISTANCES[f](x - y)
    tensors = [jitgrad.from_numpy(a) for a in (x, y)]
    close(f(*tensors, reduction="none"), want)
    close(f(*tensors), want.mean())
    close(f(*tensors, reduction="sum"), want.sum())
    assert gradcheck(f, (leaf(x), leaf(y)))
    assert gradient(f, np.zeros(2), np.zeros(2))[0].tolist() == [0, 0]
    assert math.isnan(f(jitgrad.zeros(0), jitgrad.zeros(0)).item())
    with pytest.raises(ValueError, match="not a valid value"):
        f(*tensors, reduction="average")
    with pytest.warns(UserWarning, match="Using a target size"):
        close(f(tensors[0], tensors[1][:1], reduction="none"), DISTANCES[f](x - y[:1]))


def test_regression_options():
    x, y, w = normal(4, 3) * 2, normal(4, 3), rng.uniform(0.5, 2, (4, 3))
    tensors = [jitgrad.from_numpy(a) for a in (x, y)]
    d = np.abs(x - y)
    close(F.smooth_l1_loss(*tensors, reduction="none", beta=0.3), np.where(d < 0.3, d * d / 0.6, d - 0.15))
    close(F.smooth_l1_loss(*tensors, beta=0), d.mean())
    close(F.huber_loss(*tensors, reduction="none", delta=0.3), np.where(d <= 0.3, d * d / 2, 0.3 * (d - 0.15)))
    close(F.mse_loss(*tensors, weight=jitgrad.from_numpy(w)), (d * d * w).sum() / w.sum())
    with pytest.raises(RuntimeError, match="negative values for beta"):
        F.smooth_l1_loss(*tensors, beta=-1)
    with pytest.raises(RuntimeError, match="non-positive values for delta"):
        F.huber_loss(*tensors, delta=0)
    with pytest.raises(ValueError, match="same size"):
        F.mse_loss(*tensors, weight=jitgrad.ones(3))


def test_older_reduction_arguments():
    x, y = (jitgrad.from_numpy(normal(4)) for _ in range(2))
    cases = (((False,), "sum"), ((True,), "mean"), ((None, False), "none"), ((False, False), "none"))
    for arguments, reduction in cases:
        with pytest.warns(UserWarning, match=f"reduction='{reduction}'"):
            got = F.mse_loss(x, y, *arguments)
        close(got, F.mse_loss(x, y, reduction=reduction).numpy())
