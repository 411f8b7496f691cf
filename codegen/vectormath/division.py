"""fmod, remainder and floor division of floats: exact, as IEEE 754 has fmod.

The quotient, truncated, times y is subtracted from x. As long as the quotient is small enough that this is
exact, it is done for all lanes at once; else lane by lane, by long division of the mantissas.

Imports: `text`, `formats`, `ir.types`.
"""

from __future__ import annotations

from ...ir.types import f32, f64, i64
from ..text import Lanes, Vec
from .formats import INF, NAN, by_lane

# Up to this quotient x - q y is exact: with an FMA, or for widened f32, whose products have 24 + 29 bits.
_QUOTIENT = {f32: 2.0**29, f64: 2.0**52}


def fmod(m: Lanes, x: Vec, y: Vec) -> Vec:
    """x - trunc(x / y) y, with the sign of x; nan for an infinite x or a y of 0."""
    top, bottom = m.cast(m.abs(x), f64), m.cast(m.abs(y), f64)
    exact = m.code.has_fma or x.dtype is f32
    quotient = m.div(top, bottom)
    near = m.compare("lt", quotient, _QUOTIENT[x.dtype] if exact else 1.0)
    whole = m.trunc(quotient)
    rest = m.fma(m.neg(whole), bottom, top)
    # The quotient may have been rounded up to the next integer.
    rest = m.select(m.compare("lt", rest, 0.0), m.add(rest, bottom), rest)
    rest = m.select(m.compare("lt", top, bottom), top, rest)  # an infinite y, too
    defined = m.and_(m.compare("lt", top, INF), m.compare("gt", bottom, 0.0))
    far = m.and_(defined, m.not_(near))

    def by_lanes() -> list[Vec]:
        a, b = m.select(far, top, 1.0), m.select(far, bottom, 1.0)
        (divided,) = m.call("fmod", [a, b], [f64], lambda *ab: by_lane(m, "fmod.lane", ab, [f64], _long_division))
        return [m.select(far, divided, rest)]

    (rest,) = m.rarely(far, [rest], by_lanes)
    rest = m.select(defined, rest, NAN)
    return m.copysign(m.cast(rest, x.dtype), x)


def remainder(m: Lanes, x: Vec, y: Vec) -> Vec:
    """x - floor(x / y) y, with the sign of y: fmod, moved by y where the signs differ and it is not 0."""
    rest = fmod(m, x, y)
    return m.select(_moves(m, rest, y), m.add(rest, y), rest)


def floor_divide(m: Lanes, x: Vec, y: Vec) -> Vec:
    """The floor of the exact quotient, rounded: (x - fmod) / y is within half of an integer, which loses 1
    where `remainder` moves. x / y for a y of 0."""
    rest = fmod(m, x, y)
    quotient = m.div(m.sub(x, rest), y)
    quotient = m.select(_moves(m, rest, y), m.sub(quotient, 1.0), quotient)
    floor = m.floor(quotient)
    floor = m.select(m.compare("gt", m.sub(quotient, floor), 0.5), m.add(floor, 1.0), floor)
    ratio = m.div(x, y)
    floor = m.select(m.compare("eq", quotient, 0.0), m.copysign(0.0, ratio), floor)
    return m.select(m.compare("eq", y, 0.0), ratio, floor)


def _moves(m: Lanes, rest: Vec, y: Vec) -> Vec:
    """Whether the floor of a quotient is not its truncation: a rest whose sign is not the divisor's."""
    return m.and_(m.compare("ne", rest, 0.0), m.compare("lt", m.xor(m.bits(rest), m.bits(y)), 0))


def _long_division(m: Lanes, a: Vec, b: Vec) -> list[Vec]:
    """a mod b for finite a >= 0, b > 0. With a = A 2^i and b = B 2^j, A is shifted left by up to 11 bits at a
    time and taken modulo B, until the exponents are equal. Only a < b, which needs no division, has i < j."""
    code = m.code
    loop, body, done = (code.new_label(name) for name in ("loop", "body", "done"))
    (a_mantissa, a_exponent), (b_mantissa, b_exponent) = _parts(m, a), _parts(m, b)
    start = m.emit(f"urem i64 {a_mantissa.text}, {b_mantissa.text}", i64)
    distance = m.sub(a_exponent, b_exponent)
    code.line(f"br label %{loop}")
    code.start_block(loop)
    rest, left, next_rest, next_left = (Vec(code.fresh(), i64) for _ in range(4))
    code.line(f"{rest.text} = phi i64 [ {start.text}, %entry ], [ {next_rest.text}, %{body} ]")
    code.line(f"{left.text} = phi i64 [ {distance.text}, %entry ], [ {next_left.text}, %{body} ]")
    more = m.compare("gt", left, 0)
    code.line(f"br i1 {more.text}, label %{body}, label %{done}")
    code.start_block(body)
    step = m.select(m.compare("lt", left, 11), left, 11)
    code.line(f"{next_rest.text} = urem i64 {m.shl(rest, step).text}, {b_mantissa.text}")
    code.line(f"{next_left.text} = sub i64 {left.text}, {step.text}")
    code.line(f"br label %{loop}")
    code.start_block(done)
    # rest 2^j, the power applied in two factors, for j may be that of the denormals.
    half = m.ashr(b_exponent, 1)
    other = m.sub(b_exponent, half)
    first, second = (m.from_bits(m.shl(m.add(k, 1023), 52)) for k in (half, other))
    result = m.mul(m.mul(m.convert("uitofp", rest, f64), first), second)
    return [m.select(m.compare("lt", a, b), a, result)]


def _parts(m: Lanes, x: Vec) -> tuple[Vec, Vec]:
    """The integer mantissa and the exponent of a finite x >= 0: x = mantissa 2^exponent."""
    bits = m.bits(x)
    exponent = m.lshr(bits, 52)
    fraction = m.and_(bits, (1 << 52) - 1)
    normal = m.compare("ne", exponent, 0)
    mantissa = m.select(normal, m.or_(fraction, 1 << 52), fraction)
    return mantissa, m.sub(m.select(normal, exponent, 1), 1075)
