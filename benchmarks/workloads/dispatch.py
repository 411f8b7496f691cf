"""x*2+y on four elements: nothing but the cost of a call."""

import numpy as np

from ..workload import Workload

W = Workload("dispatch", "x*2+y", wrt=("x", "y"), kind="forward")


@W.inputs("4 floats")
def inputs(case):
    rng = np.random.default_rng(1)
    return {"x": rng.standard_normal(4, np.float32), "y": rng.standard_normal(4, np.float32)}


@W.reference
def reference(d):
    return (d["x"] * 2 + d["y"],)


@W.loss("jitgrad", "torch", "jax", "autograd", "drjit")
def operators(d, peer):
    return lambda x, y: x * 2 + y


@W.step("numba")
def numba(d, peer):
    import numba

    x, y = peer.array(d["x"]), peer.array(d["y"])
    compiled = numba.njit(lambda x, y: x * 2 + y)
    return lambda: (compiled(x, y),)
