"""Loads and stores through accesses: from an affine place to an address, from strides to vectors.

An address is worked out in parts: at the entry of the kernel for what no outer loop moves, at the start of a
row for the rest, in the vector loop for the inner axes. A stride of 1 along the vector axis is a plain vector
load, -1 one that is reversed, 0 a scalar for all lanes, one up to `DENSE` plain loads of all elements from the first
to the last, of which shuffles take some. Anything else (or a computed index) is a gather.

Imports: `ir.fuse`, `ir.types`, `control`, `literals`, `reductions`, `text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..ir.fuse import Access, Buffer
from ..ir.types import DType, i64
from .control import element, linear
from .literals import MEMORY_TYPE
from .reductions import positions
from .text import Code, Lanes, Vec

DENSE = 8  # elements from lane to lane: up to so many, gathers were slower


class Memory:
    """The addresses of one kernel's accesses, of whose axes `n_outer` are loops around the code that reads and
    `n_inner` are walked by it, the last by lanes. `rows` has, for each access, where its row begins; `bases`, for
    some buffers, the element that their pointer is at."""

    def __init__(
        self, code: Code, n_outer: int, n_inner: int, pointers: Mapping[Buffer, str], bases: Mapping[Buffer, int]
    ) -> None:
        self.code = code
        self.n_outer = n_outer
        self.n_axes = n_outer + n_inner
        self.pointers = pointers
        self.bases = bases
        self.rows: dict[Access, str] = {}
        self.mask: Vec | None = None  # lanes that may be touched, where not all may

    def enter(self, accesses: Iterable[Access | None], outer: Sequence[str]) -> None:
        """Work out row addresses: at the kernel's entry (`outer` empty) those that no outer loop moves, in a
        row the others."""
        for access in dict.fromkeys(accesses):
            if access is None or access.buffer is None:
                continue
            moves = any(access.strides[: self.n_outer])
            if moves == bool(outer):
                terms = list(zip(outer, access.strides, strict=False))
                start = linear(self.code, access.offset - self.bases.get(access.buffer, 0), terms)
                self.rows[access] = element(self.code, self.pointers[access.buffer], access.buffer.dtype, start)

    def number(self, access: Access, outer: Sequence[str], slow: Sequence[str], index: str) -> tuple[str, int]:
        """The affine form itself at the first lane, and its step from lane to lane."""
        steps = [*outer, *slow, index]
        terms = list(zip(steps, access.strides[: self.n_axes], strict=False))
        return linear(self.code, access.offset, terms), self.step(access)

    def step(self, access: Access) -> int:
        return access.strides[self.n_axes - 1] if self.n_axes > self.n_outer else 0

    def address(
        self, access: Access, dtype: DType, slow: Sequence[str], index: str, moved: Sequence[tuple[str, int]] = (),
        back: int = 0,
    ) -> str:
        """The address of the first lane's element, `back` elements earlier; `moved`: i64 scalars times strides."""
        inner = access.strides[self.n_outer : self.n_axes]
        terms = list(zip([*slow, index], inner, strict=False)) if inner else []
        return element(self.code, self.rows[access], dtype, linear(self.code, -back, [*terms, *moved]))

    def load(
        self, access: Access, dtype: DType, lanes: Lanes, slow: Sequence[str], index: str,
        moved: Sequence[tuple[str, int]] = (), places: Sequence[tuple[Vec, int]] = (),
    ) -> Vec:
        """Lanes of the element at `access`, moved by computed scalars, and by computed `places` in each lane."""
        step, width = self.step(access), lanes.width
        if not places and self.mask is None and width > 1 and 1 < step <= DENSE:
            return self._every(lanes, dtype, self.address(access, dtype, slow, index, moved), step)
        if places or (width > 1 and step not in ((0, 1, -1) if self.mask is None else (0, 1))):
            base = self.address(access, dtype, slow, index, moved)
            raw = self._gather(lanes, dtype, self._addresses(lanes, dtype, base, step, places))
            return lanes.from_memory(raw)
        if width == 1 or step == 1:
            return load_lanes(lanes, self.address(access, dtype, slow, index, moved), dtype, self.mask)
        if step == 0:
            one = Lanes(self.code, 1)
            return lanes.splat(one.load(self.address(access, dtype, slow, index, moved), dtype))
        last = self.address(access, dtype, slow, index, moved, width - 1)
        return self._reversed(lanes, lanes.load(last, dtype))

    def store(
        self, value: Vec, access: Access, lanes: Lanes, slow: Sequence[str], index: str, mask: Vec | None = None
    ) -> None:
        """Store lanes, those in `mask` alone if there is one."""
        step, dtype, mask = self.step(access), value.dtype, mask or self.mask
        if lanes.width == 1 or step == 1:
            lanes.store_where(mask, value, self.address(access, dtype, slow, index))
        elif step == -1:
            back = self.address(access, dtype, slow, index, (), lanes.width - 1)
            turned = None if mask is None else self._reversed(lanes, mask)
            lanes.store_where(turned, self._reversed(lanes, value), back)
        else:
            base = self.address(access, dtype, slow, index)
            self._scatter(lanes, lanes.to_memory(value), self._addresses(lanes, dtype, base, step, ()), mask)

    def _every(self, lanes: Lanes, dtype: DType, base: str, step: int) -> Vec:
        """Every `step`-th element from `base` on. The last of the loads ends with the last element."""
        width, type = lanes.width, lanes.memory_type(dtype)
        starts = [*range(0, (step - 1) * width, width), step * (width - 1) + 1 - width]
        found = ""
        for k, start in enumerate(starts):
            address = element(self.code, base, dtype, str(start))
            part = lanes.emit(f"load {type}, ptr {address}, align {dtype.itemsize}", dtype).text
            if not k:
                found = part
                continue
            places = [j * step for j in range(width)]
            # Of what was found before: from the first load in its place there, of more loads in the lane itself.
            before = places if k == 1 else range(width)
            chosen = [
                b if e < k * width else width + e - start if e < (k + 1) * width or k == step - 1 else -1
                for b, e in zip(before, places, strict=True)
            ]
            order = ", ".join(f"i32 {c}" if c >= 0 else "i32 poison" for c in chosen)
            mask = f"<{width} x i32> <{order}>"
            found = lanes.emit(f"shufflevector {type} {found}, {type} {part}, {mask}", dtype).text
        return lanes.from_memory(Vec(found, dtype))

    def _reversed(self, lanes: Lanes, x: Vec) -> Vec:
        type = lanes.type(x.dtype)
        order = ", ".join(f"i32 {i}" for i in reversed(range(lanes.width)))
        return lanes.emit(
            f"shufflevector {type} {x.text}, {type} poison, <{lanes.width} x i32> <{order}>", x.dtype
        )

    def _addresses(
        self, lanes: Lanes, dtype: DType, base: str, step: int, places: Sequence[tuple[Vec, int]]
    ) -> str:
        """A vector of pointers."""
        moved = positions(lanes, i64, step)
        for place, stride in places:
            moved = lanes.add(moved, lanes.mul(place, stride) if stride != 1 else place)
        name = self.code.fresh("p")
        self.code.line(
            f"{name} = getelementptr {MEMORY_TYPE[dtype.code]}, ptr {base}, {lanes.type(i64)} {moved.text}"
        )
        return name

    def _masked(self, lanes: Lanes, dtype: DType, op: str) -> tuple[str, str, str, str]:
        """Name, element type, pointer type and full mask of llvm.masked.gather or scatter."""
        element = MEMORY_TYPE[dtype.code]
        suffix = f"f{dtype.bits}" if dtype.is_floating_point else element
        pointers = f"<{lanes.width} x ptr>"
        lanes_on = "splat (i1 true)" if self.mask is None else self.mask.text
        mask = f"<{lanes.width} x i1> {lanes_on}"
        return f"llvm.masked.{op}.v{lanes.width}{suffix}.v{lanes.width}p0", lanes.memory_type(dtype), pointers, mask

    def _gather(self, lanes: Lanes, dtype: DType, addresses: str) -> Vec:
        name, type, pointers, mask = self._masked(lanes, dtype, "gather")
        self.code.declare(name, type, [pointers, "i32", f"<{lanes.width} x i1>", type])
        return lanes.emit(
            f"call {type} @{name}({pointers} {addresses}, i32 {dtype.itemsize}, {mask}, {type} poison)", dtype
        )

    def _scatter(self, lanes: Lanes, raw: Vec, addresses: str, where: Vec | None) -> None:
        name, type, pointers, mask = self._masked(lanes, raw.dtype, "scatter")
        if where is not None:
            mask = f"<{lanes.width} x i1> {where.text}"
        self.code.declare(name, "void", [type, pointers, "i32", f"<{lanes.width} x i1>"])
        self.code.line(
            f"call void @{name}({type} {raw.text}, {pointers} {addresses}, i32 {raw.dtype.itemsize}, {mask})"
        )


def load_lanes(lanes: Lanes, pointer: str, dtype: DType, mask: Vec | None) -> Vec:
    """Adjacent elements; zeros in the lanes off `mask`, which are not touched."""
    if mask is None or lanes.width == 1:
        return lanes.load(pointer, dtype)
    name, type = _adjacent(lanes, dtype, "load"), lanes.memory_type(dtype)
    ones = f"<{lanes.width} x i1>"
    lanes.code.declare(name, type, ["ptr", "i32", ones, type])
    call = f"call {type} @{name}(ptr {pointer}, i32 {dtype.itemsize}, {ones} {mask.text}, {type} zeroinitializer)"
    return lanes.from_memory(lanes.emit(call, dtype))


def _adjacent(lanes: Lanes, dtype: DType, op: str) -> str:
    """The name of llvm.masked.load or store."""
    element = f"f{dtype.bits}" if dtype.is_floating_point else MEMORY_TYPE[dtype.code]
    return f"llvm.masked.{op}.v{lanes.width}{element}.p0"
