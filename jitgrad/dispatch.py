"""Applying primitives to tensors: the one way in which tensors come to be.

`apply` runs an op on tensors whose types it accepts as they are. Without a recording it runs the op's
numpy reference at once; inside one it appends the op to the IR, with the user's line. Either way it adds a
node to the autograd graph where a gradient is needed. `binary`, `where`... above it (in `functional`)
bring operands to a common type with `operands`: Python numbers are lifted to constants, dtypes promoted
by torch's rules, shapes broadcast.

Imports: `tensors`, `autograd.graph`, `state`, `errors`, `ir`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .autograd.graph import backward_plan, node_class
from .errors import DTypeError, JitgradError, user_location
from .ir.core import Value
from .ir.ops import TABLE
from .ir.ops.record import Nondiff, OpDef
from .ir.types import (
    DType,
    Shape,
    bool_,
    broadcast_shapes,
    f64,
    i64,
    promote,
    type_of_array,
)
from .state import defaults, state
from .tensors import Storage, Tensor, View, leaked, make, number_class, shape_of, up_to_date

Number = (bool, int, float, np.bool_, np.integer, np.floating)
OPERAND = (Tensor, *Number)


class _NumberStorage(Storage):
    """The storage of all constants that Python numbers become: nobody writes there."""

    __slots__ = ()
    holds_number = True


_NUMBERS = _NumberStorage(None)


def apply(op: str, *tensors: Tensor, **attrs: Any) -> Any:
    """The result of `op` (a tuple where it has several) on tensors of exactly the types it takes.

    Raises what the op's inference or reference raises, blamed on the user's line.
    """
    record = TABLE[op]
    recording = state.recording
    try:
        if recording is not None:  # the graph too is built over what stands for tensors from outside
            tensors = tuple([recording.standing(t) for t in tensors])
        outs = _run(record, tensors, attrs)
    except JitgradError as error:
        raise blame(error) from None
    differentiate = False
    for t in tensors:
        if t._view is not None:
            up_to_date(t)
        if t._requires_grad:
            differentiate = True
    if differentiate:
        _attach(record, tensors, attrs, outs)
    return outs[0] if len(outs) == 1 else outs


def blame(error: JitgradError) -> JitgradError:
    """`error` with the user's line, unless it has one."""
    loc = user_location()
    return error.at(loc.excerpt()) if loc else error


def _run(op: OpDef, tensors: Sequence[Tensor], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
    recording = state.recording
    if recording is not None:
        return recording.run(op.name, tensors, attrs)
    arrays = []
    masks = False
    for t in tensors:
        if isinstance(t._array, Value):
            raise leaked(t)
        arrays.append(t._array)
        masks = masks or t._array.dtype.kind == "b"
    if masks:  # numpy computes with bools where the op does not
        op.result_types([type_of_array(a) for a in arrays], attrs)
    results = op.evaluate(arrays, attrs)
    if "view" in op.traits:
        return (_view(op, tensors[0], attrs, results[0]),)
    return tuple([make(r if r.flags.c_contiguous else r.copy()) for r in results])


def _view(op: OpDef, source: Tensor, attrs: dict[str, Any], array: np.ndarray) -> Tensor:
    """The result of a view op: over the memory of `source`, unless numpy or torch copies there."""
    if op.name == "flip":
        return make(array.copy())
    if op.name == "reshape" and not np.may_share_memory(array, source._array):
        return make(array)
    if op.name in ("broadcast", "diagonal"):  # numpy's are read-only, even where nothing repeats
        try:
            array.flags.writeable = source._array.flags.writeable
        except ValueError:  # a view that was there before its base became read-only
            array = np.lib.stride_tricks.as_strided(source._array, array.shape, array.strides)
    t = make(array, source._storage)
    base, steps = (source, ()) if source._view is None else (source._view.base, source._view.steps)
    t._view = View(base, (*steps, (op.name, attrs)))
    return t


def _attach(op: OpDef, tensors: Sequence[Tensor], attrs: dict[str, Any], outs: tuple[Tensor, ...]) -> None:
    """Give the floating-point results of `op` their node, where the op has a derivative."""
    if isinstance(op.derivative, Nondiff):
        return
    if not state.grad_enabled:
        if state.recording is not None:
            state.recording.detach(outs)
        return
    plan = backward_plan(op.name, tuple([t._requires_grad for t in tensors]))
    if plan is None:
        return
    node = node_class(op.name)(tensors, attrs, outs, plan)
    if state.recording is not None:
        node.origin = state.recording.value(outs[0])
    for number, out in enumerate(outs):
        if out.dtype.is_floating_point:
            out._node, out._output_nr, out._requires_grad = node, number, True


# -- bringing operands together


def lift(number: Any, dtype: DType, shape: Shape = ()) -> Tensor:
    """A tensor of `shape` filled with a Python number, outside the graph and never written to.

    Raises DTypeError for a number that `dtype` does not hold, OverflowError for one that int64 does not; a fraction
    is cut off.
    """
    number = as_element(number, dtype)
    if state.recording is not None:
        return state.recording.constant(number, dtype, shape)
    array = np.ndarray(shape, dtype.numpy, np.asarray(number, dtype.numpy), 0, (0,) * len(shape))
    return make(array, _NUMBERS)


def as_element(number: Any, dtype: DType) -> bool | int | float:
    """`number` as the Python number that an element of `dtype` is."""
    if dtype.is_floating_point:
        number = float(number)
        # To infinity here, for numpy warns of it.
        return number if dtype is f64 or not abs(number) >= _F32_OVERFLOW else math.copysign(math.inf, number)
    if dtype is bool_:
        return bool(number)
    check_int(number)
    limits = np.iinfo(dtype.numpy)
    if not limits.min <= number <= limits.max:  # nan is in no range
        raise blame(DTypeError(
            f"value {number} cannot be converted to type {dtype} without overflow",
            hint="convert the tensor to a wider dtype first",
        ))
    return int(number)


_F32_OVERFLOW = 2.0**128 - 2.0**103  # from here on the nearest float32 is infinity


def check_int(number: Any) -> None:
    """Raises OverflowError, as torch does, for an integer that neither int64 nor uint64 holds."""
    if isinstance(number, int) and not -(1 << 63) <= number < 1 << 64:
        raise OverflowError(f"int too big to convert: {number} does not fit int64")


def wrapped(x: Any, dtype: DType) -> Any:
    """An integer modulo 2^bits, as an integer `dtype` holds it; anything else as it is. Raises OverflowError."""
    if not dtype.is_integer or not isinstance(x, (int, np.integer)) or 0 <= x < 128:
        return x
    check_int(x)
    low = int(x) & ((1 << dtype.bits) - 1)
    return low - (1 << dtype.bits) if dtype.kind == "int" and low >> (dtype.bits - 1) else low


def number_dtype(number: Any) -> DType:
    """The dtype a lone Python number has as a tensor."""
    if isinstance(number, (bool, np.bool_)):
        return bool_
    return i64 if isinstance(number, (int, np.integer)) else defaults.dtype


_CATEGORY = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def result_dtype(*operands: Any) -> DType:
    """The dtype torch gives an operation of tensors and Python numbers (`torch.result_type`).

    Tensors with dimensions decide; 0-d tensors, then numbers, only where they are of a higher category
    (bool < integer < float).
    """
    best: list[DType | None] = [None, None, None]  # with dimensions, 0-d, numbers
    for x in operands:
        if isinstance(x, Tensor):
            rank, dtype = (2, defaults.dtype) if x._weak else (0 if x.ndim else 1, x.dtype)
        else:
            rank, dtype = 2, number_dtype(x)
        found = best[rank]
        best[rank] = dtype if found is None else promote(found, dtype)
    result = None
    for dtype in best:
        if dtype is None:
            continue
        if result is None or _CATEGORY[dtype.kind] > _CATEGORY[result.kind]:
            result = dtype
    assert result is not None
    return result


def operands(*xs: Any, dtype: DType | None = None) -> tuple[Tensor, ...]:
    """`xs`, tensors or numbers, as tensors of one dtype (torch's promotion, or `dtype`) and one shape.

    Raises ShapeError where shapes do not broadcast, TypeError for what is neither tensor nor number.
    """
    if state.recording is not None:
        if _only_numbers(xs):
            return _numbers(xs)
    elif dtype is None and len(xs) == 2:
        fitting = _fitting(*xs)
        if fitting is not None:
            return fitting
    target = dtype or result_dtype(*xs)
    shapes = []
    for x in xs:
        if isinstance(x, Tensor):
            shapes.append(shape_of(x))
        elif not isinstance(x, Number):
            raise TypeError(f"expected a Tensor or a number, got {type(x).__name__}")
    if not shapes:
        return tuple([lift(x, target) for x in xs])
    shape = shapes[0] if all(s == shapes[0] for s in shapes) else _common_shape(shapes)
    return tuple(
        [expand_to(cast(x, target), shape) if isinstance(x, Tensor) else lift(x, target, shape) for x in xs]
    )


def _fitting(x: Any, y: Any) -> tuple[Tensor, ...] | None:
    """The two operands where that is plain to see, for speed: tensors of one type, or a floating-point tensor and
    a number."""
    if not isinstance(x, Tensor) or not isinstance(x._array, np.ndarray):
        return None
    a = x._array
    if isinstance(y, Tensor):
        b = y._array
        return (x, y) if isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape else None
    if a.dtype.kind == "f" and type(y) in (int, float):
        return x, lift(y, x.dtype, a.shape)
    return None


def _only_numbers(xs: Sequence[Any]) -> bool:
    """Whether `xs` are Python numbers, one of them a runtime scalar of the recording."""
    return any(isinstance(x, Tensor) for x in xs) and all(
        x._weak if isinstance(x, Tensor) else True for x in xs
    )


def _numbers(xs: Sequence[Any]) -> tuple[Tensor, ...]:
    """Numbers among themselves compute as Python floats do, in float64, and stay numbers."""
    out = []
    for x in xs:
        t = cast(x, f64) if isinstance(x, Tensor) else lift(float(x), f64)
        t._weak = number_class(x)
        out.append(t)
    return tuple(out)


def _common_shape(shapes: Sequence[Shape]) -> Shape:
    try:
        return broadcast_shapes(*shapes)
    except JitgradError as error:
        raise blame(error) from None


def common_shape(*tensors: Tensor) -> Shape:
    """The shape that `tensors` broadcast to. Raises ShapeError."""
    return _common_shape([shape_of(t) for t in tensors])


def cast(t: Tensor, dtype: DType) -> Tensor:
    """`t` as `dtype`; `t` itself if it has that dtype."""
    return t if t.dtype is dtype else apply("cast", t, dtype=dtype)


def expand_to(t: Tensor, shape: Shape) -> Tensor:
    """`t` broadcast to `shape` by NumPy's rule; `t` itself if it has that shape."""
    own = shape_of(t)
    if own == shape:
        return t
    return apply("broadcast", t, shape=shape, dims=_trailing(len(own), len(shape)))


@cache
def _trailing(rank: int, result_rank: int) -> Shape:
    return tuple(range(result_rank - rank, result_rank))
