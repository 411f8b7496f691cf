"""The two float formats as numbers, and small tools that the vector mathematics shares.

Imports: `ir.types`, `text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

from ...ir.types import DType, f32, f64, i32, i64
from ..text import Lanes, Vec

INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class Format:
    """An IEEE 754 binary format. Adding `magic` to a small float leaves the nearest integer in the low bits
    of the sum, and subtracting it again gives that integer as a float."""

    integer: DType  # holds the bits
    mantissa: int  # stored bits of the mantissa
    bias: int

    @property
    def magic(self) -> float:
        return 1.5 * 2.0**self.mantissa

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def sign_bit(self) -> int:
        return -(1 << (self.integer.bits - 1))


FORMATS = {f32: Format(i32, 23, 127), f64: Format(i64, 52, 1023)}


def clamp(m: Lanes, x: Vec, low: float, high: float) -> Vec:
    """x within [low, high]; nan stays nan."""
    x = m.select(m.compare("lt", x, low), low, x)
    return m.select(m.compare("gt", x, high), high, x)


def flip_sign(m: Lanes, x: Vec, sign: Vec) -> Vec:
    """x, its sign bit flipped where the highest bit of the integer `sign` (the only one set) is set."""
    return m.from_bits(m.xor(m.bits(x), sign))


def odd_polynomial(m: Lanes, x: Vec, z: Vec, coefficients: Sequence[float]) -> Vec:
    """x + x z P(z), z being x^2 or near it. The last step by Horner: its coefficient outweighs the others,
    and so does its rounding."""
    rest = m.fma(m.estrin(z, coefficients[1:]), z, coefficients[0])
    return m.fma(m.mul(x, z), rest, x)


def is_integer(m: Lanes, x: Vec) -> Vec:
    """Whether the float |x| is an integer. All floats from 2^mantissa up are, infinity too."""
    limit = 2.0 ** FORMATS[x.dtype].mantissa
    size = m.abs(x)
    nearest = m.sub(m.add(size, limit), limit)
    return m.or_(m.compare("ge", size, limit), m.compare("eq", nearest, size))


def in_f64(f: Callable[..., Vec]) -> Callable[..., Vec]:
    """`f`, which knows f64, for f32 too: computed in f64 and rounded once."""

    @wraps(f)
    def wide(m: Lanes, *args: Vec) -> Vec:
        if args[0].dtype is f64:
            return f(m, *args)
        return m.cast(f(m, *(m.cast(a, f64) for a in args)), f32)

    return wide


def outlined(f: Callable[..., Vec]) -> Callable[..., Vec]:
    """`f`, written once a module as a function of its own and called."""

    @wraps(f)
    def call(m: Lanes, *args: Vec) -> Vec:
        (result,) = m.call(f.__name__, args, [args[0].dtype], lambda *inner: [f(m, *inner)])
        return result

    return call


def by_lane(
    m: Lanes, name: str, args: Sequence[Vec], dtypes: Sequence[DType], body: Callable[..., Sequence[Vec]]
) -> list[Vec]:
    """The results of the scalar function `name`, which `body(scalar lanes, *args)` writes, lane by lane: a
    loop, for rare paths."""
    code, scalar = m.code, Lanes(m.code, 1)

    def call(lanes: Sequence[Vec]) -> list[Vec]:
        return scalar.call(name, lanes, dtypes, lambda *inner: body(scalar, *inner))

    if m.width == 1:
        return call(args)
    before, loop, done = code.block, code.new_label("loop"), code.new_label("done")
    index, following = code.fresh(), code.fresh()
    so_far = [Vec(code.fresh(), d) for d in dtypes]
    results = [Vec(code.fresh(), d) for d in dtypes]
    code.line(f"br label %{loop}")
    code.start_block(loop)
    code.line(f"{index} = phi i64 [ 0, %{before} ], [ {following}, %{loop} ]")
    for now, then in zip(so_far, results, strict=True):
        code.line(f"{now.text} = phi {m.type(now.dtype)} [ poison, %{before} ], [ {then.text}, %{loop} ]")
    lanes = [m.emit(f"extractelement {m.type(a.dtype)} {a.text}, i64 {index}", a.dtype) for a in args]
    for now, then, value in zip(so_far, results, call(lanes), strict=True):
        element = f"{scalar.type(value.dtype)} {value.text}"
        code.line(f"{then.text} = insertelement {m.type(now.dtype)} {now.text}, {element}, i64 {index}")
    code.line(f"{following} = add i64 {index}, 1")
    more = scalar.compare("ne", Vec(following, i64), m.width)
    code.line(f"br i1 {more.text}, label %{loop}, label %{done}")
    code.start_block(done)
    return results
