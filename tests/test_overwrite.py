"""Results that overwrite parameters: what is done in place, what by way of a temporary, and that both are right."""

from collections.abc import Mapping

import numpy as np
import pytest
from generate import arguments, assert_same, functions, outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from jitgrad.codegen import compiler
from jitgrad.codegen.compiler import compile_function
from jitgrad.codegen.target import Target, host
from jitgrad.ir.core import Function
from jitgrad.ir.errors import BoundsError, DivisionByZero, JitgradError
from jitgrad.ir.fuse import CallKernel, LoopKernel, schedule
from jitgrad.ir.parser import parse_function
from jitgrad.ir.passes import strip


def run(f: Function, arrays, overwrites: Mapping[int, int]):
    """The results of `f` run on copies of `arrays`; checks that no other array changed, and none where it fails."""
    mine = [np.array(a) for a in arrays]
    try:
        results = compile_function(f, None, overwrites)(mine)
    except JitgradError as error:
        for a, b in zip(mine, arrays, strict=True):
            assert a.tobytes() == b.tobytes()
        return type(error)
    for i, (a, b) in enumerate(zip(mine, arrays, strict=True)):
        assert i in overwrites.values() or a.tobytes() == b.tobytes()
    for r, p in overwrites.items():
        assert results[r] is mine[p]
    return results


def check(text: str, overwrites: Mapping[int, int], seed: int = 0, **options):
    f = parse_function(text)
    args = arguments(f, seed)
    assert_same(run(f, args, overwrites), outcome(f, args), **options)
    return schedule(f, overwrites=overwrites)


def temporaries(plan) -> int:
    return sum(b.place[0] == "temp" for b in {b for k in plan.kernels for b in k.writes()})


def pairs(f: Function, draw) -> dict[int, int]:
    """Some results of `f` with parameters of their types to overwrite."""
    found: dict[int, int] = {}
    for r, value in enumerate(f.results):
        fitting = [p for p, v in enumerate(f.params) if v.type == value.type and p not in found.values()]
        if fitting and draw(st.booleans()):
            found[r] = draw(st.sampled_from(fitting))
    return found


@settings(max_examples=150, deadline=None)
@given(functions(), st.integers(0, 1000), st.data())
def test_random_functions(f, seed, data):
    f = strip(f)
    # Every value of a parameter's type is a result too: more there is to overwrite with.
    types = {p.type for p in f.params}
    made = [o for i in f.instrs for o in i.outs if o.type in types]
    more = data.draw(st.lists(st.sampled_from(made), max_size=4)) if made else []
    f = Function.straight(f.name, f.params, f.instrs, (*f.results, *more, *f.params))
    overwrites = pairs(f, data.draw)
    args = arguments(f, seed)
    # What stands inside a function may have zeros of either sign.
    assert_same(run(f, args, overwrites), outcome(f, args), exact=False, rtol=0)


ELEMENTWISE = """func @f(%p: f32[{n}], %m: f32[{n}]) -> (f32[{n}], f32[{n}], f32[]) {{
  %0: f32[{n}] = mul %m, %p
  %1: f32[{n}] = add %0, %m
  %2: f32[{n}] = sub %p, %1
  %3: f32[] = sum %2 {{axes=[0]}}
  return %2, %1, %3
}}"""


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 31, 64, 65, 127, 1000, 1003, 70001])
def test_elementwise_updates_of_every_length(n):
    f = parse_function(ELEMENTWISE.format(n=n))
    args = [np.random.default_rng(n + i).normal(size=n).astype(np.float32) for i in range(2)]
    assert_same(run(f, args, {0: 0, 1: 1}), outcome(f, args), exact=False, rtol=1e-3)
    assert temporaries(schedule(f, overwrites={0: 0, 1: 1})) == 0


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["f32", "f64", "i16", "i64"])
@pytest.mark.parametrize("n", [515, 2048, 4099])
def test_rows_that_begin_anywhere_in_a_cache_line(dtype, n, vector_bytes, monkeypatch):
    here = host()
    target = Target(here.triple, here.cpu, here.features, vector_bytes, has_fma=here.has_fma)
    monkeypatch.setattr(compiler, "host", lambda: target)
    f = parse_function(f"""func @f(%p: {dtype}[2,{n}], %q: {dtype}[2,{n}]) -> ({dtype}[2,{n}], {dtype}[2,{n}]) {{
      %0: {dtype}[2,{n}] = flip %q {{axes=[0]}}
      %1: {dtype}[2,{n}] = add %p, %0
      %2: {dtype}[2,{n}] = sub %1, %p
      return %1, %2
    }}""")
    executable = compile_function(f, None, {0: 0})
    size = f.params[0].type.dtype.itemsize
    for offset in range(0, 64 // size, 3):
        memory = np.zeros(2 * n * size + 256, np.uint8)
        start = -memory.ctypes.data % 64 + offset * size
        p = memory[start : start + 2 * n * size].view(f.params[0].type.dtype.numpy).reshape(2, n)
        p[:] = np.random.default_rng(offset).integers(-50, 50, p.shape)
        q = p * 3 + 1
        want = outcome(f, [p.copy(), q])
        assert_same(executable([p, q]), want)
        assert not memory[:start].any()
        assert not memory[start + 2 * n * size :].any()


@pytest.mark.parametrize("dtype", ["f64", "i8", "i16", "i64", "u8", "bool"])
def test_every_width_of_element(dtype):
    op = "bitwise_xor %p, %p" if dtype == "bool" else "add %p, %p"
    text = f"func @f(%p: {dtype}[77]) -> ({dtype}[77]) {{\n  %0: {dtype}[77] = {op}\n  return %0\n}}"
    assert temporaries(check(text, {0: 0})) == 0


def test_an_update_that_reads_other_elements_is_copied_last():
    plan = check("""func @f(%p: f32[100]) -> (f32[100]) {
      %0: f32[100] = flip %p {axes=[0]}
      %1: f32[100] = add %0, %p
      return %1
    }""", {0: 0})
    assert temporaries(plan) == 1
    assert len(plan.kernels) == 2


def test_an_update_that_reads_its_row_again_is_copied_last():
    # The largest element of a row is found first; the row is written while its elements are read a second time.
    text = """func @f(%p: f32[16,100]) -> (f32[16,100]) {
      %0: f32[16] = max %p {axes=[1]}
      %1: f32[16,100] = broadcast %0 {shape=[16, 100], dims=[0]}
      %2: f32[16,100] = sub %p, %1
      return %2
    }"""
    assert temporaries(check(text, {0: 0})) == 0
    # What comes after a phase that wrote would read the new elements.
    text = text.replace("-> (f32[16,100])", "-> (f32[16,100], f32[16])")
    text = text.replace("return %2", """%3: f32[16,100] = exp %2
      %4: f32[16] = sum %3 {axes=[1]}
      %5: f32[16,100] = broadcast %4 {shape=[16, 100], dims=[0]}
      %6: f32[16,100] = mul %5, %p
      %7: f32[16] = max %6 {axes=[1]}
      return %2, %7""")
    check(text, {0: 0}, exact=False)


def test_readers_run_before_the_writer():
    plan = check("""func @f(%p: f32[64], %q: f32[4,64]) -> (f32[64], f32[4]) {
      %0: f32[64] = add %p, %p
      %1: f32[4,64] = broadcast %p {shape=[4, 64], dims=[1]}
      %2: f32[4,64] = mul %1, %q
      %3: f32[4] = sum %2 {axes=[1]}
      return %0, %3
    }""", {0: 0}, exact=False)
    assert temporaries(plan) == 0
    assert plan.params[0] not in plan.kernels[0].writes()
    assert plan.commit == len(plan.kernels) - 1


def test_exchange():
    plan = check("""func @f(%a: f32[50], %b: f32[50]) -> (f32[50], f32[50]) {
      %0: f32[50] = neg %a
      %1: f32[50] = neg %b
      return %1, %0
    }""", {0: 0, 1: 1})
    assert temporaries(plan) <= 1


def test_the_new_content_is_returned_as_well():
    check("""func @f(%p: f32[50]) -> (f32[50], f32[50], f32[50]) {
      %0: f32[50] = add %p, %p
      return %0, %0, %p
    }""", {0: 0})


SCATTER = """func @f(%p: f32[9,5], %i: i64[4], %u: f32[4,5]) -> (f32[9,5]) {{
  %0: f32[9,5] = {op} %p, %i, %u {{axis=0, batch=0}}
  return %0
}}"""


@pytest.mark.parametrize("op", ["scatter", "scatter_add"])
def test_a_scatter_writes_the_rows_it_names_alone(op):
    f = parse_function(SCATTER.format(op=op))
    args = [np.ones((9, 5), np.float32), np.array([3, 0, 3, 8]), np.arange(20, dtype=np.float32).reshape(4, 5)]
    assert_same(run(f, args, {0: 0}), outcome(f, args))
    plan = schedule(f, overwrites={0: 0})
    (writer,) = [k for k in plan.kernels if plan.params[0] in k.writes()]
    assert isinstance(writer, CallKernel)
    assert all(b.size < 45 for k in plan.kernels for b in k.writes() if b is not plan.params[0])
    args[1] = np.array([3, 0, 9, 8])
    assert run(f, args, {0: 0}) is BoundsError


def test_two_scatters_need_no_copy():
    text = """func @f(%p: f32[9,5], %i: i64[4], %u: f32[4,5]) -> (f32[9,5]) {
      %0: f32[9,5] = scatter_add %p, %i, %u {axis=0, batch=0}
      %1: f32[9,5] = scatter %0, %i, %u {axis=0, batch=0}
      return %1
    }"""
    f = parse_function(text)
    args = [np.ones((9, 5), np.float32), np.array([3, 0, 3, 8]), np.arange(20, dtype=np.float32).reshape(4, 5)]
    assert_same(run(f, args, {0: 0}), outcome(f, args))
    plan = schedule(f, overwrites={0: 0})
    assert all(b.size < 45 for k in plan.kernels for b in k.writes() if b is not plan.params[0])


def test_a_scatter_into_what_is_read_later_works_on_a_copy():
    f = parse_function("""func @f(%p: f32[9,5], %i: i64[4], %u: f32[4,5]) -> (f32[9,5], f32[4,5]) {
      %0: f32[9,5] = scatter %p, %i, %u {axis=0, batch=0}
      %1: f32[4,5] = gather %0, %i {axis=0, batch=0}
      %2: f32[4,5] = gather %p, %i {axis=0, batch=0}
      %3: f32[4,5] = mul %1, %2
      return %0, %3
    }""")
    args = [np.ones((9, 5), np.float32), np.array([3, 0, 3, 8]), np.arange(20, dtype=np.float32).reshape(4, 5)]
    assert_same(run(f, args, {0: 0}), outcome(f, args))


def test_a_slice_that_is_assigned_is_written_alone():
    f = parse_function("""func @f(%p: f32[40,5], %u: f32[2,5]) -> (f32[40,5]) {
      %0: f32[10,5] = slice %p {start=[0, 0], limit=[10, 5], step=[1, 1]}
      %1: f32[28,5] = slice %p {start=[12, 0], limit=[40, 5], step=[1, 1]}
      %2: f32[40,5] = concat %0, %u, %1 {axis=0}
      return %2
    }""")
    args = [np.ones((40, 5), np.float32), np.arange(10, dtype=np.float32).reshape(2, 5)]
    assert_same(run(f, args, {0: 0}), outcome(f, args))
    (kernel,) = schedule(f, overwrites={0: 0}).kernels
    assert isinstance(kernel, LoopKernel)
    assert np.prod(kernel.outer + kernel.inner) == 10


def test_halves_that_change_places():
    check("""func @f(%p: f32[40]) -> (f32[40]) {
      %0: f32[20] = slice %p {start=[0], limit=[20], step=[1]}
      %1: f32[20] = slice %p {start=[20], limit=[40], step=[1]}
      %2: f32[40] = concat %1, %0 {axis=0}
      return %2
    }""", {0: 0})


def test_what_fails_in_the_kernel_that_writes_changes_nothing():
    f = parse_function("""func @f(%p: i32[40], %q: i32[40]) -> (i32[40], i32[40]) {
      %0: i32[40] = floor_divide %p, %q
      %1: i32[40] = add %p, %q
      return %0, %1
    }""")
    args = [np.arange(40, dtype=np.int32), np.arange(1, 41, dtype=np.int32)]
    assert_same(run(f, args, {0: 0, 1: 1}), outcome(f, args))
    args[1][33] = 0
    assert run(f, args, {0: 0, 1: 1}) is DivisionByZero


def test_wrong_overwrites_are_refused():
    f = parse_function(ELEMENTWISE.format(n=4))
    with pytest.raises(ValueError, match="cannot overwrite"):
        compile_function(f, None, {2: 0})
    with pytest.raises(ValueError, match="two results"):
        compile_function(f, None, {0: 0, 1: 0})
    with pytest.raises(ValueError, match="row-major"):
        compile_function(f, [(2,), None], {0: 0})
    readonly = np.zeros(4, np.float32)
    readonly.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        compile_function(f, None, {0: 0})([readonly, np.zeros(4, np.float32)])


def test_adding_minus_zero_in_place_is_not_done():
    f = parse_function("""func @f(%p: f32[5000], %c: f32[]) -> (f32[5000]) {
      %0: f32[5000] = broadcast %c {shape=[5000], dims=[]}
      %1: f32[5000] = add %p, %0
      return %1
    }""")
    (kernel,) = schedule(f, overwrites={0: 0}).kernels
    assert isinstance(kernel, LoopKernel)
    assert kernel.unless is not None
    for c in (-0.0, 0.0, 1.5, np.nan, np.inf):
        args = [np.array([-0.0, 0.0, 1.0, np.nan, -np.inf] * 1000, np.float32), np.array(c, np.float32)]
        assert_same(run(f, args, {0: 0}), outcome(f, args))
    assert all(k.unless is None for k in schedule(f).kernels if isinstance(k, LoopKernel))
