"""The parameters of a mixture. K components, D features; all float64 and C-contiguous.

Shapes of covariances, precisions and their factors: full (K, D, D), tied (D, D), diag (K, D), spherical (K,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import mixture
from .._gaussians import covariance_shape, expect_finite
from .._results import Array
from .._validate import as_floats
from .mixture_statistics import Statistics, about

FIXABLE = ("weights", "means", "covariances")


@dataclass
class Parameters:
    """One mixture; the compiled loop changes the arrays in place."""

    covariance_type: str
    weights: Array  # (K,)
    means: Array  # (K, D)
    covariances: Array
    precisions_cholesky: Array
    statistics: Statistics | None = None  # of the last M step, where a Python loop has them at hand

    @property
    def K(self) -> int:  # noqa: N802
        return len(self.weights)

    def attributes(self) -> dict[str, Array]:
        """The names that the estimator has for the arrays."""
        return {
            "weights_": self.weights,
            "means_": self.means,
            "covariances_": self.covariances,
            "precisions_cholesky_": self.precisions_cholesky,
        }

    def copy(self) -> Parameters:
        weights, means, covariances, factors = (a.copy() for a in self.attributes().values())
        return Parameters(self.covariance_type, weights, means, covariances, factors, self.statistics)

    def factor(self, least: float = 0.0) -> int:
        """The factors of the precisions anew; the first component without one, or -1. `least` as in `collapsed`."""
        self.precisions_cholesky[...], failed = mixture.precisions_cholesky(
            self.covariances, self.covariance_type
        )
        return failed if failed >= 0 or not least else self.collapsed(least)

    def collapsed(self, least: float) -> int:
        """The first component with a variance below `least`, given the features before, or -1.

        It is that of Σ = L Lᵀ: the square of a diagonal element of L, hence 1 over that of U.
        """
        u = self.precisions_cholesky
        if self.covariance_type in ("full", "tied"):
            u = np.diagonal(u, axis1=-2, axis2=-1)
        found = np.flatnonzero((u.reshape(len(np.atleast_1d(u)), -1) ** 2 * least > 1).any(axis=1))
        if self.covariance_type == "tied":
            return 0 if found.size else -1
        return int(found[0]) if found.size else -1

    def without(self, k: int) -> Parameters:
        """The other components, in the same proportions. (Not for tied covariances.)"""
        w, means, covariances = (
            np.delete(a, k, axis=0) for a in (self.weights, self.means, self.covariances)
        )
        weights = w / w.sum() if w.sum() > 0 else np.full_like(w, 1 / len(w))
        return Parameters(self.covariance_type, weights, means, covariances, np.empty_like(covariances))

    def maximise(self, statistics: Statistics, reg_covar: float, fixed: tuple[str, ...]) -> None:
        """The M step: the most likely parameters given the statistics, where they are not fixed."""
        means = self.means if "means" in fixed else statistics.means
        if "covariances" not in fixed:
            covariances = about(statistics, means, self.covariance_type)
            self.covariances[...] = regularised(covariances, reg_covar, self.covariance_type)
        self.means[...] = means
        if "weights" not in fixed:
            self.weights[...] = statistics.counts / statistics.total
        self.statistics = statistics

    def as_statistics(self, total: float, reg_covar: float) -> Statistics:
        """The statistics whose M step gives these parameters, for samples of this total weight."""
        if self.statistics is not None:
            return self.statistics
        covariances = regularised(self.covariances, -reg_covar, self.covariance_type)
        return Statistics(self.weights * total, self.means.copy(), covariances)


def regularised(covariances: Array, reg_covar: float, covariance_type: str) -> Array:
    """reg_covar more on the diagonals."""
    if covariance_type in ("full", "tied"):
        return covariances + reg_covar * np.eye(covariances.shape[-1])
    return covariances + reg_covar


def precisions(precisions_cholesky: Array, covariance_type: str) -> Array:
    """Σ⁻¹ = U Uᵀ."""
    if covariance_type in ("full", "tied"):
        return precisions_cholesky @ np.swapaxes(precisions_cholesky, -1, -2)
    return precisions_cholesky**2


def covariances_of(precisions: Array, covariance_type: str) -> Array:
    """The inverses, exactly symmetric."""
    if covariance_type in ("full", "tied"):
        covariances = np.linalg.inv(precisions)
        return (covariances + np.swapaxes(covariances, -1, -2)) / 2
    return 1 / precisions


def free_parameters(covariance_type: str, K: int, D: int) -> int:
    sizes = {"full": K * D * (D + 1) // 2, "tied": D * (D + 1) // 2, "diag": K * D, "spherical": K}
    return sizes[covariance_type] + K * D + K - 1


# -- what users give to begin with; the messages are scikit-learn's --


def checked_weights(weights: Any, K: int) -> Array:
    weights = _floats("weights_init", weights)
    _expect_shape(weights, (K,), "weights")
    if (weights < 0).any() or (weights > 1).any():
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(1 - weights.sum()) > 1e-6:
        raise ValueError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = {weights.sum():.5f}"
        )
    return weights


def checked_means(means: Any, K: int, D: int) -> Array:
    means = _floats("means_init", means)
    _expect_shape(means, (K, D), "means")
    return means


def checked_precisions(precisions: Any, covariance_type: str, K: int, D: int) -> Array:
    precisions = _floats("precisions_init", precisions)
    _expect_shape(precisions, covariance_shape(covariance_type, K, D), f"{covariance_type} precision")
    if covariance_type in ("full", "tied"):
        symmetric = np.allclose(precisions, np.swapaxes(precisions, -1, -2))
        if not (symmetric and (np.linalg.eigvalsh(precisions) > 0).all()):
            raise ValueError(f"'{covariance_type} precision' should be symmetric, positive-definite")
    elif not (precisions > 0).all():
        raise ValueError(f"'{covariance_type} precision' should be positive")
    return precisions


def _floats(name: str, a: Any) -> Array:
    """A float64 copy, C-contiguous: never the array of the caller."""
    (a,) = as_floats(**{name: a})
    expect_finite(name, a)
    return np.array(a, np.float64, order="C")


def _expect_shape(a: Array, shape: tuple[int, ...], name: str) -> None:
    if a.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {a.shape}")
