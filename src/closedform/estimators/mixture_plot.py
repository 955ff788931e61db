"""A mixture and samples in two of their features."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._results import Array
from . import mixture_condition
from .mixture_parameters import Parameters
from .plotting import pyplot


def plot(estimator: Any, X: Any, dims: Array, ax: Any = None) -> Any:
    """`GaussianMixture.plot`; dims (2,) are indices."""
    plt = pyplot()
    from matplotlib.patches import Ellipse

    if len(dims) != 2:
        raise ValueError(f"dims: expected two features; got {len(dims)}")
    responsibilities = estimator.predict_proba(X)
    K = responsibilities.shape[1]
    palette = plt.get_cmap("tab10")(np.arange(K)) if K <= 10 else plt.get_cmap("hsv")(np.arange(K) / K)
    colours = palette[:, :3]
    ax = plt.gca() if ax is None else ax
    x = np.asarray(X)[:, dims].astype(np.float64)
    ax.scatter(x[:, 0], x[:, 1], c=np.clip(responsibilities @ colours, 0, 1), s=12, alpha=0.6, linewidths=0)
    seen = mixture_condition.marginal(estimator._parameters(), dims)
    for k, mean in enumerate(seen.means):
        for deviations in (1, 2):
            width, height, angle = ellipse(_covariance(seen, k), deviations)
            style = {"fill": False, "edgecolor": colours[k], "linewidth": 2 / deviations}
            ax.add_patch(Ellipse(mean, width, height, angle=angle, **style))
        ax.plot(mean[0], mean[1], marker="+", color=colours[k])
    names = getattr(estimator, "feature_names_in_", [f"feature {d}" for d in range(estimator.n_features_in_)])
    ax.set(xlabel=names[dims[0]], ylabel=names[dims[1]])
    return ax


def ellipse(covariance: Array, deviations: float) -> tuple[float, float, float]:
    """Width, height and angle in degrees of where (x − μ)ᵀ Σ⁻¹ (x − μ) = deviations², Σ (2, 2)."""
    values, vectors = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(np.maximum(values, 0))
    return float(width), float(height), float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))


def _covariance(p: Parameters, k: int) -> Array:
    """Of component k, in two features: (2, 2)."""
    covariance = p.covariances if p.covariance_type == "tied" else p.covariances[k]
    return covariance if covariance.ndim == 2 else covariance * np.eye(2)
