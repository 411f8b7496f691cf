"""Sample inputs for the op contract test: `generator(rng)` yields `record.Sample`s of one op.

Every generator covers each dtype that its op takes, matrices, 0-d and zero-size arrays, one longer than
any vector register, operands that are transposed, strided, reversed or spread with stride 0, and special
values: nan, infinities, both zeros, denormals, the limits of integers. No sample is an error of its op.

`grad=True` marks float64 samples where finite differences tell the derivative: inside the domain, away
from kinks and ties. Special values have `grad=False`, and so has every other dtype.

Imports: `core`, `types`, `draws`, `record`, numpy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import Function, Instr, Value
from ..types import DType, Shape, TensorType, bool_, f32, f64, i32, i64, u8
from .draws import (
    ALL,
    DOMAINS,
    LAYOUTS,
    LONG,
    NUMBERS,
    Make,
    combinations,
    drawing,
    everywhere,
    laid_out,
    limits,
    of_kinds,
    real,
    special,
)
from .record import Sample, Samples

if TYPE_CHECKING:
    from .draws import Rng


# Elementwise ops.


def unary(domain: str, kinds: frozenset[str], *attrs: dict[str, Any]) -> Samples:
    """Samples for each of `attrs` (none: an op without attributes)."""

    def samples(rng: Rng) -> Iterator[Sample]:
        for dtype, attr in itertools.product(of_kinds(kinds), attrs or ({},)):
            yield from everywhere([drawing(rng, DOMAINS[domain][0])], [dtype], attr, dtype is f64)
            yield Sample((special(dtype),), attr, grad=False)

    return samples


def binary(domain: str, kinds: frozenset[str], *, nonzero: bool = False) -> Samples:
    """`nonzero`: an integer second operand is never 0."""

    def samples(rng: Rng) -> Iterator[Sample]:
        for dtype in of_kinds(kinds):
            makes = [drawing(rng, draw) for draw in DOMAINS[domain]]
            yield from everywhere(makes, [dtype, dtype], {}, dtype is f64)
            values = special(dtype)
            divisors = values[values != 0] if nonzero and not dtype.is_floating_point else values
            yield Sample(combinations(values, divisors), grad=False)

    return samples


def ternary(rng: Rng) -> Iterator[Sample]:
    for dtype in (f32, f64):
        yield from everywhere([drawing(rng, real)] * 3, [dtype] * 3, {}, dtype is f64)
        yield Sample(combinations(*[special(dtype)] * 3), grad=False)
        # x * y + z that nearly cancels: the result is the rounding error of the product.
        x, y = (real(rng, dtype, (LONG,)) for _ in range(2))
        yield Sample((x, y, -(x * y)), grad=False)


def select(rng: Rng) -> Iterator[Sample]:
    make = drawing(rng, real)
    for dtype in ALL:
        yield from everywhere([make] * 3, [bool_, dtype, dtype], {}, dtype is f64)
    yield Sample(combinations(special(bool_), special(f64), special(f64)), grad=False)


def cast(rng: Rng) -> Iterator[Sample]:
    for source, target in itertools.product(ALL, ALL):
        attrs = {"dtype": target}
        grad = source is f64 and target is f64
        yield Sample((real(rng, source, (LONG,)),), attrs, grad)
        yield Sample((special(source),), attrs, grad=False)
    edges = [v + d for t in ALL if t.is_integer for v in limits(t) for d in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    for source, target in itertools.product((f32, f64), ALL):
        yield Sample((np.array(edges, source.numpy),), {"dtype": target}, grad=False)
    yield from everywhere([drawing(rng, real)], [f64], {"dtype": f64}, True)
    yield from everywhere([drawing(rng, real)], [f32], {"dtype": i32}, False)


# Ops without operands.


def const(rng: Rng) -> Iterator[Sample]:
    for dtype in ALL:
        for value, shape in itertools.product(special(dtype), ((), (2, 3), (0, 3))):
            yield Sample((), {"value": value.item(), "dtype": dtype, "shape": shape})
        for shape in ((), (2, 3), (0, 3), (LONG,)):
            array = real(rng, dtype, shape)
            array.setflags(write=False)
            yield Sample((), {"value": array, "dtype": dtype, "shape": shape})
    yield Sample((), {"value": 1, "dtype": f64, "shape": (2,)})


def iota(rng: Rng) -> Iterator[Sample]:
    for dtype in NUMBERS:
        for axis, shape in ((0, (LONG,)), (1, (2, 3)), (0, (3, 2)), (0, (0, 2)), (1, (3, 0)), (0, (300,))):
            yield Sample((), {"axis": axis, "dtype": dtype, "shape": shape})


# Ops that move elements. A case is the operand's shape and the attributes.


def _moving(
    *cases: tuple[Shape, dict[str, Any]], extra: Sequence[Callable[[Rng, DType], np.ndarray]] = ()
) -> Samples:
    """The first case in every dtype, and each in float64 and in every layout. `extra` draws the operands
    behind the first."""

    def samples(rng: Rng) -> Iterator[Sample]:
        make = drawing(rng, real)
        shape, attrs = cases[0]
        for dtype in ALL:
            yield Sample((make(dtype, shape), *(e(rng, dtype) for e in extra)), attrs, dtype is f64)
        for shape, attrs in cases:
            for how in ("", *LAYOUTS) if shape else ("",):
                yield Sample((laid_out(make, f64, shape, how), *(e(rng, f64) for e in extra)), attrs)

    return samples


broadcast = _moving(
    ((2, 3), {"shape": (4, 2, 3), "dims": (1, 2)}),
    ((), {"shape": (2, 3), "dims": ()}),
    ((), {"shape": (), "dims": ()}),
    ((1, 3), {"shape": (4, 3), "dims": (0, 1)}),
    ((3, 1), {"shape": (3, LONG), "dims": (0, 1)}),
    ((3,), {"shape": (3, 2), "dims": (0,)}),
    ((1,), {"shape": (0, 2), "dims": (0,)}),
    ((0, 3), {"shape": (2, 0, 3), "dims": (1, 2)}),
    ((2, 3), {"shape": (2, 3), "dims": (0, 1)}),
    ((1, 1), {"shape": (1, 5, 1, 1), "dims": (0, 3)}),
)
reshape = _moving(
    ((4, 3), {"shape": (2, 6)}), ((4, 3), {"shape": (12,)}), ((1,), {"shape": ()}), ((), {"shape": (1, 1)}),
    ((2, 3, 4), {"shape": (6, 1, 4)}), ((0, 3), {"shape": (5, 0)}), ((LONG,), {"shape": (1, LONG)}),
)
permute = _moving(
    ((2, 3, 4), {"perm": (2, 0, 1)}), ((4, 3), {"perm": (1, 0)}), ((4, 3), {"perm": (0, 1)}),
    ((), {"perm": ()}), ((0, 3), {"perm": (1, 0)}),
    ((2, 1, 3, 2), {"perm": (3, 1, 0, 2)}), ((LONG, 3), {"perm": (1, 0)}),
)
slice_ = _moving(
    ((5, 6), {"start": (1, 0), "limit": (5, 6), "step": (2, 1)}),
    ((5, 6), {"start": (0, 1), "limit": (5, 6), "step": (1, 3)}),
    ((5, 6), {"start": (2, 2), "limit": (2, 6), "step": (1, 2)}),
    ((5, 6), {"start": (4, 5), "limit": (5, 6), "step": (7, 1)}),
    ((), {"start": (), "limit": (), "step": ()}),
    ((0, 3), {"start": (0, 1), "limit": (0, 3), "step": (1, 1)}),
    ((2 * LONG,), {"start": (1,), "limit": (2 * LONG,), "step": (2,)}),
)
flip = _moving(
    ((2, 3), {"axes": (1,)}), ((2, 3), {"axes": (0, 1)}), ((2, 3), {"axes": ()}), ((), {"axes": ()}),
    ((0, 3), {"axes": (0,)}), ((LONG,), {"axes": (0,)}),
)


diagonal = _moving(
    ((3, 4), {"offset": 0}), ((3, 4), {"offset": 2}), ((4, 3), {"offset": -1}), ((2, 3, 3), {"offset": 1}),
    ((3, 4), {"offset": 9}), ((0, 3), {"offset": 0}), ((2, 3, 0), {"offset": -1}), ((1, 1), {"offset": 0}),
    ((LONG, LONG), {"offset": 1}),
)


unfold = _moving(
    ((3, 7), {"axis": 1, "size": 3, "step": 2}), ((3, 7), {"axis": 0, "size": 2, "step": 1}),
    ((7,), {"axis": 0, "size": 7, "step": 9}), ((2, 5, 2), {"axis": 1, "size": 2, "step": 3}),
    ((0, 4), {"axis": 1, "size": 2, "step": 1}), ((3, 0), {"axis": 0, "size": 1, "step": 1}),
    ((2 * LONG,), {"axis": 0, "size": 4, "step": 1}),
)


def _scalar(rng: Rng, dtype: DType) -> np.ndarray:
    return real(rng, dtype, ())


pad = _moving(
    ((2, 3), {"low": (1, 0), "high": (0, 2), "interior": (0, 0)}),
    ((2, 3), {"low": (0, 1), "high": (2, 1), "interior": (2, 1)}),
    ((2, 3), {"low": (0, 0), "high": (0, 0), "interior": (0, 0)}),
    ((), {"low": (), "high": (), "interior": ()}),
    ((0, 3), {"low": (2, 0), "high": (1, 0), "interior": (3, 1)}),
    ((0, 3), {"low": (0, 0), "high": (0, 0), "interior": (3, 1)}),
    ((1,), {"low": (0,), "high": (0,), "interior": (4,)}),
    ((LONG,), {"low": (3,), "high": (2,), "interior": (1,)}),
    extra=(_scalar,),
)


def concat(rng: Rng) -> Iterator[Sample]:
    def of(dtype: DType, *shapes: Shape) -> tuple[np.ndarray, ...]:
        return tuple(real(rng, dtype, shape) for shape in shapes)

    for dtype in ALL:
        yield Sample(of(dtype, (2, 3), (1, 3), (2, 3)), {"axis": 0}, dtype is f64)
    yield Sample(of(f64, (2, 3), (2, 1)), {"axis": 1})
    yield Sample(of(f64, (2, 3)), {"axis": 1})
    yield Sample(of(f64, (0, 3), (2, 3), (0, 3)), {"axis": 0})
    yield Sample(of(f64, (0, 3), (0, 2)), {"axis": 1})
    yield Sample(of(f64, (LONG,), (5,)), {"axis": 0})
    x = real(rng, f64, (3, 2))
    yield Sample((x.T, x.T[:, ::-1], np.broadcast_to(x[0, 0], (2, 4))), {"axis": 1})


def anything(rng: Rng) -> Iterator[Sample]:
    for dtype in ALL:
        yield from everywhere([drawing(rng, real)], [dtype], {}, False)
        yield Sample((special(dtype),), grad=False)


# Reductions, scans, sorting.


def _distinct(rng: Rng, dtype: DType, shape: Shape) -> np.ndarray:
    """No two elements closer than 0.1, in random order."""
    n = math.prod(shape)
    return np.asarray((rng.permutation(n) / 4 - n / 8 + rng.uniform(0, 0.1, n)).reshape(shape), dtype.numpy)


_NO_AXES: Shape = ()
_CUBE = (2, 3, 4)
_CUBE_AXES: tuple[Shape, ...] = (_NO_AXES, (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
_LINES: tuple[tuple[Shape, Shape], ...] = (
    ((3, 2 * LONG), (1,)), ((2 * LONG, 3), (0,)), ((5 * LONG,), (0,)), ((), ()), ((0, 3), (1,)),
)
_EMPTY: tuple[tuple[Shape, Shape], ...] = (((0, 3), (0,)), ((0, 3), (0, 1)), ((3, 0), (1,)), ((0,), (0,)))


def _reducing(make: Make, dtype: DType, *cases: tuple[Shape, Shape]) -> Iterator[tuple[np.ndarray, Shape]]:
    """Operands and the axes to reduce; `cases` (shape, axes) come on top of those common to all."""
    for axes in _CUBE_AXES:
        yield make(dtype, _CUBE), axes
    for shape, axes in (*_LINES, *cases):
        yield make(dtype, shape), axes
    if dtype.is_floating_point:
        for how, axes in itertools.product(LAYOUTS, _CUBE_AXES[1:5]):
            yield laid_out(make, dtype, _CUBE, how), axes


def reduction(rng: Rng) -> Iterator[Sample]:
    """For sum and prod, which an axis of size 0 leaves their identity."""
    for dtype in NUMBERS:
        for x, axes in _reducing(drawing(rng, real), dtype, *_EMPTY):
            yield Sample((x,), {"axes": axes}, dtype is f64)
    x = real(rng, f64, (3, 4))
    x[0, 1] = x[1, 0] = x[1, 3] = 0.0  # a product with one zero and with two
    yield Sample((x,), {"axes": (1,)})
    yield Sample((x,), {"axes": (0, 1)})
    for dtype in (f32, f64):
        pairs = np.stack(combinations(special(dtype), special(dtype)))
        yield Sample((pairs,), {"axes": (0,)}, grad=False)


def extremum(rng: Rng) -> Iterator[Sample]:
    for dtype in ALL:
        make = drawing(rng, _distinct if dtype.is_floating_point else real)
        for x, axes in _reducing(make, dtype):
            yield Sample((x,), {"axes": axes}, dtype is f64 and 0 not in x.strides)
        pairs = np.stack(combinations(special(dtype), special(dtype)))
        for axes in ((0,), (1,), (0, 1)):
            yield Sample((pairs,), {"axes": axes}, grad=False)


def arg(rng: Rng) -> Iterator[Sample]:
    for sample in extremum(rng):
        (axes,) = sample.attrs.values()
        if len(axes) == 1:
            yield Sample(sample.args, {"axis": axes[0]}, grad=False)


def scan(rng: Rng) -> Iterator[Sample]:
    for sample in reduction(rng):
        (axes,) = sample.attrs.values()
        if len(axes) == 1:
            yield Sample(sample.args, {"axis": axes[0]}, sample.grad)


def sort(rng: Rng) -> Iterator[Sample]:
    cases: tuple[tuple[Shape, int], ...] = (
        ((4, 3), 0), ((4, 3), 1), ((LONG,), 0), ((0, 3), 0), ((0, 3), 1), ((2, 3, 2), 1), ((1,), 0),
    )
    for dtype, descending in itertools.product(ALL, (False, True)):
        draw = _distinct if dtype is f64 else real
        for shape, axis in cases:
            attrs = {"axis": axis, "descending": descending}
            yield Sample((draw(rng, dtype, shape),), attrs, dtype is f64)
        for how in LAYOUTS:
            x = laid_out(drawing(rng, draw), dtype, (4, 3), how)
            yield Sample((x,), {"axis": 0, "descending": descending}, dtype is f64 and how != "spread")
        ties = rng.permutation(np.tile(special(dtype), 3))
        yield Sample((ties,), {"axis": 0, "descending": descending}, grad=False)


# Matrix products and indexing.


_FACTORS: tuple[tuple[Shape, Shape], ...] = (
    ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((0, 2, 3), (0, 3, 2)),
    ((LONG, 18), (18, 33)), ((1, LONG), (LONG, 1)), ((LONG, 1), (1, LONG)), ((2, 1, 3, 4), (2, 1, 4, 5)),
)


def matmul(rng: Rng) -> Iterator[Sample]:
    make = drawing(rng, real)
    for dtype in NUMBERS:
        yield Sample((make(dtype, (2, 3)), make(dtype, (3, 4))), grad=dtype is f64)
        yield Sample((make(dtype, (2, 3, 4)), make(dtype, (2, 4, 1))), grad=dtype is f64)
        for how, other in zip(LAYOUTS, (*LAYOUTS[1:], ""), strict=True):
            operands = (laid_out(make, dtype, (5, 6), how), laid_out(make, dtype, (6, 7), other))
            yield Sample(operands, grad=dtype is f64)
    for left, right in _FACTORS:
        for dtype in (f32, f64):
            yield Sample((make(dtype, left), make(dtype, right)), grad=dtype is f64)
    for dtype in (f32, f64):
        x, y = make(dtype, (3, 3)), make(dtype, (3, 3))
        x[0, 0], x[1, 1], y[2, 2] = math.inf, math.nan, -math.inf
        yield Sample((x, y), grad=False)


# (shape of x, shape of the index, axis, batch)
_INDEXING: tuple[tuple[Shape, Shape, int, int], ...] = (
    ((5, 3), (4,), 0, 0), ((5, 3), (4,), 1, 0), ((5, 3), (), 0, 0), ((5, 3), (2, 3), 1, 0),
    ((7,), (LONG,), 0, 0), ((2, 5), (2, 4), 1, 1), ((2, 5), (2,), 1, 1), ((2, 3, 5), (2, 4), 2, 1),
    ((2, 3, 5), (2, 3, 2, 2), 2, 2),
    ((2, 3, 5, 2), (2, 4), 2, 1), ((0, 3), (0,), 0, 0), ((5, 0), (2,), 0, 0), ((5, 3), (0,), 0, 0),
    ((5, 3), (2, 0), 1, 0), ((0, 5), (0, 2), 1, 1),
)


def _index(rng: Rng, dtype: DType, shape: Shape, size: int) -> np.ndarray:
    return rng.integers(0, max(size, 1), shape, dtype.numpy)


def gather(rng: Rng) -> Iterator[Sample]:
    for shape, index, axis, batch in _INDEXING:
        attrs = {"axis": axis, "batch": batch}
        yield Sample((real(rng, f64, shape), _index(rng, i64, index, shape[axis])), attrs)
    attrs = {"axis": 0, "batch": 0}
    for dtype, of in itertools.product(ALL, (u8, i32, i64)):
        yield Sample((real(rng, dtype, (5, 3)), _index(rng, of, (2, 2), 5)), attrs, dtype is f64)
    for how in LAYOUTS:
        place = laid_out(lambda d, s: _index(rng, d, s, 5), i64, (4, 2), how)
        yield Sample((laid_out(drawing(rng, real), f64, (5, 3), how), place), attrs)
    yield Sample((special(f64), _index(rng, i64, (40,), len(special(f64)))), attrs, grad=False)


def _scattering(dtypes: Sequence[DType]) -> Samples:
    def samples(rng: Rng) -> Iterator[Sample]:
        def update(dtype: DType, x: Shape, index: Shape, axis: int, batch: int) -> np.ndarray:
            return real(rng, dtype, (*x[:axis], *index[batch:], *x[axis + 1 :]))

        for x, index, axis, batch in _INDEXING:  # draws with few places, so many are equal
            place, new = _index(rng, i64, index, x[axis]), update(f64, x, index, axis, batch)
            yield Sample((real(rng, f64, x), place, new), {"axis": axis, "batch": batch})
        attrs = {"axis": 0, "batch": 0}
        for dtype, of in itertools.product(dtypes, (u8, i32, i64)):
            distinct, new = rng.permutation(5)[:4].astype(of.numpy), update(dtype, (5, 3), (4,), 0, 0)
            yield Sample((real(rng, dtype, (5, 3)), distinct, new), attrs, dtype is f64)
        for how in LAYOUTS:
            make = drawing(rng, real)
            place = laid_out(lambda d, s: _index(rng, d, s, 5), i64, (4, 2), how)
            operands = (laid_out(make, f64, (5, 3), how), place, laid_out(make, f64, (4, 2, 3), how))
            yield Sample(operands, attrs)
        values = special(f64)
        place = _index(rng, i64, values.shape, 4)
        yield Sample((real(rng, f64, (4,)), place, values), attrs, grad=False)

    return samples


scatter = _scattering(ALL)
scatter_add = _scattering(NUMBERS)


def philox(rng: Rng) -> Iterator[Sample]:
    low, high = limits(i64)
    for key, offset in ((0, 0), (1, 2), (-1, -1), (low, high), (0x123456789ABCDEF, 2**32 - 2), (7, -2)):
        for shape in ((), (3, 5), (0, 2), (LONG,)):
            yield Sample((np.array(key, np.int64), np.array(offset, np.int64)), {"shape": shape}, grad=False)


def custom_grad(rng: Rng) -> Iterator[Sample]:
    """One result x * y of the inputs x and y, which are saved; the backward is (y * ct, x * ct)."""
    for shape, place in (((2, 3), ""), ((), ""), ((0, 3), ""), ((4, 3), "strided"), ((4, 3), "spread")):
        type = TensorType(f64, shape)
        x, y, out, ct, gx, gy = (Value(type, name) for name in ("x", "y", "out", "ct", "gx", "gy"))
        rules = (Instr("mul", (y, ct), {}, (gx,)), Instr("mul", (x, ct), {}, (gy,)))
        backward = Function.straight("backward", (x, y, out, ct), rules, (gx, gy))
        a, b = (laid_out(drawing(rng, real), f64, shape, place) for _ in range(2))
        attrs = {"backward": backward, "results": 1, "inputs": 2, "sets": ()}
        yield Sample((a * b, a, b, a, b), attrs, grad=False)
