"""Principal component analysis, in scikit-learn's dialect. N samples, D features, K components."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import assert_all_finite, check_is_fitted

from .._results import Array
from . import pca_missing, pca_spectrum
from .distributed import is_dask
from .mixture_missing import filled
from .mixture_samples import Samples
from .pca_blocks import moments_of
from .pca_fitted import FittedPCA
from .pca_moments import Moments, expect_countable, rows_of
from .pca_options import MANY, check_options, plan
from .pca_spectrum import Spectrum
from .samples import weighted_rows


class PCA(FittedPCA):
    """Principal components: the orthogonal directions along which samples vary most.

    scikit-learn's class, in name, arguments, attributes and answers, on a compiled covariance; and what is listed
    second.

    Parameters
    ----------
    n_components : K, from 0 to min(N, D), which None stands for; or a share of the variance in (0, 1), for as many as
        exceed it; or "mle", for Minka's choice
    copy : X is never overwritten, whatever this says
    whiten : `transform` divides by the deviations along the components
    svd_solver : "covariance_eigh" decomposes the covariance: one pass over X, no copy of it, all variances to about
        eps times the largest. "full" is a singular value decomposition of the centred samples: several times slower, on
        a copy, and variances to eps² times the largest. "randomized" and "arpack" are scikit-learn's and SciPy's
        iterations for a few components of large X, on a copy. "auto" chooses as scikit-learn does, except that it takes
        "covariance_eigh" up to 1000 features and D <= N, where scikit-learn takes the randomized solver
    tol : of "arpack"
    iterated_power, n_oversamples, power_iteration_normalizer : of "randomized"
    random_state : of "randomized" and "arpack"

    missing : "error", or "em": NaN are values that are not known. The components are those of probabilistic PCA, fitted
        by EM to what is known; n_components is a number below D
    em_tol, em_max_iter : EM stops when the mean log-likelihood of a row changes by less, or after so many steps

    Attributes
    ----------
    components_ (K, D) : unit vectors, the largest variance first, the entry of largest size positive
    explained_variance_ (K,) : variances along them, with N − 1 for a divisor
    explained_variance_ratio_ (K,) : over the sum of all variances
    singular_values_ (K,) : √((N − 1) λ_j)
    mean_ (D,) : of the features
    noise_variance_ : σ², the mean variance along the other directions that N samples have
    n_components_, n_samples_ : K, and the number of samples, or the sum of their weights if that is more
    svd_solver_ : the one that "auto" chose
    moments_ : `Moments` of the samples, what `merge` and `partial_fit` go on from; None of more than 1000 features,
        unless "covariance_eigh" made them, and of missing values
    n_iter_ : steps of EM, 0 without missing values
    n_features_in_, feature_names_in_ : of X

    Source: Pearson, On lines and planes of closest fit to systems of points in space (1901); Jolliffe, Principal
    Component Analysis (2002).

    >>> import numpy as np
    >>> from closedform.estimators import PCA
    >>> X = np.array([[-1, -1], [-2, -1], [-3, -2], [1, 1], [2, 1], [3, 2]])
    >>> pca = PCA(n_components=1).fit(X)
    >>> pca.components_.round(2), pca.explained_variance_ratio_.round(2)
    (array([[0.84, 0.54]]), array([0.99]))
    """

    def __init__(
        self,
        n_components: int | float | str | None = None,
        *,
        copy: bool = True,
        whiten: bool = False,
        svd_solver: str = "auto",
        tol: float = 0.0,
        iterated_power: int | str = "auto",
        n_oversamples: int = 10,
        power_iteration_normalizer: str = "auto",
        random_state: Any = None,
        missing: str = "error",
        em_tol: float = 1e-6,
        em_max_iter: int = 1000,
    ) -> None:
        self.n_components = n_components
        self.copy = copy
        self.whiten = whiten
        self.svd_solver = svd_solver
        self.tol = tol
        self.iterated_power = iterated_power
        self.n_oversamples = n_oversamples
        self.power_iteration_normalizer = power_iteration_normalizer
        self.random_state = random_state
        self.missing = missing
        self.em_tol = em_tol
        self.em_max_iter = em_max_iter

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> PCA:
        """Fits the components to the rows of X (N, D), float32 or float64.

        sample_weight (N,) >= 0, of a sum of 2 or more: weights of 2 are as good as rows that occur twice, of 0 as rows
        that are not there. y is ignored.

        X may be a dask array, and then sample_weight, too: the covariance is added up where its blocks are.
        """
        check_options(self)
        if is_dask(X):
            self._take(moments_of(self, X, sample_weight, first=True))
            return self
        finite = "allow-nan" if self.missing == "em" else False  # seen by the moments
        x, w = weighted_rows(self, X, sample_weight, reset=True, finite=finite, least=2)
        if w is not None:
            expect_countable(w.sum())
        gaps = self.missing == "em" and bool(np.isnan(x).any())
        self._decompose(filled(x, Samples(x, w).survey().features) if gaps else x, w)
        if gaps:
            self._climb(x, w)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> PCA:
        """Takes in more rows X (N, D): the components are those of all rows so far, exactly, by their covariance.

        No batch has to be kept, whatever its size (the first has 2 rows or more). X is complete; it may be a dask
        array. y is ignored.
        """
        check_options(self)
        first = not hasattr(self, "components_")
        if is_dask(X):
            batch = moments_of(self, X, sample_weight, first=first)
        else:
            x, w = weighted_rows(self, X, sample_weight, reset=first, finite=False, least=2 if first else 1)
            if first and w is not None:
                expect_countable(w.sum())
            batch = Moments.of(x, w)
        self._take(batch if first else self._kept() + batch)
        return self

    def merge(self, other: PCA | Moments) -> PCA:
        """Takes in the rows that another PCA was fitted to, or `Moments` of rows: self is as fitted to all of them.

        To rounding, it does not matter how rows were divided.
        """
        if not isinstance(other, (PCA, Moments)):
            raise TypeError(f"other: expected a PCA of closedform or Moments; got {type(other).__name__}")
        ours, theirs = self._kept(), other if isinstance(other, Moments) else other._kept()
        if len(theirs.mean) != len(ours.mean):
            raise ValueError(f"other: expected {len(ours.mean)} features, as here; got {len(theirs.mean)}")
        self._take(ours + theirs)
        return self

    # -- inside --

    def _decompose(self, x: Array, w: Array | None) -> None:
        """The components of complete rows."""
        N, D = x.shape
        weight = float(N if w is None else w.sum())
        rows = rows_of(N, weight)
        solver, k = plan(self, self.svd_solver, rows, D)
        moments = Moments.of(x, w) if D <= MANY or solver == "covariance_eigh" else None
        if moments is not None and solver == "covariance_eigh":
            self._take(moments)
            return
        if moments is not None:
            mean = moments.mean
        else:
            assert_all_finite(x, input_name="X")
            mean = x.mean(axis=0, dtype=np.float64) if w is None else w @ x / weight
        z = x - mean.astype(x.dtype)
        rest = z.mean(axis=0, dtype=np.float64) if w is None else w @ z / weight
        z -= rest.astype(x.dtype)  # the rounding of the mean would pass for variance
        if w is not None:
            # Zero rows: the rows that weights stand for besides add axes, and no variance.
            others = np.zeros((max(0, min(rows, D) - N), D), x.dtype)
            z = np.concatenate((z * np.sqrt(w).astype(x.dtype)[:, None], others))
        self.svd_solver_, self.n_samples_ = solver, rows
        self._adopt(pca_spectrum.of_rows(z, weight, solver, k, self), k, mean, x.dtype, moments)

    def _take(self, moments: Moments) -> None:
        """The components of rows with these moments."""
        rows, D = moments.rows, len(moments.mean)
        self.svd_solver_, k = plan(self, "covariance_eigh", rows, D)
        self.n_samples_ = rows
        self._adopt(pca_spectrum.of_moments(moments), k, moments.mean, moments.dtype, moments)

    def _climb(self, x: Array, w: Array | None) -> None:
        """The components of rows with missing values, from those of rows that were filled."""
        weight = float(len(x) if w is None else w.sum())
        model = pca_missing.Model(self.mean_.astype(np.float64), *self._loadings())
        bounds: list[float] = []
        try:
            for _ in range(self.em_max_iter):
                bound, model = pca_missing.em_step(model, x, w)
                bounds.append(bound)
                if len(bounds) > 1 and abs(bound - bounds[-2]) < self.em_tol:
                    break
            else:
                message = f"EM did not converge in em_max_iter={self.em_max_iter} steps"
                warnings.warn(message, ConvergenceWarning, stacklevel=3)
        finally:  # Ctrl-C leaves the model as far as it was
            self._adopt(pca_spectrum.of_model(model, weight), self.n_components_, model.mean, x.dtype)
            self.n_iter_ = len(bounds)

    def _adopt(
        self, spectrum: Spectrum, n_components: Any, mean: Array, dtype: Any, moments: Moments | None = None
    ) -> None:
        k = spectrum.count(n_components)
        variances = spectrum.variances[:k]
        self.n_components_ = k
        self.components_ = spectrum.components[:k].astype(dtype)  # a copy: the others are let go
        self.explained_variance_ = variances.astype(dtype)
        self.explained_variance_ratio_ = spectrum.ratio[:k].astype(dtype)
        self.singular_values_ = np.sqrt(variances * (spectrum.weight - 1)).astype(dtype)
        self.noise_variance_ = spectrum.noise(k)
        self.mean_ = mean.astype(dtype)
        self.moments_, self.n_iter_ = moments, 0

    def _kept(self) -> Moments:
        check_is_fitted(self)
        if self.moments_ is None:
            raise ValueError(
                "moments_: expected those of the rows of the fit; got None, as of missing values, and of more than "
                f"{MANY} features without svd_solver='covariance_eigh'"
            )
        return self.moments_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "em"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
