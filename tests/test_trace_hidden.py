"""State that a snapshot cannot see: what has any is recorded at every call, and ordinary programs have none."""

from __future__ import annotations

import abc
import array
import collections
import contextlib
import csv
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
import hashlib
import io
import itertools
import math
import mmap
import operator
import os
import re
import sqlite3
import string
import struct
import sys
import threading
import typing

import numpy as np
import pytest

import jitgrad

pytestmark = pytest.mark.filterwarnings("ignore::jitgrad.RecompileWarning")
X = jitgrad.ones(2)


def check(f, change, named):
    """`f` traced is what it is plain, before and after `change`; `explain` names the reason."""
    traced = jitgrad.trace(f)
    for _ in range(2):
        assert traced(X).tolist() == f(X).tolist()
    before = f(X).tolist()
    change()
    assert traced(X).tolist() == f(X).tolist() != before
    assert not traced.programs and named in traced.explain()


def test_locks():
    lock = threading.Lock()
    check(lambda x: x * (1 + lock.locked()), lock.acquire, "lock.locked")


def test_the_thread():
    @jitgrad.trace
    def f(x):
        return x * (threading.get_ident() % 1000)

    def g():
        found.append((f(X)[0].item(), threading.get_ident() % 1000))

    found: list[tuple[float, int]] = []
    f(X)
    thread = threading.Thread(target=g)
    thread.start()
    thread.join()
    assert found[0][0] == found[0][1] and "threading.get_ident" in f.explain()


def test_memory_maps():
    held = mmap.mmap(-1, 16)
    check(lambda x: x * (1 + held[0]), lambda: operator.setitem(held, 0, 7), "mmap.mmap")


def test_data_bases():
    db = sqlite3.connect(":memory:")
    db.execute("create table t(v)")
    db.execute("insert into t values(2)")
    check(
        lambda x: x * db.execute("select v from t").fetchone()[0],
        lambda: db.execute("update t set v = 9"),
        "sqlite3.Connection.execute",
    )


def test_files_of_arrays(tmp_path):
    path = str(tmp_path / "d.bin")
    np.array([2.0]).tofile(path)
    check(lambda x: x * float(np.fromfile(path)[0]), lambda: np.array([9.0]).tofile(path), "numpy.fromfile")


def test_hashes_that_go_on():
    h, plain = hashlib.sha256(), hashlib.sha256()

    def f(x):
        h.update(b"x")
        return x * 2

    traced = jitgrad.trace(f)
    for _ in range(3):
        traced(X)
        plain.update(b"x")
    assert h.digest() == plain.digest()


def test_rows_written():
    out = io.StringIO()
    writer = csv.writer(out)

    def f(x):
        writer.writerow([1, 2])
        return x * 2

    traced = jitgrad.trace(f)
    for _ in range(3):
        traced(X)
    assert out.getvalue() == "1,2\r\n" * 3 and "writerow" in traced.explain()


def test_settings_of_the_interpreter():
    limit = sys.getrecursionlimit()
    try:
        check(
            lambda x: x * sys.getrecursionlimit(), lambda: sys.setrecursionlimit(limit + 5), "sys.getrecursionlimit"
        )
    finally:
        sys.setrecursionlimit(limit)
    try:
        check(lambda x: x * (1 + gc.isenabled()), gc.disable, "gc.isenabled")
    finally:
        gc.enable()


def test_the_collector_is_as_it_was():
    before = gc.isenabled(), gc.get_threshold()
    seen = []
    jitgrad.trace(lambda x: (seen.append(gc.isenabled()), x)[1])(X)
    assert (seen[0], gc.get_threshold()) == before

    def f(x):
        gc.disable()
        gc.set_threshold(123)
        return x * 2

    try:
        jitgrad.trace(f)(X)
        assert not gc.isenabled() and gc.get_threshold()[0] == 123
    finally:
        gc.enable()
        gc.set_threshold(*before[1])


def test_settings_of_numpy():
    before = np.geterr()
    try:
        check(
            lambda x: x * (1 + (np.geterr()["divide"] == "ignore")), lambda: np.seterr(divide="ignore"), "numpy.geterr"
        )
    finally:
        np.seterr(**before)


def test_the_context_of_decimals():
    with decimal.localcontext():
        check(
            lambda x: x * float(decimal.Decimal(1) / decimal.Decimal(3)),
            lambda: setattr(decimal.getcontext(), "prec", 3),
            "decimal.Decimal",
        )


def test_the_zone_of_local_time():
    when = datetime.datetime(2020, 1, 1)
    traced = jitgrad.trace(lambda x: x * when.timestamp())
    traced(X)
    assert "datetime.datetime.timestamp" in traced.explain()


# -- ordinary programs


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 2
    names: tuple[str, ...] = ("a", "b")


class Kind(enum.Enum):
    LEFT = 1
    RIGHT = 2


class Mask(enum.IntFlag):
    A = 1
    B = 2


class Layer(abc.ABC):
    lock = threading.Lock()

    @abc.abstractmethod
    def __call__(self, x):
        """The layer."""


class Scale(Layer):
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        with self.lock:
            return x * self.by


class Pair(typing.NamedTuple):
    a: float
    b: float


@contextlib.contextmanager
def scope(names, name):
    names.append(name)
    try:
        yield len(names)
    finally:
        names.pop()


@functools.singledispatch
def weight(x):
    return 1.0


@weight.register
def _(x: str):
    return 2.0


def parsed(pattern):
    left, right = pattern.split("->")
    sizes = {m.group(1): int(m.group(2)) for m in re.finditer(r"(\w+)=(\d+)", left)}
    return math.prod(sizes[n] for n in right.split())


PROGRAMS = {
    "dataclasses": lambda x: x * dataclasses.replace(Config(), width=3).width * len(dataclasses.fields(Config)),
    "enums": lambda x: x * (2 if Kind(1) is Kind.LEFT and Kind["RIGHT"].value == 2 else 3) * int(Mask.A | Mask.B),
    "abc": lambda x: Scale(3.0)(x) if isinstance(Scale(2.0), Layer) else x,
    "abstract": lambda x: x * (2 if isinstance([1], collections.abc.Sequence) else 3),
    "named tuples": lambda x: x * Pair(1.0, 2.0)._replace(a=3.0).a,
    "context managers": lambda x: x * with_scope(),
    "dispatch": lambda x: x * weight("a") * weight(1),
    "patterns": lambda x: x * parsed("h=2 w=3 -> h w"),
    "compiled patterns": lambda x: x * len(PATTERN.sub("", "a1b2")),
    "paths": lambda x: x * len(os.path.join("a", "b")),
    "iterators": lambda x: x * sum(map(operator.mul, *zip(*itertools.product([1, 2], [3]), strict=True))),
    "reduce": lambda x: x * functools.reduce(operator.add, itertools.accumulate([1, 2]), 0),
    "containers": lambda x: x * collections.Counter("aab")["a"] * len(collections.OrderedDict(a=1)),
    "deques": lambda x: x * collections.deque([1, 2], maxlen=1).pop(),
    "packed": lambda x: x * struct.unpack("<i", struct.pack("<i", 3))[0],
    "arrays": lambda x: x * array.array("d", [2.0]).tolist()[0],
    "numpy": lambda x: x * float(np.linspace(0, 1, 3).reshape(3, 1).sum(0).tolist()[0] + np.array([1.0])[0]),
    "dates": lambda x: x * datetime.date(2020, 1, 2).toordinal(),
    "templates": lambda x: x * len(string.Template("$a").substitute(a="xyz")),
    "sorting": lambda x: x * sorted({"b": 1, "a": 2}.items(), key=lambda kv: kv[1])[0][1],
    "typing": lambda x: x * len(typing.get_args(tuple[int, str])),
    "attributes": lambda x: x * getattr(Config(), "width") * hasattr(x, "shape"),  # noqa: B009
    "properties": lambda x: x * super(Scale, Scale(2.0)).__class__.__name__.count("S"),
    "text": lambda x: x * len(f"{'a'!r:>5}".encode().decode().upper().join(["a", "b"])),
}
PATTERN = re.compile(r"\d")


def with_scope():
    names: list[str] = []
    with scope(names, "a"), contextlib.suppress(ValueError), contextlib.nullcontext():
        return len(names)


@pytest.mark.parametrize("name", PROGRAMS)
def test_ordinary_programs_compile(name):
    f = PROGRAMS[name]
    traced = jitgrad.trace(f)
    for _ in range(2):
        assert traced(X).tolist() == f(X).tolist()
    assert len(traced.programs) == 1, traced.explain()
