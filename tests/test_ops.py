"""The op contract, walked over the table: types, reference, samples, traits, errors, text.

Derivatives are in test_op_derivatives.py, compiled code in test_op_lowerings.py.
"""

import itertools

import numpy as np
import pytest
from op_contract import differentiable, every_op, function_of, samples_of, types_of, ulps

from jitgrad.ir.core import Function
from jitgrad.ir.errors import AxisError, BoundsError, DivisionByZero, DTypeError, ShapeError
from jitgrad.ir.interpreter import NumpyBuilder, interpret
from jitgrad.ir.ops import TABLE
from jitgrad.ir.ops.record import Linear, Nondiff, OpDef, Partials, Rules
from jitgrad.ir.parser import parse
from jitgrad.ir.philox import philox_bits
from jitgrad.ir.printer import to_text
from jitgrad.ir.types import DTYPES, TensorType, bool_, f32, f64, i8, i32, i64, type_of_array, u8
from jitgrad.ir.verify import verify

NAN, INF = float("nan"), float("inf")


def evaluate(name: str, *args: np.ndarray, **attrs):
    """The result of an op on arrays, a tuple where there are several."""
    outs = NumpyBuilder().emit(name, args, attrs)
    return outs[0] if len(outs) == 1 else outs


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal types and elements: nan where nan, the sign of a zero too."""
    if type_of_array(a) != type_of_array(b):
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    both_nan = np.isnan(a) & np.isnan(b)
    return bool(np.all(both_nan | ((a == b) & (np.signbit(a) == np.signbit(b)))))


# The walk.


@every_op()
def test_has_one_of_the_four_derivatives(op):
    assert isinstance(op.derivative, Partials | Linear | Rules | Nondiff)
    rules = len(op.vjp)
    assert rules == (0 if isinstance(op.derivative, Nondiff) else len(op.operands))
    if isinstance(op.derivative, Nondiff):
        assert op.derivative.reason
    if isinstance(op.derivative, Rules):
        assert len(op.jvp) == rules


@every_op()
def test_samples_cover_what_the_op_takes(op):
    samples = samples_of(op.name)
    assert samples, "an op needs samples"
    if differentiable(op):
        assert any(s.grad for s in samples), "a differentiable op needs samples with grad=True"
    results = [r for s in samples for r in op.result_types(types_of(s), s.attrs)]
    assert any(t.size == 0 for t in results)
    if not any("axis" in s.attrs for s in samples) and op.name not in ("matmul", "conv", "diagonal"):
        assert any(t.rank == 0 for t in results)
    arrays = [a for s in samples for a in s.args]
    if any(a.ndim for a in arrays):
        assert any(not a.flags.c_contiguous for a in arrays)
        assert any(0 in a.strides and a.size > 1 for a in arrays)


@every_op(where=lambda op: op.operands and op.name not in ("philox", "custom_grad"))
def test_samples_cover_every_dtype(op):
    """Where inference accepts a dtype in place of another, there is a sample of that dtype."""
    seen = {types[0].dtype for types in map(types_of, samples_of(op.name))}
    sample = samples_of(op.name)[0]
    types = types_of(sample)
    for dtype in DTYPES.values():
        replaced = [t.with_dtype(dtype) if t.dtype is types[0].dtype else t for t in types]
        try:
            op.result_types(replaced, sample.attrs)
        except DTypeError:
            assert dtype not in seen
        else:
            assert dtype in seen, f"no sample of {op.name} in {dtype}"


@every_op()
def test_reference_has_the_inferred_types(op):
    for sample in samples_of(op.name):
        before = [a.copy() for a in sample.args]
        outs = op.evaluate(sample.args, sample.attrs)
        assert all(type(out) is np.ndarray for out in outs)
        assert tuple(map(type_of_array, outs)) == op.result_types(types_of(sample), sample.attrs)
        assert all(map(same, before, sample.args)), "the reference wrote to an operand"


@every_op()
def test_reference_warns_of_nothing(op):
    with np.errstate(all="raise"):  # evaluate has its own state within
        for sample in samples_of(op.name):
            op.evaluate(sample.args, sample.attrs)


@every_op()
def test_function_of_one_instruction_is_valid_and_interpreted(op):
    for sample in samples_of(op.name):
        f = function_of(op, sample)
        verify(f)
        outs = op.evaluate(sample.args, sample.attrs)
        assert all(map(same, outs, interpret(f, sample.args)))


@every_op()
def test_text_round_trip(op):
    for sample in samples_of(op.name):
        f = function_of(op, sample)
        text = to_text(f)
        again = parse(text)
        assert to_text(again) == text
        for g in again:
            verify(g)
        assert all(map(same, interpret(f, sample.args), interpret(again[0], sample.args)))


# Wrong uses.


@every_op()
def test_wrong_operands_and_attributes(op):
    sample = samples_of(op.name)[0]
    types = types_of(sample)
    if not op.variadic:
        extra = TensorType(f64, ())
        for wrong in (types[:-1], (*types, extra)) if types else ((extra,),):
            with pytest.raises(TypeError, match=rf"{op.name} takes {len(types)} operands, got {len(wrong)}"):
                op.result_types(wrong, sample.attrs)
    elif len(types) > 0:
        with pytest.raises((TypeError, ShapeError)):
            op.result_types((), sample.attrs)
    with pytest.raises(TypeError, match=rf"{op.name} takes attributes .* got .*nonsense"):
        op.result_types(types, {**sample.attrs, "nonsense": 1})
    if sample.attrs:
        with pytest.raises(TypeError, match=rf"{op.name} takes attributes"):
            op.result_types(types, {})


def mutations(op: OpDef):
    """Operand types each with one changed, and which: another dtype, another shape."""
    seen = set()
    for sample in samples_of(op.name):
        types = types_of(sample)
        if (types, tuple(sample.attrs)) in seen:
            continue
        seen.add((types, tuple(sample.attrs)))
        for i, t in enumerate(types):
            others = [t.with_dtype(d) for d in DTYPES.values() if d is not t.dtype]
            others += [t.with_shape((*t.shape, 7)), t.with_shape((7, *t.shape)), t.with_shape(t.shape[:-1])]
            others += [t.with_shape((*t.shape[:k], t.shape[k] + 1, *t.shape[k + 1 :])) for k in range(t.rank)]
            for other in others:
                if other != t:
                    yield sample, (*types[:i], other, *types[i + 1 :]), i


@every_op(where=lambda op: op.operands)
def test_wrong_types_raise_errors_that_name_them(op):
    """A changed operand is accepted, or the error is of the right class and shows the op and what changed.
    That both types are shown where two do not fit is in BAD."""
    for sample, types, changed in mutations(op):
        try:
            op.result_types(types, sample.attrs)
        except (DTypeError, ShapeError, AxisError) as error:
            assert op.name in str(error)
            assert str(types[changed]) in str(error)
        except Exception as error:
            pytest.fail(f"{op.name}{list(map(str, types))}: {error!r}")


BAD = [
    ("add", [f32, (2, 3)], [f32, (3, 2)], {}, ShapeError, r"add: shapes differ: f32\[2,3\], f32\[3,2\]"),
    ("add", [f32, (2,)], [f64, (2,)], {}, DTypeError, r"add: dtypes differ: f32\[2\], f64\[2\]"),
    ("add", [bool_, ()], [bool_, ()], {}, DTypeError, r"add: needs a number dtype, got bool\[\], bool\[\]"),
    ("exp", [i32, (2,)], {}, DTypeError, r"exp: needs a floating-point dtype, got i32\[2\]"),
    ("bitwise_and", [f32, ()], [f32, ()], {}, DTypeError, "an integer or bool"),
    ("shift_left", [bool_, ()], [bool_, ()], {}, DTypeError, "an integer dtype"),
    ("polygamma", [f64, ()], {"n": -1}, ValueError, r"n must be in \[0, 133\], got -1"),
    ("polygamma", [f64, ()], {"n": 170}, ValueError, "got 170"),
    ("select", [i32, ()], [f32, ()], [f32, ()], {}, DTypeError, r"select: .*i32\[\]"),
    ("select", [bool_, (2,)], [f32, (3,)], [f32, (3,)], {}, ShapeError, r"bool\[2\], f32\[3\], f32\[3\]"),
    ("const", {"value": 1.5, "dtype": i32, "shape": ()}, DTypeError, r"1.5 is not a value of i32\[\]"),
    ("const", {"value": 300, "dtype": u8, "shape": ()}, DTypeError, "300 is not a value"),
    ("const", {"value": -1, "dtype": u8, "shape": ()}, DTypeError, "-1 is not a value"),
    ("const", {"value": NAN, "dtype": i8, "shape": ()}, DTypeError, "nan is not a value"),
    ("const", {"value": INF, "dtype": i64, "shape": ()}, DTypeError, "inf is not a value"),
    ("const", {"value": 2, "dtype": bool_, "shape": ()}, DTypeError, "2 is not a value"),
    ("const", {"value": 10**400, "dtype": f64, "shape": ()}, DTypeError, "is not a value"),
    ("const", {"value": np.zeros(3), "dtype": f64, "shape": (2,)}, ShapeError, r"f64\[3\] for f64\[2\]"),
    ("const", {"value": np.zeros(2), "dtype": f32, "shape": (2,)}, DTypeError, r"f64\[2\] for f32\[2\]"),
    ("iota", {"axis": 0, "dtype": f32, "shape": ()}, AxisError, r"axis 0 is not one of f32\[\]"),
    ("iota", {"axis": 0, "dtype": bool_, "shape": (3,)}, DTypeError, r"bool\[3\]"),
    ("broadcast", [f32, (2,)], {"shape": (3,), "dims": (0,)}, ShapeError, r"f32\[2\] cannot become 3 in \[3\]"),
    ("broadcast", [f32, (2, 2)], {"shape": (2, 2), "dims": (1, 0)}, AxisError, "do not rise"),
    ("broadcast", [f32, (2, 2)], {"shape": (2, 2), "dims": (0, 2)}, AxisError, "axis 2 is not one"),
    ("broadcast", [f32, (2, 2)], {"shape": (2, 2), "dims": (0,)}, ShapeError, r"1 entries for f32\[2,2\]"),
    ("reshape", [f32, (2, 3)], {"shape": (4,)}, ShapeError, r"shape \[4\] is invalid for input of size 6"),
    ("reshape", [f32, (2, 3)], {"shape": (-2, -3)}, ShapeError, "is invalid"),
    ("permute", [f32, (2, 3)], {"perm": (0, 0)}, AxisError, r"not a permutation .* f32\[2,3\]"),
    ("slice", [f32, (5,)], {"start": (0,), "limit": (6,), "step": (1,)}, ShapeError, r"0:6:1 .* f32\[5\]"),
    ("slice", [f32, (5,)], {"start": (3,), "limit": (2,), "step": (1,)}, ShapeError, "3:2:1"),
    ("slice", [f32, (5,)], {"start": (0,), "limit": (5,), "step": (0,)}, ShapeError, "0:5:0"),
    ("slice", [f32, (5,)], {"start": (0, 0), "limit": (5,), "step": (1,)}, ShapeError, "2 entries"),
    ("flip", [f32, (2, 3)], {"axes": (1, 1)}, AxisError, "do not rise"),
    ("flip", [f32, (2, 3)], {"axes": (2,)}, AxisError, r"axis 2 is not one of f32\[2,3\]"),
    ("diagonal", [f32, (2,)], {"offset": 0}, ShapeError, r"f32\[2\] has no two axes"),
    ("unfold", [f32, (2,)], {"axis": 0, "size": 3, "step": 1}, ShapeError, r"do not lie in axis 0 of f32\[2\]"),
    ("unfold", [f32, (2,)], {"axis": 0, "size": 1, "step": 0}, ShapeError, "windows of 1 elements, 0 apart"),
    ("pad", [f32, (2,)], [f32, ()], {"low": (-1,), "high": (0,), "interior": (0,)}, ShapeError, "negative low"),
    ("pad", [f32, (2,)], [f64, ()], {"low": (1,), "high": (0,), "interior": (0,)}, DTypeError, r"f32\[\], got f64\[\]"),
    ("concat", [f32, (2, 3)], [f32, (2, 2)], {"axis": 0}, ShapeError, r"f32\[2,3\] and f32\[2,2\]"),
    ("concat", [f32, (2,)], [f64, (2,)], {"axis": 0}, DTypeError, r"f32\[2\] and f64\[2\]"),
    ("concat", [f32, ()], {"axis": 0}, AxisError, r"axis 0 is not one of f32\[\]"),
    ("sum", [f32, (2, 3)], {"axes": (1, 0)}, AxisError, "do not rise"),
    ("sum", [f32, (2, 3)], {"axes": (2,)}, AxisError, r"axis 2 is not one of f32\[2,3\]"),
    ("sum", [bool_, (2,)], {"axes": (0,)}, DTypeError, r"bool\[2\]"),
    ("max", [f32, (0, 3)], {"axes": (0,)}, ShapeError, r"axis of size 0 of f32\[0,3\]"),
    ("argmin", [f32, (3, 0)], {"axis": 1}, ShapeError, r"size 0 of f32\[3,0\]"),
    ("sort", [f32, ()], {"axis": 0, "descending": False}, AxisError, r"f32\[\]"),
    ("matmul", [f32, (8, 4)], [f32, (3, 4)], {}, ShapeError, r"f32\[8,4\] @ f32\[3,4\]"),
    ("matmul", [f32, (2, 3)], [f64, (3, 2)], {}, DTypeError, r"f32\[2,3\] @ f64\[3,2\]"),
    ("matmul", [f32, (3,)], [f32, (3,)], {}, ShapeError, r"f32\[3\] @ f32\[3\]"),
    ("matmul", [f32, (2, 3, 3)], [f32, (4, 3, 3)], {}, ShapeError, "batch"),
    ("gather", [f32, (3,)], [f32, (2,)], {"axis": 0, "batch": 0}, DTypeError, r"an integer, got f32\[2\]"),
    ("gather", [f32, (3, 4)], [i64, (2,)], {"axis": 1, "batch": 1}, ShapeError, r"f32\[3,4\] and i64\[2\]"),
    ("scatter", [f32, (3,)], [i64, (2,)], [f32, (3,)], {"axis": 0, "batch": 0}, ShapeError, r"f32\[2\], got f32\[3\]"),
    ("scatter_add", [f32, (3,)], [i64, (2,)], [f64, (2,)], {"axis": 0, "batch": 0}, ShapeError, r"got f64\[2\]"),
    ("philox", [i32, ()], [i64, ()], {"shape": (3,)}, DTypeError, r"got i32\[\], i64\[\]"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case[0])
def test_bad_input(case):
    name, *operands, attrs, error, message = case
    with pytest.raises(error, match=message):
        TABLE[name].result_types([TensorType(d, shape) for d, shape in operands], attrs)


def test_matmul_hints_at_a_transpose():
    for x, y, hint in (((8, 4), (3, 4), "x @ y.mT"), ((4, 8), (4, 3), "x.mT @ y")):
        with pytest.raises(ShapeError) as raised:
            TABLE["matmul"].result_types([TensorType(f32, x), TensorType(f32, y)], {})
        assert hint in raised.value.hint and "f32[8,3]" in raised.value.hint


# Traits.


@every_op(where=lambda op: "elementwise" in op.traits)
def test_elementwise(op):
    """One shape in and out, and an element of the result depends on its place alone."""
    for sample in samples_of(op.name):
        (whole,) = op.evaluate(sample.args, sample.attrs)
        assert all(a.shape == whole.shape for a in sample.args)
        if whole.size:
            at = tuple(n // 2 for n in whole.shape)
            (alone,) = op.evaluate([np.asarray(a[at]) for a in sample.args], sample.attrs)
            assert ulps(alone, np.asarray(whole[at])).max() <= 4


@every_op(where=lambda op: "commutative" in op.traits)
def test_commutative(op):
    for sample in samples_of(op.name):
        x, y = sample.args
        (one,), (other,) = op.evaluate((x, y), sample.attrs), op.evaluate((y, x), sample.attrs)
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


@every_op(where=lambda op: "view" in op.traits)
def test_view_moves_elements_only(op):
    for sample in samples_of(op.name):
        x = sample.args[0]
        (out,) = op.evaluate(sample.args, sample.attrs)
        positions = np.arange(x.size).reshape(x.shape)
        (at,) = op.evaluate((positions,), sample.attrs)
        assert same(out, x.reshape(-1)[at.reshape(-1)].reshape(at.shape))


@every_op(where=lambda op: "reduction" in op.traits)
def test_reduction_drops_its_axes(op):
    for sample in samples_of(op.name):
        axes = sample.attrs["axes"] if "axes" in op.attrs else (sample.attrs["axis"],)
        shape = sample.args[0].shape
        (out,) = op.evaluate(sample.args, sample.attrs)
        assert out.shape == tuple(n for i, n in enumerate(shape) if i not in axes)


ARRAYS = {"x": np.array([5, 7]), "zero": np.array([1, 0]), "f": np.arange(6.0).reshape(3, 2)}
TRAPS = [
    ("fmod", ("x", "zero"), {}, DivisionByZero, "fmod: integer division by zero"),
    ("remainder", ("x", "zero"), {}, DivisionByZero, "remainder: integer division by zero"),
    ("floor_divide", ("x", "zero"), {}, DivisionByZero, "floor_divide: integer division by zero"),
    ("gather", ("f", 3), {"axis": 0, "batch": 0}, BoundsError, "index 3 is out of bounds for .* size 3"),
    ("gather", ("f", -1), {"axis": 1, "batch": 0}, BoundsError, "index -1 is out of bounds for .* size 2"),
    ("scatter", ("f", 3, np.zeros(2)), {"axis": 0, "batch": 0}, BoundsError, "scatter: index 3"),
    ("scatter_add", ("f", -4, np.zeros(2)), {"axis": 0, "batch": 0}, BoundsError, "scatter_add: index -4"),
]


@pytest.mark.parametrize("case", TRAPS, ids=lambda case: case[0])
def test_trap(case):
    name, operands, attrs, error, message = case
    args = [ARRAYS[a] if isinstance(a, str) else np.asarray(a) for a in operands]
    with pytest.raises(error, match=message):
        evaluate(name, *args, **attrs)


def test_ops_that_trap_say_so():
    assert {case[0] for case in TRAPS} == {op.name for op in TABLE.values() if "traps" in op.traits}


def test_an_unknown_trait_is_refused():
    op = TABLE["add"]
    with pytest.raises(ValueError, match="unknown traits"):
        OpDef("f", op.operands, (), op.infer, op.ref, op.derivative, op.samples, "", frozenset({"elementwize"}))


def test_a_rule_that_asks_for_something_else_is_refused():
    op = TABLE["add"]
    with pytest.raises(ValueError, match=r"rule asks for \['z'\]"):
        OpDef("f", op.operands, (), op.infer, op.ref, Partials(lambda z: z, None), op.samples, "")


# Meanings that are easily got wrong. Values as torch 2 gives them, but for what a comment names.

EDGES = [
    ("floor_divide", [1.0, -1.0, 1.0, -1.0, 5.0, -5.0, -7.0, INF], [0.1, 0.1, 0.0, 0.0, INF, INF, 2.0, 2.0],
     [9.0, -10.0, INF, -INF, 0.0, -1.0, -4.0, NAN]),
    ("remainder", [5.0, -5.0, 5.0, -5.0, 1.0, INF, -5.0], [3.0, 3.0, -3.0, -3.0, 0.0, 2.0, INF],
     [2.0, 1.0, -1.0, -2.0, NAN, NAN, INF]),
    ("remainder", [-4.0, 4.0, -0.0, 0.0, -0.0], [2.0, -2.0, 2.0, -2.0, INF], [-0.0, 0.0, -0.0, 0.0, -0.0]),
    ("fmod", [5.0, -5.0, 5.0, -4.0, 1.0, -5.0], [3.0, 3.0, -3.0, 2.0, 0.0, INF], [2.0, -2.0, 2.0, -0.0, NAN, -5.0]),
    ("pow", [0.0, -0.0, -0.0, -1.0, NAN, INF, -INF, -8.0, 1.0, -2.0],
     [-1.0, -1.0, -2.0, INF, 0.0, -1.0, -3.0, 1 / 3, NAN, 3.0],
     [INF, -INF, INF, 1.0, 1.0, 0.0, -0.0, NAN, 1.0, -8.0]),
    ("pow", [0, 1, -1, -1, 2, 0, -2, 3], [-1, -3, -3, -2, -1, 0, 3, 4], [0, 1, -1, 1, 0, 1, -8, 81]),
    ("floor_divide", [7, -7, 7, -7, -(2**63)], [2, 2, -2, -2, -1], [3, -4, -4, 3, -(2**63)]),
    ("remainder", [7, -7, 7, -7, -(2**63)], [2, 2, -2, -2, -1], [1, 1, -1, -1, 0]),
    ("fmod", [7, -7, 7, -7, -(2**63)], [2, 2, -2, -2, -1], [1, -1, 1, -1, 0]),
    ("atan2", [0.0, -0.0, 0.0, -0.0, INF, -INF, 1.0, NAN], [1.0, 1.0, -1.0, -1.0, INF, -INF, 0.0, 1.0],
     [0.0, -0.0, np.pi, -np.pi, np.pi / 4, -3 * np.pi / 4, np.pi / 2, NAN]),
    ("maximum", [1.0, NAN, 2.0], [2.0, 1.0, NAN], [2.0, NAN, NAN]),
    ("minimum", [1.0, NAN, 2.0], [2.0, 1.0, NAN], [1.0, NAN, NAN]),
    ("sign", [-2.0, -0.0, 0.0, 3.0, NAN, -INF], [-1.0, 0.0, 0.0, 1.0, 0.0, -1.0]),
    ("round", [0.5, 1.5, 2.5, -0.5, -1.5, 2.4], [0.0, 2.0, 2.0, -0.0, -2.0, 2.0]),
    ("shift_left", [1, 1, 1, -1], [63, 64, -1, 65], [-(2**63), 0, 0, 0]),
    ("shift_right", [5, 5, -5, -5, -5], [1, 64, 64, 1, -1], [2, 0, -1, -3, -1]),
    ("abs", [-(2**63), -3, 4], [-(2**63), 3, 4]),
    ("eq", [NAN, 0.0, INF], [NAN, -0.0, INF], [False, True, True]),
    ("ne", [NAN, 0.0], [NAN, -0.0], [True, False]),
    ("lt", [NAN, 1.0], [1.0, NAN], [False, False]),
    ("ge", [NAN, 1.0], [1.0, NAN], [False, False]),
    ("sigmoid", [-INF, INF, -1000.0, 1000.0, NAN, 0.0], [0.0, 1.0, 0.0, 1.0, NAN, 0.5]),
    ("sqrt", [-0.0, -1.0, INF], [-0.0, NAN, INF]),
    ("log", [0.0, -0.0, -1.0, INF], [-INF, -INF, NAN, INF]),
    ("expm1", [-0.0, -INF, INF, 1e-300], [-0.0, -1.0, INF, 1e-300]),
    ("log1p", [-0.0, -1.0, -2.0], [-0.0, -INF, NAN]),
]


@pytest.mark.parametrize("case", EDGES, ids=lambda case: case[0])
def test_edge(case):
    name, *args, expected = map(np.array, case)
    assert same(evaluate(str(name), *args), expected)


def test_cast_from_float_saturates():
    x = np.array([NAN, INF, -INF, 1e30, -1e30, -1.9, 1.9, 127.9, 128.0, -128.9, -129.0])
    expected = {
        i8: [0, 127, -128, 127, -128, -1, 1, 127, 127, -128, -128],
        u8: [0, 255, 0, 255, 0, 0, 1, 127, 128, 0, 0],
        i64: [0, 2**63 - 1, -(2**63), 2**63 - 1, -(2**63), -1, 1, 127, 128, -128, -129],
        bool_: [True, True, True, True, True, True, True, True, True, True, True],
    }
    for dtype, values in expected.items():
        for source in (x, x.astype(np.float32)):
            limits = np.array(values, dtype.numpy)
            got = evaluate("cast", source, dtype=dtype)
            # 127.9 and -128.9 survive in float32 well enough
            assert same(got, limits)
    assert same(evaluate("cast", np.array([300, -1, 127]), dtype=u8), np.array([44, 255, 127], np.uint8))
    assert same(evaluate("cast", np.array([1e300, -1e300]), dtype=f32), np.array([INF, -INF], np.float32))


def test_sort_is_stable_and_orders_nan_last_or_first():
    x = np.array([2.0, NAN, 1.0, 2.0, NAN, -0.0, 0.0])
    values, order = evaluate("sort", x, axis=0, descending=False)
    assert order.tolist() == [5, 6, 2, 0, 3, 1, 4] and same(values, x[order])
    values, order = evaluate("sort", x, axis=0, descending=True)
    assert order.tolist() == [1, 4, 0, 3, 2, 5, 6] and same(values, x[order])
    ties = np.tile([1, 0], 500)  # numpy's other sorts are stable where short
    _, order = evaluate("sort", ties, axis=0, descending=False)
    assert order.tolist() == [*range(1, 1000, 2), *range(0, 1000, 2)]
    _, order = evaluate("sort", ties, axis=0, descending=True)
    assert order.tolist() == [*range(0, 1000, 2), *range(1, 1000, 2)]


def test_extrema_of_nan_and_of_equals():
    x = np.array([[1.0, NAN, 3.0, NAN], [3.0, 3.0, -1.0, -1.0]])
    assert evaluate("argmax", x, axis=1).tolist() == [1, 0]
    assert evaluate("argmin", x, axis=1).tolist() == [1, 2]
    assert same(evaluate("max", x, axes=(1,)), np.array([NAN, 3.0]))
    assert same(evaluate("min", x, axes=(1,)), np.array([NAN, -1.0]))
    truth = np.array([[True, False], [False, False]])
    assert evaluate("max", truth, axes=(1,)).tolist() == [True, False]
    assert evaluate("min", truth, axes=(0, 1)).tolist() is False


def test_reductions_over_nothing():
    empty = np.zeros((0, 2), np.float32)
    assert same(evaluate("sum", empty, axes=(0,)), np.zeros(2, np.float32))
    assert same(evaluate("prod", empty, axes=(0, 1)), np.ones((), np.float32))
    assert same(evaluate("matmul", np.zeros((2, 0)), np.zeros((0, 3))), np.zeros((2, 3)))


def test_sums_keep_their_dtype():
    x = np.full(300, 100, np.int8)
    assert same(evaluate("sum", x, axes=(0,)), np.array(30000 % 256, np.uint8).astype(np.int8))
    assert evaluate("cumsum", x, axis=0).dtype == np.int8


def test_the_last_of_equal_places_wins_in_scatter():
    x, index, update = np.zeros(3), np.array([1, 1, 0, 1]), np.array([10.0, 20.0, 30.0, 40.0])
    assert evaluate("scatter", x, index, update, axis=0, batch=0).tolist() == [30.0, 40.0, 0.0]
    assert evaluate("scatter_add", x, index, update, axis=0, batch=0).tolist() == [30.0, 70.0, 0.0]


def test_the_layout_of_the_index_does_not_decide_which_is_last():
    index = np.array([[0, 1, 0], [1, 0, 1]])
    update = np.arange(6.0).reshape(2, 3)
    for places in (index, np.asfortranarray(index), index[::-1][::-1]):
        for new in (update, np.asfortranarray(update)):
            assert evaluate("scatter", np.zeros(2), places, new, axis=0, batch=0).tolist() == [4.0, 5.0]


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 3, 2, 3)])
def test_gather_and_scatter_by_their_definition(shape):
    """Result axes are batch, middle, index, rest; one element at a time."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=shape)
    for axis in range(len(shape)):
        for batch, own in itertools.product(range(axis + 1), [(), (2,), (2, 3)]):
            index = rng.integers(0, shape[axis], (*shape[:batch], *own))
            picked = np.empty((*shape[:axis], *own, *shape[axis + 1 :]))
            update = rng.normal(size=picked.shape)
            written, added = x.copy(), x.copy()
            for k in np.ndindex(*picked.shape):
                at = index[k[:batch] + k[axis : axis + len(own)]]
                place = (*k[:axis], at, *k[axis + len(own) :])
                picked[k], written[place] = x[place], update[k]
                added[place] += update[k]
            attrs = {"axis": axis, "batch": batch}
            assert same(evaluate("gather", x, index, **attrs), picked)
            assert same(evaluate("scatter", x, index, update, **attrs), written)
            assert same(evaluate("scatter_add", x, index, update, **attrs), added)


def test_iota_wraps():
    assert evaluate("iota", axis=0, dtype=u8, shape=(300,))[-1] == 43


def test_philox_known_answers():
    """Words of the reference implementation's known-answer test, and the order of counters and words."""
    bits = philox_bits(np.array(0), np.array(0), (8,))
    assert [hex(w) for w in bits[:4].view(np.uint32)] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
    assert same(philox_bits(np.array(0), np.array(1), (4,)), bits[4:])
    last = philox_bits(np.array(7), np.array(-1), (8,))
    assert same(last[4:], philox_bits(np.array(7), np.array(0), (4,))), "the counter wraps at 2^64"


@pytest.mark.parametrize("sets", [(0,), (2,), (1, 1), (-1,)])
def test_custom_grad_wants_sets_of_its_results(sets):
    sample = samples_of("custom_grad")[0]
    with pytest.raises(TypeError, match="are no sets of 1 results, each listed once"):
        TABLE["custom_grad"].result_types(types_of(sample), {**sample.attrs, "sets": sets})


def test_custom_grad_wants_a_fitting_backward():
    sample = samples_of("custom_grad")[0]
    types = types_of(sample)
    with pytest.raises(ShapeError, match=r"@backward must take .*f64\[2,3\]"):
        TABLE["custom_grad"].result_types(types[:-1], sample.attrs)
    assert isinstance(sample.attrs["backward"], Function)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda d: d.code)
def test_select_of_many_elements_is_where(dtype):
    """Large operands are selected by arithmetic on bits: any layout, any dtype, any special value."""
    rng = np.random.default_rng(0)
    x, y = ((rng.standard_normal((40, 60)) * 50).astype(dtype.numpy) for _ in range(2))
    if dtype.is_floating_point:
        x[0, :4] = y[1, :4] = NAN, INF, -INF, -0.0
    cond = rng.random((40, 60)) > 0.5
    layouts = (
        (cond, x, y), (cond.T, x.T, y.T), (cond, x, np.broadcast_to(y[:1], y.shape)),
        (np.broadcast_to(cond[:, :1], cond.shape), x[::-1], y), (cond[:, ::2], x[:, ::2], y[:, 1::2]),
    )
    for operands in layouts:
        assert same(evaluate("select", *operands), np.where(*operands))
