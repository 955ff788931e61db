"""How far rounding takes the steps of EM: the scales of their errors, in units of eps, to first order.

A log density has the error of the terms that are added up to it. A responsibility r has r times that of its own log
density and of all of them, in the mean; and sums of responsibilities have the sum of their errors besides their own.
"""

from __future__ import annotations

import numpy as np

from .._results import Array
from ..reference.mixture import LEAST_COUNT, gmm_e_step, of_components, precisions_cholesky, weighted
from .op import Call

EPS = np.finfo(np.float64).eps


def e_step_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    x, weights, means, u = call.args
    of_log_likelihood, of_r = _errors(_terms(x, weights, means, u, call.options["covariance_type"]), want[1])
    return of_log_likelihood, of_r


def _errors(terms: Array, r: Array) -> tuple[Array, Array]:
    """Of log p(x_i), and of r_ik."""
    of_log_likelihood = (r * terms).sum(axis=1)
    return of_log_likelihood, r * (terms + of_log_likelihood[:, None])


def _terms(x: Array, weights: Array, means: Array, u: Array, kind: str) -> Array:
    """(N, K) the size of what is added up to log π_k N(x_i; μ_k, Σ_k)."""
    D, centre = x.shape[1], weights @ means
    columns = []
    for weight, mean, u_k in zip(weights, means, of_components(u, kind, *means.shape), strict=True):
        if u_k.ndim == 1:
            u_k = np.diag(u_k)
        z = np.abs(x - centre) + np.abs(
            mean - centre
        )  # the kernel takes both about the centre of the mixture
        squares = np.sum(np.abs((x - mean) @ u_k) * (z @ np.abs(u_k)), axis=1)
        logarithms = np.abs(np.log(np.diagonal(u_k))).sum() + (abs(np.log(weight)) if weight > 0 else 0)
        columns.append(D / 2 * np.log(2 * np.pi) + logarithms + squares)
    return np.stack(columns, axis=1)


def m_step_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    x, r = call.args
    r = weighted(r, call.options.get("sample_weight"))
    return _maximise_scale(x, r, np.zeros_like(r), want[1], want, call.options["covariance_type"])


def em_step_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    x, weights, means, covariances = call.args
    kind, w = call.options["covariance_type"], call.options.get("sample_weight")
    u, _ = precisions_cholesky(covariances, kind)
    terms = _terms(x, weights, means, u, kind) * _condition(covariances, kind)
    r = gmm_e_step(x, weights, means, u, covariance_type=kind).responsibilities
    of_log_likelihood, of_r = _errors(terms, r)
    mean = np.average(of_log_likelihood, weights=w)
    return mean, *_maximise_scale(x, weighted(r, w), weighted(of_r, w), means, want[1:], kind)


def _condition(covariances: Array, kind: str) -> Array | float:
    """By which the errors of Cholesky factors grow."""
    matrices = kind in ("full", "tied")
    return np.linalg.cond(covariances) if matrices else 1.0


def _maximise_scale(
    x: Array, r: Array, of_r: Array, about: Array, want: tuple[Array, ...], kind: str
) -> tuple[Array, ...]:
    """Of the new parameters `want`, from r (N, K) and the errors of r, by sums of x − about (K, D)."""
    weights, means, covariances = want
    counts, of_counts = r.sum(axis=0) + LEAST_COUNT, of_r.sum(axis=0)
    of_weights = weights + (of_counts + weights * of_counts.sum()) / counts.sum()

    relative, terms = (of_counts / counts)[:, None], (r + of_r) / counts
    centre = weights @ about
    z = [x - a for a in about]
    of_means = np.abs(means) + relative * np.abs(means - about)
    of_means += [t @ np.abs(z_k) for t, z_k in zip(terms.T, z, strict=True)]
    if kind == "tied":  # the scatter about the centre, less that of the means
        z = [x - centre] * len(about)
    far = np.abs(x - centre)
    squares = np.stack([t @ (np.abs(z_k) * (np.abs(z_k) + far)) for t, z_k in zip(terms.T, z, strict=True)])
    squares *= 1 + relative
    squares += EPS * (terms.T @ np.abs(x)) ** 2  # the squares of the errors of means
    if kind == "tied":
        squares = (weights[:, None] * squares).sum(axis=0)
    if kind == "spherical":
        return of_weights, of_means, covariances + squares.mean(axis=1)
    if kind == "diag":
        return of_weights, of_means, covariances + squares
    deviations = np.sqrt(squares)
    return of_weights, of_means, np.abs(covariances) + deviations[..., :, None] * deviations[..., None, :]
