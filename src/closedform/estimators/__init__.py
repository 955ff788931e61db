"""Estimators that speak scikit-learn's dialect: they pass its checks and work in its pipelines and searches.

Needs the `sklearn` extra.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError as e:
    raise ModuleNotFoundError(
        'closedform.estimators needs scikit-learn: pip install "closedform[sklearn]"', name="sklearn"
    ) from e

from .adaboost import AdaBoostClassifier
from .boosting_stump import Stump
from .gaussian_mixture import GaussianMixture
from .mixture_statistics import Statistics
from .pca import PCA
from .pca_moments import Moments
from .selection import Selection, select

__all__ = [
    "PCA",
    "AdaBoostClassifier",
    "GaussianMixture",
    "Moments",
    "Selection",
    "Statistics",
    "Stump",
    "select",
]
