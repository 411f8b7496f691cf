"""Optimizers: they read the gradients of parameters and update the parameters in place.

`optimizer` has the base class (parameter groups, state, state dicts); `sgd`, `rmsprop` and `adam` one method each.
"""

from .adam import Adam, AdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


def __dir__() -> list[str]:
    return __all__
