"""AdaBoostClassifier at the edges: perfect and useless learners, one class, NaN, float32, bad input."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Perceptron
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

import closedform as cf
from closedform.estimators import AdaBoostClassifier, Stump
from closedform.estimators.boosting_data import checked
from test_adaboost import same, samples, stump_of


@pytest.fixture(params=("compiled", "reference"))
def backend(request):
    cf.set_backend(request.param)
    return request.param


@pytest.mark.parametrize(
    ("K", "alpha"), [(2, 0.5 * np.log(2.0**52 - 1)), (3, np.log(2 * (2.0**52 - 1)) / 1.5)]
)
def test_a_perfect_stump_is_the_last(backend, K, alpha):
    """α as of ε = 2⁻⁵². Of three classes, one has no weight."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 203)
    X = rng.standard_normal((203, 3))
    X[:, 1] = y + 0.9 * rng.uniform(size=203)
    w = rng.uniform(0.1, 1, 203)
    X, y, w = np.vstack([X, X[:1]]), np.append(y, K - 1), np.append(w, w[-1] * (K == 2))
    X[-1, 1] = 1.0
    model = AdaBoostClassifier(n_estimators=9).fit(X, y, sample_weight=w)
    assert [stump_of(stump)[::2] for stump in model] == [(1, 0)]
    assert model.estimator_errors_.tolist() == [0.0]
    assert model.estimator_weights_[0] == pytest.approx(alpha)
    assert model.training_loss_[0] == pytest.approx(np.exp(-alpha))
    assert model.score(X, y, sample_weight=w) == 1


def test_perfect_in_a_later_round():
    """A learner whose third fit is of any depth."""

    class Learner(DecisionTreeClassifier):
        fits = 0

        def fit(self, X, y, sample_weight=None):
            Learner.fits += 1
            self.max_depth = 1 if Learner.fits < 3 else None
            return super().fit(X, y, sample_weight=sample_weight)

    X, y, _ = samples(60)
    model = AdaBoostClassifier(Learner(random_state=0)).fit(X, y)
    assert len(model.estimators_) == 3
    assert model.estimator_errors_[-1] == 0
    assert model.score(X, y) == 1


def test_no_stump_is_better_than_chance(backend):
    """Exclusive or: every stump has ε = 1/2; of K like classes, 1 − 1/K. The first one stays, without a say."""
    exclusive_or = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([5, 6, 6, 5])
    for (X, y), K in ((exclusive_or, 2), ((np.ones((6, 2)), np.array([5, 6, 7, 7, 6, 5])), 3)):
        model = AdaBoostClassifier().fit(X, y)
        assert model.estimator_errors_.tolist() == [pytest.approx(1 - 1 / K, rel=1e-15)]
        assert model.estimator_weights_.tolist() == [0]
        np.testing.assert_allclose(model.training_loss_, [1], rtol=1e-15)
        np.testing.assert_allclose(model.predict_proba(X), 1 / K, rtol=1e-15)
        np.testing.assert_array_equal(model.predict(X), [5] * len(y))
        np.testing.assert_array_equal(model.decision_function(X), np.zeros((len(y), 3) if K == 3 else len(y)))
        assert (model.feature_importances_ == 0).all()


def test_a_learner_no_better_than_chance():
    X, y, _ = samples(60, K=2)
    y[:] = np.arange(60) % 2
    with pytest.raises(ValueError, match=r"estimator: .* error below 0.5; .*worse than random.*: 0.5$"):
        AdaBoostClassifier(DummyClassifier(strategy="most_frequent")).fit(X, y)
    y[:5] = 0  # a round is of use, and a second one not
    assert len(AdaBoostClassifier(DummyClassifier(strategy="most_frequent")).fit(X, y)) == 1


def test_one_class(backend):
    X = samples()[0]
    for model in (AdaBoostClassifier(), AdaBoostClassifier(DecisionTreeClassifier(max_depth=1))):
        model.fit(X, ["only"] * len(X))
        assert (len(model), model.n_classes_) == (1, 1)
        assert (model.predict(X) == "only").all()
        np.testing.assert_array_equal(model.predict_proba(X), np.ones((len(X), 1)))
        np.testing.assert_array_equal(model.predict_log_proba(X), np.zeros((len(X), 1)))
        np.testing.assert_array_equal(model.decision_function(X), np.zeros((len(X), 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_go_left(backend, dtype):
    """As −∞ would: gaps that tell the class are found, and so are those that do not."""
    X, y, w = samples(dtype=dtype)
    rng = np.random.default_rng(2)
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    X[:, 3] = np.where(rng.uniform(size=len(y)) < 0.9, np.where(y == 1, np.nan, 0), X[:, 3])
    model = AdaBoostClassifier(n_estimators=15, missing="left").fit(X, y, sample_weight=w)
    lowest = np.where(np.isnan(X), dtype(-1e30), X)
    as_numbers = AdaBoostClassifier(n_estimators=15).fit(lowest, y, sample_weight=w)
    assert -np.inf in [stump.threshold for stump in model]
    for a, b in zip(model, as_numbers, strict=True):
        assert stump_of(a)[2:] == stump_of(b)[2:]
        np.testing.assert_array_equal(a.predict(X), b.predict(lowest))
    np.testing.assert_array_equal(model.estimator_errors_, as_numbers.estimator_errors_)
    np.testing.assert_array_equal(model.predict_proba(X), as_numbers.predict_proba(lowest))
    with pytest.raises(ValueError, match="infinity"):
        model.predict(np.full((1, 5), -np.inf))


def test_nan_are_an_error_unless_asked_for():
    X, y, _ = samples()
    model = AdaBoostClassifier().fit(X, y)
    X[3, 2] = np.nan
    for method in (lambda: model.predict(X), lambda: clone(model).fit(X, y)):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            method()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_are_not_copied(dtype):
    X, y, _ = samples(dtype=dtype)
    model = AdaBoostClassifier(n_estimators=3).fit(X, y)
    assert np.shares_memory(checked(model, X, stumps=True), X)
    assert all(dtype(stump.threshold) == stump.threshold for stump in model)
    fortran = np.asfortranarray(X)
    assert checked(model, fortran, stumps=True).flags.c_contiguous
    assert same(clone(model).fit(fortran, y), model)


def test_thresholds_between_float32():
    """float32 samples are on the right side of thresholds that are none of theirs."""
    ends = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    X = np.array(ends, np.float64)[:, None]
    for t in (
        *X[:, 0],
        X.mean(),
        np.nextafter(X[1, 0], 0),
        np.nextafter(1.0, 0),
        1e300,
        -1e300,
        np.inf,
        -np.inf,
    ):
        stump = Stump(0, float(t), 0, 1, np.arange(2), 1)
        np.testing.assert_array_equal(stump.predict(X.astype(np.float32)), (X[:, 0] > t).astype(int))
        np.testing.assert_array_equal(stump.predict(X), (X[:, 0] > t).astype(int))


def test_equal_values_stay_together(backend):
    X = np.round(samples()[0])
    y = samples()[1]
    model = AdaBoostClassifier(n_estimators=10).fit(X, y)
    assert all(stump.threshold % 1 == 0.5 for stump in model)


def test_importances_are_shares_of_alpha():
    X, y, _ = samples()
    model = AdaBoostClassifier(n_estimators=15).fit(X, y)
    splits = [
        a if s.left_class != s.right_class else 0
        for s, a in zip(model, model.estimator_weights_, strict=True)
    ]
    expected = np.bincount([s.feature for s in model], splits, minlength=5) / model.estimator_weights_.sum()
    np.testing.assert_allclose(model.feature_importances_, expected, rtol=1e-12)
    assert not hasattr(AdaBoostClassifier(), "feature_importances_")
    assert not hasattr(
        AdaBoostClassifier(DummyClassifier(strategy="most_frequent")).fit(X, y), "feature_importances_"
    )


def test_a_stump_by_itself():
    stump = Stump(1, 0.5, 0, 2, np.array(["a", "b", "c"]), 2)
    np.testing.assert_array_equal(stump.predict([[9, 0], [0, 1]]), ["a", "c"])
    assert repr(stump) == "Stump(feature=1, threshold=0.5, left_class=0, right_class=2)"
    with pytest.raises(ValueError, match=r"X: expected shape \(N, 2\); got \(1, 3\)"):
        stump.predict([[1.0, 2, 3]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_estimators": 0}, "n_estimators: expected an integer >= 1; got 0"),
        ({"n_estimators": 2.5}, "n_estimators: expected an integer"),
        ({"learning_rate": 0}, r"learning_rate: expected a finite number in \(0"),
        ({"learning_rate": "fast"}, "learning_rate: expected a number"),
        ({"n_iter_no_change": 0}, "n_iter_no_change: expected an integer >= 1"),
        ({"validation_fraction": 0}, "validation_fraction: expected a finite number"),
        ({"validation_fraction": 1.0}, r"validation_fraction: expected a finite number in \(0, 1\); got 1.0"),
        ({"tol": -1}, "tol: expected a finite number"),
        ({"warm_start": "no"}, "^warm_start: expected True or False; got 'no'"),
        (
            {"callbacks": print},
            "^callbacks: expected a list or tuple of functions; got <built-in function print>",
        ),
        ({"missing": "mean"}, r"missing: expected one of \('error', 'left'\); got 'mean'"),
        ({"missing": "left", "estimator": DecisionTreeClassifier()}, "missing: expected 'error'"),
        (
            {"estimator": KNeighborsClassifier()},
            "estimator: .*KNeighborsClassifier doesn't support sample_weight",
        ),
    ],
)
def test_options_are_checked(options, message):
    X, y, _ = samples()
    with pytest.raises((ValueError, TypeError), match=message):
        AdaBoostClassifier(**options).fit(X, y)


def test_bad_samples():
    X, y, w = samples()
    model = AdaBoostClassifier()
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        model.fit(X, y, sample_weight=-w)
    with pytest.raises(ValueError, match=r"only zeros|at least one non-zero number"):
        model.fit(X, y, sample_weight=0 * w)
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, w)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.where(X > 1, np.inf, X), y)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        model.fit(pytest.importorskip("scipy.sparse").csr_array(X), y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_learners_may_keep_their_weights():
    """Those of a round are not changed by the next."""

    class Keeping(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None):
            self.weights_, self.sum_ = sample_weight, sample_weight.sum()
            return super().fit(X, y, sample_weight=sample_weight)

    X, y, w = samples()
    model = AdaBoostClassifier(Keeping(max_depth=1), n_estimators=3, random_state=0).fit(
        X, y, sample_weight=w
    )
    np.testing.assert_allclose(model.estimators_[0].weights_, w / w.sum(), rtol=1e-14)
    assert all(tree.sum_ == tree.weights_.sum() == pytest.approx(1) for tree in model)


def test_a_linear_learner_on_other_labels():
    """Labels are handed down as they are."""
    X, y, _ = samples()
    labels = np.array(["x", "a", "m"])[y]
    model = AdaBoostClassifier(Perceptron(), n_estimators=4, random_state=0).fit(X, labels)
    assert set(model.predict(X)) <= {"a", "m", "x"}
    assert model.score(X, labels) > 0.6
