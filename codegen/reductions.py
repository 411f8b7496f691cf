"""Reductions on lanes: what a loop carries, how a step adds to it, how lanes become one value.

float sums: each lane of each register is an accumulator. Where a row is long, the loop is cut into blocks of
`BLOCK` elements, whose float32 lanes are added to float64 lanes: at no cost, the error is below that of
pairwise summation. argmax and argmin carry the value and its position; of equal values the first wins, and
nan wins over all. A lane that was counted already is masked by the identity where that matters (sum, prod);
for the others counting twice changes nothing.

Imports: `ir.types`, `emit`, `text`.
"""

from __future__ import annotations

import math

import numpy as np

from ..ir.types import DType, bool_, f32, f64, i32, i64
from .emit import LOWER
from .text import Code, Lanes, Vec

BLOCK = 4096

COMBINE = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}
_ACROSS = {  # LLVM's reductions of a vector: of floats, signed, unsigned, bools
    "sum": ("fadd", "add", "add", "or"),
    "prod": ("fmul", "mul", "mul", "and"),
    "max": ("fmaximum", "smax", "umax", "or"),
    "min": ("fminimum", "smin", "umin", "and"),
}
_KIND = {"float": 0, "int": 1, "uint": 2, "bool": 3}


def identity_of(op: str, dtype: DType) -> float:
    """The number that `op` with another leaves unchanged: -0.0 for float sums, for 0.0 + -0.0 is 0.0."""
    if op == "sum":
        return -0.0 if dtype.is_floating_point else 0
    if op == "prod":
        return 1
    low = op == "max"
    if dtype.is_floating_point:
        return -math.inf if low else math.inf
    if dtype is bool_:
        return not low
    info = np.iinfo(dtype.numpy)
    return int(info.min if low else info.max)


def combine(lanes: Lanes, op: str, x: Vec, y: Vec) -> Vec:
    """`op` of two values, lane by lane. Of zeros of either sign an extremum may be either, as in NumPy: to
    order them too would double its instructions."""
    if op in ("max", "min") and x.dtype.is_floating_point:
        return lanes.intrinsic(COMBINE[op], x, y, flags="nsz ")
    return LOWER[COMBINE[op]](lanes, [x, y], {}, x.dtype)


def across(lanes: Lanes, op: str, x: Vec) -> Vec:
    """`op` of all lanes: a scalar register."""
    if lanes.width == 1:
        return x
    one = Lanes(lanes.code, 1)
    opcode = _ACROSS[op][_KIND[x.dtype.kind]]
    scalar, vector = one.type(x.dtype), lanes.type(x.dtype)
    element = f"f{x.dtype.bits}" if x.dtype.is_floating_point else scalar
    name = f"llvm.vector.reduce.{opcode}.v{lanes.width}{element}"
    if opcode in ("fadd", "fmul"):
        lanes.code.declare(name, scalar, [scalar, vector])
        start = one.const(identity_of(op, x.dtype), x.dtype)
        call = f"call reassoc {scalar} @{name}({scalar} {start.text}, {vector} {x.text})"
    else:
        lanes.code.declare(name, scalar, [vector])
        flags = "nsz " if x.dtype.is_floating_point else ""
        call = f"call {flags}{scalar} @{name}({vector} {x.text})"
    return one.emit(call, x.dtype)


class Accumulator:
    """One reduction over the lanes of one phase. `state` is the registers that the loop carries; `dtype` that
    of the values. `blocked`: sums of long rows, whose narrow state is flushed into a wide one."""

    def __init__(self, code: Code, lanes: Lanes, op: str, dtype: DType, *, long: bool) -> None:
        self.code = code
        self.lanes = lanes
        self.op = op
        self.dtype = dtype
        self.blocked = long and op == "sum" and dtype.is_floating_point
        self.positional = op in ("argmax", "argmin")
        self.masked = op in ("sum", "prod")  # a lane must not be counted twice
        self.wide_dtype = f64 if dtype is f32 else dtype

    def start(self) -> list[Vec]:
        if not self.positional:
            return [self.lanes.const(identity_of(self.op, self.dtype), self.dtype)]
        extreme = identity_of(self.op[3:], self.dtype)
        return [self.lanes.const(extreme, self.dtype), positions(self.lanes, i64)]

    def wide_start(self) -> list[Vec]:
        return [self.lanes.const(-0.0, self.wide_dtype)] if self.blocked else []

    def step(self, state: list[Vec], value: Vec, index: str) -> list[Vec]:
        if not self.positional:
            return [combine(self.lanes, self.op, state[0], value)]
        m, (best, where) = self.lanes, state
        better = self._better(value, best)
        here = m.add(m.splat(Vec(index, i64)), positions(m, i64)) if m.width > 1 else Vec(index, i64)
        return [m.select(better, value, best), m.select(better, here, where)]

    def _better(self, value: Vec, best: Vec) -> Vec:
        m, up = self.lanes, self.op == "argmax"
        if self.dtype.is_floating_point:
            # Unordered counts as better (nan wins), unless the best is nan already: the first one stays.
            type = m.type(self.dtype)
            beats = m.emit(f"fcmp {'ugt' if up else 'ult'} {type} {value.text}, {best.text}", bool_)
            number = m.emit(f"fcmp ord {type} {best.text}, {best.text}", bool_)
            return m.and_(beats, number)
        if self.dtype is bool_:
            return m.and_(value, m.not_(best)) if up else m.and_(m.not_(value), best)
        return m.compare("gt" if up else "lt", value, best)

    def flush(self, wide: list[Vec], state: list[Vec]) -> list[Vec]:
        """The wide state with the narrow one added."""
        return [self.lanes.add(wide[0], self.lanes.cast(state[0], self.wide_dtype))]

    def finish(self, state: list[Vec], dtype: DType) -> Vec:
        """The scalar result of the carried state (the wide one, if blocked) as `dtype`."""
        result = self._first(state) if self.positional else across(self.lanes, self.op, state[0])
        return Lanes(self.code, 1).cast(result, dtype)

    def _first(self, state: list[Vec]) -> Vec:
        m, (best, where) = self.lanes, state
        if m.width == 1:
            return where
        extreme = m.splat(across(m, self.op[3:], best))
        equal = m.compare("eq", best, extreme)
        if self.dtype.is_floating_point:
            equal = m.or_(equal, m.and_(m.is_nan(best), m.is_nan(extreme)))
        last = int(np.iinfo(np.int64).max)
        return across(m, "min", m.select(equal, where, last))


def positions(lanes: Lanes, dtype: DType, step: int = 1) -> Vec:
    """The numbers 0, step, 2 step, ... in the lanes."""
    if lanes.width == 1:
        return Vec("0", dtype)
    element = "i32" if dtype is i32 else "i64"
    return Vec(f"<{', '.join(f'{element} {i * step}' for i in range(lanes.width))}>", dtype)
