"""What the first call costs: value and gradients of functions of 10 to 2000 operations and of networks.

    python -m benchmarks.compile_time [--peers jitgrad,jax,torch.compile] [--only chain] [--times 3] [--stages]

Every call is made in a fresh process with empty caches, after the compiler was started by something trivial. For
jitgrad and torch it is the compiled function and its `backward()`, so that the choice of what is saved for the backward
is in it; for JAX `jax.jit(jax.value_and_grad(f))`. Prints the smallest seconds of the processes; one that takes longer
than `--limit` seconds is stopped.

`--stages` says where jitgrad's time goes, in milliseconds.

Imports: NumPy, `environment`; the peers in processes of their own.
"""

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import environment

PEERS = ("jitgrad", "jax", "torch.compile")


# Functions of a `Names` and tensors.


def chain(operations):
    def f(lib, x, y):
        steps = [lambda x: x * y, lib.tanh, lambda x: x + y, lib.sin, lambda x: x - 0.1]
        for i in range(operations - 1):
            x = steps[i % len(steps)](x)
        return x.sum()

    return f, [(1000,), (1000,)]


def mlp(lib, x, w1, b1, w2, b2, w3, b3):
    h = lib.tanh(x @ w1 + b1)
    h = lib.tanh(h @ w2 + b2)
    z = h @ w3 + b3
    return (z * z).mean()


def transformer(lib, x, wq, wk, wv, wo, w1, b1, w2, b2, g1, h1, g2, h2):
    """A block of four heads of 16 over 2 x 32 positions, norms first."""

    def norm(x, g, h):
        d = x - lib.mean(x)
        return d / lib.sqrt(lib.mean(d * d) + 1e-5) * g + h

    def heads(x):
        return lib.swap(x.reshape((2, 32, 4, 16)), 1, 2)

    y = norm(x, g1, h1)
    q, k, v = (heads(y @ w) for w in (wq, wk, wv))
    scores = q @ lib.swap(k, 2, 3) * 0.25
    e = lib.exp(scores - lib.max(scores))
    p = e / lib.sum(e)
    x = x + lib.swap(p @ v, 1, 2).reshape((2, 32, 64)) @ wo
    y = norm(x, g2, h2)
    x = x + lib.tanh(y @ w1 + b1) @ w2 + b2
    return (x * x).mean()


def lstm(lib, x, wx, wh, b):
    """Unrolled over 32 steps."""
    h = c = x[0, :, :16] * 0.0

    def sigmoid(z):
        return 1.0 / (1.0 + lib.exp(-z))

    for t in range(32):
        z = x[t] @ wx + h @ wh + b
        i, f, g, o = (z[:, 16 * k : 16 * (k + 1)] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * lib.tanh(g)
        h = sigmoid(o) * lib.tanh(c)
    return (h * h).mean()


FUNCTIONS = {
    "chain of 10": chain(10),
    "chain of 100": chain(100),
    "chain of 2000": chain(2000),
    "MLP": (mlp, [(32, 64), (64, 128), (128,), (128, 128), (128,), (128, 10), (10,)]),
    "transformer block": (transformer, [(2, 32, 64), *[(64, 64)] * 4, (64, 256), (256,), (256, 64), *[(64,)] * 5]),
    "LSTM, 32 steps": (lstm, [(32, 8, 16), (16, 64), (16, 64), (64,)]),
}


def arrays(shapes):
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal(s, np.float32) for s in shapes]


class Names:
    """What functions need of a module. max, mean and sum are over the last axis, which is kept."""

    def __init__(self, module, keep, names, swap):
        self.tanh, self.sin, self.exp, self.sqrt = module.tanh, module.sin, module.exp, module.sqrt
        self.max, self.mean, self.sum = (lambda x, f=f: getattr(x, f)(-1, **{keep: True}) for f in names)
        self.swap = swap


# Peers: from a function and arrays to a call that gives (value, gradients).


def jitgrad_call(f, given):
    import jitgrad

    lib = Names(jitgrad, "keepdim", ("amax", "mean", "sum"), lambda x, a, b: x.transpose(a, b))
    return _backward(jitgrad.trace(lambda *args: f(lib, *args)), [jitgrad.from_numpy(a) for a in given])


def torch_call(f, given):
    import torch

    lib = Names(torch, "keepdim", ("amax", "mean", "sum"), lambda x, a, b: x.transpose(a, b))
    return _backward(torch.compile(lambda *args: f(lib, *args)), [torch.from_numpy(a) for a in given])


def _backward(f, tensors):
    for t in tensors:
        t.requires_grad_()

    def call():
        value = f(*tensors)
        value.backward()
        return [value.detach().numpy(), *(t.grad.numpy() for t in tensors)]

    return call


def jax_call(f, given):
    import jax

    lib = Names(jax.numpy, "keepdims", ("max", "mean", "sum"), jax.numpy.swapaxes)
    step = jax.jit(jax.value_and_grad(lambda args: f(lib, *args)))

    def call():
        value, grads = step(given)
        return [np.asarray(value), *map(np.asarray, grads)]

    return call


CALLS = {"jitgrad": jitgrad_call, "jax": jax_call, "torch.compile": torch_call}

# Where jitgrad's time goes: functions that are called once or a few times a program, by the stage that they are.
STAGES = {
    "record": [("jitgrad.tracing", "record")],
    "passes": [("jitgrad.program", "run_pipeline"), ("jitgrad.program", "strip")],
    "differentiate": [("jitgrad.program", "vjp")],
    "cut": [("jitgrad.program", "split")],
    "schedule": [("jitgrad.codegen.compiler", "schedule")],
    "emit": [("jitgrad.codegen.compiler", "emit_module")],
    "LLVM": [("jitgrad.codegen.compiler", "Compiler.object_code")],
    "link": [("jitgrad.codegen.compiler", "Compiler.link")],
}


def watch():
    """Let each stage add up its seconds, but for those of stages that it calls itself."""
    spent, open_ = dict.fromkeys(STAGES, 0.0), []

    def timed(stage, f):
        def run(*args, **kwargs):
            begun = time.perf_counter()
            open_.append(0.0)
            try:
                return f(*args, **kwargs)
            finally:
                whole = time.perf_counter() - begun
                spent[stage] += whole - open_.pop()
                if open_:
                    open_[-1] += whole

        return run

    for stage, places in STAGES.items():
        for module, path in places:
            holder = importlib.import_module(module)
            *outer, name = path.split(".")
            for part in outer:
                holder = getattr(holder, part)
            setattr(holder, name, timed(stage, getattr(holder, name)))
    return spent


def one(peer, name):
    """In this process: the seconds of the first call, and those of jitgrad's stages."""
    f, shapes = FUNCTIONS[name]
    CALLS[peer](lambda lib, x: (lib.tanh(x) * 2.0).sum(), arrays([(3,)]))()
    spent = watch() if peer == "jitgrad" else {}
    call = CALLS[peer](f, arrays(shapes))
    begun = time.perf_counter()
    results = call()
    seconds = time.perf_counter() - begun
    assert all(np.isfinite(r).all() for r in results)
    return {"seconds": seconds, "stages": spent, "value": float(results[0])}


def in_fresh_process(peer, name, limit):
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
        command = [sys.executable, "-m", "benchmarks.compile_time", "--one", peer, name]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
            if done.returncode:
                return {"failed": done.stderr.strip().splitlines()[-1]}
            return json.loads(done.stdout.splitlines()[-1])
    return {"late": limit}


def _cell(runs):
    fine = [r["seconds"] for r in runs if "seconds" in r]
    if fine:
        return f"{min(fine):.3g}"
    return f"> {runs[0]['late']}" if "late" in runs[0] else f"failed: {runs[0]['failed'][:60]}"


def table(options):
    peers = options.peers.split(",")
    chosen = [name for name in FUNCTIONS if name.startswith(options.only)]
    runs = {}
    print("| seconds | " + " | ".join(peers) + " |\n|---|" + "---:|" * len(peers))
    for name in chosen:
        for peer in peers:
            runs[name, peer] = []
            for _ in range(options.times):
                runs[name, peer].append(in_fresh_process(peer, name, options.limit))
                if runs[name, peer][-1].get("seconds", options.limit) > 20:  # once is enough
                    break
        print(f"| {name} | " + " | ".join(_cell(runs[name, p]) for p in peers) + " |", flush=True)
    if options.stages and "jitgrad" in peers:
        print("\n| ms | " + " | ".join(STAGES) + " | other |\n|---|" + "---:|" * (len(STAGES) + 1))
        for name in chosen:
            fine = [r for r in runs[name, "jitgrad"] if "seconds" in r]
            if fine:
                best = min(fine, key=lambda r: r["seconds"])
                parts = [best["stages"][s] * 1e3 for s in STAGES]
                shown = [*parts, best["seconds"] * 1e3 - sum(parts)]
                print(f"| {name} | " + " | ".join(f"{ms:.1f}" for ms in shown) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=",".join(PEERS), help=f"default: {','.join(PEERS)}")
    parser.add_argument("--only", default="", help="functions, by the beginning of their name")
    parser.add_argument("--times", type=int, default=3, help="processes; the fastest one counts")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a process is stopped")
    parser.add_argument("--stages", action="store_true", help="where jitgrad's time goes")
    parser.add_argument("--realtime", action="store_true", help="at real-time priority, where cores are shared")
    parser.add_argument("--one", nargs=2, metavar=("PEER", "FUNCTION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
        return
    with environment.realtime() if options.realtime else contextlib.nullcontext():
        table(options)


if __name__ == "__main__":
    main()
