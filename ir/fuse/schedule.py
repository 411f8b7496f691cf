"""`schedule`: a function as kernels over buffers, temporaries laid out in one arena by liveness.

Imports: everything else in this package.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core import Function
from ..types import DType, i64
from . import views
from .build import build
from .groups import Group, Grouping
from .inline import leaves
from .items import Item, Root
from .kernel import Buffer, CallKernel, Kernel, Operand, Schedule
from .parallel import split
from .prepare import Program
from .rows import block_rows
from .widen import widen

ALIGN = 64  # bytes: a cache line, and the widest vector


def schedule(
    f: Function, strides: Sequence[Sequence[int] | None] | None = None, *, cores: int = 1
) -> Schedule:
    """The kernels of the straight-line function `f`.

    `strides`: for each parameter its strides in elements, or None for row-major order. `cores`: how many may
    share the work of a kernel. Raises ValueError for
    a function with control flow or with ops that only steer differentiation.
    """
    program = Program(f, strides)
    grouping = Grouping(program)
    return _Layout(program, grouping).schedule(cores)


class _Layout:
    def __init__(self, program: Program, grouping: Grouping) -> None:
        self.program = program
        self.grouping = grouping
        self.groups = grouping.ordered()
        self.buffers: dict[Root, Buffer] = {}
        self.constants: dict[int, Buffer] = {}

    def schedule(self, cores: int) -> Schedule:
        params = [self.buffer_of(root) for root in self.program.params]
        results = [self.buffer_of(root) for root in self.program.results]
        external = self.external()
        kernels = [part for g in self.groups for k in self.kernels(g, external) for part in split(k, cores)]
        constants = [(self.constants[i], self.program.constants[i]) for i in sorted(self.constants)]
        arena = lay_out(kernels)
        return Schedule(self.program.name, params, results, constants, kernels, arena)

    def buffer_of(self, root: Root) -> Buffer:
        while root.alias is not None:
            root = root.alias
        if root not in self.buffers:
            place = root.place or ("temp", 0)
            name = root.name if place[0] in ("temp", "param") else f"{place[0]}{place[1]}"
            self.buffers[root] = Buffer(name, root.dtype, root.size, place)
            if place[0] == "constant":
                self.constants[place[1]] = self.buffers[root]
        return self.buffers[root]

    def external(self) -> set[Root]:
        """Roots read outside the kernel that makes them."""
        found = set(self.program.stored)
        for group in self.groups:
            items = [group.call] if group.call is not None else [i for i, _ in group.members]
            for item in items:
                for root, _ in leaves(item.args):
                    home = self.grouping.home.get(root)
                    if home is None or home[0] is not group:
                        found.add(root)
        return found

    def kernels(self, group: Group, external: set[Root]) -> list[Kernel]:
        if group.call is not None:
            return [self.call(group.call)]
        kernel = build(group, self.grouping, self.buffer_of, external)
        block_rows(kernel)
        return widen(kernel)

    def call(self, item: Item) -> CallKernel:
        args = []
        for (root, view), shape in zip(item.args, item.shapes, strict=True):
            strides = views.strides_over(view, shape)
            assert strides is not None
            args.append(Operand(self.buffer_of(root), view.offset, shape, strides))
        outs = [self.buffer_of(r) for r in item.outs]
        scratch = [Buffer("scratch", d, n, ("temp", 0)) for d, n in _scratch(item)]
        return CallKernel(item.op, args, outs, item.attrs, item.loc, scratch)


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
    live: list[tuple[int, int, int]] = []  # begin, end, last kernel; by begin
    total = 0
    for buffer, start in first.items():
        live = [a for a in live if a[2] >= start]
        size = -(-buffer.nbytes // ALIGN) * ALIGN
        at = 0
        for begin, end, _ in live:
            if at + size <= begin:
                break
            at = max(at, end)
        buffer.place = ("temp", at)
        live.append((at, at + size, last[buffer]))
        live.sort()
        total = max(total, at + size)
    return total
