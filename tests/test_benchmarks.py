"""The benchmarks measure what they say: the references agree with finite differences, and jitgrad with them.

Nothing is timed here.
"""

import numpy as np
import pytest

from benchmarks import workload as benchmark

# The cases that differ from another in size alone.
LARGE = {("black_scholes", "1e5"), ("black_scholes", "4e6"), ("cross_entropy", "8192x100")}
CASES = [(w, case) for w in benchmark.load_all() for case in w.cases if (w.name, case) not in LARGE]


def each(cases):
    return pytest.mark.parametrize(("workload", "case"), cases, ids=[f"{w.name}-{case}" for w, case in cases])


@pytest.mark.slow
@each([(w, case) for w, case in CASES if w.kind in ("grad", "sgd")])
def test_reference_gradients_are_the_slopes_of_its_value(workload, case):
    d = workload.make(case)
    value, *grads = workload.expected(d)
    rng = np.random.default_rng(0)
    for name, grad in zip(workload.wrt, grads, strict=True):
        x = d[name].astype(np.float64)
        way = rng.choice([-1.0, 1.0], x.shape)
        step = 1e-6 / np.sqrt(x.size)  # short, so that few relus change sides
        up, down = (float(workload.expected({**d, name: x + s * step * way})[0]) for s in (1, -1))
        scale = max(np.max(np.abs(grad)), 1e-9 * abs(float(value)) / step)
        assert abs((up - down) / (2 * step) - float((grad * way).sum())) < 1e-4 * scale * np.sqrt(x.size)


@pytest.mark.slow
@each(CASES)
def test_jitgrad_agrees_with_the_reference(workload, case):
    from benchmarks import peers

    d = workload.make(case)
    engine = peers.load("jitgrad", threads=1)
    step = workload.steps["jitgrad"](d, engine)
    assert workload.error(d, workload.expected(d), engine.numpy(step())) <= workload.tolerance


@pytest.mark.slow
@pytest.mark.filterwarnings("error::jitgrad.RecompileWarning")
@each(CASES)
def test_jitgrad_runs_compiled_code(workload, case, monkeypatch):
    from benchmarks import peers

    def interpreted(*args):
        raise AssertionError("a program ran uncompiled")

    monkeypatch.setattr("jitgrad.program.interpret", interpreted)
    step = workload.steps["jitgrad"](workload.make(case), peers.load("jitgrad", threads=1))
    for _ in range(3):
        step()


def test_a_wrong_result_is_seen():
    w = next(w for w, _ in CASES if w.name == "cross_entropy")
    d = w.make("256x1000")
    value, grad = w.expected(d)
    assert w.error(d, [value, grad], [value, grad]) == 0
    assert w.error(d, [value, grad], [value, grad + 0.01 * np.abs(grad).max()]) > w.tolerance
    assert w.error(d, [value, grad], [value, np.full_like(grad, np.nan)]) == np.inf
    with pytest.raises(ValueError, match="1 outputs, expected 2"):
        w.error(d, [value, grad], [value])


def test_limits_are_of_the_loops_they_name():
    """Each loop does what its name says, however it stores; nothing is timed."""
    from benchmarks import limits
    from jitgrad.codegen.target import host

    n = limits.VECTORS * 64
    for name in limits.ARRAYS:
        for streaming in (False, True) if limits.WRITES[name] else (False,):
            a, b, c = (limits._array(n) for _ in range(3))
            a[:], b[:], c[:] = np.arange(n), 1.0, -7.0
            limits._native(name, streaming=streaming)[0](*(x.ctypes.data for x in (a, b, c)), n, 3)
            if name == "read":  # the last store is of the sums of one vector's lanes
                lanes = host().vector_bytes // 4
                last = a.reshape(-1, limits.VECTORS, lanes)[:, -1].sum(axis=0)
                np.testing.assert_array_equal(c[:lanes], 3 * last)
            else:
                np.testing.assert_array_equal(c, {"write": np.zeros(n), "copy": a, "triad": a * a + b}[name])


def test_the_limit_of_a_kernel():
    from benchmarks import roofline

    found = {("read", "L1"): 100.0, ("write", "L1"): 50.0, ("copy", "L1"): 80.0, ("triad", "L1"): 90.0, "peak": 10.0}
    assert roofline.at_the_limit(found, "L1", 2000, 1000, 0) == (3000 / 90e9, "triad")
    assert roofline.at_the_limit(found, "L1", 4000, 4, 0) == (4004 / 100e9, "read")
    assert roofline.at_the_limit(found, "L1", 4, 4, 10**6) == (10**6 / 10e9, "flops")
