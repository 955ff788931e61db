"""EM where values are missing (NaN): they are integrated out exactly. N samples, D features, K full components.

Rows with the same features observed make a pattern. In a pattern with features o observed and m missing, a row's
likelihood is that of x_o alone, and the M step takes the expectations of what is missing, given x_o and component k:

    E[x_m] = μ_m + A (x_o − μ_o),   Cov[x_m] = Σ_mm − A Σ_om,   A = Σ_mo Σ_oo⁻¹

(Little and Rubin, Statistical Analysis with Missing Data; Ghahramani and Jordan 1994.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import mixture
from .._results import Array, EStep
from ..reference.mixture import LEAST_COUNT
from .mixture_condition import Split, split
from .mixture_parameters import Parameters
from .mixture_statistics import Statistics


class Pattern(NamedTuple):
    """The rows in which exactly the features `observed` are."""

    rows: Array
    observed: Array
    missing: Array
    x: Array  # (rows, observed) float64


def patterns_of(x: Array) -> list[Pattern]:
    gone, which = np.unique(np.isnan(x), axis=0, return_inverse=True)
    which = which.reshape(-1)
    result = []
    for i, mask in enumerate(gone):
        rows, o = np.flatnonzero(which == i), np.flatnonzero(~mask)
        result.append(Pattern(rows, o, np.flatnonzero(mask), x[np.ix_(rows, o)].astype(np.float64)))
    return result


def filled(x: Array, features: Statistics) -> Array:
    """x with the mean of its feature in place of every NaN: good enough to begin with. features: as in `Survey`."""
    if not (features.counts > 0).all():
        raise ValueError(
            f"X: expected a value in every feature; feature {int(np.argmin(features.counts))} has only NaN"
        )
    return np.where(np.isnan(x), features.means[:, 0].astype(x.dtype), x)


def e_step(p: Parameters, pattern: Pattern, parts: Split) -> EStep:
    """log p(x_o) and responsibilities of the rows of a pattern."""
    if not len(pattern.observed):  # nothing is known of them: the prior
        n = len(pattern.rows)
        return EStep(np.zeros(n), np.tile(p.weights, (n, 1)))
    means = np.ascontiguousarray(p.means[:, pattern.observed])
    return mixture.gmm_e_step(pattern.x, p.weights, means, parts.factors)


def e_steps(p: Parameters, x: Array) -> EStep:
    """The E step of all rows, in x's dtype."""
    result = EStep(np.empty(len(x), x.dtype), np.empty((len(x), p.K), x.dtype))
    for pattern in patterns_of(x):
        found = e_step(p, pattern, split(p.covariances, pattern.observed, pattern.missing))
        result.log_likelihood[pattern.rows], result.responsibilities[pattern.rows] = found
    return result


def em_step(
    p: Parameters, patterns: list[Pattern], sample_weight: Array | None, total: float
) -> tuple[float, Statistics]:
    """The mean log-likelihood of the given parameters, and the expected statistics of the M step."""
    K, D = p.means.shape
    bound, counts = 0.0, np.full(K, LEAST_COUNT)
    first, second = np.zeros((K, D)), np.zeros((K, D, D))  # moments of z = x − μ_k: μ_k is near the new mean
    for pattern in patterns:
        parts = split(p.covariances, pattern.observed, pattern.missing)
        log_likelihood, r = e_step(p, pattern, parts)
        if sample_weight is not None:
            w = sample_weight[pattern.rows]
            log_likelihood, r = log_likelihood * w, r * w[:, None]
        bound += float(log_likelihood.sum())
        counts += r.sum(axis=0)
        for k in range(K):
            z = _completed(p.means[k], pattern, parts.regression[k])
            first[k] += r[:, k] @ z
            second[k] += (r[:, k, None] * z).T @ z
            second[k][np.ix_(pattern.missing, pattern.missing)] += r[:, k].sum() * parts.covariances[k]
    shift = first / counts[:, None]
    covariances = second / counts[:, None, None] - shift[:, :, None] * shift[:, None, :]
    return bound / total, Statistics(counts, p.means + shift, covariances)


def _completed(mean: Array, pattern: Pattern, regression: Array) -> Array:
    """x − μ_k with what is missing replaced by its expectation (rows, D)."""
    z = np.empty((len(pattern.rows), len(mean)))
    z_o = pattern.x - mean[pattern.observed]
    z[:, pattern.observed] = z_o
    z[:, pattern.missing] = z_o @ regression.T
    return z
