"""scikit-learn's own tests of AdaBoostClassifier, run against ours."""

import pytest

sklearn = pytest.importorskip("sklearn")

suite = pytest.importorskip(
    "sklearn.ensemble.tests.test_weight_boosting", reason="this scikit-learn comes without its tests"
)
from closedform.estimators import AdaBoostClassifier  # noqa: E402
from sklearn_suite import adopted  # noqa: E402

REGRESSOR = "tests AdaBoostRegressor alone"
THEIRS = "is parametrised with an AdaBoostClassifier made beforehand, which is theirs"
EXCUSED = {
    "test_regression_toy": REGRESSOR,
    "test_diabetes": REGRESSOR,
    "test_sparse_regression": REGRESSOR,
    "test_sample_weight_adaboost_regressor": REGRESSOR,
    "test_adaboostregressor_sample_weight": REGRESSOR,
    "test_iris": "asks stumps for their random_state: ours have none. tests/test_adaboost.py asks trees",
    "test_sample_weights_infinite": "expects the warning of an overflow that ours has not: weights are normalised as "
    "they change. tests/test_adaboost.py has its fit",
    "test_adaboost_negative_weight_error": THEIRS + "; tests/test_adaboost_edges.py has the same",
}

if hasattr(suite, "test_deprecated_algorithm"):  # before 1.8
    EXCUSED["test_deprecated_algorithm"] = (
        "is of an argument of theirs, of one value, that later versions have not"
    )


@pytest.fixture(autouse=True)
def _ours_in_place_of_theirs(monkeypatch):
    monkeypatch.setattr(suite, "AdaBoostClassifier", AdaBoostClassifier)


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


def listed(mark):
    """Zips as the lists that pytest wants; and of the ten sparse formats three, to save time."""
    arguments = (list(a)[::4] if isinstance(a, zip) else a for a in mark.args)
    return getattr(pytest.mark, mark.name)(*arguments, **mark.kwargs).mark


TESTS = adopted(suite, EXCUSED)
for _test in TESTS.values():
    _test.pytestmark = [listed(mark) for mark in getattr(_test, "pytestmark", [])]
globals().update(TESTS)
