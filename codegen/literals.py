"""The dtypes and their numbers in LLVM text.

Imports: `ir.types`.
"""

from __future__ import annotations

import struct

from ..ir.types import DType, bool_, f32

REGISTER_TYPE = {
    "bool": "i1", "u8": "i8", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64",
    "f32": "float", "f64": "double",
}
MEMORY_TYPE = REGISTER_TYPE | {"bool": "i8"}


def float_literal(value: float, dtype: DType) -> str:
    """The exact LLVM literal of `value` rounded to `dtype`: hexadecimal, the bits of the double."""
    if dtype is f32:
        value = round_to_f32(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def round_to_f32(value: float) -> float:
    """`value` rounded to float32, infinite where it overflows."""
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return float(rounded)


def literal(value: float, dtype: DType) -> str:
    """The scalar literal of a number (a bool, an int, a float) as a register of `dtype`."""
    if dtype.is_floating_point:
        return float_literal(float(value), dtype)
    if dtype is bool_:
        return "true" if value else "false"
    return str(int(value))
