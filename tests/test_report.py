"""What is known of kernels: bytes, flops, lines, why they are apart, vectors, estimates. No timing is asserted."""

import json
import re

import numpy as np
import pytest
from kernels import cross_entropy, layer_norm, softmax

from jitgrad.cli import main
from jitgrad.codegen import machine, report
from jitgrad.codegen.emit import LOWER
from jitgrad.codegen.target import Target
from jitgrad.codegen.text import Code, Lanes, Vec
from jitgrad.codegen.vectormath import UNARY
from jitgrad.ir import fuse
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.fuse.facts import FLOPS
from jitgrad.ir.types import TensorType, f32, f64, i64


def function(body, *types):
    b = FunctionBuilder()
    params = [b.param(t, f"x{i}") for i, t in enumerate(types)]
    out = body(b, *params)
    return b.finish("f", [out])


def facts_of(f: Function):
    return fuse.facts(*fuse.explained(f))


def matrix(*shape, dtype=f32):
    return TensorType(dtype, shape)


def test_an_elementwise_chain():
    t = matrix(1000)
    (x,) = facts_of(function(lambda b, x, y: b.exp(b.mul(b.add(x, y), x)), t, t))
    assert (x.kind, x.outer, x.inner, x.phases) == ("loops", (), (1000,), 1)
    assert x.ops == {"add": 1, "mul": 1, "exp": 1} and x.passed == {}
    assert x.reads == {"x0": 4000, "x1": 4000} and x.writes == {"result0": 4000} and x.bytes == 12000
    assert x.flops == 1000 * (2 + FLOPS["exp"])


def test_what_is_read_again_counts_once():
    row, t = matrix(64), matrix(100, 64)
    (x,) = facts_of(function(lambda b, x, r: b.mul(x, b.broadcast(r, shape=(100, 64), dims=(1,))), t, row))
    assert x.reads == {"x0": 25600, "x1": 256}
    whole = facts_of(softmax(64, 32))[0]
    assert whole.phases > 1 and whole.reads == {"x": 8192, "dy": 8192}, "each phase reads x"


def test_integers_are_no_flops_and_doubles_are_wider():
    t = matrix(10, dtype=i64)
    (x,) = facts_of(function(lambda b, x: b.add(x, x), t))
    assert x.flops == 0 and x.reads == {"x0": 80}
    (x,) = facts_of(function(lambda b, x: b.add(x, x), matrix(10, dtype=f64)))
    assert x.flops == 10 and x.bytes == 160


def test_a_product_and_what_is_done_on_its_tiles():
    f = function(lambda b, x, w: b.tanh(b.matmul(x, w)), matrix(64, 32), matrix(32, 48))
    (x,) = facts_of(f)
    assert (x.kind, x.outer, x.inner) == ("contraction", (64,), (48, 32))
    assert x.ops == {"tanh": 1}
    assert x.flops == 2 * 64 * 32 * 48 + 64 * 48 * FLOPS["tanh"]
    assert x.reads == {"x0": 8192, "x1": 6144} and x.writes == {"result0": 64 * 48 * 4}


def test_a_gather_reads_at_most_what_there_is():
    def body(b, table, index):
        return b.gather(table, index, axis=0, batch=0)

    few, many = (
        facts_of(function(body, matrix(1000, 16), matrix(n, dtype=i64))) for n in (10, 100_000)
    )
    assert sum(x.reads.get("x0", 0) for x in few) == 10 * 16 * 4
    assert sum(x.reads.get("x0", 0) for x in many) == 1000 * 16 * 4


def reasons_of(f: Function):
    return [why for x in facts_of(f) for why in x.passed.values()]


def test_why_kernels_are_apart():
    t = matrix(100, 80)
    column = function(lambda b, x: b.mul(x, b.broadcast(b.sum(b.exp(x), axes=(0,)), shape=(100, 80), dims=(1,))), t)
    assert any("sum is whole only after its kernel" in why for why in reasons_of(column))
    total = function(lambda b, x: b.mul(x, b.broadcast(b.sum(x, axes=(0, 1)), shape=(100, 80), dims=())), t)
    assert any("sum is whole only after its kernel" in why for why in reasons_of(total))
    operand = function(lambda b, x, w: b.matmul(b.exp(x), w), t, matrix(80, 70))
    assert any("operand of a product" in why for why in reasons_of(operand))
    scan = function(lambda b, x: b.exp(b.cumsum(b.exp(x), axis=1)), t)
    assert any("cumsum is a kernel of its own" in why for why in reasons_of(scan))
    assert any("cumsum, which reads it, is a kernel of its own" in why for why in reasons_of(scan))
    turned = function(lambda b, x: b.add(b.exp(x), b.permute(b.exp(x), perm=(1, 0))), matrix(90, 90))
    assert any("other steps" in why or "loop nest" in why for why in reasons_of(turned))


def test_every_boundary_has_a_reason():
    for f in (layer_norm(64, 32), softmax(64, 32), cross_entropy(64, 100)):
        schedule, reasons = fuse.explained(f)
        made = set()
        for kernel, x in zip(schedule.kernels, fuse.facts(schedule, reasons), strict=True):
            crossing = {b.name for b in kernel.reads() if b in made}
            assert crossing == set(x.passed) and all(x.passed.values())
            made |= set(kernel.writes())


def test_an_explained_schedule_is_the_schedule():
    f = cross_entropy(64, 100)
    assert fuse.to_text(fuse.explained(f)[0]) == fuse.to_text(fuse.schedule(f))


@pytest.mark.parametrize("name", sorted({*UNARY, "pow", "atan2"} & set(FLOPS)))
def test_flops_of_functions_are_about_those_of_the_code(name):
    arity = 2 if name in ("pow", "atan2") else 1
    code = Code(has_fma=True)
    lanes = Lanes(code, 8)
    args = [Vec(f"%a{i}", f32) for i in range(arity)]
    with code.function(f"void @f({', '.join(f'<8 x float> {a.text}' for a in args)})"):
        LOWER[name](lanes, args, {}, f32)
    text = code.text()
    counted = len(re.findall(r"= f(?:add|sub|mul|div|neg|cmp)\b", text))
    counted += 2 * len(re.findall(r"= call .*@llvm\.fma", text))
    counted += len(re.findall(r"= call .*@llvm\.(?:sqrt|floor|trunc|rint|roundeven|m\w+imum)", text))
    assert counted / 2 - 2 <= FLOPS[name] <= counted * 1.25 + 2


NARROW = Target("x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma", 32, has_fma=True)
WIDE = Target("x86_64-unknown-linux-gnu", "skylake-avx512", "", 64, has_fma=True)


def test_vectors_are_those_of_the_target():
    (kernel,) = fuse.schedule(function(lambda b, x: b.add(x, x), matrix(1024))).kernels
    assert machine.vectors(kernel, NARROW) == "32 lanes of f32 in 4 registers"
    assert machine.vectors(kernel, WIDE) == "64 lanes of f32 in 4 registers"
    (kernel,) = fuse.schedule(function(lambda b, x: b.add(x, x), matrix(1))).kernels
    assert machine.vectors(kernel, WIDE) == "scalars"
    (kernel,) = fuse.schedule(function(lambda b, x: b.matmul(x, x), matrix(64, 64))).kernels
    assert re.fullmatch(r"f32 tiles of \d+ x \d+ vectors of 8 lanes", machine.vectors(kernel, NARROW))


def estimate(f: Function, target=WIDE, threads=1):
    (kernel,) = fuse.schedule(f).kernels
    return machine.estimate(kernel, facts_of(f)[0], target, threads)


def test_the_model(monkeypatch):
    monkeypatch.setattr(machine, "cache_sizes", lambda: (1 << 15, 1 << 20, 1 << 25))

    def add(n):
        return function(lambda b, x, y: b.add(x, y), matrix(n), matrix(n))

    levels = [estimate(add(n)).bound for n in (1000, 50_000, 1_000_000, 10_000_000)]
    assert levels == ["L1", "L2", "L3", "memory"]
    assert estimate(add(10_000_000), threads=2).total < estimate(add(10_000_000)).total
    costly = function(lambda b, x: b.pow(x, x), matrix(1000))
    assert estimate(costly).bound == "work" and estimate(costly, NARROW).work == 2 * estimate(costly).work
    small, large = (function(lambda b, x: b.matmul(x, x), matrix(n, n)) for n in (32, 128))
    assert 30 < estimate(large).work / estimate(small).work < 100


def test_sizes_of_caches():
    sizes = machine.cache_sizes()
    assert all(n >= 1 << 12 for n in sizes) and list(sizes) == sorted(sizes)


SOURCE = """import jitgrad

def f(x, w):
    h = jitgrad.exp(
        x @ w)
    return (h / h.sum(dim=0)).sum()

def picks(t, i):
    return t[i].sum()
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "f.py"
    path.write_text(SOURCE)
    return path


def dump(capsys, *argv):
    assert main(["dump", *map(str, argv), "--stage", "kernels"]) == 0
    return capsys.readouterr().out


def test_the_dump_tells_all(source, capsys):
    text = dump(capsys, f"{source}:f", "--args", "f32[64,32], f32[32,48]", "--grad-of", "none")
    kernels = text.split("\nkernel ")[1:]
    for kernel in kernels:
        for word in ("space", "ops", "vectors", "reads", "time estimated"):
            assert len(re.findall(rf"^  ; {word} ", kernel, re.MULTILINE)) == 1
    assert "f.py:4-5" in kernels[0] and "tiles of" in kernels[0] and "64 results, sums of 48 x 32" in kernels[0]
    assert "measured" not in text and "is whole only after its kernel" in text


@pytest.mark.parametrize("part", ["joint", "forward", "backward"])
def test_measured_kernels(source, capsys, part, monkeypatch):
    monkeypatch.setattr(report, "SAMPLE", 1e-5)
    text = dump(capsys, f"{source}:f", "--args", "f32[64,32], f32[32,48]", "--of", part, "--measure")
    assert text.count(", measured ") == text.count("\nkernel ") > 0
    argv = (f"{source}:picks", "--args", "f32[5,3], i64[4]=[0,1,4,2]", "--of", part, "--measure")
    assert ", measured " in dump(capsys, *argv)


def test_the_dump_as_json(source, capsys, monkeypatch):
    monkeypatch.setattr(report, "SAMPLE", 1e-5)
    argv = (f"{source}:f", "--args", "f32[64,32], f32[32,48]", "--json")
    kernels = json.loads(dump(capsys, *argv))["kernels"]
    assert kernels[0]["kind"] == "contraction" and kernels[0]["flops"] >= 2 * 64 * 32 * 48
    assert set(kernels[0]["estimate_ns"]) == {"total", "moving", "work", "bound"} and "measured_ns" not in kernels[0]
    assert all(k["measured_ns"] >= 0 for k in json.loads(dump(capsys, *argv, "--measure"))["kernels"])


def test_measure_is_for_kernels(source, capsys):
    assert main(["dump", f"{source}:f", "--args", "f32[4,4], f32[4,4]", "--measure"]) == 2
    assert "--measure is for --stage kernels" in capsys.readouterr().err


def test_measuring_changes_no_result():
    f = cross_entropy(64, 100)
    rng = np.random.default_rng(0)
    plan = report.describe(f)
    arrays = [
        rng.integers(0, 100, p.type.shape) if p.type.dtype.is_integer else rng.normal(size=p.type.shape).astype("f4")
        for p in f.params
    ]
    before = [a.copy() for a in arrays]
    times = report.measure(plan, arrays)
    assert len(times) == len(plan.schedule.kernels) and all(t >= 0 for t in times)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)
