"""Elementwise functions: arithmetic, transcendental functions, comparison, logic, selection.

Operands are brought to a common dtype and shape by torch's rules (`dispatch.operands`).
Imports: `arguments`, `dispatch`, `tensors`, `ir.types`.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import (
    Number,
    apply,
    blame,
    cast,
    check_int,
    common_shape,
    expand_to,
    lift,
    operands,
    result_dtype,
    wrapped,
)
from ..errors import DTypeError, JitgradError
from ..ir.types import bool_, i64
from ..state import defaults
from ..tensors import Tensor
from .arguments import as_float, is_number, node_name, not_bool, want_float, want_int, want_tensor
from .creation import filled


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


def _modular(input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Operands of sums and products, where an integer too large for the dtype counts modulo 2^bits."""
    if _fits(input) and _fits(other):
        return operands(input, other)
    dtype = result_dtype(input, other)
    return operands(wrapped(input, dtype), wrapped(other, dtype), dtype=dtype)


def _fits(x: Any) -> bool:
    """Whether `x` is an operand that every dtype holds, or no Python integer."""
    return not isinstance(x, int) or 0 <= x < 128


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other; of bools, logical or."""
    x, y = _modular(input, _scaled(input, other, alpha))
    return apply("bitwise_or" if x.dtype is bool_ else "add", x, y)


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other. Raises DTypeError if either is bool."""
    if _is_bool(input) or _is_bool(other):
        raise blame(DTypeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported.",
            hint="to invert a mask, use the `~` or `logical_not()` operator",
        ))
    return apply("sub", *_modular(input, _scaled(input, other, alpha)))


def _is_bool(x: Any) -> bool:
    return x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, (bool, np.bool_))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any) -> Tensor:
    """input * other; of bools, logical and."""
    x, y = _modular(input, other)
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


def _two_floats(function: str, input: Any, other: Any) -> tuple[Tensor, ...]:
    """Two tensors brought together, in a floating-point dtype. Raises DTypeError if neither is floating point."""
    x, y = want_tensor(function, input), want_tensor(function, other, "other", 2)
    return operands(x, y) if result_dtype(x, y).is_floating_point else operands(want_float(function, x), y)


@node_name("Logaddexp")
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    x, y = _two_floats("logaddexp", input, other)
    larger = apply("maximum", x, y)
    # Equal infinities differ by nan, and are their own result.
    apart = where(apply("eq", x, y), 0.0, apply("abs", apply("sub", x, y)))
    return add(larger, log1p(exp(apply("neg", apart))))


@node_name("Hypot")
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2), scaled by the larger so that the squares neither overflow nor vanish; infinite where
    either is, beside nan too."""
    x, y = _two_floats("hypot", input, other)
    x, y = apply("abs", x), apply("abs", y)
    high, low = apply("maximum", x, y), apply("minimum", x, y)
    plain = logical_or(eq(high, 0), isinf(high))
    ratio = where(plain, 0.0, div(low, where(plain, 1.0, high)))
    length = mul(high, sqrt(add(mul(ratio, ratio), 1)))
    return where(logical_and(isnan(length), logical_or(isinf(x), isinf(y))), math.inf, length)


def lerp(input: Tensor, end: Any, weight: Any) -> Tensor:
    """input + weight * (end - input), computed from the nearer end so that both ends are exact."""
    if isinstance(weight, Number):
        near = math.fabs(weight) < 0.5
        difference = sub(end, input)
        return add(input, mul(difference, weight)) if near else sub(end, mul(difference, 1 - weight))
    difference = sub(end, input)
    from_start = add(input, mul(difference, weight))
    from_end = sub(end, mul(difference, sub(1, weight)))
    return where(lt(abs(weight), 0.5), from_start, from_end)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return add(input, _scaled(input, mul(tensor1, tensor2), value, "value"))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return add(input, _scaled(input, div(tensor1, tensor2), value, "value"))


# -- comparison


def _comparison(op: str, sign: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        if _fits(input) and _fits(other):
            return apply(op, *operands(input, other))
        return _compared(op, input, other)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"Whether input {sign} other, elementwise."
    return function


def _compared(op: str, input: Any, other: Any) -> Tensor:
    """A comparison with a large integer: with one that the dtype does not hold, of that integer's own value."""
    dtype = result_dtype(input, other)
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        for x, t in ((input, other), (other, input)):
            if isinstance(x, int) and isinstance(t, Tensor) and not limits.min <= x <= limits.max:
                check_int(x)
                zero, beyond = (lift(n, i64, tuple(t.shape)) for n in (0, 1 if x > 0 else -1))
                return apply(op, *((beyond, zero) if x is input else (zero, beyond)))
    return apply(op, *operands(input, other))


eq = _comparison("eq", "==")
ne = _comparison("ne", "!=")
lt = _comparison("lt", "<")
le = _comparison("le", "<=")
gt = _comparison("gt", ">")
ge = _comparison("ge", ">=")
not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, elementwise; equal infinities are close."""
    if want_tensor("isclose", input).dtype is not want_tensor("isclose", other, "other", 2).dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    same = eq(input, other)
    if equal_nan and input.dtype.is_floating_point:
        same = logical_or(same, logical_and(isnan(input), isnan(other)))
    if rtol == 0 and atol == 0:
        return same
    if not input.dtype.is_floating_point:
        input, other = cast(input, defaults.dtype), cast(other, defaults.dtype)
    difference = abs(sub(input, other))
    near = le(difference, add(mul(abs(other), rtol), atol))
    return logical_or(same, logical_and(isfinite(difference), near))


def isnan(input: Tensor) -> Tensor:
    """Whether each element is nan."""
    return _test("isnan", input)


def isinf(input: Tensor) -> Tensor:
    """Whether each element is infinite."""
    return _test("isinf", input)


def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither nan nor infinite."""
    if not want_tensor("isfinite", input).dtype.is_floating_point:
        return filled(True, bool_, tuple(input.shape))
    return apply("bitwise_not", apply("bitwise_or", apply("isnan", input), apply("isinf", input)))


def _test(op: str, input: Tensor) -> Tensor:
    if not want_tensor(op, input).dtype.is_floating_point:
        return filled(False, bool_, tuple(input.shape))
    return apply(op, input)


# -- logic


def truth(input: Any) -> Tensor:
    """`input` as bool: whether each element is not 0."""
    t = input if isinstance(input, Tensor) else lift(bool(input), bool_)
    return t if t.dtype is bool_ else apply("ne", t, lift(0, t.dtype, tuple(t.shape)))


def logical_not(input: Tensor) -> Tensor:
    """Whether each element is 0."""
    return apply("bitwise_not", truth(want_tensor("logical_not", input)))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both are not 0, elementwise."""
    return apply("bitwise_and", *operands(truth(input), truth(other)))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether one or both are not 0, elementwise."""
    return apply("bitwise_or", *operands(truth(input), truth(other)))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether exactly one is not 0, elementwise."""
    return apply("bitwise_xor", *operands(truth(input), truth(other)))


def _no_bits(op: str, x: Tensor) -> JitgradError:
    return blame(DTypeError(f'"{op}" is not implemented for {x.dtype}', hint="it works on the bits of integers"))


def _bitwise(op: str, doc: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        x, y = operands(input, other) if op.startswith("shift") else _modular(input, other)
        if x.dtype.is_floating_point or (op.startswith("shift") and x.dtype is bool_):
            raise _no_bits(op, x)
        return apply(op, x, y)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    return function


bitwise_and = _bitwise("bitwise_and", "The bits set in both; of bools, logical and.")
bitwise_or = _bitwise("bitwise_or", "The bits set in one or both; of bools, logical or.")
bitwise_xor = _bitwise("bitwise_xor", "The bits set in exactly one; of bools, logical xor.")
bitwise_left_shift = _bitwise("shift_left", "input shifted left by other bits.")
bitwise_right_shift = _bitwise("shift_right", "input shifted right by other bits, its sign kept.")


def bitwise_not(input: Tensor) -> Tensor:
    """Every bit flipped; of bools, logical not. Raises DTypeError for floating point."""
    if want_tensor("bitwise_not", input).dtype.is_floating_point:
        raise _no_bits("bitwise_not", input)
    return apply("bitwise_not", input)


# -- selection


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where condition, else other. `where(condition)` alone gives the positions, as `nonzero` does.

    Raises DTypeError unless condition is bool.
    """
    if input is None and other is None:
        from .indexing import nonzero

        return nonzero(condition, as_tuple=True)
    if want_tensor("where", condition).dtype is not bool_:
        raise blame(DTypeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}",
            hint="compare it: condition != 0",
        ))
    dtype = result_dtype(input, other)
    x, y = (cast(t, dtype) for t in operands(input, other))
    if condition.shape == x.shape:
        return apply("select", condition, x, y)
    shape = common_shape(condition, x)
    return apply("select", expand_to(condition, shape), expand_to(x, shape), expand_to(y, shape))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input, with `value` where mask holds; the dtype of input stays."""
    want_tensor("masked_fill", input)
    if want_tensor("masked_fill", mask, "mask", 2).dtype is not bool_:
        raise blame(DTypeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}"))
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = cast(value, input.dtype)
    else:
        value = lift(value, input.dtype)
    return where(mask, value, input)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """input, limited to [min, max], numbers or tensors; at a limit the gradient goes to input."""
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    x = want_tensor("clamp", input)
    dtype = result_dtype(*[v for v in (x, min, max) if v is not None])
    not_bool("clamp", cast(x, dtype))
    if min is not None:
        x = _limit("lt", x, min, dtype)
    return x if max is None else _limit("gt", x, max, dtype)


@node_name("Clamp")
def _limit(beyond: str, input: Tensor, limit: Any, dtype: Any) -> Tensor:
    """`limit` where input lies beyond it or limit is nan, else input."""
    x, y = operands(input, limit, dtype=dtype)
    outside = apply(beyond, x, y)
    if dtype.is_floating_point and (isinstance(limit, Tensor) or limit != limit):
        outside = apply("bitwise_or", outside, apply("isnan", y))
    return apply("select", outside, y, x)


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """input, or min where that is larger."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """input, or max where that is smaller."""
    return clamp(input, max=max)


def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """input, with nan replaced by `nan` (0) and infinities by posinf, neginf (the dtype's limits)."""
    if not want_tensor("nan_to_num", input).dtype.is_floating_point:
        return clone(input)
    limits = np.finfo(input.dtype.numpy)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    x = where(isnan(input), 0.0 if nan is None else nan, input)
    x = where(eq(input, math.inf), high, x)
    return where(eq(input, -math.inf), low, x)


# -- activations


@node_name("Relu")
def relu(input: Tensor) -> Tensor:
    """input, or 0 where it is negative; the derivative at 0 is 0."""
    x = want_tensor("relu", input)
    not_bool("relu", x)
    zero = lift(0, x.dtype, tuple(x.shape))
    return apply("select", apply("le", x, zero), zero, x)


@node_name("Softplus")
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta; input itself where beta * input is above threshold."""
    x = want_float("softplus", input)
    scaled = mul(x, beta)
    linear = gt(scaled, threshold)
    # The masked value keeps exp finite where it is not used, so that no gradient is 0 times infinity.
    inner = where(linear, 0.0, scaled)
    return where(linear, x, div(log1p(exp(inner)), beta))


# -- other names

subtract, multiply, divide, true_divide = sub, mul, div, div
arcsin, arccos, arctan, arcsinh, arccosh, arctanh, arctan2 = asin, acos, atan, asinh, acosh, atanh, atan2
