"""Neural network functions, named as in torch: compositions of primitives, so they trace and differentiate.

`activations` (softmax and dropout too), `layers` (linear, embedding, attention), `convolution`, `pooling`,
`padding`, `normalization`, `losses`, `classification`; `windows` is what convolution and pooling share.
"""

from ...functional.elementwise import sigmoid, tanh
from .activations import dropout, elu, gelu, leaky_relu, log_softmax, logsigmoid, relu, silu, softmax, softplus
from .classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    nll_loss,
)
from .convolution import conv1d, conv2d
from .layers import embedding, linear, one_hot, scaled_dot_product_attention
from .losses import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from .normalization import layer_norm, normalize, rms_norm
from .padding import pad
from .pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv1d",
    "conv2d", "cross_entropy", "dropout", "elu", "embedding", "gelu", "huber_loss", "kl_div", "l1_loss", "layer_norm",
    "leaky_relu", "linear", "log_softmax", "logsigmoid", "max_pool2d", "mse_loss", "nll_loss", "normalize", "one_hot",
    "pad", "relu", "rms_norm", "scaled_dot_product_attention", "sigmoid", "silu", "smooth_l1_loss", "softmax",
    "softplus", "tanh",
]


def __dir__() -> list[str]:
    return __all__
