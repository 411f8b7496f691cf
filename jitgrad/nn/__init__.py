"""Neural networks: `functional` has the functions."""

from . import functional

__all__ = ["functional"]


def __dir__() -> list[str]:
    return __all__
