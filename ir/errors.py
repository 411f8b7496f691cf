"""The errors that the IR and its users raise: what is wrong, where, how to mend it.

Each class is also the standard class that its meaning has in Python, and the one torch raises, so that
`except ValueError` and `except RuntimeError` both find a shape error. An error carries its parts
(`message`, `hint`, the user's line) and composes its text from them, so whoever knows the line can add
it after the error was made.

Imports: the standard library only.
"""

from __future__ import annotations

import linecache
from typing import Self


class JitgradError(Exception):
    """Base class of jitgrad's own errors: `message`, then the user's line, then a hint."""

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        self.message = message
        self.hint = hint
        self.where = where
        super().__init__(message)

    def __str__(self) -> str:
        lines = [str(self.message)]
        if self.where:
            lines.append(self.where)
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def at(self, where: str) -> Self:
        """This error, blamed on a source excerpt (see `excerpt`) unless it already has one."""
        self.where = self.where or where
        return self


class ShapeError(JitgradError, RuntimeError, ValueError):
    """Shapes that do not fit each other or the op."""


class DTypeError(JitgradError, RuntimeError, TypeError):
    """Dtypes that do not fit each other or the op."""


class AxisError(JitgradError, IndexError, RuntimeError):
    """An axis that the tensor has not."""


class BoundsError(JitgradError, IndexError, RuntimeError):
    """An index outside its axis."""


class DivisionByZero(JitgradError, ZeroDivisionError, RuntimeError):
    """An integer divided by zero."""


class VerifyError(JitgradError, ValueError):
    """A function that breaks an invariant of the IR."""


class ParseError(JitgradError, ValueError):
    """Text that is not a function of the IR."""


class DifferentiationError(JitgradError, RuntimeError):
    """A derivative that does not exist, with the reason the op gives."""


class SideExit(JitgradError, RuntimeError):
    """A guard took a way that has not been recorded."""


def excerpt(file: str, line: int, col: int = 0, end_col: int = 0) -> str:
    """The source line with a caret under its columns, indented for an error message."""
    head = f"  {file}:{line}   "
    source = linecache.getline(file, line).rstrip()
    text = source.lstrip()
    if not text:
        return head.rstrip()
    shown = head + text
    if end_col > col:
        start = len(head) + col - (len(source) - len(text))
        shown += "\n" + " " * start + "^" * (min(end_col, len(source)) - col)
    return shown
