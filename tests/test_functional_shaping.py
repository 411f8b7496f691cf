"""Shapes: against NumPy, in both ways; which results are views, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest
from both import check, check_gradient

import jitgrad

RNG = np.random.default_rng(2)
X = RNG.standard_normal((3, 4)).astype(np.float32)
Y = RNG.standard_normal((3, 4)).astype(np.float32)
Z = RNG.standard_normal((2, 3, 4)).astype(np.float32)
V = RNG.standard_normal(4).astype(np.float32)
S = np.array(1.5, np.float32)
EMPTY = np.zeros((0, 3), np.float32)

CASES = [  # function, what it gives, of what
    (lambda x: x.reshape(4, 3), X.reshape(4, 3), X),
    (lambda x: x.reshape((2, -1)), X.reshape(2, 6), X),
    (lambda x: jitgrad.reshape(x, shape=(12,)), X.ravel(), X),
    (lambda x: x.t().reshape(-1), X.T.ravel(), X),
    (lambda x: x.view(2, 6), X.reshape(2, 6), X),
    (lambda x: x.view_as(x.reshape(6, 2)), X.reshape(6, 2), X),
    (lambda x: x.reshape(3, 0), EMPTY.reshape(3, 0), EMPTY),
    (lambda x: x.reshape(1, 1), S.reshape(1, 1), S),
    (lambda x: x.flatten(), Z.ravel(), Z),
    (lambda x: x.flatten(1), Z.reshape(2, 12), Z),
    (lambda x: x.flatten(), S.reshape(1), S),
    (lambda x: x.unflatten(2, (2, -1)), Z.reshape(2, 3, 2, 2), Z),
    (lambda x: x[None].squeeze(0), X, X),
    (lambda x: x[None, :, None].squeeze(), X, X),
    (lambda x: x[None, :, None].squeeze((0, 2)), X, X),
    (lambda x: x.squeeze(0), X, X),
    (lambda x: x.unsqueeze(-1), X[..., None], X),
    (lambda x: x.unsqueeze(0), X[None], X),
    (lambda x: x.t(), X.T, X),
    (lambda x: x.T, Z.T, Z),
    (lambda x: x.mT, Z.swapaxes(1, 2), Z),
    (lambda x: x.permute(2, 0, 1), Z.transpose(2, 0, 1), Z),
    (lambda x: jitgrad.permute(x, (0, -1, 1)), Z.transpose(0, 2, 1), Z),
    (lambda x: x.transpose(0, -1), Z.swapaxes(0, 2), Z),
    (lambda x: x.movedim((0, 1), (1, 2)), np.moveaxis(Z, (0, 1), (1, 2)), Z),
    (lambda x: x.expand(2, -1, 4), np.broadcast_to(X, (2, 3, 4)), X),
    (lambda x: x.expand(2, 3), np.broadcast_to(S, (2, 3)), S),
    (lambda x: x.broadcast_to((3, 4)), np.broadcast_to(V, (3, 4)), V),
    (lambda x: x.repeat(2, 1, 3), np.tile(X, (2, 1, 3)), X),
    (lambda x: x.repeat(0, 1), np.tile(X, (0, 1)), X),
    (lambda x: x.tile((2,)), np.tile(X, (2,)), X),
    (lambda x: x.repeat_interleave(2, 1), X.repeat(2, 1), X),
    (lambda x: x.repeat_interleave(3), X.repeat(3), X),
    (lambda x: x.split(2), (X[:2], X[2:]), X),
    (lambda x: x.split([1, 3], 1), (X[:, :1], X[:, 1:]), X),
    (lambda x: x.chunk(3, 1), (X[:, :2], X[:, 2:]), X),
    (lambda x: x.unbind(1), tuple(X.T), X),
    (lambda x: x.select(1, -1), X[:, -1], X),
    (lambda x: x.narrow(1, -3, 2), X[:, 1:3], X),
    (lambda x: x.flip(0, 1), X[::-1, ::-1], X),
    (lambda x: x.roll((1, -2), (0, 1)), np.roll(X, (1, -2), (0, 1)), X),
    (lambda x: x.roll(5), np.roll(X, 5), X),
    (lambda x: x.tril(-1), np.tril(Z, -1), Z),
    (lambda x: x.triu(1), np.triu(X, 1), X),
    (lambda x: x.diag(1), np.diag(X, 1), X),
    (lambda x: x.diag(-1), np.diag(V, -1), V),
    (lambda x: x.diagonal(1, 1, 2), np.diagonal(Z, 1, 1, 2), Z),
    (lambda x: x.diagonal(-2), np.diagonal(X, -2), X),
    (lambda x: x.diagonal(9), np.diagonal(X, 9), X),
    (lambda x: x.diag_embed(), np.stack([np.diag(r) for r in X]), X),
    (lambda x: jitgrad.fliplr(x), X[:, ::-1], X),
    (lambda x: jitgrad.meshgrid(x, x[:2], indexing="xy"), tuple(np.meshgrid(V, V[:2])), V),
    (lambda x: jitgrad.meshgrid(x, x[:2]), tuple(np.meshgrid(V, V[:2], indexing="ij")), V),
    (lambda x: x.contiguous(), X, X),
    (lambda x: x.t().contiguous(), X.T, X),
]


@pytest.mark.parametrize("function, want, array", CASES)
def test_values(function, want, array):
    check(function, want, array)
    if array.size:
        check_gradient(function, array)


def test_joining():
    check(lambda x, y: jitgrad.cat((x, y)), np.concatenate((X, Y)), X, Y)
    check(lambda x, y: jitgrad.cat([x, y], -1), np.concatenate((X, Y), 1), X, Y)
    check(lambda x, y: jitgrad.cat([x, y]), np.concatenate((X, Y.astype(np.float64))), X, Y.astype(np.float64))
    check(lambda x: jitgrad.cat((x, jitgrad.zeros(0))), X, X)
    check(lambda x, y: jitgrad.stack((x, y), 1), np.stack((X, Y), 1), X, Y)
    check(lambda x: jitgrad.stack((x, x)), np.stack((S, S)), S)
    check(lambda x: jitgrad.hstack((x, x)), np.hstack((V, V)), V)
    check(lambda x: jitgrad.vstack((x, x)), np.vstack((V, V)), V)
    check_gradient(lambda x, y: jitgrad.cat((x, y, x), 1), X, Y)
    check_gradient(lambda x, y: jitgrad.stack((x, y), -1), X, Y)


def test_one_hot():
    index = np.array([[0, 2], [1, 0]])
    check(lambda x: jitgrad.nn.functional.one_hot(x, 4), np.eye(4, dtype=np.int64)[index], index)


VIEWS = [
    lambda x: x.view(12), lambda x: x.reshape(2, 6), lambda x: x.t(), lambda x: x[1], lambda x: x[:, 1:3],
    lambda x: x.unsqueeze(0), lambda x: x.expand(2, 3, 4), lambda x: x.split(2)[0], lambda x: x.detach(),
    lambda x: x.permute(1, 0), lambda x: x.select(0, 1), lambda x: x.narrow(1, 1, 2), lambda x: x[...],
    lambda x: x[None], lambda x: x.data, lambda x: x.view(4, 3).t()[0], lambda x: x.squeeze(), lambda x: x.flatten(),
    lambda x: x.diagonal(), lambda x: x.t().diagonal(-1), lambda x: x[::2, 1:].diagonal(1),
    lambda x: x.view(2, 2, 3).permute(2, 0, 1).diagonal(0, 0, 2),
]
COPIES = [
    lambda x: x.t().reshape(12), lambda x: x.flip(0), lambda x: x.repeat(1, 1), lambda x: x.clone(),
    lambda x: x[[0, 1]], lambda x: jitgrad.cat([x]), lambda x: x.t().contiguous(), lambda x: x.roll(1),
    lambda x: x.to("cpu", copy=True),
    lambda x: x.repeat_interleave(1),
]


@pytest.mark.parametrize("view", VIEWS)
def test_views_share_memory(view):
    x = jitgrad.from_numpy(X.copy())
    v = view(x)
    x.fill_(7)
    assert (v == 7).all()


@pytest.mark.parametrize("copy", COPIES)
def test_copies_do_not(copy):
    x = jitgrad.from_numpy(X.copy())
    v = copy(x)
    x.fill_(7)
    assert not (v == 7).any()
    v.zero_()
    assert (x == 7).all()


def test_what_a_tensor_says_of_itself():
    x = jitgrad.from_numpy(Z)
    assert x.shape == x.size() == jitgrad.Size([2, 3, 4]) == (2, 3, 4)
    assert repr(x.shape) == "jitgrad.Size([2, 3, 4])"
    assert (x.size(-1), x.dim(), x.ndim, x.numel(), x.nelement(), x.shape.numel()) == (4, 3, 3, 24, 24, 24)
    assert (x.stride(), x.transpose(0, 2).stride(), x.stride(0)) == ((12, 4, 1), (1, 4, 12), 12)
    assert (x.is_contiguous(), x.mT.is_contiguous(), x.element_size()) == (True, False, 4)
    assert x.is_floating_point() and not x.long().is_floating_point()
    assert jitgrad.broadcast_shapes((3, 1), (4,)) == (3, 4)
    a, b = jitgrad.broadcast_tensors(x, x[0, 0])
    assert a.shape == b.shape


ERRORS = [
    (lambda x: x.reshape(5, 2), RuntimeError, r"shape '\[5, 2\]' is invalid for input of size 12"),
    (lambda x: x.reshape(-1, -1), RuntimeError, "only one dimension can be inferred"),
    (lambda x: x.reshape(2.0, 6), TypeError, "must be tuple of ints, but found element of type float at pos 0"),
    (lambda x: x.t().view(-1), RuntimeError, "view size is not compatible"),
    (lambda x: jitgrad.zeros(0).reshape(0, -1), RuntimeError, "ambiguous"),
    (lambda x: x.expand(3, 5), RuntimeError, r"expanded size of the tensor \(5\) must match the existing size \(4\)"),
    (lambda x: x.expand(4), RuntimeError, "number of sizes provided"),
    (lambda x: x.permute(0, 0), RuntimeError, "duplicate dims"),
    (lambda x: x.permute(0), RuntimeError, "number of dimensions"),
    (lambda x: x.transpose(0, 2), IndexError, "Dimension out of range"),
    (lambda x: x[None].t(), RuntimeError, r"expects a tensor with <= 2 dimensions, but self is 3D"),
    (lambda x: jitgrad.cat([x, x[0]]), RuntimeError, "same number of dimensions"),
    (lambda x: jitgrad.cat([x, x[:, :2]]), RuntimeError, "Sizes of tensors must match except in dimension 0"),
    (lambda x: jitgrad.cat([]), ValueError, "non-empty"),
    (lambda x: jitgrad.stack([x, x[0]]), RuntimeError, "equal size"),
    (lambda x: x.split([1, 1]), RuntimeError, "sum exactly to 3"),
    (lambda x: x.chunk(0), RuntimeError, "greater than 0"),
    (lambda x: x.select(0, 3), IndexError, "out of range"),
    (lambda x: x.narrow(0, 2, 2), RuntimeError, "exceeds dimension size"),
    (lambda x: x.flip(0, 0), RuntimeError, "multiple times"),
    (lambda x: x.unflatten(1, (3, 2)), RuntimeError, "multiply up to the size"),
    (lambda x: x.repeat(2), RuntimeError, "repeat dims"),
    (lambda x: x[0].tril(), RuntimeError, "at least 2 dimensions"),
    (lambda x: x.size(2), IndexError, "Dimension out of range"),
    (lambda x: jitgrad.nn.functional.one_hot(x), RuntimeError, "LongTensor"),
]


@pytest.mark.parametrize("wrong, error, words", ERRORS)
def test_errors(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong(jitgrad.from_numpy(X))
