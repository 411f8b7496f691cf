"""The op contract, compiled code: every op's lowering against its reference, on every sample.

Floats agree within 4 ULP, nan where nan, the sign of zeros too; integers and bools exactly. Exceptions are
the tables below, each with its reason. All samples of an op are one function, compiled once.
"""

import numpy as np
import pytest
from op_contract import differentiable, every_op, function_of, samples_of, types_of

from jitgrad.codegen.compiler import compile_function
from jitgrad.codegen.emit import LOWER
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.differentiate import vjp
from jitgrad.ir.errors import BoundsError, DivisionByZero
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.ops import TABLE
from jitgrad.ir.types import type_of_array

pytestmark = pytest.mark.slow

LIMIT = 4  # ULP

# Of float32 numpy's own functions are up to 4 ULP off: what is right is the float64 reference, rounded once.
ROUNDED_FROM_FLOAT64 = {
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "pow", "atan2",
}

# Sums of many terms, which numpy and compiled code add in another order: 4 ULP of the sum of absolute values.
SUMS = {"sum", "cumsum", "matmul", "conv", "scatter_add"}

# As many roundings as factors, in another order: 4 ULP for each.
PRODUCTS = {"prod"}

# These cross zero between negative poles, where two large terms cancel: 4 ULP of the value mirrored at 1/2,
# which the reflection formula starts from.
REFLECTED = {"lgamma", "digamma", "polygamma"}

# A zero of either sign: one of two operands that are equal, or a sum that may start from 0.
EITHER_ZERO = SUMS | {"maximum", "minimum", "max", "min"}

# Ops that only steer differentiation are removed before code generation.
compiled = every_op(where=lambda op: "barrier" not in op.traits)


def test_every_elementwise_op_has_a_lowering():
    assert set(LOWER) == {op.name for op in TABLE.values() if "elementwise" in op.traits}


def run_compiled(op):
    """The compiled results on all samples, those of each a list."""
    b, arrays, results = FunctionBuilder(), [], []
    for sample in samples_of(op.name):
        args = [b.param(t) for t in types_of(sample)]
        results.append(b.emit(op.name, args, sample.attrs))
        arrays += sample.args
    f = b.finish("f", [r for outs in results for r in outs])
    strides = [tuple(s // a.itemsize for s in a.strides) for a in arrays]
    flat = iter(compile_function(f, strides)(arrays))
    return [[next(flat) for _ in outs] for outs in results]


def expected(op, sample):
    if op.name in ROUNDED_FROM_FLOAT64 and sample.args[0].dtype == np.float32:
        outs = op.evaluate([a.astype(np.float64) for a in sample.args], sample.attrs)
        with np.errstate(over="ignore"):
            return [out.astype(np.float32) for out in outs]
    return op.evaluate(sample.args, sample.attrs)


def magnitude(op, sample, want):
    """An array like `want`: the numbers whose ULP is the unit of the allowed difference."""
    if op.name in SUMS:
        absolute = [np.abs(a) if a.dtype.kind == "f" else a for a in sample.args]
        return op.evaluate(absolute, sample.attrs)[0]
    if op.name in REFLECTED:
        (x,) = sample.args
        (mirrored,) = op.evaluate((1 - x,), sample.attrs)
        return np.where((x < 0) & np.isfinite(mirrored), np.maximum(np.abs(want), np.abs(mirrored)), np.abs(want))
    return np.abs(want)


def check(op, sample, got, want):
    """What is wrong with the compiled result, in words; nothing if it is right."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    wrong = got != want
    if want.dtype.kind == "f":
        roundings = sample.args[0].size // max(1, want.size) if op.name in PRODUCTS else 1
        with np.errstate(all="ignore"):
            near = np.abs(got - want) <= LIMIT * roundings * np.spacing(magnitude(op, sample, want))
        wrong &= ~near & ~(np.isnan(got) & np.isnan(want))
        if op.name not in EITHER_ZERO:
            wrong |= (got == 0) & (want == 0) & (np.signbit(got) != np.signbit(want))
    if not np.any(wrong):
        return ""
    report = [f"{op.name} {dict(sample.attrs)}: {np.count_nonzero(wrong)} of {wrong.size} elements"]
    for at in list(zip(*np.nonzero(wrong), strict=True))[:5]:
        operands = [a[at].item() if a.shape == want.shape else a.shape for a in sample.args]
        report.append(f"  at {[*map(int, at)]}: {operands} gives {got[at]!r}, not {want[at]!r}")
    return "\n".join(report)


@compiled
def test_compiled_equals_reference(op):
    reports = []
    for sample, outs in zip(samples_of(op.name), run_compiled(op), strict=True):
        reports += [check(op, sample, got, want) for got, want in zip(outs, expected(op, sample), strict=True)]
    reports = [report for report in reports if report]
    assert not reports, f"{len(reports)} of {len(samples_of(op.name))} samples\n" + "\n".join(reports[:8])


@every_op(where=differentiable)
def test_compiled_gradients_equal_interpreted_ones(op):
    """The joint function of each sample, all in one: several kernels, fused as they come."""
    b, arrays, results, expected = FunctionBuilder(), [], [], []
    rng = np.random.default_rng(8)
    for sample in samples_of(op.name):
        wrt = [i for i, a in enumerate(sample.args) if a.dtype.kind == "f" and op.vjp_rule(i) is not None]
        if not sample.grad:
            continue
        joint = vjp(function_of(op, sample), wrt, [0])
        args = [np.array(a, order="C") for a in sample.args]
        args.append(rng.normal(size=joint.params[-1].type.shape))
        results += b.inline(joint, [b.param(p.type) for p in joint.params])
        arrays += args
        expected += interpret(joint, args)
    for got, want in zip(compile_function(b.finish("f", results))(arrays), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11 * np.abs(want).max(initial=1.0))


def compile_one(name, arrays, attrs):
    b = FunctionBuilder()
    outs = b.emit(name, [b.param(type_of_array(a)) for a in arrays], attrs)
    return compile_function(b.finish("f", outs))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("name", ["fmod", "remainder", "floor_divide"])
def test_an_integer_divisor_of_zero_is_an_error(name, dtype):
    x, y = np.full(100, 7, dtype), np.full(100, 3, dtype)
    run = compile_one(name, (x, y), {})
    for at in (0, 63, 99):
        y[at] = 0
        with pytest.raises(DivisionByZero, match=f"{name}: integer division by zero"):
            run((x, y))
        y[at] = 3
    np.testing.assert_array_equal(run((x, y))[0], TABLE[name].evaluate((x, y), {})[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("name", ["gather", "scatter", "scatter_add"])
def test_an_index_out_of_bounds_is_an_error(name, dtype):
    x, index = np.arange(12.0).reshape(4, 3), np.zeros(70, dtype)
    operands = (x, index) if name == "gather" else (x, index, np.ones((70, 3)))
    attrs = {"axis": 0, "batch": 0}
    run = compile_one(name, operands, attrs)
    negative = [] if dtype is np.uint8 else [(33, -1), (35, np.iinfo(dtype).min)]
    for at, bad in [(0, 4), (69, 100), (34, np.iinfo(dtype).max), *negative]:
        index[at] = bad
        with pytest.raises(BoundsError, match=f"{name}: index {bad} is out of bounds for .* size 4"):
            run(operands)
        index[at] = 0
    np.testing.assert_allclose(run(operands)[0], TABLE[name].evaluate(operands, attrs)[0])


def test_a_trap_leaves_the_program_usable_and_its_operands_alone():
    x, y = np.arange(5), np.array([1, 2, 0, 4, 5])
    run = compile_one("floor_divide", (x, y), {})
    for _ in range(3):
        with pytest.raises(DivisionByZero):
            run((x, y))
    assert x.tolist() == [0, 1, 2, 3, 4] and y.tolist() == [1, 2, 0, 4, 5]
