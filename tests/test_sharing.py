"""What shares memory and what does not: with NumPy, in copies of all kinds, in pickles."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import jitgrad


def reshape_in_place(array: np.ndarray) -> None:
    array.shape = (2, 2)


def retype_in_place(array: np.ndarray) -> None:
    array.dtype = np.int32


# -- NumPy

class Subclass(np.ndarray):
    pass


SHARED = {
    "numpy": lambda: (t := jitgrad.ones(4), t.numpy()),
    "asarray": lambda: (t := jitgrad.ones(4), np.asarray(t)),
    "detach": lambda: (t := jitgrad.ones(4, requires_grad=True), t.detach().numpy()),
    "from_numpy": lambda: (jitgrad.from_numpy(a := np.ones(4, np.float32)), a),
    "as_tensor": lambda: (jitgrad.as_tensor(a := np.ones(4, np.float32)), a),
    "a subclass": lambda: (jitgrad.from_numpy(a := np.ones(4, np.float32).view(Subclass)), a),
    "an argument": lambda: (jitgrad.trace(lambda x: x)(a := np.ones(4, np.float32)), a),
}
CAPTURED = np.ones(4, np.float32)


@pytest.mark.filterwarnings("ignore:Setting the (shape|dtype):DeprecationWarning")
@pytest.mark.parametrize("change", [reshape_in_place, retype_in_place])
@pytest.mark.parametrize("how", SHARED)
def test_an_array_shares_memory_with_a_tensor_but_not_its_shape_and_dtype(how, change):
    tensor, array = SHARED[how]()
    array[0] = 5
    change(array)
    assert (tensor.shape, tensor.dtype) == ((4,), jitgrad.float32)
    assert tensor.tolist() == [5, 1, 1, 1]


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
def test_a_traced_from_numpy_gives_its_result_a_shape_of_its_own():
    f = jitgrad.trace(lambda: jitgrad.from_numpy(CAPTURED))
    for _ in range(2):
        t = f()
        reshape_in_place(t.numpy())
        assert t.shape == (4,) and CAPTURED.shape == (4,)
        assert np.shares_memory(t.numpy(), CAPTURED)


def test_a_writeable_view_of_a_read_only_array_can_be_broadcast():
    whole = np.ones(3, np.float32)
    part = whole[:]
    whole.flags.writeable = False
    t = jitgrad.from_numpy(part)
    assert t.expand(2, 3).tolist() == [[1, 1, 1]] * 2
    t.expand(1, 3).add_(1)
    assert whole.tolist() == [2, 2, 2]
    assert (t + jitgrad.ones(2, 1)).tolist() == [[3, 3, 3]] * 2
    with pytest.raises(RuntimeError, match="read-only"):
        jitgrad.from_numpy(whole).expand(1, 3).add_(1)


# -- layout

LAYOUTS = {
    "transposed": lambda x: x.t(),
    "a column": lambda x: x[:, 1],
    "every other": lambda x: x[:, ::2],
    "expanded": lambda x: x[:, :1].expand(2, 5),
    "0-d": lambda x: x[1, 2],
    "empty": lambda x: x[:0],
    "whole": lambda x: x,
}
AGAIN = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


@pytest.mark.parametrize("how", AGAIN)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_has_the_values_and_the_strides_of_the_original(layout, how):
    x = LAYOUTS[layout](jitgrad.arange(6.0).reshape(2, 3))
    y = AGAIN[how](x)
    assert (y.tolist(), y.shape, y.dtype, y.stride()) == (x.tolist(), x.shape, x.dtype, x.stride())
    assert (y.data_ptr() == x.data_ptr()) == (how == "copy")


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_of_memory_that_runs_backwards(how):
    array = np.arange(6, dtype=np.int64)[::-2]
    t = AGAIN[how](jitgrad.from_numpy(array))
    assert t.tolist() == [5, 3, 1] and t.stride() == (-2,)


@pytest.mark.parametrize("shape, strides", [((0, 3), (3, 1)), ((2, 0, 3), (3, 3, 1)), ((3, 0), (1, 1)), ((0,), (1,))])
def test_strides_without_elements_are_row_major(shape, strides):
    x = jitgrad.zeros(*shape)
    for y in (x, copy.deepcopy(x), x + 1, jitgrad.from_numpy(np.zeros(shape))):
        assert y.stride() == strides
    found = []
    jitgrad.trace(lambda x: found.append((x + 1).stride() == x.stride() == strides))(x)
    assert found == [True]


@pytest.mark.parametrize("wrap", [lambda f: f, jitgrad.trace], ids=["eager", "traced"])
def test_the_stride_of_one_axis(wrap):
    assert wrap(lambda x: x.t().stride(-1) * x.stride(1))(jitgrad.ones(2, 3)) == 3
    for axis in (2, -3):
        with pytest.raises(jitgrad.AxisError, match=rf"\[-2, 1\], but got {axis}"):
            wrap(lambda x, axis=axis: x.stride(axis))(jitgrad.ones(2, 3))
    with pytest.raises(TypeError):
        wrap(lambda x: x.stride("a"))(jitgrad.ones(2, 3))


# -- copies of tensors that share memory

def test_tensors_over_one_memory_are_copied_to_tensors_over_one_memory():
    a = jitgrad.ones(4)
    other = jitgrad.from_numpy(np.ones(4, np.float32))
    whole, part, column, data, other = copy.deepcopy([a, a[:2], a.view(2, 2)[:, 1], a[1:].data, other])
    whole[0], whole[1], other[0] = 9, 7, 5
    assert (part.tolist(), column.tolist(), data.tolist()) == ([9, 7], [7, 1], [7, 1, 1])
    assert a.tolist() == [1, 1, 1, 1] and whole.tolist() == [9, 7, 1, 1]
    part, whole = copy.deepcopy([a[2:], a])  # the part first
    part.zero_()
    assert whole.tolist() == [1, 1, 0, 0]


def test_a_deep_copy_notices_writes_to_its_memory_before_backward():
    a, w = copy.deepcopy([jitgrad.ones(4), jitgrad.ones(2, requires_grad=True)])
    b, part = copy.deepcopy([a, a[:2]])
    loss = (w * part).sum()
    b[0] = 3
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_shallow_copy_shares_memory_but_counts_its_own_writes():
    x = jitgrad.ones(2, requires_grad=True)
    (x * x).sum().backward()
    y = copy.copy(x)
    assert y is not x and y.requires_grad and y.is_leaf and y.grad is None
    with jitgrad.no_grad():
        y[0] = 5
    assert x.tolist() == [5, 1] and (x._version, y._version) == (0, 1)


@pytest.mark.parametrize("how", ["copy", "pickle"])
def test_a_copy_of_a_computed_tensor_is_a_leaf(how):
    x = jitgrad.ones(2, requires_grad=True)
    y = AGAIN[how](x * 2)
    assert y.is_leaf and y.requires_grad and y.tolist() == [2, 2]
    y.sum().backward()
    assert x.grad is None and y.grad.tolist() == [1, 1]


def test_a_shallow_copy_inside_a_traced_function():
    def f(x, s):
        y = copy.copy(x)
        (y * s).sum().backward()
        return y.grad, copy.copy(s) * 2, copy.deepcopy(s) * 3

    for s in (1.5, 2.5):
        x = jitgrad.ones(2, requires_grad=True)
        grad, *numbers = jitgrad.trace(f)(x, s)
        assert (grad.tolist(), numbers, x.grad) == ([s, s], [2 * s, 3 * s], None)
