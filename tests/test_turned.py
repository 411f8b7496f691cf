"""Large operands read crosswise: turned copies, who reads them and who may write into them."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import jitgrad


def written_clone(x, i):
    d = x.sin()
    w = d.t().clone()
    w[i] = 0.0
    return d.t() * 3, w


def scattered(x, i):
    d = x * 2
    return d.t() * 3, d.t().clone().index_add_(0, i, d.t()[i])


def written_through(x, i):
    x = x.clone()
    x.t().mul_(2)
    x.t()[i] += 1
    return x.sum(0), x


CASES = {
    "read by what is computed again": lambda x, i: (x.sum(1), x.t().abs().sum(0)),
    "by two of these, one of which reads the other": lambda x, i: (x.t().abs() * 2 + 1).sum(0) + (x.t() * x.t()).sum(0),
    "by a chain": lambda x, i: ((x.t().abs() + 0.1) ** 1.5).sin(),
    "beside a maximum": lambda x, i: (x.t().amax(0), x.t().norm(dim=0)),
    "clone written": written_clone,
    "clone scattered into": scattered,
    "written through": written_through,
}


@pytest.mark.parametrize("f", CASES.values(), ids=CASES)
@pytest.mark.parametrize("shape", [(64, 64), (130, 70), (16, 600)], ids=str)
def test_traced_is_eager(f, shape):
    x = jitgrad.tensor(np.random.default_rng(0).standard_normal(shape))
    i = jitgrad.tensor([3, 1, 5])
    for g in (f, jitgrad.grad(lambda x, i: sum(y.sum() for y in _listed(f(x, i))))):
        for got, want in zip(_listed(jitgrad.trace(g)(x, i)), _listed(g(x, i)), strict=True):
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)


def _listed(x):
    return x if isinstance(x, tuple) else (x,)


STEPS = (
    lambda a, b: a.t(), lambda a, b: a.abs() + 0.1, lambda a, b: a * b, lambda a, b: a.t() + b.t(),
    lambda a, b: (a.t() * 2).t(), lambda a, b: a - a.mean(0), lambda a, b: a / (1 + b.abs().sum(1, keepdim=True)),
    lambda a, b: a.t().sin().clone().t(), lambda a, b: a.flip(0), lambda a, b: a.t().softmax(0),
    lambda a, b: a.t().cumsum(1),
    lambda a, b: jitgrad.cat([a.t()[:7], b.t()[7:]]), lambda a, b: a.t().clone().mul_(2).t(),
)


@given(steps=st.lists(st.tuples(st.sampled_from(range(len(STEPS))), st.integers(0, 3), st.integers(0, 3)), max_size=7))
def test_random_programs(steps):
    def f(x):
        values = [x]
        for step, i, j in steps:
            a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
            values.append(STEPS[step](a, b if a.shape == b.shape else a))
        return values[-1], values[-1].t().sum(0), sum(v.sum() for v in values)

    x = jitgrad.tensor(np.random.default_rng(1).standard_normal((72, 72)))
    for got, want in zip(jitgrad.trace(f)(x), f(x), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-9, atol=1e-9)
