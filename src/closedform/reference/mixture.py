"""Gaussian mixtures by expectation and maximisation. N samples, D features, K components.

All arithmetic is float64, whatever the samples are; results are rounded to their dtype at the end.
"""

from __future__ import annotations

import numpy as np

from .._results import Array, EMStep, EStep, MStep

# Of a sample, that every component has at its mean so far: one without others keeps it, and divides by no 0.
LEAST_COUNT = 10 * np.finfo(np.float64).eps


@np.errstate(all="ignore")
def gmm_e_step(
    x: Array, weights: Array, means: Array, precisions_cholesky: Array, *, covariance_type: str = "full"
) -> EStep:
    """Twin of `closedform.gmm_e_step`."""
    # x (N, D)  ->  log p(x_i) (N,), r (N, K)
    #   l_ik = log π_k + log N(x_i; μ_k, Σ_k)
    #   log p(x_i) = log Σ_k exp(l_ik)
    #   r_ik = exp(l_ik) / Σ_j exp(l_ij)
    x64, means = x.astype(np.float64), means.astype(np.float64)
    u = of_components(precisions_cholesky.astype(np.float64), covariance_type, *means.shape)
    joint = np.log(weights.astype(np.float64)) + log_densities(x64, means, u)
    largest = joint.max(axis=1, keepdims=True)  # far from all means, every exp(l_ik) is 0
    e = np.exp(joint - largest)
    total = e.sum(axis=1, keepdims=True)
    log_likelihood = (largest + np.log(total))[:, 0]
    return EStep(log_likelihood.astype(x.dtype), (e / total).astype(x.dtype))


@np.errstate(all="ignore")
def gmm_m_step(
    x: Array,
    responsibilities: Array,
    *,
    covariance_type: str = "full",
    reg_covar: float = 1e-6,
    sample_weight: Array | None = None,
) -> MStep:
    """Twin of `closedform.gmm_m_step`."""
    dtype, x, r = x.dtype, x.astype(np.float64), weighted(responsibilities, sample_weight)
    means = new_means(
        x, r, x[[0] * r.shape[1]]
    )  # there are none so far: a first estimate, about the first sample
    new = maximise(x, r, means, covariance_type, reg_covar)
    return MStep(*(a.astype(dtype) for a in new))


@np.errstate(all="ignore")
def gmm_em_step(
    x: Array,
    weights: Array,
    means: Array,
    covariances: Array,
    *,
    covariance_type: str = "full",
    reg_covar: float = 1e-6,
    sample_weight: Array | None = None,
) -> EMStep:
    """Twin of `closedform.gmm_em_step`: an E step, then an M step."""
    dtype = np.result_type(x, weights, means, covariances)
    x = x.astype(np.float64)  # the responsibilities are float64, too
    u, _ = precisions_cholesky(covariances.astype(np.float64), covariance_type)
    log_likelihood, r = gmm_e_step(x, weights, means, u, covariance_type=covariance_type)
    new = maximise(x, weighted(r, sample_weight), means.astype(np.float64), covariance_type, reg_covar)
    mean = np.average(log_likelihood, weights=sample_weight)
    return EMStep(dtype.type(mean), *(a.astype(dtype) for a in new))


def maximise(x: Array, r: Array, means: Array, covariance_type: str, reg_covar: float) -> MStep:
    """The new parameters, from r (N, K) times the weights of the samples, and the means so far."""
    # r (N, K)  ->  π (K,), μ (K, D), Σ
    #   n_k = Σ_i r_ik      π_k = n_k / Σ_j n_j      μ_k = Σ_i r_ik x_i / n_k
    #   S_k = Σ_i r_ik (x_i − μ_k)(x_i − μ_k)ᵀ, or its diagonal
    counts, new = counts_of(r), new_means(x, r, means)
    scatters = []
    for mean, before, r_k in zip(new, means, r.T, strict=True):
        z, d = x - mean, before - mean
        if covariance_type in ("full", "tied"):
            scatters.append((r_k[:, None] * z).T @ z + LEAST_COUNT * np.outer(d, d))
        else:
            scatters.append(r_k @ z**2 + LEAST_COUNT * d**2)
    S, ridge = np.stack(scatters), reg_covar * np.eye(x.shape[1])
    if covariance_type == "full":
        covariances = S / counts[:, None, None] + ridge
    elif covariance_type == "tied":
        covariances = S.sum(axis=0) / counts.sum() + ridge
    else:
        covariances = S / counts[:, None] + reg_covar
    if covariance_type == "spherical":
        covariances = covariances.mean(axis=1)
    return MStep(counts / counts.sum(), new, covariances)


def counts_of(r: Array) -> Array:
    """n_k = Σ_i r_ik, along contiguous memory, where NumPy sums pairwise."""
    return np.asarray(r.T.copy().sum(axis=1) + LEAST_COUNT)


def new_means(x: Array, r: Array, means: Array) -> Array:
    """μ_k = Σ_i r_ik x_i / n_k, about the mean so far, m + Σ_i r_ik (x_i − m) / n_k: no digits are lost far from 0."""
    shifts = [r_k @ (x - m) / n for r_k, m, n in zip(r.T, means, counts_of(r), strict=True)]
    return np.asarray(means + np.stack(shifts))


def weighted(responsibilities: Array, sample_weight: Array | None) -> Array:
    """w_i r_ik, in float64."""
    r = responsibilities.astype(np.float64)
    return r if sample_weight is None else sample_weight.astype(np.float64)[:, None] * r


def log_densities(x: Array, means: Array, u: Array) -> Array:
    """(N, K) of log N(x_i; μ_k, Σ_k) = −½ (D log 2π + |(x_i − μ_k) U_k|²) + Σ_d log U_k,dd, U_k U_kᵀ = Σ_k⁻¹.

    u: the U_k (K, D, D), or the diagonals (K, D) of such that have no more.
    """
    D = x.shape[1]
    columns = []
    for mean, u_k in zip(means, u, strict=True):
        z = x - mean  # centred first: no digits are lost far from 0
        y, diagonal = (z @ u_k, np.diagonal(u_k)) if u_k.ndim == 2 else (z * u_k, u_k)
        columns.append(-0.5 * (D * np.log(2 * np.pi) + (y**2).sum(axis=1)) + np.log(diagonal).sum())
    return np.stack(columns, axis=1)


def of_components(a: Array, covariance_type: str, K: int, D: int) -> Array:
    """Covariances, or their factors, one for each component: (K, D, D), or diagonals (K, D)."""
    if covariance_type == "tied":
        return np.broadcast_to(a, (K, D, D))
    if covariance_type == "spherical":
        return np.broadcast_to(a[:, None], (K, D))
    return a


def precisions_cholesky(covariances: Array, covariance_type: str) -> tuple[Array, int]:
    """U with U Uᵀ = Σ⁻¹, upper triangular, of each covariance; and the first that is not positive definite, or −1."""
    # Σ = L Lᵀ, hence Σ⁻¹ = L⁻ᵀ L⁻¹ and U = L⁻ᵀ
    if covariance_type in ("diag", "spherical"):
        (bad,) = np.nonzero(~(covariances.reshape(len(covariances), -1) > 0).all(axis=1))
        with np.errstate(all="ignore"):
            return 1 / np.sqrt(covariances), int(bad[0]) if bad.size else -1
    u = np.zeros_like(covariances)
    matrices = [(u, covariances)] if covariance_type == "tied" else list(zip(u, covariances, strict=True))
    for k, (to, covariance) in enumerate(matrices):
        try:
            to[...] = np.triu(np.linalg.inv(np.linalg.cholesky(covariance)).T)
        except np.linalg.LinAlgError:
            return u, k
    return u, -1
