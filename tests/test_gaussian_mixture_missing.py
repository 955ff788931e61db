"""Missing values, marginals and conditionals, against densities and expectations written out row by row."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import closedform as cf
from closedform.estimators import GaussianMixture
from test_gaussian_mixture import KINDS, assert_same_mixture, fitted, given_start, samples


@pytest.fixture(params=("compiled", "reference"))
def backend(request):
    cf.set_backend(request.param)


def with_gaps(N=203, D=5, seed=0, dtype=np.float64):
    """A third of the values missing: rows with all, with some, and with none."""
    X = samples(N, D, seed=seed, dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    X[rng.uniform(size=X.shape) < 0.35] = np.nan
    X[0], X[1] = np.nan, samples(N, D, seed=seed)[1]
    return X


def matrices(model):
    """Covariances (K, D, D), whatever their type."""
    K, D = model.means_.shape
    c = model.covariances_
    if model.covariance_type == "tied":
        return np.stack([c] * K)
    if model.covariance_type == "spherical":
        return np.stack([v * np.eye(D) for v in c])
    return np.stack([np.diag(v) for v in c]) if model.covariance_type == "diag" else c


def joint(model, row):
    """log π_k + log N(x_o; μ_k,o, Σ_k,oo) of the values that a row has."""
    o = np.flatnonzero(~np.isnan(row))
    logs = np.log(model.weights_)
    if len(o):
        covariances = matrices(model)
        logs = logs + [
            multivariate_normal.logpdf(row[o], mean[o], covariance[np.ix_(o, o)])
            for mean, covariance in zip(model.means_, covariances, strict=True)
        ]
    return logs


def em_by_hand(model, X, weights, reg_covar):
    """One EM step, a row at a time: (mean log-likelihood, π, μ, Σ)."""
    K, D = model.means_.shape
    logs = np.array([joint(model, row) for row in X])
    r = np.exp(logs - logsumexp(logs, axis=1, keepdims=True)) * weights[:, None]
    x, extra = np.empty((K, len(X), D)), np.zeros((K, len(X), D, D))
    for k in range(K):
        mean, s = model.means_[k], model.covariances_[k]
        for i, row in enumerate(X):
            m, o = np.flatnonzero(np.isnan(row)), np.flatnonzero(~np.isnan(row))
            a = s[np.ix_(m, o)] @ np.linalg.inv(s[np.ix_(o, o)])
            x[k, i, o], x[k, i, m] = row[o], mean[m] + a @ (row[o] - mean[o])
            extra[k, i][np.ix_(m, m)] = s[np.ix_(m, m)] - a @ s[np.ix_(o, m)]
    means = np.einsum("ik,kid->kd", r, x) / r.sum(axis=0)[:, None]
    z = x - means[:, None]
    covariances = np.einsum("ik,kid,kie->kde", r, z, z) + np.einsum("ik,kide->kde", r, extra)
    covariances = covariances / r.sum(axis=0)[:, None, None] + reg_covar * np.eye(D)
    bound = np.average(logsumexp(logs, axis=1), weights=weights)
    return bound, r.sum(axis=0) / weights.sum(), means, covariances


@pytest.mark.parametrize("weighted", [False, True])
def test_em_with_gaps(backend, weighted):
    X = with_gaps()
    w = np.random.default_rng(9).uniform(0.2, 3, len(X)) if weighted else np.ones(len(X))
    start = given_start(samples(), 3, "full")
    options = {"missing": "marginalise", "reg_covar": 1e-3, "tol": 0.0}
    before = fitted(X, sample_weight=w, **options, **start, max_iter=2)
    after = fitted(X, sample_weight=w, **options, **start, max_iter=3)
    bound, weights, means, covariances = em_by_hand(before, X, w, 1e-3)
    assert after.lower_bound_ == pytest.approx(bound, rel=1e-12)
    np.testing.assert_allclose(after.weights_, weights, rtol=1e-10)
    np.testing.assert_allclose(after.means_, means, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(after.covariances_, covariances, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_about_rows_with_gaps(backend, dtype):
    X = with_gaps(dtype=dtype)
    model = fitted(X, missing="marginalise", random_state=0, reg_covar=1e-2)
    logs = np.array([joint(model, row) for row in X.astype(np.float64)])
    expected = logsumexp(logs, axis=1)
    rtol = 50 * float(np.finfo(dtype).eps) if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=rtol, atol=rtol)
    r = np.exp(logs - expected[:, None])
    np.testing.assert_allclose(model.predict_proba(X), r, rtol=rtol, atol=10 * rtol)
    np.testing.assert_array_equal(model.predict(X), r.argmax(axis=1))
    np.testing.assert_allclose(model.predict_proba(X[:1]), model.weights_[None], rtol=rtol)
    assert model.score(X) == pytest.approx(expected.mean(), rel=rtol)


def test_likelihood_with_gaps_never_falls():
    options = {"missing": "marginalise", "reg_covar": 0, "tol": 0, "max_iter": 50, "random_state": 0}
    bounds = fitted(with_gaps(800), **options).lower_bounds_
    assert min(np.diff(bounds)) >= -1e-13 * abs(bounds[0])


def test_without_gaps_the_option_changes_nothing():
    X, start = samples(), given_start(samples(), 3, "full")
    found = fitted(X, missing="marginalise", **start)
    assert_same_mixture(found, fitted(X, **start), rtol=0, atol=0)


def test_gaps_do_not_shrink_the_covariance():
    """Values missing at random hide nothing of a Gaussian: its covariance is found, where imputing would shrink it."""
    rng = np.random.default_rng(0)
    cov = np.array([[2.0, 1.2], [1.2, 1.0]])
    X = rng.multivariate_normal([5, -3], cov, 20_000)
    X[rng.uniform(size=20_000) < 0.5, 0] = np.nan
    model = GaussianMixture(1, missing="marginalise", tol=1e-8, max_iter=500).fit(X)
    np.testing.assert_allclose(model.covariances_[0], cov, rtol=0.05)
    np.testing.assert_allclose(model.means_[0], [5, -3], rtol=0.01)


def test_bad_gaps():
    X = with_gaps()
    with pytest.raises(ValueError, match="contains NaN"):
        GaussianMixture(2).fit(X)
    with pytest.raises(ValueError, match="infinity"):
        GaussianMixture(2, missing="marginalise").fit(np.where(np.isnan(X), np.inf, X))
    X[:, 3] = np.nan
    with pytest.raises(ValueError, match="feature 3 has only NaN"):
        GaussianMixture(2, missing="marginalise").fit(X)
    with pytest.raises(ValueError, match="contains NaN"):
        GaussianMixture(2).fit(samples()).predict(X)


# -- marginals and conditionals --


@pytest.mark.parametrize("kind", KINDS)
def test_marginal(backend, kind):
    model = fitted(samples(), covariance_type=kind, random_state=0)
    dims = [3, 0, -1]
    part = model.marginal(dims)
    rows = np.full((40, 5), np.nan)
    rows[:, dims] = samples(40, seed=7)[:, dims]
    expected = [logsumexp(joint(model, row)) for row in rows]
    np.testing.assert_allclose(part.score_samples(rows[:, dims]), expected, rtol=1e-10)
    assert (part.n_components, part.n_features_in_, part.covariance_type) == (3, 3, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [[1], [4, 0], [2, 1, 3, 0]])
def test_condition(backend, kind, given):
    """p(rest | given) = p(rest, given) / p(given), at any point."""
    model = fitted(samples(), covariance_type=kind, random_state=0)
    values = samples(9, seed=3)[4, given]
    part = model.condition(given, values)
    rest = [d for d in range(5) if d not in given]
    points = np.empty((30, 5))
    points[:, given], points[:, rest] = values, samples(30, seed=8)[:, rest]
    expected = model.score_samples(points) - model.marginal(given).score_samples(values[None])
    np.testing.assert_allclose(part.score_samples(points[:, rest]), expected, rtol=1e-9, atol=1e-9)
    assert part.weights_.sum() == pytest.approx(1)
    assert part.sample(5)[0].shape == (5, len(rest))


def test_features_count_from_the_end_too():
    model = fitted(samples(), random_state=0)
    assert_same_mixture(model.condition([-1, 0], [0.5, 1]), model.condition([4, 0], [0.5, 1]), rtol=0, atol=0)


def test_condition_far_from_every_component():
    model = fitted(samples(), random_state=0)
    part = model.condition([0], [1e5])
    assert np.isfinite(part.means_).all()
    assert part.weights_.max() == pytest.approx(1)


def test_features_by_name():
    names = np.array(list("abcde"), dtype=object)
    model = fitted(samples(), random_state=0)
    model.feature_names_in_ = names
    assert_same_mixture(model.marginal(["e", "b"]), model.marginal([4, 1]), rtol=0, atol=0)
    part = model.condition("c", 0.5)
    assert list(part.feature_names_in_) == list("abde")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.marginal([]), "dims: expected different features out of 5"),
        (lambda m: m.marginal([1, 1]), "dims: expected different features"),
        (lambda m: m.marginal([5]), "dims: expected different features"),
        (lambda m: m.condition([0, 1], [1.0]), "values: expected 2 finite numbers"),
        (lambda m: m.condition([0], [np.nan]), "values: expected 1 finite numbers"),
        (lambda m: m.condition(range(5), np.ones(5)), "given: expected a feature to remain"),
    ],
)
def test_bad_features(call, message):
    with pytest.raises(ValueError, match=message):
        call(fitted(samples()))


def test_a_derived_mixture_has_no_statistics():
    model = fitted(samples())
    with pytest.raises(ValueError, match="not fitted"):
        model.merge(model.marginal([0, 1, 2, 3, 4]))
    with pytest.raises(ValueError, match=r"^statistics_: expected those of a fit; a marginal"):
        model.marginal([0, 1]).partial_fit(samples(D=2))
