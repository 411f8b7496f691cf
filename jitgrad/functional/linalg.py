"""Products of vectors and matrices: matmul and its relatives, einsum, tensordot, trace.

All of them end in the primitive `matmul` (batched) or, for vectors, in a product and a sum.
Imports: `arguments`, `elementwise`, `reductions`, `shaping`, `dispatch`, `tensors`, `ir.types`, `errors`,
`arranging`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..dispatch import apply, blame, expand_to
from ..errors import DTypeError, ShapeError
from ..ir.types import bool_, broadcast_shapes
from ..tensors import Tensor, shape_of
from .arguments import axis_of, is_number, node_name, want_tensor, want_tensors
from .arranging import diagonal
from .elementwise import add, mul
from .reductions import sum as total
from .shaping import contiguous, reshape


def _pair(function: str, input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Two tensors of one dtype. Raises DTypeError."""
    x, y = want_tensor(function, input), want_tensor(function, other, "other", 2)
    if x.dtype is not y.dtype:
        raise blame(DTypeError(
            f"expected m1 and m2 to have the same dtype, but got: {x.dtype} != {y.dtype} "
            f"({function}: {x.type_} @ {y.type_})",
            hint=f"x.to(jitgrad.{y.dtype.name}) or y.to(jitgrad.{x.dtype.name})",
        ))
    if x.dtype is bool_:
        raise blame(DTypeError(f'"{function}" is not implemented for {bool_}', hint="call .float() on it"))
    return x, y


def _inner(x: Tensor, y: Tensor) -> None:
    """Raises ShapeError unless the inner sizes of x @ y agree."""
    a, b = shape_of(x), shape_of(y)
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] == inner:
        return
    hint = ""
    if len(a) > 1 and len(b) > 1:
        if a[-1] == b[-1]:
            hint = f"x @ y.mT is {x.type_.with_shape((*a[:-1], b[-2]))}"
        elif a[-2] == b[-2]:
            hint = f"x.mT @ y is {x.type_.with_shape((*a[:-2], a[-1], b[-1]))}"
    shapes = f"({'x'.join(map(str, a))} and {'x'.join(map(str, b))})"
    what = "mat1 and mat2 shapes cannot be multiplied" if len(a) > 1 else "inconsistent tensor size"
    raise blame(ShapeError(f"matmul: inner sizes differ: {x.type_} @ {y.type_}: {what} {shapes}", hint=hint))


@node_name("Mm")
def _matrices(x: Tensor, y: Tensor) -> Tensor:
    return apply("matmul", x, y)


@node_name("Mv")
def _matrix_vector(x: Tensor, y: Tensor) -> Tensor:
    column = apply("reshape", y, shape=(*shape_of(y), 1))
    return apply("reshape", apply("matmul", x, column), shape=shape_of(x)[:1])


@node_name("Dot")
def _vectors(x: Tensor, y: Tensor) -> Tensor:
    return apply("sum", apply("mul", x, y), axes=(0,))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product by torch's rules: vectors are rows or columns, leading axes broadcast as a batch.

    Raises ShapeError where the inner sizes differ, DTypeError where the dtypes do.
    """
    x, y = _pair("matmul", input, other)
    a, b = shape_of(x), shape_of(y)
    if not a or not b:
        raise blame(ShapeError(
            f"both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D", hint="use x * y"
        ))
    _inner(x, y)
    if len(b) == 1:
        if len(a) == 1:
            return _vectors(x, y)
        if len(a) == 2:
            return _matrix_vector(x, y)
        rows = apply("reshape", x, shape=(math.prod(a[:-1]), a[-1]))
        return apply("reshape", _matrix_vector(rows, y), shape=a[:-1])
    if len(a) == 1:
        out = matmul(apply("reshape", x, shape=(1, *a)), y)
        return apply("reshape", out, shape=(*b[:-2], b[-1]))
    if len(a) == len(b) == 2:
        return _matrices(x, y)
    if len(b) == 2:  # one matrix for the whole batch: one larger product
        rows = apply("reshape", x, shape=(math.prod(a[:-1]), a[-1]))
        return apply("reshape", _matrices(rows, y), shape=(*a[:-1], b[-1]))
    try:
        batch = broadcast_shapes(a[:-2], b[:-2])
    except ShapeError as error:
        raise blame(ShapeError(f"matmul: batch axes of {x.type_} @ {y.type_}: {error.message}")) from None
    return apply("matmul", expand_to(x, (*batch, *a[-2:])), expand_to(y, (*batch, *b[-2:])))


def _want_rank(function: str, x: Tensor, rank: int, name: str) -> None:
    if x.ndim != rank:
        words = {1: "1D tensors expected", 2: f"{name} must be a matrix", 3: f"{name} must be a 3D tensor"}[rank]
        raise blame(ShapeError(f"{function}: {words}, got {x.ndim}D {x.type_}"))


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    x, y = _pair("mm", input, mat2)
    _want_rank("mm", x, 2, "self")
    _want_rank("mm", y, 2, "mat2")
    return matmul(x, y)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices; batch sizes must be equal."""
    x, y = _pair("bmm", input, mat2)
    _want_rank("bmm", x, 3, "batch1")
    _want_rank("bmm", y, 3, "batch2")
    if x.shape[0] != y.shape[0]:
        raise blame(ShapeError(
            f"bmm: Expected size for first two dimensions of batch2 tensor to match: {x.type_} @ {y.type_}"
        ))
    _inner(x, y)
    return apply("matmul", x, y)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    x, y = _pair("mv", input, vec)
    if (x.ndim, y.ndim) != (2, 1):
        raise blame(ShapeError(f"vector + matrix @ vector expected, got {x.ndim}, {y.ndim}"))
    return matmul(x, y)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors of one size."""
    x, y = _pair("dot", input, tensor)
    if (x.ndim, y.ndim) != (1, 1):
        raise blame(ShapeError(f"1D tensors expected, but got {x.ndim}D and {y.ndim}D tensors"))
    return matmul(x, y)


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """`dot`, for real tensors."""
    return dot(input, other)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last axes."""
    if want_tensor("inner", input).ndim == 0 or want_tensor("inner", other, "other", 2).ndim == 0:
        return mul(input, other)
    return tensordot(input, other, ((-1,), (-1,)))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of input with one of vec2, as a matrix."""
    x, y = want_tensor("outer", input), want_tensor("outer", vec2, "vec2", 2)
    _want_rank("outer", x, 1, "self")
    _want_rank("outer", y, 1, "vec2")
    return mul(reshape(x, (-1, 1)) if x.shape[0] else reshape(x, (0, 1)), y)


ger = outer


def _added(input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    scaled = product if is_number(alpha, 1) else mul(product, alpha)
    if is_number(beta, 0):
        return scaled  # torch ignores input then, nan included
    return add(input if is_number(beta, 1) else mul(input, beta), scaled)


@node_name("Addmm")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    return _added(input, mm(mat1, mat2), beta, alpha)


@node_name("Addmv")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    return _added(input, mv(mat, vec), beta, alpha)


@node_name("Baddbmm")
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), batch by batch."""
    return _added(input, bmm(batch1, batch2), beta, alpha)


@node_name("Addbmm")
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (the sum over the batch of batch1 @ batch2)."""
    return _added(input, total(bmm(batch1, batch2), 0), beta, alpha)


@node_name("Trace")
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if want_tensor("trace", input).ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return total(diagonal(input))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over pairs of axes: the last `dims` of a with the first of b, or those listed."""
    x, y = _pair("tensordot", a, b)
    if isinstance(dims, int):
        if dims < 0 or dims > min(x.ndim, y.ndim):
            raise RuntimeError(f"tensordot expects dims >= 0 and within both tensors, but got dims={dims}")
        left, right = tuple(range(x.ndim - dims, x.ndim)), tuple(range(dims))
    elif not isinstance(dims, Sequence) or len(dims) != 2:
        raise TypeError("tensordot(): argument 'dims' must be int or a pair of lists of ints")
    else:
        left, right = (tuple((d,) if isinstance(d, int) else d) for d in dims)
        left = tuple(axis_of(d, x.ndim) for d in left)
        right = tuple(axis_of(d, y.ndim) for d in right)
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(left, right, strict=True):
        if x.shape[i] != y.shape[j]:
            raise blame(ShapeError(
                f"contracted dimensions need to match, but first has size {x.shape[i]} in dim {i} and second has size "
                f"{y.shape[j]} in dim {j}"
            ))
    free_x = [i for i in range(x.ndim) if i not in left]
    free_y = [i for i in range(y.ndim) if i not in right]
    shape_x, shape_y = [x.shape[i] for i in free_x], [y.shape[i] for i in free_y]
    k = math.prod(x.shape[i] for i in left)
    rows = apply("reshape", apply("permute", x, perm=(*free_x, *left)), shape=(math.prod(shape_x), k))
    columns = apply("reshape", apply("permute", y, perm=(*right, *free_y)), shape=(k, math.prod(shape_y)))
    return apply("reshape", _matrices(rows, columns), shape=(*shape_x, *shape_y))


# -- einsum


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by Einstein's convention, as torch.einsum: "ij,jk->ik", "...ij->...ji", "ii->i".

    Operands are contracted from left to right, each pair by one batched matmul. Raises RuntimeError for an
    equation that does not fit the operands.
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum(): argument 'equation' (position 1) must be str, not {type(equation).__name__}")
    listed = want_tensors(
        "einsum", operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands
    )
    if any(x.dtype is not listed[0].dtype for x in listed):
        raise blame(DTypeError(f"einsum(): operands have different dtypes: {', '.join(str(x.dtype) for x in listed)}"))
    terms, output = _parsed(equation, listed)
    sizes: dict[str, int] = {}
    for term, x in zip(terms, listed, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(letter, n) == 1:
                sizes[letter] = n
            elif n not in (1, sizes[letter]):
                raise blame(ShapeError(
                    f"einsum(): operands do not broadcast with remapped shapes: subscript {letter} has size "
                    f"{sizes[letter]} and {n}"
                ))
    work = [_without_repeats(x, term) for x, term in zip(listed, terms, strict=True)]
    value, letters = work[0]
    value, letters = _summed(value, letters, _later(output, work[1:]))
    for i in range(1, len(work)):
        needed = _later(output, work[i + 1 :])
        other, other_letters = _summed(*work[i], needed | set(letters))
        value, letters = _contracted(value, letters, other, other_letters, needed, sizes)
    value, letters = _summed(value, letters, set(output))
    value = apply("permute", value, perm=tuple(letters.index(c) for c in output))
    if len(listed) > 1:
        value = contiguous(value)
    return expand_to(value, tuple(sizes[c] for c in output))


def _later(output: str, work: Sequence[tuple[Tensor, str]]) -> set[str]:
    return set(output).union(*(letters for _, letters in work)) if work else set(output)


def _parsed(equation: str, operands: Sequence[Tensor]) -> tuple[list[str], str]:
    """The subscripts of each operand and of the result, "..." spelled out in capitals of their own."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({len(terms)}) does not match the number of operands "
            f"({len(operands)})"
        )
    used = {c for c in text if c.isalpha()}
    spare = [chr(c) for c in range(0x3B1, 0x3B1 + 64) if chr(c) not in used]  # Greek letters, for the dots
    ranks = []
    for term, x in zip(terms, operands, strict=True):
        named = len(term.replace("...", ""))
        extra = x.ndim - named
        if extra < 0 or (extra and "..." not in term) or any(not c.isalpha() for c in term.replace("...", "")):
            raise RuntimeError(
                f"einsum(): the subscript {term!r} does not fit an operand with {x.ndim} dimension(s)"
            )
        ranks.append(extra if "..." in term else 0)
    most = max(ranks, default=0)
    dots = spare[:most]
    spelled = [t.replace("...", "".join(dots[most - r :])) for t, r in zip(terms, ranks, strict=True)]
    if arrow:
        output = right.replace("...", "".join(dots))
    else:
        letters = "".join(terms).replace("...", "")
        output = "".join(dots) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if len(set(output)) != len(output):
        raise RuntimeError(f"einsum(): output subscript {right!r} has a letter twice")
    if unknown := set(output) - set("".join(spelled)):
        raise RuntimeError(
            f"einsum(): output subscript {min(unknown)} does not appear in the equation for any input operand"
        )
    return spelled, output


def _without_repeats(x: Tensor, term: str) -> tuple[Tensor, str]:
    """The diagonal where a letter stands twice in one term."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            if x.shape[first] != x.shape[second]:
                raise blame(ShapeError(
                    f"einsum(): subscript {letter} is repeated with sizes {x.shape[first]} and {x.shape[second]}"
                ))
            x = diagonal(x, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    return x, term


def _summed(x: Tensor, term: str, keep: set[str]) -> tuple[Tensor, str]:
    """Without the axes whose letters are in no other place."""
    gone = tuple(i for i, c in enumerate(term) if c not in keep)
    if not gone:
        return x, term
    return apply("sum", x, axes=gone), "".join(c for c in term if c in keep)


def _contracted(
    x: Tensor, a: str, y: Tensor, b: str, needed: set[str], sizes: dict[str, int]
) -> tuple[Tensor, str]:
    """The product of two operands, summed over shared letters that nobody needs later.

    One batched matmul; where that would be of rows with columns of one element, a product and a sum.
    """
    shared = [c for c in a if c in b]
    batch = [c for c in shared if c in needed]
    inner = [c for c in shared if c not in needed]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    result = (*batch, *rows, *columns)
    # A size of 1 that stands for a larger one is repeated; free letters keep what they have.
    size = {c: x.shape[a.index(c)] for c in rows} | {c: y.shape[b.index(c)] for c in columns}
    size |= {c: sizes[c] for c in shared}

    def lengths(letters: Sequence[str]) -> tuple[int, ...]:
        return tuple(size[c] for c in letters)

    def spread(t: Tensor, term: str, order: Sequence[str]) -> Tensor:
        own = [c for c in order if c in term]
        moved = apply("permute", t, perm=tuple(term.index(c) for c in own))
        return apply("broadcast", moved, shape=lengths(order), dims=tuple(order.index(c) for c in own))

    if not inner or not (rows or columns):
        order = (*result, *inner)
        product = apply("mul", spread(x, a, order), spread(y, b, order))
        return _summed(product, "".join(order), set(result))

    def matrices(t: Tensor, term: str, *groups: Sequence[str]) -> Tensor:
        arranged = spread(t, term, [c for group in groups for c in group])
        return apply("reshape", arranged, shape=tuple(math.prod(lengths(group)) for group in groups))

    product = apply("matmul", matrices(x, a, batch, rows, inner), matrices(y, b, batch, inner, columns))
    return apply("reshape", product, shape=lengths(result)), "".join(result)
