"""Memory and graph of what a traced function returns and writes to, seen from outside: as the plain function."""

from __future__ import annotations

import pytest
from observed import Cases, rand, seen

import jitgrad

cases = Cases()
case = cases.case


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
def an_expanded_view_in_which_nothing_repeats_is_written_to(wrap):
    def f(x):
        x.expand(2, 3).add_(1)
        x[:1].expand(1, 3).mul_(3)
        return x * 1

    x = rand(2, 3)
    return wrap(f)(x), x


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


@pytest.mark.parametrize("name", cases.same)
def test_traced_as_eager(name):
    cases.check_same(name)
