"""What a recording is made of besides instructions: where the tensors from outside come from, what stands for
them, and the storages of its tensors.

Imports: `tensors`, `layout`, `ir`.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .ir.core import Value
from .ir.ops import TABLE
from .ir.types import Shape, TensorType, contiguous_strides
from .layout import Strides, view_strides
from .tensors import Storage, Tensor

if TYPE_CHECKING:
    from .recording import Recording
    from .rng import Generator


@dataclass(frozen=True, eq=False)
class Argument:
    """A source: leaf `index` of the flattened arguments."""

    index: int


@dataclass(frozen=True, eq=False)
class Capture:
    """A source: a tensor that the function reached by itself."""

    tensor: Tensor


@dataclass(frozen=True, eq=False)
class GradOf:
    """A source: the `.grad` of the tensor that another source gives."""

    source: Source


@dataclass(frozen=True, eq=False)
class Key:
    """A source: the key of a random generator."""

    generator: Generator


@dataclass(frozen=True, eq=False)
class Offset:
    """A source: the counter at which a random generator stands."""

    generator: Generator


Source = Argument | Capture | GradOf | Key | Offset
Steps = tuple[tuple[str, dict[str, Any]], ...]


class RecordedStorage(Storage):
    """A storage inside a recording: `value` is what the whole memory holds, as of the last write, `strides` how
    it lies; `members` are the tensors over it with the view ops that show their part, to bring them up to date
    on a write."""

    __slots__ = ("copies", "members", "strides", "value")

    def __init__(self, owner: Recording, value: Value, strides: Strides | None = None) -> None:
        super().__init__(owner)
        self.value = value
        self.strides = contiguous_strides(value.type.shape) if strides is None else strides
        self.members: list[tuple[weakref.ref[Tensor], Steps]] = []
        self.copies: list[weakref.ref[Tensor]] = []  # tensors that eager would have over this memory, or it over theirs

    def shows(self, t: Tensor) -> bool:
        """Whether `t` is one of the members."""
        return any(ref() is t for ref, _ in self.members)

    def steps_of(self, t: Tensor) -> Steps:
        """The view ops from the whole memory to the part that `t` shows."""
        return next(steps for ref, steps in self.members if ref() is t)

    def layout(self, steps: Steps) -> tuple[Shape, Strides | None]:
        """Shape and strides of the part that `steps` show; no strides where the last step has to copy."""
        shape, strides = self.value.type.shape, self.strides
        for i, (op, attrs) in enumerate(steps):
            found = view_strides(op, attrs, shape, strides)
            shape = TABLE[op].result_types([TensorType(self.value.type.dtype, shape)], attrs)[0].shape
            if found is None:
                assert i == len(steps) - 1
                return shape, None
            strides = found
        return shape, strides


@dataclass(frozen=True, eq=False)
class Draw:
    """What a call does to a generator: its new key, if it was seeded, and how many counters it used (since)."""

    generator: Generator
    key: int | None
    counters: int

    def commit(self) -> None:
        if self.key is not None:
            self.generator.key, self.generator.offset = self.key, 0
        self.generator.offset += self.counters


class NumberStorage(RecordedStorage):
    """The storage of a constant that a Python number became."""

    __slots__ = ()
    holds_number = True


@dataclass
class StandIn:
    """A tensor from outside, and what stands for it."""

    source: Source
    outside: Tensor | None
    tensor: Tensor
    initial: Value
    storage: RecordedStorage
    initial_grad: Tensor | None = None
    reads_grad: bool = False
    flagged: bool = False  # the function made it require grad
    reached: bool = False  # a gradient arrived at it inside the recording
    met: bool = False  # the function reached it by itself too, besides the way that `source` says
