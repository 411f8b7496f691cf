"""Training steps in place: what a traced function writes to tensors from outside is in their memory, as eager has it,
whatever else reads that memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traced import close, rand

import jitgrad
from jitgrad import Tensor, TraceError
from jitgrad.errors import BoundsError, DivisionByZero, InplaceError
from jitgrad.ir.fuse import CallKernel


def both(function, *arguments, calls: int = 3, tol: float = 1e-6):
    """Asserts that `function`, eager and traced, gives the same and leaves the same in its arguments, which stay the
    memory they are. Returns the traced function."""
    mine = [a.detach().clone().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in arguments]
    held = [a.detach() for a in arguments if isinstance(a, Tensor)]
    traced = jitgrad.trace(function)
    for _ in range(calls):
        want, got = function(*mine), traced(*arguments)
        for a, b in zip(want or (), got or (), strict=True):
            close(a, b, tol)
        for a, b in zip(mine, arguments, strict=True):
            if isinstance(a, Tensor):
                close(a.detach(), b.detach(), tol)
    for memory, a in zip(held, [a for a in arguments if isinstance(a, Tensor)], strict=True):
        assert memory._array.ctypes.data == a._array.ctypes.data
        close(memory, a.detach(), 0)
    return traced


def schedule_of(traced):
    (program,) = traced.programs
    return program.plain.schedule


def direct(traced) -> bool:
    """Whether nothing is copied: no kernel writes a temporary as large as a parameter that is overwritten."""
    plan = schedule_of(traced)
    over = [b for b in plan.params if any(b in k.writes() for k in plan.kernels)]
    return bool(over) and all(
        b.size < min(o.size for o in over) for k in plan.kernels for b in k.writes() if b.place[0] == "temp"
    )


@pytest.mark.parametrize("n", [1, 5, 100, 1003])
def test_an_update_of_several_tensors(n):
    def step(p, m, g, rate):
        m.mul_(0.9).add_(g)
        p.sub_(rate * m)
        return (m * p,)

    traced = both(step, rand(n), rand(n, seed=1), rand(n, seed=2), 0.25)
    assert direct(traced)


def test_tensors_that_exchange_their_content():
    def step(a, b):
        c = a * 1
        a.copy_(b)
        b.copy_(c)

    both(step, rand(50), rand(50, seed=1))


def test_updates_that_read_other_elements():
    both(lambda a: (a.copy_(a.flip(0) + a), None)[1], rand(50))
    both(lambda a: (a.copy_(a.T @ a), None)[1], rand(20, 20) * 0.1)
    both(lambda a: (a.sub_(a.sum(0)), None)[1], rand(20, 30) * 0.1)
    both(lambda a: (a.div_(a.exp().sum(1, keepdim=True)), None)[1], rand(20, 37))
    both(lambda a: (a.copy_(a.cumsum(0)), None)[1], rand(20, 37) * 0.1)


def test_strided_and_transposed_tensors():
    whole = rand(20, 30)
    both(lambda a: (a.mul_(0.5).add_(a.flip(0)), None)[1], whole[::2, 3:20])
    both(lambda a: (a.mul_(0.5), None)[1], whole.T)


def test_what_was_handed_out_keeps_its_content():
    traced = jitgrad.trace(lambda p: (p.add_(1), p * 1, p)[1:])
    p = jitgrad.zeros(40)
    kept = []
    for i in range(3):
        copy, same = traced(p)
        kept.append(copy)
        assert same is p
        assert [c.tolist() for c in kept] == [[k + 1.0] * 40 for k in range(i + 1)]


def test_a_view_from_outside_sees_the_write():
    base = jitgrad.zeros(4, 10)
    row, array = base[1], base.numpy()
    jitgrad.trace(lambda x: (x.add_(1), None)[1])(base)
    assert row.tolist() == [1.0] * 10
    assert array.sum() == 40
    jitgrad.trace(lambda x: (x.add_(1), None)[1])(row)
    assert base.sum() == 50


def test_a_pending_backward_notices_the_write():
    w = rand(5, requires_grad=True)
    x = rand(5, seed=1)
    pending = (w * x).sum()
    version = x._version
    traced = jitgrad.trace(lambda x: (x.mul_(2), None)[1])
    traced(x)
    assert x._version == version + 1
    with pytest.raises(InplaceError, match="modified by an inplace operation"):
        pending.backward()
    # One that belongs to a traced call too: what it saved by reference has changed.
    y = rand(5, seed=2)
    out = jitgrad.trace(lambda w, y: (w * y).sum())(w, y)
    traced(y)
    with pytest.raises(InplaceError, match="modified by an inplace operation"):
        out.backward()


@pytest.mark.parametrize("step", [
    lambda h, w: (h.mul_(w), (h * h).sum())[1],  # the backward of the write reads the old content
    lambda h, w: (h.exp_(), (h * w).sum())[1],  # that of what follows, the new one
    lambda h, w: (h.mul_(w).mul_(w), h.sum() * 2)[1],
])
def test_a_gradient_through_what_was_overwritten(step):
    found = []
    for f in (step, jitgrad.trace(step)):
        w, leaf = rand(7, requires_grad=True), rand(7, seed=3, requires_grad=True)
        h = leaf * 1
        for _ in range(2):
            y = f(h, w)
        (y + h.sum()).backward()
        found.append((w.grad, leaf.grad, h.detach()))
    for a, b in zip(*found, strict=True):
        close(a, b)


@pytest.mark.parametrize("fails", [
    lambda t, i: t[i], lambda t, i: jitgrad.tensor([7, 8, 9]) // (i - 1), lambda t, i: t.index_add(0, i, t[:3]),
])
def test_a_call_that_fails_writes_nothing(fails):
    def step(t, u, i):
        u.mul_(2)
        t.mul_(3)
        out = fails(t, i)
        t.add_(out.sum())
        return (out,)

    traced = jitgrad.trace(step)
    t, u = rand(5, 4), rand(6)
    good = jitgrad.tensor([0, 2, 3])
    traced(t, u, good)
    before = t.numpy().copy(), u.numpy().copy(), t._version
    for bad in ([0, 1, 9], [1, 2, -9]):
        with pytest.raises((BoundsError, DivisionByZero)):
            traced(t, u, jitgrad.tensor(bad))
        np.testing.assert_array_equal(t.numpy(), before[0])
        np.testing.assert_array_equal(u.numpy(), before[1])
        assert t._version == before[2]


def test_an_interrupt_leaves_no_backward_on_new_memory():
    traced = jitgrad.trace(lambda x: (x.mul_(2), None)[1])
    w, x = rand(5, requires_grad=True), rand(5, seed=1)
    traced(x)
    pending = (w * x).sum()
    (program,) = traced.programs
    run = program.plain

    def interrupted(arrays):
        run(arrays)
        raise KeyboardInterrupt

    program.__dict__["plain"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        traced(x)
    with pytest.raises(InplaceError):
        pending.backward()


def test_a_division_of_numbers_that_fails_writes_nothing():
    @jitgrad.trace
    def step(t, a, b):
        t.mul_(2)
        return a / b

    t = jitgrad.ones(3)
    assert step(t, 1.0, 2.0) == 0.5
    with pytest.raises(ZeroDivisionError):
        step(t, 1.0, 0.0)
    assert t.tolist() == [2, 2, 2]


def test_overlapping_arguments_are_refused_however_they_lie():
    f = jitgrad.trace(lambda a, b: (a.add_(1), b * 2)[1:])
    base = jitgrad.zeros(10, 10)
    for a, b in ((base, base[3]), (base[4], base), (base[2:5], base[4:]), (base.T, base[9]), (base[:, 1], base[1])):
        with pytest.raises(TraceError, match="shares its memory"):
            f(a, b)
    assert base.sum() == 0
    f(base[:5], base[5:])
    assert base.sum() == 50


def test_arguments_that_lie_between_each_other():
    f = jitgrad.trace(lambda a, b: (a.add_(b), b * 2)[1])
    base = jitgrad.arange(20.0).reshape(10, 2).clone()
    want = base.clone()
    for _ in range(2):
        assert f(base[:, 0], base[:, 1]).tolist() == (want[:, 1] * 2).tolist()
        want[:, 0] += want[:, 1]
        assert base.tolist() == want.tolist()
    flat = jitgrad.zeros(40)
    with pytest.raises(TraceError, match="shares its memory"):
        f(flat[1::3], flat[::2][:13])
    steps = [4 * n for n in (3947, 24860, 34150, 44320, 46363, 51729)]
    memory = np.zeros(1_100_000, np.float32)
    hard = [jitgrad.from_numpy(np.lib.stride_tricks.as_strided(memory[i:], (6,) * 6, steps)) for i in (0, 1)]
    with pytest.raises(TraceError, match="shares its memory"):  # or may do so: it is not looked for without end
        f(*hard)


def test_only_the_rows_that_are_used_change():
    table, w = rand(500, 8), rand(8, 3, seed=1)
    ids, y = jitgrad.tensor([[1, 7, 7], [499, 0, 1]]), jitgrad.tensor([2, 0])

    def loss(table, w, ids, y):
        return jitgrad.nn.functional.cross_entropy(table[ids].mean(1) @ w, y)

    gradients = jitgrad.value_and_grad(loss, (0, 1))

    def step(table, w, ids, y, rate):
        value, (dtable, dw) = gradients(table, w, ids, y)
        table -= rate * dtable
        w -= rate * dw
        return (value,)

    traced = both(step, table, w, ids, y, 0.5)
    plan = schedule_of(traced)
    (writer,) = [k for k in plan.kernels if isinstance(k, CallKernel) and k.op == "scatter_add"]
    assert writer.outs == [plan.params[0]]
    assert all(b.size < 4000 for k in plan.kernels for b in k.writes() if b is not plan.params[0])
    before = table.numpy().copy()
    with pytest.raises(BoundsError):
        traced(table, w, jitgrad.tensor([[1, 7, 7], [500, 0, 1]]), y, 0.5)
    np.testing.assert_array_equal(table.numpy(), before)


@pytest.mark.parametrize("write", [
    lambda t, i, v: t.index_add_(0, i, v), lambda t, i, v: t.index_copy_(0, i, v),
    lambda t, i, v: t.__setitem__(i, v), lambda t, i, v: t.__setitem__(i, t[i] + v),
    lambda t, i, v: t.__setitem__(3, v[0]), lambda t, i, v: t.__setitem__(slice(2, 5), v),
    lambda t, i, v: t.__setitem__((slice(None), 2), t[:, 2] * 2),
    lambda t, i, v: t[4:7].add_(v), lambda t, i, v: t[:, 1].mul_(3),
    lambda t, i, v: (t[2:5].copy_(v), t[4:7].copy_(v * 2)), lambda t, i, v: t[::2].zero_(),
    lambda t, i, v: t.__setitem__((i, i % 10), v[:, 0]), lambda t, i, v: t.__setitem__(i[1], v[2]),
    lambda t, i, v: (t.__setitem__(i[0], v[2]), t.__setitem__((slice(None), i[0]), 2.0)),
])
def test_assignments_to_rows_and_slices(write):
    def step(t, i, v):
        write(t, i, v)

    traced = both(step, rand(600, 10), jitgrad.tensor([3, 0, 599]), rand(3, 10, seed=1))
    plan = schedule_of(traced)
    assert all(b.size <= 600 for k in plan.kernels for b in k.writes() if b is not plan.params[0])
    writers = [k for k in plan.kernels if plan.params[0] in k.writes()]
    assert all(isinstance(k, CallKernel) or math.prod(k.outer + k.inner) <= 3000 for k in writers)


def test_a_stencil_copies_the_interior_alone():
    def step(u, rate):
        u[1:-1] += rate * (u[2:] - 2 * u[1:-1] + u[:-2])

    traced = both(step, rand(5000), 0.25)
    plan = schedule_of(traced)
    moved = [math.prod(k.outer + k.inner) for k in plan.kernels]
    assert moved == [4998, 4998], plan


def test_a_slice_that_reads_its_neighbours():
    def step(t, v):
        t[0:3] = t[1:4] + v
        t[:, 2] = t[2]
        t[jitgrad.tensor([3, 1]), 2:4] = v[1:, :2]

    both(step, rand(10, 10), rand(3, 10, seed=1))


ROWS, COLUMNS = 90, 40


@st.composite
def writes(draw):
    """A write in place to a part of t, of what is made of parts of t and u, as a function of them and an index."""
    n = draw(st.sampled_from((1, 3, 30)))
    a, b, c = (draw(st.integers(0, ROWS - n)) for _ in range(3))
    j, step = draw(st.integers(0, COLUMNS - 1)), draw(st.sampled_from((1, 2, 3)))
    at, other = slice(a, a + n), slice(b, b + n)
    return draw(st.sampled_from((
        lambda t, u, i: t[at].add_(t[other]), lambda t, u, i: t.__setitem__(at, u[other] * 0.5),
        lambda t, u, i: t[:, j].mul_(0.5), lambda t, u, i: t[::step].sub_(u[::step]),
        lambda t, u, i: t.__setitem__(i, t[i + 1] - u[i]), lambda t, u, i: t.__setitem__((slice(None), i[0]), u[:, j]),
        lambda t, u, i: t.index_add_(0, i, t[c : c + 3] * 0.5), lambda t, u, i: t.copy_(u + t.flip(0)),
        lambda t, u, i: u.copy_(t * 0.5), lambda t, u, i: u[at].copy_(t[other]), lambda t, u, i: t.mul_(0.5).add_(u),
        lambda t, u, i: t[at, 3:20].zero_(), lambda t, u, i: u.sub_(t.sum(0) * 0.01),
    )))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(writes(), min_size=1, max_size=4))
def test_random_writes(steps):
    def step(t, u, i):
        for write in steps:
            write(t, u, i)
        return (t.sum(1) + u.sum(1),)

    both(step, rand(ROWS, COLUMNS), rand(ROWS, COLUMNS, seed=1), jitgrad.tensor([4, 0, 38]), calls=2, tol=1e-9)


@pytest.mark.parametrize("make", [
    lambda p: jitgrad.optim.SGD(p, lr=0.1), lambda p: jitgrad.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: jitgrad.optim.Adam(p, lr=0.1, amsgrad=True), lambda p: jitgrad.optim.AdamW(p, lr=0.1),
    lambda p: jitgrad.optim.RMSprop(p, lr=0.1),
])
def test_optimizers_write_in_place(make):
    found = []
    for wrap in (lambda f: f, jitgrad.trace):
        table, w = rand(300, 8, requires_grad=True), rand(8, 3, seed=1, requires_grad=True)
        ids, y = jitgrad.tensor([[1, 7, 7], [299, 0, 1]]), jitgrad.tensor([2, 0])
        optimizer = make([table, w])

        @wrap
        def train(ids, y, table=table, w=w, optimizer=optimizer):
            optimizer.zero_grad()
            loss = jitgrad.nn.functional.cross_entropy(table[ids].mean(1) @ w, y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        losses = [train(ids, y) for _ in range(5)]
        found.append([*losses, table.detach(), w.detach()])
    for a, b in zip(*found, strict=True):
        close(a, b, 1e-9)
    program = train.programs[-1]
    assert set(program.plain.schedule.results) & set(program.plain.schedule.params)
    over = [b for b in program.plain.schedule.results if b.place[0] == "param"]
    assert len(over) == len(program.writes)
