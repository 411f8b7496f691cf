"""The nodes of a kernel as operations on lanes, wherever its loops stand.

Imports: `ir.fuse`, `ir.types`, `abi`, `alike`, `emit`, `fork`, `memory`, `philox`, `reductions`, `text`,
`vectormath`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..ir.fuse import ELEMENT, Access, Contraction, LoopKernel, Node
from ..ir.types import bool_, i64
from .abi import Traps
from .alike import bases
from .emit import LOWER
from .fork import RANGE
from .memory import Memory
from .philox import philox_elements, philox_run
from .reductions import positions
from .text import Code, Lanes, Vec
from .vectormath import UNARY

OFTEN = 16  # uses in a program from which a long function is called: it compiles sooner, and runs some 3% slower
_LONG = frozenset({*UNARY, "pow", "atan2"})


def used_often(kernels: Iterable[LoopKernel | Contraction]) -> frozenset[str]:
    """The long functions that `kernels`, each written once, use often."""
    uses = Counter(n.op for k in kernels for n in k.nodes() if n.op in _LONG)
    return frozenset(op for op, count in uses.items() if count >= OFTEN)


@dataclass(slots=True)
class Place:
    """Where in the iteration code is being written: lanes, indices of the slow inner axes, and of the vector."""

    memory: Memory
    lanes: Lanes
    slow: list[str]
    index: str
    turn: str = "0"  # the index, had the last vector not been moved back


class NodeEmitter:
    """What the emitters of all kernels share. `scalar`: the lanes of what is computed once; `values`: scalars of the
    kernel and of the current row; `outer`: where the loops around the lanes are; `run`: how many elements the lanes
    walk; `pointers`: the buffers as the function's parameters, `bases` where in them these point to."""

    def __init__(self, code: Code, kernel: LoopKernel | Contraction, traps: Traps) -> None:
        self.code = code
        self.traps = traps
        self.scalar = Lanes(code, 1, lambda _: None)
        self.pointers = {b: f"%b{i}" for i, b in enumerate(kernel.buffers())}
        self.bases = bases(kernel)
        self.memory = Memory(code, len(kernel.outer), len(kernel.inner), self.pointers, self.bases)
        self.values: dict[Node, Vec] = {}
        self.outer: list[str] = []
        self.run = (kernel.inner or (1,))[-1]
        self._written = set(kernel.writes())
        self._split = kernel.chunks > 1

    def parameters(self) -> list[str]:
        """Of the function that the kernel becomes."""
        params = [f"ptr noalias {'' if b in self._written else 'readonly '}{p}" for b, p in self.pointers.items()]
        return [*params, "ptr %traps", *(RANGE if self._split else ())]

    def node(self, node: Node, place: Place, values: Mapping[Node, Vec]) -> Vec:
        m = place.lanes
        match node.op:
            case "const":
                return m.const(node.attrs["value"], node.dtype)
            case "load" | "keep":
                return self.load(node, place, values)
            case "iota":
                assert node.access is not None
                return m.cast(self.numbers(node.access, place), node.dtype)
            case "first":
                return values[node.args[0]]
            case "index":
                return self.index(node, m, values[node.args[0]])
            case "philox":
                return self.philox(node, place, values)
        m.on_trap = lambda condition: self.traps.report(self.code, m, node, condition, None)
        args = [values[a] for a in node.args]
        if node.op not in self.code.often:
            return LOWER[node.op](m, args, node.attrs, node.dtype)
        # With the dtypes: a lowering differs by sign, and may call a function named after the op alone.
        name = ".".join((node.op, *(a.dtype.code for a in args)))
        (out,) = m.call(name, args, [node.dtype], lambda *xs: [LOWER[node.op](m, xs, node.attrs, node.dtype)])
        return out

    def load(self, node: Node, place: Place, values: Mapping[Node, Vec]) -> Vec:
        """A load; an index that is one for all lanes moves the address, others are gathered."""
        moved: list[tuple[str, int]] = []
        places: list[tuple[Vec, int]] = []
        for arg, stride in zip(node.args, node.attrs.get("strides", ()), strict=True):
            if place.lanes.width == 1:
                moved.append((values[arg].text, stride))
            elif place.memory is self.memory and arg.level != ELEMENT:
                moved.append((self.values[arg].text, stride))
            else:
                places.append((values[arg], stride))
        assert node.access is not None
        return place.memory.load(node.access, node.dtype, place.lanes, place.slow, place.index, moved, places)

    def numbers(self, access: Access, place: Place) -> Vec:
        """The affine form of `access` in the lanes, as i64."""
        first, step = place.memory.number(access, self.outer, place.slow, place.index)
        if place.lanes.width == 1:
            return Vec(first, i64)
        return place.lanes.add(place.lanes.splat(Vec(first, i64)), positions(place.lanes, i64, step))

    def index(self, node: Node, m: Lanes, x: Vec) -> Vec:
        limit = node.attrs["limit"]
        outside = m.emit(f"icmp uge {m.type(i64)} {x.text}, {m.const(limit, i64).text}", bool_)
        self.traps.report(self.code, m, node, outside, x)
        return m.select(outside, 0, x)

    def philox(self, node: Node, place: Place, values: Mapping[Node, Vec]) -> Vec:
        m, (key, offset) = place.lanes, (self.values[a] for a in node.args)
        assert node.access is not None
        starts = (node.access.offset, *node.access.strides[:-1], self.run, m.width)
        adjacent = node.access.strides[-1:] == (1,) and place.memory is self.memory
        if adjacent and all(s % 4 == 0 for s in starts):
            first, _ = place.memory.number(node.access, self.outer, place.slow, place.index)
            return philox_run(m, key, offset, Vec(first, i64))
        return philox_elements(m, m.splat(key), m.splat(offset), self.numbers(node.access, place))
