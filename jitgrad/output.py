"""What the command writes to stdout: plain UTF-8 into a pipe or a file, coloured IR on a terminal.

Invariants: what goes wrong in writing is an OutputError, and nothing else is.
Imports: the standard library only.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_COLOURS = (
    (r"@ .*$", "2"),  # locations
    (r";.*$", "2"),  # comments
    (r"%[\w.]+", "36"),
    (r"\b(?:bool|[uif]\d+)\[[\d,]*\]", "32"),
    (r"\b(?:func|return|guard)\b|(?<== )\w+", "1"),
)
_PATTERN = re.compile("|".join(f"({p})" for p, _ in _COLOURS), re.MULTILINE)


class OutputError(Exception):
    """Output that cannot be written. `closed`: its reader has seen enough."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error) or type(error).__name__)
        self.closed = isinstance(error, BrokenPipeError)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error) from None


def prepare() -> None:
    """Let stdout take any text: as UTF-8 in a pipe or file, as far as it goes on a terminal."""
    if sys.stdout is None:  # closed by the caller
        raise OutputError(OSError(errno.EBADF, "it is closed"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
        with _writing():
            sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def drop() -> None:
    """Let what is still in the buffer of stdout go nowhere, for Python would try again to write it."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(text: str, ir: bool = False) -> None:
    """Print `text`; on a terminal the IR is coloured."""
    if ir and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        text = _PATTERN.sub(lambda m: f"\x1b[{_COLOURS[(m.lastindex or 1) - 1][1]}m{m[0]}\x1b[0m", text)
    with _writing():
        sys.stdout.write(text if text.endswith("\n") else text + "\n")


def flush() -> None:
    """Write what is in the buffer of stdout."""
    with _writing():
        sys.stdout.flush()
