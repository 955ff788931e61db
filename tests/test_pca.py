"""What the catalogue cannot say of the ops of PCA: independent witnesses, hard data, extremes."""

import threading

import numpy as np
import pytest

import closedform as cf
from conftest import same_bits

DTYPES = (np.float32, np.float64)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@pytest.fixture(params=["compiled", "reference"])
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


def sample(N, D, dtype=np.float64, offset=0.0, seed=0):
    """Correlated normal rows with deviations of about 1."""
    rng = np.random.default_rng([seed, N, D])
    mix = np.eye(D) + 0.5 * rng.standard_normal((D, D)) / np.sqrt(D)
    return (rng.standard_normal((N, D)) @ mix + offset).astype(dtype)


def error_in_eps(found, x, ddof=0):
    """The error of a covariance, against two passes in extended precision, in eps of the two deviations."""
    wide = x.astype(np.longdouble)
    z = (wide - wide.mean(axis=0)).astype(np.float64)
    want = z.T @ z / (len(x) - ddof)
    deviation = np.sqrt(np.diagonal(want))
    return np.max(np.abs(found - want) / np.outer(deviation, deviation)) / np.finfo(x.dtype).eps


@every_dtype
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(("N", "D"), [(2, 1), (10, 3), (300, 20), (777, 64), (3000, 400)])
def test_numpy_agrees(N, D, ddof, dtype, isa):
    x = sample(N, D, dtype)
    mean, cov = cf.covariance(x, ddof=ddof)
    eps = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=eps, atol=eps)
    np.testing.assert_allclose(cov, np.cov(x, rowvar=False, ddof=ddof).reshape(D, D), rtol=eps, atol=eps)


@every_dtype
@pytest.mark.parametrize(
    ("offset", "allowed"), [(1e4, 8), (-1e6, 32)]
)  # 32: float32 has 1/16 there, few values
@pytest.mark.parametrize(("N", "D"), [(100, 5), (5000, 24), (40_000, 3), (2000, 400)])
def test_an_offset_costs_no_accuracy(N, D, offset, allowed, dtype, isa):
    x = sample(N, D, dtype, offset)
    mean, cov = cf.covariance(x)
    assert np.max(np.abs(mean - x.mean(axis=0, dtype=np.longdouble))) <= np.finfo(dtype).eps * abs(offset)
    assert error_in_eps(cov, x) <= allowed


@every_dtype
def test_rows_in_an_order_that_misleads(dtype, isa):
    """The first row, the first chunk or the first half are nothing like the rest."""
    x = sample(6000, 10, dtype)
    for rows, far, allowed in (
        (1, 1e6, 128),
        (256, 1e4, 12),
        (3000, 1e3, 12),
    ):  # 128: 255 rows that are all alike
        moved = x.copy()
        moved[:rows] += dtype(far)
        assert error_in_eps(cf.covariance(moved).cov, moved) <= allowed
    drifting = x + np.linspace(0, 1e4, len(x), dtype=dtype)[:, None]
    assert error_in_eps(cf.covariance(drifting).cov, drifting) <= 12


@every_dtype
def test_exactly_symmetric(dtype, isa):
    for N, D in ((7, 5), (1000, 33), (5000, 300), (600, 500)):
        cov = cf.covariance(sample(N, D, dtype, offset=3.0)).cov
        assert same_bits(cov, cov.T.copy())


@every_dtype
def test_one_row_has_no_variance(dtype, backend):
    x = sample(1, 6, dtype)
    mean, cov = cf.covariance(x)
    assert same_bits(mean, x[0])
    assert same_bits(cov, np.zeros((6, 6), dtype))
    with pytest.raises(ValueError, match=r"^ddof: expected an integer in \[0, N\) with N = 1"):
        cf.covariance(x, ddof=1)


def test_constant_columns_have_no_variance():
    x = np.full((5000, 3), 0.1)
    x[:, 1] = np.arange(5000)
    mean, cov = cf.covariance(x)
    assert mean[0] == 0.1
    assert not cov[[0, 2]].any()
    assert not cov[:, [0, 2]].any()


@every_dtype
def test_nan_stays_in_its_column(dtype, isa):
    x = sample(2000, 20, dtype)
    clean = cf.covariance(x)
    x[1500, 7] = np.nan
    mean, cov = cf.covariance(x)
    others = np.arange(20) != 7
    assert np.isnan(mean[7])
    assert np.isnan(cov[7]).all()
    assert np.isnan(cov[:, 7]).all()
    assert same_bits(mean[others], clean.mean[others])
    assert same_bits(cov[np.ix_(others, others)], clean.cov[np.ix_(others, others)])


def test_infinity_has_an_infinite_mean(backend):
    x = sample(2000, 4)
    x[[3, 1999], 0] = np.inf
    x[1000, 1] = -np.inf
    x[[5, 1500], 2] = np.inf, -np.inf
    mean, cov = cf.covariance(x)
    np.testing.assert_array_equal(mean[:3], [np.inf, -np.inf, np.nan])
    assert np.isnan(cov[:3]).all()
    assert np.isfinite(cov[3, 3])


@every_dtype
def test_any_layout(dtype):
    x = sample(1000, 40, dtype)
    want = cf.covariance(x[::2, 1::3].copy())
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (x[::2, 1::3], np.asfortranarray(x[::2, 1::3]), read_only[::2, 1::3]):
        for got, w in zip(cf.covariance(same), want, strict=True):
            assert same_bits(got, w)
    assert same_bits(cf.covariance(x[::2, 1::3].tolist()).cov, cf.covariance(x[::2, 1::3].astype(float)).cov)


@pytest.mark.parametrize(("N", "D"), [(50_000, 7), (20_000, 64), (1500, 600)])  # many groups, and one
def test_bits_do_not_depend_on_threads(N, D):
    x = sample(N, D, np.float32, offset=10.0)
    with cf.num_threads(1):
        want = cf.covariance(x)
    for n in (2, 3, 5, 8):
        with cf.num_threads(n):
            assert all(map(same_bits, cf.covariance(x), want))


def test_calls_from_many_threads_at_once():
    x = sample(3000, 50, np.float32)
    want, found = cf.covariance(x), []
    threads = [threading.Thread(target=lambda: found.append(cf.covariance(x))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(same_bits(got.cov, want.cov) for got in found)


# -- points with given moments, and the extremes of the trace --


def a_covariance(m, rank=None, seed=0, dtype=np.float64):
    """Positive semi-definite, of the given rank (to rounding), with variances from 1 to 100."""
    rng = np.random.default_rng([seed, m])
    x = rng.standard_normal((rank or m, m)) * np.geomspace(1, 10, m)
    return (x.T @ x / len(x)).astype(dtype)


@every_dtype
@pytest.mark.parametrize(
    ("m", "rank"), [(1, 1), (2, 1), (3, 3), (8, 8), (17, 5), (40, 1), (40, 39), (65, 65)]
)
def test_points_have_the_moments(m, rank, dtype):
    mean, cov = np.linspace(-30, 50, m).astype(dtype), a_covariance(m, rank, dtype=dtype)
    x = cf.points_with_moments(mean, cov)
    assert x.shape == (2 * m, m)
    assert x.dtype == dtype
    wide = x.astype(np.longdouble)
    z = wide - wide.mean(axis=0)
    eps, size = np.finfo(dtype).eps, np.abs(x).max()
    assert np.max(np.abs(wide.mean(axis=0) - mean)) <= 2 * eps * size
    assert np.max(np.abs(z.T @ z / (2 * m) - cov)) <= 8 * eps * size * np.sqrt(m * cov.max())
    assert np.max(np.abs(cf.covariance(x).cov - cov)) <= 16 * eps * size * np.sqrt(m * cov.max())
    pairs = (x[:m].astype(np.float64) + x[m:]) / 2
    assert np.max(np.abs(pairs - mean)) <= 2 * eps * size  # opposite to each other


def test_points_of_singular_covariances_lie_in_its_range():
    mean, direction = np.array([3.0, -1.0, 0.5]), np.array([2.0, 1.0, -2.0])
    z = cf.points_with_moments(mean, np.outer(direction, direction)) - mean
    residual = z - np.outer(z @ direction, direction) / 9
    assert np.max(np.abs(residual)) <= 1e-7  # the root of an eigenvalue that rounding leaves in place of 0
    same = cf.points_with_moments(mean, np.zeros((3, 3)))
    np.testing.assert_array_equal(same, np.tile(mean, (6, 1)))


@every_dtype
@pytest.mark.parametrize(("m", "k"), [(1, 1), (2, 1), (6, 6), (9, 4), (30, 7)])
def test_the_trace_is_extreme(m, k, dtype):
    """Against random orthonormal frames, against eigenvalues, and the two extremes against each other."""
    cov = a_covariance(m, dtype=dtype)
    wide = cov.astype(np.float64)
    d = np.linalg.eigvalsh(wide)
    most, least = cf.extreme_trace(cov, k), cf.extreme_trace(cov, k, largest=False)
    slack = 64 * m * np.finfo(dtype).eps * d[-1]
    assert abs(most.value - d[m - k :].sum()) <= slack
    assert abs(least.value - d[:k].sum()) <= slack
    for value, phi in (most, least):
        assert phi.shape == (m, k)
        assert value.dtype == phi.dtype == dtype
        phi = phi.astype(np.float64)
        assert np.max(np.abs(phi.T @ phi - np.eye(k))) <= 8 * m * np.finfo(dtype).eps
        assert abs(np.trace(phi.T @ wide @ phi) - value) <= slack
    rng = np.random.default_rng(1)
    for _ in range(50):
        frame, _ = np.linalg.qr(rng.standard_normal((m, k)))
        trace = np.trace(frame.T @ wide @ frame)
        assert least.value - slack <= trace <= most.value + slack
    if k < m:
        others = cf.extreme_trace(cov, m - k, largest=False)
        assert abs(most.value + others.value - np.trace(wide)) <= slack
        across = most.phi.astype(np.float64).T @ others.phi
        assert np.max(np.abs(across)) <= 64 * m * np.finfo(dtype).eps


def test_the_most_extreme_comes_first():
    phi = cf.extreme_trace(np.diag([2.0, 5.0, 1.0]), 2).phi
    np.testing.assert_array_equal(phi, [[0, 1], [1, 0], [0, 0]])
    phi = cf.extreme_trace(np.diag([2.0, 5.0, 1.0]), 2, largest=False).phi
    np.testing.assert_array_equal(phi, [[0, 1], [0, 0], [1, 0]])


def test_signs_do_not_hang_on_rounding():
    from closedform.reference.pca import with_signs

    rows = np.array([[0.1, -0.9, 0.3], [-0.5, 0.5, 0.1], [-0.5, np.nextafter(0.5, 1), 0.1], [0, 0, 0]])
    want = [[-0.1, 0.9, -0.3], [0.5, -0.5, -0.1], [0.5, -0.5, -0.1], [0, 0, 0]]
    np.testing.assert_allclose(with_signs(rows), want, rtol=1e-15)


def test_rounding_is_forgiven_and_no_more():
    cov = a_covariance(20, rank=3)
    skew = 1e-5 * np.triu(np.ones((20, 20)), 1)
    found = cf.extreme_trace(cov + skew, 2)  # nearly symmetric: of its symmetric part
    assert found.value == pytest.approx(np.linalg.eigvalsh(cov + skew / 2 + skew.T / 2)[-2:].sum(), rel=1e-12)
    cf.points_with_moments(np.zeros(20, np.float32), cov.astype(np.float32))
    with pytest.raises(ValueError, match=r"^cov: expected no negative eigenvalue; got -0\.01"):
        cf.points_with_moments(np.zeros(20), cov - 0.01 * np.eye(20))
    with pytest.raises(ValueError, match=r"^cov: expected symmetric matrices"):
        cf.extreme_trace(np.triu(cov), 1)


def test_the_compiled_module_refuses_what_the_wrapper_never_passes():
    from closedform import _pca

    x, mean, cov = np.ones((4, 3)), np.empty(3), np.empty((3, 3))
    for args in ((x[:0], mean, cov), (x, mean[:2], cov), (x, mean, cov[:2]), (x.T, mean, cov)):
        with pytest.raises(ValueError, match=r"shapes|contiguous"):
            _pca.covariance(*args, 1.0)
    read_only = mean.copy()
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _pca.covariance(x, read_only, cov, 1.0)
    with pytest.raises(TypeError):
        _pca.covariance(x.astype(int), mean, cov, 1.0)
