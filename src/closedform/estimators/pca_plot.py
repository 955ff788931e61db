"""The variance that principal components explain."""

from __future__ import annotations

from typing import Any

import numpy as np

from .plotting import pyplot


def plot(estimator: Any, ax: Any = None) -> Any:
    """`PCA.plot`."""
    plt = pyplot()
    ratio = estimator.explained_variance_ratio_
    number = np.arange(1, len(ratio) + 1)
    ax = plt.gca() if ax is None else ax
    ax.bar(number, ratio, alpha=0.6, label="each")
    ax.step(number, np.cumsum(ratio), where="mid", color="C1", label="so far")
    ax.set(xlabel="component", ylabel="share of the variance", ylim=(0, 1.02))
    ax.legend()
    return ax
