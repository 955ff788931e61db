"""Weak learners, trained in rounds on one set of samples with changing weights. N samples, F features, K classes.

`find(D)` trains one on the weights D (N,), and returns it with its weighted error. `reweigh(D, estimator, right,
wrong)` multiplies D, in place, by one factor where the estimator is right and by another where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _boosting
from .._backend import using_reference
from .._results import Array
from ..reference import boosting as _twin
from .boosting_data import Samples
from .boosting_stump import Stump


class Stumps:
    """The built-in learner: the stump of the least weighted error."""

    def __init__(self, samples: Samples, classes: Array, missing: str) -> None:
        self._classes, self._n_features = classes, samples.x.shape[1]
        kind = TwinStumps if using_reference() else _boosting.Stumps
        self._stumps = kind(samples.x, samples.y, len(classes), missing == "left")

    def find(self, D: Array) -> tuple[Stump, float]:
        feature, threshold, left, right, error = self._stumps.find(D)
        return Stump(feature, threshold, left, right, self._classes, self._n_features), error

    def reweigh(self, D: Array, stump: Stump, right: float, wrong: float) -> None:
        split = stump.feature, stump.threshold, stump.left_class, stump.right_class
        self._stumps.reweigh(D, *split, right, wrong)


class TwinStumps:
    """`_boosting.Stumps` on the twin."""

    def __init__(self, x: Array, y: Array, n_classes: int, missing_left: bool) -> None:
        # −∞ sorts below everything, as NaN are to: other infinities there are none
        self._x = np.where(np.isnan(x), x.dtype.type(-np.inf), x) if missing_left else x
        self._y, self._n_classes = y, n_classes

    def find(self, D: Array) -> tuple[int, float, int, int, float]:
        stump = _twin.find_stump(self._x, self._y, D, self._n_classes)
        split = stump.feature, stump.threshold, stump.left_class, stump.right_class
        return (*split, error_of(D, self._wrong(*split)))  # exactly 0 where it is, whatever order sums are in

    def reweigh(
        self,
        D: Array,
        feature: int,
        threshold: float,
        left: int,
        right: int,
        right_factor: float,
        wrong: float,
    ) -> None:
        D *= np.where(self._wrong(feature, threshold, left, right), wrong, right_factor)

    def _wrong(self, feature: int, threshold: float, left: int, right: int) -> Array:
        return np.asarray(np.where(self._x[:, feature] <= threshold, left, right) != self._y)


class Classifiers:
    """Any classifier of scikit-learn that takes sample_weight; `make` makes one, not yet fitted."""

    def __init__(self, samples: Samples, make: Callable[[], Any]) -> None:
        self._samples, self._make = samples, make
        self._latest: tuple[Any, Array] | None = None  # an estimator, and where it is wrong

    def find(self, D: Array) -> tuple[Any, float]:
        estimator = self._make()
        estimator.fit(self._samples.x, self._samples.labels, sample_weight=D.copy())  # D is changed in place
        return estimator, error_of(D, self._wrong(estimator))

    def reweigh(self, D: Array, estimator: Any, right: float, wrong: float) -> None:
        D *= np.where(self._wrong(estimator), wrong, right)

    def _wrong(self, estimator: Any) -> Array:
        if self._latest is None or self._latest[0] is not estimator:
            wrong = np.asarray(estimator.predict(self._samples.x) != self._samples.labels)
            self._latest = estimator, wrong
        return self._latest[1]


def error_of(D: Array, wrong: Array) -> float:
    """The weight of the samples that are wrong, as a share of all."""
    return float(D[wrong].sum() / D.sum())
