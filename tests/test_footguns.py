"""What makes tracing compilers silently wrong, each shown to raise, to retrace, or to be right."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace

import numpy as np
import pytest

import jitgrad
from jitgrad.tracing import RecompileWarning

ROOT = Path(__file__).resolve().parent.parent


def ones(*shape):
    return jitgrad.ones(*shape, dtype=jitgrad.float64)


def equal(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)


W = ones(3)


def test_capture_that_changes_type_shape_or_flag(monkeypatch):
    f = jitgrad.trace(lambda x: (x * W).sum())
    x = ones(3)
    assert not f(x).requires_grad
    W.requires_grad_()
    out = f(x)
    assert out.requires_grad
    out.backward()
    equal(W.grad, x)
    W.requires_grad_(False)
    assert not f(x).requires_grad
    monkeypatch.setitem(globals(), "W", jitgrad.ones(2, 3))
    assert float(f(x)) == 6.0


def test_default_dtype_is_part_of_the_signature():
    f = jitgrad.trace(lambda x: x + jitgrad.ones(3))
    x = jitgrad.ones(3, dtype=jitgrad.int64)
    assert f(x).dtype is jitgrad.float32
    jitgrad.set_default_dtype(jitgrad.float64)
    try:
        assert f(x).dtype is jitgrad.float64
    finally:
        jitgrad.set_default_dtype(jitgrad.float32)


def test_mutable_default_argument():
    def f(x, seen=[]):  # noqa: B006 (the footgun itself)
        seen.append(1)
        return x * len(seen)

    traced = jitgrad.trace(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        assert [float(traced(ones(1))[0]) for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_counter_in_a_closure():
    n = 0

    def f(x):
        nonlocal n
        n += 1
        return x * n

    traced = jitgrad.trace(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        assert [float(traced(ones(1))[0]) for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_iterator_that_is_used_up():
    values = iter([2.0, 3.0, 4.0])

    @jitgrad.trace
    def f(x):
        return x * next(values)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        assert [float(f(ones(1))[0]) for _ in range(3)] == [2.0, 3.0, 4.0]


def test_attribute_written_by_the_function():
    class Cell:
        count = 0

    cell = Cell()

    @jitgrad.trace
    def f(x):
        cell.count += 1
        return x * cell.count

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        assert [float(f(ones(1))[0]) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert cell.count == 3


def test_numpy_array_that_is_read_by_python():
    table = np.array([2.0, 3.0])
    f = jitgrad.trace(lambda x: x * float(table[0]))
    equal(f(ones(2)), ones(2) * 2)
    table[0] = 5.0
    equal(f(ones(2)), ones(2) * 5)


class _Named(list):
    """A list with an attribute of its own."""


@pytest.mark.parametrize("place", ["list", "dict", "object array", "mapping proxy", "module", "class"])
def test_values_in_odd_places(place):
    box = SimpleNamespace(k=1.0)
    plain = {"k": 1.0}
    named, keyed = _Named(), type("Keyed", (dict,), {})()
    module, cls = ModuleType("settings"), type("Settings", (), {"k": 1.0})
    named.k = keyed.k = module.k = 1.0
    objects, proxy = np.array([box], dtype=object), MappingProxyType(plain)
    read, owner = {
        "list": (lambda: named.k, named),
        "dict": (lambda: keyed.k, keyed),
        "object array": (lambda: objects[0].k, box),
        "mapping proxy": (lambda: proxy["k"], plain),
        "module": (lambda: getattr(module, "k"), module),  # noqa: B009
        "class": (lambda: getattr(cls, "k"), cls),  # noqa: B009
    }[place]
    f = jitgrad.trace(lambda x: x * read())
    assert f(ones(1)).tolist() == [1]
    if owner is plain:
        plain["k"] = 2.0
    else:
        owner.k = 2.0
    assert f(ones(1)).tolist() == [2]


def test_an_object_that_becomes_another_class():
    one, two = type("One", (), {"k": 1.0}), type("Two", (), {"k": 2.0})
    thing = one()
    f = jitgrad.trace(lambda x: x * thing.k)
    assert f(ones(1)).tolist() == [1]
    thing.__class__ = two
    assert f(ones(1)).tolist() == [2]


def test_environment_and_clock_are_not_frozen():
    import time

    f = jitgrad.trace(lambda x: x * time.perf_counter())
    with pytest.warns(RecompileWarning, match="perf_counter"):
        a, b = f(ones(1)), f(ones(1))
    assert float(a[0]) != float(b[0])


def test_nested_helper_with_a_global(monkeypatch):
    f = jitgrad.trace(lambda x: outer_helper(x))
    equal(f(ones(2)), ones(2) * 3)
    monkeypatch.setitem(globals(), "FACTOR", 7.0)
    equal(f(ones(2)), ones(2) * 7)


FACTOR = 3.0


def inner_helper(x):
    return x * FACTOR


def outer_helper(x):
    return inner_helper(x)


def test_exception_half_way_then_success():
    fail = [True]

    def f(x):
        y = x * 2
        if fail[0]:
            raise ValueError("half way")
        return y

    traced = jitgrad.trace(f)
    with pytest.raises(ValueError, match="half way"):
        traced(ones(2))
    fail[0] = False
    equal(traced(ones(2)), ones(2) * 2)


def test_interrupt_while_recording():
    def f(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jitgrad.trace(f)(ones(2))
    equal(ones(2) + 1, ones(2) * 2)
    assert sys.getprofile() is None


def test_a_profiler_of_the_user_goes_on():
    events = []

    def profiler(frame, event, arg):
        if event == "call":
            events.append(frame.f_code.co_name)

    def named(x):
        return x * 2

    sys.setprofile(profiler)
    try:
        jitgrad.trace(named)(ones(2))
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert "named" in events


def test_traced_function_that_calls_itself():
    @jitgrad.trace
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    equal(power(ones(2) * 2, 5), ones(2) * 32)


def test_out_of_range_index_raises_and_changes_nothing():
    @jitgrad.trace
    def f(table, index, state):
        state.add_(1)
        return table[index]

    table, state = ones(4, 2), ones(2)
    f(table, jitgrad.tensor([0, 3]), state)
    before = state.clone()
    for bad in ([0, 4], [-5, 0]):
        with pytest.raises(IndexError, match=r"test_footguns.py:\d+"):
            f(table, jitgrad.tensor(bad), state)
    equal(state, before)


def test_integer_division_by_zero_raises():
    f = jitgrad.trace(lambda a, b: a // b)
    assert f(jitgrad.tensor([7]), jitgrad.tensor([2])).tolist() == [3]
    with pytest.raises(ZeroDivisionError):
        f(jitgrad.tensor([7]), jitgrad.tensor([0]))


def test_gradient_of_an_input_modified_between_forward_and_backward():
    x = ones(3).requires_grad_()
    w = ones(3)
    out = jitgrad.trace(lambda x, w: (x * w).sum())(x, w)
    w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_results_do_not_share_memory_with_residuals():
    x = ones(3).requires_grad_()
    y = jitgrad.trace(lambda x: x.exp())(x)
    with jitgrad.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_gradients_are_not_shared_between_leaves():
    a, b = ones(3).requires_grad_(), ones(3).requires_grad_()
    jitgrad.trace(lambda a, b: (a + b).sum())(a, b).backward()
    a.grad.zero_()
    equal(b.grad, ones(3))


def test_backward_from_several_threads():
    f = jitgrad.trace(lambda w, x: ((x * w) ** 2).sum())
    errors = []

    def work(n):
        try:
            for _ in range(50):
                w = ones(4).requires_grad_()
                f(w, ones(4) * n).backward()
                equal(w.grad, ones(4) * 2 * n * n)
        except Exception as error:  # handed to the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_runs_and_compiles():
    f = jitgrad.trace(lambda x: (x * 2).sum())
    f(ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        ok = float(f(ones(3))) == 6.0 and float(f(ones(5))) == 10.0
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_special_values_pass_through_compiled_code():
    x = jitgrad.tensor([np.nan, np.inf, -np.inf, -0.0, 5e-324], dtype=jitgrad.float64)

    def f(x):
        return x * 1, x + 0.0, jitgrad.maximum(x, x * 0), (x * 2) / 2, x.abs(), x - x

    with np.errstate(all="ignore"):
        for a, b in zip(jitgrad.trace(f)(x), f(x), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
            np.testing.assert_array_equal(np.signbit(a.numpy()), np.signbit(b.numpy()))


def test_bool_mask_of_unknown_size_says_so():
    with pytest.raises(RuntimeError, match=r"test_footguns.py:\d+"):
        jitgrad.trace(lambda x: x[x > 0].sum())(ones(3))


def test_attribute_made_by_the_function():
    class Cell:
        pass

    cell = Cell()

    @jitgrad.trace
    def f(x):
        cell.last = x.shape
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        f(ones(1))
        del cell.last
        f(ones(1))
    assert tuple(cell.last) == (1,)


def test_global_made_by_the_function():
    def f(x):
        global _MADE
        _MADE = x.shape
        return x * 2

    traced = jitgrad.trace(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        traced(ones(1))
        del globals()["_MADE"]
        traced(ones(1))
    assert tuple(globals().pop("_MADE")) == (1,)


def test_garbage_collection_while_recording_is_not_the_functions_doing():
    ticks = []

    def callback(phase, info):
        ticks.append(time.perf_counter())

    @jitgrad.trace
    def f(x):
        garbage = [[] for _ in range(5000)]  # several times the collector's threshold
        return x * len(garbage)

    gc.callbacks.append(callback)
    try:
        before = [[] for _ in range(5000)]
        assert before and ticks, "no collection ran at all"
        f(ones(1))
    finally:
        gc.callbacks.remove(callback)
    assert gc.isenabled()
    assert len(f.programs) == 1


FIRST_CALL = """
import jitgrad

f = jitgrad.trace(jitgrad.grad(lambda x: jitgrad.exp(x).sum()))

def call():
    return f(jitgrad.ones(3))

call()
assert len(f.programs) == 1, f.explain()
"""


def test_the_first_call_of_a_process_is_compiled():
    """What jitgrad does to know its own code, once a code object, is not taken for the function's doing."""
    done = subprocess.run([sys.executable, "-c", FIRST_CALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
