"""Padding: with a constant, or with elements of the tensor itself.

Imports: `functional`, `dispatch`, `tensors`, `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...dispatch import apply, blame, lift
from ...errors import ShapeError
from ...functional.arguments import ints, named, want_tensor
from ...functional.arranging import cat, flip
from ...functional.elementwise import clone
from ...functional.shaping import expand, sliced
from ...tensors import Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """A copy with more around it: `pad` is (before, behind) of the last axis, then of the one before.

    mode "constant" puts `value` (0) there, "reflect" what lies as far inside of the edge, "replicate" the edge,
    "circular" what lies at the other end; these three are for the last axes of a tensor with one or two more. A
    negative number cuts off instead. Raises RuntimeError for an odd or too long `pad`, and where there is too little to
    reflect or go round, ShapeError for an axis cut to less than nothing, NotImplementedError for another mode or
    number of axes.
    """
    x = want_tensor("pad", input)
    amounts = ints("pad", "pad", pad)
    if not isinstance(mode, str):
        raise TypeError(f"pad(): argument 'mode' must be str, not {type(mode).__name__}")
    if mode != "constant" and mode not in _BORDERS:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if len(amounts) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(amounts) > 2 * x.ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(amounts)} and input of dimension {x.ndim}"
        )
    if mode != "constant":
        _check_border(x, amounts, mode, value)
    before, behind = [0] * x.ndim, [0] * x.ndim
    for i in range(len(amounts) // 2):
        before[-1 - i], behind[-1 - i] = amounts[2 * i], amounts[2 * i + 1]
    for axis, (n, lo, hi) in enumerate(zip(x.shape, before, behind, strict=True)):
        if n + lo + hi < 0:
            raise blame(ShapeError(
                f"The input size {n}, plus negative padding {lo} and {hi}, resulted in a negative output size at "
                f"dimension {axis} of {x.type_}"
            ))
    low, high = (tuple(max(n, 0) for n in side) for side in (before, behind))
    if mode != "constant":
        return named(f"{mode.capitalize()}Pad", clone(_bordered(_cut(x, before, behind), low, high, mode)), (x,))
    if any(low) or any(high):
        x = apply("pad", x, lift(0 if value is None else value, x.dtype), low=low, high=high, interior=(0,) * x.ndim)
    return named("ConstantPadNd", clone(_cut(x, before, behind)), (input,))


def _cut(x: Tensor, before: Sequence[int], behind: Sequence[int]) -> Tensor:
    """`x` without as much at its ends as the negative numbers say."""
    start = tuple(max(-n, 0) for n in before)
    limit = tuple(n - max(-hi, 0) for n, hi in zip(x.shape, behind, strict=True))
    return apply("slice", x, start=start, limit=limit, step=(1,) * x.ndim)


def _check_border(x: Tensor, amounts: Sequence[int], mode: str, value: float | None) -> None:
    axes = len(amounts) // 2
    if value is not None:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if not 1 <= axes <= 3 or x.ndim not in (axes + 1, axes + 2):
        raise NotImplementedError(
            f"Padding size {len(amounts)} is not supported for {x.ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )


def _bordered(x: Tensor, low: Sequence[int], high: Sequence[int], mode: str) -> Tensor:
    """`x` with a border, one axis after the other."""
    room, error = _BORDERS[mode][1:]
    for axis, (lo, hi) in enumerate(zip(low, high, strict=True)):
        if not lo and not hi:
            continue
        if max(lo, hi) > room(x.shape[axis]):
            raise blame(ShapeError(error.format(lo=lo, hi=hi, axis=axis, shape=list(x.shape))))
        x = cat([part for part in _BORDERS[mode][0](x, axis, lo, hi) if part.shape[axis]], axis)
    return x


def _reflected(x: Tensor, axis: int, lo: int, hi: int) -> list[Tensor]:
    n = x.shape[axis]
    return [flip(sliced(x, axis, 1, 1 + lo), (axis,)), x, flip(sliced(x, axis, n - 1 - hi, n - 1), (axis,))]


def _replicated(x: Tensor, axis: int, lo: int, hi: int) -> list[Tensor]:
    def times(edge: Tensor, count: int) -> Tensor:
        return expand(edge, tuple(count if i == axis else m for i, m in enumerate(edge.shape)))

    n = x.shape[axis]
    return [times(sliced(x, axis, 0, 1), lo), x, times(sliced(x, axis, n - 1, n), hi)]


def _circled(x: Tensor, axis: int, lo: int, hi: int) -> list[Tensor]:
    n = x.shape[axis]
    return [sliced(x, axis, n - lo, n), x, sliced(x, axis, 0, hi)]


# How each mode puts a border around, how wide that may be along an axis of size n, and what to say if it is not.
_Parts = Callable[[Tensor, int, int, int], list[Tensor]]
_BORDERS: dict[str, tuple[_Parts, Callable[[int], float], str]] = {
    "reflect": (_reflected, lambda n: n - 1, "Argument #4: Padding size should be less than the corresponding input "
                "dimension, but got: padding ({lo}, {hi}) at dimension {axis} of input {shape}"),
    "replicate": (_replicated, lambda n: float("inf") if n else 0,
                  "Expected an input with elements to replicate, but got: {shape}"),
    "circular": (_circled, lambda n: n, "Padding value causes wrapping around more than once: ({lo}, {hi}) at "
                 "dimension {axis} of input {shape}"),
}
