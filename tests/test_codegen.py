"""Compiled functions equal interpreted ones: sizes around the vector widths, strides, row programs, traps."""

import math
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from chunks import in_chunks
from generate import arguments, assert_same, functions, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import black_scholes, cross_entropy, kept_rows, layer_norm, softmax

import jitgrad.codegen.compiler as compiler
import jitgrad.ir.fuse.transpose as transpose
from jitgrad.codegen import nodes
from jitgrad.codegen.compiler import compile_function
from jitgrad.codegen.cores import threads_at_most
from jitgrad.codegen.pool import Pool
from jitgrad.codegen.reductions import BLOCK
from jitgrad.codegen.target import Target, host
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Loc
from jitgrad.ir.errors import BoundsError, DivisionByZero, DTypeError, JitgradError, ShapeError
from jitgrad.ir.fuse import CallKernel, LoopKernel, schedule
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.passes import strip
from jitgrad.ir.types import TensorType, bool_, f32, f64, i8, i32, i64, u8

SEED = 3


def rng():
    return np.random.default_rng(SEED)


def strides_of(arrays):
    return [tuple(s // a.itemsize for s in a.strides) for a in arrays]


def run(f, args):
    try:
        return compile_function(f, strides_of(args))(args)
    except JitgradError as error:
        return type(error)


def check(f, args, rtol=1e-5):
    got, want = compile_function(f, strides_of(args))(args), interpret(f, args)
    for a, b in zip(got, want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, equal_nan=True)
    return got


def build(*types):
    b = FunctionBuilder()
    return b, [b.param(t) for t in types]


# Random functions.


@settings(max_examples=60, deadline=None)
@given(functions(), st.integers(0, 1000))
def test_random_functions(f, seed):
    f = strip(f)
    args = arguments(f, seed)
    assert_same(run(f, args), outcome(f, args))


@settings(max_examples=40, deadline=None)
@given(functions(), st.integers(0, 1000), st.data())
def test_random_functions_on_strided_arrays(f, seed, data):
    f = strip(f)
    args = [_strided(a, data) for a in arguments(f, seed)]
    assert_same(run(f, args), outcome(f, args))


def _strided(array, data):
    """The same elements with other strides: transposed, with gaps, backwards, repeated."""
    if not array.ndim:
        return array
    perm = data.draw(st.permutations(range(array.ndim)))
    gaps = [data.draw(st.integers(1, 2)) for _ in perm]
    whole = np.empty([array.shape[p] * k + 1 for p, k in zip(perm, gaps, strict=True)], array.dtype)
    view = whole[tuple(slice(0, array.shape[p] * k, k) for p, k in zip(perm, gaps, strict=True))]
    view = view.transpose(np.argsort(perm))
    view = view[tuple(slice(None, None, data.draw(st.sampled_from((1, -1)))) for _ in perm)]
    view[...] = array
    if array.shape[0] and data.draw(st.booleans()):
        view = np.broadcast_to(view[:1], array.shape)
    return view


# Sizes.


def everything(n, dtype):
    """Elementwise work and every reduction over one axis of `n`, down one and to the row's scalar and back."""
    b, (x, y) = build(TensorType(dtype, (n,)), TensorType(dtype, (5, n)))
    outs = [b.add(b.mul(x, x), x), b.flip(x, axes=(0,)), b.sum(x, axes=(0,)), b.max(x, axes=(0,))]
    outs += [b.prod(x, axes=(0,)), b.argmax(x, axis=0), b.argmin(y, axis=1), b.min(y, axes=(1,))]
    row = b.broadcast(b.sum(y, axes=(1,)), shape=(5, n), dims=(0,))
    outs += [b.sub(y, row), b.sum(y, axes=(0,)), b.sum(y, axes=(0, 1)), b.cumsum(y, axis=1)]
    outs += [b.cumsum(y, axis=0), b.prod(y, axes=(0,)), *b.sort(y, axis=1, descending=False)]
    return b.finish("everything", outs)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 70, 127, 129])
def test_sizes_around_the_vector_widths(n):
    args = [rng().integers(-2, 3, s).astype(np.float32) for s in ((n,), (5, n))]
    check(everything(n, f32), args)


@pytest.mark.parametrize("dtype", [f64, i8, u8, i32, i64], ids=lambda d: d.code)
def test_dtypes(dtype):
    for n in (3, 37):
        args = [rng().integers(0, 3, s).astype(dtype.numpy) for s in ((n,), (5, n))]
        check(everything(n, dtype), args)


def test_mixed_dtypes_share_a_loop():
    n = 53
    b, (x, y, c) = build(TensorType(f32, (n,)), TensorType(f64, (n,)), TensorType(bool_, (n,)))
    z = b.select(c, b.cast(x, dtype=f64), y)
    f = b.finish("f", [z, b.cast(b.mul(z, 3.0), dtype=i8), b.bitwise_not(c), b.max(c, axes=(0,))])
    assert len(schedule(f).kernels) == 1
    check(f, [rng().normal(size=n).astype(np.float32), rng().normal(size=n), rng().random(n) < 0.5])


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2), ()])
def test_reductions_over_any_axes(axes):
    b, (x,) = build(TensorType(f64, (4, 5, 33)))
    f = b.finish("f", [b.sum(x, axes=axes), b.max(b.exp(x), axes=axes)])
    check(f, [rng().normal(size=(4, 5, 33))], rtol=1e-13)


@pytest.mark.parametrize("n", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17, 1_000_003])
def test_long_sums_are_accurate(n):
    """Better than pairwise summation: within an ULP or two of the float64 sum."""
    b, (x,) = build(TensorType(f32, (n,)))
    f = b.finish("f", [b.sum(x, axes=(0,)), b.sum(b.abs(x), axes=(0,))])
    array = rng().random(n, np.float32)
    total, _ = compile_function(f)([array])
    exact = array.astype(np.float64).sum()
    assert abs(total - exact) <= 2 * np.spacing(np.float32(exact))


@pytest.mark.parametrize("shape", [(20_000, 50), (40, 500, 16), (100_000, 3)])
def test_sums_down_long_columns_are_accurate(shape):
    """Nothing like the error of one running sum, which NumPy's and most others are."""
    b, (x,) = build(TensorType(f32, shape))
    axes = tuple(range(len(shape) - 1))
    array = rng().random(shape, np.float32)
    (total,) = compile_function(b.finish("f", [b.sum(x, axes=axes)]))([array])
    np.testing.assert_allclose(total, array.astype(np.float64).sum(axes), rtol=2e-6)


@pytest.mark.parametrize("columns", [1, 2, 7, 16, 33, 100, 257, BLOCK + 3])
@pytest.mark.parametrize("rows", [6, 16, 48])
def test_row_programs(rows, columns):
    x, dy = (rng().normal(size=(rows, columns)).astype(np.float32) for _ in range(2))
    g, h = (rng().normal(size=columns).astype(np.float32) for _ in range(2))
    check(softmax(rows, columns), [x, dy], 1e-4)
    check(layer_norm(rows, columns), [x, g, h, dy], 1e-3)
    check(cross_entropy(rows, columns), [x, rng().integers(0, columns, rows)], 1e-4)


@pytest.mark.parametrize("rows", [4, 24, 32, 33])
def test_row_scalars_of_blocks(rows):
    """Scalars of rows that depend on one outer axis or both, stored, and summed over either."""
    shape = (3, rows, 21)
    b, (x, u, v) = build(*(TensorType(f64, s) for s in (shape, shape[:1], shape[1:2])))
    u = b.broadcast(u, shape=shape[:2], dims=(0,))
    v = b.broadcast(b.exp(v), shape=shape[:2], dims=(1,))
    t = b.mul(b.add(b.log(b.sum(b.exp(x), axes=(2,))), u), v)
    y = b.mul(x, b.broadcast(b.tanh(t), shape=shape, dims=(0, 1)))
    positive = b.gt(t, 1.0)
    outs = [y, t, b.cast(t, dtype=f32), positive, b.max(positive, axes=(1,)), b.max(t, axes=(1,))]
    outs += [b.sum(t, axes=axes) for axes in ((0,), (1,), (0, 1))]
    outs += [b.sum(y, axes=axes) for axes in ((0,), (1,), (0, 1), (1, 2), (0, 2), (0, 1, 2))]
    f = b.finish("f", outs)
    blocks = [k.block for k in schedule(f).kernels]
    assert any(blocks) == (rows != 33)
    check(f, [rng().normal(size=p.type.shape) for p in f.params], rtol=1e-10)


@pytest.mark.parametrize("rows", [16, 48, 13])
def test_rows_are_kept_from_phase_to_phase(rows):
    (kernel,) = schedule(kept_rows(rows, 21)).kernels
    (scratch,) = [b for b in kernel.writes() if b.name == "scratch"]
    assert scratch.size == 21 * max(kernel.block, 1)
    check(kept_rows(rows, 21), [rng().normal(size=(rows, 21)).astype(np.float32)])


def test_black_scholes_has_one_loop_over_vectors():
    f = black_scholes(1000)
    executable = compile_function(f)
    assert executable.llvm_text.count("= phi i64 [") == 1
    assert len(executable.schedule.kernels) == 1
    uniform = [rng().uniform(lo, hi, 1000).astype(np.float32) for lo, hi in ((50, 150), (50, 150), (0.1, 2))]
    uniform += [rng().uniform(lo, hi, 1000).astype(np.float32) for lo, hi in ((0.01, 0.1), (0.1, 0.6))]
    check(f, [*uniform, np.array(1, np.float32)], rtol=1e-3)


def test_special_values_pass_through_reductions():
    values = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0] * 7, np.float32)
    b, (x,) = build(TensorType(f32, values.shape))
    f = b.finish("f", [b.max(x, axes=(0,)), b.min(x, axes=(0,)), b.argmax(x, axis=0), b.sum(x, axes=(0,))])
    got = check(f, [values])
    assert np.isnan(got[0]) and got[2] == 2
    negative = b.finish("f", [b.sum(x, axes=(0,))])
    (zero,) = compile_function(negative)([np.full_like(values, -0.0)])
    assert np.signbit(zero), "the identity of a float sum is -0.0"


@pytest.mark.parametrize("dtype", [i8, u8, i32, i64], ids=lambda d: d.code)
def test_integer_sums_wrap(dtype):
    array = np.full(1000, np.iinfo(dtype.numpy).max, dtype.numpy)
    b, (x,) = build(TensorType(dtype, (1000,)))
    check(b.finish("f", [b.sum(x, axes=(0,)), b.cumsum(x, axis=0)]), [array])


def test_positions_count_all_axes_of_a_row():
    """One operand lies transposed, so the row is walked by two axes; a position is one along both."""
    b, (x, y) = build(TensorType(f32, (8, 4, 8)), TensorType(f32, (8, 8, 4)))
    row = b.reshape(b.add(x, b.permute(y, perm=(0, 2, 1))), shape=(8, 32))
    f = b.finish("f", [b.argmax(row, axis=1), b.argmin(row, axis=1)])
    assert any(len(k.inner) == 2 for k in schedule(f).kernels)
    check(f, [rng().normal(size=s).astype(np.float32) for s in ((8, 4, 8), (8, 8, 4))])


def test_what_is_put_together_from_parts_is_read_when_it_is_whole():
    """Both parts of the concat are row scalars; what reads it is short work over the same rows."""
    b, (x,) = build(TensorType(f32, (4, 5)))
    total = b.sum(x, axes=(1,))
    both = b.concat(total, b.neg(total), axis=0)
    back = b.slice(both, start=(0,), limit=(4,), step=(1,))
    check(b.finish("f", [b.mul(b.exp(back), b.exp(total))]), [rng().normal(size=(4, 5)).astype(np.float32)])


@pytest.mark.parametrize("shape", [(64, 3), (16, 1000, 2), (12, 5), (7, 3), (4, 8, 4)])
def test_short_rows_are_laid_side_by_side(shape):
    b, (x, bias, scale) = build(TensorType(f64, shape), TensorType(f64, shape[-1:]), TensorType(f64, ()))
    last = (len(shape) - 1,)
    y = b.mul(b.add(x, b.broadcast(bias, shape=shape, dims=last)), b.broadcast(scale, shape=shape, dims=()))
    axes = tuple(range(len(shape) - 1))
    sums = [b.sum(y, axes=axes), b.max(y, axes=axes), b.sum(y, axes=(0, *last)), b.sum(y, axes=axes + last)]
    f = b.finish("f", [y, *sums, b.add(x, b.iota(axis=last[0], dtype=f64, shape=shape))])
    check(f, [rng().normal(size=p.type.shape) for p in f.params], 1e-12)
    b, (x, bias) = build(TensorType(f64, shape), TensorType(f64, shape[-1:]))
    f = b.finish("f", [b.add(x, b.broadcast(bias, shape=shape, dims=last)), b.sum(x, axes=axes)])
    wide = any(isinstance(k, LoopKernel) and math.prod(k.inner) > shape[-1] for k in schedule(f).kernels)
    assert wide == (math.prod(shape[:-1]) % 4 == 0)
    check(f, [rng().normal(size=p.type.shape) for p in f.params], 1e-12)


# Transposes.


@pytest.mark.parametrize("dtype", [f32, f64, bool_, i8, i64], ids=lambda d: d.code)
@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("shape", [(8, 9), (33, 70), (70, 33), (16, 64), (3, 17, 40)])
def test_crosswise_operands_are_turned(dtype, shape, most, monkeypatch):
    in_chunks(monkeypatch, most)
    monkeypatch.setattr(transpose, "CACHED", 0)
    monkeypatch.setattr(transpose, "LINE", 0)
    perm = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    turned = tuple(shape[p] for p in perm)
    b, (x, y) = build(TensorType(dtype, shape), TensorType(dtype, turned))
    wide = b.broadcast(b.permute(x, perm=perm), shape=(2, *turned), dims=tuple(range(1, len(shape) + 1)))
    f = b.finish("f", [b.permute(x, perm=perm), b.ne(b.permute(x, perm=perm), y), b.maximum(wide, wide)])
    turns = [k for k in schedule(f).kernels if isinstance(k, CallKernel) and k.op == "transpose"]
    assert turns and any(k.chunks > 1 for k in turns) == (most > 1 and max(shape) > 32)
    check(f, [rng().integers(0, 2, s).astype(dtype.numpy) for s in (shape, turned)])


# Products.


@pytest.mark.parametrize("dtype", [f32, f64, i32], ids=lambda d: d.code)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 7, 1), (5, 1, 7), (5, 7, 1), (1, 7, 5), (3, 0, 2), (0, 3, 2), (5, 9, 33), (40, 50, 60)]
)
def test_products(shape, dtype):
    m, k, n = shape
    b, (x, y) = build(TensorType(dtype, (m, k)), TensorType(dtype, (k, n)))
    outs = [b.matmul(x, y)]
    outs.append(b.matmul(b.permute(y, perm=(1, 0)), b.permute(x, perm=(1, 0))))
    args = [rng().integers(-3, 4, s).astype(dtype.numpy) for s in ((m, k), (k, n))]
    check(b.finish("f", outs), args, rtol=1e-5)


def test_batched_products_of_views():
    b, (x, y) = build(TensorType(f64, (2, 3, 4, 5)), TensorType(f64, (4, 6, 2, 3)))
    turned = b.permute(y, perm=(2, 3, 0, 1))
    spread = b.broadcast(b.slice(x, start=(0, 0, 0, 0), limit=(2, 1, 4, 5), step=(1, 1, 1, 1)),
                         shape=(2, 3, 4, 5), dims=(0, 1, 2, 3))
    outs = [b.matmul(b.permute(x, perm=(0, 1, 3, 2)), turned), b.matmul(b.permute(spread, perm=(0, 1, 3, 2)), turned)]
    check(b.finish("f", outs), [rng().normal(size=(2, 3, 4, 5)), rng().normal(size=(4, 6, 2, 3))], 1e-12)


def test_kernels_that_are_alike_are_compiled_once():
    """An unrolled recurrence; the steps differ in buffers, one of them also in a constant, and in its sign."""
    n = 24
    b, (x, w) = build(TensorType(f64, (n, n)), TensorType(f64, (n, n)))
    v = x
    for step in range(6):
        v = b.div(b.tanh(b.matmul(v, w)), {3: 2.0, 4: -0.0, 5: 0.0}.get(step, 1.0))
    executable = compile_function(b.finish("f", [v]))
    assert len(executable.schedule.kernels) == 6
    text = executable.llvm_text
    assert text.count("define internal void @kernel") == 4
    check(executable.function, [rng().normal(size=(n, n)) for _ in range(2)], 1e-10)


# Errors at run time.

HERE = Loc("model.py", 7)


def test_kernels_that_are_alike_blame_their_own_lines():
    b, (x, y, z) = build(*[TensorType(i64, (40,))] * 3)
    b.loc = HERE
    quotients = b.cumsum(b.floor_divide(x, y), axis=0)
    b.loc = Loc("model.py", 9)
    executable = compile_function(b.finish("f", [b.floor_divide(quotients, z)]))
    ones, zeros = np.ones(40, np.int64), np.zeros(40, np.int64)
    for args, line in (([ones, zeros, ones], 7), ([ones, ones, zeros], 9)):
        with pytest.raises(DivisionByZero, match=f"model.py:{line}"):
            executable(args)


def gathered(n=8):
    b = FunctionBuilder()
    x, at = b.param(TensorType(f32, (5, n))), b.param(TensorType(i64, (6,)))
    b.loc = HERE
    return b.finish("f", [b.gather(x, at, axis=0, batch=0)])


@pytest.mark.parametrize("bad", [-1, 5, 2**62, -(2**62)])
def test_an_index_out_of_bounds_is_an_error_on_its_line(bad):
    executable = compile_function(gathered())
    x = rng().normal(size=(5, 8)).astype(np.float32)
    at = np.arange(6) % 5
    at[4] = bad
    with pytest.raises(BoundsError, match=rf"index {bad} is out of bounds .* size 5") as caught:
        executable([x, at])
    assert "model.py:7" in str(caught.value)
    at[4] = 0
    np.testing.assert_array_equal(executable([x, at])[0], x[at])


@pytest.mark.parametrize("op", ["scatter", "scatter_add"])
@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_nothing_is_written_out_of_bounds(op, bad):
    b = FunctionBuilder()
    x = b.param(TensorType(f64, (5, 3)))
    at, update = b.param(TensorType(i64, (4,))), b.param(TensorType(f64, (4, 3)))
    executable = compile_function(b.finish("f", [b.apply(op, (x, at, update), {"axis": 0, "batch": 0})]))
    with pytest.raises(BoundsError):
        executable([np.zeros((5, 3)), np.array([0, 1, bad, 2]), np.ones((4, 3))])


def test_integer_division_by_zero_is_an_error_even_if_unread():
    b, (x, y) = build(TensorType(i32, (40,)), TensorType(i32, (40,)))
    b.loc = HERE
    b.remainder(x, y)
    executable = compile_function(b.finish("f", [b.add(x, y)]))
    ones = np.ones(40, np.int32)
    zero_at_end = ones.copy()
    zero_at_end[39] = 0
    with pytest.raises(DivisionByZero, match="remainder") as caught:
        executable([ones, zero_at_end])
    assert "model.py:7" in str(caught.value)
    np.testing.assert_array_equal(executable([ones, ones])[0], 2)


def test_the_first_error_of_the_program_wins():
    b, (x, at) = build(TensorType(i32, (8,)), TensorType(i64, (8,)))
    divided = b.floor_divide(x, b.sub(x, x))
    b.gather(x, at, axis=0, batch=0)
    executable = compile_function(b.finish("f", [divided]))
    with pytest.raises(DivisionByZero):
        executable([np.ones(8, np.int32), np.full(8, 99)])


# Calls.


def test_results_are_fresh_and_contiguous():
    b, (x,) = build(TensorType(f32, (40, 300)))
    v = b.exp(x)
    f = b.finish("f", [v, v, x, b.permute(x, perm=(1, 0)), b.constant(2, TensorType(f32, (3,)))])
    executable = compile_function(f)
    array = rng().normal(size=(40, 300)).astype(np.float32)
    first, second = executable([array]), executable([array])
    everything = [*first, *second, array]
    for i, a in enumerate(everything):
        assert a.flags.c_contiguous and a.flags.writeable
        assert not any(np.shares_memory(a, other) for other in everything[:i])
    first[0][:] = 0
    np.testing.assert_array_equal(second[0], second[1])


def test_a_view_of_a_result_keeps_its_memory():
    b, (x,) = build(TensorType(f32, (100_000,)))
    executable = compile_function(b.finish("f", [b.mul(x, 2.0)]))
    view = executable([np.ones(100_000, np.float32)])[0][50_000:]
    for value in range(3, 9):
        executable([np.full(100_000, value, np.float32)])
    np.testing.assert_array_equal(view, 2.0)


def test_the_pool_reuses_what_is_free_and_nothing_else():
    pool = Pool(capacity=1 << 20)
    a = pool.empty((1 << 16,), np.dtype(np.uint8), 1 << 16)
    place = a.ctypes.data
    assert place % 64 == 0
    assert pool.empty((1 << 16,), np.dtype(np.uint8), 1 << 16).ctypes.data != place
    part = a[5:]
    del a
    assert pool.empty((1 << 16,), np.dtype(np.uint8), 1 << 16).ctypes.data != place
    del part
    found = [pool.empty((1 << 16,), np.dtype(np.uint8), 1 << 16) for _ in range(3)]
    assert place in [f.ctypes.data for f in found]
    many = [pool.empty((1 << 18,), np.dtype(np.uint8), 1 << 18) for _ in range(9)]
    assert not any(np.shares_memory(x, y) for i, x in enumerate(many) for y in many[:i])


def test_wrong_arguments_are_refused():
    b, (x,) = build(TensorType(f32, (4, 3)))
    executable = compile_function(b.finish("f", [b.exp(x)]))
    with pytest.raises(DTypeError, match=r"f32\[4,3\]"):
        executable([np.zeros((4, 3))])
    with pytest.raises(ShapeError):
        executable([np.zeros((3, 4), np.float32)])
    with pytest.raises(ValueError, match="strides"):
        executable([np.zeros((3, 4), np.float32).T])
    with pytest.raises(TypeError, match="1 arguments"):
        executable([])
    b, (x,) = build(TensorType(f32, ()))
    with pytest.raises(TypeError, match="ndarray, got float32"):
        compile_function(b.finish("f", [b.exp(x)]))([np.float32(3)])


def test_outputs_end_where_they_should():
    """Every size up to 70 written into guarded memory: what lies before and behind stays."""
    for n in (*range(1, 20), 31, 33, 64, 70):
        b, (x,) = build(TensorType(f32, (n,)))
        executable = compile_function(b.finish("f", [b.mul(x, 2.0)]))
        guarded = np.full(n + 64, 7.0, np.float32)
        inside = guarded[32 : 32 + n]
        executable.run_into([np.ones(n, np.float32)], [inside])
        np.testing.assert_array_equal(inside, 2.0)
        np.testing.assert_array_equal(np.delete(guarded, np.s_[32 : 32 + n]), 7.0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="mprotect")
def test_nothing_outside_the_arrays_is_touched(request):
    script = [sys.executable, "tests/guarded.py"]
    path = os.pathsep.join([str(request.config.rootpath), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        script, cwd=request.config.rootpath, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_threads_share_an_executable():
    f = softmax(64, 257)
    executable = compile_function(f)
    inputs = [[rng().normal(size=(64, 257)).astype(np.float32) + i for _ in range(2)] for i in range(4)]
    wanted = [executable(args) for args in inputs]
    failed = []

    def work(i):
        for _ in range(100):
            for a, b in zip(executable(inputs[i]), wanted[i], strict=True):
                if not np.array_equal(a, b):
                    failed.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_executables_show_their_stages():
    executable = compile_function(softmax(8, 33))
    assert "schedule @softmax" in str(executable.schedule)
    assert "define void @program(" in executable.llvm_text
    assert "define void @program(" in executable.optimized_text()
    assert "program:" in executable.asm_text()
    assert executable.compile_seconds > 0
    assert executable.arena_bytes == executable.schedule.arena_bytes


def test_code_outlives_the_names_of_its_executable():
    results = []
    for i in range(20):
        b, (x,) = build(TensorType(f32, (10,)))
        results.append(compile_function(b.finish("f", [b.mul(x, float(i))]))([np.ones(10, np.float32)])[0])
    np.testing.assert_array_equal([r[0] for r in results], range(20))


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_other_machines_have_other_widths(vector_bytes, monkeypatch):
    """Kernels for every width of vectors; this machine runs them all."""
    here = host()
    target = Target(here.triple, here.cpu, here.features, vector_bytes, has_fma=here.has_fma)
    monkeypatch.setattr(compiler, "host", lambda: target)
    for n in (*range(1, 20), 33, 70):
        check(everything(n, f32), [rng().integers(-2, 3, s).astype(np.float32) for s in ((n,), (5, n))])
    x, dy = (rng().normal(size=(32, 57)).astype(np.float32) for _ in range(2))
    check(softmax(32, 57), [x, dy], 1e-4)
    check(cross_entropy(32, 57), [x, rng().integers(0, 57, 32)], 1e-4)


@pytest.mark.parametrize(("uses", "called"), [(nodes.OFTEN - 1, False), (nodes.OFTEN, True)])
def test_a_long_function_that_is_used_often_is_written_once(uses, called, monkeypatch):
    """As a function, for lanes and for scalars; to the same bits."""
    b, (x,) = build(TensorType(f32, (4, 50)))
    y = x
    for _ in range(uses - 1):
        y = b.sin(b.add(y, 0.1))
    f = b.finish("f", [y, b.sin(b.sum(y, axes=(1,)))])
    arrays = [rng().normal(size=(4, 50)).astype(np.float32) * 1e5]
    executable = compile_function(f)
    names = re.findall(r"^define internal .* @(jg\.sin\.[\w.]*)\(", executable.llvm_text, re.MULTILINE)
    assert len(names) == len(set(names)) == (2 if called else 0)
    monkeypatch.setattr(nodes, "OFTEN", 10**9)
    for got, expected in zip(executable(arrays), compile_function(f)(arrays), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_calls_that_are_alike_are_one_function():
    """Only @program is written for LLVM's quick way: what works on elements is in functions of its own."""
    b, (x, y) = build(*[TensorType(f32, (40, 30))] * 2)
    f = b.finish("f", [b.cumsum(x, axis=0), b.cumsum(y, axis=0), b.cumsum(y, axis=1)])
    executable = compile_function(f)
    assert [k.op for k in executable.schedule.kernels] == ["cumsum"] * 3
    (program,) = re.findall(r"define void @program\(.*?\n}\n", executable.llvm_text, re.DOTALL)
    called = re.findall(r"call void @(cumsum\w*)\(", program)
    assert len(called) == 3 and called[0] == called[1] != called[2] and "loop" not in program
    arrays = [rng().normal(size=(40, 30)).astype(np.float32) for _ in range(2)]
    check(f, arrays, 1e-4)


@pytest.mark.parametrize(("shape", "perm"), [
    ((1000, 777), (1, 0)), ((7, 300, 411), (0, 2, 1)), ((1, 900, 801), (0, 2, 1)), ((300, 5, 411), (2, 1, 0)),
    ((17, 30000), (1, 0)), ((30000, 17), (1, 0)),
])
@pytest.mark.parametrize("dtype", [f32, f64, u8])
def test_large_transposes_are_done_in_chunks(shape, perm, dtype):
    b, (x,) = build(TensorType(dtype, shape))
    executable = compile_function(b.finish("f", [b.permute(x, perm=perm)]))
    (kernel,) = executable.schedule.kernels
    assert dtype is u8 or shape[-1] < 32 or kernel.chunks > 1
    array = rng().integers(0, 200, shape).astype(dtype.numpy)
    for threads in (1, 2, 3):
        with threads_at_most(threads):
            np.testing.assert_array_equal(executable([array])[0], array.transpose(perm))
