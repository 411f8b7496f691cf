"""Every invariant that the header of `verify` lists has a function here that breaks it."""

import re
from dataclasses import replace

import numpy as np
import pytest
from generate import branching_functions, functions
from hypothesis import given

from jitgrad.ir import verify as verify_module
from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Block, Edge, Function, Guard, Instr, Loc, Return, Value
from jitgrad.ir.errors import VerifyError
from jitgrad.ir.types import DType, TensorType, bool_, f32, i64
from jitgrad.ir.verify import verify

VECTOR = TensorType(f32, (3,))
X = Value(VECTOR, "x")
Y = Value(VECTOR, "y")
COND = Value(TensorType(bool_, ()), "c")
OTHER = Value(VECTOR.with_shape((2,)), "other")


def one(instr: Instr, results: tuple[Value, ...] = (X,)) -> Function:
    """A function of one instruction."""
    return Function.straight("f", (X,), (instr,), results)


def neg(out: Value = Y, **changes: object) -> Instr:
    return replace(Instr("neg", (X,), {}, (out,)), **changes)


def branch(entry_end: Guard, *blocks: Block, params: tuple[Value, ...] = (X, COND)) -> Function:
    return Function("f", (Block("entry", params, (), entry_end), *blocks))


def constant(value: object) -> Instr:
    return Instr("const", (), {"value": value, "dtype": f32, "shape": (3,)}, (Y,))


def custom(backward: Function) -> Instr:
    return Instr("custom_grad", (X, X), {"backward": backward, "results": 1, "inputs": 1, "sets": ()}, (Y,))


def circle() -> Function:
    """One that inference cannot see: the function it calls, itself, has the right types."""
    out, ct = Value(VECTOR, "out"), Value(VECTOR, "ct")
    attrs: dict[str, object] = {"results": 1, "inputs": 1, "sets": ()}
    f = Function.straight("f", (out, ct), (Instr("custom_grad", (ct, ct), attrs, (Y,)),), (Y,))
    attrs["backward"] = f
    return f


def branching_backward() -> Function:
    out, ct = Value(VECTOR, "out"), Value(VECTOR, "ct")
    c = Value(TensorType(bool_, ()), "c")
    test = Instr("const", (), {"value": True, "dtype": bool_, "shape": ()}, (c,))
    entry = Block("entry", (out, ct), (test,), Guard(c, Edge("end", (ct,)), None))
    return Function("g", (entry, Block("end", (Y,), (), Return((Y,)))))


END = Block("end", (Y,), (), Return((Y,)))
BROKEN = {
    "F1 no blocks": (Function("f", ()), "the first block must be labelled ^entry"),
    "F1 entry": (Function("f", (Block("start", (X,), (), Return((X,))),)), "must be labelled ^entry"),
    "F1 labels": (branch(Guard(COND, None, None), END, replace(END, params=(OTHER,), terminator=Return((OTHER,)))),
                  "two blocks are labelled ^end"),
    "F2 twice": (Function.straight("f", (X, X), (), (X,)), "%x is defined twice"),
    "F2 names": (one(neg(Value(VECTOR, "x"))), "%x is defined twice"),
    "F2 blocks": (branch(Guard(COND, Edge("end", (X,)), None), Block("end", (X,), (), Return((X,)))),
                  "%x is defined twice"),
    "F3": (branch(Guard(COND, Edge("end", (X,)), Edge("b", ())), END,
                  Block("b", (), (Instr("const", (), {"value": 0, "dtype": f32, "shape": ()},
                                        (z := Value(TensorType(f32, ()), "z"),)),), Return((z,)))),
           "returns differ in type: (f32[3]) and (f32[])"),
    "F4 circle": (circle(), "functions refer to each other in a circle: @f -> @f"),
    "F4 straight": (one(custom(branching_backward())), "@g: a function that an attribute refers to must be"),
    "F4 valid": (one(custom(Function.straight("g", (Value(VECTOR, "o"), ct := Value(VECTOR, "ct")), (), (Y,)))),
                 "@g ^entry, terminator: %y is not defined"),
    "B1 later": (one(Instr("neg", (Y,), {}, (Y,))), "%y is not defined before it in this block"),
    "B1 result": (Function.straight("f", (X,), (), (Y,)), "terminator: %y is not defined"),
    "B1 identity": (Function.straight("f", (X,), (), (Value(VECTOR, "x"),)), "%x is not defined"),
    "B1 other block": (branch(Guard(COND, Edge("end", ()), None), Block("end", (), (), Return((X,)))),
                       "^end, terminator: %x is not defined"),
    "B2 label": (branch(Guard(COND, Edge("nowhere", ()), None)), "no block ^nowhere"),
    "B2 count": (branch(Guard(COND, Edge("end", (X, X)), None), END), "the edge gives (f32[3], f32[3])"),
    "B2 type": (branch(Guard(COND, None, Edge("end", (OTHER,))), END, params=(X, COND, OTHER)),
                "^end takes (f32[3]), the edge gives (f32[2])"),
    "B3": (branch(Guard(X, None, None)), "guard on %x, which is f32[3] and not bool[]"),
    "I1": (one(neg(op="negate")), "no op 'negate' in the table"),
    "I2 missing attribute": (one(Instr("sum", (X,), {}, (Y,))), "sum takes attributes ['axes'], got []"),
    "I2 other attribute": (one(neg(attrs={"axis": 0})), "neg takes attributes [], got ['axis']"),
    "I2 operand count": (one(neg(args=(X, X))), "neg takes 1 operands, got 2"),
    "I2 operand type": (Function.straight("f", (X, OTHER), (Instr("add", (X, OTHER), {}, (Y,)),), (X,)),
                        "ShapeError: add"),
    "I2 attribute value": (one(Instr("sum", (X,), {"axes": (7,)}, (Y,))), "AxisError: sum"),
    "I2 attribute kind": (one(Instr("sum", (X,), {"axes": "all"}, (Y,))), "TypeError"),
    "I2 constant": (one(Instr("const", (), {"value": 300, "dtype": i64, "shape": (-1,)},
                              (Value(TensorType(i64, (-1,)), "y"),))), "a size that is not an int of at least 0"),
    "I3 type": (one(neg(OTHER)), "results are (f32[2]), inference gives (f32[3])"),
    "I3 dtype": (one(neg(Value(VECTOR.with_dtype(i64), "y"))), "inference gives (f32[3])"),
    "I3 number": (one(Instr("sort", (X,), {"axis": 0, "descending": False}, (Y,))),
                  "results are (f32[3]), inference gives (f32[3], i64[3])"),
    "I4 list": (one(Instr("sum", (X,), {"axes": [0]}, (Value(VECTOR.with_shape(()), "y"),))),
                "attribute axes holds a list"),
    "I4 nested": (one(Instr("sum", (X,), {"axes": ([0],)}, (Y,))), "attribute axes holds a list"),
    "I4 array": (one(constant(np.zeros(3, np.float32))), "attribute value holds an array that can be written"),
    "I4 numpy number": (one(constant(np.float32(1))), "attribute value holds a float32"),
    "T1 dtype": (Function.straight("f", (v := Value(TensorType(DType("f32", "float32", "float", 32), ()), "x"),), (),
                                   (v,)), "a dtype that is not of the table"),
    "T1 size": (Function.straight("f", (v := Value(TensorType(f32, (2.0,)), "x"),), (), (v,)),
                "a size that is not an int of at least 0: 2.0"),
    "T1 negative": (Function.straight("f", (v := Value(TensorType(f32, (-1,)), "x"),), (), (v,)),
                    "a size that is not an int of at least 0: -1"),
    "T1 bool": (Function.straight("f", (v := Value(TensorType(f32, (True,)), "x"),), (), (v,)),
                "a size that is not an int of at least 0: True"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_functions_are_refused(name: str) -> None:
    f, message = BROKEN[name]
    with pytest.raises(VerifyError, match=re.escape(message)):
        verify(f)


def test_every_invariant_has_a_function_that_breaks_it() -> None:
    stated = set(re.findall(r"^  ([A-Z]\d)  ", verify_module.__doc__ or "", re.MULTILINE))
    assert stated == {name.split()[0] for name in BROKEN}


def test_an_error_shows_the_users_line(tmp_path) -> None:
    source = tmp_path / "model.py"
    source.write_text("h = -x\n")
    with pytest.raises(VerifyError, match="h = -x"):
        verify(one(neg(OTHER, loc=Loc(str(source), 1))))


@given(functions(custom=True))
def test_drawn_functions_are_valid(f: Function) -> None:
    verify(f)


@given(branching_functions())
def test_drawn_blocks_are_valid(f: Function) -> None:
    verify(f)


def test_long_functions() -> None:
    b = FunctionBuilder()
    x = b.param(VECTOR)
    for _ in range(20_000):
        x = b.neg(x)
    verify(b.finish("f", [x]))
