"""The language of --args."""

import numpy as np
import pytest

from jitgrad.arguments import ArgumentsError, parse_arguments


def parsed(text, seed=0):
    return parse_arguments(text, np.random.default_rng(seed))


def one(text):
    (value,), kwargs = parsed(text)
    assert kwargs == {}
    return value


@pytest.mark.parametrize(
    "text", ["1", "-2", "1.5", "-1e-3", "+.5", "True", "False", "None", "'a, b'", '"it\'s"', r"'\n'", "()", "(1,)",
             "(1, 2.0)", "[1, [2], []]", "{}", "{'a': 1, 2: (True,)}", "(3)", "[1,]", "{'a': 1,}"]
)
def test_python_literals_mean_what_they_mean_in_python(text):
    value = one(text)
    assert value == eval(text)
    assert type(value) is type(eval(text))


def test_infinities_and_nan():
    assert one("inf") == np.inf and one("-inf") == -np.inf and np.isnan(one("nan"))


def test_tensors():
    x = one("f32[2,3]")
    assert (x.dtype, x.shape) == (np.float32, (2, 3))
    assert one("float64[ 4 , 1 ]").shape == (4, 1)
    assert one("f64[]").shape == ()
    assert one("i8[0,5]").shape == (0, 5)
    assert set(one("i64[100]").tolist()) == {0, 1}
    assert one("bool[3]").dtype == bool


def test_tensors_with_values():
    np.testing.assert_array_equal(one("f32[3]=[1, 2.5, -inf]"), np.array([1, 2.5, -np.inf], np.float32))
    np.testing.assert_array_equal(one("i64[2,2]=[[1,2],[3,4]]"), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(one("f64[2,2]=7"), np.full((2, 2), 7.0))
    np.testing.assert_array_equal(one("bool[2]=[True,False]"), [True, False])
    filled = one("f32[3]=0")
    filled[0] = 1  # an array of its own, to be written to
    assert one("u8[]=255") == 255


def test_random_values_follow_the_seed():
    (a, b), _ = parsed("f32[4], f32[4]")
    (c, _), _ = parsed("f32[4], f32[4]")
    np.testing.assert_array_equal(a, c)
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, parsed("f32[4]", seed=1)[0][0])


def test_nested_and_keyword_arguments():
    args, kwargs = parsed("f32[2], {'w': f32[3], 'deep': [(i64[], 'x')]}, lr=0.5, flag = True")
    assert args[1]["deep"][0][1] == "x"
    assert args[1]["w"].shape == (3,)
    assert kwargs == {"lr": 0.5, "flag": True}
    assert parsed("") == ((), {})
    assert parsed("  1 ,  ") == ((1,), {})


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("f32[2], g32[3]", 9, "no dtype 'g32'; there is: bool, u8"),
        ("f32[2,x]", 7, "a size is a whole number below 10^18, got 'x'"),
        ("f32[-1]", 5, "got '-1'"),
        ("f32[2,]", 7, "got ''"),
        ("1, f32[3", 4, "the ']' of f32[ is missing"),
        ("1 2", 3, "expected ',' or the end, got '2'"),
        ("(1, 2", 6, "expected ',' or ')', got the end"),
        ("[1, 2)", 6, "expected ',' or ']', got ')'"),
        ("{x: 1}", 2, "a key"),
        ("{'x' 1}", 6, "':'"),
        ("{'x': 1", 8, "',' or '}'"),
        ("x", 1, "expected a tensor such as f32[2,3]"),
        ("1, ,2", 4, "got ','"),
        ("1.5x", 4, "got 'x'"),
        ("'abc", 1, "got '''"),
        ("f32[2]=[1,2,3]", 1, "f32[2] has the shape [2], its value [3]"),
        ("f32[2,2]=[[1],[2,3]]", 10, "this is no f32[2,2]"),
        ("i64[1]=[1.5]", 8, "1.5 is no element of i64[1]"),
        ("f32[1]=['a']", 8, "'a' is no element"),
        ("f32[1]=[True]", 8, "True is no element"),
        ("bool[1]=[1]", 9, "1 is no element"),
        ("u8[1]=[300]", 7, "this is no u8[1]"),
        ("a=1, 2", 6, "a positional argument cannot follow"),
        ("a=1, a=2", 6, "'a' is given twice"),
        ("$", 1, "got '$'"),
        ("[" * 100_000, 101, "lists, tuples and dicts nest deeper than 100"),
        ("(" * 100 + "{1:[]}" + ")" * 100, 101, "nest deeper"),
        ("[], -" + "7" * 5000, 5, "a number of 5001 digits"),
        ("f32[" + "7" * 5000 + "]", 5, "a size is a whole number below 10^18"),
    ],
)
def test_errors_name_the_column(text, column, message):
    with pytest.raises(ArgumentsError) as raised:
        parsed(text)
    assert raised.value.column == column
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
