"""Numba: forward and backward written by hand in loops, as somebody after the machine's limit would."""

import numba
import numpy as np

from . import Engine


class Numba(Engine):
    def start(self):
        @numba.njit(parallel=True, fastmath=True)
        def increment(x):
            for i in numba.prange(x.size):
                x[i] += 1

        increment(np.ones(3, np.float32))


def make(name, threads):
    numba.set_num_threads(threads)
    return Numba()
