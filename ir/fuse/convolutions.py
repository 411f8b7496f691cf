"""Convolutions as items: contractions over windows of the operand as it lies, which way round, or sums of products.

No window is ever laid out in memory: the axes of the windows and those within them are strides over one array.
Either the vectors of the contraction go along the last spatial axis, the output channels are its rows, and the result
is in order; or they go along the output channels, which then lie side by side in a copy of the weights, the places
are rows, and the result is turned. The first way needs windows that are next to each other, and as many along the
last axis as fill vectors; the second is that of strides, of small images, and of gradients of small kernels. One
output channel, as where each channel has its own weights, and integers are multiplication and sum, which fuse.

Cost model: a lane of a vector that is no element costs as much as one that is; an element moved costs `MOVED`
multiplications.

Imports: `core`, `types`, `items`, `views`. `prepare`, which owns the program that is written to, for its type alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core import Instr
from ..types import Shape, TensorType
from . import views
from .items import Ref

if TYPE_CHECKING:
    from .prepare import Program

MOVED = 16
LINE = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True, slots=True)
class _Conv:
    """A convolution as axes without those of size 1: `terms`, which are summed, and `places` of windows. `x`, `w`:
    steps in memory along groups and samples, groups and outputs; `in_x`, `in_w` along the terms, `apart` from place to
    place."""

    image: Ref
    weights: Ref
    out: TensorType
    x: Shape
    w: Shape
    terms: Shape
    in_x: Shape
    in_w: Shape
    places: Shape
    apart: Shape

    @property
    def outer(self) -> Shape:
        """Groups, samples, outputs."""
        return self.out.shape[:3]

    def cost(self, lanes_along: int, moved: int) -> float:
        """Of vectors along an axis of so many elements, and of elements moved."""
        lanes = LINE // self.out.dtype.itemsize
        vectors = -(-lanes_along // lanes)
        return self.out.size * math.prod(self.terms) * vectors * lanes / lanes_along + MOVED * moved


def conv(program: Program, instr: Instr) -> list[Ref]:
    """The convolution that `instr` is."""
    t = instr.out.type
    if not math.prod(instr.args[1].type.shape[2:]):
        return [program.const(0, t.dtype, t.size)]
    image, weights = (program.operand("contract", 0, program.refs[v], v.type.shape) for v in instr.args)
    c = _conv(instr, image, weights)
    _, samples, outputs = c.outer
    if not t.dtype.is_floating_point or outputs == 1 or samples * math.prod(c.places) == 1:
        return [_sum_of_products(program, c)]
    across = c.cost(outputs, t.size + (instr.args[1].type.size if c.w[1] != 1 else 0))
    if c.places and c.apart[-1] == 1 and c.cost(c.places[-1], 0) <= across:
        return _along_places(program, c)
    gaps = c.places and c.apart[-1] != 1 and t.shape[-1] > 1 and instr.attrs["stride"][-1] == 1
    if gaps and c.cost(c.places[-1], instr.args[0].type.size) <= across:
        return _along_places(program, _conv(instr, program.copy(image), weights))
    return [_across_outputs(program, c)]


def _conv(instr: Instr, image: Ref, weights: Ref) -> _Conv:
    t, (x_shape, w_shape) = instr.out.type, (v.type.shape for v in instr.args)
    x, w = views.strides_over(image.view, x_shape), views.strides_over(weights.view, w_shape)
    assert x is not None and w is not None
    dilated = [step * d for step, d in zip(x[3:], instr.attrs["dilation"], strict=True)]
    strided = [step * s for step, s in zip(x[3:], instr.attrs["stride"], strict=True)]
    terms = [axis for axis in zip(w_shape[2:], (x[2], *dilated), w[2:], strict=True) if axis[0] > 1]
    places = views.canonical(0, zip(t.shape[3:], strided, strict=True)).axes
    return _Conv(
        image, weights, t, x[:2], w[:2], *(tuple(axis[i] for axis in terms) for i in range(3)),
        *(tuple(axis[i] for axis in places) for i in range(2)),
    )


def _along_places(program: Program, c: _Conv) -> list[Ref]:
    groups, samples, outputs = c.outer
    left, right = (groups, samples, outputs, *c.terms), (groups, samples, *c.terms, *c.places)
    weights = views.strided(left, (c.w[0], 0, c.w[1], *c.in_w), c.weights.view.offset)
    windows = views.strided(right, (*c.x, *c.in_x, *c.apart), c.image.view.offset)
    args = [(Ref(c.weights.root, weights), left), (Ref(c.image.root, windows), right)]
    return program.call("contract", args, [(c.out.dtype, c.out.size)], groups=(2, 1, len(c.places), len(c.terms)))


def _across_outputs(program: Program, c: _Conv) -> Ref:
    groups, samples, outputs = c.outer
    left, right = (groups, samples, *c.places, *c.terms), (groups, *c.terms, outputs)
    windows = views.strided(left, (*c.x, *c.apart, *c.in_x), c.image.view.offset)
    weights = views.strided(right, (c.w[0], *c.in_w, c.w[1]), c.weights.view.offset)
    args = [(Ref(c.image.root, windows), left), (Ref(c.weights.root, weights), right)]
    axes = 1, 1 + len(c.places), 1, len(c.terms)
    (out,) = program.call("contract", args, [(c.out.dtype, c.out.size)], groups=axes)
    shape = (groups, samples, math.prod(c.places), outputs)
    return program.view(out, lambda v: views.permute(v, shape, (0, 1, 3, 2)))


def _sum_of_products(program: Program, c: _Conv) -> Ref:
    """The longer one of places and terms is the faster."""
    outer, (groups, samples, outputs) = list(zip(c.outer, (*c.x, 0), (c.w[0], 0, c.w[1]), strict=True)), c.outer
    places = [(n, step, 0) for n, step in zip(c.places, c.apart, strict=True)]
    terms = list(zip(c.terms, c.in_x, c.in_w, strict=True))
    kept, summed = math.prod(c.places), math.prod(c.terms)
    axes = [*outer, *terms, *places] if kept > summed else [*outer, *places, *terms]
    operands = [
        Ref(ref.root, views.canonical(ref.view.offset, ((axis[0], axis[i]) for axis in axes)))
        for i, ref in ((1, c.image), (2, c.weights))
    ]
    product = program.map("mul", operands, c.out.dtype, groups * samples * outputs * kept * summed)
    runs = [(groups * samples * outputs, False), (kept, False), (summed, True)]
    if kept > summed:
        runs[1:] = reversed(runs[1:])
    return program.reduce("sum", product, runs, c.out.dtype)
