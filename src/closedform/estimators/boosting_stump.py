"""The built-in weak learner, fitted, and how learners vote. N samples, F features, K classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._results import Array
from .._validate import as_floats


@dataclass(frozen=True)
class Stump:
    """A tree of one split: x[feature] <= threshold goes left, and NaN does; each side predicts one class.

    feature : an index in [0, F)
    threshold : in the dtype of the samples of the fit; +∞ where nothing is split, −∞ divides NaN from the rest
    left_class, right_class : indices in `classes_`
    classes_ (K,), n_features_in_ : as of the ensemble
    """

    feature: int
    threshold: float
    left_class: int
    right_class: int
    classes_: Array = field(repr=False, compare=False)
    n_features_in_: int = field(repr=False)

    def predict(self, X: Any) -> Array:
        """The classes (N,), out of `classes_`, of the rows of X (N, F)."""
        (x,) = as_floats(X=X)
        if x.ndim != 2 or x.shape[1] != self.n_features_in_:
            raise ValueError(f"X: expected shape (N, {self.n_features_in_}); got {x.shape}")
        return self.classes_[np.where(self.goes_right(x), self.right_class, self.left_class)]

    def goes_right(self, x: Array) -> Array:
        """Booleans (N,)."""
        threshold = self.threshold
        if x.dtype == np.float32:  # NumPy would round it to the nearest float32, past an x that is in between
            with np.errstate(over="ignore"):
                t = np.float32(threshold)
            threshold = float(t if float(t) <= threshold else np.nextafter(t, np.float32(-np.inf)))
        return np.asarray(x[:, self.feature] > threshold)

    @property
    def feature_importances_(self) -> Array:
        """1 at the feature that is split, (F,); all 0 where both sides predict one class."""
        importances = np.zeros(self.n_features_in_)
        importances[self.feature] = self.left_class != self.right_class
        return importances


def add_votes(g: Array, estimator: Any, alpha: float, x: Any, classes: Array) -> None:
    """g^k (K, N) += α where the estimator predicts class k, in place."""
    if isinstance(estimator, Stump):
        right = estimator.goes_right(x) * alpha
        g[estimator.right_class] += right
        g[estimator.left_class] += alpha - right
    else:
        g[np.searchsorted(classes, estimator.predict(x)), np.arange(g.shape[1])] += alpha
