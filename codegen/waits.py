"""Waiting for other threads: the one place that knows the operating system, as LLVM text that `threads` calls.

    void @rest(ptr %pool, i32 %number, i32 %who)      return when the word at EPOCH may no longer hold `number`
    void @rouse(ptr %pool, i32 %whom)                 let those rest no longer who are in the mask `whom`, or all
    void @give_way(ptr %pool)                         let another thread run

Both rest and rouse may let threads go that need not. The word is written before `@rouse`, and `@rest` compares it
and goes to sleep in one step that no `@rouse` can fall between. Functions of the system are called by pointers that
stand in the pool from SYSTEM on.

    futex      Linux on x86-64 and AArch64
    pthread    other POSIX systems: one mutex and one condition for all
    windows    WaitOnAddress, of Windows 8 and later

The first two run in the tests, on Linux; the last is compiled for its systems there, and has not been run.

Imports: the standard library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

EPOCH = 4  # bytes from the pool's beginning: the upper half of its first word
SYSTEM = 256  # bytes
SLOTS = 7
Addresses = Callable[[], list[int]]


@dataclass(frozen=True, slots=True)
class Waits:
    """`text`: LLVM functions. `addresses`: makes what stands in the pool's slots; in a forked child, again."""

    text: str
    addresses: Addresses


def lasting_memory(nbytes: int) -> int:
    """The address of zeros that are never given back: threads rest on them to the last moment of the process."""
    memory = (ctypes.c_char * nbytes)()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
    return ctypes.addressof(memory)


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _slots(*names: str, first: int = 0) -> str:
    """LLVM text that loads the pointers of slots, from number `first` on."""
    lines = []
    for i, name in enumerate(names, first):
        lines.append(f"  %{name}.at = getelementptr i8, ptr %pool, i64 {SYSTEM + 8 * i}\n")
        lines.append(f"  %{name} = load ptr, ptr %{name}.at\n")
    return "".join(lines)


_WORD = f"  %word = getelementptr i8, ptr %pool, i64 {EPOCH}\n"


def _give_way(slot: int) -> str:
    return f"""define internal void @give_way(ptr %pool) {{
{_slots("yield", first=slot)}  %ignored = call i32 %yield()
  ret void
}}
"""


def futex(number: int) -> Waits:
    """`number`: of the system call."""
    wait, wake, everyone = 9 | 128, 10 | 128, 2**31 - 1  # FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET, both private
    call = f"call i64 (i64, ...) %call(i64 {number}, ptr %word, i32"
    text = f"""define internal void @rest(ptr %pool, i32 %number, i32 %who) {{
{_WORD}{_slots("call")}  %woken = {call} {wait}, i32 %number, ptr null, ptr null, i32 %who)
  ret void
}}
define internal void @rouse(ptr %pool, i32 %whom) {{
{_WORD}{_slots("call")}  %woken = {call} {wake}, i32 {everyone}, ptr null, ptr null, i32 %whom)
  ret void
}}
{_give_way(1)}"""

    def addresses() -> list[int]:
        libc = ctypes.CDLL(None)
        return [_address(libc.syscall), _address(libc.sched_yield)]

    return Waits(text, addresses)


_OPAQUE = 256  # bytes: more than a mutex or a condition has on any system


def pthread() -> Waits:
    slots = _slots("mutex", "condition", "lock", "unlock", "wait", "broadcast")
    text = f"""define internal void @rest(ptr %pool, i32 %number, i32 %who) {{
{_WORD}{slots}  %locked = call i32 %lock(ptr %mutex)
  br label %look
look:
  %now = load atomic i32, ptr %word monotonic, align 4
  %same = icmp eq i32 %now, %number
  br i1 %same, label %sleep, label %done
sleep:
  %slept = call i32 %wait(ptr %condition, ptr %mutex)
  br label %look
done:
  %unlocked = call i32 %unlock(ptr %mutex)
  ret void
}}
define internal void @rouse(ptr %pool, i32 %whom) {{
{slots}  %locked = call i32 %lock(ptr %mutex)
  %unlocked = call i32 %unlock(ptr %mutex)
  %woken = call i32 %broadcast(ptr %condition)
  ret void
}}
{_give_way(6)}"""

    def addresses() -> list[int]:
        libc = ctypes.CDLL(None)
        mutex = lasting_memory(2 * _OPAQUE)  # a mutex, then a condition
        if libc.pthread_mutex_init(ctypes.c_void_p(mutex), None):
            raise OSError("pthread_mutex_init failed")
        if libc.pthread_cond_init(ctypes.c_void_p(mutex + _OPAQUE), None):
            raise OSError("pthread_cond_init failed")
        names = ("mutex_lock", "mutex_unlock", "cond_wait", "cond_broadcast")
        functions = [_address(getattr(libc, f"pthread_{name}")) for name in names]
        return [mutex, mutex + _OPAQUE, *functions, _address(libc.sched_yield)]

    return Waits(text, addresses)


def windows() -> Waits:
    text = f"""define internal void @rest(ptr %pool, i32 %number, i32 %who) {{
{_WORD}{_slots("wait")}  %compared = alloca i32
  store i32 %number, ptr %compared
  %woken = call i32 %wait(ptr %word, ptr %compared, i64 4, i32 -1)
  ret void
}}
define internal void @rouse(ptr %pool, i32 %whom) {{
{_WORD}{_slots("wake", first=1)}  call void %wake(ptr %word)
  ret void
}}
{_give_way(2)}"""

    def addresses() -> list[int]:
        dlls = ctypes.CDLL("kernelbase"), ctypes.CDLL("kernel32")
        found = dlls[0].WaitOnAddress, dlls[0].WakeByAddressAll, dlls[1].SwitchToThread
        return [_address(f) for f in found]

    return Waits(text, addresses)


_FUTEX = {"x86_64": 202, "aarch64": 98}  # the numbers of the system call


def waits(triple: str) -> Waits | None:
    """How threads wait on the system that `triple` names; None where that is not known."""
    machine, *rest = triple.split("-")
    system = "-".join(rest)
    if "linux" in system and machine in _FUTEX:
        return futex(_FUTEX[machine])
    if "windows" in system:
        return windows()
    known = ("darwin", "macos", "linux", "bsd")
    return pthread() if any(name in system for name in known) else None
