"""What the tests of the op contract share: the ops, their samples, and one-instruction functions of them."""

import functools

import numpy as np
import pytest

from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.ops import TABLE
from jitgrad.ir.ops.record import Nondiff, OpDef, Sample
from jitgrad.ir.types import TensorType, type_of_array

SEED = 1


@functools.cache
def samples_of(name: str) -> tuple[Sample, ...]:
    return tuple(TABLE[name].samples(np.random.default_rng(SEED)))


def every_op(*, where=lambda op: True):
    """Parametrizes a test over the ops of the table that `where` holds for."""
    ops = [op for op in TABLE.values() if where(op)]
    return pytest.mark.parametrize("op", ops, ids=[op.name for op in ops])


def differentiable(op: OpDef) -> bool:
    """Whether finite differences have a say: a barrier's derivative is not that of what it computes."""
    return not isinstance(op.derivative, Nondiff) and "barrier" not in op.traits


def types_of(sample: Sample) -> tuple[TensorType, ...]:
    return tuple(map(type_of_array, sample.args))


def function_of(op: OpDef, sample: Sample) -> Function:
    """The function of this one instruction."""
    b = FunctionBuilder()
    args = [b.param(t) for t in types_of(sample)]
    return b.finish("f", b.emit(op.name, args, sample.attrs))


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many representable numbers lie between the elements, 0 for nan with nan and for 0 with -0; inf
    follows the largest finite number. Integers and bools differ by 0 or by very many."""
    far = np.iinfo(np.int64).max
    if a.dtype.kind != "f":
        return np.where(a == b, 0, far)
    nan = np.isnan(a) | np.isnan(b)
    both = np.isnan(a) & np.isnan(b)
    distance = np.abs(_rank(a) - _rank(b))
    return np.where(both, 0, np.where(nan, far, distance.astype(np.float64)))


def _rank(x: np.ndarray) -> np.ndarray:
    """The position of each float among all floats, as an exact number (an object where int64 overflows)."""
    bits = x.view(np.int32 if x.dtype == np.float32 else np.int64).astype(object)
    limit = 2 ** (8 * x.dtype.itemsize - 1)
    return np.where(bits >= 0, bits, -limit - bits)
