"""Stencils written with slices, and other work on arrays that are put together from parts: done part by part."""

import numpy as np
import pytest
from chunks import in_chunks
from generate import arguments, assert_same, functions, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import gradient, laplacian, rosenbrock, window

import jitgrad
import jitgrad.ir.fuse.parts as parts
from jitgrad.codegen.compiler import compile_function
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.errors import JitgradError
from jitgrad.ir.fuse import LoopKernel, schedule
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.passes import strip
from jitgrad.ir.types import TensorType, f32, f64

N = 5000


def temporaries(plan):
    return [b.size for k in plan.kernels for b in k.buffers() if b.place[0] == "temp"]


def long_loops(plan, n):
    return [k for k in plan.kernels if isinstance(k, LoopKernel) and np.prod(k.outer + k.inner, dtype=int) >= n]


def test_a_gradient_of_slices_is_written_in_windows():
    plan = schedule(rosenbrock(N))
    assert not [n for n in temporaries(plan) if n > 1], "nothing is padded, nothing is stored between kernels"
    assert len(plan.kernels) == 2, "the sum is cut to the length of the interior, whose loop it shares"
    assert len(long_loops(plan, N - 2)) == 1
    written = sorted((s.access.offset, np.prod(k.outer + k.inner, dtype=int))
                     for k in plan.kernels for s in k.stores() if s.access.buffer is plan.results[1])
    assert written == [(0, 1), (1, N - 2), (N - 1, 1)]


def test_what_many_shifts_read_is_stored_once():
    """The five cotangents of a Laplacian are one array, read at five places: no array is padded."""
    n, m = 60, 90
    plan = schedule(laplacian(n, m))
    assert sum(s >= (n - 2) * (m - 2) for s in set(temporaries(plan))) == 1
    assert len(long_loops(plan, (n - 4) * (m - 4))) == 2
    assert len(plan.kernels) <= 6, "edges of one shape share kernels"


def test_a_costly_part_is_not_computed_again():
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (N,)), "x")
    u, v = b.exp(b.sin(window(b, x, (0,), (N - 1,)))), b.exp(b.sin(window(b, x, (1,), (N - 1,))))
    zero = b.zeros(TensorType(f32, ()))
    padded = [b.pad(w, zero, low=(k,), high=(1 - k,), interior=(0,)) for k, w in enumerate((u, v))]
    plan = schedule(b.finish("f", [b.add(*padded)]))
    dear = [n for k in plan.kernels for n in k.nodes() if n.op in ("exp", "sin")]
    assert len(dear) == 4


def test_small_arrays_are_put_together():
    """Where pieces would be a few elements, their kernels cost more than passes over memory."""
    plan = schedule(rosenbrock(100))
    assert all(s.access.offset <= 1 for k in long_loops(plan, 90) for s in k.stores())


def test_work_on_a_concatenation_is_done_in_its_parts():
    b = FunctionBuilder()
    x, y, z = (b.param(TensorType(f32, (n,))) for n in (1000, 2000, 3000))
    joined = b.concat(b.exp(x), b.sin(y), axis=0)
    plan = schedule(b.finish("f", [b.add(b.mul(joined, z), 1.0)]))
    assert not temporaries(plan)
    assert len(plan.kernels) == 2


def test_doubling_again_and_again_is_linear():
    """What is doubled is one item in each piece, however often it is read."""
    b = FunctionBuilder()
    x, y = b.param(TensorType(f32, (4000,))), b.param(TensorType(f32, (6000,)))
    v = b.concat(x, x, axis=0)
    for _ in range(25):
        v = b.add(v, v)
    f = b.finish("f", [b.add(v, b.concat(y, window(b, y, (0,), (2000,)), axis=0))])
    args = [np.ones(4000, np.float32), np.zeros(6000, np.float32)]
    (got,) = compile_function(f)(args)
    np.testing.assert_array_equal(got, np.full(8000, 2.0**25, np.float32))
    assert sum(n.op == "add" for k in schedule(f).kernels for n in k.nodes()) <= 26 * 3


def test_a_concatenation_that_is_read_twice_stays():
    b = FunctionBuilder()
    x, y = (b.param(TensorType(f32, (n,))) for n in (1000, 2000))
    joined = b.concat(b.exp(x), b.sin(y), axis=0)
    plan = schedule(b.finish("f", [b.mul(joined, 2.0), b.flip(joined, axes=(0,))]))
    assert temporaries(plan) == [3000] * len(temporaries(plan)) != []


@pytest.fixture(params=[(16.0, 256), (0.0, 0), (1e9, 0)], ids=["as chosen", "stored", "computed again"])
def choice(request, monkeypatch):
    """Every part stored, or computed again, in arrays of any size."""
    stored, least = request.param
    monkeypatch.setattr(parts, "STORED", stored)
    monkeypatch.setattr(parts, "LEAST", least)
    monkeypatch.setattr(parts, "LONGER", 64 if least else 0.01)


@pytest.mark.parametrize("dtype", (f32, f64), ids=str)
@pytest.mark.parametrize("n", (2, 3, 4, 33, 1000))
def test_rosenbrock(n, dtype, choice):
    x = np.random.default_rng(n).uniform(-1.5, 1.5, n)
    f, want = rosenbrock(n, dtype), interpret(rosenbrock(n, f64), [x])
    tight = 1e-13 if dtype is f64 else 2e-5
    for got, exact in zip(compile_function(f)([x.astype(dtype.numpy)]), want, strict=True):
        np.testing.assert_allclose(got, exact, rtol=tight, atol=tight * np.abs(exact).max())


@pytest.mark.parametrize("smooth", (False, True))
@pytest.mark.parametrize("shape", ((3, 3), (4, 3), (5, 6), (7, 40), (40, 41)), ids=str)
def test_laplacian(shape, smooth, choice, monkeypatch):
    in_chunks(monkeypatch)
    x = np.random.default_rng(1).standard_normal(shape)
    want = interpret(laplacian(*shape, f64, smooth), [x])
    for got, exact in zip(compile_function(laplacian(*shape, f32, smooth))([x.astype(np.float32)]), want, strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-4, atol=1e-4)


def test_second_derivatives_of_a_stencil():
    def energy(x):
        d = x[1:] - x[:-1]
        return (d**4).sum() + (x[2:] * x[:-2] * x[1:-1]).sum()

    def along(x, v):
        g = jitgrad.grad(energy)(x)
        return jitgrad.grad(lambda y: (jitgrad.grad(energy)(y) * v).sum())(x) + 0 * g

    rng = np.random.default_rng(2)
    x, v = (jitgrad.tensor(rng.standard_normal(3000)) for _ in range(2))
    traced, eager = jitgrad.trace(along)(x, v).numpy(), along(x, v).numpy()
    np.testing.assert_allclose(traced, eager, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("op", ("sum", "prod", "max", "min"))
@pytest.mark.parametrize("start", (0, 1, 2))
def test_a_total_over_a_longer_line_shares_the_loop(op, start):
    """y is written in windows, the interior of n - 2; the total is over n - 1 elements from `start` / 2 on."""
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (N,)), "x")
    zero = b.zeros(TensorType(f32, ()))
    shifted = [b.mul(window(b, x, (k,), (N - 1,)), 2.0) for k in (0, 1)]
    y = b.add(*(b.pad(v, zero, low=(1 - k,), high=(k,), interior=(0,)) for k, v in enumerate(shifted)))
    line = window(b, x, (start // 2,), (N - 1,))
    total = getattr(b, op)(b.mul(line, line) if start else b.neg(line), axes=(0,))
    f = b.finish("f", [y, total])
    assert len(long_loops(schedule(f), N - 2)) == 1
    values = np.random.default_rng(start).integers(1, 3, N).astype(np.float32)
    values[0], values[-1] = 7.0, -8.0
    for got, want in zip(compile_function(f)([values]), interpret(f, [values]), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_total_whose_operand_is_stored_is_not_cut():
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (N,)), "x")
    zero = b.zeros(TensorType(f32, ()))
    v = b.mul(window(b, x, (0,), (N - 1,)), 2.0)
    y = b.add(b.pad(v, zero, low=(1,), high=(0,), interior=(0,)), b.pad(v, zero, low=(0,), high=(1,), interior=(0,)))
    square = b.mul(v, v)
    plan = schedule(b.finish("f", [y, square, b.sum(square, axes=(0,))]))
    assert [s.access.buffer for k in plan.kernels for s in k.stores()].count(plan.results[2]) == 1
    assert len(long_loops(plan, N - 2)) == 2


@st.composite
def stencils(draw):
    """A sum of products of slices of x, or a concatenation, seen through elementwise work, and x's gradient."""
    rank = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(3, 6)) for _ in range(rank))
    extent = tuple(draw(st.integers(max(n - 3, 1), n)) for n in shape)
    b = FunctionBuilder()
    x = b.param(TensorType(f32, shape), "x")
    seen = []
    for _ in range(draw(st.integers(2, 4))):
        start = tuple(draw(st.integers(0, n - e)) for n, e in zip(shape, extent, strict=True))
        v = window(b, x, start, extent)
        for _ in range(draw(st.integers(0, 2))):
            v = draw(st.sampled_from((b.neg, b.abs, lambda v: b.mul(v, 2.0), lambda v: b.add(v, 1.0))))(v)
        seen.append(v)
    total = seen[0]
    for v in seen[1:]:
        total = draw(st.sampled_from((b.add, b.sub, b.mul, b.maximum)))(total, v)
    if draw(st.booleans()):
        axis = draw(st.integers(0, rank - 1))
        total = b.mul(b.concat(total, b.neg(total), axis=axis), 3.0)
    return gradient(b.finish("stencil", [b.sum(b.mul(total, total), axes=tuple(range(rank)))]))


@settings(max_examples=100, deadline=None)
@given(stencils(), st.integers(0, 1000), st.sampled_from((0.0, 8.0, 1e9)))
def test_random_stencils(f, seed, stored):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "STORED", stored)
        patch.setattr(parts, "LEAST", 0)
        patch.setattr(parts, "LONGER", 0.01)
        args = [np.random.default_rng(seed).integers(-2, 3, p.type.shape).astype(np.float32) for p in f.params]
        for got, want in zip(compile_function(f)(args), interpret(f, args), strict=True):
            np.testing.assert_array_equal(got, want)  # small integers: exact in any order


@settings(max_examples=60, deadline=None)
@given(functions(instructions=20), st.integers(0, 1000), st.sampled_from((0.0, 16.0, 1e9)))
def test_random_functions_in_parts(f, seed, stored):
    """nan, infinities and zeros of either sign too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "STORED", stored)
        patch.setattr(parts, "LEAST", 0)
        patch.setattr(parts, "LONGER", 0.01)
        f = strip(f)
        args = arguments(f, seed)
        try:
            got = compile_function(f)(args)
        except JitgradError as error:
            got = type(error)
        assert_same(got, outcome(f, args))
