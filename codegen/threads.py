"""Fork and join in native code: a kernel's chunks are taken by the calling thread and by workers.

    void @parallel(ptr %pool, ptr %function, ptr %context, i64 %count)     function(context, 0), ..., (count - 1)
    void @worker(ptr %pool)                                               never returns

A job is a ticket: one 64-bit word of the job's number, its count of chunks and the next chunk to take. Whoever
takes a chunk raises the word by one, by compare and exchange: it succeeds only while that job is on, and while
it is on its function and context stay. The caller takes chunks like any worker and waits only for chunks that
others have begun: a worker that the system does not run delays nothing. A second caller, while the pool is
busy, runs its chunks alone. Idle workers spin for some tens of microseconds, stay awake for
some hundreds more, in which whoever wants the core gets it, then sleep on a futex: to be woken costs 40 to 200
microseconds, more than most kernels take, and Python comes back with the next call sooner than that.

There are workers on Linux on x86-64 and AArch64, one less than the process may use cores; elsewhere the caller
does all chunks. A forked child has none of them: its pool is emptied.

Imports: `target`. llvmlite is imported by `compiler`, which links this module's text.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from functools import cache

PARALLEL, POOL, WORKER = "parallel", "pool", "worker"
SPINS = 3000  # pauses of some 10 to 40 ns: before a worker, or a caller that waits, lets others run
YIELDS = 500  # times that an idle worker lets others run, some 0.5 us each where nobody wants to, before it sleeps
_FUTEX = {"x86_64": 202, "aarch64": 98}  # the numbers of the system calls
_YIELD = {"x86_64": 24, "aarch64": 124}
_PAUSE = {"x86_64": "@llvm.x86.sse2.pause()", "aarch64": "@llvm.aarch64.hint(i32 1)"}
MOST = 16

# The pool: ticket (i64: job 32 bits, count 16, next 16), function, context, done, busy, sleepers, workers, syscall.
_FIELDS = ("ticket", "function", "context", "done", "busy", "sleepers", "workers", "syscall")
_AT = {name: 8 * i for i, name in enumerate(_FIELDS)}
_Pool = ctypes.c_int64 * len(_FIELDS)


def cores() -> int:
    """How many cores this process may use for kernels."""
    if sys.platform != "linux" or platform.machine() not in _FUTEX:
        return 1
    return min(len(os.sched_getaffinity(0)), MOST)


def runtime_text(triple: str) -> str:
    """The LLVM module of `@parallel` and `@worker`."""
    machine = platform.machine()
    call, give_way, pause = _FUTEX.get(machine, 0), _YIELD.get(machine, 0), _PAUSE.get(machine, "")
    fields = "\n".join(f"  %{n} = getelementptr i8, ptr %pool, i64 {at}" for n, at in _AT.items())
    epoch = "  %epoch = getelementptr i8, ptr %pool, i64 4"
    return f'''target triple = "{triple}"
declare void {pause.replace("i32 1", "i32")}

define internal i1 @take(ptr %pool) {{
{fields}
  %now = load atomic i64, ptr %ticket acquire, align 8
  %next = and i64 %now, 65535
  %shifted = lshr i64 %now, 16
  %count = and i64 %shifted, 65535
  %some = icmp ult i64 %next, %count
  br i1 %some, label %try, label %none
try:
  %f = load atomic ptr, ptr %function monotonic, align 8
  %c = load atomic ptr, ptr %context monotonic, align 8
  %more = add i64 %now, 1
  %exchanged = cmpxchg ptr %ticket, i64 %now, i64 %more acq_rel acquire
  %mine = extractvalue {{ i64, i1 }} %exchanged, 1
  br i1 %mine, label %run, label %again
run:
  call void %f(ptr %c, i64 %next)
  %before = atomicrmw add ptr %done, i64 1 release
  br label %again
again:
  ret i1 true
none:
  ret i1 false
}}

define void @parallel(ptr %pool, ptr %work, ptr %data, i64 %n) {{
entry:
{fields}
{epoch}
  %alone = load atomic i64, ptr %workers monotonic, align 8
  %idle = icmp eq i64 %alone, 0
  br i1 %idle, label %serial, label %claim
claim:
  %claimed = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic
  %won = extractvalue {{ i64, i1 }} %claimed, 1
  br i1 %won, label %post, label %serial
post:
  store atomic ptr %work, ptr %function monotonic, align 8
  store atomic ptr %data, ptr %context monotonic, align 8
  store atomic i64 0, ptr %done monotonic, align 8
  %old = load atomic i64, ptr %ticket monotonic, align 8
  %job = lshr i64 %old, 32
  %job1 = add i64 %job, 1
  %high = shl i64 %job1, 32
  %middle = shl i64 %n, 16
  %fresh = or i64 %high, %middle
  store atomic i64 %fresh, ptr %ticket seq_cst, align 8
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  br i1 %any, label %wake, label %help
wake:
  %sys = load ptr, ptr %syscall
  %woken = call i64 (i64, ...) %sys(i64 {call}, ptr %epoch, i32 129, i32 2147483647, ptr null, ptr null, i32 0)
  br label %help
help:
  %took = call i1 @take(ptr %pool)
  br i1 %took, label %help, label %wait
wait:
  %w = phi i64 [ 0, %help ], [ %w1, %pause ], [ %w1, %yield ]
  %finished = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %finished, %n
  br i1 %all, label %free, label %pause
pause:
  call void {pause}
  %w1 = add i64 %w, 1
  %long = icmp ugt i64 %w1, {SPINS}
  br i1 %long, label %yield, label %wait
yield:
  %sys2 = load ptr, ptr %syscall
  %yielded = call i64 (i64, ...) %sys2(i64 {give_way})
  br label %wait
free:
  store atomic i64 0, ptr %busy release, align 8
  ret void
serial:
  %i = phi i64 [ 0, %entry ], [ 0, %claim ], [ %i1, %serial ]
  call void %work(ptr %data, i64 %i)
  %i1 = add i64 %i, 1
  %on = icmp ult i64 %i1, %n
  br i1 %on, label %serial, label %end
end:
  ret void
}}

define void @worker(ptr %pool) {{
entry:
{fields}
{epoch}
  br label %look
look:
  %took = call i1 @take(ptr %pool)
  br i1 %took, label %look, label %idle
idle:
  %seen = load atomic i64, ptr %ticket acquire, align 8
  br label %spin
spin:
  %k = phi i64 [ 0, %idle ], [ %k1, %spun ], [ %k1, %yield ]
  call void {pause}
  %now = load atomic i64, ptr %ticket monotonic, align 8
  %same = icmp eq i64 %now, %seen
  br i1 %same, label %spun, label %look
spun:
  %k1 = add i64 %k, 1
  %patient = icmp ult i64 %k1, {SPINS}
  br i1 %patient, label %spin, label %linger
linger:
  %sys = load ptr, ptr %syscall
  %tired = icmp uge i64 %k1, {SPINS + YIELDS}
  br i1 %tired, label %sleep, label %yield
yield:
  %yielded = call i64 (i64, ...) %sys(i64 {give_way})
  br label %spin
sleep:
  %high = lshr i64 %seen, 32
  %number = trunc i64 %high to i32
  %up = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %slept = call i64 (i64, ...) %sys(i64 {call}, ptr %epoch, i32 128, i32 %number, ptr null, ptr null, i32 0)
  %down = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %look
}}
'''


@cache
def pool() -> ctypes.Array[ctypes.c_int64]:
    """The pool of this process, its workers not yet running. It lives as long as they do, which is longer than the
    interpreter: its references are never all given back."""
    made = _Pool()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
    if cores() > 1:
        libc = ctypes.CDLL(None)
        made[_FIELDS.index("syscall")] = ctypes.cast(libc.syscall, ctypes.c_void_p).value or 0
        os.register_at_fork(after_in_child=_empty)
    return made


def _empty() -> None:
    """In a forked child: the workers stayed behind, and whoever kept the pool busy too."""
    for name in ("ticket", "done", "busy", "sleepers", "workers"):
        pool()[_FIELDS.index(name)] = 0


def start(worker: int) -> None:
    """Start the workers, given the address of `@worker`: as many as the system lets us have."""
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(worker)
    started = 0
    for i in range(cores() - 1):
        # Daemons: they wait in native code for ever, and end with the process.
        thread = threading.Thread(target=run, args=(ctypes.addressof(pool()),), daemon=True, name=f"jitgrad-{i}")
        try:
            thread.start()
        except RuntimeError:  # no more threads
            break
        started += 1
    pool()[_FIELDS.index("workers")] = started
