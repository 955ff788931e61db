"""What a fit reads: samples, their weights, and what follows from them. N samples, D features."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight, validate_data

from .._results import Array
from . import mixture_missing
from .mixture_init import mean_variance
from .mixture_loop import Problem
from .mixture_options import check_options

RELATIVE = (
    1e-6  # reg_covar="auto" and the variances of repaired covariances, over the mean variance of the features
)
EPS = np.finfo(np.float64).eps


def samples_of(estimator: Any, X: Any, sample_weight: Any, *, first: bool) -> tuple[Array, Array | None]:
    """Samples of weight > 0, C-contiguous, and their weights; of a first fit at least K."""
    x = validate_data(
        estimator,
        X,
        reset=first,
        dtype=[np.float64, np.float32],
        order="C",
        ensure_all_finite="allow-nan" if estimator.missing == "marginalise" else True,
        ensure_min_samples=2 if first else 1,
    )
    x, w = np.asarray(x), None
    if sample_weight is not None:
        w = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        kept = w > 0
        if not kept.any():
            raise ValueError("sample_weight: expected some weight > 0; got only zeros")
        if not kept.all():
            x, w = x[kept], w[kept]
    if first and len(x) < estimator.n_components:
        raise ValueError(
            f"Expected n_samples >= n_components but got n_components = {estimator.n_components}, "
            f"n_samples = {len(x)}"
        )
    return x, w


def problem_of(estimator: Any, x: Array, w: Array | None, reg_covar: float | None) -> tuple[Problem, Array]:
    """What `climb` needs, and x without gaps, to begin with. reg_covar: of the batches before."""
    fixed = check_options(estimator)
    gaps = estimator.missing == "marginalise" and bool(np.isnan(x).any())
    complete = mixture_missing.filled(x, w) if gaps else x
    automatic = reg_covar is None and estimator.reg_covar == "auto"
    scale = mean_variance(complete, w) if automatic or estimator.on_singular == "repair" else 0.0
    floor = RELATIVE * scale or RELATIVE  # of constant features, there is no scale to know
    if reg_covar is None:
        reg_covar = floor if automatic else float(estimator.reg_covar)
    # "raise" fails where scikit-learn does: where there is no Cholesky factor at all
    watched = reg_covar == 0 and estimator.on_singular != "raise"
    largest = max(float(complete.max()), -float(complete.min())) if watched else 0.0
    return Problem(
        x,
        w,
        reg_covar,
        estimator.on_singular,
        floor=floor,
        least=(4 * EPS * largest) ** 2,
        fixed=fixed,
        patterns=mixture_missing.patterns_of(x) if gaps else None,
    ), complete
