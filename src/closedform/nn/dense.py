"""The dense layer, and how its weights start."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._results import Array
from .._validate import FLOAT32, FLOAT64, one_of
from ..linear import INPUTS, dense, dense_backward
from .layer import Buffer, Layer, floats, inputs

INITS = ("he", "glorot", "zeros")


class Dense(Layer):
    """Dense layer: y = x @ w + b.

    Parameters
    ----------
    in_features, out_features : D and H
    bias : whether there is a b
    init : how w is drawn: "he" (normal, variance 2/D, for relu), "glorot" (2/(D + H), for tanh and sigmoid),
        "zeros". b starts at 0
    dtype : float32 or float64, of the parameters and so of the computation: inputs are converted to it
    seed : an int, a NumPy Generator, or None for a fresh one

    Attributes
    ----------
    w (D, H), b (H,) or None : parameters
    dw, db : their gradients

    x is (..., D), y (..., H). Raises ValueError or TypeError naming the argument that does not fit.
    Gradients: dw = xᵀ @ dy, db = Σ_rows dy, dx = dy @ wᵀ.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), sections 6.1 and 6.5.

    >>> from closedform import nn
    >>> layer = nn.Dense(4, 3, seed=0)
    >>> layer, layer.n_parameters
    (Dense(4, 3), 15)
    """

    _keeps = ("_x",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        init: str = "he",
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        D, H = count("in_features", in_features), count("out_features", out_features)
        self.dtype = float_dtype(dtype)
        self.init = one_of("init", init, INITS)
        self.w: Array = np.zeros((D, H), self.dtype)
        self.b: Array | None = np.zeros(H, self.dtype) if bias else None
        self.dw: Array = np.zeros_like(self.w)
        self.db: Array | None = np.zeros(H, self.dtype) if bias else None
        self._needs = INPUTS if bias else INPUTS[:2]
        self._x: Array | None = None
        self._converted, self._y, self._dx = Buffer(), Buffer(), Buffer()
        self.reset(np.random.default_rng(seed))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw w anew from `rng`; b = 0."""
        scale = math.sqrt(variance(self.init, *self.w.shape))
        if scale:
            self.w[...] = rng.standard_normal(self.w.shape, self.dtype.type)
        self.w *= self.dtype.type(scale)
        if self.b is not None:
            self.b[...] = 0

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """y = x @ w + b, of shape (..., H), for x (..., D)."""
        x = inputs(x, self.dtype, self._converted if training else None)
        if x.shape[-1:] != self.w.shape[:1]:
            raise ValueError(
                f"x: expected shape (..., {self.w.shape[0]}), the inputs of {self!r}; got {x.shape}"
            )
        if not training:
            return dense(x, self.w, self.b)
        self._x = x
        return dense(x, self.w, self.b, out=self._y(x.shape[:-1] + self.w.shape[1:], self.dtype))

    def backward(self, dy: ArrayLike) -> Array:
        """Write dw = xᵀ @ dy and db = Σ_rows dy; return dx = dy @ wᵀ."""
        x, dy = self._kept(self._x), floats("dy", dy, self.dtype)
        dx = self._dx(x.shape, self.dtype)
        dense_backward(dy, x, self.w, needs=self._needs, out=(dx, self.dw, self.db))
        return dx

    def backward_parameters(self, dy: ArrayLike) -> None:
        """Write dw and db; dx, which costs as much as dw, is not computed."""
        x, dy = self._kept(self._x), floats("dy", dy, self.dtype)
        dense_backward(dy, x, self.w, needs=self._needs[1:], out=(None, self.dw, self.db))

    def parameters(self) -> dict[str, Array]:
        return {"w": self.w} if self.b is None else {"w": self.w, "b": self.b}

    def gradients(self) -> dict[str, Array]:
        return {"w": self.dw} if self.db is None else {"w": self.dw, "b": self.db}

    def config(self) -> dict[str, Any]:
        D, H = self.w.shape
        return {
            "in_features": D,
            "out_features": H,
            "bias": self.b is not None,
            "init": self.init,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        D, H = self.w.shape
        bias = "" if self.b is not None else ", bias=False"
        dtype = "" if self.dtype == FLOAT32 else f", dtype={self.dtype}"
        return f"Dense({D}, {H}{bias}{dtype})"


def variance(init: str, D: int, H: int) -> float:
    """Of a weight, for D inputs and H outputs."""
    if init == "he":  # He et al., Delving deep into rectifiers (2015): relu halves the signal's variance
        return 2 / max(D, 1)
    if init == "glorot":  # Glorot, Bengio (2010): between what forward and what backward would keep
        return 2 / max(D + H, 1)
    return 0.0


def count(name: str, value: Any, *, low: int = 0) -> int:
    """An integer, at least `low`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an integer; got {value!r}")
    n = int(value.__index__())
    if n < low:
        raise ValueError(f"{name}: expected an integer >= {low}; got {n}")
    return n


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    for known in (FLOAT32, FLOAT64):
        if np.dtype(dtype) == known:
            return known
    raise TypeError(f"dtype: expected float32 or float64; got {dtype!r}")
