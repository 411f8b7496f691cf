"""A straight-line function as items: views taken away, special cases of ops turned into general ones.

What is turned into what:
  - broadcast, reshape, permute, slice, flip, diagonal, unfold: a view of the operand, or a copy of it where there is
    none
  - concat, pad: one map item for each part, which writes its window of the root
  - gather: a map item with a checked index, read at a computed place. Through elementwise operands it is
    pushed first (the element asked for is computed, not the whole array)
  - scatter, scatter_add with one index a row: select(iota == index, new, old), but for those that change a parameter
    in place; these and others a call, in place on a copy of the operand, or on the operand where a scatter made it
    for this one alone
  - conv: a contraction over windows, or multiplication and sum (`convolutions`)
  - matmul: a contraction, a call of BLAS, or multiplication and sum, which fuse (`factors`)
  - work over no elements: nothing; reductions of none: their identity

Imports: `core`, `types`, `convolutions`, `factors`, `items`, `pick`, `views`, `ops`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core import Function, Instr, Loc, Value
from ..ops import TABLE
from ..ops.shape import diagonal_window
from ..types import DType, Shape, TensorType, bool_, contiguous_strides, i32, i64
from . import views
from .convolutions import conv
from .factors import matmul, read_turned
from .items import IDENTITY, Item, Pattern, Ref, Root, fails
from .pick import Pick
from .views import View

Strides = Sequence[Sequence[int] | None]


class Program:
    """Items in order, the roots of the results, and the roots that must be stored (`stored`)."""

    def __init__(self, f: Function, strides: Strides | None, overwrites: Mapping[int, int] | None = None) -> None:
        self.name = f.name
        self.overwrites = dict(overwrites or {})
        self.items: list[Item] = []
        self.constants: list[np.ndarray] = []
        self.params: list[Root] = []
        self.stored: set[Root] = set()
        self.results: list[Root] = []
        self.refs: dict[Value, Ref] = {}
        self._copies: dict[Ref, Ref] = {}  # of operands that calls cannot walk
        self._updated: dict[Value, Ref] = {}  # what calls of scatters give
        self.read_turned = read_turned(f)
        self._uses = Counter(a for values in (*(i.args for i in f.instrs), f.results) for a in values)
        self._in_place = self._scatters_in_place(f)
        self._loc: Loc | None = None
        for i, p in enumerate(f.params):
            self._param(i, p, strides[i] if strides is not None else None)
        for instr in f.instrs:
            self._loc = instr.loc
            self._instr(instr)
        for i, value in enumerate(f.results):
            self._result(i, value)

    # Building blocks.

    def _param(self, i: int, p: Value, strides: Sequence[int] | None) -> None:
        root = Root(p.name, p.type.dtype, p.type.size, ("param", i))
        self.params.append(root)
        if p.type.size:
            steps = contiguous_strides(p.type.shape) if strides is None else strides
            self.refs[p] = Ref(root, views.strided(p.type.shape, steps))

    def _add(self, item: Item) -> Item:
        item.order = len(self.items)
        self.items.append(item)
        return item

    def _root(self, dtype: DType, size: int) -> Root:
        return Root(f"t{len(self.items)}", dtype, size)

    def map(self, op: str, args: Sequence[Ref], out: DType, size: int, /, **attrs: Any) -> Ref:
        """A map item over `size` steps; its result in order."""
        root = self._root(out, size)
        root.item = self._add(Item("map", op, tuple(args), attrs, (root,), size, self._loc))
        return Ref(root, views.identity(size))

    def const(self, value: bool | int | float, dtype: DType, size: int) -> Ref:
        """`value` at every step."""
        one = self.map("const", (), dtype, 1, value=value)
        return Ref(one.root, views.strided((size,), (0,)))

    def copy(self, ref: Ref) -> Ref:
        """The elements of `ref` stored in order."""
        out = self.map("copy", (ref,), ref.root.dtype, ref.view.size)
        self.stored.add(out.root)
        return out

    def reduce(self, op: str, ref: Ref, runs: Sequence[tuple[int, bool]], dtype: DType) -> Ref:
        """`op` over the reduced runs of `ref`'s iteration."""
        pattern = merge_runs(runs)
        size = math.prod(n for n, reduced in pattern if not reduced)
        if not any(reduced for _, reduced in pattern):
            if op in ("argmax", "argmin"):
                return self.const(0, dtype, size)
            return ref
        root = self._root(dtype, size)
        item = Item("reduce", op, (ref,), {}, (root,), ref.view.size, self._loc, pattern)
        root.item = self._add(item)
        return Ref(root, views.identity(size))

    def call(
        self, op: str, args: Sequence[tuple[Ref, Shape]], outs: Sequence[tuple[DType, int]], **attrs: Any
    ) -> list[Ref]:
        refs = tuple(self.operand(op, i, ref, shape) for i, (ref, shape) in enumerate(args))
        roots = tuple(self._root(d, n) for d, n in outs)
        shapes = tuple(shape for _, shape in args)
        item = Item("call", op, refs, attrs, roots, 0, self._loc, shapes=shapes)
        for k, root in enumerate(roots):
            root.item = item
            root.name += f".{k}" if k else ""
        self._add(item)
        if op != "contract":
            self.stored.update(roots)
        return [Ref(r, views.identity(r.size)) for r in roots]

    def operand(self, op: str, position: int, ref: Ref, shape: Shape) -> Ref:
        """`ref` as memory that `op` can walk: row-major; for a contraction any, but the right operand in rows without
        gaps; for matmul as BLAS takes matrices."""
        strides = views.strides_over(ref.view, shape)
        match op:
            case "contract":
                fits = strides is not None and (position == 0 or strides[-1] == 1)
            case "matmul":
                fits = strides is not None and _is_matrix(shape, strides)
            case "transpose":
                fits = True
            case _:
                fits = ref.view.is_identity()
        if _is_const(ref) or not fits:
            if ref not in self._copies:
                self._copies[ref] = self.copy(ref)
            return self._copies[ref]
        self.store(ref.root)
        return ref

    def needed(self) -> set[Item]:
        """Items that can fail and those that a stored root depends on."""
        found: set[Item] = set()
        todo = [item for root in self.stored for item in root.producers()]
        todo += [item for item in self.items if fails(item.op, item.out.dtype)]
        while todo:
            item = todo.pop()
            if item in found:
                continue
            found.add(item)
            for root, _ in item.args:
                todo += root.producers()
            for root in item.outs:
                if root.alias is not None:
                    todo += root.alias.producers()
        return found

    def store(self, root: Root) -> None:
        if not root.is_memory:
            self.stored.add(root)

    def view(self, ref: Ref, find: Callable[[View], View | None]) -> Ref:
        """`ref` through a further view; of a copy where it has none itself."""
        view = find(ref.view)
        if view is None:
            ref = self.copy(ref)
            view = find(ref.view)
            assert view is not None
        return Ref(ref.root, view)

    def spread(self, ref: Ref, from_shape: Shape, shape: Shape, dims: Shape) -> Ref:
        return self.view(ref, lambda v: views.broadcast(v, from_shape, shape, dims))

    # Results.

    def _result(self, i: int, value: Value) -> None:
        size, dtype = value.type.size, value.type.dtype
        place = ("overwrite", self.overwrites[i]) if i in self.overwrites else ("result", i)
        if not size:
            self.results.append(Root(f"out{i}", dtype, 0, place))
            return
        ref = self.refs[value]
        ours = not ref.root.is_memory and ref.root.place is None and ref.root.size == size
        if not (ours and ref.view.is_identity() and not _is_const(ref)):
            ref = self.copy(ref)
        root = ref.root
        while True:
            root.place = place
            if root.alias is None:
                break
            root = root.alias
        self.stored.add(ref.root)
        self.results.append(ref.root)

    # Instructions.

    def _instr(self, instr: Instr) -> None:
        if "barrier" in TABLE[instr.op].traits:
            raise ValueError(f"{instr.op} steers differentiation: strip it before compiling")
        sized = [o for o in instr.outs if o.type.size]
        if not sized:
            if instr.op in ("gather", "scatter", "scatter_add") and instr.args[1].type.size:
                x, index = instr.args[:2]
                self._checked(self.refs[index], index.type, x.type.shape[instr.attrs["axis"]], instr.op)
            return
        handler = _HANDLERS.get(instr.op)
        if handler is not None:
            outs = handler(self, instr)
        else:
            if not TABLE[instr.op].elementwise:
                raise NotImplementedError(f"no schedule for the op {instr.op}")
            refs = [self.refs[a] for a in instr.args]
            outs = [self.map(instr.op, refs, instr.out.type.dtype, instr.out.type.size, **instr.attrs)]
        for value, ref in zip(instr.outs, outs, strict=True):
            self.refs[value] = ref

    def _const(self, instr: Instr) -> list[Ref]:
        value, t = instr.attrs["value"], instr.out.type
        if not isinstance(value, np.ndarray):
            return [self.const(value, t.dtype, t.size)]
        if value.size == 1:
            return [self.const(value.item(), t.dtype, t.size)]
        root = Root(f"c{len(self.constants)}", t.dtype, t.size, ("constant", len(self.constants)))
        self.constants.append(np.ascontiguousarray(value))
        return [Ref(root, views.identity(t.size))]

    def iota(self, shape: Shape, axis: int, dtype: DType) -> Ref:
        line = self.map("iota", (), dtype, shape[axis])
        view = views.broadcast(line.view, (shape[axis],), shape, (axis,))
        assert view is not None
        return Ref(line.root, view)

    def _iota(self, instr: Instr) -> list[Ref]:
        return [self.iota(instr.attrs["shape"], instr.attrs["axis"], instr.attrs["dtype"])]

    def _broadcast(self, instr: Instr) -> list[Ref]:
        (x,) = instr.args
        return [self.spread(self.refs[x], x.type.shape, instr.attrs["shape"], instr.attrs["dims"])]

    def _reshape(self, instr: Instr) -> list[Ref]:
        return [self.refs[instr.args[0]]]

    def _permute(self, instr: Instr) -> list[Ref]:
        (x,) = instr.args
        return [self.view(self.refs[x], lambda v: views.permute(v, x.type.shape, instr.attrs["perm"]))]

    def _slice(self, instr: Instr) -> list[Ref]:
        (x,), a = instr.args, instr.attrs
        return [
            self.view(
                self.refs[x], lambda v: views.slice_(v, x.type.shape, a["start"], a["limit"], a["step"])
            )
        ]

    def _flip(self, instr: Instr) -> list[Ref]:
        (x,) = instr.args
        return [self.view(self.refs[x], lambda v: views.flip(v, x.type.shape, instr.attrs["axes"]))]

    def _diagonal(self, instr: Instr) -> list[Ref]:
        (x,) = instr.args
        window = diagonal_window(x.type.shape, instr.attrs["offset"])
        return [self.view(self.refs[x], lambda v: views.diagonal(v, x.type.shape, window))]

    def _unfold(self, instr: Instr) -> list[Ref]:
        (x,), a = instr.args, instr.attrs
        return [self.view(self.refs[x], lambda v: views.unfold(v, x.type.shape, a["axis"], a["size"], a["step"]))]

    # Roots put together from parts.

    def _part(self, root: Root, ref: Ref, window: View) -> None:
        item = Item("map", "copy", (ref,), {}, (root,), ref.view.size, self._loc, window=window)
        root.writers.append(self._add(item))

    def _assembled(self, t: TensorType) -> Root:
        root = self._root(t.dtype, t.size)
        self.stored.add(root)
        return root

    def _window(self, root: Root, shape: Shape, start: Shape, limit: Shape, step: Shape) -> View:
        view = views.slice_(views.identity(root.size), shape, start, limit, step)
        assert view is not None
        return view

    def _concat(self, instr: Instr) -> list[Ref]:
        t, axis = instr.out.type, instr.attrs["axis"]
        root, ones, at = self._assembled(t), (1,) * t.rank, 0
        for x in instr.args:
            n = x.type.shape[axis]
            if x.type.size:
                start = _with(t.shape, axis, at, zero=True)
                self._part(root, self.refs[x], self._window(root, t.shape, start, _with(t.shape, axis, at + n), ones))
            at += n
        return [Ref(root, views.identity(t.size))]

    def _pad(self, instr: Instr) -> list[Ref]:
        t, x, a = instr.out.type, instr.args[0], instr.attrs
        fill = self.refs[instr.args[1]]
        if not x.type.size:
            return [Ref(fill.root, views.strided((t.size,), (0,), fill.view.offset))]
        root = self._assembled(t)
        low, interior = a["low"], a["interior"]
        limit = tuple(lo + (n - 1) * (k + 1) + 1 for lo, n, k in zip(low, x.type.shape, interior, strict=True))
        step = tuple(k + 1 for k in interior)
        for start, stop, by in _around(t.shape, low, limit, step):
            window = self._window(root, t.shape, start, stop, by)
            self._part(root, Ref(fill.root, views.strided((window.size,), (0,), fill.view.offset)), window)
        self._part(root, self.refs[x], self._window(root, t.shape, low, limit, step))
        return [Ref(root, views.identity(t.size))]

    # Reductions.

    def _reduce(self, instr: Instr) -> list[Ref]:
        (x,), t = instr.args, instr.out.type
        if not x.type.size:
            return [self.const(IDENTITY[instr.op], t.dtype, t.size)]
        gone = set(instr.attrs["axes"])
        runs = [(n, i in gone) for i, n in enumerate(x.type.shape)]
        return [self.reduce(instr.op, self.refs[x], runs, t.dtype)]

    def _arg(self, instr: Instr) -> list[Ref]:
        (x,), axis = instr.args, instr.attrs["axis"]
        shape = x.type.shape
        perm = (*(i for i in range(len(shape)) if i != axis), axis)
        last = self.view(self.refs[x], lambda v: views.permute(v, shape, perm))
        n = shape[axis]
        return [self.reduce(instr.op, last, [(x.type.size // n, False), (n, True)], i64)]

    # Indexing.

    def _checked(self, index: Ref, t: TensorType, size: int, op: str) -> Ref:
        """The index as i64, checked against [0, size)."""
        wide = self.map("cast", (index,), i64, t.size, dtype=i64) if t.dtype is not i64 else index
        return self.map("index", (wide,), i64, t.size, limit=size, what=op)

    def _gather(self, instr: Instr) -> list[Ref]:
        x, index = instr.args
        axis, batch, t = instr.attrs["axis"], instr.attrs["batch"], instr.out.type
        size = x.type.shape[axis]
        checked = self._checked(self.refs[index], index.type, size, "gather")
        own = index.type.rank - batch
        at = (*range(batch), *range(axis, axis + own))
        place = self.spread(checked, index.type.shape, t.shape, at)
        if not size:
            zero = self.map("cast", (place,), t.dtype, t.size, dtype=t.dtype)
            return [self.map("bitwise_xor" if t.dtype.kind != "float" else "sub", (zero, zero), t.dtype, t.size)]
        kept = (*range(axis), *range(axis + own, t.rank))
        return [self._gather_at(self.refs[x], x.type.shape, axis, place, t.shape, kept)]

    def _gather_at(self, x: Ref, shape: Shape, axis: int, place: Ref, out: Shape, kept: Shape) -> Ref:
        """Elements of `x` at `place` along `axis`, over `out`, whose axes `kept` are x's other axes."""
        read = Pick(self, shape, axis, place, out, kept)
        result = read.of(x, 0)
        if read.used:
            return result
        # Every index reads the same element; the check stays, in an operand that moves nothing.
        self.store(result.root)
        return self.map("gather", (result, place), x.root.dtype, math.prod(out), stride=0)

    def along(self, x: Ref, shape: Shape, axis: int, out: Shape, kept: Shape) -> tuple[Ref, int]:
        """x at index 0 of `axis` over `out`, and the stride of that axis."""
        groups = views.cut(x.view.axes, shape)
        merged = None if groups is None else views.canonical(0, groups[axis]).axes
        if groups is None or merged is None or len(merged) > 1:
            x = self.copy(x)
            groups = views.cut(x.view.axes, shape)
            assert groups is not None
            merged = views.canonical(0, groups[axis]).axes
        rest = [g for i, g in enumerate(groups) if i != axis]
        axes: list[tuple[int, int]] = []
        at = dict(zip(kept, rest, strict=True))
        for i, n in enumerate(out):
            axes += at.get(i, [(n, 0)])
        return Ref(x.root, views.canonical(x.view.offset, axes)), merged[0][1] if merged else 0

    def _scatters_in_place(self, f: Function) -> set[Value]:
        """The results of scatters into a parameter, one after the other, of which the last replaces it."""
        made = {o: i for i in f.instrs if i.op in ("scatter", "scatter_add") for o in i.outs}
        found: set[Value] = set()
        for r, p in self.overwrites.items():
            chain, x = [], f.results[r]
            while x in made and self._uses[x] == 1:
                chain.append(x)
                x = made[x].args[0]
            if x is f.params[p]:
                found.update(chain)
        return found

    def _scatter(self, instr: Instr) -> list[Ref]:
        x, index, update = instr.args
        axis, batch, t = instr.attrs["axis"], instr.attrs["batch"], instr.out.type
        old = self.refs[x]
        if not update.type.size:
            return [old]
        size = t.shape[axis]
        checked = self._checked(self.refs[index], index.type, size, instr.op)
        if index.type.rank == batch and instr.out not in self._in_place:
            kept = tuple(i for i in range(t.rank) if i != axis)
            narrow = i32 if size < 2**31 else i64  # half the lanes to compare
            checked = self.map("cast", (checked,), narrow, checked.view.size, dtype=narrow)
            place = self.spread(checked, index.type.shape, t.shape, tuple(range(batch)))
            new = self.spread(self.refs[update], update.type.shape, t.shape, kept)
            if instr.op == "scatter_add":
                new = self.map("add", (old, new), t.dtype, t.size)
            hit = self.map("eq", (self.iota(t.shape, axis, narrow), place), bool_, t.size)
            return [self.map("select", (hit, new, old), t.dtype, t.size)]
        # What another scatter has made, and nobody else reads, is taken over.
        made = self._updated.get(x) if self._uses[x] == 1 else None
        target = made or self.copy(old)
        lead, mid = math.prod(t.shape[:batch]), math.prod(t.shape[batch:axis])
        rest, own = math.prod(t.shape[axis + 1 :]), math.prod(index.type.shape[batch:])
        (out,) = self.call(
            instr.op,
            [(target, (lead, mid, size, rest)), (checked, (lead, own)), (self.refs[update], (lead, mid, own, rest))],
            [(t.dtype, t.size)],
        )
        out.root.alias = target.root
        self._updated[instr.out] = out
        return [out]

    # Ops with kernels of their own.

    def _along_axis(self, instr: Instr) -> list[Ref]:
        (x,), axis = instr.args, instr.attrs["axis"]
        lines = (math.prod(x.type.shape[:axis]), x.type.shape[axis], math.prod(x.type.shape[axis + 1 :]))
        attrs = {k: v for k, v in instr.attrs.items() if k != "axis"}
        outs = [(o.type.dtype, o.type.size) for o in instr.outs]
        return self.call(instr.op, [(self.refs[x], lines)], outs, **attrs)

    def _philox(self, instr: Instr) -> list[Ref]:
        t = instr.out.type
        scalars = [self.refs[a] for a in instr.args]
        refs = [Ref(root, views.strided((t.size,), (0,), view.offset)) for root, view in scalars]
        return [self.map("philox", refs, t.dtype, t.size)]


def _is_matrix(shape: Shape, strides: Sequence[int]) -> bool:
    """Whether the last two axes are a matrix as BLAS stores it: rows, or columns, without gaps inside."""
    rows, columns, down, along = *shape[-2:], *strides[-2:]
    return (along == 1 and down >= columns) or (down == 1 and along >= rows)


def _is_const(ref: Ref) -> bool:
    return ref.root.item is not None and ref.root.item.op in ("const", "iota")


def merge_runs(runs: Sequence[tuple[int, bool]]) -> Pattern:
    merged: list[tuple[int, bool]] = []
    for n, reduced in runs:
        if n == 1:
            continue
        if merged and merged[-1][1] == reduced:
            merged[-1] = (merged[-1][0] * n, reduced)
        else:
            merged.append((n, reduced))
    return tuple(merged)


def _with(shape: Shape, axis: int, value: int, *, zero: bool = False) -> Shape:
    return tuple(value if i == axis else (0 if zero else n) for i, n in enumerate(shape))


def _around(
    shape: Shape, low: Shape, limit: Shape, step: Shape
) -> list[tuple[Shape, Shape, Shape]]:
    """Slices (start, limit, step) that cover all of `shape` but the window low:limit:step, each element once."""
    out: list[tuple[Shape, Shape, Shape]] = []
    start, stop, by = [0] * len(shape), list(shape), [1] * len(shape)
    for i, n in enumerate(shape):
        gaps = [(0, low[i], 1), (limit[i], n, 1)]
        gaps += [(low[i] + k, limit[i], step[i]) for k in range(1, step[i])]
        for lo, hi, s in gaps:
            if hi > lo and all(b > a for a, b in zip(start, stop, strict=True)):
                out.append(
                    ((*start[:i], lo, *start[i + 1:]), (*stop[:i], hi, *stop[i + 1:]), (*by[:i], s, *by[i + 1:]))
                )
        start[i], stop[i], by[i] = low[i], limit[i], step[i]
    return out


_HANDLERS: Mapping[str, Callable[[Program, Instr], list[Ref]]] = {
    "const": Program._const,
    "iota": Program._iota,
    "broadcast": Program._broadcast,
    "reshape": Program._reshape,
    "permute": Program._permute,
    "slice": Program._slice,
    "flip": Program._flip,
    "diagonal": Program._diagonal,
    "unfold": Program._unfold,
    "concat": Program._concat,
    "pad": Program._pad,
    **dict.fromkeys(("sum", "prod", "max", "min"), Program._reduce),
    **dict.fromkeys(("argmax", "argmin"), Program._arg),
    "matmul": matmul,
    "conv": conv,
    "gather": Program._gather,
    **dict.fromkeys(("scatter", "scatter_add"), Program._scatter),
    **dict.fromkeys(("cumsum", "sort"), Program._along_axis),
    "philox": Program._philox,
}
