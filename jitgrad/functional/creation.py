"""Making tensors: from data, filled, counting, and the typed constructors of the older interface.

Inside a recording constructors emit constants; `from_numpy` always makes a concrete tensor, for it shares
the caller's memory. Every function takes dtype, device ("cpu" or None) and requires_grad as torch's do.
Imports: `arguments`, `dispatch`, `tensors`, `state`, `ir.types`, `errors`, `ir.ops`.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..dispatch import apply, as_element, blame, cast, expand_to, lift
from ..errors import DTypeError
from ..ir.ops import TABLE
from ..ir.types import DType, Shape, bool_, dtype_of, f64, i64
from ..state import defaults, state
from ..tensors import Tensor, again, concrete, make
from .arguments import packed, want_number, want_tensor


def check_device(device: Any) -> None:
    if device is not None and str(device).split(":")[0] != "cpu":
        raise RuntimeError(f"device {device!r} is not supported: jitgrad runs on 'cpu'")


def finished(t: Tensor, requires_grad: bool, device: Any = None) -> Tensor:
    """A new tensor with its flags set."""
    check_device(device)
    return t.requires_grad_() if requires_grad else t


# -- from data


def _plain(data: Any) -> Any:
    """`data` with the tensors in it replaced by arrays."""
    if isinstance(data, Tensor):
        array = concrete(data, "tensor(data) with a tensor in data")
        return array.item() if data._weak else array
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError("a masked array has elements without a value: fill it first, with .filled(value)")
    if isinstance(data, (list, tuple)):
        return [_plain(d) for d in data]
    return data


def _first(data: Any) -> Any:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def array_from(data: Any, dtype: DType | None) -> np.ndarray:
    """A new array of `data`, in `dtype` or with torch's dtypes for Python numbers."""
    plain = _plain(data)
    first = _first(plain)
    typed = isinstance(first, (np.ndarray, np.generic))
    try:
        with np.errstate(over="ignore"):  # of a number that float32 does not hold
            wanted = dtype.numpy if dtype is not None and dtype.is_floating_point and not typed else None
            array = np.array(plain, wanted)
    except ValueError as error:
        raise ValueError(f"tensor(): data is not a regular nested sequence of numbers: {error}") from None
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if isinstance(first, str):
        raise TypeError("tensor(): invalid data type 'str'")
    if not typed and (array.dtype == object or array.dtype == np.uint64) and isinstance(first, int):
        raise ValueError("Overflow when unpacking long: an integer does not fit int64")
    if array.dtype == object:
        raise RuntimeError(f"tensor(): could not infer dtype of {type(first).__name__}")
    natural = defaults.dtype if array.dtype.kind == "f" else i64 if array.dtype.kind in "iu" else None
    if dtype is None:
        with np.errstate(over="ignore"):
            return array.astype((dtype_of(array.dtype) if typed or natural is None else natural).numpy, copy=False)
    if dtype.is_integer and not typed and array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype.numpy)
        if array.min() < limits.min or array.max() > limits.max:
            raise RuntimeError(f"value cannot be converted to type {dtype} without overflow")
    dtype_of(array.dtype)  # raises for a dtype there is none of
    return array if array.dtype == dtype.numpy else TABLE["cast"].evaluate((array,), {"dtype": dtype})[0]


def _constant(array: np.ndarray) -> Tensor:
    """A tensor of a new array that nobody else holds."""
    if state.recording is None:
        return make(array)
    array.flags.writeable = False
    return apply("const", value=array, dtype=dtype_of(array.dtype), shape=array.shape)


def tensor(
    data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested sequences of numbers, an array or a tensor.

    Python floats give the default dtype, ints int64, bools bool; arrays keep theirs. Raises ValueError for
    ragged sequences, TypeError for what is not a number, DTypeError for a dtype jitgrad has not.
    """
    want = dtype_of(dtype) if dtype is not None else None
    if isinstance(data, Tensor):
        t = apply("detach", _strong(data, want)) if state.recording is not None else make(np.array(data._array))
        return finished(cast(t, want or t.dtype), requires_grad, device)
    return finished(_constant(array_from(data, want)), requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing its memory where it is a tensor or an array of the right dtype."""
    want = dtype_of(dtype) if dtype is not None else None
    check_device(device)
    if isinstance(data, Tensor):
        t = _strong(data, want)
        return t if want is None else cast(t, want)
    if isinstance(data, np.ndarray) and (want is None or want.numpy == data.dtype):
        return from_numpy(data)
    return tensor(data, want)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor over the memory of `ndarray`: a write to either is seen in both, a new shape or dtype is not."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    _plain(ndarray)
    if dtype_of(ndarray.dtype).numpy != ndarray.dtype:
        raise blame(DTypeError(f"from_numpy: {ndarray.dtype} is not in this machine's byte order"))
    t = make(np.asarray(ndarray).view())
    if state.recording is not None:
        state.recording.made_here.append(t)
    return t


def scalar_tensor(s: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor of the default dtype (or `dtype`)."""
    return full((), s, dtype=dtype or defaults.dtype, device=device, requires_grad=requires_grad)


# -- filled


def filled(value: Any, dtype: DType, shape: Shape) -> Tensor:
    """A tensor of `shape` in memory of its own."""
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")
    if state.recording is not None:
        return lift(value, dtype, shape)
    return make(np.full(shape, as_element(value, dtype), dtype.numpy))


def _number_dtype(value: Any) -> DType:
    if isinstance(value, (bool, np.bool_)):
        return bool_
    return i64 if isinstance(value, (int, np.integer)) else defaults.dtype


def _strong(t: Tensor, dtype: DType | None) -> Tensor:
    """`t`; where it stands for a Python number in a recording, the tensor that the number would be made into."""
    return apply("cast", t, dtype=dtype or defaults.dtype) if t._weak else t


def _of(dtype: Any) -> DType:
    return defaults.dtype if dtype is None else dtype_of(dtype)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with 0."""
    return finished(filled(0, _of(dtype), packed("zeros", "size", size)), requires_grad, device)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with 1."""
    return finished(filled(1, _of(dtype), packed("ones", "size", size)), requires_grad, device)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are to be written: they are 0, so that a forgotten one is the same each run."""
    return finished(filled(0, _of(dtype), packed("empty", "size", size)), requires_grad, device)


def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor filled with `fill_value`, a number or a tensor of one element, of its dtype unless one is given."""
    shape = packed("full", "size", (size,))
    if isinstance(want_number("full", "fill_value", fill_value), Tensor):
        if fill_value.ndim:
            fill_value = apply("reshape", fill_value, shape=())
        t = _strong(fill_value, None if dtype is None else dtype_of(dtype))
        t = expand_to(cast(t, t.dtype if dtype is None else dtype_of(dtype)), shape)
        return finished(make(t._array.copy()) if isinstance(t._array, np.ndarray) else t, requires_grad, device)
    found = _number_dtype(fill_value) if dtype is None else dtype_of(dtype)
    return finished(filled(fill_value, found, shape), requires_grad, device)


def _like(input: Any, function: str, dtype: Any) -> tuple[DType, Shape]:
    t = want_tensor(function, input)
    return (t.dtype if dtype is None else dtype_of(dtype)), tuple(t.shape)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of `input`."""
    return finished(filled(0, *_like(input, "zeros_like", dtype)), requires_grad, device)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of `input`."""
    return finished(filled(1, *_like(input, "ones_like", dtype)), requires_grad, device)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor to be written, of the shape and dtype of `input`; see `empty`."""
    return finished(filled(0, *_like(input, "empty_like", dtype)), requires_grad, device)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`fill_value` in the shape and dtype of `input`."""
    found, shape = _like(input, "full_like", dtype)
    return full(shape, fill_value, dtype=found, device=device, requires_grad=requires_grad)


def new_zeros(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the dtype of `input`."""
    return zeros(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_ones(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the dtype of `input`."""
    return ones(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_empty(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor to be written, of the dtype of `input`; see `empty`."""
    return empty(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_full(
    input: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`fill_value` in the dtype of `input`."""
    return full(size, fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_tensor(
    input: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A copy of `data` in the dtype of `input`."""
    return tensor(data, dtype or input.dtype, device, requires_grad)


# -- counting


def _own(t: Tensor) -> Tensor:
    """`t` in writable memory of its own (numpy hands out repeated elements read-only)."""
    payload = t._array
    return make(payload.copy()) if isinstance(payload, np.ndarray) and not payload.flags.writeable else t


def iota(n: int, dtype: DType, axis: int = 0, shape: Shape | None = None) -> Tensor:
    """0, 1, ... n - 1 along `axis` of `shape` (default: one axis). Not for writing."""
    return apply("iota", axis=axis, dtype=dtype, shape=(n,) if shape is None else shape)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... below `end`; `arange(end)` starts at 0.

    int64 if all three are ints, else the default dtype. Computed in float64 for floating dtypes. Raises
    RuntimeError for a step of 0 or of the wrong sign.
    """
    if end is None:
        start, end = 0, start
    start, end, step = (
        x.item() if isinstance(x, (Tensor, np.generic)) else want_number("arange", name, x)
        for name, x in (("start", start), ("end", end), ("step", step))
    )
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(x, int) for x in (start, end, step))
    want = (i64 if whole else defaults.dtype) if dtype is None else dtype_of(dtype)
    if not want.is_floating_point and not whole:
        start, end, step, whole = int(start), int(end), int(step), True
        if step == 0:
            raise RuntimeError("step must be nonzero")
    n = -((start - end) // step) if whole else math.ceil((end - start) / step)
    computed = f64 if want.is_floating_point else i64
    t = iota(n, computed)
    if step != 1:
        t = apply("mul", t, lift(step, computed, (n,)))
    if start != 0:
        t = apply("add", t, lift(start, computed, (n,)))
    return finished(_own(cast(t, want)), requires_grad, device)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` evenly spaced values from `start` to `end`, both included."""
    start, end = float(start), float(end)
    n = operator.index(steps)
    if n < 0:
        raise RuntimeError("number of steps must be non-negative")
    step = (end - start) / (n - 1) if n > 1 else 0.0
    ramp = apply("mul", iota(n, f64), lift(step, f64, (n,)))
    rising = apply("add", ramp, lift(start, f64, (n,)))
    # From the end in the second half: so the last value is `end` exactly, and the spacing symmetric.
    falling = apply("sub", lift(end, f64, (n,)), apply("flip", ramp, axes=(0,)))
    first_half = apply("lt", iota(n, i64), lift(max(n // 2, 1), i64, (n,)))
    return finished(cast(apply("select", first_half, rising, falling), _of(dtype)), requires_grad, device)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`base` to the power of `linspace(start, end, steps)`."""
    exponents = linspace(start, end, steps, dtype=f64)
    powers = apply("pow", lift(float(base), f64, (exponents.shape[0],)), exponents)
    return finished(cast(powers, _of(dtype)), requires_grad, device)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity: 1 on the diagonal of an n by m matrix, 0 elsewhere."""
    shape = (operator.index(n), operator.index(n if m is None else m))
    on = apply("eq", iota(0, i64, 0, shape), iota(0, i64, 1, shape))
    return finished(cast(on, _of(dtype)), requires_grad, device)


# -- the older interface


def legacy_constructor(*args: Any, dtype: DType | None = None) -> Tensor:
    """`FloatTensor(2, 3)`, `FloatTensor(x.size())`, `FloatTensor([1., 2.])`, `FloatTensor()`.

    A size gives a tensor to be written (see `empty`), data one with a copy of it, in float32 or `dtype`.
    """
    from ..tensors import Size

    want = defaults.dtype if dtype is None else dtype
    if not args:
        return filled(0, want, (0,))
    if len(args) == 1 and not isinstance(args[0], (int, np.integer, Size)):
        data = args[0]
        if isinstance(data, Iterable) and not isinstance(data, (Sequence, np.ndarray, Tensor)):
            data = list(data)
        if isinstance(data, float):
            raise TypeError("new(): data must be a sequence (got float)")
        return tensor(data, want)
    return filled(0, want, packed("new", "size", args))


class _Typed(type):
    """Makes `isinstance(x, FloatTensor)` ask for the dtype."""

    dtype: DType

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any) -> Tensor:
        return legacy_constructor(*args, dtype=cls.dtype)


def _typed(name: str, code: str) -> Any:
    doc = f"`{name}(2, 3)`, `{name}([1, 2])`: makes a tensor; `isinstance(x, {name})` asks for the dtype."
    return _Typed(name, (), {"dtype": dtype_of(code), "__doc__": doc, "__module__": "jitgrad"})


FloatTensor = _typed("FloatTensor", "f32")
DoubleTensor = _typed("DoubleTensor", "f64")
LongTensor = _typed("LongTensor", "i64")
IntTensor = _typed("IntTensor", "i32")
ShortTensor = _typed("ShortTensor", "i16")
CharTensor = _typed("CharTensor", "i8")
ByteTensor = _typed("ByteTensor", "u8")
BoolTensor = _typed("BoolTensor", "bool")
TYPED: dict[str, Any] = {
    t.__name__: t
    for t in (FloatTensor, DoubleTensor, LongTensor, IntTensor, ShortTensor, CharTensor, ByteTensor, BoolTensor)
}


def detached(t: Tensor) -> Tensor:
    """Another tensor over the memory of `t`, outside the graph; writes to either count for backward."""
    return again(t) if state.recording is None else state.recording.alias(t)


class _AnyTensor(type):
    """Makes `isinstance(x, Variable)` true of every tensor, and `Variable(x)` a tensor."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)

    def __call__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Tensor:
        if volatile:
            warnings.warn(
                "volatile is no longer handed on to results: use `with jitgrad.no_grad():` instead", stacklevel=2
            )
        t = detached(data) if isinstance(data, Tensor) and not data._weak else tensor(data)
        return finished(t, requires_grad and not volatile)


class Variable(metaclass=_AnyTensor):
    """`Variable(data, requires_grad=False, volatile=False)`: a tensor over the memory of tensor `data` (or of a copy
    of other data), a leaf of its own.

    `volatile=True` is of the older interface: this tensor does not require grad, and a warning says that its results
    may. Raises RuntimeError for requires_grad on a dtype that is not floating point.
    """
