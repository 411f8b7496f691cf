"""Fork and join in native code: a kernel's chunks are taken by the calling thread and by workers.

    void @parallel(ptr %pool, ptr %function, ptr %context, i64 %count, i64 %most)
    void @worker(ptr %pool, i64 %who)                                                 never returns

`@parallel` runs function(context, 0), ..., (count - 1) on up to `most` threads, the caller among them, and returns
when they are done.

A job is a ticket: one 64-bit word of the job's number, the first chunk that is left and the one after the last. Who
takes a chunk moves one of these bounds by compare and exchange: it succeeds only while that job is on, and while
it is on its function, its context and its number of helpers stay. The caller takes chunks from the front and workers
take them from the back, so that in kernel after kernel a chunk tends to meet the core whose cache has its data. The
caller waits only for chunks that others have begun: a worker that the system does not run, or that does not exist,
delays nothing. Worker `who` helps where who < helpers. Idle workers spin for some tens of microseconds, then rest
(see `waits`); the bits of those that rest stand in `resting`, and only a caller that wants one of them pays for a
system call.

One caller at a time has the pool. Others, and those that may use one thread, run their chunks alone; so many
workers fewer help, so that callers and helpers together are no more than the threads that were asked for.

Workers start when code in chunks first runs with more than one thread, and more of them when more are asked for;
they rest for as long as the process lives. A forked child has none of them: its pool is emptied, and filled again at
its own first need. Where `waits` does not know the system, the caller does all chunks.

Imports: `cores`, `waits`. llvmlite is imported by `compiler`, which links this module's text.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
from typing import Any

from . import cores
from .waits import SLOTS, SYSTEM, Waits, lasting_memory, waits

PARALLEL, POOL, WORKER = "parallel", "pool", "worker"
SPINS = 3000  # pauses of some 10 to 40 ns: before a worker sleeps, before a caller that waits lets others run
MOST = 64  # threads of one kernel: their workers' bits fit into `resting`
_PAUSE = {"x86_64": "@llvm.x86.sse2.pause()", "aarch64": "@llvm.aarch64.hint(i32 1)"}
_PAUSE["arm64"] = _PAUSE["aarch64"]

# Where the pool's words stand: a cache line for what a job is, for what is counted in it, for who is there; then
# what `waits` keeps.
_AT = {
    "ticket": 0, "function": 8, "context": 16, "helpers": 24,
    "done": 64,
    "resting": 128, "busy": 136, "alone": 144, "workers": 152,
}
_LINE = 64
_BYTES = SYSTEM + 8 * SLOTS


def runtime_text(triple: str, system: Waits | None) -> str:
    """The LLVM module of `@parallel` and `@worker`. Without a `system` nobody waits: there are no workers."""
    pause = _PAUSE.get(triple.split("-")[0])
    spin = f"call void {pause}" if pause else ""
    declared = f"declare void {pause.replace('i32 1', 'i32')}" if pause else ""
    fields = "\n".join(f"  %{n} = getelementptr i8, ptr %pool, i64 {at}" for n, at in _AT.items())
    return f'''target triple = "{triple}"
{declared}
declare i64 @llvm.smin.i64(i64, i64)
{_NO_WAITS if system is None else system.text}
define internal {{ i1, i64 }} @take(ptr %pool, i64 %who) {{
{fields}
  %now = load atomic i64, ptr %ticket acquire, align 8
  %shifted = lshr i64 %now, 16
  %first = and i64 %shifted, 65535
  %end = and i64 %now, 65535
  %some = icmp ult i64 %first, %end
  br i1 %some, label %look, label %none
look:
  %wanted = load atomic i64, ptr %helpers monotonic, align 8
  %may = icmp slt i64 %who, %wanted
  br i1 %may, label %try, label %none
try:
  %f = load atomic ptr, ptr %function monotonic, align 8
  %c = load atomic ptr, ptr %context monotonic, align 8
  %caller = icmp slt i64 %who, 0
  %last = sub i64 %end, 1
  %chunk = select i1 %caller, i64 %first, i64 %last
  %step = select i1 %caller, i64 65536, i64 -1
  %left = add i64 %now, %step
  %exchanged = cmpxchg ptr %ticket, i64 %now, i64 %left acq_rel acquire
  %mine = extractvalue {{ i64, i1 }} %exchanged, 1
  br i1 %mine, label %run, label %again
run:
  call void %f(ptr %c, i64 %chunk)
  %before = atomicrmw add ptr %done, i64 1 release
  br label %again
again:
  ret {{ i1, i64 }} {{ i1 true, i64 0 }}
none:
  %found = insertvalue {{ i1, i64 }} {{ i1 false, i64 0 }}, i64 %now, 1
  ret {{ i1, i64 }} %found
}}

define void @{PARALLEL}(ptr %pool, ptr %work, ptr %data, i64 %n, i64 %most) {{
entry:
{fields}
  %there = load atomic i64, ptr %workers monotonic, align 8
  %apart = load atomic i64, ptr %alone monotonic, align 8
  %free = sub i64 %there, %apart
  %others = sub i64 %most, 1
  %asked = call i64 @llvm.smin.i64(i64 %others, i64 %free)
  %pieces = sub i64 %n, 1
  %count = call i64 @llvm.smin.i64(i64 %asked, i64 %pieces)
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %claim, label %serial
claim:
  %claimed = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic
  %won = extractvalue {{ i64, i1 }} %claimed, 1
  br i1 %won, label %post, label %serial
post:
  store atomic ptr %work, ptr %function monotonic, align 8
  store atomic ptr %data, ptr %context monotonic, align 8
  store atomic i64 %count, ptr %helpers monotonic, align 8
  store atomic i64 0, ptr %done monotonic, align 8
  %old = load atomic i64, ptr %ticket monotonic, align 8
  %job = lshr i64 %old, 32
  %job1 = add i64 %job, 1
  %high = shl i64 %job1, 32
  %fresh = or i64 %high, %n
  store atomic i64 %fresh, ptr %ticket seq_cst, align 8
  %asleep = load atomic i64, ptr %resting seq_cst, align 8
  %above = shl i64 -1, %count
  %below = xor i64 %above, -1
  %needed = and i64 %asleep, %below
  %any = icmp ne i64 %needed, 0
  br i1 %any, label %wake, label %help
wake:
  %upper = lshr i64 %needed, 32
  %both = or i64 %upper, %needed
  %whom = trunc i64 %both to i32
  call void @rouse(ptr %pool, i32 %whom)
  br label %help
help:
  %taken = call {{ i1, i64 }} @take(ptr %pool, i64 -1)
  %took = extractvalue {{ i1, i64 }} %taken, 0
  br i1 %took, label %help, label %wait
wait:
  %w = phi i64 [ 0, %help ], [ %w1, %pause ], [ %w1, %yield ]
  %finished = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %finished, %n
  br i1 %all, label %free_pool, label %pause
pause:
  {spin}
  %w1 = add i64 %w, 1
  %long = icmp ugt i64 %w1, {SPINS}
  br i1 %long, label %yield, label %wait
yield:
  call void @give_way(ptr %pool)
  br label %wait
free_pool:
  store atomic i64 0, ptr %busy release, align 8
  ret void
serial:
  %in = atomicrmw add ptr %alone, i64 1 monotonic
  br label %next
next:
  %i = phi i64 [ 0, %serial ], [ %i1, %next ]
  call void %work(ptr %data, i64 %i)
  %i1 = add i64 %i, 1
  %on = icmp ult i64 %i1, %n
  br i1 %on, label %next, label %end
end:
  %out = atomicrmw sub ptr %alone, i64 1 monotonic
  ret void
}}

define void @{WORKER}(ptr %pool, i64 %who) {{
entry:
{fields}
  %own = shl i64 1, %who
  %others = xor i64 %own, -1
  %upper = lshr i64 %own, 32
  %folded = or i64 %upper, %own
  %bit = trunc i64 %folded to i32
  br label %look
look:
  %taken = call {{ i1, i64 }} @take(ptr %pool, i64 %who)
  %took = extractvalue {{ i1, i64 }} %taken, 0
  %seen = extractvalue {{ i1, i64 }} %taken, 1
  %job = lshr i64 %seen, 32
  br i1 %took, label %look, label %spin
spin:
  %k = phi i64 [ 0, %look ], [ %k1, %spun ]
  {spin}
  %now = load atomic i64, ptr %ticket monotonic, align 8
  %current = lshr i64 %now, 32
  %same = icmp eq i64 %current, %job
  br i1 %same, label %spun, label %look
spun:
  %k1 = add i64 %k, 1
  %patient = icmp ult i64 %k1, {SPINS}
  br i1 %patient, label %spin, label %sleep
sleep:
  %number = trunc i64 %job to i32
  %up = atomicrmw or ptr %resting, i64 %own seq_cst
  call void @rest(ptr %pool, i32 %number, i32 %bit)
  %down = atomicrmw and ptr %resting, i64 %others seq_cst
  br label %look
}}
'''


_NO_WAITS = """define internal void @rest(ptr %pool, i32 %number, i32 %who) {
  ret void
}
define internal void @rouse(ptr %pool, i32 %whom) {
  ret void
}
define internal void @give_way(ptr %pool) {
  ret void
}
"""


class Threads:
    """The pool of a process. `start` gives it its code, `ready` its workers. It lives as long as the process."""

    def __init__(self, triple: str) -> None:
        self.system = waits(triple)
        start = lasting_memory(_BYTES + _LINE)
        self.address = start + -start % _LINE
        self._workers = self._word("workers")
        self._run: Any = None
        self._refused = False
        self._lock = threading.RLock()  # reentrant: the garbage collector may run a finalizer that calls compiled code
        self._fill_slots()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _word(self, name: str) -> ctypes.c_int64:
        return ctypes.c_int64.from_address(self.address + _AT[name])

    @property
    def workers(self) -> int:
        """How many have been started."""
        return self._workers.value

    def start(self, worker: int) -> None:
        """Let workers run the function at this address, `@worker`."""
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(worker)

    def ready(self) -> int:
        """How many threads a call from this thread may use, after their workers have been started."""
        most = min(cores.number(), MOST)
        if self._workers.value < most - 1 and not self._refused and self.system is not None:
            with self._lock:
                self._grow(most - 1)
        return most

    def _grow(self, wanted: int) -> None:
        assert self._run is not None
        count = self._workers
        while count.value < wanted:
            who = count.value
            count.value = who + 1  # first, for whatever starting a thread runs may come here again
            try:
                # Not known to `threading`, which would wait for it at the end: it rests in native code till then.
                _thread.start_new_thread(self._run, (self.address, who))
            except RuntimeError:  # the system lets us have no more
                count.value = who
                self._refused = True
                return

    def _fill_slots(self) -> None:
        if self.system is not None:
            for i, value in enumerate(self.system.addresses()):
                ctypes.c_int64.from_address(self.address + SYSTEM + 8 * i).value = value

    def _forked(self) -> None:
        """In a child: the workers stayed behind, and so did whoever kept the pool, or a lock, busy."""
        for name in _AT:
            self._word(name).value = 0
        self._refused = False
        self._lock = threading.RLock()
        self._fill_slots()
