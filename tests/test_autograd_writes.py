"""Writes in place and the eager graph: what they cut, what they join, what they make impossible."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad


def leaf(*values):
    return jitgrad.tensor(values, requires_grad=True)


def test_overwriting_what_backward_needs_is_found():
    x = leaf(1.0, 2.0)
    a = x * 1
    y = a * a
    a.add_(1)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*version 1; expected version 0"):
        y.sum().backward()
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    a = x * 1
    y = a * a
    a.detach()[0] = 7  # detach shares the version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    a = x * 1
    y = a + a
    a.add_(1)  # addition saved nothing
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_a_chain_of_writes():
    x = leaf(2.0, 3.0)
    y = x * x
    y.mul_(x)
    y.add_(x)
    y.pow_(2)
    y.sum().backward()
    v = np.array([2.0, 3.0])
    np.testing.assert_allclose(x.grad.numpy(), 2 * (v**3 + v) * (3 * v**2 + 1))


def test_leaves_are_not_written_to():
    x = leaf(1.0, 2.0)
    for write in (lambda: x.add_(1), lambda: x.zero_(), lambda: x.__setitem__(0, 1), lambda: x.copy_(jitgrad.ones(2))):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad is being used in an in-place"):
            write()
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        x[0].add_(1)
    with jitgrad.no_grad():
        x.add_(1)
        x[0] = 7
    x.data.add_(1)
    assert (x.tolist(), x.is_leaf, x.requires_grad) == ([8, 4], True, True)


def test_a_write_through_a_view_reaches_the_base():
    x = jitgrad.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    y = x * 2
    column = y.t()[::2]
    flat = y.view(-1)
    column.exp_()
    ((flat * flat).sum() + column.sum()).backward()
    v = 2 * np.array([[1.0, 2, 3], [4, 5, 6]])
    want = 2 * v * 2
    want[:, ::2] = (2 * np.exp(v) ** 2 + np.exp(v))[:, ::2] * 2
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-6)


def test_a_write_to_the_base_reaches_the_views():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    head, tail = y[:2], y[1:]
    y.mul_(3)
    head.mul_(2)
    (tail * tail).sum().backward()
    assert tail.tolist() == [12, 9]
    assert x.grad.tolist() == [0, 2 * 12 * 6, 2 * 9 * 3]


def test_a_view_of_zeros_joins_the_graph():
    x = leaf(1.0, 2.0)
    y = jitgrad.zeros(3, 2)
    row = y[0]
    y[:, 1] = x[1] * jitgrad.ones(3)
    row[0] = x[0] * x[1]
    assert y.requires_grad and row.requires_grad and not row.is_leaf
    (y * y).sum().backward()
    assert x.grad.tolist() == [2 * 2 * 2, 2 * 2 * 1 + 3 * 2 * 2]


def test_writes_that_cut():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.zero_()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0]
    y = x * 2
    y.copy_(jitgrad.ones(2))
    assert y.requires_grad
    with jitgrad.no_grad():
        view = (x * 1)[0]
    base = x * 1
    with jitgrad.no_grad():
        view = base[0]
    with pytest.raises(RuntimeError, match="created in no_grad mode"):
        view.add_(1)


def test_in_place_of_integers_has_no_graph():
    n = jitgrad.zeros(2, dtype=jitgrad.int64)
    n += 1
    n[0] = 5
    assert n.tolist() == [5, 1] and n.grad_fn is None
