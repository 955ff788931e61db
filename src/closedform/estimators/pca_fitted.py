"""What a fitted PCA answers. N samples, D features, K components."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from .._results import Array
from ..linear import dense
from . import pca_missing, pca_plot
from .distributed import float_of, in_rows, is_dask, map_rows, mapped
from .samples import checked_rows

CHUNK = 1 << 17  # elements of X that are centred at a time


class FittedPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The methods of `PCA` that change nothing."""

    whiten: bool
    missing: str
    components_: Array
    explained_variance_: Array
    explained_variance_ratio_: Array
    mean_: Array
    noise_variance_: float

    def transform(self, X: Any) -> Array:
        """The coordinates (N, K) of the rows of X (N, D): (x − μ) · u_j, over √λ_j if `whiten`.

        With missing="em", NaN count for what is expected of them, given the other features of their row.
        """
        if is_dask(X):
            check_is_fitted(self)
            dtype, K = np.result_type(float_of(X), self.components_), len(self.components_)
            return mapped(self, "_transformed", X, dtype, K, moments_=None)
        return self._transformed(X)

    def _transformed(self, X: Any) -> Array:  # `transform` as it stands may make a DataFrame of it
        x = self._rows(X)
        dtype = np.result_type(x, self.components_)
        axes = np.ascontiguousarray((self.components_ / self._scale()).T, dtype)
        result = np.empty((len(x), axes.shape[1]), dtype)
        for rows in _chunks(x):
            z = x[rows] - self.mean_
            if self.missing == "em" and np.isnan(z).any():
                z = pca_missing.completed(z, *self._loadings())
            dense(z.astype(dtype, copy=False), axes, out=result[rows])
        return result

    def inverse_transform(self, X: Any) -> Array:
        """The points (N, D) that have the coordinates X (N, K), in the space of the components."""
        check_is_fitted(self)
        options = {
            "input_name": "X",
            "dtype": [np.float64, np.float32],
            "order": "C",
            "ensure_min_features": 0,
        }
        x = in_rows(X) if is_dask(X) else check_array(X, **options)
        if x.shape[1] != len(self.components_):
            raise ValueError(
                f"X: expected {len(self.components_)} columns, one for each component; got {x.shape[1]}"
            )
        if is_dask(X):
            now, D = copy(self), self.components_.shape[1]
            now.moments_ = None  # they need not travel
            back: Array = map_rows(now.inverse_transform, x, np.result_type(float_of(x), self.components_), D)
            return back
        return dense(x, self.components_ * self._scale(), self.mean_)

    def get_covariance(self) -> Array:
        """Σ (D, D) of the model, Uᵀ diag(λ_j − σ²) U + σ² I with the rows u_j of U and σ² the noise variance.

        It is that of the data, and the same with `whiten` and without.
        """
        check_is_fitted(self)
        u = self.components_
        above = np.maximum(self.explained_variance_ - self.noise_variance_, 0)
        covariance: Array = (u.T * above) @ u
        covariance.flat[:: len(covariance) + 1] += self.noise_variance_
        return covariance

    def get_precision(self) -> Array:
        """Σ⁻¹ (D, D) of the model: Uᵀ diag(1/λ_j − 1/σ²) U + I/σ². Variances of 0 count as in `score_samples`."""
        check_is_fitted(self)
        u = self.components_
        variances, noise = self._positive()
        inverse = 1 / noise if len(u) < u.shape[1] else 0.0
        precision: Array = (u.T * (1 / variances - inverse).astype(u.dtype)) @ u
        precision.flat[:: len(precision) + 1] += inverse
        return precision

    def score_samples(self, X: Any) -> Array:
        """log p(x_i) (N,) of the rows of X (N, D) under the model, a Gaussian with mean μ and `get_covariance`.

        Σ⁻¹ is not formed: with y = (x − μ) Uᵀ and what remains, r = x − μ − y U,
        log p(x) = −½ (D log 2π + Σ_j log λ_j + (D − K) log σ² + Σ_j y_j²/λ_j + |r|²/σ²). Variances below eps times the
        largest are rounding errors, and count as that much. With missing="em", NaN are integrated out.

        Source: Tipping, Bishop, Probabilistic principal component analysis (1999).
        """
        if is_dask(X):
            return mapped(self, "score_samples", X, moments_=None)
        x = self._rows(X)
        u, mean = self.components_.astype(np.float64), self.mean_.astype(np.float64)
        variances, noise = self._positive()
        K, D = u.shape
        constant = D * math.log(2 * math.pi) + np.log(variances).sum() + (D - K) * math.log(noise)
        result = np.empty(len(x), x.dtype)
        for rows in _chunks(x):
            z = x[rows] - mean
            if self.missing == "em" and np.isnan(z).any():
                result[rows] = pca_missing.expect(z, *self._loadings()).log_likelihood
                continue
            y = dense(z, np.ascontiguousarray(u.T))
            squares = (y**2 / variances).sum(axis=1)
            if K < D:
                squares += ((z - dense(y, u)) ** 2).sum(axis=1) / noise
            result[rows] = -0.5 * (constant + squares)
        return result

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of log p(x_i) over the rows of X (N, D). y is ignored."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    def plot(self, ax: Any = None) -> Any:
        """The share of the variance that each component explains, and the sum of them so far.

        Needs matplotlib (the `plot` extra). Returns the axes.
        """
        check_is_fitted(self)
        return pca_plot.plot(self, ax)

    # -- inside --

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _rows(self, X: Any) -> Array:
        check_is_fitted(self)
        return checked_rows(self, X, finite="allow-nan" if self.missing == "em" else True)

    def _scale(self) -> Array:
        """(K, 1) deviations along the components for `whiten`, else ones."""
        if not self.whiten:
            return np.ones((len(self.components_), 1), self.components_.dtype)
        variances, _ = self._positive()
        return np.sqrt(variances)[:, None].astype(self.components_.dtype)

    def _positive(self) -> tuple[Array, float]:
        """Variances λ (K,) along the components, and σ² in other directions, none below rounding errors."""
        eps = np.finfo(self.components_.dtype).eps
        largest = max(np.max(self.explained_variance_, initial=0.0), self.noise_variance_)
        floor = max(float(eps * largest), np.finfo(np.float64).tiny)
        return np.maximum(self.explained_variance_.astype(np.float64), floor), max(
            self.noise_variance_, floor
        )

    def _loadings(self) -> tuple[Array, float]:
        """W (D, K) and σ² of the model x = μ + W z + noise."""
        above = np.maximum(self.explained_variance_ - self.noise_variance_, 0).astype(np.float64)
        total = float(above.sum() + self.noise_variance_ * self.components_.shape[1])
        return self.components_.T * np.sqrt(above), pca_missing.positive(
            self.noise_variance_, total / self.components_.shape[1]
        )


def _chunks(x: Array) -> Iterator[slice]:
    size = max(64, CHUNK // x.shape[1])
    for start in range(0, len(x), size):
        yield slice(start, start + size)
