"""What PCA keeps of samples, and sums of it. N samples, D features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import assert_all_finite

from .. import mixture, pca
from .._results import Array


@dataclass(frozen=True)
class Moments:
    """Number, mean and covariance of samples, with weights w_i. The sum of two is that of all their samples.

    samples        N
    weight         W = Σ_i w_i
    mean (D,)      μ = Σ_i w_i x_i / W
    cov (D, D)     Σ_i w_i (x_i − μ)(x_i − μ)ᵀ / W; both float64
    dtype          of the samples
    """

    samples: int
    weight: float
    mean: Array
    cov: Array
    dtype: np.dtype[Any]

    @property
    def rows(self) -> int:
        """How many they stand for: a weight of 2 is a row that occurs twice."""
        return rows_of(self.samples, self.weight)

    @classmethod
    def of(cls, x: Array, sample_weight: Array | None = None) -> Moments:
        """Of x (N, D), N >= 1, C-contiguous; weights (N,) > 0. ValueError if x is not finite."""
        N = len(x)
        if sample_weight is None:
            weight = float(N)
            mean, cov = pca.moments(x)
        else:
            assert_all_finite(x, input_name="X")
            weight, ones = float(sample_weight.sum()), np.ones((N, 1), x.dtype)
            # a mixture of one component
            _, (mean,), (cov,) = mixture.m_step(x, ones, sample_weight)
        largest, info = cov.diagonal().max(), np.finfo(x.dtype)
        if not largest <= info.max:  # which saves looking at x beforehand
            assert_all_finite(x, input_name="X")
            raise ValueError(
                f"X: expected numbers whose squares are in the range of {x.dtype}; got larger ones"
            )
        if largest < info.tiny and (x != x[0]).any():
            raise ValueError(
                f"X: expected deviations whose squares are in the range of {x.dtype}; got smaller ones"
            )
        return cls(N, weight, mean, cov.astype(np.float64), x.dtype)

    def __add__(self, other: Moments) -> Moments:
        """With s = W_b / (W_a + W_b) and δ = μ_b − μ_a (Chan, Golub, LeVeque 1979):

        μ = μ_a + s δ        C = (1 − s) C_a + s C_b + s (1 − s) δ δᵀ
        """
        weight, delta = self.weight + other.weight, other.mean - self.mean
        s = other.weight / weight
        between = s * (1 - s) * np.outer(delta, delta)
        return Moments(
            self.samples + other.samples,
            weight,
            self.mean + s * delta,
            (1 - s) * self.cov + s * other.cov + between,
            np.result_type(self.dtype, other.dtype),
        )


def rows_of(samples: int, weight: float) -> int:
    return max(samples, int(weight))


def expect_countable(weight: float) -> None:
    if not 2 <= weight < math.inf:
        raise ValueError(
            f"sample_weight: expected a finite sum of 2 or more, a weight being a number of rows; got {weight:g}"
        )
