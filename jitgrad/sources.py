"""What a recording is made of besides instructions: where the tensors from outside come from, what stands for
them, and the storages of its tensors.

Imports: `tensors`, `layout`, `ir`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .ir.core import Value
from .ir.ops import TABLE
from .ir.types import Shape, TensorType, contiguous_strides
from .layout import Strides, view_strides
from .tensors import Steps, Storage, Tensor, make

if TYPE_CHECKING:
    from .recording import Recording
    from .rng import Generator


@dataclass(frozen=True, eq=False)
class Argument:
    """A source: leaf `index` of the flattened arguments."""

    index: int


class Gone(Exception):
    """A captured tensor is there no more."""


@dataclass(eq=False)
class Capture:
    """A source: a tensor that the function reached by itself. `held` while nothing else may hold it."""

    ref: weakref.ref[Tensor]
    held: Tensor | None

    @property
    def tensor(self) -> Tensor:
        """The tensor. Raises Gone if it is there no more, so another thread has just replaced it."""
        t = self.ref()
        if t is None:
            raise Gone
        return t


@dataclass(frozen=True, eq=False)
class Over:
    """A source: a new tensor at every call, over the memory of an array that was there before."""

    array: np.ndarray


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


Source = Argument | Capture | Over | GradOf | Key | Offset


class RecordedStorage(Storage):
    """A storage inside a recording: `value` is what the whole memory holds, as of the last write, `strides` how
    it lies; `members` are the tensors over it, all that live, with the view ops that show their part, to bring
    them up to date on a write. `depth`: in how many backwards it was made (`Recording.backwards`)."""

    __slots__ = ("copies", "depth", "members", "strides", "value")
    owner: Recording

    def __init__(self, owner: Recording, value: Value, strides: Strides | None = None) -> None:
        super().__init__(owner)
        self.value = value
        self.strides = contiguous_strides(value.type.shape) if strides is None else strides
        self.depth = len(owner.backwards)
        self.members: dict[int, tuple[weakref.ref[Tensor], Steps]] = {}  # by id
        self.copies: list[weakref.ref[Tensor]] = []  # tensors that eager would have over this memory, or it over theirs

    def steps_of(self, t: Tensor) -> Steps:
        return self.members[id(t)][1]

    def tensor(self, payload: np.ndarray | Value, steps: Steps = ()) -> Tensor:
        t = make(payload, self)
        self.owner.made.append(self.join(t, steps))
        return t

    def join(self, t: Tensor, steps: Steps) -> weakref.ref[Tensor]:
        """Make `t` a member, for as long as it lives."""
        key, members = id(t), self.members
        ref = weakref.ref(t, lambda _: members.pop(key, None))
        members[key] = (ref, steps)
        return ref

    def living(self) -> Iterator[tuple[Tensor, Steps]]:
        """The members, the oldest first."""
        for ref, steps in tuple(self.members.values()):
            t = ref()
            if t is not None:
                yield t, steps

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
