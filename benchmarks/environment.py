"""What must stand before a peer is imported, and what machine and versions the figures belong to.

Imports: the standard library.
"""

import atexit
import contextlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path

THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they would choose OpenBLAS's kernels for another processor
DISTRIBUTIONS = ("jitgrad", "torch", "jax", "numba", "autograd", "drjit", "llvmlite", "numpy")


def prepare(threads):
    """Give this process `threads` cores, the libraries' own choice of kernels, and empty on-disk caches, so that
    first calls compile."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ.update(dict.fromkeys(THREAD_COUNTS, str(threads)))
    for name in OVERRIDES:
        os.environ.pop(name, None)
    caches = tempfile.mkdtemp(prefix="jitgrad-bench-")
    atexit.register(shutil.rmtree, caches, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = caches
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(caches, "inductor")
    os.environ["TORCHINDUCTOR_FX_GRAPH_CACHE"] = "0"
    os.environ["TORCHINDUCTOR_AUTOGRAD_CACHE"] = "0"
    return caches


@contextlib.contextmanager
def realtime():
    """Every thread of this process before every other process, where cores are shared. Linux; needs the right to.

    Raises PermissionError.
    """
    _schedule(os.SCHED_RR, 1)
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER, 0)


def _schedule(policy, priority):
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # one that has just ended
            os.sched_setscheduler(int(thread), policy, os.sched_param(priority))


def machine():
    return {"cpu": _cpu(), "system": platform.platform(), "python": platform.python_version()}


def _cpu():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else ()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def versions():
    """Version of each distribution that is installed."""
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return {name: found[name] for name in DISTRIBUTIONS if name in found}
