"""Reductions, scans, order and softmax: against NumPy, in both ways, with gradients and torch's conventions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from both import check, check_gradient, recorded

import jitgrad

RNG = np.random.default_rng(1)
X = RNG.standard_normal((3, 4)).astype(np.float32)
Z = RNG.standard_normal((2, 3, 4)).astype(np.float32)
N = RNG.integers(-5, 6, (3, 4))
B = RNG.random((3, 4)) > 0.5
TIES = np.array([[1, 3, 3, 2], [5, 5, 1, 0], [0, 0, 0, 0]], np.float32)
EMPTY = np.zeros((0, 3), np.float32)
NAN = np.array([[np.nan, 1, 2], [3, np.inf, -np.inf]], np.float32)
i64, f32 = np.int64, np.float32


@pytest.mark.parametrize("dim, axis", [(None, None), (0, 0), (-1, -1), ((0, 2), (0, 2)), ((), None), ([1], 1)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_sums_and_means(dim, axis, keepdim):
    kept = {"axis": axis, "keepdims": keepdim}
    check(lambda x: x.sum(dim, keepdim), Z.sum(**kept), Z)
    check(lambda x: x.mean(dim, keepdim), Z.mean(**kept), Z)
    check(lambda x: x.amax(dim, keepdim), Z.max(**kept), Z)
    check(lambda x: x.amin(dim, keepdim), Z.min(**kept), Z)
    check(lambda x: (x > 0).any(dim, keepdim), (Z > 0).any(**kept), Z)
    check(lambda x: (x > 0).all(dim, keepdim), (Z > 0).all(**kept), Z)
    check(lambda x: x.var(dim, keepdim=keepdim), Z.var(ddof=1, **kept), Z, rtol=1e-5)
    check(lambda x: x.std(dim, unbiased=False, keepdim=keepdim), Z.std(**kept), Z, rtol=1e-5)
    check(lambda x: x.logsumexp(dim, keepdim), np.log(np.exp(Z).sum(**kept)), Z, rtol=1e-5)
    check(lambda x: x.norm(dim=dim, keepdim=keepdim), np.sqrt((Z * Z).sum(**kept)), Z, rtol=1e-5)
    for f in ("sum", "mean", "var", "std", "logsumexp"):
        check_gradient(lambda x, f=f: getattr(x, f)(dim=dim, keepdim=keepdim), Z[:, :2, :2])


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_roots_of_zero_have_gradient_zero(wrap):
    same = np.full((2, 3), 0.5)
    for f in (lambda x: x.std(1), lambda x: (x - 0.5).norm(dim=1), lambda x: jitgrad.std_mean(x)[0]):
        x = jitgrad.from_numpy(same.copy()).requires_grad_()
        out = wrap(f)(x)
        out.sum().backward()
        assert not out.detach().numpy().any() and not x.grad.numpy().any()


def test_dtypes_of_sums():
    check(jitgrad.sum, N.sum(), N)
    check(jitgrad.sum, B.sum(dtype=i64), B)
    check(lambda x: jitgrad.sum(x, 1), N.sum(1), N.astype(np.int32))
    check(jitgrad.prod, N.prod(), N.astype(np.int8))
    check(lambda x: x.sum(dtype=jitgrad.float64), X.astype(np.float64).sum(), X)
    check(lambda x: x.mean(dtype=jitgrad.float32), N.astype(f32).mean(), N)
    check(lambda x: x.cumsum(1), B.cumsum(1), B)
    with pytest.raises(RuntimeError, match="Input dtype must be a floating point dtype"):
        jitgrad.from_numpy(N).mean()


def test_nothing_to_reduce():
    check(jitgrad.sum, f32(0), EMPTY)
    check(jitgrad.prod, f32(1), EMPTY)
    check(jitgrad.mean, f32(np.nan), EMPTY)
    check(lambda x: x.sum(0), np.zeros(3, f32), EMPTY)
    check(lambda x: x.amax(1), np.zeros(0, f32), EMPTY)
    check(jitgrad.all, np.True_, EMPTY)
    check(jitgrad.any, np.False_, EMPTY)
    check(lambda x: x.all(0), np.ones(3, bool), EMPTY)
    check(lambda x: x.logsumexp(0), np.full(3, -np.inf, f32), EMPTY)
    check(lambda x: x.softmax(0), EMPTY, EMPTY)
    for wrong in (jitgrad.max, jitgrad.argmin, lambda x: x.amax(0), lambda x: x.max(0)):
        with pytest.raises((RuntimeError, IndexError), match="Expected reduction dim"):
            wrong(jitgrad.from_numpy(EMPTY))


def test_of_a_scalar():
    s = np.array(2.0, f32)
    for function in (jitgrad.sum, jitgrad.mean, jitgrad.amax, jitgrad.prod, jitgrad.max, jitgrad.logsumexp):
        check(lambda x, f=function: f(x, 0) if f is not jitgrad.max else f(x), s, s)
    check(lambda x: x.softmax(0), np.array(1, f32), s)
    check(lambda x: tuple(x.sort()), (s, np.array(0)), s)
    check(lambda x: tuple(x.max(0)), (s, np.array(0)), s)


def test_products():
    for array in (X, np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0], [4.0, 5.0, 6.0]], f32)):
        check(jitgrad.prod, array.prod(), array)
        check(lambda x: x.prod(1), array.prod(1), array)
        check_gradient(jitgrad.prod, array)
        check_gradient(lambda x: x.prod(0), array)


def test_norms():
    absolute = np.abs(X)
    for p, want in ((1, absolute.sum()), (2, np.sqrt((X * X).sum())), (3, (absolute**3).sum() ** (1 / 3)),
                    (math.inf, absolute.max()), (-math.inf, absolute.min()), (0, f32(12)),
                    ("fro", np.sqrt((X * X).sum()))):
        check(lambda x, p=p: x.norm(p), f32(want), X, rtol=1e-5)
    for p in (1, 2, 3):
        check_gradient(lambda x, p=p: x.norm(p, dim=1), X)
    x = jitgrad.zeros(3, requires_grad=True)
    x.norm().backward()
    assert x.grad.tolist() == [0, 0, 0]
    check(lambda x: jitgrad.dist(x, x + 1), np.sqrt(f32(12)), X)


def test_variance_forms():
    check(lambda x: x.var(correction=0), X.var(), X, rtol=1e-5)
    check(lambda x: x.var(False), X.var(), X, rtol=1e-5)
    check(lambda x: x.std(1, True, True), X.std(1, ddof=1, keepdims=True), X, rtol=1e-5)
    check(lambda x: jitgrad.var_mean(x, 0), (X.var(0, ddof=1), X.mean(0)), X, rtol=1e-5)
    check(lambda x: jitgrad.std_mean(x, 0), (X.std(0, ddof=1), X.mean(0)), X, rtol=1e-5)
    assert math.isnan(jitgrad.ones(1).var().item())


def test_extrema_with_their_places():
    check(lambda x: tuple(x.max(1)), (TIES.max(1), TIES.argmax(1)), TIES)
    check(lambda x: tuple(x.min(0)), (TIES.min(0), TIES.argmin(0)), TIES)
    check(lambda x: tuple(x.max(1, keepdim=True)), (TIES.max(1)[:, None], TIES.argmax(1)[:, None]), TIES)
    check(lambda x: tuple(x.max(1)), (NAN.max(1), NAN.argmax(1)), NAN)
    check(lambda x: x.max(x.flip(0)), np.maximum(X, X[::-1]), X)
    check(jitgrad.argmax, np.array(TIES.argmax()), TIES)
    check(lambda x: x.argmax(1, keepdim=True), TIES.argmax(1)[:, None], TIES)
    check(lambda x: x.argmin(keepdim=True), np.array([[X.argmin()]]), X)
    check(lambda x: tuple(jitgrad.aminmax(x, dim=1)), (X.min(1), X.max(1)), X)
    found = jitgrad.from_numpy(X).max(1)
    assert type(found).__name__ == "max"
    assert found.values.shape == found.indices.shape == (3,)
    check_gradient(lambda x: x.max(1)[0], X)
    check_gradient(lambda x: x.amax(0), X)


def test_gradient_of_ties():
    x = jitgrad.from_numpy(TIES).requires_grad_()
    x.amax(1).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0.25] * 4])
    x.grad = None
    x.max(1).values.sum().backward()  # to the place alone that max gives
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])


def test_scans():
    check(lambda x: x.cumsum(0), X.cumsum(0), X)
    check(lambda x: x.cumprod(1), X.cumprod(1), X)
    check(lambda x: x.cumprod(0), N.cumprod(0), N)
    check(lambda x: x.cumsum(0), EMPTY, EMPTY)
    check(lambda x: x.logcumsumexp(1), np.log(np.exp(X).cumsum(1)), X, rtol=1e-5)
    for f in ("cumsum", "cumprod", "logcumsumexp"):
        check_gradient(lambda x, f=f: getattr(x, f)(1), X)
    check_gradient(lambda x: x.cumprod(1), TIES)


def test_differences():
    check(lambda x: x.diff(), np.diff(X), X)
    check(lambda x: x.diff(2, 0), np.diff(N, 2, 0), N)
    check(lambda x: x.diff(9), np.diff(X, 9), X)
    check_gradient(lambda x: x.diff(2), X)


def test_order():
    stable = {"kind": "stable"}
    check(lambda x: tuple(x.sort()), (np.sort(TIES), TIES.argsort(1, **stable)), TIES)
    check(lambda x: tuple(x.sort(0, descending=True)), (-np.sort(-TIES, 0), (-TIES).argsort(0, **stable)), TIES)
    check(lambda x: x.argsort(0), X.argsort(0), X)
    check(lambda x: x.sort().values, np.sort(NAN), NAN)
    check(lambda x: tuple(x.topk(2)), (-np.sort(-X)[:, :2], (-X).argsort()[:, :2]), X)
    check(lambda x: x.topk(2, 0, largest=False)[0], np.sort(X, 0)[:2], X)
    check(lambda x: x.kthvalue(2).values, np.sort(X)[:, 1], X)
    check(lambda x: x.median(1).values, np.sort(X)[:, 1], X)  # the lower of two
    check(jitgrad.median, np.sort(X.ravel())[5], X)
    check(lambda x: tuple(x.median(1)), (np.array([np.nan, 3], f32), np.array([0, 0])), NAN)
    check(lambda x: x.quantile(0.3, 1), np.quantile(X, 0.3, axis=1).astype(f32), X, rtol=1e-5)
    check(lambda x: x.quantile(0.5), np.quantile(X, 0.5).astype(f32), X, rtol=1e-5)
    for f in (lambda x: x.sort(0)[0], lambda x: x.topk(2)[0], lambda x: x.median(1)[0], lambda x: x.quantile(0.3, 1)):
        check_gradient(f, X)
    with pytest.raises(RuntimeError, match="out of range"):
        jitgrad.from_numpy(X).topk(9)


def test_unique_is_eager():
    values, inverse, counts = jitgrad.unique(jitgrad.from_numpy(N), return_inverse=True, return_counts=True)
    want = np.unique(N, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(values.numpy(), want[0])
    np.testing.assert_array_equal(values.numpy()[inverse.numpy()], N)
    np.testing.assert_array_equal(counts.numpy(), want[2])
    with pytest.raises(jitgrad.ConcretizationError, match="unique"):
        recorded(jitgrad.unique, N)


def test_counts_and_nans():
    check(jitgrad.count_nonzero, np.array((N != 0).sum()), N)
    check(lambda x: x.count_nonzero(0), (N != 0).sum(0), N)
    check(lambda x: x.nansum(1), np.array([3, np.nan], f32), NAN)
    check(lambda x: x.nanmean(1), np.array([1.5, np.nan], f32), NAN)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_softmax_family():
    for dim in (0, 1, -1):
        check(lambda x, d=dim: x.softmax(d), softmax(X, dim), X)
        check(lambda x, d=dim: x.log_softmax(d), np.log(softmax(X, dim)), X, rtol=1e-5)
        check_gradient(lambda x, d=dim: x.softmax(d), X)
        check_gradient(lambda x, d=dim: x.log_softmax(d), X)
    large = np.array([[1e4, -1e4, 0], [-np.inf, 0, 0]], f32)
    check(lambda x: x.softmax(1), np.array([[1, 0, 0], [0, 0.5, 0.5]], f32), large)
    check(lambda x: x.logsumexp(1), np.array([1e4, np.log(2)], f32), large)
    infinite = np.array([[-np.inf, -np.inf], [np.inf, 0]], f32)
    check(lambda x: x.logsumexp(1), np.array([-np.inf, np.inf], f32), infinite)
    check(lambda x: x.softmax(0, dtype=jitgrad.float32), softmax(N.astype(f32), 0), N)
    with pytest.raises(RuntimeError, match=r"softmax.*not implemented for jitgrad.int64"):
        jitgrad.from_numpy(N).softmax(0)


ERRORS = [
    (lambda x: x.sum(2), IndexError, r"Dimension out of range \(expected to be in range of \[-2, 1\], but got 2\)"),
    (lambda x: x.sum((0, 0)), RuntimeError, "dim 0 appears multiple times"),
    (lambda x: x.max(5), IndexError, "Dimension out of range"),
    (lambda x: x.cumsum(3), IndexError, "Dimension out of range"),
    (lambda x: x.kthvalue(0), RuntimeError, "selected number k out of range"),
    (lambda x: x.long().var(), RuntimeError, "var.*not implemented for jitgrad.int64"),
    (lambda x: x.long().norm(), RuntimeError, "Expected a floating point tensor"),
    (lambda x: jitgrad.sum([1, 2]), TypeError, "must be Tensor, not list"),
]


@pytest.mark.parametrize("wrong, error, words", ERRORS)
def test_errors(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong(jitgrad.from_numpy(X))
