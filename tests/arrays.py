"""What tests of functions over tensors share: inputs, comparison with NumPy, gradients by backward."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import jitgrad

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def leaf(values: object) -> jitgrad.Tensor:
    """A float64 tensor that requires grad."""
    return jitgrad.tensor(np.array(values, np.float64), requires_grad=True)


def close(got: jitgrad.Tensor, want: object, rtol: float = 1e-12) -> None:
    """Asserts that `got` has the shape and, to rounding, the values of `want`; nan equals nan."""
    want = np.asarray(want)
    assert tuple(got.shape) == want.shape
    np.testing.assert_allclose(got.detach().numpy(), want, rtol, 1e-13)


def gradient(f: Callable[..., jitgrad.Tensor], *values: object) -> list[np.ndarray]:
    """The gradients of sum(f(*values)) with respect to each of `values`."""
    leaves = [leaf(v) for v in values]
    f(*leaves).sum().backward()
    return [t.grad.numpy() for t in leaves]


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
