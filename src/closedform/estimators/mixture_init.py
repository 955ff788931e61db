"""Where EM begins. N samples, D features, K components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus

from .. import mixture
from .._results import Array
from .mixture_blocks import Blocks
from .mixture_parameters import (
    Parameters,
    checked_means,
    checked_precisions,
    checked_weights,
    covariances_of,
    regularised,
)
from .mixture_samples import CHUNK, Samples
from .mixture_statistics import Statistics, added


def initial_parameters(
    estimator: Any, samples: Samples | Blocks, reg_covar: float, random_state: Any
) -> Parameters:
    """What the user gave, and for the rest the M step of some first responsibilities."""
    K, D, kind = estimator.n_components, estimator.n_features_in_, estimator.covariance_type
    weights = None if estimator.weights_init is None else checked_weights(estimator.weights_init, K)
    means = None if estimator.means_init is None else checked_means(estimator.means_init, K, D)
    covariances = None
    if estimator.precisions_init is not None:
        covariances = covariances_of(checked_precisions(estimator.precisions_init, kind, K, D), kind)
    if weights is None or means is None or covariances is None:
        found = _statistics(estimator, *samples.beginning(random_state), random_state)
        weights = found.counts / found.total if weights is None else weights
        means = found.means if means is None else means
        covariances = regularised(found.covariances, reg_covar, kind) if covariances is None else covariances
    return Parameters(kind, weights, means, covariances, np.empty_like(covariances))


def _statistics(estimator: Any, x: Array, sample_weight: Array | None, random_state: Any) -> Statistics:
    """Of the first responsibilities of x (N, D), without NaN, the draws from random_state being scikit-learn's."""
    K, kind, method = estimator.n_components, estimator.covariance_type, estimator.init_params
    if method == "kmeans":
        labels = KMeans(K, n_init=1, random_state=random_state).fit(x, sample_weight=sample_weight).labels_
        one_hot = np.eye(K)
        return _in_chunks(x, sample_weight, kind, lambda rows: one_hot[labels[rows]])
    if method == "random":
        return _in_chunks(
            x, sample_weight, kind, lambda rows: _random(len(x[rows]), K, x.dtype, random_state)
        )
    if method == "k-means++":
        _, chosen = kmeans_plusplus(x, K, sample_weight=sample_weight, random_state=random_state)
    else:
        chosen = random_state.choice(len(x), size=K, replace=False)
    return _m_step(x[chosen], np.eye(K), None, kind)


def _random(N: int, K: int, dtype: Any, random_state: Any) -> Array:
    """Of the dtype of the samples, as scikit-learn's."""
    r = random_state.uniform(size=(N, K)).astype(dtype)
    return np.asarray(r / r.sum(axis=1, keepdims=True))


def _in_chunks(
    x: Array, sample_weight: Array | None, covariance_type: str, responsibilities: Callable[[slice], Array]
) -> Statistics:
    """Never all the responsibilities (N, K) at once."""
    total: Statistics | None = None
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        w = None if sample_weight is None else sample_weight[rows]
        part = _m_step(x[rows], responsibilities(rows), w, covariance_type)
        total = part if total is None else added(total, part, covariance_type)
    assert total is not None  # x has rows
    return total


def _m_step(x: Array, r: Array, sample_weight: Array | None, covariance_type: str) -> Statistics:
    """In float64, lest the parameters be rounded to the dtype of x."""
    weights, means, covariances = mixture.gmm_m_step(
        x.astype(np.float64, copy=False),
        r,
        covariance_type=covariance_type,
        reg_covar=0.0,
        sample_weight=sample_weight,
    )
    total = float(len(x)) if sample_weight is None else float(sample_weight.sum())
    return Statistics(weights * total, means, covariances)
