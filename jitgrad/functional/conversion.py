"""From one dtype to another, to Python values and to NumPy.

Imports: `arguments`, `creation`, `dispatch`, `tensors`, `ir.types`, `elementwise`, `ir.core`, `state`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import cast
from ..ir.core import Value
from ..ir.types import DType, dtype_of
from ..state import state
from ..tensors import Storage, Tensor, concrete, make
from .arguments import want_tensor
from .creation import TYPED, check_device, detached
from .elementwise import clone


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`to(dtype)`, `to(other)`, `to(device)`, `to(device, dtype)`, with `copy=False`: self itself if it is that."""
    dtype, device = kwargs.pop("dtype", None), kwargs.pop("device", None)
    copy, _ = kwargs.pop("copy", False), kwargs.pop("non_blocking", False)
    if kwargs:
        raise TypeError(f"to() received an invalid keyword argument: {next(iter(kwargs))}")
    for arg in args:
        if isinstance(arg, Tensor):
            dtype = arg.dtype
        elif isinstance(arg, bool):
            copy = arg
        elif isinstance(arg, str) and arg.split(":")[0] in ("cpu", "cuda", "mps"):
            device = arg
        else:
            dtype = arg
    check_device(device)
    target = self.dtype if dtype is None else dtype_of(dtype)
    return clone(self) if copy and target is self.dtype else cast(self, target)


def _to_dtype(name: str, code: str) -> Callable[[Tensor], Tensor]:
    dtype = dtype_of(code)

    def convert(self: Tensor) -> Tensor:
        return cast(self, dtype)

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"The tensor as {dtype.name}; itself if it is that. Floats to integers truncate."
    return convert


CASTS: dict[str, Callable[[Tensor], Tensor]] = {
    name: _to_dtype(name, code)
    for name, code in (
        ("float", "f32"), ("double", "f64"), ("long", "i64"), ("int", "i32"), ("short", "i16"), ("char", "i8"),
        ("byte", "u8"), ("bool", "bool"),
    )
}


def type_(self: Tensor, dtype: Any = None) -> Any:
    """The name of the tensor's type ("jitgrad.FloatTensor"); with a dtype or such a name, a conversion."""
    if dtype is None:
        name = next(n for n, t in TYPED.items() if t.dtype is self.dtype)
        return f"jitgrad.{name}"
    return cast(self, _named(dtype))


def _named(spec: Any) -> DType:
    if isinstance(spec, str) and spec.rpartition(".")[2] in TYPED:
        return TYPED[spec.rpartition(".")[2]].dtype
    return dtype_of(getattr(spec, "dtype", spec) if spec in TYPED.values() else spec)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of other."""
    return cast(self, want_tensor("type_as", other, "other").dtype)


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is floating point."""
    return want_tensor("is_floating_point", input).dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """False: there are no complex dtypes."""
    return False


def is_signed(self: Tensor) -> bool:
    """Whether the dtype has negative values."""
    return self.dtype.kind in ("int", "float")


def cpu(self: Tensor) -> Tensor:
    """The tensor itself: it is in the CPU's memory."""
    return self


# -- leaving the graph


def detach(input: Tensor) -> Tensor:
    """The same memory, outside the graph. Writes to either are seen in both, and count for backward."""
    return detached(want_tensor("detach", input))


def data_of(self: Tensor) -> Tensor:
    """`x.data`: the same memory, outside the graph, with writes that backward does not notice."""
    if state.recording is not None:
        return state.recording.alias(self)
    return make(self._array, Storage(self._storage.owner))


# -- leaving jitgrad


def item(self: Tensor) -> Any:
    """The value of a tensor of one element, as a Python number. Raises RuntimeError for another size."""
    array = concrete(self, "item()")
    if array.size != 1:
        raise RuntimeError(f"a Tensor with {array.size} elements cannot be converted to Scalar")
    return array.item()


def tolist(self: Tensor) -> Any:
    """The values as nested lists, or a number for a 0-d tensor."""
    return concrete(self, "tolist()").tolist()


def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """An array over the memory of the tensor: a write to either is seen in both, a new shape or dtype is not.

    Raises RuntimeError for a tensor that requires grad, unless `force`.
    """
    if self._requires_grad and not force:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    return concrete(self, "numpy()").view()


def to_array(self: Tensor, dtype: Any = None, copy: Any = None) -> np.ndarray:
    """What `numpy.asarray(x)` gets."""
    array = numpy(self)
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


# -- Python's own conversions


def truth_value(self: Tensor) -> bool:
    """`bool(x)`, for a tensor of one element."""
    array = concrete(self, "bool()")
    if array.size != 1:
        raise RuntimeError(
            "Boolean value of Tensor with no values is ambiguous" if array.size == 0 else
            "Boolean value of Tensor with more than one value is ambiguous"
        )
    return array.item() != 0


def float_value(self: Tensor) -> float:
    """`float(x)`, for a tensor of one element."""
    return float(_scalar(self, "float()"))


def int_value(self: Tensor) -> int:
    """`int(x)`, for a tensor of one element."""
    return int(_scalar(self, "int()"))


def index_value(self: Tensor) -> int:
    """`operator.index(x)`, for an integer tensor of one element."""
    if not (self.dtype.is_integer or self.dtype.kind == "bool") or self.type_.size != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(_scalar(self, "an index"))


def _scalar(self: Tensor, what: str) -> Any:
    array = concrete(self, what)
    if array.size != 1:
        raise ValueError(f"only one element tensors can be converted to Python scalars, this one is {self.type_}")
    return array.item()


def length(self: Tensor) -> int:
    """`len(x)`: the size of the first axis."""
    if not self.ndim:
        raise TypeError("len() of a 0-d tensor")
    return self.shape[0]


def iterate(self: Tensor) -> Any:
    """`iter(x)`: the views x[0], x[1], ..."""
    from .arranging import unbind

    if not self.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(self, 0))


def contains(self: Tensor, element: Any) -> bool:
    """`element in x`: whether any element equals it."""
    from .comparison import eq
    from .reductions import any

    return truth_value(any(eq(self, element)))


def format_value(self: Tensor, spec: str) -> str:
    """`format(x, spec)`: of a 0-d tensor its number's. Inside a recording, where there is none, `spec` has to be
    empty, and raises ConcretizationError if it is not."""
    shows_type = not spec and not self._weak and (state.recording is not None or isinstance(self._array, Value))
    return object.__format__(self, spec) if self.ndim or shows_type else format(item(self), spec)


def rounded(self: Tensor, ndigits: int | None = None) -> Any:
    """`round(x)`: of a Python number in a recording. Tensors have `x.round()`. Raises TypeError for them."""
    if not self._weak:
        raise TypeError("type Tensor doesn't define __round__ method: call .round()")
    return round(item(self), ndigits)
