"""`copy.copy`, `copy.deepcopy` and pickle of tensors.

A deep copy has the strides of the original, and tensors over one memory that are copied together are over one memory
again: what is copied is the memory as a whole, once, which the memo of `copy.deepcopy` remembers.

Invariants: memory is copied as bytes from its lowest address to its highest, with zeros where no element lies.
Imports: `conversion`, `tensors`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensors import Storage, Tensor, concrete, make
from .conversion import data_of


def copy(self: Tensor) -> Tensor:
    """`copy.copy(x)`: a leaf over the same memory, with a version of its own, that requires grad if `x` does."""
    if self._weak:
        return self
    t = data_of(self)
    return t.requires_grad_() if self.requires_grad else t


def deepcopy(self: Tensor, memo: Any) -> Tensor:
    """`copy.deepcopy(x)`: a copy of a leaf, with its strides, flags and gradient. Raises RuntimeError for a tensor
    that was computed from others that require grad."""
    if self._weak:
        return self
    if self.grad_fn is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
        )
    if id(self) not in memo:
        array = concrete(self, "deepcopy()")
        t = memo[id(self)] = make(*_copied(array, self._storage, memo.setdefault(Storage, {})))
        t._requires_grad = self._requires_grad
        if self._grad is not None:
            t._grad = deepcopy(self._grad, memo)
    return memo[id(self)]


def _copied(array: np.ndarray, storage: Storage, copies: dict[int, Any]) -> tuple[np.ndarray, Storage]:
    """`array` over the copy of the memory that it is part of, and the copy of `storage`. `copies` holds both, by the
    ids of what they are copies of."""
    whole = storage.owner
    if not isinstance(whole, np.ndarray) or not _is_within(array, whole):
        whole = array
    if id(whole) not in copies:
        copies[id(whole)] = _memory(whole)
    if id(storage) not in copies:
        copies[id(storage)] = Storage(copies[id(whole)])
    return _over(copies[id(whole)], array, _span(whole)[0]), copies[id(storage)]


def reduce(self: Tensor) -> Any:
    """For pickle: the memory that the tensor shows, how it lies there, and whether it requires grad. What comes back
    is a leaf."""
    array = concrete(self, "pickle")
    offset = array.__array_interface__["data"][0] - _span(array)[0]
    return restored, (_memory(array), array.shape, array.dtype, array.strides, offset, self.requires_grad)


def restored(
    memory: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any], strides: tuple[int, ...], offset: int,
    requires_grad: bool,
) -> Tensor:
    """The tensor that `reduce` took apart."""
    t = make(np.ndarray(shape, dtype, memory, offset, strides))
    t._requires_grad = requires_grad
    return t


def _span(array: np.ndarray) -> tuple[int, int]:
    """The addresses of the first byte of `array` in memory and of the first byte after it."""
    first = array.__array_interface__["data"][0]
    if not array.size:
        return first, first
    steps = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
    return first + sum(s for s in steps if s < 0), first + sum(s for s in steps if s > 0) + array.itemsize


def _is_within(part: np.ndarray, whole: np.ndarray) -> bool:
    (low, high), (start, end) = _span(part), _span(whole)
    return start <= low and high <= end


def _memory(array: np.ndarray) -> np.ndarray:
    """A copy of the memory of `array`, as bytes."""
    start, end = _span(array)
    memory = np.zeros(end - start, np.uint8)
    np.copyto(_over(memory, array, start), array)
    return memory


def _over(memory: np.ndarray, array: np.ndarray, start: int) -> np.ndarray:
    """What `array` is, over `memory`, which is a copy of the memory at address `start`."""
    return np.ndarray(array.shape, array.dtype, memory, array.__array_interface__["data"][0] - start, array.strides)
