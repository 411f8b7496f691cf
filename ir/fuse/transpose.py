"""Operands that lie crosswise are turned by a kernel of their own.

An operand is crosswise where its fastest axis strides over memory and another one walks it element by element: a
vector of it comes from as many cache lines as it has lanes, and lines at large powers of two push each other out.
Turned in square tiles, each line is read once. Small arrays stay in the cache and are read as they lie.

Imports: `types`, `items`, `inline`, `prepare`, `views`.
"""

from __future__ import annotations

import math

from ..types import contiguous_strides
from . import views
from .inline import leaves
from .items import Item, Ref
from .prepare import Program
from .views import View

CACHED = 1 << 15  # bytes: what fits the first cache is read as it lies
NARROWEST = 8  # elements along either axis
LINE = 64  # bytes


def turn_crosswise(program: Program) -> None:
    """Let each map and reduce item of `program` read turned copies of its crosswise operands. A copy of one
    becomes the turn itself."""
    turned: dict[Ref, Ref] = {}
    original, program.items = program.items, []
    for item in original:
        item.order = len(program.items)
        if item.kind != "call" and item.op != "gather" and any(map(_has_crosswise, item.args)):
            if item.op == "copy" and item.window is None and _whole(item.args[0]):
                _become_turn(program, item)
            else:
                item.args = tuple([_turned(program, turned, ref) if _has_crosswise(ref) else ref for ref in item.args])
                item.order = len(program.items)
        if item.args and item.out.inline:  # what it reads, or what that reads, may have been turned
            item.out.leaves = tuple(leaves(item.args))
        program.items.append(item)


def _whole(ref: Ref) -> bool:
    """Whether the operand is memory, or will be, each element of which is read once."""
    return not ref.root.inline and all(s for _, s in ref.view.axes)


def _become_turn(program: Program, item: Item) -> None:
    """Make the item, a copy, the turn itself. Others do not read it: it may be a copy to be written into."""
    (ref,) = item.args
    axis = crosswise(ref.view, ref.root.dtype.itemsize)
    item.kind, item.op, item.attrs = "call", "transpose", {"axis": axis}
    item.shapes, item.size = (tuple(n for n, _ in ref.view.axes),), 0
    program.store(ref.root)


def _has_crosswise(ref: Ref) -> bool:
    return any(crosswise(leaf.view, leaf.root.dtype.itemsize) is not None for leaf in leaves([ref]))


def crosswise(view: View, itemsize: int) -> int | None:
    """The axis of `view` that walks memory element by element, if the fastest one does not."""
    if len(view.axes) < 2 or math.prod(n for n, s in view.axes if s) * itemsize < CACHED:
        return None
    n, stride = view.axes[-1]
    if n < NARROWEST or abs(stride) * itemsize < LINE:
        return None
    found = [i for i, (m, s) in enumerate(view.axes[:-1]) if s == 1 and m >= NARROWEST]
    return found[0] if found else None


def _turned(program: Program, done: dict[Ref, Ref], ref: Ref) -> Ref:
    if ref in done:
        return done[ref]
    whole = ref
    if ref.root.inline:
        whole = Ref(program.copy(Ref(ref.root, views.identity(ref.root.size))).root, ref.view)
    # Axes of stride 0 repeat elements: they are put back after the turn.
    moving = tuple((n, s) for n, s in whole.view.axes if s)
    view = View(whole.view.offset, moving)
    axis = crosswise(view, whole.root.dtype.itemsize)
    if axis is None:
        return ref
    shape = tuple(n for n, _ in moving)
    (out,) = program.call("transpose", [(Ref(whole.root, view), shape)], [(whole.root.dtype, view.size)], axis=axis)
    steps = iter(contiguous_strides(shape))
    again = views.canonical(0, [(n, next(steps) if s else 0) for n, s in whole.view.axes])
    done[ref] = Ref(out.root, again)
    return done[ref]
