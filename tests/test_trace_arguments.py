"""What goes into a traced function and what comes out: structures, numbers, layouts, views."""

from __future__ import annotations

import dataclasses
from collections import namedtuple

import numpy as np
import pytest
from traced import close, rand

import jitgrad
from jitgrad import Tensor, TraceError

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    a: Tensor
    b: float


def test_structures_in_and_out():
    @jitgrad.trace
    def f(p, pair, *rest, scale=1.0):
        return Point(p.x + rest[0]["k"], pair.a * pair.b), [p.y * scale]

    x = rand(3)
    for scale in (1.5, 2.5):
        point, (y,) = f(Point(x, x * 2), Pair(x, 3.0), {"k": x}, scale=scale)
        assert isinstance(point, Point)
        close(point.x, 2 * x)
        close(point.y, 3 * x)
        close(y, 2 * x * scale)
    assert len(f.programs) == 1


def test_floats_do_not_recompile_and_keep_precision():
    traced = jitgrad.trace(lambda x, lr: x - lr * x)
    x = rand(3, dtype="float32")
    for lr in (0.1, 0.2, 1e-3):
        out = traced(x, lr)
        assert out.dtype is jitgrad.float32
        np.testing.assert_allclose(out.numpy(), (x - lr * x).numpy(), rtol=1e-7)
    assert len(traced.programs) == 1


def test_a_float_that_python_reads_is_compiled_as_a_constant():
    def f(x, k):
        return x * 2 if k > 0.5 else x * 3

    traced = jitgrad.trace(f)
    x = rand(3)
    for k in (0.7, 0.2, 0.9, 0.7):
        close(traced(x, k), f(x, k))
    assert "constants" in traced.explain()


def test_what_python_does_with_a_float_sees_its_value():
    @jitgrad.trace
    def f(x, a):
        name = {0.5: "half", 1.0: "one"}.get(a, "other")
        return x * a, f"{a:.2f}", str(a), repr([a]), round(a, 1), name, jitgrad.tensor([a, 1]), jitgrad.tensor(a)

    x = rand(3)
    for a in (0.5, 1.0, 0.25):
        for _ in range(2):
            y, *rest, pair, single = f(x, a)
            close(y, x * a)
            names = {0.5: "half", 1.0: "one"}
            assert rest == [f"{a:.2f}", str(a), repr([a]), round(a, 1), names.get(a, "other")]
            assert pair.dtype is single.dtype is jitgrad.float32
            assert (pair.tolist(), single.item()) == ([a, 1], a)


def test_arguments_that_are_made_anew_do_not_recompile():
    class Scale:
        k = 2.0

        def apply(self, x):
            return x * self.k

    def f(x, shape, steps, method):
        return method(x.view(*shape)), shape, steps

    scale, traced = Scale(), jitgrad.trace(f)
    for _ in range(3):
        x = rand(3, 2)
        y, shape, steps = traced(x, x.shape, range(3), scale.apply)
        close(y, x * scale.k)
        assert (shape, shape.numel(), steps) == ((3, 2), 6, range(3))
    assert len(traced.programs) == 1
    scale.k = 3.0
    close(traced(x, x.shape, range(3), scale.apply)[0], x * 3)
    other = Scale()
    close(traced(x, x.shape, range(3), other.apply)[0], x * 2)
    assert len(traced.programs) == 3
    del other  # nobody can pass it again
    assert len(traced.programs) == 2


def test_scattering_a_float():
    index = jitgrad.tensor([2, 0])
    f = jitgrad.trace(lambda x, a: x.scatter(0, index, a))
    for a in (0.1, 0.7):
        close(f(rand(3), a), rand(3).scatter(0, index, a))


@pytest.mark.parametrize("make", [
    jitgrad.tensor, jitgrad.as_tensor, jitgrad.Variable, jitgrad.scalar_tensor, lambda a: jitgrad.full((), a),
    lambda a: jitgrad.as_tensor(a, dtype=jitgrad.float64), lambda a: jitgrad.tensor(a, dtype=jitgrad.float64),
    lambda a: jitgrad.full((2,), a, dtype=jitgrad.float64), lambda a: jitgrad.ones(2).new_tensor(a),
    jitgrad.grad(lambda a: a * a), jitgrad.grad(lambda a: (a * jitgrad.ones(2)).sum()),
])
def test_tensors_made_of_a_float_have_the_dtype_that_eager_gives_them(make):
    def f(a):
        return make(a), jitgrad.is_tensor(a), jitgrad.is_tensor(make(a))

    traced = jitgrad.trace(f)
    for a in (0.1, 0.7):
        (expected, *flags), (found, *found_flags) = f(a), traced(a)
        close(found, expected)
        assert flags == found_flags == [False, True]
    assert len(traced.programs) == 1


def test_static_arguments_recompile():
    traced = jitgrad.trace(lambda x, n, flag: sum([x] * n) if flag else x)
    x = rand(3)
    for n, flag in ((2, True), (3, True), (3, False), (2, True)):
        close(traced(x, n, flag), x * n if flag else x)
    assert len(traced.programs) == 3
    assert "n: 2, then 3" in traced.explain()


def test_numpy_arrays_and_strided_inputs():
    traced = jitgrad.trace(lambda x: x * 2 + 1)
    a = np.arange(24.0).reshape(4, 6)
    for view in (a, a.T, a[::2, 1::2], a[::-1], np.broadcast_to(a[0], (3, 6)), a[:0], np.array(3.0)):
        np.testing.assert_array_equal(traced(view).numpy(), np.asarray(view) * 2 + 1)
        np.testing.assert_array_equal(traced(jitgrad.from_numpy(view.copy())).numpy(), view * 2 + 1)


def test_detached_results_share_the_memory_of_the_argument():
    for take in (lambda x: x.detach(), lambda x: x.data, lambda x: x.detach()[1:], lambda x: x[1:].detach()):
        x = jitgrad.zeros(3, requires_grad=True)
        out = jitgrad.trace(take)(x)
        out += 1
        assert x.tolist()[1:] == [1, 1] and not out.requires_grad


def test_what_cannot_be_returned_and_how_trace_is_called():
    class Made:
        def __call__(self):
            return self

    for made in (Made, lambda: {1, 2}, lambda: iter([1])):  # at the next call it would be the same object
        with pytest.raises(TraceError, match="cannot be rebuilt"):
            jitgrad.trace(lambda x, f=made: (x, f()))(rand(2))
    assert jitgrad.trace(lambda x: (x.exp(), len, int))(rand(2))[1:] == (len, int)
    for wrong in (0, -1, "a", 1.5):
        with pytest.raises(ValueError, match="max_compiles must be an integer"):
            jitgrad.trace(max_compiles=wrong)
    with pytest.raises(TypeError, match="takes a function, got int"):
        jitgrad.trace(3)


def test_argument_returned_as_it_is():
    x = rand(3, requires_grad=True)
    same, other = jitgrad.trace(lambda x: (x, x * 2))(x)
    assert same is x
    close(other, x * 2)


def test_result_shared_by_two_outputs_is_not_aliased():
    def f(x):
        y = x * 2
        return y, x * 2

    a, b = jitgrad.trace(f)(rand(3))
    a.add_(1)
    assert float((a - b).min()) == pytest.approx(1.0)


def test_outputs_are_fresh_at_every_call():
    traced = jitgrad.trace(lambda x: x * 2)
    x = rand(3)
    first = traced(x)
    kept = first.clone()
    traced(x + 5)
    close(first, kept)


def test_a_numpy_float64_is_a_float_that_may_change():
    @jitgrad.trace
    def f(x, lr):
        scaled = lr * 2 + 1
        return x * scaled, lr * x, x / lr, scaled, -lr, lr, isinstance(scaled, np.floating), isinstance(lr, float)

    x = jitgrad.tensor([1.0, -2.0])
    for a in (2.5, -0.5, 0.1):
        for lr in (np.float64(a), a):
            assert repr(f(x, lr)) == repr(f.__wrapped__(x, lr))
    assert len(f.programs) == 2  # one of floats, one of np.float64


def test_numpy_float64_divides_by_zero_as_numpy_does():
    f = jitgrad.trace(lambda x, a, b: (x * (a / b), a / b))
    x = jitgrad.ones(2)
    assert repr(f(x, np.float64(1), np.float64(4))) == "(tensor([0.2500, 0.2500]), np.float64(0.25))"
    assert f(x, np.float64(1), np.float64(0))[1] == np.inf
    with pytest.raises(ZeroDivisionError):
        f(x, 1.0, 0.0)


def test_a_numpy_float64_that_python_consumes_is_a_constant():
    @jitgrad.trace
    def f(x, lr):
        return x * 2 if lr > 1 else x * np.sqrt(lr)

    x = jitgrad.ones(2)
    assert [f(x, np.float64(a)).tolist() for a in (2.0, 0.25, 0.25, 1.0)] == [[2, 2], [0.5, 0.5], [0.5, 0.5], [1, 1]]
    assert len(f.programs) == 3
    assert "lr: float64 0.25, then float64 1.0" in f.explain()


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.int8, np.bool_, int, bool])
def test_other_numbers_are_constants(kind):
    @jitgrad.trace
    def f(x, n):
        return x * n, x + n, n

    x = jitgrad.tensor([1.0, -2.0])
    for a in (1, 0, 1):
        assert repr(f(x, kind(a))) == repr(f.__wrapped__(x, kind(a)))
    assert len(f.programs) == 2


def test_keyword_arguments_of_any_name():
    def f(x, **named):
        return x * sum(named.values())

    g = jitgrad.trace(f)
    for _ in range(2):
        names = {"self": 2.0, "function": 3.0, "args": 4.0, "kwargs": 5.0, "cls": 6.0, "f": 7.0}
        assert g(jitgrad.ones(2), **names).tolist() == [27, 27]
        value, gradient = jitgrad.value_and_grad(lambda x, **named: f(x, **named).sum())(jitgrad.ones(2), **names)
        assert (value.item(), gradient.tolist()) == (54, [27, 27])
        assert jitgrad.grad(lambda x, **named: f(x, **named).sum())(jitgrad.ones(2), **names).tolist() == [27, 27]
        assert jitgrad.no_grad(f)(jitgrad.ones(2), **names).tolist() == [27, 27]


@pytest.mark.parametrize("kind", [lambda t: (t,), lambda t: [t], lambda t: {"a": t}])
def test_arguments_and_results_that_nest_deep(kind):
    def nested(leaf, depth):
        for _ in range(depth):
            leaf = kind(leaf)
        return leaf

    def leaf_of(tree):
        while not isinstance(tree, jitgrad.Tensor):
            tree = next(iter(tree.values() if isinstance(tree, dict) else tree))
        return tree

    x = jitgrad.ones(2)
    doubled = jitgrad.trace(lambda t: leaf_of(t) * 2)
    for depth in (200, 200, 254):  # the arguments are in two tuples of ours
        assert doubled(nested(x, depth)).tolist() == [2, 2]
    for depth in (300, 3000):
        with pytest.raises(ValueError, match="nest up to 256 deep"):
            doubled(nested(x, depth))
        with pytest.raises(ValueError, match="nest up to 256 deep"):
            jitgrad.trace(lambda x, depth=depth: nested(x * 2, depth))(x)


def test_a_list_in_itself():
    inner = []
    inner.append(inner)
    with pytest.raises(ValueError, match="or in itself"):
        jitgrad.trace(lambda x, t: x * 2)(jitgrad.ones(2), inner)
