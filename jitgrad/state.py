"""What the running thread is doing: its grad mode, its recording, whether traced functions run eager.

One thread-local object, read on every operation, so it is plain attributes and nothing else.

Imports: `ir.types`.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from .ir.types import DType, f32

if TYPE_CHECKING:
    from .recording import Recording


_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def switch(name: str) -> bool:
    """Whether the environment variable `name` switches something on; unset or empty, it does not.

    Raises ValueError for a value that is none of 1, true, yes, on, 0, false, no, off (in either case).
    """
    value = os.environ.get(name, "").strip()
    if value and value.lower() not in _SWITCH:
        raise ValueError(f"the environment variable {name} is one of {', '.join(_SWITCH)}, or empty; got {value!r}")
    return _SWITCH[value.lower()] if value else False


_EAGER = switch("JITGRAD_EAGER")  # as the process started, in every thread


class _State(threading.local):
    def __init__(self) -> None:
        self.grad_enabled = True
        self.recording: Recording | None = None
        self.transforms = 0  # how many value_and_grad calls enclose what runs now
        self.eager = _EAGER


class _Defaults:
    """Process-wide defaults."""

    dtype: DType = f32


state = _State()
defaults = _Defaults()
