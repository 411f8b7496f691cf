"""Lowering: each elementwise op of the table as LLVM operations on lanes.

`LOWER[op](lanes, args, attrs, dtype)` writes the op on registers `args` and gives the register of its
result, lanes of `dtype`. A constant, an index map or a reduction is not lowered here: those are loops.
Semantics are those of the op's NumPy reference. What is chosen where numpy leaves it open: maximum and
minimum order -0.0 below +0.0.

No lowering can fault. An integer divisor of zero is replaced by 1 and reported through `Lanes.trap`; the
smallest integer divided by -1 wraps.

Imports: `ir.core`, `ir.types`, `text`, `vectormath`. To lower a new elementwise op, add its line to `LOWER`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.core import Attrs
from ..ir.types import DType, bool_, f32, f64
from . import vectormath
from .text import Lanes, Vec

Lower = Callable[[Lanes, Sequence[Vec], Attrs, DType], Vec]


def _of(f: Callable[..., Vec]) -> Lower:
    """The lowering that `f(lanes, *args)` writes."""

    def lower(m: Lanes, args: Sequence[Vec], attrs: Attrs, dtype: DType) -> Vec:
        return f(m, *args)

    return lower


def _compare(predicate: str) -> Lower:
    return _of(lambda m, x, y: m.compare(predicate, x, y))


def _abs(m: Lanes, x: Vec) -> Vec:
    match x.dtype.kind:
        case "float":
            return m.abs(x)
        case "int":
            return m.select(m.compare("lt", x, 0), m.neg(x), x)
        case _:
            return x


def _sign(m: Lanes, x: Vec) -> Vec:
    if x.dtype.kind == "uint":
        return m.select(m.compare("eq", x, 0), x, 1)
    below = m.select(m.compare("lt", x, 0), m.const(-1, x.dtype), 0)
    return m.select(m.compare("gt", x, 0), 1, below)


def _extremum(predicate: str, on_floats: str, on_bools: str) -> Lower:
    def lower(m: Lanes, x: Vec, y: Vec) -> Vec:
        if x.dtype.is_floating_point:
            return m.intrinsic(on_floats, x, y)
        if x.dtype is bool_:
            return m.binary(on_bools, x, y)
        return m.select(m.compare(predicate, x, y), x, y)

    return _of(lower)


def _is_inf(m: Lanes, x: Vec) -> Vec:
    return m.compare("eq", m.abs(x), float("inf"))


def _shift_amount(m: Lanes, x: Vec, y: Vec) -> tuple[Vec, Vec]:
    """Whether y is in [0, width) (a negative amount counts as too large), and y or else width - 1."""
    width = x.dtype.bits
    fits = m.emit(f"icmp ult {m.type(y.dtype)} {y.text}, {m.const(width, y.dtype).text}", bool_)
    return fits, m.select(fits, y, width - 1)


def _shift_left(m: Lanes, x: Vec, y: Vec) -> Vec:
    fits, amount = _shift_amount(m, x, y)
    return m.select(fits, m.shl(x, amount), 0)


def _shift_right(m: Lanes, x: Vec, y: Vec) -> Vec:
    fits, amount = _shift_amount(m, x, y)
    if x.dtype.kind == "int":
        return m.ashr(x, amount)
    return m.select(fits, m.lshr(x, amount), 0)


# Integer division.


def _quotient(m: Lanes, x: Vec, y: Vec) -> tuple[Vec, Vec]:
    """x / y truncated towards zero, and the divisor used: 1 where y is 0, which is reported."""
    zero = m.compare("eq", y, 0)
    m.trap(zero)
    divisor = m.select(zero, 1, y)
    if x.dtype.kind == "uint":
        return _divide(m, x, divisor), divisor
    # By -1 it is a negation, which wraps where the division would fault.
    negates = m.compare("eq", divisor, -1)
    return m.select(negates, m.neg(x), _divide(m, x, m.select(negates, 1, divisor))), divisor


def _divide(m: Lanes, x: Vec, y: Vec) -> Vec:
    """x / y for a divisor that cannot fault. Up to 32 bits in floating point, whose division is a vector
    instruction: a quotient of integers of n bits that is no integer is further from one than 2^-n of itself,
    so rounding it to more than 2n bits cannot reach the integer, and truncation is exact."""
    dtype = x.dtype
    if dtype.bits > 32:
        return m.binary("sdiv", x, y)
    wide = f64 if dtype.bits > 8 else f32
    quotient = m.div(m.cast(x, wide), m.cast(y, wide))
    return m.convert("fptosi" if dtype.kind == "int" else "fptoui", quotient, dtype)


def _fmod(m: Lanes, x: Vec, y: Vec) -> Vec:
    if x.dtype.is_floating_point:
        return vectormath.fmod(m, x, y)
    quotient, divisor = _quotient(m, x, y)
    return m.sub(x, m.mul(quotient, divisor))


def _remainder(m: Lanes, x: Vec, y: Vec) -> Vec:
    if x.dtype.is_floating_point:
        return vectormath.remainder(m, x, y)
    quotient, divisor = _quotient(m, x, y)
    rest = m.sub(x, m.mul(quotient, divisor))
    if x.dtype.kind == "uint":
        return rest
    return m.select(_rounds_down(m, rest, divisor), m.add(rest, divisor), rest)


def _floor_divide(m: Lanes, x: Vec, y: Vec) -> Vec:
    if x.dtype.is_floating_point:
        return vectormath.floor_divide(m, x, y)
    quotient, divisor = _quotient(m, x, y)
    if x.dtype.kind == "uint":
        return quotient
    rest = m.sub(x, m.mul(quotient, divisor))
    return m.select(_rounds_down(m, rest, divisor), m.sub(quotient, 1), quotient)


def _rounds_down(m: Lanes, rest: Vec, divisor: Vec) -> Vec:
    """Whether floor division differs from the truncated one: a rest whose sign is not the divisor's."""
    signs_differ = m.compare("lt", m.xor(rest, divisor), 0)
    return m.and_(m.compare("ne", rest, 0), signs_differ)


# Integer powers.


def _pow(m: Lanes, x: Vec, y: Vec) -> Vec:
    if x.dtype.is_floating_point:
        return vectormath.pow(m, x, y)
    (powered,) = m.call("pow", [x, y], [x.dtype], lambda x, y: [_square_and_multiply(m, x, y)])
    if x.dtype.kind == "uint":
        return powered
    # A negative power truncates: 1 of 1, 1 or -1 of -1, else 0 (of 0 too, as torch has it).
    of_minus_one = m.sub(1, m.shl(m.and_(y, 1), 1))
    reciprocal = m.select(m.compare("eq", x, -1), of_minus_one, m.select(m.compare("eq", x, 1), x, 0))
    return m.select(m.compare("lt", y, 0), reciprocal, powered)


def _square_and_multiply(m: Lanes, x: Vec, y: Vec) -> Vec:
    """x^y modulo 2^bits, y taken as unsigned: a loop until no lane has a bit of its exponent left."""
    code, type = m.code, m.type(x.dtype)
    loop, done = code.new_label("loop"), code.new_label("done")
    names = ("base", "exponent", "power")
    base, exponent, power = (Vec(f"%{n}", x.dtype) for n in names)
    steps = [Vec(f"%next_{n}", x.dtype) for n in names]
    code.line(f"br label %{loop}")
    code.start_block(loop)
    for now, start, step in zip((base, exponent, power), (x, y, m.const(1, x.dtype)), steps, strict=True):
        code.line(f"{now.text} = phi {type} [ {start.text}, %entry ], [ {step.text}, %{loop} ]")
    odd = m.compare("ne", m.and_(exponent, 1), 0)
    code.line(f"{steps[0].text} = mul {type} {base.text}, {base.text}")
    code.line(f"{steps[1].text} = lshr {type} {exponent.text}, {m.const(1, x.dtype).text}")
    factor = m.select(odd, base, 1)
    code.line(f"{steps[2].text} = mul {type} {power.text}, {factor.text}")
    more = m.any(m.compare("ne", steps[1], 0))
    code.line(f"br i1 {more.text}, label %{loop}, label %{done}")
    code.start_block(done)
    return steps[2]


def _polygamma(m: Lanes, args: Sequence[Vec], attrs: Attrs, dtype: DType) -> Vec:
    return vectormath.polygamma(m, args[0], attrs["n"])


def _cast(m: Lanes, args: Sequence[Vec], attrs: Attrs, dtype: DType) -> Vec:
    return m.cast(args[0], dtype)


LOWER: dict[str, Lower] = {
    **{name: _of(f) for name, f in vectormath.UNARY.items()},
    "neg": _of(Lanes.neg),
    "abs": _of(_abs),
    "sign": _of(_sign),
    "sqrt": _of(Lanes.sqrt),
    "polygamma": _polygamma,
    "floor": _of(Lanes.floor),
    "ceil": _of(Lanes.ceil),
    "round": _of(Lanes.round),
    "trunc": _of(Lanes.trunc),
    "isnan": _of(Lanes.is_nan),
    "isinf": _of(_is_inf),
    "bitwise_not": _of(Lanes.not_),
    "cast": _cast,
    "add": _of(Lanes.add),
    "sub": _of(Lanes.sub),
    "mul": _of(Lanes.mul),
    "div": _of(Lanes.div),
    "reciprocal": _of(lambda m, x: m.div(m.const(1.0, x.dtype), x)),
    "pow": _of(_pow),
    "maximum": _extremum("gt", "maximum", "or"),
    "minimum": _extremum("lt", "minimum", "and"),
    "fmod": _of(_fmod),
    "remainder": _of(_remainder),
    "floor_divide": _of(_floor_divide),
    "atan2": _of(vectormath.atan2),
    **{predicate: _compare(predicate) for predicate in ("eq", "ne", "lt", "le", "gt", "ge")},
    "bitwise_and": _of(Lanes.and_),
    "bitwise_or": _of(Lanes.or_),
    "bitwise_xor": _of(Lanes.xor),
    "shift_left": _of(_shift_left),
    "shift_right": _of(_shift_right),
    "select": _of(Lanes.select),
    "fma": _of(lambda m, x, y, z: m.intrinsic("fma", x, y, z)),
}
