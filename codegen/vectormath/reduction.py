"""Range reduction of angles: what is left of x + shift by the nearest multiple of a step.

Up to a limit n steps are subtracted in three parts, the first product exact (Cody and Waite). f32 beyond
its limit is reduced as f64. f64 beyond its limit goes lane by lane through a fixed-point product with the
bits of 2 / pi that matter (M. Payne and R. Hanek, "Radian reduction for trigonometric functions", SIGNUM
18, 1983): correct for every finite angle, slow, and taken only if some lane needs it. An infinite angle
leaves nan.

Imports: `text`, `formats`, `coefficients`, `ir.types`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ...ir.types import f32, f64, i32, i64
from ..text import Lanes, Vec
from .coefficients import PI, PI_SHORT, TWO_OVER_PI, TWO_OVER_PI_BITS
from .formats import FORMATS, by_lane


@dataclass(frozen=True)
class Turn:
    """Reduce x + shift pi modulo `step` pi."""

    name: str
    step: float
    shift: float = 0.0


SINE = Turn("sine", 1.0)
COSINE = Turn("cosine", 1.0, 0.5)
TANGENT = Turn("tangent", 0.5)

# Up to these angles in steps of pi the first part of pi times n is exact, and the parts together exact enough; with
# smaller steps up to smaller ones.
_LIMIT = {f32: 1e5, f64: 1e9}
_LIMIT_WITHOUT_FMA = 5e5  # f64

# Fixed-point layout of the far reduction: the angle in quarter turns modulo 4, 126 bits of fraction, 64 more
# that absorb the truncation of 2 / pi.
_FRACTION = 126
_GUARD = 64


def reduce(m: Lanes, x: Vec, turn: Turn) -> tuple[Vec, Vec]:
    """r with |r| <= step pi / 2, and the parity of the number of steps as the highest bit of an integer
    (its other bits are 0)."""
    if x.dtype is f64:
        limit = _LIMIT[f64] if m.code.has_fma else _LIMIT_WITHOUT_FMA
        near = _near(m, x, turn, PI[f64] if m.code.has_fma else PI_SHORT[f64])
        return _unless_far(m, x, turn, limit * turn.step, near)
    if m.code.has_fma:
        return _unless_far(m, x, turn, _LIMIT[f32] * turn.step, _near(m, x, turn, PI[f32]))
    return _widened(m, x, turn)


def _near(m: Lanes, x: Vec, turn: Turn, pi: tuple[float, ...]) -> tuple[Vec, Vec]:
    form = FORMATS[x.dtype]
    per_step = 1.0 / (turn.step * math.pi)
    if turn.shift:
        shifted = m.add(m.fma(x, per_step, turn.shift), form.magic)
        n = m.sub(m.sub(shifted, form.magic), turn.shift)
    else:
        shifted = m.fma(x, per_step, form.magic)
        n = m.sub(shifted, form.magic)
    r = x
    for part in pi:
        r = m.fma(n, -part * turn.step, r)
    return r, m.shl(m.bits(shifted), form.integer.bits - 1)


def _unless_far(m: Lanes, x: Vec, turn: Turn, limit: float, near: tuple[Vec, Vec]) -> tuple[Vec, Vec]:
    far = m.compare("gt", m.abs(x), limit)
    dtypes = [v.dtype for v in near]

    def from_far() -> list[Vec]:
        safe = m.select(far, x, limit)
        body = _widened if x.dtype is f32 else _far
        there = m.call(f"reduce.{turn.name}", [safe], dtypes, lambda y: body(m, y, turn))
        return [m.select(far, t, n) for t, n in zip(there, near, strict=True)]

    r, parity = m.rarely(far, near, from_far)
    return r, parity


def _widened(m: Lanes, x: Vec, turn: Turn) -> tuple[Vec, Vec]:
    r, parity = reduce(m, m.cast(x, f64), turn)
    return m.cast(r, f32), m.convert("trunc", m.lshr(parity, 32), i32)


def _far(m: Lanes, x: Vec, turn: Turn) -> tuple[Vec, Vec]:
    """The reduction of large f64 angles, lane by lane."""
    name = f"payne_hanek.{turn.name}"
    r, parity = by_lane(m, name, [x], [f64, i64], lambda scalar, lane: _payne_hanek(scalar, lane, turn))
    return r, parity


def _payne_hanek(m: Lanes, x: Vec, turn: Turn) -> tuple[Vec, Vec]:
    """The reduction of one f64 angle of at least 2^18."""
    quarters = _quarter_turns(m, x)
    # Round to whole steps: of the bits above the fraction of a step, the lowest is the parity.
    whole = 2 if turn.step == 0.5 else 1  # integer bits to drop
    if turn.shift:
        quarters = _name(m, f"add i128 {quarters}, {1 << _FRACTION}")
    rounded = _name(m, f"add i128 {quarters}, {1 << (127 - whole)}")
    parity = m.and_(_high_half(m, _name(m, f"shl i128 {rounded}, {whole - 1}")), FORMATS[f64].sign_bit)
    fraction = _name(m, f"ashr i128 {_name(m, f'shl i128 {quarters}, {whole}')}, {whole}")
    return m.add(_angle(m, fraction), m.sub(x, x)), parity


def _quarter_turns(m: Lanes, x: Vec) -> str:
    """x 2 / pi modulo 4, an i128 with `_FRACTION` bits of fraction. x = M 2^e, and the bits of 2 / pi worth
    more than 4 / 2^e only count whole turns: of the rest the next 192 are multiplied by M."""
    blob = "".join(f"\\{byte:02X}" for byte in TWO_OVER_PI)
    table = m.code.define_global(
        "jg.two_over_pi", f'internal unnamed_addr constant [{len(TWO_OVER_PI)} x i8] c"{blob}", align 8'
    )
    bits = m.bits(x)
    exponent = m.and_(m.lshr(bits, 52), 0x7FF)
    mantissa = m.or_(m.and_(bits, (1 << 52) - 1), 1 << 52)
    skip = m.sub(TWO_OVER_PI_BITS - _FRACTION - _GUARD + 1075, exponent)
    address = _name(m, f"getelementptr i8, ptr {table}, i64 {m.lshr(skip, 3).text}")
    steps = [_name(m, f"getelementptr i64, ptr {address}, i64 {i}") for i in range(4)]
    words = [m.load(step, i64, align=1) for step in steps]
    amount = m.and_(skip, 7)
    digits = [m.intrinsic("fshr", above, below, amount) for below, above in pairwise(words)]
    # The product, less its lowest 64 bits, modulo 2^128.
    factor, *wide = (_name(m, f"zext i64 {v.text} to i128") for v in (mantissa, *digits))
    low, middle, high = (_name(m, f"mul i128 {factor}, {d}") for d in wide)
    upper = _name(m, f"add i128 {_name(m, f'lshr i128 {low}, 64')}, {middle}")
    turns = _name(m, f"add i128 {upper}, {_name(m, f'shl i128 {high}, 64')}")
    minus = _name(m, f"sub i128 0, {turns}")
    return _name(m, f"select i1 {m.compare('lt', bits, 0).text}, i128 {minus}, i128 {turns}")


def _angle(m: Lanes, fraction: str) -> Vec:
    """A signed i128 fraction of a quarter turn as an angle: normalized, its highest 64 bits multiplied by
    pi / 2, converted, and the exponent put back."""
    m.code.declare("llvm.abs.i128", "i128", ["i128", "i1"])
    m.code.declare("llvm.ctlz.i128", "i128", ["i128", "i1"])
    size = _name(m, f"call i128 @llvm.abs.i128(i128 {fraction}, i1 false)")
    zeros = _name(m, f"call i128 @llvm.ctlz.i128(i128 {size}, i1 true)")
    top = _name(m, f"lshr i128 {_name(m, f'shl i128 {size}, {zeros}')}, 64")
    angle = _high_half(m, _name(m, f"mul i128 {top}, {_half_pi_fixed()}"))
    count = Vec(_name(m, f"trunc i128 {zeros} to i64"), i64)
    scale = m.from_bits(m.shl(m.sub(FORMATS[f64].bias + 127 - _FRACTION - 62, count), 52))
    size_of_r = m.mul(m.convert("uitofp", angle, f64), scale)
    return m.copysign(size_of_r, m.from_bits(_high_half(m, fraction)))


def _name(m: Lanes, expression: str) -> str:
    """The name of an LLVM expression of a type that the IR has not (i128, a pointer)."""
    name = m.code.fresh()
    m.code.line(f"{name} = {expression}")
    return name


def _high_half(m: Lanes, wide: str) -> Vec:
    return Vec(_name(m, f"trunc i128 {_name(m, f'lshr i128 {wide}, 64')} to i64"), i64)


def _half_pi_fixed() -> int:
    """floor(pi / 2 * 2^63): the float parts of pi, summed exactly."""
    return sum(int(math.ldexp(part, 62 + 200)) for part in PI[f64]) >> 200
