"""AdaBoostClassifier: the derivation, scikit-learn's answers, what happens at the edges, bad input."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import datasets, ensemble
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Perceptron
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator

import closedform as cf
from closedform.estimators import AdaBoostClassifier, Stump
from closedform.estimators.boosting_data import checked
from closedform.estimators.boosting_votes import most_probable, probabilities

FIGURES = ("estimator_weights_", "estimator_errors_", "training_loss_")
STAGED = ("predict", "predict_proba", "decision_function")


@pytest.fixture(params=("compiled", "reference"))
def backend(request):
    cf.set_backend(request.param)
    return request.param


def samples(N=203, F=5, K=3, seed=0, dtype=np.float64):
    """Classes that overlap, of unequal sizes, and weights: no stump is perfect, and many rounds are of use."""
    rng = np.random.default_rng(seed)
    y = rng.choice(K, N, p=np.arange(1, K + 1) / np.arange(1, K + 1).sum())
    X = rng.standard_normal((N, F)) + 0.7 * rng.standard_normal((K, F))[y]
    return X.astype(dtype), y, rng.uniform(0.2, 3, N)


def stump_of(stump):
    return stump.feature, stump.threshold, stump.left_class, stump.right_class


def same(a, b):
    """The same rounds, to the bit."""
    figures = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIGURES)
    return figures and [*map(stump_of, a.estimators_)] == [*map(stump_of, b.estimators_)]


CHECKS = [
    (estimator, check)
    for model in (
        AdaBoostClassifier(),
        AdaBoostClassifier(missing="left", n_iter_no_change=10, validation_fraction=0.2),
    )
    for estimator, check in estimator_checks_generator(model)
    # Samples that are held back are not the same when rows are repeated in place of weights.
    if not (model.n_iter_no_change and "sample_weight_equivalence" in check.func.__name__)
]


@pytest.mark.parametrize(
    ("estimator", "check"), CHECKS, ids=[f"{e.missing}-{check.func.__name__}" for e, check in CHECKS]
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


# -- the derivation --


def votes(model, X):
    """g^k(x) = Σ_t α_t [f_t(x) = k] after each round, (T, N, K), from the stumps' own predictions."""
    said = [stump.predict(X)[:, None] == model.classes_ for stump in model.estimators_]
    return np.cumsum(model.estimator_weights_[:, None, None] * said, axis=0)


def losses(g, y):
    """exp((1/(K−1)) Σ_{k≠y} g^k − g^y) of each sample, (N,), written as it stands."""
    K = g.shape[1]
    own = np.take_along_axis(g, y[:, None], axis=1)[:, 0]
    return np.exp((g.sum(axis=1) - own) / (K - 1) - own)


@pytest.mark.parametrize(("K", "learning_rate"), [(2, 1.0), (3, 0.3), (5, 1.0)])
def test_rounds_follow_the_derivation(backend, K, learning_rate):
    """Each stump is that of least error for D ∝ the loss of g so far; α is the one derived; the loss is Π Z_t."""
    X, y, w = samples(K=K)
    model = AdaBoostClassifier(n_estimators=12, learning_rate=learning_rate).fit(X, y, sample_weight=w)
    g, product = votes(model, X), 1.0
    for t, stump in enumerate(model.estimators_):
        terms = w / w.sum() * (losses(g[t - 1], y) if t else 1)
        D = terms / terms.sum()
        error = D[stump.predict(X) != y].sum()
        assert error == pytest.approx(cf.find_stump(X, y, D, K).error, rel=1e-9)
        assert error == pytest.approx(model.estimator_errors_[t], rel=1e-9)
        alpha = learning_rate * cf.samme_alpha(model.estimator_errors_[t], K)
        assert alpha == model.estimator_weights_[t]
        product *= error * np.exp(alpha / (K - 1)) + (1 - error) * np.exp(-alpha)
        loss = np.average(losses(g[t], y), weights=w)
        np.testing.assert_allclose([model.training_loss_[t], product], loss, rtol=1e-9)


@pytest.mark.parametrize("learning_rate", [1e-7, 1e-3, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("K", [2, 4])
def test_training_loss_never_rises(learning_rate, K):
    for X, y in (samples(K=K, seed=5)[:2], (np.ones((30, 2)), np.arange(30) % K)):
        y[:3] = 0
        model = AdaBoostClassifier(n_estimators=60, learning_rate=learning_rate).fit(X, y)
        assert (np.diff(model.training_loss_) <= 0).all()
        assert model.training_loss_[0] <= 1


def test_rounding_does_not_lift_the_loss():
    """After some 290 rounds an advantage of 1e-10 is left: Z is 1 − 1e-20, and once comes out above 1."""
    y = np.random.default_rng(2).integers(0, 10, 200)
    model = AdaBoostClassifier(n_estimators=300).fit(np.ones((200, 1)), y)
    assert (np.diff(model.training_loss_) <= 0).all()


def test_probabilities_minimise_the_expected_loss(backend):
    """Where all features are constant, they become the shares of the classes."""
    y, shares = np.repeat([0, 1, 2], [60, 30, 10]), [0.6, 0.3, 0.1]
    model = AdaBoostClassifier(n_estimators=300).fit(np.ones((100, 2)), y)
    np.testing.assert_allclose(model.predict_proba([[1, 1]])[0], shares, rtol=1e-4)
    assert {stump.threshold for stump in model.estimators_} == {np.inf}
    assert (model.feature_importances_ == 0).all()
    two = AdaBoostClassifier().fit(np.ones((100, 2)), y == 2)  # two classes need one round
    assert len(two.estimators_) == 1
    np.testing.assert_allclose(two.predict_proba([[1, 1]])[0], [0.9, 0.1], rtol=1e-12)


@pytest.mark.parametrize("K", [2, 3, 7])
def test_what_is_predicted(backend, K):
    X, y, w = samples(K=K)
    names = np.array([f"class {k}" for k in range(K)])
    model = AdaBoostClassifier(n_estimators=15).fit(X, names[y], sample_weight=w)
    new = samples(97, K=K, seed=1)[0]
    p, d = model.predict_proba(new), model.decision_function(new)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(model.predict(new), names[p.argmax(axis=1)])
    np.testing.assert_allclose(model.predict_log_proba(new), np.log(p), rtol=1e-12, atol=1e-15)
    said = [stump.predict(new)[:, None] == names for stump in model.estimators_]
    g = np.tensordot(model.estimator_weights_, said, 1)
    e = np.exp(K / (K - 1) * g)
    np.testing.assert_allclose(p, e / e.sum(axis=1, keepdims=True), rtol=1e-12)
    mean = np.tensordot(model.estimator_weights_, np.where(said, 1, -1 / (K - 1)), 1)
    mean = mean / model.estimator_weights_.sum()
    np.testing.assert_allclose(d, mean[:, 1] - mean[:, 0] if K == 2 else mean, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("K", [2, 3, 10])
def test_the_most_probable_class_is_that_of_the_largest_probability(K):
    """Also where votes differ by rounding errors, which probabilities are too coarse to show."""
    rng = np.random.default_rng(K)
    for scale in (1e-16, 1e-15, 3e-15, 1e-10, 1.0):
        for level in (0.0, 0.3, 5.0):
            g = level + scale * rng.uniform(-1, 1, (K, 3000))
            np.testing.assert_array_equal(most_probable(g), probabilities(g).argmax(axis=1))
            clear = np.diff(np.sort(g, axis=0)[-2:], axis=0)[0] > 4e-15
            np.testing.assert_array_equal(most_probable(g)[clear], g.argmax(axis=0)[clear])


def test_rows_do_not_depend_on_their_batch(monkeypatch):
    X, y, _ = samples(N=300)
    model = AdaBoostClassifier(n_estimators=15).fit(X, y)
    whole = {name: getattr(model, name)(X) for name in STAGED}
    monkeypatch.setattr("closedform.estimators.boosting_votes.CHUNK", 37)
    for name, expected in whole.items():
        np.testing.assert_array_equal(getattr(model, name)(X), expected)
        np.testing.assert_array_equal(getattr(model, name)(X[5:6]), expected[5:6])


@pytest.mark.parametrize("K", [2, 3])
def test_stages_are_the_ensembles_of_fewer_rounds(K):
    X, y, w = samples(K=K)
    model = AdaBoostClassifier(n_estimators=20).fit(X, y, sample_weight=w)
    stages = {name: list(getattr(model, "staged_" + name)(X)) for name in STAGED}
    scores = list(model.staged_score(X, y, sample_weight=w))
    for t in range(20):
        shorter = AdaBoostClassifier(n_estimators=t + 1).fit(X, y, sample_weight=w)
        for name, staged in stages.items():
            np.testing.assert_array_equal(staged[t], getattr(shorter, name)(X))
        assert scores[t] == shorter.score(X, y, sample_weight=w)
        assert len(staged) == len(scores) == len(model) == 20


def test_backends_agree():
    X, y, w = samples(K=4)
    with cf.use_backend("reference"):
        twin = AdaBoostClassifier(n_estimators=25).fit(X, y, sample_weight=w)
    model = AdaBoostClassifier(n_estimators=25).fit(X, y, sample_weight=w)
    assert [*map(stump_of, model.estimators_)] == [*map(stump_of, twin.estimators_)]
    for name in FIGURES:
        np.testing.assert_allclose(getattr(model, name), getattr(twin, name), rtol=1e-10)


def test_any_number_of_threads_gives_the_same_bits():
    X, y, w = samples(N=3001, F=17, K=4, dtype=np.float32)
    models = []
    for n in (1, 2, 3, 7):
        with cf.num_threads(n):
            models.append(AdaBoostClassifier(n_estimators=12).fit(X, y, sample_weight=w))
            models[-1].proba = models[-1].predict_proba(X)
    for model in models[1:]:
        assert same(model, models[0])
        assert np.array_equal(model.proba, models[0].proba)


# -- beside scikit-learn --


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("learning_rate", [1.0, 0.4])
def test_scikit_learn_gives_the_same_with_its_trees(K, learning_rate):
    X, y, w = samples(K=K)
    options = {"n_estimators": 10, "learning_rate": learning_rate, "random_state": 3}
    tree = DecisionTreeClassifier(max_depth=2, max_features=2)  # which depends on its random_state
    ours = AdaBoostClassifier(tree, **options).fit(X, y, sample_weight=w)
    theirs = ensemble.AdaBoostClassifier(tree, **options).fit(X, y, sample_weight=w)
    seeds = [tree.random_state for tree in ours]
    assert seeds == [tree.random_state for tree in theirs]
    assert len(set(seeds)) == 10
    np.testing.assert_allclose(ours.estimator_errors_, theirs.estimator_errors_, rtol=1e-9)
    np.testing.assert_allclose(ours.estimator_weights_, (K - 1) / K * theirs.estimator_weights_, rtol=1e-9)
    for name in ("decision_function", "feature_importances_"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        found, expected = (a(X) if callable(a) else a for a in (found, expected))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert list(ours.staged_score(X, y, w)) == pytest.approx(list(theirs.staged_score(X, y, w)))


@pytest.mark.parametrize(
    ("load", "rounds", "splits"),
    [(datasets.load_digits, 50, 1), (datasets.load_breast_cancer, 50, 2), (datasets.load_wine, 25, 15)],
    ids=["digits", "breast cancer", "wine"],
)
def test_as_accurate_as_scikit_learn(load, rounds, splits):
    X, y = load(return_X_y=True)
    tree, ours, theirs = DecisionTreeClassifier(max_depth=1, random_state=0), [], []
    for seed in range(splits):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.3, stratify=y, random_state=seed
        )
        model = AdaBoostClassifier(n_estimators=rounds).fit(X_train, y_train)
        ours.append(model.score(X_test, y_test))
        model = ensemble.AdaBoostClassifier(tree, n_estimators=rounds, random_state=0).fit(X_train, y_train)
        theirs.append(model.score(X_test, y_test))
    assert np.mean(ours) >= np.mean(theirs) - 0.01


def test_pipelines_searches_clones_and_pickles():
    X, y, _ = samples()
    pipeline = make_pipeline(StandardScaler(), AdaBoostClassifier())
    grid = {"adaboostclassifier__n_estimators": [1, 20], "adaboostclassifier__learning_rate": [0.5, 1.0]}
    found = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert found.best_params_["adaboostclassifier__n_estimators"] == 20
    model = found.best_estimator_[-1]
    copy = pickle.loads(pickle.dumps(model))
    assert same(copy, model)
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    assert len(pickle.dumps(model)) < 10_000  # no samples in it
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_large_learning_rates_overflow_nothing(backend):
    """Weights are divided by their sum as they change, and no α has an infinite exponential."""
    X, y = datasets.load_iris(return_X_y=True)
    for learning_rate in (23.0, 1e6):
        model = AdaBoostClassifier(n_estimators=30, learning_rate=learning_rate).fit(X, y)
        assert np.isfinite(model.estimator_weights_).all()
        assert np.isfinite(model.predict_proba(X)).all()
    assert model.estimator_weights_.max() == 700


# -- weights of samples --


def test_weights_are_repeated_rows_and_no_rows(backend):
    X, y, _ = samples()
    w = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = AdaBoostClassifier(n_estimators=12).fit(X, y, sample_weight=w)
    repeated = AdaBoostClassifier(n_estimators=12).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    assert [*map(stump_of, weighted.estimators_)] == [*map(stump_of, repeated.estimators_)]
    for name in FIGURES:
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9)
    dropped = AdaBoostClassifier(n_estimators=12).fit(X[w > 0], y[w > 0], sample_weight=w[w > 0])
    assert same(weighted, dropped)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**1020])
def test_the_scale_of_weights_does_not_matter(backend, scale):
    X, y, w = samples()
    model = AdaBoostClassifier(n_estimators=5)
    assert same(clone(model).fit(X, y, sample_weight=w), clone(model).fit(X, y, sample_weight=w * scale))


def test_a_class_without_weight_is_a_class(backend):
    """As scikit-learn has it: nobody votes for it."""
    X, y, w = samples()
    model = AdaBoostClassifier(n_estimators=5).fit(X, y, sample_weight=w * (y != 1))
    assert model.n_classes_ == 3
    assert 1 not in model.predict(X)
    assert model.predict_proba(X).shape == (len(X), 3)


# -- edges --


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


def test_perfect_in_a_later_round(backend):
    """A learner that needs to be wrong first: it looks at a sample of weight more than a half, and then at all."""

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
        ({"tol": -1}, "tol: expected a finite number"),
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
