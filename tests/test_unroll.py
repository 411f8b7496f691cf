"""Spaces of all pairs, and other short axes that are summed away: unrolled, packed, never made whole."""

import numpy as np
import pytest
from chunks import in_chunks
from generate import arguments, assert_same, functions, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import energy, gaussian_process, gradient, lennard_jones, spread, squares

import jitgrad
import jitgrad.codegen.compiler as compiler
import jitgrad.ir.fuse.pack as pack
import jitgrad.ir.fuse.unroll as unroll
from jitgrad.codegen.compiler import compile_function
from jitgrad.codegen.target import Target, host
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.errors import JitgradError
from jitgrad.ir.fuse import LoopKernel, schedule
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.passes import run_pipeline, strip
from jitgrad.ir.types import TensorType, bool_, f32, f64, i32, i64, u8

N = 75  # rows of points: no multiple of a vector


FORCES = [energy, lennard_jones, gaussian_process, spread]


def pairs_kernel(plan, n=N):
    """The one kernel over all pairs; nothing is as large as they are."""
    (found,) = [
        k for k in plan.kernels if isinstance(k, LoopKernel) and np.prod(k.outer + k.inner, dtype=int) >= n * n
    ]
    assert all(b.size < n * n for k in plan.kernels for b in k.buffers())
    return found


@pytest.mark.parametrize("make", FORCES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("d", (2, 3, 16))
def test_pairs_are_one_kernel_over_rows_of_pairs(make, d):
    for f in (make(d=d), gradient(make(d=d))):
        kernel = pairs_kernel(schedule(f))
        assert (kernel.outer, kernel.inner, kernel.block) == ((N,), (N,), 0)
        gaps = [n.access.strides[-1] for n in kernel.nodes() if n.op == "load"]
        assert set(gaps) <= {0, 1}, "what vectors read lies side by side"


def test_rows_and_columns_are_summed_in_one_pass():
    kernel = pairs_kernel(schedule(gradient(energy())))
    assert len(kernel.phases[0].reductions) == 3
    columns = [s for s in kernel.phases[0].stores if s.combine and not s.total]
    assert [s.access.strides for s in columns] == [(0, 1)] * 3


def test_coordinates_first_are_unrolled_too():
    kernel = pairs_kernel(schedule(gradient(energy(axis=0))))
    assert (kernel.outer, kernel.inner) == ((N,), (N,))


def test_sums_over_either_point_read_distances_that_are_never_stored():
    """Nearest neighbours and a softmax over distances are row programs."""
    b = FunctionBuilder()
    r = squares(b, b.param(TensorType(f32, (N, 3)), "p"))
    plan = schedule(b.finish("nearest", [b.argmin(r, axis=1)]))
    assert pairs_kernel(plan).inner == (N,)

    b = FunctionBuilder()
    r = squares(b, b.param(TensorType(f32, (N, 2)), "p"))
    e = b.exp(b.sub(b.broadcast(b.min(r, axes=(1,)), shape=(N, N), dims=(0,)), r))
    share = b.div(e, b.broadcast(b.sum(e, axes=(1,)), shape=(N, N), dims=(0,)))
    plan = schedule(b.finish("share", [b.sum(b.mul(share, r), axes=(1,))]))
    assert pairs_kernel(plan).inner == (N,)


@pytest.mark.parametrize(
    "shape", [(N, 16), (40, 3), (2, 3)], ids=["a large array", "few points", "two points"]
)
def test_what_is_not_short_or_has_few_rows_stays(shape):
    b = FunctionBuilder()
    x = b.param(TensorType(f32, shape), "x")
    plan = schedule(b.finish("f", [b.sum(b.exp(x), axes=(1,))]))
    (kernel,) = plan.kernels
    assert kernel.inner == shape[1:]


def test_large_arrays_are_not_written_with_gaps():
    """What is made of each point is written as it lies, by the rows."""
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (1000, 4)), "x")
    plan = schedule(b.finish("f", [b.sub(x, b.broadcast(b.max(x, axes=(1,)), shape=(1000, 4), dims=(0,)))]))
    assert all(k.inner == (4,) for k in plan.kernels)


@pytest.mark.parametrize(("places", "inner"), [(3, (1000,)), (4, (1000,)), (5, (5,))])
def test_large_arrays_are_read_with_small_gaps(places, inner):
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (1000, places)), "x")
    (kernel,) = schedule(b.finish("f", [b.sqrt(b.sum(b.mul(x, x), axes=(1,)))])).kernels
    assert kernel.inner == inner


def test_a_large_argument_with_channels_first_is_read_once():
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (3, 1000)), "x")
    (kernel,) = schedule(b.finish("f", [b.exp(b.sum(x, axes=(0,)))])).kernels
    assert (kernel.outer, kernel.inner) == ((), (1000,))


@pytest.mark.parametrize("op", ("sum", "prod", "max", "min"))
@pytest.mark.parametrize("n", (2, 3, 5, 8))
def test_each_reduction_over_a_short_axis(op, n):
    for dtype in (f32, f64, i32):
        b = FunctionBuilder()
        x = b.param(TensorType(dtype, (n, 100)), "x")
        f = b.finish("f", [getattr(b, op)(x, axes=(0,))])
        assert schedule(f).kernels[0].inner == (100,)
        values = np.random.default_rng(n).integers(-3, 4, (n, 100)).astype(dtype.numpy)
        if dtype.is_floating_point:
            values[0, :4], values[-1, 4:8] = (np.nan, np.inf, -np.inf, -0.0), (np.nan, -np.inf, np.inf, 0.0)
        with np.errstate(invalid="ignore"):
            for got, want in zip(compile_function(f)([values]), interpret(f, [values]), strict=True):
                np.testing.assert_array_equal(got, want)


NARROW = [("haswell", "", 32), ("x86-64", "", 16)]
TARGETS = [None, *(Target(host().triple, cpu, features, n, has_fma=n > 16) for cpu, features, n in NARROW)]


@pytest.mark.parametrize("target", TARGETS, ids=["host", "AVX2", "SSE2"])
@pytest.mark.parametrize("make", FORCES, ids=lambda f: f.__name__)
def test_values_and_gradients(make, target, monkeypatch):
    if target is not None:
        if not host().triple.startswith("x86_64"):
            pytest.skip("code for another machine")
        monkeypatch.setattr(compiler, "host", lambda: target)
    for dtype, chunks, rtol in ((f32, 1, 2e-4), (f32, 6, 2e-4), (f64, 1, 1e-12)):
        in_chunks(monkeypatch, chunks)
        f = gradient(make(dtype))
        args = [np.random.default_rng(1).standard_normal(p.type.shape).astype(dtype.numpy) for p in f.params]
        precise = interpret(gradient(make(f64)), [a.astype(np.float64) for a in args])
        for got, want in zip(compile_function(f)(args), precise, strict=True):
            assert got.dtype == dtype.numpy
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


def test_rows_in_chunks_give_the_same_bits_every_time():
    run = compile_function(gradient(energy(n=300)))
    p = np.random.default_rng(5).standard_normal((300, 3)).astype(np.float32)
    first = run([p])
    for _ in range(20):
        assert all(np.array_equal(a, b) for a, b in zip(first, run([p]), strict=True))


def test_points_that_are_not_contiguous():
    f = gradient(energy())
    base = np.random.default_rng(2).standard_normal((2 * N, 5)).astype(np.float32)
    for p in (base[::2, 1:4], base[N - 1 :: -1, ::2], base[:N, 3::-1][:, :3], np.asfortranarray(base[:N, :3])):
        got = compile_function(f, [tuple(s // 4 for s in p.strides)])([p])
        want = interpret(f, [p.copy()])
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("target", TARGETS, ids=["host", "AVX2", "SSE2"])
@pytest.mark.parametrize("step", (2, 3, 4, 7, 8, 9))
def test_every_few_elements(step, target, monkeypatch):
    """Columns of a matrix, in every dtype, of lengths around those of vectors."""
    if target is not None:
        if not host().triple.startswith("x86_64"):
            pytest.skip("code for another machine")
        monkeypatch.setattr(compiler, "host", lambda: target)
    for rows, dtype in ((2, f32), (37, bool_), (64, u8), (100, i64), (131, f32), (77, f64)):
        b = FunctionBuilder()
        x = b.param(TensorType(dtype, (rows, step)), "x")
        columns = [b.slice(x, start=(0, k), limit=(rows, k + 1), step=(1, 1)) for k in (0, step - 1)]
        f = b.finish("f", [b.ne(*columns) if dtype is bool_ else b.maximum(*columns)])
        values = np.random.default_rng(step).integers(0, 2 if dtype is bool_ else 100, (rows, step))
        values = values.astype(dtype.numpy)
        np.testing.assert_array_equal(compile_function(f)([values])[0], interpret(f, [values])[0])


def test_special_values_spread_as_in_numpy():
    f = gaussian_process()
    p = np.random.default_rng(3).standard_normal((N, 3)).astype(np.float32)
    p[4, 1], p[17, 0] = np.nan, np.inf
    alpha = np.ones(N, np.float32)
    with np.errstate(invalid="ignore"):
        (want,) = interpret(f, [p, alpha])
    (got,) = compile_function(f)([p, alpha])
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_traced_energy_equals_eager_with_its_backward():
    def loss(p):
        apart = p[:, None, :] - p[None, :, :]
        return (1 / jitgrad.sqrt((apart * apart).sum(-1) + 0.01)).sum()

    values = np.random.default_rng(4).standard_normal((N, 3))
    grads = []
    for f in (loss, jitgrad.trace(loss)):
        p = jitgrad.tensor(values, requires_grad=True)
        out = f(p)
        out.backward()
        grads.append((out.item(), p.grad.numpy()))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-12)
    np.testing.assert_allclose(grads[0][1], grads[1][1], rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(functions(instructions=20), st.integers(0, 1000), st.booleans(), st.sampled_from((1, 6)))
def test_random_functions_with_every_short_axis_unrolled(f, seed, simplified, chunks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unroll, "MANY", 1)
        patch.setattr(unroll, "AGAIN", 0.01)
        patch.setattr(pack, "AGAIN", 1)
        patch.setattr(pack, "LEAST", 2)
        in_chunks(patch, chunks)
        f = strip(run_pipeline(f) if simplified else f)
        args = arguments(f, seed)
        try:
            got = compile_function(f)(args)
        except JitgradError as error:
            got = type(error)
        assert_same(got, outcome(f, args))
