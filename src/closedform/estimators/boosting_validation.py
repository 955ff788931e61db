"""When to stop: the accuracy on samples that are held back. N samples, K classes."""

from __future__ import annotations

import numpy as np

from .._results import Array
from .boosting_data import Samples
from .boosting_loop import Round
from .boosting_stump import add_votes
from .boosting_votes import most_probable


class Validation:
    """Samples that are not trained on, and the score of each round."""

    def __init__(self, samples: Samples, classes: Array, patience: int, tol: float) -> None:
        self._samples, self._classes, self._patience, self._tol = samples, classes, patience, tol
        self._g = np.zeros((len(classes), len(samples.y)))
        self.scores: list[float] = []
        self.best = 0  # the last round that was better than the best before it by more than tol

    def add(self, added: Round) -> bool:
        """Is it time to stop?"""
        add_votes(self._g, added.estimator, added.alpha, self._samples.x, self._classes)
        right = most_probable(self._g) == self._samples.y
        self.scores.append(float(np.average(right, weights=self._samples.weight)))
        if self.scores[-1] > self.scores[self.best] + self._tol:
            self.best = len(self.scores) - 1
        return len(self.scores) - 1 - self.best >= self._patience
