"""The command line, in process; and as a process where pipes and exit statuses are what is tested."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jitgrad import cli
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import to_text
from jitgrad.ir.verify import verify

ROOT = Path(__file__).resolve().parent.parent
ARGS = "f32[8,4], {'w': f32[4,3]}"

PROGRAM = '''\
import jitgrad
from neighbour import twice

scale = jitgrad.tensor([2.0, 3.0, 4.0])


def loss(x, params, lr=0.5):
    print("recording")
    h = (x @ params["w"]).tanh() * lr
    return h.sum()


def rows(x):
    return twice(x * scale)


def counts(n):
    return n + 1


@jitgrad.trace
def decorated(x):
    return x.exp()


def shapes(x, y):
    return x @ y


def raises(x):
    y = x + 1
    return y.no_such_method()


def many(*xs, **named):
    return (xs[0] * xs[1] * named["z"]).sum()


class Model:
    def __init__(self):
        self.w = jitgrad.ones(3, requires_grad=True)

    def forward(self, x):
        return (x * self.w).sum()


model = Model()
constant = 3
'''

JIR = """\
func @f(%x: f64[2], %n: i64[]) -> (f64[2], i64[]) {
  %0: f64[2] = mul %x, %x  @ user.py:3
  %dead: f64[2] = exp %0
  %1: i64[] = const {value=1, dtype=i64, shape=[]}
  %2: i64[] = add %n, %1
  return %0, %2
}
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "neighbour.py").write_text("def twice(x):\n    return x + x\n")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    yield str(path)
    sys.modules.pop("neighbour", None)


@pytest.fixture
def jir(tmp_path):
    path = tmp_path / "f.jir"
    path.write_text(JIR)
    return str(path)


@pytest.fixture
def run(capsys):
    def run(*argv):
        status = cli.main(argv)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def good(result):
    status, out, err = result
    assert status == 0, err
    return out


def refused(result):
    """The one line of a wrong argument."""
    status, out, err = result
    assert (status, out) == (2, ""), (status, out, err)
    assert err.startswith("jitgrad: ") and err.count("\n") == 1
    return err


def one_function(text):
    (f,) = parse(text)
    verify(f)
    assert to_text(f) == text
    return f


def test_ir_stages_are_jir_files(run, program):
    shapes = {}
    for stage in cli.IR_STAGES:
        f = one_function(good(run("dump", f"{program}:loss", "--args", ARGS, "--stage", stage)))
        assert any(i.loc and i.loc.file == program and i.loc.line == 9 for i in f.instrs)
        shapes[stage] = (f.name, [str(t) for t in f.result_types])
    assert shapes["trace"] == shapes["simplified"] == ("loss", ["f32[]"])
    assert shapes["forward"] == ("loss_forward", ["f32[]", "f32[8,3]"])
    assert shapes["backward"] == ("loss_backward", ["f32[8,4]", "f32[4,3]"])


def test_backward_names_residuals_and_adjoints(run, program):
    f = one_function(good(run("dump", f"{program}:loss", "--args", ARGS, "--stage", "backward")))
    assert [p.name for p in f.params] == ["x", "params_w", "s1", "ct_4"]
    assert any(i.loc and i.loc.adjoint == "0" for i in f.instrs)


def test_a_nonscalar_result_takes_a_cotangent(run, program):
    f = one_function(good(run("dump", f"{program}:rows", "--args", "f32[5,3]", "--stage", "backward")))
    assert str(f.params[-1].type) == "f32[5,3]" and f.params[-1].name.startswith("ct")
    assert [str(t) for t in f.result_types] == ["f32[5,3]"]


def test_native_stages(run, program):
    def text(stage, *more):
        return good(run("dump", f"{program}:loss", "--args", ARGS, "--stage", stage, *more))

    assert "kernel 0" in text("kernels")
    assert "define" in text("llvm") and "define" in text("optimized")
    assert "ret" in text("asm")
    joint, alone = text("kernels"), text("kernels", "--grad-of", "none")
    assert "result2" in joint and "result1" not in alone  # the value and two gradients; the value
    halves = text("kernels", "--of", "forward"), text("kernels", "--of", "backward")
    assert "tanh" in halves[0] and "tanh" not in halves[1]


def test_grad_of(run, program):
    def results(*more):
        out = good(run("dump", f"{program}:loss", "--args", ARGS, "--stage", "backward", *more))
        return [str(t) for t in one_function(out).result_types]

    assert results() == ["f32[8,4]", "f32[4,3]"]
    assert results("--grad-of", "x") == ["f32[8,4]"]
    assert results("--grad-of", "params['w']") == ["f32[4,3]"]
    assert results("--grad-of", "params") == ["f32[4,3]"]


def test_grad_of_reaches_what_the_function_captured(run, program):
    for more, count in (((), 2), (("--grad-of", "w"), 1), (("--grad-of", "x,w"), 2)):
        out = run("dump", f"{program}:model.forward", "--args", "f32[3]", "--stage", "backward", *more)
        assert [str(t) for t in one_function(good(out)).result_types] == ["f32[3]"] * count


def test_variadic_and_keyword_arguments(run, program):
    out = good(run("dump", f"{program}:many", "--args", "f32[2], f32[2], z=f32[2]", "--stage", "backward",
                   "--grad-of", "z, xs[1]"))
    assert len(one_function(out).result_types) == 2


def test_decorated_functions(run, program):
    assert "exp" in good(run("dump", f"{program}:decorated", "--args", "f32[3]"))


def test_no_loc(run, program):
    out = good(run("dump", f"{program}:rows", "--args", "f32[5,3]", "--no-loc"))
    assert "@ " not in out
    one_function(out)


def test_json(run, program):
    shown = json.loads(good(run("dump", f"{program}:loss", "--args", ARGS, "--stage", "backward", "--json")))
    assert (shown["function"], shown["stage"]) == ("loss_backward", "backward")
    assert shown["params"][1] == {"name": "params_w", "type": "f32[4,3]", "argument": "params['w']"}
    assert shown["results"] == ["f32[8,4]", "f32[4,3]"]
    f = one_function(shown["text"])
    assert shown["counts"]["instructions"] == len(f.instrs) == sum(shown["counts"]["ops"].values())
    native = json.loads(good(run("dump", f"{program}:loss", "--args", ARGS, "--stage", "kernels", "--json")))
    assert native["counts"]["kernels"] == native["text"].count("\nkernel ") > 0


def test_what_the_users_code_prints_goes_to_stderr(run, program):
    status, out, err = run("dump", f"{program}:loss", "--args", ARGS)
    assert status == 0 and "recording" not in out and "recording" in err


def test_errors_in_the_function_show_its_line(run, program):
    for name, args, message, line in (
        ("shapes", "f32[3,4], f32[3,4]", "ShapeError: matmul", "return x @ y"),
        ("raises", "f32[3]", "AttributeError: ", "return y.no_such_method()"),
        ("many", "f32[2], f32[2]", "KeyError: 'z'", 'named["z"]'),
    ):
        status, out, err = run("dump", f"{program}:{name}", "--args", args)
        assert (status, out) == (1, "")
        assert message in err and line in err and f"{program}:" in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [("x = (1,\n", "SyntaxError", "x = (1,"), ("import math\nmath.sqrt(-1)\n", "ValueError", "math.sqrt(-1)"),
     ("import nowhere_at_all\n", "ModuleNotFoundError", "import nowhere_at_all"),
     ("raise SystemExit(3)\n", "SystemExit", "raise SystemExit(3)")],
)
def test_files_that_do_not_load(run, tmp_path, source, message, line):
    path = tmp_path / "broken.py"
    path.write_text(source)
    status, out, err = run("dump", f"{path}:f")
    assert (status, out) == (1, "")
    assert err.startswith(message) and line in err and "Traceback" not in err


@pytest.mark.parametrize(("source", "status", "message"), [
    ("def f(x): raise SystemExit(7)", 1, "SystemExit: the program ended itself with 7 when it was called\n"),
    ("raise SystemExit", 1, "SystemExit: the program ended itself with None when the file was loaded\n"),
    ("class Odd(BaseException): pass\ndef f(x): raise Odd('odd')", 1, "Odd: odd\n"),
    ("def f(x): raise KeyboardInterrupt", 130, "jitgrad: interrupted\n"),
    ("raise KeyboardInterrupt", 130, "jitgrad: interrupted\n"),
    ("def f(x): return bytearray(10**17)", 1, "MemoryError"),
])
def test_a_function_that_ends_the_program(run, tmp_path, source, status, message):
    path = tmp_path / "ends.py"
    path.write_text(source)
    got, out, err = run("dump", f"{path}:f", "--args", "f32[3]", "--stage", "kernels")
    assert (got, out) == (status, "") and message in err and "Traceback" not in err
    assert status == 130 or "raise" in err or "return" in err  # the line


def test_a_write_to_an_argument_says_how_to_dump_it(run, tmp_path):
    path = tmp_path / "inplace.py"
    path.write_text("def f(x):\n    x += 1\n    return x\n")
    status, out, err = run("dump", f"{path}:f", "--args", "f32[3]")
    assert (status, out) == (1, "") and err.startswith("InplaceError") and "--grad-of none" in err
    assert "add" in good(run("dump", f"{path}:f", "--args", "f32[3]", "--grad-of", "none"))
    assert "kernel 0" in good(run("dump", f"{path}:f", "--args", "f32[3]", "--grad-of", "none", "--stage", "kernels"))


def test_wrong_arguments(run, program, tmp_path):
    target = f"{program}:loss"
    cases = [
        (("dump", str(tmp_path / "no.py") + ":f"), "no such file"),
        (("dump", str(tmp_path) + ":f"), "cannot read"),
        (("dump", program), "FILE.py:FUNCTION"),
        (("dump", f"{program}:nope"), "it has: loss, rows, counts"),
        (("dump", f"{program}:constant"), "is a int, not a function"),
        (("dump", target), "--args does not fit loss(x, params, lr=0.5): missing"),
        (("dump", target, "--args", "f32[2"), "--args, column 1: the ']'"),
        (("dump", target, "--args", ARGS + ", 1, 2"), "too many positional arguments"),
        (("dump", target, "--args", ARGS, "--stage", "magic"), "'trace', 'simplified'"),
        (("dump", f"{program}:rows", "--args", "f32[3]", "--grad-of", "y"), "no argument 'y'; there is: x, scale"),
        (("dump", target, "--args", ARGS + ", 0.5", "--grad-of", "lr"), "'lr' is no floating-point tensor"),
        (("dump", f"{program}:counts", "--args", "i64[]", "--stage", "forward"), "nothing to differentiate by"),
        (("dump", f"{program}:rows", "--args", "f32[3]", "--stage", "forward", "--grad-of", "none"), "is none"),
        (("dump", target, "--args", ARGS, "--seed", "x"), "a seed is a whole number"),
        (("dump", target, "--args", ARGS, "--seed", "-1"), "a seed is a whole number"),
        (("dump", target, "--args", "f32[99999999999999]"), "column 1: there is not enough memory for f32[99999999999"),
        (("dump", target, "--args", "1, i8[999999999999999]=1"), "column 4: there is not enough memory for i8["),
        (("dump", target, "--args", "f64[99999999999999,999999999999999]"), "not enough memory for f64["),
        (("dump", target, "--args", ARGS, "--of", "forward"), "--of is for --stage kernels, llvm, optimized, asm"),
        (("opt", str(tmp_path / "no.jir")), "no such file"),
        (("run", str(tmp_path / "no.jir")), "no such file"),
        (("paint",), "invalid choice: 'paint'"),
        ((), "COMMAND"),
    ]
    for argv, message in cases:
        assert message in refused(run(*argv)), argv


def test_opt(run, jir, tmp_path):
    f = one_function(good(run("opt", jir)))
    assert [i.op for i in f.instrs] == ["mul", "const", "add"]
    f = one_function(good(run("opt", jir, "--passes", "cse, fold")))
    assert len(f.instrs) == 4
    assert good(run("opt", jir, "--passes", "")) == to_text(parse(JIR))
    assert "there is: cse, fold" in refused(run("opt", jir, "--passes", "cse,nope"))
    both = tmp_path / "two.jir"
    both.write_text(JIR + "\n" + JIR.replace("@f", "@g"))
    assert [f.name for f in parse(good(run("opt", str(both))))] == ["f", "g"]


def test_opt_keeps_functions_that_others_refer_to(run, tmp_path):
    path = tmp_path / "custom.jir"
    path.write_text("""
func @f(%x: f64[2]) -> (f64[2]) {
  %0: f64[2] = exp %x
  %1: f64[2] = custom_grad %0, %x {backward=@back, results=1, inputs=1, sets=[]}
  return %1
}
func @back(%out: f64[2], %ct: f64[2]) -> (f64[2]) {
  return %ct
}
""")
    assert [f.name for f in parse(good(run("opt", str(path))))] == ["f", "back"]


def test_run(run, jir):
    for more in ((), ("--interpret",)):
        assert good(run("run", jir, "--args", "f64[2]=[3,-4], 6", *more)) == "f64[2] = [ 9., 16.]\ni64[] = 7\n"
    assert good(run("run", jir)) == good(run("run", jir)) != good(run("run", jir, "--seed", "1"))
    assert "%x of @f is f64[2], got f32[2]" in refused(run("run", jir, "--args", "f32[2], 1"))
    assert "takes 2 tensors, (x: f64[2], n: i64[])" in refused(run("run", jir, "--args", "f64[2]"))
    assert "got 'a'" in refused(run("run", jir, "--args", "f64[2], 'a'"))


GUARDED = """\
func @f(%x: f64[]) -> (f64[]) {
  %0: f64[] = const {value=0.0, dtype=f64, shape=[]}
  %1: bool[] = gt %x, %0
  guard %1 ? ^big(%x) : ^?  @ user.py:5
^big(%y: f64[]):
  %2: f64[] = mul %y, %y
  return %2
}
"""


def test_run_with_control_flow(run, tmp_path):
    path = tmp_path / "guarded.jir"
    path.write_text(GUARDED)
    assert "--interpret" in refused(run("run", str(path), "--args", "3.0"))
    assert good(run("run", str(path), "--args", "3.0", "--interpret")) == "f64[] = 9.\n"
    status, _, err = run("run", str(path), "--args", "-3.0", "--interpret")
    assert status == 1 and err.startswith("SideExit") and "user.py:5" in err


def test_errors_in_a_jir_file(run, tmp_path):
    path = tmp_path / "bad.jir"
    for text, message in ((JIR.replace("mul %x", "mull %x"), "no op 'mull'"), ("; nothing\n", "no function"),
                          (JIR.replace("%dead: f64[2]", "%dead: f64[3]"), "VerifyError")):
        path.write_text(text)
        for command in ("opt", "run"):
            status, out, err = run(command, str(path))
            assert (status, out) == (2, "") and message in err and err.startswith("jitgrad: ")


def test_a_jir_file_with_sizes_beyond_memory(run, tmp_path):
    path = tmp_path / "big.jir"
    path.write_text(JIR.replace("f64[2]", "f64[99999999999999]"))
    one_function(good(run("opt", str(path))))
    for more in ((), ("--interpret",)):
        assert "there is not enough memory for f64[99999999999999]" in refused(run("run", str(path), *more))
    path.write_text("""
func @f() -> (f32[99999999999999]) {
  %0: f32[99999999999999] = iota {axis=0, dtype=f32, shape=[99999999999999]}
  return %0
}
""")
    one_function(good(run("opt", str(path))))
    for more in ((), ("--interpret",)):
        refused(run("run", str(path), *more))


def test_errors_at_run_time(run, tmp_path):
    path = tmp_path / "divide.jir"
    path.write_text("""
func @f(%n: i64[]) -> (i64[]) {
  %0: i64[] = floor_divide %n, %n  @ user.py:8
  return %0
}
""")
    for more in ((), ("--interpret",)):
        status, out, err = run("run", str(path), "--args", "0", *more)
        assert (status, out) == (1, "") and err.startswith("DivisionByZero") and "user.py:8" in err


def test_colours_only_on_a_terminal(run, program, monkeypatch):
    plain = good(run("dump", f"{program}:rows", "--args", "f32[5,3]"))
    assert "\x1b" not in plain
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = good(run("dump", f"{program}:rows", "--args", "f32[5,3]"))
    assert "\x1b[36m%x\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert good(run("dump", f"{program}:rows", "--args", "f32[5,3]")) == plain


def test_help(run):
    for argv in (("--help",), ("dump", "--help"), ("opt", "--help"), ("run", "--help"), ("--version",)):
        status, out, err = run(*argv)
        assert (status, err) == (0, "") and out


def process(*argv, stdout=subprocess.PIPE, env=None, **more):
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | (env or {})
    command = [sys.executable, "-m", "jitgrad", *argv]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, encoding="utf-8", env=env, **more)


def test_as_a_process(program):
    done = process("dump", f"{program}:loss", "--args", ARGS, "--stage", "forward")
    assert done.returncode == 0
    one_function(done.stdout)
    done = process("dump", "nowhere.py:f")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "jitgrad: cannot read nowhere.py: no such file\n"


def test_a_pipe_that_closes_early_is_no_error(program):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jitgrad", "dump", f"{program}:loss", "--args", ARGS, "--stage", "llvm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as p:
        p.stdout.close()
        _, err = p.communicate()
    assert b"Traceback" not in err and b"BrokenPipe" not in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_piped_output_is_utf_8_whatever_the_locale(tmp_path, encoding):
    path, jir = tmp_path / "names.py", tmp_path / "names.jir"
    path.write_text("def größe(Δ, 名): return Δ * 名\n", encoding="utf-8")
    env = {"PYTHONIOENCODING": encoding}
    done = process("dump", f"{path}:größe", "--args", "f32[3], f32[3]", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "func @größe(%Δ: f32[3], %名: f32[3])" in done.stdout
    jir.write_text(done.stdout, encoding="utf-8")
    again = process("opt", str(jir), "--passes", "", env=env)
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_output_that_cannot_be_written(program):
    argv = ("dump", f"{program}:rows", "--args", "f32[5,3]")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            for command in (argv, (*argv, "--json"), (*argv, "--stage", "llvm"), ("--help",)):
                done = process(*command, stdout=full)
                want = (1, "jitgrad: cannot write the output: No space left on device\n")
                assert (done.returncode, done.stderr) == want
    if os.name == "posix":
        done = process(*argv, stdout=None, preexec_fn=lambda: os.close(1))
        assert (done.returncode, done.stderr) == (1, "jitgrad: cannot write the output: it is closed\n")


@pytest.mark.parametrize("error", [OSError("no room for a temporary file"), BrokenPipeError(32, "Broken pipe")])
def test_an_error_of_the_system_is_not_one_of_the_output(tmp_path, monkeypatch, capsys, error):
    def fail(*args, **kwargs):
        raise error

    jir = tmp_path / "f.jir"
    jir.write_text("func @f(%x: f32[]) -> (f32[]) {\n  return %x\n}\n", encoding="utf-8")
    monkeypatch.setattr("jitgrad.cli.run_pipeline", fail)
    assert cli.main(["opt", str(jir)]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"jitgrad: {type(error).__name__}: {error}\n")
