"""How many threads a call uses: what the user says, the environment, affinity, cgroups; when threads start."""

import ctypes
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter

import numpy as np
import pytest
from kernels import black_scholes, cross_entropy, layer_norm, softmax

import jitgrad
from jitgrad.codegen import cores, threads
from jitgrad.codegen.compiler import compile_function, pool, runtime
from jitgrad.ir.types import i64

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux")


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(cores._process, "number", None)
    yield
    cores.available.cache_clear()


def run_script(text, cwd, **environment):
    code = textwrap.dedent(text)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(cwd), **environment},
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


# What the user says.


def test_the_number_is_what_was_set():
    assert jitgrad.get_num_threads() == cores.available()
    jitgrad.set_num_threads(3)
    assert jitgrad.get_num_threads() == 3
    jitgrad.set_num_threads(np.int64(1))
    assert jitgrad.get_num_threads() == 1


def test_threads_nests_and_ends_with_an_exception():
    jitgrad.set_num_threads(7)
    with jitgrad.threads(2):
        assert jitgrad.get_num_threads() == 2
        with pytest.raises(KeyError), jitgrad.threads(5):
            assert jitgrad.get_num_threads() == 5
            raise KeyError
        assert jitgrad.get_num_threads() == 2
        jitgrad.set_num_threads(9)
        assert jitgrad.get_num_threads() == 2
    assert jitgrad.get_num_threads() == 9


def test_threads_is_a_decorator_too():
    @jitgrad.threads(4)
    def inner(depth):
        return jitgrad.get_num_threads() if depth == 0 else inner(depth - 1)

    with jitgrad.threads(2):
        assert inner(2) == 4
        assert jitgrad.get_num_threads() == 2


def test_threads_is_of_the_calling_thread_alone():
    seen = []

    def look():
        seen.append(jitgrad.get_num_threads())

    jitgrad.set_num_threads(6)
    with jitgrad.threads(2):
        other = threading.Thread(target=look)
        other.start()
        other.join()
    assert seen == [6]


@pytest.mark.parametrize("function", [jitgrad.set_num_threads, jitgrad.threads])
def test_what_is_no_positive_int(function):
    for bad in (True, "2", 2.0, None, [1]):
        with pytest.raises(TypeError, match=f"{function.__name__} expects an int, but got {type(bad).__name__}"):
            function(bad)
    for bad in (0, -1):
        with pytest.raises(RuntimeError, match=f"{function.__name__} expects a positive integer, but got {bad}"):
            function(bad)
    assert jitgrad.get_num_threads() == cores.available()


@pytest.mark.parametrize("call", [lambda: jitgrad.set_num_threads(2), jitgrad.get_num_threads,
                                  lambda: jitgrad.threads(2)])
def test_a_traced_function_cannot_ask(call):
    @jitgrad.trace
    def f(x):
        call()
        return x + 1

    with pytest.raises(jitgrad.TraceError, match=r"inside a traced function would run once(.|\n)*call it outside"):
        f(jitgrad.ones(3))
    assert jitgrad.get_num_threads() == cores.available()


@pytest.mark.parametrize(("value", "number"), [("3", 3), (" 12 ", 12), ("", None)])
def test_the_environment_says_it(value, number, monkeypatch):
    monkeypatch.setenv(cores.VARIABLE, value)
    assert cores.from_environment() == number
    monkeypatch.delenv(cores.VARIABLE)
    assert cores.from_environment() is None


def test_the_environment_holds_for_the_process(request):
    text = """
        import jitgrad
        print(jitgrad.get_num_threads())
        jitgrad.set_num_threads(2)
        print(jitgrad.get_num_threads())
        """
    assert run_script(text, request.config.rootpath, JITGRAD_NUM_THREADS="5") == (0, "5\n2", "")


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²", "1 2"])
def test_the_environment_says_nonsense(value, monkeypatch):
    monkeypatch.setenv(cores.VARIABLE, value)
    with pytest.raises(ValueError, match=f"JITGRAD_NUM_THREADS is a positive integer, or empty; got '{value}'"):
        cores.from_environment()


# What the system says.


def test_the_default_is_the_least(monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    for machine, quota, least in ((16, math.inf, 8), (4, math.inf, 4), (16, 2.1, 3), (16, 0.5, 1), (None, 3.0, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda n=machine: n)
        monkeypatch.setattr(cores, "granted", lambda n=quota: n)
        cores.available.cache_clear()
        assert cores.available() == least


@LINUX
def test_affinity_is_obeyed(request):
    text = """
        import os
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
        import jitgrad
        print(jitgrad.get_num_threads())
        """
    assert run_script(text, request.config.rootpath) == (0, "1", "")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since Python 3.13")
def test_pythons_own_count_is_obeyed(request):
    text = "import jitgrad; print(jitgrad.get_num_threads())"
    assert run_script(text, request.config.rootpath, PYTHON_CPU_COUNT="1")[1] == "1"


def process(folder, mounts, groups):
    """A process's view of cgroups, written below `folder`."""
    lines = [f"30 24 0:26 {root} {mount} rw,nosuid shared:4 - {kind} {kind} {options}"
             for root, mount, kind, options in mounts]
    (folder / "mountinfo").write_text("\n".join(["24 1 8:1 / / rw - ext4 /dev/vda rw", *lines]) + "\n")
    (folder / "cgroup").write_text("\n".join(groups) + "\n")
    return folder


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("cpu_", "cpu.", 1)).write_text(text + "\n")


def test_cgroups_of_version_2(tmp_path):
    at = tmp_path / "fs"
    here = process(tmp_path, [("/", at, "cgroup2", "rw,nsdelegate")], ["0::/a/b"])
    write(at / "a" / "b", cpu_max="max 100000")
    assert cores.granted(here) == math.inf
    write(at / "a", cpu_max="350000 100000")
    assert cores.granted(here) == 3.5
    write(at / "a" / "b", cpu_max="150000 100000")
    assert cores.granted(here) == 1.5


def test_cgroups_of_version_1(tmp_path):
    at = tmp_path / "cpu,cpuacct"
    mounts = [("/", tmp_path / "memory", "cgroup", "rw,memory"), ("/", at, "cgroup", "rw,cpu,cpuacct")]
    here = process(tmp_path, mounts, ["5:memory:/x", "4:cpu,cpuacct:/a", "0::/"])
    write(at / "a", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    assert cores.granted(here) == math.inf
    write(at / "a", cpu_cfs_quota_us="250000", cpu_cfs_period_us="100000")
    assert cores.granted(here) == 2.5


def test_a_container_sees_its_own_group_as_the_root(tmp_path):
    at = tmp_path / "with blank"
    written = str(at).replace(" ", "\\040")
    write(at, cpu_max="200000 100000")
    for root, group in (("/", "/"), ("/docker/abc", "/docker/abc"), ("/docker/abc", "/"), ("/..", "/../other")):
        assert cores.granted(process(tmp_path, [(root, written, "cgroup2", "rw")], [f"0::{group}"])) == 2.0


@pytest.mark.parametrize("text", ["", "max", "many 100000", "0 100000", "100000 0", "1 2 3"])
def test_a_limit_that_cannot_be_read_is_none(text, tmp_path):
    at = tmp_path / "fs"
    write(at, cpu_max=text)
    assert cores.granted(process(tmp_path, [("/", at, "cgroup2", "rw")], ["0::/"])) == math.inf
    (tmp_path / "mountinfo").write_text("odd\n - \n1 2 3 - cgroup2 cgroup2 rw\n")
    assert cores.granted(tmp_path) == math.inf
    assert cores.granted(tmp_path / "missing") == math.inf


# What the number does.


def arrays_for(f):
    rng = np.random.default_rng(1)
    draws = (rng.integers(0, 5, p.type.shape) if p.type.dtype is i64 else rng.uniform(0.5, 2, p.type.shape)
             for p in f.params)
    return [np.asarray(a).astype(p.type.dtype.numpy) for a, p in zip(draws, f.params, strict=True)]


@pytest.mark.parametrize(
    "f", [softmax(300, 257), layer_norm(400, 130), cross_entropy(2000, 40), black_scholes(30_000)], ids=lambda f: f.name
)
def test_results_are_the_same_to_the_bit(f):
    executable, args = compile_function(f), arrays_for(f)
    assert max(k.chunks for k in executable.schedule.kernels) > 1
    with jitgrad.threads(1):
        wanted = [r.tobytes() for r in executable(args)]
    for n in (2, 3, 2, 8, 1, 2):
        with jitgrad.threads(n):
            for _ in range(10):
                assert [r.tobytes() for r in executable(args)] == wanted


@LINUX
def test_threads_start_when_they_are_first_needed(request):
    text = """
        import os
        import numpy as np
        import jitgrad

        def started():
            return len(os.listdir("/proc/self/task")) - before

        before = len(os.listdir("/proc/self/task"))
        jitgrad.set_num_threads(3)
        f = jitgrad.trace(lambda x: (x * 2).exp().sum())
        f(jitgrad.ones(100))
        print(started())
        large = jitgrad.ones(1000, 1000)
        with jitgrad.threads(1):
            f(large)
        print(started())
        f(large)
        print(started())
        with jitgrad.threads(6):
            f(large)
        print(started())
        jitgrad.set_num_threads(2)
        f(large)
        print(started())
        import threading
        print(threading.active_count())
        """
    assert run_script(text, request.config.rootpath) == (0, "0\n0\n2\n5\n5\n1", "")


@LINUX
def test_a_system_without_more_threads_is_no_error(request):
    text = """
        import _thread
        import numpy as np
        import jitgrad
        from jitgrad.codegen.compiler import pool

        def refuse(*_):
            raise RuntimeError("can't start new thread")

        _thread.start_new_thread = refuse
        jitgrad.set_num_threads(4)
        f = jitgrad.trace(lambda x: (x * 2).sum())
        print([f(jitgrad.ones(1000, 1000)).item() for _ in range(3)], pool().workers)
        """
    assert run_script(text, request.config.rootpath) == (0, "[2000000.0, 2000000.0, 2000000.0] 0", "")


CHUNK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


def parallel(work, count, most):
    """`@parallel` on a function of Python's."""
    compile_function(softmax(300, 257))  # links the runtime
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, CHUNK, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    run(runtime()["parallel"])(pool().address, work, None, count, most)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 3, 64])
def test_chunks_run_once_each_on_so_many_threads_at_most(count, most):
    with jitgrad.threads(8):
        compile_function(softmax(300, 257))
        pool().ready()
    for pause in (0, 0.001):
        ran = []

        @CHUNK
        def work(_, chunk, ran=ran, pause=pause):
            ran.append((chunk, threading.get_ident()))
            time.sleep(pause)

        parallel(work, count, most)
        assert sorted(chunk for chunk, _ in ran) == list(range(count))
        mine = [chunk for chunk, who in ran if who == threading.get_ident()]
        assert mine == list(range(len(mine))), "the caller takes them from the front"
        assert len({who for _, who in ran}) <= min(most, count)


def test_who_finds_the_pool_busy_works_alone():
    outer, inner = [], []

    @CHUNK
    def small(_, chunk):
        inner.append(threading.get_ident())

    @CHUNK
    def work(_, chunk):
        outer.append(threading.get_ident())
        parallel(small, 5, 8)

    with jitgrad.threads(8):
        compile_function(softmax(300, 257))
        pool().ready()
    parallel(work, 6, 8)
    assert Counter(inner) == Counter(outer * 5) and len(outer) == 6
    assert ctypes.c_int64.from_address(pool().address + threads._AT["alone"]).value == 0
