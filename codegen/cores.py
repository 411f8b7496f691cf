"""How many threads a call may use: what the system lets this process have, and what the user says.

`available()` is the smallest of the cores of the affinity mask (or what `-X cpu_count` and PYTHON_CPU_COUNT say in its
place), of the machine, and of the CPU time that cgroups grant, rounded up: version 2 and version 1, those above the
process's own too. It is read when first needed, and anew in a forked child, for children are often pinned.

The number for a call is that of the innermost `threads` around it in the calling thread, else the process's. It
changes no result: what is shared out, and in which pieces, is fixed when a program is compiled.

Imports: the standard library.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

VARIABLE = "JITGRAD_NUM_THREADS"


@cache
def available() -> int:
    """How many cores this process may use."""
    counted = os.process_cpu_count() if hasattr(os, "process_cpu_count") else _affinity()  # the former since 3.13
    return max(math.ceil(min(counted or 1, os.cpu_count() or 1, granted())), 1)


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def granted(process: Path = Path("/proc/self")) -> float:
    """The CPU time a second that cgroups let this process have, in seconds; inf where they set no limit."""
    try:
        mounts = (process / "mountinfo").read_text().splitlines()
        groups = (process / "cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return math.inf
    paths = {names: path for _, names, path in (line.split(":", 2) for line in groups if line.count(":") >= 2)}
    limits = [math.inf]
    for line in mounts:
        # ... root mount-point options ... - type source options; in these, blanks are \040
        left, _, right = line.partition(" - ")
        fields, (kind, *_, options) = left.split(), [*right.split(), "", ""][:3]
        if kind == "cgroup2":
            group = paths.get("")
        elif kind == "cgroup" and "cpu" in options.split(","):
            group = next((p for names, p in paths.items() if "cpu" in names.split(",")), None)
        else:
            continue
        if group is not None and len(fields) > 4:
            limits += map(_limit, _upwards(Path(fields[4].replace("\\040", " ")), fields[3], group))
    return min(limits)


def _upwards(mount: Path, root: str, group: str) -> list[Path]:
    """The folders of a group and of those above it, where `root` of their hierarchy is mounted at `mount`."""
    path = PurePosixPath(group)
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
    return [mount / part for part in (inside, *inside.parents) if ".." not in part.parts]


def _limit(folder: Path) -> float:
    """The seconds a second that one group grants."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if quota != "max" and float(quota) > 0 and float(period) > 0:
                return float(quota) / float(period)
    return math.inf


def from_environment() -> int | None:
    """What JITGRAD_NUM_THREADS says; None where it is unset or empty. Raises ValueError for what is no positive
    integer."""
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ValueError(f"the environment variable {VARIABLE} is a positive integer, or empty; got {value!r}")
    return int(value)


class _Process:
    number: int | None = from_environment()


class _Thread(threading.local):
    number: int | None = None


_process, _thread = _Process(), _Thread()


def number() -> int:
    """How many threads a call from this thread may use."""
    return _thread.number or _process.number or available()


def set_number(n: int) -> None:
    """For all threads of the process, now and later, but inside a `threads_at_most`."""
    _process.number = n


@contextlib.contextmanager
def threads_at_most(n: int) -> Iterator[None]:
    """Calls from this thread use up to `n` threads inside."""
    before, _thread.number = _thread.number, n
    try:
        yield
    finally:
        _thread.number = before


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=available.cache_clear)
