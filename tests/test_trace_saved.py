"""Saved tensors inside a traced function: made again for a backward, they lie over the memory they were saved from."""

from __future__ import annotations

import pytest
from observed import Cases, outcome, rand
from traced import close

import jitgrad
from jitgrad import Function, Tensor
from jitgrad.autograd import grad
from jitgrad.errors import LeakedTensorError

cases = Cases()
case, refuse = cases.case, cases.refuse


def squared(uses, save="input"):
    """A Function that squares; its backward multiplies by `uses(saved)`, of the shape of what was saved."""

    class Squared(Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(y if save == "output" else x)
            return y

        @staticmethod
        def backward(ctx, g):
            (saved,) = ctx.saved_tensors
            return uses(saved) * g

    return Squared.apply


def by_layout(s: Tensor) -> Tensor:
    return s * (s.stride(0) * 10 + s.stride(1)) + float(s.is_contiguous())


def by_row(s: Tensor) -> Tensor:
    return s[0] + s * 0


def by_flat(s: Tensor) -> Tensor:
    return s.reshape(-1).view(s.shape) * 2


def by_copy(s: Tensor) -> Tensor:
    return s.clone().mul_(2)


def by_alias(s: Tensor) -> Tensor:
    return s.detach() * s.data


def by_transpose(s: Tensor) -> Tensor:
    return s.t().t() * s.T.sum()


USES = (by_layout, by_row, by_flat, by_copy, by_alias, by_transpose)
SOURCES = {
    "leaf": lambda w: w,
    "computed": lambda w: w * 3,
    "view": lambda w: (w * 3).t(),
    "strided view": lambda w: (w * 3)[:, ::2],
    "view of a leaf": lambda w: w.t(),
    "alias": lambda w: (w * 3).detach().requires_grad_(),
}


def outside(wrap, apply, source):
    """Backward from what a traced function returned."""
    w = rand(3, 4, grad=True)
    y = wrap(lambda w: apply(source(w)))(w)
    y.sum().backward()
    return y, w.grad


def inside(wrap, apply, source):
    """Backward inside, twice."""

    def f(w):
        x = source(w)
        y = apply(x)
        (g,) = grad(y.sum(), x, retain_graph=True)
        y.sum().backward()
        return y.detach(), g

    w = rand(3, 4, grad=True)
    f = wrap(f)
    return f(w), f(w), w.grad


def second(wrap, apply, source):
    """The derivative of the derivative, inside, and backward from the gradient outside."""

    def f(w):
        x = source(w)
        y = apply(x)
        (g,) = grad((y * y).sum(), x, create_graph=True)
        return g, grad((g * g).sum(), x, retain_graph=True)[0]

    w = rand(3, 4, grad=True)
    g, h = wrap(f)(w)
    g.sum().backward()
    return g, h, w.grad


@pytest.mark.parametrize("save", ("input", "output"))
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("uses", USES)
def test_uses_of_a_saved_tensor(uses, source, save):
    for way in (inside,) if source == "alias" else (inside, outside, second):
        def run(wrap, way=way):
            return way(wrap, squared(uses, save), SOURCES[source])

        assert outcome(run, jitgrad.trace) == outcome(run, lambda f: f)


# -- the saved tensor itself leaves


class Itself(Function):
    """Its backward gives what it saved, whatever the cotangent."""

    @staticmethod
    def forward(ctx, x, save):
        y = x * x
        ctx.save_for_backward(y if save == "output" else x)
        return y

    @staticmethod
    def backward(ctx, g):
        return ctx.saved_tensors[0], None


GIVEN = {
    "it": lambda x, y, g: (g,),
    "it and its source": lambda x, y, g: (g, x),
    "it and all": lambda x, y, g: (y, x, g),
    "a part and the source": lambda x, y, g: (g[0], x),
    "an alias first": lambda x, y, g: (y.detach(), x.detach(), g),
    "parts": lambda x, y, g: (g.t().detach(), g[1:], y[0]),
}


@pytest.mark.parametrize("save", ("input", "output"))
@pytest.mark.parametrize("source", ("leaf", "computed", "view", "view of a leaf"))
@pytest.mark.parametrize("give", GIVEN)
def test_a_saved_tensor_that_leaves_shares_memory_as_in_eager(give, source, save):
    def run(wrap):
        def f(w):
            x = SOURCES[source](w)
            y = Itself.apply(x, save)
            (g,) = grad(y.sum(), x, create_graph=True)
            return GIVEN[give](x, y, g)

        w = rand(3, 4, grad=True)
        results = wrap(f)(w)
        out = [results[0] * 1, [r.grad_fn is None for r in results]]
        for k, r in enumerate(results):
            with jitgrad.no_grad():
                r.mul_(k + 2)
            out.append([*(r * 1 for r in results), w.detach() * 1])
        return out

    assert outcome(run, jitgrad.trace) == outcome(run, lambda f: f)


@case
def the_gradient_of_a_saved_tensor_that_leaves(wrap):
    def f(w):
        x = w * 3
        y = Itself.apply(x, "input")
        (g,) = grad(y.sum(), x, create_graph=True)
        return g, x

    out = []
    for k in range(2):
        w = rand(3, grad=True)
        results = wrap(f)(w)
        out.append(grad((results[k] ** 3).sum() + results[0].sum(), w)[0])
    return out


# -- writes


@case
def written_to_after_it_was_saved(wrap):
    def run(use):
        def f(w):
            x = w * 2
            y = squared(lambda s: s.t() + s.stride(0))(x.t())
            use(x)
            return y

        w = rand(3, 3, grad=True)
        y = wrap(f)(w)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
        return y

    return run(lambda x: x.add_(1)), run(lambda x: x[0].zero_()), run(lambda x: x.detach().mul_(2))


@case
def written_to_after_it_was_saved_and_read_inside(wrap):
    def f(w):
        x = w * 2
        y = squared(by_row)(x)
        x.t().mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            grad(y.sum(), w)
        return x

    return wrap(f)(rand(2, 3, grad=True))


@case
def a_saved_tensor_shows_a_write_that_comes_later(wrap):
    kept = []

    def f(w):
        x = w * 2
        y = squared(lambda s: (kept.append(s), s)[1])(x)
        (g,) = grad(y.sum(), w)
        kept[:-1] = []
        s = kept.pop()
        v = s.t()
        with jitgrad.no_grad():
            x.add_(1)
            v.mul_(2)
        return g, s * 1, v * 1, x * 1

    return wrap(f)(rand(2, 3, grad=True))


@case
def a_gradient_that_is_a_saved_tensor_is_written_to(wrap):
    def f(w):
        x = w * 2
        y = Itself.apply(x, "input")
        (g,) = grad(y.sum(), x, create_graph=True)
        g.mul_(2)
        return g, x * 1

    w = rand(2, 3, grad=True)
    g, x = wrap(f)(w)
    g.sum().backward()
    return g, x, w.grad


@case
def a_saved_alias_of_memory_that_was_assigned_since(wrap):
    def f(p, w):
        y = squared(by_flat)(p * w)
        p.data = p.data * 3
        return y, grad(y.sum(), w)[0], squared(by_row)(p)

    p, w = rand(2, 3), rand(2, 3, seed=1, grad=True)
    f = wrap(f)
    return f(p, w), f(p, w), p


@case
def memory_that_a_tensor_left_is_written_to(wrap):
    def f(p):
        q = p * 1
        alias = q.detach()
        q.data = q.data * 3
        alias.add_(1)
        return q, alias

    return wrap(f)(rand(3))


@case
def an_input_that_a_function_returns(wrap):
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 3

    def f(w):
        x = w * 2
        y = Same.apply(x)
        z = y.t() * y.stride(0) + y.detach().t()
        with jitgrad.no_grad():
            x.add_(1)
        return z, y, x

    w = rand(2, 3, grad=True)
    z, y, x = wrap(f)(w)
    (z.sum() + (y * y).sum() + x.sum()).backward()
    with jitgrad.no_grad():
        y.mul_(2)
    return z, y, x, w.grad


@refuse("backward of a Function.*writes in place to a tensor made outside of it")
def a_backward_that_writes_to_what_it_saved(wrap):
    wrap(lambda w: squared(lambda s: s.mul_(2))(w * 1))(rand(2, 3, grad=True)).sum().backward()


@refuse("backward of a Function.*writes in place to a tensor made outside of it")
def a_backward_that_writes_to_a_view_of_a_capture(wrap):
    seen = rand(3)

    def uses(s):
        seen[1:].add_(1)
        return s

    wrap(lambda w: squared(uses)(w).sum())(rand(3, grad=True)).backward()


@case
def a_backward_that_writes_to_what_it_made(wrap):
    def uses(s):
        twice = s * 2
        twice[0].add_(1)
        return twice.mul_(squared(by_copy)(s))

    f = wrap(lambda w: squared(uses)(w).sum())
    w = rand(2, 3, grad=True)
    f(w).backward()
    return w.grad


@refuse("backward of a Function.*changes a tensor made outside of it, or its .grad")
def a_backward_that_sets_a_gradient(wrap):
    p = rand(3, grad=True)

    def uses(s):
        p.grad = s * 2
        return s

    wrap(lambda w: squared(uses)(w).sum())(rand(3, grad=True)).backward()


@refuse("backward of a Function.*changes a tensor made outside of it, or its .grad")
def a_backward_that_runs_a_backward_to_a_leaf_outside(wrap):
    p = rand(3, grad=True)

    def uses(s):
        with jitgrad.enable_grad():
            (s.detach() * p).sum().backward()
        return s

    wrap(lambda w: squared(uses)(w).sum())(rand(3, grad=True)).backward()


@refuse("backward of a Function.*draws random numbers")
def a_backward_that_draws(wrap):
    wrap(lambda w: squared(lambda s: s * jitgrad.rand(3))(w).sum())(rand(3, grad=True)).backward()


@case
def a_backward_that_computes_the_forward_again(wrap):
    class Checkpoint(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin() * x[0]

        @staticmethod
        def backward(ctx, g):
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with jitgrad.enable_grad():
                y = x.sin() * x[0]
            y.backward(g)
            return x.grad

    def f(w):
        y = Checkpoint.apply(w.t() * 2)
        return y, grad(y.sum(), w, retain_graph=True)[0]

    w = rand(2, 3, grad=True)
    y, g = wrap(f)(w)
    y.sum().backward()
    return y, g, w.grad


@case
def a_backward_that_raises(wrap):
    def f(w):
        x = w * 2
        with pytest.raises(RuntimeError, match="broadcast"):
            grad(squared(lambda s: s.t() + s)(x).sum(), x)
        x.add_(1)
        return x * w

    w = rand(2, 3, grad=True)
    y = wrap(f)(w)
    y.sum().backward()
    return y, w.grad


def test_a_tensor_that_a_backward_stored_never_had_a_value():
    stored = []

    def uses(s):
        stored.append(s.t() * 2)
        return s

    def f(w, use):
        x = w * 1
        y = squared(uses)(x)
        with jitgrad.no_grad():
            x.add_(1)
        return y * stored[-1] if use else y

    w = rand(3, 3, grad=True)
    close(jitgrad.trace(f)(w, False), w * w)
    with pytest.raises(LeakedTensorError):
        stored[0] * 2
    with pytest.raises(LeakedTensorError):
        jitgrad.trace(f)(w, True)


def test_reading_a_saved_tensor_again_and_again_keeps_nothing():
    counts = []

    class Counted(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            for _ in range(100):
                (s,) = ctx.saved_tensors
                s.is_contiguous()
            counts.append(len(s._storage.members))
            return s * 2 * g

    jitgrad.trace(lambda w: Counted.apply(w * 1).sum())(rand(3, grad=True))
    assert counts and max(counts) <= 3


@pytest.mark.parametrize("name", cases.same)
def test_traced_as_eager(name):
    cases.check_same(name)


@pytest.mark.parametrize("name", cases.refused)
def test_refused(name):
    cases.check_refused(name)
