"""AdaBoostClassifier: the derivation, scikit-learn's answers, weights of samples."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import datasets, ensemble
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator

import closedform as cf
from closedform.estimators import AdaBoostClassifier
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
