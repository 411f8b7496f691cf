"""Corners in which programs written for torch rely on it: memory that is shared or not, layouts, what a backward keeps,
exact values. Every program runs eagerly and traced."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import jitgrad
import jitgrad.nn.functional as F

MODES = [pytest.param(lambda f: f, id="eager"), pytest.param(jitgrad.trace, id="traced")]
both = pytest.mark.parametrize("mode", MODES)


def array(*shape: int) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape) + 1


# -- memory


@both
@pytest.mark.parametrize(("layout", "offset", "axes"), [
    (lambda x: x, 0, (0, 1)), (lambda x: x.T, 1, (0, 1)), (lambda x: x.T, -1, (1, 0)),
    (lambda x: x[::2, 1:], 0, (0, 1)), (lambda x: x.reshape(4, 3, 2).transpose(2, 0, 1), 1, (0, 2)),
    (lambda x: x[:0], 0, (0, 1)), (lambda x: x, 9, (0, 1)),
])
def test_a_diagonal_is_a_view_of_any_layout(mode, layout, offset, axes):
    memory, want = array(4, 6), array(4, 6)
    wanted = layout(want).diagonal(offset, *axes)
    wanted.flags.writeable = True
    wanted *= -1

    def program(x):
        x.diagonal(offset, *axes).mul_(-1)
        return x.sum()

    assert mode(program)(jitgrad.from_numpy(layout(memory))) == layout(want).sum()
    np.testing.assert_array_equal(memory, want)


@both
def test_writes_to_a_diagonal_are_in_the_graph(mode):
    def program(x):
        y = x.t() * 1
        y.diagonal(1).mul_(x[0, :2])
        return (y * y).sum()

    x = jitgrad.tensor(array(3, 4), requires_grad=True)
    mode(program)(x).backward()
    assert jitgrad.autograd.gradcheck(program, (x.detach().requires_grad_(),))
    y = x.detach().requires_grad_()
    program(y).backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())


FRESH = {
    "pad by nothing": lambda x: F.pad(x, (0, 0)),
    "pad that cuts": lambda x: F.pad(x, (0, 0, 0, -1)),
    "diff of order 0": lambda x: x.diff(n=0),
    "pool of one": lambda x: F.max_pool2d(x[None], 1),
    "pool with gaps": lambda x: F.max_pool2d(x[None], 1, 2),
    "adaptive pool that keeps": lambda x: F.adaptive_avg_pool2d(x[None], (None, None)),
    "topk of all": lambda x: x.topk(1, 1).values,
}


@both
@pytest.mark.parametrize("function", FRESH.values(), ids=FRESH)
def test_what_torch_makes_anew_is_no_view(mode, function):
    x = jitgrad.zeros(2, 3)
    mode(lambda x: function(x).add_(7))(x)
    assert not x.any()


LAYOUTS = {
    "gather": lambda x, i: x.gather(0, i),
    "scatter": lambda x, i: x.scatter(0, i, x),
    "scatter_add": lambda x, i: x.scatter_add(0, i, x),
    "scatter_add of a part": lambda x, i: x.scatter_add(0, i[:2, :3], x),
    "einsum": lambda x, i: jitgrad.einsum("ij,kj->ki", x, x),
    "einsum of an outer product": lambda x, i: jitgrad.einsum("bi,bj->bji", x, x),
    "topk": lambda x, i: x.topk(2, 1).values,
    "kthvalue": lambda x, i: x.kthvalue(2, 1).values,
    "take_along_dim": lambda x, i: x.take_along_dim(i, 0),
    "index_put": lambda x, i: x.index_put((i[0, :2], i[1, :2]), x[0, :2], accumulate=True),
}


@both
@pytest.mark.parametrize("function", LAYOUTS.values(), ids=LAYOUTS)
def test_results_lie_in_row_major_order(mode, function):
    x = jitgrad.from_numpy(array(3, 4))
    i = jitgrad.tensor([[2, 0, 1, 1], [0, 1, 2, 0], [1, 1, 0, 2]])

    def program(x, i):
        y = function(x, i)
        flat = y.view(-1)
        assert y.is_contiguous()
        flat.zero_()
        return y

    assert not mode(program)(x, i).any()


# -- numbers


@both
@pytest.mark.parametrize("function", [
    lambda x: x + 2**70, lambda x: x - 2**64, lambda x: x.add(x, alpha=2**70), lambda x: 2**70 * x,
    lambda x: x < 2**70, lambda x: x == 2**64, lambda x: x // 2**70, lambda x: x & 2**64,
    lambda x: x.fill_(2**70), lambda x: jitgrad.full((2,), 2**70), lambda x: x - (2**63 + 1) * 2,
])
def test_integers_that_int64_does_not_hold(mode, function):
    with pytest.raises(OverflowError, match="int too big to convert"):
        mode(function)(jitgrad.tensor([1, 2]))


@both
def test_integers_that_a_narrow_dtype_does_not_hold(mode):
    small, byte = jitgrad.tensor([1, -56], dtype=jitgrad.int8), jitgrad.tensor([1, 255], dtype=jitgrad.uint8)

    def program(a, b):
        compared = (a > 200, a < 200, a <= 200, a != 200, b == -1, b > -1, b > -1, b >= 256)
        return compared, (b & -1, b | 256, a ^ 200, 2**63 * jitgrad.tensor([1, 2]))

    compared, bits = mode(program)(small, byte)
    assert [c.tolist() for c in compared] == [[n] * 2 for n in (False, True, True, True, False, True, True, False)]
    assert [b.tolist() for b in bits] == [[1, 255], [1, 255], [-55, 0], [-(2**63), 0]]
    assert all(c.dtype is jitgrad.bool for c in compared)


@both
def test_numbers_that_float32_does_not_hold_are_infinite_in_silence(mode):
    def program(x):
        return x * 1e300, x < 1e300, jitgrad.full((1,), -1e300), jitgrad.tensor([1e39]), x + 3.4028235e38

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = [y.item() for y in mode(program)(jitgrad.ones(1))]
    assert got == [math.inf, True, -math.inf, math.inf, np.finfo(np.float32).max]


# -- values and gradients


def with_gradient(mode, function, values, dtype=jitgrad.float64):
    x = jitgrad.tensor(values, dtype=dtype, requires_grad=True)
    y = mode(function)(x)
    y.sum().backward()
    return y.tolist(), x.grad.tolist()


@both
@pytest.mark.parametrize(("values", "want", "gradient"), [
    ([0.0, 200.0], [0.0, 200.0], [1.0, 1.0]), ([200.0, 0.0], [200.0, 200.0], [2.0, 0.0]),
    ([-math.inf, 0.0, 1.0], [-math.inf, 0.0, 1.3132616875182228], None), ([-math.inf] * 3, [-math.inf] * 3, None),
    ([1.0, math.inf, 2.0], [1.0, math.inf, math.inf], None), ([-math.inf, math.inf], [-math.inf, math.inf], None),
    ([1.0, math.nan, 2.0], [1.0, math.nan, math.nan], None), ([1e300, 1.0], [1e300, 1e300], [2.0, 0.0]),
    ([-1000.0, 0.0, 1000.0, 0.0], [-1000.0, 0.0, 1000.0, 1000.0], [1.0, 1.0, 2.0, 0.0]), ([], [], []),
])
def test_logcumsumexp_where_elements_lie_far_apart(mode, values, want, gradient):
    got, grad = with_gradient(mode, lambda x: x.logcumsumexp(0), values)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    if gradient is not None:
        np.testing.assert_allclose(grad, gradient, atol=1e-14)


def test_logcumsumexp_derivatives():
    x = jitgrad.randn(3, 7, dtype=jitgrad.float64, requires_grad=True)
    assert jitgrad.autograd.gradcheck(lambda x: x.logcumsumexp(1), (x,))
    assert jitgrad.autograd.gradgradcheck(lambda x: x.logcumsumexp(0), (x,))
    np.testing.assert_allclose(x.detach().logcumsumexp(1).exp().numpy(), x.detach().exp().cumsum(1).numpy(), rtol=1e-12)


@both
@pytest.mark.parametrize(("function", "values", "want", "gradient"), [
    (lambda x: x.median(), [1.0, 1.0, 2.0], 1.0, [0.5, 0.5, 0.0]),
    (lambda x: x.median(), [1.0, math.nan, math.nan], math.nan, [0.0, 0.5, 0.5]),
    (lambda x: x**0.5, [-math.inf, -0.0, 0.0, 4.0, -1.0, math.inf], [math.nan, -0.0, 0.0, 2.0, math.nan, math.inf],
     [math.nan, -math.inf, math.inf, 0.25, math.nan, 0.0]),
    (lambda x: x**-0.5, [-math.inf, -0.0, 0.0, 4.0, math.inf], [math.nan, -math.inf, math.inf, 0.5, 0.0], None),
    (lambda x: x.norm(3), [0.0, 0.0], 0.0, [0.0, 0.0]),
    (lambda x: x.norm(0.5), [0.0, 1.0], 1.0, [0.0, 1.0]),
    (lambda x: jitgrad.hypot(x, jitgrad.tensor([0.0, math.nan, math.nan, 4.0], dtype=x.dtype)),
     [math.nan, math.inf, -math.inf, 3.0], [math.nan, math.inf, math.inf, 5.0], None),
])
def test_values_and_gradients_in_corners(mode, function, values, want, gradient):
    got, grad = with_gradient(mode, function, values)
    np.testing.assert_equal(np.signbit(np.nan_to_num(got)), np.signbit(np.nan_to_num(want)))
    np.testing.assert_allclose(got, want)
    if gradient is not None:
        np.testing.assert_allclose(grad, gradient)


@both
def test_dtypes_that_meet(mode):
    f, i, b = jitgrad.tensor([1.0]), jitgrad.tensor([1]), jitgrad.tensor([True])

    def program(f, i, b):
        return (
            jitgrad.logaddexp(f, i), jitgrad.hypot(i, f), jitgrad.hypot(f, f.double()), f.add(i, alpha=0.5),
            jitgrad.addcmul(f, b, b, value=0.5), jitgrad.addcmul(f, i * 2, f * 3, value=0.5), b.diff(),
            F.mse_loss(b, f), F.dropout(i, 0.5, training=False),
        )

    got = mode(program)(f, i, b)
    assert [t.dtype for t in got] == [jitgrad.float32] * 2 + [jitgrad.float64] + [jitgrad.float32] * 3 + [
        jitgrad.bool, jitgrad.float32, jitgrad.int64
    ]
    np.testing.assert_allclose([t.item() for t in got if t.numel()][3:6], [1.5, 1.5, 4.0])


@both
@pytest.mark.parametrize(("function", "error", "message"), [
    (lambda x: jitgrad.addcmul(x, x, x, value=0.5), RuntimeError, "argument value must not be a floating point"),
    (lambda x: x.add(x, alpha=0.5), RuntimeError, "argument alpha must not be a floating point"),
    (lambda x: F.mse_loss(x, x), RuntimeError, '"mse_loss" is not implemented for'),
    (lambda x: F.mse_loss(x > 0, x > 0), RuntimeError, '"mse_loss" is not implemented for'),
    (lambda x: jitgrad.hypot(x, x), RuntimeError, '"hypot" is not implemented'),
    (lambda x: x.diff(n=-1), RuntimeError, "order must be non-negative"),
    (lambda x: x[:0].median(0), IndexError, "dim 0 to have non-zero size"),
    (lambda x: (x > 0).median(), RuntimeError, '"median" is not implemented'),
    (lambda x: jitgrad.full((2,), 300, dtype=jitgrad.int8), RuntimeError, "without overflow"),
    (lambda x: x[..., ..., 0], IndexError, "single ellipsis"),
])
def test_refusals(mode, function, error, message):
    with pytest.raises(error, match=message):
        mode(function)(jitgrad.tensor([1, 2]))


@both
def test_the_median_of_no_integers_is_the_least(mode):
    assert mode(lambda x: x[:0].median())(jitgrad.tensor([1])) == -(2**63)


# -- names and forms


@both
def test_axis_and_keepdims_mean_dim_and_keepdim(mode):
    def program(x):
        return (
            x.sum(axis=0), x.mean(axis=-1, keepdims=True), jitgrad.amax(x, axis=(0, 1)), x.cumsum(axis=1),
            jitgrad.cat([x, x], axis=1), x.max(axis=0).values, x.softmax(axis=0).sum(axis=0), x.squeeze(axis=0),
            x.index_select(axis=1, index=jitgrad.tensor([2])), x.std(axis=0, keepdims=True),
        )

    x = array(2, 3)
    want = (
        x.sum(0), x.mean(-1, keepdims=True), x.max(), x.cumsum(1), np.concatenate([x, x], 1), x.max(0), np.ones(3), x,
        x[:, 2:], x.std(0, ddof=1, keepdims=True),
    )
    for got, y in zip(mode(program)(jitgrad.from_numpy(x)), want, strict=True):
        np.testing.assert_allclose(got.numpy(), y)
    with pytest.raises(TypeError, match="got both 'dim' and 'axis'"):
        jitgrad.ones(2).sum(dim=0, axis=0)


@both
def test_forms_of_indices(mode):
    x = array(3, 4, 5)

    def program(x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lists = x[[[0, 1], [2, 3]]], x[[slice(0, 2), 1]], x[[..., 1]]
        return *lists, x[..., ...], x[..., 0, ...], x[0, ..., ...], x[..., None, ...]

    want = x[[0, 1], [2, 3]], x[0:2, 1], x[..., 1], x, x[..., 0], x[0], x[..., None]
    for got, y in zip(mode(program)(jitgrad.from_numpy(x)), want, strict=True):
        np.testing.assert_array_equal(got.numpy(), y)
    t = jitgrad.tensor(x)
    for use in (lambda t: t[[[0, 1], [2, 3]]], lambda t: t.__setitem__([[0, 1], [2, 3]], 5.0),
                lambda t: t.__setitem__([..., 1], 5.0)):
        with pytest.warns(UserWarning, match="non-tuple sequence") as warned:
            mode(use)(t)
        assert [w.filename for w in warned] == [__file__]


@both
def test_ravel_and_at_least_so_many_axes(mode):
    def program(x):
        row, number = x[0], x[0, 0]
        return (
            x.ravel(), x.t().ravel(), jitgrad.atleast_1d(number), *jitgrad.atleast_2d(row, number, x),
            *jitgrad.atleast_3d([number, row, x]), x[:0].ravel(),
        )

    x = array(2, 3)
    want = (
        x.ravel(), x.T.ravel(), x[0, :1], x[:1], x[:1, :1], x, x[:1, :1, None], x[:1, :, None], x[:, :, None], x[:0, 0]
    )
    for got, y in zip(mode(program)(jitgrad.from_numpy(x)), want, strict=True):
        np.testing.assert_array_equal(got.numpy(), y)
    t = jitgrad.from_numpy(x)
    assert jitgrad.atleast_2d(t) is t


@both
@pytest.mark.parametrize(("kind", "numpys"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("amounts", [(1, 2), (3, 0), (2, 1, 0, 2), (0, 0, 1, 1)])
def test_borders_of_the_tensor_itself(mode, kind, numpys, amounts):
    x = array(2, 4, 4)
    widths = [(0, 0)] * (3 - len(amounts) // 2) + [amounts[i : i + 2] for i in range(0, len(amounts), 2)][::-1]
    x = jitgrad.tensor(x, requires_grad=True)
    y = mode(lambda x: F.pad(x, amounts, kind))(x)
    np.testing.assert_array_equal(y.detach().numpy(), np.pad(x.detach().numpy(), widths, numpys))
    (y * y).sum().backward()
    places = np.pad(np.arange(32).reshape(2, 4, 4), widths, numpys)
    want = 2 * x.detach().numpy().reshape(-1) * np.bincount(places.reshape(-1), minlength=32)
    np.testing.assert_allclose(x.grad.numpy().reshape(-1), want)


@pytest.mark.parametrize(("function", "error", "message"), [
    (lambda x: F.pad(x, (4, 1), "reflect"), RuntimeError, r"got: padding \(4, 1\) at dimension 2 of input \[1, 3, 4\]"),
    (lambda x: F.pad(x, (5, 1), "circular"), RuntimeError, "wrapping around more than once"),
    (lambda x: F.pad(x[:, :, :0], (1, 1), "replicate"), RuntimeError, "elements to replicate"),
    (lambda x: F.pad(x, (1, 1), "mirror"), NotImplementedError, "Unrecognised padding mode mirror"),
    (lambda x: F.pad(x, (1, 1), "reflect", value=1.0), RuntimeError, "doesn't take in value"),
    (lambda x: F.pad(x[0, 0], (1, 1), "reflect"), NotImplementedError, "not supported for 1D"),
])
def test_borders_that_are_refused(function, error, message):
    with pytest.raises(error, match=message):
        function(jitgrad.ones(1, 3, 4))


def test_borders_after_a_cut():
    x = jitgrad.from_numpy(array(1, 1, 4))
    for kind, want in (("reflect", [2, 3, 4, 3]), ("circular", [2, 3, 4, 2]), ("replicate", [2, 3, 4, 4])):
        assert F.pad(x, (-1, 1), kind)[0, 0].tolist() == want


@both
def test_places_of_the_largest_in_windows(mode):
    x = jitgrad.tensor([[[1.0, 3.0, 2.0], [3.0, 3.0, 0.0], [math.nan, 1.0, 5.0]]])

    def places(**options):
        values, found = mode(lambda x: F.max_pool2d(x, return_indices=True, **options))(x)
        assert found.dtype is jitgrad.int64
        np.testing.assert_array_equal(x.numpy().reshape(-1)[found.numpy()], values.numpy())
        return found[0].tolist()

    assert places(kernel_size=2, stride=1) == [[1, 1], [6, 8]]
    assert places(kernel_size=3, stride=1, padding=1) == [[1, 1, 1], [6, 6, 8], [6, 6, 8]]
    assert places(kernel_size=2, ceil_mode=True) == [[1, 2], [6, 8]]
    assert places(kernel_size=2, dilation=2, stride=1) == [[6]]
    lowest = jitgrad.full((1, 2, 2), -math.inf)
    _, found = mode(lambda x: F.max_pool2d(x, 2, 1, 1, return_indices=True))(lowest)
    assert found[0].tolist() == [[0, 0, 1], [0, 0, 1], [2, 2, 3]]


# -- what a backward keeps, and leaves

KEPT = {
    "a / b": lambda a, b: a / b, "2 / a": lambda a, b: 2 / a, "1 / a": lambda a, b: 1 / a,
    "a / a.sum()": lambda a, b: a / a.sum(), "normalize": lambda a, b: F.normalize(a, dim=0),
    "a ** 0.5": lambda a, b: a**0.5, "a ** -0.5": lambda a, b: a**-0.5, "log10": lambda a, b: a.log10(),
}


@both
@pytest.mark.parametrize("function", KEPT.values(), ids=KEPT)
def test_a_result_that_its_backward_does_not_need_is_written_to(mode, function):
    def program(a, b, factor):
        y = function(a, b)
        return y.mul_(factor) if factor != 1 else y

    grads = []
    for factor in (1.0, 3.0):
        a, b = (jitgrad.tensor([0.5, 2.0, 3.0], dtype=jitgrad.float64, requires_grad=True) for _ in range(2))
        jitgrad.autograd.backward(mode(lambda a, b, k=factor: program(a, b, k))(a, b).sum())
        grads.append(a.grad.numpy())
    np.testing.assert_allclose(3 * grads[0], grads[1])


@both
@pytest.mark.parametrize("function", [
    lambda a: 2 / a, lambda a: a.reciprocal(), lambda a: a.exp2(), lambda a: a.rsqrt(), lambda a: a.exp(),
])
def test_an_operand_that_its_backward_does_not_need_is_written_to(mode, function):
    def program(x):
        a = x * 1
        y = function(a)
        a.zero_()
        return y.sum()

    x = jitgrad.tensor([0.5, 2.0, 3.0], dtype=jitgrad.float64, requires_grad=True)
    mode(program)(x).backward()
    y = x.detach().requires_grad_()
    function(y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())


def gradient_penalty(w, x):
    x = x.detach().requires_grad_(True)
    (g,) = jitgrad.autograd.grad((x @ w).tanh().sum(), x, create_graph=True)
    return ((g.norm(dim=1) - 1) ** 2).mean()


def test_a_leaf_made_inside_is_a_step_among_others():
    w, x = (jitgrad.randn(*s, dtype=jitgrad.float64) for s in ((3, 2), (4, 3)))
    grads = []
    for mode in (lambda f: f, jitgrad.trace):
        v = w.clone().requires_grad_()
        penalty = mode(gradient_penalty)
        for _ in range(2):
            penalty(v, x).backward()
        grads.append(v.grad.numpy())
    np.testing.assert_allclose(*grads)
    assert jitgrad.autograd.gradcheck(lambda v: gradient_penalty(v, x), (w.requires_grad_(),))


class Keeper:
    leaf = None


@pytest.mark.parametrize("store", [False, True])
def test_a_leaf_made_inside_that_lives_on_is_refused(store):
    keeper = Keeper()

    def program(w, x):
        x = x.detach().requires_grad_()
        if store:
            keeper.leaf = x
        loss = (x * w).sum()
        return loss if store else (loss, x)

    with pytest.raises(jitgrad.TraceError, match="its gradient would be lost"):
        jitgrad.trace(program)(jitgrad.ones(3, requires_grad=True), jitgrad.ones(3))


# -- exact values

EXACT = {
    "cos": ([0.0, -0.0, 1e-30], [1, 1, 1]), "exp": ([0.0], [1]), "sigmoid": ([0.0], [0.5]), "log": ([1.0], [0]),
    "expm1": ([0.0], [0]), "tanh": ([0.0], [0]), "erf": ([0.0], [0]), "cosh": ([0.0], [1]), "acos": ([1.0], [0]),
    "exp2": (np.arange(-126.0, 128.0), np.exp2(np.arange(-126.0, 128.0))),
    "log2": (np.exp2(np.arange(-149.0, 128.0)), np.arange(-149.0, 128.0)),
    "log10": (10.0 ** np.arange(11), np.arange(11.0)), "sqrt": (np.arange(100.0) ** 2, np.arange(100.0)),
    "reciprocal": ([4.0, -0.5], [0.25, -2.0]), "rsqrt": ([4.0, 0.25], [0.5, 2.0]),
}


@both
@pytest.mark.parametrize("dtype", [jitgrad.float32, jitgrad.float64], ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_exact_values(mode, name, dtype):
    x, want = EXACT[name]
    got = mode(getattr(jitgrad, name))(jitgrad.tensor(x, dtype=dtype))
    np.testing.assert_array_equal(got.numpy(), np.asarray(want, dtype.numpy))


@both
@pytest.mark.parametrize("dtype", [jitgrad.float32, jitgrad.float64], ids=str)
def test_powers_of_integers_are_exact(mode, dtype):
    limit = 2 ** (24 if dtype is jitgrad.float32 else 53)
    cases = [(b, e, b**e) for b in range(1, 13) for e in range(40) if b**e <= limit]
    x, y, want = (jitgrad.tensor([float(c[i]) for c in cases], dtype=dtype) for i in range(3))
    assert mode(lambda x, y, w: ((x**y) == w).all())(x, y, want)
    tens = jitgrad.tensor([10.0**k for k in range(11)], dtype=dtype)
    assert mode(lambda k: 10**k)(jitgrad.arange(11, dtype=dtype)).equal(tens)


@both
def test_cosine_is_even_and_at_most_1(mode):
    turns = np.arange(1, 20_000) * (np.pi / 2)
    for dtype in (np.float32, np.float64):
        x = turns.astype(dtype)
        x = np.concatenate([x, np.nextafter(x, dtype(0)), np.nextafter(x, dtype(np.inf))])
        for sign, function in ((1, jitgrad.cos), (-1, jitgrad.sin)):
            y = mode(function)(jitgrad.from_numpy(x)).numpy()
            np.testing.assert_array_equal(mode(function)(jitgrad.from_numpy(-x)).numpy(), sign * y)
            assert np.abs(y).max() <= 1


# -- windows


@both
@pytest.mark.parametrize(("layout", "window"), [
    (lambda x: x, (1, 2, 1)), (lambda x: x.T, (0, 3, 2)), (lambda x: x[::2], (-1, 2, 3)), (lambda x: x[0], (0, 6, 1)),
])
def test_windows_are_a_view(mode, layout, window):
    memory, (axis, size, step) = array(4, 6), window
    x = layout(memory)
    want = np.lib.stride_tricks.sliding_window_view(x, size, axis)
    want = want[tuple(slice(None, None, step if i == axis % x.ndim else None) for i in range(x.ndim))]
    y = mode(lambda x: x.unfold(*window))(jitgrad.from_numpy(x))
    np.testing.assert_array_equal(y.numpy(), want)
    x *= 2
    np.testing.assert_array_equal(y.numpy(), want)
    t = jitgrad.tensor(x, requires_grad=True)
    got = mode(lambda x: (x.unfold(*window) ** 2).sum())(t)
    got.backward()
    np.testing.assert_allclose(got.item(), (want**2).sum())
    assert jitgrad.autograd.gradcheck(lambda x: x.unfold(*window) ** 2, (jitgrad.tensor(x, requires_grad=True),))


@both
def test_windows_apart_are_written_to_and_windows_that_overlap_are_not(mode):
    def program(x):
        y = x * 1
        y.unfold(0, 2, 3).mul_(x[:2])
        return y

    x = jitgrad.tensor(array(7), requires_grad=True)
    y = mode(program)(x)
    assert y.tolist() == [1, 4, 3, 4, 10, 6, 7]
    y.sum().backward()
    assert x.grad.tolist() == [6, 9, 1, 1, 2, 1, 1]
    with pytest.raises(jitgrad.InplaceError, match="single memory"):
        mode(lambda x: x.unfold(0, 3, 2).zero_())(jitgrad.ones(7))


@pytest.mark.parametrize(("window", "error", "message"), [
    ((0, 4, 1), RuntimeError, "maximum size for tensor at dimension 0 is 3 but size is 4"),
    ((0, 0, 1), RuntimeError, "size is 0"), ((0, 1, 0), RuntimeError, "step is 0"),
    ((1, 1, 1), IndexError, "out of range"),
])
def test_windows_that_are_refused(window, error, message):
    with pytest.raises(error, match=message):
        jitgrad.ones(3).unfold(*window)


@both
def test_equal_operands_of_an_extremum_both_get_the_gradient_of_nan(mode):
    for function in (jitgrad.maximum, jitgrad.minimum):
        _, grad = with_gradient(mode, lambda x, f=function: f(x, x), [1.0, math.nan])
        assert grad == [1.0, 2.0]


@pytest.mark.parametrize("call, words", [
    (lambda x: x.unfold(0, "a", 1), r"unfold\(\): argument 'size' must be int, not str"),
    (lambda x: x.unfold(0, 2.0, 1), r"unfold\(\): argument 'size' must be int, not float"),
    (lambda x: x.unfold(0, 2, 1.5), r"unfold\(\): argument 'step' must be int, not float"),
    (lambda x: x.unfold("a", 1, 1), r"unfold\(\): argument 'dimension' must be int, not str"),
    (lambda x: x.sum().unfold(0, 1, 2.5), r"unfold\(\): argument 'step' must be int, not float"),
    (lambda x: x.diagonal(1.5), r"diagonal\(\): argument 'offset' must be int, not float"),
    (lambda x: x.diagonal(0, "a"), r"diagonal\(\): argument 'dim1' must be int, not str"),
    (lambda x: x.diagonal(0, 0, None), r"diagonal\(\): argument 'dim2' must be int, not NoneType"),
])
def test_windows_and_diagonals_by_what_is_no_int(call, words):
    with pytest.raises(TypeError, match=words):
        call(jitgrad.zeros(3, 3))


@both
def test_numpy_integers_that_the_dtype_does_not_hold(mode):
    def program(t):
        return t < np.int64(300), np.int64(300) < t, t == np.int16(257), t + np.int64(300), t < np.int32(2)

    for got, want in zip(mode(program)(jitgrad.tensor([1, 2], dtype=jitgrad.int8)), (
        [True, True], [False, False], [False, False], [45, 46], [True, False],
    ), strict=True):
        assert got.tolist() == want
