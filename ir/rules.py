"""THE table of rewrite rules: which instruction is simpler as what (the language is that of `patterns`).

A rule preserves values bit for bit, a nan's payload and sign apart, unless it says `exact=False`: then it
may change the rounding of a result or the sign of a zero. (A rule that computes an op on fewer elements says
so too: NumPy's transcendental functions round differently in loops of different lengths.) It preserves
derivatives too, for it may run before differentiation. What is not here, because it is not so: x - x is not
0 and x * 0 is not 0 (inf, nan), x + 0 is not x (-0.0 + 0.0 is 0.0), 0 - x is not -x (likewise), -(x - y) is
not y - x, not (x < y) is not x >= y (nan), (x * c) * d is not x * (c * d). A rule drops no trap: an operand
that can trap stays where it was until `dce` finds that nothing is lost.

Of two rules for one op the first that applies wins.

Imports: `patterns`, `rewrite`, `view_rules`, `interpreter` (to fold constants), `ops`, `types`, `core`, `errors`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .core import Value
from .errors import JitgradError
from .interpreter import NumpyBuilder
from .ops import TABLE
from .patterns import Procedure, Rule
from .rewrite import Candidate, Rewrite, Rewriter, RuleTable
from .types import DType, TensorType
from .view_rules import VIEW_RULES

FOLD_LIMIT = 64  # folding makes at most so many elements that differ from each other
FOLD_INPUT = 4096  # and reads at most so many


def integer(x: Value) -> bool:
    return x.type.dtype.is_integer


def floating(x: Value) -> bool:
    return x.type.dtype.is_floating_point


def not_floating(x: Value) -> bool:
    return not floating(x)


def _add_both(b: Any, x: Value, C: int, D: int) -> Any:
    """x + (C + D), as two's complement leaves the sum."""
    dtype = x.type.dtype
    n = (C + D) & ((1 << dtype.bits) - 1)
    signed = n - (1 << dtype.bits) if dtype.kind == "int" and n >> (dtype.bits - 1) else n
    return b.add(x, b.constant(signed, x.type))


def _times_inverse(b: Any, x: Value, C: float) -> Any:
    """x / 2^k is x * 2^-k to the last bit, where 2^-k is a number of the dtype."""
    if C == 0 or not math.isfinite(C) or abs(math.frexp(C)[0]) != 0.5:
        return None
    with np.errstate(over="ignore"):
        inverse = x.type.dtype.numpy.type(1.0 / C).item()
    return b.mul(x, inverse) if inverse * C == 1.0 else None


def _square_root(b: Any, x: Value) -> Any:
    """x^0.5 is sqrt x, but for -0.0, whose power is 0.0, and -inf, whose power is inf."""
    return b.select(b.eq(x, -math.inf), math.inf, b.sqrt(b.add(x, 0.0)))


def holds(narrow: DType, wide: DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if narrow is wide or narrow.kind == "bool":
        return True
    if wide.kind == "bool":
        return False
    if narrow.is_floating_point:
        return wide.is_floating_point and wide.bits >= narrow.bits
    digits = narrow.bits - (narrow.kind == "int")
    if wide.is_floating_point:
        return digits <= np.finfo(wide.numpy).nmant + 1
    return wide.bits - (wide.kind == "int") >= digits and (narrow.kind == "uint" or wide.kind == "int")


def _cast_once(b: Any, x: Value, m: DType, d: DType) -> Any:
    """x to m to d is x to d where m holds all of x. But a float saturates where an integer wraps."""
    source = x.type.dtype
    saturates = m.is_floating_point and not source.is_floating_point and d.is_integer
    if not holds(source, m) or (saturates and not holds(source, d)):
        return None
    return b.cast(x, dtype=d)


def fold(b: Rewriter, at: Candidate) -> Any:
    """An op on constants is a constant: one number where numbers fill them, or an array if it is small."""
    record = TABLE[at.op]
    if "barrier" in record.traits or len(at.types) != 1:
        return None
    made = [b.made_by(a, "const") for a in at.args]
    if None in made:
        return None
    (type,) = at.types
    numbers = [n for a in at.args if (n := b.number(a)) is not None]
    if len(numbers) == len(at.args) and "view" in record.traits:
        return b.constant(numbers[0], type)
    if len(numbers) == len(at.args) and record.elementwise:
        operands = [np.asarray(n, a.type.dtype.numpy) for n, a in zip(numbers, at.args, strict=True)]
    elif type.size <= FOLD_LIMIT and all(a.type.size <= FOLD_INPUT for a in at.args):
        operands = [TABLE["const"].evaluate((), d.attrs)[0] for d in made if d is not None]
    else:
        return None
    try:
        (result,) = NumpyBuilder().emit(at.op, operands, at.attrs)
    except JitgradError:  # it traps, and must when it is run
        return None
    return _constant(b, result, type)


def _constant(b: Rewriter, array: np.ndarray, type: TensorType) -> Any:
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.size == 0:
        return b.zeros(type)
    if flat.tobytes() == flat[:1].tobytes() * flat.size:
        return b.constant(flat[0].item(), type)
    held = np.array(array)
    held.flags.writeable = False
    return b.emit("const", (), {"value": held, "dtype": type.dtype, "shape": type.shape})[0]


FOLD: tuple[Rewrite, ...] = (
    Procedure([op.name for op in TABLE.values() if op.operands], fold, needs="const", exact=False),
)

ARITHMETIC: tuple[Rewrite, ...] = (
    # Neutral elements. 0 matches 0.0 and not -0.0.
    Rule("add(x, 0)", "x", integer),
    Rule("add(x, -0.0)", "x"),
    Rule("sub(x, 0)", "x"),
    Rule("mul(x, 1)", "x"),
    Rule("div(x, 1)", "x"),
    Rule("pow(x, 1)", "x"),
    Rule("floor_divide(x, 1)", "x", integer),
    Rule("shift_left(x, 0)", "x"),
    Rule("shift_right(x, 0)", "x"),
    # What absorbs, for integers alone.
    Rule("mul(x, 0)", "0", integer),
    Rule("sub(x, x)", "0", integer),
    Rule("remainder(x, 1)", "0", integer),
    Rule("fmod(x, 1)", "0", integer),
    Rule("pow(x, 0)", "1"),
    # Signs move outwards, to where a sum takes them up.
    Rule("neg(neg(x))", "x"),
    Rule("mul(x, -1)", "neg(x)"),
    Rule("div(x, -1)", "neg(x)"),
    Rule("sub(-0.0, x)", "neg(x)"),
    Rule("sub(0, x)", "neg(x)", integer),
    Rule("neg(sub(x, y))", "sub(y, x)", integer),
    Rule("neg(mul(x, C))", lambda b, x, C: b.mul(x, -C), floating),
    Rule("mul(neg(x), C)", lambda b, x, C: b.mul(x, -C), floating),
    Rule("mul(neg(x), y)", "neg(mul(x, y))"),
    Rule("div(neg(x), y)", "neg(div(x, y))"),
    Rule("div(x, neg(y))", "neg(div(x, y))"),
    Rule("add(x, neg(y))", "sub(x, y)"),
    Rule("sub(x, neg(y))", "add(x, y)"),
    Rule("abs(neg(x))", "abs(x)"),
    Rule("sum(neg(x), axes=a)", "neg(sum(x, axes=a))", exact=False),
    # Cheaper ops. A power by multiplication is within 2 units in the last place, and nearer than libm's.
    Rule("div(x, C)", _times_inverse),
    Rule("add(add(x, C), D)", _add_both, integer),
    Rule("reciprocal(x)", lambda b, x: b.div(b.constant(1, x.type), x)),
    Rule("pow(x, 2)", "mul(x, x)", exact=False),
    Rule("pow(x, 3)", "mul(mul(x, x), x)", exact=False),
    Rule("pow(x, 4)", "mul(mul(x, x), mul(x, x))", exact=False),
    Rule("pow(x, -1)", lambda b, x: b.div(b.constant(1, x.type), x), floating, exact=False),
    Rule("pow(x, 0.5)", _square_root, exact=False),
    Rule("pow(x, -0.5)", lambda b, x: b.div(b.constant(1, x.type), _square_root(b, x)), exact=False),
    # Twice is once.
    *(Rule(f"{op}({op}(x))", f"{op}(x)") for op in ("abs", "sign", "floor", "ceil", "round", "trunc")),
    # Of integers: of floats both operands get the whole gradient where they are nan.
    Rule("maximum(x, x)", "x", integer),
    Rule("minimum(x, x)", "x", integer),
)

LOGIC: tuple[Rewrite, ...] = (
    Rule("bitwise_not(bitwise_not(x))", "x"),
    Rule("bitwise_and(x, x)", "x"),
    Rule("bitwise_or(x, x)", "x"),
    Rule("bitwise_xor(x, x)", "0"),
    Rule("bitwise_and(x, True)", "x"),
    Rule("bitwise_and(x, False)", "False"),
    Rule("bitwise_or(x, True)", "True"),
    Rule("bitwise_or(x, False)", "x"),
    Rule("bitwise_xor(x, True)", "bitwise_not(x)"),
    Rule("bitwise_xor(x, False)", "x"),
    Rule("bitwise_and(x, 0)", "0"),
    Rule("bitwise_or(x, 0)", "x"),
    Rule("bitwise_xor(x, 0)", "x"),
    # Comparisons: a constant goes to the right; nan makes all but `ne` false.
    Rule("lt(C, x)", lambda b, x, C: b.gt(x, C)),
    Rule("le(C, x)", lambda b, x, C: b.ge(x, C)),
    Rule("gt(C, x)", lambda b, x, C: b.lt(x, C)),
    Rule("ge(C, x)", lambda b, x, C: b.le(x, C)),
    Rule("lt(x, x)", "False"),
    Rule("gt(x, x)", "False"),
    Rule("ne(x, x)", "isnan(x)", floating),
    Rule("ne(x, x)", "False", not_floating),
    *(Rule(f"{op}(x, x)", "True", not_floating) for op in ("eq", "le", "ge")),
    Rule("eq(x, True)", "x"),
    Rule("ne(x, False)", "x"),
    Rule("eq(x, False)", "bitwise_not(x)"),
    Rule("ne(x, True)", "bitwise_not(x)"),
    Rule("bitwise_not(eq(x, y))", "ne(x, y)"),
    Rule("bitwise_not(ne(x, y))", "eq(x, y)"),
    Rule("bitwise_not(lt(x, y))", "ge(x, y)", not_floating),
    Rule("bitwise_not(le(x, y))", "gt(x, y)", not_floating),
    Rule("bitwise_not(gt(x, y))", "le(x, y)", not_floating),
    Rule("bitwise_not(ge(x, y))", "lt(x, y)", not_floating),
    Rule("select(True, x, y)", "x"),
    Rule("select(False, x, y)", "y"),
    Rule("select(c, x, x)", "x"),
    Rule("select(c, True, False)", "c"),
    Rule("select(c, False, True)", "bitwise_not(c)"),
    Rule("select(bitwise_not(c), x, y)", "select(c, y, x)"),
    Rule("select(c, select(c, x, y), z)", "select(c, x, z)"),
    Rule("select(c, x, select(c, y, z))", "select(c, x, z)"),
)

CONVERSION: tuple[Rewrite, ...] = (
    Rule("cast(x, dtype=d)", "x", lambda x, d: x.type.dtype is d),
    Rule("cast(cast(x, dtype=m), dtype=d)", _cast_once),
    # No derivative flows through a value that is not a float, nor from a constant.
    Rule("detach(detach(x))", "detach(x)"),
    Rule("detach(x)", "x", not_floating),
    Rule("detach(const(value=v))", lambda b, v, out_type: b.emit(
        "const", (), {"value": v, "dtype": out_type.dtype, "shape": out_type.shape})[0]),
)

RULES = RuleTable((*FOLD, *ARITHMETIC, *LOGIC, *CONVERSION, *VIEW_RULES))
