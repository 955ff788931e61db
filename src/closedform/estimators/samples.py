"""What estimators read: rows, and of a fit their weights. N samples, D features."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, validate_data

from .._results import Array


def checked_rows(estimator: Any, X: Any, *, finite: bool | str, reset: bool = False, least: int = 1) -> Array:
    """X (N, D), N >= least, as float32 or float64, C-contiguous; of as many features as in the fit, unless `reset`.

    finite : True, "allow-nan", or False where the caller will see for itself
    """
    x = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=[np.float64, np.float32],
        order="C",
        ensure_all_finite=finite,
        ensure_min_samples=least,
    )
    return np.asarray(x)


def weighted_rows(
    estimator: Any, X: Any, sample_weight: Any, *, reset: bool, finite: bool | str, least: int
) -> tuple[Array, Array | None]:
    """Rows of weight > 0, and their weights (float64); X as for `checked_rows`."""
    x, w = kept_rows(checked_rows(estimator, X, finite=finite, reset=reset, least=least), sample_weight)
    if len(x) == 0:
        raise ValueError("sample_weight: expected some weight > 0; got only zeros")
    return x, w


def kept_rows(x: Array, sample_weight: Any) -> tuple[Array, Array | None]:
    """The rows of weight > 0, if there are any, and their weights (float64)."""
    if sample_weight is None:
        return x, None
    w = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    kept = w > 0
    return (x, w) if kept.all() else (x[kept], w[kept])


def block_rows(
    x: Array, sample_weight: Array | None, *, name: str, finite: bool | str
) -> tuple[Array, Array | None]:
    """As `weighted_rows`, of a block of X, for the estimator of that name. There may be no row in it."""
    if len(x) == 0:
        return x, None
    x = check_array(
        x,
        dtype=[np.float64, np.float32],
        order="C",
        ensure_all_finite=finite,
        estimator=name,
        input_name="X",
    )
    if sample_weight is not None and not np.any(sample_weight):  # some other block has a weight, it may be
        return x[:0], None
    return kept_rows(x, sample_weight)
