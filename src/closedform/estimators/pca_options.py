"""Checks of the arguments of `PCA`, made when it is fitted, and what follows from them. N samples, D features."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validate import as_flag, as_integer, as_number, one_of

SOLVERS = ("auto", "full", "covariance_eigh", "arpack", "randomized")
NORMALIZERS = ("auto", "QR", "LU", "none")
MISSING = ("error", "em")

MANY = 1000  # features: up to here their covariance is cheap, to make, to decompose and to keep


def check_options(estimator: Any) -> None:
    """Raises ValueError or TypeError naming the argument that does not fit."""
    as_flag("copy", estimator.copy)
    as_flag("whiten", estimator.whiten)
    one_of("svd_solver", estimator.svd_solver, SOLVERS)
    as_number("tol", estimator.tol, low=0)
    if estimator.iterated_power != "auto":
        _at_least("iterated_power", estimator.iterated_power, 0)
    _at_least("n_oversamples", estimator.n_oversamples, 1)
    one_of("power_iteration_normalizer", estimator.power_iteration_normalizer, NORMALIZERS)
    as_number("em_tol", estimator.em_tol, low=0)
    _at_least("em_max_iter", estimator.em_max_iter, 1)
    k = estimator.n_components
    if isinstance(k, str):
        one_of("n_components", k, ("mle",))
    elif isinstance(k, (float, np.floating)):
        if not 0 < k < 1:
            raise ValueError(
                f"n_components: expected an integer, a share of the variance in (0, 1), 'mle' or None; got {k!r}"
            )
    elif k is not None:
        _at_least("n_components", k, 0)
    if one_of("missing", estimator.missing, MISSING) == "em" and not is_count(k):
        raise ValueError(f"n_components: expected an integer with missing='em'; got {k!r}")


def is_count(n_components: Any) -> bool:
    """A number of components, and not a rule to find one."""
    return not (n_components is None or isinstance(n_components, (str, float, np.floating)))


def _at_least(name: str, value: Any, low: int) -> None:
    if as_integer(name, value) < low:
        raise ValueError(f"{name}: expected an integer >= {low}; got {value}")


def plan(estimator: Any, solver: str, N: int, D: int) -> tuple[str, Any]:
    """The solver, no longer "auto", and n_components, no longer None, in its range for that."""
    k, most = estimator.n_components, min(N, D)
    if solver == "auto":
        solver = _automatic(k, N, D)
    some = solver in ("arpack", "randomized")  # they find k components, and of the others nothing
    if k is None:
        return solver, most - 1 if solver == "arpack" else most
    if not is_count(k):
        if some:
            what = "a string" if isinstance(k, str) else "a share of the variance"
            raise ValueError(f"n_components={k!r} cannot be {what} with svd_solver={solver!r}")
        if k == "mle" and N < D:
            raise ValueError(
                f"n_components='mle' is only supported if n_samples >= n_features; got {N} and {D}"
            )
        return solver, k
    where = f"min(n_samples, n_features)={most} with svd_solver={solver!r}"
    if not int(some) <= k <= most:
        raise ValueError(f"n_components={k} must be between {int(some)} and {where}")
    if solver == "arpack" and k == most:
        raise ValueError(f"n_components={k} must be strictly less than {where}")
    if estimator.missing == "em" and not 1 <= k < D:
        raise ValueError(f"n_components={k} must be at least 1 and below n_features={D} with missing='em'")
    return solver, int(k)


def _automatic(k: Any, N: int, D: int) -> str:
    """As scikit-learn chooses, but for a covariance where that takes a randomized solver on few features."""
    if D <= MANY and N >= 10 * D:
        return "covariance_eigh"
    if max(N, D) <= 500 or not is_count(k) or not 1 <= k < 0.8 * min(N, D):
        return "full"
    return "covariance_eigh" if D <= MANY and N >= D else "randomized"
