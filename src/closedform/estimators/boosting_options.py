"""Checks of the arguments of `AdaBoostClassifier`, made when it is fitted."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import has_fit_parameter

from .._validate import as_flag, as_integer, as_number, one_of
from .progress import check_callbacks

MISSING = ("error", "left")


def check_options(estimator: Any) -> None:
    """Raises ValueError or TypeError naming the argument that does not fit."""
    names = ("n_estimators",) if estimator.n_iter_no_change is None else ("n_estimators", "n_iter_no_change")
    for name in names:
        if (value := as_integer(name, getattr(estimator, name))) < 1:
            raise ValueError(f"{name}: expected an integer >= 1; got {value}")
    as_flag("warm_start", estimator.warm_start)
    check_callbacks(estimator.callbacks)
    as_number("learning_rate", estimator.learning_rate, low=0, open_low=True)
    if as_number("validation_fraction", estimator.validation_fraction, low=0, open_low=True) >= 1:
        raise ValueError(
            f"validation_fraction: expected a finite number in (0, 1); got {estimator.validation_fraction!r}"
        )
    as_number("tol", estimator.tol, low=0)
    missing, learner = one_of("missing", estimator.missing, MISSING), estimator.estimator
    if learner is None:
        return
    if missing != "error":
        raise ValueError(
            f"missing: expected 'error' with an estimator that is not the stump; got {missing!r}"
        )
    if not has_fit_parameter(learner, "sample_weight"):
        raise ValueError(
            f"estimator: expected a classifier whose fit takes sample_weight; {type(learner).__name__} doesn't "
            "support sample_weight."
        )
