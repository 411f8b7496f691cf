"""Random tensors: composed of the random words of `rng.bits`, so the same eager and traced.

A uniform number is the top 24 (float32) or 53 (float64) bits of its words times 2^-24 or 2^-53, in [0, 1).
Normal numbers come in pairs from two uniforms (G. Box, M. Muller, "A note on the generation of random
normal deviates", 1958). The draws are not torch's, only their distributions are.
Imports: `arguments`, `creation`, `elementwise`, `rng`, `dispatch`, `tensors`, `ir.types`, `errors`, `comparison`,
`state`.
"""

from __future__ import annotations

import math
from typing import Any

from ..dispatch import apply, cast, lift, operands
from ..errors import DTypeError
from ..ir.types import DType, Shape, dtype_of, f32, f64, i32, i64
from ..rng import Generator, bits
from ..state import defaults
from ..tensors import Tensor, shape_of
from .arguments import ints, packed, want_float, want_int, want_tensor
from .comparison import lt
from .creation import finished
from .elementwise import add, mul


def _top(words: Tensor, count: int, dtype: DType) -> Tensor:
    """The top `count` bits of int32 words, as non-negative numbers of `dtype`."""
    shape = shape_of(words)
    shift = lift(32 - count, i32, shape)
    # An arithmetic shift fills with the sign; the mask takes those bits away.
    low = apply("bitwise_and", apply("shift_right", words, shift), lift((1 << count) - 1, i32, shape))
    return cast(low, dtype)


def uniform(shape: Shape, dtype: DType, generator: Generator | None) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2^-24 (float32) or 2^-53 (float64)."""
    if dtype is f32:
        return apply("mul", _top(bits(generator, shape), 24, f32), lift(2.0**-24, f32, shape))
    if dtype is not f64:
        raise DTypeError(f'"uniform" is not implemented for {dtype}', hint="it makes floating-point numbers")
    words = bits(generator, (2, *shape))
    high, low = (_half(words, i) for i in (0, 1))
    whole = apply("add", apply("mul", _top(high, 27, f64), lift(2.0**26, f64, shape)), _top(low, 26, f64))
    return apply("mul", whole, lift(2.0**-53, f64, shape))


def _half(x: Tensor, i: int) -> Tensor:
    """x[i], of a tensor whose first axis is two."""
    shape = shape_of(x)
    rest = len(shape) - 1
    part = apply("slice", x, start=(i, *(0,) * rest), limit=(i + 1, *shape[1:]), step=(1,) * len(shape))
    return apply("reshape", part, shape=shape[1:])


def gaussian(shape: Shape, dtype: DType, generator: Generator | None) -> Tensor:
    """Numbers of the standard normal distribution."""
    n = math.prod(shape)
    half = (n + 1) // 2
    pair = uniform((2, half), dtype, generator)
    first, angle = _half(pair, 0), apply("mul", _half(pair, 1), lift(2 * math.pi, dtype, (half,)))
    # 1 - u lies in (0, 1], whose logarithm is finite.
    distance = apply("log", apply("sub", lift(1, dtype, (half,)), first))
    radius = apply("sqrt", apply("mul", distance, lift(-2, dtype, (half,))))
    both = apply(
        "concat", apply("mul", radius, apply("cos", angle)), apply("mul", radius, apply("sin", angle)), axis=0
    )
    cut = both if 2 * half == n else apply("slice", both, start=(0,), limit=(n,), step=(1,))
    return _owned(apply("reshape", cut, shape=shape))


def _owned(t: Tensor) -> Tensor:
    """`t` as a tensor that is nobody's view."""
    t._view = None
    return t


def _of(dtype: Any) -> DType:
    return defaults.dtype if dtype is None else dtype_of(dtype)


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform numbers in [0, 1)."""
    return finished(uniform(packed("rand", "size", size), _of(dtype), generator), requires_grad, device)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Numbers of the standard normal distribution."""
    return finished(gaussian(packed("randn", "size", size), _of(dtype), generator), requires_grad, device)


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`rand` in the shape and dtype of `input`."""
    return rand(shape_of(input), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`randn` in the shape and dtype of `input`."""
    return randn(shape_of(input), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers of mean and standard deviation, numbers (with a size) or tensors."""
    if size is not None:
        shape, found = packed("normal", "size", (size,)), _of(dtype)
    else:
        common, _ = operands(mean, std)
        shape, found = shape_of(common), common.dtype if common.dtype.is_floating_point else defaults.dtype
    return finished(add(mul(gaussian(shape, found, generator), std), mean), requires_grad)


def integers(low: int, high: int, shape: Shape, dtype: DType, generator: Generator | None) -> Tensor:
    """Integers in [low, high), each equally likely to 2^-32 (2^-53 for a range of 2^32 and more)."""
    low, high = ints("random_", "bounds", (low, high))
    span = high - low
    if span <= 0:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if span <= 1 << 31:
        # The 32 bits times the span, of which the high half is the number.
        words = bits(generator, shape)
        unsigned = apply("bitwise_and", cast(words, i64), lift((1 << 32) - 1, i64, shape))
        scaled = apply("shift_right", apply("mul", unsigned, lift(span, i64, shape)), lift(32, i64, shape))
    else:
        scaled = cast(apply("mul", uniform(shape, f64, generator), lift(float(span), f64, shape)), i64)
        scaled = apply("minimum", scaled, lift(span - 1, i64, shape))
    return cast(apply("add", scaled, lift(low, i64, shape)), dtype)


def randint(
    *args: Any, low: int = 0, high: int | None = None, size: Any = None, generator: Generator | None = None,
    dtype: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:
    """`randint(high, size)` or `randint(low, high, size)`: integers in [low, high), int64 unless dtype says."""
    positional = list(args)
    if size is None:
        size = positional.pop()
    if len(positional) == 2:
        low, high = positional
    elif len(positional) == 1:
        high = positional[0]
    if high is None:
        raise TypeError("randint() received an invalid combination of arguments: it takes (low=0, high, size)")
    found = i64 if dtype is None else dtype_of(dtype)
    low, high = ints("randint", "bounds", (low, high))
    return finished(integers(low, high, packed("randint", "size", (size,)), found, generator), requires_grad, device)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None) -> Tensor:
    """`randint` in the shape and dtype of `input`."""
    bounds = (0, low) if high is None else (low, high)
    return randint(*bounds, shape_of(input), dtype=dtype or input.dtype)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The integers 0 to n - 1 in random order: the order of n random words of 62 bits."""
    n = want_int("randperm", "n", n)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    words = bits(generator, (2, n))
    high, low = _top(_half(words, 0), 31, i64), _top(_half(words, 1), 31, i64)
    key = apply("add", apply("mul", high, lift(1 << 31, i64, (n,))), low)
    order = apply("sort", key, axis=0, descending=False)[1]
    return finished(cast(order, i64 if dtype is None else dtype_of(dtype)), requires_grad, device)


def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability each element says (or p), else 0; the dtype of input. No gradient."""
    x = want_float("bernoulli", input) if p is None else want_tensor("bernoulli", input)
    dtype = x.dtype if x.dtype.is_floating_point else defaults.dtype
    drawn = uniform(shape_of(x), dtype, generator)
    return cast(lt(drawn, x if p is None else p), x.dtype)
