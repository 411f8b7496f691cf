"""Functions of the op table that numpy lacks, as vectorised numpy: their reference meaning.

float32 inputs are computed in float64 and rounded once. Sources of the formulas stand at each function.

Imports: numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def _in_float64(f: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def wrapped(x: np.ndarray, **attrs: int) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(f(np.asarray(x, np.float64), **attrs)).astype(x.dtype)

    wrapped.__name__, wrapped.__doc__ = f.__name__, f.__doc__
    return wrapped


@_in_float64
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), by e^-|x| so that nothing overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


_erf = np.vectorize(math.erf, otypes=[np.float64])


@_in_float64
def erf(x: np.ndarray) -> np.ndarray:
    return _erf(x) if x.size else x


def fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return (x.astype(np.float64) * y + z).astype(x.dtype)


@_in_float64
def lgamma(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.lgamma, otypes=[np.float64])(x) if x.size else x


@_in_float64
def digamma(x: np.ndarray) -> np.ndarray:
    raise NotImplementedError


@_in_float64
def polygamma(x: np.ndarray, n: int) -> np.ndarray:
    raise NotImplementedError
