"""The little language of `--args`: Python's literals, and tensors written as their type.

    f32[128,64], i64[32], 0.5, {'w': f32[64,10], 'b': f32[10]=0}, (True, None, 'mean'), lr=f64[]

A tensor is filled at random (floats from a normal distribution, integers 0 or 1, so that they are indices
into any axis of two or more) unless a value follows: a number for all of it, or nested lists. Everything
else means what it means in Python, keyword arguments too.

Imports: `errors`, `ir.types`, numpy.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from .errors import DTypeError
from .ir.types import DTYPES, TensorType, dtype_of

_TOKEN = re.compile(
    r"(?P<tensor>[A-Za-z_]\w*\[[^\]]*\])"
    r"|(?P<number>[-+]?(?:(?:inf|nan)\b|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?))"
    r"|(?P<string>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<mark>[()\[\]{},:=])"
    r"|(?P<end>$)"
    r"|(?P<unknown>.)"
)
_MAX_DEPTH = 100  # of lists, tuples and dicts in each other
_WORDS = {"True": True, "False": False, "None": None}


class ArgumentsError(ValueError):
    """Text that is not a list of arguments; `column` counts from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


def parse_arguments(text: str, rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments that `text` lists; tensors are NumPy arrays.

    Raises ArgumentsError.
    """
    return _Parser(text, rng).arguments()


class _Parser:
    def __init__(self, text: str, rng: np.random.Generator) -> None:
        self.text, self.rng = text, rng
        self.at = self.start = self.depth = 0
        self.kind = self.token = ""
        self.next()

    def next(self) -> str:
        """The current token; the one after it becomes the current one."""
        passed = self.token
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        found = _TOKEN.match(self.text, self.at)
        assert found is not None and found.lastgroup is not None
        self.kind, self.token, self.start = found.lastgroup, found[0], self.at
        self.at = found.end()
        return passed

    def fail(self, message: str, start: int | None = None) -> NoReturn:
        raise ArgumentsError(message, (self.start if start is None else start) + 1)

    def expected(self, what: str) -> NoReturn:
        self.fail(f"expected {what}, got " + (f"'{self.token}'" if self.token else "the end"))

    def skip(self, mark: str) -> bool:
        found = self.kind == "mark" and self.token == mark
        if found:
            self.next()
        return found

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        while self.kind != "end":
            start, name = self.start, self.keyword()
            if not name and kwargs:
                self.fail("a positional argument cannot follow a keyword argument", start)
            if name in kwargs:
                self.fail(f"the argument '{name}' is given twice", start)
            value = self.value()
            if name:
                kwargs[name] = value
            else:
                args.append(value)
            if not self.skip(",") and self.kind != "end":
                self.expected("',' or the end")
        return tuple(args), kwargs

    def keyword(self) -> str:
        """The name of a keyword argument and its '=', if one starts here."""
        if self.kind != "word" or self.token in _WORDS or not self.text[self.at :].lstrip().startswith("="):
            return ""
        name = self.next()
        self.next()
        return name

    def value(self) -> Any:
        if self.kind == "tensor":
            return self.tensor()
        if self.kind == "number":
            return self.number()
        if self.kind == "string":
            return ast.literal_eval(self.next())
        if self.kind == "word" and self.token in _WORDS:
            return _WORDS[self.next()]
        if self.kind == "word" and self.text[self.at : self.at + 1] == "[":
            self.fail(f"the ']' of {self.token}[ is missing")
        if self.kind == "mark" and self.token in _CONTAINERS:
            return self.container()
        self.expected("a tensor such as f32[2,3], a number, a string, True, False, None, a tuple, list or dict")

    def container(self) -> Any:
        if self.depth == _MAX_DEPTH:
            self.fail(f"lists, tuples and dicts nest deeper than {_MAX_DEPTH}")
        self.depth += 1
        made = _CONTAINERS[self.next()](self)
        self.depth -= 1
        return made

    def number(self) -> int | float:
        start, token = self.start, self.next()
        try:
            return int(token) if token.lstrip("+-").isdigit() else float(token)
        except ValueError:  # more digits than Python reads
            self.fail(f"a number of {len(token)} digits", start)

    def items(self, close: str) -> tuple[list[Any], bool]:
        """Values up to the closing mark, and whether a comma stood before it."""
        values: list[Any] = []
        while not self.skip(close):
            values.append(self.value())
            if not self.skip(","):
                if not self.skip(close):
                    self.expected(f"',' or '{close}'")
                return values, False
        return values, bool(values)

    def group(self) -> Any:
        values, comma = self.items(")")
        return values[0] if len(values) == 1 and not comma else tuple(values)

    def dict(self) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        while not self.skip("}"):
            if self.kind not in ("string", "number"):
                self.expected("a key: a string or a number")
            key = self.value()
            if not self.skip(":"):
                self.expected("':' after the key")
            out[key] = self.value()
            if not self.skip(",") and not (self.kind == "mark" and self.token == "}"):
                self.expected("',' or '}'")
        return out

    def tensor(self) -> np.ndarray:
        start = self.start
        type = self.type()
        try:
            return self.filled(type, start) if self.skip("=") else random_array(type, self.rng)
        except MemoryError as error:
            self.fail(str(error), start)

    def filled(self, type: TensorType, start: int) -> np.ndarray:
        """A tensor with the value that is written next."""
        at = self.start
        value = self.value()
        wanted = (bool,) if type.dtype.kind == "bool" else (int,) if type.dtype.is_integer else (int, float)
        for x in _leaves(value):
            if not isinstance(x, wanted) or (isinstance(x, bool) and bool not in wanted):
                self.fail(f"{x!r} is no element of {type}", at)
        try:
            array = np.array(value, type.dtype.numpy)
        except (ValueError, OverflowError) as error:
            self.fail(f"this is no {type}: {error}", at)
        if array.shape not in ((), type.shape):
            self.fail(f"{type} has the shape {list(type.shape)}, its value {list(array.shape)}", start)
        return _allocated(type, lambda: np.array(np.broadcast_to(array, type.shape)))

    def type(self) -> TensorType:
        start = self.start
        name, _, sizes = self.next()[:-1].partition("[")
        try:
            dtype = dtype_of(name)
        except DTypeError:
            self.fail(f"no dtype '{name}'; there is: {', '.join(DTYPES)}", start)
        shape: list[int] = []
        at = start + len(name) + 1
        for size in sizes.split(",") if sizes.strip() else []:
            if not re.fullmatch(r"\s*[0-9]{1,18}\s*", size):
                self.fail(f"a size is a whole number below 10^18, got '{size.strip()}'", at)
            shape.append(int(size))
            at += len(size) + 1
        return TensorType(dtype, tuple(shape))


_CONTAINERS: dict[str, Callable[[_Parser], Any]] = {
    "(": _Parser.group, "[": lambda parser: parser.items("]")[0], "{": _Parser.dict,
}


def _leaves(value: Any) -> list[Any]:
    """The elements of nested lists."""
    if not isinstance(value, list):
        return [value]
    return [leaf for x in value for leaf in _leaves(x)]


def random_array(type: TensorType, rng: np.random.Generator) -> np.ndarray:
    """Normally distributed floats; 0 or 1 for integers and bools. Raises MemoryError."""
    if type.dtype.is_floating_point:
        return _allocated(type, lambda: np.asarray(rng.standard_normal(type.shape)).astype(type.dtype.numpy))
    return _allocated(type, lambda: np.asarray(rng.integers(0, 2, type.shape)).astype(type.dtype.numpy))


def _allocated(type: TensorType, make: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return make()
    except (MemoryError, ValueError):  # ValueError: more bytes than addresses
        raise MemoryError(f"there is not enough memory for {type}") from None
