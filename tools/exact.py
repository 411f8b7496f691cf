"""What the functions of the vector mathematics are exactly, and how far a result is from that.

Every reference is a NumPy function of float64 or long double arrays, so that it has more bits than the result that
it judges: an error of 2^-52 of a float64 is 2^-29 ULP of a float32. `exactly` has as many digits as one wants.

Imports: NumPy; `jitgrad.ir.special` (the functions that NumPy lacks); mpmath where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.ir import special


def remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As torch: fmod, moved by y where it is not 0 and the signs differ (NumPy's zeros have the sign of y)."""
    rest = np.fmod(x, y)
    return np.where((rest != 0) & (np.signbit(rest) != np.signbit(y)), rest + y, rest)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))


IN_NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "sigmoid": sigmoid, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "pow": np.power, "atan2": np.arctan2, "fmod": np.fmod,
    "remainder": remainder,
}
"""Right for float64 and for long double arguments."""

# Right for float64 arguments alone.
IN_SPECIAL = {"erf": special.erf, "lgamma": special.lgamma, "digamma": special.digamma}


def in_float64(name: str, *args: np.ndarray) -> np.ndarray:
    """The function of float32 arguments, in float64."""
    f = IN_NUMPY.get(name) or IN_SPECIAL[name]
    with np.errstate(all="ignore"):
        return f(*(a.astype(np.float64) for a in args))


def exactly(name: str, *args: float, digits: int = 50) -> np.longdouble:
    """The function of finite numbers in its domain, by mpmath, to `digits` digits: as a long double."""
    from mpmath import mp

    functions = {
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)), "exp2": lambda x: mp.power(2, x), "log2": lambda x: mp.log(x, 2),
        "pow": mp.power, "lgamma": lambda x: mp.re(mp.loggamma(x)), "fmod": mp.fmod,
        "remainder": lambda x, y: x - y * mp.floor(x / y),
    }
    with mp.workdps(digits):
        return long_double(functions.get(name, getattr(mp, name, None))(*map(mp.mpf, args)))


def long_double(value: Any) -> np.longdouble:
    """A number of mpmath's as the float nearest to it and what that lacks."""
    high = np.longdouble(float(value))
    return high + np.longdouble(float(value - float(high))) if np.isfinite(high) else high


def error_in_ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """|got - exact| in units in the last place of `exact`, which has more bits; inf where one is nan, infinite
    (after rounding) or a zero of a sign and the other is not."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = exact.astype(got.dtype)
        finite = np.isfinite(rounded) & np.isfinite(got)
        _, exponent = np.frexp(np.where(finite, np.abs(exact), 1.0))
        unit = np.ldexp(np.ones_like(exact), np.maximum(exponent - 1, info.minexp) - info.nmant)
        error = np.where(finite, np.abs(got.astype(exact.dtype) - exact) / unit, 0.0)
        same = (rounded == got) | (np.isnan(rounded) & np.isnan(got))
        wrong_zero = (rounded == 0.0) & (got == 0.0) & (np.signbit(rounded) != np.signbit(got))
    return np.where(wrong_zero | (~finite & ~same), np.inf, error).astype(np.float64)
