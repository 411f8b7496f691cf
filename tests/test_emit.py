"""Lowering of elementwise ops, compiled: equal to the op's reference on every dtype it takes, at width 1 and 8;
what traps, what shifts too far, random words, polynomials, the text of a module."""

import numpy as np
import pytest
from lanes import WITHOUT_FMA, compile_loop, of_op, only_x86, special_values
from op_contract import every_op

from jitgrad.codegen.emit import LOWER
from jitgrad.codegen.literals import literal
from jitgrad.codegen.philox import philox_elements, philox_run
from jitgrad.codegen.text import Code, Lanes
from jitgrad.codegen.vectormath.bounds import BOUNDS
from jitgrad.ir.errors import DTypeError
from jitgrad.ir.ops import TABLE
from jitgrad.ir.philox import philox_bits
from jitgrad.ir.types import DTYPES, DType, TensorType, bool_, f32, f64, i8, i16, i32, i64, u8

NUMBERS = [d for d in DTYPES.values() if d is not bool_]
MEASURED = BOUNDS.keys() | {"polygamma"}  # in test_vectormath, as numbers that may differ in the last place
DIVIDING = ("floor_divide", "remainder", "fmod")


def values(dtype: DType, rng: np.random.Generator) -> np.ndarray:
    """Every kind of value: limits, small numbers, any bits; for floats the limits of the integers, too."""
    if dtype is bool_:
        return rng.integers(0, 2, 400).astype(bool)
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        near = np.array([info.min, info.min + 1, -7, -2, -1, 0, 1, 2, 3, info.max - 1, info.max])
        near = near[near >= info.min].astype(dtype.numpy)
        anything = rng.integers(info.min, info.max, 400, dtype=dtype.numpy, endpoint=True)
        return np.concatenate([near, anything, rng.integers(max(info.min, -9), 70, 200).astype(dtype.numpy)])
    edges = [s * e for e in (127.5, 128.0, 255.0, 256.0, 32768.0, 2.0**31, 2.0**63) for s in (1.0, -1.0)]
    halves = rng.integers(-9, 9, 200) / 2
    return np.concatenate([special_values(dtype), edges, halves, rng.normal(size=200) * 40]).astype(dtype.numpy)


def dtypes_taken(op) -> list[tuple[list[DType], dict, DType]]:
    """The operand dtypes, attributes and result dtype of each form of an elementwise op."""
    forms = []
    for dtype in DTYPES.values():
        operands = [bool_, dtype, dtype] if op.name == "select" else [dtype] * len(op.operands)
        for attrs in [{"dtype": d} for d in DTYPES.values()] if op.name == "cast" else [{}]:
            try:
                out = op.infer(*(TensorType(d, ()) for d in operands), **attrs)
            except DTypeError:
                continue
            forms.append((operands, attrs, out.dtype))
    return forms


def crossed(operands: list[DType], rng: np.random.Generator) -> list[np.ndarray]:
    """Arguments: each operand's values against those of the others, in random order, five times over."""
    columns = [values(d, rng) for d in operands]
    n = 5 * max(map(len, columns))
    return [rng.permutation(np.resize(c, n)) for c in columns]


def test_every_elementwise_op_has_a_lowering_and_nothing_else_has():
    assert LOWER.keys() == {name for name, op in TABLE.items() if op.elementwise}


@every_op(where=lambda op: op.elementwise and op.name not in MEASURED)
def test_lowering_equals_the_reference(op):
    rng = np.random.default_rng(1)
    for operands, attrs, out in dtypes_taken(op):
        args = crossed(operands, rng)
        if op.name in DIVIDING and operands[0].is_integer:
            args[1] = np.where(args[1] == 0, 3, args[1]).astype(args[1].dtype)
        with np.errstate(all="ignore"):
            expected = np.asarray(op.ref(*args, **attrs))
        for width in (1, 8):
            got = compile_loop(ignoring_traps(op.name, out, **attrs), operands, out, width)(*args)
            np.testing.assert_array_equal(got, expected, err_msg=f"{operands} {attrs}", strict=True)


def ignoring_traps(name: str, out: DType, **attrs: object):
    def body(m, *args):
        m.on_trap = lambda condition: None
        return of_op(name, out, **attrs)(m, *args)

    return body


@pytest.mark.parametrize("name", [*DIVIDING, "pow"])
@pytest.mark.parametrize("dtype", [u8, i8, i16, i32, i64], ids=lambda d: d.code)
def test_integer_division_and_power_on_all_small_numbers(name, dtype):
    low = 0 if dtype is u8 else -128
    x, y = (a.ravel() for a in np.meshgrid(*[np.arange(low, low + 256).astype(dtype.numpy)] * 2))
    x, y = x[y != 0], y[y != 0]
    with np.errstate(all="ignore"):
        expected = TABLE[name].ref(x, y)
    got = compile_loop(ignoring_traps(name, dtype), [dtype, dtype], dtype)(x, y)
    np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("name", DIVIDING)
@pytest.mark.parametrize("dtype", [u8, i8, i16, i32, i64], ids=lambda d: d.code)
def test_division_by_zero_is_reported_and_faults_nowhere(name, dtype):
    def reported(m, x, y):
        conditions = []
        m.on_trap = conditions.append
        result = of_op(name, dtype)(m, x, y)
        (condition,) = conditions
        return m.select(condition, 77, m.and_(result, 0))  # the result is computed, and 0 is left of it

    info = np.iinfo(dtype.numpy)
    numbers = np.array([info.min, 0, 1, 5, info.max] + [-1] * (info.min < 0)).astype(dtype.numpy)
    x, y = (a.ravel() for a in np.meshgrid(numbers, numbers))
    got = compile_loop(reported, [dtype, dtype], dtype)(x, y)
    np.testing.assert_array_equal(got, np.where(y == 0, 77, 0))


def test_a_trap_that_nobody_listens_to_is_an_error():
    m = Lanes(Code(), 4)
    with pytest.raises(RuntimeError, match="on_trap"):
        m.trap(m.const(True, bool_))


@only_x86
@pytest.mark.parametrize("name", ["round", "floor", "cast", "fma", "maximum", "floor_divide"])
def test_lowering_without_fma_and_sse4(name):
    op, rng = TABLE[name], np.random.default_rng(2)
    attrs = {"dtype": i64} if name == "cast" else {}
    for dtype in (f32, f64):
        operands = [dtype] * len(op.operands)
        out = attrs.get("dtype", dtype)
        args = crossed(operands, rng)
        with np.errstate(all="ignore"):
            expected = np.asarray(op.ref(*args, **attrs))
        got = compile_loop(of_op(name, out, **attrs), operands, out, target=WITHOUT_FMA)(*args)
        np.testing.assert_array_equal(got, expected, strict=True)


KEY, OFFSET = -12345678901234, 2**40 + 5


def test_random_words_of_any_elements():
    def body(m, index):
        return philox_elements(m, m.const(KEY, i64), m.const(OFFSET, i64), index)

    expected = philox_bits(np.int64(KEY), np.int64(OFFSET), (64,))
    index = np.random.default_rng(3).permutation(64)
    for width in (1, 8):
        np.testing.assert_array_equal(compile_loop(body, [i64], i32, width)(index), expected[index])


@pytest.mark.parametrize("width", [4, 8, 16])
def test_random_words_of_adjacent_elements(width):
    def body(m, index):
        scalar = Lanes(m.code, 1)
        first = m.emit(f"extractelement {m.type(i64)} {index.text}, i64 0", i64)
        return philox_run(m, scalar.const(KEY, i64), scalar.const(OFFSET, i64), first)

    got = compile_loop(body, [i64], i32, width)(np.arange(64))
    np.testing.assert_array_equal(got, philox_bits(np.int64(KEY), np.int64(OFFSET), (64,)))


def test_random_words_want_whole_counters():
    m = Lanes(Code(), 6)
    zero = m.const(0, i64)
    with pytest.raises(ValueError, match="multiple of 4"):
        philox_run(m, zero, zero, zero)


@pytest.mark.parametrize("scheme", [Lanes.horner, Lanes.estrin])
@pytest.mark.parametrize("terms", range(1, 12))
def test_polynomials(scheme, terms):
    coefficients = [float(c) for c in range(1, terms + 1)]
    x = np.arange(-4.0, 4.0)  # everything is an integer, so nothing is rounded
    got = compile_loop(lambda m, v: scheme(m, v, coefficients), [f64], f64)(x)
    np.testing.assert_array_equal(got, np.polynomial.polynomial.polyval(x, coefficients))


def test_a_rare_path_is_taken_by_the_vectors_that_need_it():
    def body(m, x):
        (result,) = m.rarely(m.compare("gt", x, 100.0), [m.neg(x)], lambda: [m.add(x, 1.0)])
        return result

    x = np.arange(16.0)
    x[11] = 101.0
    got = compile_loop(body, [f64], f64, 8)(x)
    np.testing.assert_array_equal(got, np.concatenate([-x[:8], x[8:] + 1.0]))


def test_an_outlined_function_is_written_once():
    code = Code()
    m = Lanes(code, 4)
    with code.function("void @f(<4 x float> %x)"):
        for _ in range(3):
            m.call("twice", [m.const(1.5, f32)], [f32], lambda x: [m.add(x, x)])
        code.line("ret void")
    assert code.text().count("define internal") == 1
    assert code.text().count("call <4 x float> @jg.twice") == 3


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (1.5, f64, "0x3FF8000000000000"), (0.1, f32, "0x3FB99999A0000000"), (1e300, f32, "0x7FF0000000000000"),
        (-0.0, f32, "0x8000000000000000"), (1, bool_, "true"), (-7, i8, "-7"), (7.0, i32, "7"),
    ],
)
def test_literals(value, dtype, text):
    assert literal(value, dtype) == text
