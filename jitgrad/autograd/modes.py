"""Switching the recording of the autograd graph on and off: `no_grad`, `enable_grad`, `set_grad_enabled`.

Each is a context manager and a decorator.

Imports: `state`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..state import state


class _GradMode:
    """Sets the thread's grad mode inside, and what it was before again on leaving."""

    enabled = True

    def __init__(self) -> None:
        self._before: list[bool] = []  # a stack, for one object may be entered again inside itself

    def __enter__(self) -> None:
        self._before.append(state.grad_enabled)
        state.grad_enabled = self.enabled

    def __exit__(self, *_: object) -> None:
        state.grad_enabled = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        enabled = self.enabled

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before, state.grad_enabled = state.grad_enabled, enabled
            try:
                return function(*args, **kwargs)
            finally:
                state.grad_enabled = before

        return wrapped


class no_grad(_GradMode):
    """Inside, results do not require grad. Also a decorator, with or without parentheses."""

    enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        if function is None:
            return super().__new__(cls)
        return cls()(function)


class enable_grad(no_grad):
    """Inside, results require grad as usual, also within `no_grad`."""

    enabled = True


class set_grad_enabled(_GradMode):
    """Sets the mode at once; used as a context manager, restores the mode before on leaving."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.enabled = bool(mode)
        self._outer = state.grad_enabled
        state.grad_enabled = self.enabled

    def __enter__(self) -> None:
        self._before.append(self._outer)
        state.grad_enabled = self.enabled

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        state.grad_enabled = self._outer  # a decorator sets the mode for the calls, not now
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """Whether results require grad now."""
    return state.grad_enabled
