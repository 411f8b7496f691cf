"""Elementwise functions: values and dtypes against NumPy, gradients against differences, torch's error words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from both import check, check_gradient, eager, recorded, same

import jitgrad

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3, 4)).astype(np.float32)
P = (RNG.random((3, 4)) + 0.5).astype(np.float32)
U = (RNG.random((3, 4)) * 1.8 - 0.9).astype(np.float32)
V = RNG.standard_normal(4).astype(np.float32)
N = RNG.integers(-5, 6, (3, 4))
J = RNG.integers(1, 6, (3, 4))
B, C = RNG.random((2, 3, 4)) > 0.5
SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -2.5, 1e-40], np.float32)
f32 = np.float32


def _sign(x):
    """As torch: 0 for nan."""
    return np.nan_to_num(np.sign(x))


UNARY = {  # name: (numpy's function, where it is smooth)
    "exp": (np.exp, X), "expm1": (np.expm1, X), "exp2": (np.exp2, X), "log": (np.log, P), "log1p": (np.log1p, P),
    "log2": (np.log2, P), "log10": (np.log10, P), "sqrt": (np.sqrt, P), "sin": (np.sin, X), "cos": (np.cos, X),
    "tan": (np.tan, U), "asin": (np.arcsin, U), "acos": (np.arccos, U), "atan": (np.arctan, X),
    "sinh": (np.sinh, X), "cosh": (np.cosh, X), "tanh": (np.tanh, X), "asinh": (np.arcsinh, X),
    "acosh": (np.arccosh, P + 1), "atanh": (np.arctanh, U), "floor": (np.floor, X), "ceil": (np.ceil, X),
    "trunc": (np.trunc, X), "round": (np.rint, X), "neg": (np.negative, X), "abs": (np.abs, X), "sign": (_sign, X),
    "square": (np.square, X), "reciprocal": (np.reciprocal, P),
    "sigmoid": (lambda x: np.divide(1, 1 + np.exp(-x), dtype=x.dtype), X),
    "rsqrt": (lambda x: np.divide(1, np.sqrt(x), dtype=x.dtype), P), "frac": (lambda x: x - np.trunc(x), X),
    "relu": (lambda x: np.where(x > 0, x, np.where(np.isnan(x), x, 0)).astype(x.dtype), X),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    reference, smooth = UNARY[name]
    function = getattr(jitgrad, name)
    with np.errstate(all="ignore"):
        for x in (smooth, smooth.astype(np.float64), smooth[:0], f32(0.7).reshape(()), SPECIAL):
            check(function, reference(x), x)
        check(lambda x: getattr(x.t(), name)(), reference(smooth.T), smooth)  # the method, on a view
    check_gradient(function, smooth)


def test_unary_of_integers_is_of_the_default_dtype():
    with np.errstate(all="ignore"):
        check(jitgrad.exp, np.exp(N.astype(f32)), N)
        check(jitgrad.sqrt, np.sqrt(J.astype(f32)), J)
    check(jitgrad.floor, N, N)
    check(jitgrad.round, N, N)
    check(jitgrad.abs, np.abs(N), N)
    check(jitgrad.sigmoid, (1 / (1 + np.exp(-B.astype(f32)))), B)


def test_special_functions():
    from math import erf, lgamma

    x = np.linspace(0.3, 4, 9)
    check(jitgrad.erf, np.array([erf(v) for v in x]), x)
    check(jitgrad.lgamma, np.array([lgamma(v) for v in x]), x)
    check(lambda t: jitgrad.polygamma(0, t), eager(jitgrad.digamma, x)[0], x)
    for function in (jitgrad.erf, jitgrad.lgamma, jitgrad.digamma, lambda t: jitgrad.polygamma(1, t)):
        check_gradient(function, x[:4])
    with pytest.raises(RuntimeError, match="negative n"):
        jitgrad.polygamma(-1, jitgrad.ones(2))


def test_erfc_keeps_its_digits():
    x = np.concatenate((np.linspace(-7, 26, 400), [0.46875, 4.0, -4.0, 1e-30, -0.0, 27.5]))
    want = np.array([math.erfc(v) for v in x])
    for got in (eager(jitgrad.erfc, x)[0], recorded(jitgrad.erfc, x)[0]):
        np.testing.assert_allclose(got, want, rtol=4e-15, atol=1e-300)
    check(jitgrad.erfc, np.array([0, 2, np.nan], f32), np.array([np.inf, -np.inf, np.nan], f32))
    check_gradient(jitgrad.erfc, np.array([-2.0, 0.3, 1.5, 3.0]))
    x = jitgrad.tensor([0.3, 2.0], dtype=jitgrad.float64, requires_grad=True)
    assert jitgrad.autograd.gradgradcheck(jitgrad.erfc, (x,))


BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power, "atan2": np.arctan2,
    "fmod": np.fmod, "remainder": np.remainder, "maximum": np.maximum, "minimum": np.minimum,
}


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    function, reference = getattr(jitgrad, name), BINARY[name]
    left = P if name == "pow" else X
    check(function, reference(left, Y), left, Y)
    check(function, reference(left, V), left, V)
    check(function, reference(left, f32(2.5)), left, f32(2.5).reshape(()))
    check(lambda x: function(x, 2), reference(left, f32(2)), left)
    check(function, reference(left[:0], V), left[:0], V)
    check(function, reference(left.astype(np.float64), Y), left.astype(np.float64), Y)
    check_gradient(function, left[:2], Y[:2])
    check_gradient(function, left[:2], V)


def test_a_zero_remainder_has_the_sign_of_the_dividend_and_among_numbers_that_of_the_divisor():
    x, y = np.array([-4, 4, -0.0, 0, -4, 3], f32), np.array([2, -2, 2, -2, -2, -2], f32)
    for a, b in ((x, y), (x.astype(np.float64), y.astype(np.float64)), (x[0], y[0]), (x[1], y[1])):
        want = np.where(np.remainder(a, b) == 0, np.copysign(0, a), np.remainder(a, b)).astype(a.dtype)
        for got in (eager(jitgrad.remainder, a, b)[0], recorded(jitgrad.remainder, a, b)[0]):
            np.testing.assert_array_equal(got, want)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    f = jitgrad.trace(lambda a, b: (a % b, a % 2.0, -6.0 % b))
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        assert repr(f(a, b)) == repr((a % b, a % 2.0, -6.0 % b))
    assert len(f.programs) == 1


def test_operators_and_their_reflections():
    check(lambda x: 2 - x, 2 - X, X)
    check(lambda x: 2 / x, 2 / X, X)
    check(lambda x: 2.0**x, np.power(f32(2), X), X)
    check(lambda x: x // 0.7, np.floor_divide(X, f32(0.7)), X)
    check(lambda x: x % 0.7, np.remainder(X, f32(0.7)), X)
    check(lambda x: 7 // x, 7 // J, J)
    check(lambda x: 7 % x, 7 % J, J)
    check(lambda x: -x + abs(x) - +x, -X + np.abs(X) - X, X)
    check(lambda x: (x << 2) >> 1, (N << 2) >> 1, N)
    check(lambda a, b: (a & b) | (a ^ ~b), (B & C) | (B ^ ~C), B, C)
    check(lambda a: 6 & a | 1 ^ a, 6 & N | 1 ^ N, N)
    check(lambda a: True & a, B, B)


COMPARISONS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
               "ge": np.greater_equal}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name):
    function, reference = getattr(jitgrad, name), COMPARISONS[name]
    check(function, reference(X, Y), X, Y)
    check(function, reference(SPECIAL, SPECIAL[::-1]), SPECIAL, SPECIAL[::-1].copy())
    check(lambda x: function(x, 2), reference(N, 2), N)
    check(lambda x: function(x, 2.5), reference(N, 2.5), N)
    check(function, reference(B, C), B, C)


def test_arrays_count_as_tensors():
    def both_sides(x):
        return (x + N, N - x, x == N.astype(f32), x * np.float32(2), np.float64(2) * x)

    check(both_sides, (X + N.astype(f32), N.astype(f32) - X, X == N, X * 2, X * 2), X)
    assert isinstance(np.ones(2) * jitgrad.ones(2), jitgrad.Tensor)


def test_comparison_with_none_is_identity():
    x = jitgrad.ones(2)
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711


# Rows of torch.result_type: operands by dtype (an array), 0-d array, or Python number.
PROMOTIONS = [
    (np.int32, np.int64, "int64"), (np.uint8, np.int8, "int16"), (np.uint8, np.int64, "int64"),
    (bool, np.uint8, "uint8"), (np.int64, np.float32, "float32"), (np.float32, np.float64, "float64"),
    (np.float32, "0d float64", "float32"), (np.int32, "0d int64", "int32"), (np.int32, "0d float64", "float64"),
    (bool, "0d int32", "int32"), (np.int32, 1, "int32"), (np.int32, 1.5, "float32"), (np.uint8, 1, "uint8"),
    (bool, 1, "int64"), (bool, 1.5, "float32"), (bool, True, "bool"), (np.float64, 1.5, "float64"),
    ("0d int32", 1.5, "float32"), ("0d float64", 1.5, "float64"), ("0d float32", "0d float64", "float64"),
    ("0d int64", np.float32, "float32"),
]


@pytest.mark.parametrize("left, right, want", PROMOTIONS)
def test_promotion(left, right, want):
    def made(spec):
        if isinstance(spec, (bool, int, float)):
            return spec
        if isinstance(spec, str):
            return jitgrad.from_numpy(np.ones((), spec.split()[1]))
        return jitgrad.from_numpy(np.ones(3, spec))

    a, b = made(left), made(right)
    for x, y in ((a, b), (b, a)):
        assert jitgrad.result_type(x, y).name == want
        assert (x * y if isinstance(x, jitgrad.Tensor) or isinstance(y, jitgrad.Tensor) else x).dtype.name == want
        assert jitgrad.maximum(x, y).dtype.name == want


def test_division_of_integers():
    check(lambda a, b: a / b, N.astype(f32) / J.astype(f32), N, J)
    check(lambda a, b: a // b, N // J, N, J)
    check(lambda a, b: a % b, N % J, N, J)
    check(lambda a, b: jitgrad.fmod(a, b), np.fmod(N, J), N, J)
    check(lambda a, b: jitgrad.div(a, b, rounding_mode="trunc"), np.trunc(N / J).astype(np.int64), N, J)
    check(lambda a, b: jitgrad.div(a, b, rounding_mode="floor"), N // J, N, J)
    check(lambda a, b: jitgrad.div(a, b, rounding_mode="trunc"), np.trunc(X / P), X, P)
    check(lambda a, b: a / b, B / np.ones_like(B, f32), B, np.ones_like(B))
    with pytest.raises(ZeroDivisionError):
        jitgrad.from_numpy(N) // 0
    with pytest.raises(RuntimeError, match="rounding_mode"):
        jitgrad.div(jitgrad.ones(2), 2, rounding_mode="up")


def test_powers():
    check(lambda x: x**3, N**3, N)
    check(lambda x: x**-2.0, f32(1) / J.astype(f32) ** 2, J)
    check(lambda x: x**0, np.ones_like(X), X)
    check_gradient(lambda x: x**3, X[:2])
    zeros = np.array([0.0, 1.0, -2.0])
    x = jitgrad.from_numpy(zeros).requires_grad_()
    (x**2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * zeros)
    with pytest.raises(RuntimeError, match="Integers to negative integer powers are not allowed"):
        jitgrad.from_numpy(N) ** -1


def test_bools_add_as_or_and_do_not_subtract():
    check(lambda a, b: a + b, B | C, B, C)
    check(lambda a, b: a * b, B & C, B, C)
    b = jitgrad.from_numpy(B)
    for wrong in (lambda: b - b, lambda: b - 1, lambda: 1 - b, lambda: jitgrad.ones(3, 4) - b):
        with pytest.raises(RuntimeError, match="Subtraction, the `-` operator, with a bool tensor"):
            wrong()
    with pytest.raises(RuntimeError, match="Negation"):
        _ = -b


def test_numbers_that_a_dtype_does_not_hold():
    u = np.array([1, 200], np.uint8)
    check(lambda x: x + 300, np.array([45, 244], np.uint8), u)  # sums and products are modulo 2^8, as torch's
    check(lambda x: x * -1, np.array([255, 56], np.uint8), u)
    for wrong in (lambda x: x // -3, lambda x: x.fill_(256)):
        with pytest.raises(RuntimeError, match="without overflow"):
            wrong(jitgrad.from_numpy(u.copy()))


def test_alpha_and_fused_forms():
    check(lambda x, y: jitgrad.add(x, y, alpha=2), X + 2 * Y, X, Y)
    check(lambda x: jitgrad.sub(x, 2, alpha=3), X - 6, X)
    check(lambda x, y, z: jitgrad.addcmul(x, y, z, value=0.5), X + f32(0.5) * Y * P, X, Y, P)
    check(lambda x, y, z: jitgrad.addcdiv(x, y, z, value=0.5), X + f32(0.5) * Y / P, X, Y, P)
    with pytest.raises(RuntimeError, match="alpha must not be a floating point"):
        jitgrad.add(jitgrad.from_numpy(N), jitgrad.from_numpy(J), alpha=2.5)


def test_logaddexp_and_hypot():
    x = np.array([0, -np.inf, np.inf, np.inf, 1e30, 3, -0.0, 1e-30], np.float32)
    y = np.array([0, -np.inf, np.inf, -np.inf, 1e30, 4, 5, 1e-30], np.float32)
    check(jitgrad.logaddexp, np.logaddexp(x, y), x, y)
    check(jitgrad.hypot, np.hypot(x, y), x, y)
    for function in (jitgrad.logaddexp, jitgrad.hypot):
        check_gradient(function, X, Y)


def test_lerp_is_exact_at_both_ends():
    a, b = np.array([1.1, -3.3], f32), np.array([7.7, 1e8], f32)
    check(lambda x, y: jitgrad.lerp(x, y, 0.0), a, a, b)
    check(lambda x, y: jitgrad.lerp(x, y, 1.0), b, a, b)
    check(jitgrad.lerp, X + P * (Y - X), X, Y, P, rtol=1e-5)
    check_gradient(jitgrad.lerp, X[:2], Y[:2], P[:2])


def test_where_and_masked_fill():
    check(jitgrad.where, np.where(B, X, Y), B, X, Y)
    check(lambda c, x: jitgrad.where(c, x, 0), np.where(B, X, f32(0)), B, X)
    check(lambda c, x: jitgrad.where(c, x, 0), np.where(B[:, :1], V, f32(0)), B[:, :1], V)
    check(lambda c: jitgrad.where(c, 1, 0), B.astype(np.int64), B)
    check(lambda c: jitgrad.where(c, 1.0, 0), B.astype(f32), B)
    check(lambda x, c: x.masked_fill(c, 2), np.where(B, f32(2), X), X, B)
    check(lambda x, c: x.masked_fill(c, 2.7), np.where(B, 2, N), N, B)
    check_gradient(jitgrad.where, B, X, Y)
    # The branch that is not taken gives no nan to the gradient.
    x = jitgrad.zeros(2, requires_grad=True)
    jitgrad.where(x > 0, x.sqrt().detach(), x).sum().backward()
    assert x.grad.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="where expected condition to be a boolean tensor"):
        jitgrad.where(jitgrad.ones(2), 1.0, 2.0)
    with pytest.raises(RuntimeError, match="boolean masks"):
        jitgrad.ones(2).masked_fill(jitgrad.ones(2), 1)


def test_clamp():
    check(lambda x: x.clamp(-0.5, 0.5), np.clip(X, f32(-0.5), f32(0.5)), X)
    check(lambda x: x.clamp(min=0), np.maximum(X, 0), X)
    check(lambda x: x.clamp(max=1.5), np.minimum(N.astype(f32), f32(1.5)), N)
    check(lambda x: x.clamp(0.5, -0.5), np.full_like(X, -0.5), X)  # the upper limit wins
    check(lambda x, lo: x.clamp(min=lo), np.maximum(X, V), X, V)
    check(lambda x: x.clamp(-1, 1), np.array([np.nan, 1, -1, -0.0, 0, 1, -1, 1e-40], f32), SPECIAL)
    check(lambda x: x.clamp(min=math.nan), np.full_like(X, np.nan), X)
    check_gradient(lambda x, lo, hi: x.clamp(lo, hi), X, Y - 0.5, Y + 0.5)
    x = jitgrad.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    x.clamp(1, 2).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]  # at a limit the gradient goes to the input
    with pytest.raises(RuntimeError, match="At least one of 'min' or 'max'"):
        x.clamp()


def test_ties_share_the_gradient_of_maximum():
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = jitgrad.tensor([1.0, 3.0], requires_grad=True)
    jitgrad.maximum(x, y).sum().backward()
    assert x.grad.tolist() == [0.5, 0]
    assert y.grad.tolist() == [0.5, 1]


def test_tests_of_floats():
    check(jitgrad.isnan, np.isnan(SPECIAL), SPECIAL)
    check(jitgrad.isinf, np.isinf(SPECIAL), SPECIAL)
    check(jitgrad.isfinite, np.isfinite(SPECIAL), SPECIAL)
    check(jitgrad.isfinite, np.ones((3, 4), bool), N)
    check(jitgrad.isnan, np.zeros((3, 4), bool), N)
    check(jitgrad.nan_to_num, np.nan_to_num(SPECIAL), SPECIAL)
    check(lambda x: x.nan_to_num(1.0, 2.0, 3.0), np.nan_to_num(SPECIAL, nan=1, posinf=2, neginf=3), SPECIAL)
    check(lambda x, y: jitgrad.isclose(x, y), np.isclose(X, X + 1e-7), X, X + f32(1e-7))
    check(lambda x: jitgrad.isclose(x, x, equal_nan=True), np.ones(8, bool), SPECIAL)


def test_logic():
    check(jitgrad.logical_and, np.logical_and(N, B), N, B)
    check(jitgrad.logical_or, np.logical_or(X, B), X, B)
    check(jitgrad.logical_xor, np.logical_xor(N, J), N, J)
    check(jitgrad.logical_not, np.logical_not(N), N)
    assert jitgrad.equal(jitgrad.ones(2), jitgrad.ones(2)) is True
    assert jitgrad.equal(jitgrad.ones(2), jitgrad.ones(3)) is False
    assert jitgrad.allclose(jitgrad.ones(2), jitgrad.ones(2) + 1e-7) is True


def test_softplus():
    x = np.linspace(-30, 30, 13)
    check(lambda t: jitgrad.nn.functional.softplus(t), np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))), x)
    check_gradient(lambda t: jitgrad.nn.functional.softplus(t, beta=2.0), np.array([-400.0, -1.0, 0.0, 3.0, 400.0]))


def test_a_mixed_expression_has_one_meaning_both_ways():
    def f(x, y):
        return ((x * y + y.sin()).exp() / (1 + x.abs())).sqrt() - (x > y) * 2 + (y // 0.3)

    same(recorded(f, X, Y), eager(f, X, Y))


ERRORS = [
    (lambda: jitgrad.ones(2, 3) + jitgrad.ones(2, 4), RuntimeError,
     r"he size of tensor a \(3\) must match the size of tensor b \(4\) at .*dimension 1"),
    (lambda: jitgrad.exp(2.0), TypeError, r"exp\(\): argument 'input' \(position 1\) must be Tensor, not float"),
    (lambda: jitgrad.ones(2) + "a", TypeError, "unsupported operand"),
    (lambda: jitgrad.ones(2) + None, TypeError, "unsupported operand"),
    (lambda: jitgrad.add(jitgrad.ones(2), "a"), TypeError, "expected a Tensor or a number"),
    (lambda: jitgrad.ones(2) & 1, RuntimeError, "bitwise_and.*not implemented for jitgrad.float32"),
    (lambda: ~jitgrad.ones(2), RuntimeError, "bitwise_not.*not implemented"),
    (lambda: jitgrad.isclose(jitgrad.ones(2), jitgrad.ones(2).double()), RuntimeError, "did not match"),
]


@pytest.mark.parametrize("wrong, error, words", ERRORS)
def test_errors(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong()


def test_an_error_shows_the_users_line():
    with pytest.raises(RuntimeError) as caught:
        jitgrad.ones(2, 3) + jitgrad.ones(2, 4)
    assert "test_functional_elementwise.py" in str(caught.value)
    assert "jitgrad.ones(2, 3) + jitgrad.ones(2, 4)" in str(caught.value)


@pytest.mark.parametrize("decimals", [2, 1, 0, -1])
def test_rounding_to_decimals(decimals):
    values = np.array([0.555, 1.25, -3.14159, 128.4, np.inf, np.nan], np.float64)
    check(lambda x: jitgrad.round(x, decimals=decimals), np.round(values, decimals), values)
    check(lambda x: x.round(decimals=decimals), np.arange(-20, 30, 7), np.arange(-20, 30, 7))
