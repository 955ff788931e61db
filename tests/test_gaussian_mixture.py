"""GaussianMixture, where scikit-learn has the same: its answers, its checks, its pipelines; weights and bad input."""

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import mixture as sklearn_mixture
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import closedform as cf
from closedform.estimators import GaussianMixture

KINDS = ("full", "tied", "diag", "spherical")
INITS = ("kmeans", "k-means++", "random", "random_from_data")
BACKENDS = ("compiled", "reference")
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture(params=BACKENDS)
def backend(request):
    cf.set_backend(request.param)
    return request.param


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def samples(N=331, D=5, K=3, seed=0, dtype=np.float64):
    """K overlapping clouds of unequal sizes and shapes: EM takes many steps on them."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((K, D))
    label = rng.choice(K, N, p=np.arange(1, K + 1) / np.arange(1, K + 1).sum())
    shapes = rng.standard_normal((K, D, D)) / np.sqrt(D) + 0.3 * np.eye(D)
    x = centres[label] + np.einsum("nij,nj->ni", shapes[label], rng.standard_normal((N, D)))
    return x.astype(dtype)


def given_start(X, K, kind, seed=0):
    """weights_init, means_init, precisions_init: nothing is left to chance."""
    rng = np.random.default_rng(seed)
    D, variance = X.shape[1], float(X.var(axis=0).mean())
    one = {
        "full": np.stack([np.eye(D)] * K),
        "tied": np.eye(D),
        "diag": np.ones((K, D)),
        "spherical": np.ones(K),
    }[kind]
    weights = rng.uniform(1, 2, K)
    return {
        "weights_init": weights / weights.sum(),
        "means_init": X[rng.choice(len(X), K, replace=False)].astype(np.float64),
        "precisions_init": one / variance,
    }


def fitted(X, K=3, *, sample_weight=None, model=GaussianMixture, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        given = {} if sample_weight is None else {"sample_weight": sample_weight}
        return model(K, **options).fit(X, **given)


def assert_same_mixture(found, expected, rtol=1e-9, atol=1e-11):
    for name in PARAMETERS:
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=rtol, atol=atol, err_msg=name
        )


CHECKS = [
    pair for kind in KINDS for pair in estimator_checks_generator(GaussianMixture(covariance_type=kind))
]


@pytest.mark.parametrize(
    ("estimator", "check"), CHECKS, ids=[f"{e.covariance_type}-{check.func.__name__}" for e, check in CHECKS]
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("init_params", INITS)
@pytest.mark.parametrize("max_iter", [2, 60])
def test_scikit_learn_gives_the_same(backend, kind, init_params, max_iter):
    if kind == "tied" and init_params in ("k-means++", "random_from_data"):
        pytest.skip(
            "its first covariance is XᵀX of all rows over the K chosen ones; ours is of the chosen ones"
        )
    X = samples()
    options = {"covariance_type": kind, "init_params": init_params, "max_iter": max_iter, "random_state": 3}
    found = fitted(X, tol=1e-5, **options)
    expected = fitted(X, tol=1e-5, **options, model=sklearn_mixture.GaussianMixture)
    assert_same_mixture(found, expected, rtol=1e-7, atol=1e-9)
    assert (found.n_iter_, found.converged_) == (expected.n_iter_, expected.converged_)
    # Singletons begin with weights that sum to 1 here, to K / N there: the first bound differs by that constant.
    assert found.lower_bound_ == found.lower_bounds_[-1] == pytest.approx(expected.lower_bound_, rel=1e-10)
    if hasattr(expected, "lower_bounds_"):  # since 1.7
        np.testing.assert_allclose(found.lower_bounds_[1:], expected.lower_bounds_[1:], rtol=1e-10)
    Y = samples(seed=1)
    np.testing.assert_allclose(found.score_samples(Y), expected.score_samples(Y), rtol=1e-7)
    np.testing.assert_allclose(found.predict_proba(Y), expected.predict_proba(Y), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found.predict(Y), expected.predict(Y))
    for method in ("score", "bic", "aic"):
        assert getattr(found, method)(Y) == pytest.approx(getattr(expected, method)(Y), rel=1e-9)
    for ours, theirs in zip(found.sample(20), expected.sample(20), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_scikit_learn_gives_the_same_from_a_given_start(backend, kind):
    X = samples()
    options = {"covariance_type": kind, "tol": 0.0, "max_iter": 12, **given_start(X, 3, kind)}
    found, expected = fitted(X, **options), fitted(X, **options, model=sklearn_mixture.GaussianMixture)
    assert_same_mixture(found, expected)
    assert found.lower_bound_ == pytest.approx(expected.lower_bound_, rel=1e-11)


def test_no_iterations_leave_the_given_start(backend, kind):
    X = samples()
    start = given_start(X, 3, kind)
    model = GaussianMixture(3, covariance_type=kind, max_iter=0, **start).fit(X)
    for name in ("weights", "means", "precisions"):
        np.testing.assert_allclose(getattr(model, name + "_"), start[name + "_init"], rtol=1e-12)
    assert (model.n_iter_, model.converged_, model.lower_bounds_) == (0, False, [])


@pytest.mark.parametrize("N", [127, 128, 129, 385])  # around the chunk of 128 rows
def test_backends_agree(kind, N):
    X, w = samples(N), np.random.default_rng(5).integers(0, 4, N).astype(float)
    models = []
    for name in BACKENDS:
        with cf.use_backend(name):
            models.append(fitted(X, covariance_type=kind, sample_weight=w, random_state=0, tol=1e-6))
    assert_same_mixture(*models, rtol=1e-8)
    np.testing.assert_allclose(models[0].lower_bounds_, models[1].lower_bounds_, rtol=1e-11)


def test_likelihood_never_falls(backend, kind):
    bounds = fitted(samples(), covariance_type=kind, reg_covar=0, tol=0, max_iter=80).lower_bounds_
    assert min(np.diff(bounds)) >= -1e-13 * abs(bounds[0])


# -- weights --


def test_integer_weights_are_repeated_rows(backend, kind):
    X = samples()
    w = np.random.default_rng(1).integers(0, 4, len(X))
    options = {"covariance_type": kind, "tol": 0.0, "max_iter": 8, **given_start(X, 3, kind)}
    weighted = fitted(X, sample_weight=w, **options)
    assert_same_mixture(weighted, fitted(np.repeat(X, w, axis=0), **options))


@pytest.mark.parametrize("init_params", INITS)
def test_rows_of_weight_zero_are_not_there(kind, init_params):
    X = samples()
    w = np.random.default_rng(1).uniform(0.5, 2, len(X))
    w[::3] = 0
    options = {"covariance_type": kind, "init_params": init_params, "random_state": 0, "max_iter": 8}
    kept = fitted(X[w > 0], sample_weight=w[w > 0], **options)
    X[w == 0] = 1e6
    for name in PARAMETERS:
        assert getattr(fitted(X, sample_weight=w, **options), name).tobytes() == getattr(kept, name).tobytes()


def test_weights_begin_too(kind):
    """The beginning by k-means is weighted: with one component, the whole fit is the weighted moments."""
    X, w = samples(), np.random.default_rng(1).uniform(0, 5, 331)
    model = fitted(X, 1, sample_weight=w, covariance_type=kind, max_iter=0, reg_covar=0)
    np.testing.assert_allclose(model.means_[0], np.average(X, axis=0, weights=w), rtol=1e-12)
    cov = np.cov(X.T, aweights=w, ddof=0)
    expected = {"full": cov[None], "tied": cov, "diag": np.diag(cov)[None], "spherical": [np.trace(cov) / 5]}
    np.testing.assert_allclose(model.covariances_, expected[kind], rtol=1e-11)


def test_k_means_is_weighted():
    X, w = samples(), np.random.default_rng(1).uniform(0, 5, 331) ** 4
    centres = [
        KMeans(3, n_init=1, random_state=0).fit(X, sample_weight=weights).cluster_centers_
        for weights in (w, None)
    ]
    model = fitted(X, sample_weight=w, random_state=0, max_iter=0)
    np.testing.assert_allclose(model.means_, centres[0], rtol=1e-6)
    assert np.abs(centres[0] - centres[1]).max() > 0.01


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(331), "zero"),
        (np.full(331, -1.0), "Negative values"),
        (np.full(331, np.nan), "sample_weight contains NaN"),
        (np.ones(330), "sample_weight"),
        (np.full(331, 1e-20), "^sample_weight: expected a finite sum of 1e-06 or more"),
        (np.full(331, 1e307), "^sample_weight: expected a finite sum"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2).fit(samples(), sample_weight=weights)


# -- float32 --


def test_float32_samples_give_the_float64_answer(backend, kind):
    X = samples(dtype=np.float32)
    options = {"covariance_type": kind, "tol": 0.0, "max_iter": 10, **given_start(X, 3, kind)}
    found, expected = fitted(X, **options), fitted(X.astype(np.float64), **options)
    eps = np.finfo(np.float32).eps
    for name in PARAMETERS:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == np.float64
        assert np.abs(a - b).max() <= 50 * eps * np.abs(b).max(), name
    assert found.score_samples(X).dtype == found.predict_proba(X).dtype == np.float32


def test_float32_far_from_zero(backend, kind):
    X = samples(dtype=np.float32) + np.float32(1e4)
    model = fitted(X, covariance_type=kind, random_state=0)
    same = fitted(X.astype(np.float64), covariance_type=kind, random_state=0)
    np.testing.assert_allclose(model.covariances_, same.covariances_, rtol=1e-3, atol=1e-4)


def test_variance_stays_positive_in_float32(backend):
    X = np.array([[9999.0], [0.0]], np.float32)
    model = fitted(X, 2, covariance_type="spherical", reg_covar=0.1, random_state=0)
    np.testing.assert_allclose(model.covariances_, 0.1, rtol=1e-6)


# -- fits one after the other --


def test_warm_start_goes_on(backend, kind):
    X, options = samples(), {"covariance_type": kind, "random_state": 0, "tol": 0.0}
    whole = fitted(X, max_iter=6, **options)
    model = fitted(X, max_iter=2, warm_start=True, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X).fit(X)
    assert_same_mixture(model, whole, rtol=1e-12)
    assert model.lower_bounds_ == whole.lower_bounds_[4:]


def test_warm_start_with_other_data():
    model = GaussianMixture(2, warm_start=True).fit(samples())
    with pytest.raises(ValueError, match="warm_start: expected 2 components and 5 features"):
        model.fit(samples(D=4))
    with pytest.raises(ValueError, match="n_components = 3"):
        model.set_params(n_components=3).fit(samples())


@pytest.mark.parametrize(("before", "after"), [("tied", "diag"), ("diag", "tied"), ("full", "spherical")])
def test_options_that_no_longer_fit_the_parameters(before, after):
    X = samples(D=3)
    model = GaussianMixture(3, covariance_type=before, warm_start=True, random_state=0).fit(X)  # K = D
    message = f"covariance_type '{before}', as fitted before; got '{after}'"
    model.set_params(covariance_type=after)
    for go_on in (lambda: model.fit(X), lambda: model.partial_fit(X), lambda: model.merge(model)):
        with pytest.raises(ValueError, match=message):
            go_on()
    with pytest.raises(ValueError, match="partial_fit: expected 3 components"):
        model.set_params(covariance_type=before, n_components=4).partial_fit(X)


def test_the_most_likely_of_several_beginnings_is_kept(backend):
    X = samples(K=6)
    options = {"init_params": "random_from_data", "max_iter": 5}
    rng = np.random.RandomState(0)
    each = [fitted(X, 6, random_state=rng, **options) for _ in range(4)]
    best = fitted(X, 6, random_state=np.random.RandomState(0), n_init=4, **options)
    assert len({model.lower_bound_ for model in each}) > 1
    assert_same_mixture(best, max(each, key=lambda model: model.lower_bound_), rtol=0, atol=0)


def test_the_same_bits_for_any_number_of_threads(kind):
    X, bits = samples(5000), set()
    for n in (1, 2, 5):
        cf.set_num_threads(n)
        model = fitted(X, covariance_type=kind, random_state=0, max_iter=5, init_params="random")
        bits.add(b"".join(getattr(model, name).tobytes() for name in PARAMETERS))
    assert len(bits) == 1


def test_pickle(kind):
    X = samples()
    model = fitted(X, covariance_type=kind)
    again = pickle.loads(pickle.dumps(model))
    assert again.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    assert_same_mixture(again.merge(model), model.merge(model), rtol=0, atol=0)


def test_pipeline_in_a_grid_search():
    search = GridSearchCV(
        make_pipeline(PCA(2), GaussianMixture(random_state=0, tol=1e-2)),
        {"gaussianmixture__n_components": [1, 3], "gaussianmixture__covariance_type": ["full", "diag"]},
        cv=3,
    ).fit(samples(600))
    assert search.best_params_["gaussianmixture__n_components"] == 3
    assert search.best_estimator_.predict(samples(600)).shape == (600,)


# -- bad input --


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (samples(2), "Expected n_samples >= n_components but got n_components = 3, n_samples = 2"),
        (samples(1), "minimum of 2 is required"),
        (np.full((5, 2), np.inf), "infinity"),
        (np.full((5, 2), np.nan), "NaN"),
        (np.ones(5), "2D array"),
    ],
)
def test_bad_samples(X, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3).fit(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components: expected an integer >= 1; got 0"),
        ({"max_iter": -1}, "max_iter: expected an integer >= 0"),
        ({"tol": -1.0}, "tol: expected a finite number"),
        ({"reg_covar": -1e-6}, "reg_covar: expected a finite number"),
        ({"reg_covar": "large"}, "reg_covar: expected a number"),
        ({"covariance_type": "half"}, "covariance_type: expected one of"),
        ({"init_params": "zeros"}, "init_params: expected one of"),
        ({"on_singular": "ignore"}, "on_singular: expected one of"),
        ({"fixed": "precisions"}, "fixed: expected one of"),
        ({"missing": "drop"}, "missing: expected one of"),
        ({"missing": "marginalise", "covariance_type": "diag"}, "missing: expected 'error'"),
        ({"learning_decay": 0.5}, "learning_decay: expected"),
        ({"weights_init": [0.5, 0.4]}, "should be normalized"),
        ({"means_init": np.full((2, 5), np.nan)}, "means_init: expected finite numbers"),
        ({"means_init": np.ones((2, 4))}, "'means' should have the shape"),
        ({"precisions_init": -np.ones((2, 5, 5))}, "symmetric, positive-definite"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianMixture(**{"n_components": 2, **options}).fit(samples())


def test_the_arrays_of_the_caller_stay_as_they_are():
    X = samples()
    start = given_start(X, 3, "full")
    before = {name: a.copy() for name, a in start.items()}
    fitted(X, **start)
    for name, a in start.items():
        np.testing.assert_array_equal(a, before[name])


def test_not_fitted():
    for call in (lambda m: m.predict(samples()), lambda m: m.sample(), lambda m: m.marginal([0])):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call(GaussianMixture())
    assert not hasattr(GaussianMixture(), "precisions_")
