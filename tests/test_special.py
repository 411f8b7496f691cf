"""The special functions that numpy lacks: against values computed with 50 digits, against mpmath on random
arguments where it is installed, at poles and infinities; fma against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_contract import ulps

from jitgrad.ir import special

NAN, INF = float("nan"), float("inf")

# (x, f(x)), the exact value rounded once
VALUES: dict[str, list[tuple[float, float]]] = {
    "erf": [
        (1e-300, 1.1283791670955126e-300), (1e-05, 1.1283791670579e-05), (0.3, 0.3286267594591274),
        (0.84, 0.7651427114549945), (0.9999, 0.8426592780487595), (1.0001, 0.8427422995485203),
        (1.3, 0.9340079449406524), (-2.5, -0.999593047982555), (4.0, 0.9999999845827421),
        (-5.7, -0.9999999999999992),
    ],
    "sigmoid": [
        (-700.0, 9.85967654375977e-305), (-37.5, 5.175555005801868e-17), (-3.0, 0.04742587317756678),
        (-0.1, 0.47502081252106), (0.25, 0.5621765008857981), (1.0, 0.7310585786300049),
        (12.0, 0.9999938558253978), (36.5, 0.9999999999999999),
    ],
    "lgamma": [
        (1e-300, 690.7755278982137), (0.0001, 9.210282658633963), (0.1, 2.252712651734206),
        (0.499, 0.5743309231606863), (0.75, 0.20328095143129538), (0.999, 0.0005780385328913802),
        (1.0001, -5.771334222047127e-05), (1.46, -0.12148500100400743), (1.9999, -4.227520877215346e-05),
        (2.0001, 4.2281658112919945e-05), (2.6, 0.35741186354897986), (3.7, 1.428072326665388),
        (7.9, 8.32426586800881), (8.1, 8.72738826343204), (55.5, 166.32150615984037),
        (1000000.0, 12815504.569147611), (1e+300, 6.897755278982137e+302), (-0.25, 1.589575312551186),
        (-0.75, 1.5757045971498584), (-1.5, 0.860047015376481), (-7.3, -7.779101629826852),
        (-1e-12, 27.631021115929126),
    ],
    "digamma": [
        (1e-300, -9.999999999999999e+299), (0.0001, -10000.577051183514), (0.3, -3.502524222200133),
        (0.99, -0.5937863040555952), (1.2, -0.2890398965921884), (1.4616, -3.110625123034165e-05),
        (1.4617, 6.56593922936765e-05), (1.8, 0.28499143329386156), (2.5, 0.7031566406452432),
        (6.1, 1.724087960428538), (9.99, 2.250700372831201), (10.01, 2.2528037003181356),
        (300.0, 5.702114882064637), (10000000000.0, 23.025850929890456), (-0.2, 4.034991433293861),
        (-0.9, -9.312643829299969), (-3.7, -0.8450768588704194), (-20.1, 12.694217212892514),
    ],
}

# (n, x, polygamma)
POLYGAMMA = [
    (1, 0.001, 1000001.6425331958), (1, 0.3, 12.245364546107732), (1, 1.0, 1.6449340668482264),
    (1, 4.2, 0.2686649407314008), (1, 11.9, 0.08766320119000419), (1, 35.0, 0.02898347847164153),
    (1, 100000.0, 1.0000050000166667e-05), (1, -0.3, 13.945160267805722), (1, -2.6, 10.591688362390217),
    (2, 0.001, -2000000002.3976321), (2, 0.3, -75.27253658872604), (2, 1.0, -2.4041138063191885),
    (2, 4.2, -0.0717648505531312), (2, 11.9, -0.007679939159328307), (2, 35.0, -0.0008399832496836186),
    (2, 100000.0, -1.00001000005e-10), (2, -0.3, 67.63908119988317), (2, -2.6, -22.377796580409246),
    (3, 0.001, 6000000000006.469), (3, 0.3, 743.1417646550498), (3, 1.0, 6.493939402266829),
    (3, 4.2, 0.03812584146098512), (3, 11.9, 0.001344783923695912), (3, 35.0, 4.8684461180419784e-05),
    (3, 100000.0, 2.0000300002e-15), (3, -0.3, 766.6198904191685), (3, -2.6, 283.53838059773574),
    (5, 0.001, 1.1999999999999998e+20), (5, 0.3, 164634.84609922304), (5, 1.0, 122.0811674381339),
    (5, 4.2, 0.03177388832173449), (5, 11.9, 0.00012346436721065804), (5, 35.0, 4.905237684953539e-07),
    (5, 100000.0, 2.4000600006e-24), (5, -0.3, 165634.3818520859), (5, -2.6, 31893.09994293289),
    (20, 0.001, -2.432902008176639e+81), (20, 0.3, -2.3258316052645292e+29), (20, 1.0, -2.4329031685078615e+18),
    (20, 4.2, -200856.26414959392), (20, 11.9, -7.780092816614178e-05), (20, 35.0, -2.100676938035031e-14),
    (20, 100000.0, -1.2165726534463073e-83), (20, -0.3, 2.3258315617066463e+29), (20, -2.6, -5.530669673009853e+26),
]

BOUND = {"erf": 2, "sigmoid": 2, "lgamma": 4, "digamma": 4}


def call(f, x, *rest, dtype=np.float64, **attrs):
    with np.errstate(all="ignore"):
        return np.asarray(f(*(np.asarray(v, dtype) for v in (x, *rest)), **attrs))


def pairs(rows):
    x, y = zip(*rows, strict=True)
    return np.array(x), np.array(y)


@pytest.mark.parametrize("name", VALUES)
def test_known_values(name):
    x, expected = pairs(VALUES[name])
    assert ulps(call(getattr(special, name), x), expected).max() <= BOUND[name]


@pytest.mark.parametrize("name", VALUES)
def test_float32_is_rounded_once(name):
    with np.errstate(all="ignore"):
        x = pairs(VALUES[name])[0].astype(np.float32)
        expected = call(getattr(special, name), x).astype(np.float32)
    assert ulps(call(getattr(special, name), x, dtype=np.float32), expected).max() == 0


@pytest.mark.parametrize(("n", "x", "expected"), POLYGAMMA)
def test_polygamma(n, x, expected):
    assert ulps(call(special.polygamma, [x], n=n), np.array([expected])).max() <= n + 4


RANGES = {
    "erf": [(-1.2, 1.2), (1, 6)],
    "sigmoid": [(-700, 36)],
    "lgamma": [(0, 0.5), (0.5, 3), (0.99, 1.01), (1.99, 2.01), (3, 30), (100, 1e5)],
    "digamma": [(0, 1), (1, 2), (1.461, 1.463), (2, 10), (10, 1e4)],
}


@pytest.mark.parametrize("name", RANGES)
def test_accuracy_against_mpmath(name):
    mp = pytest.importorskip("mpmath")
    exact = {
        "erf": mp.erf, "sigmoid": lambda v: 1 / (1 + mp.exp(-v)), "lgamma": mp.loggamma, "digamma": mp.digamma,
    }[name]
    rng = np.random.default_rng(5)
    with mp.workdps(40):
        for low, high in RANGES[name]:
            x = rng.uniform(low, high, 200)
            expected = np.array([float(exact(mp.mpf(v))) for v in x.tolist()])
            assert ulps(call(getattr(special, name), x), expected).max() <= BOUND[name], (low, high)


def test_bernoulli_numbers():
    assert special.bernoulli(5) == [Fraction(*f) for f in ((1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66))]


def test_cotangent_derivatives():
    assert special.cotangent_derivative(0) == (0, 1)
    assert special.cotangent_derivative(1) == (-1, 0, -1)
    assert special.cotangent_derivative(2) == (0, 2, 0, 2)
    c = 0.7
    slope = sum(k * a * c ** (k - 1) for k, a in enumerate(special.cotangent_derivative(3)) if k)
    fourth = sum(a * c**k for k, a in enumerate(special.cotangent_derivative(4)))
    assert math.isclose(fourth, -(1 + c * c) * slope)


SPECIALS = [
    ("erf", {}, [0.0, -0.0, INF, -INF, NAN, 7.0, 5e-324], [0.0, -0.0, 1.0, -1.0, NAN, 1.0, 5e-324]),
    ("sigmoid", {}, [INF, -INF, NAN, 0.0, -800.0], [1.0, 0.0, NAN, 0.5, 0.0]),
    ("lgamma", {}, [0.0, -0.0, -1.0, -2.0, INF, -INF, NAN, 1.0, 2.0, -1e300],
     [INF, INF, INF, INF, INF, INF, NAN, 0.0, 0.0, INF]),
    ("digamma", {}, [0.0, -0.0, -1.0, -1e300, INF, -INF, NAN], [-INF, INF, NAN, NAN, INF, NAN, NAN]),
    ("polygamma", {"n": 0}, [0.0, -1.0, INF], [-INF, NAN, INF]),
    ("polygamma", {"n": 1}, [0.0, -0.0, -1.0, INF, -INF, NAN], [INF, INF, INF, 0.0, NAN, NAN]),
    ("polygamma", {"n": 2}, [0.0, -3.0, INF, -INF, NAN], [-INF, -INF, -0.0, NAN, NAN]),
]


@pytest.mark.parametrize(("name", "attrs", "x", "expected"), SPECIALS)
def test_poles_and_infinities(name, attrs, x, expected):
    got = call(getattr(special, name), x, **attrs)
    np.testing.assert_array_equal(got, expected)
    zeros = np.array(expected) == 0
    assert np.array_equal(np.signbit(got[zeros]), np.signbit(np.array(expected)[zeros]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_shapes_and_dtypes(shape, dtype):
    x = np.full(shape, 0.7, dtype)
    for name, attrs in (("erf", {}), ("sigmoid", {}), ("lgamma", {}), ("digamma", {}), ("polygamma", {"n": 3})):
        got = call(getattr(special, name), x, dtype=dtype, **attrs)
        assert (got.shape, got.dtype) == (shape, dtype)
    assert call(special.fma, x, x, x, dtype=dtype).shape == shape


def rounded(exact: Fraction, dtype) -> float:
    """`exact` rounded once to dtype, to nearest even, by integer arithmetic."""
    info = np.finfo(dtype)
    if exact == 0:
        return 0.0
    size, bits, least = abs(exact), info.nmant + 1, info.minexp - info.nmant
    exponent = size.numerator.bit_length() - size.denominator.bit_length() - bits
    while size >= Fraction(2) ** (exponent + bits):
        exponent += 1
    exponent = max(exponent, least)
    whole = round(size / Fraction(2) ** exponent)  # halves to even
    value = Fraction(whole) * Fraction(2) ** exponent
    result = INF if value > Fraction(float(info.max)) else float(value)
    return math.copysign(result, -1.0 if exact < 0 else 1.0)


def check_fma(x, y, z, dtype):
    x, y, z = (dtype(v) for v in (x, y, z))
    got = call(special.fma, [x], [y], [z], dtype=dtype)[0]
    exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
    expected = rounded(exact, dtype) if exact else 0.0
    if x == 0 or y == 0:  # the sign of a zero product counts
        expected = float(x) * float(y) + float(z)
    assert got == expected and np.signbit(got) == np.signbit(expected), (x, y, z)


DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
SINGLES = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(DOUBLES, DOUBLES, DOUBLES)
def test_fma_float64_is_rounded_once(x, y, z):
    check_fma(x, y, z, np.float64)


@given(SINGLES, SINGLES, SINGLES)
def test_fma_float32_is_rounded_once(x, y, z):
    check_fma(x, y, z, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fma_where_rounding_twice_goes_wrong(dtype):
    info = np.finfo(dtype)
    rng = np.random.default_rng(6)
    eps, tiny, least = float(info.eps), float(info.tiny), float(info.smallest_subnormal)
    for x, y in rng.uniform(1, 2, (300, 2)).astype(dtype):
        check_fma(x, y, -(x * y), dtype)  # what the product's rounding lost
        check_fma(x, y, dtype(-(x * y) * dtype(1 + eps)), dtype)
        check_fma(x, y * dtype(tiny), dtype(-tiny), dtype)  # a denormal result
        check_fma(x * dtype(2.0 ** (info.minexp // 2)), y * dtype(2.0 ** (info.minexp // 2 - 3)), dtype(least), dtype)
    # 1 + 2^-k with the product just above or below half a step: the tie must see what lies beyond.
    half = dtype(2.0 ** -(info.nmant + 1))
    for sign in (1, -1):
        check_fma(half, dtype(1 + sign * eps), dtype(1), dtype)
        check_fma(half, dtype(1 + sign * eps), dtype(1 + eps), dtype)
    check_fma(half, dtype(1), dtype(1), dtype)
    check_fma(info.max, dtype(2), -info.max, dtype)
    check_fma(info.max, dtype(2), info.max, dtype)
    check_fma(least, least, -least, dtype)
    check_fma(-least, least, dtype(0), dtype)


def test_fma_of_infinities_nan_and_zeros():
    cases = [
        (INF, 0.0, 1.0, NAN), (INF, 1.0, -INF, NAN), (1e200, 1e200, -INF, -INF), (NAN, 1.0, 1.0, NAN),
        (1.0, 1.0, INF, INF), (-INF, 2.0, 5.0, -INF), (1.0, -1.0, 1.0, 0.0), (-0.0, 1.0, -0.0, -0.0),
        (0.0, -1.0, 0.0, 0.0), (1.0, 1.0, NAN, NAN),
    ]
    for x, y, z, expected in cases:
        for dtype in (np.float64, np.float32):
            with np.errstate(over="ignore"):
                got = call(special.fma, x, y, z, dtype=dtype)
            if dtype is np.float32 and abs(x) == 1e200:
                continue  # already infinite in float32
            np.testing.assert_array_equal(got, dtype(expected))
            assert np.signbit(got) == np.signbit(dtype(expected)) or math.isnan(expected)
