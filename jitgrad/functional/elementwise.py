"""Elementwise functions that compute: arithmetic, transcendental functions, rounding.

Operands are brought to a common dtype and shape by torch's rules (`dispatch.operands`).
Imports: `arguments`, `dispatch`, `tensors`, `ir.types`, `errors`, `state`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import (
    apply,
    blame,
    cast,
    check_int,
    lift,
    operands,
    result_dtype,
    wrapped,
)
from ..errors import DTypeError
from ..ir.types import bool_, i64
from ..state import defaults
from ..tensors import Tensor
from .arguments import as_float, is_number, node_name, not_bool, want_float, want_int, want_tensor


@node_name("Clone")
def clone(input: Tensor) -> Tensor:
    """A copy in memory of its own, in row-major order, in the graph."""
    t = apply("cast", want_tensor("clone", input), dtype=input.dtype)
    if isinstance(t._array, np.ndarray) and not t._array.flags.c_contiguous:
        t._array = np.ascontiguousarray(t._array)
    return t


# -- unary, floating point


def _float_function(op: str, doc: str, name: str = "") -> Callable[[Tensor], Tensor]:
    name = name or op

    def function(input: Tensor) -> Tensor:
        return apply(op, as_float(name, input))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}, elementwise. An integer tensor is converted to the default dtype."
    return function


exp = _float_function("exp", "e to the power of input")
exp2 = _float_function("exp2", "2 to the power of input")
expm1 = _float_function("expm1", "exp(input) - 1, exact near 0")
log = _float_function("log", "The natural logarithm")
log2 = _float_function("log2", "The logarithm to base 2")
log10 = _float_function("log10", "The logarithm to base 10")
log1p = _float_function("log1p", "log(1 + input), exact near 0")
reciprocal = _float_function("reciprocal", "1 / input")
sqrt = _float_function("sqrt", "The square root")
sin = _float_function("sin", "The sine of radians")
cos = _float_function("cos", "The cosine of radians")
tan = _float_function("tan", "The tangent of radians")
asin = _float_function("asin", "The inverse sine, in radians")
acos = _float_function("acos", "The inverse cosine, in radians")
atan = _float_function("atan", "The inverse tangent, in radians")
sinh = _float_function("sinh", "The hyperbolic sine")
cosh = _float_function("cosh", "The hyperbolic cosine")
tanh = _float_function("tanh", "The hyperbolic tangent")
asinh = _float_function("asinh", "The inverse hyperbolic sine")
acosh = _float_function("acosh", "The inverse hyperbolic cosine")
atanh = _float_function("atanh", "The inverse hyperbolic tangent")
sigmoid = _float_function("sigmoid", "1 / (1 + exp(-input))")
erf = _float_function("erf", "The error function")
lgamma = _float_function("lgamma", "log of the absolute value of the gamma function")
digamma = _float_function("digamma", "The derivative of lgamma")


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma, elementwise. Raises RuntimeError for n < 0."""
    if want_int("polygamma", "n", n) < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n (got {n})")
    x = as_float("polygamma", input)
    return apply("digamma", x) if n == 0 else apply("polygamma", x, n=n)


@node_name("Rsqrt")
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input), elementwise."""
    root = apply("sqrt", as_float("rsqrt", input))
    return apply("div", lift(1, root.dtype, tuple(root.shape)), root)


# -- unary, any number


def _rounding(op: str, doc: str) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        not_bool(op, want_tensor(op, input))
        return apply(op, input) if input.dtype.is_floating_point else clone(input)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"{doc}, elementwise; integers stay as they are."
    return function


floor = _rounding("floor", "The largest integer not above input")
ceil = _rounding("ceil", "The smallest integer not below input")
trunc = _rounding("trunc", "Input without its fraction")
fix = trunc


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """To the nearest integer, halves to even; with `decimals`, to that many places."""
    not_bool("round", want_tensor("round", input))
    if not input.dtype.is_floating_point:
        return clone(input)
    if want_int("round", "decimals", decimals) == 0:
        return apply("round", input)
    scale = lift(10.0 ** builtins.abs(decimals), input.dtype, tuple(input.shape))
    out, back = ("mul", "div") if decimals > 0 else ("div", "mul")
    return apply(back, apply("round", apply(out, input, scale)), scale)


@node_name("Frac")
def frac(input: Tensor) -> Tensor:
    """The fraction of input, with its sign."""
    x = want_float("frac", input)
    return apply("sub", x, apply("trunc", x))


def neg(input: Tensor) -> Tensor:
    """-input."""
    if want_tensor("neg", input).dtype is bool_:
        raise blame(DTypeError(
            "Negation, the `-` operator, on a bool tensor is not supported.",
            hint="to invert a mask, use the `~` or `logical_not()` operator",
        ))
    return apply("neg", input)


negative = neg


def abs(input: Tensor) -> Tensor:
    """The absolute value; its derivative at 0 is 0."""
    not_bool("abs", want_tensor("abs", input))
    return apply("abs", input)


absolute = abs


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 as input is negative, zero or positive; 0 where it is nan."""
    return clone(input) if want_tensor("sign", input).dtype is bool_ else apply("sign", input)


@node_name("Square")
def square(input: Tensor) -> Tensor:
    """input * input; of bools in int64, as torch has it."""
    x = want_tensor("square", input)
    return mul(x, x) if x.dtype is not bool_ else cast(x, i64)


# -- arithmetic


def _scaled(input: Any, other: Any, alpha: Any, name: str = "alpha") -> Any:
    """`other` times `alpha`, computed in the dtype that input and other have together."""
    if is_number(alpha, 1):
        return other
    dtype = result_dtype(input, other)
    if isinstance(alpha, float) and not dtype.is_floating_point:
        raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    check_int(alpha)
    if not isinstance(other, Tensor):
        return other * alpha
    return mul(other if dtype is bool_ else cast(other, dtype), alpha)


def modular(input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Operands of sums and products, where an integer too large for the dtype counts modulo 2^bits."""
    if fits(input) and fits(other):
        return operands(input, other)
    dtype = result_dtype(input, other)
    return operands(wrapped(input, dtype), wrapped(other, dtype), dtype=dtype)


def fits(x: Any) -> bool:
    """Whether `x` is an operand that every dtype holds, or no integer."""
    return not isinstance(x, (int, np.integer)) or 0 <= x < 128


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other; of bools, logical or."""
    x, y = modular(input, _scaled(input, other, alpha))
    return apply("bitwise_or" if x.dtype is bool_ else "add", x, y)


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other. Raises DTypeError if either is bool."""
    if _is_bool(input) or _is_bool(other):
        raise blame(DTypeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported.",
            hint="to invert a mask, use the `~` or `logical_not()` operator",
        ))
    return apply("sub", *modular(input, _scaled(input, other, alpha)))


def _is_bool(x: Any) -> bool:
    return x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, (bool, np.bool_))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any) -> Tensor:
    """input * other; of bools, logical and."""
    x, y = modular(input, other)
    return apply("bitwise_and" if x.dtype is bool_ else "mul", x, y)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, floating point also of integers; rounding_mode "floor" or "trunc" keeps the dtype.

    Raises DivisionByZero for a rounded integer division by 0.
    """
    if rounding_mode is None:
        dtype = result_dtype(input, other)
        return apply("div", *operands(input, other, dtype=dtype if dtype.is_floating_point else defaults.dtype))
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    x, y = operands(input, other)
    not_bool("div", x)
    if x.dtype.is_floating_point:
        return apply("trunc", apply("div", x, y))
    return apply("floor_divide", apply("sub", x, apply("fmod", x, y)), y)


def divided_by(number: Any, input: Tensor) -> Tensor:
    """`number / input` as torch computes it: a product with the reciprocal, whose backward keeps neither `input` nor
    the quotient. Of two tensors, or two numbers of a recording, `div`."""
    return div(number, input) if isinstance(number, Tensor) or input._weak else mul(reciprocal(input), number)


def _divided(op: str, doc: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        x, y = operands(input, other)
        not_bool(op, x)
        return apply(op, x, y)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"{doc}. Raises DivisionByZero for an integer divided by 0."
    return function


floor_divide = _divided("floor_divide", "floor(input / other), elementwise")
fmod = _divided("fmod", "input modulo other with the sign of input, elementwise")


def remainder(input: Any, other: Any) -> Tensor:
    """input modulo other with the sign of other, elementwise; a zero has the sign of input.

    Raises DivisionByZero for an integer divided by 0.
    """
    x, y = operands(input, other)
    not_bool("remainder", x)
    result = apply("remainder", x, y)
    if not result._weak:
        return result
    _, zero, minus = operands(result, 0.0, -0.0)  # among numbers, as in Python, a zero has the sign of other
    signed = apply("select", apply("lt", y, zero), minus, zero)
    return apply("select", apply("eq", result, zero), signed, result)


@node_name("Pow")
def pow(input: Any, exponent: Any) -> Tensor:
    """input to the power of exponent, elementwise. Raises RuntimeError for integers to a negative number.

    The numbers 0.5 and -0.5 mean the square root and what is 1 by it, of -inf and -0.0 too, as torch has it.
    """
    dtype = result_dtype(input, exponent)
    if dtype.is_floating_point and (is_number(exponent, 0.5) or is_number(exponent, -0.5)) and not input._weak:
        root = _square_root(cast(input, dtype))
        return root if exponent > 0 else apply("div", lift(1, dtype, tuple(root.shape)), root)
    if isinstance(exponent, int) and exponent < 0 and not dtype.is_floating_point:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    x, y = operands(input, exponent, dtype=dtype)
    not_bool("pow", x)
    return apply("pow", x, y)


def _square_root(x: Tensor) -> Tensor:
    """The square root, in memory that its backward does not need."""
    return clone(apply("sqrt", x))


def _binary_float(op: str, doc: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        dtype = result_dtype(input, other)
        return apply(op, *operands(input, other, dtype=dtype if dtype.is_floating_point else defaults.dtype))

    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    return function


atan2 = _binary_float("atan2", "The angle of the point (other, input): atan(input / other) in the right quadrant.")


def _extremum(op: str, bool_op: str, doc: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        x, y = operands(input, other)
        return apply(bool_op if x.dtype is bool_ else op, x, y)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    return function


maximum = _extremum("maximum", "bitwise_or", "The larger, elementwise; nan wins; a tie shares the gradient.")
minimum = _extremum("minimum", "bitwise_and", "The smaller, elementwise; nan wins; a tie shares the gradient.")


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return add(input, _scaled(input, mul(tensor1, tensor2), value, "value"))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return add(input, _scaled(input, div(tensor1, tensor2), value, "value"))


# -- activations


@node_name("Relu")
def relu(input: Tensor) -> Tensor:
    """input, or 0 where it is negative; the derivative at 0 is 0."""
    x = want_tensor("relu", input)
    not_bool("relu", x)
    zero = lift(0, x.dtype, tuple(x.shape))
    return apply("select", apply("le", x, zero), zero, x)


# -- other names

subtract, multiply, divide, true_divide = sub, mul, div, div
arcsin, arccos, arctan, arcsinh, arccosh, arctanh, arctan2 = asin, acos, atan, asinh, acosh, atanh, atan2
