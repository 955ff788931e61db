"""What a fit reads: samples, their weights, and what follows from them. N samples, D features."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from .distributed import in_rows, is_dask
from .mixture_blocks import Blocks
from .mixture_loop import Problem
from .mixture_options import check_options
from .mixture_samples import Samples, with_patterns
from .samples import weighted_rows

RELATIVE = (
    1e-6  # reg_covar="auto" and the variances of repaired covariances, over the mean variance of the features
)
EPS = np.finfo(np.float64).eps
LEAST_WEIGHT = 1e-6  # of all samples: the 10 eps that the count of every component has more must not matter


def samples_of(estimator: Any, X: Any, sample_weight: Any, *, first: bool) -> Samples | Blocks:
    """Samples of weight > 0; of a first fit at least K."""
    samples: Samples | Blocks
    if is_dask(X):
        X = in_rows(X)
        validate_data(estimator, X, reset=first, skip_check_array=True)  # the names and number of features
        samples = Blocks(X, sample_weight, estimator.missing, type(estimator).__name__)
    else:
        finite = "allow-nan" if estimator.missing == "marginalise" else True
        rows = weighted_rows(estimator, X, sample_weight, reset=first, finite=finite, least=2 if first else 1)
        samples = with_patterns(*rows, estimator.missing)
    with np.errstate(over="ignore"):
        total = samples.total
    if not LEAST_WEIGHT <= total < np.inf:
        raise ValueError(f"sample_weight: expected a finite sum of {LEAST_WEIGHT:g} or more; got {total:g}")
    K = estimator.n_components if first else 1
    if samples.rows < K:
        raise ValueError(
            f"Expected n_samples >= n_components but got n_components = {K}, n_samples = {samples.rows}"
        )
    return samples


def problem_of(estimator: Any, samples: Samples | Blocks, reg_covar: float | None) -> Problem:
    """What `climb` needs. reg_covar: of the batches before."""
    automatic = reg_covar is None and estimator.reg_covar == "auto"
    floor = RELATIVE  # of constant features, there is no scale to know
    if automatic or estimator.on_singular == "repair":
        floor = RELATIVE * samples.survey().mean_variance or RELATIVE
    if reg_covar is None:
        reg_covar = floor if automatic else float(estimator.reg_covar)
    # "raise" fails where scikit-learn does: where there is no Cholesky factor at all
    watched = reg_covar == 0 and estimator.on_singular != "raise"
    return Problem(
        samples,
        reg_covar,
        estimator.on_singular,
        floor=floor,
        least=(4 * EPS * samples.survey().largest) ** 2 if watched else 0.0,
        fixed=check_options(estimator),
    )
