"""Gaussian mixtures by EM, in scikit-learn's dialect. N samples, D features, K components."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._results import Array
from . import mixture_plot
from .mixture_data import problem_of, samples_of
from .mixture_fitted import FittedMixture
from .mixture_init import initial_parameters
from .mixture_loop import Problem, Run, climb, mended
from .mixture_options import check_options
from .mixture_parameters import Parameters
from .mixture_progress import Observers
from .mixture_statistics import Statistics, added
from .progress import CallbackSupportMixin, with_callbacks


class GaussianMixture(CallbackSupportMixin, FittedMixture):  # type: ignore[misc]
    """A mixture of Gaussians, fitted by EM: p(x) = Σ_k π_k N(x; μ_k, Σ_k).

    scikit-learn's class, in name, arguments, attributes and answers, on compiled kernels; and what is listed second.

    Parameters
    ----------
    n_components : K
    covariance_type : "full", each component has its own Σ_k; "tied", all share one; "diag", its own diagonal; or
        "spherical", its own variance
    tol : EM stops when the mean log-likelihood changes by less
    reg_covar : added to the diagonals of covariances; "auto" is 1e-6 times the mean variance of the features (1e-6
        if that is 0), so that the units of the data do not matter
    max_iter, n_init : iterations at most, from each of n_init beginnings; the most likely end is kept
    init_params : "kmeans", "k-means++", "random" or "random_from_data"; on all rows, or, where X has more than 32,768,
        on as many of them, drawn by random_state
    weights_init (K,), means_init (K, D), precisions_init : where to begin, in place of what init_params finds
    random_state : seed of beginnings and of `sample`
    warm_start : a second `fit` goes on from the first
    verbose, verbose_interval : a bar of progress (needs tqdm), or else scikit-learn's lines, one in so many iterations

    on_singular : a covariance that is not positive definite: "raise" names its component and the effective count of
        that; "repair" lifts its eigenvalues to 1e-6 times the mean variance of the features; "drop" goes on without
        the component
    fixed : "weights", "means" or "covariances", or a tuple of them: they stay as they begin
    missing : "error", or "marginalise": NaN are integrated out exactly (covariance_type "full")
    callbacks : called as f(iteration, lower_bound, estimator) after each iteration, from 1 in each beginning; the
        estimator is fitted as far as that. One that returns true stops this climb. scikit-learn's own callbacks
        (1.9) work as well, by `set_callbacks`
    learning_decay : κ in (0.5, 1] of `partial_fit`

    Attributes
    ----------
    weights_ (K,), means_ (K, D), covariances_, precisions_, precisions_cholesky_ : float64, whatever X is. Shapes:
        full (K, D, D), tied (D, D), diag (K, D), spherical (K,)
    converged_, n_iter_, lower_bounds_, lower_bound_ : of the beginning that is kept; a lower bound is the mean
        log-likelihood of the parameters before an iteration
    reg_covar_ : the number that was added
    n_batches_ : that `partial_fit` has seen; 1 after `fit`
    statistics_ : counts, means and covariances of the last M step, what `merge` and `partial_fit` go on from
    n_features_in_, feature_names_in_ : of X

    Ctrl-C in `fit` raises KeyboardInterrupt, and leaves the estimator fitted as far as it was.

    Source: Dempster, Laird, Rubin, Maximum likelihood from incomplete data via the EM algorithm (1977).

    >>> import numpy as np
    >>> from closedform.estimators import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> np.sort(model.means_, axis=0).round(6)
    array([[ 1.,  2.],
           [10.,  2.]])
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float | str = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        on_singular: str = "raise",
        fixed: str | tuple[str, ...] = (),
        missing: str = "error",
        callbacks: tuple[Any, ...] = (),
        learning_decay: float = 0.7,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.on_singular = on_singular
        self.fixed = fixed
        self.missing = missing
        self.callbacks = callbacks
        self.learning_decay = learning_decay

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> GaussianMixture:
        """Fits the mixture to the rows of X (N, D), float32 or float64: an array, an np.memmap or a dask array.

        A dask array is summed up, block of rows by block, on the workers of the active `distributed.Client`, or on
        dask's own scheduler; the workers of a client hold the blocks until the fit is over.
        sample_weight (N,) >= 0, of a sum of 1e-6 or more: weights of 2 are as good as rows that occur twice, of 0 as
        rows that are not there. y is ignored.
        """
        check_options(self)
        samples = samples_of(self, X, sample_weight, first=True)
        on = self.warm_start and hasattr(self, "converged_")
        problem = problem_of(self, samples, None)
        rng = check_random_state(self.random_state)
        observers = Observers(self, X, self.max_iter, 1 if on else self.n_init)
        best: Run | None = None
        for number in range(1 if on else self.n_init):
            if on:
                run = Run(self._before("warm_start"), self.lower_bound_)
            else:
                run = Run(initial_parameters(self, samples, problem.reg_covar, rng))
            observers.begin(number)
            try:
                climb(problem, run, self.max_iter, self.tol, observers)
            except KeyboardInterrupt:
                self._finish(mended(problem, run.parameters), run, problem)
                raise
            finally:
                observers.end(run.lower_bound, run.converged, run.parameters)
            if best is None or run.lower_bound > best.lower_bound:
                best = run
        assert best is not None  # n_init >= 1
        self._finish(best.parameters, best, problem)
        observers.end_of_fit(best.parameters)
        if not self.converged_ and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase "
                "max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """`fit`, and then the most responsible component (N,) of each row."""
        self.fit(X, y, sample_weight)
        return self.predict(X)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> GaussianMixture:
        """One step of online EM, with a batch X (N, D) of a stream: no batch has to be kept.

        The first batch (N >= K) begins as `fit` does, and takes one step; so does any after a `fit`. Batch t moves
        the sufficient statistics s, per sample, by the step size γ_t = t^−κ towards its own ones, and the parameters
        are their M step:

            s ← (1 − γ_t) s + γ_t s(batch),   κ = learning_decay

        A κ near 1/2 forgets early batches fast, κ = 1 gives all batches the same say. Use batches of similar size.
        Source: Cappé, Moulines, On-line expectation-maximization algorithm for latent data models (2009).
        """
        check_options(self)
        first = not hasattr(self, "statistics_")
        if first and hasattr(self, "weights_"):
            raise ValueError(
                "statistics_: expected those of a fit; a marginal or conditional mixture has none"
            )
        samples = samples_of(self, X, sample_weight, first=first)
        problem = problem_of(self, samples, None if first else self.reg_covar_)
        if first:
            self.n_iter_, self.lower_bounds_ = 0, []
            rng = check_random_state(self.random_state)
            p = mended(problem, initial_parameters(self, samples, problem.reg_covar, rng))
        else:
            p = self._before("partial_fit")
        bound, batch = samples.em_step(p)
        run = Run(p, lower_bounds=[*self.lower_bounds_, bound])
        t = 1 if first else self.n_batches_ + 1
        if first:
            statistics = batch
        else:
            share, old = t**-self.learning_decay, self.statistics_
            statistics = added(old.scaled(1 - share), batch.scaled(share), self.covariance_type)
            statistics = statistics.scaled(old.total + batch.total)
        p.maximise(statistics, problem.reg_covar, problem.fixed)
        self._finish(mended(problem, p), run, problem)
        self.n_batches_ = t
        return self

    def merge(self, other: GaussianMixture | Statistics) -> GaussianMixture:
        """Takes in the statistics of another mixture of as many components, or `Statistics` themselves.

        The statistics of the last M steps are summed, component by component, and self becomes their M step. Where
        both steps began at the same parameters, on two parts of the data, that is one step of EM on all of it, to
        rounding: fits with the same weights_init, means_init and precisions_init and max_iter=1 do so. Elsewhere it
        is the pooled estimate of components that are taken to be the same.
        """
        if not isinstance(other, (GaussianMixture, Statistics)):
            raise TypeError(
                f"other: expected a GaussianMixture of closedform or Statistics; got {type(other).__name__}"
            )
        check_is_fitted(self, "statistics_")
        if isinstance(other, GaussianMixture):
            check_is_fitted(other, "statistics_")
        theirs = other if isinstance(other, Statistics) else other.statistics_
        if theirs.means.shape != self.means_.shape or theirs.covariances.shape != self.covariances_.shape:
            raise ValueError(
                f"other: expected means of shape {self.means_.shape} and covariances of shape "
                f"{self.covariances_.shape}; got {theirs.means.shape} and {theirs.covariances.shape}"
            )
        if isinstance(other, GaussianMixture) and other._fitted_type != self._fitted_type:
            raise ValueError(
                f"other: expected covariance_type {self._fitted_type!r}, as here; got {other._fitted_type!r}"
            )
        ours, p = self.statistics_, self._before("merge")
        p.maximise(added(ours, theirs, self.covariance_type), self.reg_covar_, check_options(self))
        if (k := p.factor()) >= 0:
            raise ValueError(f"other: the merged covariance of component {k} is not positive definite")
        if not isinstance(other, Statistics):
            bounds, totals = (self.lower_bound_, other.lower_bound_), (ours.total, theirs.total)
            self.lower_bound_ = float(np.average(bounds, weights=totals))
        self._adopt(p)
        assert p.statistics is not None
        self.statistics_ = p.statistics
        return self

    def plot(self, X: Any, dims: tuple[Any, Any] = (0, 1), ax: Any = None) -> Any:
        """The rows of X (N, D) in two features, coloured by responsibilities; one and two deviations of components.

        Needs matplotlib (the `plot` extra). Returns the axes.
        """
        return mixture_plot.plot(self, X, self._features("dims", dims), ax)

    # -- inside --

    def _before(self, name: str) -> Parameters:
        """The parameters so far, to go on from, where the options still fit them."""
        if self.covariance_type != self._fitted_type:
            raise ValueError(
                f"{name}: expected covariance_type {self._fitted_type!r}, as fitted before; got "
                f"{self.covariance_type!r}"
            )
        p, D = self._parameters().copy(), self.n_features_in_
        K, features = p.means.shape
        dropped = self.on_singular == "drop" and self.n_components > K
        if features != D or (self.n_components != K and not dropped):
            raise ValueError(
                f"{name}: expected {K} components and {features} features, as fitted before; got "
                f"n_components = {self.n_components} and {D} features"
            )
        return p

    def _finish(self, p: Parameters, run: Run, problem: Problem) -> None:
        self._adopt(p)
        self.converged_, self.n_iter_ = run.converged, len(run.lower_bounds)
        self.lower_bound_, self.lower_bounds_ = run.lower_bound, run.lower_bounds
        self.reg_covar_ = problem.reg_covar
        self.statistics_ = p.as_statistics(problem.samples.total, problem.reg_covar)
        self.n_batches_ = 1

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "marginalise"
        return tags
