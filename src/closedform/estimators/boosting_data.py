"""What a fit reads: samples, their classes and weights. N samples, F features, K classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from .._results import Array
from .boosting_blocks import Blocks
from .distributed import is_dask


class Samples(NamedTuple):
    """Samples of weight > 0."""

    x: Any  # (N, F); of the built-in stumps float32 or float64, C-contiguous
    labels: Array  # (N,), as the user gives them
    y: Array  # (N,), their indices in classes_
    weight: Array  # (N,) float64, at most 1

    def distribution(self) -> Array:
        """D (N,) of the first round, of sum 1."""
        return np.asarray(self.weight / self.weight.sum())


def checked(estimator: Any, X: Any, y: Any = "no_validation", *, stumps: bool, first: bool = False) -> Any:
    """X, or X and y, as scikit-learn's checks leave them: for stumps float32 or float64 and C-contiguous."""
    if stumps:
        finite = "allow-nan" if estimator.missing == "left" else True
        options = {"dtype": [np.float64, np.float32], "order": "C", "ensure_all_finite": finite}
    else:
        options = {"dtype": None, "accept_sparse": ["csr", "csc"], "allow_nd": True}
    return validate_data(estimator, X, y, reset=first, **options)


def samples_of(
    estimator: Any, X: Any, y: Any, sample_weight: Any, *, first: bool
) -> tuple[Samples | Blocks, Array]:
    """Samples to fit, and the classes (K,) of all of y, sorted."""
    if is_dask(X):
        blocks = Blocks(estimator, X, y, sample_weight, first=first)
        return blocks, blocks.classes
    x, y = checked(estimator, X, y, stumps=estimator.estimator is None, first=first)
    check_classification_targets(y)
    classes, indices = np.unique(y, return_inverse=True)
    w = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    kept = w > 0
    if not kept.any():
        raise ValueError("sample_weight: expected some weight > 0; got only zeros")
    samples = Samples(x, y, indices, w / w.max())
    if not kept.all():
        samples = Samples(*(_safe_indexing(a, np.flatnonzero(kept)) for a in samples))
    return samples, classes


def parted(samples: Samples, fraction: float, rng: Any) -> tuple[Samples, Samples]:
    """Samples to train on, and that fraction of them, of each class, to validate on."""
    parts = train_test_split(*samples, test_size=fraction, stratify=samples.y, random_state=rng)
    return Samples(*parts[::2]), Samples(*parts[1::2])
