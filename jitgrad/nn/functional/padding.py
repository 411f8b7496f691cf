"""Padding.

Imports: `functional`, `dispatch`, `tensors`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...dispatch import apply, blame, lift
from ...errors import ShapeError
from ...functional.arguments import ints, node_name, want_tensor
from ...tensors import Tensor


@node_name("ConstantPadNd")
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """input with `value` (0) around it: `pad` is (before, behind) of the last axis, then of the one before.

    A negative number cuts off instead. Raises RuntimeError for an odd or too long `pad` and an axis cut to
    less than nothing, NotImplementedError for another mode than "constant".
    """
    x = want_tensor("pad", input)
    amounts = ints("pad", "pad", pad)
    if mode != "constant":
        raise NotImplementedError(f"pad: mode {mode!r} is not implemented, only 'constant'")
    if len(amounts) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(amounts) > 2 * x.ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(amounts)} and input of dimension {x.ndim}"
        )
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
    if any(low) or any(high):
        x = apply("pad", x, lift(0 if value is None else value, x.dtype), low=low, high=high, interior=(0,) * x.ndim)
    start = tuple(max(-n, 0) for n in before)
    limit = tuple(n - max(-hi, 0) for n, hi in zip(x.shape, behind, strict=True))
    return apply("slice", x, start=start, limit=limit, step=(1,) * x.ndim).contiguous()
