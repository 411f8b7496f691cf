"""The first call of a small function: ten elementwise operations, value and gradient, in a fresh process.

    python -m benchmarks.first_call [--times 7]

Prints medians over fresh processes. The first call is everything between the call of a new traced function
and its result: recording, differentiating, compiling, linking, running. The one-time import of llvmlite is
done before it and printed beside it; so is the first call of a second function, which finds LLVM started.

Imports: the standard library; jitgrad in processes of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

CODE = """
import json, time
import numpy as np
import jitgrad

def first(x, y):
    a = jitgrad.exp(x * y)
    b = jitgrad.log(a + 1.0)
    c = jitgrad.tanh(b - x)
    return (jitgrad.sin(c) * y / (b + 2.0)).sum()

def second(x, y):
    a = jitgrad.tanh(x - y)
    b = jitgrad.exp(a * 0.5)
    c = jitgrad.sqrt(b + x * x)
    return (jitgrad.cos(c) * a / (y * y + 1.0)).sum()

x, y = (jitgrad.from_numpy(np.linspace(a, 2, 1000, dtype=np.float32)) for a in (0, 1))

def clock(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start

def imports():
    import llvmlite.binding

def call(f):
    value, grads = jitgrad.trace(jitgrad.value_and_grad(f, argnums=(0, 1)))(x, y)
    return [r.numpy() for r in (value, *grads)]

print(json.dumps({"imports": clock(imports), "first call": clock(lambda: call(first)),
                  "next function": clock(lambda: call(second))}))
"""


def measure():
    """Seconds of each stage, in one fresh process with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code
        done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=7, help="fresh processes")
    runs = [measure() for _ in range(parser.parse_args().times)]
    for stage in runs[0]:
        ms = [run[stage] * 1e3 for run in runs]
        print(f"{stage:14} median {statistics.median(ms):6.1f} ms   minimum {min(ms):6.1f} ms")


if __name__ == "__main__":
    main()
