"""The default dtype, and what the dtypes are: limits, promotion.

Imports: `dispatch`, `tensors`, `state`, `ir.types`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import OPERAND, result_dtype
from ..ir.types import DType, dtype_of, promote
from ..state import defaults
from ..tensors import Tensor

_KIND = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def set_default_dtype(d: Any) -> None:
    """Make `d` (float32 or float64) the dtype of Python floats and of constructors. Raises TypeError."""
    dtype = dtype_of(d)
    if not dtype.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {dtype}")
    defaults.dtype = dtype


def get_default_dtype() -> DType:
    """The dtype of Python floats and of constructors."""
    return defaults.dtype


def promote_types(type1: Any, type2: Any) -> DType:
    """The dtype both convert to: bool < integer < float, then the wider."""
    return promote(dtype_of(type1), dtype_of(type2))


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype of an operation of two tensors or numbers: those with dimensions decide, then 0-d tensors, then
    numbers, where they are of a higher category (bool < integer < float). Raises TypeError for anything else."""
    return result_dtype(_operand(tensor1, "tensor1"), _operand(tensor2, "tensor2"))


def _operand(x: Any, name: str) -> Any:
    if not isinstance(x, OPERAND):
        raise TypeError(f"result_type(): argument '{name}' must be Tensor or Number, not {type(x).__name__}")
    return x


def can_cast(from_: Any, to: Any) -> bool:
    """Whether an in-place operation may write a result of dtype from_ into a tensor of dtype to."""
    return _KIND[dtype_of(from_).kind] <= _KIND[dtype_of(to).kind]


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor. A Python number in a recording is none."""
    return isinstance(obj, Tensor) and not obj._weak


class finfo:
    """Limits of a floating dtype: `eps`, `min`, `max`, `tiny`, `smallest_normal`, `bits`, `resolution`."""

    def __init__(self, type: Any = None) -> None:
        dtype = defaults.dtype if type is None else dtype_of(type)
        if not dtype.is_floating_point:
            raise TypeError(f"finfo() requires a floating point input type, got {dtype}")
        limits = np.finfo(dtype.numpy)
        self.bits, self.dtype = dtype.bits, dtype.name
        self.eps, self.min, self.max = float(limits.eps), float(limits.min), float(limits.max)
        self.tiny = self.smallest_normal = float(limits.tiny)
        self.resolution = float(limits.resolution)


class iinfo:
    """Limits of an integer dtype: `min`, `max`, `bits`."""

    def __init__(self, type: Any) -> None:
        dtype = dtype_of(type)
        if not dtype.is_integer:
            raise TypeError(f"iinfo() requires an integer input type, got {dtype}")
        limits = np.iinfo(dtype.numpy)
        self.bits, self.dtype = dtype.bits, dtype.name
        self.min, self.max = int(limits.min), int(limits.max)
