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


def test_a_wrong_result_is_seen():
    w = next(w for w, _ in CASES if w.name == "cross_entropy")
    d = w.make("256x1000")
    value, grad = w.expected(d)
    assert w.error(d, [value, grad], [value, grad]) == 0
    assert w.error(d, [value, grad], [value, grad + 0.01 * np.abs(grad).max()]) > w.tolerance
    assert w.error(d, [value, grad], [value, np.full_like(grad, np.nan)]) == np.inf
    with pytest.raises(ValueError, match="1 outputs, expected 2"):
        w.error(d, [value, grad], [value])
