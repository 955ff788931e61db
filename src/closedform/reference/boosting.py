"""Boosting. N samples, F features, K classes."""

from __future__ import annotations

import math

import numpy as np

from .._results import Array, Stump

# ε = 0 and ε = 1 would have infinite weights: they count as the nearest that float64 tells from them.
LEAST_ERROR = float(np.finfo(np.float64).eps)


@np.errstate(all="ignore")
def find_stump(x: Array, y: Array, sample_weight: Array | None, n_classes: int) -> Stump:
    """Twin of `closedform.find_stump`: every threshold of every feature."""
    # x (N, F), y (N,), w (N,)  ->  the split of least error
    #   L_k = Σ_{x_i <= t, y_i = k} w_i     R_k = Σ_{x_i > t, y_i = k} w_i
    #   ε = 1 − (max_k L_k + max_k R_k) / Σ_i w_i
    w = np.ones(len(x)) if sample_weight is None else sample_weight.astype(np.float64)
    x, y, w = x[w > 0], y[w > 0], w[w > 0]  # rows of weight 0 are as good as not there
    by_class = np.where(y[:, None] == np.arange(n_classes), w[:, None], 0)  # (N, K)
    total = by_class.sum(axis=0)
    majority = int(total.argmax())
    best, stump = -1.0, Stump(0, math.inf, majority, majority, _error(total.max(), total))
    for feature, values in enumerate(x.T):
        order = np.argsort(values, kind="stable")
        values, left = values[order], by_class[order].cumsum(axis=0)  # a split after each row ...
        splits = np.flatnonzero(values[:-1] < values[1:])  # ... where the value changes
        correct = left[splits].max(axis=1) + (total - left[splits]).max(axis=1)
        if splits.size and correct.max() > best:  # of equal ones the first stays
            best, i = correct.max(), splits[correct.argmax()]
            classes = int(left[i].argmax()), int((total - left[i]).argmax())
            stump = Stump(feature, float(midpoint(*values[i : i + 2])), *classes, _error(best, total))
    return stump


def _error(correct: float, total: Array) -> float:
    return float((total.sum() - correct) / total.sum())


def midpoint(a: np.floating, b: np.floating) -> np.floating:
    """Of a < b, in their dtype, rounded so that a <= t < b: also where there is nothing between them, or infinity."""
    t = a / 2 + b / 2
    return t if a <= t < b else a


def samme_alpha(error: float, n_classes: int) -> float:
    """Twin of `closedform.samme_alpha`."""
    #   α = (K − 1)/K · (ln((1 − ε)/ε) + ln(K − 1))
    K = n_classes
    e = min(max(error, LEAST_ERROR), 1 - LEAST_ERROR)
    return (K - 1) / K * (math.log((1 - e) / e) + math.log(K - 1))
