"""Random tensors: distributions, reproducibility, one stream eager and recorded, states."""

from __future__ import annotations

import numpy as np
import pytest
from both import eager, recorded, same

import jitgrad

N = 20000


def test_uniform_numbers():
    jitgrad.manual_seed(0)
    for dtype, grain in ((jitgrad.float32, 24), (jitgrad.float64, 53)):
        x = jitgrad.rand(N, dtype=dtype).numpy()
        assert x.dtype.name == dtype.name
        assert x.min() >= 0 and x.max() < 1
        assert np.all(x * 2.0**grain == np.floor(x * 2.0**grain))
        assert abs(x.mean() - 0.5) < 0.01 and abs(x.var() - 1 / 12) < 0.003
        counts = np.histogram(x, 16, (0, 1))[0]
        assert abs(counts - N / 16).max() < 6 * (N / 16) ** 0.5


def test_normal_numbers():
    jitgrad.manual_seed(1)
    for dtype in (jitgrad.float32, jitgrad.float64):
        x = jitgrad.randn(N + 1, dtype=dtype).numpy()
        assert x.shape == (N + 1,) and np.isfinite(x).all()
        assert abs(x.mean()) < 0.03 and abs(x.std() - 1) < 0.03
        assert abs((x**3).mean()) < 0.1 and abs((x**4).mean() - 3) < 0.3
        half = len(x) // 2
        assert abs(np.corrcoef(x[:half], x[half + 1 :])[0, 1]) < 0.04  # the two of a pair are independent
    y = jitgrad.normal(jitgrad.tensor([0.0, 100.0]), 2.0)
    assert y.shape == (2,) and abs(y[1].item() - 100) < 20
    assert jitgrad.normal(3.0, 0.0, (2,)).tolist() == [3, 3]


def test_integers():
    jitgrad.manual_seed(2)
    x = jitgrad.randint(-3, 5, (N,)).numpy()
    assert x.dtype == np.int64
    assert set(np.unique(x)) == set(range(-3, 5))
    assert abs(np.bincount(x + 3) - N / 8).max() < 6 * (N / 8) ** 0.5
    assert jitgrad.randint(3, (2, 2), dtype=jitgrad.int32).shape == (2, 2)
    wide = jitgrad.randint(0, 2**40, (100,)).numpy()
    assert wide.min() >= 0 and wide.max() < 2**40 and wide.max() > 2**36
    assert jitgrad.randint_like(jitgrad.zeros(3), 5).dtype is jitgrad.float32
    with pytest.raises(RuntimeError, match="'from' to be less than 'to'"):
        jitgrad.randint(3, 3, (2,))


def test_permutations():
    jitgrad.manual_seed(3)
    firsts = set()
    for _ in range(50):
        p = jitgrad.randperm(5).tolist()
        assert sorted(p) == [0, 1, 2, 3, 4]
        firsts.add(p[0])
    assert firsts == {0, 1, 2, 3, 4}
    assert jitgrad.randperm(0).shape == (0,)


def test_bernoulli():
    jitgrad.manual_seed(4)
    x = jitgrad.bernoulli(jitgrad.full((N,), 0.3)).numpy()
    assert set(np.unique(x)) == {0, 1} and abs(x.mean() - 0.3) < 0.02
    assert jitgrad.bernoulli(jitgrad.tensor([0.0, 1.0])).tolist() == [0, 1]


def test_filling_in_place():
    jitgrad.manual_seed(5)
    x = jitgrad.empty(N).uniform_(2, 4)
    assert x.min().item() >= 2 and x.max().item() < 4 and abs(x.mean().item() - 3) < 0.02
    assert abs(x.normal_(5, 2).std().item() - 2) < 0.1
    assert set(x.bernoulli_(0.5).unique().tolist()) == {0, 1}
    assert set(jitgrad.zeros(100, dtype=jitgrad.int64).random_(0, 3).unique().tolist()) == {0, 1, 2}


def test_a_seed_gives_the_same_numbers():
    jitgrad.manual_seed(42)
    a = [jitgrad.rand(3), jitgrad.randn(2), jitgrad.randperm(4)]
    jitgrad.manual_seed(42)
    b = [jitgrad.rand(3), jitgrad.randn(2), jitgrad.randperm(4)]
    assert all(jitgrad.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not jitgrad.equal(a[0], jitgrad.rand(3))
    assert jitgrad.initial_seed() == 42


def test_generators_are_apart():
    g, h = jitgrad.Generator().manual_seed(1), jitgrad.Generator().manual_seed(1)
    default = jitgrad.get_rng_state()
    x = jitgrad.rand(5, generator=g)
    saved = g.get_state()
    y = jitgrad.rand(5, generator=g)
    assert jitgrad.equal(x, jitgrad.rand(5, generator=h))
    g.set_state(saved)
    assert jitgrad.equal(y, jitgrad.rand(5, generator=g))
    assert jitgrad.equal(default, jitgrad.get_rng_state())
    assert g.initial_seed() == 1 and isinstance(g.seed(), int)
    assert jitgrad.Generator().manual_seed(-1).initial_seed() == 2**64 - 1
    with pytest.raises(RuntimeError, match="RNG state"):
        g.set_state(jitgrad.zeros(3))


def test_one_stream_eager_and_recorded():
    def draws(g):
        return (jitgrad.rand(5, generator=g), jitgrad.randn(3, 2, dtype=jitgrad.float64, generator=g),
                jitgrad.randint(0, 9, (4,), generator=g), jitgrad.randperm(6, generator=g),
                jitgrad.bernoulli(jitgrad.full((7,), 0.5), generator=g), jitgrad.rand(2, generator=g))

    g, h = jitgrad.Generator().manual_seed(7), jitgrad.Generator().manual_seed(7)
    for _ in range(2):
        same(recorded(lambda: draws(g)), eager(lambda: draws(h)))
        assert g.offset == h.offset


def test_like_and_flags():
    x = jitgrad.zeros(2, 3, dtype=jitgrad.float64)
    assert (jitgrad.rand_like(x).dtype, jitgrad.randn_like(x).shape) == (jitgrad.float64, (2, 3))
    assert jitgrad.rand(2, requires_grad=True).requires_grad
    assert jitgrad.rand(0, 3).shape == (0, 3)
    with pytest.raises(RuntimeError, match=r"not implemented for jitgrad\.int64"):
        jitgrad.rand(2, dtype=jitgrad.int64)


def test_noise_is_a_constant_to_the_gradient():
    g = jitgrad.Generator()

    def noisy(x):
        return x * jitgrad.randn(3, dtype=jitgrad.float64, generator=g.manual_seed(9))

    x = jitgrad.ones(3, dtype=jitgrad.float64, requires_grad=True)
    y = noisy(x)
    y.sum().backward()
    assert jitgrad.equal(x.grad, y.detach())
