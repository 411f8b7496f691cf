"""A matrix product as a `Contraction`: its axes in groups, as few of them as its operands allow.

A batch axis along which one operand stays where it is belongs to the rows (or columns) of the other, so that
`x[b, t, :] @ w` is one product of b * t rows.

Imports: `items`, `kernel`, `views`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..types import contiguous_strides
from . import views
from .items import Item, Root
from .kernel import ELEMENT, Access, Buffer, Contraction, Node, Store

BLAS_WORK = 5e8  # multiplications of a matrix from which BLAS, which packs both operands, is faster
BLOCK = 512  # terms summed in registers: more make a float32 sum less accurate, fewer cost traffic

Axis = tuple[int, int, int, int]  # size; strides in the left operand, the right one and the result


def is_for_blas(item: Item) -> bool:
    """Whether the matmul `item` is a call of BLAS: its matrices are large, and lie as BLAS takes them."""
    (*_, m, k), (*_, n) = item.shapes
    if m * k * n < BLAS_WORK:
        return False
    for (_, view), shape in zip(item.args, item.shapes, strict=True):
        strides = views.strides_over(view, shape)
        assert strides is not None
        rows, columns, down, along = *shape[-2:], *strides[-2:]
        if not ((along == 1 and down >= columns) or (down == 1 and along >= rows)):
            return False
    return True


def contraction(item: Item, buffer_of: Callable[[Root], Buffer]) -> Contraction:
    """The kernel of the matmul `item`, without anything fused."""
    (left, right), (left_shape, right_shape) = item.args, item.shapes
    moves = [views.strides_over(ref.view, shape) for ref, shape in zip(item.args, item.shapes, strict=True)]
    assert moves[0] is not None and moves[1] is not None
    a, b = moves[0], moves[1]
    rank = len(left_shape) - 2
    shape = (*left_shape[:-1], right_shape[-1])
    steps = contiguous_strides(shape)
    batch: list[Axis] = []
    rows: list[Axis] = []
    columns: list[Axis] = []
    for axis in zip(shape[:rank], a[:rank], b[:rank], steps[:rank], strict=True):
        size, along_left, along_right, _ = axis
        if size > 1:
            group = rows if along_left and not along_right else columns if along_right and not along_left else batch
            group.append(axis)
    rows.append((shape[-2], a[-2], 0, steps[-2]))
    columns.append((shape[-1], 0, b[-1], steps[-1]))
    terms: list[Axis] = [(left_shape[-1], a[-1], b[-2], 0)]
    merged = [_merged(group) for group in (batch, rows, columns, terms)]
    axes = [axis for group in merged for axis in group]
    out = buffer_of(item.out)
    accesses = [
        Access(buffer, offset, tuple(axis[k] for axis in axes))
        for k, (buffer, offset) in enumerate(
            ((buffer_of(left.root), left.view.offset), (buffer_of(right.root), right.view.offset), (out, 0)), 1
        )
    ]
    product = Node("product", (), {}, item.out.dtype, ELEMENT, loc=item.loc)
    batches, downs, acrosses, summed = (tuple(axis[0] for axis in group) for group in merged)
    kernel = Contraction(
        batches, downs, acrosses, summed, accesses[0], accesses[1], product, [], [Store(product, accesses[2])]
    )
    _block(kernel)
    return kernel


def _merged(axes: Sequence[Axis]) -> list[Axis]:
    """Neighbours joined where everything walks them as one axis."""
    out: list[Axis] = []
    for axis in axes:
        size = axis[0]
        if out and all(slow == size * fast for slow, fast in zip(out[-1][1:], axis[1:], strict=True)):
            out[-1] = (out[-1][0] * size, *axis[1:])
        else:
            out.append(axis)
    return out


def _block(kernel: Contraction) -> None:
    """Cut a long sum into blocks of about equal length, gathered where the result is stored."""
    inner = math.prod(kernel.terms[1:])
    blocks = -(-kernel.terms[0] * inner // BLOCK)
    kernel.block = -(-kernel.terms[0] // min(blocks, kernel.terms[0]))
    if kernel.block < kernel.terms[0]:
        kernel.partial = kernel.stores[0].access
