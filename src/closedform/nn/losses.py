"""Losses as objects: `loss(y_hat, y)` is the value, `loss.with_grad(y_hat, y)` the value and the gradient.

The formulas and sources stand at the functions `cf.squared_error`, `cf.binary_cross_entropy`,
`cf.cross_entropy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import loss as ops
from .._results import Array
from .._results import Loss as Value
from .._validate import REDUCTIONS, as_array, as_number, one_of
from .layer import Buffer, floats


class Loss:
    """How far predictions are from targets. Targets are converted to the predictions' dtype.

    `reduction` is "sum", "mean" or "none", as in the functions; training needs one of the first two.
    """

    def __init__(self, reduction: str) -> None:
        self.reduction = one_of("reduction", reduction, REDUCTIONS)
        self._dy_hat = Buffer()

    def __call__(self, y_hat: ArrayLike, y: ArrayLike) -> Value:
        """The loss of predictions `y_hat` for targets `y`."""
        raise NotImplementedError

    def with_grad(self, y_hat: ArrayLike, y: ArrayLike) -> tuple[Value, Array]:
        """(loss, gradient with respect to `y_hat`); the gradient is valid until the next call."""
        raise NotImplementedError

    def hits(self, y_hat: Array, y: Array) -> tuple[int, int] | None:
        """(right, counted) predictions, where the loss belongs to a classifier; else None."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


class SquaredError(Loss):
    """‖ŷ − y‖², gradient 2(ŷ − y). reduction="mean" divides both by the number of elements."""

    def __init__(self, reduction: str = "sum") -> None:
        super().__init__(reduction)

    def __call__(self, y_hat: ArrayLike, y: ArrayLike) -> Value:
        y_hat, y = _pair(y_hat, y)
        return ops.squared_error(y_hat, y, reduction=self.reduction)

    def with_grad(self, y_hat: ArrayLike, y: ArrayLike) -> tuple[Value, Array]:
        y_hat, y = _pair(y_hat, y)
        value = ops.squared_error(y_hat, y, reduction=self.reduction)
        out = self._dy_hat(y_hat.shape, y_hat.dtype)
        return value, ops.squared_error_backward(y_hat, y, reduction=self.reduction, out=out)


class BinaryCrossEntropy(Loss):
    """−(y log ŷ + (1 − y) log(1 − ŷ)) for ŷ in [0, 1], after a `Sigmoid`.

    With `from_logits=True` the network ends before the sigmoid, and z with ŷ = σ(z) is what the loss takes:
    more accurate, and faster. reduction="mean" divides by the number of elements.
    """

    def __init__(self, *, from_logits: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.from_logits = bool(from_logits)
        self._f: Callable[..., Value]
        self._f_backward: Callable[..., Array]
        if self.from_logits:
            self._f, self._f_backward = (
                ops.binary_cross_entropy_with_logits,
                ops.binary_cross_entropy_with_logits_backward,
            )
        else:
            self._f, self._f_backward = ops.binary_cross_entropy, ops.binary_cross_entropy_backward

    def __call__(self, y_hat: ArrayLike, y: ArrayLike) -> Value:
        y_hat, y = _pair(y_hat, y)
        return self._f(y_hat, y, reduction=self.reduction)

    def with_grad(self, y_hat: ArrayLike, y: ArrayLike) -> tuple[Value, Array]:
        y_hat, y = _pair(y_hat, y)
        value = self._f(y_hat, y, reduction=self.reduction)
        out = self._dy_hat(y_hat.shape, y_hat.dtype)
        return value, self._f_backward(y_hat, y, reduction=self.reduction, out=out)

    def hits(self, y_hat: Array, y: Array) -> tuple[int, int]:
        """ŷ > ½ is a 1."""
        return int(np.count_nonzero((y_hat > (0 if self.from_logits else 0.5)) == (y > 0.5))), y.size

    def __repr__(self) -> str:
        return f"BinaryCrossEntropy(from_logits={self.from_logits}, reduction={self.reduction!r})"


class CrossEntropy(Loss):
    """Cross-entropy of softmax(logits): the network ends with logits, not with a softmax.

    Parameters
    ----------
    weight : (K,) weights of the classes, or None
    label_smoothing, ignore_index, reduction : as in `cf.cross_entropy`

    Targets are (N,) class indices, or (N, K) probabilities. Logits (T, N, K), of every step of sequences, have targets
    (T, N) or (T, N, K), and so on: all axes but the last are rows.
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        *,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else np.array(floats("weight", weight))
        self.label_smoothing = as_number("label_smoothing", label_smoothing, low=0, high=1)
        self.ignore_index = ignore_index
        self._options: dict[str, Any] = {
            "weight": self.weight,
            "label_smoothing": self.label_smoothing,
            "ignore_index": ignore_index,
            "reduction": reduction,
        }

    def __call__(self, y_hat: ArrayLike, y: ArrayLike) -> Value:
        y_hat, y, rows = self._inputs(y_hat, y)
        return self._shaped(ops.cross_entropy(y_hat, y, **self._options), rows)

    def with_grad(self, y_hat: ArrayLike, y: ArrayLike) -> tuple[Value, Array]:
        y_hat, y, rows = self._inputs(y_hat, y)
        out = self._dy_hat(y_hat.shape, y_hat.dtype)
        value, dy_hat = ops.cross_entropy_with_grad(y_hat, y, **self._options, out=out)
        return self._shaped(value, rows), dy_hat.reshape(*rows, dy_hat.shape[-1])

    def hits(self, y_hat: Array, y: Array) -> tuple[int, int]:
        """The largest logit is the prediction; rows to be ignored do not count."""
        target = y if y.ndim == y_hat.ndim - 1 else y.argmax(axis=-1)
        right = y_hat.argmax(axis=-1) == target
        if self.ignore_index is None:
            return int(np.count_nonzero(right)), target.size
        counted = target != self.ignore_index
        return int(np.count_nonzero(right & counted)), int(np.count_nonzero(counted))

    def _inputs(self, y_hat: ArrayLike, y: ArrayLike) -> tuple[Array, Array, tuple[int, ...]]:
        """(logits, targets, shape of the rows): in the logits' dtype, so that the gradient is too; one axis of rows."""
        y_hat, y = floats("y_hat", y_hat), as_array("y", y)
        weight = self._options["weight"]
        if weight is not None and weight.dtype is not y_hat.dtype:
            self._options["weight"] = weight.astype(y_hat.dtype)
        rows = y_hat.shape[:-1]
        if len(rows) > 1:
            if y.shape not in (rows, y_hat.shape):
                raise ValueError(
                    f"y: expected class indices {rows} or probabilities {y_hat.shape}, for these logits; got {y.shape}"
                )
            y = y.reshape(-1, *y.shape[len(rows) :])
            y_hat = y_hat.reshape(-1, y_hat.shape[-1])
        return y_hat, y if y.dtype.kind in "iu" and y.ndim == 1 else floats("y", y, y_hat.dtype), rows

    def _shaped(self, value: Value, rows: tuple[int, ...]) -> Value:
        return value.reshape(rows) if self.reduction == "none" else value

    def __repr__(self) -> str:
        default = CrossEntropy()
        given = {k: v for k, v in self._options.items() if v is not default._options[k]}
        return f"CrossEntropy({', '.join(f'{k}={v!r}' for k, v in given.items())})"


def _pair(y_hat: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    y_hat = floats("y_hat", y_hat)
    return y_hat, floats("y", y, y_hat.dtype)
