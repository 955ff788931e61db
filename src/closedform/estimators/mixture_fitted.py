"""What a fitted mixture answers. N samples, D features, K components."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import mixture
from .._results import Array, EStep
from .._validate import as_integer
from . import mixture_condition, mixture_missing
from .distributed import is_dask, mapped
from .mixture_parameters import Parameters, free_parameters, precisions
from .mixture_samples import CHUNK
from .mixture_statistics import Statistics
from .samples import checked_rows


class FittedMixture(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """The methods of `GaussianMixture` that change nothing."""

    covariance_type: str
    missing: str
    random_state: Any
    weights_: Array
    means_: Array
    covariances_: Array
    precisions_cholesky_: Array
    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]
    reg_covar_: float
    n_batches_: int
    statistics_: Statistics
    _fitted_type: str  # covariance_type may have been set to another one since

    @property
    def precisions_(self) -> Array:
        """Σ⁻¹, in the shape of the covariances."""
        return precisions(self.precisions_cholesky_, self.covariance_type)

    def score_samples(self, X: Any) -> Array:
        """log p(x_i) of each row of X (N, D), in nats."""
        if is_dask(X):
            return mapped(self, "score_samples", X, callbacks=())
        x = self._samples(X)
        result = np.empty(len(x), x.dtype)
        for rows in _chunks(x):
            result[rows] = self._e_step(x[rows]).log_likelihood
        return result

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of log p(x_i) over the rows of X (N, D). y is ignored."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    def predict(self, X: Any) -> Array:
        """The component (N,) most responsible for each row of X (N, D)."""
        if is_dask(X):
            return mapped(self, "predict", X, np.int64, callbacks=())
        x = self._samples(X)
        result = np.empty(len(x), np.int64)
        for rows in _chunks(x):
            result[rows] = self._e_step(x[rows]).responsibilities.argmax(axis=1)
        return result

    def predict_proba(self, X: Any) -> Array:
        """The responsibilities (N, K) of the components for each row of X (N, D)."""
        if is_dask(X):
            return mapped(self, "predict_proba", X, width=len(self.weights_), callbacks=())
        return self._e_step(self._samples(X)).responsibilities

    def bic(self, X: Any) -> float:
        """The Bayesian information criterion on X (N, D), −2 Σ log p(x_i) + P log N with P free parameters."""
        scores = self.score_samples(X)
        return float(-2 * scores.sum(dtype=np.float64)) + self._n_parameters() * math.log(len(scores))

    def aic(self, X: Any) -> float:
        """Akaike's information criterion on X (N, D), −2 Σ log p(x_i) + 2 P with P free parameters."""
        return float(-2 * self.score_samples(X).sum(dtype=np.float64)) + 2 * self._n_parameters()

    def sample(self, n_samples: int = 1) -> tuple[Array, Array]:
        """Draws from the mixture: X (n_samples, D) and the component (n_samples,) of each, component by component.

        The draws are those of scikit-learn for the same random_state.
        """
        check_is_fitted(self)
        if as_integer("n_samples", n_samples) < 1:
            raise ValueError(f"Invalid value for 'n_samples': expected an integer >= 1; got {n_samples}")
        K, D = self.means_.shape
        rng = check_random_state(self.random_state)
        counts = rng.multinomial(n_samples, self.weights_ / self.weights_.sum())
        X = []
        for k, (mean, n) in enumerate(zip(self.means_, counts, strict=True)):
            if self.covariance_type in ("full", "tied"):
                covariance = self.covariances_ if self.covariance_type == "tied" else self.covariances_[k]
                X.append(rng.multivariate_normal(mean, covariance, int(n)))
            else:
                X.append(mean + rng.standard_normal(size=(n, D)) * np.sqrt(self.covariances_[k]))
        return np.vstack(X), np.repeat(np.arange(K), counts)

    def marginal(self, dims: Any) -> Any:
        """The mixture of the features `dims` (indices or names), in that order, fitted."""
        check_is_fitted(self)
        kept = self._features("dims", dims)
        return self._derived(mixture_condition.marginal(self._parameters(), kept), kept)

    def condition(self, given: Any, values: Any) -> Any:
        """The mixture of the other features, in their order, given that the features `given` have these values.

        Parameters
        ----------
        given : indices or names of features, not all of them
        values : (len(given),) finite numbers

        The conditional of a mixture is a mixture: component k has the weight p(k | values), the mean
        μ_m + Σ_mo Σ_oo⁻¹ (values − μ_o) and the covariance Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om.
        """
        check_is_fitted(self)
        o = self._features("given", given)
        v = np.atleast_1d(np.asarray(values, np.float64))
        if v.shape != o.shape or not np.isfinite(v).all():
            raise ValueError(
                f"values: expected {len(o)} finite numbers, one for each of given; got {values!r}"
            )
        if len(o) == self.means_.shape[1]:
            raise ValueError("given: expected a feature to remain; got all of them")
        rest = np.setdiff1d(np.arange(self.means_.shape[1]), o)
        return self._derived(mixture_condition.condition(self._parameters(), o, v), rest)

    def _samples(self, X: Any) -> Array:
        check_is_fitted(self)
        return checked_rows(self, X, finite="allow-nan" if self.missing == "marginalise" else True)

    def _e_step(self, x: Array) -> EStep:
        if self.missing == "marginalise" and np.isnan(x).any():
            return mixture_missing.e_steps(self._parameters(), x)
        return mixture.gmm_e_step(
            x,
            self.weights_,
            self.means_,
            self.precisions_cholesky_,
            covariance_type=self.covariance_type,
        )

    def _parameters(self) -> Parameters:
        arrays = self.weights_, self.means_, self.covariances_, self.precisions_cholesky_
        return Parameters(self.covariance_type, *arrays)

    def _adopt(self, parameters: Parameters) -> None:
        for name, value in parameters.attributes().items():
            setattr(self, name, value)
        self._fitted_type = parameters.covariance_type

    def _n_parameters(self) -> int:
        return free_parameters(self.covariance_type, *self.means_.shape)

    def _features(self, name: str, features: Any) -> Array:
        """Indices of features that may be given by name."""
        D, names = self.means_.shape[1], list(getattr(self, "feature_names_in_", ()))
        listed = list(np.atleast_1d(np.asarray(features, dtype=object)))
        found = [names.index(f) if f in names else f for f in listed]
        indices = [as_integer(name, f) for f in found]
        if (
            not indices
            or len({i % D for i in indices}) < len(indices)
            or not all(-D <= i < D for i in indices)
        ):
            raise ValueError(f"{name}: expected different features out of {D}; got {features!r}")
        return np.mod(np.array(indices, np.intp), D)

    def _derived(self, parameters: Parameters, features: Array) -> Any:
        """A mixture like this one, with these parameters, of these of its features."""
        other = clone(self)
        other.set_params(n_components=parameters.K, weights_init=None, means_init=None, precisions_init=None)
        other._adopt(parameters)
        other.n_features_in_ = len(features)
        if hasattr(self, "feature_names_in_"):
            other.feature_names_in_ = self.feature_names_in_[features]
        other.converged_, other.n_iter_ = True, 0
        other.lower_bound_, other.lower_bounds_ = -math.inf, []
        return other


def _chunks(x: Array) -> list[slice]:
    """Rows whose responsibilities are in memory at a time."""
    return [slice(start, start + CHUNK) for start in range(0, len(x), CHUNK)]
