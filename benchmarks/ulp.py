"""The largest errors of elementwise functions in ULP: jitgrad's, NumPy's, torch's and JAX's on the same arguments.

    python -m benchmarks.ulp [--dtype f32] [--only exp,pow] [--patterns 22]

float32: 2^patterns bit patterns, equally spaced over all of them by an odd step, against float64. float64: random
arguments (bit patterns, and numbers around 1) against long doubles, and against 50 digits where NumPy has no long
double of the function. Of two arguments: random ones of several scales.

The table has the largest error where arguments and result are normal numbers. A star says that it is larger where one
of them is denormal (it is flushed to zero, as a rule); a dash, that the peer has no such function; `inf`, that a
result is infinite or nan and should not be, or the other way round. The sign of a zero is not looked at.

`make ulp` measures jitgrad's functions at all 2^32 float32. Imports: NumPy, `tools.exact`, the peers when they run.
"""

import argparse
import warnings

import numpy as np

from tools.exact import IN_NUMPY, IN_SPECIAL, error_in_ulps, exactly, in_float64

UNARY = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid", "erf", "lgamma", "digamma",
)
BINARY = ("pow", "atan2", "fmod", "remainder")
SLOW = ("erf", "lgamma", "digamma")  # references of float64: fewer arguments
PEERS = ("jitgrad", "numpy", "torch", "jax")
OF_NUMPY = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "pow": "power", "atan2": "arctan2",
}


def jitgrad_function(name):
    import jitgrad

    f = jitgrad.trace(getattr(jitgrad, name))
    return lambda *args: f(*map(jitgrad.from_numpy, args)).numpy()


def numpy_function(name):
    return getattr(np, OF_NUMPY.get(name, name), None)


def torch_function(name):
    import torch

    f = getattr(torch, name)
    return lambda *args: f(*map(torch.from_numpy, args)).numpy()


def jax_function(name):
    import jax

    jax.config.update("jax_enable_x64", True)
    special = {"sigmoid": jax.nn.sigmoid, "lgamma": jax.scipy.special.gammaln}
    f = special.get(name) or getattr(jax.numpy, OF_NUMPY.get(name, name), None) or getattr(jax.scipy.special, name)
    compiled = jax.jit(f)
    return lambda *args: np.asarray(compiled(*args))


FUNCTIONS = {"jitgrad": jitgrad_function, "numpy": numpy_function, "torch": torch_function, "jax": jax_function}


def arguments(name, dtype, patterns):
    rng = np.random.default_rng(0)
    if name in BINARY:
        return _pairs(rng, dtype)
    if dtype == np.float32:
        step = 2 ** (32 - patterns) | 1
        x = np.arange(step // 2, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    else:
        n = 2000 if name in SLOW else 2**18
        bits = rng.integers(0, 2**64, n, dtype=np.uint64).view(np.float64)
        x = np.concatenate([bits, *(rng.uniform(-s, s, n) for s in (0.1, 1.0, 10.0, 700.0))])
    if name in ("lgamma", "digamma"):  # below 0 they cross zero between poles, where nobody is exact
        x = x[x > 0]
    return (x,)


def _pairs(rng, dtype):
    n = 2**18
    families = [
        (rng.uniform(-10, 10, n), rng.uniform(-10, 10, n)),
        (rng.integers(-20, 20, n), rng.integers(-20, 20, n)),
        (np.exp(rng.uniform(-80, 80, n)), rng.uniform(-4, 4, n)),
        (rng.uniform(0.7, 1.4, n), rng.uniform(-200, 200, n)),
        (rng.normal(size=n) * 1e5, rng.normal(size=n)),
    ]
    return tuple(np.concatenate([f[i].astype(dtype) for f in families]) for i in range(2))


def reference(name, args):
    if args[0].dtype == np.float32:
        return in_float64(name, *args)
    with np.errstate(all="ignore"):
        if name not in SLOW:
            return IN_NUMPY[name](*(a.astype(np.longdouble) for a in args))
        exact = IN_SPECIAL[name](args[0]).astype(np.longdouble)
    moderate = np.isfinite(exact) & (np.abs(exact) < 1e300) & (np.abs(args[0]) > 1e-300)
    if name == "erf":
        moderate &= np.abs(args[0]) < 7  # it rounds to 1 from 6 on
    exact[moderate] = [exactly(name, float(v)) for v in args[0][moderate]]
    return exact


def largest(args, got, exact):
    """The largest errors among normal numbers and among others."""
    tiny = np.finfo(got.dtype).tiny
    errors = error_in_ulps(got, exact)
    errors[(got == 0) & (exact == 0)] = 0.0
    normal = np.ones(got.shape, bool)
    for a in (*args, exact):
        normal &= (np.abs(a) >= tiny) | (a == 0) | ~np.isfinite(a)
    return errors[normal].max(initial=0.0), errors[~normal].max(initial=0.0)


def cell(name, peer, args, exact):
    f = FUNCTIONS[peer](name)
    if f is None:
        return "-"
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = f(*args)
    normal, denormal = largest(args, got, exact)
    star = "*" if denormal > max(1.0, normal) else ""
    return (f"{normal:.2f}" if normal < 1000 else f"{normal:.1e}") + star


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("f32", "f64"), help="default: both")
    parser.add_argument("--only", help="functions, such as exp,pow")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"default: {','.join(PEERS)}")
    parser.add_argument("--patterns", type=int, default=22, help="of float32, as a power of two; default: 22")
    options = parser.parse_args()
    peers = options.peers.split(",")
    names = options.only.split(",") if options.only else [*UNARY, *BINARY]
    for code, dtype in (("f32", np.float32), ("f64", np.float64)):
        if options.dtype in (None, code):
            print(f"\n| {code} | " + " | ".join(peers) + " |\n|---|" + "---|" * len(peers))
            for name in names:
                args = arguments(name, dtype, options.patterns)
                exact = reference(name, args)
                print(f"| {name} | " + " | ".join(cell(name, p, args, exact) for p in peers) + " |", flush=True)


if __name__ == "__main__":
    main()
