"""Mean and covariance, and what follows from them. N samples, D or m features."""

from __future__ import annotations

import numpy as np

from .._results import Array, Covariance, ExtremeTrace


@np.errstate(all="ignore")
def covariance(x: Array, *, ddof: int = 0) -> Covariance:
    """Twin of `closedform.covariance`."""
    # x (N, D)  ->  μ (D,), Σ (D, D)
    #   μ_d = (1/N) Σ_n x_nd
    #   Σ_de = 1/(N − ddof) Σ_n (x_nd − μ_d)(x_ne − μ_e)
    N = x.shape[0]  # > ddof: the wrapper checks
    # In float64, and along contiguous memory, where NumPy sums pairwise: errors of μ would pass for variance.
    mean = x.T.copy().mean(axis=1, dtype=np.float64)
    z = (x - mean).astype(x.dtype)
    return Covariance(mean.astype(x.dtype), z.T @ z / x.dtype.type(N - ddof))


def points_with_moments(mean: Array, cov: Array) -> Array:
    """Twin of `closedform.points_with_moments`."""
    # μ (m,), Σ (m, m) = Σ_i d_i u_i u_iᵀ  ->  2m points, the rows of (2m, m)
    #   x_i = μ + √(m d_i) u_i      x_{m+i} = μ − √(m d_i) u_i
    d, u = eigen(cov)
    steps = np.sqrt(len(d)) * np.sqrt(d)[:, None] * u
    centre = mean.astype(np.float64)
    return np.concatenate((centre + steps, centre - steps)).astype(cov.dtype)


def extreme_trace(cov: Array, k: int, *, largest: bool = True) -> ExtremeTrace:
    """Twin of `closedform.extreme_trace`."""
    # Σ (m, m) = Σ_j d_j u_j u_jᵀ with d_1 ≥ ... ≥ d_m; over Φ (m, k) with ΦᵀΦ = I
    #   max tr(ΦᵀΣΦ) = d_1 + ... + d_k          at the first k of the u_j
    #   min tr(ΦᵀΣΦ) = d_m + ... + d_{m−k+1}    at the last k of them
    d, u = eigen(cov)
    chosen = slice(0, k) if largest else slice(None, -k - 1, -1)
    return ExtremeTrace(cov.dtype.type(d[chosen].sum()), u[chosen].T.astype(cov.dtype))


def eigen(cov: Array) -> tuple[Array, Array]:
    """Eigenvalues (m,) of a covariance, the largest first, and unit eigenvectors, the rows of (m, m): float64.

    A covariance has none below 0: those that rounding has left there count as 0.
    """
    a = cov.astype(np.float64, order="C")
    d, u = np.linalg.eigh(a / 2 + a.T / 2)
    return np.maximum(d[::-1], 0), with_signs(u[:, ::-1].T)


def with_signs(vectors: Array) -> Array:
    """Each row v or −v, such that its entry of largest size is positive: of sizes equal to rounding, the first."""
    size = np.abs(vectors)
    leading = np.argmax(size >= (1 - 1e-6) * size.max(axis=1, keepdims=True), axis=1)
    signs = np.sign(np.take_along_axis(vectors, leading[:, None], axis=1))
    return np.asarray(vectors * signs)
