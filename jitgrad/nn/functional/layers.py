"""Linear maps, embeddings and attention.

Imports: `functional`, `activations`, `dispatch`, `tensors`, `errors`, `ir.types`.
"""

from __future__ import annotations

import math

from ...dispatch import apply, blame
from ...errors import DTypeError, ShapeError
from ...functional.arguments import node_name, want_float, want_int, want_tensor
from ...functional.arranging import repeat_interleave
from ...functional.comparison import where
from ...functional.creation import arange, ones_like, zeros
from ...functional.elementwise import exp
from ...functional.linalg import matmul
from ...functional.reductions import amax, softmax, sum
from ...ir.types import bool_, i64
from ...tensors import Tensor, concrete
from .activations import dropout


@node_name("Addmm")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias. input: (*, in), weight: (out, in) or (in), bias: (out).

    Raises ShapeError, DTypeError.
    """
    x, w = want_float("linear", input), want_tensor("linear", weight, "weight", 2)
    if w.ndim not in (1, 2):
        raise blame(ShapeError(f"linear: weight must have one or two dimensions, got {w.type_}"))
    product = matmul(x, w if w.ndim == 1 else apply("permute", w, perm=(1, 0)))
    return product if bias is None else product + bias


@node_name("Embedding")
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """The rows of `weight` (n, d) at the indices `input`: shape (*, d). The row padding_idx gets no gradient.

    Raises BoundsError (an IndexError) for an index outside [0, n), DTypeError for one that is no integer.
    """
    index, w = want_tensor("embedding", input), want_tensor("embedding", weight, "weight", 2)
    if not index.dtype.is_integer:
        raise blame(DTypeError(
            f"embedding: Expected tensor for argument #1 'indices' to have scalar type Long; but got {index.dtype}",
            hint="call .long() on it",
        ))
    if w.ndim != 2:
        raise blame(ShapeError(f"embedding: 'weight' must be 2-D, got {w.type_}"))
    rows = apply("gather", w, index, axis=0, batch=0)
    if padding_idx is None:
        return rows
    if not -w.shape[0] <= padding_idx < w.shape[0]:
        raise ValueError("Padding_idx must be within num_embeddings")
    is_padding = (index == padding_idx % w.shape[0]).unsqueeze(-1)
    return where(is_padding, rows.detach(), rows)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 rows of zeros with a 1 at the class: shape (*, num_classes).

    num_classes of -1 is one more than the largest class, which a traced function cannot know. Raises
    BoundsError for a class outside [0, num_classes), DTypeError for one that is no integer.
    """
    index = want_tensor("one_hot", tensor)
    if not index.dtype.is_integer:
        raise blame(DTypeError(f"one_hot is only applicable to index tensor of type LongTensor, got {index.dtype}"))
    num_classes = want_int("one_hot", "num_classes", num_classes)
    if num_classes == -1:
        classes = concrete(index, "one_hot() without num_classes")
        if classes.size == 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(classes.max()) + 1
    if num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    shape, axis = (*index.shape, num_classes), index.ndim
    return apply("scatter", zeros(shape, dtype=i64), index, ones_like(index, dtype=i64), axis=axis, batch=axis)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.mT * scale + mask) @ value (Vaswani et al., 2017).

    query: (*, L, E), key: (*, S, E), value: (*, S, V), result: (*, L, V). attn_mask broadcasts to (*, L, S):
    bool, True where attention is allowed, or a number added to the score. is_causal: position i sees the
    first i + 1 positions. A row that may see nothing gives 0. scale is 1 / sqrt(E) by default. dropout_p
    applies to the weights whenever it is not 0. enable_gqa: the heads (axis -3) of key and value are
    repeated to as many as query has. Raises RuntimeError, ShapeError.
    """
    q = want_float("scaled_dot_product_attention", query)
    for name, t in (("key", key), ("value", value)):
        if want_tensor("scaled_dot_product_attention", t, name).ndim < 2 or q.ndim < 2:
            raise blame(ShapeError("scaled_dot_product_attention: query, key and value need two dimensions or more"))
        if t.dtype is not q.dtype:
            raise blame(DTypeError(f"Expected query, key, and value to have the same dtype, got {q.type_}, {t.type_}"))
    if attn_mask is not None:
        want_tensor("scaled_dot_product_attention", attn_mask, "attn_mask", 4)
        if is_causal:
            raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
    if enable_gqa:
        if min(q.ndim, key.ndim, value.ndim) < 3:
            raise blame(ShapeError("scaled_dot_product_attention: with enable_gqa, axis -3 is that of the heads"))
        key, value = _repeat_heads(key, q.shape[-3]), _repeat_heads(value, q.shape[-3])
    factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = matmul(q * factor, key.transpose(-2, -1))
    if is_causal:
        rows, columns = scores.shape[-2:]
        attn_mask = arange(rows).unsqueeze(1) >= arange(columns)
    weights = softmax(scores, -1) if attn_mask is None else _masked_softmax(scores, attn_mask)
    return matmul(dropout(weights, dropout_p), value)


def _repeat_heads(t: Tensor, heads: int) -> Tensor:
    own = t.shape[-3]
    if heads % own:
        raise blame(ShapeError(f"enable_gqa: {heads} heads of query are no multiple of {own} of key or value"))
    return repeat_interleave(t, heads // own, dim=-3)


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """softmax along the last axis of what `mask` allows; 0 where it allows nothing."""
    scores = where(mask, scores, -math.inf) if mask.dtype is bool_ else scores + mask
    largest = amax(scores.detach(), -1, keepdim=True)
    # A row of nothing but -inf: 0 instead of its maximum, so that its exponentials are 0 and not nan.
    exponentials = exp(scores - where(largest == -math.inf, 0.0, largest))
    total = sum(exponentials, -1, keepdim=True)
    return exponentials / where(total == 0, 1.0, total)
