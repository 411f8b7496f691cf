"""What flows through the backward graph: arrays, IR values, or tensors.

The engine and the derivative rules are written once, against a builder. A `Domain` pairs a builder with
the way its handles become tensors and back:
  arrays   the default: rules run at once in numpy, nothing is recorded;
  values   inside a recording: rules append to the IR being recorded;
  tensors  with create_graph=True: rules run as ordinary operations, so the gradient has a graph itself.

Imports: `graph`, `dispatch`, `tensors`, `state`, `ir`, `errors`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dispatch
from ..errors import TraceError
from ..ir.builder import Builder
from ..ir.core import Value
from ..ir.interpreter import NumpyBuilder
from ..ir.ops import TABLE
from ..ir.types import TensorType
from ..state import state
from ..tensors import Tensor, leaked, make
from .graph import Node, Saved

if TYPE_CHECKING:
    from ..recording import Recording


class Domain(ABC):
    builder: Builder[Any]
    records_graph = False  # whether what the rules compute gets a graph of its own

    @abstractmethod
    def load(self, saved: Saved, producer: Node | None) -> Any:
        """A saved value, as a handle of the builder."""

    @abstractmethod
    def wrap(self, handle: Any) -> Tensor: ...

    @abstractmethod
    def unwrap(self, t: Tensor) -> Any: ...


class _ArrayBuilder(NumpyBuilder):
    """Runs operations at once, unchecked: rules write well-typed operations for well-typed operands."""

    def emit(self, op: str, args: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
        return TABLE[op].evaluate(args, attrs)


class ArrayDomain(Domain):
    builder: Builder[np.ndarray] = _ArrayBuilder()

    def load(self, saved: Saved, producer: Node | None) -> Any:
        if isinstance(saved.payload, Value):
            raise leaked(saved.tensor(producer))
        return saved.payload

    def wrap(self, handle: Any) -> Tensor:
        return make(handle)

    def unwrap(self, t: Tensor) -> Any:
        if isinstance(t._array, Value):
            raise leaked(t)
        return t._array


class ValueDomain(Domain):
    """`constant`: what it computes is a constant for any differentiation of the whole."""

    def __init__(self, recording: Recording, constant: bool = True) -> None:
        self.recording = recording
        self.constant = constant
        self.builder: Builder[Value] = recording.builder

    def load(self, saved: Saved, producer: Node | None) -> Any:
        if not isinstance(saved.payload, Value):
            raise TraceError(
                "backward inside a traced function reached a graph that was built outside of it",
                hint="build the graph inside the traced function, or call backward outside",
            )
        return saved.payload

    def wrap(self, handle: Any) -> Tensor:
        return self.recording.wrap(handle, self.constant)

    def unwrap(self, t: Tensor) -> Any:
        return self.recording.value(t)


class TensorBuilder(Builder[Tensor]):
    """Writes operations as operations on tensors."""

    def emit(self, op: str, args: Sequence[Tensor], attrs: Mapping[str, Any]) -> tuple[Tensor, ...]:
        outs = dispatch.apply(op, *args, **attrs)
        return outs if isinstance(outs, tuple) else (outs,)

    def type_of(self, value: Tensor) -> TensorType:
        return value.type_


class TensorDomain(Domain):
    builder: Builder[Tensor] = TensorBuilder()
    records_graph = True

    def load(self, saved: Saved, producer: Node | None) -> Any:
        return saved.tensor(producer)

    def wrap(self, handle: Any) -> Tensor:
        return handle

    def unwrap(self, t: Tensor) -> Any:
        return t


_ARRAYS = ArrayDomain()
_TENSORS = TensorDomain()


def current_domain(create_graph: bool) -> Domain:
    """The domain a backward that starts now runs in."""
    if create_graph:
        return _TENSORS
    return _ARRAYS if state.recording is None else ValueDomain(state.recording)
