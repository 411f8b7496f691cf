"""Reading off bytecode for what an array is used that code names."""

from __future__ import annotations

import types

import pytest

import jitgrad
from jitgrad import as_tensor, from_numpy
from jitgrad.uses import Uses

DATA = None  # only named
HARMLESS = (len, from_numpy, as_tensor)


def other(a):
    return a


def enclosing(DATA):
    return lambda: DATA.shape[0] + len(DATA)


def branches(c):
    return (c if c else DATA).shape


SAFE = [
    lambda: DATA.shape[0] * DATA.ndim,
    lambda: len(DATA),
    lambda s: len(s.x.DATA) + s.DATA.size,
    lambda s: s.x.DATA.dtype,
    lambda x: from_numpy(DATA) * x,
    lambda x: x + jitgrad.from_numpy(DATA),
    lambda x: x @ jitgrad.as_tensor(x.DATA),
    lambda x: [len(DATA) for _ in x],
    lambda x: (x, len(DATA), "DATA"),
    enclosing([1]),
    branches,
]
UNSAFE = [
    lambda: DATA,
    lambda: DATA[0],
    lambda: len(DATA) + DATA[0],
    lambda: DATA.T.shape,
    lambda: DATA.sum(),
    lambda: other(DATA),
    lambda: len(DATA[0]),
    lambda: jitgrad.tensor(DATA),
    lambda: from_numpy(DATA, DATA),
    lambda: as_tensor(data=DATA),
    lambda x: x(DATA),
    lambda x: x.len(DATA),
    lambda x: (other if x else len)(DATA),
    lambda x: (len if x else other)(DATA),
    lambda x: (x if x else jitgrad).from_numpy(DATA),
    lambda x: len(DATA if x else x),
    lambda x: len(x if x else DATA),
    lambda x: [DATA[i] for i in x],
    lambda x: len(*DATA),
    lambda: f"{DATA}",
]


def codes(f):
    """The code of `f` and of what it defines, as if all had run."""
    found = [f.__code__]
    for code in found:
        found += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [(code, f.__globals__) for code in found]


def number(f):
    return f"line{f.__code__.co_firstlineno}"


@pytest.mark.parametrize("f", SAFE, ids=number)
def test_no_element_is_read(f):
    assert not Uses(codes(f), HARMLESS).reads_elements("DATA")


@pytest.mark.parametrize("f", UNSAFE, ids=number)
def test_elements_may_be_read(f):
    assert Uses(codes(f), HARMLESS).reads_elements("DATA")


def test_a_name_that_is_not_loaded_may_be_reached_otherwise():
    assert Uses(codes(SAFE[0]), HARMLESS).reads_elements("OTHER")


def test_what_a_name_calls_depends_on_the_globals():
    code = SAFE[1].__code__
    assert not Uses([(code, {})], HARMLESS).reads_elements("DATA")
    assert Uses([(code, {"len": other})], HARMLESS).reads_elements("DATA")


def test_all_the_code_counts():
    assert Uses(codes(SAFE[0]) + codes(UNSAFE[1]), HARMLESS).reads_elements("DATA")


def test_names_beyond_the_first_256():
    names = " + ".join(f"v{i}" for i in range(300))
    variables = {}
    exec(f"def f(): return {names} + len(DATA)\ndef g(): return {names} + abs(DATA)", variables)
    assert not Uses(codes(variables["f"]), HARMLESS).reads_elements("DATA")
    assert Uses(codes(variables["g"]), HARMLESS).reads_elements("DATA")
