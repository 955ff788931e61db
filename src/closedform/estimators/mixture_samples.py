"""Samples in memory, or mapped from a file, and what a fit asks of them. N samples, D features, K components."""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.random import sample_without_replacement

from .. import mixture
from .._results import Array
from . import mixture_missing
from .mixture_parameters import Parameters
from .mixture_statistics import Statistics, added

CHUNK = 1 << 14  # rows of which temporary arrays are in memory at a time
BEGINNING = 1 << 15  # rows, at most, that the beginning of a fit is found on: it needs several copies of them


class Survey(NamedTuple):
    """What is known of samples as a whole."""

    rows: int
    total: float  # their weight
    largest: float  # of |x|
    features: Statistics  # without NaN; each feature as if it were a component of one: (D,), (D, 1), (D, 1)

    @property
    def mean_variance(self) -> float:
        """The mean of the variances of the features, with their means in gaps."""
        squares = self.features.counts @ self.features.covariances
        return float(squares[0] / (self.total * len(self.features.counts)))


class Samples(NamedTuple):
    """Rows of weight > 0."""

    x: Array  # (N, D) float32 or float64, C-contiguous
    weight: Array | None = None  # (N,) float64
    patterns: list[mixture_missing.Pattern] | None = (
        None  # of the rows with missing values, and of those without
    )

    @property
    def rows(self) -> int:
        return len(self.x)

    @property
    def total(self) -> float:
        return float(len(self.x)) if self.weight is None else float(self.weight.sum())

    def survey(self) -> Survey:
        D = self.x.shape[1]
        nothing = Survey(0, 0.0, 0.0, Statistics(np.zeros(D), np.zeros((D, 1)), np.zeros((D, 1))))
        return reduce(together, (self._surveyed(start) for start in range(0, self.rows, CHUNK)), nothing)

    def _surveyed(self, start: int) -> Survey:
        x = self.x[start : start + CHUNK].astype(np.float64)
        w = np.ones(len(x)) if self.weight is None else self.weight[start : start + CHUNK]
        known = ~np.isnan(x)
        x[~known] = 0
        counts = w @ known
        share = np.divide(w[:, None] * known, counts, out=np.zeros_like(x), where=counts > 0)
        means = (share * x).sum(axis=0)
        variances = (share * (x - means) ** 2).sum(axis=0)
        features = Statistics(counts, means[:, None], variances[:, None])
        return Survey(len(x), float(w.sum()), float(np.abs(x).max()), features)

    def beginning(self, random_state: Any) -> tuple[Array, Array | None]:
        """Rows without gaps, and their weights, to find a beginning on: all of them, or if they are many some."""
        x, w = self.x, self.weight
        if (rows := drawn(self.rows, random_state)) is not None:
            x, w = x[rows], None if w is None else w[rows]
        return (x if self.patterns is None else mixture_missing.filled(x, self.survey().features)), w

    def em_step(self, p: Parameters) -> tuple[float, Statistics]:
        """The mean log-likelihood of p, and what the M step needs of the samples."""
        if self.patterns is not None:
            return mixture_missing.em_step(p, self.patterns, self.weight, self.total)
        bound, weights, means, covariances = mixture.gmm_em_step(
            self.x,
            p.weights,
            p.means,
            p.covariances,
            covariance_type=p.covariance_type,
            reg_covar=0.0,
            sample_weight=self.weight,
        )
        return float(bound), Statistics(weights * self.total, means, covariances)


def with_patterns(x: Array, sample_weight: Array | None, missing: str) -> Samples:
    gaps = missing == "marginalise" and bool(np.isnan(x).any())
    return Samples(x, sample_weight, mixture_missing.patterns_of(x) if gaps else None)


def together(a: Survey, b: Survey) -> Survey:
    features = added(a.features, b.features, "diag")
    return Survey(a.rows + b.rows, a.total + b.total, max(a.largest, b.largest), features)


def drawn(N: int, random_state: Any) -> Array | None:
    """BEGINNING of N rows, in their order; None if there are no more."""
    if N <= BEGINNING:
        return None
    return np.sort(sample_without_replacement(N, BEGINNING, random_state=random_state))
