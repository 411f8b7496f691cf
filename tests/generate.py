"""Random well-typed functions and arguments for them: hypothesis strategies that other tests share.

`functions()` draws straight-line functions over most of the op table, `branching_functions()` ones with
guards and several blocks. Sizes are small, zero among them. `arguments(f, seed)` makes arrays with nan,
infinities, -0.0, denormals and extreme integers; `outcome` runs a function to what can be compared.

By default a drawn function has one right answer to the last bit, whatever order a reduction takes: floats
that are summed or multiplied together are first made small integers, and a result whose zero may have either
sign (a maximum, a sum) gets 0.0 added. With `smooth=True` it draws transcendental ops too, and what is
compared must be compared within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from hypothesis import strategies as st

from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Block, Edge, Function, Guard, Loc, Return, Terminator, Value
from jitgrad.ir.errors import JitgradError
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.types import DTYPES, DType, Shape, TensorType, bool_, f32, f64, i32, i64

SIZES = (1, 2, 2, 3, 3, 4, 0)
LARGEST = 96  # elements of a value
EXACT = 2.0**20  # sums and products of integers up to here are exact in float32

FLOATS = (0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, 0.1, -2.75, 1e-40, 1e30, -1e30, math.nan, math.inf, -math.inf)
SMALL_FLOATS = (0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, math.nan, math.inf, -math.inf)
SMALL_INTS = (0, 1, 2, 3)

UNARY = ("neg", "abs", "sign", "sqrt", "floor", "ceil", "round", "trunc")
SMOOTH = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "atan", "asinh")
BINARY = ("add", "sub", "mul", "maximum", "minimum")
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
BITWISE = ("bitwise_and", "bitwise_or", "bitwise_xor")


class _Drawer:
    """Writes random instructions with `b`. `bound` says which floats are integers, and how large."""

    def __init__(self, r: Random, b: FunctionBuilder, smooth: bool = False, custom: bool = False) -> None:
        self.r, self.b, self.smooth, self.custom = r, b, smooth, custom
        self.pool: list[Value] = []
        self.bound: dict[Value, float] = {}

    # Choices.

    def shape(self, rank: int | None = None) -> Shape:
        rank = self.r.choice((0, 1, 1, 2, 2, 3)) if rank is None else rank
        return tuple(self.r.choice(SIZES) for _ in range(rank))

    def dtype(self) -> DType:
        return self.r.choice((f32, f32, f64, i32, i64, bool_, *DTYPES.values()))

    def keep(self, value: Value, bound: float | None = None) -> Value:
        self.pool.append(value)
        if bound is not None and bound <= EXACT:
            self.bound[value] = bound
        return value

    def param(self, name: str = "") -> Value:
        value = self.keep(self.b.param(TensorType(self.dtype(), self.shape()), name))
        if value.type.dtype.is_floating_point and self.r.random() < 0.5:
            value = self.small(value)
        return value

    def constant(self, type: TensorType) -> Value:
        if type.size <= 8 and self.r.random() < 0.3:
            array = _elements(np.random.default_rng(self.r.randint(0, 999)), type, wild=False)
            array.flags.writeable = False
            attrs = {"value": array, "dtype": type.dtype, "shape": type.shape}
            return self.b.emit("const", (), attrs)[0]
        numbers = FLOATS if type.dtype.is_floating_point else SMALL_INTS
        number = self.r.choice(numbers)
        return self.b.constant(bool(number % 2) if type.dtype.kind == "bool" else number, type)

    def any(self, accept: Callable[[Value], bool] = lambda v: True) -> Value:
        found = [v for v in self.pool if accept(v)]
        return self.r.choice(found[-8:]) if found else self.keep(self.fallback(accept))

    def fallback(self, accept: Callable[[Value], bool]) -> Value:
        for dtype in (f32, i64, bool_):
            for shape in ((3,), (2, 3)):
                value = self.constant(TensorType(dtype, shape))
                if accept(value):
                    return value
        raise AssertionError("no constant is accepted")

    def like(self, x: Value) -> Value:
        """A value of x's type."""
        found = [v for v in self.pool if v.type == x.type]
        return self.r.choice(found) if found and self.r.random() < 0.6 else self.constant(x.type)

    def of_kind(self, *kinds: str, rank: int = 0) -> Value:
        return self.any(lambda v: v.type.dtype.kind in kinds and v.type.rank >= rank)

    def small(self, x: Value) -> Value:
        """x itself if its sums are exact, else x rounded to integers in [-4, 4] (nan stays nan)."""
        if not x.type.dtype.is_floating_point or x in self.bound:
            return x
        b = self.b
        return self.keep(b.round(b.minimum(b.maximum(x, -4.0), 4.0)), 4.0)

    def plus_zero(self, x: Value) -> Value:
        return self.b.add(x, 0.0) if x.type.dtype.is_floating_point else x

    def limit(self, x: Value) -> float:
        return self.bound.get(x, math.inf)

    # Instructions.

    def unary(self) -> None:
        ops = UNARY + SMOOTH if self.smooth else UNARY
        op = self.r.choice(ops)
        kinds = ("float", "int", "uint") if op in ("neg", "abs", "sign") else ("float",)
        x = self.of_kind(*kinds)
        self.keep(self.b.apply(op, (x,), {}), self.limit(x) if op in ("neg", "abs", "floor", "round") else None)

    def binary(self) -> None:
        op = self.r.choice(BINARY)
        x = self.of_kind("float", "int", "uint")
        y = self.like(x)
        bound = self.limit(x) * self.limit(y) if op == "mul" else self.limit(x) + self.limit(y)
        out = self.b.apply(op, (x, y), {})
        self.keep(self.plus_zero(out) if op in ("maximum", "minimum") else out, bound)

    def divide(self) -> None:
        op = self.r.choice(("div", "div", "remainder", "floor_divide", "fmod"))
        x = self.of_kind("float") if op == "div" else self.of_kind("float", "int", "uint")
        y = self.like(x)
        if x.type.dtype.is_integer and self.r.random() < 0.8:
            y = self.b.bitwise_or(y, 1)
        self.keep(self.b.apply(op, (x, y), {}))

    def compare(self) -> None:
        x = self.any()
        if x.type.dtype.is_floating_point and self.r.random() < 0.3:
            self.keep(self.b.apply(self.r.choice(("isnan", "isinf")), (x,), {}))
        self.keep(self.b.apply(self.r.choice(COMPARE), (x, self.like(x)), {}))

    def logic(self) -> None:
        x = self.of_kind("bool", "int", "uint")
        op = self.r.choice((*BITWISE, "bitwise_not", "shift_left", "shift_right"))
        if op == "bitwise_not":
            self.keep(self.b.bitwise_not(x))
        elif op in BITWISE:
            self.keep(self.b.apply(op, (x, self.like(x)), {}))
        elif x.type.dtype.is_integer:
            self.keep(self.b.apply(op, (x, self.b.bitwise_and(self.like(x), 7)), {}))

    def select(self) -> None:
        x = self.any()
        y = self.like(x)
        cond = self.like(self.b.ne(x, x))
        self.keep(self.b.select(cond, x, y), max(self.limit(x), self.limit(y)))

    def fma(self) -> None:
        x = self.of_kind("float")
        self.keep(self.b.fma(x, self.like(x), self.like(x)))

    def cast(self) -> None:
        x = self.any()
        dtype = self.dtype()
        out = self.b.cast(x, dtype=dtype)
        self.keep(out, self.limit(x) if dtype.is_floating_point else None)

    def make(self) -> None:
        type = TensorType(self.dtype(), self.shape())
        if type.rank and type.dtype.kind != "bool" and self.r.random() < 0.5:
            axis = self.r.randrange(type.rank)
            attrs = {"axis": axis, "dtype": type.dtype, "shape": type.shape}
            self.keep(self.b.emit("iota", (), attrs)[0], 4.0)
        else:
            self.keep(self.constant(type))

    def view(self) -> None:
        x = self.any()
        views = (self.broadcast, self.reshape, self.permute, self.slice, self.flip, self.diagonal, self.unfold)
        out = self.r.choice(views)(x)
        self.keep(out, self.bound.get(x))

    def broadcast(self, x: Value) -> Value:
        shape, dims = [], []
        for n in x.type.shape:
            while len(shape) < 3 and self.r.random() < 0.3:
                shape.append(self.r.choice(SIZES))
            dims.append(len(shape))
            shape.append(self.r.choice(SIZES) if n == 1 else n)
        if len(shape) < 4:
            shape.append(self.r.choice(SIZES))
        if math.prod(shape) > LARGEST:
            return x
        return self.b.broadcast(x, shape=tuple(shape), dims=tuple(dims))

    def reshape(self, x: Value) -> Value:
        size = x.type.size
        shape = [size] if size == 0 or self.r.random() < 0.5 else list(_factors(size))
        for _ in range(self.r.randint(0, 2)):
            shape.insert(self.r.randint(0, len(shape)), 1)
        return self.b.reshape(x, shape=tuple(shape))

    def permute(self, x: Value) -> Value:
        return self.b.permute(x, perm=tuple(self.r.sample(range(x.type.rank), x.type.rank)))

    def slice(self, x: Value) -> Value:
        start = [self.r.randint(0, n) for n in x.type.shape]
        limit = [self.r.randint(lo, n) for lo, n in zip(start, x.type.shape, strict=True)]
        step = [self.r.choice((1, 1, 2)) for _ in start]
        return self.b.slice(x, start=tuple(start), limit=tuple(limit), step=tuple(step))

    def flip(self, x: Value) -> Value:
        return self.b.flip(x, axes=self.axes(x))

    def diagonal(self, x: Value) -> Value:
        return x if x.type.rank < 2 else self.b.diagonal(x, offset=self.r.randint(-2, 2))

    def unfold(self, x: Value) -> Value:
        axes = [i for i, n in enumerate(x.type.shape) if n]
        if not axes or x.type.size * 3 > LARGEST:
            return x
        axis = self.r.choice(axes)
        size = self.r.randint(1, min(x.type.shape[axis], 3))
        return self.b.unfold(x, axis=axis, size=size, step=self.r.randint(1, 3))

    def axes(self, x: Value) -> Shape:
        return tuple(a for a in range(x.type.rank) if self.r.random() < 0.5)

    def pad(self) -> None:
        x = self.any(lambda v: v.type.size <= LARGEST // 4)
        fill = self.constant(x.type.with_shape(()))
        low, high, interior = (tuple(self.r.choice((0, 0, 1)) for _ in x.type.shape) for _ in range(3))
        self.keep(self.b.pad(x, fill, low=low, high=high, interior=interior))

    def pieces(self) -> None:
        """The sum of some slices of x, each in its place among zeros: what a gradient of slices is."""
        x = self.small(self.of_kind("float", "int", "uint", rank=1))
        axis = self.r.randrange(x.type.rank)
        size = x.type.shape[axis]
        zero = self.b.zeros(x.type.with_shape(()))
        total = self.like(x) if self.r.random() < 0.3 else None
        total = self.small(total) if total is not None else None
        for _ in range(self.r.randint(2, 4)):
            lo = self.r.randint(0, size)
            hi = self.r.randint(lo, size)
            start, limit = ([lo if i == axis else 0 for i in range(x.type.rank)],
                            [hi if i == axis else n for i, n in enumerate(x.type.shape)])
            piece = self.b.slice(x, start=tuple(start), limit=tuple(limit), step=(1,) * x.type.rank)
            high = tuple(n - k for n, k in zip(x.type.shape, limit, strict=True))
            padded = self.b.pad(piece, zero, low=tuple(start), high=high, interior=(0,) * x.type.rank)
            total = padded if total is None else self.b.add(total, padded)
        assert total is not None
        self.keep(self.plus_zero(total))

    def concat(self) -> None:
        x = self.any(lambda v: v.type.rank > 0 and v.type.size <= LARGEST // 4)
        parts = [x] + [self.like(x) for _ in range(self.r.randint(0, 2))]
        self.keep(self.b.concat(*parts, axis=self.r.randrange(x.type.rank)))

    def reduce(self) -> None:
        op = self.r.choice(("sum", "sum", "prod", "max", "min"))
        x = self.of_kind("float", "int", "uint", *(("bool",) if op in ("max", "min") else ()))
        axes = self.axes(x)
        count = math.prod(x.type.shape[a] for a in axes)
        if op in ("max", "min"):
            if count:
                self.keep(self.plus_zero(self.b.apply(op, (x,), {"axes": axes})), self.bound.get(x))
            return
        x = self.small(x)
        bound = self.limit(x) * count if op == "sum" else self.limit(x) ** count
        if bound <= EXACT or not x.type.dtype.is_floating_point:
            self.keep(self.plus_zero(self.b.apply(op, (x,), {"axes": axes})), bound)

    def search(self) -> None:
        x = self.any(lambda v: v.type.rank > 0)
        axis = self.r.randrange(x.type.rank)
        if self.r.random() < 0.5:
            out, order = self.b.sort(x, axis=axis, descending=self.r.random() < 0.5)
            self.keep(out, self.bound.get(x))
            self.keep(order)
        elif x.type.shape[axis]:
            self.keep(self.b.apply(self.r.choice(("argmax", "argmin")), (x,), {"axis": axis}))

    def cumsum(self) -> None:
        x = self.small(self.of_kind("float", "int", "uint", rank=1))
        axis = self.r.randrange(x.type.rank)
        bound = self.limit(x) * x.type.shape[axis]
        if bound <= EXACT or not x.type.dtype.is_floating_point:
            self.keep(self.plus_zero(self.b.cumsum(x, axis=axis)), bound)

    def matmul(self) -> None:
        x = self.small(self.of_kind("float", "int", rank=2))
        y = self.small(self.like(x))
        swap = (*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2)
        bound = self.limit(x) * self.limit(y) * x.type.shape[-1]
        if bound <= EXACT or not x.type.dtype.is_floating_point:
            self.keep(self.plus_zero(self.b.matmul(x, self.b.permute(y, perm=swap))), bound)

    def index(self) -> None:
        x = self.any(lambda v: v.type.rank > 0 and 0 not in v.type.shape)
        axis = self.r.randrange(x.type.rank)
        batch = self.r.randint(0, axis)
        own = self.shape(self.r.choice((0, 1)))
        index = self.positions(TensorType(i64, (*x.type.shape[:batch], *own)), x.type.shape[axis])
        gathered = self.b.gather(x, index, axis=axis, batch=batch)
        if gathered.type.size > LARGEST:
            return
        self.keep(gathered, self.bound.get(x))
        if x.type.dtype.kind != "bool" and self.r.random() < 0.5:
            into = self.b.zeros(x.type) if self.r.random() < 0.5 else self.small(x)
            update = self.small(self.like(gathered))
            out = self.b.scatter_add(into, index, update, axis=axis, batch=batch)
            self.keep(self.plus_zero(out))
        elif self.r.random() < 0.5:
            self.keep(self.b.scatter(x, index, self.like(gathered), axis=axis, batch=batch))

    def positions(self, type: TensorType, size: int) -> Value:
        """An index into an axis of `size`, now and then one that may be out of range."""
        found = [v for v in self.pool if v.type == type]
        raw = self.r.choice(found) if found else self.constant(type)
        return raw if self.r.random() < 0.1 else self.b.remainder(raw, size)

    def barrier(self) -> None:
        x = self.any()
        if self.custom and x.type.dtype.is_floating_point:
            # 2x and its derivative, which a user wrote.
            doubled = self.b.mul(x, 2.0)
            attrs = {"backward": _doubling(x.type), "results": 1, "inputs": 1, "sets": ()}
            self.keep(self.b.emit("custom_grad", (doubled, x), attrs)[0], 2 * self.limit(x))
        else:
            self.keep(self.b.detach(x), self.bound.get(x))

    def philox(self) -> None:
        key, offset = (self.b.constant(self.r.randint(0, 9), TensorType(i64, ())) for _ in range(2))
        self.keep(self.b.philox(key, offset, shape=self.shape()))

    MAKERS = (
        (unary, 4), (binary, 6), (divide, 2), (compare, 2), (logic, 2), (select, 2), (fma, 1), (cast, 2),
        (make, 2), (view, 7), (pad, 1), (pieces, 1), (concat, 2), (reduce, 4), (search, 1), (cumsum, 1), (matmul, 1),
        (index, 3), (barrier, 1), (philox, 1),
    )

    def instructions(self, count: int) -> None:
        makers, weights = zip(*self.MAKERS, strict=True)
        for _ in range(count):
            self.b.loc = self.location()
            self.r.choices(makers, weights)[0](self)

    def location(self) -> Loc | None:
        if self.r.random() < 0.5:
            return None
        file = self.r.choice(("train.py", "/a b/my model.py", "<stdin>", 'C:\\x"y.py'))
        line, col = self.r.randint(1, 300), self.r.choice((0, 4))
        return Loc(file, line, col, col and col + 9, self.r.choice(("", "", "3", "args[0].w")))

    def results(self) -> tuple[Value, ...]:
        return tuple(self.r.choice(self.pool[-6:]) for _ in range(self.r.randint(1, 3)))


def _doubling(type: TensorType) -> Function:
    b = FunctionBuilder()
    b.param(type, "out")
    return b.finish("doubling", [b.mul(b.param(type, "ct"), 2.0)])


def _factors(n: int) -> Shape:
    for k in (2, 3):
        if n > k and n % k == 0:
            return (k, n // k)
    return (n,)


# A plain generator from a drawn seed: what hypothesis itself draws is too much alike. The number of steps is
# drawn apart from it, so that a failing function shrinks to the shortest one with the same beginning.
SEEDS = st.integers(0, 2**32)


@st.composite
def functions(
    draw: st.DrawFn, instructions: int = 12, smooth: bool = False, custom: bool = False
) -> Function:
    """A straight-line function of up to about `instructions` drawn steps; `custom`: with custom_grad too."""
    r = Random(draw(SEEDS))
    d = _Drawer(r, FunctionBuilder(), smooth, custom)
    for i in range(r.randint(1, 3)):
        d.param(r.choice(("", "x", f"args[{i}]")))
    d.instructions(draw(st.integers(0, instructions)))
    return d.b.finish("f", d.results())


@st.composite
def branching_functions(draw: st.DrawFn, blocks: int = 4) -> Function:
    """A function of several blocks; edges go forwards, so it ends, or nowhere (a side exit)."""
    r = Random(draw(SEEDS))
    count = draw(st.integers(1, blocks))
    labels = ["entry", *(f"b{i}" for i in range(1, count))]
    b = FunctionBuilder()
    drawn: list[tuple[list[Value], _Drawer]] = []
    instrs = []
    for i in range(count):
        d = _Drawer(r, b)
        b.params, b.instrs = [], []
        for _ in range(r.randint(1, 2)):
            d.param("x" if i == 0 else "")
        d.instructions(r.randint(0, 5))
        drawn.append((b.params, d))
        instrs.append(b.instrs)
    made = []
    result = TensorType(f32, ())
    for i, (params, d) in enumerate(drawn):
        b.instrs = instrs[i]
        terminator: Terminator = Return((_value_of(d, result), _value_of(d, result)))
        if i + 1 < count:
            cond = _value_of(d, TensorType(bool_, ()))
            edges = []
            for _ in range(2):
                to = r.randrange(i + 1, count)
                args = tuple(_value_of(d, p.type) for p in drawn[to][0])
                edges.append(Edge(labels[to], args) if r.random() < 0.85 else None)
            terminator = Guard(cond, edges[0], edges[1], d.location())
        made.append(Block(labels[i], tuple(params), tuple(b.instrs), terminator))
    return Function("f", tuple(made))


def _value_of(d: _Drawer, type: TensorType) -> Value:
    found = [v for v in d.pool if v.type == type]
    return d.r.choice(found) if found else d.constant(type)


# Arguments and outcomes.


def _elements(rng: np.random.Generator, type: TensorType, wild: bool) -> np.ndarray:
    dtype = type.dtype
    if dtype.kind == "bool":
        return np.asarray(rng.integers(0, 2, type.shape), bool)
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        pool = [*SMALL_INTS, *((-1 if dtype.kind == "int" else 5, info.min, info.max) if wild else ())]
    else:
        pool = list(FLOATS if wild else SMALL_FLOATS)
    return np.asarray(np.array(pool, dtype.numpy)[rng.integers(0, len(pool), type.shape)])


def arguments(f: Function, seed: int, wild: bool = True) -> list[np.ndarray]:
    """Arrays for the parameters of `f`; without `wild`, small integers (also as floats) and special values."""
    rng = np.random.default_rng(seed)
    return [_elements(rng, p.type, wild) for p in f.params]


def normal_arguments(f: Function, seed: int) -> list[np.ndarray]:
    """Finite arrays for comparing derivatives: floats from a normal distribution, integers 0 to 2."""
    rng = np.random.default_rng(seed)
    arrays = []
    for p in f.params:
        kind = p.type.dtype.kind
        raw = rng.normal(size=p.type.shape) if kind == "float" else rng.integers(0, 2 + (kind != "bool"), p.type.shape)
        arrays.append(np.asarray(raw).astype(p.type.dtype.numpy))
    return arrays


Outcome = list[np.ndarray] | type[Exception]


def outcome(f: Function, args: Sequence[np.ndarray]) -> Outcome:
    """The results of `f`, or the class of the error it raises."""
    try:
        return interpret(f, args)
    except JitgradError as error:
        return type(error)


def assert_same(got: Outcome, want: Outcome, *, exact: bool = True, rtol: float = 1e-5) -> None:
    """Equal types and bits (a nan equals any nan); unless `exact`, equal within rounding."""
    if isinstance(want, type) or isinstance(got, type):
        assert got is want, f"{got} instead of {want}"
        return
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if not exact and a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, equal_nan=True)
            continue
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            signs = np.signbit(a) == np.signbit(b)
            np.testing.assert_array_equal(signs | np.isnan(a), True, err_msg=f"signs of zero: {a} and {b}")
