"""`schedule`: a function as kernels over buffers, temporaries laid out in one arena by liveness.

Imports: everything else in this package.
"""

from __future__ import annotations

import bisect
import heapq
import sys
from collections.abc import Mapping, Sequence

from ..core import Function
from ..types import DType, contiguous_strides, i64
from . import views
from .build import build
from .groups import Group, Grouping
from .inline import leaves
from .items import Item, Root
from .kernel import Buffer, CallKernel, Kernel, LoopKernel, Operand, Schedule
from .overwrite import can_fail, copy_back, plan, rewrites_in_step, skip_idle
from .parallel import split
from .prepare import Program
from .products import contraction
from .reasons import why
from .rows import block_rows
from .widen import widen

ALIGN = 64  # bytes: a cache line, and the widest vector


def schedule(
    f: Function, strides: Sequence[Sequence[int] | None] | None = None, *,
    overwrites: Mapping[int, int] | None = None,
) -> Schedule:
    """The kernels of the straight-line function `f`.

    `strides`: for each parameter its strides in elements, or None for row-major order. `overwrites`: for results,
    by number, the parameter whose memory is to hold them in the end; it shares no memory with the other parameters.
    Raises ValueError for a function with control flow or with ops that only steer differentiation, and where a
    parameter that is overwritten has not the result's type, is not row-major or is overwritten twice.
    """
    return _layout(f, strides, overwrites).schedule()


def explained(
    f: Function, strides: Sequence[Sequence[int] | None] | None = None, *,
    overwrites: Mapping[int, int] | None = None,
) -> tuple[Schedule, dict[Buffer, str]]:
    """The same schedule, and for each buffer that one kernel passes on to another why that reader is not part of the
    kernel."""
    layout = _layout(f, strides, overwrites)
    return layout.schedule(), layout.reasons()


def _layout(
    f: Function, strides: Sequence[Sequence[int] | None] | None, overwrites: Mapping[int, int] | None
) -> _Layout:
    if overwrites:
        _check_overwrites(f, strides, overwrites)
    program = Program(f, strides, overwrites)
    return _Layout(program, Grouping(program))


def _check_overwrites(
    f: Function, strides: Sequence[Sequence[int] | None] | None, overwrites: Mapping[int, int]
) -> None:
    if len(set(overwrites.values())) != len(overwrites):
        raise ValueError(f"@{f.name}: two results overwrite one parameter")
    for r, p in overwrites.items():
        want, got = f.params[p].type, f.results[r].type
        steps = None if strides is None else strides[p]
        if want != got:
            raise ValueError(f"@{f.name}: result {r}, {got}, cannot overwrite %{f.params[p].name}, {want}")
        if steps is not None and tuple(steps) != contiguous_strides(want.shape):
            raise ValueError(f"@{f.name}: %{f.params[p].name}, which is overwritten, is not in row-major order")


class _Layout:
    def __init__(self, program: Program, grouping: Grouping) -> None:
        self.program = program
        self.grouping = grouping
        self.overwrites = {base(o.result): o for o in plan(program, grouping)}
        self.direct = {root: o.param for root, o in self.overwrites.items() if o.direct}
        self.groups = grouping.ordered()
        self.buffers: dict[Root, Buffer] = {}
        self.constants: dict[int, Buffer] = {}
        self.external = self.read_elsewhere()
        self.elided: set[Item] = set()

    def schedule(self) -> Schedule:
        made = self.in_place()
        writing = {self.buffer_of(p) for p in map(self.overwritten, self.program.results) if p is not None}
        first = next((i for i, k in enumerate(made) if not writing.isdisjoint(k.writes())), len(made))
        before = self.finish(made[:first])
        after = [*self.finish(made[first:]), *(part for k in self.copies() for part in split(k))]
        params = [self.buffer_of(root) for root in self.program.params]
        results = [self.buffer_of(self.overwritten(root) or root) for root in self.program.results]
        constants = [(self.constants[i], self.program.constants[i]) for i in sorted(self.constants)]
        kernels = [*before, *after]
        return Schedule(self.program.name, params, results, constants, kernels, lay_out(kernels), len(before))

    def in_place(self) -> list[Kernel]:
        """The kernel of each group. What cannot be done in place after all becomes a temporary."""
        while True:
            self.buffers, self.constants = {}, {}
            self.elided = {i for r, o in self.overwrites.items() if r in self.direct or o.in_windows for i in o.elided}
            made = [k for g in self.groups if (k := self.kernel(g)) is not None]
            loops = [(k, set(k.writes())) for k in made if not isinstance(k, CallKernel)]
            unsafe = {
                root for root, param in self.direct.items() for k, written in loops
                if (b := self.buffer_of(param)) in written and not rewrites_in_step(k, b)
            }
            if not unsafe:
                for kernel, _ in loops:
                    if isinstance(kernel, LoopKernel):
                        skip_idle(kernel)
                return made
            self.direct = {root: param for root, param in self.direct.items() if root not in unsafe}

    def overwritten(self, result: Root) -> Root | None:
        """The parameter that a result replaces."""
        place = result.place
        return self.program.params[place[1]] if place is not None and place[0] == "overwrite" else None

    def copies(self) -> list[LoopKernel]:
        """What copies results to the parameters they replace, where they were not computed in their memory."""
        left = [(root, o) for root, o in self.overwrites.items() if root.size and root not in self.direct]
        return [k for root, o in left for k in copy_back(o, self.buffer_of(root), self.buffer_of(o.param))]

    def finish(self, kernels: Sequence[Kernel]) -> list[Kernel]:
        """Kernels laid out for vectors and cut into chunks."""
        out: list[Kernel] = []
        for kernel in kernels:
            parts: list[Kernel] = [kernel]
            if isinstance(kernel, LoopKernel):
                block_rows(kernel)
                parts = widen(kernel)
            out += [piece for part in parts for piece in split(part)]
        return out

    def buffer_of(self, root: Root) -> Buffer:
        root = base(root)
        if root in self.direct:
            root = self.direct[root]
        if root not in self.buffers:
            place = root.place or ("temp", 0)
            if place[0] == "overwrite":
                place = ("temp", 0)
            name = root.name if place[0] in ("temp", "param") else f"{place[0]}{place[1]}"
            self.buffers[root] = Buffer(name, root.dtype, root.size, place)
            if place[0] == "constant":
                self.constants[place[1]] = self.buffers[root]
        return self.buffers[root]

    def read_elsewhere(self) -> set[Root]:
        """Roots read outside the kernel that makes them."""
        found = set(self.program.stored)
        for group in self.groups:
            for item in group.items():
                for root, _ in leaves(item.args):
                    home = self.grouping.home.get(root)
                    if home is None or home[0] is not group:
                        found.add(root)
        return found

    def reasons(self) -> dict[Buffer, str]:
        """Why values are passed through memory, by buffer; the first reader's reason counts."""
        found: dict[Buffer, str] = {}
        for group in self.groups:
            for item in group.items():
                for ref in leaves(item.args):
                    home = self.grouping.home.get(ref.root)
                    passed = ref.root.producers() and not ref.root.inline and (home is None or home[0] is not group)
                    if passed and self.buffer_of(ref.root) not in found:
                        found[self.buffer_of(ref.root)] = why(self.grouping, group, ref)
        return found

    def kernel(self, group: Group) -> Kernel | None:
        """The kernel of a group, if it has anything to do."""
        if group.call is not None:
            if group.call.op == "contract":
                return contraction(group, self.grouping, self.buffer_of, self.external, self.elided)
            return self.call(group.call)
        kernel = build(group, self.grouping, self.buffer_of, self.external, self.elided)
        return kernel if kernel.stores() or can_fail(group) else None

    def call(self, item: Item) -> CallKernel:
        args = []
        for (root, view), shape in zip(item.args, item.shapes, strict=True):
            strides = views.strides_over(view, shape)
            assert strides is not None
            args.append(Operand(self.buffer_of(root), view.offset, shape, strides))
        outs = [self.buffer_of(r) for r in item.outs]
        scratch = [Buffer("scratch", d, n, ("temp", 0)) for d, n in _scratch(item)]
        return CallKernel(item.op, args, outs, item.attrs, item.loc, scratch)


def base(root: Root) -> Root:
    """The root whose memory holds `root`."""
    while root.alias is not None:
        root = root.alias
    return root


def _scratch(item: Item) -> list[tuple[DType, int]]:
    """Working memory of a call: sort merges from one line of keys and positions into another."""
    if item.op != "sort":
        return []
    n = item.shapes[0][1]
    return [(item.outs[0].dtype, 2 * n), (i64, 2 * n)]


def lay_out(kernels: Sequence[Kernel]) -> int:
    """Give each temporary its offset in the arena; two that are alive at one time do not overlap. Returns
    the arena's size in bytes. First fit, in the order in which they come to life."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for i, kernel in enumerate(kernels):
        for buffer in kernel.buffers():
            if buffer.place[0] == "temp":
                first.setdefault(buffer, i)
                last[buffer] = i
    free: list[tuple[int, int]] = [(0, sys.maxsize)]  # from, to; in order, apart
    taken: list[tuple[int, int, int]] = []  # a heap: last kernel, from, to
    total = 0
    for buffer, start in first.items():
        while taken and taken[0][0] < start:
            _give_back(free, *heapq.heappop(taken)[1:])
        size = -(-buffer.nbytes // ALIGN) * ALIGN
        i = next(i for i, (begin, end) in enumerate(free) if end - begin >= size)
        at, end = free[i]
        free[i : i + 1] = [(at + size, end)] if at + size < end else []
        buffer.place = ("temp", at)
        heapq.heappush(taken, (last[buffer], at, at + size))
        total = max(total, at + size)
    return total


def _give_back(free: list[tuple[int, int]], begin: int, end: int) -> None:
    """Add a piece to those that are free, as one with its neighbours where it touches them."""
    if begin == end:
        return
    i = bisect.bisect(free, (begin, end))
    before = 1 if i and free[i - 1][1] == begin else 0
    after = 1 if i < len(free) and free[i][0] == end else 0
    whole = (free[i - 1][0] if before else begin, free[i][1] if after else end)
    free[i - before : i + after] = [whole]
