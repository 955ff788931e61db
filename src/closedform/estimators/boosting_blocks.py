"""Samples in a dask array: in bins, their weights are added up where its blocks are. N samples, F features, K classes.

Once: every block tells which values its features have, and is turned into bins, of a byte for each value, which its
worker keeps. Each round: every block adds up the weights of its bins by class, as integers, whose sums are exact in any
order; of their sum over the blocks the client finds the stump. Weights are not kept: the client has, for each bin of
each feature and each class, the logarithm of all the factors by which rounds on that feature changed the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import add
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_X_y
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from .._results import Array
from .boosting_bins import BINS, Bins, Values, find_stump
from .boosting_stump import Stump
from .distributed import each, held, in_rows, merged, row_blocks

CHUNK = 1 << 12  # rows at a time: larger arrays a dask worker gives back to the system after each use


class Blocks:
    """What `Samples` and `Stumps` are in memory."""

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, *, first: bool) -> None:
        import dask

        _expect_built_in(estimator)
        X = in_rows(X)
        validate_data(estimator, X, y, reset=first, skip_check_array=True)  # the names and number of features
        options = type(estimator).__name__, estimator.missing
        rows = held(each(_checked, *row_blocks(X, y=y, sample_weight=sample_weight), shared=options))
        found: Survey | None = merged(_together, each(_surveyed, rows)).compute()
        if found is None:
            raise ValueError("X: expected 1 row or more; got 0")
        if found.largest == 0:
            raise ValueError("sample_weight: expected some weight > 0; got only zeros")
        self.classes = found.classes
        self._bins = Bins(found.features)
        binned = each(_binned, rows, shared=(self._bins, self.classes, math.frexp(found.largest)[1]))
        self._blocks = dask.persist(
            *binned
        )  # also in one process: they are small, and every round needs them
        total = merged(add, each(Binned.total, self._blocks)).compute()
        self._scale = 2.0 ** (61 - math.frexp(total)[1])

    def distribution(self) -> Array:
        """What stands for D: log-factors (F, B, K) of the weights by bin and class. There are none yet."""
        return np.zeros((*self._bins.ends.shape, len(self.classes)))

    def find(self, D: Array) -> tuple[Stump, float]:
        used = np.flatnonzero(D.any(axis=(1, 2)))
        parts = each(Binned.sums, self._blocks, shared=(used, D[used], self._scale))
        feature, threshold, left, right, error = find_stump(self._bins, merged(np.add, parts).compute())
        return Stump(feature, threshold, left, right, self.classes, len(D)), error

    def reweigh(self, D: Array, stump: Stump, right: float, wrong: float) -> None:
        goes_right = self._bins.ends[stump.feature] > stump.threshold
        said = np.where(goes_right, stump.right_class, stump.left_class)
        with np.errstate(divide="ignore"):  # a factor of 0
            factors = np.log([wrong, right])
        D[stump.feature] += factors[(said[:, None] == np.arange(len(self.classes))).astype(int)]


def _expect_built_in(estimator: Any) -> None:
    for name, reason in (
        ("estimator", "only stumps are fitted to"),
        ("n_iter_no_change", "no rows are held back of"),
    ):
        if (value := getattr(estimator, name)) is not None:
            raise ValueError(f"{name}: expected None, as {reason} a dask array; got {value!r}")


# -- on the workers --


class Rows(NamedTuple):
    """A block: samples x (N, F) of weight > 0, their classes; and the classes of all."""

    x: Array
    y: Array
    weight: Array
    classes: Array


class Survey(NamedTuple):
    classes: Array
    largest: float  # weight
    features: list[Values]


@dataclass(frozen=True)
class Binned:
    """bins (F, N), y (N,) indices of classes, weight (N,) up to 1, K."""

    bins: Array
    y: Array
    weight: Array
    K: int

    def total(self) -> float:
        return float(self.weight.sum())

    def sums(self, used: Array, factors: Array, scale: float) -> Array:
        """Weights by bin and class (F, B, K), times scale and rounded to integers.

        factors (U, B, K) : logarithms, for the features `used` (U,)
        """
        F, N = self.bins.shape
        sums, factors = np.zeros((F, BINS * self.K), np.int64), factors.reshape(len(used), BINS * self.K)
        for start in range(0, N, CHUNK):
            rows = slice(start, start + CHUNK)
            logs, weight = np.zeros(len(self.y[rows])), self.weight[rows] * scale
            for f, table in zip(used, factors, strict=True):
                logs += table.take(self._places(f, rows))
            integers = (weight * np.exp(logs) + 0.5).astype(np.int64)
            for f in range(F):
                np.add.at(sums[f], self._places(f, rows), integers)
        return sums.reshape(F, BINS, self.K)

    def _places(self, f: int, rows: slice) -> Array:
        """Those of (bin, class) in a table (B, K)."""
        return np.asarray(self.bins[f, rows] * np.intp(self.K) + self.y[rows])


def _checked(x: Array, y: Array, sample_weight: Array | None, name: str, missing: str) -> Rows | None:
    if len(x) == 0:
        return None
    finite: Any = "allow-nan" if missing == "left" else True
    dtype = [np.float64, np.float32]
    x, y = check_X_y(x, y, dtype=dtype, order="C", ensure_all_finite=finite, estimator=name)
    classes = np.unique(y)
    check_classification_targets(classes.repeat(2))  # once each, they would seem many
    if sample_weight is None or not np.any(sample_weight):  # other blocks have a weight, it may be
        w = np.full(len(x), float(sample_weight is None))
    else:
        w = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    if missing == "left":
        x = np.where(np.isnan(x), x.dtype.type(-np.inf), x)  # below all numbers
    kept = w > 0
    return Rows(x, y, w, classes) if kept.all() else Rows(x[kept], y[kept], w[kept], classes)


def _surveyed(rows: Rows | None) -> Survey | None:
    if rows is None:
        return None
    return Survey(rows.classes, float(rows.weight.max(initial=0)), [Values.of(column) for column in rows.x.T])


def _together(a: Survey | None, b: Survey | None) -> Survey | None:
    if a is None or b is None:
        return a or b
    features = [one + other for one, other in zip(a.features, b.features, strict=True)]
    return Survey(np.union1d(a.classes, b.classes), max(a.largest, b.largest), features)


def _binned(rows: Rows | None, bins: Bins, classes: Array, exponent: int) -> Binned:
    K = len(classes)
    if rows is None:
        return Binned(np.empty((len(bins.ends), 0), np.uint8), np.empty(0, np.uint8), np.empty(0), K)
    y = np.searchsorted(classes, rows.y).astype(np.min_scalar_type(K))
    return Binned(bins.of(rows.x), y, np.ldexp(rows.weight, -exponent), K)
