"""Convolution, pooling and padding against NumPy loops, gradients against finite differences, and the errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from arrays import close, gradient, leaf, normal, rng

import jitgrad
import jitgrad.nn.functional as F
from jitgrad.autograd import gradcheck, gradgradcheck

inf, nan = math.inf, math.nan


def np_conv(x, w, b=None, stride=(1, 1), low=(0, 0), high=(0, 0), dilation=(1, 1), groups=1):
    x = np.pad(x, ((0, 0), (0, 0), (low[0], high[0]), (low[1], high[1])))
    kh, kw = w.shape[2:]
    oh = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((x.shape[0], w.shape[0], oh, ow))
    per_in, per_out = x.shape[1] // groups, w.shape[0] // groups
    for o in range(w.shape[0]):
        group = o // per_out * per_in
        for i in range(oh):
            for j in range(ow):
                rows = i * stride[0] + dilation[0] * np.arange(kh)
                columns = j * stride[1] + dilation[1] * np.arange(kw)
                patch = x[:, group : group + per_in][:, :, rows][..., columns]
                out[:, o, i, j] = (patch * w[o]).sum((1, 2, 3)) + (0 if b is None else b[o])
    return out


CONVOLUTIONS = {
    "plain": ({}, {}),
    "stride and padding": ({"stride": 2, "padding": (1, 2)}, {"stride": (2, 2), "low": (1, 2), "high": (1, 2)}),
    "dilation": ({"stride": (1, 2), "dilation": (2, 1)}, {"stride": (1, 2), "dilation": (2, 1)}),
    "same": ({"padding": "same"}, {"low": (1, 0), "high": (1, 1)}),
    "same, dilated": ({"padding": "same", "dilation": 2}, {"low": (2, 1), "high": (2, 1), "dilation": (2, 2)}),
    "valid": ({"padding": "valid"}, {}),
    "groups": ({"groups": 2, "padding": 1}, {"groups": 2, "low": (1, 1), "high": (1, 1)}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d(name):
    ours, plain = CONVOLUTIONS[name]
    groups = ours.get("groups", 1)
    x, w, b = normal(2, 4, 6, 7), normal(6, 4 // groups, 3, 2), normal(6)
    got = F.conv2d(*map(jitgrad.from_numpy, (x, w, b)), **ours)
    close(got, np_conv(x, w, b, **plain), 1e-10)
    assert got.is_contiguous()
    close(F.conv2d(jitgrad.from_numpy(x[0]), jitgrad.from_numpy(w), **ours), np_conv(x[:1], w, **plain)[0], 1e-10)
    small = (leaf(x[:, :, :5, :4]), leaf(w), leaf(b))
    assert gradcheck(lambda x, w, b: F.conv2d(x, w, b, **ours), small)


def test_conv2d_second_order():
    inputs = (leaf(normal(2, 2, 3, 4)), leaf(normal(2, 1, 2, 2)), leaf(normal(2)))
    assert gradgradcheck(lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=1, groups=2), inputs)


def test_conv2d_edges():
    x, w = normal(2, 3, 5, 5), normal(4, 3, 1, 1)
    close(F.conv2d(jitgrad.from_numpy(x), jitgrad.from_numpy(w), stride=2), np_conv(x, w, stride=(2, 2)), 1e-10)
    depthwise = normal(3, 1, 3, 3)
    got = F.conv2d(jitgrad.from_numpy(x), jitgrad.from_numpy(depthwise), groups=3)
    close(got, np_conv(x, depthwise, groups=3), 1e-10)
    assert tuple(F.conv2d(jitgrad.zeros(0, 3, 5, 5), jitgrad.zeros(4, 3, 3, 3)).shape) == (0, 4, 3, 3)


def test_conv1d():
    x, w, b = normal(2, 4, 9), normal(6, 4, 3), normal(6)
    got = F.conv1d(*map(jitgrad.from_numpy, (x, w, b)), stride=2, padding=3, dilation=2)
    want = np_conv(x[:, :, None], w[:, :, None], b, (1, 2), (0, 3), (0, 3), (1, 2))
    close(got, want[:, :, 0], 1e-10)
    assert gradcheck(lambda x, w, b: F.conv1d(x, w, b, padding="same"), (leaf(x), leaf(w), leaf(b)))


@pytest.mark.parametrize(("shapes", "options", "message"), [
    (((2, 3), (4, 3, 3, 3)), {}, "Expected 3D .unbatched. or 4D .batched. input to conv2d"),
    (((2, 3, 5, 5), (4, 3, 3)), {}, "expected weight with 4 dimensions"),
    (((2, 3, 5, 5), (4, 2, 3, 3)), {}, "expected input.* to have 2 channels, but got 3 channels instead"),
    (((2, 3, 5, 5), (4, 1, 3, 3)), {"groups": 3}, "divisible by 3"),
    (((2, 3, 2, 2), (4, 3, 3, 3)), {}, "Kernel size can't be greater than actual input size"),
    (((2, 3, 5, 5), (4, 3, 3, 3), (3,)), {}, "expected bias to be 1-dimensional with 4 elements"),
    (((2, 3, 5, 5), (4, 3, 3, 3)), {"stride": 0}, "non-positive stride"),
    (((2, 3, 5, 5), (4, 3, 3, 3)), {"padding": -1}, "negative padding"),
    (((2, 3, 5, 5), (4, 3, 3, 3)), {"padding": "same", "stride": 2}, "not supported for strided"),
    (((2, 3, 5, 5), (4, 3, 3, 3)), {"padding": "all"}, "Invalid padding string"),
    (((2, 3, 5, 5), (4, 3, 3, 3)), {"dilation": 0}, "dilation should be greater than zero"),
    (((2, 3, 5, 5), (4, 3, 3, 3)), {"stride": (1, 1, 1)}, "list of 2 values"),
    (((2, 3, 5, 5), (4, 3, 3, 3)), {"groups": 0}, "non-positive groups"),
])
def test_conv2d_errors(shapes, options, message):
    with pytest.raises(RuntimeError, match=message):
        F.conv2d(*[jitgrad.zeros(*s) for s in shapes], **options)


def test_conv2d_dtypes_must_agree():
    with pytest.raises(RuntimeError, match="should be the same"):
        F.conv2d(jitgrad.zeros(1, 1, 3, 3), jitgrad.zeros(1, 1, 3, 3).double())


def np_windows(x, kernel, stride, pad, dilation, ceil_mode, fill):
    """Each window of x (..., H, W) as the last axis, and its first row and column."""
    counts = []
    for n, k, s, p, d in zip(x.shape[-2:], kernel, stride, pad, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = (math.ceil(room / s) if ceil_mode else room // s) + 1
        counts.append(count - 1 if ceil_mode and (count - 1) * s >= n + p else count)
    wide = [(0, 0)] * (x.ndim - 2)
    wide += [(p, p + d * k + s) for p, k, s, d in zip(pad, kernel, stride, dilation, strict=True)]
    x = np.pad(x, wide, constant_values=fill)
    out = np.empty((*x.shape[:-2], *counts, kernel[0] * kernel[1]))
    for i in range(counts[0]):
        for j in range(counts[1]):
            rows = i * stride[0] + dilation[0] * np.arange(kernel[0])
            columns = j * stride[1] + dilation[1] * np.arange(kernel[1])
            out[..., i, j, :] = x[..., rows, :][..., columns].reshape(*x.shape[:-2], -1)
    return out


POOLS = [
    {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": (3, 2), "stride": (1, 2)},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize("options", POOLS, ids=str)
def test_pooling(options):
    x = normal(2, 3, 8, 9)
    kernel = pair(options["kernel_size"])
    stride, padding = pair(options.get("stride", kernel)), pair(options.get("padding", 0))
    where = (kernel, stride, padding, (1, 1), options.get("ceil_mode", False))
    close(F.max_pool2d(jitgrad.from_numpy(x), **options), np_windows(x, *where, -inf).max(-1))
    close(F.max_pool2d(jitgrad.from_numpy(x[0]), **options), np_windows(x[0], *where, -inf).max(-1))
    total = np_windows(x, *where, 0.0).sum(-1)
    inside = np_windows(np.ones(x.shape), *where, 0.0).sum(-1)
    close(F.avg_pool2d(jitgrad.from_numpy(x), count_include_pad=False, **options), total / inside)
    padded = np.ones((2, 3, *(n + 2 * p for n, p in zip((8, 9), padding, strict=True))))
    counted = np_windows(padded, *where[:2], (0, 0), *where[3:], 0.0).sum(-1)[..., : total.shape[-2], : total.shape[-1]]
    close(F.avg_pool2d(jitgrad.from_numpy(x), **options), total / counted)
    small = leaf(x[:1, :1, :5, :6])
    assert gradcheck(lambda x: F.max_pool2d(x, **options), small)
    assert gradcheck(lambda x: F.avg_pool2d(x, **options), small)


def test_max_pool_dilation():
    x = normal(2, 7, 8)
    want = np_windows(x, (2, 3), (1, 1), (0, 1), (3, 2), False, -inf).max(-1)
    close(F.max_pool2d(jitgrad.from_numpy(x), (2, 3), 1, (0, 1), (3, 2)), want)


def test_max_pool_first_of_equal_elements_gets_the_gradient():
    (got,) = gradient(lambda x: F.max_pool2d(x, 2), np.array([[[1.0, 1, 0, 2], [1, 1, 2, 2]]]))
    assert got.tolist() == [[[1, 0, 0, 1], [0, 0, 0, 0]]]
    (got,) = gradient(lambda x: F.max_pool2d(x, 3, 1), np.zeros((1, 4, 4)))
    assert got.tolist() == [[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]


def test_max_pool_nan_and_infinities():
    x = np.array([[[nan, 1.0, -inf, -inf], [2.0, 3.0, -inf, -inf]]])
    got = F.max_pool2d(jitgrad.from_numpy(x), 2).numpy()
    assert math.isnan(got[0, 0, 0]) and got[0, 0, 1] == -inf


def test_max_pool_integers():
    x = rng.integers(-100, 100, (1, 4, 4)).astype(np.int32)
    got = F.max_pool2d(jitgrad.from_numpy(x), 3, 2, 1)
    assert got.dtype is jitgrad.int32
    close(got, np_windows(x.astype(float), (3, 3), (2, 2), (1, 1), (1, 1), False, -inf).max(-1))


def test_avg_pool_divisor():
    x = normal(1, 4, 4)
    want = np_windows(x, (2, 2), (2, 2), (0, 0), (1, 1), False, 0.0).sum(-1) / 3
    close(F.avg_pool2d(jitgrad.from_numpy(x), 2, divisor_override=3), want)
    with pytest.raises(RuntimeError, match="divisor must be not zero"):
        F.avg_pool2d(jitgrad.from_numpy(x), 2, divisor_override=0)


@pytest.mark.parametrize("size", [1, (4, 3), (3, 4), (None, 2), 5, (16, 3)], ids=str)
def test_adaptive_avg_pool(size):
    x = normal(2, 8, 9)
    rows, columns = (n if s is None else s for s, n in zip(pair(size), (8, 9), strict=True))
    want = np.empty((2, rows, columns))
    for i in range(rows):
        for j in range(columns):
            part = x[:, i * 8 // rows : -(-(i + 1) * 8 // rows), j * 9 // columns : -(-(j + 1) * 9 // columns)]
            want[:, i, j] = part.mean((1, 2))
    close(F.adaptive_avg_pool2d(jitgrad.from_numpy(x), size), want)
    assert gradcheck(lambda x: F.adaptive_avg_pool2d(x, size), leaf(x[:1]))


def test_pooling_errors():
    x = jitgrad.zeros(1, 1, 4, 4)
    for f in (F.max_pool2d, F.avg_pool2d):
        with pytest.raises(RuntimeError, match="pad should be at most half"):
            f(x, 2, padding=2)
        with pytest.raises(RuntimeError, match="Output size is too small"):
            f(x, 5)
        with pytest.raises(RuntimeError, match="stride"):
            f(x, 2, 0)
        with pytest.raises(RuntimeError, match="Expected 3D or 4D"):
            f(x[0, 0], 2)
        with pytest.raises(RuntimeError, match="greater than zero"):
            f(x, 0)


def test_pad():
    x = normal(2, 3, 4)
    wide = np.pad(x, ((0, 0), (0, 3), (1, 2)), constant_values=2.5)
    close(F.pad(jitgrad.from_numpy(x), (1, 2, 0, 3), value=2.5), wide)
    close(F.pad(jitgrad.from_numpy(x), (-1, 2, 1, -2)), np.pad(x, ((0, 0), (1, 0), (0, 2)))[:, :2, 1:])
    close(F.pad(jitgrad.from_numpy(x), ()), x)
    assert gradcheck(lambda x: F.pad(x, (-1, 2, 1, -2), value=1.0), leaf(x))
    bad = (((1,), "divisible by 2"), ((1,) * 8, "less than or equal"), ((-3, -2), "negative output size"))
    for amounts, message in bad:
        with pytest.raises(RuntimeError, match=message):
            F.pad(jitgrad.from_numpy(x), amounts)
    with pytest.raises(NotImplementedError, match="mirror"):
        F.pad(jitgrad.from_numpy(x), (1, 1), "mirror")
