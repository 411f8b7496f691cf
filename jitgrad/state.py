"""What the running thread is doing: its grad mode, its recording, whether traced functions run eager.

One thread-local object, read on every operation, so it is plain attributes and nothing else.

Imports: the standard library.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from .ir.types import DType, f32

if TYPE_CHECKING:
    from .recording import Recording


_EAGER = os.environ.get("JITGRAD_EAGER", "0") not in ("", "0")  # as the process started, in every thread


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
