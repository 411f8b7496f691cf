"""What the machine can do, measured by loops in LLVM text: bytes read, written, copied and by triad, multiply-adds.

Each loop works on vectors of the machine's width, eight at a time, and runs many times over in one native call. For
several threads each has memory of its own, and they start together. Stores are tried as they are and past the caches
(`nontemporal`); the faster one counts.

Imports: `jitgrad.codegen` (the machine's vectors, the compiler).
"""

import ctypes
import threading
import time
from functools import cache

import numpy as np

from jitgrad.codegen.compiler import compiler
from jitgrad.codegen.target import host

VECTORS = 8  # a turn
ARRAYS = {"read": 1, "write": 1, "copy": 2, "triad": 3}  # that a loop touches
WRITES = {"read": 0.0, "write": 1.0, "copy": 1 / 2, "triad": 1 / 3}  # the share of the bytes that is written
SECONDS, ROUNDS = 0.004, 25  # of a sample, and how many: short ones, to find some that nobody disturbs


def _loop(name, type, width, bytes_, hint):
    """`void @name(a, b, c, n, times)`: c = a + b * k and its parts over n elements of f32."""
    lines = []
    sums = []
    for v in range(VECTORS):
        at = f"%at{v} = add i64 %i, {v * width}"
        addresses = [f"%{p}{v} = getelementptr float, ptr %{p}, i64 %at{v}" for p in "abc"]
        load = {p: f"%v{p}{v} = load {type}, ptr %{p}{v}, align {bytes_}" for p in "ab"}

        def store(value, v=v):
            return f"store {type} {value}, ptr %c{v}, align {bytes_}{hint}"

        body = {
            "read": [load["a"], f"%n{v} = fadd {type} %s{v}, %va{v}"],
            "write": [store("zeroinitializer")],
            "copy": [load["a"], store(f"%va{v}")],
            "triad": [
                load["a"], load["b"], f"%r{v} = call {type} @llvm.fma({type} %va{v}, {type} %va{v}, {type} %vb{v})",
                store(f"%r{v}"),
            ],
        }[name]
        lines += [at, *addresses, *body]
        if name == "read":
            sums.append(f"%s{v} = phi {type} [ %t{v}, %again ], [ %n{v}, %loop ]")
    outer = [f"%t{v} = phi {type} [ zeroinitializer, %entry ], [ %n{v}, %end ]" for v in range(len(sums))]
    last = [f"store volatile {type} %n{v}, ptr %c, align {bytes_}" for v in range(len(sums))]
    return "\n".join([
        f"define void @{name}(ptr %a, ptr %b, ptr %c, i64 %n, i64 %times) {{", "entry:", "br label %again", "again:",
        "%turn = phi i64 [ 0, %entry ], [ %nextturn, %end ]", *outer, "br label %loop", "loop:",
        "%i = phi i64 [ 0, %again ], [ %next, %loop ]", *sums, *lines, f"%next = add i64 %i, {VECTORS * width}",
        "%inner = icmp ult i64 %next, %n", "br i1 %inner, label %loop, label %end", "end:",
        "%nextturn = add i64 %turn, 1", "%outer = icmp ult i64 %nextturn, %times",
        "br i1 %outer, label %again, label %done", "done:", *last, "ret void", "}",
    ])


def _multiply_adds(type, width):
    """`void @fma(times)`: `chains` independent multiply-adds a turn."""
    chains = 16 if host().registers >= 32 else 10
    phis = [f"%s{i} = phi {type} [ zeroinitializer, %entry ], [ %n{i}, %loop ]" for i in range(chains)]
    work = [f"%n{i} = call {type} @llvm.fma({type} %s{i}, {type} %k, {type} %k)" for i in range(chains)]
    ends = [f"store volatile {type} %n{i}, ptr %c, align 4" for i in range(chains)]
    element = "float" if "float" in type else "double"
    text = "\n".join([
        "define void @fma(ptr %a, ptr %b, ptr %c, i64 %n, i64 %times) {", "entry:",
        f"%one = load {element}, ptr %a", f"%in = insertelement {type} poison, {element} %one, i32 0",
        f"%k = shufflevector {type} %in, {type} poison, <{width} x i32> zeroinitializer",
        "br label %loop", "loop:", "%i = phi i64 [ 0, %entry ], [ %next, %loop ]", *phis, *work,
        "%next = add i64 %i, 1", "%more = icmp ult i64 %next, %times", "br i1 %more, label %loop, label %done",
        "done:", *ends, "ret void", "}",
    ])
    return text, 2 * chains * width


@cache
def _native(name, dtype="float", streaming=False):
    machine = host()
    bytes_ = machine.vector_bytes
    width = bytes_ // (4 if dtype == "float" else 8)
    type = f"<{width} x {dtype}>"
    flops = 0
    if name == "fma":
        text, flops = _multiply_adds(type, width)
    else:
        text = _loop(name, type, width, bytes_, ", !nontemporal !0" if streaming else "")
    text = text.replace("@llvm.fma(", f"@llvm.fma.v{width}f{32 if dtype == 'float' else 64}(")
    declared = f"declare {type} @llvm.fma.v{width}f{32 if dtype == 'float' else 64}({type}, {type}, {type})"
    llvm = compiler()
    code = llvm.object_code(f'target triple = "{machine.triple}"\n{declared}\n{text}\n!0 = !{{i32 1}}\n')
    library = llvm.link(code, name)
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)
    return signature(library[name]), library, flops


def _array(n):
    raw = np.ones(n + 64, np.float32)
    return raw[(-raw.ctypes.data % 256) // 4 :][:n]


def _together(works):
    """Seconds until all threads have done their work, begun together."""
    barrier = threading.Barrier(len(works) + 1)

    def run(work):
        barrier.wait()
        work()
        barrier.wait()

    others = [threading.Thread(target=run, args=(work,)) for work in works]
    for t in others:
        t.start()
    barrier.wait()
    begun = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - begun
    for t in others:
        t.join()
    return seconds


def _rate(function, arrays, n, unit, threads):
    """The largest `unit`s a second of all threads together; unit: of one turn of one thread."""
    def seconds(threads, times):
        return _together([lambda a=a: function(*a, n, times) for a in arrays[:threads]])

    times, spent = 1, 0.0
    while spent < SECONDS / 3:
        times = max(times * 2, int(times * SECONDS / spent / 2)) if spent else 1
        spent = seconds(1, times)
    return threads * unit * times / min(seconds(threads, times) for _ in range(ROUNDS))


def bandwidth(name, bytes_, threads):
    """GB/s of a loop over `bytes_` in all arrays of all threads together."""
    step = VECTORS * host().vector_bytes // 4
    n = max(bytes_ // (4 * ARRAYS[name] * threads) // step, 1) * step
    held = [[_array(n) for _ in range(ARRAYS[name])] for _ in range(threads)]
    pointers = []
    for own in held:
        data = [a.ctypes.data for a in own]
        pointers.append({1: [data[0]] * 3, 2: [data[0], data[0], data[-1]], 3: data}[len(data)])
    unit = 4 * n * ARRAYS[name]
    ways = [False, True] if WRITES[name] else [False]
    return max(_rate(_native(name, streaming=way)[0], pointers, n, unit, threads) for way in ways) / 1e9


def peak(dtype, threads):
    """GFLOP/s of multiply-adds, 'float' or 'double'."""
    function, _, flops = _native("fma", dtype)
    held = [np.full(64, 1e-3, np.float64 if dtype == "double" else np.float32) for _ in range(threads)]
    return _rate(function, [[h.ctypes.data] * 3 for h in held], 1, flops, threads) / 1e9
