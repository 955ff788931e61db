"""Layers without arithmetic of their own: Sequential, Flatten, Dropout."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._results import Array
from .._validate import as_array, as_number, same_shape
from .layer import Buffer, Layer, floats


class Sequential(Layer):
    """Layers one after the other: the output of each is the input of the next.

    Parameters
    ----------
    layers : the layers, as arguments or as one list. Each may appear once; a Sequential is a layer too
    seed : an int or a NumPy Generator: draws every parameter anew, in order, and seeds dropout. None: leaves
        them

    Parameters are named by position: "0.w", "0.b", "2.w".
    `lengths` go to every layer that takes them. `step` goes through all layers, one step of a stream at a time.
    Errors in a layer say which one it was.

    >>> from closedform import nn
    >>> nn.Sequential([nn.Dense(64, 32), nn.ReLU(), nn.Dense(32, 10)], seed=0)
    Sequential(
      0: Dense(64, 32)  2,080
      1: ReLU()
      2: Dense(32, 10)  330
    )  2,410 parameters
    """

    takes_lengths = True

    def __init__(
        self, *layers: Layer | Iterable[Layer], seed: int | np.random.Generator | None = None
    ) -> None:
        given: list[Any] = list(layers)
        if len(given) == 1 and not isinstance(given[0], Layer):
            given = list(given[0])
        for i, layer in enumerate(given):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers: expected layers; got {layer!r} at position {i}")
            if any(layer is other for other in given[:i]):
                raise ValueError(f"layers: expected distinct layers; got the same {layer!r} twice")
        self.layers: tuple[Layer, ...] = tuple(given)
        learning = [i for i, layer in enumerate(given) if layer.n_parameters]
        self._first_learning = learning[0] if learning else len(given)
        if seed is not None:
            self.reset(np.random.default_rng(seed))

    def forward(self, x: ArrayLike, training: bool = False, *, lengths: ArrayLike | None = None) -> Array:
        """The last layer's output."""
        y: Any = x
        i = 0
        given: dict[str, Any] = {} if lengths is None else {"lengths": lengths}
        try:
            for i, layer in enumerate(self.layers):  # noqa: B007
                y = layer.forward(y, training, **given) if layer.takes_lengths else layer.forward(y, training)
        except (ValueError, TypeError) as e:
            raise self._located(e, i) from e
        result: Array = y
        return result

    def step(self, x: ArrayLike) -> Array:
        """The last layer's output for the next step of a stream."""
        y: Any = x
        i = 0
        try:
            for i, layer in enumerate(self.layers):  # noqa: B007
                y = layer.step(y)
        except (ValueError, TypeError) as e:
            raise self._located(e, i) from e
        result: Array = y
        return result

    def reset_carried(self) -> None:
        for layer in self.layers:
            layer.reset_carried()

    def backward(self, dy: ArrayLike) -> Array:
        """Through every layer in reverse; returns dx, the gradient with respect to the data."""
        return self._backward(dy, 0)

    def backward_parameters(self, dy: ArrayLike) -> None:
        """Through the layers in reverse as far as there are parameters: dx is not computed."""
        first = self._first_learning
        if first < len(self.layers):
            dy = self._backward(dy, first + 1)
            try:
                self.layers[first].backward_parameters(dy)
            except (ValueError, TypeError) as e:
                raise self._located(e, first) from e

    def _backward(self, dy: Any, stop: int) -> Array:
        i = len(self.layers)
        try:
            while i > stop:
                i -= 1
                dy = self.layers[i].backward(dy)
        except (ValueError, TypeError) as e:
            raise self._located(e, i) from e
        result: Array = dy
        return result

    def _located(self, e: Exception, i: int) -> Exception:
        kind = ValueError if isinstance(e, ValueError) else TypeError
        return kind(f"layer {i}, {type(self.layers[i]).__name__}: {e}")

    def parameters(self) -> dict[str, Array]:
        return {f"{i}.{name}": p for i, l in enumerate(self.layers) for name, p in l.parameters().items()}  # noqa: E741

    def gradients(self) -> dict[str, Array]:
        return {f"{i}.{name}": g for i, l in enumerate(self.layers) for name, g in l.gradients().items()}  # noqa: E741

    def state(self) -> dict[str, Array]:
        return {f"{i}.{name}": a for i, l in enumerate(self.layers) for name, a in l.state().items()}  # noqa: E741

    def reset(self, rng: np.random.Generator) -> None:
        for layer, own in zip(self.layers, rng.spawn(len(self.layers)), strict=True):
            layer.reset(own)

    def reseed(self, rng: np.random.Generator) -> None:
        for layer, own in zip(self.layers, rng.spawn(len(self.layers)), strict=True):
            layer.reseed(own)

    def config(self) -> dict[str, Any]:
        raise TypeError("Sequential: its layers have configurations; see `closedform.nn.save`")

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Layer:
        return self.layers[i]

    def __repr__(self) -> str:
        lines = [f"{i}: {layer!r}".replace("\n", "\n  ") for i, layer in enumerate(self.layers)]
        width = max((len(line) for line in lines if "\n" not in line), default=0)
        for i, layer in enumerate(self.layers):
            if layer.n_parameters and not isinstance(layer, Sequential):
                lines[i] = f"{lines[i]:{width}}  {layer.n_parameters:,}"
        body = "".join(f"  {line}\n" for line in lines)
        return f"Sequential(\n{body})  {self.n_parameters:,} parameters"


class Flatten(Layer):
    """(N, ...) to (N, product of the rest): images become rows. A view where the memory allows."""

    _keeps = ("_shape",)

    def __init__(self) -> None:
        self._shape: tuple[int, ...] | None = None

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        x = as_array("x", x)
        if x.ndim < 1:
            raise ValueError("x: expected shape (N, ...); got a scalar")
        if training:
            self._shape = x.shape
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def backward(self, dy: ArrayLike) -> Array:
        shape = self._kept(self._shape)
        dy = as_array("dy", dy)
        expected = (shape[0], math.prod(shape[1:]))
        if dy.shape != expected:
            raise ValueError(f"dy: expected shape {expected}; got {dy.shape}")
        return dy.reshape(shape)


class Dropout(Layer):
    """Dropout: in training each entry is 0 with probability p, the others are divided by 1 − p; else y = x.

    Parameters
    ----------
    p : in [0, 1]
    seed : an int, a NumPy Generator, or None for a fresh one. `fit(seed=)` and `Sequential(seed=)` replace it

    Source: Srivastava et al., JMLR 15 (2014), with the scaling moved to training ("inverted").
    """

    _keeps = ("_mask",)

    def __init__(self, p: float = 0.5, *, seed: int | np.random.Generator | None = None) -> None:
        self.p = as_number("p", p, low=0, high=1)
        self._rng = np.random.default_rng(seed)
        self._mask: Array | None = None
        self._mask_memory, self._y, self._dx = Buffer(), Buffer(), Buffer()

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        x = floats("x", x)
        if not training:
            return x
        mask = self._mask_memory(x.shape, x.dtype)
        self._rng.random(dtype=x.dtype.type, out=mask)
        np.greater_equal(mask, self.p, out=mask)  # 1 where the entry stays, 0 where it goes
        mask *= x.dtype.type(1 / (1 - self.p) if self.p < 1 else 0)
        self._mask = mask
        return np.multiply(x, mask, out=self._y(x.shape, x.dtype))

    def backward(self, dy: ArrayLike) -> Array:
        """dx = dy · mask / (1 − p)."""
        mask = self._kept(self._mask)
        dy = floats("dy", dy, mask.dtype)
        same_shape(x=mask, dy=dy)
        return np.multiply(dy, mask, out=self._dx(mask.shape, mask.dtype))

    def reseed(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def config(self) -> dict[str, Any]:
        return {"p": self.p}

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"
