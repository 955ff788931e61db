"""The error of an ensemble, round by round."""

from __future__ import annotations

from typing import Any

from .plotting import pyplot


def plot(estimator: Any, X: Any, y: Any, sample_weight: Any, ax: Any, **style: Any) -> Any:
    """`AdaBoostClassifier.plot`."""
    plt = pyplot()
    errors = [1 - score for score in estimator.staged_score(X, y, sample_weight)]
    ax = plt.gca() if ax is None else ax
    ax.plot(range(1, len(errors) + 1), errors, **style)
    ax.set(xlabel="rounds", ylabel="share that is misclassified")
    if "label" in style:
        ax.legend()
    return ax
