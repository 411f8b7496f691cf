"""jitgrad: a tracing JIT compiler with automatic differentiation. The public names, and nothing else.

Light to import: numpy and the standard library; llvmlite comes with the first compilation,
`nn` and `optim` when first named.
"""

# ruff: noqa: F401
from __future__ import annotations

import importlib
from math import e, inf, nan, pi
from types import ModuleType
from typing import Any

from . import autograd, functional
from .autograd import Function, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .errors import (
    AxisError,
    BoundsError,
    ConcretizationError,
    DifferentiationError,
    DivisionByZero,
    DTypeError,
    InplaceError,
    JitgradError,
    LeakedTensorError,
    ShapeError,
    TraceError,
)
from .functional.arranging import (
    cat,
    chunk,
    concat,
    concatenate,
    diag,
    diag_embed,
    diagonal,
    flip,
    fliplr,
    flipud,
    hstack,
    meshgrid,
    repeat_interleave,
    roll,
    split,
    stack,
    tile,
    tril,
    triu,
    unbind,
    vstack,
)
from .functional.comparison import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    clamp,
    clamp_max,
    clamp_min,
    clip,
    eq,
    ge,
    greater,
    greater_equal,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    masked_fill,
    nan_to_num,
    ne,
    not_equal,
    where,
)
from .functional.conversion import (
    detach,
    is_complex,
    is_floating_point,
)
from .functional.creation import (
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
    Variable,
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    scalar_tensor,
    tensor,
    zeros,
    zeros_like,
)
from .functional.defaults import (
    can_cast,
    finfo,
    get_default_dtype,
    iinfo,
    is_tensor,
    promote_types,
    result_type,
    set_default_dtype,
)
from .functional.elementwise import (
    abs,
    absolute,
    acos,
    acosh,
    add,
    addcdiv,
    addcmul,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    clone,
    cos,
    cosh,
    digamma,
    div,
    divide,
    erf,
    exp,
    exp2,
    expm1,
    fix,
    floor,
    floor_divide,
    fmod,
    frac,
    lgamma,
    log,
    log1p,
    log2,
    log10,
    maximum,
    minimum,
    mul,
    multiply,
    neg,
    negative,
    polygamma,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    rsub,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    subtract,
    tan,
    tanh,
    true_divide,
    trunc,
)
from .functional.gathering import (
    gather,
    index_add,
    index_copy,
    index_fill,
    index_select,
    masked_scatter,
    scatter,
    scatter_add,
    take,
    take_along_dim,
)
from .functional.indexing import (
    argwhere,
    index_put,
    masked_select,
    nonzero,
)
from .functional.linalg import (
    addbmm,
    addmm,
    addmv,
    baddbmm,
    bmm,
    dot,
    einsum,
    ger,
    inner,
    matmul,
    mm,
    mv,
    outer,
    tensordot,
    vdot,
)
from .functional.ordering import (
    argsort,
    cumprod,
    cumsum,
    diff,
    kthvalue,
    logcumsumexp,
    median,
    quantile,
    sort,
    topk,
    unique,
)
from .functional.random import (
    bernoulli,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from .functional.reductions import (
    all,
    allclose,
    amax,
    amin,
    aminmax,
    any,
    argmax,
    argmin,
    count_nonzero,
    dist,
    equal,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    nanmean,
    nansum,
    norm,
    prod,
    softmax,
    std,
    std_mean,
    sum,
    var,
    var_mean,
)
from .functional.shaping import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_shapes,
    broadcast_tensors,
    broadcast_to,
    flatten,
    moveaxis,
    movedim,
    narrow,
    numel,
    permute,
    ravel,
    reshape,
    select,
    squeeze,
    swapaxes,
    swapdims,
    t,
    transpose,
    unflatten,
    unsqueeze,
)
from .functional.special import erfc, hypot, lerp, logaddexp
from .ir.types import DType as dtype
from .ir.types import bool_ as bool
from .ir.types import f32 as float32
from .ir.types import f64 as float64
from .ir.types import i8 as int8
from .ir.types import i16 as int16
from .ir.types import i32 as int32
from .ir.types import i64 as int64
from .ir.types import u8 as uint8
from .parallelism import get_num_threads, set_num_threads, threads
from .printing import set_printoptions
from .rng import Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from .tensors import Size, Tensor
from .tracing import RecompileWarning, eager, trace
from .transforms import grad, value_and_grad

__version__ = "0.1.0"

float = float32
double = float64
long = int64
int = int32
short = int16

_LAZY = ("nn", "optim")
_PUBLIC_MODULES = ("autograd", "functional", *_LAZY)
_FOR_THIS_FILE = ("Any", "ModuleType", "annotations")

__all__ = [  # noqa: PLE0604 - what is imported above, without the modules that this has left here
    *_PUBLIC_MODULES,
    *sorted(
        name for name, value in globals().items()
        if not (name.startswith("_") or name in _FOR_THIS_FILE or isinstance(value, ModuleType))
    ),
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *[name for name in globals() if name.startswith("__")]})
