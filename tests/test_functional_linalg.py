"""Products: matmul's shapes, einsum against NumPy's, gradients, and the errors for what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from both import check, check_gradient

import jitgrad

RNG = np.random.default_rng(4)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X, M, V, Q = normal(3, 4), normal(4, 5), normal(4), normal(4, 4)
Z, W = normal(2, 3, 4), normal(2, 4, 5)

PAIRS = [
    (X, M), (X, V), (V, V), (V, M), (Z, W), (Z, M), (Z, V), (V, W), (Z[:, None], W), (normal(3, 1, 2, 4), W),
    (normal(0, 4), M), (normal(3, 0), normal(0, 2)), (normal(0, 2, 4), M),
]


@pytest.mark.parametrize("left, right", PAIRS, ids=lambda a: str(a.shape))
def test_matmul(left, right):
    check(lambda x, y: x @ y, left @ right, left, right, rtol=1e-5)
    if left.size and right.size:
        check_gradient(jitgrad.matmul, left, right)


def test_named_products():
    check(jitgrad.mm, X @ M, X, M, rtol=1e-5)
    check(jitgrad.bmm, Z @ W, Z, W, rtol=1e-5)
    check(jitgrad.mv, X @ V, X, V, rtol=1e-5)
    check(jitgrad.dot, V @ V, V, V, rtol=1e-5)
    check(jitgrad.outer, np.outer(V, M[0]), V, M[0])
    check(jitgrad.inner, np.inner(X, Q), X, Q, rtol=1e-5)
    check(lambda a, x, y: jitgrad.addmm(a, x, y, beta=2, alpha=3), 2 * M[0] + 3 * (X @ M), M[0], X, M, rtol=1e-5)
    check(lambda a, x, y: jitgrad.addmm(a, x, y, beta=0), X @ M, M[0] * np.nan, X, M, rtol=1e-5)
    check(lambda a, x, y: jitgrad.baddbmm(a, x, y), W[:, :3] + Z @ W, W[:, :3], Z, W, rtol=1e-5)
    check(lambda x: x.trace(), np.trace(Q), Q)
    check(lambda x, y: jitgrad.tensordot(x, y, 1), np.tensordot(X, M, 1), X, M, rtol=1e-5)
    check(lambda x, y: jitgrad.tensordot(x, y, ([2, 0], [1, 0])), np.tensordot(Z, W, ([2, 0], [1, 0])), Z, W, rtol=1e-5)
    check(lambda x, y: x @ y, np.arange(6).reshape(2, 3) @ np.arange(3), np.arange(6).reshape(2, 3), np.arange(3))
    check_gradient(lambda a, x, y: jitgrad.addmm(a, x, y, beta=2, alpha=3), M[0], X, M)
    check_gradient(lambda x, y: jitgrad.tensordot(x, y, ([2, 0], [1, 0])), Z, W)


EQUATIONS = [
    ("ij,jk->ik", X, M), ("ij,jk", X, M), ("bij,bjk->bik", Z, W), ("...ij,...jk->...ik", Z, W), ("ij->ji", X),
    ("ii->i", Q), ("ii", Q), ("ij->", X), ("i,j->ij", V, V), ("ij,ij->i", X, X), ("bij,jk,kl->bil", Z, M, M.T),
    ("...j,j->...", Z, V), ("ba", X), ("aij,bij->ab", Z, Z), ("ijk->kij", Z), ("i...->...", Z), ("ij,j", X, V),
    ("bij,jk->bik", Z, M), ("i,i,i->", V, V, V), ("iij->ij", normal(3, 3, 2)),
    ("ij,ik->", X, X), ("a,b,c->cab", V, V[:2], V[:3]), ("bhqd,bhkd->bhqk", normal(2, 3, 2, 4), normal(2, 3, 5, 4)),
]


@pytest.mark.parametrize("equation, operands", [(e, o) for e, *o in EQUATIONS], ids=[e for e, *_ in EQUATIONS])
def test_einsum(equation, operands):
    check(lambda *xs: jitgrad.einsum(equation, *xs), np.einsum(equation, *operands), *operands, rtol=1e-4)
    check_gradient(lambda *xs: jitgrad.einsum(equation, *xs), *operands)


def test_einsum_takes_a_list():
    check(lambda x, y: jitgrad.einsum(" i j , j k -> i k ", [x, y]), X @ M, X, M, rtol=1e-5)


ERRORS = [
    (lambda: jitgrad.ones(8, 4) @ jitgrad.ones(3, 4),
     r"inner sizes differ: f32\[8,4\] @ f32\[3,4\](.|\n)*x @ y.mT is f32\[8,3\]"),
    (lambda: jitgrad.ones(2, 3) @ jitgrad.ones(2, 3), r"cannot be multiplied \(2x3 and 2x3\)"),
    (lambda: jitgrad.ones(3) @ jitgrad.ones(4), "inconsistent tensor size"),
    (lambda: jitgrad.ones(2, 2) @ jitgrad.ones(2, 2).double(),
     r"same dtype, but got: jitgrad.float32 != jitgrad.float64"),
    (lambda: jitgrad.ones(2, 2) @ jitgrad.tensor(2.0), "at least 1D"),
    (lambda: jitgrad.ones(2, 2, 2) @ jitgrad.ones(3, 2, 2), "batch axes"),
    (lambda: jitgrad.ones(2).mm(jitgrad.ones(2, 2)), "must be a matrix"),
    (lambda: jitgrad.ones(2, 2).bmm(jitgrad.ones(2, 2)), "must be a 3D tensor"),
    (lambda: jitgrad.ones(2, 2, 2).trace(), "expected a matrix"),
    (lambda: jitgrad.einsum("ij,jk", jitgrad.ones(2, 2)), "number of subscripts"),
    (lambda: jitgrad.einsum("ij->ik", jitgrad.ones(2, 2)), "does not appear"),
    (lambda: jitgrad.einsum("ijk->i", jitgrad.ones(2, 2)), "does not fit an operand with 2 dimension"),
    (lambda: jitgrad.einsum("ij,jk", jitgrad.ones(2, 3), jitgrad.ones(2, 3)), "subscript j has size 3 and 2"),
    (lambda: jitgrad.einsum("ii", jitgrad.ones(2, 3)), "sizes 2 and 3|has size"),
]


@pytest.mark.parametrize("wrong, words", ERRORS)
def test_errors(wrong, words):
    with pytest.raises(RuntimeError, match=words):
        wrong()
