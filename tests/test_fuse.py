"""The scheduler: views are index maps, what shares a kernel, phases, buffers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels import black_scholes, cross_entropy, layer_norm, softmax

from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.fuse import Buffer, CallKernel, LoopKernel, schedule, to_text, views
from jitgrad.ir.fuse.items import cost
from jitgrad.ir.fuse.schedule import ALIGN, lay_out
from jitgrad.ir.ops import TABLE
from jitgrad.ir.ops.shape import diagonal_window
from jitgrad.ir.types import TensorType, f32, f64, i64

# Views.


def steps(view: views.View) -> np.ndarray:
    """The element that each step reads."""
    at = np.array([view.offset])
    for n, s in view.axes:
        at = (at[:, None] + np.arange(n) * s).reshape(-1)
    return at


@st.composite
def viewed(draw):
    """A view of an array 0, 1, 2, ... and the array that NumPy makes of it the same way."""
    shape = draw(st.lists(st.sampled_from((1, 2, 3, 4, 6)), min_size=1, max_size=4))
    array = np.arange(np.prod(shape)).reshape(shape)
    view = views.identity(array.size)
    for _ in range(draw(st.integers(0, 5))):
        found, changed = _change(draw, view, array)
        if found is None:
            break
        view, array = found, changed
    return view, array


def _change(draw, view, array):
    shape = array.shape
    flags = [draw(st.booleans()) for _ in shape]
    match draw(st.sampled_from(("permute", "slice", "flip", "diagonal", "unfold", "broadcast", "reshape"))):
        case "permute":
            perm = draw(st.permutations(range(len(shape))))
            return views.permute(view, shape, perm), array.transpose(perm)
        case "slice":
            start = [draw(st.integers(0, n - 1)) for n in shape]
            limit = [draw(st.integers(lo + 1, n)) for lo, n in zip(start, shape, strict=True)]
            step = [1 + f for f in flags]
            found = views.slice_(view, shape, start, limit, step)
            return found, array[tuple(map(slice, start, limit, step))]
        case "flip":
            axes = [i for i, f in enumerate(flags) if f]
            return views.flip(view, shape, axes), np.flip(array, axes)
        case "diagonal" if len(shape) > 1:
            offset = draw(st.integers(1 - shape[-2], shape[-1] - 1))
            found = views.diagonal(view, shape, diagonal_window(shape, offset))
            return found, array.diagonal(offset, -2, -1)
        case "unfold" if 0 < len(shape) < 5:
            axis = draw(st.integers(0, len(shape) - 1))
            size, step = draw(st.integers(1, shape[axis])), draw(st.integers(1, 3))
            windows = np.lib.stride_tricks.sliding_window_view(array, size, axis)
            kept = tuple(slice(None, None, step if i == axis else None) for i in range(len(shape)))
            return views.unfold(view, shape, axis, size, step), windows[kept]
        case "broadcast" if len(shape) < 5:
            at = draw(st.integers(0, len(shape)))
            wide = (*shape[:at], 3, *shape[at:])
            dims = [i for i in range(len(wide)) if i != at]
            return views.broadcast(view, shape, wide, dims), np.broadcast_to(np.expand_dims(array, at), wide)
        case _:
            n = array.size
            first = draw(st.sampled_from([k for k in range(1, n + 1) if n % k == 0]))
            return view, array.reshape(first, n // first)


@given(viewed())
def test_a_view_walks_as_numpy_does(pair):
    view, array = pair
    np.testing.assert_array_equal(steps(view), array.reshape(-1))


@given(viewed(), st.data())
def test_composed_views_read_through_both(pair, data):
    view, array = pair
    perm = data.draw(st.permutations(range(array.ndim)))
    inner = views.permute(views.identity(array.size), array.shape, perm)
    inner = views.flip(inner, [array.shape[p] for p in perm], [0])
    composed = views.compose(view, inner)
    if composed is not None:
        np.testing.assert_array_equal(steps(composed), steps(view)[steps(inner)])


@given(viewed(), st.data())
def test_composed_runs_read_through_both(pair, data):
    """Runs of a walk, with gaps or backwards, carry from one axis of the view to the next."""
    view, array = pair
    n = array.size
    start = data.draw(st.integers(0, n - 1))
    step = data.draw(st.integers(1, 3))
    count = data.draw(st.integers(1, (n - 1 - start) // step + 1))
    run = views.canonical(start, ((count, step),))
    if data.draw(st.booleans()):
        run = views.flip(run, (count,), [0])
    composed = views.compose(view, run)
    if composed is not None:
        np.testing.assert_array_equal(steps(composed), steps(view)[steps(run)])


def test_a_run_that_begins_inside_a_row_has_no_view():
    turned = views.permute(views.identity(12), (3, 4), (1, 0))
    assert views.compose(turned, views.View(1, ((6, 1),))) is None
    assert views.compose(turned, views.View(3, ((6, 1),))) == views.View(1, ((2, 1), (3, 4)))


def test_what_has_no_view_says_so():
    transposed = views.permute(views.identity(6), (2, 3), (1, 0))
    assert views.strides_over(transposed, (6,)) is None
    assert views.cut(transposed.axes, (2, 3)) is None
    assert views.common_cuts((2,), (3,)) is None
    assert views.common_cuts((2,), (6, 12)) == (2, 6, 12)


# What shares a kernel.


@pytest.mark.parametrize(
    ("function", "phases"),
    [
        (softmax(64, 100), 4),
        (layer_norm(64, 100), 5),
        (cross_entropy(64, 100), 3),
        (black_scholes(1000), 1),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_one_kernel(function, phases):
    plan = schedule(function)
    (kernel,) = loops_over_elements(plan)
    assert sum(bool(p.body) for p in kernel.phases) <= phases
    assert plan.arena_bytes < 64 * 100, "temporaries are rows of scratch at most"


def loops_over_elements(plan):
    """The kernels of more than one step (what follows a total is a kernel of one)."""
    return [k for k in plan.kernels if isinstance(k, LoopKernel) and k.outer + k.inner]


def test_elementwise_chains_collapse_to_one_axis():
    (kernel,) = schedule(black_scholes(1000)).kernels
    assert (kernel.outer, kernel.inner) == ((), (1000,))
    assert len(kernel.stores()) == 6


def build(*shapes, dtype=f32):
    b = FunctionBuilder()
    return b, [b.param(TensorType(dtype, s)) for s in shapes]


def test_views_are_never_copied():
    b, (x, y) = build((4, 6), (6, 4))
    z = b.add(b.flip(b.permute(x, perm=(1, 0)), axes=(0,)), b.exp(y))
    cut = b.slice(b.reshape(z, shape=(24,)), start=(3,), limit=(20,), step=(2,))
    plan = schedule(b.finish("f", [b.mul(cut, 2.0)]))
    assert all(n.op != "copy" for k in plan.kernels for n in k.nodes())
    assert len(plan.kernels) == 2  # the slice reads z, which is costly and made whole


def test_cheap_producers_are_computed_again():
    b, (x, w) = build((8, 8), (8, 8))
    scaled = b.mul(x, 2.0)
    b1 = b.matmul(b.exp(scaled), w)
    plan = schedule(b.finish("f", [b.add(b1, b.permute(scaled, perm=(1, 0)))]))
    temporaries = {buf for k in plan.kernels for buf in k.buffers() if buf.place[0] == "temp"}
    assert len(temporaries) == 1  # exp's result; what is added to the product joins it


def test_a_gather_of_a_computed_array_computes_what_it_reads():
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (64, 128)))
    at = b.param(TensorType(i64, (64,)))
    plan = schedule(b.finish("f", [b.gather(b.exp(x), at, axis=1, batch=1)]))
    (kernel,) = plan.kernels
    assert kernel.outer + kernel.inner == (64,)


def test_vector_products_fuse():
    """A loss of x @ w and its gradient read x once."""
    b, (x, w) = build((200, 50), (50, 1))
    g = b.tanh(b.matmul(x, w))
    plan = schedule(b.finish("f", [b.matmul(b.permute(x, perm=(1, 0)), g)]))
    (kernel,) = plan.kernels
    assert isinstance(kernel, LoopKernel)
    assert (kernel.outer, kernel.block) == ((25, 8), 8)


def test_a_large_crosswise_copy_is_one_turn():
    b, (x,) = build((512, 512))
    plan = schedule(b.finish("f", [b.permute(x, perm=(1, 0))]))
    assert [k.op for k in plan.kernels] == ["transpose"]
    b, (x,) = build((16, 16))
    plan = schedule(b.finish("f", [b.permute(x, perm=(1, 0))]))
    assert isinstance(plan.kernels[0], LoopKernel), "a small one is read as it lies"


def test_a_cycle_through_a_call_is_never_fused():
    """The running sum needs the rows' sums, and the scalars that read it wait: they are no part of the row program."""
    b, (x,) = build((8, 100))
    total = b.sum(b.exp(x), axes=(1,))
    running = b.exp(b.cumsum(total, axis=0))
    plan = schedule(b.finish("f", [b.mul(running, b.exp(total)), b.sum(b.exp(x), axes=(1,))]))
    assert [type(k) for k in plan.kernels] == [LoopKernel, CallKernel, LoopKernel]


def test_independent_sums_that_read_the_same_share_a_loop():
    b, (x,) = build((1000,))
    plan = schedule(b.finish("f", [b.sum(x, axes=(0,)), b.max(x, axes=(0,)), b.sum(b.mul(x, x), axes=(0,))]))
    assert len(plan.kernels) == 1


def test_a_cycle_is_never_fused():
    """s needs all of x before a, which reads s, can begin: two passes."""
    b, (x,) = build((1000,))
    e = b.exp(x)
    total = b.broadcast(b.sum(e, axes=(0,)), shape=(1000,), dims=())
    plan = schedule(b.finish("f", [b.div(e, total)]))
    assert len(plan.kernels) == 2


# Buffers.


def test_temporaries_share_the_arena_only_when_dead():
    b, (x,) = build((64, 64), dtype=f64)
    v = x
    for _ in range(6):
        v = b.matmul(b.exp(v), x)
    plan = schedule(b.finish("f", [v]))
    assert plan.arena_bytes == 2 * 64 * 64 * 8
    for kernel in plan.kernels:
        spans = sorted((t.place[1], t.place[1] + t.nbytes) for t in kernel.buffers() if t.place[0] == "temp")
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_nothing_is_done_for_no_elements():
    b, (x,) = build((0, 3))
    plan = schedule(b.finish("f", [b.exp(x), b.sum(x, axes=(0,)), b.matmul(b.permute(x, perm=(1, 0)), x)]))
    assert all(n.op == "const" for k in plan.kernels for n in k.nodes())


def test_the_text_shows_loops_and_phases():
    text = to_text(schedule(softmax(64, 100)))
    for part in ("schedule @softmax", "for r0 < 64:", "lanes i0 < 100:", "max of", "sum of", "x[r0*100 + i0]"):
        assert part in text


def test_ops_that_steer_differentiation_are_refused():
    b, (x,) = build((3,))
    with pytest.raises(ValueError, match="detach"):
        schedule(b.finish("f", [b.detach(x)]))


def test_long_functions_do_not_meet_the_recursion_limit():
    b, (x, y) = build((8,), (8,))
    v = x
    for _ in range(20_000):
        v = b.mul(v, y)
    plan = schedule(b.finish("f", [v]))
    assert len(plan.kernels) == 1


def test_every_op_and_every_node_of_a_kernel_has_a_cost_and_nothing_else():
    f = softmax(64, 100)
    used = {n.op for k in schedule(f).kernels if isinstance(k, LoopKernel) for n in k.nodes()}
    assert {"load", "reduce"} <= used
    for op in (*TABLE, *used, "keep", "first", "copy", "index"):
        assert 0 <= cost(op) <= cost("exp")
    assert cost("load") == cost("sum") == cost("exp") > cost("div") > cost("add") > cost("const")
    with pytest.raises(ValueError, match="no op 'laod' with a cost"):
        cost("laod")


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 200)), max_size=25))
def test_temporaries_that_live_together_are_apart(lives):
    """Each temporary lies at the first place where it touches nothing that is alive."""
    buffers = [Buffer(f"t{i}", f32, n, ("temp", 0)) for i, (_, _, n) in enumerate(lives)]
    spans = {b: (min(a, z), max(a, z)) for b, (a, z, _) in zip(buffers, lives, strict=True)}
    kernels = [CallKernel("use", [], [b for b in buffers if i in spans[b]], {}) for i in range(13)]
    total = lay_out(kernels)
    placed = {}
    for b in sorted(buffers, key=lambda b: spans[b][0]):
        size = -(-b.nbytes // ALIGN) * ALIGN
        alive = [p for other, p in placed.items() if spans[other][1] >= spans[b][0]]
        starts = [s for s in sorted({0, *(end for _, end in alive)})
                  if all(s + size <= begin or s >= end for begin, end in alive)]
        if size:
            assert b.place[1] == starts[0]
            placed[b] = (starts[0], starts[0] + size)
    assert total == max((end for _, end in placed.values()), default=0)
