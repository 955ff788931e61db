"""Probabilistic PCA where values are missing (NaN). N samples, D features, K components.

    x = μ + W z + noise,   z ~ N(0, I),   noise ~ N(0, σ² I),   W (D, K)

A row tells of its own features o alone. What is hidden is z, and not the values that are missing: no formula asks for
them.

    E step   M = W_oᵀ W_o + σ² I,   E[z] = M⁻¹ W_oᵀ (x_o − μ_o),   Cov[z] = σ² M⁻¹
    M step   (w_d, μ_d) of each feature d: the regression of x_d on (z, 1), over the rows that have it;
             σ²: the mean square of what remains
             z ~ N(a, A), of the means a and A of E[z] and E[z zᵀ] − a aᵀ over rows: the same model as
             μ + W a and W A^½ with z ~ N(0, I) again. Without this, EM would crawl where σ² is small

Source: Tipping, Bishop, Probabilistic principal component analysis (1999); Ilin, Raiko, Practical approaches to
principal component analysis in the presence of missing values (2010); Liu, Rubin, Wu, Parameter expansion to accelerate
EM: the PX-EM algorithm (1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._results import Array
from ..linear import dense

LEAST = 1e-8  # of the mean variance of the features: σ² is no less, or M could be singular
CHUNK = 1 << 20  # elements of the matrices M in memory at a time


@dataclass
class Model:
    mean: Array  # μ (D,)
    w: Array  # W (D, K)
    noise: float  # σ²


class Hidden(NamedTuple):
    """Of N rows: log p(x_o) (N,), E[z] (N, K) and Cov[z] (N, K, K)."""

    log_likelihood: Array
    mean: Array
    covariance: Array


def expect(r: Array, w: Array, noise: float) -> Hidden:
    """E step of the rows r = x − μ (N, D), float64, with NaN.

    −2 log p(x_o) = |o| log 2π + (|o| − K) log σ² + log |M| + (|r_o − W_o E[z]|² + σ² |E[z]|²) / σ²
    """
    (N, D), K = r.shape, w.shape[1]
    seen = ~np.isnan(r)
    r = np.where(seen, r, 0)
    squares = (w[:, :, None] * w[:, None, :]).reshape(D, K * K)
    m = dense(seen.astype(np.float64), squares).reshape(N, K, K) + noise * np.eye(K)
    inverse = np.linalg.inv(m)
    z = np.einsum("nij,nj->ni", inverse, dense(r, w))
    rest = r - np.where(seen, dense(z, w.T), 0)
    counts = seen.sum(axis=1)
    double = counts * np.log(2 * np.pi) + (counts - K) * np.log(noise) + np.linalg.slogdet(m)[1]
    double += (rest**2).sum(axis=1) / noise + (z**2).sum(axis=1)
    return Hidden(-double / 2, z, noise * inverse)


def completed(r: Array, w: Array, noise: float) -> Array:
    """r = x − μ (N, D) with W E[z] in place of NaN."""
    result = r.astype(np.float64)
    for rows in chunks(result, w.shape[1]):
        part = result[rows]
        expected = dense(expect(part, w, noise).mean, w.T)
        result[rows] = np.where(np.isnan(part), expected, part)
    return result


def em_step(model: Model, x: Array, sample_weight: Array | None) -> tuple[float, Model]:
    """The mean log-likelihood of a model, and the next model."""
    D, K = model.w.shape
    gram, moment = np.zeros((D, (K + 1) ** 2)), np.zeros((D, K + 1))
    prior = np.zeros((K + 1, K + 1))  # of (z, 1), as gram is of the rows that have a feature
    log_likelihood = squares = count = total = 0.0
    for rows in chunks(x, K):
        r = x[rows].astype(np.float64) - model.mean
        n, hidden = len(r), expect(r, model.w, model.noise)
        z = np.concatenate((hidden.mean, np.ones((n, 1))), axis=1)
        second = z[:, :, None] * z[:, None, :]
        second[:, :K, :K] += hidden.covariance
        v = np.ones(n) if sample_weight is None else sample_weight[rows]
        weights = np.where(np.isnan(r), 0, v[:, None])
        weighted = np.nan_to_num(r) * weights
        gram += dense(weights.T, second.reshape(n, -1))
        moment += dense(weighted.T, z)
        prior += np.tensordot(v, second, axes=1)
        log_likelihood += float(v @ hidden.log_likelihood)
        squares += float((weighted * np.nan_to_num(r)).sum())
        count, total = count + float(weights.sum()), total + float(v.sum())
    regression = np.linalg.solve(gram.reshape(D, K + 1, K + 1), moment[:, :, None])[:, :, 0]
    noise = (squares - float((regression * moment).sum())) / count
    a = prior[K, :K] / total
    root = np.linalg.cholesky(prior[:K, :K] / total - np.outer(a, a))
    w = regression[:, :K]
    new = Model(model.mean + regression[:, K] + w @ a, w @ root, positive(noise, squares / count))
    return log_likelihood / total, new


def positive(noise: float, mean_variance: float) -> float:
    """σ² that no M is singular with: also where the features are constant."""
    return float(max(noise, LEAST * mean_variance, np.finfo(np.float64).tiny))


def chunks(x: Array, K: int) -> list[slice]:
    """Rows whose matrices are in memory at a time."""
    size = max(1, CHUNK // ((K + 1) ** 2 + x.shape[1]))
    return [slice(start, start + size) for start in range(0, len(x), size)]
