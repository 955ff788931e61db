"""What estimators tell of a fit while it runs: to the user's callbacks, to scikit-learn's, and on the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["CallbackSupportMixin", "Tasks", "answered", "bar_of", "check_callbacks", "with_callbacks"]

try:  # scikit-learn 1.9 has a protocol for callbacks
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """scikit-learn's, where the installed version has it."""

    def with_callbacks(method: Any) -> Any:
        return method


def check_callbacks(callbacks: Any) -> None:
    if not isinstance(callbacks, (list, tuple)) or not all(map(callable, callbacks)):
        raise TypeError(f"callbacks: expected a list or tuple of functions; got {callbacks!r}")


def answered(callbacks: Iterable[Callable[..., Any]], *arguments: Any) -> bool:
    """Does one of the callbacks want to stop? Every one is called."""
    answers = [f(*arguments) for f in callbacks]
    return any(answers)


def bar_of(total: int, description: str, unit: str) -> Any:
    """A bar of tqdm, where it is installed (the `train` extra), or None."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=total, desc=description, unit=unit, dynamic_ncols=True)


class Tasks:
    """The tasks of one fit, the innermost last, as scikit-learn's callbacks are told of them, where any are set."""

    def __init__(self, estimator: Any, X: Any, max_subtasks: int) -> None:
        self._estimator, self._X = estimator, X
        self._open: list[Any] = []
        if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
            self._enter(estimator._init_callback_context(max_subtasks=max_subtasks))

    def begin(self, name: str, max_subtasks: int = 0) -> None:
        if self._open:
            self._enter(self._open[-1].subcontext(name, max_subtasks=max_subtasks))

    def end(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """The innermost task is over, and a fit that ends here has these attributes: does anyone want to stop?"""
        if not self._open:
            return False
        task = self._open.pop()
        stop = task.call_on_fit_task_end(
            estimator=self._estimator, X=self._X, reconstruction_attributes=attributes
        )
        return bool(stop)

    def _enter(self, task: Any) -> None:
        task.call_on_fit_task_begin(estimator=self._estimator, X=self._X)
        self._open.append(task)
