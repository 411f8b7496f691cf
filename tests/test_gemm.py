"""Contractions: values over shapes, strides, batches, targets and chunks; how they are scheduled."""

import numpy as np
import pytest
from chunks import in_chunks
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import product

import jitgrad.codegen.compiler as compiler
import jitgrad.codegen.contraction as contraction
import jitgrad.ir.fuse.products as products
from jitgrad.codegen.compiler import compile_function
from jitgrad.codegen.module import emit_module
from jitgrad.codegen.target import Target, host
from jitgrad.codegen.tiling import Tiling, tiling
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.fuse import CallKernel, Contraction, LoopKernel, schedule, to_text, views
from jitgrad.ir.fuse.groups import Grouping
from jitgrad.ir.fuse.items import Ref
from jitgrad.ir.fuse.prepare import Program
from jitgrad.ir.fuse.schedule import _Layout
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.ops import TABLE
from jitgrad.ir.types import TensorType, f32, f64, i64

DTYPES = {f32: 1e-5, f64: 1e-13}
SIZES = (2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 18, 23, 31, 32, 33, 40, 47, 49, 63, 64, 65, 79, 96, 97)


def arguments(f: Function, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(p.type.shape).astype(p.type.dtype.numpy) for p in f.params]


def exact(f: Function, args) -> tuple[np.ndarray, np.ndarray]:
    """The result in float64, and what the sizes of its terms sum to, by which errors are measured."""

    def wide(sign) -> np.ndarray:
        values = {p: sign(np.asarray(a, np.float64)) for p, a in zip(f.params, args, strict=True)}
        for instr in f.instrs:
            values[instr.out] = TABLE[instr.op].ref(*(values[a] for a in instr.args), **instr.attrs)
        return values[f.results[0]]

    return wide(np.positive), wide(np.abs)


def check(f: Function, args=None, rtol=None) -> np.ndarray:
    args = arguments(f) if args is None else args
    (got,) = compile_function(f, [tuple(s // a.itemsize for s in a.strides) for a in args])(args)
    value, size = exact(f, args)
    assert (got.shape, got.dtype) == (value.shape, args[0].dtype)
    rtol = rtol or DTYPES[f.results[0].type.dtype]
    assert np.all(np.abs(got - value) <= rtol * size)
    return got


def contractions(f: Function) -> list[Contraction]:
    return [k for k in schedule(f).kernels if isinstance(k, Contraction)]


# Values.


@settings(max_examples=120, deadline=None)
@given(
    st.tuples(*[st.sampled_from(SIZES)] * 3), st.sampled_from(list(DTYPES)), st.tuples(st.booleans(), st.booleans()),
    st.sampled_from(((), (1,), (3,), (2, 3))),
)
def test_products(shape, dtype, turned, batch):
    check(product(shape, dtype, turned, batch))


@pytest.mark.parametrize("dtype", list(DTYPES), ids=lambda d: d.code)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shape", [(70, 1100, 33), (3, 513, 5), (130, 1537, 70), (50, 4000, 8)])
def test_long_sums_are_put_together_from_blocks(shape, turned, dtype):
    f = product(shape, dtype, turned)
    (kernel,) = contractions(f)
    assert kernel.partial is not None and kernel.block <= products.BLOCK
    check(f)


def test_a_sum_by_blocks_is_as_accurate_as_its_blocks():
    f = product((2, 1 << 18, 2))
    args = [np.abs(a) for a in arguments(f)]
    check(f, args, 4e-6)


@pytest.mark.parametrize("dtype", list(DTYPES), ids=lambda d: d.code)
def test_strides_of_any_kind(dtype):
    """Operands with gaps, reversed, repeated: read as they lie, or copied in rows."""
    f = product((9, 20, 35), dtype)
    x, y = (np.random.default_rng(1).standard_normal((80, 80)).astype(dtype.numpy) for _ in range(2))
    repeated = np.broadcast_to(x[:1, :20], (9, 20))
    for left in (x[:9, :20], x[17::-2, 40:0:-2], x.T[:9, 60:20:-2], repeated):
        for right in (y[:20, :35], y[20:0:-1, ::-2][:, :35], y.T[:20, :35], np.broadcast_to(y[:20, :1], (20, 35))):
            check(f, [left, right])


def test_pointers_need_no_alignment():
    f = product((10, 12, 35))
    memory = np.random.default_rng(2).integers(0, 255, 4 * 4000 + 3, np.uint8)
    args = [np.ndarray(p.type.shape, np.float32, memory, 3 + 8000 * i) for i, p in enumerate(f.params)]
    for i, a in enumerate(args):
        a[...] = arguments(f)[i]
    (got,) = compile_function(f)([a.copy() for a in args])
    out = np.ndarray((10, 35), np.float32, np.empty(1403, np.uint8), 3)
    compile_function(f).run_into(args, [out])
    np.testing.assert_array_equal(out, got)


@pytest.mark.parametrize("shape", [(2, 2, 2), (17, 9, 21)])
def test_special_values(shape):
    f = product(shape)
    x, y = arguments(f)
    x[0, 0], x[1, 1], y[0, 1] = np.nan, np.inf, -np.inf
    (got,) = compile_function(f)([x, y])
    with np.errstate(invalid="ignore"):
        want, _ = exact(f, [x, y])
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
    zeros = [np.full_like(a, -0.0) for a in (x, y)]
    assert not np.signbit(compile_function(f)(zeros)[0]).any()


def test_the_square_of_one_array():
    b = FunctionBuilder()
    x = b.param(TensorType(f64, (20, 33)))
    check(b.finish("square", [b.matmul(b.permute(x, perm=(1, 0)), x)]))


# Groups of several axes.


def contract(monkeypatch, left, right, shapes, groups, cuts):
    """The contraction of two arrays, each read through a view over the axes of its `shapes`, on this machine."""
    b = FunctionBuilder()
    x, y = (b.param(TensorType(f32, (a.size,))) for a in (left, right))
    batch, rows, _, terms = groups
    result = (*shapes[0][: batch + rows], *shapes[1][batch + terms :])
    f = b.finish("f", [b.add(b.zeros(TensorType(f32, result)), 0.0)])
    program = Program(f, None)
    refs = [Ref(program.refs[p].root, view) for p, view in zip((x, y), cuts, strict=True)]
    (out,) = program.call(
        "contract", list(zip(refs, shapes, strict=True)), [(f32, int(np.prod(result)))], groups=groups
    )
    program.results[0].place = None
    out.root.place = ("result", 0)
    program.stored.clear()
    program.stored.add(out.root)
    program.results[0] = out.root
    plan = _Layout(program, Grouping(program)).schedule()
    (kernel,) = plan.kernels
    assert isinstance(kernel, Contraction)
    monkeypatch.setattr(compiler, "schedule", lambda *_, **__: plan)
    return kernel, compile_function(f)([left.reshape(-1), right.reshape(-1)])[0]


@pytest.mark.parametrize(
    ("c", "o", "h", "w", "k"),
    [(3, 4, 9, 20, 3), (1, 6, 28, 28, 5), (6, 16, 12, 12, 5), (20, 3, 9, 40, 7), (32, 32, 40, 40, 5)],
)
def test_a_convolution_is_a_contraction_over_windows(c, o, h, w, k, monkeypatch):
    """out[o, y, x] = sum over c, i, j of weight[o, c, i, j] * image[c, y + i, x + j], the image read as it lies."""
    rng = np.random.default_rng(0)
    weight, image = rng.standard_normal((o, c, k, k), np.float32), rng.standard_normal((c, h, w), np.float32)
    y, x = h - k + 1, w - k + 1
    windows = views.strided((c, k, k, y, x), (h * w, w, 1, w, 1))
    kernel, got = contract(
        monkeypatch, weight, image, ((o, c, k, k), (c, k, k, y, x)), (0, 1, 2, 3),
        (views.identity(weight.size), windows),
    )
    assert kernel.columns == (y, x) and np.prod(kernel.terms) == c * k * k
    if o * y * x * c * k * k > 1e7:
        assert kernel.axis == "around" and kernel.chunks > 1
    want = np.einsum("ocij,cyxij->oyx", weight, np.lib.stride_tricks.sliding_window_view(image, (k, k), (1, 2)))
    np.testing.assert_allclose(got, want, 1e-4, 1e-4)


def test_batches_rows_and_columns_of_several_axes(monkeypatch):
    """einsum("abmpk,abknq->abmpnq") with operands transposed, and einsum with an operand that the batch shares."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 3, 4, 7, 5), np.float32), rng.standard_normal((2, 3, 7, 6, 19), np.float32)
    shapes = ((2, 3, 4, 5, 7), (2, 3, 7, 6, 19))
    turned = views.strided(shapes[0], (420, 140, 35, 1, 5))
    kernel, got = contract(monkeypatch, left, right, shapes, (2, 2, 2, 1), (turned, views.identity(right.size)))
    assert (kernel.batch, kernel.columns) == ((6,), (114,))
    np.testing.assert_allclose(got, np.einsum("abmkp,abknq->abmpnq", left, right), 1e-5, 1e-5)
    shared = views.strided((2, 3, 7, 6, 19), (0, 0, 114, 19, 1))
    kernel, got = contract(monkeypatch, left, right[0, 0], shapes, (2, 2, 2, 1), (turned, shared))
    assert kernel.batch == ()
    np.testing.assert_allclose(got, np.einsum("abmkp,knq->abmpnq", left, right[0, 0]), 1e-5, 1e-5)


def test_operands_of_several_axes_in_one_are_read_as_they_lie():
    """Heads split off a row, and joined again: x[t, h, d] as h matrices, and back."""
    b = FunctionBuilder()
    x, w = b.param(TensorType(f32, (2, 24, 4, 16))), b.param(TensorType(f32, (64, 20)))
    q = b.permute(x, perm=(0, 2, 1, 3))
    scores = b.matmul(q, b.permute(q, perm=(0, 1, 3, 2)))
    mixed = b.reshape(b.permute(b.matmul(scores, q), perm=(0, 2, 1, 3)), shape=(48, 64))
    f = b.finish("f", [b.matmul(mixed, w)])
    kernels = schedule(f).kernels
    assert [type(k) for k in kernels] == [LoopKernel, Contraction, Contraction, Contraction]  # keys alone are turned
    assert kernels[-1].terms == (4, 16)
    check_all(f)


def test_the_longest_axis_of_the_rows_is_the_one_with_tiles():
    b = FunctionBuilder()
    x, w = b.param(TensorType(f32, (50, 3, 2, 16))), b.param(TensorType(f32, (16, 20)))
    taken = b.slice(x, start=(0, 0, 0, 0), limit=(50, 2, 1, 16), step=(1, 1, 1, 1))
    f = b.finish("f", [b.matmul(b.reshape(taken, shape=(100, 16)), w)])
    (kernel,) = schedule(f).kernels
    assert isinstance(kernel, Contraction) and kernel.rows == (2, 50)
    check_all(f)


@pytest.mark.parametrize("rows", [16, 4])
def test_short_rows_of_the_right_operand_are_copied(rows):
    b = FunctionBuilder()
    x, y = b.param(TensorType(f32, (10, 12))), b.param(TensorType(f32, (5, 12, rows)))
    f = b.finish("f", [b.matmul(x, b.reshape(b.permute(y, perm=(1, 0, 2)), shape=(12, 5 * rows)))])
    assert [type(k) for k in schedule(f).kernels] == ([Contraction] if rows == 16 else [LoopKernel, Contraction])
    check_all(f)


# What follows a product.


def linear(b: FunctionBuilder, shape, follow):
    """`follow(b, x @ w, bias, scale, other)`: a vector over columns, one over rows, an array of the result's shape."""
    m, k, n = shape
    x, w = b.param(TensorType(f32, (m, k)), "x"), b.param(TensorType(f32, (k, n)), "w")
    bias, scale = b.param(TensorType(f32, (n,)), "bias"), b.param(TensorType(f32, (m,)), "scale")
    other = b.param(TensorType(f32, (m, n)), "other")
    wide = b.broadcast(bias, shape=(m, n), dims=(1,)), b.broadcast(scale, shape=(m, n), dims=(0,))
    return b.finish("linear", follow(b, b.matmul(x, w), *wide, other))


def relu_layer(b, p, bias, scale, other):
    z = b.add(p, bias)
    return [b.maximum(z, 0.0), b.gt(z, 0.0)]


def residual(b, p, bias, scale, other):
    return [b.add(b.mul(p, scale), other)]


def gelu(b, p, bias, scale, other):
    z = b.add(p, bias)
    return [b.mul(b.mul(z, 0.5), b.add(b.erf(b.mul(z, 0.7071)), 1.0)), p]


def backward_of_tanh(b, p, bias, scale, other):
    h = b.tanh(other)
    return [b.mul(p, b.sub(1.0, b.mul(h, h)))]


def positions(b, p, bias, scale, other):
    numbers = b.iota(shape=other.type.shape, axis=1, dtype=f32)
    return [b.add(p, numbers), b.select(b.isnan(p), other, b.flip(other, axes=(1,)))]


def turned(b, p, bias, scale, other):
    """An operand that lies otherwise than the result."""
    m, n = other.type.shape
    return [b.add(p, b.permute(b.reshape(other, shape=(n, m)), perm=(1, 0)))]


FOLLOW = [relu_layer, residual, gelu, backward_of_tanh, positions, turned]


@pytest.mark.parametrize("follow", FOLLOW, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(2, 3, 5), (17, 9, 33), (40, 700, 64), (64, 16, 100)])
def test_work_on_each_element_is_done_in_the_tile(shape, follow):
    f = linear(FunctionBuilder(), shape, follow)
    plan = schedule(f)
    assert [type(k) for k in plan.kernels] == [Contraction]
    args = [a * 0.1 for a in arguments(f)]
    for got, want in zip(compile_function(f)(args), interpret(f, args), strict=True):
        np.testing.assert_allclose(got, want, 2e-5, 2e-5)


def test_a_product_is_stored_only_for_others():
    f = linear(FunctionBuilder(), (40, 700, 64), relu_layer)
    plan = schedule(f)
    assert plan.arena_bytes == 0  # a long sum is gathered where the result will be
    assert [len(k.stores) for k in plan.kernels] == [2]
    f = linear(FunctionBuilder(), (40, 700, 64), lambda b, p, *_: [b.gt(p, 0.0)])
    assert schedule(f).arena_bytes == 40 * 64 * 4
    assert [len(k.stores) for k in schedule(f).kernels] == [1]
    f = linear(FunctionBuilder(), (40, 20, 64), lambda b, p, *_: [b.sum(p, axes=(1,)), b.exp(p)])
    assert [type(k) for k in schedule(f).kernels] == [Contraction, LoopKernel]


def test_what_can_fail_stays_outside():
    """Off its lanes a tile computes with zeros, which must not be reported."""
    b = FunctionBuilder()
    x, n = b.param(TensorType(f32, (5, 5))), b.param(TensorType(i64, (5, 5)))
    positive = b.cast(b.gt(b.matmul(x, x), 0.0), dtype=i64)
    f = b.finish("f", [b.floor_divide(positive, n)])
    assert [type(k) for k in schedule(f).kernels] == [Contraction, LoopKernel]
    (got,) = compile_function(f)([np.ones((5, 5), np.float32), np.full((5, 5), 1)])
    np.testing.assert_array_equal(got, 1)


def test_a_product_with_several_readers_is_stored_once():
    """Two cheap results of it would take the place of one."""
    b = FunctionBuilder()
    x, y = b.param(TensorType(f32, (40, 40))), b.param(TensorType(f32, (40, 40)))
    p = b.matmul(x, y)
    f = b.finish("f", [b.sum(b.mul(p, 2.0), axes=(0,)), b.sum(b.mul(p, p), axes=(1,))])
    assert [len(k.stores) for k in schedule(f).kernels if isinstance(k, Contraction)] == [1]
    check_all(f)


def test_parts_of_a_larger_array_are_written_from_the_tile():
    b = FunctionBuilder()
    x, w = b.param(TensorType(f32, (20, 30))), b.param(TensorType(f32, (30, 24)))
    p = b.matmul(x, w)
    f = b.finish("f", [b.concat(b.mul(p, 2.0), b.neg(p), axis=1)])
    (kernel,) = schedule(f).kernels
    assert isinstance(kernel, Contraction) and len(kernel.stores) == 2
    check_all(f)


def test_work_before_the_last_of_two_products_is_done_once():
    """A sum that several others read is no part of each of them."""
    b = FunctionBuilder()
    x, w = b.param(TensorType(f32, (20, 32))), b.param(TensorType(f32, (32, 32)))
    z = b.add(b.matmul(x, w), b.matmul(b.tanh(x), w))
    halves = [b.slice(z, start=(0, k), limit=(20, k + 16), step=(1, 1)) for k in (0, 16)]
    f = b.finish("f", [b.mul(b.exp(halves[0]), b.tanh(halves[1]))])
    kinds = [type(k) for k in schedule(f).kernels]
    assert kinds.count(Contraction) == 2
    assert [len(k.stores) for k in schedule(f).kernels if isinstance(k, Contraction)] == [1, 1]
    (last,) = [k for k in schedule(f).kernels if isinstance(k, LoopKernel) and "exp" in [n.op for n in k.nodes()]]
    assert len(last.reads()) == 1
    check_all(f)


def test_products_of_slices_share_one_function():
    b = FunctionBuilder()
    x, w = b.param(TensorType(f32, (5, 20, 30))), b.param(TensorType(f32, (30, 24)))
    slices = [b.slice(x, start=(t, 0, 0), limit=(t + 1, 20, 30), step=(1, 1, 1)) for t in range(5)]
    f = b.finish("f", [b.tanh(b.matmul(b.reshape(part, shape=(20, 30)), w)) for part in slices])
    executable = compile_function(f)
    assert len(executable.schedule.kernels) == 5
    assert executable.llvm_text.count("define internal void @kernel") == 1
    check_all(f)


def test_other_products_and_their_turns_stay_outside():
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (24, 24)))
    p = b.matmul(x, x)
    f = b.finish("f", [b.add(p, b.permute(p, perm=(1, 0)))])
    assert [type(k) for k in schedule(f).kernels] == [Contraction, LoopKernel]
    check_all(f)
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (24, 24)))
    p = b.matmul(x, x)
    f = b.finish("f", [b.add(p, b.matmul(p, x))])
    assert [len(k.stores) for k in schedule(f).kernels] == [1, 1]
    check_all(f)


def check_all(f: Function) -> None:
    args = arguments(f)
    for got, want in zip(compile_function(f)(args), interpret(f, args), strict=True):
        np.testing.assert_allclose(got, want, 1e-4, 1e-4)


def test_a_parameter_is_stepped_in_place_by_its_gradient():
    b = FunctionBuilder()
    x, g, w = (b.param(TensorType(f32, s)) for s in ((30, 40), (30, 50), (40, 50)))
    stepped = b.sub(w, b.mul(b.matmul(b.permute(x, perm=(1, 0)), g), 0.5))
    f = b.finish("step", [stepped])
    (kernel,) = schedule(f, overwrites={0: 2}).kernels
    assert isinstance(kernel, Contraction)
    assert [buffer.place for buffer in kernel.writes()] == [("param", 2)]
    args = arguments(f)
    (want,) = interpret(f, args)
    compile_function(f, overwrites={0: 2})(args)
    np.testing.assert_allclose(args[2], want, 1e-5, 1e-5)


def test_a_parameter_is_not_overwritten_by_what_it_is_a_factor_of():
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (20, 20)))
    f = b.finish("square", [b.matmul(x, x)])
    args = arguments(f)
    (want,) = interpret(f, args)
    compile_function(f, overwrites={0: 0})(args)
    np.testing.assert_allclose(args[0], want, 1e-5, 1e-5)


# Machines.


def target(cpu: str, vector_bytes: int, features: str = "") -> Target:
    here = host()
    return Target(here.triple, cpu, features, vector_bytes, has_fma=cpu != "x86-64")


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_every_width_of_vectors(vector_bytes, monkeypatch):
    here = host()
    other = Target(here.triple, here.cpu, here.features, vector_bytes, has_fma=here.has_fma)
    monkeypatch.setattr(compiler, "host", lambda: other)
    for shape in ((2, 3, 2), (7, 5, 3), (33, 17, 31), (64, 64, 64), (100, 600, 75)):
        for dtype in DTYPES:
            check(product(shape, dtype))


@pytest.mark.skipif(not host().triple.startswith("x86_64"), reason="x86-64")
@pytest.mark.parametrize(("cpu", "vector_bytes"), [("haswell", 32), ("x86-64", 16)])
def test_processors_without_masks(cpu, vector_bytes, monkeypatch):
    """Code for processors whose every instruction this one has."""
    if cpu == "haswell" and "+avx2" not in host().features:
        pytest.skip("no AVX2")
    other = target(cpu, vector_bytes)
    llvm = compiler.Compiler(other)
    monkeypatch.setattr(compiler, "host", lambda: other)
    monkeypatch.setattr(compiler, "compiler", lambda: llvm)
    for shape in ((2, 3, 2), (7, 5, 3), (33, 17, 31), (64, 64, 64), (100, 600, 75)):
        for dtype in DTYPES:
            check(product(shape, dtype))


def test_a_tile_fits_the_registers():
    for vector_bytes in (16, 32, 64):
        machine = target("x86-64", vector_bytes)
        for m in SIZES:
            for n in SIZES:
                (kernel,) = contractions(product((m, 8, n)))
                cut = tiling(kernel, machine)
                assert cut.rows * cut.vectors + cut.vectors < machine.registers
                assert 1 <= cut.rows <= m and cut.columns < n + cut.width
                assert cut.rows * cut.vectors * cut.chains + cut.vectors < machine.registers


def test_a_tile_of_few_sums_has_several_chains_of_each():
    (few,), (many,), (odd,) = (contractions(product(shape)) for shape in ((2, 64, 16), (64, 64, 64), (2, 67, 16)))
    machine = target("haswell", 32)
    assert tiling(few, machine).chains > 1 and tiling(many, machine).chains == 1 and tiling(odd, machine).chains == 1
    for shape in ((2, 64, 16), (3, 66, 5), (2, 1032, 9), (1200, 1028, 3)):
        check(product(shape))


def loops_of(assembly: str, multiply: str) -> list[str]:
    """The blocks that are mostly `multiply` instructions."""
    return [block for block in assembly.split("\n.L") if block.count(multiply) > 15]


@pytest.mark.skipif(not host().triple.startswith("x86_64") or not host().has_fma, reason="x86-64 with FMA")
def test_the_loop_over_terms_keeps_to_its_registers(monkeypatch):
    def kept() -> list[bool]:
        blocks = loops_of(compile_function(product((96, 64, 96))).asm_text(), "vfmadd")
        assert blocks
        return ["(%rsp" not in block and "(%rbp" not in block for block in blocks]

    assert all(kept())
    large = Tiling(host().vector_bytes // 4, 96, 96 // (host().vector_bytes // 4), 1, 1, 1)
    monkeypatch.setattr(contraction, "tiling", lambda *_: large)
    assert not any(kept())  # so it would show


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "vector_bytes", "multiply"),
    [("aarch64-unknown-linux-gnu", "generic", "+neon", 16, ".4s"),
     ("arm64-apple-darwin", "apple-m1", "", 16, "fmla.4s"),
     ("x86_64-pc-windows-msvc", "haswell", "", 32, "%ymm"), ("x86_64-unknown-linux-gnu", "x86-64-v4", "", 64, "%zmm")],
)
def test_other_machines_get_vectors_of_their_own(triple, cpu, features, vector_bytes, multiply):
    """Cross-compiled, not run."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=1, reloc="pic")
    text = emit_module(schedule(product((33, 64, 64))), Target(triple, cpu, features, vector_bytes, True)).text
    assembly = machine.emit_assembly(binding.parse_assembly(f'target datalayout = "{machine.target_data}"\n{text}'))
    lines = [line for line in assembly.splitlines() if "fmla" in line or "vfmadd" in line]
    assert len(lines) > 15 and all(multiply in line for line in lines)
    assert not [line for line in assembly.splitlines() if "fmaf" in line]


# Chunks.


@pytest.mark.parametrize("turned", [(False, False), (True, False)])
@pytest.mark.parametrize(
    ("shape", "batch", "axis"),
    [((200, 30, 70), (), "rows"), ((70, 30, 200), (), "columns"), ((9, 30, 17), (11,), "around"),
     ((130, 700, 66), (), "rows"), ((65, 700, 130), (), "columns")],
)
def test_chunks_change_no_bit(shape, batch, axis, turned, monkeypatch):
    f = product(shape, f32, turned, batch)
    in_chunks(monkeypatch, 1)
    one = check(f)
    for most in (2, 3, 8):
        in_chunks(monkeypatch, most)
        (kernel,) = contractions(f)
        assert kernel.axis == axis and kernel.chunks > 1
        np.testing.assert_array_equal(compile_function(f)(arguments(f))[0], one)


# Schedules.


def test_transposed_operands_are_read_as_they_lie_or_turned():
    """The left one by single numbers, wherever they are; the right one in rows."""
    assert [type(k) for k in schedule(product((40, 50, 60), turned=(True, False))).kernels] == [Contraction]
    kernels = schedule(product((40, 50, 60), turned=(False, True))).kernels
    assert [type(k) for k in kernels] == [LoopKernel, Contraction]
    kernels = schedule(product((100, 200, 300), turned=(False, True))).kernels
    assert isinstance(kernels[0], CallKernel) and kernels[0].op == "transpose"


def test_what_is_read_transposed_is_computed_so():
    """The gradient of keys: (q.T @ g).T is g.T @ q, which copies nothing."""
    b = FunctionBuilder()
    q, g = b.param(TensorType(f32, (3, 40, 8))), b.param(TensorType(f32, (3, 40, 50)))
    turned = (0, 2, 1)
    f = b.finish("f", [b.permute(b.matmul(b.permute(q, perm=turned), g), perm=turned)])
    (kernel,) = schedule(f).kernels
    assert isinstance(kernel, Contraction) and (kernel.rows, kernel.columns) == ((50,), (8,))
    check_all(f)
    b = FunctionBuilder()
    x, y = b.param(TensorType(f32, (40, 8))), b.param(TensorType(f32, (8, 50)))
    p = b.matmul(x, y)
    f = b.finish("f", [b.permute(p, perm=(1, 0)), b.exp(p)])
    (kernel,) = [k for k in schedule(f).kernels if isinstance(k, Contraction)]
    assert (kernel.rows, kernel.columns) == ((40,), (50,))
    check_all(f)


def test_of_two_operands_with_gaps_the_smaller_one_is_copied():
    """g @ x.T with long rows, as in the gradient of a convolution's weight: x.T is read number by number."""
    b = FunctionBuilder()
    g, x = b.param(TensorType(f32, (16, 2000))), b.param(TensorType(f32, (150, 2000)))
    f = b.finish("f", [b.matmul(g, b.permute(x, perm=(1, 0)))])
    (kernel,) = [k for k in schedule(f).kernels if isinstance(k, Contraction)]
    assert (kernel.rows, kernel.columns) == ((150,), (16,))
    check_all(f)


def test_one_copy_serves_all_products_with_a_transposed_operand():
    b = FunctionBuilder()
    w = b.param(TensorType(f32, (30, 30)))
    v = b.param(TensorType(f32, (20, 30)))
    for _ in range(4):
        v = b.tanh(b.matmul(v, b.permute(w, perm=(1, 0))))
    f = b.finish("f", [v])
    assert [type(k) for k in schedule(f).kernels].count(LoopKernel) == 1
    check_all(f)


def test_a_batch_that_shares_an_operand_is_rows():
    b = FunctionBuilder()
    x, w = b.param(TensorType(f32, (6, 5, 8))), b.param(TensorType(f32, (8, 9)))
    (kernel,) = contractions(b.finish("f", [b.matmul(x, b.broadcast(w, shape=(6, 8, 9), dims=(1, 2)))]))
    assert (kernel.batch, kernel.rows, kernel.columns, kernel.terms) == ((), (30,), (9,), (8,))


def test_large_products_are_for_blas():
    kernels = [schedule(product((n, n, n))).kernels for n in (1024, 2048)]
    assert [[type(k) for k in found] for found in kernels] == [[Contraction], [CallKernel]]


def test_the_text_shows_the_product():
    text = to_text(schedule(product((64, 1000, 32))))
    parts = ("kernel 0: contraction",
             "for r0 < 64, c0 < 32:", "sum over k0 < 1000 (by 500 of k0", "result0[r0*32 + c0] =")
    assert all(part in text for part in parts)


def test_an_operand_that_must_be_copied_is_whole_before_the_product_begins():
    b = FunctionBuilder()
    ct, y = (b.param(TensorType(f64, s), n) for s, n in (((3, 3), "ct"), ((3, 2), "y")))
    f = b.finish("f", [b.mul(b.matmul(ct, y), y)])
    strides = [None, (1, 3)]
    for kernel in schedule(f, strides).kernels:
        assert not set(kernel.reads()) & set(kernel.writes())
    x, z = arguments(f)
    got = compile_function(f, strides)([x, np.asfortranarray(z)])[0]
    np.testing.assert_allclose(got, (x @ z) * z, rtol=1e-13)
