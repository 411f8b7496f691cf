"""Dr.Jit's LLVM backend: traced anew at each call, or frozen with `dr.freeze`. Arrays are flat.

It needs a shared LLVM library of the system; without one it cannot be loaded and is left out.
"""

import drjit as dr
import numpy as np
from drjit.llvm.ad import Float, UInt

from . import Engine


class DrJit(Engine):
    dr, Float, UInt = dr, Float, UInt

    def array(self, a):
        made = (Float if a.dtype.kind == "f" else UInt)(np.ascontiguousarray(a).ravel())
        dr.eval(made)
        return made

    def compile(self, f):
        return f

    def forward(self, f, wrt, consts):
        compiled = self.compile(lambda *args: (f(*args),))
        return lambda: compiled(*wrt, *consts)

    def value_and_grad(self, f, wrt, consts):
        n = len(wrt)

        def step(*args):
            wrt = [Float(x) for x in args[:n]]
            dr.enable_grad(*wrt)
            value = f(*wrt, *args[n:])
            dr.backward(value)
            return dr.detach(value), *(dr.grad(x) for x in wrt)

        compiled = self.compile(step)
        return lambda: compiled(*wrt, *consts)

    def sync(self, out):
        dr.eval(*out)
        dr.sync_thread()

    def start(self):
        self.sync((Float(1, 2, 3) + 1,))


class Frozen(DrJit):
    def compile(self, f):
        return dr.freeze(f)


def make(name, threads):
    try:
        dr.set_thread_count(threads)
        Float(1) + 1
    except RuntimeError as problem:
        raise ImportError(f"drjit finds no LLVM library: {problem}") from None
    return {"drjit": DrJit, "drjit:freeze": Frozen}[name]()
