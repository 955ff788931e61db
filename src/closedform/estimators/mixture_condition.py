"""Marginals and conditionals of a mixture: mixtures again. K components, D features.

Features o are given, features m are not; Σ = [[Σ_oo, Σ_om], [Σ_mo, Σ_mm]] for each component.

    marginal      x_m ~ Σ_k π_k N(μ_m, Σ_mm)
    conditional   x_m | x_o ~ Σ_k r_k(x_o) N(μ_m + A (x_o − μ_o), Σ_mm − A Σ_om),   A = Σ_mo Σ_oo⁻¹

where r_k(x_o) are the responsibilities in the marginal mixture of the features o.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import mixture
from .._results import Array
from .mixture_parameters import Parameters


class Split(NamedTuple):
    """Σ (K, D, D) seen from the features o."""

    regression: Array  # A (K, M, O)
    covariances: Array  # Σ_mm − A Σ_om (K, M, M)
    factors: Array  # U (K, O, O) with U Uᵀ = Σ_oo⁻¹


def split(covariances: Array, o: Array, m: Array) -> Split:
    """A covariance that is positive definite has blocks on its diagonal that are, too."""
    u = covariances[:, o[:, None], o]
    if len(o):
        u, _ = mixture.precisions_cholesky(u, "full")
    b = covariances[:, m[:, None], o] @ u  # Σ_mo U, hence A = b Uᵀ and A Σ_om = b bᵀ, exactly symmetric
    within = covariances[:, m[:, None], m] - b @ np.swapaxes(b, 1, 2)
    return Split(b @ np.swapaxes(u, 1, 2), within, u)


def marginal(p: Parameters, dims: Array) -> Parameters:
    """The mixture of the features `dims`, in their order."""
    if p.covariance_type in ("full", "tied"):
        covariances = p.covariances[..., dims[:, None], dims]
    else:
        covariances = p.covariances[:, dims] if p.covariance_type == "diag" else p.covariances.copy()
    return _with_factors(p.covariance_type, p.weights.copy(), p.means[:, dims], covariances)


def condition(p: Parameters, o: Array, values: Array) -> Parameters:
    """The mixture of the other features, given x_o = values (O,)."""
    m = np.setdiff1d(np.arange(p.means.shape[1]), o)
    seen, rest = marginal(p, o), marginal(p, m)
    (weights,) = mixture.gmm_e_step(
        values[None], seen.weights, seen.means, seen.precisions_cholesky, covariance_type=p.covariance_type
    ).responsibilities
    if p.covariance_type not in ("full", "tied"):  # independent features: only the weights change
        return _with_factors(p.covariance_type, weights, rest.means, rest.covariances)
    parts = split(p.covariances.reshape(-1, *p.covariances.shape[-2:]), o, m)
    means = rest.means + (parts.regression @ (values - seen.means)[:, :, None])[:, :, 0]
    covariances = parts.covariances.reshape(rest.covariances.shape)
    return _with_factors(p.covariance_type, weights, means, covariances)


def _with_factors(covariance_type: str, weights: Array, means: Array, covariances: Array) -> Parameters:
    means, covariances = np.ascontiguousarray(means), np.ascontiguousarray(covariances)
    result = Parameters(covariance_type, weights, means, covariances, np.empty_like(covariances))
    if (k := result.factor()) >= 0:
        raise ValueError(f"covariances_: component {k} is not positive definite in the features asked for")
    return result
