"""The interpreter: the meaning of functions, their control flow, and the errors of running them."""

import warnings

import numpy as np
import pytest

from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.errors import BoundsError, DivisionByZero, DTypeError, ShapeError, SideExit
from jitgrad.ir.interpreter import NumpyBuilder, interpret
from jitgrad.ir.parser import parse_function
from jitgrad.ir.types import TensorType, f32

COLLATZ = parse_function(
    """func @collatz(%n: i64[]) -> (i64[]) {
      %0: i64[] = const {value=0, dtype=i64, shape=[]}
      %1: bool[] = const {value=true, dtype=bool, shape=[]}
      guard %1 ? ^head(%n, %0) : ^?
    ^head(%m: i64[], %steps: i64[]):
      %2: i64[] = const {value=1, dtype=i64, shape=[]}
      %3: bool[] = eq %m, %2
      %4: i64[] = add %steps, %2
      guard %3 ? ^done(%steps) : ^step(%m, %4)
    ^step(%k: i64[], %count: i64[]):
      %5: i64[] = const {value=2, dtype=i64, shape=[]}
      %6: i64[] = remainder %k, %5
      %7: i64[] = const {value=0, dtype=i64, shape=[]}
      %8: bool[] = eq %6, %7
      %9: i64[] = floor_divide %k, %5
      %10: i64[] = const {value=3, dtype=i64, shape=[]}
      %11: i64[] = mul %k, %10
      %12: i64[] = const {value=1, dtype=i64, shape=[]}
      %13: i64[] = add %11, %12
      %14: i64[] = select %8, %9, %13
      guard %12b ? ^head(%14, %count) : ^head(%14, %count)
    ^done(%r: i64[]):
      return %r
    }""".replace("guard %12b", "%15: bool[] = eq %5, %5\n      guard %15")
)


def test_loops_run_to_their_end() -> None:
    (steps,) = interpret(COLLATZ, [np.array(97)])
    assert steps == 118


def test_a_way_never_recorded_is_a_side_exit(tmp_path) -> None:
    source = tmp_path / "step.py"
    source.write_text("if x.sum() > 0:\n")
    f = parse_function(
        f"""func @f(%x: f32[2]) -> (f32[2]) {{
          %0: f32[] = sum %x {{axes=[0]}}
          %1: f32[] = const {{value=0.0, dtype=f32, shape=[]}}
          %2: bool[] = gt %0, %1
          guard %2 ? ^pos(%x) : ^?  @ "{source}":1:3-14
        ^pos(%y: f32[2]):
          return %y
        }}"""
    )
    x = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(interpret(f, [x])[0], x)
    with pytest.raises(SideExit, match=r"@f: the way taken where %2 is False was never recorded") as raised:
        interpret(f, [-x])
    assert "if x.sum() > 0:" in str(raised.value)
    assert "^^^^^^^^^^^" in str(raised.value)


def test_arguments_are_checked() -> None:
    f = parse_function("func @f(%x: f32[2], %y: i64[]) -> (f32[2]) {\nreturn %x\n}")
    x, y = np.zeros(2, np.float32), np.array(1)
    with pytest.raises(TypeError, match="@f takes 2 arguments, got 1"):
        interpret(f, [x])
    with pytest.raises(ShapeError, match=r"@f: %x must be f32\[2\], got f32\[3\]"):
        interpret(f, [np.zeros(3, np.float32), y])
    with pytest.raises(DTypeError, match=r"@f: %y must be i64\[\], got i32\[\]"):
        interpret(f, [x, np.array(1, np.int32)])
    with pytest.raises(DTypeError, match="complex"):
        interpret(f, [np.zeros(2, np.complex64), y])


def test_errors_of_ops_are_blamed_on_the_users_line(tmp_path) -> None:
    source = tmp_path / "model.py"
    source.write_text("row = table[i]\nn // 0\n")
    f = parse_function(
        f"""func @f(%t: f32[4], %i: i64[1], %n: i64[1]) -> (f32[1], i64[1]) {{
          %0: f32[1] = gather %t, %i {{axis=0, batch=0}}  @ "{source}":1:6-14
          %1: i64[1] = floor_divide %n, %n  @ "{source}":2
          return %0, %1
        }}"""
    )
    t, one = np.arange(4, dtype=np.float32), np.array([1])
    assert [r.tolist() for r in interpret(f, [t, one, one])] == [[1.0], [1]]
    with pytest.raises(BoundsError, match="index 4 is out of bounds") as raised:
        interpret(f, [t, np.array([4]), one])
    assert "row = table[i]" in str(raised.value)
    with pytest.raises(DivisionByZero, match="zero") as divided:
        interpret(f, [t, one, np.array([0])])
    assert "n // 0" in str(divided.value)


def test_results_are_arrays_even_without_axes() -> None:
    b = NumpyBuilder()
    x = np.array(2.0, np.float32)
    for out in (b.neg(x), b.add(x, 1.0), b.sum(x, axes=()), b.lt(x, 3.0)):
        assert type(out) is np.ndarray
        assert out.shape == ()
    assert b.add(x, 1.0).dtype == np.float32


def test_numbers_take_the_type_of_the_operand_beside_them() -> None:
    b = NumpyBuilder()
    mask = np.array([True, False])
    np.testing.assert_array_equal(b.select(mask, np.ones(2, np.float32), 0.0), np.array([1, 0], np.float32))
    with pytest.raises(ShapeError, match="shapes differ"):
        b.add(np.ones(2), np.ones(3))


def test_nothing_is_warned_of() -> None:
    b = NumpyBuilder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zero = np.zeros(2, np.float32)
        assert np.isnan(b.div(zero, zero)).all()
        assert np.isneginf(b.log(zero)).all()
        assert np.isinf(b.exp(np.full(2, 1e4, np.float32))).all()


def test_arguments_stay_as_they_are() -> None:
    f = parse_function(
        """func @f(%x: f32[3], %i: i64[1], %u: f32[1]) -> (f32[3]) {
          %0: f32[3] = scatter_add %x, %i, %u {axis=0, batch=0}
          return %0
        }"""
    )
    args = [np.zeros(3, np.float32), np.array([1]), np.ones(1, np.float32)]
    before = [a.copy() for a in args]
    (out,) = interpret(f, args)
    np.testing.assert_array_equal(out, [0, 1, 0])
    for a, b in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_long_functions_meet_no_recursion_limit() -> None:
    b = FunctionBuilder()
    x = v = b.param(TensorType(f32, ()), "x")
    for _ in range(20_000):
        v = b.neg(v)
    (out,) = interpret(b.finish("f", [v]), [np.array(1, np.float32)])
    assert (out, x.name) == (1, "x")
