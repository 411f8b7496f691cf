"""How many threads compiled code uses: `set_num_threads`, `get_num_threads`, `threads`.

The number changes how long a call takes, never a bit of its results. The default is what the environment variable
JITGRAD_NUM_THREADS says, else the cores that affinity and cgroups let this process have (see `codegen.cores`).

Imports: `errors`, `state`, `codegen.cores`.
"""

from __future__ import annotations

import operator
from contextlib import AbstractContextManager

from .codegen import cores
from .errors import TraceError
from .state import state


def set_num_threads(num_threads: int) -> None:
    """Let each compiled call use up to `num_threads` threads, the caller among them, in the whole process.

    Threads start when they are first needed and sleep between calls; at most 64 work on one kernel. Calls from
    several threads at once share them: one is helped, the others run alone. Eager operations are NumPy's and are not
    affected. Raises TypeError for what is no int, RuntimeError below 1 (both as torch does), TraceError in a traced
    function.
    """
    _outside("set_num_threads()")
    cores.set_number(_positive("set_num_threads", num_threads))


def get_num_threads() -> int:
    """How many threads a compiled call from this thread may use. Raises TraceError in a traced function, which would
    not see the number change."""
    _outside("get_num_threads()")
    return cores.number()


def threads(num_threads: int) -> AbstractContextManager[None]:
    """A context manager: inside, compiled calls from this thread use up to `num_threads` threads.

    It nests, and leaves other threads as they are. Raises what `set_num_threads` raises.
    """
    _outside("threads()")
    return cores.threads_at_most(_positive("threads", num_threads))


def _positive(name: str, n: int) -> int:
    try:
        if isinstance(n, bool):
            raise TypeError
        number = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} expects an int, but got {type(n).__name__}") from None
    if number < 1:
        raise RuntimeError(f"{name} expects a positive integer, but got {number}")
    return number


def _outside(what: str) -> None:
    if state.recording is not None:
        raise TraceError(
            f"{what} inside a traced function would run once, when it is recorded", hint="call it outside"
        )
