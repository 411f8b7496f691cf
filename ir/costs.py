"""What ops cost in compiled kernels: the one table that the choice of residuals and the scheduler read.

The unit is a pass: the time in which a stream of float32 is moved once, read or written, by one core. Measured
for compiled kernels on such streams. An op that is not in the table has a loop of its own (a reduction, a scan, a
product, a sort, an indexed copy), draws bits, or is a barrier.

Imports: nothing.
"""

from __future__ import annotations

_WORK_ROWS = (
    (0.0, "const broadcast reshape permute slice flip diagonal unfold detach"),
    (0.1, "abs neg bitwise_not bitwise_and bitwise_or bitwise_xor eq ne lt le gt ge isnan isinf iota"),
    (0.2, "add sub mul fma maximum minimum select cast sign floor ceil round trunc shift_left shift_right"),
    (1.0, "div reciprocal sqrt pad concat"),
    (1.5, "sin cos"),
    (2.0, "exp exp2 sigmoid floor_divide fmod remainder"),
    (2.5, "tanh log log2"),
    (3.5, "expm1 log1p erf tan asin acos atan sinh cosh"),
    (5.0, "log10 asinh acosh atanh atan2"),
    (14.0, "pow"),
    (40.0, "lgamma digamma polygamma"),
)
WORK: dict[str, float] = {op: passes for passes, ops in _WORK_ROWS for op in ops.split()}
