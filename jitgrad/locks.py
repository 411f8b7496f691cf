"""Threads and forks: locks that are free in a forked child, and attributes computed once without any lock.

A child has the thread alone that forked. A lock that another one held stays locked in it for ever.

Imports: the standard library.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")
_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def lock_of(owner: Any) -> Any:
    """A reentrant lock for the attribute `_lock` of `owner`, which gets a new one in a forked child."""
    _owners.add(owner)
    return threading.RLock()


def _forked() -> None:
    for owner in list(_owners):
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class cached(Generic[T]):
    """A method as an attribute that is computed when first asked for. Threads that ask at once may each compute it;
    all get the same value. (functools.cached_property has one lock for all objects in Python 3.11.)"""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self._name, self._compute(instance))
