"""A mixture and samples in two of their features."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._results import Array
from . import mixture_condition


def plot(estimator: Any, X: Any, dims: Array, ax: Any = None) -> Any:
    try:
        import matplotlib.pyplot as plt
        from matplotlib.patches import Ellipse
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            'plot needs matplotlib: pip install "closedform[plot]"', name="matplotlib"
        ) from e
    if len(dims) != 2:
        raise ValueError(f"dims: expected two features; got {len(dims)}")
    responsibilities = estimator.predict_proba(X)
    names = getattr(estimator, "feature_names_in_", None)
    ax = plt.gca() if ax is None else ax
    colours = plt.get_cmap("tab10" if responsibilities.shape[1] <= 10 else "hsv")(
        np.arange(responsibilities.shape[1]) if responsibilities.shape[1] <= 10
        else np.linspace(0, 1, responsibilities.shape[1], endpoint=False)
    )[:, :3]
    x = np.asarray(X)[:, dims].astype(np.float64)
    ax.scatter(*x.T, c=np.clip(responsibilities @ colours, 0, 1), s=12, linewidths=0)
    seen = mixture_condition.marginal(estimator._parameters(), dims)
    for k, mean in enumerate(seen.means):
        for deviations in (1, 2):
            width, height, angle = ellipse(_matrix(seen, k), deviations)
            ax.add_patch(
                Ellipse(mean, width, height, angle=angle, fill=False, edgecolor=colours[k], linewidth=1.5 / deviations)
            )
        ax.plot(*mean, marker="+", color=colours[k])
    ax.set(**{f"{axis}label": f"feature {d}" if names is None else names[d] for axis, d in zip("xy", dims, strict=True)})
    return ax


def ellipse(covariance: Array, deviations: float) -> tuple[float, float, float]:
    """Width, height and angle in degrees of where (x − μ)ᵀ Σ⁻¹ (x − μ) = deviations², Σ (2, 2)."""
    values, vectors = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(np.maximum(values, 0))
    return float(width), float(height), float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))


def _matrix(p: Any, k: int) -> Array:
    covariance = p.covariances if p.covariance_type == "tied" else p.covariances[k]
    return np.asarray(covariance if np.ndim(covariance) == 2 else covariance * np.eye(2))
