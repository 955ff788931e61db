"""The rounds of SAMME, from the exponential loss. N samples, K classes, T rounds.

The loss of g(x) ∈ R^K is the mean of exp((1/(K−1)) Σ_{k≠y_i} g^k(x_i) − g^{y_i}(x_i)) by the weights of the samples.
A round adds α_t f_t to g, f_t one-hot: that multiplies the term of a sample by e^{−α} where f_t is right, and by
e^{α/(K−1)} where it is wrong. The weights D of the next round are those terms, divided by their sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .. import boosting
from .._results import Array
from .boosting_stump import Stump

# Of 1 − 1/K − ε. Below, a learner lowers the loss by some 1e-20 of it, and the advantage may be rounding alone
LEAST_ADVANTAGE = 1e-10
PERFECT = 2.0**-52  # what samme_alpha takes smaller errors for
LARGEST_ALPHA = 700.0  # its exponential is finite


class Round(NamedTuple):
    """A weak learner f_t, its weight α_t, its weighted error ε_t, and the loss with it."""

    estimator: Any
    alpha: float
    error: float
    loss: float


class Learners(Protocol):
    def find(self, D: Array) -> tuple[Any, float]: ...
    def reweigh(self, D: Array, estimator: Any, right: float, wrong: float) -> None: ...


def boost(
    learners: Learners,
    D: Array,
    K: int,
    rounds: list[Round],
    n_rounds: int,
    learning_rate: float,
    watch: Callable[[list[Round]], bool],
) -> None:
    """Rounds are appended until there are n_rounds, none is of use, one is perfect, or `watch` stops it.

    D (N,) : the weights of the samples, of sum 1, or what the learners have in their place; changed in place
    """
    for past in rounds[:-1]:
        learners.reweigh(D, past.estimator, *factors(past.error, past.alpha, K)[1:])
    stopped = False
    while not stopped and len(rounds) < n_rounds:
        if rounds:
            last = rounds[-1]
            if last.error <= PERFECT:
                return
            learners.reweigh(D, last.estimator, *factors(last.error, last.alpha, K)[1:])
        estimator, error = learners.find(D)
        useful = 1 - 1 / K - error >= LEAST_ADVANTAGE
        if not useful and rounds:
            return
        if not useful and not isinstance(estimator, Stump):
            raise ValueError(
                f"estimator: expected a first fit that is better than random, with a weighted error below "
                f"{1 - 1 / K:.4g}; {estimator!r} is worse than random, or no better: {error:.4g}"
            )
        # no stump tells the classes apart, and all are as probable: the first one stays, without a say
        alpha = min(learning_rate * boosting.samme_alpha(error, K), LARGEST_ALPHA) if useful else 0.0
        z, *_ = factors(error, alpha, K)
        if learning_rate <= 1:
            z = min(z, 1.0)  # it is convex in α, 1 at 0 and least at samme_alpha: no rounding lifts it
        loss = z * (rounds[-1].loss if rounds else 1.0)
        rounds.append(Round(estimator, alpha, error, loss))
        stopped = watch(rounds)


def factors(error: float, alpha: float, K: int) -> tuple[float, float, float]:
    """Z = ε e^{α/(K−1)} + (1 − ε) e^{−α}, which multiplies the loss; and of the weights, right and wrong."""
    right, wrong = math.exp(-alpha), math.exp(alpha / (K - 1))
    z = error * wrong + (1 - error) * right
    return z, right / z, wrong / z
