"""exp, log, tanh and their relatives: error in ULPs over the whole range, special values, every ISA."""

import math

import mpmath
import numpy as np
import pytest

import closedform as cf
from closedform import _kernels
from conftest import GOLDEN, same_bits, ulp, ulps

DTYPES = [np.float32, np.float64]
INF, NAN = np.inf, np.nan


def derivative(name):
    backward = getattr(cf, f"{name}_backward")
    return lambda x: backward(np.ones_like(x), x)


FUNCTIONS = {
    "exp": lambda x: _kernels.exp(x, None),
    "log": lambda x: _kernels.log(x, None),
    "log1p": lambda x: _kernels.log1p(x, None),
    "erf": lambda x: _kernels.erf(x, None),
    "tanh": cf.tanh,
    "sigmoid": cf.sigmoid,
    "softplus": cf.softplus,
    "gelu": cf.gelu,
    "gelu'": derivative("gelu"),
}

# In ULPs. gelu and its derivative cross zero where their terms cancel: below this size, in ULPs of it.
LIMITS = {
    "exp": 1.5,
    "log": 1.5,
    "log1p": 3,
    "erf": 4,
    "tanh": 3,
    "sigmoid": 3,
    "softplus": 3,
    "gelu": 4,
    "gelu'": 8,
}
FLOORS = {"gelu": 1e-3, "gelu'": 0.1}


def error(name, found, expected, residual=0.0):
    if name not in FLOORS:
        return ulps(found, expected, residual)
    unit = ulp(np.maximum(np.abs(expected), FLOORS[name]).astype(found.dtype))
    return np.abs(found.astype(np.float64) - expected - residual) / unit


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "elementary.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "softplus", "gelu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_golden(isa, golden, name, dtype):
    x, expected = golden["x_log" if name == "log" else "x"], golden[f"out.{name}"]
    usable = x.astype(dtype) == x
    if name == "gelu":
        usable &= np.abs(expected) > 1e-30  # further left the expectation itself has cancelled
    assert usable.sum() > 1000
    found = FUNCTIONS[name](x[usable].astype(dtype))
    with np.errstate(over="ignore"):
        assert np.max(error(name, found, expected[usable])) <= LIMITS[name]


# -- float64 against mpmath --

EXACT = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "erf": mpmath.erf,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "gelu'": lambda x: mpmath.ncdf(x) + x * mpmath.npdf(x),
}


def points(name):
    rng = np.random.default_rng(len(name))
    n = 60
    tiny, small = 5e-324, np.finfo(np.float64).smallest_normal
    size = np.exp(rng.uniform(math.log(1e-308), math.log(1e308), n))
    near_one = 1 + rng.normal(size=n) * np.exp2(rng.uniform(-52, -1, n))
    around = {  # where the function bends, and where the code branches
        "exp": [
            rng.uniform(-745.2, 709.8, n),
            [-745.13, -744.44, -708.4, -708.39, 709.78, 0.34657359, -0.34657359],
        ],
        "log": [
            size,
            np.abs(near_one),
            [tiny, 7 * tiny, small, small - tiny, 0.70710678118654752, 1.4142135623730951],
        ],
        "log1p": [
            size,
            near_one - 1,
            -rng.uniform(0, 1, n),
            -1 + np.exp2(-rng.uniform(0, 53, n)),
            [1e308, -0.29289321881345],
        ],
        "erf": [
            rng.normal(size=n) * 2,
            rng.uniform(0.9, 1.1, n),
            np.exp(rng.uniform(-700, 0, n)),
            [5.8, 5.93, 6.1, 1.0],
        ],
    }
    least = np.exp(rng.uniform(-740, 0, n))
    everywhere = [
        rng.normal(size=n) * 3,
        rng.uniform(-40, 40, n),
        rng.uniform(-760, 760, n),
        least,
        -least,
        [0.0, tiny, -tiny],
    ]
    x = np.concatenate(around.get(name, everywhere))
    return x[x != 0] if name == "log" else x


@pytest.fixture(scope="module")
def exact():
    """x, f(x) and what rounding f(x) to float64 cut off."""

    def split(v):
        rounded = float(v)
        return rounded, float(v - rounded)

    with mpmath.workdps(40):
        return {
            name: (points(name), *np.array([split(f(mpmath.mpf(float(v)))) for v in points(name)]).T)
            for name, f in EXACT.items()
        }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_against_mpmath(isa, exact, name):
    x, expected, residual = exact[name]
    assert np.max(error(name, FUNCTIONS[name](x), expected, residual)) <= LIMITS[name]


def test_gelu_is_relatively_accurate_far_on_the_left(isa, exact):
    x, expected, residual = exact["gelu"]
    usable = (np.abs(expected) > 1e-300) & (x > -37)
    assert np.max(ulps(cf.gelu(x[usable]), expected[usable], residual[usable])) <= 16


# -- float32, a part of all the numbers there are --


@pytest.fixture(scope="module")
def floats():
    """Every 16127th float32, in order of its bits, and all those around the powers of two."""
    swept = np.arange(0, 2**32, 16127, dtype=np.uint64).astype(np.uint32)
    powers = np.arange(0, 2**32, 2**23, dtype=np.uint64)[:, None] + np.arange(-2, 3).astype(np.uint64)
    x = np.concatenate([swept, powers.ravel().astype(np.uint32)]).view(np.float32)
    return x[np.isfinite(x)]


def in_float64(name, x):
    x = x.astype(np.float64)
    erf, erfc = np.frompyfunc(math.erf, 1, 1), np.frompyfunc(math.erfc, 1, 1)
    with np.errstate(all="ignore"):
        tail = np.exp(-np.abs(x))
        normal = 0.5 * erfc(-x / math.sqrt(2)).astype(np.float64) if name.startswith("gelu") else None
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        far = np.abs(x) > 1e4
        return {
            "exp": lambda: np.exp(x),
            "log": lambda: np.log(x),
            "log1p": lambda: np.log1p(x),
            "erf": lambda: erf(x).astype(np.float64),
            "tanh": lambda: np.tanh(x),
            "sigmoid": lambda: np.where(x >= 0, 1, tail) / (1 + tail),
            "softplus": lambda: np.maximum(x, 0) + np.log1p(tail),
            "gelu": lambda: np.where(far, np.maximum(x, 0), x * normal),
            "gelu'": lambda: np.where(far, x > 0, normal + x * density),
        }[name]()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_over_the_whole_range(isa, floats, name):
    x = floats
    expected = in_float64(name, x)
    assert np.max(error(name, FUNCTIONS[name](x), expected)) <= LIMITS[name]


# -- special values --

LOG_2 = math.log(2)
SPECIAL = {  # x: -inf, inf, nan, -0, 0, smallest subnormal, its negative, largest, its negative
    "exp": [0, INF, NAN, 1, 1, 1, 1, INF, 0],
    "log": [NAN, INF, NAN, -INF, -INF, "log", NAN, "log", NAN],
    "log1p": [NAN, INF, NAN, -0.0, 0, "x", "x", "log", NAN],
    "erf": [-1, 1, NAN, -0.0, 0, None, None, 1, -1],
    "tanh": [-1, 1, NAN, -0.0, 0, "x", "x", 1, -1],
    "sigmoid": [0, 1, NAN, 0.5, 0.5, 0.5, 0.5, 1, 0],
    "softplus": [0, INF, NAN, LOG_2, LOG_2, LOG_2, LOG_2, "x", 0],
    "gelu": [0, INF, NAN, -0.0, 0, None, None, "x", 0],
    "gelu'": [0, 1, NAN, 0.5, 0.5, 0.5, 0.5, 1, 0],
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(isa, name, dtype):
    info = np.finfo(dtype)
    tiny, huge = info.smallest_subnormal, info.max
    x = np.array([-INF, INF, NAN, -0.0, 0.0, tiny, -tiny, huge, -huge], dtype)
    for count in (1, 20):  # in a partial vector and in whole ones
        found = FUNCTIONS[name](np.repeat(x, count)).reshape(-1, count)
        for at, row, expected in zip(x, found, SPECIAL[name], strict=True):
            if expected == "x":
                expected = at
            elif expected == "log":
                expected = math.log(float(at))
            elif expected is None:  # the size of x, and its sign
                assert np.all(np.abs(row) <= 2 * tiny), at
                continue
            expected = dtype(expected)
            assert np.all(ulps(row, np.full(count, expected)) <= 1), at
            if expected == 0 and name in ("log1p", "erf", "tanh"):
                assert np.all(np.signbit(row) == np.signbit(expected)), at


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_results_of_exp(isa, dtype):
    info = np.finfo(dtype)
    x = np.linspace(
        math.log(float(info.smallest_subnormal)), math.log(float(info.smallest_normal)), 2001
    ).astype(dtype)
    with mpmath.workdps(40):
        expected = [mpmath.exp(mpmath.mpf(float(v))) for v in x]
        errors = [
            abs(mpmath.mpf(float(f)) - e) / float(info.smallest_subnormal)
            for f, e in zip(FUNCTIONS["exp"](x), expected, strict=True)
        ]
    assert max(errors) <= 1.5
    below = np.array([math.log(float(info.smallest_subnormal)) - 1], dtype)
    assert FUNCTIONS["exp"](below) == 0


def test_logarithms_of_subnormals(isa):
    x = np.array([3, 1000, 2**22, 2**23 - 1], np.uint32).view(np.float32)
    np.testing.assert_array_less(ulps(FUNCTIONS["log"](x), np.log(x.astype(np.float64))), 1.5)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_place_in_the_array(isa, name, dtype):
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=50) * 3).astype(dtype)
    whole = FUNCTIONS[name](x)
    for n in range(1, 50):
        assert same_bits(FUNCTIONS[name](x[:n].copy()), whole[:n])
        assert same_bits(FUNCTIONS[name](x[n:].copy()), whole[n:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_monotone_where_the_code_changes_its_formula(isa, dtype):
    """erf at 1, log at sqrt(2), the saturation of tanh and sigmoid: no step back of more than the error."""
    for name, at in (
        ("erf", 1.0),
        ("log", math.sqrt(2)),
        ("log", math.sqrt(0.5)),
        ("tanh", 9.0),
        ("sigmoid", 17.0),
        ("exp", LOG_2 / 2),
    ):
        x = dtype(at) * (1 + np.arange(-200, 201) * np.finfo(dtype).eps).astype(dtype)
        y = FUNCTIONS[name](x)
        assert np.all(np.diff(y) >= -2 * np.spacing(np.abs(y[1:]))), name


def test_odd_functions_are_odd(isa):
    x = np.random.default_rng(1).normal(size=1001) * 2
    for name in ("erf", "tanh"):
        assert same_bits(-FUNCTIONS[name](x), FUNCTIONS[name](-x))


def test_identities(isa):
    x = np.linspace(-30, 30, 2001)
    eps = np.finfo(np.float64).eps
    np.testing.assert_allclose(cf.sigmoid(x) + cf.sigmoid(-x), 1, rtol=0, atol=4 * eps)
    np.testing.assert_allclose(cf.softplus(x) - cf.softplus(-x), x, rtol=0, atol=64 * eps)
    np.testing.assert_allclose(cf.gelu(x) - cf.gelu(-x), x, rtol=0, atol=64 * eps)
    np.testing.assert_array_equal(cf.softplus_backward(np.ones_like(x), x), cf.sigmoid(x))
