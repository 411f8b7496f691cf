"""The elementwise ops: every operand and the result have one shape.

Derivatives are partials, so one line gives both modes. Where a partial would be 0 times infinity
(maximum, select) the cotangent is routed with a select instead, which passes no nan.
Reference: torch's derivative formulas, with torch's conventions at kinks (a tie of maximum gives each
operand half).

Imports: `record`, `infer`, `sampling`, `errors`, `types`, `special` (functions that numpy lacks).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import special
from ..errors import DivisionByZero, ShapeError
from ..types import DType, TensorType
from . import sampling
from .infer import (
    ANY,
    BITS,
    BOOL,
    FLOAT,
    INTEGER,
    NUMBER,
    Infer,
    listed,
    predicate,
    same,
    want_equal,
    want_kind,
)
from .record import Derivative, Linear, Nondiff, OpDef, Partials, Rule, Rules

TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
LOG_2, LOG_10 = math.log(2.0), math.log(10.0)

_STEP = Nondiff("its result is a truth value or an integer")


def _elementwise(
    name: str, operands: str, infer: Infer, ref: Any, derivative: Derivative, samples: Any, doc: str,
    *traits: str, attrs: tuple[str, ...] = (),
) -> OpDef:
    return OpDef(
        name, tuple(operands.split()), attrs, infer, ref, derivative, samples, doc,
        frozenset({"elementwise", *traits}),
    )


def _unary(name: str, ref: Any, partial: Rule, domain: str, doc: str, kinds: frozenset[str] = FLOAT) -> OpDef:
    samples = sampling.unary(domain, kinds)
    return _elementwise(name, "x", same(name, kinds), ref, Partials(partial), samples, doc)


def _test(name: str, ref: Any, doc: str) -> OpDef:
    return _elementwise(name, "x", predicate(name, FLOAT), ref, _STEP, sampling.unary("real", FLOAT), doc)


def _binary(
    name: str, ref: Any, derivative: Derivative, domain: str, doc: str, *traits: str,
    kinds: frozenset[str] = NUMBER,
) -> OpDef:
    samples = sampling.binary(domain, kinds, nonzero="traps" in traits)
    return _elementwise(name, "x y", same(name, kinds), ref, derivative, samples, doc, *traits)


def _compare(name: str, ref: Any, doc: str, *traits: str) -> OpDef:
    samples = sampling.binary("real", ANY)
    return _elementwise(name, "x y", predicate(name, ANY), ref, _STEP, samples, doc, *traits)


def _bitwise(name: str, ref: Any, doc: str) -> OpDef:
    return _elementwise(
        name, "x y", same(name, BITS), ref, Nondiff("it works on bits"), sampling.binary("bits", BITS), doc,
        "commutative",
    )


def _shift(name: str, ref: Any, doc: str) -> OpDef:
    return _elementwise(
        name, "x y", same(name, INTEGER), ref, Nondiff("it works on bits"), sampling.binary("shift", INTEGER),
        doc,
    )


def _sign(x: np.ndarray) -> Any:
    return np.subtract(x > 0, x < 0, dtype=x.dtype)  # as torch, which gives 0 for nan


def _rounded_once(ufunc: Any) -> Any:
    """`ufunc`, of float32 computed in float64: numpy's own is an ULP off where the result is exact."""

    def ref(x: np.ndarray) -> Any:
        return ufunc(x) if x.dtype != np.float32 else ufunc(x.astype(np.float64)).astype(np.float32)

    return ref


def _dividing(ufunc: Any) -> Any:
    """`ufunc`, refusing an integer divisor of zero."""

    def ref(x: np.ndarray, y: np.ndarray) -> Any:
        if y.dtype.kind in "iu" and not np.all(y):
            raise DivisionByZero(f"{ufunc.__name__.strip('_')}: integer division by zero")
        return ufunc(x, y)

    return ref


def _remainder(x: np.ndarray, y: np.ndarray) -> Any:
    result = np.remainder(x, y)
    if x.dtype.kind != "f":
        return result
    return np.where(result == 0, np.copysign(0, x), result)  # the zero of C's fmod, as torch; numpy's is Python's


def _pow(x: np.ndarray, y: np.ndarray) -> Any:
    if x.dtype.kind != "i":
        return np.power(x, y)
    # As torch: a negative integer power is the truncated real one, so 0 but for a base of 1 or -1.
    truncated = np.select([x == 1, x == -1], [1, 1 - 2 * (y % 2)], 0)
    return np.where(y < 0, truncated, np.power(x, np.maximum(y, 0))).astype(x.dtype)


def _cast(x: np.ndarray, dtype: DType) -> Any:
    target = dtype.numpy
    if x.dtype.kind != "f" or target.kind not in "iu":
        return x.astype(target)
    info = np.iinfo(target)
    # The limits as floats: the largest integer may round up, so what reaches it is not converted.
    low, high = x <= float(info.min), x >= float(info.max)
    inside = np.where(low | high | np.isnan(x), 0, x).astype(target)
    return np.select([low, high], [target.type(info.min), target.type(info.max)], inside)


def _infer_polygamma(x: TensorType, n: int) -> TensorType:
    if not 0 <= n <= special.POLYGAMMA_MAX:
        raise ValueError(f"polygamma: n must be in [0, {special.POLYGAMMA_MAX}], got {n} for {x}")
    return same("polygamma", FLOAT)(x)


def _infer_cast(x: TensorType, dtype: DType) -> TensorType:
    return x.with_dtype(dtype)


_BITS: dict[int, Any] = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def _select(cond: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`numpy.where(cond, x, y)`. That branches on each element, and on a random mask guesses wrong half the
    time; the same by arithmetic on bits is ten times as fast."""
    if x.size < 1024:
        return np.where(cond, x, y)
    bits = _BITS[x.itemsize]
    mask = np.negative(cond.astype(bits))
    chosen: np.ndarray = ((x.view(bits) ^ y.view(bits)) & mask) ^ y.view(bits)
    return chosen.view(x.dtype)


def _infer_select(cond: TensorType, x: TensorType, y: TensorType) -> TensorType:
    want_kind("select", BOOL, cond)
    want_equal("select", x, y)
    if cond.shape != x.shape:
        raise ShapeError(f"select: shapes differ: {listed((cond, x, y))}", hint="broadcast one operand")
    return x


def _winner(loses: Rule) -> Rules:
    """Derivatives of maximum and minimum: an operand that `loses` against the other has no part in the
    result, one that ties has half."""

    def part(b: Any, of: Any, mine: Any, other: Any) -> Any:
        return b.select(loses(b, mine, other), 0.0, b.select(b.eq(mine, other), b.mul(of, 0.5), of))

    return Rules(
        vjp=(lambda b, ct, x, y: part(b, ct, x, y), lambda b, ct, x, y: part(b, ct, y, x)),
        jvp=(lambda b, t, x, y: part(b, t, x, y), lambda b, t, x, y: part(b, t, y, x)),
    )


def _pow_partial_x(b: Any, x: Any, y: Any) -> Any:
    # y * x^(y-1), and 0 where y is 0, whatever x is (0 * 0^-1 would be nan).
    return b.select(b.eq(y, 0.0), 0.0, b.mul(y, b.pow(x, b.sub(y, 1.0))))


def _pow_partial_y(b: Any, x: Any, y: Any, out: Any) -> Any:
    # x^y log x, and 0 where x is 0 and y not negative (there the limit is 0, and log 0 is not finite).
    zero = b.bitwise_and(b.eq(x, 0.0), b.ge(y, 0.0))
    return b.select(zero, 0.0, b.mul(out, b.log(x)))


def _over_square(b: Any, numerator: Any, x: Any, y: Any) -> Any:
    # By x^2 + y^2, and 0 at the origin, where the angle jumps: as torch.
    square = b.add(b.mul(x, x), b.mul(y, y))
    return b.select(b.eq(square, 0.0), 0.0, b.div(numerator, square))


def _rsqrt_1m(b: Any, x: Any) -> Any:
    return b.div(1.0, b.sqrt(b.sub(1.0, b.mul(x, x))))


UNARY = (
    _unary("neg", np.negative, lambda: -1, "real", "-x", NUMBER),
    _unary("abs", np.abs, lambda b, x: b.sign(x), "nonzero", "|x|; its derivative at 0 is 0", NUMBER),
    _unary("sign", _sign, lambda: 0, "nonzero", "-1, 0 or 1; 0 of nan", NUMBER),
    _unary("sqrt", np.sqrt, lambda b, out: b.div(0.5, out), "positive", "square root"),
    _unary("reciprocal", np.reciprocal, lambda b, out: b.neg(b.mul(out, out)), "nonzero", "1 / x"),
    _unary("exp", np.exp, lambda out: out, "real", "e^x"),
    _unary("exp2", _rounded_once(np.exp2), lambda b, out: b.mul(out, LOG_2), "real",
           "2^x, exact where x is an integer"),
    _unary("expm1", np.expm1, lambda b, out: b.add(out, 1.0), "real", "e^x - 1"),
    _unary("log", np.log, lambda b, x: b.div(1.0, x), "positive", "natural logarithm"),
    _unary("log2", _rounded_once(np.log2), lambda b, x: b.div(1.0, b.mul(x, LOG_2)), "positive",
           "logarithm to base 2, exact of powers of 2"),
    _unary("log10", _rounded_once(np.log10), lambda b, x: b.div(1.0, b.mul(x, LOG_10)), "positive",
           "logarithm to base 10, exact of powers of 10"),
    _unary("log1p", np.log1p, lambda b, x: b.div(1.0, b.add(x, 1.0)), "positive", "log(1 + x)"),
    _unary("sin", np.sin, lambda b, x: b.cos(x), "real", "sine of x radians"),
    _unary("cos", np.cos, lambda b, x: b.neg(b.sin(x)), "real", "cosine of x radians"),
    _unary("tan", np.tan, lambda b, out: b.add(b.mul(out, out), 1.0), "unit", "tangent of x radians"),
    _unary("asin", np.arcsin, _rsqrt_1m, "unit", "inverse sine, in radians"),
    _unary("acos", np.arccos, lambda b, x: b.neg(_rsqrt_1m(b, x)), "unit", "inverse cosine, in radians"),
    _unary("atan", np.arctan, lambda b, x: b.div(1.0, b.add(b.mul(x, x), 1.0)), "real", "inverse tangent"),
    _unary("sinh", np.sinh, lambda b, x: b.cosh(x), "real", "hyperbolic sine"),
    _unary("cosh", np.cosh, lambda b, x: b.sinh(x), "real", "hyperbolic cosine"),
    _unary("tanh", np.tanh, lambda b, out: b.sub(1.0, b.mul(out, out)), "real", "hyperbolic tangent"),
    _unary("asinh", np.arcsinh, lambda b, x: b.div(1.0, b.sqrt(b.add(b.mul(x, x), 1.0))), "real",
           "inverse hyperbolic sine"),
    _unary("acosh", np.arccosh, lambda b, x: b.div(1.0, b.sqrt(b.sub(b.mul(x, x), 1.0))), "above one",
           "inverse hyperbolic cosine"),
    _unary("atanh", np.arctanh, lambda b, x: b.div(1.0, b.sub(1.0, b.mul(x, x))), "unit",
           "inverse hyperbolic tangent"),
    _unary("sigmoid", special.sigmoid, lambda b, out: b.mul(out, b.sub(1.0, out)), "real", "1 / (1 + e^-x)"),
    _unary("erf", special.erf, lambda b, x: b.mul(b.exp(b.neg(b.mul(x, x))), TWO_OVER_SQRT_PI), "real",
           "error function"),
    _unary("lgamma", special.lgamma, lambda b, x: b.digamma(x), "positive", "log |gamma(x)|"),
    _unary("digamma", special.digamma, lambda b, x: b.polygamma(x, n=1), "positive", "derivative of lgamma"),
    _elementwise("polygamma", "x", _infer_polygamma, special.polygamma,
                 Partials(lambda b, x, n: b.polygamma(x, n=n + 1)),
                 sampling.unary("positive", FLOAT, *({"n": n} for n in range(4))),
                 "derivative n of digamma; n >= 0", attrs=("n",)),
    _unary("floor", np.floor, lambda: 0, "nonzero", "largest integer not above x"),
    _unary("ceil", np.ceil, lambda: 0, "nonzero", "smallest integer not below x"),
    _unary("round", np.rint, lambda: 0, "nonzero", "nearest integer, halves to even"),
    _unary("trunc", np.trunc, lambda: 0, "nonzero", "x without its fraction"),
    _test("isnan", np.isnan, "whether x is nan"),
    _test("isinf", np.isinf, "whether x is infinite"),
    _elementwise("bitwise_not", "x", same("bitwise_not", BITS), np.invert, Nondiff("it works on bits"),
                 sampling.unary("bits", BITS), "every bit flipped; on bool, logical not"),
    _elementwise("cast", "x", _infer_cast, _cast,
                 Linear(lambda b, ct, x_type: b.cast(ct, dtype=x_type.dtype)), sampling.cast,
                 "conversion to dtype; float to integer truncates and saturates, nan gives 0",
                 attrs=("dtype",)),
)

BINARY = (
    _binary("add", np.add, Partials(lambda: 1, lambda: 1), "real", "x + y", "commutative"),
    _binary("sub", np.subtract, Partials(lambda: 1, lambda: -1), "real", "x - y"),
    _binary("mul", np.multiply, Partials(lambda y: y, lambda x: x), "real", "x * y", "commutative"),
    _binary("div", np.divide, Partials(lambda b, y: b.div(1.0, y), lambda b, x, y: b.neg(b.div(b.div(x, y), y))),
            "nonzero", "x / y", kinds=FLOAT),
    _binary("pow", _pow, Partials(_pow_partial_x, _pow_partial_y), "power",
            "x^y; integers to a negative power truncate"),
    _binary("maximum", np.maximum,
            _winner(lambda b, mine, other: b.lt(mine, other)),
            "real", "the larger; nan wins, and either zero of 0 and -0", "commutative", kinds=ANY),
    _binary("minimum", np.minimum,
            _winner(lambda b, mine, other: b.gt(mine, other)),
            "real", "the smaller; nan wins, and either zero of 0 and -0", "commutative", kinds=ANY),
    _binary("fmod", _dividing(np.fmod), Partials(lambda: 1, lambda b, x, y: b.neg(b.trunc(b.div(x, y)))),
            "nonzero", "remainder with the sign of x; an integer y of 0 is an error", "traps"),
    _binary("remainder", _dividing(_remainder),
            Partials(lambda: 1, lambda b, x, y: b.neg(b.floor_divide(x, y))), "nonzero",
            "remainder with the sign of y, a zero with that of x; an integer y of 0 is an error", "traps"),
    _binary("floor_divide", _dividing(np.floor_divide), Partials(lambda: 0, lambda: 0), "nonzero",
            "floor of the exact x / y, so that it fits remainder; an integer y of 0 is an error", "traps"),
    _binary("atan2", np.arctan2,
            Partials(lambda b, x, y: _over_square(b, y, x, y),
                     lambda b, x, y: b.neg(_over_square(b, x, x, y))),
            "nonzero", "angle of the point (y, x): atan(x / y) in the right quadrant", kinds=FLOAT),
    _compare("eq", np.equal, "x == y", "commutative"),
    _compare("ne", np.not_equal, "x != y", "commutative"),
    _compare("lt", np.less, "x < y"),
    _compare("le", np.less_equal, "x <= y"),
    _compare("gt", np.greater, "x > y"),
    _compare("ge", np.greater_equal, "x >= y"),
    _bitwise("bitwise_and", np.bitwise_and, "x and y, bit by bit; on bool, logical and"),
    _bitwise("bitwise_or", np.bitwise_or, "x or y, bit by bit; on bool, logical or"),
    _bitwise("bitwise_xor", np.bitwise_xor, "x xor y, bit by bit; on bool, logical xor"),
    _shift("shift_left", np.left_shift,
           "x shifted left by y bits; 0 where y is negative, or the width or more"),
    _shift("shift_right", np.right_shift,
           "x shifted right by y bits, its sign kept; where y is negative, or the width or more, all sign"),
)

TERNARY = (
    _elementwise("select", "cond x y", _infer_select, _select,
                 Linear(None, lambda b, ct, cond: b.select(cond, ct, 0.0),
                        lambda b, ct, cond: b.select(cond, 0.0, ct)),
                 sampling.select, "x where cond, else y"),
    _elementwise("fma", "x y z", same("fma", FLOAT), special.fma,
                 Partials(lambda y: y, lambda x: x, lambda: 1), sampling.ternary, "x * y + z, rounded once"),
)

OPS = UNARY + BINARY + TERNARY
