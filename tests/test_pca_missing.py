"""PCA with missing values: each step of EM by the definition, and what it climbs to, by a Gaussian mixture of one."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

import closedform as cf
from closedform.estimators import PCA, GaussianMixture, pca_missing
from closedform.estimators.pca_missing import Model, em_step, expect
from closedform.estimators.pca_spectrum import of_model
from conftest import same_bits
from test_pca_estimator import _one_thread_of_blas, assert_same_pca, samples  # noqa: F401  # a fixture


@pytest.fixture(params=("compiled", "reference"))
def backend(request):
    cf.set_backend(request.param)


def with_gaps(N=151, D=6, share=0.3, seed=0, dtype=np.float64):
    """Rows with all values, with some, and one with none."""
    X = samples(N, D, seed=seed, dtype=dtype)
    X[np.random.default_rng(seed + 1).random(X.shape) < share] = np.nan
    X[0] = np.nan
    X[1] = samples(N, D, seed=seed, dtype=dtype)[1]
    return X


def a_model(D=6, K=2, seed=0):
    rng = np.random.default_rng(seed)
    return Model(3 * np.arange(D) + rng.standard_normal(D), rng.standard_normal((D, K)), 0.7)


def fitted(X, K, steps=None, **options):
    if steps is not None:
        options |= {"em_tol": 0.0, "em_max_iter": steps}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return PCA(K, missing="em", **options).fit(X)


def marginals(X, mean, cov):
    """log p(x_o) of each row, by SciPy."""
    found = np.zeros(len(X))
    for i, row in enumerate(X):
        o = np.flatnonzero(~np.isnan(row))
        if len(o):
            found[i] = multivariate_normal.logpdf(row[o], mean[o], cov[np.ix_(o, o)])
    return found


def test_what_a_row_tells_of_z(backend):
    """E[z] and Cov[z] are those of a Gaussian in (x_o, z) jointly, given x_o."""
    X, model = with_gaps(), a_model()
    hidden = expect(X - model.mean, model.w, model.noise)
    cov = model.w @ model.w.T + model.noise * np.eye(6)
    for i, row in enumerate(X):
        o = np.flatnonzero(~np.isnan(row))
        w_o = model.w[o]
        gain = w_o.T @ np.linalg.inv(cov[np.ix_(o, o)])
        np.testing.assert_allclose(hidden.mean[i], gain @ (row[o] - model.mean[o]), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(hidden.covariance[i], np.eye(2) - gain @ w_o, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(hidden.log_likelihood, marginals(X, model.mean, cov), rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_next_model_is_the_most_likely_one(backend, weighted):
    """With z ~ N(a, A): any small change lowers the expectation of log p(x_o, z), written out value by value."""
    X, model = with_gaps(40, 4), a_model(4)
    w = np.random.default_rng(2).uniform(0, 3, 40) if weighted else np.ones(40)
    bound, new = em_step(model, X, w if weighted else None)
    hidden = expect(X - model.mean, model.w, model.noise)
    assert bound == pytest.approx(np.average(hidden.log_likelihood, weights=w), rel=1e-12)

    def expected(mean, loadings, noise, a, cov):
        total = 0.0
        for n, d in np.argwhere(~np.isnan(X)):
            error = X[n, d] - mean[d] - loadings[d] @ hidden.mean[n]
            square = error**2 + loadings[d] @ hidden.covariance[n] @ loadings[d]
            total -= w[n] / 2 * (np.log(2 * np.pi * noise) + square / noise)
        for n in range(40):
            second = np.outer(hidden.mean[n] - a, hidden.mean[n] - a) + hidden.covariance[n]
            total -= w[n] / 2 * (np.linalg.slogdet(cov)[1] + np.trace(np.linalg.solve(cov, second)))
        return total

    a = np.average(hidden.mean, axis=0, weights=w)
    z = hidden.mean - a
    cov = np.average(z[:, :, None] * z[:, None, :] + hidden.covariance, axis=0, weights=w)
    loadings = new.w @ np.linalg.inv(np.linalg.cholesky(cov))  # before z became N(0, I) again
    parameters = new.mean - loadings @ a, loadings, new.noise, a, cov
    best, rng = expected(*parameters), np.random.default_rng(3)
    for _ in range(30):
        steps = [1 + 1e-3 * rng.standard_normal(np.shape(p)) for p in parameters[:4]]
        other = expected(
            *(p * step for p, step in zip(parameters, steps, strict=False)), cov * (1 + 1e-3 * rng.random())
        )
        assert other < best


def test_it_climbs_to_the_gaussian_that_is_most_likely():
    """With K = D - 1 the model is any Gaussian; a mixture of one, which EM fits in another way, ends there too."""
    X = with_gaps(90, 4, share=0.1)
    found = fitted(X, 3, steps=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one = GaussianMixture(1, missing="marginalise", reg_covar=0, tol=0, max_iter=150).fit(X)
    np.testing.assert_allclose(found.get_covariance() * 89 / 90, one.covariances_[0], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.mean_, one.means_[0], rtol=1e-9)


def test_without_gaps_it_climbs_to_the_closed_form():
    X, model = samples(120, 5), a_model(5)
    bounds = []
    for _ in range(100):
        bound, model = em_step(model, X, None)
        bounds.append(bound)
    assert min(np.diff(bounds)) >= -1e-13 * abs(bounds[0])
    known = PCA(2).fit(X)
    d = np.linalg.svd(model.w, compute_uv=False) ** 2 + model.noise
    np.testing.assert_allclose(d * 120 / 119, known.explained_variance_, rtol=1e-9)
    spectrum = of_model(model, 120)
    assert spectrum.noise(2) == pytest.approx(known.noise_variance_, rel=1e-9)
    np.testing.assert_allclose(spectrum.ratio, known.explained_variance_ratio_, rtol=1e-9)
    assert_same_pca(PCA(2, missing="em").fit(X), known, rtol=0)  # and does not climb


def test_likelihood_never_falls(backend):
    X, model, bounds = with_gaps(), a_model(), []
    for _ in range(60):
        bound, model = em_step(model, X, None)
        bounds.append(bound)
    assert min(np.diff(bounds)) >= -1e-13 * abs(bounds[0])


def test_gaps_count_for_what_is_expected_of_them(backend):
    X = with_gaps()
    model = fitted(X, 2, steps=20)
    cov, mean = model.get_covariance(), model.mean_
    filled = X.copy()
    for row in filled:
        m, o = np.flatnonzero(np.isnan(row)), np.flatnonzero(~np.isnan(row))
        row[m] = mean[m] + cov[np.ix_(m, o)] @ np.linalg.solve(cov[np.ix_(o, o)], row[o] - mean[o])
    y = model.transform(X)
    np.testing.assert_allclose(y, (filled - mean) @ model.components_.T, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(y[0], 0, atol=1e-12)  # nothing is known of this row
    np.testing.assert_allclose(y[1], model.transform(X[1:2])[0], rtol=1e-12)  # and all of that
    np.testing.assert_allclose(model.score_samples(X), marginals(X, mean, cov), rtol=1e-8, atol=1e-10)
    assert model.score(X) == pytest.approx(marginals(X, mean, cov).mean(), rel=1e-9)


def test_weights_are_numbers_of_rows(backend):
    X = with_gaps(60, 5)
    w = np.random.default_rng(4).integers(0, 3, 60)
    options = {"em_tol": 0.0, "em_max_iter": 15}
    with pytest.warns(ConvergenceWarning, match="em_max_iter=15"):
        weighted = PCA(2, missing="em", **options).fit(X, sample_weight=w)
    repeated = fitted(np.repeat(X, w, axis=0), 2, steps=15)
    assert_same_pca(weighted, repeated, rtol=1e-8)
    assert weighted.n_iter_ == 15


def test_low_rank_data_is_completed():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 12)) + np.arange(12)
    gaps = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    model = fitted(gaps, 2, em_tol=1e-9)
    back = model.inverse_transform(model.transform(gaps))
    assert np.max(np.abs(back - X)) <= 1e-3 * X.std()
    assert model.noise_variance_ <= 1e-6


def test_float32_and_threads():
    X = with_gaps(400, 7)
    wide, narrow = fitted(X, 3, steps=20), fitted(X.astype(np.float32), 3, steps=20)
    for name in ("components_", "explained_variance_", "mean_"):
        assert getattr(narrow, name).dtype == np.float32
        np.testing.assert_allclose(getattr(narrow, name), getattr(wide, name), rtol=1e-4, atol=1e-4)
    assert narrow.transform(X.astype(np.float32)).dtype == np.float32
    with cf.num_threads(1):
        assert same_bits(fitted(X, 3, steps=20).components_, wide.components_)


def test_rows_go_by_in_chunks(monkeypatch):
    X = with_gaps(100, 5)
    want = fitted(X, 2, steps=5)
    y = want.transform(X)
    monkeypatch.setattr(pca_missing, "CHUNK", 99)
    found = fitted(X, 2, steps=5)
    assert_same_pca(found, want, rtol=1e-11)
    np.testing.assert_allclose(found.transform(X), y, rtol=1e-9, atol=1e-11)


def test_an_interrupted_fit_is_fitted_as_far_as_it_was(monkeypatch):
    X, steps = with_gaps(), []

    def interrupted(*args):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(1)
        return em_step(*args)

    model = PCA(2, missing="em", em_tol=0.0)
    monkeypatch.setattr(pca_missing, "em_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    monkeypatch.undo()
    assert model.n_iter_ == 3
    assert_same_pca(model, fitted(X, 2, steps=3), rtol=0)


def test_features_without_variance():
    X = np.where(with_gaps() > 0, 2.0, np.nan)
    model = fitted(X, 2, steps=5)
    assert np.max(np.abs(model.explained_variance_)) <= 1e-300
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), 2.0)


def test_what_missing_values_rule_out():
    X = with_gaps()
    model = fitted(X, 2, steps=5)
    assert (model.n_iter_, model.moments_) == (5, None)
    for call in (lambda: model.merge(model), lambda: model.partial_fit(samples(20, 6))):
        with pytest.raises(ValueError, match=r"^moments_: expected"):
            call()
    model.fit(samples(20, 6))  # without any, there is no EM
    assert (model.n_iter_, model.moments_.rows) == (0, 20)
    X[:, 3] = np.nan
    with pytest.raises(ValueError, match=r"^X: expected a value in every feature; feature 3 has only NaN"):
        PCA(2, missing="em").fit(X)
