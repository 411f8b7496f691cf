"""Gathers pushed through elementwise producers: the element that is asked for is computed, not the whole array.

Imports: `types`, `items`, `views`. `prepare`, which owns the program that is written to, for its type alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..types import Shape
from . import views
from .items import TRAPS, Ref

if TYPE_CHECKING:
    from .prepare import Program


class Pick:
    """One gather, pushed through the elementwise operands of what it reads: the elements asked for are
    computed from theirs. It stops where work would grow: at `DEPTH`, and where it reads most elements."""

    DEPTH = 12

    def __init__(
        self, program: Program, shape: Shape, axis: int, place: Ref, out: Shape, kept: Shape
    ) -> None:
        self.program = program
        self.frame = (shape, axis, out, kept)
        self.place = place
        self.size = math.prod(out)
        self.used = False  # whether anything was read at the index
        self._done: dict[Ref, Ref] = {}

    def of(self, x: Ref, depth: int) -> Ref:
        if x not in self._done:
            self._done[x] = self._pushed(x, depth) or self._read(x)
        return self._done[x]

    def _pushed(self, x: Ref, depth: int) -> Ref | None:
        item = x.root.item
        few = self.size * 4 <= x.view.size
        if item is None or item.kind != "map" or not item.args or depth > self.DEPTH or not few:
            return None
        if item.op in TRAPS or item.op == "philox":
            return None
        views_ = [views.compose(arg.view, x.view) for arg in item.args]
        args = [Ref(arg.root, v) for arg, v in zip(item.args, views_, strict=True) if v is not None]
        if len(args) < len(views_):
            return None
        picked = [self.of(arg, depth + 1) for arg in args]
        if item.op == "copy":
            return picked[0]
        return self.program.map(item.op, picked, x.root.dtype, self.size, **item.attrs)

    def _read(self, x: Ref) -> Ref:
        base, stride = self.program.along(x, *self.frame)
        if stride == 0:
            return base
        self.used = True
        self.program.store(base.root)
        return self.program.map("gather", (base, self.place), x.root.dtype, self.size, stride=stride)
