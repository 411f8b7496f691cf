"""One engine for each peer: how it makes arrays, differentiates, compiles and waits.

Each module here imports its peer and has `make(name, threads)`, which returns an `Engine`. A peer's name may
end in `:variant`: the same system used in another way.

Imports: the peers' modules, when `load` is asked for one.
"""

import importlib

import numpy as np

MODULES = {
    "jitgrad": "jitgrad_",
    "torch": "torch_",
    "torch.compile": "torch_",
    "torch.compile:func": "torch_",
    "jax": "jax_",
    "numba": "numba_",
    "autograd": "autograd_",
    "drjit": "drjit_",
    "drjit:freeze": "drjit_",
}
NAMES = tuple(MODULES)


class Engine:
    """What a peer does; the defaults serve one that works on NumPy arrays."""

    def array(self, a):
        """A NumPy array as the peer's own, sharing nothing with it."""
        return a.copy()

    def forward(self, f, wrt, consts):
        """A step that returns (f(*wrt, *consts),)."""
        raise NotImplementedError

    def value_and_grad(self, f, wrt, consts):
        """A step that returns (value, *gradients with respect to wrt)."""
        raise NotImplementedError

    def sgd(self, f, params, consts, lr):
        """A step that updates the parameters it keeps and returns (value, *parameters)."""
        raise NotImplementedError

    def sync(self, out):
        """Wait until a step's results are there."""

    def numpy(self, out):
        """A step's results as NumPy copies."""
        return [np.array(x) for x in out]

    def begin_case(self):
        """Forget what was compiled before."""

    def start(self):
        """Compile something trivial, so that no workload pays for the compiler's own start."""


def load(name, threads):
    """The engine of a peer. Raises ImportError where it is not installed."""
    return importlib.import_module(f".{MODULES[name]}", __name__).make(name, threads)
