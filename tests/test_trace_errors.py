"""Traced functions that go wrong, warnings, and the ways of calling: eagerly, nested, from threads."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path

import pytest
from traced import close, rand

import jitgrad
from jitgrad.tracing import RecompileWarning


@pytest.mark.parametrize("ask", [bool, float, int, lambda t: t.item(), lambda t: t.tolist(), lambda t: t.numpy()])
def test_asking_for_a_value_names_the_line(ask):
    def f(x):
        return x * 2 if ask(x.sum()) else x

    with pytest.raises(RuntimeError, match=r"inside a traced function(.|\n)*test_trace_errors.py:\d+(.|\n)*hint"):
        jitgrad.trace(f)(rand(3))


def test_captured_value_is_not_baked_in():
    w = jitgrad.ones(())
    with pytest.raises(RuntimeError, match="inside a traced function"):
        jitgrad.trace(lambda x: x * w.item())(rand(3))


def test_tensors_stored_outside_get_their_values():
    class Model:
        def __init__(self):
            self.h, self.seen = jitgrad.zeros(3), []

    m = Model()
    w = rand(3, requires_grad=True)

    @jitgrad.trace
    def f(x):
        m.h = (m.h + x) * w
        m.seen.append(x)
        return m.h.sum()

    x = rand(3, seed=1)
    h = jitgrad.zeros(3)
    with pytest.warns(RecompileWarning, match="changes what it reads"):
        for _ in range(3):
            out = f(x)
            h = (h + x) * w
            close(m.h, h)
            close(out, h.sum())
    assert m.h.requires_grad
    (g,) = jitgrad.autograd.grad(m.h.sum(), w)
    close(g, jitgrad.autograd.grad(h.sum(), w)[0])
    for t in m.seen:
        close(t, x)


def test_arguments_stored_outside_are_what_they_were():
    seen = {}

    @jitgrad.trace
    def f(x):
        seen["x"] = x
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        for seed in range(3):
            x = rand(3, seed=seed, requires_grad=True)
            close(f(x), x * 2)
            close(seen["x"], x)
            (seen["x"] * 3).sum().backward()
            close(x.grad, jitgrad.full_like(x, 3))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_program_does_not_keep_the_arguments_of_its_first_call(requires_grad):
    f = jitgrad.trace(lambda x: (x * x).sum())
    x = rand(3, requires_grad=requires_grad)
    alive = weakref.ref(x)
    out = f(x)
    del x, out
    gc.collect()
    assert alive() is None and f.programs


def test_tensor_stored_where_nothing_is_read():
    kept = []

    def keep(t):
        kept.insert(0, t)

    @jitgrad.trace
    def f(x, put):
        put(x * 2)
        return x * 3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        for n in range(1, 4):
            close(f(jitgrad.ones(2) * n, keep), jitgrad.ones(2) * 3 * n)
            close(kept[0], jitgrad.ones(2) * 2 * n)
    assert len(kept) == 3


def test_leaked_tensor_of_an_interrupted_call_says_so():
    kept = []

    @jitgrad.trace
    def f(x):
        kept.append(x * 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        f(rand(3))
    with pytest.raises(RuntimeError, match="left it other than as a result"):
        kept[0] + 1


def test_exception_in_the_function_leaves_no_trace():
    state = jitgrad.zeros(3)

    @jitgrad.trace
    def f(x):
        y = x * 2
        if x.shape[0] == 3:
            raise KeyError("mine")
        return y

    with pytest.raises(KeyError, match="mine"):
        f(state)
    assert jitgrad.state.state.recording is None
    close(f(jitgrad.ones(4)), jitgrad.ones(4) * 2, 1e-7)


def test_shape_error_names_the_users_line():
    with pytest.raises(RuntimeError, match=r"matmul(.|\n)*test_trace_errors.py:\d+(.|\n)*\^"):
        jitgrad.trace(lambda a, b: a @ b)(rand(8, 4), rand(3, 4))


def test_signature_explosion_warns_and_names_the_argument():
    f = jitgrad.trace(lambda x, n: x * n, max_compiles=3)
    x = rand(3)
    with pytest.warns(RecompileWarning, match=r"n: 3, then 4"):
        for n in range(1, 6):
            f(x, n)


# -- modes


def test_changes_of_what_is_read_are_counted_too():
    scale = 0

    @jitgrad.trace(max_compiles=3)
    def f(x):
        return x * scale

    x = rand(3)
    with pytest.warns(RecompileWarning, match=r"compiled 4 times(.|\n)*enclosing function changed") as caught:
        for scale in range(5):
            close(f(x), x * scale)
    assert caught[0].filename == __file__
    for scale in (1, 3, 0):  # those programs were kept
        close(f(x), x * scale)
    assert "5 programs" in f.explain()


def test_a_training_step_keeps_a_program_for_each_state_of_grad():
    w = rand(3).requires_grad_()

    @jitgrad.trace
    def step(x):
        (w * x).sum().backward()

    x = rand(3)
    for i in range(6):
        if i % 2 == 0:
            w.grad = None
        step(x)
        close(w.grad, x * (1 + i % 2))
    assert "2 programs" in step.explain() and "calls 3" in step.explain()


def test_the_first_call_of_a_process_is_compiled():
    """Whatever jitgrad itself calls while it records for the first time is not the function's doing."""
    program = (
        "import jitgrad\n"
        "f = jitgrad.trace(jitgrad.value_and_grad(lambda x: (x * x).sum()))\n"
        "def main(): f(jitgrad.ones(2))\n"
        "main(); print(f.explain())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "1 program compiled" in done.stdout and "not compiled" not in done.stdout


@pytest.mark.parametrize(("value", "eager"), [("1", True), ("On", True), ("0", False), ("", False)])
def test_the_environment_makes_everything_eager(value, eager):
    program = (
        "import threading, jitgrad\n"
        "@jitgrad.trace\n"
        "def f(x): return x * 2, jitgrad.state.state.recording is None\n"
        "def show(): print(f(jitgrad.ones(2))[1], len(f.programs))\n"
        "show(); t = threading.Thread(target=show); t.start(); t.join()"
    )
    environment = {**os.environ, "JITGRAD_EAGER": value, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == (["True 0"] * 2 if eager else ["False 1"] * 2)


@pytest.mark.parametrize("value", ["1", "0", "true", "False", "yes", "NO", "on", " off ", "", None])
def test_values_of_a_switch_in_the_environment(monkeypatch, value):
    monkeypatch.delenv("JITGRAD_EAGER", raising=False)
    if value is not None:
        monkeypatch.setenv("JITGRAD_EAGER", value)
    assert jitgrad.state.switch("JITGRAD_EAGER") is (value in ("1", "true", "yes", "on"))


@pytest.mark.parametrize("value", ["2", "maybe", "-"])
def test_an_unknown_value_of_a_switch_is_refused(monkeypatch, value):
    monkeypatch.setenv("JITGRAD_EAGER", value)
    with pytest.raises(ValueError, match=f"JITGRAD_EAGER is one of 1, true, yes, on, 0, false.* got '{value}'"):
        jitgrad.state.switch("JITGRAD_EAGER")


def test_eager_context_runs_python(monkeypatch):
    seen = []

    @jitgrad.trace
    def f(x):
        seen.append(float(x.sum()))
        return x

    with jitgrad.eager():
        f(jitgrad.ones(2))
    assert seen == [2.0]


def test_traced_inside_traced_is_one_program():
    inner = jitgrad.trace(lambda x: x.sin())
    outer = jitgrad.trace(lambda x: inner(x) * 2)
    x = rand(3)
    close(outer(x), x.sin() * 2)
    assert not inner.programs and len(outer.programs) == 1


def test_threads_call_and_compile_at_once():
    f = jitgrad.trace(lambda x: (x * 2 + 1).sum())
    results: dict[int, float] = {}

    def work(n):
        for _ in range(20):
            results[n] = float(f(jitgrad.ones(n + 1)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {n: 3.0 * (n + 1) for n in range(8)}
    assert len(f.programs) == 8


def test_backward_instructions_carry_the_forward_line():
    from jitgrad.tracing import record_function

    def f(x):
        y = x.exp()
        return (y * 2).sum()

    function = record_function(jitgrad.value_and_grad(f), (rand(3),)).function
    exp = next(i for i in function.instrs if i.op == "exp")
    adjoints = [i for i in function.instrs if i.loc and i.loc.adjoint == exp.out.name]
    assert adjoints and all((i.loc.file, i.loc.line) == (exp.loc.file, exp.loc.line) for i in adjoints)


def test_own_code_is_known_by_whatever_path_it_was_found():
    program = (
        "import os, sys; sys.path.insert(0, os.path.join(sys.argv[1], 'tests', '..'))\n"
        "import jitgrad\n"
        "f = jitgrad.trace(lambda x: x * 2)\n"
        "f(jitgrad.ones(2)), f(jitgrad.ones(2))\n"
        "assert len(f.programs) == 1, f.explain()\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    subprocess.run([sys.executable, "-c", program, root], cwd=os.path.dirname(root), check=True)


def test_nothing_of_dropped_code_and_classes_is_kept():
    from jitgrad import errors, pytree

    def sizes():
        return len(errors._own), len(errors._positions), len(errors._codes)

    def use():
        scope = {"jitgrad": jitgrad}
        exec("class C: pass\ndef f(x, c): return (x * 2).sin()", scope)
        jitgrad.trace(scope["f"])(jitgrad.ones(2), scope["C"]())
        f, c = scope["f"].__code__, scope["C"]
        assert f in [ref() for ref in errors._codes.values()] and len(errors._positions[id(f)]) > 5
        return weakref.ref(f), weakref.ref(c)

    use()
    gc.collect()
    before = sizes()
    code, _ = use()
    gc.collect()
    assert code() is None and sizes() == before
    kinds = [type(f"C{i}", (), {}) for i in range(2 * pytree.MOST_KINDS)]
    for kind in kinds:
        assert pytree.flatten([kind(), 1.0])[1] == (list, 2, (None, None))
    assert len(pytree._PARTS) <= pytree.MOST_KINDS
