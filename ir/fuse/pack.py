"""Operands that are walked again and again with gaps are packed once.

The coordinates of points lie three elements apart: read as a vector, each element is gathered on its own. Where a
slower axis repeats the walk (all points for every point), it is copied without gaps before, once.

Imports: `types`, `items`, `prepare`, `views`.
"""

from __future__ import annotations

from ..types import contiguous_strides
from . import views
from .items import Item, Ref
from .prepare import Program
from .views import View

AGAIN = 4  # walks that are worth a copy
LEAST = 8  # elements of a walk


def pack(program: Program) -> None:
    """Let the items of `program` read packed copies of operands that they walk with gaps, `AGAIN` times or more."""
    packed: dict[Ref, Ref] = {}
    original, program.items = program.items, []
    for item in original:
        if item.kind != "call" and item.op != "gather":
            item.args = tuple([_read(program, packed, item, ref) for ref in item.args])
        item.order = len(program.items)
        program.items.append(item)


def _read(program: Program, packed: dict[Ref, Ref], item: Item, ref: Ref) -> Ref:
    view = ref.view
    again = has_gaps(view) and view.axes[-1][0] >= LEAST and moving(view).size * AGAIN <= item.size
    return _packed(program, packed, ref) if again else ref


def has_gaps(view: View) -> bool:
    """Whether the fastest axis walks memory neither element by element nor not at all."""
    return bool(view.axes) and view.axes[-1][1] not in (0, 1, -1)


def moving(view: View) -> View:
    """The view without the axes that repeat elements."""
    return views.canonical(view.offset, [(n, s) for n, s in view.axes if s])


def _packed(program: Program, done: dict[Ref, Ref], ref: Ref) -> Ref:
    source = Ref(ref.root, moving(ref.view))
    if source not in done:
        done[source] = program.copy(source)
    sizes = tuple(n for n, s in ref.view.axes if s)
    steps = iter(contiguous_strides(sizes))
    axes = [(n, next(steps) if s else 0) for n, s in ref.view.axes]
    return Ref(done[source].root, views.canonical(0, axes))
