"""What tests of traced functions share: inputs and comparison."""

from __future__ import annotations

import numpy as np

import jitgrad
from jitgrad import Tensor


def rand(*shape: int, dtype: str = "float64", seed: int = 0, requires_grad: bool = False) -> Tensor:
    a = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    return jitgrad.from_numpy(a).requires_grad_(requires_grad)


def close(a: Tensor, b: Tensor, tol: float = 1e-12) -> None:
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)
