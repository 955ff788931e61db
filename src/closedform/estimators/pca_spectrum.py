"""Principal axes and their variances, by one solver or another. N samples, D features, R axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.sparse.linalg import svds
from sklearn.utils import check_random_state
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import ThreadpoolController  # scikit-learn brings it

from .._results import Array
from ..reference.pca import eigen, with_signs
from .pca_missing import Model
from .pca_moments import Moments


@dataclass(frozen=True)
class Spectrum:
    """R axes of largest variance.

    components (R, D)   orthonormal, the largest variance first
    variances (R,)      along them, with W − 1 for a divisor, where W is the weight of the samples
    weight              W
    axes                how many have a variance: min(N, D) of samples, D of a model
    beyond              the sum of the variances along those that are not here
    """

    components: Array
    variances: Array
    weight: float
    axes: int
    beyond: float = 0.0

    @property
    def total(self) -> float:
        return float(self.variances.sum()) + self.beyond

    @property
    def ratio(self) -> Array:
        """Shares of the variance; of none at all, every share is 0."""
        return self.variances / (self.total or 1.0)

    def noise(self, k: int) -> float:
        """σ²: the mean variance along all axes but the first k."""
        rest = float(self.variances[k:].sum()) + self.beyond
        return rest / (self.axes - k) if k < self.axes else 0.0

    def count(self, n_components: Any) -> int:
        """A number of components from a number, a share of the variance to be exceeded, or "mle"."""
        if isinstance(n_components, str):
            return most_likely_dimension(self.variances, self.weight)
        if isinstance(n_components, int):
            return n_components
        shares = np.cumsum(self.ratio)
        return min(int(np.searchsorted(shares, n_components, side="right")) + 1, len(shares))


@cache
def _libraries() -> Any:
    """Those of this process that have threads of their own: it takes milliseconds to find them."""
    return ThreadpoolController()


def of_moments(moments: Moments) -> Spectrum:
    """By the eigenvectors of the covariance.

    BLAS's threads would spin for a while afterwards, and take the CPUs from ours; and their number would change bits.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        d, u = eigen(moments.cov)
    R = min(moments.rows, len(d))  # others are 0, but for rounding
    u = _settled(u[:R], d[:R], len(d) * np.finfo(moments.dtype).eps)
    return Spectrum(u, d[:R] * _unbiased(moments.weight), moments.weight, R)


def of_rows(z: Array, weight: float, solver: str, k: int, options: Any) -> Spectrum:
    """Of centred rows z (N, D), times the roots of their weights, by a singular value decomposition.

    options : an estimator, with the arguments of the iterative solvers
    """
    N, D = z.shape
    if solver == "full":
        r = np.linalg.qr(z, mode="r") if N > D else z  # zᵀz = rᵀr: the same axes, and no U (N, D)
        _, s, v = np.linalg.svd(r, full_matrices=False)
    else:
        v = _iterated(z, solver, k, options)
        _, s, turn = np.linalg.svd(np.linalg.qr(z @ v.T, mode="r"))
        v = turn @ v  # the axes of largest variance in the space that was found
    variances = s.astype(np.float64) ** 2 / (weight - 1)
    v = _settled(v, variances, (max(N, D) * np.finfo(z.dtype).eps) ** 2)
    beyond = 0.0
    if len(s) < min(N, D):
        total = float(np.einsum("nd,nd->", z, z, dtype=np.float64)) / (weight - 1)
        beyond = max(total - float(variances.sum()), 0.0)
    return Spectrum(v, variances, weight, min(N, D), beyond)


def _iterated(z: Array, solver: str, k: int, options: Any) -> Array:
    """k axes (k, D) of nearly the largest variance, with the arguments of the estimator `options`."""
    if solver == "randomized":
        _, _, v = randomized_svd(
            z,
            k,
            n_oversamples=options.n_oversamples,
            n_iter=options.iterated_power,
            power_iteration_normalizer=options.power_iteration_normalizer,
            random_state=options.random_state,
        )
    else:
        start = check_random_state(options.random_state).uniform(-1, 1, min(z.shape))
        _, _, v = svds(z, k, tol=options.tol, v0=start.astype(z.dtype))
    return np.asarray(v)


def of_model(model: Model, weight: float) -> Spectrum:
    """Of W Wᵀ + σ² I. Its variances are those that are most likely, with W for a divisor."""
    u, s, _ = np.linalg.svd(model.w, full_matrices=False)
    D, K = u.shape
    factor = _unbiased(weight)
    beyond = (D - K) * model.noise * factor
    return Spectrum(with_signs(u.T), (s**2 + model.noise) * factor, weight, D, beyond)


def _settled(axes: Array, variances: Array, eps: float) -> Array:
    """Axes (R, D), the same for the same samples: their signs, and those that could be any.

    Where the variance is 0, less than eps times the largest, axes are what the first unit vectors leave when the axes
    before, and each other, are taken off them.
    """
    rank = int(np.sum(variances > eps * variances[0])) if len(variances) else 0
    R, D = axes.shape
    if rank < R:
        q, _ = np.linalg.qr(np.concatenate((axes[:rank], np.eye(R - rank, D, dtype=axes.dtype))).T)
        axes = np.concatenate((axes[:rank], q.T[rank:]))
    return with_signs(axes)


def _unbiased(weight: float) -> float:
    """What makes a mean of squares about the mean an unbiased variance: W / (W − 1)."""
    return weight / (weight - 1)


def most_likely_dimension(variances: Array, weight: float) -> int:
    """The k of the largest evidence, of 1 ≤ k < D, where all D variances λ are known and N = weight.

    log p(k) = log p(U) − N/2 Σ_{i≤k} log λ_i − N (D − k)/2 log v − ½ log |A| + (m + k)/2 log 2π − k/2 log N

    v is the mean of λ_{k+1} ... λ_D, m = Dk − k(k + 1)/2, and, λ̂_j being λ_j up to k and v beyond,

    log p(U) = −k log 2 + Σ_{i≤k} (log Γ((D − i + 1)/2) − (D − i + 1)/2 log π)
    log |A|  = Σ_{i≤k} Σ_{j>i} log (λ_i − λ_j)(1/λ̂_j − 1/λ̂_i) N

    Source: Minka, Automatic choice of dimensionality for PCA (2000).
    """
    D, N = len(variances), weight
    floor = D * np.finfo(np.float64).eps * variances[0]  # below, variances are rounding errors
    rank = int(np.sum(variances > floor))
    if D < 2 or rank < 2:
        return 1
    d = np.maximum(variances, floor)
    halves = (D - np.arange(D)) / 2
    log_u = np.cumsum([math.lgamma(h) - h * math.log(math.pi) - math.log(2) for h in halves])
    evidence = np.full(D, -np.inf)
    for k in range(1, min(rank, D - 1) + 1):
        v, m = d[k:].mean(), D * k - k * (k + 1) / 2
        inverse = 1 / np.where(np.arange(D) < k, d, v)
        i, j = np.triu_indices(k, 1, D)
        gaps = np.maximum(d[i] - d[j], floor) * np.maximum(inverse[j] - inverse[i], floor * inverse[j] ** 2)
        evidence[k] = (
            log_u[k - 1] - N / 2 * np.log(d[:k]).sum() - N * (D - k) / 2 * math.log(v)
            - np.log(gaps).sum() / 2 - m / 2 * math.log(N)
            + (m + k) / 2 * math.log(2 * math.pi) - k / 2 * math.log(N)
        )  # fmt: skip
    return int(np.argmax(evidence))
