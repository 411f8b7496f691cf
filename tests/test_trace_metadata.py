"""What traced functions ask of tensors besides their values, and what they say of their programs."""

from __future__ import annotations

import gc
import operator
import threading
import types

import numpy as np
import pytest
from test_trace_guards import both, follows

import jitgrad
from jitgrad.checks import GONE
from jitgrad.exact import exact, show

X = jitgrad.arange(3)


@pytest.mark.parametrize("ask", [
    lambda t: t.shape[0],
    len,
    lambda t: t.stride(0),
    lambda t: t.is_contiguous(),
    lambda t: 1 + t.requires_grad,
    lambda t: 1 + t.is_leaf,
    lambda t: 1 + (t.grad_fn is None),
    lambda t: t.dtype.itemsize,
    lambda t: 1 + t._version,
])
def test_tensors_that_are_no_operands(ask):
    frozen, other = jitgrad.ones(4, 4), jitgrad.ones(4, 4, requires_grad=True)
    changes = [
        lambda: frozen.mul_(1),
        lambda: setattr(frozen, "data", jitgrad.ones(6, 5)[:, ::2]),
        lambda: setattr(frozen, "data", jitgrad.ones(4, 4)),
        lambda: setattr(frozen, "data", jitgrad.ones(4, 4, dtype=jitgrad.float64)),
        lambda: setattr(frozen, "data", jitgrad.ones(4, 4)),
        lambda: frozen.requires_grad_(),
        lambda: frozen.requires_grad_(False),
        lambda: frozen.mul_(other),
    ]
    traced = jitgrad.trace(lambda x: x * ask(frozen))
    for change in changes:
        change()
        for _ in range(2):
            assert traced(X).tolist() == (X * ask(frozen)).tolist()


def test_a_parameter_that_is_no_longer_frozen():
    params = [jitgrad.ones(2), jitgrad.ones(2, requires_grad=True)]
    def penalty():
        return sum((p * p).sum() for p in params if p.requires_grad)

    follows(lambda x: x + penalty().detach(), lambda: params[0].requires_grad_())


def test_tensors_within_reach_do_not_cost_programs():
    held = [jitgrad.ones(2), jitgrad.ones(3)]
    traced = both(lambda x: x * len(held[0]), X)
    held[0].mul_(2)
    held[1].requires_grad_()
    traced(X)
    assert len(traced.programs) == 1


def test_the_version_of_what_a_function_writes_itself():
    w = jitgrad.ones(3)

    def f(x):
        w.mul_(2)
        v = w.view(3)._version
        own = x * 1
        own.add_(1)
        return x * v + own._version

    traced = jitgrad.trace(f)
    assert [traced(X).tolist() for _ in range(2)] == [[1, 2, 3], [1, 3, 5]]
    assert "_version of a tensor from outside" in traced.explain()


def test_an_attribute_that_is_a_list_here_and_a_dict_there():
    a, b = types.SimpleNamespace(t=[2.0, 3.0]), types.SimpleNamespace(t={"w": 4.0})
    traced = follows(lambda x: x * a.t[0] + b.t["w"], lambda: operator.setitem(b.t, "w", 5.0))
    follows(lambda x: x * a.t[0] + b.t["w"], lambda: operator.setitem(a.t, 0, 5.0))
    assert "item 'w' of a dict changed" in traced.explain()


def test_classes_that_derive_from_more():
    class Base:
        k = 2.0

    class Middle(Base):
        k = 3.0

    class Leaf(Base):
        pass

    leaf = Leaf()
    traced = follows(lambda x: x * leaf.k, lambda: setattr(Leaf, "__bases__", (Middle,)))
    assert "what the class Leaf derives from changed" in traced.explain()


def test_subclasses_of_constants_run_nothing():
    def never(*_):
        raise AssertionError("ran")

    body = dict.fromkeys(("__str__", "__int__", "__index__", "__bytes__", "__getitem__", "__trunc__"), never)
    traced = jitgrad.trace(lambda x, key: x * 2)
    for base, values in ((str, ("a", "b")), (int, (5, 6)), (bytes, (b"a", b"b"))):
        cls = type("Sub", (base,), {**body, "__slots__": ()})
        before = len(traced.programs)
        for value in (*values, *values):
            assert traced(X, cls(value)).tolist() == [0, 2, 4]
        assert len(traced.programs) == before + 2


@pytest.mark.parametrize("x", [np.str_(""), np.bytes_(b""), np.str_("ab"), np.float32(1.5)])
def test_showing_numpy_scalars(x):
    assert str(x) in show(exact(x))


def test_strings_of_numpy_that_are_empty():
    traced = jitgrad.trace(lambda x, s: x * (len(s) + 1))
    assert [traced(X, np.str_(s)).tolist() for s in ("", "a", "")] == [[0, 1, 2], [0, 2, 4], [0, 1, 2]]
    assert "s: str_(), then str_(a)" in traced.explain()


def test_why_a_program_was_compiled_when_those_before_are_gone():
    class Holder:
        def __init__(self, k):
            self.k = k

    holders = [Holder(2.0)]
    traced = jitgrad.trace(lambda x: x * holders[0].k)
    traced(X)
    holders[0] = None
    gc.collect()
    holders[0] = Holder(3.0)
    assert traced(X).tolist() == [0, 3, 6]
    text = traced.explain()
    assert "1 program was let go" in text
    assert text.count("first call") == 1 and "an object that it reads is gone" in text
    holders[0] = None
    gc.collect()
    holders[0] = Holder(4.0)
    traced(X)
    assert "2 programs were let go" in traced.explain()


def test_explain_while_others_compile():
    traced = jitgrad.trace(lambda x, n: x * n, max_compiles=1000)
    traced(X, 0)
    errors, over = [], threading.Event()

    def look():
        try:
            while not over.is_set():
                traced.explain()
                traced.memory()
                assert traced.programs
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for n in range(40):
        traced(X, n)
    over.set()
    thread.join()
    assert not errors


def test_objects_that_die_while_a_program_is_kept(monkeypatch):
    class Holder:
        k = 2.0

    traced = jitgrad.trace(lambda h, x: x * h.k)
    holders = [Holder() for _ in range(4)]
    for h in holders:
        traced(h, X)
    assert len(traced.programs) == 4
    reason = jitgrad.tracing.difference

    def while_reasoning(*args):
        holders.clear()  # as the collector may, anywhere
        return reason(*args)

    monkeypatch.setattr(jitgrad.tracing, "difference", while_reasoning)
    del h
    last = Holder()
    assert traced(last, X).tolist() == [0, 2, 4]
    assert len(traced.programs) == 1 and repr(GONE) not in traced.explain()
