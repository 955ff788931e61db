"""scikit-learn's own tests of PCA, run against ours."""

import pytest

sklearn = pytest.importorskip("sklearn")

suite = pytest.importorskip(
    "sklearn.decomposition.tests.test_pca", reason="this scikit-learn comes without its tests"
)
from threadpoolctl import threadpool_limits  # noqa: E402

from closedform.estimators import PCA  # noqa: E402
from sklearn_suite import adopted  # noqa: E402

ARRAY_API = "the kernels read NumPy arrays: there is no array-API dispatch"
SPARSE = "sparse input is refused: the kernels read dense arrays"
NO_PCA = "tests private functions of scikit-learn, and no PCA"
AUTO = (
    "reads a private attribute, and expects the randomized solver; tests/test_pca_estimator.py has our choice"
)
WHITEN = (
    "expects a lower likelihood with whiten=True, which scales its covariance twice (scikit-learn issue 13898); "
    "tests/test_pca_estimator.py has the rest"
)
EXCUSED = {
    "test_pca_svd_solver_auto": AUTO,
    "test_pca_score": WHITEN,
    "test_pca_array_api_compliance": ARRAY_API,
    "test_pca_mle_array_api_compliance": ARRAY_API,
    "test_array_api_error_and_warnings_on_unsupported_params": ARRAY_API,
    "test_pca_sparse": SPARSE,
    "test_pca_sparse_fit_transform": SPARSE,
    "test_sparse_pca_solver_error": SPARSE,
    "test_sparse_pca_auto_arpack_singular_values_consistency": SPARSE,
    "test_assess_dimension_bad_rank": NO_PCA,
    "test_assess_dimension_rank_one": NO_PCA,
    "test_small_eigenvalues_mle": NO_PCA,
}
EARLIER = "test_sparse_pca_auto_arpack_singluar_values_consistency"  # its name in 1.6
if hasattr(suite, EARLIER):
    EXCUSED[EARLIER] = SPARSE


@pytest.fixture(scope="module", autouse=True)
def _one_thread_of_blas():
    """On small matrices, a second one that has to wait for a busy machine costs more than it helps."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(autouse=True)
def _ours_in_place_of_theirs(monkeypatch):
    monkeypatch.setattr(suite, "PCA", PCA)


@pytest.fixture(params=["float64", "float32"])
def global_dtype(request):
    return suite.np.dtype(request.param)


@pytest.fixture
def global_random_seed():
    return 42


globals().update(adopted(suite, EXCUSED))
