"""What a tensor can do: THE table of its methods and operators, and their attachment to `Tensor`.

A method is the function of the same name unless the table says otherwise. In-place methods come from
`inplace`, those of the graph (`backward`, hooks) from `autograd.hooks`.
Imports: every module of `functional`, `inplace`, `autograd.hooks`, `tensors`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .. import inplace
from ..autograd import hooks
from ..dispatch import OPERAND
from ..tensors import Tensor
from . import (
    arranging,
    comparison,
    conversion,
    copying,
    creation,
    elementwise,
    gathering,
    indexing,
    linalg,
    ordering,
    reductions,
    shaping,
    special,
)

_BY_NAME: tuple[tuple[ModuleType, str], ...] = (
    (creation, "new_empty new_full new_ones new_tensor new_zeros"),
    (elementwise, """
        abs absolute acos acosh add addcdiv addcmul arccos arccosh arcsin arcsinh arctan arctan2 arctanh
        asin asinh atan atan2 atanh ceil clone cos cosh digamma div divide erf exp exp2 expm1 fix floor
        floor_divide fmod frac lgamma log log10 log1p log2 maximum minimum mul multiply neg negative pow
        reciprocal relu remainder round rsqrt sigmoid sign sin sinh sqrt square sub subtract tan tanh
        true_divide trunc
    """),
    (comparison, """
        bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor clamp
        clamp_max clamp_min clip eq ge greater greater_equal gt isclose isfinite isinf isnan le less
        less_equal logical_and logical_not logical_or logical_xor lt masked_fill nan_to_num ne not_equal
    """),
    (reductions, """
        all allclose amax amin aminmax any argmax argmin count_nonzero dist equal log_softmax logsumexp max mean min
        nanmean nansum norm prod softmax std sum var
    """),
    (ordering, "argsort cumprod cumsum diff kthvalue logcumsumexp median quantile sort topk unique"),
    (shaping, """
        broadcast_to contiguous dim element_size expand expand_as flatten is_same_size moveaxis movedim narrow numel
        permute ravel reshape reshape_as select size squeeze swapaxes swapdims t transpose unflatten unsqueeze view
        view_as
    """),
    (arranging, """
        chunk diag diag_embed diagonal flip fliplr flipud repeat repeat_interleave roll split tile tril triu unbind
        unfold
    """),
    (indexing, "argwhere index_put masked_select nonzero"),
    (gathering, """
        gather index_add index_copy index_fill index_select masked_scatter scatter scatter_add take
        take_along_dim
    """),
    (linalg, """
        addbmm addmm addmv baddbmm bmm dot ger inner matmul mm mv outer trace vdot
    """),
    (special, "erfc hypot lerp logaddexp"),
    (conversion, "cpu detach is_complex is_floating_point is_signed item numpy to tolist type_as"),
)

METHODS: dict[str, Callable[..., Any]] = {
    **{name: getattr(module, name) for module, names in _BY_NAME for name in names.split()},
    **conversion.CASTS,
    **inplace.METHODS,
    **hooks.METHODS,
    "ndimension": shaping.dim,
    "nelement": shaping.numel,
    "type": conversion.type_,
}


def _where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """self where condition, else other."""
    return comparison.where(condition, self, other)


METHODS["where"] = _where

def _operator(function: Callable[[Any, Any], Tensor], reflected: bool = False) -> Callable[[Any, Any], Any]:
    """`function` as a binary operator: an array counts as a tensor, and what is neither tensor, number nor array is
    left to the other operand."""

    def forward(self: Tensor, other: Any) -> Any:
        if isinstance(other, OPERAND):
            return function(self, other)
        return function(self, creation.from_numpy(other)) if isinstance(other, np.ndarray) else NotImplemented

    def backward(self: Tensor, other: Any) -> Any:
        if isinstance(other, OPERAND):
            return function(other, self)
        return function(creation.from_numpy(other), self) if isinstance(other, np.ndarray) else NotImplemented

    return backward if reflected else forward


_ARITHMETIC: dict[str, Callable[[Any, Any], Tensor]] = {
    "sub": elementwise.sub, "truediv": elementwise.div, "floordiv": elementwise.floor_divide,
    "mod": elementwise.remainder, "pow": elementwise.pow, "matmul": linalg.matmul,
    "lshift": comparison.bitwise_left_shift, "rshift": comparison.bitwise_right_shift,
}
_REFLECTED = {**_ARITHMETIC, "truediv": elementwise.divided_by}
_COMMUTATIVE: dict[str, Callable[[Any, Any], Tensor]] = {
    "add": elementwise.add, "mul": elementwise.mul, "and": comparison.bitwise_and, "or": comparison.bitwise_or,
    "xor": comparison.bitwise_xor,
}
OPERATORS: dict[str, Callable[..., Any]] = {
    **{f"__{n}__": _operator(f) for n, f in (_ARITHMETIC | _COMMUTATIVE).items()},
    **{f"__r{n}__": _operator(f, reflected=True) for n, f in _REFLECTED.items()},
    **{f"__r{n}__": _operator(f) for n, f in _COMMUTATIVE.items()},
    **{f"__{n}__": _operator(getattr(comparison, n)) for n in ("eq", "ne", "lt", "le", "gt", "ge")},
    **inplace.OPERATORS,
    "__neg__": elementwise.neg,
    "__pos__": lambda self: self,
    "__abs__": elementwise.abs,
    "__invert__": comparison.bitwise_not,
    "__getitem__": indexing.getitem,
    "__len__": conversion.length,
    "__iter__": conversion.iterate,
    "__contains__": conversion.contains,
    "__bool__": conversion.truth_value,
    "__float__": conversion.float_value,
    "__int__": conversion.int_value,
    "__index__": conversion.index_value,
    "__array__": conversion.to_array,
    "__format__": conversion.format_value,
    "__round__": conversion.rounded,
    "__copy__": copying.copy,
    "__deepcopy__": copying.deepcopy,
    "__reduce__": copying.reduce,
}

_PROPERTIES: dict[str, property] = {
    "T": property(shaping.reversed_axes, doc="All axes in reverse."),
    "mT": property(shaping.matrix_transpose, doc="The last two axes exchanged."),
    "data": property(conversion.data_of, inplace.set_data, doc="The same memory outside the graph; assignable."),
}


def attach() -> None:
    """Give `Tensor` its methods, operators and properties."""
    for table in (METHODS, OPERATORS, _PROPERTIES):
        for name, value in table.items():
            setattr(Tensor, name, value)
