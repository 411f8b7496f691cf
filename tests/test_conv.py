"""Convolutions: values and gradients over shapes, strides, dilations, groups and layouts; how they are scheduled."""

import itertools

import kernels
import numpy as np
import pytest
from chunks import in_chunks

import jitgrad
import jitgrad.codegen.compiler as compiler
import jitgrad.nn.functional as F
from jitgrad.codegen.compiler import compile_function
from jitgrad.codegen.target import Target, host
from jitgrad.codegen.tiling import tiling
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.differentiate import vjp
from jitgrad.ir.fuse import Contraction, LoopKernel, schedule
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.types import TensorType, f32, f64

# name: shape of x, shape of w, stride, dilation
CASES = {
    "lenet": ((1, 3, 1, 16, 16), (1, 6, 1, 5, 5), (1, 1), (1, 1)),
    "wide": ((1, 2, 3, 7, 40), (1, 5, 3, 3, 3), (1, 1), (1, 1)),
    "many channels": ((1, 2, 17, 6, 6), (1, 33, 17, 3, 3), (1, 1), (1, 1)),
    "stride": ((1, 2, 3, 11, 12), (1, 7, 3, 3, 4), (2, 3), (1, 1)),
    "dilation": ((1, 2, 3, 11, 12), (1, 4, 3, 3, 3), (1, 2), (2, 2)),
    "groups": ((3, 2, 2, 6, 18), (3, 4, 2, 3, 3), (1, 1), (1, 1)),
    "depthwise": ((5, 2, 1, 6, 18), (5, 1, 1, 3, 3), (1, 1), (1, 1)),
    "one by one": ((1, 2, 9, 5, 7), (1, 8, 9, 1, 1), (1, 1), (1, 1)),
    "one by one, stride": ((1, 2, 9, 5, 7), (1, 8, 9, 1, 1), (2, 2), (1, 1)),
    "one window": ((1, 4, 2, 3, 5), (1, 6, 2, 3, 5), (1, 1), (1, 1)),
    "one axis": ((1, 2, 3, 50), (1, 4, 3, 5), (1,), (1,)),
    "three axes": ((1, 2, 2, 4, 5, 9), (1, 3, 2, 2, 3, 2), (1, 2, 1), (1, 1, 2)),
    "a column": ((1, 2, 3, 20, 1), (1, 4, 3, 5, 1), (1, 1), (1, 1)),
}


def convolution(name: str, dtype=f32) -> Function:
    return kernels.convolution(*CASES[name], dtype)


def joint(name: str, dtype=f32) -> Function:
    return vjp(convolution(name, dtype), (0, 1), (0,))


def arguments(f: Function, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(p.type.shape).astype(p.type.dtype.numpy) for p in f.params]


def plain(x, w, stride, dilation) -> np.ndarray:
    """The definition, window by window, in float64."""
    spans = [d * (k - 1) + 1 for k, d in zip(w.shape[3:], dilation, strict=True)]
    sizes = [(n - span) // s + 1 for n, span, s in zip(x.shape[3:], spans, stride, strict=True)]
    out = np.empty((*x.shape[:2], w.shape[1], *sizes))
    for at in itertools.product(*map(range, sizes)):
        ends = zip(at, stride, spans, dilation, strict=True)
        seen = tuple(slice(i * s, i * s + span, d) for i, s, span, d in ends)
        window = np.asarray(x, np.float64)[(..., *seen)].reshape(*x.shape[:2], -1)
        out[(..., *at)] = np.einsum("gnk,gok->gno", window, np.asarray(w, np.float64).reshape(*w.shape[:2], -1))
    return out


def check(f: Function, args=None) -> list[np.ndarray]:
    """The compiled results, which are near the interpreted ones."""
    args = arguments(f) if args is None else args
    got = compile_function(f, [tuple(s // a.itemsize for s in a.strides) for a in args])(args)
    want = interpret(f, args)
    for a, b in zip(got, want, strict=True):
        limit = 1e-5 if a.dtype == np.float32 else 1e-13
        np.testing.assert_allclose(a, b, 10 * limit, 100 * limit)
    return got


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    f = convolution(name)
    args = arguments(f)
    (got,) = check(f, args)
    np.testing.assert_allclose(got, plain(*args, *CASES[name][2:]), 1e-4, 1e-4)


@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize("name", CASES)
def test_gradients(name, dtype):
    """<ct, conv(x, w)> is linear in x and in w: the gradients give it back."""
    f = joint(name, dtype)
    x, w, ct = args = arguments(f)
    _, dx, dw = check(f, args)
    total = np.vdot(ct, plain(x, w, *CASES[name][2:]))
    for gradient, operand in ((dx, x), (dw, w)):
        np.testing.assert_allclose(np.vdot(gradient, operand), total, 1e-3 if dtype is f32 else 1e-10, 1e-3)


@pytest.mark.parametrize("how", ["transposed", "strided", "reversed", "spread"])
@pytest.mark.parametrize("name", ["wide", "many channels", "stride", "depthwise"])
def test_layouts(name, how):
    f = convolution(name)
    x, w = arguments(f)
    laid_out = {
        "transposed": lambda a: np.ascontiguousarray(a.T).T,
        "strided": lambda a: np.repeat(a, 2, -1)[..., ::2],
        "reversed": lambda a: np.ascontiguousarray(a[..., ::-1, ::-1])[..., ::-1, ::-1],
        "spread": lambda a: np.broadcast_to(a[..., :1], a.shape),
    }[how]
    check(f, [laid_out(x), w])
    check(f, [x, laid_out(w)])


@pytest.mark.parametrize("name", ["lenet", "many channels", "stride", "groups"])
def test_chunks_change_no_bit(name, monkeypatch):
    f = joint(name)
    args = arguments(f)
    in_chunks(monkeypatch, 1)
    want = compile_function(f)(args)
    in_chunks(monkeypatch, 6)
    assert any(k.chunks > 1 for k in schedule(f).kernels)
    for a, b in zip(compile_function(f)(args), want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif("+avx2" not in host().features, reason="no AVX2")
def test_processors_with_short_vectors(monkeypatch):
    other = Target(host().triple, "haswell", "", 32, has_fma=True)
    llvm = compiler.Compiler(other)
    monkeypatch.setattr(compiler, "host", lambda: other)
    monkeypatch.setattr(compiler, "compiler", lambda: llvm)
    for name in ("lenet", "wide", "many channels", "stride", "three axes"):
        check(joint(name))


def test_special_values():
    f = convolution("wide")
    x, w = arguments(f)
    x[0, 0, 0, 0, 0], x[0, 1, 2, 6, 39], w[0, 1, 1, 1, 1] = np.inf, np.nan, 0.0
    check(f, [x, w])


# The schedule.


def scheduled(f: Function, kind=object) -> list:
    return [k for k in schedule(f).kernels if isinstance(k, kind)]


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("depthwise", "one window")])
def test_no_window_is_laid_out(name):
    """Temporaries are as large as an operand or a result, never by the size of the kernel larger."""
    f = convolution(name)
    plan = schedule(f)
    largest = max(v.type.size for v in (*f.params, *f.results))
    assert any(isinstance(k, Contraction) for k in plan.kernels)
    assert all(b.size <= largest for k in plan.kernels for b in k.buffers())


def test_vectors_go_along_places_or_outputs():
    (wide,) = scheduled(convolution("wide"))
    assert isinstance(wide, Contraction) and wide.columns[-1] == 38 and wide.rows == (5,)
    across = scheduled(convolution("many channels"), Contraction)[0]
    assert across.columns == (33,)
    assert scheduled(convolution("stride"), Contraction)[0].columns == (7,)
    assert not scheduled(convolution("depthwise"), Contraction)


def test_short_axes_share_a_tile():
    """Windows of few places: several steps of the next axis are summed together."""
    gradient = scheduled(joint("lenet"), Contraction)
    cuts = [tiling(k, host()) for k in gradient]
    assert all(c.registers < host().registers for c in cuts)
    assert any(c.lines > 1 or c.bands > 1 for c in cuts)


@pytest.mark.parametrize("stride", [1, 2])
def test_windows_that_overlap_are_not_unrolled(stride):
    """Else what two rows read, each at its own step, is kept in registers that the sums need."""
    machine = Target(host().triple, "", "", 64, has_fma=True)

    def unrolled(stride: int) -> int:
        size = 27 * stride + 3  # 28 windows
        f = kernels.convolution((1, 2, 32, size, size), (1, 64, 32, 3, 3), (stride, stride), (1, 1))
        (kernel,) = scheduled(f, Contraction)
        assert kernel.columns == (64,) and kernel.rows[-1] == 28
        return tiling(kernel, machine).unroll

    assert unrolled(stride) == 1
    assert unrolled(3) == 3


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_gradients_of_kernels_have_as_many_places_as_the_kernel(stride):
    f = vjp(kernels.convolution((1, 2, 8, 33, 34), (1, 64, 8, 3, 3), (stride, stride), (1, 1)), (1,), (0,))
    products = [k for k in scheduled(f, Contraction) if k.columns == (64,) and 3 in k.rows]
    assert any(np.prod(k.rows) == 8 * 3 * 3 for k in products)


def test_bias_and_activation_are_part_of_the_tile():
    b = FunctionBuilder()
    x, w, _, _ = CASES["wide"]
    operands = [b.param(TensorType(f32, shape)) for shape in (x, w, (5,))]
    out = b.conv(*operands[:2], stride=(1, 1), dilation=(1, 1))
    bias = b.broadcast(operands[2], shape=b.type_of(out).shape, dims=(2,))
    f = b.finish("layer", [b.maximum(b.add(out, bias), 0.0)])
    (kernel,) = scheduled(f)
    assert isinstance(kernel, Contraction) and [n.op for n in kernel.body if n.op in ("add", "maximum")]
    check(f)


def test_gradients_of_strides_multiply_no_zeros():
    """The cotangent is not spread out: as many multiplications as the taps of each phase, rounded up."""
    f = joint("stride")
    work = [
        np.prod(k.batch + k.rows + k.columns + k.terms) for k in scheduled(f, Contraction)
    ]
    x, w, *_ = CASES["stride"]
    assert max(work) < np.prod(x) * np.prod(w[1:2] + w[3:])


def test_depthwise_is_one_stencil():
    loops = scheduled(convolution("depthwise"))
    assert len(loops) == 1 and isinstance(loops[0], LoopKernel)


# The face.


@pytest.mark.parametrize(("axes", "options"), [
    (1, {"stride": 2, "padding": 3, "dilation": 2}), (2, {"padding": 1}),
    (2, {"stride": 2, "padding": (1, 0), "groups": 2}), (2, {"padding": "same", "dilation": 2}),
])
def test_traced_is_eager(axes, options):
    rng = np.random.default_rng(0)
    conv = {1: F.conv1d, 2: F.conv2d}[axes]
    shapes = (2, 4, *(9, 11)[:axes]), (6, 4 // options.get("groups", 1), *(3, 3)[:axes]), (6,)
    args = [jitgrad.from_numpy(rng.standard_normal(s)) for s in shapes]

    def loss(x, w, bias):
        return (F.relu(conv(x, w, bias, **options)) ** 2).sum()

    both = jitgrad.value_and_grad(loss, (0, 1, 2))
    (value, grads), (want, eager) = jitgrad.trace(both)(*args), both(*args)
    np.testing.assert_allclose(value.numpy(), want.numpy(), 1e-12)
    for a, b in zip(grads, eager, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-9, 1e-12)


def test_batches_of_none_and_results_of_their_own():
    empty = jitgrad.trace(lambda x, w: F.conv2d(x, w))(jitgrad.zeros(0, 3, 5, 5), jitgrad.zeros(4, 3, 3, 3))
    assert tuple(empty.shape) == (0, 4, 3, 3)
    out = F.conv2d(jitgrad.ones(1, 1, 3, 3), jitgrad.ones(1, 1, 2, 2))
    assert out._view is None and out.is_contiguous()
