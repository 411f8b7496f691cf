"""Products whose rounding errors are kept: as a sum of two floats.

Reference: T. J. Dekker, "A floating-point technique for extending the available precision", Numerische
Mathematik 18 (1971).

Imports: `text`, `formats`.
"""

from __future__ import annotations

from ..text import Lanes, Vec
from .formats import FORMATS


def two_product(m: Lanes, x: Vec, y: Vec) -> tuple[Vec, Vec]:
    """x * y rounded and the error. Without FMA by Veltkamp's split into halves, which overflows for a
    factor within 2^27 (f64) of the largest number."""
    product = m.mul(x, y)
    if m.code.has_fma:
        return product, m.fma(x, y, m.neg(product))
    x_high, x_low = _halves(m, x)
    y_high, y_low = (x_high, x_low) if x == y else _halves(m, y)
    error = m.sub(m.mul(x_high, y_high), product)
    error = m.add(m.add(error, m.mul(x_high, y_low)), m.mul(x_low, y_high))
    return product, m.add(error, m.mul(x_low, y_low))


def _halves(m: Lanes, x: Vec) -> tuple[Vec, Vec]:
    """x as a sum of two floats of half the bits."""
    factor = 2.0 ** ((FORMATS[x.dtype].mantissa + 2) // 2) + 1.0
    scaled = m.mul(x, factor)
    high = m.sub(scaled, m.sub(scaled, x))
    return high, m.sub(x, high)
