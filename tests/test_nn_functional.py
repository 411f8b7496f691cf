"""nn.functional against NumPy written out, gradients against finite differences, and the errors."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from arrays import close, gradient, leaf, log_softmax, normal

import jitgrad
import jitgrad.nn.functional as F
from jitgrad.autograd import gradcheck, gradgradcheck

inf, nan = math.inf, math.nan


# -- activations

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "logsigmoid": lambda x: -np.logaddexp(0, -x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    x = normal(3, 4) * 2
    close(getattr(F, name)(jitgrad.from_numpy(x)), ACTIVATIONS[name](x))
    assert gradcheck(getattr(F, name), leaf(x))
    assert gradgradcheck(getattr(F, name), leaf(x))
    assert math.isnan(getattr(F, name)(jitgrad.tensor(nan)).item())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_traces(name):
    at = np.array([nan, inf, -inf, 0.0, -0.0, 1e-30, -1e-30, 25.0, -25.0, 1e3, -1e3, 1.5, -1.5])
    f, results = getattr(F, name), []
    for run in (f, jitgrad.trace(f)):
        x = leaf(at)
        y = run(x)
        y.sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy()))
    for eager, traced in zip(*results, strict=True):
        np.testing.assert_allclose(traced, eager, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize(("name", "at", "value", "slope"), [
    ("relu", 0.0, 0.0, 0.0), ("leaky_relu", 0.0, 0.0, 0.01), ("elu", 0.0, 0.0, 1.0), ("gelu", 0.0, 0.0, 0.5),
    ("silu", 0.0, 0.0, 0.5), ("logsigmoid", 0.0, -math.log(2), 0.5), ("softplus", 0.0, math.log(2), 0.5),
    ("elu", 1e3, 1e3, 1.0), ("elu", -1e3, -1.0, 0.0), ("silu", 800.0, 800.0, 1.0), ("silu", -800.0, 0.0, 0.0),
    ("softplus", 800.0, 800.0, 1.0), ("softplus", -800.0, 0.0, 0.0), ("logsigmoid", 800.0, 0.0, 0.0),
    ("logsigmoid", -800.0, -800.0, 1.0), ("gelu", 40.0, 40.0, 1.0), ("gelu", -40.0, 0.0, 0.0),
    ("relu", inf, inf, 1.0), ("leaky_relu", -inf, -inf, 0.01), ("elu", -inf, -1.0, 0.0), ("softplus", inf, inf, 1.0),
])
def test_kinks_and_ends(name, at, value, slope):
    x = leaf(at)
    y = getattr(F, name)(x)
    y.backward()
    assert (y.item(), x.grad.item()) == pytest.approx((value, slope), abs=1e-300)


def test_activation_options():
    x = normal(20) * 3
    close(F.leaky_relu(jitgrad.from_numpy(x), 0.3), np.where(x > 0, x, 0.3 * x))
    close(F.elu(jitgrad.from_numpy(x), alpha=2.5), np.where(x > 0, x, 2.5 * np.expm1(np.minimum(x, 0))))
    close(F.softplus(jitgrad.from_numpy(x), 2.5, 3), np.where(2.5 * x > 3, x, np.log1p(np.exp(2.5 * x)) / 2.5))
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    close(F.gelu(jitgrad.from_numpy(x), approximate="tanh"), 0.5 * x * (1 + np.tanh(inner)))
    assert gradcheck(lambda x: F.gelu(x, approximate="tanh"), leaf(x))
    with pytest.raises(RuntimeError, match="approximate argument"):
        F.gelu(jitgrad.zeros(1), approximate="fast")
    with pytest.raises(RuntimeError, match="not implemented"):
        F.silu(jitgrad.arange(3))


def test_inplace():
    for name in ("relu", "leaky_relu", "elu"):
        x = leaf(normal(5))
        y = x * 1
        z = getattr(F, name)(y, inplace=True)
        assert z is y
        z.sum().backward()
        close(x.grad, gradient(getattr(F, name), x.detach().numpy())[0])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(dim):
    x = normal(3, 4, 2) * 5
    close(F.log_softmax(jitgrad.from_numpy(x), dim), log_softmax(x, dim))
    close(F.softmax(jitgrad.from_numpy(x), dim=dim), np.exp(log_softmax(x, dim)))
    assert gradcheck(lambda x: F.softmax(x, dim), leaf(x))
    assert gradgradcheck(lambda x: F.log_softmax(x, dim), leaf(x[:2, :2]))


def test_softmax_dtype_and_implicit_dim():
    x = jitgrad.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert F.softmax(x, 1, dtype=jitgrad.float64).dtype is jitgrad.float64
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        close(F.softmax(x), F.softmax(x, 1).numpy())
    with pytest.warns(UserWarning, match="log_softmax"):
        close(F.log_softmax(x[0]), F.log_softmax(x[0], 0).numpy())


def test_dropout():
    jitgrad.manual_seed(0)
    x = leaf(np.ones(10000))
    y = F.dropout(x, 0.3)
    values = y.detach().numpy()
    assert set(np.unique(values)) == {0.0, 1 / 0.7}
    assert abs((values == 0).mean() - 0.3) < 0.02
    y.sum().backward()
    assert (x.grad.numpy() == values).all()
    assert (F.dropout(x, 0.3).detach().numpy() != values).any()
    jitgrad.manual_seed(0)
    assert (F.dropout(x, 0.3).detach().numpy() == values).all()
    jitgrad.manual_seed(0)
    assert (jitgrad.trace(F.dropout)(x, 0.3).detach().numpy() == values).all()
    assert F.dropout(x, 0.5, training=False) is x
    assert (F.dropout(x, 1.0).detach().numpy() == 0).all()
    assert F.dropout(x, 0.0) is x
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
            F.dropout(x, p)


# -- linear, embedding, attention


@pytest.mark.parametrize("lead", [(), (5,), (2, 5), (0,)])
def test_linear(lead):
    x, w, b = normal(*lead, 3), normal(4, 3), normal(4)
    close(F.linear(*map(jitgrad.from_numpy, (x, w, b))), x @ w.T + b)
    close(F.linear(jitgrad.from_numpy(x), jitgrad.from_numpy(w)), x @ w.T)
    close(F.linear(jitgrad.from_numpy(x), jitgrad.from_numpy(w[0])), x @ w[0])
    assert gradcheck(F.linear, (leaf(x), leaf(w), leaf(b)))
    assert gradgradcheck(F.linear, (leaf(x), leaf(w), leaf(b)))


def test_linear_errors():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        F.linear(jitgrad.zeros(2, 3), jitgrad.zeros(4, 5))
    with pytest.raises(RuntimeError, match="dtype"):
        F.linear(jitgrad.zeros(2, 3), jitgrad.zeros(4, 3).double())
    with pytest.raises(RuntimeError, match="one or two dimensions"):
        F.linear(jitgrad.zeros(2, 3), jitgrad.zeros(1, 4, 3))
    with pytest.raises(RuntimeError):
        F.linear(jitgrad.zeros(2, 3), jitgrad.zeros(4, 3), jitgrad.zeros(5))


def test_embedding():
    w, index = normal(5, 3), np.array([[0, 1, 2], [2, 2, 4]])
    close(F.embedding(jitgrad.from_numpy(index), jitgrad.from_numpy(w)), w[index])
    assert gradcheck(lambda w: F.embedding(jitgrad.from_numpy(index), w), leaf(w))
    for padding in (2, -3):
        (got,) = gradient(lambda w, p=padding: F.embedding(jitgrad.from_numpy(index), w, padding_idx=p), w)
        assert (got == np.array([1, 1, 0, 0, 1])[:, None] * np.ones(3)).all()
    with pytest.raises(IndexError):
        F.embedding(jitgrad.tensor([5]), jitgrad.from_numpy(w))
    with pytest.raises(IndexError):
        F.embedding(jitgrad.tensor([-1]), jitgrad.from_numpy(w))
    with pytest.raises(IndexError, match="index 5 is out of bounds"):
        jitgrad.trace(F.embedding)(jitgrad.tensor([5]), jitgrad.from_numpy(w))
    with pytest.raises(RuntimeError, match="indices"):
        F.embedding(jitgrad.tensor([1.0]), jitgrad.from_numpy(w))
    with pytest.raises(ValueError, match="Padding_idx"):
        F.embedding(jitgrad.tensor([1]), jitgrad.from_numpy(w), padding_idx=5)


def test_one_hot():
    index = np.array([[1, 2], [0, 4]])
    got = F.one_hot(jitgrad.from_numpy(index), 6)
    assert got.dtype is jitgrad.int64
    close(got, np.eye(6)[index])
    close(F.one_hot(jitgrad.from_numpy(index)), np.eye(5)[index])
    close(F.one_hot(jitgrad.tensor(1), 3), [0, 1, 0])
    assert tuple(F.one_hot(jitgrad.zeros(0, dtype=jitgrad.int64), 3).shape) == (0, 3)
    traced = jitgrad.trace(lambda index: F.one_hot(index, 3))
    close(traced(jitgrad.tensor([2, 0])), np.eye(3)[[2, 0]])
    for bad in (-1, 3):
        for f in (lambda index: F.one_hot(index, 3), traced):
            with pytest.raises(IndexError, match=f"index {bad} is out of bounds"):
                f(jitgrad.tensor([bad, 0]))
    with pytest.raises(RuntimeError):
        F.one_hot(jitgrad.tensor([1.0]), 3)
    with pytest.raises(RuntimeError, match="empty tensor"):
        F.one_hot(jitgrad.zeros(0, dtype=jitgrad.int64))


def attention(q, k, v, allowed=None, added=0.0, scale=None):
    scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale) + added
    if allowed is not None:
        scores = np.where(allowed, scores, -inf)
    weights = np.exp(scores - np.where(np.isinf(m := scores.max(-1, keepdims=True)), 0, m))
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total == 0, 1, total) @ v


def test_attention():
    q, k, v = normal(2, 3, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 7)
    f = F.scaled_dot_product_attention
    tensors = [jitgrad.from_numpy(a) for a in (q, k, v)]
    close(f(*tensors), attention(q, k, v))
    close(f(*tensors, is_causal=True, scale=0.3), attention(q, k, v, np.tri(4, 6, dtype=bool), scale=0.3))
    mask = normal(4, 6) > 0
    mask[1] = False  # a row that sees nothing
    close(f(*tensors, jitgrad.from_numpy(mask)), attention(q, k, v, mask))
    added = normal(2, 1, 4, 6)
    close(f(*tensors, attn_mask=jitgrad.from_numpy(added)), attention(q, k, v, added=added))
    q6 = normal(2, 6, 4, 5)
    close(
        f(jitgrad.from_numpy(q6), *tensors[1:], enable_gqa=True),
        attention(q6, np.repeat(k, 2, 1), np.repeat(v, 2, 1)),
    )
    small = [leaf(a[0, 0]) for a in (q, k, v)]
    assert gradcheck(f, small)
    assert gradcheck(lambda *a: f(*a, jitgrad.from_numpy(mask)), small)
    assert gradcheck(lambda *a: f(*a, is_causal=True), small)
    assert gradcheck(lambda *a: f(*a), [*small, leaf(added[0, 0])])
    smaller = [leaf(a[0, 0, :3, :2]) for a in (q[:, :, :2], k, v)]
    assert gradgradcheck(lambda *a: f(*a, jitgrad.from_numpy(mask[:2, :3])), smaller)


def test_attention_errors():
    t = jitgrad.zeros(2, 3)
    with pytest.raises(RuntimeError, match="attn_mask should not be set"):
        F.scaled_dot_product_attention(t, t, t, jitgrad.zeros(2, 2), is_causal=True)
    with pytest.raises(RuntimeError, match="same dtype"):
        F.scaled_dot_product_attention(t, t.double(), t)
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(t, jitgrad.zeros(2, 4), t)
    with pytest.raises(RuntimeError, match="two dimensions"):
        F.scaled_dot_product_attention(t[0], t, t)
    with pytest.raises(RuntimeError, match="no multiple"):
        two = jitgrad.zeros(2, 2, 3)
        F.scaled_dot_product_attention(jitgrad.zeros(3, 2, 3), two, two, enable_gqa=True)


def test_attention_dropout_keeps_the_mean():
    jitgrad.manual_seed(1)
    ones = jitgrad.ones(1, 4, 2)
    out = F.scaled_dot_product_attention(ones, ones, jitgrad.ones(1, 4, 20000), dropout_p=0.25)
    assert set(np.unique(out.numpy().round(5))) <= {np.float32(round(i / 3, 5)) for i in range(5)}


# -- normalization


def test_layer_norm():
    x, w, b = normal(4, 5, 3), normal(5, 3), normal(5, 3)
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    want = (x - mean) / np.sqrt(var + 1e-5)
    close(F.layer_norm(jitgrad.from_numpy(x), (5, 3)), want)
    close(F.layer_norm(*map(jitgrad.from_numpy, (x,)), [5, 3], *map(jitgrad.from_numpy, (w, b))), want * w + b)
    last = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    close(F.layer_norm(jitgrad.from_numpy(x), 3, eps=0.1), last)
    inputs = (leaf(x[:2, :2]), leaf(w[0]), leaf(b[0]))
    assert gradcheck(lambda x, w, b: F.layer_norm(x, (3,), w, b), inputs)
    assert gradgradcheck(lambda x, w, b: F.layer_norm(x, (3,), w, b), inputs)


def test_rms_norm():
    x, w = normal(4, 5), normal(5)
    want = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.finfo(np.float64).eps) * w
    close(F.rms_norm(jitgrad.from_numpy(x), (5,), jitgrad.from_numpy(w)), want)
    assert gradcheck(lambda x, w: F.rms_norm(x, (5,), w, 1e-3), (leaf(x), leaf(w)))


def test_norm_errors():
    x = jitgrad.zeros(2, 3)
    with pytest.raises(RuntimeError, match=r"expected input with shape \[\*, 4\]"):
        F.layer_norm(x, (4,))
    with pytest.raises(RuntimeError, match="at least 1-dimensional"):
        F.layer_norm(x, ())
    with pytest.raises(RuntimeError, match="Expected weight to be of same shape"):
        F.layer_norm(x, (3,), jitgrad.zeros(2))
    with pytest.raises(RuntimeError, match="expected input with shape"):
        F.rms_norm(x, (2, 2, 3))


def test_normalize():
    x = normal(4, 3)
    x[1] = 0
    length = np.maximum(np.sqrt((x * x).sum(1, keepdims=True)), 1e-12)
    close(F.normalize(jitgrad.from_numpy(x)), x / length)
    close(F.normalize(jitgrad.from_numpy(x), p=1.0, dim=0), x / np.abs(x).sum(0))
    assert gradcheck(F.normalize, leaf(x[2:]))
    assert np.isfinite(gradient(F.normalize, x)[0]).all()


# -- the whole


def test_float32_stays_float32():
    x, w = jitgrad.ones(2, 3, requires_grad=True), jitgrad.ones(4, 3)
    y = F.layer_norm(F.gelu(F.silu(F.linear(x, w))), (4,)) + 1
    loss = F.cross_entropy(F.dropout(F.elu(y), 0.1), jitgrad.tensor([0, 3]), label_smoothing=0.1)
    loss.backward()
    assert loss.dtype is x.grad.dtype is jitgrad.float32


def test_node_names_are_those_of_torch():
    x = leaf(normal(2, 3))
    t = jitgrad.tensor([0, 1])
    for y, name in (
        (F.gelu(x), "GeluBackward0"), (F.layer_norm(x, (3,)), "NativeLayerNormBackward0"),
        (F.cross_entropy(x, t), "NllLossBackward0"), (F.mse_loss(x, x.detach()), "MseLossBackward0"),
        (F.conv2d(leaf(normal(1, 1, 3, 3)), leaf(normal(1, 1, 2, 2))), "ConvolutionBackward0"),
        (F.linear(x, leaf(normal(2, 3)), leaf(normal(2))), "AddmmBackward0"),
    ):
        assert type(y.grad_fn).__name__ == name


def test_functions_trace():
    """Traced equals eager, for a step through most kinds of function."""
    w, b, k = normal(4, 2, 3, 3), normal(4), normal(5, 16)
    x, t = normal(3, 2, 6, 6), np.array([0, 4, 2])

    def loss(x, w, b, k, t):
        h = F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 3, 2, 1, ceil_mode=True)
        h = F.avg_pool2d(h, 2).reshape((x.shape[0], -1))[:, :16]
        h = F.layer_norm(F.gelu(h), (16,))
        h = F.scaled_dot_product_attention(h, h, h, is_causal=True)
        return F.cross_entropy(F.linear(h, k), t, label_smoothing=0.1)

    results = []
    for f in (loss, jitgrad.trace(loss)):
        leaves = [leaf(a) for a in (x, w, b, k)]
        value = f(*leaves, jitgrad.from_numpy(t))
        value.backward()
        results.append([value.detach().numpy(), *(a.grad.numpy() for a in leaves)])
    for eager, traced in zip(*results, strict=True):
        np.testing.assert_allclose(traced, eager, rtol=1e-9, atol=1e-12)


def test_no_warnings_from_numpy():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.softplus(jitgrad.tensor([inf, -inf, nan, 1e4])).sum()
        F.cross_entropy(jitgrad.tensor([[inf, 0.0]]), jitgrad.tensor([0]))
