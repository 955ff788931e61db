"""PCA of dask arrays: the fit in memory to rounding, the same bits on any scheduler, answers that are dask arrays."""

import dataclasses
import os
import signal

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("dask")
pytest.importorskip("distributed")

import dask
import dask.array as da

from closedform.estimators import PCA
from conftest import same_bits
from test_gaussian_mixture_dask import blocks
from test_pca_estimator import samples

ANSWERS = ("transform", "score_samples")


def fitted(X, n_components=None, sample_weight=None, **options):
    with dask.config.set(scheduler="synchronous"):
        return PCA(n_components, **options).fit(X, sample_weight=sample_weight)


def assert_near(found, expected, X):
    """Moments to 16 κ eps of the deviations σ, and of σσᵀ: κ = 1 + |mean| / σ is the condition of a variance."""
    mean, sigma = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    tolerance = 16 * (1 + np.abs(mean) / sigma).max() * np.finfo(X.dtype).eps
    a, b = found.moments_, expected.moments_
    assert (a.samples, a.dtype, found.n_samples_) == (b.samples, b.dtype, expected.n_samples_)
    assert found.components_.dtype == expected.components_.dtype
    assert abs(a.weight - b.weight) <= 8 * np.finfo(np.float64).eps * b.weight
    assert (np.abs(a.mean - b.mean) / sigma).max() <= tolerance
    assert (np.abs(a.cov - b.cov) / np.outer(sigma, sigma)).max() <= tolerance
    largest = expected.explained_variance_[0]
    assert (np.abs(found.explained_variance_ - expected.explained_variance_) / largest).max() <= X.shape[
        1
    ] * tolerance


def assert_same_bits(a, b):
    for field in dataclasses.fields(a.moments_):
        one, other = (getattr(pca.moments_, field.name) for pca in (a, b))
        assert same_bits(one, other) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", ["none", "in memory", "in blocks"])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_equals_the_fit_in_memory(dtype, weights, offset):
    X, w = samples(500, offset=offset, dtype=dtype), None
    x = blocks(X)
    if weights != "none":
        w = np.random.default_rng(1).integers(0, 4, len(X)) * 0.75
        w[100:140] = 0  # blocks without a row
    v = da.from_array(w, chunks=90) if weights == "in blocks" else w
    found, expected = fitted(x, 4, v), fitted(X, 4, w, svd_solver="covariance_eigh")
    assert found.svd_solver_ == "covariance_eigh"
    assert_near(found, expected, X)
    for pca in (found, expected):
        pca.partial_fit(X[:70], sample_weight=None if w is None else np.ones(70))
    assert_near(found, expected, X)


@pytest.mark.parametrize("n_components", [0, 3, 0.7, "mle", None])
def test_any_number_of_components(n_components):
    X = samples(500)
    found, expected = fitted(blocks(X), n_components), fitted(X, n_components)
    assert found.n_components_ == expected.n_components_
    np.testing.assert_allclose(found.components_, expected.components_, atol=1e-12)
    with pytest.raises(ValueError, match="n_components=10 must be between 0"):
        fitted(blocks(X), 10)


def test_streams_and_merges():
    X = samples(500)
    x, expected = blocks(X), fitted(X)
    with dask.config.set(scheduler="synchronous"):
        assert_near(PCA().partial_fit(x[:101]).partial_fit(X[101:140]).partial_fit(x[140:]), expected, X)
    assert_near(fitted(x[:200]).merge(fitted(X[200:])), expected, X)


def test_same_bits_on_any_scheduler(cluster):
    x = da.from_array(samples(500), chunks=(20, 9))  # more than one task merges
    expected = fitted(x)
    with dask.config.set(scheduler="threads"):
        assert_same_bits(PCA().fit(x), expected)
    with cluster.as_current():
        found = PCA().fit(x)
        assert_same_bits(found, expected)
        assert same_bits(found.transform(x).compute(), expected.transform(x).compute())


def test_a_killed_worker_does_not_lose_the_fit(cluster, tmp_path):
    X, died = samples(500), tmp_path / "died"

    def read(start):
        if start == 300 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return X[start : start + 100]

    parts = [da.from_delayed(dask.delayed(read)(i), (100, 9), X.dtype) for i in range(0, 500, 100)]
    with cluster.as_current():
        found = PCA().fit(da.concatenate(parts))
    assert died.exists()
    assert_same_bits(found, fitted(da.from_array(X, chunks=(100, 9))))


@pytest.mark.parametrize("sizes", ["columns", "unknown", "empty"])
def test_any_chunks(sizes):
    X = samples(500)
    x, w = blocks(X), np.random.default_rng(5).uniform(0.5, 2, 500)
    v = da.from_array(w, chunks=x.chunks[:1])
    if sizes == "columns":
        x, v = x.rechunk((70, 2)), v.rechunk(90)
    else:
        few, kept = (a[:, 0] < X[:50, 0].mean() for a in (x, X))
        kept[:100] &= sizes == "unknown"
        few[:100] &= sizes == "unknown"
        x, v, X, w = x[few], v[few], X[kept], w[kept]
    found = fitted(x, 2, v)
    assert_near(found, fitted(X, 2, w), X)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(found.transform(x), found.transform(X))
        assert found.score(x) == pytest.approx(found.score(X), rel=1e-14)


def test_answers_are_mapped_lazily():
    X = samples(500, dtype=np.float32)
    pca, x = fitted(X, 4, whiten=True), blocks(X)
    for method, argument in (*((name, X) for name in ANSWERS), ("inverse_transform", pca.transform(X))):
        lazy, expected = (getattr(pca, method)(a) for a in (blocks(argument), argument))
        assert isinstance(lazy, da.Array)
        assert (lazy.dtype, lazy.shape, lazy.chunks[0]) == (expected.dtype, expected.shape, x.chunks[0])
        assert same_bits(lazy.compute(scheduler="synchronous"), expected)
    lazy, before = pca.transform(x), pca.transform(X)
    pca.fit(X[:200])
    assert same_bits(lazy.compute(scheduler="synchronous"), before)
    for method, columns in (("transform", 5), ("score_samples", 5), ("inverse_transform", 3)):
        with pytest.raises(ValueError, match=rf"{columns} features|X: expected 4 columns.*got {columns}"):
            getattr(pca, method)(x[:, :columns])


def test_missing_values_are_answered_for():
    X = samples(500)
    X[::7, 2] = np.nan
    pca = fitted(X, 3, missing="em")
    for method in ANSWERS:
        lazy, expected = (getattr(pca, method)(a) for a in (blocks(X), X))
        np.testing.assert_allclose(lazy.compute(scheduler="synchronous"), expected, rtol=1e-12)


def bad(row, value):
    X = samples(500)
    X[row, 3] = value
    return blocks(X)


MISTAKES = {
    "nan": (bad(330, np.nan), {}, "Input X contains NaN"),
    "infinity": (bad(100, -np.inf), {}, "Input X contains infinity"),
    "1d": (blocks(samples(500))[:, 0], {}, r"X: expected shape \(N, D\)"),
    "one row": (blocks(samples(500))[:1], {}, "X: expected 2 rows or more; got 1"),
    "no rows": (blocks(samples(500))[:0], {}, "X: expected 2 rows or more; got 0"),
    "short weights": (
        blocks(samples(500)),
        {"sample_weight": np.ones(499)},
        r"sample_weight: expected shape \(500,\)",
    ),
    "small weights": (blocks(samples(500)), {"sample_weight": np.full(500, 1e-3)}, "sum of 2 or more.*got 0.5"),
    "negative weight": (blocks(samples(500)), {"sample_weight": np.arange(-1, 499)}, "sample_weight"),
    "no weight": (blocks(samples(500)), {"sample_weight": np.zeros(500)}, "sample_weight: expected some weight"),
    "solver": (blocks(samples(500)), {"svd_solver": "full"}, "svd_solver: expected 'auto' or 'covariance_eigh'"),
    "gaps": (blocks(samples(500)), {"missing": "em"}, "missing: expected 'error' for a dask array; got 'em'"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    X, options, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        fitted(X, 3, **options)
