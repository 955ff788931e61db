"""Boosting by decision stumps: the best stump for weighted samples, and the weight of its vote."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import _boosting, reference
from ._backend import using_reference
from ._gaussians import as_sample_weight
from ._results import Stump
from ._validate import as_floats, as_integer, as_labels, as_number, expect_shape


def find_stump(x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, n_classes: int) -> Stump:
    """The decision stump of least weighted error: over all features and thresholds, ε = Σ_{wrong} w_i / Σ_i w_i.

    Rows with x[:, feature] <= threshold go left, the others right; each side predicts its weighted majority.

    Parameters
    ----------
    x : (N, F) samples, one a row, infinities allowed
    y : (N,) class indices, integers in [0, n_classes)
    sample_weight : (N,) w >= 0, of positive sum; None for ones. Rows of weight 0 are as good as not there
    n_classes : K >= 1. The work does not depend on it

    Returns
    -------
    feature, threshold, left_class, right_class, error : a named tuple of Python numbers. The threshold is the midpoint
        of two neighbouring values a < b of the feature, rounded so that a <= threshold < b in x's dtype. Of equal
        errors the lowest feature wins, then the lowest threshold, and of equal classes the lowest. Where no feature
        has two values, feature 0 and the threshold inf send every row to the left

    Weights are summed as integers: scaled by a power of two to a sum of about 2⁶⁰, and rounded. From there on sums are
    exact, whatever their order: what is equal compares equal, and bits do not depend on the number of threads. The
    error is exact to N · 2⁻⁶¹.

    Raises
    ------
    ValueError, TypeError : no rows, no features, shapes that do not fit, NaN, labels outside of [0, n_classes), weights
        that are negative, infinite or all 0

    Source: Freund, Schapire, A decision-theoretic generalization of on-line learning and an application to boosting
    (1997); Iba, Langley, Induction of one-level decision trees (1992).

    >>> import closedform as cf
    >>> cf.find_stump([[1.0], [2.0], [4.0], [8.0]], [0, 0, 2, 1], [1, 1, 1, 5], 3)
    Stump(feature=0, threshold=3.0, left_class=0, right_class=1, error=0.125)
    """
    (x,) = as_floats(x=x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x: expected shape (N, F) with N >= 1 and F >= 1; got {x.shape}")
    if np.isnan(x).any():
        raise ValueError("x: expected no NaN")
    N = len(x)
    n_classes = as_integer("n_classes", n_classes)
    if n_classes < 1:
        raise ValueError(f"n_classes: expected an integer >= 1; got {n_classes}")
    y = as_labels("y", y)
    expect_shape("y", y, (N,), "one class for each row of x")
    if y.min() < 0 or y.max() >= n_classes:
        raise ValueError(f"y: expected classes in [0, {n_classes}); got {y.min()} to {y.max()}")
    w = as_sample_weight(sample_weight, N)
    n_classes = int(y.max()) + 1  # those beyond weigh nothing
    if using_reference():
        return reference.find_stump(x, y, w, n_classes)
    x = np.require(x, requirements=["C", "A"])
    return Stump(*_boosting.Stumps(x, y, n_classes).find(np.ones(N) if w is None else w))


def samme_alpha(error: float, n_classes: int) -> float:
    """The weight of a classifier's vote in multi-class boosting: α = (K − 1)/K · (ln((1 − ε)/ε) + ln(K − 1)).

    It is where the exponential loss is least along that classifier. For K = 2 it is the classical ½ ln((1 − ε)/ε). It
    is positive for ε < 1 − 1/K, better than guessing.

    Parameters
    ----------
    error : ε, the weight of the samples that the classifier has wrong, as a share of all; in [0, 1]. 0 and 1 count as
        2⁻⁵² and 1 − 2⁻⁵², whose weights are finite: for K = 2, ±18.02
    n_classes : K >= 2

    Raises
    ------
    ValueError, TypeError : an error outside of [0, 1] or NaN, n_classes below 2

    Source: Zhu, Zou, Rosset, Hastie, Multi-class AdaBoost (2009), where α lacks the factor (K − 1)/K, which the
    coding of the classes gives.

    >>> import closedform as cf
    >>> round(cf.samme_alpha(0.25, 2), 4), round(cf.samme_alpha(0.25, 10), 4)
    (0.5493, 2.9663)
    """
    error = as_number("error", error, low=0, high=1)
    n_classes = as_integer("n_classes", n_classes)
    if n_classes < 2:
        raise ValueError(f"n_classes: expected an integer >= 2; got {n_classes}")
    return reference.samme_alpha(error, n_classes)
