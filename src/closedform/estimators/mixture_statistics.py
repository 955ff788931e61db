"""Sufficient statistics of the M step, and their sums. K components, D features.

They are kept as counts, means and covariances about those means: sums of squares about zero would cancel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._results import Array


class Statistics(NamedTuple):
    """What one pass over the samples, with responsibilities r_ik and weights w_i, leaves for the M step.

    counts (K,)          n_k = Σ_i w_i r_ik
    means (K, D)         m_k = Σ_i w_i r_ik x_i / n_k
    covariances          Σ_i w_i r_ik (x_i − m_k)(x_i − m_k)ᵀ / n_k, in the shape that the covariance type has,
                         without reg_covar
    """

    counts: Array
    means: Array
    covariances: Array

    @property
    def total(self) -> float:
        """The weight of all samples."""
        return float(self.counts.sum())

    def scaled(self, total: float) -> Statistics:
        """The same samples, each as much heavier as brings their weight to `total`."""
        return self._replace(counts=self.counts * (total / self.total))


def added(a: Statistics, b: Statistics, covariance_type: str) -> Statistics:
    """The statistics of the samples of a and b together.

    n = n_a + n_b,  s = n_b / n,  δ = m_b − m_a
    m = m_a + s δ
    C = (1 − s) C_a + s C_b + s (1 − s) δ δᵀ      (Chan, Golub, LeVeque 1979)
    """
    counts = a.counts + b.counts
    share = np.divide(b.counts, counts, out=np.full_like(counts, 0.5), where=counts > 0)
    delta = b.means - a.means
    means = a.means + share[:, None] * delta
    between = spread(delta, share * (1 - share), counts, covariance_type)
    # tied: one covariance, of all the samples about their components' means
    s = np.array(b.total / counts.sum()) if covariance_type == "tied" else share
    s = s.reshape(s.shape + (1,) * (a.covariances.ndim - s.ndim))
    return Statistics(counts, means, (1 - s) * a.covariances + s * b.covariances + between)


def about(statistics: Statistics, means: Array, covariance_type: str) -> Array:
    """The second moments about other means than the samples' own: C_k + (m_k − μ_k)(m_k − μ_k)ᵀ."""
    counts = statistics.counts
    delta = statistics.means - means
    return statistics.covariances + spread(delta, np.ones_like(counts), counts, covariance_type)


def spread(delta: Array, factors: Array, counts: Array, covariance_type: str) -> Array:
    """f_k δ_k δ_kᵀ in the shape of the covariances; tied: their mean, weighted by the counts."""
    if covariance_type == "full":
        return np.asarray(np.einsum("k,ki,kj->kij", factors, delta, delta))
    if covariance_type == "tied":
        return np.asarray(np.einsum("k,ki,kj->ij", factors * counts / counts.sum(), delta, delta))
    squares: Array = factors[:, None] * delta * delta
    return squares if covariance_type == "diag" else np.asarray(squares.mean(axis=1))
