"""Verifying a peer's step, timing its first call, and timing many peers' steps in turns.

A result is waited for on every call. Throughput is told by the minimum: on a machine whose cores are shared
it is the steadiest figure; the median is kept beside it.

Imports: the standard library.
"""

import gc
import statistics
import time

WARM_CALLS = 3


def first_call(workload, name, d, expected, engine):
    """(record, step) of one peer: `first_s` for building, tracing, compiling and running, and `error`.

    A peer that raises has status "failed", one whose result differs "wrong"; both have no step.
    """
    try:
        start = time.perf_counter()
        step = workload.steps[name](d, engine)
        out = step()
        engine.sync(out)
        first = time.perf_counter() - start
        outputs = engine.numpy(out)
        for _ in range(WARM_CALLS):
            engine.sync(step())
    except Exception as problem:  # a peer may fail in any way, and its failure is its result
        text = next((line for line in str(problem).splitlines() if line.strip()), "")
        return {"status": "failed", "why": f"{type(problem).__name__}: {text[:300]}"}, None
    try:
        error = workload.error(d, expected, outputs)
    except ValueError as problem:
        return {"status": "wrong", "why": str(problem)}, None
    if not error <= workload.tolerance:
        return {"status": "wrong", "why": f"relative error {error:.2g} > {workload.tolerance:g}"}, None
    return {"status": "ok", "first_s": first, "error": error}, step


def in_turns(running, rounds, sample, settle):
    """Microseconds a call of each step in `running` (name -> (step, engine)), the peers taking turns.

    A sample lasts about `sample` seconds, after `settle` seconds of rest in which the last peer's worker
    threads stop spinning, and one call that is not timed.
    """
    calls = {name: _calls_for(step, engine, sample) for name, (step, engine) in running.items()}
    samples = {name: [] for name in running}
    gc.collect()
    gc.freeze()  # the compilers' many objects, for the collections between samples
    for _ in range(rounds):
        for name, (step, engine) in running.items():
            time.sleep(settle)
            engine.sync(step())
            gc.collect()
            gc.disable()
            samples[name].append(_seconds(step, engine, calls[name]) / calls[name] * 1e6)
            gc.enable()
    gc.unfreeze()
    return {name: {"min_us": min(us), "median_us": statistics.median(us), "samples_us": us}
            for name, us in samples.items()}


def _calls_for(step, engine, target):
    """How many calls last about `target` seconds."""
    calls = 1
    while (elapsed := _seconds(step, engine, calls)) < target:
        calls = max(calls + 1, min(calls * 10, int(calls * target / max(elapsed, 1e-7) * 1.1)))
    return calls


def _seconds(step, engine, calls):
    start = time.perf_counter()
    for _ in range(calls):
        engine.sync(step())
    return time.perf_counter() - start
