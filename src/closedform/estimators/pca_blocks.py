"""Moments of a dask array, added up where its blocks are. N samples, D features."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import validate_data

from .._results import Array
from .distributed import each, in_rows, merged, row_blocks
from .pca_moments import Moments, expect_countable
from .samples import block_rows


def moments_of(estimator: Any, X: Any, sample_weight: Any, *, first: bool) -> Moments:
    """Of the rows of X (N, D): one D × D sum travels for every block."""
    if estimator.missing != "error":
        raise ValueError(f"missing: expected 'error' for a dask array; got {estimator.missing!r}")
    if estimator.svd_solver not in ("auto", "covariance_eigh"):
        raise ValueError(
            "svd_solver: expected 'auto' or 'covariance_eigh' for a dask array, whose covariance is all that "
            f"is computed; got {estimator.svd_solver!r}"
        )
    X = in_rows(X)
    validate_data(estimator, X, reset=first, skip_check_array=True)  # the names and number of features
    parts = each(_moments, *row_blocks(X, sample_weight=sample_weight), shared=(type(estimator).__name__,))
    found: Moments | None = merged(_add, parts).compute()
    if found is None and sample_weight is not None:
        raise ValueError("sample_weight: expected some weight > 0; got only zeros")
    if found is None or (first and sample_weight is None and found.samples < 2):
        raise ValueError(f"X: expected {1 + first} rows or more; got {found.samples if found else 0}")
    if first:
        expect_countable(found.weight)
    return found


# -- on the workers --


def _moments(x: Array, sample_weight: Array | None, name: str) -> Moments | None:
    """None of no rows."""
    x, w = block_rows(x, sample_weight, name=name, finite=False)  # seen by the moments
    return Moments.of(x, w) if len(x) else None


def _add(a: Moments | None, b: Moments | None) -> Moments | None:
    return a + b if a and b else a or b
