"""Neural networks: `functional` has the functions."""

from . import functional

__all__ = ["functional"]
