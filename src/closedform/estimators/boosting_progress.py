"""What is told of boosting while it runs."""

from __future__ import annotations

from typing import Any

from .._results import Array
from .boosting_loop import Round
from .boosting_validation import Validation
from .progress import Tasks, answered, bar_of

LINES = 10  # without tqdm, one round in so many is printed


class Observers:
    """Everyone who watches one fit, those included who decide when it has gone on long enough."""

    def __init__(
        self, estimator: Any, X: Any, classes: Array, rounds: list[Round], validation: Validation | None
    ) -> None:
        self._estimator, self._classes, self._validation = estimator, classes, validation
        left = max(estimator.n_estimators - len(rounds), 0)
        self._bar = bar_of(left, "boosting", "round") if estimator.verbose else None
        self._tasks = Tasks(estimator, X, left)

    def __call__(self, rounds: list[Round]) -> bool:
        """After a round: does anyone want to stop?"""
        stop = self._validation is not None and self._validation.add(rounds[-1])
        self._show(rounds)
        if self._estimator.callbacks:
            self._estimator._adopt(rounds, self._classes, self._validation)
            stop |= answered(self._estimator.callbacks, len(rounds), rounds[-1].loss, self._estimator)
        self._tasks.begin("round")  # begun when it is over: nothing of it could be shown before
        return self._end(rounds) or stop

    def _show(self, rounds: list[Round]) -> None:
        text = f"training loss {rounds[-1].loss:.6g}"
        if self._validation is not None:
            text += f", validation score {self._validation.scores[-1]:.4f}"
        if self._bar is not None:
            if self._bar.update():
                self._bar.set_postfix_str(text, refresh=False)
        elif self._estimator.verbose and (len(rounds) == 1 or len(rounds) % LINES == 0):
            print(f"Round {len(rounds)}: {text}")

    def end_of_fit(self, rounds: list[Round]) -> None:
        self._end(rounds)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _end(self, rounds: list[Round]) -> bool:
        return self._tasks.end(lambda: self._estimator._attributes(rounds, self._classes, self._validation))
