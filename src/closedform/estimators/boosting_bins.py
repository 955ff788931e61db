"""Values of features, from blocks of rows, in at most B = 256 bins each. N samples, F features, K classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._results import Array
from ..reference.boosting import midpoint

BINS = 256
KEPT = 4 * BINS  # values of a feature that stand for all of them, where there are more


@dataclass(frozen=True)
class Values:
    """Values of one feature, those that occur, or KEPT of them at equal distances in the order of the rows.

    values (V,)   sorted
    counts (V,)   the rows from each back to the one before
    whole         whether every value that occurs is here
    """

    values: Array
    counts: Array
    whole: bool = True

    @classmethod
    def of(cls, column: Array) -> Values:
        return cls(*np.unique(column, return_counts=True)).fewer(KEPT)

    def __add__(self, other: Values) -> Values:
        values, places = np.unique(np.concatenate((self.values, other.values)), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, places, np.concatenate((self.counts, other.counts)))
        return Values(values, counts, self.whole and other.whole).fewer(KEPT)

    def fewer(self, most: int) -> Values:
        """The last of each share of the rows, of `most` equal ones; values with more rows than that have one each."""
        if len(self.values) <= most:
            return self
        counts = self.counts
        while counts.max() > (share := -(-counts.sum() // most)):  # rounded up
            counts = np.minimum(counts, share)
        shares = -(-np.arange(1, most + 1) * counts.sum() // most)
        last = np.unique(np.searchsorted(counts.cumsum(), shares))
        return Values(self.values[last], np.diff(self.counts.cumsum()[last], prepend=0), whole=False)


class Bins:
    """Where the bins of all features end.

    ends (F, B)    the largest value of each, in the dtype of the samples; ∞ for bins that are not in use
    single (F,)    whether each value has a bin of its own
    """

    def __init__(self, features: list[Values]) -> None:
        kept = [feature.fewer(BINS) for feature in features]
        self.single = np.array([feature.whole for feature in kept])
        self.ends = np.full((len(kept), BINS), np.inf, kept[0].values.dtype)
        for ends, feature in zip(self.ends, kept, strict=True):
            ends[: len(feature.values)] = feature.values

    def of(self, x: Array) -> Array:
        """The bins (F, N) of samples x (N, F), as bytes."""
        bins = np.empty(x.shape[::-1], np.uint8)
        for row, ends, column in zip(bins, self.ends, x.T, strict=True):
            row[:] = np.searchsorted(ends, column)
        return bins

    def threshold(self, feature: int, bin: int, in_use: Array) -> float:
        """After this bin; of single values the midpoint, up to the next bin in use (B,)."""
        ends = self.ends[feature]
        if not self.single[feature]:
            return float(ends[bin])
        following = bin + 1 + int(in_use[bin + 1 :].argmax())
        return float(midpoint(ends[bin], ends[following]))


def find_stump(bins: Bins, sums: Array) -> tuple[int, float, int, int, float]:
    """`_boosting.Stumps.find`, from the weights of bins by class, sums (F, B, K): integers, whose sums are exact."""
    left = sums.cumsum(axis=1)  # up to each bin
    total = left[0, -1]
    right = total - left
    correct = left.max(axis=2) + right.max(axis=2)
    correct[(left.max(axis=2) == 0) | (right.max(axis=2) == 0)] = -1  # no split
    feature, bin = map(int, np.unravel_index(correct.argmax(), correct.shape))  # of equal ones the first
    most, whole = correct[feature, bin], total.sum()
    if most < 0:
        majority = int(total.argmax())
        return 0, math.inf, majority, majority, float((whole - total.max()) / whole)
    threshold = bins.threshold(feature, bin, sums[feature].any(axis=1))
    sides = int(left[feature, bin].argmax()), int(right[feature, bin].argmax())
    return feature, threshold, *sides, float((whole - most) / whole)
