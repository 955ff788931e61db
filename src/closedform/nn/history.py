"""What `fit` returns."""

from __future__ import annotations

COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")


class History(dict[str, list[float]]):
    """One list a quantity, one entry an epoch: a dict that also has its lists as attributes.

    "loss" and, for classifiers, "accuracy" are those of the training batches, each measured before the step
    that its batch took; "val_loss" and "val_accuracy" those of the validation data at the end of the epoch;
    "seconds" the time that the epoch took. What was not asked for is not there.

    Attributes
    ----------
    stopped : why training ended: "" after all epochs, else "by a callback" or "interrupted"
    """

    stopped: str = ""

    @property
    def n_epochs(self) -> int:
        """Epochs that were completed."""
        return len(self.get("seconds", ()))

    def record(self, **values: float | None) -> None:
        """Add one epoch; None is left out."""
        for name, value in values.items():
            if value is not None:
                self.setdefault(name, []).append(value)

    def line(self, epoch: int = -1) -> str:
        """One epoch in words, for people."""
        return "  ".join(f"{name} {_shown(name, self[name][epoch])}" for name in COLUMNS if name in self)

    def __getattr__(self, name: str) -> list[float]:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"History has {', '.join(self) or 'no epochs'}; no {name!r}") from None

    def __repr__(self) -> str:
        stopped = f", stopped {self.stopped}" if self.stopped.startswith("by") else f", {self.stopped}"
        title = f"History of {self.n_epochs} epochs{stopped if self.stopped else ''}"
        columns = [name for name in COLUMNS if name in self]
        rows = [[str(epoch), *(_shown(c, self[c][epoch]) for c in columns)] for epoch in range(self.n_epochs)]
        if len(rows) > 12:  # the first and the last
            rows = [*rows[:3], ["..."] + [""] * len(columns), *rows[-8:]]
        table = [["epoch", *columns], *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([title, *(lines if rows else [])])


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if "accuracy" in name else f"{value:.3g}" if name == "seconds" else f"{value:.5g}"
