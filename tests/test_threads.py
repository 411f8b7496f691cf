"""Kernels in chunks: the same results whoever runs them, in threads, after a fork, after sleep, at exit."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from chunks import in_chunks
from generate import arguments, assert_same, functions, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import black_scholes, cross_entropy, layer_norm, softmax

import jitgrad
import jitgrad.codegen.compiler as compiler
from jitgrad.codegen.compiler import compile_function
from jitgrad.codegen.target import Target, host
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.errors import BoundsError, JitgradError
from jitgrad.ir.fuse import LoopKernel, schedule
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.passes import strip
from jitgrad.ir.types import TensorType, f32, f64, i8, i64

SEED = 5


@pytest.fixture
def chunked(monkeypatch):
    """Every kernel that can be split is."""
    in_chunks(monkeypatch)


def rng():
    return np.random.default_rng(SEED)


def arrays_for(f):
    out = []
    for p in f.params:
        draw = rng().integers(0, 5, p.type.shape) if p.type.dtype is i64 else rng().uniform(0.5, 2, p.type.shape)
        out.append(np.asarray(draw).astype(p.type.dtype.numpy))
    return out


ROW_PROGRAMS = [softmax(37, 33), layer_norm(37, 33), cross_entropy(37, 33), black_scholes(960), black_scholes(961)]


@pytest.mark.parametrize("f", ROW_PROGRAMS, ids=lambda f: f.name)
def test_chunks_give_what_the_whole_gives(f, chunked):
    executable = compile_function(f)
    args = arrays_for(f)
    first, again = executable(args), executable(args)
    for a, b, want in zip(first, again, interpret(f, args), strict=True):
        np.testing.assert_allclose(a, want, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(a, b, err_msg="the order of sums does not depend on who ran what")


@settings(max_examples=40, deadline=None)
@given(functions(), st.integers(0, 1000))
def test_random_functions_in_chunks(f, seed):
    f = strip(f)
    args = arguments(f, seed)
    with pytest.MonkeyPatch.context() as m:
        in_chunks(m)
        executable = compile_function(f)
    try:
        got = executable(args)
    except JitgradError as error:
        got = type(error)
    assert_same(got, outcome(f, args))


def test_long_sums_stay_wide_between_chunks(chunked):
    """What chunks sum is joined in float64: large parts that cancel leave no rounding of their own."""
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (96_000,)))
    executable = compile_function(b.finish("f", [b.sum(x, axes=(0,))]))
    assert any(k.chunks > 1 for k in executable.schedule.kernels)
    half = rng().integers(0, 1 << 14, 48_000).astype(np.float32)  # blocks of them are exact, chunks are not
    assert executable([np.concatenate([half, 1 - half[::-1]])])[0] == 48_000


def line(n, dtype, op):
    """An elementwise result, and totals beside it, over a length that no number of chunks divides."""
    b = FunctionBuilder()
    x = b.param(TensorType(dtype, (n,)))
    y = b.sqrt(b.mul(x, x)) if dtype.is_floating_point else b.mul(x, x)
    return b.finish("line", [y, getattr(b, op)(y, axes=(0,)), b.sum(x, axes=(0,))])


NARROW = [("haswell", 32), ("x86-64", 16)]
TARGETS = [None, *(Target(host().triple, cpu, "", n, has_fma=n > 16) for cpu, n in NARROW)]


@pytest.mark.parametrize("target", TARGETS, ids=["host", "AVX2", "SSE2"])
@pytest.mark.parametrize("n", [1543, 4099, 65537, 100_003])
def test_a_line_of_a_prime_length_comes_in_chunks(n, target, chunked, monkeypatch):
    if target is not None:
        if not host().triple.startswith("x86_64"):
            pytest.skip("code for another machine")
        monkeypatch.setattr(compiler, "host", lambda: target)
    for dtype in (f32, f64, i64, i8):
        for op in ("sum", "max", "prod"):
            executable = compile_function(line(n, dtype, op))
            assert [k.chunks for k in executable.schedule.kernels if k.chunks > 1] == [6]
            x = rng().choice([1, 1, 1, -1], n).astype(dtype.numpy)
            x[5], x[-1] = 3, 2
            outs = []
            for threads in (1, 3):
                with jitgrad.threads(threads):
                    outs.append(executable([x]))
            for one, three, want in zip(*outs, interpret(executable.function, [x]), strict=True):
                np.testing.assert_array_equal(one, three)
                np.testing.assert_array_equal(one, want)


def test_a_line_in_place_in_chunks(chunked):
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (4099,)))
    executable = compile_function(b.finish("f", [b.add(b.mul(x, x), x)]), overwrites={0: 0})
    assert any(k.chunks > 1 for k in executable.schedule.kernels)
    for _ in range(20):
        a = rng().standard_normal(4099).astype(np.float32)
        want = interpret(executable.function, [a])[0]
        executable([a])
        np.testing.assert_allclose(a, want, rtol=1e-6, atol=1e-7)


def test_special_values_at_the_ends_of_chunks(chunked):
    executable = compile_function(line(4099, f32, "max"))
    for at in (0, 682, 683, 1365, 2048, 4095, 4096, 4098):
        x = np.full(4099, -0.0, np.float32)
        x[at] = np.nan
        y, largest, total = executable([x])
        assert np.isnan(y[at]) and np.isnan(largest) and np.isnan(total) and np.isnan(y).sum() == 1
        x[at] = -np.inf
        y, largest, total = executable([x])
        assert (y[at], largest, total) == (np.inf, np.inf, -np.inf)


def test_what_is_split_and_what_is_not():
    def chunks(f):
        return [k.chunks for k in schedule(f).kernels if isinstance(k, LoopKernel)]

    assert chunks(black_scholes(100)) == [1]
    assert chunks(black_scholes(100_000)) == [32, 1]
    assert chunks(black_scholes(100_003)) == [39, 1]  # of any length
    assert chunks(softmax(2048, 768)) == [64]
    assert "in 64 chunks" in str(schedule(softmax(2048, 768)))


def test_an_error_in_a_chunk_is_raised(chunked):
    b = FunctionBuilder()
    x, at = b.param(TensorType(f32, (9, 100))), b.param(TensorType(i64, (9,)))
    executable = compile_function(b.finish("f", [b.exp(b.gather(x, at, axis=0, batch=0))]))
    good = np.arange(9)
    for bad in range(9):
        broken = good.copy()
        broken[bad] = 9
        with pytest.raises(BoundsError, match="index 9"):
            executable([np.zeros((9, 100), np.float32), broken])
    assert executable([np.zeros((9, 100), np.float32), good])[0].sum() == 900


def test_of_errors_at_once_the_first_of_the_program_is_raised_whole(chunked):
    """Each chunk meets both errors: an index of one is never reported with the size of the other."""
    b = FunctionBuilder()
    x, y = b.param(TensorType(f32, (5,))), b.param(TensorType(f32, (7,)))
    first, second = b.param(TensorType(i64, (12, 64))), b.param(TensorType(i64, (12, 64)))
    f = b.finish("f", [b.add(b.gather(x, first, axis=0, batch=0), b.gather(y, second, axis=0, batch=0))])
    executable = compile_function(f)
    (kernel,) = executable.schedule.kernels
    assert kernel.chunks > 1
    args = [np.zeros(5, np.float32), np.zeros(7, np.float32), np.full((12, 64), 55), np.full((12, 64), 77)]
    for _ in range(300):
        with pytest.raises(BoundsError, match="index 55 is out of bounds for dimension with size 5"):
            executable(args)


def test_many_threads_call_chunked_code(chunked):
    f = layer_norm(40, 130)
    executable = compile_function(f)
    args = arrays_for(f)
    wanted = executable(args)
    failed = []

    def work():
        for i in range(200):
            if i % 50 == 0:
                time.sleep(0.01)  # long enough for the workers to fall asleep
            if not all(map(np.array_equal, executable(args), wanted)):
                failed.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


SCRIPT = """
    import os, sys
    import numpy as np
    sys.path.insert(0, "tests")
    import jitgrad
    import jitgrad.codegen.compiler as compiler
    from kernels import softmax

    jitgrad.set_num_threads(3)
    f = softmax(512, 300)
    executable = compiler.compile_function(f)
    assert max(k.chunks for k in executable.schedule.kernels) > 1
    args = [np.full((512, 300), 1.0, np.float32)] * 2
    def right():
        return all(np.allclose(executable(args)[0], 1 / 300) for _ in range(50))
    assert right() and compiler.pool().workers == 2
"""


def run_script(more, cwd, begin=SCRIPT):
    code = textwrap.dedent(begin) + textwrap.dedent(more)
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60)


FORKS = """
        import signal, threading, time

        def fork(check, times=1):
            for _ in range(times):
                child = os.fork()
                if child == 0:
                    signal.alarm(20)
                    os._exit(0 if check() else 1)
                _, status = os.waitpid(child, 0)
                assert status == 0, status
        """

fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")


def run_forks(more, cwd):
    done = run_script(textwrap.dedent(FORKS) + textwrap.dedent(more), cwd)
    assert done.returncode == 0, done.stderr


@fork_only
def test_a_forked_child_has_threads_of_its_own(request):
    run_forks(
        """
        def check():
            none = compiler.pool().workers == 0
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if right() and compiler.pool().workers == 2 else 1)
            _, status = os.waitpid(grandchild, 0)
            return none and right() and compiler.pool().workers == 2 and status == 0

        fork(check, 3)
        assert right()
        """,
        request.config.rootpath,
    )


@fork_only
def test_a_child_forked_before_anything_ran(request):
    done = run_script(
        """
        import os, signal
        import jitgrad
        jitgrad.set_num_threads(2)
        child = os.fork()
        f = jitgrad.trace(lambda x: (x * 2).sum())
        signal.alarm(20)
        right = f(jitgrad.ones(1000, 1000)).item() == 2e6
        if child == 0:
            os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
        assert right and status == 0
        """,
        request.config.rootpath,
        begin="",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@fork_only
def test_a_child_forked_while_others_are_in_kernels_and_the_pool_grows(request):
    run_forks(
        """
        on = True

        def run():
            while on:
                executable(args)

        def grow():
            n = 3
            while on:
                n = min(n + 1, 40)
                with jitgrad.threads(n):
                    executable(args)
                time.sleep(0.001)

        threads = [threading.Thread(target=work) for work in (run, run, grow)]
        for t in threads:
            t.start()
        fork(right, 15)
        on = False
        for t in threads:
            t.join()
        assert right()
        """,
        request.config.rootpath,
    )


@fork_only
def test_a_child_forked_while_another_thread_traces(request):
    """Neither what a traced function holds while it records nor what a program holds while it compiles."""
    run_forks(
        """
        recording, on = threading.Event(), threading.Event()
        x = jitgrad.ones(64, 1024)

        @jitgrad.trace
        def slow(x):
            if threading.current_thread() is other:
                recording.set()
                on.wait(20)
            return (x * 2).sum()

        other = threading.Thread(target=slow, args=(x,))
        other.start()
        recording.wait()
        fork(lambda: slow(x).item() == 131072.0, 3)
        on.set()
        other.join()
        """,
        request.config.rootpath,
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(method, tmp_path, request):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(
        f"""
        import multiprocessing
        import jitgrad

        @jitgrad.trace
        def f(x):
            return (x * 2).sum()

        def work(n):
            with jitgrad.threads(2):
                return f(jitgrad.full((n, 1000), 1.0)).item()

        if __name__ == "__main__":
            assert work(1000) == 2e6
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                assert pool.map(work, [1000, 500, 1000, 500]) == [2e6, 1e6, 2e6, 1e6]
            assert work(1000) == 2e6
        """
    ))
    environment = {**os.environ, "PYTHONPATH": str(request.config.rootpath)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr


@fork_only
def test_an_interrupt_comes_after_the_kernels(request):
    """Whichever thread the signal goes to; the pool is whole afterwards."""
    run_forks(
        """
        for pause in (0.01, 0.02, 0.05):
            threading.Timer(pause, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                while True:
                    executable(args)
            except KeyboardInterrupt:
                pass
        assert right()
        """,
        request.config.rootpath,
    )


@pytest.mark.slow
@fork_only
def test_a_child_forked_while_others_compile_and_run_is_whole(request):
    """Of the pool of memory, of LLVM and of llvmlite, no lock is left to a thread that the child has not."""
    done = run_script(
        """
        import signal, threading
        on = True
        def compile_again():
            while on:
                compiler.compile_function(softmax(4, 5))
        def run():
            while on:
                executable(args)
        threads = [threading.Thread(target=work) for work in (compile_again, run)]
        for t in threads:
            t.start()
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                compiler.compile_function(softmax(4, 5))
                os._exit(0 if np.allclose(executable(args)[0], 1 / 300) else 1)
            _, status = os.waitpid(child, 0)
            assert status == 0, status
        on = False
        for t in threads:
            t.join()
        """,
        request.config.rootpath,
    )
    assert done.returncode == 0, done.stderr


def test_the_process_ends_quietly(request):
    for _ in range(3):
        done = run_script("", request.config.rootpath)
        assert (done.returncode, done.stderr) == (0, "")


def test_explain_says_what_comes_in_chunks():
    f = jitgrad.trace(lambda x: (x.exp() * 2).sum())
    f(jitgrad.ones(1000, 1000, requires_grad=True)).backward()
    f(jitgrad.ones(3))
    text = f.explain()
    assert "forward: 2 kernels, 1 in chunks (32)" in text and "function: 1 kernel\n" in f"{text}\n"
