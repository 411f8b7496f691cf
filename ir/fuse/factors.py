"""Matrix products as items: which way round, by which kernel.

A product with a vector, an outer product and a product of integers is multiplication and sum, which fuse. Others are
contractions, large ones calls of BLAS. A contraction reads its left operand number by number, however it lies, but its
right one in vectors, so that one whose elements lie apart along them is copied before. An operand that is a view of
several axes in one (heads split off, windows) gives these to the contraction, and is read as it lies. A product is
computed as the transposed product of the transposed operands where that saves copies: where it is only read transposed,
or where it is small beside its operands.

Imports: `core`, `types`, `items`, `views`. `prepare`, which owns the program that is written to, for its type alone.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from ..core import Function, Instr, Value
from ..types import Shape, TensorType
from . import views
from .items import Ref

if TYPE_CHECKING:
    from .prepare import Program

# Multiplications of a matrix from which BLAS, which packs both operands, is faster. The time of BLAS over that of a
# contraction, float32 on AVX-512, one core: 1.1 to 1.2 for n = 128 to 512, 1.0 to 1.07 for 1000 to 1536, 0.95 for 2048.
BLAS_WORK = 5e9
CROSSWISE = 4
SHORT = 8  # elements of a row of the right operand: no operand is walked by shorter ones

Operand = tuple[Ref, Shape]


def read_turned(f: Function) -> set[Value]:
    """The values that are read by permutes which exchange their last two axes, and by nothing else."""
    uses = Counter(a for values in (*(i.args for i in f.instrs), f.results) for a in values)
    turns = Counter(i.args[0] for i in f.instrs if i.op == "permute" and i.attrs["perm"] == _swapped(i.out.type.rank))
    return {value for value, n in turns.items() if uses[value] == n}


def _swapped(rank: int) -> Shape:
    return (*range(rank - 2), rank - 1, rank - 2) if rank > 1 else ()


def matmul(program: Program, instr: Instr) -> list[Ref]:
    """The product that `instr` is."""
    x, y = instr.args
    t = instr.out.type
    m, k, n = x.type.shape[-2], x.type.shape[-1], y.type.shape[-1]
    if not k:
        return [program.const(0, t.dtype, t.size)]
    if not t.dtype.is_floating_point or min(m, k, n) == 1:
        return [_sum_of_products(program, x, y, t)]
    if m * k * n >= BLAS_WORK:
        return program.call("matmul", [(program.refs[v], v.type.shape) for v in (x, y)], [(t.dtype, t.size)])
    if m >= SHORT and _moved(program, instr, turned=True) < _moved(program, instr, turned=False):
        shape = (*t.shape[:-2], n, m)
        args = [(_turned(program, v), tuple(v.type.shape[p] for p in _swapped(t.rank))) for v in (y, x)]
        (out,) = _contract(program, args[0], args[1], t)
        return [program.view(out, lambda v: views.permute(v, shape, _swapped(t.rank)))]
    return _contract(program, (program.refs[x], x.type.shape), (program.refs[y], y.type.shape), t)


def _contract(program: Program, left: Operand, right: Operand, t: TensorType) -> list[Ref]:
    """The contraction of two operands, their axes cut as their views need it."""
    axes = _cut(left, right)
    if axes is None:
        return program.call("contract", [left, right], [(t.dtype, t.size)], groups=(t.rank - 2, 1, 1, 1))
    batch, rows, terms, columns = axes
    args = [(left[0], (*batch, *rows, *terms)), (right[0], (*batch, *terms, *columns))]
    groups = len(batch), len(rows), len(columns), len(terms)
    return program.call("contract", args, [(t.dtype, t.size)], groups=groups)


def _cut(left: Operand, right: Operand) -> tuple[Shape, Shape, Shape, Shape] | None:
    """The axes batch, rows, terms and columns by which both operands can be walked as they lie; None where there are
    none, or where the vectors along the last would be short."""
    a, b = _cuts(*left), _cuts(*right)
    if a is None or b is None:
        return None
    (*sizes, m, k), n = left[1], right[1][-1]
    shared: list[Shape] = []
    for size, mine, other in zip((*sizes, k), (*a[:-2], a[-1]), b[:-1], strict=True):
        both = views.common_cuts(mine, other)
        if both is None:
            return None
        shared.append(views.sizes_between(both, size))
    columns = views.sizes_between(b[-1], n)
    if len(columns) > 1 and columns[-1] < SHORT:
        return None
    return tuple(n for group in shared[:-1] for n in group), views.sizes_between(a[-2], m), shared[-1], columns


def _cuts(ref: Ref, shape: Shape) -> list[tuple[int, ...]] | None:
    """For each axis of `shape` the steps after which the view goes on elsewhere."""
    groups = views.cut(ref.view.axes, shape)
    if groups is None:
        return None
    return [views.cuts_between([n for n, _ in views.canonical(0, group).axes]) for group in groups]


def _turned(program: Program, value: Value) -> Ref:
    return program.view(program.refs[value], lambda v: views.permute(v, value.type.shape, _swapped(value.type.rank)))


def _moved(program: Program, instr: Instr, *, turned: bool) -> int:
    """How many elements a product costs beside its sums: a copy of the right operand, if its rows have gaps; and where
    the result does not lie as it is read, `CROSSWISE` times the result, with which no work can be fused then."""
    x, y = instr.args
    right, axis = (x, -2) if turned else (y, -1)
    strides = views.strides_over(program.refs[right].view, right.type.shape)
    copied = 0 if strides is not None and strides[axis] == 1 else right.type.size
    return copied + CROSSWISE * instr.out.type.size * (turned != (instr.out in program.read_turned))


def _sum_of_products(program: Program, x: Value, y: Value, t: TensorType) -> Ref:
    """Its axes in the order in which the larger operand lies in memory."""
    m, k, n = x.type.shape[-2], x.type.shape[-1], y.type.shape[-1]
    batch = x.type.shape[:-2]
    rank = len(batch)
    shape = (*batch, m, k, n)
    kept = tuple(range(rank))
    a = program.spread(program.refs[x], x.type.shape, shape, (*kept, rank, rank + 1))
    b = program.spread(program.refs[y], y.type.shape, shape, (*kept, rank + 1, rank + 2))
    order = kept + tuple(rank + i for i in _memory_order(a, b, shape, rank, m >= n))
    a = program.view(a, lambda v: views.permute(v, shape, order))
    b = program.view(b, lambda v: views.permute(v, shape, order))
    product = program.map("mul", (a, b), t.dtype, math.prod(shape))
    runs = [(shape[i], i == rank + 1) for i in order]
    return program.reduce("sum", product, runs, t.dtype)


def _memory_order(a: Ref, b: Ref, shape: Shape, rank: int, left: bool) -> list[int]:
    """The axes m, k, n of a product ordered by the strides of the larger operand, its own absent axis first
    (it has stride 0); an inner axis of size 1 does not matter."""
    view = a.view if left else b.view
    strides = views.strides_over(view, shape)
    order = [0, 1, 2]
    if strides is None:
        return order
    mine = strides[rank:]
    if shape[rank] > 1 and shape[rank + 2] > 1:
        return order  # the result has rows and columns: they stay in order, rows accumulate over k
    return sorted(order, key=lambda i: -abs(mine[i]) if mine[i] else -math.inf)
