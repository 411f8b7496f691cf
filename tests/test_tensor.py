"""`Tensor` itself: constructors, conversions, sharing of memory, in-place writes, printing, the older interface."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from both import check, eager, recorded, same

import jitgrad
from jitgrad import ConcretizationError, RecompileWarning, Tensor

X = np.arange(6, dtype=np.float32).reshape(2, 3)


# -- constructors


@pytest.mark.parametrize("data, dtype, shape", [
    (1, "int64", ()), (1.5, "float32", ()), (True, "bool", ()), ([1, 2], "int64", (2,)), ([1, 2.0], "float32", (2,)),
    ([[1, 2], [3, 4]], "int64", (2, 2)), ([True, False], "bool", (2,)), ([], "float32", (0,)),
    ([[]], "float32", (1, 0)), (np.float64(1.5), "float64", ()), (np.ones(2), "float64", (2,)),
    (np.ones(2, np.int32), "int32", (2,)), ((1, 2), "int64", (2,)), ([np.ones(2), np.ones(2)], "float64", (2, 2)),
])
def test_tensor_infers_its_dtype(data, dtype, shape):
    t = jitgrad.tensor(data)
    assert (t.dtype.name, t.shape) == (dtype, shape)


def test_tensor_copies_and_from_numpy_shares():
    a = X.copy()
    copied, shared = jitgrad.tensor(a), jitgrad.from_numpy(a)
    a[0, 0] = 9
    assert (copied[0, 0].item(), shared[0, 0].item()) == (0, 9)
    shared.add_(1)
    assert a[0, 0] == 10
    assert np.shares_memory(shared.numpy(), a)
    assert np.shares_memory(jitgrad.as_tensor(a).numpy(), a)
    assert jitgrad.as_tensor(shared) is shared
    t = jitgrad.tensor([1.0, 2.0])
    assert jitgrad.tensor([t[0], t[1]]).tolist() == [1, 2]
    assert jitgrad.tensor(t).data_ptr() != t.data_ptr()


@pytest.mark.parametrize("wrong, error, words", [
    (lambda: jitgrad.tensor([[1], [2, 3]]), ValueError, "regular"),
    (lambda: jitgrad.tensor("a"), TypeError, "str"),
    (lambda: jitgrad.tensor(None), RuntimeError, "NoneType"),
    (lambda: jitgrad.tensor([300], dtype=jitgrad.uint8), RuntimeError, "without overflow"),
    (lambda: jitgrad.tensor(2**63), ValueError, "Overflow"),
    (lambda: jitgrad.tensor(np.ones(2, np.float16)), TypeError, "float16"),
    (lambda: jitgrad.tensor(1 + 2j), TypeError, "complex"),
    (lambda: jitgrad.from_numpy([1]), TypeError, r"expected np.ndarray \(got list\)"),
    (lambda: jitgrad.zeros(-1), RuntimeError, "negative dimension"),
    (lambda: jitgrad.zeros(2.5), TypeError, "must be tuple of ints"),
    (lambda: jitgrad.zeros(2, device="cuda"), RuntimeError, "device 'cuda' is not supported"),
    (lambda: jitgrad.arange(0, 5, 0), RuntimeError, "step must be nonzero"),
    (lambda: jitgrad.arange(5, 0), RuntimeError, "inconsistent with step sign"),
    (lambda: jitgrad.zeros(2, dtype=jitgrad.int64, requires_grad=True), RuntimeError, "floating point dtype"),
    (lambda: jitgrad.zeros(2, dtype="float8"), TypeError, "no dtype"),
])
def test_constructor_errors(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong()


def test_data_in_another_dtype():
    assert jitgrad.tensor([1.9, -1.9], dtype=jitgrad.int64).tolist() == [1, -1]
    assert jitgrad.tensor([np.nan, 1e30], dtype=jitgrad.int32).tolist() == [0, 2**31 - 1]
    assert jitgrad.tensor([0, 2], dtype=jitgrad.bool).tolist() == [False, True]
    assert jitgrad.tensor([255], dtype=jitgrad.uint8).tolist() == [255]
    assert jitgrad.tensor(2**70, dtype=jitgrad.float64).item() == 2.0**70
    assert jitgrad.tensor(np.arange(3, dtype=">i4")).dtype is jitgrad.int32  # another byte order
    assert jitgrad.tensor(np.arange(300), dtype=jitgrad.uint8)[-1].item() == 43  # an array converts as NumPy's


def test_filled_and_counting():
    f32 = np.float32
    check(lambda: jitgrad.zeros(2, 3), np.zeros((2, 3), f32))
    check(lambda: jitgrad.zeros((2, 0), dtype=jitgrad.int32), np.zeros((2, 0), np.int32))
    check(lambda: jitgrad.ones([2], dtype=jitgrad.bool), np.ones(2, bool))
    check(lambda: jitgrad.full((2,), 7), np.full(2, 7))
    check(lambda: jitgrad.full((2,), 1.5), np.full(2, 1.5, f32))
    check(lambda: jitgrad.eye(2, 3), np.eye(2, 3, dtype=f32))
    for args in ((5,), (1, 5), (1, 10, 3), (5, 0, -2), (0,)):
        check(lambda a=args: jitgrad.arange(*a), np.arange(*args))
    for args in ((5.0,), (0, 1, 0.1), (1.0, 2.5, 0.3), (3, 0, -0.5)):
        check(lambda a=args: jitgrad.arange(*a), np.arange(*args).astype(f32))
    for args in ((0, 1, 5), (-1, 3, 7), (2, 2, 1), (0, 1, 0)):
        check(lambda a=args: jitgrad.linspace(*a), np.linspace(*args).astype(f32))
    assert jitgrad.linspace(0, 0.1, 7)[-1].item() == np.float32(0.1)
    check(lambda: jitgrad.logspace(0, 2, 3, dtype=jitgrad.float64), np.array([1.0, 10, 100]))
    check(lambda x: (jitgrad.zeros_like(x), jitgrad.ones_like(x, dtype=jitgrad.int64), jitgrad.full_like(x, 2)),
          (np.zeros_like(X), np.ones((2, 3), np.int64), np.full_like(X, 2)), X)
    check(lambda x: (x.new_zeros(2), x.new_ones((1, 2)), x.new_full((2,), 3), x.new_tensor([1, 2])),
          (np.zeros(2, f32), np.ones((1, 2), f32), np.full(2, 3, f32), np.array([1, 2], f32)), X)
    assert jitgrad.zeros(2, requires_grad=True).requires_grad
    jitgrad.arange(5).add_(1)  # memory of its own


def test_the_default_dtype():
    assert jitgrad.get_default_dtype() is jitgrad.float32
    jitgrad.set_default_dtype(jitgrad.float64)
    try:
        assert jitgrad.tensor(1.5).dtype is jitgrad.zeros(2).dtype is jitgrad.float64
        assert (jitgrad.tensor([1, 2]) / 2).dtype is jitgrad.float64
        assert (jitgrad.tensor([1, 2]) * 1.5).dtype is jitgrad.float64
    finally:
        jitgrad.set_default_dtype(jitgrad.float32)
    with pytest.raises(TypeError, match="floating-point"):
        jitgrad.set_default_dtype(jitgrad.int64)
    assert jitgrad.finfo(jitgrad.float32).eps == 2**-23
    assert jitgrad.iinfo(jitgrad.uint8).max == 255
    assert jitgrad.can_cast(jitgrad.int64, jitgrad.float32) and not jitgrad.can_cast(jitgrad.float32, jitgrad.int64)


def test_the_older_interface():
    assert jitgrad.FloatTensor([1, 2]).dtype is jitgrad.float32
    assert jitgrad.LongTensor([[1, 2]]).dtype is jitgrad.int64
    assert jitgrad.DoubleTensor(2, 3).shape == jitgrad.FloatTensor(jitgrad.zeros(2, 3).size()).shape == (2, 3)
    assert Tensor(2, 3).shape == (2, 3)
    assert Tensor([1, 2]).dtype is jitgrad.float32
    assert jitgrad.FloatTensor().shape == (0,)
    x = jitgrad.ones(2)
    assert isinstance(x, jitgrad.FloatTensor) and not isinstance(x, jitgrad.LongTensor)
    assert (x.type(), x.long().type(), x.type(jitgrad.int64).type()) == (
        "jitgrad.FloatTensor", "jitgrad.LongTensor", "jitgrad.LongTensor")
    assert x.type("jitgrad.DoubleTensor").dtype is jitgrad.float64
    v = jitgrad.autograd.Variable(x, requires_grad=True)
    assert jitgrad.Variable is jitgrad.autograd.Variable
    assert (v.requires_grad, v.is_leaf, v.volatile, v.creator) == (True, True, False, None)
    x[0] = 5
    assert v.data.tolist() == [5, 1]
    with pytest.warns(UserWarning, match="no_grad"):
        assert not jitgrad.Variable(x, requires_grad=True, volatile=True).requires_grad
    assert isinstance(v, jitgrad.Variable) and isinstance(x.long(), jitgrad.Variable)
    assert not isinstance(1.0, jitgrad.Variable)
    y = v * 2
    assert y.creator is y.grad_fn
    y.sum().backward(retain_variables=True)
    assert v.grad.tolist() == [2, 2]


def test_the_tutorial_of_that_time():
    x = jitgrad.Variable(jitgrad.ones(2, 2), requires_grad=True)
    y = x + 2
    assert y.creator is not None
    out = (y * y * 3).mean()
    assert out.grad_fn.name() == "MeanBackward0"
    out.backward()
    assert x.grad.tolist() == [[4.5, 4.5], [4.5, 4.5]]
    x = jitgrad.Variable(jitgrad.FloatTensor([1, 2, 3]), requires_grad=True)
    y = x * 2
    while y.data.norm() < 1000:
        y = y * 2
    y.backward(jitgrad.FloatTensor([0.1, 1.0, 0.0001]))
    np.testing.assert_allclose(x.grad.numpy(), np.array([0.1, 1, 0.0001], np.float32) * 512)


# -- conversions


def test_to_python_and_numpy():
    x = jitgrad.tensor([[1.0, 2.0]])
    assert (x.tolist(), x[0, 1].item(), float(x[0, 0]), int(x[0, 1]), bool(x[0, 0])) == ([[1, 2]], 2, 1, 2, True)
    assert (len(x), [t.tolist() for t in x], 2.0 in x, 5 in x) == (1, [[1, 2]], True, False)
    assert [10, 20, 30][jitgrad.tensor(1)] == 20
    assert np.asarray(x).dtype == np.float32
    assert np.asarray(x, np.float64).dtype == np.float64
    assert f"{jitgrad.tensor(2.5):.2f}" == "2.50"
    a = np.ones(2, np.float32)
    assert isinstance(jitgrad.ones(2) + jitgrad.from_numpy(a), Tensor)
    for wrong, error, words in (
        (lambda: x.item(), RuntimeError, "a Tensor with 2 elements cannot be converted to Scalar"),
        (lambda: float(x), ValueError, "only one element"),
        (lambda: bool(x), RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
        (lambda: bool(jitgrad.zeros(0)), RuntimeError, "no values is ambiguous"),
        (lambda: len(x[0, 0]), TypeError, "len"),
        (lambda: iter(x[0, 0]), TypeError, "iteration over a 0-d tensor"),
        (lambda: [1][x[0, 0]], TypeError, "only integer tensors"),
        (lambda: x.requires_grad_().numpy(), RuntimeError, "Can't call numpy"),
    ):
        with pytest.raises(error, match=words):
            wrong()


def test_between_dtypes():
    a = np.array([1.7, -1.7, 0.0, 300.0], np.float32)
    check(lambda x: (x.long(), x.int(), x.short(), x.double(), x.bool()),
          (a.astype(np.int64), a.astype(np.int32), a.astype(np.int16), a.astype(np.float64), a != 0), a)
    check(lambda x: x.to(jitgrad.int64).float(), np.trunc(a), a)
    x = jitgrad.ones(2)
    assert x.to(jitgrad.float32) is x.to("cpu") is x.float() is x.type_as(x) is x
    assert x.to("cpu", jitgrad.float64).dtype is x.to(jitgrad.ones(1).double()).dtype is jitgrad.float64
    assert x.to(jitgrad.float32, copy=True) is not x
    x.requires_grad_().double().sum().backward()
    assert x.grad.dtype is jitgrad.float32
    # Conversions that C leaves undefined: saturated, and nan is 0.
    wild = jitgrad.tensor([np.nan, np.inf, -np.inf, 1e20])
    assert wild.int().tolist() == [0, 2**31 - 1, -(2**31), 2**31 - 1]
    with pytest.raises(RuntimeError, match="'cuda' is not supported"):
        x.to("cuda")


@pytest.mark.parametrize("ask", [
    bool, float, int, lambda x: x.item(), lambda x: x.tolist(), lambda x: x.numpy(), np.asarray,
    lambda x: [0, 1][x.long()], lambda x: 1 if x > 0 else 2, lambda x: jitgrad.tensor([x]), lambda x: x.data_ptr(),
    lambda x: jitgrad.equal(x, x), lambda x: 1.0 in x.reshape(1),
])
def test_a_traced_tensor_has_no_value(ask):
    with pytest.raises(ConcretizationError, match="inside a traced function"):
        recorded(ask, np.array(1.0, np.float32))


@pytest.mark.parametrize("function", [
    lambda x, a: jitgrad.where(x > 1, a, 0.0), lambda x, a: jitgrad.full((2,), a), lambda x, a: jitgrad.tensor(a),
    lambda x, a: jitgrad.add(x, x, alpha=a), lambda x, a: x.lerp(x * 2, a), lambda x, a: x.clamp(a, 2 * a),
    lambda x, a: x.masked_fill(x > 1, a), lambda x, a: x * (a * 2) / a**2, lambda x, a: x.long() * a,
    lambda x, a: jitgrad.addmm(x[0], x, x.t().expand(3, 3), beta=a, alpha=2 * a), lambda x, a: x.clone().fill_(a),
    lambda x, a: x**a + a**x - x // a, lambda x, a: x.double() * a, lambda x, a: x.new_full((2,), a),
])
def test_a_number_that_a_trace_leaves_open(function):
    x = jitgrad.tensor([[0.5, 1.5, 2.5]])
    traced = jitgrad.trace(function)
    for a in (0.7, 1.3):
        want, got = function(x, a), traced(x, a)
        assert got.type_ == want.type_
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6)


def test_a_number_does_not_change_in_place():
    @jitgrad.trace
    def f(x, a):
        b = a
        a *= 2
        return x * a + b

    assert f(jitgrad.ones(2), 3.0).tolist() == [9, 9]


def test_a_traced_tensor_prints_its_type():
    seen = []
    outside = jitgrad.ones(2)
    recorded(lambda x: seen.extend((repr(x * 2), str(outside), f"{x} and {x.sum()}")) or x, X)
    one, two, none = (f"tensor(<f32[{shape}], traced: no value yet>)" for shape in ("2,3", "2", ""))
    assert seen == [one, two, f"{one} and {none}"]


def test_a_format_asks_a_traced_tensor_for_its_value():
    def named_once(x):
        return f"loss {x.sum():.3f}"

    assert named_once(jitgrad.ones(2)) == "loss 2.000"
    with pytest.raises(ConcretizationError, match="there is none yet") as raised:
        jitgrad.trace(named_once)(jitgrad.ones(2))
    assert str(raised.value).count('return f"loss {x.sum():.3f}"') == 1
    for function in (lambda x: f"{x:.3f}", jitgrad.trace(lambda x: f"{x:.3f}")):
        with pytest.raises(TypeError, match="unsupported format string"):
            function(jitgrad.ones(2))


def test_a_print_that_keeps_a_function_uncompiled_is_named_once():
    @jitgrad.trace
    def f(x):
        y = x + 1
        print(y)
        return y

    with pytest.warns(RecompileWarning) as warned:
        for _ in range(3):
            f(jitgrad.ones(2))
    assert [str(w.message).count("print(y)") for w in warned] == [1]


def test_copies_and_pickles():
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert (y.tolist(), y.requires_grad, y.grad.tolist()) == ([1, 2], True, [2, 4])
    assert y.data_ptr() != x.data_ptr()
    z = pickle.loads(pickle.dumps(x))
    assert (z.tolist(), z.requires_grad) == ([1, 2], True)
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(x * 2)


# -- writing


def test_in_place_arithmetic():
    def updates(x):
        y = x * 1
        y += 1
        y *= 2
        y -= x
        y /= 4
        y **= 2
        y.clamp_(0.1, 3).sqrt_().neg_().exp_()
        y[0] = 7
        y[:, 1:] += x[:, 1:]
        y.t()[2].zero_()
        return y

    want = np.exp(-np.sqrt(np.clip((((X + 1) * 2 - X) / 4) ** 2, 0.1, 3)))
    want[0] = 7
    want[:, 1:] += X[:, 1:]
    want[:, 2] = 0
    check(updates, want, X)
    n = np.arange(1, 7)

    def integers(a):
        b = a * 1
        b //= 2
        b %= 2
        b |= 4
        b ^= a
        b &= 7
        return b

    check(integers, ((n // 2 % 2 | 4) ^ n) & 7, n)


def test_in_place_methods_write_and_return_the_tensor():
    x = jitgrad.zeros(2)
    before = x.data_ptr()
    assert x.add_(1) is x and x.data_ptr() == before
    assert x.fill_(3).tolist() == [3, 3]
    assert x.copy_(jitgrad.tensor([1, 2])).tolist() == [1, 2]
    assert x.mul_(jitgrad.tensor(2.0)).tolist() == [2, 4]
    assert jitgrad.zeros(2, 2).copy_(x).tolist() == [[2, 4], [2, 4]]
    assert x.masked_fill_(x > 3, 0).tolist() == [2, 0]
    y = x
    y += 1
    assert y is x
    z = jitgrad.zeros(2, dtype=jitgrad.int64)
    z.add_(jitgrad.tensor([True, True]))
    assert z.tolist() == [1, 1]
    z[0] = 2.7
    assert z.tolist() == [2, 1]
    assert z.copy_(jitgrad.tensor([1.9, -1.9])).tolist() == [1, -1]


@pytest.mark.parametrize("wrong, words", [
    (lambda: jitgrad.ones(2, dtype=jitgrad.int64).add_(1.5),
     "result type Float can't be cast to the desired output type Long"),
    (lambda: jitgrad.ones(2, dtype=jitgrad.int64).div_(2), "result type Float can't be cast"),
    (lambda: jitgrad.ones(2).add_(jitgrad.ones(3, 2)),
     r"output with shape \[2\] doesn't match the broadcast shape \[3, 2\]"),
    (lambda: jitgrad.ones(2).expand(3, 2).add_(1), "more than one element of the written-to tensor"),
    (lambda: jitgrad.ones(2).expand(3, 2)[1:].zero_(), "more than one element|read-only"),
    (lambda: jitgrad.from_numpy(np.broadcast_to(np.float32(1), (2,)).copy()).copy_(jitgrad.ones(3)), "expanded size"),
    (lambda: jitgrad.ones(2).fill_(jitgrad.ones(2)), "0-dimension"),
    (lambda: jitgrad.ones(2).copy_(jitgrad.ones(3)), "must match the existing size"),
])
def test_in_place_errors(wrong, words):
    with pytest.raises(RuntimeError, match=words):
        wrong()


def test_read_only_memory_is_not_written():
    a = np.ones(2, np.float32)
    a.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        jitgrad.from_numpy(a).add_(1)
    assert a.tolist() == [1, 1]


def test_an_in_place_operator_with_something_else_is_a_type_error():
    x = jitgrad.ones(2)
    with pytest.raises(TypeError, match="unsupported operand"):
        x += "a"


def test_versions_count_writes():
    x = jitgrad.ones(2, 2)
    view, shared, data = x[0], x.detach(), x.data
    x.add_(1)
    view.mul_(2)
    assert (x._version, view._version, shared._version, data._version) == (2, 2, 2, 0)
    x[0, 0] = 5
    assert x._version == 3
    assert data[0, 0].item() == 5


def test_assigning_data():
    x = jitgrad.ones(2, requires_grad=True)
    x.data = jitgrad.tensor([3.0, 4.0])
    assert (x.tolist(), x.requires_grad, x.is_leaf) == ([3, 4], True, True)
    with pytest.raises(TypeError, match="has to be a tensor"):
        x.data = 3


def test_writes_through_views_are_recorded():
    def writes(x):
        y = x.clone()
        row, column, flat = y[0], y.t()[1], y.view(-1)
        row.add_(10)
        column.mul_(2)
        flat[4:] = -1
        return y, row, column, flat

    same(recorded(writes, X), eager(writes, X))
    want = X.copy()
    want[0] += 10
    want[:, 1] *= 2
    want.reshape(-1)[4:] = -1
    np.testing.assert_array_equal(eager(writes, X)[0], want)


# -- printing


@pytest.mark.parametrize("make, text", [
    (lambda: jitgrad.tensor([1.0, 2.0]), "tensor([1., 2.])"),
    (lambda: jitgrad.tensor([1.5, -2.25]), "tensor([ 1.5000, -2.2500])"),
    (lambda: jitgrad.tensor(3), "tensor(3)"),
    (lambda: jitgrad.tensor([[1, 20], [-3, 4]]), "tensor([[ 1, 20],\n        [-3,  4]])"),
    (lambda: jitgrad.tensor([True, False]), "tensor([ True, False])"),
    (lambda: jitgrad.tensor([1.0], dtype=jitgrad.float64), "tensor([1.], dtype=jitgrad.float64)"),
    (lambda: jitgrad.tensor([1], dtype=jitgrad.int32), "tensor([1], dtype=jitgrad.int32)"),
    (lambda: jitgrad.tensor([1e-8, 1.0]), "tensor([1.0000e-08, 1.0000e+00])"),
    (lambda: jitgrad.tensor([float("nan"), float("inf"), 1.0]), "tensor([nan, inf, 1.])"),
    (lambda: jitgrad.zeros(0), "tensor([])"),
    (lambda: jitgrad.zeros(0, 3), "tensor([], size=(0, 3))"),
    (lambda: jitgrad.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
    (lambda: jitgrad.ones(2, requires_grad=True) * 2, "tensor([2., 2.], grad_fn=<MulBackward0>)"),
    (lambda: jitgrad.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    (lambda: jitgrad.zeros(1, 1, 2), "tensor([[[0., 0.]]])"),
    (lambda: jitgrad.arange(30.0),
     "tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,\n"
     "        14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27.,\n        28., 29.])"),
])
def test_printing(make, text):
    assert repr(make()) == str(make()) == text


def test_print_options():
    x = jitgrad.tensor([1.23456789])
    try:
        jitgrad.set_printoptions(precision=2)
        assert repr(x) == "tensor([1.23])"
        jitgrad.set_printoptions(sci_mode=True)
        assert repr(x) == "tensor([1.23e+00])"
    finally:
        jitgrad.set_printoptions(profile="default")
    assert repr(x) == "tensor([1.2346])"


def test_dtypes_and_sizes_print():
    assert repr(jitgrad.float32) == "jitgrad.float32"
    assert repr(jitgrad.zeros(2, 3).shape) == "jitgrad.Size([2, 3])"
    assert isinstance(jitgrad.float32, jitgrad.dtype)
    assert jitgrad.is_tensor(jitgrad.ones(1)) and not jitgrad.is_tensor(1)


def test_masked_arrays_are_refused():
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    x = jitgrad.ones(2)
    for use in (jitgrad.tensor, jitgrad.from_numpy, jitgrad.as_tensor, lambda a: x * a, jitgrad.trace(lambda a: a * 2)):
        with pytest.raises(TypeError, match="fill it first"):
            use(masked)
    assert jitgrad.tensor(masked.filled(0)).tolist() == [1, 0]
