"""What is told of EM while it runs."""

from __future__ import annotations

import time
from typing import Any

from .mixture_parameters import Parameters
from .progress import Tasks, answered, bar_of


class Observers:
    """Everyone who watches one fit."""

    def __init__(self, estimator: Any, X: Any, max_iter: int, n_init: int) -> None:
        self._estimator, self._max_iter = estimator, max_iter
        self._progress = Progress(estimator.verbose, estimator.verbose_interval, max_iter)
        self._tasks = Tasks(estimator, X, n_init)

    def begin(self, number: int) -> None:
        self._progress.begin(number)
        self._tasks.begin("initialization", self._max_iter)

    def __call__(self, iteration: int, lower_bound: float, parameters: Parameters) -> bool:
        """After an iteration: does anyone want to stop?"""
        self._progress.advance(iteration, lower_bound)
        stop = False
        if self._estimator.callbacks:
            self._estimator._adopt(parameters)
            stop = answered(self._estimator.callbacks, iteration, lower_bound, self._estimator)
        self._tasks.begin("iteration")  # begun when it is over: nothing of it could be shown before
        return self._end(parameters) or stop

    def end(self, lower_bound: float, converged: bool, parameters: Parameters) -> None:
        self._progress.end(lower_bound, converged)
        self._end(parameters)

    def end_of_fit(self, parameters: Parameters) -> None:
        self._end(parameters)

    def _end(self, parameters: Parameters) -> bool:
        return self._tasks.end(lambda: parameters.copy().attributes())


class Progress:
    """A bar of tqdm, where it is installed (the `train` extra); scikit-learn's lines elsewhere."""

    def __init__(self, verbose: int, interval: int, max_iter: int) -> None:
        self._verbose, self._interval, self._max_iter = int(verbose), interval, max_iter
        self._bar: Any = None
        self._start = self._last = time.perf_counter()
        self._bound = float("nan")

    def begin(self, number: int) -> None:
        if not self._verbose:
            return
        self._start = self._last = time.perf_counter()
        self._bound = float("nan")
        self._bar = bar_of(self._max_iter, f"initialization {number}", "it")
        if self._bar is None:
            print(f"Initialization {number}")

    def advance(self, iteration: int, bound: float) -> None:
        if not self._verbose:
            return
        if self._bar is not None:
            if self._bar.update():
                self._bar.set_postfix_str(f"lower bound {bound:.6g}", refresh=False)
        elif iteration % self._interval == 0:
            now = time.perf_counter()
            details = f"\t time lapse {now - self._last:.5f}s\t ll change {bound - self._bound:.5f}"
            print(f"  Iteration {iteration}" + (details if self._verbose > 1 else ""))
            self._last = now
        self._bound = bound

    def end(self, bound: float, converged: bool) -> None:
        if not self._verbose:
            return
        outcome = "converged" if converged else "did not converge"
        if self._bar is not None:
            self._bar.set_postfix_str(f"lower bound {bound:.6g}, {outcome}")
            self.close()
            return
        lapse = time.perf_counter() - self._start
        details = f" time lapse {lapse:.5f}s\t lower bound {bound:.5f}."
        print(f"Initialization {outcome}." + (details if self._verbose > 1 else ""))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
