"""What guards of traced calls tell apart, what they do not run, and what they let go."""

from __future__ import annotations

import builtins
import collections
import ctypes
import functools
import gc
import math
import sys
import threading
import types
import weakref

import numpy as np
import pytest
from traced import close

import jitgrad
from jitgrad import RecompileWarning

X = jitgrad.arange(3)
W = jitgrad.ones(3)
TABLE = {i: float(i) for i in range(100)}
LONG = {i: float(i) for i in range(20_000)}
COUNT = 0
VALUE = None
BUF = np.ones(3)


def both(f, *args):
    """Traced twice, then plain."""
    traced = jitgrad.trace(f)
    assert repr(traced(*args)) == repr(traced(*args)) == repr(f(*args))
    return traced


def follows(f, change, *args):
    """`f` traced gives what it gives plain, before and after `change`."""
    args = args or (X,)
    traced = both(f, *args)
    before = repr(f(*args))
    change()
    assert repr(traced(*args)) == repr(f(*args)) != before
    return traced


# -- which tensor is which


def test_an_argument_is_the_tensor_that_it_is():
    class Net:
        def __init__(self):
            self.w = W

        def f(self, x):
            return x * 2 if x is self.w else x * 3

    net, other = Net(), jitgrad.ones(3)
    for f in (
        lambda x: x * 2 if x is W else x * 3,
        lambda x: x * 2 if any(p is x for p in [W]) else x * 3,
        lambda x: x * 2 if x is net.w else x * 3,
        net.f,
    ):
        for first, second in ((W, other), (other, W)):
            traced = jitgrad.trace(f)
            for _ in range(2):
                assert repr(traced(first)) == repr(f(first))
                assert repr(traced(second)) == repr(f(second))
            assert len(traced.programs) == 2


# -- constants


class Word(str):
    pass


class Number(int):
    pass


def words():
    a, b = Word("a"), Word("a")
    a.k, b.k = 1, 5
    return ["a", a, b]


CONSTANTS = [
    (lambda x, v: x * next(iter(v)), [frozenset({1}), frozenset({1.0}), frozenset({True})]),
    (lambda x, v: x * v.stop + v.start, [range(0, 4, 2), range(0, 3, 2), range(0), range(5, 5)]),
    (lambda x, v: x * v.stop, [slice(0, 1), slice(0, 1.0), slice(False, True)]),
    (lambda x, v: (x * next(iter(v)), type(next(iter(v)))), [{1: 2}, {1.0: 2}, {True: 2}, {np.int64(1): 2}]),
    (lambda x, v: x * math.copysign(1, next(iter(v))), [{0.0: 2}, {-0.0: 2}]),
    (lambda x, v: x * math.copysign(1, v.imag), [complex(1, 0.0), complex(1, -0.0)]),
    (lambda x, v: x * getattr(v, "k", 0), words()),
    (lambda x, v: (x * v, type(v)), [1, True, Number(1), np.int64(1), np.int32(1), np.uint8(1), np.bool_(True)]),
    (lambda x, v: x * math.copysign(1, v), [np.float32(0.0), np.float32(-0.0)]),
]


@pytest.mark.parametrize("case", range(len(CONSTANTS)))
def test_equal_constants_that_differ(case):
    global VALUE
    f, values = CONSTANTS[case]
    passed, read = jitgrad.trace(f), jitgrad.trace(lambda x: f(x, VALUE))
    for _ in range(2):
        for VALUE in values:
            assert repr(passed(X, VALUE)) == repr(read(X)) == repr(f(X, VALUE))


def test_equal_constants_share_a_program():
    traced = jitgrad.trace(lambda x, r, s, d, w: x * r.stop)
    for _ in range(2):
        traced(X, range(3), slice(1, 2), {1: complex(1, 2)}, Word("a"))
    assert len(traced.programs) == 1


def test_a_numpy_number_and_then_a_tensor():
    f = jitgrad.trace(lambda x, i: x[i])
    assert [f(X, i).item() for i in (np.int64(1), jitgrad.tensor(1), np.int64(1))] == [1, 1, 1]
    assert "i: " in f.explain()


def test_attributes_of_a_class_that_is_passed():
    class Settings:
        k = 1

    follows(lambda x, c: x * c.k, lambda: setattr(Settings, "k", 2), X, Settings)


def test_the_order_of_a_dict():
    d = {"a": 1, "b": 2}

    def change():
        d["a"] = d.pop("a")

    follows(lambda x: x * next(iter(d.values())), change)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_numpy_subclasses():
    f = jitgrad.trace(lambda s: (s * s, s))
    f(np.ones((2, 2)))
    squares, same = f(np.matrix([[1.0, 2.0], [3.0, 4.0]]))
    assert squares.tolist() == [[1, 4], [9, 16]]
    assert (same * same).tolist() == [[1, 4], [9, 16]]
    assert f(np.matrix([[1.0, 2.0], [3.0, 4.0]]))[1][0].tolist() == [1, 2]
    g = jitgrad.trace(lambda s: s * 2)
    g(np.ones(3))
    with pytest.raises(TypeError, match="masked"):
        g(np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]))


# -- what code reads


def test_attributes_of_functions():
    def helper(x):
        return x * helper.k + helper.__dict__.get("b", 0)

    helper.k = 1
    follows(lambda x: helper(x), lambda: setattr(helper, "k", 5))
    follows(lambda x: helper(x), lambda: setattr(helper, "b", 5))


@pytest.fixture
def modules(monkeypatch):
    package, sub = types.ModuleType("guarded_package"), types.ModuleType("guarded_package.sub")
    package.sub, package.__path__ = sub, []
    package.k = sub.k = 1
    monkeypatch.setitem(sys.modules, "guarded_package", package)
    monkeypatch.setitem(sys.modules, "guarded_package.sub", sub)
    return package, sub


def test_imports_inside(modules):
    def plain(x):
        import guarded_package

        return x * guarded_package.k

    def nested(x):
        import guarded_package.sub

        return x * guarded_package.sub.k

    def from_one(x):
        from guarded_package.sub import k

        return x * k

    def from_package(x):
        from guarded_package import sub

        return x * sub.k

    def by_name(x):
        return x * __import__("guarded_package").k

    def found(x):
        return x * sys.modules["guarded_package.sub"].k

    fs = [plain, nested, from_one, from_package, by_name, found]
    traced = [both(f, X) for f in fs]
    modules[0].k = modules[1].k = 5
    for f, t in zip(fs, traced, strict=True):
        assert repr(t(X)) == repr(f(X)), f.__name__


def test_what_is_patched(monkeypatch):
    follows(
        lambda x: jitgrad.nn.functional.relu(x),
        lambda: monkeypatch.setattr(jitgrad.nn.functional, "relu", lambda x: x * 9),
    )
    follows(lambda x: x.square(), lambda: monkeypatch.setattr(jitgrad.Tensor, "square", lambda x: x * 5))
    follows(lambda x: x * abs(-2), lambda: monkeypatch.setattr(builtins, "abs", lambda x: 7))


def test_metaclasses_and_bases():
    class Meta(type):
        k = 1

    class C(metaclass=Meta):
        pass

    class A:
        def m(self, x):
            return x

    class B(A):
        pass

    class A2:
        def m(self, x):
            return x * 7

    b = B()
    follows(lambda x: x * C.k, lambda: setattr(Meta, "k", 5))
    follows(lambda x: b.m(x), lambda: setattr(B, "__bases__", (A2,)))


@pytest.mark.parametrize("maxsize", [None, 1, 128])
def test_cached_functions(maxsize):
    k = 1

    @functools.lru_cache(maxsize=maxsize)
    def cached(n):
        return [k * n]

    def clear():
        nonlocal k
        k = 5
        cached.cache_clear()
        for _ in range(5):
            cached(2)

    cached(2)
    f = follows(lambda x: x * cached(2)[0], clear)
    cached(2)[0] = 11  # what it gave, changed
    close(f(X), X * 11)


def test_objects_of_c():
    class Thing:
        pass

    thing = [Thing()]
    ref, number, local = weakref.ref(thing[0]), ctypes.c_double(1), threading.local()
    local.k = 1
    part = functools.partial(lambda k, x: x * k, 1)
    counts = collections.Counter("a")
    follows(lambda x: x * (1 if ref() is not None else 5), thing.clear)
    follows(lambda x: x * number.value, lambda: setattr(number, "value", 5))
    follows(lambda x: x * local.k, lambda: setattr(local, "k", 5))
    follows(lambda x: part(x), lambda: part.__setstate__((part.func, (8,), {}, {})))
    follows(lambda x: x * counts["a"], lambda: counts.update("aa"))


def test_objects_in_a_set():
    class Thing:
        k = 1

    things = {Thing()}
    follows(lambda x: x * sum(t.k for t in things), lambda: [setattr(t, "k", 4) for t in things])


def test_no_code_of_the_users_runs():
    class Config:
        def __init__(self, **k):
            self.__dict__["store"] = k

        def __getattr__(self, name):
            return self.store[name]

    class Boom:
        __slots__ = ("_x", "k")

        def __getattr__(self, name):
            raise RuntimeError(name)

        def __eq__(self, other):
            raise RuntimeError("eq")

        __hash__ = None

    class Odd(dict):
        def keys(self):
            raise RuntimeError("keys")

        __iter__ = __len__ = values = items = __getattr__ = keys

    c, boom, odd = Config(k=2), Boom(), Odd(a=1)
    boom.k = 2
    follows(lambda x: x * c.k, lambda: c.store.update(k=3))
    follows(lambda c, x: x * c.k, lambda: c.store.update(k=4), c, X)
    follows(lambda x: x * boom.k, lambda: setattr(boom, "k", 3))
    follows(lambda x: x * odd["a"], lambda: odd.update(a=3))


# -- what is kept


def test_models_are_freed():
    class Part:
        def __init__(self, whole):
            self.whole = whole
            self.k = 2.0

    class Model:
        def __init__(self):
            self.w = jitgrad.rand(4, 4, requires_grad=True)
            self.parts = [Part(self)]

        @jitgrad.trace
        def loss(self, x):
            return (x @ self.w).sum() * self.parts[0].k

    x = jitgrad.ones(1, 4)
    for _ in range(3):
        m = Model()
        for _ in range(2):
            m.loss(x).backward()
        assert len(Model.loss.programs) == 1
        model, w = weakref.ref(m), weakref.ref(m.w)
        del m
        gc.collect()
        assert model() is None and w() is None and not Model.loss.programs


def test_replaced_globals_are_freed():
    global VALUE
    f = jitgrad.trace(lambda x: x * VALUE)
    for k in range(3):
        VALUE = jitgrad.full((3,), k)
        before = weakref.ref(VALUE)
        for _ in range(2):
            close(f(X), X * k)
        VALUE = None
        gc.collect()
        assert before() is None and not f.programs


def test_what_knows_no_weak_references_is_kept():
    class Thing:
        __slots__ = ("k",)

    f = jitgrad.trace(lambda x, t: x * t.k)
    for k in range(3):
        t = Thing()
        t.k = k
        close(f(X, t), X * k)


def test_as_many_programs_are_kept_as_are_compiled_without_warning():
    global COUNT
    f = jitgrad.trace(lambda x: x * COUNT, max_compiles=10)
    for i in range(30):
        COUNT = i % 10
        close(f(X), X * COUNT)
    assert len(f.programs) == 10 and f.explain().count("'COUNT' changed") == 9
    with pytest.warns(RecompileWarning, match="compiled 11 times"):
        for COUNT in range(10, 14):
            close(f(X), X * COUNT)
    assert len(f.programs) == 10
    assert "14 compilations in all, 4 programs were let go" in f.explain()
    assert f.explain().count("'COUNT' changed") == 10 + 13


# -- what guards cost


def test_single_items_are_compared_alone():
    f = jitgrad.trace(lambda x: x * TABLE[5] * TABLE[7])
    f(X)
    ((entry,),) = f._entries.values()
    assert entry.snapshot.items < 10
    TABLE[6] = 3.5
    f(X)
    assert len(f.programs) == 1
    for key in (5, 7):
        TABLE[key] = 9.5
        close(f(X), X * TABLE[5] * TABLE[7])
    assert len(f.programs) == 3
    follows(lambda x: x * TABLE[5] * len(TABLE), lambda: TABLE.__setitem__("new", 1))
    follows(lambda x: x * TABLE[5] + sum(TABLE.get(i, 0) for i in (1, 2)), lambda: TABLE.__setitem__(1, 99.0))


def test_a_large_container_is_warned_of():
    f = jitgrad.trace(lambda x: x * LONG[int(x.ndim)])
    with pytest.warns(RecompileWarning, match="compared at every call"):
        close(f(X), X * 1.0)
    assert "items of containers" in f.explain()


def test_an_array_that_changes_at_every_call():
    f = jitgrad.trace(lambda x: x * jitgrad.from_numpy(BUF))
    for k in range(4):
        BUF[:] = k
        close(f(X), X.double() * k)
    assert len(f.programs) == 1
