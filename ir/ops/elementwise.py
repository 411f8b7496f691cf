"""The elementwise ops: every operand and the result have one shape.

Derivatives are partials, so one line gives both modes. Where a partial would be 0 times infinity
(maximum, select) the cotangent is routed with a select instead, which passes no nan.
Reference: torch's derivative formulas, with torch's conventions at kinks (a tie of maximum gives each
operand half).

Imports: `record`, `infer`, `sampling`, `special` (functions that numpy lacks).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import special
from ..errors import DivisionByZero
from ..types import DType, TensorType
from . import sampling
from .infer import ANY, BITS, FLOAT, INTEGER, NUMBER, Infer, predicate, same, want_equal, want_kind
from .record import Derivative, Linear, Nondiff, OpDef, Partials, Rule, Rules

TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)

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
    return _elementwise(name, "x", same(name, kinds), ref, Partials(partial), sampling.unary(domain, kinds), doc)


def _test(name: str, ref: Any, doc: str) -> OpDef:
    return _elementwise(name, "x", predicate(name, FLOAT), ref, _STEP, sampling.unary("real", FLOAT), doc)


def _binary(
    name: str, ref: Any, derivative: Derivative, domain: str, doc: str, *traits: str,
    kinds: frozenset[str] = NUMBER,
) -> OpDef:
    return _elementwise(
        name, "x y", same(name, kinds), ref, derivative, sampling.binary(domain, kinds), doc, *traits
    )


def _compare(name: str, ref: Any, doc: str) -> OpDef:
    return _elementwise(name, "x y", predicate(name, ANY), ref, _STEP, sampling.binary("real", ANY), doc)


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


def _fresh(array: Any, like: np.ndarray) -> np.ndarray:
    """`array` in the dtype of `like` (numpy widens some results)."""
    return np.asarray(array, like.dtype)


def _nonzero(op: str, y: np.ndarray) -> None:
    if y.dtype.kind in "iu" and not np.all(y):
        raise DivisionByZero(f"{op}: integer division by zero")


def _floor_divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    _nonzero("floor_divide", y)
    return _fresh(np.floor(x / y) if x.dtype.kind == "f" else np.floor_divide(x, y), x)


def _remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    _nonzero("remainder", y)
    return np.remainder(x, y)


def _fmod(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    _nonzero("fmod", y)
    return np.fmod(x, y)


def _pow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "i":
        return np.power(x, y)
    # As torch: a negative integer power is the truncated real one, so 0 but for a base of 1 or -1.
    powered = np.power(x, np.maximum(y, 0))
    return np.where(y < 0, np.where(x == 1, 1, np.where(x == -1, 1 - 2 * (y % 2), 0)), powered).astype(x.dtype)


def _shl(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.left_shift(x, y)


def _shr(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.right_shift(x, y)


def _sign(x: np.ndarray) -> np.ndarray:
    return np.sign(x)


def _abs(x: np.ndarray) -> np.ndarray:
    return np.abs(x)


def cast_array(x: np.ndarray, dtype: DType) -> np.ndarray:
    """`x` converted as the IR converts: float to integer truncates and saturates, nan gives 0."""
    target = dtype.numpy
    if x.dtype.kind == "f" and target.kind in "iu":
        info = np.iinfo(target)
        whole = np.trunc(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf))
        # info.max may round up to 2^k in a float, so compare first and place the limits after.
        low, high = whole <= float(info.min), whole >= float(info.max)
        inside = np.where(low | high, 0, whole).astype(target)
        return np.where(low, target.type(info.min), np.where(high, target.type(info.max), inside))
    return x.astype(target)


def _infer_cast(x: TensorType, dtype: DType) -> TensorType:
    return x.with_dtype(dtype)


def _infer_select(cond: TensorType, x: TensorType, y: TensorType) -> TensorType:
    want_kind("select", frozenset({"bool"}), cond)
    want_equal("select", x, y)
    want_equal("select", cond.with_dtype(x.dtype), x)
    return x


def _pick_max(b: Any, ct: Any, mine: Any, other: Any) -> Any:
    """What of `ct` goes to `mine` in maximum(mine, other): all, half at a tie, nothing where smaller."""
    return b.select(b.lt(mine, other), 0.0, b.select(b.eq(mine, other), b.mul(ct, 0.5), ct))


def _pick_min(b: Any, ct: Any, mine: Any, other: Any) -> Any:
    return b.select(b.gt(mine, other), 0.0, b.select(b.eq(mine, other), b.mul(ct, 0.5), ct))


def _pow_partial_x(b: Any, x: Any, y: Any) -> Any:
    # y * x^(y-1), and 0 where y is 0, whatever x is (0 * 0^-1 would be nan).
    return b.select(b.eq(y, 0.0), 0.0, b.mul(y, b.pow(x, b.sub(y, 1.0))))


def _pow_partial_y(b: Any, x: Any, y: Any, out: Any) -> Any:
    # x^y log x, and 0 where x is 0 and y not negative (there the limit is 0, and log 0 is not finite).
    zero = b.bitwise_and(b.eq(x, 0.0), b.ge(y, 0.0))
    return b.select(zero, 0.0, b.mul(out, b.log(x)))


def _rsqrt_1m(b: Any, x: Any) -> Any:
    return b.div(1.0, b.sqrt(b.sub(1.0, b.mul(x, x))))


UNARY = (
    _unary("neg", np.negative, lambda: -1, "real", "-x", NUMBER),
    _unary("abs", _abs, lambda b, x: b.sign(x), "nonzero", "|x|; its derivative at 0 is 0", NUMBER),
    _unary("sign", _sign, lambda: 0, "nonzero", "-1, 0 or 1; nan stays nan", NUMBER),
    _unary("sqrt", np.sqrt, lambda b, out: b.div(0.5, out), "positive", "square root"),
    _unary("exp", np.exp, lambda out: out, "real", "e^x"),
    _unary("expm1", np.expm1, lambda b, out: b.add(out, 1.0), "real", "e^x - 1"),
    _unary("log", np.log, lambda b, x: b.div(1.0, x), "positive", "natural logarithm"),
    _unary("log1p", np.log1p, lambda b, x: b.div(1.0, b.add(x, 1.0)), "positive", "log(1 + x)"),
    _unary("sin", np.sin, lambda b, x: b.cos(x), "real", "sine of x radians"),
    _unary("cos", np.cos, lambda b, x: b.neg(b.sin(x)), "real", "cosine of x radians"),
    _unary("tan", np.tan, lambda b, out: b.add(b.mul(out, out), 1.0), "unit", "tangent of x radians"),
    _unary("asin", np.arcsin, lambda b, x: _rsqrt_1m(b, x), "unit", "inverse sine, in radians"),
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
    _elementwise("polygamma", "x", same("polygamma", FLOAT), special.polygamma,
                 Partials(lambda b, x, n: b.polygamma(x, n=n + 1)),
                 sampling.unary("positive", FLOAT, {"n": 2}), "derivative n of digamma; n >= 1", attrs=("n",)),
    _unary("floor", np.floor, lambda: 0, "nonzero", "largest integer not above x"),
    _unary("ceil", np.ceil, lambda: 0, "nonzero", "smallest integer not below x"),
    _unary("round", np.rint, lambda: 0, "nonzero", "nearest integer, halves to even"),
    _unary("trunc", np.trunc, lambda: 0, "nonzero", "x without its fraction"),
    _test("isnan", np.isnan, "whether x is nan"),
    _test("isinf", np.isinf, "whether x is infinite"),
    _elementwise("bitwise_not", "x", same("bitwise_not", BITS), np.invert, Nondiff("it works on bits"),
                 sampling.unary("bits", BITS), "every bit flipped; on bool, logical not"),
    _elementwise("cast", "x", _infer_cast, cast_array,
                 Linear(lambda b, ct, x_type: b.cast(ct, dtype=x_type.dtype)), sampling.cast,
                 "conversion to dtype; float to integer truncates and saturates, nan gives 0", attrs=("dtype",)),
)

BINARY = (
    _binary("add", np.add, Partials(lambda: 1, lambda: 1), "real", "x + y", "commutative"),
    _binary("sub", np.subtract, Partials(lambda: 1, lambda: -1), "real", "x - y"),
    _binary("mul", np.multiply, Partials(lambda y: y, lambda x: x), "real", "x * y", "commutative"),
    _binary("div", np.divide, Partials(lambda b, y: b.div(1.0, y), lambda b, y, out: b.neg(b.div(out, y))),
            "nonzero", "x / y", kinds=FLOAT),
    _binary("pow", _pow, Partials(_pow_partial_x, _pow_partial_y), "positive",
            "x^y; integers to a negative power truncate"),
    _binary("maximum", np.maximum,
            Rules(vjp=(lambda b, ct, x, y: _pick_max(b, ct, x, y), lambda b, ct, x, y: _pick_max(b, ct, y, x)),
                  jvp=(lambda b, t, x, y: _pick_max(b, t, x, y), lambda b, t, x, y: _pick_max(b, t, y, x))),
            "real", "the larger; nan wins", "commutative", kinds=ANY),
    _binary("minimum", np.minimum,
            Rules(vjp=(lambda b, ct, x, y: _pick_min(b, ct, x, y), lambda b, ct, x, y: _pick_min(b, ct, y, x)),
                  jvp=(lambda b, t, x, y: _pick_min(b, t, x, y), lambda b, t, x, y: _pick_min(b, t, y, x))),
            "real", "the smaller; nan wins", "commutative", kinds=ANY),
    _binary("fmod", _fmod, Partials(lambda: 1, lambda b, x, y: b.neg(b.trunc(b.div(x, y)))), "nonzero",
            "remainder with the sign of x; an integer y of 0 is an error", "traps"),
    _binary("remainder", _remainder, Partials(lambda: 1, lambda b, x, y: b.neg(b.floor(b.div(x, y)))),
            "nonzero", "remainder with the sign of y; an integer y of 0 is an error", "traps"),
    _binary("floor_divide", _floor_divide, Partials(lambda: 0, lambda: 0), "nonzero",
            "floor(x / y); an integer y of 0 is an error", "traps"),
    _binary("atan2", np.arctan2,
            Partials(lambda b, x, y: b.div(y, b.add(b.mul(x, x), b.mul(y, y))),
                     lambda b, x, y: b.neg(b.div(x, b.add(b.mul(x, x), b.mul(y, y))))),
            "nonzero", "angle of the point (y, x): atan(x / y) in the right quadrant", kinds=FLOAT),
    _compare("eq", np.equal, "x == y"),
    _compare("ne", np.not_equal, "x != y"),
    _compare("lt", np.less, "x < y"),
    _compare("le", np.less_equal, "x <= y"),
    _compare("gt", np.greater, "x > y"),
    _compare("ge", np.greater_equal, "x >= y"),
    _bitwise("bitwise_and", np.bitwise_and, "x and y, bit by bit; on bool, logical and"),
    _bitwise("bitwise_or", np.bitwise_or, "x or y, bit by bit; on bool, logical or"),
    _bitwise("bitwise_xor", np.bitwise_xor, "x xor y, bit by bit; on bool, logical xor"),
    _shift("shift_left", _shl, "x shifted left by y bits; 0 where y is the width or more"),
    _shift("shift_right", _shr, "x shifted right by y bits, its sign kept; as x >> (width - 1) beyond the width"),
)

TERNARY = (
    _elementwise("select", "cond x y", _infer_select, np.where,
                 Linear(None, lambda b, ct, cond: b.select(cond, ct, 0.0), lambda b, ct, cond: b.select(cond, 0.0, ct)),
                 sampling.select, "x where cond, else y"),
    _elementwise("fma", "x y z", same("fma", FLOAT), special.fma,
                 Partials(lambda y: y, lambda x: x, lambda: 1), sampling.ternary, "x * y + z, rounded once"),
)

OPS = UNARY + BINARY + TERNARY
