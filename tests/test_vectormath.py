"""The vector mathematics, compiled: errors in ULP against exact values within the bounds that it states, the
same bits at every width, no library calls where there is FMA, right results where there is none."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from lanes import (
    AVX2,
    HOST,
    Target,
    bit_patterns,
    compile_loop,
    module_text,
    of_op,
    on_targets,
    only_x86,
    special_values,
    symbols_called,
)
from mpmath import mp

from jitgrad.codegen.vectormath import UNARY
from jitgrad.codegen.vectormath.bounds import BOUNDS, polygamma_bound
from jitgrad.ir import special
from jitgrad.ir.types import DType, f32, f64
from tools import ulp
from tools.exact import IN_NUMPY, error_in_ulps, exactly, in_float64, long_double

mp.dps = 50

FLOATS = pytest.mark.parametrize("dtype", [f32, f64], ids=lambda d: d.code)
BINARY = ("pow", "atan2", "fmod", "remainder")
IN_MPMATH = ("erf", "lgamma", "digamma")  # in float64
LONG = np.finfo(np.longdouble).nmant >= 63  # numpy's long double holds an exact value of an f64 function


def in_mpmath(f, x: np.ndarray) -> np.ndarray:
    """f of each float, as long doubles: the float nearest to the exact value and what it lacks."""
    return np.array([long_double(f(mp.mpf(float(v)))) for v in x], np.longdouble)


def exact(name: str, *args: np.ndarray) -> np.ndarray:
    """The value with more bits than the arguments'."""
    with np.errstate(all="ignore"):
        if args[0].dtype == np.float32:
            return in_float64(name, *args)
        if name in IN_MPMATH:
            return np.array([exactly(name, float(v)) for v in args[0]], np.longdouble)
        return IN_NUMPY[name](*(a.astype(np.longdouble) for a in args))


def arguments(name: str, dtype: DType) -> np.ndarray:
    """Bit patterns, specials and plain numbers; for slow references fewer, and specials apart."""
    rng = np.random.default_rng(1)
    if dtype is f64 and name in IN_MPMATH:
        low, high = (-6.0, 6.0) if name == "erf" else (0.0, 12.0)
        near = np.array([1e-300, 1 - 1e-9, 1 + 1e-9, 2 - 1e-9, 2 + 1e-9, 1.4616321449683622, 5.99, 6.0, 1e15])
        wide = np.exp(rng.uniform(-30.0, 30.0, 300))
        roots = np.concatenate([c + rng.choice([-1, 1], 300) * np.exp(rng.uniform(-30, -1, 300)) for c in (1, 2)])
        return np.concatenate([rng.uniform(low, high, 1500), near, wide, roots])
    if dtype is f32:
        return np.concatenate([bit_patterns(f32, 2**20), special_values(f32)])
    plain = [rng.uniform(-s, s, 10_000) for s in (1e-3, 0.1, 1.0, 3.0, 10.0, 50.0, 750.0)]
    return np.concatenate([bit_patterns(f64, 50_000), special_values(f64), *plain])


@on_targets
@FLOATS
@pytest.mark.parametrize("name", sorted(UNARY))
def test_unary_within_its_bound(name, dtype, target):
    if dtype is f64 and name not in IN_MPMATH and not LONG:
        pytest.skip("needs long doubles of 64 bits")
    x = arguments(name, dtype)
    if name in ("lgamma", "digamma"):
        x = x[(x > 0) | (x < -1e30)]
    got = compile_loop(of_op(name, dtype), [dtype], dtype, target=target)(x)
    errors = error_in_ulps(got, exact(name, x))
    worst = int(np.argmax(errors))
    assert errors[worst] <= BOUNDS[name].of(dtype), (x[worst], got[worst])


# The float32 at which each function errs most, on machines with FMA, as bits: found by `make ulp`.
WORST = {
    "exp": 0xC0BB323F, "log": 0x3F218D44, "tanh": 0x3F0DCC67, "erf": 0x3F6F6F22, "sigmoid": 0xC085088D,
    "expm1": 0x3EC68327, "sinh": 0x3DFC0BFB, "cosh": 0x40918553, "log1p": 0x3EE3D649, "asinh": 0x3EC5F94F,
    "acosh": 0x3F83D8C6, "atanh": 0x3E3D6852, "asin": 0x3F001053, "acos": 0x3F1EF7E9, "atan": 0x3ED719C9,
    "sin": 0x7B8D3ACC, "cos": 0x4C741C5B, "tan": 0x407B31A9, "exp2": 0x3F130B15, "log2": 0x3FB4D56F,
    "log10": 0x3FA3EF9E,
}
BEFORE = {"acosh": 0x3F80FD45, "tan": 0x47BDFEEC}  # where a bound was once passed


@on_targets
@pytest.mark.parametrize(("name", "bits"), [*WORST.items(), *BEFORE.items()])
def test_the_worst_of_all_float32(name, bits, target):
    x = (np.uint32(bits) + np.arange(-8, 8)).astype(np.uint32).view(np.float32)
    got = compile_loop(of_op(name, f32), [f32], f32, target=target)(x)
    each = np.array([exactly(name, float(v)) for v in x])
    assert error_in_ulps(got, each).max() <= BOUNDS[name].f32


def pairs(name: str, dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    n, specials, bits = 20_000, special_values(dtype), bit_patterns(dtype, 2**16)
    x, y = np.meshgrid(specials, specials)
    families = [
        (x.ravel(), y.ravel()),
        (rng.permutation(bits), rng.permutation(bits)),
        (rng.uniform(-10, 10, n), rng.uniform(-10, 10, n)),
        (rng.integers(-20, 20, n), rng.integers(-20, 20, n)),
        (np.exp(rng.uniform(-80, 80, n)), rng.uniform(-4, 4, n)),
        (rng.uniform(0.7, 1.4, n), rng.uniform(-2000, 2000, n)),
        (np.exp2(rng.uniform(20, 60, n)), rng.uniform(1, 2, n)),  # quotients around the limits of fmod
    ]
    return tuple(np.concatenate([f[i].astype(dtype.numpy) for f in families]) for i in range(2))


@on_targets
@FLOATS
@pytest.mark.parametrize("name", BINARY)
def test_binary_within_its_bound(name, dtype, target):
    if name in ("pow", "atan2") and dtype is f64 and not LONG:
        pytest.skip("needs long doubles of 64 bits")
    x, y = pairs(name, dtype)
    if name in ("fmod", "remainder"):  # exact in numpy, and long doubles would round nothing differently
        with np.errstate(all="ignore"):
            expected = IN_NUMPY[name](x, y)
    else:
        expected = exact(name, x, y)
    got = compile_loop(of_op(name, dtype), [dtype, dtype], dtype, target=target)(x, y)
    errors = error_in_ulps(got, expected)
    worst = int(np.argmax(errors))
    assert errors[worst] <= BOUNDS[name].of(dtype), (x[worst], y[worst], got[worst])


@on_targets
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_polygamma_within_its_bound(n, target):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(0.0, 30.0, 300), np.exp(rng.uniform(-7.0, 9.0, 200))])
    got = compile_loop(of_op("polygamma", f64, n=n), [f64], f64, target=target)(x)
    errors = error_in_ulps(got, in_mpmath(lambda v: mp.polygamma(n, v), x))
    assert errors.max() <= polygamma_bound(n), x[np.argmax(errors)]


@pytest.mark.parametrize("name", ["lgamma", "digamma", "polygamma"])
def test_gamma_family_at_poles_infinities_and_below_zero(name):
    x = np.concatenate([
        np.array([0.0, -0.0, -1.0, -2.0, -7.0, np.inf, -np.inf, np.nan]),
        -np.random.default_rng(4).uniform(0.0, 20.0, 500), -np.geomspace(1e-300, 0.4, 50),
    ])
    attrs = {"n": 2} if name == "polygamma" else {}
    got = compile_loop(of_op(name, f64, **attrs), [f64], f64)(x)
    with np.errstate(all="ignore"):
        expected = getattr(special, name)(x, **attrs)
    # Both cross zero here, so the error counts relative to the terms, which are at least about 1.
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-13)


WIDTHS = (1, 4, 8, 16)


@FLOATS
@pytest.mark.parametrize("name", [*sorted(UNARY), *BINARY, "polygamma"])
def test_every_width_gives_the_same_bits(name, dtype):
    rng = np.random.default_rng(5)
    columns = 2 if name in BINARY else 1
    families = [special_values(dtype), bit_patterns(dtype, 2**9), rng.normal(size=500).astype(dtype.numpy)]
    args = [rng.permutation(np.concatenate(families)) for _ in range(columns)]
    attrs = {"n": 3} if name == "polygamma" else {}
    results = [
        compile_loop(of_op(name, dtype, **attrs), [dtype] * columns, dtype, width)(*args) for width in WIDTHS
    ]
    for width, result in zip(WIDTHS[1:], results[1:], strict=True):
        np.testing.assert_array_equal(result, results[0], err_msg=f"width {width}", strict=True)
        np.testing.assert_array_equal(np.signbit(result[result == 0]), np.signbit(results[0][result == 0]))


@only_x86
@FLOATS
@pytest.mark.parametrize("name", [*sorted(UNARY), *BINARY, "polygamma"])
def test_no_library_is_called_with_fma(name, dtype):
    columns = 2 if name in BINARY else 1
    attrs = {"n": 3} if name == "polygamma" else {}
    text = module_text(of_op(name, dtype, **attrs), [dtype] * columns, dtype, 8, AVX2)
    assert symbols_called(text, AVX2) == set()


@only_x86
def test_a_library_call_would_be_seen():
    without = Target("x86-64", "", True)
    text = module_text(lambda m, x: m.fma(x, x, x), [f64], f64, 1, without)
    assert symbols_called(text, without) == {"fma"}


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_large_angles_are_reduced_exactly(name):
    """The angles of f64 nearest to a multiple of pi / 2, and others where few bits are left."""
    x = np.array([
        6381956970095103.0 * 2.0**797, 5.319372648326541e255, 1e9, 1.0000000001e9, 2.0**60, 1e22, 1e300,
        np.finfo(np.float64).max, -1e15, np.inf, -np.inf,
    ])
    got = compile_loop(of_op(name, f64), [f64], f64, target=HOST)(x)
    with mp.workdps(400):
        expected = in_mpmath(getattr(mp, name), x[:-2])
    assert error_in_ulps(got[:-2], expected).max() <= BOUNDS[name].f64
    assert np.isnan(got[-2:]).all()


@pytest.mark.slow
def test_the_coefficients_are_those_that_the_tool_derives():
    path = Path(__file__).resolve().parents[1] / "tools" / "derive_coefficients.py"
    tool = runpy.run_path(str(path))
    assert tool["derive"]() == tool["TARGET"].read_text()


WRONG = 0x3F800001  # the bits of one float32


def wrong_exp(arrays):
    """exp, but for one argument, where it is off by some 4 units in the last place."""
    (x,) = arrays
    got = np.exp(x.astype(np.float64)).astype(np.float32)
    got[x.view(np.uint32) == WRONG] *= np.float32(1 + 3 * 2.0**-23)
    return [got]


def test_a_sweep_sees_every_pattern():
    """A single wrong result among 2^24, in the one task that has it."""
    task = WRONG // ulp.TASK
    found = ulp.measure(("exp", task, 1), wrong_exp)
    assert (found.at, found.seen, found.missed) == (WRONG, ulp.TASK, 1)
    assert 3.5 < found.error < 5 and found.done == [task]
    assert ulp.measure(("exp", task + 1, 1), wrong_exp).missed == 0


@pytest.mark.parametrize("wrong", [np.float32(np.nan), np.float32(np.inf), np.float32(-1.0)])
def test_a_sweep_sees_what_is_no_number_of_ulps(wrong):
    exact = np.array([1.0, 0.0, np.inf, np.nan])
    got = exact.astype(np.float32)
    assert ulp.compare(got, exact) == (0.5, 0, 0)
    got[1] = wrong
    error, at, missed = ulp.compare(got, exact)
    assert at == 1 and missed == 1 and (error > 1e6 or error == np.inf)
    zero = np.array([-0.0], np.float32)
    assert ulp.compare(zero, np.array([0.0]))[0] == np.inf


def test_tasks_cover_the_line():
    for every in (1, 257, 65537):
        task = np.concatenate(list(ulp.blocks(3, every)))
        apart = np.unique(task)
        assert apart.min() >= 3 * ulp.TASK and apart.max() < 4 * ulp.TASK
        assert len(apart) == -(-(ulp.TASK - ((every // 2) | 1 if every > 1 else 0)) // every)


@pytest.mark.parametrize("name", ["exp", "pow", "sigmoid", "lgamma", "remainder", "log2"])
def test_references_agree(name):
    """What judges float32 results, and what judges that."""
    rng = np.random.default_rng(8)
    args = [rng.uniform(0.1, 9.0, 20).astype(np.float32) for _ in range(2 if name in BINARY else 1)]
    each = np.array([exactly(name, *map(float, v)) for v in zip(*args, strict=True)])
    np.testing.assert_allclose(in_float64(name, *args), each.astype(float), rtol=1e-13, atol=1e-13)
