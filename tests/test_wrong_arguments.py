"""Arguments of the wrong kind: every public function says so with an error of Python's kind and in words of its own,
not in those of its insides."""

from __future__ import annotations

import inspect
import re
import warnings

import numpy as np
import pytest

import jitgrad
from jitgrad.nn import functional as F

# Functions that take anything, or are no functions of tensors.
OTHERS = {
    "eager", "enable_grad", "grad", "manual_seed", "no_grad", "seed", "set_default_dtype", "set_grad_enabled",
    "set_printoptions", "set_rng_state", "trace", "value_and_grad",
}
EXPECTED = (TypeError, ValueError, RuntimeError, IndexError, OverflowError)
INSIDES = re.compile(
    "^$|has no attribute|not supported between|is not iterable|is not subscriptable|values to unpack|has no len"
    "|(list|tuple) (assignment )?index out of range|ufunc '|unhashable|does not support item"
)


def _public(module):
    for name in module.__all__:
        function = getattr(module, name)
        if callable(function) and not isinstance(function, type) and name not in OTHERS:
            yield name, function


def _methods():
    for name in dir(jitgrad.Tensor):
        if not name.startswith("_") and callable(getattr(jitgrad.Tensor, name)):
            yield name


WRONG = [
    None, "a", b"a", 0.5, 1j, float("nan"), -7, 10**30, True, ..., object(), int, len, set(), (), {"a": 1}, (0, 0),
    [1, 2], [None], slice(0, 1), jitgrad.float32, np.ones(2), np.array("a"), jitgrad.zeros(0, 3), jitgrad.tensor(2.0),
    jitgrad.tensor(True), [jitgrad.ones(2)],
]
BEFORE = [(), (0,), (jitgrad.tensor([0, 1]),), (0, jitgrad.tensor([0, 1])), (jitgrad.ones(2, 3),)]  # after the input


@pytest.mark.parametrize("name, function", [*_public(jitgrad), *_public(F)])
def test_functions(name, function):
    for w in WRONG:
        _call(function, (w,))
    _call_all(function)


@pytest.mark.parametrize("name", list(_methods()))
def test_methods(name):
    _call_all(getattr(jitgrad.Tensor, name))


def _call_all(function):
    """Call with an input and something wrong: behind other arguments, twice, and under each name."""
    names = list(inspect.signature(function).parameters)[1:]
    for w in WRONG:
        _call(function, (jitgrad.ones(2, 3), w, w))
        for before in BEFORE:
            arguments = (jitgrad.ones(2, 3), *before)
            _call(function, (*arguments, w))
            for name in names[len(before) :]:
                _call(function, arguments, **{name: w})


def _call(function, arguments, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(*arguments, **named)
        except EXPECTED as error:
            assert not INSIDES.search(str(error)), (arguments, named, error)


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
@pytest.mark.parametrize("wrong, error, words", [
    (lambda x: jitgrad.rand(3, generator=5), TypeError, "'generator' must be jitgrad.Generator, not int"),
    (lambda x: x.uniform_(generator="a"), TypeError, "'generator' must be jitgrad.Generator, not str"),
    (lambda x: jitgrad.softmax([x], 0, dtype=jitgrad.float64), TypeError, "'input' .* must be Tensor, not list"),
    (lambda x: jitgrad.mean(True, dtype=jitgrad.float64), TypeError, "'input' .* must be Tensor, not bool"),
    (lambda x: jitgrad.index_fill((), 0, jitgrad.tensor([0]), 1.0), TypeError, "must be Tensor, not tuple"),
    (lambda x: x.index_put(set(), x), TypeError, "'indices' .* must be tuple of Tensors, not set"),
    (lambda x: x.index_add(0, jitgrad.tensor([0]), None), TypeError, "'source' .* must be Tensor, not NoneType"),
    (lambda x: F.l1_loss(x, x, weight=(0, 0)), TypeError, "l1_loss.*'weight' must be Tensor, not tuple"),
    (lambda x: F.huber_loss(x, x, weight="cpu"), TypeError, "huber_loss.*'weight' must be Tensor, not str"),
    (lambda x: F.smooth_l1_loss(x, x, beta="a"), TypeError, "'beta' must be Number, not str"),
    (lambda x: jitgrad.stack(None), TypeError, "'tensors' .* must be tuple of Tensors, not NoneType"),
    (lambda x: jitgrad.cat(x), TypeError, "'tensors' .* must be tuple of Tensors, not Tensor"),
    (lambda x: jitgrad.diff(x, (2,)), TypeError, r"diff\(\): argument 'n' must be int, not tuple"),
    (lambda x: jitgrad.polygamma("a", x), TypeError, r"polygamma\(\): argument 'n' must be int, not str"),
    (lambda x: jitgrad.randperm(2.0), TypeError, r"randperm\(\): argument 'n' must be int, not float"),
    (lambda x: jitgrad.randperm(-1), RuntimeError, "n must be non-negative, got -1"),
    (lambda x: x.sum("a"), TypeError, "a dimension must be int, not str"),
    (lambda x: x.sum([0, None]), TypeError, "a dimension must be int, not NoneType"),
    (lambda x: x.sum().diag_embed(), IndexError, "Dimension out of range"),
    (lambda x: jitgrad.take_along_dim(x, jitgrad.tensor(0), 0), RuntimeError, "same number of dimensions"),
    (lambda x: jitgrad.tensordot(x, x, (1,)), TypeError, "'dims' must be int or a pair"),
    (lambda x: jitgrad.full((2,), "3"), TypeError, "'fill_value' must be Number, not str"),
])
def test_words(wrap, wrong, error, words):
    with pytest.raises(error, match=words):
        wrap(wrong)(jitgrad.ones(2))


def test_result_type():
    x, y = jitgrad.ones(2), jitgrad.tensor(1)
    assert jitgrad.result_type(x, 1) is jitgrad.result_type(y, 1.5) is jitgrad.result_type(y, x) is jitgrad.float32
    assert jitgrad.result_type(y, True) is jitgrad.int64 and jitgrad.result_type(True, False) is jitgrad.bool
    for wrong in ((), (x,), (x, "a"), (None, x)):
        with pytest.raises(TypeError, match="result_type"):
            jitgrad.result_type(*wrong)


def test_an_error_shows_whatever_its_message_is():
    assert str(jitgrad.TraceError(jitgrad.ones(2))) == "tensor([1., 1.])"
    assert str(jitgrad.ShapeError(5, hint="none")) == "5\n  hint: none"
