"""PCA: where scikit-learn has the same, its answers and its checks; weights, batches, merging, bad input."""

import pickle
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.stats import multivariate_normal
from sklearn import decomposition
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits

import closedform as cf
from closedform.estimators import PCA, GaussianMixture, Moments
from closedform.estimators.pca_spectrum import most_likely_dimension
from conftest import run_python, same_bits

SOLVERS = ("full", "covariance_eigh", "arpack", "randomized", "auto")
DTYPES = (np.float32, np.float64)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
every_solver = pytest.mark.parametrize("solver", SOLVERS)
FITTED = (
    "components_", "explained_variance_", "explained_variance_ratio_", "singular_values_", "mean_", "noise_variance_"
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread_of_blas():
    """On small matrices, a second one that has to wait for a busy machine costs more than it helps."""
    with threadpool_limits(1, user_api="blas"):
        yield


def samples(N=211, D=9, dtype=np.float64, offset=3.0, seed=0):
    """Correlated rows; deviations along the axes fall from 4 to 1/2, no two alike."""
    rng = np.random.default_rng([seed, N, D])
    axes, _ = np.linalg.qr(rng.standard_normal((D, D)))
    x = rng.standard_normal((N, D)) * np.geomspace(4, 0.5, D) @ axes
    return (x + offset * np.arange(D)).astype(dtype)


def assert_same_pca(found, expected, rtol=1e-9):
    for name in FITTED:
        want = np.asarray(getattr(expected, name))
        atol = rtol * np.max(np.abs(want), initial=0)
        np.testing.assert_allclose(getattr(found, name), want, rtol=rtol, atol=atol, err_msg=name)
    assert found.n_components_ == expected.n_components_


CHECKS = [
    pair for model in (PCA(), PCA(n_components=1, missing="em")) for pair in estimator_checks_generator(model)
]


@pytest.mark.parametrize(
    ("estimator", "check"), CHECKS, ids=[f"{e.missing}-{check.func.__name__}" for e, check in CHECKS]
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


# -- as scikit-learn's --


@every_dtype
@pytest.mark.parametrize(("N", "D"), [(211, 9), (60, 17), (12, 30)])
@pytest.mark.parametrize("n_components", [0, 1, 5, None, 0.7, "mle"])
@pytest.mark.parametrize("solver", ["full", "covariance_eigh", "auto"])
def test_scikit_learn_gives_the_same(solver, n_components, N, D, dtype):
    if N < D and (n_components == "mle" or solver == "covariance_eigh"):
        pytest.skip(
            "'mle' needs N >= D; scikit-learn's noise of a covariance is the mean of D - K, not of N - K"
        )
    X, Y = samples(N, D, dtype), samples(20, D, dtype, seed=1)
    found = PCA(n_components, svd_solver=solver).fit(X)
    expected = decomposition.PCA(n_components, svd_solver="full").fit(X.astype(np.float64))
    eps = np.finfo(dtype).eps
    if N < D:  # the last variance is 0: any direction will do
        found.components_[N - 1 :] = expected.components_[N - 1 :]
    assert_same_pca(found, expected, rtol=1e4 * eps)
    for name in FITTED[:-1]:
        assert getattr(found, name).dtype == dtype
    assert (found.n_samples_, found.n_features_in_) == (N, D)
    size = 1e4 * eps * np.abs(X).max()
    np.testing.assert_allclose(found.transform(Y), expected.transform(Y), atol=size)
    if n_components not in (0, "mle"):
        back = expected.inverse_transform(expected.transform(Y))
        np.testing.assert_allclose(found.inverse_transform(found.transform(Y)), back, atol=size)
    np.testing.assert_allclose(found.get_covariance(), expected.get_covariance(), atol=size)


@pytest.mark.parametrize("solver", ["arpack", "randomized"])
@pytest.mark.parametrize("weighted", [False, True])
def test_iterative_solvers_find_the_largest(solver, weighted):
    X = samples(60, 40)
    w = np.random.default_rng(1).uniform(0.5, 3, 60) if weighted else None
    options = {"random_state": 0, "iterated_power": 30}
    found = PCA(4, svd_solver=solver, **options).fit(X, sample_weight=w)
    assert found.svd_solver_ == solver
    assert_same_pca(found, PCA(4, svd_solver="full").fit(X, sample_weight=w), rtol=1e-8)


def test_auto_takes_the_covariance_where_that_is_exact_and_fast():
    for N, D, k, solver in (
        (10, 50, 5, "full"),
        (1000, 50, 50, "covariance_eigh"),
        (1000, 500, 400, "full"),
        (1000, 500, 10, "covariance_eigh"),
        (1000, 500, 0.5, "full"),
        (600, 590, "mle", "full"),
        (400, 800, 10, "randomized"),
        (1100, 1001, 10, "randomized"),
    ):
        if isinstance(k, int):
            model = PCA(k, random_state=0).fit(np.random.default_rng(0).random((N, D), np.float32))
            assert model.svd_solver_ == solver
        else:
            from closedform.estimators.pca_options import plan

            assert plan(PCA(k), "auto", N, D) == (solver, k)


def test_the_most_likely_dimension():
    rng = np.random.default_rng(0)
    for k in (1, 3, 6):
        x = (
            rng.standard_normal((400, k)) @ rng.standard_normal((k, 8)) * 3
            + rng.standard_normal((400, 8)) * 0.3
        )
        assert PCA("mle").fit(x).n_components_ == k
        assert PCA("mle").fit(x * 1e-12).n_components_ == k  # scikit-learn's knows 1e-15 from 0
    assert most_likely_dimension(np.array([3.0, 3.0, 1e-30]), 50) == 2  # equal ones, and none
    assert most_likely_dimension(np.array([2.0]), 50) == most_likely_dimension(np.zeros(3), 50) == 1


def test_in_pipelines_and_searches():
    X = samples(120, 6)
    search = GridSearchCV(make_pipeline(PCA(), GaussianMixture(1)), {"pca__n_components": [1, 3]}, cv=3).fit(
        X
    )
    assert search.best_params_["pca__n_components"] in (1, 3)
    by_likelihood = GridSearchCV(PCA(), {"n_components": [1, 2, 5]}, cv=3).fit(X)
    assert np.isfinite(by_likelihood.cv_results_["mean_test_score"]).all()


def test_feature_names_pickles_and_clones():
    X = samples()
    model = PCA(3, whiten=True).fit(X)
    assert list(model.get_feature_names_out()) == ["pca0", "pca1", "pca2"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))
    with pytest.raises(NotFittedError):
        clone(model).transform(X)


# -- weights --


@every_solver
def test_a_weight_of_two_is_a_row_that_occurs_twice(solver):
    X = samples(60, 5)
    w = np.random.default_rng(2).integers(0, 4, 60)
    options = {"svd_solver": solver, "random_state": 0}
    weighted = PCA(3, **options).fit(X, sample_weight=w)
    repeated = PCA(3, **options).fit(np.repeat(X, w, axis=0))
    assert_same_pca(weighted, repeated)
    assert weighted.n_samples_ == repeated.n_samples_ == w.sum()
    np.testing.assert_allclose(weighted.score_samples(X), repeated.score_samples(X), rtol=1e-9)


def test_weights_of_many_features():
    X, w = samples(12, 1001), np.array([1, 2, 3] * 4)
    weighted, repeated = PCA(5).fit(X, sample_weight=w), PCA(5).fit(np.repeat(X, w, axis=0))
    assert_same_pca(weighted, repeated)
    assert weighted.moments_ is None


@every_dtype
def test_weights_by_the_definition(dtype):
    X, w = samples(dtype=dtype, offset=100), np.random.default_rng(3).uniform(0, 5, 211)
    found = PCA().fit(X, sample_weight=w)
    wide = X.astype(np.float64)
    z = wide - np.average(wide, axis=0, weights=w)
    cov = (w[:, None] * z).T @ z / (w.sum() - 1)
    error = np.abs((found.components_.T * found.explained_variance_) @ found.components_ - cov)
    assert error.max() <= 100 * np.finfo(dtype).eps * cov.max()
    many = samples(3000, 4, dtype)
    uneven = np.random.default_rng(4).uniform(0, 5, 3000)
    kept = PCA().fit(many, sample_weight=uneven).moments_
    np.testing.assert_allclose(
        kept.cov, np.cov(many.T, aweights=uneven, ddof=0), rtol=1e-4 if dtype == np.float32 else 1e-12
    )


# -- batches and merging --


@every_dtype
def test_batches_are_as_good_as_all_at_once(dtype):
    X = samples(500, 7, dtype, offset=50)
    w = np.random.default_rng(5).uniform(0.1, 2, 500)
    whole, weighted = PCA(4).fit(X), PCA(4).fit(X, sample_weight=w)
    for sizes in ([2, 300], [100, 101, 102, 400], [499]):
        parts, few = PCA(4), PCA(4)
        for rows in np.split(np.arange(500), sizes):
            if len(rows) == 2:  # fewer rows than components
                parts, few = PCA(2), PCA(2)
            parts.partial_fit(X[rows])
            few.partial_fit(X[rows], sample_weight=w[rows])
            parts.n_components = few.n_components = 4
        rtol = 2e3 * np.finfo(dtype).eps
        assert_same_pca(parts, whole, rtol)
        assert_same_pca(few, weighted, rtol)
        assert (parts.n_samples_, parts.mean_.dtype) == (500, dtype)


@every_dtype
def test_merged_parts_are_as_good_as_the_whole(dtype):
    X = samples(700, 6, dtype, offset=-20)
    rng = np.random.default_rng(6)
    w = rng.uniform(0.5, 1.5, 700)
    order = np.argsort(X[:, 0])  # parts that are nothing like each other
    parts = [PCA(3).fit(X[rows], sample_weight=w[rows]) for rows in np.split(order, [90, 100, 400])]
    merged = parts[3].merge(parts[0]).merge(parts[2].moments_).merge(parts[1])
    whole = PCA(3).fit(X, sample_weight=w)
    assert_same_pca(merged, whole, 2e3 * np.finfo(dtype).eps)
    assert merged.n_samples_ == whole.n_samples_ == int(w.sum())
    assert merged.moments_.weight == pytest.approx(w.sum(), rel=1e-14)
    again = PCA(3).fit(X[:350]).partial_fit(X[350:])
    assert_same_pca(again, PCA(3).fit(X), 2e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_batches_far_from_zero(weighted, backend):
    """Means that are rounded to float32 would be apart by more than those of the batches are."""
    cf.set_backend(backend)
    X = samples(600, 5, np.float32, offset=1e6)
    w = np.ones(600) if weighted else None
    stream = PCA()
    for rows in np.split(np.arange(600), [2, 300]):
        stream.partial_fit(X[rows], sample_weight=None if w is None else w[rows])
    merged = PCA().fit(X[:300], sample_weight=w[:300] if weighted else None).merge(PCA().fit(X[300:]))
    exact = PCA().fit(X.astype(np.float64))
    for found in (stream, merged):
        np.testing.assert_allclose(found.explained_variance_, exact.explained_variance_, rtol=1e-5)


def test_merging_does_not_hang_on_the_order_of_parts():
    X = samples(300, 5)
    parts = [Moments.of(x) for x in np.split(X, [10, 200])]
    left, right = (parts[0] + parts[1]) + parts[2], parts[0] + (parts[1] + parts[2])
    np.testing.assert_allclose(left.cov, right.cov, rtol=1e-13, atol=1e-13)
    assert left.rows == right.rows == 300
    narrow = Moments.of(X[10:].astype(np.float32))
    assert (parts[0] + narrow).dtype == (narrow + parts[0]).dtype == np.float64
    assert (narrow + narrow).dtype == np.float32


def test_what_cannot_be_merged():
    X = samples(30, 4)
    model = PCA(2).fit(X)
    with pytest.raises(ValueError, match=r"^other: expected 4 features"):
        model.merge(PCA(1).fit(X[:, :3]))
    with pytest.raises(TypeError, match=r"^other: expected a PCA of closedform"):
        model.merge(decomposition.PCA(1).fit(X))
    with pytest.raises(NotFittedError):
        model.merge(PCA())
    wide = PCA(2, svd_solver="full").fit(samples(5, 1001))
    for call in (lambda: wide.merge(wide), lambda: wide.partial_fit(samples(5, 1001))):
        with pytest.raises(ValueError, match=r"^moments_: expected .* got None"):
            call()
    kept = PCA(2, svd_solver="full").fit(X).merge(model)  # up to 1000 features, any solver keeps them
    np.testing.assert_allclose(kept.explained_variance_ * 59 / 58, model.explained_variance_, rtol=1e-12)


# -- accuracy --


@every_dtype
@pytest.mark.parametrize("offset", [1e4, -1e6])
def test_an_offset_costs_no_accuracy(offset, dtype):
    """Where XᵀX - N μμᵀ, the classical way, loses everything."""
    X = samples(3000, 6, dtype, offset)
    wide = X.astype(np.longdouble)
    z = (wide - wide.mean(axis=0)).astype(np.float64)
    _, s, v = np.linalg.svd(z, full_matrices=False)
    found = PCA().fit(X)
    assert found.svd_solver_ == "covariance_eigh"
    rtol = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(found.explained_variance_, s**2 / 2999, rtol=rtol)
    assert np.max(np.abs(np.abs(np.sum(found.components_ * v, axis=1)) - 1)) <= rtol
    assert (
        np.max(np.abs(found.transform(X) - z @ found.components_.T))
        <= 4 * np.finfo(dtype).eps * np.abs(X).max()
    )
    w = np.full(3000, 1.5)
    for found, weight in (
        (PCA(svd_solver="full").fit(X), 3000),
        (PCA(svd_solver="full").fit(X, None, w), 4500),
    ):
        np.testing.assert_allclose(
            found.explained_variance_, s**2 * (weight / 3000) / (weight - 1), rtol=rtol
        )


def test_small_variances():
    """A covariance keeps variances to eps times the largest, the samples themselves to eps² times that."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((500, 4)) * [1e5, 1, 1e-2, 1e-5]
    full, covariance = (PCA(svd_solver=s).fit(X).explained_variance_ for s in ("full", "covariance_eigh"))
    np.testing.assert_allclose(full, X.var(axis=0, ddof=1), rtol=0.05)  # axes are nearly the features
    assert np.max(np.abs(covariance - full)) <= 8 * np.finfo(float).eps * full[0]


@every_dtype
@every_solver
def test_whitening_does_not_blow_up_what_rounding_left(solver, dtype):
    rng = np.random.default_rng(8)
    X = (rng.standard_normal((200, 3)) @ rng.standard_normal((3, 8)) + 5).astype(dtype)  # of rank 3
    y = PCA(6, whiten=True, svd_solver=solver, random_state=0).fit(X).transform(X)
    np.testing.assert_allclose(y[:, :3].std(axis=0, ddof=1), 1, rtol=1e-3)
    assert np.max(np.abs(y[:, 3:])) <= 100 * np.sqrt(np.finfo(dtype).eps)


@every_dtype
def test_the_likelihood_is_that_of_the_gaussian(dtype):
    X, Y = samples(dtype=dtype), samples(40, seed=1, dtype=dtype)
    for k in (0, 3, 8, 9):
        model = PCA(k).fit(X)
        cov = model.get_covariance().astype(np.float64)
        want = multivariate_normal.logpdf(Y, model.mean_, cov)
        np.testing.assert_allclose(model.score_samples(Y), want, rtol=100 * np.finfo(dtype).eps)
        assert model.score_samples(Y).dtype == dtype
        assert model.score(Y) == pytest.approx(want.mean(), rel=1e-5)
        identity = model.get_precision().astype(np.float64) @ cov
        assert np.max(np.abs(identity - np.eye(9))) <= 1e3 * np.finfo(dtype).eps
        whitened = PCA(k, whiten=True).fit(X)  # another scale of `transform`, and the same model
        assert same_bits(whitened.score_samples(Y), model.score_samples(Y))
        assert same_bits(whitened.get_covariance(), model.get_covariance())
    np.testing.assert_allclose(PCA(9).fit(X).get_covariance(), np.cov(X.T), rtol=1e-3)


def test_likelihoods_of_singular_data_are_finite():
    X = np.outer(np.arange(5.0), [1, 2, 3])
    for k in (1, 2, 3):
        model = PCA(k).fit(X)
        assert np.isfinite(model.score_samples(X)).all()
        assert np.isfinite(model.get_precision()).all()
        assert model.score(X) > model.score(X + np.array([0, 0, 1]))
    constant = PCA().fit(np.ones((4, 2)))
    np.testing.assert_array_equal(constant.explained_variance_ratio_, 0)
    np.testing.assert_array_equal(constant.transform(np.ones((4, 2))), 0)


# -- reproducible, on little memory --


def test_bits_do_not_depend_on_threads():
    X, w = samples(20_000, 12, np.float32), np.random.default_rng(9).uniform(0, 2, 20_000)
    models = []
    for n in (1, 2, 5):
        with cf.num_threads(n):
            models.append([PCA(3).fit(X), PCA(3).fit(X, sample_weight=w)])
            models[-1].append(models[-1][0].transform(X))
    for others in models[1:]:
        for one, other in zip(models[0][:2], others[:2], strict=True):
            assert same_bits(one.components_, other.components_)
        assert same_bits(models[0][2], others[2])


def test_bits_do_not_depend_on_the_threads_of_blas():
    X = samples(600, 300, np.float64)
    found = []
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            found.append(PCA(200).fit(X))
    assert same_bits(found[0].components_, found[1].components_)
    assert same_bits(found[0].explained_variance_, found[1].explained_variance_)


@every_dtype
def test_a_row_is_transformed_alike_in_any_company(dtype):
    X = samples(1000, 300, dtype)
    model = PCA(5, whiten=True).fit(X)
    assert same_bits(model.transform(X)[417:419], model.transform(X[417:419]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_float32_is_read_where_it_is():
    """No float64 copy, no centred copy: a fit takes less than a quarter of X, a transform that and its result."""
    code = """
import numpy as np
from closedform.estimators import PCA
def peak():
    return int([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]) * 1024
PCA(2).fit_transform(np.random.default_rng(0).random((2000, 100), np.float32))
X = np.random.default_rng(0).random((200_000, 100), np.float32)
model, before = PCA(4), peak()
model.fit(X); fitted = peak()
y = model.transform(X)
print(X.nbytes, fitted - before, peak() - before - y.nbytes)
"""
    done = run_python(code, OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    size, fit, transform = map(int, done.stdout.split())
    assert fit <= size / 4
    assert transform <= size / 4


@pytest.mark.parametrize("weighted", [False, True])
def test_backends_agree(weighted):
    X = samples(600, 5)
    w = np.random.default_rng(10).uniform(0, 2, 600) if weighted else None
    ours = PCA(2).fit(X, sample_weight=w)
    with cf.use_backend("reference"):
        theirs = PCA(2).fit(X, sample_weight=w)
        np.testing.assert_allclose(theirs.transform(X), ours.transform(X), rtol=1e-9, atol=1e-12)
    assert_same_pca(theirs, ours, 1e-11)


# -- bad input --

BAD = [
    ({"n_components": -1}, ValueError, "n_components"),
    ({"n_components": 1.0}, ValueError, "n_components"),
    ({"n_components": float("nan")}, ValueError, "n_components"),
    ({"n_components": "all"}, ValueError, "n_components"),
    ({"n_components": True}, TypeError, "n_components"),
    ({"n_components": 5}, ValueError, "n_components=5 must be between 0 and"),
    ({"n_components": 0.5, "svd_solver": "arpack"}, ValueError, "n_components=0.5 cannot be a share"),
    ({"copy": 1}, TypeError, "copy"),
    ({"whiten": "no"}, TypeError, "whiten"),
    ({"svd_solver": "lapack"}, ValueError, "svd_solver"),
    ({"tol": -1.0}, ValueError, "tol"),
    ({"iterated_power": -1}, ValueError, "iterated_power"),
    ({"iterated_power": 2.0}, TypeError, "iterated_power"),
    ({"n_oversamples": 0}, ValueError, "n_oversamples"),
    ({"power_iteration_normalizer": "qr"}, ValueError, "power_iteration_normalizer"),
    ({"missing": "drop"}, ValueError, "missing"),
    ({"missing": "em"}, ValueError, "n_components"),
    ({"missing": "em", "n_components": 0.5}, ValueError, "n_components"),
    ({"missing": "em", "n_components": 4}, ValueError, "n_components=4 must be at least 1 and below"),
    ({"em_tol": -1e-3}, ValueError, "em_tol"),
    ({"em_max_iter": 0}, ValueError, "em_max_iter"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=[str(options) for options, _, _ in BAD])
def test_arguments_that_do_not_fit_are_named(options, error, message):
    for call in (PCA.fit, PCA.partial_fit):
        if call is PCA.partial_fit and ("svd_solver" in options and "n_components" in options):
            continue  # by its moments, whatever the solver is
        with pytest.raises(error, match=f"^{message}"):
            call(PCA(**options), samples(20, 4))


def test_samples_that_do_not_fit():
    from scipy.sparse import csr_array

    X = samples(20, 4)
    model = PCA(2).fit(X)
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        PCA().fit(csr_array(X))
    with pytest.raises(ValueError, match="minimum of 2"):
        PCA().fit(X[:1])
    with pytest.raises(ValueError, match="minimum of 2"):
        PCA().partial_fit(X[:1])
    with pytest.raises(ValueError, match=r"^X: expected 2 columns"):
        model.inverse_transform(X)
    none = PCA(0).fit(X)
    assert same_bits(none.inverse_transform(none.transform(X[:2])), np.tile(none.mean_, (2, 1)))
    with pytest.raises(ValueError, match=r"^sample_weight: expected a finite sum of 2 or more"):
        PCA().fit(X, sample_weight=np.full(20, 1 / 20))
    with pytest.raises(
        ValueError, match=r"at least one non-zero number|^sample_weight: expected some weight > 0"
    ):
        PCA().fit(X, sample_weight=np.zeros(20))
    with pytest.raises(
        ValueError, match=r"^X: expected deviations whose squares are in the range of float32"
    ):
        PCA().fit(X.astype(np.float32) * np.float32(1e-25))
    with pytest.raises(ValueError, match=r"^X: expected numbers whose squares are in the range of float64"):
        PCA().fit(X * 1e200)
    wide = samples(4, 1001)
    for value, name in ((np.nan, "NaN"), (np.inf, "infinity")):
        wide[2, 7] = X[3, 1] = value
        for x, w in ((wide, None), (X, None), (X, np.ones(20))):
            with pytest.raises(ValueError, match=f"X contains {name}"):
                PCA(2).fit(x, sample_weight=w)
    X[3, 1] = np.nan
    for call in (PCA().fit, PCA().partial_fit, model.transform, PCA(2, missing="em").partial_fit):
        with pytest.raises(ValueError, match="NaN"):
            call(X)


# -- plot --


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    model = PCA().fit(samples())
    ax = Figure().subplots()
    assert model.plot(ax=ax) is ax
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, model.explained_variance_ratio_)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.cumsum(heights))
    assert ax.lines[0].get_ydata()[-1] == pytest.approx(1)
