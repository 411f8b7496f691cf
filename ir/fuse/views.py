"""Views: how an iteration walks over the elements of a stored array, as sizes and strides.

A `View` maps the steps of a row-major iteration to element numbers of a root (an array stored in row-major
order, or raw memory): `offset + sum(i_k * stride_k)` over its `axes`, pairs (size, stride), first axis
slowest. A reshape never changes the order of an iteration, so it changes no view: shapes are only a way to
cut the axes, and an axis is cut or merged where arithmetic allows. What cannot be cut (a reshape of 6 by 4
seen as 4 by 6) has no view and is copied by the caller.

Invariants: axes are canonical: no size 1, neighbours merged where one stride continues the other. Views of
no elements do not occur (the scheduler drops empty work). All functions here give None where no view exists.

Imports: the standard library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Axis = tuple[int, int]  # size, stride


@dataclass(frozen=True, slots=True)
class View:
    offset: int
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        return math.prod(n for n, _ in self.axes)

    def is_identity(self) -> bool:
        """Whether step i is element i."""
        return self.offset == 0 and (not self.axes or (len(self.axes) == 1 and self.axes[0][1] == 1))

    def cuts(self) -> list[int]:
        """The numbers of steps after which a faster axis starts over."""
        out, step = [], 1
        for n, _ in reversed(self.axes[1:]):
            step *= n
            out.append(step)
        return out


def canonical(offset: int, axes: Iterable[Axis]) -> View:
    merged: list[Axis] = []
    for n, s in axes:
        if n == 1:
            continue
        if merged and merged[-1][1] == s * n:
            merged[-1] = (merged[-1][0] * n, s)
        else:
            merged.append((n, s))
    return View(offset, tuple(merged))


def identity(size: int) -> View:
    return View(0, ((size, 1),) if size != 1 else ())


def strided(shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> View:
    return canonical(offset, zip(shape, strides, strict=True))


def cut(axes: Sequence[Axis], sizes: Sequence[int]) -> list[list[Axis]] | None:
    """`axes` dealt out to consecutive axes of `sizes`, split where they must be."""
    left = list(axes)
    out: list[list[Axis]] = []
    for size in reversed(sizes):
        group: list[Axis] = []
        while size > 1:
            n, s = left.pop()
            if size % n == 0:
                size //= n
                group.append((n, s))
            elif n % size == 0:
                left.append((n // size, s * size))
                group.append((size, s))
                size = 1
            else:
                return None
        out.append(group[::-1])
    return out[::-1]


def strides_over(view: View, sizes: Sequence[int]) -> tuple[int, ...] | None:
    """One stride for each of `sizes`, none of which spans several axes of the view."""
    groups = cut(view.axes, sizes)
    if groups is None:
        return None
    out = []
    for group in groups:
        merged = canonical(0, group).axes
        if len(merged) > 1:
            return None
        out.append(merged[0][1] if merged else 0)
    return tuple(out)


def broadcast(view: View, from_shape: Sequence[int], shape: Sequence[int], dims: Sequence[int]) -> View | None:
    groups = cut(view.axes, from_shape)
    if groups is None:
        return None
    at = {d: (n, g) for d, n, g in zip(dims, from_shape, groups, strict=True)}
    axes: list[Axis] = []
    for i, n in enumerate(shape):
        own, group = at.get(i, (1, []))
        axes += group if own == n else [(n, 0)]
    return canonical(view.offset, axes)


def permute(view: View, shape: Sequence[int], perm: Sequence[int]) -> View | None:
    groups = cut(view.axes, shape)
    if groups is None:
        return None
    return canonical(view.offset, (axis for p in perm for axis in groups[p]))


def slice_(
    view: View, shape: Sequence[int], start: Sequence[int], limit: Sequence[int], step: Sequence[int]
) -> View | None:
    groups = cut(view.axes, shape)
    if groups is None:
        return None
    axes: list[Axis] = []
    offset = view.offset
    for group, n, lo, hi, by in zip(groups, shape, start, limit, step, strict=True):
        if (lo, hi, by) == (0, n, 1):
            axes += group
            continue
        merged = canonical(0, group).axes
        if len(merged) > 1:
            return None
        stride = merged[0][1] if merged else 0
        offset += lo * stride
        axes.append((-((lo - hi) // by), stride * by))
    return canonical(offset, axes)


def flip(view: View, shape: Sequence[int], flipped: Iterable[int]) -> View | None:
    groups = cut(view.axes, shape)
    if groups is None:
        return None
    turn, offset = set(flipped), view.offset
    axes: list[Axis] = []
    for i, group in enumerate(groups):
        if i in turn:
            offset += sum((n - 1) * s for n, s in group)
            group = [(n, -s) for n, s in group]
        axes += group
    return canonical(offset, axes)


def diagonal(view: View, shape: Sequence[int], window: tuple[int, int, int]) -> View | None:
    """The diagonal of the last two axes: `window` is its first row and column, and its length."""
    groups = cut(view.axes, shape)
    if groups is None:
        return None
    stride, offset, (*start, n) = 0, view.offset, window
    for group, at in zip(groups[-2:], start, strict=True):
        merged = canonical(0, group).axes
        if len(merged) > 1:
            return None
        own = merged[0][1] if merged else 0
        offset, stride = offset + at * own, stride + own
    return canonical(offset, [*(axis for group in groups[:-2] for axis in group), (n, stride)])


def unfold(view: View, shape: Sequence[int], axis: int, size: int, step: int) -> View | None:
    """Windows of `size` elements along `axis`, `step` apart, with what is in them as the last axis."""
    groups = cut(view.axes, shape)
    if groups is None:
        return None
    merged = canonical(0, groups[axis]).axes
    if len(merged) > 1:
        return None
    stride = merged[0][1] if merged else 0
    groups[axis] = [((shape[axis] - size) // step + 1, stride * step)]
    return canonical(view.offset, [*(a for group in groups for a in group), (size, stride)])


def compose(outer: View, inner: View) -> View | None:
    """The view whose step i is `outer`'s step `inner(i)`."""
    if outer.is_identity():
        return inner
    if inner.is_identity() and outer.size == inner.size:
        return outer
    if len(outer.axes) <= 1:
        stride = outer.axes[0][1] if outer.axes else 0
        return canonical(outer.offset + stride * inner.offset, ((n, s * stride) for n, s in inner.axes))
    return _compose_digits(outer, inner)


def _compose_digits(outer: View, inner: View) -> View | None:
    """`compose` where `outer` has several axes: each is a digit of a step's number. An axis of `inner` must
    move one digit at a time, or fill a digit and carry exactly."""
    weights = [1]
    for n, _ in reversed(outer.axes[1:]):
        weights.append(weights[-1] * n)
    digits = list(zip(outer.axes, reversed(weights), strict=True))
    lowest = inner.offset + sum((n - 1) * s for n, s in inner.axes if s < 0)
    place = [(lowest // w) % n for (n, _), w in digits]
    room = [n - 1 - d for ((n, _), _), d in zip(digits, place, strict=True)]
    offset = outer.offset + sum(d * t for ((_, t), _), d in zip(digits, place, strict=True))
    axes: list[Axis] = []
    for n, s in inner.axes:
        if s == 0:
            axes.append((n, 0))
            continue
        step, rest = abs(s), n
        pieces: list[Axis] = []
        while True:
            j = next(j for j, (_, w) in enumerate(digits) if w <= step)
            (size, stride), weight = digits[j]
            times, odd = divmod(step, weight)
            if odd:
                return None
            if rest <= room[j] // times + 1:
                take = rest
            elif size % times == 0 and rest % (size // times) == 0 and j > 0:
                take = size // times
                if times * (take - 1) > room[j]:
                    return None
            else:
                return None
            room[j] -= times * (take - 1)
            pieces.append((take, times * stride if s > 0 else -times * stride))
            if s < 0:
                offset += (take - 1) * times * stride
            if take == rest:
                break
            rest //= take
            step *= take
        axes += pieces[::-1]
    return canonical(offset, axes)


def common_cuts(*cut_lists: Iterable[int]) -> tuple[int, ...] | None:
    """All cuts together, rising, or None where one does not divide the next: no loop nest has them all."""
    joined = sorted({c for cuts in cut_lists for c in cuts})
    if any(b % a for a, b in pairwise(joined)):
        return None
    return tuple(joined)


def cuts_between(shape: Sequence[int]) -> tuple[int, ...]:
    """The cuts (rising) that the axes of `shape` make of its steps."""
    out, step = [], 1
    for n in reversed([n for n in shape if n > 1][1:]):
        step *= n
        out.append(step)
    return tuple(out)


def sizes_between(cuts: Sequence[int], total: int) -> tuple[int, ...]:
    """Sizes of the axes that `cuts` (rising) make of `total` steps, slowest first; a single step has none."""
    if total == 1:
        return ()
    bounds = [1, *cuts, total]
    return tuple(b // a for a, b in pairwise(bounds))[::-1]
