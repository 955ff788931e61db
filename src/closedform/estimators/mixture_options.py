"""Checks of the arguments of `GaussianMixture`, made when it is fitted."""

from __future__ import annotations

from typing import Any

from .._gaussians import COVARIANCE_TYPES
from .._validate import as_flag, as_integer, as_number, one_of, some_of
from .mixture_parameters import FIXABLE
from .progress import check_callbacks

INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")
ON_SINGULAR = ("raise", "repair", "drop")
MISSING = ("error", "marginalise")


def check_options(estimator: Any) -> tuple[str, ...]:
    """Raises ValueError or TypeError naming the argument that does not fit; what is fixed, as a tuple."""
    for name, low in (("n_components", 1), ("max_iter", 0), ("n_init", 1), ("verbose_interval", 1)):
        if (value := as_integer(name, getattr(estimator, name))) < low:
            raise ValueError(f"{name}: expected an integer >= {low}; got {value}")
    as_flag("warm_start", estimator.warm_start)
    check_callbacks(estimator.callbacks)
    as_number("tol", estimator.tol, low=0)
    if estimator.reg_covar != "auto":
        as_number("reg_covar", estimator.reg_covar, low=0)
    as_number("learning_decay", estimator.learning_decay, low=0.5, high=1, open_low=True)
    one_of("covariance_type", estimator.covariance_type, COVARIANCE_TYPES)
    one_of("init_params", estimator.init_params, INIT_PARAMS)
    one_of("on_singular", estimator.on_singular, ON_SINGULAR)
    if one_of("missing", estimator.missing, MISSING) == "marginalise" and estimator.covariance_type != "full":
        raise ValueError(
            f"missing: expected 'error' with covariance_type {estimator.covariance_type!r}; got 'marginalise'"
        )
    fixed = estimator.fixed
    return some_of("fixed", (fixed,) if isinstance(fixed, str) else fixed, FIXABLE)
