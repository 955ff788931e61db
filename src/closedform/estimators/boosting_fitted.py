"""What a fitted ensemble answers. N samples, F features, K classes, T rounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import BaseEnsemble
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from .._results import Array
from . import boosting_plot
from .boosting_data import checked
from .boosting_stump import Stump
from .boosting_votes import answers, decision, log_probabilities, most_probable, probabilities, staged_votes
from .distributed import is_dask, mapped


class FittedBoosting(ClassifierMixin, BaseEnsemble):  # type: ignore[misc]
    """The methods of `AdaBoostClassifier` that change nothing."""

    missing: str
    estimators_: list[Any]
    estimator_weights_: Array
    estimator_errors_: Array
    training_loss_: Array
    classes_: Array
    n_classes_: int
    n_features_in_: int

    def predict(self, X: Any) -> Array:
        """The most probable class (N,) of each row of X (N, F); of equally probable ones the first in `classes_`."""
        if is_dask(X):
            return self._mapped("predict", X)
        winners = self._answers(X, most_probable)
        return np.asarray(self.classes_[winners])

    def predict_proba(self, X: Any) -> Array:
        """The probabilities (N, K) of the classes, in the order of `classes_`, for each row of X (N, F).

        softmax(K/(K−1) g(x)), with g^k(x) = Σ_t α_t [f_t(x) = k]: the g that minimises the expected loss has them.
        """
        if is_dask(X):
            return self._mapped("predict_proba", X)
        return self._answers(X, probabilities)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of the probabilities, (N, K)."""
        if is_dask(X):
            return self._mapped("predict_log_proba", X)
        return self._answers(X, log_probabilities)

    def decision_function(self, X: Any) -> Array:
        """The weighted mean of the votes for each row of X (N, F): a vote is 1 for a class and −1/(K−1) for the others.

        (N, K), in the order of `classes_`; of two classes (N,), column 1 less column 0.
        """
        if is_dask(X):
            return self._mapped("decision_function", X)
        total = self._total()
        return self._answers(X, lambda g: decision(g, total))

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """`predict` as it was after each round."""
        return (np.asarray(self.classes_[most_probable(g)]) for g in self._staged(X))

    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """`predict_proba` as it was after each round."""
        return (probabilities(g) for g in self._staged(X))

    def staged_decision_function(self, X: Any) -> Iterator[Array]:
        """`decision_function` as it was after each round."""
        staged = self._staged(X)
        return (
            decision(g, t) for g, t in zip(staged, self.estimator_weights_.cumsum().tolist(), strict=True)
        )

    def staged_score(self, X: Any, y: Any, sample_weight: Any = None) -> Iterator[float]:
        """`score`, the accuracy, as it was after each round."""
        for predicted in self.staged_predict(X):
            yield float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def plot(self, X: Any, y: Any, sample_weight: Any = None, ax: Any = None, **style: Any) -> Any:
        """The share of the rows of X (N, F) that is misclassified, against the number of rounds.

        style : of matplotlib's line, such as label="test". Needs matplotlib (the `plot` extra). Returns the axes.
        """
        return boosting_plot.plot(self, X, y, sample_weight, ax, **style)

    @property
    def feature_importances_(self) -> Array:
        """The mean importance (F,) of the features for the learners, weighted by α: of stumps, the share of α.

        AttributeError where the learners have none.
        """
        check_is_fitted(self, "estimator_weights_")
        sums, total = np.zeros(self.n_features_in_), self._total()
        for alpha, estimator in zip(self.estimator_weights_, self.estimators_, strict=True):
            sums += alpha * estimator.feature_importances_
        return sums / total if total else sums

    # -- inside --

    def _mapped(self, method: str, X: Any) -> Array:
        """The method of each block of a dask array: a dask array, too."""
        check_is_fitted(self, "estimator_weights_")
        K = self.n_classes_
        one = method == "predict" or (method == "decision_function" and K == 2)  # answer for a row
        dtype = self.classes_.dtype if method == "predict" else np.float64
        return mapped(self, method, X, dtype, None if one else K, callbacks=())

    def _answers(self, X: Any, of_votes: Any) -> Array:
        x = self._samples(X)
        return answers(self.estimators_, self.estimator_weights_, x, self.classes_, of_votes)

    def _staged(self, X: Any) -> Iterator[Array]:
        if is_dask(X):
            raise TypeError("X: expected an array in memory for the stages of an ensemble; got a dask array")
        x = self._samples(X)
        return staged_votes(self.estimators_, self.estimator_weights_.tolist(), x, self.classes_)

    def _samples(self, X: Any) -> Any:
        check_is_fitted(self, "estimator_weights_")
        return checked(self, X, stumps=isinstance(self.estimators_[0], Stump))

    def _total(self) -> float:
        check_is_fitted(self, "estimator_weights_")
        return float(self.estimator_weights_.cumsum()[-1])  # added in order, as by `staged_decision_function`

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "left"
        tags.input_tags.sparse = self.estimator is not None
        return tags
