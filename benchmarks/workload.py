"""What a workload is: inputs, a float64 reference in NumPy, and an implementation for each peer.

A workload module makes one `Workload` named `W` and registers on it:

    @W.inputs("case", ...)    case -> dict of float32 and integer arrays and plain numbers, from a fixed seed
    @W.reference              the same dict in float64 -> (value, *gradients), in plain NumPy
    @W.loss("jax", ...)       (inputs, peer) -> the loss as a function of (*wrt, *consts); the peer makes the
                              timed step of it: forward, gradients, or a step of gradient descent
    @W.step("numba")          (inputs, peer) -> the timed step itself, a function of no arguments

A name is a peer's or `peer:variant`, where a peer has two natural ways to say one thing. `kind` says what a
step returns:

    forward   (value,)
    grad      (value, *gradients with respect to `wrt`)
    sgd       (value, *parameters), after one step `p -= lr * gradient` on parameters that the peer keeps
    custom    whatever the reference returns; every peer has a step of its own

An output agrees where max|a - b| <= tolerance * max|b|. An sgd step is checked by the gradients that its
updates imply.

Imports: numpy and the standard library; no peer.
"""

import importlib
import pkgutil

import numpy as np

FAMILIES = {  # share every loss
    "torch": ("torch", "torch.compile", "torch.compile:func"),
    "drjit": ("drjit", "drjit:freeze"),
}


class Workload:
    def __init__(self, name, title, wrt, consts=(), kind="grad", tolerance=3e-4):
        self.name, self.title, self.wrt, self.consts = name, title, tuple(wrt), tuple(consts)
        self.kind, self.tolerance = kind, tolerance
        self.cases = ()
        self.steps = {}  # peer -> (inputs, engine) -> step

    def inputs(self, *cases):
        def register(make):
            self.cases, self._inputs = cases, make
            return make

        return register

    def reference(self, function):
        self._reference = function
        return function

    def step(self, *names):
        def register(make):
            self.steps.update(dict.fromkeys(names, make))
            return make

        return register

    def loss(self, *names):
        def register(make):
            register_step = self.step(*(full for name in names for full in FAMILIES.get(name, (name,))))
            register_step(lambda d, engine: self._step(make(d, engine), d, engine))
            return make

        return register

    def _step(self, loss, d, engine):
        wrt = [engine.array(d[k]) for k in self.wrt]
        consts = [engine.array(d[k]) for k in self.consts]
        match self.kind:
            case "forward":
                return engine.forward(loss, wrt, consts)
            case "grad":
                return engine.value_and_grad(loss, wrt, consts)
            case "sgd":
                return engine.sgd(loss, wrt, consts, d["lr"])

    def make(self, case):
        """The inputs of a case."""
        return self._inputs(case)

    def expected(self, d):
        """The reference's outputs for `d`, computed and returned in float64."""
        return [np.asarray(x, np.float64) for x in self._reference({k: _wide(v) for k, v in d.items()})]

    def error(self, d, expected, outputs):
        """The largest relative error of a step's outputs. Raises ValueError where count or sizes differ."""
        outputs = [np.asarray(x, np.float64) for x in outputs]
        if self.kind == "sgd":
            before = [np.asarray(d[k], np.float64) for k in self.wrt]
            outputs[1:] = [(old - new) / d["lr"] for old, new in zip(before, outputs[1:], strict=True)]
        if len(outputs) != len(expected):
            raise ValueError(f"{len(outputs)} outputs, expected {len(expected)}")
        return max(map(_error, outputs, expected))


def _wide(value):
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _error(got, want):
    if got.size != want.size:
        raise ValueError(f"an output of shape {got.shape}, expected {want.shape}")
    if not np.isfinite(got).all():
        return np.inf
    scale = np.max(np.abs(want), initial=0) or 1.0
    return float(np.max(np.abs(got.reshape(want.shape) - want), initial=0) / scale)


def load_all():
    """Every workload, in the order of the files' names."""
    from . import workloads

    names = sorted(module.name for module in pkgutil.iter_modules(workloads.__path__))
    return [importlib.import_module(f"{workloads.__name__}.{name}").W for name in names]
