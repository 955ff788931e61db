"""Pooling as layers. x is (N, H, W, C); the formulas and sources stand at the functions of the same names."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from .._results import Array
from .._results import MaxPool2d as Trace
from .._windows import Padding, Sides, as_padding, as_pair, windows
from ..pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    expect_pixels_under,
    max_pool2d,
    max_pool2d_backward,
)
from .convolution import short, short_padding
from .layer import Buffer, Layer, floats


class Pool2d(Layer):
    """What the poolings share: a window of `size`, in steps of `stride` (None: of its size), and `padding`."""

    def __init__(self, size: Sides, stride: Sides | None = None, padding: Padding = 0) -> None:
        taps = as_pair("size", size, 1)
        steps = taps if stride is None else as_pair("stride", stride, 1)
        self.size, self.stride = short(taps), short(steps)
        around = as_padding(padding, taps, steps, (1, 1))
        expect_pixels_under(taps, around)
        self.padding = short_padding(around)
        self._y, self._dx = Buffer(), Buffer()

    def _out(self, x: Array) -> Array:
        """Memory for y, (N, H', W', C)."""
        if x.ndim != 4:
            raise ValueError(f"x: expected shape (N, H, W, C); got {x.shape}")
        taps = as_pair("size", self.size, 1)
        window = f"a window of size {taps}"
        h, w = windows(x.shape, taps, stride=self.stride, padding=self.padding, window=window)
        return self._y((x.shape[0], h.n_out, w.n_out, x.shape[3]), x.dtype)

    def config(self) -> dict[str, Any]:
        return {"size": self.size, "stride": self.stride, "padding": self.padding}

    def __repr__(self) -> str:
        stride = f", stride={self.stride}" if self.stride != self.size else ""
        padding = f", padding={self.padding}" if self.padding != 0 else ""
        return f"{type(self).__name__}({self.size}{stride}{padding})"


class MaxPool2d(Pool2d):
    """The largest entry of each window, channel by channel: `cf.max_pool2d`.

    >>> from closedform import nn
    >>> nn.MaxPool2d(2), nn.MaxPool2d(3, stride=2, padding=1)
    (MaxPool2d(2), MaxPool2d(3, stride=2, padding=1))
    """

    _keeps = ("_trace",)
    _trace: Trace | None = None

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        x = floats("x", x)
        if not training:
            return max_pool2d(x, **self.config()).y
        trace = max_pool2d(x, **self.config(), out=self._out(x))
        self._trace = trace
        return trace.y

    def backward(self, dy: ArrayLike) -> Array:
        """dx: dy where the maximum was, 0 elsewhere."""
        trace = self._kept(self._trace)
        dtype = trace.y.dtype
        dy = floats("dy", dy, dtype)
        return max_pool2d_backward(dy, trace, out=self._dx(trace.x_shape, dtype))


class AvgPool2d(Pool2d):
    """The mean of each window, channel by channel: `cf.avg_pool2d`, padding counts as zeros."""

    _keeps = ("_x",)
    _x: Array | None = None

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        x = floats("x", x)
        if not training:
            return avg_pool2d(x, **self.config())
        y = avg_pool2d(x, **self.config(), out=self._out(x))
        self._x = x
        return y

    def backward(self, dy: ArrayLike) -> Array:
        """dx: the mean's share of dy, summed over the windows that cover the pixel."""
        x = self._kept(self._x)
        dy = floats("dy", dy, x.dtype)
        return avg_pool2d_backward(dy, x.shape, **self.config(), out=self._dx(x.shape, x.dtype))
