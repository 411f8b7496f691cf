"""Activation functions, softmax and dropout.

Where the branch of a selection that is not taken could overflow, its operand is masked first: a cotangent
of 0 times an infinite derivative is nan.

Imports: `functional`, `inplace`, `tensors`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from ...functional import elementwise, reductions
from ...functional.arguments import node_name, want_float, want_number, want_tensor
from ...functional.comparison import gt, where
from ...functional.elementwise import div, erf, exp, expm1, log1p, mul, sigmoid, tanh
from ...functional.random import rand_like
from ...inplace import write
from ...tensors import Tensor


def _placed(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return write(input, result) if inplace else result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0), elementwise; the derivative at 0 is 0."""
    return _placed(input, elementwise.relu(input), inplace)


@node_name("Softplus")
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta; input itself where beta * input is above threshold."""
    x = want_float("softplus", input)
    scaled = mul(x, beta)
    linear = gt(scaled, threshold)
    # The masked value keeps exp finite where it is not used, so that no gradient is 0 times infinity.
    inner = where(linear, 0.0, scaled)
    return where(linear, x, div(log1p(exp(inner)), beta))


@node_name("LeakyRelu")
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where positive, negative_slope * input elsewhere."""
    x = want_float("leaky_relu", input)
    return _placed(x, where(x > 0, x, x * negative_slope), inplace)


@node_name("Elu")
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where positive, alpha * (exp(input) - 1) elsewhere (Clevert et al., 2016)."""
    x = want_float("elu", input)
    positive = x > 0
    return _placed(x, where(positive, x, expm1(where(positive, 0.0, x)) * alpha), inplace)


@node_name("Gelu")
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input times the normal distribution function at input (Hendrycks and Gimpel, 2016).

    approximate "tanh" is their approximation of it. Raises RuntimeError for another word.
    """
    x = want_float("gelu", input)
    if approximate == "none":
        return x * 0.5 * (erf(x * math.sqrt(0.5)) + 1.0)
    if approximate == "tanh":
        inner = (x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)
        return x * 0.5 * (tanh(inner) + 1.0)
    raise RuntimeError("approximate argument must be either none or tanh.")


@node_name("Silu")
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input) (Elfwing et al., 2017)."""
    x = want_float("silu", input)
    return _placed(x, x * sigmoid(x), inplace)


@node_name("LogSigmoid")
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input)), without overflow on either side."""
    x = want_float("logsigmoid", input)
    negative = x < 0
    # |x| through a selection and not abs: so the two kinks at 0 cancel, and the derivative there is 1/2.
    magnitude = where(negative, x, -x)
    return where(negative, x, 0.0) - log1p(exp(magnitude))


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(input) divided by its sum along `dim`, so that it sums to 1; computed in `dtype`, if given."""
    return reductions.softmax(input, _chosen("softmax", input, dim, _stacklevel), dtype=dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """The logarithm of softmax along `dim`, without overflow; computed in `dtype`, if given."""
    return reductions.log_softmax(input, _chosen("log_softmax", input, dim, _stacklevel), dtype=dtype)


def _chosen(function: str, input: Tensor, dim: int | None, stacklevel: int) -> int:
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {function} has been deprecated. Change the call to include dim=X as an "
        "argument.", stacklevel=stacklevel,
    )
    return 0 if want_tensor(function, input).ndim in (0, 1, 3) else 1


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element becomes 0 with probability p, else is divided by 1 - p (Srivastava et al., 2014).

    The default generator draws. Not training: input as it is. Raises ValueError unless 0 <= p <= 1.
    """
    if not 0.0 <= want_number("dropout", "p", p) <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return want_tensor("dropout", input)
    x = want_float("dropout", input)
    kept = (rand_like(x) >= p).to(x.dtype)
    return _placed(x, x * kept if p == 1.0 else x * (kept / (1.0 - p)), inplace)
