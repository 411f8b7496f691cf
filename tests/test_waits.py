"""How threads wait: each way is machine code on its systems; POSIX's runs here as well as Linux's own."""

import subprocess
import sys
import textwrap

import pytest

from jitgrad.codegen.threads import runtime_text
from jitgrad.codegen.waits import waits

WAY = {
    "x86_64-unknown-linux-gnu": "syscall",
    "aarch64-unknown-linux-gnu": "syscall",
    "powerpc64le-unknown-linux-gnu": "mutex",
    "riscv64-unknown-linux-gnu": "mutex",
    "x86_64-apple-darwin23.0.0": "mutex",
    "arm64-apple-macosx14.0.0": "mutex",
    "aarch64-unknown-freebsd14": "mutex",
    "x86_64-pc-windows-msvc": "compared",
    "aarch64-pc-windows-msvc": "compared",
    "x86_64-unknown-fuchsia": "",
}


@pytest.fixture(scope="module")
def targets():
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


@pytest.mark.parametrize("triple", WAY)
def test_the_runtime_is_machine_code_everywhere(triple, targets):
    system = waits(triple)
    assert (system is None) == (WAY[triple] == "")
    text = runtime_text(triple, system)
    assert ("mutex" in text, "%compared" in text, "i64 (i64, ...)" in text) == (
        WAY[triple] == "mutex", WAY[triple] == "compared", WAY[triple] == "syscall"
    )
    machine = targets.Target.from_triple(triple).create_target_machine(opt=1, reloc="pic", codemodel="small")
    module = targets.parse_assembly(text)
    module.verify()
    assembly = machine.emit_assembly(module)
    assert all(f"{name}:" in assembly for name in ("parallel", "worker")) or "_parallel:" in assembly
    assert len(machine.emit_object(targets.parse_assembly(text))) > 500


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_threads_that_wait_as_posix_has_it(request):
    """Hot, after sleep, in many at once, in forked children, and at the end of the process."""
    script = """
        import os, signal, sys, threading, time
        import jitgrad.codegen.threads as threads_of_pool
        from jitgrad.codegen.waits import pthread

        threads_of_pool.waits = lambda triple: pthread()
        import jitgrad
        from jitgrad.codegen.compiler import pool

        jitgrad.set_num_threads(4)
        f = jitgrad.trace(lambda x: (x * 2).sum())
        x = jitgrad.ones(500, 1000)
        wanted = f(x).item()
        assert wanted == 1e6 and pool().workers == 3

        def work(times):
            for i in range(times):
                if i % 20 == 0:
                    time.sleep(0.003)
                with jitgrad.threads(1 + i % 5):
                    assert f(x).item() == wanted

        def fork():
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                assert pool().workers == 0
                work(60)
                assert pool().workers == 4
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        work(200)
        fork()
        callers = [threading.Thread(target=work, args=(200,)) for _ in range(3)]
        for t in callers:
            t.start()
        for _ in range(5):
            fork()
        for t in callers:
            t.join()
        print(pool().workers)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=request.config.rootpath,
        capture_output=True, text=True, timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "4"), done.stderr
