"""The text form of the IR: what is printed parses to the same text, and a mistake is shown where it is."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from generate import arguments, assert_same, branching_functions, functions, outcome
from hypothesis import given
from hypothesis import strategies as st

from jitgrad.ir import verify as verify_module
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function, Loc
from jitgrad.ir.errors import ParseError
from jitgrad.ir.ops import TABLE
from jitgrad.ir.parser import parse, parse_function
from jitgrad.ir.printer import to_text
from jitgrad.ir.types import TensorType, f32, f64, i64
from jitgrad.ir.verify import verify


def straight(*lines: str, head: str = "%x: f32[3]", results: str = "f32[3]") -> str:
    body = "".join(f"  {line}\n" for line in lines)
    return f"func @f({head}) -> ({results}) {{\n{body}}}\n"


def constant(value: object, dtype=f64, shape=()) -> Function:
    b = FunctionBuilder()
    return b.finish("f", b.emit("const", (), {"value": value, "dtype": dtype, "shape": shape}))


# Round trips.


@given(functions(custom=True), st.integers(0, 99))
def test_printed_functions_parse_to_the_same_text_and_meaning(f: Function, seed: int) -> None:
    text = to_text(f)
    again, *_ = parse(text)
    verify(again)
    assert to_text(again) == text
    args = arguments(f, seed)
    assert_same(outcome(again, args), outcome(f, args))


@given(branching_functions())
def test_blocks_round_trip(f: Function) -> None:
    text = to_text(f)
    assert to_text(parse(text)) == text


@given(functions(custom=True))
def test_without_locations(f: Function) -> None:
    text = to_text(f, loc=False)
    assert " @" not in re.sub("func @", "", text)
    assert all(i.loc is None for i in parse_function(text).walk())
    assert to_text(parse_function(text), loc=False) == text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_floats_round_trip(value: float) -> None:
    again = parse_function(to_text(constant(value))).instrs[0].attrs["value"]
    assert isinstance(again, float)
    assert (math.isnan(value) and math.isnan(again)) or again.hex() == value.hex()


@given(st.lists(st.floats(width=32), max_size=5))
def test_float32_arrays_round_trip(values: list[float]) -> None:
    array = np.array(values, np.float32)
    array.flags.writeable = False
    f = constant(array, f32, array.shape)
    again = parse_function(to_text(f)).instrs[0].attrs["value"]
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(np.signbit(again) | np.isnan(again), np.signbit(array) | np.isnan(array))
    np.testing.assert_array_equal(again, array)
    assert not again.flags.writeable


@pytest.mark.parametrize(
    ("value", "text"),
    [(2, "2"), (2.0, "2.0"), (-0.0, "-0.0"), (True, "true"), (False, "false"), (math.nan, "nan"), (-7, "-7"),
     (-math.inf, "-inf"), (1e300, "1e+300"), (np.float64(0.5), "0.5")],
)
def test_numbers_keep_their_kind(value: object, text: str) -> None:
    f = constant(value)
    assert f"value={text}," in to_text(f)
    again = parse_function(to_text(f)).instrs[0].attrs["value"]
    assert isinstance(value, type(again))


def test_an_array_of_one_element_is_not_a_number() -> None:
    array = np.array(0.5, np.float32)
    array.flags.writeable = False
    text = to_text(constant(array, f32))
    assert "value=[0.5]" in text
    assert isinstance(parse_function(text).instrs[0].attrs["value"], np.ndarray)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(names, names, st.integers(0, 999), st.integers(0, 99), st.integers(0, 99), names)
def test_any_name_and_location_round_trips(
    name: str, file: str, line: int, col: int, end: int, adjoint: str
) -> None:
    b = FunctionBuilder()
    x = b.param(TensorType(f32, (3,)), name)
    b.loc = Loc(file, line, col, end, adjoint) if file or adjoint else None
    f = b.finish(name, [b.neg(x)])
    again = parse_function(to_text(f))
    assert again.name == name
    assert [p.name for p in again.params] == [p.name for p in f.params]
    loc = again.instrs[0].loc
    if file:
        assert loc == b.loc
    else:
        assert (loc.adjoint if loc else "") == adjoint


def test_spelling_of_locations() -> None:
    b = FunctionBuilder()
    x = b.param(TensorType(f32, ()), "x")
    for loc in (
        Loc("a.py", 1), Loc("a.py", 1, 4, 9), Loc("a.py", 1, 4, 9, "3"), Loc("my a.py", 1), Loc("", 0, adjoint="3")
    ):
        b.loc = loc
        x = b.neg(x)
    ends = [line.partition("@")[2] for line in to_text(b.finish("f", [x])).splitlines()[1:-2]]
    assert ends == [" a.py:1", " a.py:1:4-9", " a.py:1:4-9 ~%3", ' "my a.py":1', " ~%3"]


# Functions that refer to functions.

CUSTOM = """func @f(%x: f32[3]) -> (f32[3]) {
  %0: f32[3] = custom_grad %x, %x {backward=@g, results=1, inputs=1, sets=[]}
  return %0
}

func @g(%out: f32[3], %ct: f32[3]) -> (f32[3]) {
  return %ct
}
"""


def test_references_are_linked() -> None:
    f, g = parse(CUSTOM)
    assert f.instrs[0].attrs["backward"] is g
    assert to_text(f) == to_text([f, g]) == CUSTOM
    verify(f)


def test_two_functions_of_one_name_are_told_apart() -> None:
    f, g = parse(CUSTOM)
    h = parse(CUSTOM.replace("return %ct", "return %out").replace("@f", "@h"))[0]
    text = to_text([f, h])
    assert text.count("func @g(") == 1
    assert text.count("func @g_1(") == 1
    assert to_text(parse(text)) == text
    assert g.name == "g"


# Structure.


def test_text_maps_to_structure() -> None:
    f = parse_function(
        """
        ; a comment
        func @f(%x: f32[3], %"a b": i64[]) -> (f32[3], i64[3]) {   ; and another
          %0: f32[3], %1: i64[3] = sort %x {axis=0, descending=false}  @ a.py:3:4-8
          return %0, %1
        }
        """
    )
    (instr,) = f.instrs
    assert (f.name, [p.name for p in f.params]) == ("f", ["x", "a b"])
    assert f.params[1].type == TensorType(i64, ())
    assert (instr.op, instr.args, instr.outs) == ("sort", (f.params[0],), f.results)
    assert instr.attrs == {"axis": 0, "descending": False}
    assert instr.loc == Loc("a.py", 3, 4, 8)


def test_blocks_map_to_structure() -> None:
    f = parse_function(
        """func @f(%c: bool[], %x: f32[]) -> (f32[]) {
          guard %c ? ^"b 1"(%x) : ^?  @ a.py:2
        ^"b 1"(%y: f32[]):
          %0: bool[] = isnan %y
          guard %0 ? ^entry(%0, %y) : ^end()
        ^end():
          %1: f32[] = const {value=1.0, dtype=f32, shape=[]}
          return %1
        }"""
    )
    entry, b1, end = f.blocks
    assert [b.label for b in f.blocks] == ["entry", "b 1", "end"]
    assert entry.terminator.then.args == (f.params[1],)
    assert entry.terminator.orelse is None
    assert entry.terminator.loc == Loc("a.py", 2)
    assert b1.terminator.then.label == "entry"
    assert end.params == ()
    verify(f)


# Mistakes.

MISTAKES = [
    ("function @f() -> () {", "expected 'func', got 'function'", "function"),
    ("func f() -> () {", "expected a function (@name), got 'f'", "f("),
    ("func @f(%x: f32) -> () {", "expected a type (f32[2,3]), got 'f32'", "f32"),
    ("func @f(%x: f16[2]) -> () {", "no type f16[2]: a dtype is one of bool, u8", "f16"),
    ("func @f(%x: f32[2,]) -> () {", "no type f32[2,]", "f32"),
    ("func @f(%x: f32[2] %y: f32[2]) -> () {", "expected ',' or ')', got '%y'", "%y"),
    ("func @f(%x: f32[2], %x: f32[2]) -> () {", "%x is defined twice", "%x: f32[2])"),
    ("func @f() -> ()", "expected '{', got the end of the line", ""),
    (straight("return %y"), "%y is not defined before this line", "%y"),
    (straight("%0: f32[3] = neg %0", "return %0"), "%0 is not defined before this line", "%0\n"),
    (straight("%0: f32[3] = negate %x", "return %x"), "no op 'negate' in the table", "negate"),
    (straight("%0: f32[3] neg %x", "return %x"), "expected ',' or '=', got 'neg'", "neg"),
    (straight("%0: f32[3] = neg %x {axis}", "return %x"), "expected '=', got '}'", "}"),
    (straight("%0: f32[3] = neg %x {a=1, a=2}", "return %x"), "a is given twice", "a=2"),
    (straight("%0: f32[3] = neg %x {a=f16}", "return %x"), "expected a number, true, false, a string", "f16"),
    (straight("%0: f32[3] = neg %x, ?", "return %x"), "expected the end of the line, got '?'", "?"),
    (straight("%0: f32[3] = neg %x @ a.py", "return %x"), "expected file:line", "a.py"),
    (straight("%0: f32[3] = neg %x {f=@g}", "return %x"), "no function @g in this text", "@g"),
    (straight("return %x", results="f32[2]"), "@f returns (f32[3])", "func"),
    (straight("%0: f32[3] = neg %x"), "expected an instruction or a terminator, got '}'", "}"),
    (straight("%0: f32[3] = 7"), "expected an op, got '7'", "7"),
    (straight("return %x")[:-2], "expected a block or '}' after this line", None),
    (straight("return %x") * 2, "@f is defined twice", "@f"),
    (straight("return %x", "return %x"), "expected a label (^name), got 'return'", "return"),
    (straight("guard %x ? ^a() : ^?", "^b():", "return %x"), "no block ^a in @f", "^a"),
    (straight("guard %x ? ^b() : ^?", "^b():", "return", "^b():", "return"), "^b is defined twice", "^b():"),
    (straight("%0: f32[3] = const {value=[1.0], dtype=f32, shape=[3]}", "return %x"), "do not fit", None),
    (straight("%0: f32[3] = const {value=[1.0]}", "return %x"), "do not fit", None),
    (straight("%0: f32[3] = neg %x $", "return %x"), "got '$'", "$"),
    (straight("%0: f32[3] = neg %x {a=" + "[" * 16 + "]" * 16 + "}"), "expected an instruction or a terminator", "}"),
    (straight("%0: f32[3] = neg %x {a=" + "[" * 100_000), "lists nest deeper than 16", "[" * (100_000 - 16) + "\n"),
    (straight("%0: f32[3] = neg %x {a=-" + "7" * 5000 + "}"), "a number of 5001 digits", None),
    (straight("%0: f32[3] = neg %x @ a.py:" + "7" * 5000), "a number of 5000 digits", None),
    (f"func @f(%x: f32[{'7' * 5000}]) -> () {{", "a number of 5000 digits", None),
]


@pytest.mark.parametrize(("text", "message", "at"), MISTAKES, ids=[m for _, m, _ in MISTAKES])
def test_mistakes_are_shown(text: str, message: str, at: str | None) -> None:
    with pytest.raises(ParseError) as raised:
        parse(text, "wrong.jir")
    shown = str(raised.value)
    assert message in shown
    assert shown.startswith("wrong.jir:")
    if at is not None:
        _, source, caret = shown.splitlines()
        where = source[len(caret) - 1 :]
        assert caret.strip() == "^"
        assert (where + "\n").startswith(at)


def test_no_function() -> None:
    assert parse("; only a comment") == []
    with pytest.raises(ParseError, match=r"empty\.jir: no function in it"):
        parse_function("", "empty.jir")


def test_a_function_that_refers_to_itself_parses_and_does_not_verify() -> None:
    (f,) = parse(CUSTOM.replace("backward=@g", "backward=@f").split("\n\n")[0])
    assert to_text(f).count("func") == 1


def test_deep_functions_meet_no_recursion_limit() -> None:
    b = FunctionBuilder()
    x = b.param(TensorType(f32, ()))
    for _ in range(20_000):
        x = b.neg(x)
    text = to_text(b.finish("f", [x]))
    assert to_text(parse(text)) == text


# The specification.

README = Path(verify_module.__file__).resolve().with_name("README.md")


def op_lines() -> str:
    """The op table as README.md shows it."""
    lines = []
    for op in TABLE.values():
        attrs = f" {{{', '.join(op.attrs)}}}" if op.attrs else ""
        traits = f" [{', '.join(sorted(op.traits))}]" if op.traits else ""
        lines.append(f"- `{' '.join([op.name, ', '.join(op.operands)]).rstrip()}{attrs}`{traits} {op.doc}")
    return "\n".join(lines)


def invariant_lines() -> str:
    """The invariants as the header of `verify` states them."""
    lines = []
    for line in (verify_module.__doc__ or "").split("A function\n", 1)[1].split("\nImports:")[0].splitlines():
        if found := re.match(r"  ([A-Z]\d)  (.*)", line):
            lines.append(f"- {found[1]}: {found[2]}")
        elif line.startswith("   "):
            lines[-1] += " " + line.strip()
        elif line:
            lines.append(f"\n{line}\n")
    return "A function\n\n" + "\n".join(lines)


@pytest.mark.parametrize("part", ["ops", "invariants"])
def test_the_specification_is_not_stale(part: str, bless: bool) -> None:
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(f"<!-- {part} -->\n")
    old, tail = rest.split(f"<!-- /{part} -->")
    new = {"ops": op_lines, "invariants": invariant_lines}[part]() + "\n"
    if bless:
        README.write_text(f"{head}<!-- {part} -->\n{new}<!-- /{part} -->{tail}", encoding="utf-8")
    else:
        assert old == new, "run pytest --bless"


def test_the_example_of_the_specification() -> None:
    text = README.read_text(encoding="utf-8")
    example = text[text.index("    func @loss") : text.index("    }\n") + 6].replace("\n    ", "\n")[4:]
    (f,) = parse(example)
    verify(f)
    assert to_text(f) == example
