"""Random generators: a Philox key and a counter, the same stream eager and compiled.

A draw of n 32-bit words uses `counters(n)` counters from the generator's offset on; so a program can be
given key and offset as inputs, and the state is two integers. Inside a recording a draw is noted and the
generator advances when the compiled program has run.

Invariants: the stream depends on the seed and on the order of draws alone. Thread-safe as far as integers
are: two threads that draw from one generator may draw the same numbers.
Imports: `dispatch`, `tensors`, `state`, `errors`, `ir.philox`, `ir.types`.
"""

from __future__ import annotations

import os

import numpy as np

from .dispatch import apply, lift
from .errors import TraceError
from .ir.philox import counters
from .ir.types import Shape, i64
from .state import state
from .tensors import Tensor, concrete, make

DEFAULT_SEED = 67280421310721  # torch's, so that an unseeded program is the same each run there and here


class Generator:
    """A source of random numbers: `key`, from the seed, and `offset`, the counters used so far."""

    def __init__(self, device: str = "cpu") -> None:
        if device != "cpu":
            raise RuntimeError(f"device {device!r} is not supported: jitgrad runs on 'cpu'")
        self.key, self.offset = DEFAULT_SEED, 0
        if state.recording is not None:
            state.recording.generators.seed(self, self.key)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of `seed` (taken modulo 2^64) from its beginning. Returns the generator."""
        key = _signed(int(seed))
        if state.recording is not None:
            state.recording.generators.seed(self, key)
        else:
            self.key, self.offset = key, 0
        return self

    def initial_seed(self) -> int:
        """The seed of the stream."""
        self._outside("initial_seed()")
        return self.key & _MASK

    def seed(self) -> int:
        """Start the stream of a seed from the operating system, and return the seed."""
        self._outside("seed()")
        fresh = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(fresh)
        return fresh

    def get_state(self) -> Tensor:
        """Key and offset, as an int64 tensor of two."""
        self._outside("get_state()")
        return make(np.array([self.key, self.offset], np.int64))

    def set_state(self, new_state: Tensor) -> Generator:
        """Go to where `get_state` was called. Raises RuntimeError for another tensor."""
        self._outside("set_state()")
        array = concrete(new_state, "set_state()")
        if array.shape != (2,) or array.dtype != np.int64:
            raise RuntimeError("RNG state must be the int64 tensor of two that get_state() gave")
        self.key, self.offset = map(int, array)
        return self

    def _outside(self, what: str) -> None:
        """Raises TraceError inside a recording, which knows no state of a generator, only what changes it."""
        if state.recording is not None:
            raise TraceError(f"{what} of a generator inside a traced function is not compiled", hint="call it outside")

    def __repr__(self) -> str:
        return f"<jitgrad.Generator seed={self.key & _MASK} offset={self.offset}>"


_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    """`value` modulo 2^64, as int64 holds it."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, and return it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system, and return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator back to a state."""
    default_generator.set_state(new_state)


def bits(generator: Generator | None, shape: Shape) -> Tensor:
    """int32 random words of `shape`; the generator (default: the default one) advances."""
    source = default_generator if generator is None else generator
    if not isinstance(source, Generator):
        raise TypeError(f"argument 'generator' must be jitgrad.Generator, not {type(source).__name__}")
    n = 1
    for size in shape:
        n *= size
    if state.recording is not None:
        key, offset = state.recording.generators.draw(source, counters(n))
    else:
        key, offset = lift(source.key, i64), lift(_signed(source.offset), i64)
        source.offset += counters(n)
    return apply("philox", key, offset, shape=shape)
