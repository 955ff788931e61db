"""AdaBoostClassifier of dask arrays: the rounds of the fit in memory where features have few values, else nearly."""

import os
import signal
import threading

import dask
import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("dask")
pytest.importorskip("distributed")

import dask.array as da

from closedform import _boosting
from closedform.estimators import AdaBoostClassifier
from closedform.estimators.boosting_bins import BINS, KEPT, Bins, Values, find_stump
from closedform.estimators.boosting_blocks import Binned
from conftest import same_bits
from test_adaboost import FIGURES, losses, same, samples, stump_of, votes
from test_gaussian_mixture_dask import blocks

ANSWERS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def rounded(N=500, F=5, K=3, seed=0, dtype=np.float64):
    """Features of some 30 to 250 values."""
    X, y, w = samples(N, F, K, seed)
    steps = np.geomspace(5, 60, F)
    return (np.round(X * steps) / steps).astype(dtype), y, w


def fitted(X, y, sample_weight=None, scheduler="synchronous", n_estimators=12, **options):
    with dask.config.set(scheduler=scheduler):
        return AdaBoostClassifier(n_estimators=n_estimators, **options).fit(X, y, sample_weight)


def assert_same_rounds(found, expected, rtol=1e-12):
    assert [*map(stump_of, found.estimators_)] == [*map(stump_of, expected.estimators_)]
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    for name in FIGURES:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, atol=1e-15)


# -- few values: exact --


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("K", [1, 2, 5])
@pytest.mark.parametrize("weights", ["none", "in memory", "in blocks"])
def test_equals_the_fit_in_memory(dtype, K, weights):
    X, y, w = rounded(K=K, dtype=dtype)
    w[100:140] = 0  # blocks without a row
    w = None if weights == "none" else w
    v = da.from_array(w, chunks=90) if weights == "in blocks" else w
    labels = np.array(["a", "bcd", "ef", "g", "hi"])[y]
    found = fitted(blocks(X), da.from_array(labels, chunks=70), v, n_estimators=40)
    assert_same_rounds(found, fitted(X, labels, w, n_estimators=40))
    assert found.classes_.dtype == labels.dtype


@pytest.mark.parametrize(("learning_rate", "rtol"), [(0.1, 1e-12), (3.0, 1e-12), (23.0, 1e-5)])
def test_any_learning_rate(learning_rate, rtol):
    """A large one has an error of 5e-13, of which weights that are integers of 2⁻⁶⁰ show a millionth."""
    X, y, w = rounded()
    found, expected = (fitted(x, y, w, learning_rate=learning_rate) for x in (blocks(X), X))
    assert_same_rounds(found, expected, rtol)


def test_missing_values_go_left():
    X, y, w = rounded()
    X[np.random.default_rng(1).uniform(size=X.shape) < 0.3] = np.nan
    X[y == 0, 4] = np.nan  # which is worth telling from numbers
    found, expected = (fitted(x, y, w, missing="left") for x in (blocks(X), X))
    assert_same_rounds(found, expected)
    assert -np.inf in [stump.threshold for stump in found.estimators_]
    assert same_bits(found.predict(blocks(X)).compute(scheduler="synchronous"), expected.predict(X))


def test_ties_are_broken_as_in_memory():
    """Equal and reversed features, constant ones, and rows that say the same."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        N, K = rng.integers(5, 60), rng.integers(2, 4)
        x = rng.integers(0, 4, (N, 2)).astype(float)
        X, y = np.column_stack((np.ones(N), x, -x, x)), rng.integers(0, K, N)
        y[:2] = 0, K - 1
        found, expected = (fitted(a, y, n_estimators=1) for a in (da.from_array(X, chunks=(7, 7)), X))
        assert_same_rounds(found, expected)


def test_the_scale_of_weights_does_not_matter():
    X, y, w = rounded()
    w[:100], w[300:] = 0, w[300:] * 2.0**20  # the largest are in the last block
    expected = fitted(blocks(X), y, w)
    for scale in (2.0**-1000, 2.0**1000):
        assert same(fitted(blocks(X), y, w * scale), expected)


def test_many_classes():
    """As many as rows in a block: not as scikit-learn knows regression."""
    X, y = rounded()[0], np.random.default_rng(8).permutation(np.arange(500) % 40)
    found, expected = (fitted(x, y) for x in (da.from_array(X, chunks=(50, 5)), X))
    assert_same_rounds(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stumps_are_those_of_the_driver(dtype, monkeypatch):
    """Also where weights are so small that they are rounded to 0: thresholds pass them by."""
    monkeypatch.setattr("closedform.estimators.boosting_blocks.CHUNK", 37)
    rng = np.random.default_rng(3)
    for _ in range(50):
        N, F, K = rng.integers(1, 200), rng.integers(1, 4), rng.integers(1, 4)
        x, y = rng.standard_normal((7, F)).astype(dtype)[rng.integers(0, 7, N)], rng.integers(0, K, N)
        w = rng.choice([1e-30, 0.3, 1], N) * 2.0 ** rng.integers(-3, 0, N)
        w[0] = 1
        bins = Bins([Values.of(column) for column in x.T])
        scale = 2.0 ** (61 - np.frexp(w.sum())[1])
        sums = Binned(bins.of(x), y, w, K).sums(np.empty(0, int), np.empty((0, BINS, K)), scale)
        assert find_stump(bins, sums) == _boosting.Stumps(x, y, K).find(w)


# -- many values: quantiles --


def merged(column, n):
    """Values of n blocks, in the order of dask's tasks."""
    parts = [Values.of(part) for part in np.array_split(column, n)]
    while len(parts) > 1:
        parts = [sum(parts[i + 1 : i + 8], parts[i]) for i in range(0, len(parts), 8)]
    return parts[0]


def test_values_are_kept_while_they_are_few():
    column = np.random.default_rng(4).permutation(np.arange(4 * KEPT) % KEPT).astype(np.float32)
    found = merged(column, 40)
    assert found.whole
    assert same_bits(found.values, np.arange(KEPT, dtype=np.float32))
    np.testing.assert_array_equal(found.counts, 4)
    for more in (found + Values.of(np.float32([0.5])), found.fewer(200) + found.fewer(200)):
        assert not more.whole


def test_bins_are_quantiles():
    """Of blocks with a value in common that nine rows in ten have; for the others, nearly all bins are left."""
    rng = np.random.default_rng(5)
    column = np.where(rng.uniform(size=64_000) < 0.9, 0.25, rng.exponential(size=64_000))
    column[:32_000].sort()  # blocks that have nothing else in common
    bins = Bins([merged(column, 64)])
    assert not bins.single[0]
    of_rows = bins.of(column[:, None])[0]
    counts = np.bincount(of_rows, minlength=BINS)
    heavy = bins.of(np.array([[0.25]]))[0, 0]
    assert bins.ends[0, heavy] == 0.25
    share = np.sum(column != 0.25) / BINS
    assert np.delete(counts, heavy).max() <= 2 * share
    assert counts[heavy] <= np.sum(column == 0.25) + 2 * share
    assert np.isfinite(bins.ends).sum() == BINS
    for bin in (0, 7, 200):  # what a threshold divides is what the bins do
        np.testing.assert_array_equal(column <= bins.threshold(0, bin, counts > 0), of_rows <= bin)


@pytest.mark.parametrize("K", [2, 4])
def test_many_values_cost_little(K):
    X, y, w = samples(4000, 6, K)
    X[:, 2], X[:, 3] = (
        np.round(X[:, 2]),
        np.round(X[:, 3], 2),
    )  # of few values, which stays exact, and of some 600
    found, expected = (fitted(x, y, w, n_estimators=30) for x in (blocks(X, (900, 1, 1700)), X))
    assert found.training_loss_[-1] <= expected.training_loss_[-1] + 0.01
    assert found.score(X, y, w) >= expected.score(X, y, w) - 0.01
    for stump in found.estimators_:
        assert stump.threshold in X[:, stump.feature] or stump.feature == 2
    loss = np.average(losses(votes(found, X)[-1], y), weights=w)  # thresholds do what the bins did
    assert found.training_loss_[-1] == pytest.approx(loss, rel=1e-11)


# -- on dask --


def test_same_bits_on_any_scheduler(cluster):
    X, y, w = samples(2000)
    x = da.from_array(X, chunks=(100, 5))  # more than one task merges, and values are left out
    lock = threading.Lock()  # which cannot travel
    options = {"n_estimators": 4, "callbacks": (lambda *_: lock.locked(),)}
    expected = fitted(x, y, w, **options)
    assert same(fitted(x, y, w, scheduler="threads", **options), expected)
    with cluster.as_current():
        found = fitted(x, y, w, scheduler=None, **options)
        assert same(found, expected)
        assert same_bits(found.predict_proba(x).compute(), expected.predict_proba(X))


def test_a_killed_worker_does_not_lose_the_fit(cluster):
    (X, y, w), killed = rounded(), []

    def kill(t, loss, model):
        if t == 2:
            held = cluster.has_what()
            victim = max(held, key=lambda worker: len(held[worker]))
            killed.append(cluster.run(os.getpid, workers=[victim])[victim])
            os.kill(killed[0], signal.SIGKILL)

    with cluster.as_current():
        found = fitted(blocks(X), y, w, scheduler=None, n_estimators=5, callbacks=(kill,))
    assert same(found, fitted(blocks(X), y, w, n_estimators=5))
    assert killed[0] not in cluster.run(os.getpid).values()


@pytest.mark.parametrize("sizes", ["columns", "unknown", "empty"])
def test_any_chunks(sizes):
    X, y, w = rounded()
    x = blocks(X)
    u, v = (da.from_array(a, chunks=x.chunks[:1]) for a in (y, w))
    if sizes == "columns":
        x, u, v = x.rechunk((70, 2)), u.rechunk(45), v.rechunk(90)
    else:
        few, kept = (a[:, 0] < 0.5 for a in (x, X))
        kept[:100] &= sizes == "unknown"
        few[:100] &= sizes == "unknown"
        x, u, v, X, y, w = x[few], u[few], v[few], X[kept], y[kept], w[kept]
    found = fitted(x, u, v)
    assert_same_rounds(found, fitted(X, y, w))
    assert same_bits(found.predict(x).compute(scheduler="synchronous"), found.predict(X))


def test_warm_starts_and_interrupts():
    X, y, w = samples(600)
    x = blocks(X)

    def stop(t, *_):
        if t == 3:
            raise KeyboardInterrupt

    model = AdaBoostClassifier(n_estimators=9, callbacks=(stop,), warm_start=True)
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y, w)
        assert len(model.estimators_) == 3
        model.set_params(callbacks=()).fit(x, y, w)
    assert same(model, fitted(x, y, w, n_estimators=9))


@pytest.mark.parametrize("K", [2, 3])
def test_answers_are_mapped_lazily(K):
    X, y, w = samples(500, K=K)
    model, x = fitted(X, y, w, callbacks=(lambda *_: None,)), blocks(X)
    for method in ANSWERS:
        lazy, expected = getattr(model, method)(x), getattr(model, method)(X)
        assert isinstance(lazy, da.Array)
        assert (lazy.dtype, lazy.shape, lazy.chunks[0]) == (expected.dtype, expected.shape, x.chunks[0])
        assert same_bits(lazy.compute(scheduler="synchronous"), expected)
        with pytest.raises(ValueError, match="4 features"):
            getattr(model, method)(x[:, :4])
    with dask.config.set(scheduler="synchronous"):
        assert model.score(x, da.from_array(y, chunks=80)) == model.score(X, y)
    with pytest.raises(TypeError, match="X: expected an array in memory"):
        next(model.staged_predict(x))


def bad(value):
    X = rounded()[0]
    X[330, 3] = value
    return X


MISTAKES = {
    "nan": ({"X": blocks(bad(np.nan))}, "Input X contains NaN"),
    "infinity": ({"X": blocks(bad(np.inf)), "missing": "left"}, "Input X contains infinity"),
    "1d": ({"X": blocks(rounded()[0])[:, 0]}, r"X: expected shape \(N, D\)"),
    "no rows": ({"X": blocks(rounded()[0])[:0], "y": np.empty(0)}, "X: expected 1 row or more; got 0"),
    "no classes": ({"y": None}, "requires y to be passed"),
    "few classes": ({"y": np.ones(499)}, r"y: expected shape \(500,\)"),
    "numbers": ({"y": np.linspace(0, 1, 500)}, "Unknown label type"),
    "class that is nan": ({"y": np.full(500, np.nan)}, "y contains NaN"),
    "negative weight": ({"sample_weight": np.arange(-1, 499)}, "sample_weight"),
    "weight that is nan": ({"sample_weight": da.full(500, np.nan)}, "sample_weight contains NaN"),
    "no weight": ({"sample_weight": np.zeros(500)}, "sample_weight: expected some weight > 0"),
    "estimator": ({"estimator": AdaBoostClassifier()}, "estimator: expected None, as only stumps"),
    "early stopping": ({"n_iter_no_change": 5}, "n_iter_no_change: expected None, as no rows"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    mistake, message = MISTAKES[name]
    X, y, _ = rounded()
    with pytest.raises(ValueError, match=message):
        fitted(**{"X": blocks(X), "y": y} | mistake)
