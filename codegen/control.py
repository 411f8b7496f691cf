"""Control flow in LLVM text: counted loops that carry registers.

Imports: `ir.types`, `literals`, `text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.types import DType
from .literals import MEMORY_TYPE
from .text import Code, Lanes, Vec

Carried = tuple[Lanes, Vec]  # a register and the lanes that say its type
LoopBody = Callable[[str, list[Vec]], Sequence[Vec]]


def loop(
    code: Code, start: str, stop: str, step: int, carried: Sequence[Carried], body: LoopBody, *, once: bool = False
) -> list[Vec]:
    """`for (i = start; i < stop; i += step)` over i64, run at least once; `body(i, values)` gives the carried
    registers of the next turn. Returns those of the last. `once`: it is known to run once, so no loop is
    made and `i` is `start`."""
    if once:
        return list(body(start, [v for _, v in carried]))
    before, head = code.block, code.new_label("loop")
    code.line(f"br label %{head}")
    code.start_block(head)
    place = code.reserve()
    index, following = code.fresh("i"), code.fresh("i")
    now = [Vec(code.fresh(), v.dtype) for _, v in carried]
    after = list(body(index, now))
    code.line(f"{following} = add nuw nsw i64 {index}, {step}")
    more = code.fresh("c")
    code.line(f"{more} = icmp slt i64 {following}, {stop}")
    done = code.new_label("done")
    code.line(f"br i1 {more}, label %{head}, label %{done}")
    phis = [f"{index} = phi i64 [ {start}, %{before} ], [ {following}, %{code.block} ]"]
    phis += [
        f"{v.text} = phi {lanes.type(v.dtype)} [ {first.text}, %{before} ], [ {last.text}, %{code.block} ]"
        for (lanes, first), v, last in zip(carried, now, after, strict=True)
    ]
    code.fill(place, phis)
    code.start_block(done)
    return after


def branch(
    code: Code, condition: str, then: Callable[[], object], otherwise: Callable[[], object] | None = None
) -> None:
    """`then()` where the i1 holds, else `otherwise()`, if any."""

    def nothing(write: Callable[[], object] | None) -> list[Vec]:
        if write is not None:
            write()
        return []

    choose(code, condition, lambda: nothing(then), lambda: nothing(otherwise), [])


def choose(
    code: Code, condition: str, then: Callable[[], Sequence[Vec]], otherwise: Callable[[], Sequence[Vec]],
    types: Sequence[Lanes],
) -> list[Vec]:
    """The registers, of `types`, that `then()` gives where the i1 holds, else those of `otherwise()`."""
    labels = [code.new_label(name) for name in ("then", "else", "join")]
    code.line(f"br i1 {condition}, label %{labels[0]}, label %{labels[1]}")
    ways: list[tuple[Sequence[Vec], str]] = []
    for label, write in zip(labels, (then, otherwise), strict=False):
        code.start_block(label)
        ways.append((write(), code.block))
        code.line(f"br label %{labels[2]}")
    code.start_block(labels[2])
    (first, here), (second, there) = ways
    return [
        lanes.emit(f"phi {lanes.type(a.dtype)} [ {a.text}, %{here} ], [ {b.text}, %{there} ]", a.dtype)
        for lanes, a, b in zip(types, first, second, strict=True)
    ]


def nest(code: Code, sizes: Sequence[int], body: Callable[[list[str]], None]) -> None:
    """Loops over `sizes`, slowest first, around `body(indices)`."""

    def level(indices: list[str]) -> None:
        if len(indices) == len(sizes):
            body(indices)
            return

        def turn(i: str, _: list[Vec]) -> list[Vec]:
            level([*indices, i])
            return []

        size = sizes[len(indices)]
        loop(code, "0", str(size), 1, [], turn, once=size == 1)

    level([])


def linear(code: Code, offset: int, terms: Sequence[tuple[str, int]]) -> str:
    """`offset + sum(index * factor)` over i64: a literal, or the register that holds it."""
    total = str(offset) if offset else ""
    for index, factor in terms:
        if not factor:
            continue
        term = index
        if factor != 1:
            term = code.fresh("x")
            code.line(f"{term} = mul nsw i64 {index}, {factor}")
        if total:
            joined = code.fresh("x")
            code.line(f"{joined} = add nsw i64 {total}, {term}")
            total = joined
        else:
            total = term
    return total or "0"


def fill(code: Code, lanes: Lanes, pointer: str, size: int, value: Vec) -> None:
    """Store `value` to `size` adjacent elements, at least a vector of them; the last vector may overlap."""

    def body(i: str, _: list[Vec]) -> list[Vec]:
        at = clamp(code, i, size - lanes.width) if size % lanes.width else i
        lanes.store(value, element(code, pointer, value.dtype, at))
        return []

    loop(code, "0", str(size), lanes.width, [], body, once=size == lanes.width)


def clamp(code: Code, index: str, largest: int | str) -> str:
    """The smaller of an index and a bound."""
    name = "llvm.umin.i64"
    code.declare(name, "i64", ["i64", "i64"])
    low = code.fresh("i")
    code.line(f"{low} = call i64 @{name}(i64 {index}, i64 {largest})")
    return low


def element(code: Code, pointer: str, dtype: DType, index: str) -> str:
    """The address of the element `index` of an array of `dtype`."""
    if index == "0":
        return pointer
    address = code.fresh("p")
    code.line(f"{address} = getelementptr {MEMORY_TYPE[dtype.code]}, ptr {pointer}, i64 {index}")
    return address


def power_of_two_below(n: int) -> int:
    """The largest power of two that is at most n (n >= 1)."""
    return 1 << (n.bit_length() - 1)
