"""What the tests of emitted code share: a loop over an elementwise function on lanes, compiled, called on
arrays; targets with FMA and without."""

import ctypes
import functools
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np
import pytest

from jitgrad.codegen.emit import LOWER
from jitgrad.codegen.literals import MEMORY_TYPE
from jitgrad.codegen.text import Code, Lanes, Vec
from jitgrad.ir.types import DType

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
only_x86 = pytest.mark.skipif(not IS_X86, reason="a target of x86-64")


@dataclass(frozen=True)
class Target:
    cpu: str
    features: str
    has_fma: bool


def _host() -> Target:
    features = llvm.get_host_cpu_features()
    return Target(llvm.get_host_cpu_name(), features.flatten(), not IS_X86 or features["fma"])


HOST = _host()
WITHOUT_FMA = Target("x86-64", "", False)  # SSE2
AVX2 = Target("x86-64-v3", "", True)

# Every test of accuracy runs for both kinds of targets.
on_targets = pytest.mark.parametrize(
    "target", [pytest.param(HOST, id="host"), pytest.param(WITHOUT_FMA, id="sse2", marks=only_x86)]
)

Body = Callable[..., Vec]  # (lanes, *registers) -> register


def of_op(name: str, out: DType, **attrs: object) -> Body:
    """The lowering of an op."""
    return lambda m, *args: LOWER[name](m, args, attrs, out)


def module_text(body: Body, inputs: list[DType], out: DType, width: int, target: Target) -> str:
    """A module with `void loop(inputs..., out, count)`, which applies `body` to `width` elements at a time."""
    code = Code(has_fma=target.has_fma)
    m = Lanes(code, width)
    pointers = [f"ptr %p{i}" for i in range(len(inputs))]
    with code.function(f"void @loop({', '.join(pointers)}, ptr %out, i64 %count)"):

        def element(pointer: str, dtype: DType) -> str:
            address = code.fresh()
            code.line(f"{address} = getelementptr {MEMORY_TYPE[dtype.code]}, ptr {pointer}, i64 %i")
            return address

        code.line("br label %head")
        code.start_block("head")
        code.line("%i = phi i64 [ 0, %entry ], [ %next, %latch ]")
        args = [m.load(element(f"%p{i}", dtype), dtype) for i, dtype in enumerate(inputs)]
        m.store(body(m, *args), element("%out", out))
        code.line("br label %latch")
        code.start_block("latch")
        code.line(f"%next = add i64 %i, {width}")
        code.line("%more = icmp ult i64 %next, %count")
        code.line("br i1 %more, label %head, label %done")
        code.start_block("done")
        code.line("ret void")
    return code.text()


def _machine(target: Target, **options: str) -> llvm.TargetMachine:
    triple = llvm.Target.from_default_triple()
    return triple.create_target_machine(cpu=target.cpu, features=target.features, opt=1, **options)


def compile_loop(
    body: Body, inputs: list[DType], out: DType, width: int = 8, target: Target = HOST
) -> Callable[..., np.ndarray]:
    """`body` as a function of arrays of one length."""
    module = llvm.parse_assembly(module_text(body, inputs, out, width, target))
    module.verify()
    engine = llvm.create_mcjit_compiler(module, _machine(target))
    engine.finalize_object()
    pointers = [ctypes.c_void_p] * (len(inputs) + 1)
    function = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)(engine.get_function_address("loop"))

    def run(*arrays: np.ndarray) -> np.ndarray:
        count = len(arrays[0])
        padding = -count % width
        padded = [np.concatenate([a, np.ones(padding, a.dtype)]) for a in arrays]
        result = np.empty(count + padding, out.numpy)
        function(*(a.ctypes.data for a in padded), result.ctypes.data, count + padding)
        return result[:count]

    run.engine = engine  # the code lives as long as this does
    return run


def symbols_called(text: str, target: Target) -> set[str]:
    """The functions that the machine code of a module calls or jumps to, but for its own."""
    machine = _machine(target, codemodel="small")  # calls by name, not through a register
    assembly = machine.emit_assembly(llvm.parse_assembly(text))
    called = re.findall(r"^\s+(?:call|jmp)q?\s+\*?\"?([A-Za-z_][\w.$]*)", assembly, re.MULTILINE)
    return {name for name in called if not name.startswith("jg.")}


@functools.cache
def bit_patterns(dtype: DType, count: int) -> np.ndarray:
    """Floats of every sign, exponent and kind: equally spaced bit patterns (f32) or random ones (f64)."""
    if dtype.bits == 32:
        return np.arange(0, 2**32, 2**32 // count | 1, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64).view(np.float64)


def special_values(dtype: DType) -> np.ndarray:
    info = np.finfo(dtype.numpy)
    positive = [
        0.0, info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny, 2 * info.tiny, info.eps, 0.5,
        1.0 - info.epsneg, 1.0, 1.0 + info.eps, 1.5, 2.0, 2.5, 3.0, 4.0, 7.0, 1e5, 1e9, 2.0**info.nmant,
        2.0 ** (info.nmant + 1) - 1, 2.0 ** (info.nmant + 1), info.max / 2, info.max, np.inf,
    ]
    values = np.array(positive, dtype.numpy)
    return np.concatenate([values, -values, np.array([np.nan], dtype.numpy)])
