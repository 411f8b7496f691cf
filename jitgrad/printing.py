"""How a tensor prints: `tensor([1., 2.], requires_grad=True)`, in torch's layout.

Numbers of one tensor share a width and a style: whole numbers with a bare point, four decimals, or
scientific where the range is wide. Large tensors show their edges only.
Imports: `tensors`, `state`, `ir.core`, `ir.types`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .ir.core import Value
from .ir.types import bool_, i64
from .state import defaults, state
from .tensors import Tensor, as_number, concrete


@dataclass
class _Options:
    precision: int = 4
    threshold: int = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()


def set_printoptions(
    precision: int | None = None, threshold: int | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:
    """Change how tensors print: decimals, the size from which they are summarised, how many elements an
    edge has, the width of a line, scientific notation always or never. profile: "default", "short", "full"."""
    if profile is not None:
        fresh = {"default": _Options(), "short": _Options(2, 1000, 2), "full": _Options(threshold=1 << 62)}
        vars(_options).update(vars(fresh[profile]))
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    vars(_options).update({k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode)


def tensor_repr(t: Tensor) -> str:
    """The text of `repr(t)`. In a recording a tensor, from outside too (the function may have written to it), prints
    its type and that it has no value, a Python number itself."""
    if t._weak and state.recording is not None:
        return repr(as_number(concrete(t, "repr()"), t._weak))
    if state.recording is not None or isinstance(t._array, Value):
        return f"tensor(<{t.type_}, traced: no value yet>)"
    head = "tensor("
    array = t._array
    suffixes = []
    if array.size == 0:
        text = "[]"
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)}")
    else:
        text = _body(array, len(head))
    plain = t.dtype in (defaults.dtype, bool_) or (t.dtype is i64 and array.size)
    if not plain:
        suffixes.append(f"dtype={t.dtype}")
    if t._node is not None:
        suffixes.append(f"grad_fn=<{t._node.name()}>")
    elif t._requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(head + text, suffixes, len(head))


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"


def _body(array: np.ndarray, indent: int) -> str:
    summarise = array.size > _options.threshold
    shown = _edges(array) if summarise else array
    return _nested(array, indent, _formatter(shown.reshape(-1)), summarise)


def _edges(array: np.ndarray) -> np.ndarray:
    """The elements that a summary shows."""
    for axis, n in enumerate(array.shape):
        if n > 2 * _options.edgeitems:
            keep = [*range(_options.edgeitems), *range(n - _options.edgeitems, n)]
            array = np.take(array, keep, axis)
    return array


def _formatter(flat: np.ndarray) -> Callable[[Any], str]:
    """How to write an element: all of them equally wide."""
    if flat.dtype.kind != "f":
        width = max((len(str(v)) for v in flat.tolist()), default=1)
        return lambda v: str(v).rjust(width)
    style = _float_style(flat)
    width = max((len(style(v)) for v in flat.tolist() if v != 0 and math.isfinite(v)), default=1)
    return lambda v: style(v).rjust(width)


def _float_style(flat: np.ndarray) -> Callable[[float], str]:
    size = np.abs(flat[np.isfinite(flat) & (flat != 0)].astype(np.float64))
    whole = bool(np.all(size == np.ceil(size)))
    low, high = (float(size.min()), float(size.max())) if size.size else (1.0, 1.0)
    scientific = high / low > 1000 or high > 1e8 or (not whole and low < 1e-4)
    if _options.sci_mode is not None:
        scientific = _options.sci_mode
    precision = _options.precision
    if scientific:
        return lambda v: f"{v:.{precision}e}"
    if whole:
        return lambda v: f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
    return lambda v: f"{v:.{precision}f}"


def _nested(array: np.ndarray, indent: int, write: Callable[[Any], str], summarise: bool) -> str:
    if array.ndim == 0:
        return write(array.item())
    n, edge = array.shape[0], _options.edgeitems
    cut = summarise and n > 2 * edge
    places = [*range(edge), None, *range(n - edge, n)] if cut else list(range(n))
    if array.ndim == 1:
        words = [" ..." if i is None else write(array[i].item()) for i in places]
        width = max((len(w) for w in words if w != " ..."), default=1) + 2
        per_line = max(1, (_options.linewidth - indent) // width)
        lines = [words[i : i + per_line] for i in range(0, len(words), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(", ".join(line) for line in lines) + "]"
    parts = ["..." if i is None else _nested(array[i], indent + 1, write, summarise) for i in places]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"
