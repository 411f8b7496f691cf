"""NumPy arrays that a traced function reaches by itself: compiled all the same, and never stale."""

from __future__ import annotations

import types
import warnings

import numpy as np
import pytest
from traced import close, rand

import jitgrad
from jitgrad import reads
from jitgrad.tracing import RecompileWarning

N = 20_000  # elements: more than anybody would compare by the way
BIG = np.arange(float(N))
PART = np.arange(12.0).reshape(3, 4).copy()
TABLE = {"big": BIG, "scale": 2.0}


class Model:
    def __init__(self):
        self.images = np.ones((100, 64, 8))
        self.scale = 2.0


@pytest.fixture(autouse=True)
def _as_they_were():
    kept = BIG.copy(), PART.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecompileWarning)
        yield
    PART.setflags(write=True)
    PART.resize((3, 4), refcheck=False)
    BIG[:], PART[:] = kept
    TABLE.update(big=BIG, scale=2.0)


def sees(f, x, change, times=3):
    """`f` stays compiled, and after `change` does what the untraced function does."""
    for _ in range(times):
        close(f(x), f.__wrapped__(x))
    assert len(f.programs) == 1 and "not compiled" not in f.explain()
    change()
    for _ in range(times):
        close(f(x), f.__wrapped__(x))
    assert "not compiled" not in f.explain()


def write(a, key, value):
    def change():
        a[key] = value

    return change


@pytest.mark.parametrize("change", [write(BIG, -1, 3.0), write(BIG, 0, np.inf), write(BIG, slice(5), -0.0)])
def test_elements_that_the_code_may_read_are_compared(change):
    sees(jitgrad.trace(lambda x: x * float(BIG.sum())), rand(3), change)


def test_a_tensor_copied_from_an_array_follows_it():
    f = jitgrad.trace(lambda x: x * jitgrad.tensor(BIG)[-1])
    sees(f, rand(3), write(BIG, -1, 3.0))
    assert len(f.programs) == 2
    BIG[-1] = N - 1
    f(rand(3))
    assert len(f.programs) == 2  # the first serves again


def test_explain_says_what_is_compared():
    many = {"a": np.zeros((1 << 20) // 8)}
    f, g = jitgrad.trace(lambda x: x * len(many)), jitgrad.trace(lambda x: x * float(BIG[0]))
    f(rand(3)), g(rand(3))
    assert "compares 1.0 MB of NumPy arrays at every call" in f.explain() and "compares" not in g.explain()


def test_the_sign_of_zero_counts():
    BIG[0] = 0.0
    f = jitgrad.trace(lambda x: x * float(np.copysign(1.0, BIG[0])))
    sees(f, rand(3), write(BIG, 0, -0.0))
    assert len(f.programs) == 2


def test_items_of_containers_are_compared():
    sees(jitgrad.trace(lambda x: x * TABLE["scale"]), rand(3), lambda: TABLE.update(scale=3.0))
    sees(jitgrad.trace(lambda x: x * float(TABLE["big"][7])), rand(3), write(BIG, 7, 0.5))
    key = "b" + "ig"
    sees(jitgrad.trace(lambda x: x * float(TABLE[key][7])), rand(3), write(BIG, 7, 0.25))
    sees(jitgrad.trace(lambda x: x * float(TABLE[key][7])), rand(3), lambda: TABLE.update(big=BIG * 2))


def test_a_container_with_attributes_for_items():
    class Bunch(dict):
        def __getattr__(self, name):
            return self[name]

    data = Bunch(images=BIG, names=["a", "b"])
    sees(jitgrad.trace(lambda x: x * len(data.names)), rand(3), lambda: data.names.append("c"))
    sees(jitgrad.trace(lambda x: x * float(data.images[1])), rand(3), write(BIG, 1, 5.0))


def test_what_no_element_decides_is_not_compared():
    m = Model()
    uses = {
        "length": lambda x: x * len(m.images),
        "shape": lambda x: x * m.images.shape[0],
        "other": lambda x: x * m.scale,
        "dtype": lambda x: x * m.images.dtype.itemsize,
    }
    for use in uses.values():
        f = jitgrad.trace(use)
        f(rand(3))
        m.images[:] = m.images + 1
        close(f(rand(3)), use(rand(3)))
        assert len(f.programs) == 1


def test_the_layout_is_compared():
    m = Model()
    for change in (lambda: m.images.resize((64, 100, 8), refcheck=False), lambda: setattr(m, "images", PART)):
        sees(jitgrad.trace(lambda x: x * len(m.images) + m.images.shape[1]), rand(3), change)
    sees(jitgrad.trace(lambda x: x * float(PART[-1][-1])), rand(3), lambda: PART.resize((12, 1), refcheck=False))
    sees(jitgrad.trace(lambda x: x * (2 if PART.flags.writeable else 3)), rand(3), lambda: PART.setflags(write=False))


def test_two_ways_to_an_array():
    m = Model()
    inside = [m.images]
    f = jitgrad.trace(lambda x: x * len(m.images) * float(inside[0][0, 0, 0]))
    sees(f, rand(3), write(m.images, (0, 0, 0), 9.0))


def test_computed_names_read_all():
    m = Model()
    f = jitgrad.trace(lambda x: x * len(m.images) * float(getattr(m, "ima" + "ges")[0, 0, 0]))
    sees(f, rand(3), write(m.images, (0, 0, 0), 9.0))


def test_a_len_of_the_users_may_read():
    variables = {"BIG": BIG, "len": lambda a: float(a[0])}
    exec("def f(x): return x * len(BIG)", variables)
    sees(jitgrad.trace(variables["f"]), rand(3), write(BIG, 0, 9.0))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + jitgrad.from_numpy(BIG)[:3],
        lambda x: x + jitgrad.as_tensor(BIG)[1:4],
        lambda x: x * jitgrad.from_numpy(BIG[2:5]),
        lambda x: x * BIG[2:5],
        lambda x: PART[1][1:] - x,
        lambda x: (jitgrad.from_numpy(PART.T) @ x).sum() * x,
    ],
)
def test_tensors_over_the_memory_of_an_array(use):
    f = jitgrad.trace(use)
    x = rand(3)
    for n in range(3):
        close(f(x), use(x))
        BIG[:] = BIG + n
        PART[:] = PART * n
    assert "not compiled" not in f.explain()


def test_memory_read_by_a_tensor_alone_is_not_compared():
    f = jitgrad.trace(lambda x: x + jitgrad.from_numpy(BIG)[:3])
    for n in range(4):
        BIG[0] = n
        assert f(jitgrad.zeros(3, dtype=jitgrad.float64))[0].item() == n
    assert len(f.programs) == 1


def test_memory_of_an_array_made_inside_is_no_memory_to_keep():
    def f(x):
        return x * jitgrad.from_numpy(PART[0] * 2)[:3]

    g = jitgrad.trace(f)
    with pytest.warns(RecompileWarning, match="makes a tensor over a NumPy array"):
        for n in range(3):
            PART[:] = n
            close(g(rand(3)), f(rand(3)))
    assert not g.programs


def test_a_tensor_over_an_array_is_another_at_every_call():
    def f(x):
        w = jitgrad.from_numpy(PART).requires_grad_()
        return (w[0, :3] * x).sum(), w

    g = jitgrad.trace(f)
    met = []
    for _ in range(3):
        out, w = g(rand(3))
        out.backward()
        close(w.grad[0, :3], rand(3))
        met.append(w)
    assert len({id(w) for w in met}) == 3 and len(g.programs) == 1
    met[0].detach().fill_(5)
    assert PART[0, 0] == 5


def test_a_tensor_over_an_array_written_in_place():
    before = PART.copy()

    def f(x):
        jitgrad.from_numpy(PART).add_(1)
        return x * 2

    g = jitgrad.trace(f)
    for n in range(1, 4):
        g(rand(3))
        np.testing.assert_array_equal(PART, before + n)
    assert len(g.programs) == 1

    def h(x):
        jitgrad.from_numpy(PART).add_(1)
        return x * float(PART[0, 0])

    with pytest.warns(RecompileWarning, match="changes what it reads itself"):
        g = jitgrad.trace(h)
        for n in range(3):
            close(g(rand(3)), rand(3) * (before[0, 0] + 3 + n))


KINDS = [
    (np.array(["2020", "2021"], "M8[s]"), "1999"),
    (np.ones(3, np.float16), 7),
    (np.array(["a", "b"]), "c"),
    (np.array(3.0), 7),
    (np.array([1, None, "x"], object), "y"),
    (np.zeros(3, [("a", "i4"), ("b", "f8")]), (1, 2.0)),
    (np.zeros(2, "V5"), b"abcde"),
    (np.ones(3, ">f8"), 7),
    (np.arange(12.0).reshape(3, 4).T, 7),
    (np.arange(8.0)[::2], 7),
    (np.arange(24.0).reshape(2, 3, 4)[:, ::2], 7),
    (np.ma.ones(3), 7),
    (np.zeros((0, 3)), None),
    (bytearray(b"abc"), 7),
    (memoryview(bytearray(b"abcdef"))[::2], 7),
]


@pytest.mark.parametrize("array,value", KINDS, ids=[str(getattr(a, "dtype", type(a).__name__)) for a, _ in KINDS])
def test_buffers_of_all_kinds(array, value):
    held = types.SimpleNamespace(array=array)
    f = jitgrad.trace(lambda x: x * (1 if held.array is None else 2))
    sees(f, rand(3), lambda: None)
    assert len(f.programs) == 1
    if value is not None:
        array[(0,) * array.ndim if isinstance(array, np.ndarray) else 0] = value
        f(rand(3))
        assert len(f.programs) == 2


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="this NumPy has no strings of any length")
def test_long_strings():
    names = np.array(["a" * 40, "b"], dtype=np.dtypes.StringDType())
    f = jitgrad.trace(lambda x: x * names[0].count("a"))
    sees(f, rand(3), write(names, 0, "a" * 39 + "c"))


def test_bytes_need_no_comparison():
    a = np.frombuffer(bytes(8 * N), np.float64)
    f = jitgrad.trace(lambda x: x + float(a[1]))
    sees(f, rand(3), lambda: None)
    (entry,) = next(iter(f._entries.values()))
    assert entry.snapshot.covers(a) and not entry.snapshot.compares(a)


def test_read_only_arrays_can_be_written_all_the_same():
    a = np.arange(4.0)
    a.flags.writeable = False
    f = jitgrad.trace(lambda x: x + float(a[1]))

    def change():
        a.flags.writeable = True
        a[1] = 7
        a.flags.writeable = False

    sees(f, rand(3), change)


def test_copies_are_shared():
    fs = [jitgrad.trace(lambda x: x * float(BIG[0])) for _ in range(3)]
    for f in fs:
        f(rand(3))
    held = [check.held for f in fs for e in f._entries.values() for _, check in e[0].snapshot.arrays]
    assert len(held) == 3 and len({id(h) for h in held}) == 1


def test_too_much_to_compare_says_what_to_do(monkeypatch):
    monkeypatch.setattr(reads, "BYTES", BIG.nbytes - 1)
    f = jitgrad.trace(lambda x: x * float(BIG[1]))
    with pytest.warns(RecompileWarning, match=r"NumPy arrays(.|\n)*pass them as arguments, or make tensors"):
        for n in range(3):
            BIG[1] = n
            close(f(rand(3)), rand(3) * n)
    assert not f.programs
    m, big = Model(), np.arange(float(N))
    sees(jitgrad.trace(lambda x: x * len(BIG) + jitgrad.from_numpy(BIG)[:3]), rand(3), write(BIG, 0, 8.0))
    sees(jitgrad.trace(lambda x: x * len(big) + jitgrad.from_numpy(big)[:3]), rand(3), write(big, 0, 8.0))
    sees(jitgrad.trace(lambda x: x * m.images.shape[0]), rand(3), lambda: setattr(m, "images", PART))


def test_a_helper_that_writes_what_its_caller_only_measures():
    big = np.arange(float(N))

    def helper():
        big[0] += 1
        return float(big[0])

    with pytest.warns(RecompileWarning, match="changes what it reads itself"):
        g = jitgrad.trace(lambda x: x * len(big) * helper())
        for n in range(1, 4):
            close(g(rand(3)), rand(3) * N * n)


def test_a_function_that_writes_an_array_itself():
    def f(x):
        BIG[0] += 1
        return x * float(BIG[0])

    with pytest.warns(RecompileWarning, match="changes what it reads itself"):
        g = jitgrad.trace(f)
        for n in range(1, 4):
            close(g(rand(3)), rand(3) * n)
