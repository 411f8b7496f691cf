"""Indexing with NumPy's rules, gather and scatter: in both ways, with gradients, bounds and the errors torch raises."""

from __future__ import annotations

import numpy as np
import pytest
from both import check, check_gradient, eager, recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jitgrad
from jitgrad import ConcretizationError

RNG = np.random.default_rng(3)
X = RNG.standard_normal((3, 4)).astype(np.float32)
Y = RNG.standard_normal((3, 4)).astype(np.float32)
Z = RNG.standard_normal((2, 3, 4)).astype(np.float32)
B = np.arange(12).reshape(3, 4) * 5 % 3 == 0
AT = np.array([2, 0, 1])
BACK = np.array([-1, 0, -2])
GRID = np.array([[0, 1], [2, 0]])
s_ = np.s_

BASIC = [
    s_[0], s_[-1], s_[0, 1], s_[1:], s_[:, 1], s_[:, 1:3], s_[::2], s_[..., 0], s_[0, ...], s_[None], s_[:, None],
    s_[None, 0, :, None], s_[()], s_[...], s_[10:], s_[2:1], s_[-2:], s_[:, -3:-1], s_[-3::2, ::3], np.int64(1),
]


@pytest.mark.parametrize("index", BASIC, ids=str)
def test_basic_indexing_is_a_view(index):
    check(lambda x: x[index], X[index], X)
    if X[index].size:
        check_gradient(lambda x: x[index], X)
    x = jitgrad.from_numpy(X.copy())
    x[index].fill_(9)
    want = X.copy()
    want[index] = 9
    np.testing.assert_array_equal(x.numpy(), want)


ADVANCED = [  # of an array of shape (2, 3, 4)
    s_[AT % 2], s_[:, AT], s_[:, :, AT], s_[GRID % 2], s_[:, GRID], s_[AT % 2, AT], s_[:, AT, AT], s_[AT % 2, :, AT],
    s_[AT % 2, 1], s_[1, AT], s_[..., AT], s_[None, AT % 2], s_[AT % 2, None, AT], s_[AT % 2, ..., AT],
    s_[:, BACK], s_[BACK % 2, BACK, BACK], s_[GRID % 2, AT[:2], 1], s_[:, 1:, AT], s_[:, [0, 2]],
    s_[[0, 1], [1, 2], [3, 0]],
    s_[:, AT[:0]], s_[:, np.int64(1), GRID], s_[::2, AT[:, None], AT[None, :]],
]


@pytest.mark.parametrize("index", ADVANCED, ids=str)
def test_advanced_indexing(index):
    def made(i):
        return jitgrad.from_numpy(i) if isinstance(i, np.ndarray) else i

    def function(x):
        return x[tuple(made(i) for i in index)] if isinstance(index, tuple) else x[made(index)]

    check(function, Z[index], Z)
    if Z[index].size:
        check_gradient(function, Z)


def test_an_int_beside_an_index_tensor_is_basic():
    # As torch has it; NumPy would count the int among the index arrays and put their axes in front.
    check(lambda x, i: x[0, :, i], Z[0][:, AT], Z, AT)


MASKED = [s_[B], s_[B[:, 0]], s_[:, B[0]], s_[B[:, 0], 1], s_[None, B]]


@pytest.mark.parametrize("index", MASKED, ids=str)
def test_masks_are_eager(index):
    def function(x):
        parts = index if isinstance(index, tuple) else (index,)
        return x[tuple(jitgrad.from_numpy(i) if isinstance(i, np.ndarray) else i for i in parts)]

    np.testing.assert_array_equal(eager(function, X)[0], X[index])
    x = jitgrad.from_numpy(X).requires_grad_()
    (function(x) * 2).sum().backward()
    want = np.zeros_like(X)
    want[index if len(index) != 2 or index[0] is not None else index[1]] = 2
    np.testing.assert_array_equal(x.grad.numpy(), want)

    def inside(x, mask):
        return x[mask]

    with pytest.raises(ConcretizationError, match="mask"):
        recorded(inside, X, B)


KNOWN_MASKS = [
    s_[True], s_[False], s_[np.True_], s_[True, 1], s_[:, True], s_[None, True, ...], s_[True, True], s_[True, [0, 2]],
    s_[[True, False, True]], s_[B], s_[B[:, 0], 1], s_[:, B[0].tolist()], s_[B[:, 0], [1]],
]


@pytest.mark.parametrize("index", KNOWN_MASKS, ids=str)
def test_masks_of_pythons_and_numpys_bools_are_known_in_a_recording(index):
    check(lambda x: x[index], X[index], X)
    if X[index].size:
        check_gradient(lambda x: x[index], X)
    want = X.copy()
    want[index] = 9

    def written(x):
        y = x * 1
        y[index] = 9.0
        return y

    check(written, want, X)


def test_other_index_types():
    x = jitgrad.from_numpy(X)
    assert x[jitgrad.tensor(1)].tolist() == X[1].tolist()
    assert x[True].shape == (1, 3, 4)
    assert x[False].shape == (0, 3, 4)
    assert x[[]].shape == (0, 4)
    assert x[[True, False, True]].tolist() == X[[0, 2]].tolist()
    assert x[jitgrad.tensor([1, 0, 1], dtype=jitgrad.uint8)].tolist() == X[[0, 2]].tolist()  # bytes are a mask
    assert x[jitgrad.tensor([1], dtype=jitgrad.int32)].tolist() == X[[1]].tolist()
    assert x[range(2)].tolist() == X[:2].tolist()
    assert jitgrad.tensor(5.0)[None].tolist() == [5]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_index_that_numpy_takes(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    if data.draw(st.booleans()):
        index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True).filter(
            lambda i: not any(isinstance(k, slice) and k.step is not None and k.step < 0
                              for k in (i if isinstance(i, tuple) else (i,)))
        ))
        check(lambda x: x[index], array[index], array)
    else:
        index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3)))
        check(lambda x: x[tuple(jitgrad.tensor(i) for i in index)], array[index], array)


def test_an_index_that_is_an_argument():
    check(lambda x, i: x[i], X[BACK], X, BACK)
    check(lambda x, i, j: x[i, j], X[BACK, AT], X, BACK, AT)
    check_gradient(lambda x, i, j: x[i, j], X, BACK, AT)
    with pytest.raises(IndexError, match="out of bounds"):
        recorded(lambda x, i: x[i], X, np.array([3]))
    with pytest.raises(IndexError, match="out of bounds"):  # not a wild read of the next row
        recorded(lambda x, i, j: x[i, j], X, np.array([0]), np.array([4]))


def test_gather_and_take():
    g = RNG.integers(0, 3, (2, 4))
    h = RNG.integers(0, 4, (3, 2))
    check(lambda x, i: x.gather(0, i), np.take_along_axis(X, g, 0), X, g)
    check(lambda x, i: x.gather(1, i), np.take_along_axis(X, h, 1), X, h)
    check(lambda x, i: x.gather(0, i), X[g[:, :2], [0, 1]], X, g[:, :2])  # the other axes may be shorter
    check(lambda x, i: x.take(i), X.take(GRID), X, GRID)
    check(lambda x, i: x.take(i), X.take([-1, 0]), X, np.array([-1, 0]))
    check(lambda x, i: x.index_select(1, i), X[:, AT], X, AT)
    check(lambda x: x.take_along_dim(x.argsort(1), 1), np.sort(X, 1), X)
    check_gradient(lambda x, i: x.gather(0, i), X, g)
    check_gradient(lambda x, i: x.index_select(0, i), X, np.array([0, 0, 2]))
    np.testing.assert_array_equal(eager(lambda x, m: x.masked_select(m), X, B)[0], X[B])
    np.testing.assert_array_equal(eager(jitgrad.nonzero, B)[0], np.argwhere(B))
    check_gradient(lambda x: x[GRID[:, 0]] * 2, X)


def test_scatter():
    g = RNG.permuted(np.tile(np.arange(3), (4, 1)), axis=1).T[:2]
    want = X.copy()
    np.put_along_axis(want, g, Y[:2], 0)
    check(lambda x, i, s: x.scatter(0, i, s), want, X, g, Y)
    np.put_along_axis(want, g, 1.5, 0)
    check(lambda x, i: x.scatter(0, i, 1.5), want, X, g)
    want = X.copy()
    for r in range(2):
        for c in range(4):
            want[g[r, c] // 2, c] += Y[r, c]
    check(lambda x, i, s: x.scatter_add(0, i // 2, s), want, X, g, Y)
    check_gradient(lambda x, i, s: x.scatter(0, i, s), X, g, Y)
    check_gradient(lambda x, i, s: x.scatter_add(0, i, s), X, g * 0, Y)
    want = X.copy()
    np.add.at(want, [0, 0, 2], Y)
    check(lambda x, i, s: x.index_add(0, i, s), want, X, np.array([0, 0, 2]), Y)
    want = X.copy()
    want[:, AT] = 2 * Y[:, :3]
    check(lambda x, i, s: x.index_copy(1, i, 2 * s[:, :3]), want, X, AT, Y)
    want[:, AT[:1]] = 3
    check(lambda x, i, s: x.index_copy(1, i, 2 * s[:, :3]).index_fill(1, i[:1], 3.0), want, X, AT, Y)
    check_gradient(lambda x, i, s: x.index_add(0, i, s, alpha=3), X, np.array([0, 0, 2]), Y)
    want = X.copy()
    np.add.at(want, (GRID, GRID), 2)
    check(lambda x, i: x.index_put((i, i), jitgrad.tensor(2.0), accumulate=True), want, X, GRID)


ASSIGNMENTS = [
    (s_[0], 1.0), (s_[0], Y[1]), (s_[:, 1], 5), (s_[1:], Y[:2]), (s_[:, ::2], 0), (s_[..., 1:3], Y[:, :2]),
    (s_[AT], Y), (s_[AT, AT], Y[0, :3]), (s_[B], 0), (s_[B[:, 0]], Y[0]), (s_[2, 3], 7), (s_[...], 2), (s_[None], 2),
    (s_[[0, 2]], Y[:2]), (s_[GRID, 1], 3), (s_[0:0], 1.0),
]


@pytest.mark.parametrize("index, value", ASSIGNMENTS, ids=str)
def test_assignment(index, value):
    want = X.copy()
    want[index] = value

    def assign(x, v=None):
        parts = index if isinstance(index, tuple) else (index,)
        key = tuple(jitgrad.from_numpy(i) if isinstance(i, np.ndarray) else i for i in parts)
        y = x * 1
        y[key if isinstance(index, tuple) else key[0]] = value if v is None else v
        return y

    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(eager(assign, X, value)[0], want)
        check_gradient(assign, X, value)
    else:
        np.testing.assert_array_equal(eager(assign, X)[0], want)
        check_gradient(assign, X)


ERRORS = [
    (lambda x: x[3], IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    (lambda x: x[0, 0, 0], IndexError, "too many indices for tensor of dimension 2"),
    (lambda x: x[::-1], ValueError, "step must be greater than zero"),
    (lambda x: x[1.5], IndexError, "only integers, slices"),
    (lambda x: x["a"], IndexError, "only integers, slices"),
    (lambda x: x[x], IndexError, "must be long, int, byte or bool tensors"),
    (lambda x: x[jitgrad.tensor([5])], IndexError, "index 5 is out of bounds"),
    (lambda x: x[jitgrad.tensor([0, 1]), jitgrad.tensor([0, 1, 2])], IndexError, "could not be broadcast together"),
    (lambda x: x[jitgrad.tensor([True, False])], IndexError, "shape of the mask"),
    (lambda x: x.index_select(0, jitgrad.tensor([-1])), IndexError, "out of bounds"),
    (lambda x: x.gather(0, jitgrad.tensor([0])), RuntimeError, "same number of dimensions"),
    (lambda x: x.gather(1, jitgrad.zeros(4, 1, dtype=jitgrad.int64)), RuntimeError, "Size does not match"),
    (lambda x: x.scatter(0, jitgrad.tensor([[0]]), x.double()), RuntimeError, "Expected self.dtype to be equal"),
    (lambda x: x.__setitem__(jitgrad.ones(1, 4) > 0, 1), IndexError, "shape of the mask"),
    (lambda x: x.__setitem__(0, jitgrad.zeros(3)), RuntimeError, "cannot be broadcast to indexing result"),
    (lambda x: jitgrad.tensor(1.0)[0], IndexError, "too many indices"),
]


@pytest.mark.parametrize("wrong, error, words", ERRORS)
def test_errors(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong(jitgrad.from_numpy(X.copy()))
