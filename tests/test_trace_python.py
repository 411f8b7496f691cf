"""Python around the tensors of a traced function, and its failures: as the plain function, or a clear error."""

from __future__ import annotations

import collections
import datetime
import functools
import math
import warnings

import numpy as np
import pytest
from observed import Cases, outcome, rand

import jitgrad

cases = Cases()
case, refused = cases.case, cases.refuse


# -- what happens when a call fails


@case
def effects_before_an_exception_are_kept(wrap):
    kept = []

    def f(x):
        x.add_(1)
        jitgrad.rand(3)
        kept.append(x * 2)
        raise KeyError

    jitgrad.manual_seed(0)
    x = rand(3)
    with warnings.catch_warnings(), pytest.raises(KeyError):
        warnings.simplefilter("ignore")
        wrap(f)(x)
    return x, kept, jitgrad.rand(2)


# -- random numbers and modes


@case
def seeded_inside(wrap):
    def f(x):
        jitgrad.rand(1)
        jitgrad.manual_seed(3)
        own = jitgrad.Generator().manual_seed(4)
        return x + jitgrad.rand(2), jitgrad.rand(2, generator=own)

    f = wrap(f)
    return [f(rand(2)) for _ in range(3)], jitgrad.rand(1)


@case
def modes_left_behind(wrap):
    def f(x):
        jitgrad.set_default_dtype(jitgrad.float64)
        jitgrad.set_grad_enabled(False)
        return x + jitgrad.ones(2)

    f, out = wrap(f), []
    for _ in range(3):
        f(rand(2))
        out.append((str(jitgrad.get_default_dtype()), jitgrad.is_grad_enabled()))
        jitgrad.set_default_dtype(jitgrad.float32)
        jitgrad.set_grad_enabled(True)
    return out


# -- Python around the tensors


@case
def a_list_argument_is_appended_to(wrap):
    def f(x, log, k):
        log.append([x * 2, k])
        log.append(x)
        return x * 3

    f, log, x = wrap(f), [], rand(2)
    f(x, log, 2.5)
    f(x, log, 3.5)
    return log, log[1] is x


@case
def a_dict_argument_is_changed(wrap):
    def f(p, deep):
        for k in p:
            p[k] = p[k] * 2
        deep[0]["n"] = len(deep)
        del deep[0]["gone"]

    f, p, deep = wrap(f), {"a": rand(2), "b": rand(2, seed=3)}, ({"gone": 1},)
    f(p, deep)
    deep[0]["gone"] = 2
    f(p, deep)
    return p, deep


@case
def arguments_returned_are_the_arguments(wrap):
    def f(p, log):
        p["a"].mul_(2)
        return p, [log, p["b"]]

    f, p, log = wrap(f), {"a": rand(2), "b": [rand(2, seed=3)]}, [1]
    out = [f(p, log), f(p, log)]
    return [(r[0] is p, r[1][0] is log, r[1][1] is p["b"]) for r in out], p


@case
def python_runs_once_where_a_float_is_read(wrap):
    log = []

    def f(x, k):
        log.append(1)
        return x * 2 if k > 0.5 else x

    f = wrap(f)
    f(rand(2), 0.7)
    f(rand(2), 0.7)
    return log


@case
def numbers(wrap):
    def f(x, k):
        return x * k, k, k * 2, k**2, k // 1, k % 1, -k, abs(k), 1 / k, math.sqrt(k), 2**k, int(k)

    return wrap(f)(rand(2), 2.7), wrap(f)(rand(2), np.float32(0.1))[:3]


@case
def a_float_is_a_float(wrap):
    f = wrap(lambda x, k: x * k if isinstance(k, float) else x + k)
    return f(rand(2), 2.5), f(rand(2), 3.5), len(getattr(f, "programs", [1]))


@case
def a_number_divided_by_zero(wrap):
    f = wrap(lambda x, k: x * (1 / k))
    f(rand(2), 2.0)
    with pytest.raises(ZeroDivisionError):
        f(rand(2), 0.0)


@pytest.mark.parametrize("made", [iter, lambda v: (x for x in v), collections.deque, lambda v: map(float, v)])
def test_captured_and_passed_iterables(made):
    def run(wrap):
        captured, passed = made([1.0, 2.0, 3.0]), made([4.0, 5.0])

        def f(x, values):
            for v in (*captured, *values):
                x = x * v
            return x

        f = wrap(f)
        out = [f(rand(1), passed)]
        if isinstance(captured, collections.deque):
            captured[0] = passed[1] = 7.0
        return [*out, f(rand(1), passed)]

    assert outcome(run, lambda f: f) == outcome(run, jitgrad.trace)


@case
def bytes_that_change(wrap):
    b = bytearray(b"ab")
    f = wrap(lambda x: x * b[0])
    out = [f(rand(1))]
    b[0] = 7
    return [*out, f(rand(1))]


@case
def numpy_generators(wrap):
    rng = np.random.default_rng(0)
    f = wrap(lambda x: x * float(rng.normal()))
    return [f(rand(1)) for _ in range(3)]


@case
def a_clock(wrap):
    f = wrap(lambda x: x * datetime.datetime.now().microsecond)
    return len({float(f(rand(1))) for _ in range(50)}) > 5


@case
def a_bound_builtin(wrap):
    log = []
    append = log.append

    def f(x):
        append(1)
        return x

    f = wrap(f)
    return [f(rand(1)) for _ in range(3)], log


@case
def computed_attribute_names(wrap):
    class Model:
        def __init__(self):
            self.a0, self.a1, self.hidden = 2.0, 3.0, 4.0

    m = Model()
    f = wrap(lambda x: x * getattr(m, "a" + str(1)) * m.__dict__["hid" + "den"])
    out = [f(rand(1))]
    m.a1 = 5.0
    out.append(f(rand(1)))
    m.hidden = 6.0
    return [*out, f(rand(1))]


@case
def partials_and_callable_objects(wrap):
    k = 2.0

    def scaled(x, y):
        return x * y * k

    class Scale:
        def __call__(self, x):
            return x * k

    fs = [wrap(functools.partial(scaled, y=3.0)), wrap(Scale()), wrap(jitgrad.grad(lambda x: (x * k).sum()))]
    out = [f(rand(1)) for f in fs]
    k = 5.0
    return [*out, *(f(rand(1)) for f in fs)]


@case
def closures_out_of_sight(wrap):
    def make():
        k = [2.0]
        return (lambda x: x * k[0]), k

    h, k = make()
    table = {"h": h}
    f = wrap(lambda x: functools.reduce(lambda y, name: table[name](y), ["h"], x))
    out = [f(rand(1))]
    k[0] = 5.0
    return [*out, f(rand(1))]


@case
def an_attribute_that_shadows_one_of_a_base_class(wrap):
    class Base:
        k = 2.0

    class Derived(Base):
        pass

    d = Derived()
    f = wrap(lambda x: x * d.k)
    out = [f(rand(1))]
    Derived.k = 3.0
    return [*out, f(rand(1))]


@case
def kinds_of_methods(wrap):
    class Model:
        scale = 4

        @wrap
        @staticmethod
        def one(x):
            return x * 2

        @staticmethod
        @wrap
        def two(x):
            return x * 3

        @classmethod
        @wrap
        def three(cls, x):
            return x * cls.scale

        @wrap
        @classmethod
        def four(cls, x):
            return x * cls.scale

        @property
        @wrap
        def five(self):
            return rand(2) * self.scale

    m, x = Model(), rand(1)
    return [Model.one(x), m.one(x), m.two(x), Model.two(x), m.three(x), Model.four(x), m.four(x), m.five]


@case
def nothing_in_nothing_out(wrap):
    f, g = wrap(lambda: jitgrad.ones(3) * 2), wrap(lambda x: None)
    return f(), f(), g(rand(2)), g(rand(2))


@case
def arrays_made_inside(wrap):
    def f(x):
        buffer = jitgrad.from_numpy(np.zeros(2))
        buffer.add_(x)
        return buffer

    f = wrap(f)
    return [f(rand(2)) for _ in range(3)]


# -- what is refused


@refused("made to require grad")
def a_result_of_a_leaf_made_inside(wrap):
    return wrap(lambda x: ((x * 2).detach().requires_grad_() * 3).sum())(rand(3))


@refused("register_hook")
def a_hook(wrap):
    def f(x):
        y = x * 2
        y.register_hook(lambda g: g * 10)
        return y.sum()

    return wrap(f)(rand(3, grad=True))


@refused("detach_")
def detach_of_an_argument(wrap):
    return wrap(lambda x: x.detach_() * 2)(rand(3, grad=True) * 1)


@refused("built outside")
def backward_into_a_graph_from_outside(wrap):
    return wrap(lambda x: (x * x).sum().backward())(rand(3, grad=True) * 1)


@refused("asks for the value")
def a_swallowed_refusal(wrap):
    def f(x):
        try:
            positive = bool(x.sum() > 0)
        except RuntimeError:
            positive = False
        return x if positive else -x

    return wrap(f)(rand(3) + 10)


@refused("indexed with a tensor of one integer")
def a_write_through_a_view_that_an_integer_tensor_chose(wrap):
    def f(x, i):
        x[i].add_(1)
        return x * 2

    return wrap(f)(rand(3, 2), jitgrad.tensor(1))


@refused("stored a number")
def a_stored_number(wrap):
    kept = []

    def f(x, k):
        kept.append(k * 2)
        return x

    return wrap(f)(rand(3), 2.0)


@pytest.mark.parametrize("name", cases.same)
def test_traced_as_eager(name):
    cases.check_same(name)


@pytest.mark.parametrize("name", cases.refused)
def test_refused(name):
    cases.check_refused(name)
