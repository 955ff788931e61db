"""Training: `train_step`, the five acts, and `fit`, epochs of them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .._results import Array
from .._validate import as_array
from .dense import count
from .history import History
from .layer import Buffer, Layer
from .losses import Loss
from .optimizers import Optimizer, clip_grad_norm
from .progress import Progress

Callback: TypeAlias = Callable[[int, History, Layer], Any]


def train_step(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: ArrayLike,
    y: ArrayLike,
    *,
    clip: float | None = None,
    lengths: ArrayLike | None = None,
) -> float:
    """One training step, in five acts: forward, loss, clear gradients, backward, update. Returns the loss.

    Parameters
    ----------
    model : a layer, usually a `Sequential`
    loss, optimizer : from this module; the loss reduces to "mean" or "sum"
    x, y : a batch of inputs and targets
    clip : largest joint norm of the gradients, as in `clip_grad_norm`, or None
    lengths : of the rows of x, for a model of sequences, or None

    Raises ValueError or TypeError naming the argument, and the layer, that does not fit.
    """
    value, _ = five_acts(model, loss, optimizer, x, y, clip, lengths)
    return value


def five_acts(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: ArrayLike,
    y: ArrayLike,
    clip: float | None,
    lengths: ArrayLike | None = None,
) -> tuple[float, Array]:
    """`train_step`, returning the predictions as well."""
    if loss.reduction == "none":
        raise ValueError(
            "loss: expected one that reduces to 'mean' or 'sum', for training; got reduction='none'"
        )
    given: dict[str, Any] = {} if lengths is None else {"lengths": lengths}
    y_hat = model.forward(x, training=True, **given)  # 1. forward
    value, dy_hat = loss.with_grad(y_hat, y)  # 2. loss
    # 3. clear gradients: nothing is left to do, for act 4 overwrites them, where others add to them
    model.backward_parameters(dy_hat)  # 4. backward, without the gradient with respect to the data
    if clip is not None:
        clip_grad_norm(model, clip)
    optimizer.step(model)  # 5. update
    return float(value), y_hat


def fit(
    model: Layer,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    seed: int | np.random.Generator | None = None,
    clip: float | None = None,
) -> History:
    """Train `model`: `epochs` times over the samples (x, y), in batches, in a new random order each time.

    Parameters
    ----------
    model, loss, optimizer, clip : as in `train_step`
    x, y : inputs (N, ...) and targets (N, ...)
    epochs : times to go over the data, >= 0
    batch_size : samples a step, >= 1; the last batch of an epoch may be smaller
    validation : (x, y) to measure after every epoch, or None
    callbacks : each called as `callback(epoch, history, model)` after every epoch, counted from 0; one that
        returns True, or raises StopIteration, stops the training
    progress : show a bar on standard error (needs tqdm; without it, a warning says so and training goes on)
    seed : of the order of the samples and of dropout. The same seed on the same model gives the same bits,
        for any number of threads. None: another order each time, and dropout as the layers were seeded

    Returns
    -------
    History : loss, accuracy (for cross-entropies), val_loss, val_accuracy and seconds, one entry an epoch

    Ctrl-C ends the training, not the program: the history of the completed epochs comes back, with
    `history.stopped == "interrupted"`, and the model as the last step left it. A loss that is not finite
    brings one RuntimeWarning, and training goes on.

    Raises ValueError or TypeError naming the argument, and the layer, that does not fit.
    """
    x, y = _samples(x, y, "x", "y")
    held_out = None if validation is None else _validation(validation)
    epochs, batch_size = count("epochs", epochs), count("batch_size", batch_size, low=1)
    callbacks = tuple(callbacks)
    order = np.random.default_rng(seed)
    if seed is not None:
        (dropout,) = order.spawn(1)
        model.reseed(dropout)

    history = History()
    batches = Batches(x, y, batch_size)
    with Progress(epochs, len(batches), shown=progress) as bar:
        try:
            for epoch in range(epochs):
                start = time.perf_counter()
                meter = Meter(loss)
                bar.begin(epoch)
                for x_batch, y_batch in batches(order.permutation(len(x))):
                    value, y_hat = five_acts(model, loss, optimizer, x_batch, y_batch, clip)
                    meter.add(value, y_hat, y_batch)
                    bar.advance(meter)
                val_loss, val_accuracy = (
                    (None, None) if held_out is None else evaluate(model, loss, *held_out)
                )
                seconds = time.perf_counter() - start
                history.record(
                    loss=meter.loss,
                    accuracy=meter.accuracy,
                    val_loss=val_loss,
                    val_accuracy=val_accuracy,
                    seconds=seconds,
                )
                bar.end(history)
                _warn_once_if_not_finite(history)
                if _wants_to_stop(callbacks, epoch, history, model):
                    history.stopped = "by a callback"
                    break
        except KeyboardInterrupt:
            history.stopped = "interrupted"
    return history


def predict(model: Layer, x: ArrayLike, *, batch_size: int = 1024) -> Array:
    """The model's outputs for x (N, ...), in inference, batch by batch."""
    x = as_array("x", x)
    batch_size = count("batch_size", batch_size, low=1)
    if x.ndim < 1:
        raise ValueError("x: expected shape (N, ...); got a scalar")
    first = model.forward(x[:batch_size])
    if len(x) <= batch_size:
        return first
    result = np.empty((len(x), *first.shape[1:]), first.dtype)
    result[:batch_size] = first
    for i in range(batch_size, len(x), batch_size):
        result[i : i + batch_size] = model.forward(x[i : i + batch_size])
    return result


def evaluate(model: Layer, loss: Loss, x: ArrayLike, y: ArrayLike) -> tuple[float, float | None]:
    """(loss, accuracy) of the model on (x, y), in inference. Only the cross-entropies have an accuracy."""
    x, y = _samples(x, y, "x", "y")
    y_hat = predict(model, x)
    return float(loss(y_hat, y)), _ratio(loss.hits(y_hat, y))


class Batches:
    """Rows of x and y in batches, gathered into memory that is used again for every batch."""

    def __init__(self, x: Array, y: Array, batch_size: int) -> None:
        self._x, self._y, self._size = x, y, batch_size
        self._x_batch, self._y_batch = Buffer(), Buffer()

    def __len__(self) -> int:
        return math.ceil(len(self._x) / self._size)

    def __call__(self, order: Array) -> Iterator[tuple[Array, Array]]:
        x, y = self._x, self._y
        for start in range(0, len(order), self._size):
            rows = order[start : start + self._size]
            x_batch = self._x_batch((len(rows), *x.shape[1:]), x.dtype)
            y_batch = self._y_batch((len(rows), *y.shape[1:]), y.dtype)
            # mode="clip": with the default, NumPy gathers into a copy of `out` first
            yield np.take(x, rows, 0, out=x_batch, mode="clip"), np.take(y, rows, 0, out=y_batch, mode="clip")


class Meter:
    """Running loss and accuracy of an epoch."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._total, self._rows, self._right, self._counted = 0.0, 0, 0, 0

    def add(self, value: float, y_hat: Array, y: Array) -> None:
        rows = len(y)
        self._total += value * rows if self._loss.reduction == "mean" else value
        self._rows += rows
        hits = self._loss.hits(y_hat, y)
        if hits is not None:
            self._right += hits[0]
            self._counted += hits[1]

    @property
    def loss(self) -> float:
        """Mean over the samples so far or, for a sum, the sum."""
        return self._total / self._rows if self._loss.reduction == "mean" else self._total

    @property
    def accuracy(self) -> float | None:
        return _ratio((self._right, self._counted)) if self._counted else None


def _ratio(hits: tuple[int, int] | None) -> float | None:
    return None if hits is None or hits[1] == 0 else hits[0] / hits[1]


def _samples(x: ArrayLike, y: ArrayLike, x_name: str, y_name: str) -> tuple[Array, Array]:
    x, y = as_array(x_name, x), as_array(y_name, y)
    if x.ndim < 1 or len(x) == 0:
        raise ValueError(f"{x_name}: expected shape (N, ...) with at least one sample; got {x.shape}")
    if y.ndim < 1 or len(y) != len(x):
        raise ValueError(
            f"{y_name}: expected {len(x)} targets, one for each row of {x_name}; got shape {y.shape}"
        )
    return x, y


def _validation(validation: Any) -> tuple[Array, Array]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError(f"validation: expected a pair (x, y) or None; got {type(validation).__name__}")
    x, y = validation
    return _samples(x, y, "validation x", "validation y")


def _warn_once_if_not_finite(history: History) -> None:
    losses = history["loss"]
    if not math.isfinite(losses[-1]) and all(map(math.isfinite, losses[:-1])):
        warnings.warn(
            f"the loss of epoch {len(losses) - 1} is {losses[-1]}: try a smaller learning rate, or `clip`",
            RuntimeWarning,
            stacklevel=3,
        )


def _wants_to_stop(callbacks: tuple[Callback, ...], epoch: int, history: History, model: Layer) -> bool:
    try:
        return True in [callback(epoch, history, model) for callback in callbacks]  # every one is called
    except StopIteration:
        return True
