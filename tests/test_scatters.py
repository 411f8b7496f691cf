"""Elementwise programs over scatters into zeros: `sink_scatters` changes rounding and the sign of zeros alone."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from generate import assert_same, outcome

import jitgrad
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.passes import dce, run_pipeline, sink_scatters
from jitgrad.ir.types import TensorType, f32, i64
from jitgrad.ir.verify import verify

UNARY = ("neg", "neg", "abs")
BINARY = ("add", "add", "sub", "sub", "mul", "div", "maximum", "minimum")
NAMED = 3  # rows that a scatter names


def program(seed: int) -> Function:
    """Scatters into zeros of 1 to 4 rows, scaled and added to each other and to parameters in any way."""
    r = Random(seed)
    b = FunctionBuilder()
    table = TensorType(f32, (r.randint(1, 4), *r.choice([(), (1,), (2,)])))
    rows = (NAMED, *table.shape[1:])
    pool = [b.param(table, "x"), b.param(table, "y")]
    rate = b.param(TensorType(f32, ()), "rate")
    for _ in range(r.randint(1, 3)):
        index, update = b.param(TensorType(i64, (NAMED,))), b.param(TensorType(f32, rows))
        pool.append(b.scatter_add(b.zeros(table), index, update, axis=0, batch=0))
    for _ in range(r.randint(1, 8)):
        match r.randint(0, 5):
            case 0:
                made = getattr(b, r.choice(UNARY))(r.choice(pool))
            case 1:
                number = b.constant(r.choice([2, 0.5]), table)
                scale = r.choice([b.broadcast(rate, shape=table.shape, dims=()), number])
                made = getattr(b, r.choice(["mul", "div"]))(r.choice(pool), scale)
            case 2:
                made = b.select(b.gt(r.choice(pool), b.zeros(table)), r.choice(pool), r.choice(pool))
            case _:
                made = getattr(b, r.choice(BINARY))(r.choice(pool), r.choice(pool))
        pool.append(made)
    return b.finish("f", r.sample(pool[2:], r.randint(1, 2)))


def tables(f: Function, seed: int) -> list[np.ndarray]:
    """Powers of 2, of which sums are exact, and rows that the table has."""
    rng = np.random.default_rng(seed)
    rows = f.params[0].type.shape[0]
    return [
        rng.integers(0, rows, p.type.shape) if p.type.dtype is i64
        else np.asarray(2.0 ** rng.integers(-1, 2, p.type.shape), np.float32)
        for p in f.params
    ]


@pytest.mark.parametrize("stage", [lambda f: dce(sink_scatters(f)), run_pipeline])
def test_programs_keep_their_values(stage):
    changed = 0
    for seed in range(400):
        f = program(seed)
        g = stage(f)
        verify(g)
        changed += g is not f
        args = tables(f, seed)
        with np.errstate(all="ignore"):
            assert_same(outcome(g, args), outcome(f, args), exact=False)
    assert changed > 100


def scattered(rows: int, index: jitgrad.Tensor, update: jitgrad.Tensor) -> jitgrad.Tensor:
    return jitgrad.zeros(rows, *update.shape[1:]).index_add(0, index, update)


def both(f, *args):
    """What `f` gives, eager and compiled."""
    with jitgrad.eager():
        want = f(*args)
    return want.numpy(), jitgrad.trace(f)(*args).numpy()


COMBINED = {
    "square": lambda s, r: s * s,
    "product": lambda s, r: s * r,
    "ratio": lambda s, r: s / r,
    "difference": lambda s, r: s - r,
    "negative": lambda s, r: -s,
    "negative of a sum": lambda s, r: -(s + r),
    "larger": jitgrad.maximum,
    "selected": lambda s, r: jitgrad.where(s > r, s, r),
    "product added": lambda s, r: 1 - s * r,
    "divided by zero": lambda s, r: 1 - s / 0.0,
    "times infinity": lambda s, r: 1 - s * float("inf"),
}


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("how", COMBINED)
def test_two_scatters(how, rows):
    index = jitgrad.tensor([0, 0, rows - 1])

    def f(u, v):
        return COMBINED[how](scattered(rows, index, u), scattered(rows, index, v))

    want, got = both(f, jitgrad.tensor([1.0, 2.0, 4.0]), jitgrad.tensor([3.0, 0.5, -2.0]))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_negative_gradient_of_a_lookup():
    index = jitgrad.tensor([2, 0, 2])

    def descent(w):
        return -jitgrad.grad(lambda w: (w[index] * 3).sum())(w)

    want, got = both(descent, jitgrad.ones(4, 2))
    np.testing.assert_array_equal(got, want)


def test_the_square_of_the_gradient_of_a_table_of_one():
    j = jitgrad.tensor([0, 0])

    def f(w):
        g = jitgrad.grad(lambda w: (w[j] * 3).sum())(w)
        return g * g

    want, got = both(f, jitgrad.ones(1, 1))
    assert got == want == 36


def test_maximizing_over_an_embedding():
    index = jitgrad.tensor([1, 1, 0])

    def run(step_of):
        w = jitgrad.ones(3, 2, requires_grad=True)
        optimizer = jitgrad.optim.SGD([w], lr=0.5, momentum=0.9, maximize=True)

        def step():
            optimizer.zero_grad()
            (w[index] * 2).sum().backward()
            optimizer.step()

        step = step_of(step)
        for _ in range(4):
            step()
        return w.detach().numpy()

    np.testing.assert_allclose(run(jitgrad.trace), run(lambda f: f), rtol=1e-6)
