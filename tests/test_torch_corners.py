"""Corners in which programs written for torch rely on it: memory that is shared or not, layouts, what a backward keeps,
exact values. Every program runs eagerly and traced."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad

MODES = [pytest.param(lambda f: f, id="eager"), pytest.param(jitgrad.trace, id="traced")]
both = pytest.mark.parametrize("mode", MODES)


def array(*shape: int) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape) + 1


# -- memory


@both
@pytest.mark.parametrize(("layout", "offset", "axes"), [
    (lambda x: x, 0, (0, 1)), (lambda x: x.T, 1, (0, 1)), (lambda x: x.T, -1, (1, 0)),
    (lambda x: x[::2, 1:], 0, (0, 1)), (lambda x: x.reshape(4, 3, 2).transpose(2, 0, 1), 1, (0, 2)),
    (lambda x: x[:0], 0, (0, 1)), (lambda x: x, 9, (0, 1)),
])
def test_a_diagonal_is_a_view_of_any_layout(mode, layout, offset, axes):
    memory, want = array(4, 6), array(4, 6)
    wanted = layout(want).diagonal(offset, *axes)
    wanted.flags.writeable = True
    wanted *= -1

    def program(x):
        x.diagonal(offset, *axes).mul_(-1)
        return x.sum()

    assert mode(program)(jitgrad.from_numpy(layout(memory))) == layout(want).sum()
    np.testing.assert_array_equal(memory, want)


@both
def test_writes_to_a_diagonal_are_in_the_graph(mode):
    def program(x):
        y = x.t() * 1
        y.diagonal(1).mul_(x[0, :2])
        return (y * y).sum()

    x = jitgrad.tensor(array(3, 4), requires_grad=True)
    mode(program)(x).backward()
    assert jitgrad.autograd.gradcheck(program, (x.detach().requires_grad_(),))
    y = x.detach().requires_grad_()
    program(y).backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())
