"""The errors of jitgrad's face, and where in the user's code they happened.

`user_location` finds the innermost frame that is not jitgrad's own; errors and recorded instructions are
blamed on it. Columns come from `co_positions`, cached by code object.

Imports: `state`, `ir.errors`, `ir.core`.
"""

from __future__ import annotations

import os
import sys
import weakref
from functools import partial
from types import CodeType, FrameType
from typing import Any

from .ir.core import Loc
from .ir.errors import (
    AxisError,
    BoundsError,
    DifferentiationError,
    DivisionByZero,
    DTypeError,
    JitgradError,
    ParseError,
    ShapeError,
    SideExit,
    VerifyError,
    excerpt,
)
from .state import state

__all__ = [
    "AxisError",
    "BoundsError",
    "ConcretizationError",
    "DTypeError",
    "DifferentiationError",
    "DivisionByZero",
    "InplaceError",
    "JitgradError",
    "LeakedTensorError",
    "ParseError",
    "ShapeError",
    "SideExit",
    "TraceError",
    "VerifyError",
    "excerpt",
    "user_location",
]


class TraceError(JitgradError, RuntimeError):
    """Something in a traced function that cannot be compiled and kept right. A recording in which one was
    raised fails with it, even if the function itself caught it: run eagerly, there would have been none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if state.recording is not None and state.recording.failure is None:
            state.recording.failure = self


class ConcretizationError(TraceError):
    """Python asked a tensor of a recording for its value."""


class LeakedTensorError(TraceError):
    """A tensor of a recording was used after the recording had ended."""


class InplaceError(JitgradError, RuntimeError):
    """A value needed for a gradient was overwritten, or may not be."""


_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_ROOTS = tuple(
    {_PACKAGE + os.sep, *(os.path.realpath(os.path.join(_PACKAGE, d)) + os.sep for d in ("ir", "codegen"))}
)
# By the id of a code object, for to hash one costs as much as to run it; an entry goes when its code object dies.
_own: dict[int, bool] = {}
_positions: dict[int, list[tuple[int | None, int | None, int | None, int | None]]] = {}
_codes: dict[int, weakref.ref[CodeType]] = {}


def _forget(number: int, _: object) -> None:
    for table in (_own, _positions, _codes):
        table.pop(number, None)


def is_own_code(code: CodeType) -> bool:
    """Whether `code` is part of jitgrad itself."""
    own = _own.get(id(code))
    if own is None:
        _codes[id(code)] = weakref.ref(code, partial(_forget, id(code)))
        # Normalised, for an entry of sys.path like `tools/..` is in the names of the files found by it.
        own = _own[id(code)] = os.path.abspath(code.co_filename).startswith(_ROOTS)
    return own


def user_frame(depth: int = 1) -> FrameType | None:
    """The innermost frame below the caller that runs the user's code."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and is_own_code(frame.f_code):
        frame = frame.f_back
    return frame


def user_location(depth: int = 1) -> Loc | None:
    """Where the user's code is right now; None if only jitgrad's own code is running."""
    frame = user_frame(depth + 1)
    return None if frame is None else location_of(frame)


def location_of(frame: FrameType) -> Loc:
    """Where the code that runs in `frame` is."""
    code = frame.f_code
    positions = _positions.get(id(code))
    if positions is None:
        is_own_code(code)  # notes when `code` dies
        positions = _positions[id(code)] = list(code.co_positions())
    line, end_line, col, end_col = positions[frame.f_lasti // 2]
    if line is None:
        return Loc(code.co_filename, frame.f_lineno or 0)
    if col is None or end_col is None or end_line != line:
        return Loc(code.co_filename, line, col or 0, 0)
    return Loc(code.co_filename, line, col, end_col)


def variable_name(value: object, depth: int = 1) -> str:
    """What the user's code calls `value`: a variable, or an attribute of one; '' if neither."""
    frame = user_frame(depth + 1)
    if frame is None:
        return ""
    names = frame.f_code.co_names
    seen = dict(frame.f_locals) | {n: frame.f_globals[n] for n in names if n in frame.f_globals}
    for name, x in seen.items():
        if x is value:
            return name
    for x in seen.values():
        attributes = getattr(x, "__dict__", None)
        for name in names:
            if isinstance(attributes, dict) and attributes.get(name) is value:
                return name
    return ""
