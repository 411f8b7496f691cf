"""What a traced function does, seen from outside, is what the plain function does.

Each case is a function of `wrap`, which makes a function traced or leaves it alone; it returns what it saw.
Both ways must see the same, or the traced one raises a clear error (`REFUSED`).
"""

from __future__ import annotations

import collections
import datetime
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import Tensor
from jitgrad.errors import TraceError

CASES: dict[str, Callable[..., Any]] = {}
REFUSED: dict[str, tuple[Callable[..., Any], str]] = {}


def case(function: Callable[..., Any]) -> Callable[..., Any]:
    CASES[function.__name__] = function
    return function


def refused(message: str) -> Callable[..., Any]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        REFUSED[function.__name__] = (function, message)
        return function

    return register


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return seen(function(wrap))


# -- results that share memory


@case
def a_view_of_an_argument_is_a_view_of_it(wrap):
    f, x, out = wrap(lambda x: x.view(-1)), rand(2, 3), []
    for _ in range(2):
        f(x).mul_(2)
        out.append(seen(x))
    return out


@case
def a_write_to_a_view_reaches_the_graph_of_the_argument(wrap):
    w = rand(2, 3, grad=True)
    x = w * 1
    wrap(lambda x: x[0])(x).mul_(3)
    x.sum().backward()
    return w.grad


@case
def one_tensor_twice(wrap):
    def f(x):
        y = x * 2
        return y, {"again": y}

    f, out = wrap(f), []
    for _ in range(2):
        a, b = f(rand(3))
        a.add_(1)
        out += [a is b["again"], b["again"]]
    return out


@case
def results_over_one_memory(wrap):
    def f(x):
        y = x * 2
        return y, y.T, y[0], y.detach()

    f, out = wrap(f), []
    for _ in range(2):
        results = f(rand(2, 3, grad=True))
        with jitgrad.no_grad():
            results[0].add_(1)
        out.append(seen(results))
    return out


@case
def views_of_a_tensor_that_is_not_returned(wrap):
    w = rand(4, grad=True)
    a, b, c = wrap(lambda w: (w * 2).split([1, 2, 1]))(w)
    (a.sum() + (b * c).sum()).backward()
    return a._storage is b._storage, w.grad


@case
def overlapping_views(wrap):
    def f(x):
        y = x * 2
        return y[:3], y[1:]

    a, b = wrap(f)(rand(4))
    a.zero_()
    return b


@case
def a_view_of_a_capture(wrap):
    w = rand(3)
    f = wrap(lambda x: w[1:])
    f(rand(1)).mul_(2)
    f(rand(1)).mul_(2)
    return w


@case
def a_view_taken_after_a_write(wrap):
    def f(x):
        x.add_(1)
        return x[1:]

    f, x = wrap(f), rand(3)
    f(x).mul_(2)
    f(x).mul_(2)
    return x


@case
def a_row_that_an_integer_tensor_chose(wrap):
    def f(x, i):
        row = x[i] * 1
        x[i] = row + 1
        x.add_(1)
        return x[i] * 2

    f, x = wrap(f), rand(3, 2)
    return f(x, jitgrad.tensor(1)), x, f(x, jitgrad.tensor(2)), x


@case
def a_view_that_was_written_through(wrap):
    def f(x):
        v = x[1:]
        v.mul_(3)
        return v

    f, x = wrap(f), rand(3)
    f(x).mul_(2)
    f(x).mul_(2)
    return x


@case
def an_argument_changed_and_returned(wrap):
    f, x = wrap(lambda x: x.add_(1)), rand(3)
    return f(x) is x, f(x) is x, x


@case
def a_capture_returned(wrap):
    w = rand(3)
    f = wrap(lambda x: w)
    return f(rand(1)) is w, f(rand(1)) is w


@case
def data_is_assigned(wrap):
    def f(p):
        p.data = p.data * 2
        return p * 1

    def g(p):
        p.add_(1)
        p.data = p.data * 2
        return p.view(-1)

    f, g, x, y = wrap(f), wrap(g), rand(3), rand(3, seed=1)
    alias, other = x.detach(), y.detach()
    g(y).mul_(3)
    return f(x), f(x), x, alias, y, other


@case
def a_gradient_that_is_a_result_too(wrap):
    def f(w):
        y = w.detach() * 2
        w.grad = y
        return y

    w = rand(3, grad=True)
    y = wrap(f)(w)
    y.add_(1)
    return w.grad, w.grad is y


@case
def a_gradient_returned(wrap):
    def f(x):
        (x * x).sum().backward()
        return x.grad

    f, x = wrap(f), rand(3, grad=True)
    a, b = f(x), f(x)
    return a, b, a is b, a is x.grad


@case
def a_gradient_taken_away_and_returned(wrap):
    def f(x):
        g = x.grad
        x.grad = None
        return g

    f, x = wrap(f), rand(3, grad=True)
    out = []
    for _ in range(3):
        (x * 2).sum().backward()
        out.append(f(x))
    return out, x.grad is None


# -- writes in place and the graph


@case
def a_computed_argument_is_multiplied(wrap):
    f, w = wrap(lambda y: y.mul_(2)), rand(3, grad=True)
    y = w * 1
    f(y)
    y.sum().backward()
    return w.grad


@case
def a_buffer_comes_to_depend_on_a_parameter(wrap):
    def f(b, w):
        b.add_(w)

    f, w, b = wrap(f), rand(3, grad=True), rand(3, seed=1)
    f(b, w)
    (b * b).sum().backward()
    return w.grad, b.requires_grad, b.is_leaf


@case
def a_view_of_a_buffer_comes_to_depend_on_a_parameter(wrap):
    def f(v, w):
        v.add_(w)

    w, b = rand(3, grad=True), rand(2, 3, seed=1)
    wrap(f)(b[0], w)
    (b * b).sum().backward()
    return w.grad


@case
def a_leaf_overwritten_under_no_grad(wrap):
    def f(x):
        with jitgrad.no_grad():
            x.mul_(2)
        return (x * x).sum()

    x = rand(3, grad=True)
    wrap(f)(x).backward()
    return x.grad


@case
def an_intermediate_overwritten_under_no_grad(wrap):
    def f(x):
        y = x * 1
        with jitgrad.no_grad():
            y.mul_(2)
            y[0] = 5
        return (y * 3).sum()

    x = rand(3, grad=True)
    return wrap(f)(x), jitgrad.autograd.grad(wrap(f)(x), x)


@case
def a_detached_alias_is_written_to(wrap):
    def f(x):
        y = x * 1
        y.detach()[1:].mul_(2)
        return (y * 3).sum()

    x = rand(3, grad=True)
    out = wrap(f)(x)
    out.backward()
    return out, x.grad


@case
def a_detached_alias_shows_writes_without_their_gradient(wrap):
    def f(x, w):
        y = x * 1
        d = y.detach()
        y.mul_(w)
        return (d * 3 * w).sum()

    x, w = rand(3, grad=True), rand(3, seed=2, grad=True)
    wrap(f)(x, w).backward()
    return x.grad, w.grad


@case
def state_is_advanced_after_it_was_used(wrap):
    def f(s, w):
        out = ((s * 1) * w).sum()
        s.add_(1)
        return out

    s, w = rand(3), rand(3, grad=True)
    wrap(f)(s, w).backward()
    return w.grad, s


@case
def a_function_that_marks_its_input_dirty(wrap):
    class Double(jitgrad.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx, g):
            return g * 2

    def f(x):
        y = x * 1
        Double.apply(y)
        return y.sum()

    x = rand(3, grad=True)
    wrap(f)(x).backward()
    return x.grad


@case
def reshape_copies_where_memory_demands_it(wrap):
    def f(x):
        z = x.T * 2
        for y in (x.reshape(-1), z.reshape(-1), z.T.reshape(-1)):
            y.add_(1)
        return z * 1

    x = rand(2, 3).T
    return wrap(f)(x), x, wrap(f)(x.contiguous())


@case
def layouts(wrap):
    f = wrap(lambda x: (x.is_leaf, x.grad_fn is None, x.is_contiguous(), x.stride(), x[:, 0].stride()))
    w = rand(2, 3, grad=True)
    return f(w), f((w * 1).T), f(w[:, ::2])


@case
def a_view_that_memory_does_not_allow(wrap):
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        wrap(lambda x: x.T.view(-1))(rand(2, 3))


@case
def memory_that_repeats_is_not_written_to(wrap):
    with pytest.raises(RuntimeError, match="single memory location"):
        wrap(lambda x: x.add_(1))(rand(3).expand(2, 3))


@case
def requires_grad_is_set_inside(wrap):
    def f(x):
        x.requires_grad_()
        return (x * x).sum()

    f, x = wrap(f), rand(2)
    f(x).backward()
    return x, x.grad, f(x)


@case
def a_leaf_made_inside_and_returned(wrap):
    y = wrap(lambda x: (x * 2).detach().requires_grad_())(rand(3))
    (y * y).sum().backward()
    return y.grad, y.is_leaf


@case
def gradient_of_a_leaf_made_inside(wrap):
    def force(x):
        leaf = x.detach().requires_grad_()
        return jitgrad.autograd.grad((leaf**3).sum(), leaf)[0]

    return wrap(force)(rand(3)), wrap(force)(rand(3, grad=True))


@case
def grad_is_enabled_inside_no_grad(wrap):
    def f(x):
        with jitgrad.enable_grad():
            y = x * 2
        return y, x * 3

    x = rand(3, grad=True)
    with jitgrad.no_grad():
        return wrap(f)(x)


@case
def backward_a_second_time(wrap):
    def f(x):
        y = (x * x).sum()
        y.backward()
        return y

    x = rand(3, grad=True)
    out = wrap(f)(x)
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()
    return out, x.grad


@case
def backward_of_a_value_overwritten_inside(wrap):
    def f(x):
        y = x.exp()
        y.add_(1)
        return y.sum()

    x = rand(3, grad=True)
    out = wrap(f)(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()
    return out


@case
def inputs_that_a_result_does_not_depend_on_get_no_gradient(wrap):
    x, y = rand(3, grad=True), rand(3, seed=1, grad=True)
    a, _ = wrap(lambda x, y: (x.sum() + (y.detach() * 2).sum(), y.prod()))(x, y)
    a.backward()
    return x.grad, y.grad


@case
def a_view_that_follows_its_base(wrap):
    b, w = rand(2, 3), rand(3, grad=True)
    v = b[0]
    b.add_(w)
    wrap(lambda v: (v * v).sum())(v).backward()
    return w.grad


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


@pytest.mark.parametrize("name", CASES)
def test_traced_as_eager(name):
    jitgrad.manual_seed(0)
    plain = outcome(CASES[name], lambda f: f)
    jitgrad.manual_seed(0)
    assert outcome(CASES[name], jitgrad.trace) == plain


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, message = REFUSED[name]
    function(lambda f: f)
    with warnings.catch_warnings(), pytest.raises(TraceError, match=message):
        warnings.simplefilter("ignore")
        function(jitgrad.trace)
    assert jitgrad.state.state.recording is None
