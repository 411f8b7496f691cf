"""Arguments of the wrong kind: every public function says so with an error of Python's kind, not of its own insides."""

from __future__ import annotations

import contextlib
import warnings

import pytest

import jitgrad
from jitgrad.nn import functional as F

# Functions that take anything, or are no functions of tensors.
OTHERS = {
    "eager", "enable_grad", "grad", "manual_seed", "no_grad", "seed", "set_default_dtype", "set_grad_enabled",
    "set_printoptions", "set_rng_state", "trace", "value_and_grad",
}
EXPECTED = (TypeError, ValueError, RuntimeError, IndexError, OverflowError)


def _public(module):
    for name, function in vars(module).items():
        if not name.startswith("_") and callable(function) and not isinstance(function, type) and name not in OTHERS:
            yield name, function


def _methods():
    for name in dir(jitgrad.Tensor):
        if not name.startswith("_") and callable(getattr(jitgrad.Tensor, name)):
            yield name


WRONG = [None, "a", 0.5, object(), [1, 2], jitgrad.zeros(0, 3), jitgrad.tensor(2.0), [jitgrad.ones(2)], -7]


@pytest.mark.parametrize("name, function", [*_public(jitgrad), *_public(F)])
def test_functions(name, function):
    x = jitgrad.ones(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for arguments in [(w,) for w in WRONG] + [(x, w) for w in WRONG] + [(x, w, w) for w in WRONG]:
            _call(function, arguments)


@pytest.mark.parametrize("name", list(_methods()))
def test_methods(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for w in WRONG:
            _call(getattr(jitgrad.ones(2, 3), name), (w,))
            _call(getattr(jitgrad.ones(2, 3), name), (w, w))


def _call(function, arguments):
    with contextlib.suppress(*EXPECTED):
        function(*arguments)
