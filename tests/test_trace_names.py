"""Attributes that code reads without naming them, and objects in arrays of records."""

from __future__ import annotations

import operator
import types

import numpy as np
import pytest
from test_trace_guards import both, follows

import jitgrad

X = jitgrad.ones(2)
HELD = types.SimpleNamespace(v=2.0)
FORMAT = "{0.v}"
BOUND = "{0.v}".format
READ = operator.attrgetter("v")
READ_INNER = operator.attrgetter("a.v")
READERS = [READ]
CALL = operator.methodcaller("size")
GET, ATTRGETTER = getattr, operator.attrgetter


class Sized:
    def size(self):
        return HELD.v


class Matched:
    __match_args__ = ("v",)

    def __init__(self, held):
        self.held = held

    @property
    def v(self):
        return self.held.v


def matched(x):
    match Matched(HELD):
        case Matched(v):
            return x * v


def matched_by_name(x):
    match HELD:
        case types.SimpleNamespace(v=v):
            return x * v


@pytest.mark.parametrize("f", [
    lambda x: x * READ(HELD),
    lambda x: x * READERS[0](HELD),
    lambda x: x * next(iter(map(READ, [HELD]))),
    lambda x: x * READ_INNER(types.SimpleNamespace(a=HELD)),
    lambda x: x * CALL(Sized()),
    lambda x: x * GET(HELD, "v"),
    lambda x: x * ATTRGETTER("v")(HELD),
    lambda x: x * HELD.__getattribute__("v"),
    lambda x: x * float("{0.v}".format(HELD)),  # noqa: UP030, UP032
    lambda x: x * float("{o.v!r:>9}".format_map({"o": HELD})),
    lambda x: x * float(FORMAT.format(HELD)),
    lambda x: x * float(str.format(FORMAT, HELD)),
    lambda x: x * float(BOUND(HELD)),
    matched,
    matched_by_name,
])
def test_attributes_that_are_not_named(f):
    HELD.v = 2.0
    traced = follows(f, lambda: setattr(HELD, "v", 3.0), X)
    assert len(traced.programs) == 2


def test_formats_that_are_constants_name_what_they_read():
    held = types.SimpleNamespace(v=2.0, calls=0)
    traced = both(lambda x: x * float("{0.v:.1f}".format(held)), X)  # noqa: UP030, UP032
    held.calls = 1
    traced(X)
    assert len(traced.programs) == 1


def test_a_method_that_is_replaced_and_called_by_name():
    sized = Sized()
    follows(lambda x: x * CALL(sized), lambda: setattr(sized, "size", lambda: 7.0), X)


def test_records_with_objects():
    inner = np.dtype([("o", object, (2,)), ("i", int)])
    records = np.zeros(2, dtype=[("a", object), ("b", float), ("c", inner)])
    records["a"] = [2.0, [3.0]]
    records["b"] = 1.0
    records["c"]["o"] = 4.0

    def f(x):
        return x * records["a"][0] * records["a"][1][0] * records["b"][0] * records["c"]["o"][1, 0]

    traced = both(f, X)
    assert len(traced.programs) == 1
    changes = [
        lambda: operator.setitem(records["a"], 0, 5.0),
        lambda: operator.setitem(records["a"][1], 0, 7.0),
        lambda: operator.setitem(records["b"], 0, 2.0),
        lambda: operator.setitem(records["c"]["o"], (1, 0), 9.0),
    ]
    for change in changes:
        before = traced(X).tolist()
        change()
        assert traced(X).tolist() == f(X).tolist() != before
