"""The command `jitgrad`: look at what a function becomes on its way to machine code.

    jitgrad dump FILE.py:FUNCTION --args 'f32[128,64], f32[64,10]' --stage forward
    jitgrad opt FILE.jir --passes simplify,dce
    jitgrad run FILE.jir --args 'f32[3]=[1,2,3]'

Exit status: 0; 1 for an error in the user's program, shown with its line, and for output that cannot be
written; 2 for bad input: a wrong argument, a file that cannot be read, a .jir file that does not parse or
verify, sizes beyond memory; 130 for an interrupt. What goes to a pipe is plain text in UTF-8, whatever the
locale, and for the IR stages one valid .jir file; what the user's own code prints goes to stderr.

Imports: everything; `codegen` only for the stages that need it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .arguments import ArgumentsError, parse_arguments, random_array
from .errors import InplaceError, JitgradError, ParseError, VerifyError, excerpt, is_own_code
from .ir.core import Function
from .ir.interpreter import interpret
from .ir.parser import parse
from .ir.passes import PASSES, PIPELINE, run_pipeline, strip
from .ir.printer import to_text
from .ir.types import type_of_array
from .ir.verify import verify
from .output import OutputError, drop, flush, prepare, write
from .program import Program
from .pytree import flatten, tree_map
from .tensors import Tensor, make
from .tracing import Recorded, binder, program_of, record_function

IR_STAGES = ("trace", "simplified", "forward", "backward")
NATIVE_STAGES = ("kernels", "llvm", "optimized", "asm")
PROGRAMS = ("joint", "forward", "backward")


class UsageError(Exception):
    """Bad input: a wrong argument, in one line that says what is right, or a file that is no .jir file."""


class UserError(Exception):
    """An error in the user's program, with its line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv` (by default the process's arguments) and return its exit status."""
    try:
        prepare()
        options = _options(argv)
        if options is not None:
            options.command(options)
        flush()
    except UsageError as error:
        return _failed(f"jitgrad: {error}", 2)
    except MemoryError as error:
        return _failed(f"jitgrad: {str(error) or 'there is not enough memory'}", 2)
    except UserError as error:
        return _failed(str(error), 1)
    except JitgradError as error:
        return _failed(f"{type(error).__name__}: {error}", 1)
    except OutputError as error:
        drop()
        return 0 if error.closed else _failed(f"jitgrad: cannot write the output: {error}", 1)
    except OSError as error:  # of the system's, somewhere inside
        return _failed(f"jitgrad: {type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        return _failed("jitgrad: interrupted", 130)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace | None:
    try:
        return _parser().parse_args(argv)
    except SystemExit:  # --help and --version have done all
        return None


def _failed(text: str, status: int) -> int:
    if sys.stderr is not None:
        print(text, file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def print_help(self, file: Any = None) -> None:  # argparse's does not say if it cannot write
        write(self.format_help())


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = _Parser(
        "jitgrad", description="Look at what a function becomes on its way to machine code.", epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jitgrad {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    dump = commands.add_parser(
        "dump", help="print a stage of a Python function", description=_DUMP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    dump.add_argument("target", metavar="FILE.py:FUNCTION", help="the function; it need not be decorated")
    dump.add_argument("--args", default="", help="its arguments, such as 'f32[128,64], {'w': f32[64]}, 0.5'")
    dump.add_argument("--stage", choices=(*IR_STAGES, *NATIVE_STAGES), default="trace", help="default: trace")
    dump.add_argument(
        "--grad-of", metavar="NAMES",
        help="the arguments to differentiate by, as in x,params['w'], or 'none'; default: all floating-point ones",
    )
    dump.add_argument(
        "--of", choices=PROGRAMS,
        help=f"the program whose {', '.join(NATIVE_STAGES)} is printed; default: joint, results and gradients in one",
    )
    dump.add_argument("--measure", action="store_true", help="time each kernel alone, for --stage kernels")
    dump.add_argument("--no-loc", action="store_true", help="leave out source locations")
    dump.add_argument("--json", action="store_true", help="print one JSON object: text, params, counts, ...")
    dump.add_argument("--seed", type=_seed, default=0, help="of the random tensors; default: 0")
    dump.set_defaults(command=_dump)

    opt = commands.add_parser("opt", help="run passes over a .jir file and print it")
    opt.add_argument("file", metavar="FILE.jir")
    opt.add_argument(
        "--passes", metavar="A,B",
        help=f"in this order, of {', '.join(PASSES)}; default: {','.join(p.__name__ for p in PIPELINE)}",
    )
    opt.add_argument("--no-loc", action="store_true", help="leave out source locations")
    opt.set_defaults(command=_opt)

    run = commands.add_parser("run", help="run the first function of a .jir file and print its results")
    run.add_argument("file", metavar="FILE.jir")
    run.add_argument("--args", help="its arguments, such as 'f32[3]=[1,2,3], f32[]=2'; default: random ones")
    run.add_argument("--seed", type=_seed, default=0, help="of the random arguments; default: 0")
    run.add_argument("--interpret", action="store_true", help="by the interpreter instead of compiled")
    run.set_defaults(command=_run)
    return parser


def _seed(text: str) -> int:
    if not re.fullmatch("[0-9]{1,40}", text):
        raise argparse.ArgumentTypeError(f"a seed is a whole number of up to 40 digits, got '{text}'")
    return int(text)


_STATUS = """\
Exit status: 0; 1 for an error in the program that is looked at, or in writing the output; 2 for bad input: a
wrong argument, a missing file, a .jir file that does not parse, sizes beyond memory; 130 for an interrupt.
"""

_DUMP = """\
Print a stage of a Python function:

  trace       what was recorded
  simplified  after the passes
  forward     what computes the results, and the residuals that the backward reads
  backward    what computes the gradients from residuals and cotangents
  kernels     the fused loops, before they become LLVM, with what each moves and computes
  llvm        the LLVM module as it is written
  optimized   the LLVM module after LLVM's passes
  asm         the machine code

A tensor is written as its type, f32[128,64], and filled at random, or with a value: f32[3]=[1,2,3].
Numbers, strings, True, False, None, tuples, lists, dicts and name=value are written as in Python.
"""


# -- dump


def _dump(options: argparse.Namespace) -> None:
    path, name = _target(options.target)
    if options.of and options.stage in IR_STAGES:
        raise UsageError(f"--of is for --stage {', '.join(NATIVE_STAGES)}, not {options.stage}")
    if options.measure and options.stage != "kernels":
        raise UsageError(f"--measure is for --stage kernels, not {options.stage}")
    with _on_path(path):
        function = _load(path, name)
        args, kwargs = _arguments(options.args, np.random.default_rng(options.seed))
        _check_call(function, name, args, kwargs)
        args, kwargs = tree_map(_as_tensor, (args, kwargs))
        wanted = _require_grad(function, args, kwargs, options.grad_of)
        with _user_code(path, "when it was called"):
            recorded = _recorded(function, args, kwargs, wanted)
    leaves = flatten((args, kwargs))[0]
    program = _program(recorded, leaves, wanted)
    shown = _show(program, recorded, leaves, options)
    if options.json:
        write(json.dumps(_summary(shown, recorded, options), indent=2))
    else:
        write(shown.text, ir=options.stage in IR_STAGES)


def _recorded(function: Callable[..., Any], args: Any, kwargs: Any, wanted: list[str] | None) -> Recorded:
    try:
        return record_function(function, args, kwargs)
    except InplaceError as error:
        if wanted != []:
            error.hint += ", or dump it with --grad-of none: no argument requires grad then"
        raise


def _target(target: str) -> tuple[str, str]:
    path, colon, name = target.rpartition(":")
    if not colon or not path or not name:
        raise UsageError(f"'{target}' names no function: write FILE.py:FUNCTION")
    return path, name


@contextmanager
def _on_path(path: str) -> Iterator[None]:
    """Let a file import its neighbours, as a script can."""
    folder = os.path.dirname(os.path.abspath(path))
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _load(path: str, name: str) -> Callable[..., Any]:
    source = _read(path)
    module = types.ModuleType("__jitgrad_dump__")
    module.__file__ = path
    sys.modules[module.__name__] = module
    with _user_code(path, "when the file was loaded"):
        exec(compile(source, path, "exec"), module.__dict__)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            functions = ", ".join(n for n, v in vars(module).items() if _is_function_of(module, v))
            raise UsageError(f"{path} has no function '{name}'; it has: {functions or 'none'}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"'{name}' in {path} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def _is_function_of(module: types.ModuleType, value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(f"cannot read {path}: {reason}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {path}: it is not text") from None


@contextmanager
def _user_code(path: str, when: str) -> Iterator[None]:
    """Run code of the user's: its output goes to stderr, its errors become UserError with their line."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = str(error) if isinstance(error, JitgradError) else _described(error, when)
        if "\n" not in message:
            message = "\n".join(filter(None, (message, _line_of(error, path))))
        raise UserError(f"{type(error).__name__}: {message}") from None


def _described(error: BaseException, when: str) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    if isinstance(error, SystemExit):
        return f"the program ended itself with {error.code!r} {when}"
    return str(error)


def _line_of(error: BaseException, path: str) -> str:
    """The user's line that an error comes from: the last one in the file itself, if there is one."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return excerpt(error.filename, error.lineno)
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    for mine in (True, False):
        for code, line in reversed(frames):
            if code.co_filename == path if mine else not is_own_code(code):
                return excerpt(code.co_filename, line)
    return ""


def _arguments(text: str, rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return parse_arguments(text, rng)
    except ArgumentsError as error:
        raise UsageError(f"--args, {error}") from None


def _check_call(function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> None:
    """Raises UsageError unless the function takes these arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(f"--args does not fit {name}{signature}: {error}") from None


def _as_tensor(leaf: Any) -> Any:
    return make(leaf) if isinstance(leaf, np.ndarray) else leaf


def _require_grad(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], grad_of: str | None
) -> list[str] | None:
    """Mark the tensors to differentiate by. Returns the names asked for, None for all of them."""
    leaves = dict(zip(binder(function)(args, kwargs), flatten((args, kwargs))[0], strict=True))
    floating = {n: x for n, x in leaves.items() if isinstance(x, Tensor) and x.type_.dtype.is_floating_point}
    wanted = None if grad_of is None else [n.strip() for n in grad_of.split(",") if n.strip() != "none"]
    for name in wanted or ():
        if any(_is_part(n, name) for n in leaves) and not any(_is_part(n, name) for n in floating):
            raise UsageError(f"--grad-of: '{name}' is no floating-point tensor; those are: {_listed(floating)}")
    for name, leaf in floating.items():
        leaf.requires_grad = wanted is None or any(_is_part(name, w) for w in wanted)
    return wanted


def _is_part(name: str, of: str) -> bool:
    """Whether `name` is `of` or lies in it, as params['w'] lies in params."""
    return name == of or name.startswith((f"{of}[", f"{of}."))


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"


def _program(recorded: Recorded, leaves: list[Any], wanted: list[str] | None) -> Program:
    """The program of a recording, differentiated by what was asked for."""
    program = program_of(recorded, leaves)
    if wanted is None:
        return program
    for name in wanted:
        if not any(_is_part(p, name) for p in recorded.param_paths):
            raise UsageError(f"--grad-of: no argument '{name}'; there is: {_listed(recorded.param_paths)}")
    wrt = [i for i in recorded.wrt if any(_is_part(recorded.param_paths[i], w) for w in wanted)]
    return Program(recorded.function, wrt, recorded.differentiable, program.strides)


@dataclass(frozen=True)
class _Shown:
    """What is printed: a function of the IR and its text at the stage; facts of its kernels where it has any."""

    function: Function
    text: str
    kernels: list[dict[str, Any]] | None = None


def _show(program: Program, recorded: Recorded, leaves: list[Any], options: argparse.Namespace) -> _Shown:
    stage = options.stage
    if stage in NATIVE_STAGES:
        from . import stages

        part = options.of or "joint"
        if part != "joint":
            _split(program)
        arrays = stages.inputs(program, recorded, leaves, part, options.seed) if options.measure else None
        made = stages.native(program, stage, part, arrays)
        return _Shown(made.function, made.text, made.kernels)
    functions: dict[str, Callable[[], Function]] = {
        "trace": lambda: program.recorded,
        "simplified": lambda: program.simplified,
        "forward": lambda: _split(program).forward,
        "backward": lambda: _split(program).backward,
    }
    function = functions[stage]()
    return _Shown(function, to_text(function, loc=not options.no_loc))


def _split(program: Program) -> Any:
    if not program.wrt:
        raise UsageError("nothing to differentiate by: --args has no floating-point tensor, or --grad-of is none")
    if not program.differentiable:
        raise UsageError("nothing to differentiate: no floating-point result depends on what --grad-of names")
    return program.split


def _summary(shown: _Shown, recorded: Recorded, options: argparse.Namespace) -> dict[str, Any]:
    f = shown.function
    argument = dict(zip((p.name for p in recorded.function.params), recorded.param_paths, strict=True))
    counts = {"instructions": len(f.instrs), "ops": dict(Counter(i.op for i in f.instrs).most_common())}
    if shown.kernels is not None:
        counts["kernels"] = len(shown.kernels)
    return {
        "function": f.name,
        "stage": options.stage,
        "text": shown.text,
        "params": [
            {"name": p.name, "type": str(p.type)} | ({"argument": argument[p.name]} if p.name in argument else {})
            for p in f.params
        ],
        "results": [str(t) for t in f.result_types],
        "counts": counts,
    } | ({} if shown.kernels is None else {"kernels": shown.kernels})


# -- opt and run


def _functions(path: str) -> list[Function]:
    """The verified functions of a file, but for those that others of them refer to."""
    try:
        functions = parse(_read(path), path)
        for f in functions:
            verify(f)
    except (ParseError, VerifyError) as error:
        raise UsageError(f"{type(error).__name__}: {error}") from None
    if not functions:
        raise UsageError(f"{path} holds no function")
    inner = {v for f in functions for i in f.walk() for v in i.attrs.values() if isinstance(v, Function)}
    return [f for f in functions if f not in inner]


def _opt(options: argparse.Namespace) -> None:
    passes = PIPELINE
    if options.passes is not None:
        names = [n.strip() for n in options.passes.split(",") if n.strip()]
        if unknown := [n for n in names if n not in PASSES]:
            raise UsageError(f"--passes: no pass '{unknown[0]}'; there is: {_listed(PASSES)}")
        passes = tuple(PASSES[n] for n in names)
    optimized = [run_pipeline(f, passes, True) for f in _functions(options.file)]
    write(to_text(optimized, loc=not options.no_loc), ir=True)


def _run(options: argparse.Namespace) -> None:
    f = _functions(options.file)[0]
    arrays = _arrays(f, options.args, np.random.default_rng(options.seed))
    if options.interpret:
        results = interpret(f, arrays)
    elif not f.is_straight:
        raise UsageError(f"@{f.name} has control flow, which is not compiled yet: add --interpret")
    else:
        from .codegen.compiler import compile_function

        results = compile_function(strip(f))(arrays)
    for value, result in zip(f.result_types, results, strict=True):
        head = f"{value} = "
        write(head + np.array2string(result, separator=", ", prefix=head))


def _arrays(f: Function, text: str | None, rng: np.random.Generator) -> list[np.ndarray]:
    if text is None:
        return [random_array(p.type, rng) for p in f.params]
    args, kwargs = _arguments(text, rng)
    declared = ", ".join(f"{p.name}: {p.type}" for p in f.params)
    if len(args) != len(f.params) or kwargs:
        raise UsageError(f"--args: @{f.name} takes {len(f.params)} tensors, ({declared})")
    arrays = []
    for param, value in zip(f.params, args, strict=True):
        array = value
        if isinstance(value, (bool, int, float)) and not param.type.shape:
            array = np.array(value, param.type.dtype.numpy)
        if not isinstance(array, np.ndarray) or type_of_array(array) != param.type:
            got = type_of_array(array) if isinstance(array, np.ndarray) else repr(value)
            raise UsageError(f"--args: %{param.name} of @{f.name} is {param.type}, got {got}")
        arrays.append(array)
    return arrays
