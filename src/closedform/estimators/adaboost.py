"""AdaBoost for any number of classes (SAMME), in scikit-learn's dialect. N samples, F features, K classes, T rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .boosting_blocks import Blocks
from .boosting_data import Samples, parted, samples_of
from .boosting_fitted import FittedBoosting
from .boosting_learners import Classifiers, Stumps
from .boosting_loop import Learners, Round, boost
from .boosting_options import check_options
from .boosting_progress import Observers
from .boosting_stump import Stump
from .boosting_validation import Validation
from .progress import CallbackSupportMixin, with_callbacks


class AdaBoostClassifier(CallbackSupportMixin, FittedBoosting):  # type: ignore[misc]
    """AdaBoost by SAMME: g(x) = Σ_t α_t f_t(x), of weak learners f_t, lowers the exponential loss round by round.

    scikit-learn's class, in name, arguments, attributes and methods, with decision stumps of its own that are compiled;
    and what is listed second.

    Parameters
    ----------
    estimator : the weak learner, any classifier of scikit-learn whose fit takes sample_weight; None is the stump of the
        least weighted error, exact over all features and thresholds
    n_estimators : rounds at most; it ends before where a learner is perfect, or none is better than chance
    learning_rate : η > 0, a round adds η α_t f_t
    random_state : seed of the learners (stumps need none), and of the samples that are held back

    n_iter_no_change, validation_fraction, tol : an integer ends the fit when so many rounds have not raised the
        accuracy by more than tol, on that fraction of the samples, which is not trained on; the rounds after the best
        one are dropped
    missing : "error", or "left": where a feature is NaN, a stump's sample goes left (in the fit, too, which may divide
        NaN from all numbers)
    warm_start : a second `fit` on the same samples goes on from the first, up to a larger n_estimators
    callbacks : called as f(round, training_loss, estimator) after each round, from 1; the estimator is fitted as far as
        that. One that returns true stops the fit. scikit-learn's own callbacks (1.9) work as well, by `set_callbacks`
    verbose : a bar of progress (needs tqdm), or else a line in ten rounds

    Attributes
    ----------
    estimators_ : list of T learners; a `Stump` has feature, threshold, left_class, right_class
    estimator_weights_ (T,) : η α_t, α_t = ((K−1)/K) (ln((1−ε_t)/ε_t) + ln(K−1)): (K−1)/K times scikit-learn's, hence
        half of them for two classes; at most 700, whose exponential is finite
    estimator_errors_ (T,) : ε_t, the weighted errors
    training_loss_ (T,) : the mean of exp((1/(K−1)) Σ_{k≠y_i} g^k(x_i) − g^{y_i}(x_i)) over the samples, by their
        weights, after each round; it never rises for learning_rate <= 1
    validation_scores_ : with n_iter_no_change, the accuracy on the samples held back after each round tried
    classes_ (K,), n_classes_ : the labels, sorted
    n_features_in_, feature_names_in_ : of X
    feature_importances_ (F,) : the share of α of the stumps on each feature

    Rows of weight 0 are as if they were not there. Where ε = 0, α is finite, as of ε = 2⁻⁵², and the fit ends. Where
    ε >= 1 − 1/K it ends without that learner. In the first round that is an error for an `estimator`; the stump stays,
    with weight 0, and all classes are equally probable. Where all features are constant, stumps predict one class
    everywhere, and the probabilities become the classes' shares. One class: one learner, probabilities 1. Samples of
    float32 are not copied to float64.

    Ctrl-C in `fit` raises KeyboardInterrupt, and leaves the estimator fitted with the rounds so far.

    Source: Zhu, Zou, Rosset, Hastie, Multi-class AdaBoost (2009); Freund, Schapire, A decision-theoretic generalization
    of on-line learning and an application to boosting (1997).

    >>> import numpy as np
    >>> from closedform.estimators import AdaBoostClassifier
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]), np.array([0, 0, 1, 1, 0, 0])
    >>> model = AdaBoostClassifier(n_estimators=3).fit(X, y)
    >>> [stump.threshold for stump in model.estimators_]
    [0.5, 1.5, 3.5]
    >>> model.predict(X)
    array([0, 0, 1, 1, 0, 0])
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 50,
        learning_rate: float = 1.0,
        random_state: Any = None,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        missing: str = "error",
        warm_start: bool = False,
        callbacks: tuple[Any, ...] = (),
        verbose: int = 0,
    ) -> None:
        super().__init__(estimator, n_estimators=n_estimators)
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.missing = missing
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.verbose = verbose

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AdaBoostClassifier:
        """Boosts learners on the rows of X (N, F), of classes y (N,).

        X : float32 or float64; of an `estimator`, whatever scikit-learn's takes
        sample_weight (N,) >= 0 : a row of weight 2 is as good as one that occurs twice

        X may be a dask array, and then y and sample_weight, too. Stumps are then exact where features have at most 256
        different values; of others, thresholds are 255 quantiles, or nearly. No `estimator`, and no n_iter_no_change.
        """
        check_options(self)
        on = self.warm_start and hasattr(self, "estimator_weights_")
        samples, classes = samples_of(self, X, y, sample_weight, first=not on)
        rounds = self._warm(classes) if on else []
        rng = check_random_state(self.random_state)
        validation = None
        if self.n_iter_no_change is not None and isinstance(samples, Samples):
            samples, held = parted(samples, self.validation_fraction, rng)
            validation = Validation(held, classes, self.n_iter_no_change, self.tol)
            for past in rounds:
                validation.add(past)
        learners = self._learners(samples, classes, len(rounds), rng)
        observers = Observers(self, X, classes, rounds, validation)
        K = max(len(classes), 2)  # one class is the first of two: the first learner is perfect
        try:
            boost(
                learners, samples.distribution(), K, rounds, self.n_estimators, self.learning_rate, observers
            )
        except KeyboardInterrupt:
            if rounds:
                self._adopt(rounds, classes, validation)
            raise
        finally:
            observers.close()
        if validation is not None:
            del rounds[validation.best + 1 :]
        self._adopt(rounds, classes, validation)
        observers.end_of_fit(rounds)
        return self

    # -- inside --

    def _warm(self, classes: Any) -> list[Round]:
        """The rounds so far, to go on from."""
        T = len(self.estimators_)
        if self.n_estimators < T:
            raise ValueError(
                f"n_estimators: expected at least {T}, as of the fit before; got {self.n_estimators}"
            )
        if isinstance(self.estimators_[0], Stump) != (self.estimator is None):
            raise ValueError(
                f"estimator: expected learners like those of the fit before, {self.estimators_[0]!r}, with "
                f"warm_start; got {self.estimator!r}"
            )
        if not np.array_equal(classes, self.classes_):
            raise ValueError(f"y: expected the classes of the fit before, {self.classes_}; got {classes}")
        figures = self.estimator_weights_, self.estimator_errors_, self.training_loss_
        return list(map(Round, self.estimators_, *(a.tolist() for a in figures)))

    def _learners(self, samples: Samples | Blocks, classes: Any, T: int, rng: Any) -> Learners:
        """The learners of the rounds after T."""
        if isinstance(samples, Blocks):
            return samples
        if self.estimator is None:
            return Stumps(samples, classes, self.missing)
        self.estimator_ = self.estimator

        def make() -> Any:
            return self._make_estimator(append=False, random_state=rng)

        for _ in range(T):
            make()  # they have had the first seeds
        return Classifiers(samples, make)

    def _adopt(self, rounds: list[Round], classes: Any, validation: Validation | None) -> None:
        self.__dict__.pop("validation_scores_", None)  # of a fit before, with early stopping
        for name, value in self._attributes(rounds, classes, validation).items():
            setattr(self, name, value)

    def _attributes(self, rounds: list[Round], classes: Any, validation: Validation | None) -> dict[str, Any]:
        estimators, alphas, errors, losses = zip(*rounds, strict=True)
        attributes = {
            "estimators_": list(estimators),
            "estimator_weights_": np.array(alphas),
            "estimator_errors_": np.array(errors),
            "training_loss_": np.array(losses),
            "classes_": classes,
            "n_classes_": len(classes),
        }
        if validation is not None:
            attributes["validation_scores_"] = np.array(validation.scores)
        return attributes
