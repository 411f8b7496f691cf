"""What a traced function reads that is not among its arguments is read again, or guarded."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import logging
import os
import random
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

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


def test_iterators_within_reach_go_on():
    class Holder:
        pass

    o, items = Holder(), {"a": enumerate(itertools.count())}
    o.numbers, o.next = map(float, range(9)), itertools.count().__next__
    made = iter(range(9))
    uses = [lambda: next(made), lambda: next(o.numbers), lambda: o.next(), lambda: next(items["a"])[0]]
    for use in uses:
        f = jitgrad.trace(lambda x, use=use: x * use())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecompileWarning)
            assert [f(jitgrad.ones(())).item() for _ in range(4)] == [0, 1, 2, 3]
        assert not f.programs


def test_iterators_that_the_function_makes_are_no_obstacle():
    @contextlib.contextmanager
    def doubled(x):
        yield x * 2

    @jitgrad.trace
    def f(x):
        with doubled(x) as y:
            return y * next(iter([3, 4]))

    for _ in range(3):
        close(f(jitgrad.ones(3)), jitgrad.ones(3) * 6)
    assert len(f.programs) == 1 and "not compiled" not in f.explain()


LOG = logging.getLogger("tests")


def shuffled():
    items = [1, 2, 3]
    random.shuffle(items)


HIDDEN = {
    "logging.warning": lambda: logging.warning("seen"),
    "logging.Logger.warning": lambda: LOG.warning("seen %d", 3),
    "random.shuffle": shuffled,
    "random.random": lambda: random.random(),
    "copy.deepcopy": lambda: copy.deepcopy([1]),
    "json.dump": lambda: json.dump([1], sys.stderr),
    "os.getpid": lambda: os.getpid(),
    "time.time": lambda: time.time(),
    "print": lambda: print("seen", file=sys.stderr),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_cannot_be_repeated_is_named_as_the_user_called_it(name):
    def f(x):
        HIDDEN[name]()
        return x * 2

    f = jitgrad.trace(f)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            close(f(jitgrad.ones(3)), jitgrad.ones(3) * 2)
    assert not f.programs
    line = r"test_trace_reads.py:\d+ .*" + name.split(".")[-1]
    why = rf"it calls {re.escape(name)}, whose result or effect a recording cannot repeat\n.*{line}"
    assert re.search(why, f.explain())
    assert len([w for w in caught if w.category is RecompileWarning]) == 1


def test_log_messages_that_are_dropped_are_no_obstacle():
    def f(x):
        LOG.debug("dropped")
        return x * 2

    f, level, seen = jitgrad.trace(f), LOG.level, logging.Handler()
    seen.emit = lambda record: messages.append(record.getMessage())
    messages = []
    try:
        LOG.addHandler(seen)
        LOG.setLevel(logging.INFO)
        for _ in range(3):
            f(jitgrad.ones(3))
        assert len(f.programs) == 1 and not messages
        LOG.setLevel(logging.DEBUG)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecompileWarning)
            for _ in range(3):
                f(jitgrad.ones(3))
        assert messages == ["dropped"] * 3
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(seen)


def in_a_process(code):
    """What `python -c` with `code` writes to stderr."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run([sys.executable, "-c", code], check=True, env=env, stderr=subprocess.PIPE, text=True).stderr


def test_a_warning_of_the_users_is_shown_at_every_call_and_named():
    code = """
import warnings, jitgrad
warnings.simplefilter("always")

@jitgrad.trace
def f(x):
    warnings.warn("mine")
    return x

for _ in range(3):
    f(jitgrad.ones(1))
assert "it calls warnings.warn, whose" in f.explain()
"""
    assert in_a_process(code).count("UserWarning: mine") == 3


def test_code_without_a_file_is_the_users():
    code = """
import jitgrad
scale = 2.0

def helper(x):
    return x * scale

@jitgrad.trace
def f(x):
    return helper(x) + scale

x = jitgrad.ones(1)
assert f(x).item() == 4
scale = 3.0
assert f(x).item() == 6
"""
    in_a_process(code)
    variables = {}
    exec(code, variables)
    assert len(variables["f"].programs) == 2
