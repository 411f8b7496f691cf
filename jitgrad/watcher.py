"""Watching a recording: which of the user's code runs, and the first call that cannot be guarded.

A call into code whose result depends on hidden state, or that acts on the world (`random.random()`, `time.time()`,
`input()`, `print`: all that is not known to be `pure`), makes a recording good for the one call that made it. Such a
call often happens deep in a library (`logging.info` ends in a write to a file); it is named by what the user's code
called. User code is all but jitgrad, NumPy and the standard library.

Imports: `reads`, `pure`, `errors`.
"""

from __future__ import annotations

import gc
import os
import sys
import types
from typing import Any

import numpy as np

from .errors import Loc, is_own_code, location_of
from .pure import is_pure, named
from .reads import Beforehand

_NUMPY = os.path.dirname(np.__file__) + os.sep
_STDLIB = os.path.dirname(os.__file__) + os.sep
_PACKAGES = os.path.join(_STDLIB, "site-packages") + os.sep  # where others lie, if Python is no virtual environment


class Watcher:
    """Watches what runs in its `with` block.

    Uses `sys.setprofile`, restored on leaving; a profiler of the user's own goes on being called. Garbage is
    not collected meanwhile: what the collector's callbacks do is not the function's doing.
    """

    def __init__(self, before: Beforehand) -> None:
        self.before = before
        self.codes: dict[types.CodeType, dict[str, Any]] = {}  # code that ran, with its globals
        self.hidden: tuple[str, Loc | None] | None = None
        self.changed = ""  # what the function changed of what it can read
        self._builtins: list[tuple[types.FrameType, Any]] = []  # built-in functions that run, and who called them
        self._thresholds = gc.get_threshold()

    def __enter__(self) -> Watcher:
        self._thresholds = gc.get_threshold()
        gc.set_threshold(0)  # not gc.disable(), which the function could see
        self._profiler = sys.getprofile()  # the user's own
        sys.setprofile(self._watch(self._profiler))
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._profiler)
        self._builtins.clear()
        if gc.get_threshold()[0] == 0:
            gc.set_threshold(*self._thresholds)
        changed = self.before.changed()
        if changed:
            self.changed = f"it changes what it reads itself: {changed}"
        else:
            self.changed = self.before.excess
        self.before = Beforehand(None, ())  # holds nothing any more: what the function made must be free to die

    def _watch(self, profiler: Any) -> Any:
        """The function that is called at every call and return: most are our own, and those it lets go at once."""

        builtins = self._builtins

        def watch(frame: types.FrameType, event: str, arg: Any) -> None:
            if event == "call":
                if not is_own_code(frame.f_code):
                    self._called(frame)
            elif event == "c_call":
                if not is_own_code(frame.f_code):
                    self._called_builtin(frame, arg)
            elif builtins and event != "return" and builtins[-1][0] is frame:  # c_return, c_exception
                builtins.pop()
            if profiler is not None:
                profiler(frame, event, arg)

        return watch

    def _called(self, frame: types.FrameType) -> None:
        if not _helps_us(frame):
            self.codes[frame.f_code] = frame.f_globals
            self.before.enter(frame)

    def _called_builtin(self, frame: types.FrameType, function: Any) -> None:
        self._builtins.append((frame, function))
        if self.hidden is None and not is_pure(function) and not _helps_us(frame):
            self.hidden = self._by_user(frame, function)

    def _by_user(self, frame: types.FrameType, function: Any) -> tuple[str, Loc | None]:
        """The call in the user's code that led to that of the built-in `function` in `frame`, and where it is."""
        called: types.FrameType | None = None
        at = frame
        while _is_library(at) and at.f_back is not None and not is_own_code(at.f_back.f_code):
            called, at = at, at.f_back
        if called is not None:
            function = next((f for caller, f in self._builtins if caller is at), called)
        return _name(function), location_of(at)


def _is_library(frame: types.FrameType) -> bool:
    """Whether code of NumPy or of the standard library runs in `frame`."""
    file = frame.f_code.co_filename
    if file == "<string>":  # a generated method, or what a user gave to `python -c` or `exec`
        package = str(frame.f_globals.get("__name__")).split(".")[0]
        return package in ("jitgrad", "numpy") or package in sys.stdlib_module_names
    return file.startswith((_NUMPY, "<frozen ")) or (file.startswith(_STDLIB) and not file.startswith(_PACKAGES))


def _helps_us(frame: types.FrameType) -> bool:
    """Whether a library runs here on our own behalf, not on that of the user's code."""
    at: types.FrameType | None = frame
    while at is not None and _is_library(at):
        at = at.f_back
    return at is not None and at is not frame and is_own_code(at.f_code)


def _name(x: Any) -> str:
    """What users call the built-in function `x`, or the function that runs in the frame `x`."""
    if isinstance(x, types.FrameType):
        module, name, full = str(x.f_globals.get("__name__")), x.f_code.co_name, x.f_code.co_qualname
    else:
        (module, full), name = named(x), x.__name__
    if module == "builtins":
        return full
    public = "os" if module in ("posix", "nt") else module.lstrip("_")
    module = public if public in sys.modules else module
    found = getattr(sys.modules.get(module), name, None)  # as `random.shuffle` is Random.shuffle of one generator
    if isinstance(x, types.FrameType):
        same = getattr(getattr(found, "__func__", found), "__code__", None) is x.f_code
    else:
        same = found is not None and found == x
    return f"{module}.{name if same else full}"
