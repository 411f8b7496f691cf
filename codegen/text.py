"""LLVM text: a module under construction, and straight-line code on vectors of one width.

    Code    one module: fresh names, declarations, globals, functions, the lines of the current function
    Vec     an operand: an SSA name or a literal, with the dtype of its lanes
    Lanes   emission of operations on `width` lanes at once; width 1 is scalar code

Text is written directly, for it is three times faster than building it from objects. What holds:
  - A bool is an i1 lane in a register and a byte in memory; `load` and `store` convert.
  - Where an operand is taken, a Python number stands for a literal of the other operand's dtype.
  - Nothing is contracted or reordered: no fast-math flags. `fma` rounds once only where `Code.has_fma`;
    `intrinsic("fma", ...)` always does, at the price of a library call without the instruction.
  - `Lanes` may open basic blocks (`rarely`). Whoever writes a loop around its code must take the label of
    the current block from `Code.block` for the phi of the back edge.

Imports: `ir.types`, `literals`. No llvmlite: this is text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..ir.types import DType, bool_, f32, f64, i32, i64
from .literals import MEMORY_TYPE, REGISTER_TYPE, literal

# The integer dtype whose lanes hold the bits of a float, and the other way round.
BITS_OF = {f32: i32, f64: i64}
FLOAT_OF = {i32: f32, i64: f64}

_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}


@dataclass(frozen=True, slots=True)
class Vec:
    """An operand of LLVM: `text` is an SSA name or a literal, `dtype` that of each lane."""

    text: str
    dtype: DType


Operand = Vec | float  # a number is a literal of the dtype of the operand beside it


class Code:
    """The text of one LLVM module under construction.

    `has_fma`: whether the target multiplies and adds in one instruction. `attributes` is put on every
    function, so that functions with vector arguments agree on how they are passed. `often`: ops that are written
    as a function, once for each type, instead of wherever they are used.
    """

    def __init__(self, *, has_fma: bool = True, attributes: str = "nounwind") -> None:
        self.has_fma = has_fma
        self.attributes = attributes
        self.often: frozenset[str] = frozenset()
        self.block = ""  # label of the block that lines go to
        self._count = 0
        self._lines: list[str] = []
        self._declarations: dict[str, str] = {}
        self._globals: dict[str, str] = {}
        self._functions: list[str] = []
        self._defined: set[str] = set()

    def fresh(self, prefix: str = "v") -> str:
        """A local name (`%v7`) not used before in the module."""
        self._count += 1
        return f"%{prefix}{self._count}"

    def line(self, text: str) -> None:
        self._lines.append("  " + text)

    def reserve(self) -> int:
        """A place among the lines of the current function, for `fill`: phis are known after their loop."""
        self._lines.append("")
        return len(self._lines) - 1

    def fill(self, place: int, lines: Sequence[str]) -> None:
        self._lines[place] = "\n".join("  " + line for line in lines)

    def new_label(self, prefix: str = "b") -> str:
        """A fresh label, to be branched to before `start_block` places it."""
        return self.fresh(prefix)[1:]

    def start_block(self, label: str) -> None:
        """Lines go to the block `label` from here on. The block before must have its terminator."""
        self._lines.append(f"{label}:")
        self.block = label

    def declare(self, name: str, result: str, parameters: Sequence[str]) -> None:
        """Declare an external function or intrinsic, once."""
        if name not in self._declarations:
            self._declarations[name] = f"declare {result} @{name}({', '.join(parameters)})"

    def define_global(self, name: str, definition: str) -> str:
        """Define `@name = definition`, once; returns `@name`."""
        self._globals.setdefault(name, definition)
        return f"@{name}"

    @contextmanager
    def function(self, header: str) -> Iterator[None]:
        """Write `define <header> { entry: ... }`. It may nest: an outlined function is written whole while
        its caller is under construction."""
        outer_lines, outer_block = self._lines, self.block
        self._lines = []
        self.start_block("entry")
        yield
        body = "\n".join(self._lines)
        self._functions.append(f"define {header} {self.attributes} {{\n{body}\n}}")
        self._lines, self.block = outer_lines, outer_block

    def define(self, function: str) -> None:
        """Add the whole text of a function."""
        self._functions.append(function)

    def first_use(self, name: str) -> bool:
        """Whether the function `name` is asked for the first time, and so must be written."""
        if name in self._defined:
            return False
        self._defined.add(name)
        return True

    def text(self) -> str:
        """The module."""
        parts = [
            *(f"@{name} = {definition}" for name, definition in self._globals.items()),
            *self._declarations.values(),
            *self._functions,
        ]
        return "\n".join(parts) + "\n"


class Lanes:
    """Emission of straight-line code on `width` lanes at once into the current block of `code`.

    `trap(condition)` reports that an operation met an error in the lanes where `condition` holds; whoever
    lowers ops that trap sets `on_trap` to collect it.
    """

    def __init__(self, code: Code, width: int, on_trap: Callable[[Vec], None] | None = None) -> None:
        self.code = code
        self.width = width
        self.on_trap = on_trap
        scalar = REGISTER_TYPE
        self._types = {d: t if width == 1 else f"<{width} x {t}>" for d, t in scalar.items()}

    def trap(self, condition: Vec) -> None:
        if self.on_trap is None:
            raise RuntimeError("this code can fail at run time, and nobody listens: set Lanes.on_trap")
        self.on_trap(condition)

    # Operands.

    def type(self, dtype: DType) -> str:
        """The LLVM type of a register: `<8 x float>`, or `float` for width 1."""
        return self._types[dtype.code]

    def memory_type(self, dtype: DType) -> str:
        t = MEMORY_TYPE[dtype.code]
        return t if self.width == 1 else f"<{self.width} x {t}>"

    def const(self, value: float, dtype: DType) -> Vec:
        """The number in every lane."""
        text = literal(value, dtype)
        return Vec(text if self.width == 1 else f"splat ({REGISTER_TYPE[dtype.code]} {text})", dtype)

    def operand(self, value: Operand, dtype: DType) -> Vec:
        return value if isinstance(value, Vec) else self.const(value, dtype)

    def emit(self, expression: str, dtype: DType) -> Vec:
        """Name the result of an LLVM expression."""
        name = self.code.fresh()
        self.code.line(f"{name} = {expression}")
        return Vec(name, dtype)

    def splat(self, scalar: Vec) -> Vec:
        """A scalar register (of a `Lanes` of width 1) in every lane."""
        if self.width == 1:
            return scalar
        vector = self.type(scalar.dtype)
        first = self.insert(Vec("poison", scalar.dtype), scalar, 0)
        mask = f"<{self.width} x i32> zeroinitializer"
        return self.emit(f"shufflevector {vector} {first.text}, {vector} poison, {mask}", scalar.dtype)

    def insert(self, x: Vec, scalar: Vec, lane: int) -> Vec:
        if self.width == 1:
            return scalar
        element = f"{REGISTER_TYPE[scalar.dtype.code]} {scalar.text}"
        return self.emit(f"insertelement {self.type(x.dtype)} {x.text}, {element}, i64 {lane}", x.dtype)

    # Memory.

    def load(self, pointer: str, dtype: DType, align: int | None = None) -> Vec:
        """`width` adjacent elements at `pointer`, aligned to `align` bytes (default: to one element)."""
        type = self.memory_type(dtype)
        raw = self.emit(f"load {type}, ptr {pointer}, align {align or dtype.itemsize}", dtype)
        return self.from_memory(raw)

    def store(self, x: Vec, pointer: str, align: int | None = None, suffix: str = "") -> None:
        """Store to adjacent elements; `suffix` is metadata (", !nontemporal !0")."""
        raw = self.to_memory(x)
        type = self.memory_type(x.dtype)
        self.code.line(f"store {type} {raw.text}, ptr {pointer}, align {align or x.dtype.itemsize}{suffix}")

    def store_where(self, mask: Vec | None, x: Vec, pointer: str) -> None:
        """Store the lanes in `mask` to their places among adjacent elements; all of them where it is None."""
        if mask is None or self.width == 1:
            self.store(x, pointer)
            return
        raw, type, bits = self.to_memory(x), self.memory_type(x.dtype), self.type(bool_)
        element = f"f{x.dtype.bits}" if x.dtype.is_floating_point else MEMORY_TYPE[x.dtype.code]
        name = f"llvm.masked.store.v{self.width}{element}.p0"
        self.code.declare(name, "void", [type, "ptr", "i32", bits])
        self.code.line(
            f"call void @{name}({type} {raw.text}, ptr {pointer}, i32 {x.dtype.itemsize}, {bits} {mask.text})"
        )

    def from_memory(self, raw: Vec) -> Vec:
        """The register form of lanes in their memory form: a byte becomes a truth value."""
        if raw.dtype is not bool_:
            return raw
        zero = "0" if self.width == 1 else "zeroinitializer"
        return self.emit(f"icmp ne {self.memory_type(bool_)} {raw.text}, {zero}", bool_)

    def to_memory(self, x: Vec) -> Vec:
        """The memory form of lanes: a truth value becomes a byte."""
        if x.dtype is not bool_:
            return x
        return self.emit(f"zext {self.type(bool_)} {x.text} to {self.memory_type(bool_)}", bool_)

    # Arithmetic.

    def binary(self, opcode: str, x: Operand, y: Operand) -> Vec:
        """`opcode x, y` for an LLVM instruction whose operands and result have one type."""
        dtype = x.dtype if isinstance(x, Vec) else y.dtype  # type: ignore[union-attr]
        a, b = self.operand(x, dtype), self.operand(y, dtype)
        return self.emit(f"{opcode} {self.type(dtype)} {a.text}, {b.text}", dtype)

    def _either(self, float_opcode: str, int_opcode: str, x: Operand, y: Operand) -> Vec:
        dtype = x.dtype if isinstance(x, Vec) else y.dtype  # type: ignore[union-attr]
        return self.binary(float_opcode if dtype.is_floating_point else int_opcode, x, y)

    def add(self, x: Operand, y: Operand) -> Vec:
        return self._either("fadd", "add", x, y)

    def sub(self, x: Operand, y: Operand) -> Vec:
        return self._either("fsub", "sub", x, y)

    def mul(self, x: Operand, y: Operand) -> Vec:
        return self._either("fmul", "mul", x, y)

    def div(self, x: Operand, y: Operand) -> Vec:
        """Floating-point division (integers: see `emit`, for they trap)."""
        return self.binary("fdiv", x, y)

    def neg(self, x: Vec) -> Vec:
        if x.dtype.is_floating_point:
            return self.emit(f"fneg {self.type(x.dtype)} {x.text}", x.dtype)
        return self.sub(0, x)

    def and_(self, x: Operand, y: Operand) -> Vec:
        return self.binary("and", x, y)

    def or_(self, x: Operand, y: Operand) -> Vec:
        return self.binary("or", x, y)

    def xor(self, x: Operand, y: Operand) -> Vec:
        return self.binary("xor", x, y)

    def not_(self, x: Vec) -> Vec:
        return self.xor(x, True if x.dtype is bool_ else -1)

    def shl(self, x: Vec, y: Operand) -> Vec:
        return self.binary("shl", x, y)

    def lshr(self, x: Vec, y: Operand) -> Vec:
        return self.binary("lshr", x, y)

    def ashr(self, x: Vec, y: Operand) -> Vec:
        return self.binary("ashr", x, y)

    def intrinsic(self, name: str, *args: Vec, dtype: DType | None = None, flags: str = "") -> Vec:
        """`llvm.<name>` of the first operand's type (and of the result's, where `dtype` says it differs);
        `flags` are fast-math flags with a space behind."""
        source = args[0].dtype
        result = dtype or source
        suffix = self._suffix(source) if dtype is None else f"{self._suffix(result)}.{self._suffix(source)}"
        full = f"llvm.{name}.{suffix}"
        self.code.declare(full, self.type(result), [self.type(a.dtype) for a in args])
        operands = ", ".join(f"{self.type(a.dtype)} {a.text}" for a in args)
        return self.emit(f"call {flags}{self.type(result)} @{full}({operands})", result)

    def _suffix(self, dtype: DType) -> str:
        element = f"f{dtype.bits}" if dtype.is_floating_point else REGISTER_TYPE[dtype.code]
        return element if self.width == 1 else f"v{self.width}{element}"

    def fma(self, x: Operand, y: Operand, z: Operand) -> Vec:
        """x * y + z, rounded once where the target has the instruction, else twice."""
        dtype = next(v.dtype for v in (x, y, z) if isinstance(v, Vec))
        a, b, c = self.operand(x, dtype), self.operand(y, dtype), self.operand(z, dtype)
        if self.code.has_fma:
            return self.intrinsic("fma", a, b, c)
        return self.add(self.mul(a, b), c)

    def abs(self, x: Vec) -> Vec:
        """|x| of floats."""
        return self.intrinsic("fabs", x)

    def sqrt(self, x: Vec) -> Vec:
        return self.intrinsic("sqrt", x)

    def floor(self, x: Vec) -> Vec:
        return self.intrinsic("floor", x)

    def ceil(self, x: Vec) -> Vec:
        return self.intrinsic("ceil", x)

    def trunc(self, x: Vec) -> Vec:
        return self.intrinsic("trunc", x)

    def round(self, x: Vec) -> Vec:
        """The nearest integer, halves to even (in the rounding mode that every program starts with)."""
        return self.intrinsic("rint", x)

    def copysign(self, magnitude: Operand, sign: Vec) -> Vec:
        return self.intrinsic("copysign", self.operand(magnitude, sign.dtype), sign)

    def maximum(self, x: Vec, y: Vec) -> Vec:
        """The larger float: nan where either is, and +0.0 above -0.0."""
        return self.intrinsic("maximum", x, y)

    def minimum(self, x: Vec, y: Vec) -> Vec:
        return self.intrinsic("minimum", x, y)

    def horner(self, x: Vec, coefficients: Sequence[float]) -> Vec:
        """sum of coefficients[i] * x^i: fewest operations, one long chain."""
        result: Operand = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            result = self.fma(result, x, c)
        return self.operand(result, x.dtype)

    def estrin(self, x: Vec, coefficients: Sequence[float]) -> Vec:
        """sum of coefficients[i] * x^i, pairwise: a short chain for a few more multiplications."""
        terms: list[Operand] = list(coefficients)
        power = x
        while len(terms) > 1:
            paired = [self.fma(power, terms[i + 1], terms[i]) for i in range(0, len(terms) - 1, 2)]
            terms = [*paired, *terms[len(terms) & ~1 :]]
            if len(terms) > 1:
                power = self.mul(power, power)
        return self.operand(terms[0], x.dtype)

    # Truth values.

    def compare(self, predicate: str, x: Operand, y: Operand) -> Vec:
        """eq ne lt le gt ge of floats (false with a nan, but for ne), integers or bools."""
        dtype = x.dtype if isinstance(x, Vec) else y.dtype  # type: ignore[union-attr]
        a, b = self.operand(x, dtype), self.operand(y, dtype)
        if dtype.is_floating_point:
            return self.emit(f"fcmp {_FLOAT_COMPARE[predicate]} {self.type(dtype)} {a.text}, {b.text}", bool_)
        if predicate not in ("eq", "ne"):
            predicate = ("s" if dtype.kind == "int" else "u") + predicate
        return self.emit(f"icmp {predicate} {self.type(dtype)} {a.text}, {b.text}", bool_)

    def is_nan(self, x: Vec) -> Vec:
        return self.emit(f"fcmp uno {self.type(x.dtype)} {x.text}, {self.const(0.0, x.dtype).text}", bool_)

    def select(self, condition: Vec, x: Operand, y: Operand, dtype: DType | None = None) -> Vec:
        """x where the condition holds, else y; `dtype` where both are numbers."""
        if dtype is None:
            dtype = x.dtype if isinstance(x, Vec) else y.dtype  # type: ignore[union-attr]
        type = self.type(dtype)
        a, b = self.operand(x, dtype).text, self.operand(y, dtype).text
        return self.emit(f"select {self.type(bool_)} {condition.text}, {type} {a}, {type} {b}", dtype)

    def any(self, condition: Vec) -> Vec:
        """Whether the condition holds in any lane: a scalar i1."""
        if self.width == 1:
            return condition
        name = f"llvm.vector.reduce.or.v{self.width}i1"
        self.code.declare(name, "i1", [self.type(bool_)])
        return self.emit(f"call i1 @{name}({self.type(bool_)} {condition.text})", bool_)

    # Conversions.

    def convert(self, opcode: str, x: Vec, dtype: DType) -> Vec:
        """`opcode x to dtype` for an LLVM conversion."""
        return self.emit(f"{opcode} {self.type(x.dtype)} {x.text} to {self.type(dtype)}", dtype)

    def bits(self, x: Vec) -> Vec:
        """The bits of a float as an integer of its size."""
        return self.convert("bitcast", x, BITS_OF[x.dtype])

    def from_bits(self, x: Vec) -> Vec:
        """The float with these bits."""
        return self.convert("bitcast", x, FLOAT_OF[x.dtype])

    def cast(self, x: Vec, dtype: DType) -> Vec:
        """The IR's conversion: a float to an integer truncates and saturates, nan gives 0; an integer to a
        narrower one wraps; to bool, whether x differs from 0."""
        source = x.dtype
        if source is dtype:
            return x
        if dtype is bool_:
            return self.compare("ne", x, 0)
        if source.is_floating_point:
            if dtype.is_floating_point:
                return self.convert("fpext" if dtype.bits > source.bits else "fptrunc", x, dtype)
            return self._saturate(x, dtype)
        signed = source.kind == "int"
        if dtype.is_floating_point:
            return self.convert("sitofp" if signed else "uitofp", x, dtype)
        if source is not bool_ and dtype.bits == source.bits:
            return Vec(x.text, dtype)
        if source is not bool_ and dtype.bits < source.bits:
            return self.convert("trunc", x, dtype)
        return self.convert("sext" if signed else "zext", x, dtype)

    def _saturate(self, x: Vec, dtype: DType) -> Vec:
        """A float as an integer. To 32 bits and less by hand: AVX2 converts vectors, but LLVM 22 takes
        fptosi.sat apart there."""
        if dtype is i64:
            return self.intrinsic("fptosi.sat", x, dtype=i64)
        signed = dtype.kind == "int"
        low = -(1 << (dtype.bits - 1)) if signed else 0
        high = (1 << (dtype.bits - signed)) - 1
        limit = float(high) if dtype is not i32 or x.dtype is f64 else 2.0**31 - 2.0**7  # the float below
        inside = self.select(self.compare("lt", x, low), low, x)
        inside = self.select(self.compare("gt", x, limit), limit, inside)
        whole = self.convert("fptosi", self.select(self.is_nan(x), 0.0, inside), i32)
        if limit < high:
            whole = self.select(self.compare("gt", x, limit), high, whole)
        return whole if dtype is i32 else self.convert("trunc", whole, dtype)

    # Functions and rare paths.

    def call(
        self, name: str, args: Sequence[Vec], dtypes: Sequence[DType], body: Callable[..., Sequence[Vec]]
    ) -> list[Vec]:
        """Call the outlined function `name`, which `body(*args)` writes when the module first needs it at
        these types. It returns lanes of `dtypes`. Bodies that differ otherwise need different names."""
        full = f"jg.{name}.{'.'.join(self._suffix(a.dtype) for a in args)}"
        results = [self.type(d) for d in dtypes]
        returned = results[0] if len(results) == 1 else f"{{ {', '.join(results)} }}"
        if self.code.first_use(full):
            inner = [Vec(f"%a{i}", a.dtype) for i, a in enumerate(args)]
            parameters = ", ".join(f"{self.type(a.dtype)} {a.text}" for a in inner)
            with self.code.function(f"internal {returned} @{full}({parameters})"):
                out = body(*inner)
                if len(out) == 1:
                    value = out[0].text
                else:
                    value = "poison"
                    for i, v in enumerate(out):
                        part = f"{results[i]} {v.text}"
                        value = self.emit(f"insertvalue {returned} {value}, {part}, {i}", v.dtype).text
                self.code.line(f"ret {returned} {value}")
        operands = ", ".join(f"{self.type(a.dtype)} {a.text}" for a in args)
        whole = self.emit(f"call {returned} @{full}({operands})", dtypes[0])
        if len(dtypes) == 1:
            return [whole]
        return [self.emit(f"extractvalue {returned} {whole.text}, {i}", d) for i, d in enumerate(dtypes)]

    def rarely(self, condition: Vec, usual: Sequence[Vec], rare: Callable[[], Sequence[Vec]]) -> list[Vec]:
        """`usual`, or in all lanes what `rare()` computes where `condition` holds in any lane. Branches: the
        current block ends here and code goes on in a new one."""
        code = self.code
        there, join = code.new_label("rare"), code.new_label("join")
        before = code.block
        code.line(f"br i1 {self.any(condition).text}, label %{there}, label %{join}")
        code.start_block(there)
        computed = rare()
        after = code.block
        code.line(f"br label %{join}")
        code.start_block(join)
        return [
            self.emit(f"phi {self.type(u.dtype)} [ {u.text}, %{before} ], [ {r.text}, %{after} ]", u.dtype)
            for u, r in zip(usual, computed, strict=True)
        ]
