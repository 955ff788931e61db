"""The convolution layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._results import Array
from .._validate import FLOAT32, one_of
from .._windows import Padding, Pair, Sides, as_padding, as_pair, windows
from ..activation import relu_backward
from ..convolution import ACTIVATIONS, conv2d, conv2d_backward
from .dense import INITS, count, float_dtype, variance
from .layer import Buffer, Layer, floats, inputs


class Conv2d(Layer):
    """Convolution of images, channels last: y = `cf.conv2d(x, w, b)`, of relu(that) with `activation="relu"`.

    Parameters
    ----------
    in_channels, out_channels : C and K
    kernel_size : KH and KW, an integer or (height, width)
    stride, padding, dilation, groups : as in `cf.conv2d`; padding="same" keeps height and width (with stride 1)
    bias : whether there is a b; a `BatchNorm` right after the layer makes it superfluous
    activation : None, or "relu" for a ReLU in the same pass over memory: cheaper than a layer of its own
    init : how w is drawn: "he" (normal, variance 2/fan_in, for relu), "glorot" (2/(fan_in + fan_out)), "zeros", with
        fan_in = KH · KW · C / groups and fan_out = KH · KW · K / groups. b starts at 0
    dtype : float32 or float64, of the parameters and so of the computation: inputs are converted to it
    seed : an int, a NumPy Generator, or None for a fresh one

    Attributes
    ----------
    w (KH, KW, C / groups, K), b (K,) or None : parameters
    dw, db : their gradients

    x is (N, H, W, C), y (N, H', W', K). Raises ValueError or TypeError naming the argument that does not fit.
    Gradients, with dz = dy or, after a ReLU, dy · [y > 0]: `cf.conv2d_backward(dz, x, w)`.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), sections 9.1 to 9.5; `cf.conv2d` has the formulas.

    >>> from closedform import nn
    >>> layer = nn.Conv2d(3, 8, 3, padding="same", activation="relu", seed=0)
    >>> layer, layer.n_parameters
    (Conv2d(3, 8, 3, padding=1, activation='relu'), 224)
    """

    _keeps = ("_x", "_y")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        *,
        stride: Sides = 1,
        padding: Padding = 0,
        dilation: Sides = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str | None = None,
        init: str = "he",
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        C, K = count("in_channels", in_channels, low=1), count("out_channels", out_channels, low=1)
        taps = as_pair("kernel_size", kernel_size, 1)
        steps, spread = as_pair("stride", stride, 1), as_pair("dilation", dilation, 1)
        self.stride, self.dilation = short(steps), short(spread)
        self.padding = short_padding(as_padding(padding, taps, steps, spread))
        self.groups = count("groups", groups, low=1)
        if C % self.groups or K % self.groups:
            raise ValueError(
                f"groups: expected a divisor of in_channels, {C}, and out_channels, {K}; got {self.groups}"
            )
        self.activation = None if activation is None else one_of("activation", activation, ACTIVATIONS)
        self.dtype = float_dtype(dtype)
        self.init = one_of("init", init, INITS)
        self.w: Array = np.zeros((*taps, C // self.groups, K), self.dtype)
        self.b: Array | None = np.zeros(K, self.dtype) if bias else None
        self.dw: Array = np.zeros_like(self.w)
        self.db: Array | None = np.zeros(K, self.dtype) if bias else None
        self._needs = ("w", "b") if bias else ("w",)
        self._options: dict[str, Any] = {
            name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")
        }
        self._x: Array | None = None
        self._y: Array | None = None
        self._converted, self._y_memory, self._dz, self._dx = Buffer(), Buffer(), Buffer(), Buffer()
        self.reset(np.random.default_rng(seed))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw w anew from `rng`; b = 0."""
        KH, KW, D, K = self.w.shape  # D = C / groups
        scale = variance(self.init, KH * KW * D, KH * KW * K // self.groups) ** 0.5
        drawn = rng.standard_normal(self.w.shape, self.dtype.type) if scale else self.dtype.type(0)
        self.w[...] = drawn * self.dtype.type(scale)
        if self.b is not None:
            self.b[...] = 0

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """y of shape (N, H', W', K), for x (N, H, W, C)."""
        x = inputs(x, self.dtype, self._converted if training else None)
        C = self.w.shape[2] * self.groups
        if x.ndim != 4 or x.shape[3] != C:
            raise ValueError(f"x: expected shape (N, H, W, {C}), the inputs of {self!r}; got {x.shape}")
        y = None
        if training:
            y = self._y_memory(self._y_shape(x), self.dtype)
            self._x, self._y = x, y
        return conv2d(x, self.w, self.b, activation=self.activation, **self._options, out=y)

    def _y_shape(self, x: Array) -> tuple[int, ...]:
        """(N, H', W', K); `cf.conv2d_output_shape` would speak of x_shape where x is too small."""
        h, w = windows(
            x.shape,
            (self.w.shape[0], self.w.shape[1]),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            window=f"w of shape {self.w.shape}",
        )
        return x.shape[0], h.n_out, w.n_out, self.w.shape[3]

    def backward(self, dy: ArrayLike) -> Array:
        """Write dw and db; return dx."""
        x, dz = self._kept(self._x), self._through_activation(dy)
        dx = self._dx(x.shape, self.dtype)
        out = dx, self.dw, self.db
        conv2d_backward(dz, x, self.w, needs=("x", *self._needs), **self._options, out=out)
        return dx

    def backward_parameters(self, dy: ArrayLike) -> None:
        """Write dw and db; dx, which costs as much as dw, is not computed."""
        x, dz = self._kept(self._x), self._through_activation(dy)
        out = None, self.dw, self.db
        conv2d_backward(dz, x, self.w, needs=self._needs, **self._options, out=out)

    def _through_activation(self, dy: ArrayLike) -> Array:
        """dz, for y = z or y = relu(z): y > 0 where z > 0, so that z itself need not be kept."""
        y = self._kept(self._y)
        dy = floats("dy", dy, self.dtype)
        if dy.shape != y.shape:
            raise ValueError(f"dy: expected shape {y.shape}, that of y; got {dy.shape}")
        return dy if self.activation is None else relu_backward(dy, y, out=self._dz(y.shape, self.dtype))

    def parameters(self) -> dict[str, Array]:
        return {"w": self.w} if self.b is None else {"w": self.w, "b": self.b}

    def gradients(self) -> dict[str, Array]:
        return {"w": self.dw} if self.db is None else {"w": self.dw, "b": self.db}

    def config(self) -> dict[str, Any]:
        KH, KW, D, K = self.w.shape
        return {
            "in_channels": D * self.groups,
            "out_channels": K,
            "kernel_size": short((KH, KW)),
            **self._options,
            "bias": self.b is not None,
            "activation": self.activation,
            "init": self.init,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        KH, KW, D, K = self.w.shape
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        options = "".join(f", {name}={v}" for name, v in self._options.items() if v != defaults[name])
        options += ", bias=False" if self.b is None else ""
        options += f", activation={self.activation!r}" if self.activation else ""
        options += f", dtype={self.dtype}" if self.dtype != FLOAT32 else ""
        return f"Conv2d({D * self.groups}, {K}, {short((KH, KW))}{options})"


def short(sides: Pair) -> Sides:
    """The shortest argument that means the same: 3 for (3, 3)."""
    return sides[0] if sides[0] == sides[1] else sides


def short_padding(padding: tuple[Pair, Pair]) -> Padding:
    """1 for ((1, 1), (1, 1)), (1, 0) for ((1, 1), (0, 0))."""
    (top, bottom), (left, right) = padding
    return short((top, left)) if top == bottom and left == right else padding
