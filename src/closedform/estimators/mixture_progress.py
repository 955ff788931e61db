"""What is told of a fit while it runs: to the user's callbacks, to scikit-learn's, and on the screen."""

from __future__ import annotations

import time
from typing import Any

from .mixture_parameters import Parameters

__all__ = ["CallbackSupportMixin", "Observers", "with_callbacks"]

try:  # scikit-learn 1.9 has a protocol for callbacks
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """scikit-learn's, where the installed version has it."""

    def with_callbacks(method: Any) -> Any:
        return method


class Observers:
    """Everyone who watches one fit."""

    def __init__(self, estimator: Any, X: Any, max_iter: int, n_init: int) -> None:
        self._estimator, self._X, self._max_iter = estimator, X, max_iter
        self._progress = Progress(estimator.verbose, estimator.verbose_interval, max_iter)
        self._tasks = None
        if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
            self._tasks = estimator._init_callback_context(max_subtasks=n_init)
            self._tasks.call_on_fit_task_begin(estimator=estimator, X=X)
        self._climb: Any = None

    def begin(self, number: int) -> None:
        self._progress.begin(number)
        if self._tasks is not None:
            self._climb = self._tasks.subcontext("initialization", max_subtasks=self._max_iter)
            self._climb.call_on_fit_task_begin(estimator=self._estimator, X=self._X)

    def __call__(self, iteration: int, lower_bound: float, parameters: Parameters) -> bool:
        """After an iteration: does anyone want to stop?"""
        self._progress.advance(iteration, lower_bound)
        stop = False
        if self._estimator.callbacks:
            self._estimator._adopt(parameters)
            answers = [f(iteration, lower_bound, self._estimator) for f in self._estimator.callbacks]
            stop = any(answers)  # after every one has been called
        return self._told(self._climb, parameters) or stop

    def _told(self, climb: Any, parameters: Parameters) -> bool:
        if climb is None:
            return False
        task = climb.subcontext("iteration")  # begun when it is over: nothing of it could be shown before
        task.call_on_fit_task_begin(estimator=self._estimator, X=self._X)
        return bool(self._end(task, parameters))

    def end(self, lower_bound: float, converged: bool, parameters: Parameters) -> None:
        self._progress.end(lower_bound, converged)
        if self._climb is not None:
            self._end(self._climb, parameters)

    def end_of_fit(self, parameters: Parameters) -> None:
        if self._tasks is not None:
            self._end(self._tasks, parameters)

    def _end(self, task: Any, parameters: Parameters) -> Any:
        return task.call_on_fit_task_end(
            estimator=self._estimator,
            X=self._X,
            reconstruction_attributes=lambda: parameters.copy().attributes(),
        )


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
        try:
            from tqdm.auto import tqdm
        except ImportError:
            print(f"Initialization {number}")
        else:
            self._bar = tqdm(
                total=self._max_iter, desc=f"initialization {number}", unit="it", dynamic_ncols=True
            )

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
