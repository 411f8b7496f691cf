"""Running one function plain and traced, and comparing what can be seen from outside.

A case is a function of `wrap`, which makes a function traced or leaves it alone; it returns what it saw. Both
ways must see the same, or the traced one raises a clear error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import Tensor
from jitgrad.errors import TraceError


def rand(*shape: int, seed: int = 0, grad: bool = False) -> Tensor:
    a = np.random.default_rng(seed).normal(size=shape)
    return jitgrad.from_numpy(a).requires_grad_(grad)


def seen(x: Any) -> Any:
    """`x` with its tensors as plain values that compare."""
    if isinstance(x, Tensor):
        return (str(x.dtype), x.requires_grad, x.detach().numpy().round(9).tolist())
    if isinstance(x, (list, tuple)):
        return [seen(y) for y in x]
    return {k: seen(y) for k, y in x.items()} if isinstance(x, dict) else x


def outcome(function: Callable[..., Any], wrap: Callable[..., Any]) -> Any:
    jitgrad.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return seen(function(wrap))


class Cases:
    """The cases of one test module."""

    def __init__(self) -> None:
        self.same: dict[str, Callable[..., Any]] = {}
        self.refused: dict[str, tuple[Callable[..., Any], str]] = {}

    def case(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.same[function.__name__] = function
        return function

    def refuse(self, message: str) -> Callable[..., Any]:
        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.refused[function.__name__] = (function, message)
            return function

        return register

    def check_same(self, name: str) -> None:
        function = self.same[name]
        assert outcome(function, jitgrad.trace) == outcome(function, lambda f: f)

    def check_refused(self, name: str) -> None:
        function, message = self.refused[name]
        function(lambda f: f)
        with warnings.catch_warnings(), pytest.raises(TraceError, match=message):
            warnings.simplefilter("ignore")
            function(jitgrad.trace)
        assert jitgrad.state.state.recording is None
