"""Rewrite rules for views, their compositions, and reductions over them: shape arithmetic, so functions.

Canonical forms that the rules reach:
  - a broadcast has no operand axis of size 1, and repeats something (else it is a reshape or nothing);
  - views of one kind do not stand on each other; a broadcast stands below other views of its operand, so
    that what is computed before it is computed once;
  - an elementwise op on operands repeated or reshaped alike is computed before they are;
  - a reduction does not stand on a permute, on an axis repeated for it, or (but for extrema of floats, whose
    gradients would change where elements tie) on a reduction of its kind.

A rule gives the replacement, or None where it does not apply.

Imports: `patterns`, `rewrite`, `core`, `ops`, `types`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .core import Instr, Value
from .ops import TABLE
from .patterns import Procedure
from .rewrite import Candidate, Rewriter
from .types import Shape, drop_axes


def _without_ones(shape: Iterable[int]) -> Shape:
    return tuple(n for n in shape if n != 1)


def _wide_axes(shape: Shape) -> Shape:
    """The axes of a size other than 1."""
    return tuple(i for i, n in enumerate(shape) if n != 1)


def _axis_map(a: Shape, b: Shape) -> dict[int, int] | None:
    """From axes of `a` to axes of `b` where they differ by axes of size 1 only; None where they do not."""
    if _without_ones(a) != _without_ones(b):
        return None
    return dict(zip(_wide_axes(a), _wide_axes(b), strict=True))


def broadcast(b: Rewriter, at: Candidate) -> Any:
    (x,), shape, dims = at.args, at.attrs["shape"], at.attrs["dims"]
    if x.type == at.types[0]:
        return x
    wide = _wide_axes(x.type.shape)
    if len(wide) < x.type.rank:
        squeezed = b.reshape(x, shape=tuple(x.type.shape[i] for i in wide))
        return b.broadcast(squeezed, shape=shape, dims=tuple(dims[i] for i in wide))
    if x.type.size == at.types[0].size:
        return b.reshape(x, shape=shape)
    inner = b.made_by(x, "broadcast")
    if inner is None:
        return None
    return b.broadcast(inner.args[0], shape=shape, dims=tuple(dims[d] for d in inner.attrs["dims"]))


def reshape(b: Rewriter, at: Candidate) -> Any:
    (x,), shape = at.args, at.attrs["shape"]
    if x.type.shape == shape:
        return x
    if inner := b.made_by(x, "reshape"):
        return b.reshape(inner.args[0], shape=shape)
    inner = b.made_by(x, "broadcast")
    axes = _axis_map(x.type.shape, shape)
    if inner is None or axes is None or 1 in inner.args[0].type.shape:
        return None
    return b.broadcast(inner.args[0], shape=shape, dims=tuple(axes[d] for d in inner.attrs["dims"]))


def permute(b: Rewriter, at: Candidate) -> Any:
    (x,), perm = at.args, at.attrs["perm"]
    if perm == tuple(range(len(perm))):
        return x
    moved = [p for p in perm if x.type.shape[p] != 1]
    if moved == sorted(moved):
        return b.reshape(x, shape=at.types[0].shape)
    if inner := b.made_by(x, "permute"):
        return b.permute(inner.args[0], perm=tuple(inner.attrs["perm"][p] for p in perm))
    inner = b.made_by(x, "broadcast")
    if inner is None:
        return None
    places = [perm.index(d) for d in inner.attrs["dims"]]
    order = sorted(range(len(places)), key=places.__getitem__)
    operand = b.permute(inner.args[0], perm=tuple(order))
    return b.broadcast(operand, shape=at.types[0].shape, dims=tuple(sorted(places)))


def slice_(b: Rewriter, at: Candidate) -> Any:
    (x,) = at.args
    if x.type == at.types[0]:
        return x
    start, step = tuple(at.attrs["start"]), tuple(at.attrs["step"])
    sizes = at.types[0].shape
    if inner := b.made_by(x, "slice"):
        outer = inner.attrs["step"]
        start = tuple(o + lo * s for o, lo, s in zip(inner.attrs["start"], start, outer, strict=True))
        step = tuple(s * k for s, k in zip(outer, step, strict=True))
        return _sliced(b, inner.args[0], start, sizes, step)
    if inner := b.made_by(x, "broadcast"):
        return _slice_of_broadcast(b, at, inner.args[0], inner.attrs["dims"])
    if inner := b.made_by(x, "concat"):
        return _slice_of_concat(b, at, inner.args, inner.attrs["axis"])
    if inner := b.made_by(x, "pad"):
        return _slice_of_pad(b, at, inner)
    if (inner := b.made_by(x, "select")) and b.made_by(inner.args[0], "pad"):
        # What was assigned to a slice, read again; or what was left as it was.
        chosen = b.number(b.slice(inner.args[0], **at.attrs))
        return None if chosen is None else b.slice(inner.args[1 if chosen else 2], **at.attrs)
    return None


def _slice_of_pad(b: Rewriter, at: Candidate, pad: Instr) -> Any:
    """A slice of what was padded, of all of it, or of the fill alone."""
    (y, fill), low, interior = pad.args, pad.attrs["low"], pad.attrs["interior"]
    start, limit, step = (tuple(at.attrs[k]) for k in ("start", "limit", "step"))
    sizes, inside = at.types[0].shape, y.type.shape
    if (start, sizes, step) == (low, inside, tuple(k + 1 for k in interior)):
        return y
    if any(interior) or not at.types[0].size:
        return None
    places = list(zip(low, start, limit, inside, strict=True))
    if all(a <= lo and hi <= a + n for a, lo, hi, n in places):
        return _sliced(b, y, tuple(lo - a for lo, a in zip(start, low, strict=True)), sizes, step)
    if any(hi <= a or a + n <= lo for a, lo, hi, n in places):
        return b.broadcast(fill, shape=sizes, dims=())
    return None


def _sliced(b: Rewriter, x: Value, start: Shape, sizes: Shape, step: Shape) -> Any:
    """The slice of `sizes` elements an axis."""
    start = tuple(lo if n else 0 for lo, n in zip(start, sizes, strict=True))
    ends = tuple(lo + (n - 1) * s + 1 if n else lo for lo, n, s in zip(start, sizes, step, strict=True))
    return b.slice(x, start=start, limit=ends, step=step)


def _slice_of_broadcast(b: Rewriter, at: Candidate, x: Value, dims: Shape) -> Any:
    if 1 in x.type.shape:
        return None
    cut = b.slice(x, **{k: tuple(at.attrs[k][d] for d in dims) for k in ("start", "limit", "step")})
    return b.broadcast(cut, shape=at.types[0].shape, dims=dims)


def _slice_of_concat(b: Rewriter, at: Candidate, parts: Sequence[Value], axis: int) -> Any:
    """The slice of the one part that holds all of it."""
    start, limit, step = (tuple(at.attrs[k]) for k in ("start", "limit", "step"))
    before = 0
    for part in parts:
        size = part.type.shape[axis]
        if before <= start[axis] and limit[axis] <= before + size:
            inside = tuple(lo - before if i == axis else lo for i, lo in enumerate(start))
            return _sliced(b, part, inside, at.types[0].shape, step)
        before += size
    return None


def flip(b: Rewriter, at: Candidate) -> Any:
    (x,), axes = at.args, at.attrs["axes"]
    moved = tuple(a for a in axes if x.type.shape[a] > 1)
    if not moved:
        return x
    if inner := b.made_by(x, "flip"):
        return b.flip(inner.args[0], axes=tuple(sorted(set(moved) ^ set(inner.attrs["axes"]))))
    if inner := b.made_by(x, "broadcast"):
        y, dims = inner.args[0], inner.attrs["dims"]
        own = tuple(i for i, d in enumerate(dims) if d in moved)
        return b.broadcast(b.flip(y, axes=own), shape=x.type.shape, dims=dims)
    return b.flip(x, axes=moved) if moved != axes else None


def pad(b: Rewriter, at: Candidate) -> Any:
    x, fill = at.args
    if x.type == at.types[0]:
        return x
    inner = b.made_by(x, "pad")
    if inner is None or inner.args[1] is not fill or any((*at.attrs["interior"], *inner.attrs["interior"])):
        return None
    low, high = (tuple(map(sum, zip(at.attrs[k], inner.attrs[k], strict=True))) for k in ("low", "high"))
    return b.pad(inner.args[0], fill, low=low, high=high, interior=at.attrs["interior"])


def concat(b: Rewriter, at: Candidate) -> Any:
    axis = at.attrs["axis"]
    parts: list[Value] = []
    for x in at.args:
        inner = b.made_by(x, "concat")
        if inner is not None and inner.attrs["axis"] == axis:
            parts += inner.args
        elif x.type.shape[axis]:
            parts.append(x)
    if len(parts) == 1:
        return parts[0]
    return b.concat(*parts, axis=axis) if parts and tuple(parts) != at.args else None


def reduce(b: Rewriter, at: Candidate) -> Any:
    (x,), axes, op = at.args, at.attrs["axes"], at.op
    shape = x.type.shape
    if all(shape[a] == 1 for a in axes):
        return b.reshape(x, shape=at.types[0].shape)
    inner = b.defs.get(x)
    if inner is None:
        return None
    if inner.op == op and not _shares_ties(op, x):
        (y,), first = inner.args, inner.attrs["axes"]
        rest = drop_axes(range(y.type.rank), first)
        return _reduced(b, op, y, (*first, *(rest[a] for a in axes)))
    match inner.op:
        case "reshape":
            return _reduce_reshaped(b, at, inner.args[0])
        case "permute":
            (y,), perm = inner.args, inner.attrs["perm"]
            reduced = _reduced(b, op, y, [perm[a] for a in axes])
            kept = [p for i, p in enumerate(perm) if i not in axes]
            return b.permute(reduced, perm=tuple(sorted(kept).index(p) for p in kept))
        case "broadcast" if op != "prod":
            return _reduce_repeated(b, at, inner.args[0], inner.attrs["dims"])
    return None


def _shares_ties(op: str, x: Value) -> bool:
    """Whether elements that tie share a cotangent: by halves of halves, or all alike if it is one reduction."""
    return op in ("max", "min") and x.type.dtype.is_floating_point


def _reduced(b: Rewriter, op: str, x: Value, axes: Iterable[int]) -> Value:
    return b.emit(op, (x,), {"axes": tuple(sorted(axes))})[0]


def _reduce_reshaped(b: Rewriter, at: Candidate, y: Value) -> Any:
    """All of a reshaped tensor is all of the tensor; and axes of size 1 hinder nobody."""
    (x,), axes = at.args, at.attrs["axes"]
    if len(axes) == x.type.rank:
        return _reduced(b, at.op, y, range(y.type.rank))
    places = _axis_map(x.type.shape, y.type.shape)
    if places is None:
        return None
    reduced = _reduced(b, at.op, y, [places[a] for a in axes if a in places])
    return b.reshape(reduced, shape=at.types[0].shape)


def _reduce_repeated(b: Rewriter, at: Candidate, y: Value, dims: Shape) -> Any:
    """Reduce what was repeated; a sum counts how often it was."""
    (x,), axes, out = at.args, at.attrs["axes"], at.types[0]
    repeated = [a for a in axes if a not in dims]
    if not repeated or 1 in y.type.shape:
        return None
    count = math.prod(x.type.shape[a] for a in repeated)
    if count == 0:
        return b.zeros(out)
    if at.op == "sum" and out.dtype.is_integer and count > np.iinfo(out.dtype.numpy).max:
        return None
    reduced = _reduced(b, at.op, y, [i for i, d in enumerate(dims) if d in axes])
    if at.op == "sum":
        reduced = b.mul(reduced, count)
    kept = drop_axes(range(x.type.rank), axes)
    return b.broadcast(reduced, shape=out.shape, dims=tuple(kept.index(d) for d in dims if d in kept))


def scan_one(b: Rewriter, at: Candidate) -> Any:
    (x,) = at.args
    return x if x.type.shape[at.attrs["axis"]] == 1 else None


def search_one(b: Rewriter, at: Candidate) -> Any:
    (x,) = at.args
    return b.zeros(at.types[0]) if x.type.shape[at.attrs["axis"]] == 1 else None


def compute_before_broadcast(b: Rewriter, at: Candidate) -> Any:
    """op(broadcast(x), broadcast(y), 2.0) is broadcast(op(x, y, 2.0)), where some axis is repeated in all."""
    repeats = [b.made_by(a, "broadcast") for a in at.args]
    shape = at.types[0].shape
    own = sorted({d for r in repeats if r is not None for d in r.attrs["dims"]})
    small = tuple(shape[d] for d in own)
    if not 0 < math.prod(small) < at.types[0].size:
        return None
    numbers = [b.number(a) for a in at.args]
    for number, repeat in zip(numbers, repeats, strict=True):
        if number is None and (repeat is None or 1 in repeat.args[0].type.shape):
            return None
    operands: list[Value] = []
    for arg, number, repeat in zip(at.args, numbers, repeats, strict=True):
        if number is not None:
            operands.append(b.constant(number, arg.type.with_shape(small)))
        elif repeat is not None:
            dims = tuple(own.index(d) for d in repeat.attrs["dims"])
            operands.append(b.broadcast(repeat.args[0], shape=small, dims=dims))
    (computed,) = b.emit(at.op, operands, at.attrs)
    return b.broadcast(computed, shape=shape, dims=tuple(own))


def compute_before_reshape(b: Rewriter, at: Candidate) -> Any:
    """op(reshape(x), reshape(y), 2.0) is reshape(op(x, y, 2.0)). Where only axes of size 1 go, a broadcast
    can do without them as well."""
    made = [b.defs.get(a) for a in at.args]
    shape = at.types[0].shape
    source = next(m.args[0].type.shape for m in made if m is not None and m.op == "reshape")
    ones = _axis_map(source, shape) is not None
    if ones:
        source = _without_ones(shape)
    if source == shape:
        return None
    numbers = [b.number(a) for a in at.args]
    for number, m in zip(numbers, made, strict=True):
        reshaped = m is not None and m.op == "reshape" and (ones or m.args[0].type.shape == source)
        if not (number is not None or reshaped or (ones and m is not None and m.op == "broadcast")):
            return None
    operands = [
        b.reshape(a, shape=source) if n is None else b.constant(n, a.type.with_shape(source))
        for a, n in zip(at.args, numbers, strict=True)
    ]
    (computed,) = b.emit(at.op, operands, at.attrs)
    return b.reshape(computed, shape=shape)


_ELEMENTWISE = tuple(op.name for op in TABLE.values() if op.elementwise)

VIEW_RULES = (
    Procedure(["broadcast"], broadcast),
    Procedure(["reshape"], reshape),
    Procedure(["permute"], permute),
    Procedure(["slice"], slice_),
    Procedure(["flip"], flip),
    Procedure(["pad"], pad),
    Procedure(["concat"], concat),
    Procedure(["sum", "prod", "max", "min"], reduce, exact=False),
    Procedure(["cumsum"], scan_one),
    Procedure(["argmax", "argmin"], search_one),
    Procedure(_ELEMENTWISE, compute_before_broadcast, needs="broadcast", exact=False),
    Procedure(_ELEMENTWISE, compute_before_reshape, needs="reshape", exact=False),
)
