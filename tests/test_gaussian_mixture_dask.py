"""GaussianMixture on data that is elsewhere: dask arrays, on a cluster of two processes, and files that are mapped."""

import os
import signal
import tracemalloc
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("dask")
pytest.importorskip("distributed")

import dask
import dask.array as da
from sklearn.exceptions import ConvergenceWarning

import closedform as cf
from closedform.estimators import GaussianMixture, mixture_samples
from closedform.estimators.distributed import each, map_rows, row_blocks
from conftest import same_bits
from test_gaussian_mixture import INITS, KINDS, PARAMETERS, assert_same_mixture, given_start, samples

EPS = np.finfo(np.float64).eps


def blocks(X, sizes=(100, 1, 137)):
    """Unequal ones, and the rest."""
    cuts = [*sizes, len(X) - sum(sizes)]
    return da.from_array(X, chunks=(tuple(cuts), X.shape[1]))


def fitted(X, K=3, sample_weight=None, scheduler="synchronous", **options):
    with dask.config.set(scheduler=scheduler), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(K, **options).fit(X, sample_weight=sample_weight)


def fitted_on(cluster, X, **options):
    with cluster.as_current():
        return fitted(X, scheduler=None, **options)


def assert_same_bits(a, b):
    assert (a.n_iter_, a.lower_bounds_) == (b.n_iter_, b.lower_bounds_)
    for name in PARAMETERS:
        assert same_bits(getattr(a, name), getattr(b, name)), name


def assert_near(found, expected, X):
    """To 32 κ eps of 1, of the deviations σ, and of σσᵀ: κ = 1 + |mean| / σ is the condition of a variance."""
    mean, sigma = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    tolerance = 32 * (1 + np.abs(mean) / sigma).max() * EPS
    square = np.outer(sigma, sigma)
    square = {"diag": np.diag(square), "spherical": np.diag(square).mean()}.get(found.covariance_type, square)
    for name, unit in (("weights_", 1), ("means_", sigma), ("covariances_", square)):
        error = np.abs(getattr(found, name) - getattr(expected, name)) / unit
        assert error.max() <= tolerance, name
    for a, b in zip(found.lower_bounds_, expected.lower_bounds_, strict=True):
        assert abs(a - b) <= tolerance * max(1, abs(b))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "dtype", "max_iter"), [(0, np.float64, 1), (0, np.float32, 8), (1e4, np.float64, 8)]
)
def test_equals_the_fit_in_memory(kind, offset, dtype, max_iter):
    X = (samples(500) + offset).astype(dtype)
    w = np.random.default_rng(1).integers(0, 4, len(X)) * 0.75
    w[100:140] = 0  # blocks without a row
    options = {"covariance_type": kind, "tol": 0, "max_iter": max_iter, **given_start(X, 3, kind)}
    found, expected = (fitted(x, sample_weight=w, **options) for x in (blocks(X), X))
    assert_near(found, expected, X)


def test_same_bits_on_any_scheduler(cluster):
    X = samples(500)
    x = da.from_array(X, chunks=(50, 5))  # more than one task merges
    options = {"tol": 0, "max_iter": 3, "random_state": 0}
    expected = fitted(x, **options)
    assert_same_bits(fitted(x, scheduler="threads", **options), expected)
    assert_same_bits(fitted_on(cluster, x, **options), expected)
    assert_near(expected, fitted(X, **options), X)


def test_a_killed_worker_does_not_lose_the_fit(cluster):
    X, killed = samples(500), []
    options = {"tol": 0, "max_iter": 5, "random_state": 0}

    def kill(iteration, bound, estimator):
        if iteration == 2:
            held = cluster.has_what()
            victim = max(held, key=lambda worker: len(held[worker]))
            killed.append(cluster.run(os.getpid, workers=[victim])[victim])
            os.kill(killed[0], signal.SIGKILL)

    found = fitted_on(cluster, blocks(X), **options, callbacks=(kill,))
    assert_same_bits(found, fitted(blocks(X), **options))
    assert killed[0] not in cluster.run(os.getpid).values()


def test_a_cluster_reads_every_block_once(cluster, tmp_path):
    X = samples(300)
    path = str(tmp_path / "reads")

    def read(start):
        with open(path, "a") as log:
            log.write(f"{start} ")
        return X[start : start + 100]

    parts = [da.from_delayed(dask.delayed(read)(i), (100, 5), X.dtype) for i in (0, 100, 200)]
    fitted_on(cluster, da.concatenate(parts), tol=0, max_iter=3, random_state=0)
    with open(path) as log:
        assert sorted(log.read().split()) == ["0", "100", "200"]


@pytest.mark.parametrize("init_params", INITS)
def test_few_rows_begin_as_in_memory(init_params):
    X, w = samples(500), np.random.default_rng(2).integers(1, 4, 500)
    options = {"init_params": init_params, "random_state": 4, "max_iter": 3, "n_init": 2}
    found, expected = (fitted(x, sample_weight=w, **options) for x in (blocks(X), X))
    assert_same_mixture(found, expected, rtol=1e-11)


@pytest.mark.parametrize("init_params", INITS)
def test_many_rows_begin_on_some(init_params, monkeypatch):
    X = samples(500)
    monkeypatch.setattr(mixture_samples, "BEGINNING", 60)
    found = mixture_samples.Samples.beginning(mixture_samples.Samples(X), np.random.RandomState(0))
    assert found[0].shape == (60, 5)
    options = {"init_params": init_params, "max_iter": 0, "random_state": 0}
    on_some = fitted(blocks(X), **options)
    assert_same_bits(on_some, fitted(blocks(X), **options))
    assert_same_mixture(on_some, fitted(found[0], **{**options, "random_state": _after_the_draw()}))


def _after_the_draw():
    state = np.random.RandomState(0)
    mixture_samples.drawn(500, state)
    return state


OPTIONS = {
    "auto": {"reg_covar": "auto", "max_iter": 4},
    "fixed": {"fixed": ("means", "weights"), "max_iter": 4},
    "tied": {"covariance_type": "tied", "max_iter": 4},
    "repair": {"on_singular": "repair", "reg_covar": 0, "max_iter": 8},
    "drop": {"on_singular": "drop", "reg_covar": 0, "max_iter": 8},
    "gaps": {"missing": "marginalise", "reg_covar": "auto", "max_iter": 4},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_those_in_memory(name):
    X = samples(500)
    if name == "gaps":
        X[np.random.default_rng(3).uniform(size=X.shape) < 0.1] = np.nan
        X[100, :] = X[101:238, 2] = np.nan  # a block of which nothing is known; a feature unknown in another
    if name in ("repair", "drop"):
        X[120:160] = X[120]
    found, expected = (fitted(x, 6, random_state=0, tol=0, **OPTIONS[name]) for x in (blocks(X), X))
    assert found.reg_covar_ == pytest.approx(expected.reg_covar_, rel=8 * EPS)
    assert len(found.weights_) == len(expected.weights_)
    assert_same_mixture(found, expected, rtol=1e-9)


def test_singular_covariance_is_an_error():
    X = samples(500)
    X[:, 1] = 2
    with pytest.raises(ValueError, match="of 500; see on_singular"):
        fitted(blocks(X), reg_covar=0)


@pytest.mark.parametrize("sizes", ["columns", "unknown", "empty"])
def test_any_chunks(sizes):
    X = samples(500)
    w = np.random.default_rng(5).uniform(size=500)
    start = given_start(X, 3, "full")
    x, v = blocks(X), da.from_array(w, chunks=blocks(X).chunks[:1])
    if sizes == "columns":
        x, v = x.rechunk((70, 2)), v.rechunk(90)
    if sizes in ("unknown", "empty"):
        few = x[:, 0] < (0 if sizes == "empty" else 50)
        expected = X[:, 0] < (0 if sizes == "empty" else 50)
        x, v, X, w = x[few], v[few], X[expected], w[expected]
    expected = fitted(X, sample_weight=w, max_iter=3, tol=0, **start)
    found = fitted(x, sample_weight=v, max_iter=3, tol=0, **start)
    assert_near(found, expected, X)
    np.testing.assert_array_equal(found.predict(x), found.predict(X))
    assert found.score(x) == pytest.approx(found.score(X), rel=8 * EPS)


def bad(row, value):
    X = samples(500)
    X[row, 3] = value
    return X


MISTAKES = {
    "nan": (blocks(bad(330, np.nan)), None, "Input X contains NaN"),
    "infinity": (blocks(bad(2, -np.inf)), None, "Input X contains infinity"),
    "1d": (blocks(samples(500))[:, 0], None, r"X: expected shape \(N, D\)"),
    "complex": (blocks(samples(500)) + 1j, None, "Complex data not supported"),
    "few rows": (blocks(samples(500))[:2], None, "n_components = 3, n_samples = 2"),
    "short weights": (blocks(samples(500)), np.ones(499), r"sample_weight: expected shape \(500,\)"),
    "matrix of weights": (blocks(samples(500)), da.ones((500, 2)), r"sample_weight: expected shape \(500,\)"),
    "negative weight": (blocks(samples(500)), np.arange(-1, 499), "sample_weight"),
    "weight that is nan": (blocks(samples(500)), da.full(500, np.nan), "sample_weight contains NaN"),
    "no weight": (blocks(samples(500)), np.zeros(500), "sample_weight: expected some weight > 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    X, w, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        fitted(X, sample_weight=w)


def test_weights_of_unknown_rows():
    x = blocks(samples(500))
    unknown = x[x[:, 0] > 0]
    for w in (np.ones(250), da.ones(250, chunks=50)):
        with pytest.raises(ValueError, match=r"sample_weight: expected .* in the 4 chunks of X, the sizes"):
            fitted(unknown, sample_weight=w)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(\d+,\), expected"):
        fitted(unknown, sample_weight=da.ones(500, chunks=x.chunks[:1]))


def test_answers_are_mapped_lazily():
    X = samples(500).astype(np.float32)
    model = fitted(X, random_state=0, callbacks=(lambda *_: None,))
    x = blocks(X)
    for method in ("predict", "predict_proba", "score_samples"):
        lazy, expected = getattr(model, method)(x), getattr(model, method)(X)
        assert isinstance(lazy, da.Array)
        assert (lazy.dtype, lazy.shape, lazy.chunks[0]) == (expected.dtype, expected.shape, x.chunks[0])
        assert same_bits(lazy.compute(scheduler="synchronous"), expected)
    for method in ("score", "bic", "aic"):
        with dask.config.set(scheduler="synchronous"):
            assert getattr(model, method)(x) == pytest.approx(getattr(model, method)(X), rel=8 * EPS)
    lazy, before = model.predict(x), model.predict(X)
    model.fit(X[:200])
    assert same_bits(lazy.compute(scheduler="synchronous"), before)
    with pytest.raises(ValueError, match="4 features"):
        model.predict(x[:, :4])


def test_streams_and_interrupts_are_those_in_memory():
    X = samples(500)

    def stop(iteration, *_):
        if iteration == 3:
            raise KeyboardInterrupt

    models = [GaussianMixture(3, random_state=0, tol=0, callbacks=(stop,)) for _ in range(2)]
    for model, x in zip(models, (blocks(X), X), strict=True):
        with dask.config.set(scheduler="synchronous"):
            with pytest.raises(KeyboardInterrupt):
                model.fit(x)
            assert model.n_iter_ == 3
            model.partial_fit(x[:250]).partial_fit(x[250:])
    assert_same_mixture(*models, rtol=1e-11)


def test_tasks_run_on_the_backend_of_the_caller():
    def backend(x):
        return np.full(len(x), cf.get_backend() == "reference")

    x = blocks(samples(500))
    with cf.use_backend("reference"):
        mapped, found = map_rows(backend, x, bool), each(backend, *row_blocks(x))
    assert mapped.compute(scheduler="threads").all()
    assert all(found[1].compute(scheduler="threads"))


# -- files mapped into memory --


def mapped(folder, dtype, N=200_000, D=12):
    """(a file, mapped; the same in memory)."""
    X = np.random.default_rng(6).standard_normal((N, D), np.float32).astype(dtype)
    X.tofile(folder / "x")
    return np.memmap(folder / "x", dtype, "r", shape=X.shape), X


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mapped_files_equal_memory(tmp_path, dtype):
    X, in_memory = mapped(tmp_path, dtype, N=40_000)
    options = {"reg_covar": "auto", "max_iter": 2, "sample_weight": np.linspace(0.5, 2, 40_000)}
    for start in (given_start(in_memory, 3, "full"), {"random_state": 0}):
        found, expected = (fitted(x, **options, **start) for x in (X, in_memory))
        assert_same_bits(found, expected)
        assert same_bits(found.predict(X), expected.predict(in_memory))


@pytest.mark.parametrize(("init_params", "dtype"), [("kmeans", np.float32), ("k-means++", np.float64)])
def test_mapped_files_are_not_copied(tmp_path, init_params, dtype):
    X, _ = mapped(tmp_path, dtype)
    tracemalloc.start()
    try:
        model = fitted(X, init_params=init_params, on_singular="repair", random_state=0, max_iter=2)
        model.score(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 0.6 * X.nbytes  # what it begins with, a sixth of the rows, is copied


@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_memory_beside_the_data_does_not_grow_with_them(init_params):
    X = np.random.default_rng(7).standard_normal((1_000_000, 2))
    tracemalloc.start()
    try:
        fitted(X, 8, init_params=init_params, random_state=0, max_iter=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 12e6  # the data are 16 MB, all the responsibilities would be 64
