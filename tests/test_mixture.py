"""The steps of EM: scikit-learn's numbers, the definition, what weights mean, hard data, and what is refused."""

import numpy as np
import pytest

import closedform as cf
from closedform.mixture import COVARIANCE_TYPES, precisions_cholesky
from conftest import GOLDEN

EPS = np.finfo(np.float64).eps
every_type = pytest.mark.parametrize("kind", COVARIANCE_TYPES)


@pytest.fixture(autouse=True, params=["compiled", "reference"])
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


def blobs(N, D, K, dtype=np.float64, offset=0.0, seed=0):
    """Correlated rows around K centres about 2 deviations apart."""
    rng = np.random.default_rng([seed, N, D, K])
    mix = np.eye(D) + 0.4 * rng.standard_normal((D, D)) / np.sqrt(D)
    centres = 2 * rng.standard_normal((K, D))
    return (rng.standard_normal((N, D)) @ mix + centres[rng.integers(0, K, N)] + offset).astype(dtype)


def start(x, K, kind, seed=0):
    """Parameters to begin EM with: K of the samples for means."""
    rng = np.random.default_rng(seed)
    D, variance = x.shape[1], x.var(axis=0, dtype=np.float64)
    covariances = {
        "full": np.broadcast_to(np.diag(variance), (K, D, D)),
        "tied": np.diag(variance),
        "diag": np.broadcast_to(variance, (K, D)),
        "spherical": np.full(K, variance.mean()),
    }
    means = x[rng.choice(len(x), K, replace=False)].astype(np.float64)
    return rng.dirichlet(5 * np.ones(K)), means, np.array(covariances[kind])


def responsibilities(N, K, seed=0):
    return np.random.default_rng([seed, N, K]).dirichlet(np.ones(K), N)


def matrices(covariances, kind, K, D):
    """The covariance matrix (D, D) of each component."""
    if kind in ("full", "tied"):
        return np.broadcast_to(covariances, (K, D, D))
    return np.stack([np.diag(np.broadcast_to(c, D)) for c in covariances])


def assert_same(found, expected, eps=64 * EPS):
    """Two mixtures, or steps: equal to `eps` of the largest entry of each array."""
    for f, e in zip(found, expected, strict=True):
        assert np.shape(f) == np.shape(e)
        assert np.max(np.abs(np.subtract(f, e))) <= eps * np.max(np.abs(e))


# -- the values --


@pytest.mark.parametrize("case", range(12))
def test_golden(case):
    with np.load(GOLDEN / "mixture.npz") as file:
        g = {name[3:]: file[name] for name in file.files if name.startswith(f"{case:02d}/")}
    x, weights, means, u, kind = (
        g[name] for name in ("x", "weights", "means", "precisions_cholesky", "covariance_type")
    )
    kind, K = str(kind), len(weights)
    found = cf.gmm_e_step(x, weights, means, u, covariance_type=kind)
    # scikit-learn subtracts squares where covariances are diagonal: an error of the sizes of these.
    factors = matrices(u, kind, K, x.shape[1])
    far = [
        np.sum(((np.abs(x) + np.abs(m)) @ np.abs(f)) ** 2, axis=1)
        for m, f in zip(means, factors, strict=True)
    ]
    tolerance = 4 * EPS * (x.shape[1] + np.max(far, axis=0))
    assert np.all(np.abs(found.log_likelihood - g["out.log_likelihood"]) <= tolerance)
    assert np.all(np.abs(found.responsibilities - g["out.responsibilities"]) <= tolerance[:, None])

    expected = [g[f"out.{name}"] for name in ("weights", "means", "covariances")]
    assert_same(cf.gmm_m_step(x, g["out.responsibilities"], covariance_type=kind), expected, 512 * EPS)
    value, *new = cf.gmm_em_step(x, weights, means, g["covariances"], covariance_type=kind)
    assert_same(new, expected, 512 * EPS)
    assert abs(value - g["out.log_likelihood"].mean()) <= tolerance.mean()


@every_type
@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 1), (40, 3, 2), (133, 6, 5)])
def test_definition(N, D, K, kind):
    """The density as textbooks print it, with the inverse and the determinant of Σ."""
    x = blobs(N, D, K)
    weights, means, covariances = start(np.vstack([x, blobs(99, D, K)]), K, kind)
    if kind in ("full", "tied"):
        covariances = covariances + 0.3 * np.cov(blobs(50, D, 2).T)
    u, failed = precisions_cholesky(covariances, kind)
    densities = []
    for mean, sigma in zip(means, matrices(covariances, kind, K, D), strict=True):
        z = x - mean
        square = np.einsum("id,de,ie->i", z, np.linalg.inv(sigma), z)
        densities.append(np.exp(-square / 2) / np.sqrt((2 * np.pi) ** D * np.linalg.det(sigma)))
    joint = weights * np.transpose(densities)
    found = cf.gmm_e_step(x, weights, means, u, covariance_type=kind)
    assert failed == -1
    np.testing.assert_allclose(found.log_likelihood, np.log(joint.sum(axis=1)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        found.responsibilities, joint / joint.sum(axis=1, keepdims=True), rtol=1e-11, atol=1e-15
    )


@every_type
def test_scikit_learn_after_several_iterations(kind):
    mixture = pytest.importorskip("sklearn.mixture")
    x = blobs(400, 5, 3)
    weights, means, covariances = start(x, 3, kind)
    inverse = np.linalg.inv if kind in ("full", "tied") else np.reciprocal
    peer = mixture.GaussianMixture(
        3, covariance_type=kind, tol=0, max_iter=7, weights_init=weights, means_init=means,
        precisions_init=inverse(covariances),
    )  # fmt: skip
    with pytest.warns(match="did not converge"):
        peer.fit(x)
    for _ in range(7):
        _, weights, means, covariances = cf.gmm_em_step(x, weights, means, covariances, covariance_type=kind)
    assert_same((weights, means, covariances), (peer.weights_, peer.means_, peer.covariances_), 1e-10)


@every_type
def test_em_step_is_an_e_step_and_an_m_step(kind):
    x, w = blobs(300, 4, 3), np.random.default_rng(1).uniform(0, 3, 300)
    weights, means, covariances = start(x, 3, kind)
    u, _ = precisions_cholesky(covariances, kind)
    log_likelihood, r = cf.gmm_e_step(x, weights, means, u, covariance_type=kind)
    options = {"covariance_type": kind, "sample_weight": w, "reg_covar": 1e-3}
    step = cf.gmm_em_step(x, weights, means, covariances, **options)
    assert_same(step, (w @ log_likelihood / w.sum(), *cf.gmm_m_step(x, r, **options)))


@every_type
@pytest.mark.parametrize("weighted", [False, True])
def test_the_log_likelihood_never_falls(kind, weighted):
    """Without reg_covar, which is no part of the likelihood."""
    x = blobs(500, 3, 4)
    w = np.random.default_rng(2).uniform(0, 2, 500) if weighted else None
    parameters, values = start(x, 4, kind), []
    for _ in range(40):
        value, *parameters = cf.gmm_em_step(
            x, *parameters, covariance_type=kind, reg_covar=0, sample_weight=w
        )
        values.append(value)
    assert np.all(np.diff(values) >= -16 * EPS * np.abs(values[0]))
    assert values[-1] > values[0] + 0.01


# -- weights of samples --


@every_type
def test_integer_weights_are_repeated_rows(kind):
    x, r = blobs(150, 4, 3), responsibilities(150, 3)
    w = np.random.default_rng(3).integers(0, 4, 150)
    repeated = np.repeat(x, w, axis=0)
    assert_same(
        cf.gmm_m_step(x, r, covariance_type=kind, sample_weight=w),
        cf.gmm_m_step(repeated, np.repeat(r, w, axis=0), covariance_type=kind),
    )
    parameters = start(x, 3, kind)
    assert_same(
        cf.gmm_em_step(x, *parameters, covariance_type=kind, sample_weight=w),
        cf.gmm_em_step(repeated, *parameters, covariance_type=kind),
    )


@every_type
def test_a_weight_of_zero_removes_the_row(kind):
    x, w = blobs(140, 3, 2), np.random.default_rng(4).uniform(0.5, 2, 140)
    x[[0, 77, 139]] = 1e30
    w[[0, 77, 139]] = 0
    kept = w > 0
    parameters = start(x[kept], 2, kind)
    assert_same(
        cf.gmm_em_step(x, *parameters, covariance_type=kind, sample_weight=w),
        cf.gmm_em_step(x[kept], *parameters, covariance_type=kind, sample_weight=w[kept]),
    )


@every_type
def test_rows_of_responsibilities_that_do_not_sum_to_one_are_weights(kind):
    """r_ik = w_i p_ik is the same as p_ik with a sample_weight of w_i; weights sum to 1 all the same."""
    x, p, w = blobs(90, 4, 3), responsibilities(90, 3), np.random.default_rng(5).uniform(0.1, 3, 90)
    found = cf.gmm_m_step(x, w[:, None] * p, covariance_type=kind)
    assert_same(found, cf.gmm_m_step(x, p, covariance_type=kind, sample_weight=w))
    assert abs(found.weights.sum() - 1) <= 4 * EPS


@pytest.mark.parametrize("K", [1, 2, 17])
def test_weights_sum_to_one(K):
    x = blobs(200, 2, 3)
    for r in (responsibilities(200, K), np.zeros((200, K)), np.full((200, K), 1e-300)):
        assert abs(cf.gmm_m_step(x, r).weights.sum() - 1) <= 4 * EPS


def test_tied_is_the_mean_of_full():
    x, r = blobs(200, 4, 3), responsibilities(200, 3)
    weights, _, full = cf.gmm_m_step(x, r)
    tied = cf.gmm_m_step(x, r, covariance_type="tied").covariances
    assert_same([tied], [np.tensordot(weights, full, axes=1)])
    diag = cf.gmm_m_step(x, r, covariance_type="diag").covariances
    assert_same([diag], [np.diagonal(full, axis1=1, axis2=2)])
    assert_same([cf.gmm_m_step(x, r, covariance_type="spherical").covariances], [diag.mean(axis=1)])


@every_type
def test_components_have_no_order(kind):
    x, order = blobs(150, 3, 4), [2, 0, 3, 1]
    weights, means, covariances = start(x, 4, kind)
    moved = covariances if kind == "tied" else covariances[order]
    value, *new = cf.gmm_em_step(x, weights, means, covariances, covariance_type=kind)
    found, *new_moved = cf.gmm_em_step(x, weights[order], means[order], moved, covariance_type=kind)
    expected = [new[0][order], new[1][order], new[2] if kind == "tied" else new[2][order]]
    assert_same([found, *new_moved], [value, *expected])


# -- hard data --


@every_type
def test_float32_far_from_zero(kind):
    """Mean 1e4, deviation 1: the answer of float64 arithmetic on the same numbers, rounded."""
    x = blobs(1000, 4, 3, np.float32, offset=1e4)
    parameters = start(x, 3, kind)
    for _ in range(3):
        wide = cf.gmm_em_step(x.astype(np.float64), *parameters, covariance_type=kind)
        mixed = cf.gmm_em_step(x, *parameters, covariance_type=kind)  # parameters in float64
        assert all(a.dtype == np.float64 for a in mixed)
        assert_same(mixed, wide)
        parameters = wide[1:]
    r = responsibilities(1000, 3).astype(np.float32)
    narrow = cf.gmm_m_step(x, r, covariance_type=kind)
    assert all(a.dtype == np.float32 for a in narrow)
    assert_same(
        narrow, cf.gmm_m_step(x.astype(np.float64), r, covariance_type=kind), np.finfo(np.float32).eps
    )


@pytest.mark.parametrize("kind", ["spherical", "diag", "full"])
def test_variances_stay_positive(kind):
    """E[x²] − E[x]² is 9999² − 9999² here, and around 9999² float32 numbers are 8 apart."""
    x = np.array([[9999.0], [0.0]], np.float32)
    m = cf.gmm_m_step(x, np.eye(2), covariance_type=kind, reg_covar=0.1)
    np.testing.assert_allclose(m.covariances.ravel(), 0.1, rtol=1e-6)
    parameters = [0.5, 0.5], x[::-1] + 1, m.covariances
    for _ in range(5):
        _, *parameters = cf.gmm_em_step(x, *parameters, covariance_type=kind, reg_covar=0.1)
    np.testing.assert_allclose(parameters[2].ravel(), 0.1, rtol=1e-6)
    np.testing.assert_allclose(parameters[1], x[::-1], rtol=1e-6, atol=1e-9)


@every_type
def test_samples_far_from_every_mean(kind):
    """exp(l) is 0 for each component: the nearest takes the sample all the same."""
    means = np.array([[0.0, 1.0], [30.0, 2.0]])
    u = {
        "full": np.stack([np.eye(2)] * 2),
        "tied": np.eye(2),
        "diag": np.ones((2, 2)),
        "spherical": np.ones(2),
    }[kind]
    x = np.array([[-1e4, 3.0], [1e6, 1e7], [15.0, 1.5]])
    log_likelihood, r = cf.gmm_e_step(x, [0.3, 0.7], means, u, covariance_type=kind)
    np.testing.assert_allclose(r, [[1, 0], [0, 1], [0.3, 0.7]], atol=1e-13)
    squares = np.array([1e8 + 4, (1e6 - 30) ** 2 + (1e7 - 2) ** 2, 225.25])
    expected = np.log([0.3, 0.7, 1]) - np.log(2 * np.pi) - squares / 2
    np.testing.assert_allclose(log_likelihood, expected, rtol=1e-14)


@every_type
def test_a_component_without_samples(kind):
    x, r = blobs(50, 3, 2), np.eye(3)[np.zeros(50, int)]
    weights, means, covariances = cf.gmm_m_step(x, r, covariance_type=kind, reg_covar=0.25)
    assert abs(weights[0] - 1) <= 4 * EPS
    assert np.all(weights[1:] <= EPS)
    np.testing.assert_array_equal(means[1:], x[[0, 0]])
    if kind != "tied":
        assert_same(matrices(covariances, kind, 3, 3)[1:], 2 * [0.25 * np.eye(3)])
    # A weight of 0 is that of a component which never takes a sample: in EM, its mean stays.
    log_likelihood, r = cf.gmm_e_step(x, [0.0, 1.0], x[:2], np.ones(2), covariance_type="spherical")
    assert not r[:, 0].any()
    assert np.isfinite(log_likelihood).all()
    step = cf.gmm_em_step(x, [0.0, 1.0], x[:2] - 7, [2.0, 2.0], covariance_type="spherical", reg_covar=0.25)
    np.testing.assert_allclose(step.means, [x[0] - 7, x.mean(axis=0)], rtol=1e-13)
    assert abs(step.covariances[0] - 0.25) <= EPS


@every_type
def test_one_sample(kind):
    x = np.array([[3.0, -7.0]])
    weights, means, covariances = cf.gmm_m_step(x, [[0.25, 0.75]], covariance_type=kind, reg_covar=0.5)
    assert_same((weights, means), ([0.25, 0.75], np.repeat(x, 2, axis=0)))
    assert_same([matrices(covariances, kind, 2, 2)], [np.broadcast_to(0.5 * np.eye(2), (2, 2, 2))])


@every_type
def test_more_components_than_points(kind):
    x = np.repeat([[1.0, 2.0], [5.0, -1.0]], 20, axis=0)
    parameters = start(np.random.default_rng(6).normal(size=(9, 2)), 5, kind)
    for _ in range(30):
        value, *parameters = cf.gmm_em_step(x, *parameters, covariance_type=kind)
    assert np.isfinite(value)
    assert all(np.isfinite(a).all() for a in parameters)
    assert abs(parameters[0].sum() - 1) <= 4 * EPS


@every_type
def test_constant_features_have_the_variance_that_is_added(kind):
    x = np.full((300, 3), 0.1)
    covariances = cf.gmm_m_step(x, responsibilities(300, 2), covariance_type=kind, reg_covar=1e-4).covariances
    expected = np.broadcast_to(1e-4 * np.eye(3), (2, 3, 3))
    np.testing.assert_allclose(matrices(covariances, kind, 2, 3), expected, rtol=1e-12, atol=1e-25)


@every_type
def test_no_samples_have_no_responsibilities(kind):
    _, means, covariances = start(blobs(20, 3, 2), 2, kind)
    u, _ = precisions_cholesky(covariances, kind)
    log_likelihood, r = cf.gmm_e_step(
        np.empty((0, 3), np.float32), [0.5, 0.5], means, u, covariance_type=kind
    )
    assert (log_likelihood.shape, r.shape, r.dtype) == ((0,), (0, 2), np.float32)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_factors_of_covariances(kind):
    for D in (1, 2, 5, 16, 33):
        covariances = cf.gmm_m_step(
            blobs(400, D, 2), responsibilities(400, 2), covariance_type=kind
        ).covariances
        u, failed = precisions_cholesky(covariances, kind)
        assert failed == -1
        assert not np.tril(u, -1).any()
        identity = np.swapaxes(u, -1, -2) @ covariances @ u
        assert np.max(np.abs(identity - np.eye(D))) <= 64 * EPS * np.sqrt(D)


# -- what is refused --


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_a_singular_covariance_is_named(kind):
    x = blobs(40, 2, 3)
    _, means, covariances = start(x, 3, kind)
    covariances[1] = np.ones((2, 2)) if kind == "full" else 0
    with pytest.raises(ValueError, match=r"^covariances: .*component 1, with a count of 10$"):
        cf.gmm_em_step(x, [0.5, 0.25, 0.25], means, covariances, covariance_type=kind)
    weight = np.full(40, 0.5)
    with pytest.raises(ValueError, match=r"^covariances: .*component 1, with a count of 5$"):
        cf.gmm_em_step(x, [0.5, 0.25, 0.25], means, covariances, covariance_type=kind, sample_weight=weight)


def test_a_singular_tied_covariance():
    x = blobs(40, 2, 3)
    with pytest.raises(ValueError, match=r"^covariances: expected positive definite ones; .* all share"):
        cf.gmm_em_step(x, [0.5, 0.5], x[:2], np.ones((2, 2)), covariance_type="tied")


def test_places_are_named():
    x = blobs(30, 3, 2)
    x[17, 2], x[20, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"^x: expected finite numbers; got nan at index \(17, 2\)"):
        cf.gmm_m_step(x, responsibilities(30, 2))
    u = np.stack([np.eye(3)] * 2)
    u[1, 2, 0] = 1e-9
    with pytest.raises(
        ValueError, match=r"^precisions_cholesky: expected 0 below .* got 1e-09 at index \(1, 2, 0\)"
    ):
        cf.gmm_e_step(x[:5], [0.5, 0.5], x[:2], u)
    with pytest.raises(ValueError, match=r"^sample_weight: expected numbers >= 0; got -1.0 at index 2"):
        cf.gmm_m_step(x[:3], responsibilities(3, 2), sample_weight=[1, 0, -1])


def test_samples_as_large_as_they_come():
    """Their sum overflows, they do not."""
    x = np.full((4, 1), 1e308)
    means = cf.gmm_m_step(x, np.eye(4), covariance_type="spherical").means
    np.testing.assert_allclose(means, x, rtol=1e-14)
