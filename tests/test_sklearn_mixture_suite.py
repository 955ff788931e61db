"""scikit-learn's own tests of GaussianMixture, run against ours."""

import pytest

sklearn = pytest.importorskip("sklearn")

suite = pytest.importorskip(
    "sklearn.mixture.tests.test_gaussian_mixture", reason="this scikit-learn comes without its tests"
)
from closedform.estimators import GaussianMixture  # noqa: E402
from sklearn_suite import adopted  # noqa: E402

# The suite is not written for warnings as errors: many of its fits stop early, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NO_MIXTURE = "tests private functions of scikit-learn, and no GaussianMixture"
PRIVATE = "calls or counts private methods of scikit-learn's class; tests/test_gaussian_mixture.py has the same by fit"
ARRAY_API = "the kernels read NumPy arrays: there is no array-API dispatch"
EXCUSED = {
    "test_compute_log_det_cholesky": NO_MIXTURE,
    "test_gaussian_mixture_log_probabilities": NO_MIXTURE,
    "test_gaussian_suffstat_sk_spherical": NO_MIXTURE,
    "test_suffstat_sk_diag": NO_MIXTURE,
    "test_suffstat_sk_full": NO_MIXTURE,
    "test_suffstat_sk_tied": NO_MIXTURE,
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": PRIVATE,
    "test_gaussian_mixture_precisions_init": PRIVATE,
    "test_gaussian_mixture_array_api_compliance": ARRAY_API,
    "test_gaussian_mixture_raises_where_array_api_not_implemented": ARRAY_API,
}
if sklearn.__version__.startswith("1.6."):
    EXCUSED["test_regularisation"] = "expects the shorter message of 1.6; ours is that of later versions"


@pytest.fixture(autouse=True)
def _ours_in_place_of_theirs(monkeypatch):
    monkeypatch.setattr(suite, "GaussianMixture", GaussianMixture)


@pytest.fixture
def global_dtype():
    """Its default. Its runs in float32 expect float32 parameters, where ours are float64."""
    return suite.np.float64


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


globals().update(adopted(suite, EXCUSED))
