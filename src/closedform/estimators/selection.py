"""Choosing a mixture: how many components, of which kind."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._gaussians import COVARIANCE_TYPES
from .._validate import one_of, some_of
from .gaussian_mixture import GaussianMixture

CRITERIA = ("bic", "aic")


class Candidate(NamedTuple):
    """A row of the table of `select`; criteria are infinite where the fit failed."""

    n_components: int
    covariance_type: str
    bic: float
    aic: float
    lower_bound: float
    n_iter: int
    converged: bool


@dataclass(frozen=True, repr=False)
class Selection:
    """What `select` found: the best mixture, fitted, and a row for each candidate, the best one first."""

    best: GaussianMixture
    table: list[Candidate]
    criterion: str

    def __repr__(self) -> str:
        lines = [f"{'components':>10}  {'covariance':<10}  {'bic':>12}  {'aic':>12}  {'iterations':>10}"]
        for row in self.table:
            remark = "" if row.converged else "  failed" if np.isinf(row.bic) else "  not converged"
            lines.append(
                f"{row.n_components:>10}  {row.covariance_type:<10}  {row.bic:>12.2f}  {row.aic:>12.2f}  "
                f"{row.n_iter:>10}{remark}"
            )
        return "\n".join(lines)


def select(
    X: Any,
    n_components: Iterable[int] = range(1, 10),
    covariance_types: Iterable[str] = COVARIANCE_TYPES,
    criterion: str = "bic",
    n_init: int = 1,
    random_state: Any = None,
    **options: Any,
) -> Selection:
    """The mixture of the least BIC (or AIC) on X (N, D), over numbers of components and kinds of covariance.

    Parameters
    ----------
    X : (N, D) samples
    n_components, covariance_types : the candidates; numbers above N are left out
    criterion : "bic" or "aic", the lower the better
    n_init, random_state : of each fit
    options : further arguments of `GaussianMixture`, for each fit

    Returns
    -------
    Selection : best, the fitted mixture; table, a row for each candidate in the order of the criterion. A candidate
        whose fit fails, for a singular covariance, stands last. Print it.

    Raises ValueError if no candidate can be fitted.
    """
    one_of("criterion", criterion, CRITERIA)
    kinds = some_of("covariance_types", covariance_types, COVARIANCE_TYPES)
    found: list[tuple[Candidate, GaussianMixture | None]] = []
    failure: ValueError | None = None
    for K in n_components:
        for kind in kinds if len(X) >= K else ():
            model = GaussianMixture(
                K, covariance_type=kind, n_init=n_init, random_state=random_state, **options
            )
            try:
                found.append(_candidate(model, X))
            except ValueError as e:
                if "ill-defined" not in str(e):
                    raise
                failure = e
                found.append((Candidate(K, kind, np.inf, np.inf, -np.inf, 0, False), None))
    found.sort(key=lambda pair: getattr(pair[0], criterion))
    if not found or found[0][1] is None:
        raise ValueError("n_components: expected a candidate that can be fitted; got none") from failure
    return Selection(found[0][1], [row for row, _ in found], criterion)


def _candidate(model: GaussianMixture, X: Any) -> tuple[Candidate, GaussianMixture]:
    with warnings.catch_warnings():  # the table says which have not converged
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    scores = model.bic(X), model.aic(X)
    row = Candidate(
        model.n_components,
        model.covariance_type,
        *scores,
        model.lower_bound_,
        model.n_iter_,
        model.converged_,
    )
    return row, model
