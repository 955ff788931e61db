"""The progress bar of `fit`: tqdm, where it is installed."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .history import History

if TYPE_CHECKING:
    from .training import Meter


class Progress:
    """One bar over all the steps, with the running loss; silent if not `shown`, or without tqdm."""

    def __init__(self, epochs: int, steps: int, *, shown: bool) -> None:
        self._epochs, self._bar = epochs, self._open(epochs * steps) if shown and epochs else None

    @staticmethod
    def _open(total: int) -> Any:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            warnings.warn(
                'no progress bar without tqdm: pip install "closedform[train]", or pass progress=False',
                UserWarning,
                stacklevel=4,
            )
            return None
        return tqdm(total=total, unit="step", dynamic_ncols=True)

    def begin(self, epoch: int) -> None:
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}", refresh=False)

    def advance(self, meter: Meter) -> None:
        """One step. The text is made only when the bar has just been drawn, some ten times a second."""
        if self._bar is not None and self._bar.update():
            accuracy = "" if meter.accuracy is None else f", accuracy {meter.accuracy:.2%}"
            self._bar.set_postfix_str(f"loss {meter.loss:.4g}{accuracy}", refresh=False)

    def end(self, history: History) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(history.line().rpartition("  seconds")[0].replace("  ", ", "))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
