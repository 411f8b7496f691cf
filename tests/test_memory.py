"""`fn.memory()`: what the compiled programs of a traced function allocate."""

import numpy as np

import jitgrad
from jitgrad.memory import CallMemory, Memory, PartMemory


def parts(traced, call=0):
    return {p.part: p for p in traced.memory().calls[call].parts}


def tensor(*shape, requires_grad=False):
    t = jitgrad.from_numpy(np.ones(shape, np.float32))
    return t.requires_grad_() if requires_grad else t


def test_nothing_is_compiled_at_first():
    f = jitgrad.trace(lambda x: x + 1)
    assert f.memory() == Memory("<lambda>", ()) and f.memory().peak == 0
    assert str(f.memory()) == "<lambda>: 0 programs compiled, peak 0 B"


def test_a_function_alone():
    f = jitgrad.trace(lambda x: x + 1)
    f(tensor(100))
    assert parts(f) == {"function": PartMemory("function", 400, 0, 400)}
    f(tensor(100))
    assert len(f.memory().calls) == 1
    f(tensor(7, 5))
    assert {c.signature: c.peak for c in f.memory().calls} == {"x f32[100]": 400, "x f32[7,5]": 140}
    assert f.memory().peak == 400


def test_forward_and_backward():
    f = jitgrad.trace(lambda x, w: jitgrad.tanh(x @ w).sum())
    x, w = tensor(64, 32), tensor(32, 16, requires_grad=True)
    y = f(x, w)
    made = parts(f)
    assert set(made) == {"forward"}, "no backward was run"
    forward = made["forward"]
    assert forward.outputs == 4 and forward.arguments == 4 * (64 * 32 + 32 * 16)
    assert forward.saved == 4 * 64 * 16, "the result of tanh"
    assert forward.peak == forward.arena + forward.outputs + forward.saved
    y.backward()
    backward = parts(f)["backward"]
    assert backward.outputs == 4 * 32 * 16 and backward.saved == 0
    assert backward.arguments == 4 * (64 * 32) + forward.saved + 4, "x, the residual, the cotangent"
    assert f.memory().peak == forward.peak + backward.peak
    with jitgrad.no_grad():
        f(x, w)
    assert {p.part for c in f.memory().calls for p in c.parts} == {"function", "forward", "backward"}


def test_temporaries_are_in_the_arena():
    f = jitgrad.trace(lambda x: jitgrad.exp(x - x.sum()).sum() + jitgrad.cumsum(jitgrad.exp(x), 0)[-1])
    f(tensor(1000))
    assert parts(f)["function"].arena >= 4000


def test_what_is_written_in_place_takes_no_memory():
    def step(p, g):
        with jitgrad.no_grad():
            p.sub_(g * 0.1)

    f = jitgrad.trace(step)
    f(tensor(1000), tensor(1000))
    assert parts(f)["function"].peak == 0


def test_gradients_of_gradients():
    f = jitgrad.trace(lambda x: (x * x * x).sum())
    x = tensor(10, requires_grad=True)
    (g,) = jitgrad.autograd.grad(f(x), x, create_graph=True)
    g.sum().backward()
    assert {"forward", "gradient forward", "gradient backward"} <= set(parts(f))


def test_the_table():
    made = Memory("f", (CallMemory("x f32[3]", (PartMemory("forward", 12, 1536, 4, 3 << 20),)),))
    assert str(made).splitlines() == [
        "f: 1 program compiled, peak 3.001 MB",
        "  [0] (x f32[3])  peak 3.001 MB",
        "      forward: arguments 12 B, arena 1.5 KB, outputs 4 B, saved 3 MB, peak 3.001 MB",
    ]
