"""The random generators that a recording draws from and seeds.

Nothing is drawn while a function is recorded: key and counter of a generator are inputs of the program, and what its
calls do to it is an effect (`sources.Draw`).

Imports: `sources`, `ir.types`; `dispatch` when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ir.types import TensorType, i64
from .sources import Draw, Key, Offset

if TYPE_CHECKING:
    from .recording import Recording
    from .rng import Generator
    from .tensors import Tensor


class Generators:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._inputs: dict[int, tuple[Generator, Tensor, Tensor]] = {}  # by id of the generator: key and counter
        self._drawn: dict[int, int] = {}  # by id of the generator: counters used
        self._seeds: dict[int, tuple[Generator, int]] = {}  # generators seeded here, and the key they got

    def draw(self, generator: Generator, counters: int) -> tuple[Tensor, Tensor]:
        """Key and counter offset of a random draw of `counters` counters. Raises TraceError in a backward that is
        being recorded."""
        from .dispatch import apply, lift

        recording = self._recording
        if recording.backwards:
            raise recording.effect("draws random numbers")
        found = self._inputs.get(id(generator))
        if found is None:
            scalar = TensorType(i64, ())
            if id(generator) in self._seeds:
                key, start = lift(self._seeds[id(generator)][1], i64), lift(0, i64)
            else:
                key = recording.scalar(Key(generator), scalar, "key", weak=False)
                start = recording.scalar(Offset(generator), scalar, "offset", weak=False)
            found = self._inputs[id(generator)] = (generator, key, start)
        _, key, start = found
        used = self._drawn.get(id(generator), 0)
        self._drawn[id(generator)] = used + counters
        return key, (start if used == 0 else apply("add", start, lift(used, i64)))

    def seed(self, generator: Generator, key: int) -> None:
        """`generator` starts the stream of `key` from its beginning, here and at every call."""
        self._seeds[id(generator)] = (generator, key)
        self._inputs.pop(id(generator), None)
        self._drawn.pop(id(generator), None)

    def effects(self) -> list[Draw]:
        """What becomes of the generators drawn from and seeded here."""
        used = {i: g for i, (g, _, _) in self._inputs.items()} | {i: g for i, (g, _) in self._seeds.items()}
        return [
            Draw(g, self._seeds[i][1] if i in self._seeds else None, self._drawn.get(i, 0)) for i, g in used.items()
        ]
