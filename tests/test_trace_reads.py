"""What a traced function reads that is not among its arguments is read again, or guarded."""

from __future__ import annotations

import warnings

import pytest
from traced import close, rand

import jitgrad
from jitgrad.tracing import RecompileWarning

SCALE = 2.0
WEIGHT = jitgrad.ones(3, dtype=jitgrad.float64)


def helper(x):
    return x + 1


def test_globals_are_seen(monkeypatch):
    @jitgrad.trace
    def f(x):
        return helper(x) * SCALE * WEIGHT

    x = rand(3)
    close(f(x), (x + 1) * 2)
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    close(f(x), (x + 1) * 5)
    monkeypatch.setitem(globals(), "helper", lambda x: x - 1)
    close(f(x), (x - 1) * 5)
    monkeypatch.setitem(globals(), "WEIGHT", jitgrad.ones(3, dtype=jitgrad.float64) * 2)
    close(f(x), (x - 1) * 10)


def test_captured_tensor_is_read_again():
    w = jitgrad.ones(3, dtype=jitgrad.float64)
    f = jitgrad.trace(lambda x: x * w)
    x = rand(3)
    close(f(x), x)
    w.mul_(3)
    close(f(x), x * 3)
    assert len(f.programs) == 1


def test_closure_attributes_and_containers_are_seen():
    k = 2.0

    class Model:
        layers = 1

        def __init__(self):
            self.w = [jitgrad.ones(3, dtype=jitgrad.float64)]
            self.training = True

        @jitgrad.trace
        def __call__(self, x):
            for w in self.w:
                x = x * w * k
            return x * 10 if self.training else x * self.layers

    m, x = Model(), rand(3)
    close(m(x), x * 20)
    m.training = False
    close(m(x), x * 2)
    m.w.append(jitgrad.ones(3, dtype=jitgrad.float64))
    close(m(x), x * 4)
    m.w[0] = m.w[0] * 3
    close(m(x), x * 12)
    Model.layers = 7
    close(m(x), x * 84)
    k = 1.0
    close(m(x), x * 21)


def test_captured_gradient_reaches_the_capture():
    w = rand(3, requires_grad=True)
    f = jitgrad.trace(lambda x: (x * w).sum())
    x = rand(3, seed=1)
    f(x).backward()
    close(w.grad, x)


def test_hidden_state_is_not_frozen():
    import random

    @jitgrad.trace
    def f(x):
        return x * random.random()

    x = jitgrad.ones(3)
    with pytest.warns(RecompileWarning, match=r"random"):
        seen = {float(f(x)[0]) for _ in range(5)}
    assert len(seen) == 5
    assert not f.programs and "random" in f.explain()


def test_what_the_first_call_makes_is_no_reason_to_warn():
    memo = {}

    @jitgrad.trace
    def f(x):
        if "scale" not in memo:
            memo["scale"] = 2
        return x * memo["scale"]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            close(f(jitgrad.ones(3)), jitgrad.ones(3) * 2)
    assert "1 program compiled" in f.explain()
    assert "not compiled: 1 calls, the last one because it changes what it reads itself" in f.explain()


def test_a_growing_list_warns_once():
    log = []
    f = jitgrad.trace(lambda x: log.append(1) or x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            f(jitgrad.ones(3))
    assert len(caught) == 1 and caught[0].filename == __file__


def test_python_side_effects_happen_at_every_call(capsys):
    log = []

    @jitgrad.trace
    def f(x):
        log.append(x.shape)
        print("called")
        return x * 2

    with pytest.warns(RecompileWarning):
        for _ in range(3):
            f(jitgrad.ones(3))
    assert len(log) == 3 and capsys.readouterr().out == "called\n" * 3
