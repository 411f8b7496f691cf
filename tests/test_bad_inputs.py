"""Ten bad inputs and what the user sees: the class, the gist, the user's own line under a caret, how to mend it."""

from __future__ import annotations

import re
import warnings

import pytest

import jitgrad
from jitgrad import cli
from jitgrad.nn import functional as F
from jitgrad.tracing import RecompileWarning


def underlined(error: BaseException) -> str:
    """The part of a line of this file that the error's text underlines; the line is where it was raised."""
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == __file__:
            frames.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    lines = str(error).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"  {__file__}:{frames[-1]}   "))
    mark = re.fullmatch(r" *(\^+)", lines[at + 1])
    assert mark, str(error)
    return lines[at][slice(*mark.span(1))]


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_shapes_that_do_not_broadcast(wrap):
    def f(x, y):
        return (x + y).sum()

    with pytest.raises(jitgrad.ShapeError, match=r"\(3\) must match .* \(4\) at dimension 1(.|\n)*hint: ") as caught:
        wrap(f)(jitgrad.ones(2, 3), jitgrad.ones(4))
    assert underlined(caught.value) == "x + y"
    assert isinstance(caught.value, (RuntimeError, ValueError))


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_inner_sizes_that_differ(wrap):
    def layer(x, w):
        return (x @ w).tanh()

    with pytest.raises(jitgrad.ShapeError, match=r"f32\[8,4\] @ f32\[3,4\](.|\n)*hint: .*f32\[8,3\]") as caught:
        wrap(layer)(jitgrad.ones(8, 4), jitgrad.ones(3, 4))
    assert underlined(caught.value) == "x @ w"


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_dtypes_that_do_not_fit(wrap):
    def lookup(rows, table):
        return F.embedding(rows, table)

    with pytest.raises(jitgrad.DTypeError, match=r"Long; but got jitgrad.float32(.|\n)*hint: .*long\(\)") as caught:
        wrap(lookup)(jitgrad.ones(2), jitgrad.ones(10, 3))
    assert underlined(caught.value) == "F.embedding(rows, table)"
    with pytest.raises(RuntimeError, match=r"floating point dtype can require gradients, not jitgrad\.int64"):
        jitgrad.tensor([1, 2], requires_grad=True)


def test_an_axis_that_is_not_there():
    with pytest.raises(jitgrad.AxisError, match=r"\[-2, 1\], but got 2") as caught:
        jitgrad.ones(2, 3).sum(dim=2)
    assert underlined(caught.value) == "jitgrad.ones(2, 3).sum(dim=2)"
    assert isinstance(caught.value, IndexError)


def test_an_index_out_of_range():
    def pick(table, rows):
        return table[rows] * 2

    with pytest.raises(jitgrad.BoundsError, match=r"index 10 is out of bounds .* 10") as caught:
        pick(jitgrad.ones(10, 3), jitgrad.tensor([1, 10]))
    assert underlined(caught.value) == "table[rows]"
    with pytest.raises(jitgrad.BoundsError, match=r"index 10 is out of bounds .* 10") as caught:
        jitgrad.trace(pick)(jitgrad.ones(10, 3), jitgrad.tensor([1, 10]))  # raised while compiled code runs
    assert re.search(r"test_bad_inputs.py:\d+   return table\[rows\] \* 2\n +\^{11}$", str(caught.value))


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_backward_of_a_nonscalar(wrap):
    x = jitgrad.ones(3, requires_grad=True)
    y = wrap(lambda x: x * 2)(x)
    with pytest.raises(RuntimeError, match=r"only for scalar outputs.*f32\[3\].*give backward\(\) its gradient"):
        y.backward()
    assert x.grad is None
    y.backward(jitgrad.ones(3))
    assert x.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_a_second_backward(wrap):
    x = jitgrad.ones(3, requires_grad=True)
    y = wrap(lambda x: (x * x).sum())(x)
    y.backward()
    with pytest.raises(RuntimeError, match=r"a second time.*retain_graph=True"):
        y.backward()
    assert x.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_a_value_overwritten_before_its_backward(wrap):
    x = jitgrad.ones(3, requires_grad=True)
    y = wrap(lambda x: x.exp())(x)
    y += 1
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: \[f32\[3\]\](.|\n)*hint: ") as caught:
        y.sum().backward()
    assert isinstance(caught.value, jitgrad.JitgradError)
    assert x.grad is None


def test_a_value_asked_for_while_tracing():
    @jitgrad.trace
    def relu(x):
        return x if x.sum() > 0 else x * 0

    with pytest.raises(jitgrad.ConcretizationError, match=r"bool\[\](.|\n)*hint: .*jitgrad.where.*eager\(\)") as caught:
        relu(jitgrad.ones(3))
    assert underlined(caught.value) == "x.sum() > 0"
    with jitgrad.eager():
        assert relu(jitgrad.ones(3)).tolist() == [1, 1, 1]


def test_an_argument_that_takes_ever_new_values():
    @jitgrad.trace(max_compiles=2)
    def power(x, n):
        return x**n

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(5):
            power(jitgrad.ones(3), n)
    (warning,) = caught  # once, not at every call
    assert warning.category is RecompileWarning and warning.filename == __file__
    assert "power has been compiled 3 times (max_compiles=2)" in str(warning.message)
    assert "n: 1, then 2" in str(warning.message)


@pytest.mark.parametrize(
    "command, gist",
    [
        ("dump nowhere.py:f --args f32[2]", "cannot read nowhere.py: no such file"),
        ("dump {file}:f --args f32[2]", "has no function 'f'; it has: .*underlined"),
        ("dump {file}:underlined --args f31[2]", "--args, column 1: no dtype 'f31'; there is: bool, .*f64"),
        ("dump {file}:underlined", r"--args does not fit underlined\(error: .*missing a required argument"),
        ("dump {file}:underlined --stage assembly", "invalid choice: 'assembly'.*asm"),
        ("dump {file}", "names no function: write FILE.py:FUNCTION|cannot read|no function"),
        ("opt nowhere.jir", "cannot read nowhere.jir: no such file"),
        ("frobnicate", "invalid choice: 'frobnicate'.*dump"),
    ],
)
def test_wrong_commands_get_one_line_and_status_2(capsys, command, gist):
    assert cli.main(command.format(file=__file__).split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(f"jitgrad: .*({gist}).*\n", shown.err)
