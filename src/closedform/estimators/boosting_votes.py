"""What an ensemble says of samples. N samples, F features, K classes, T rounds.

g^k(x) = Σ_t α_t [f_t(x) = k]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._results import Array
from .boosting_stump import Stump, add_votes

SAME = 2e-15  # votes that differ by less may have equal probabilities in float64: then they do
CHUNK = 8192  # rows at a time: their votes stay in the cache from round to round


def staged_votes(estimators: Any, alphas: Any, x: Any, classes: Array) -> Iterator[Array]:
    """g (K, N) after each round: the same array each time, changed."""
    g = np.zeros((len(classes), x.shape[0]))
    for estimator, alpha in zip(estimators, alphas, strict=True):
        add_votes(g, estimator, alpha, x, classes)
        yield g


def answers(
    estimators: Any, alphas: Array, x: Any, classes: Array, of_votes: Callable[[Array], Array]
) -> Array:
    """of_votes(g), an answer for each row, of the whole ensemble."""
    N, weights = x.shape[0], alphas.tolist()
    size = CHUNK if isinstance(estimators[0], Stump) else N  # others may prefer all rows at once
    parts = []
    for start in range(0, N, size):
        *_, g = staged_votes(estimators, weights, x[start : start + size], classes)
        parts.append(of_votes(g))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def most_probable(g: Array) -> Array:
    """The first of the most probable classes of each sample, (N,), without computing probabilities."""
    return np.asarray((_behind(g) == 0).argmax(axis=0))


def probabilities(g: Array) -> Array:
    """softmax(K/(K−1) g), (N, K): of all g, the one that minimises the expected loss has these probabilities."""
    e = np.exp(_logits(g))
    return np.ascontiguousarray((e / e.sum(axis=0)).T)


def log_probabilities(g: Array) -> Array:
    """(N, K)"""
    z = _logits(g)
    return np.ascontiguousarray((z - np.log(np.exp(z).sum(axis=0))).T)


def _logits(g: Array) -> Array:
    """K/(K−1) g, (K, N), less the largest of each sample."""
    K = len(g)
    return _behind(g) * (K / max(K - 1, 1))


def _behind(g: Array) -> Array:
    """g less the largest of each sample, (K, N), where it matters."""
    behind: Array = g - g.max(axis=0)
    behind[behind > -SAME] = 0
    return behind


def decision(g: Array, total: float) -> Array:
    """The mean of the votes, weighted by α, of sum `total`: 1 for a class, −1/(K−1) against it. (N, K).

    Two classes: what is for the second less what is for the first, (N,).
    """
    K = len(g)
    shares = np.ascontiguousarray(g.T) / (total or 1.0)
    d = (K * shares - bool(total)) / max(K - 1, 1)
    return np.asarray(d[:, 1] - d[:, 0] if K == 2 else d)
