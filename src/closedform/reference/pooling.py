"""Pooling. N batch, H by W pixels, C channels; windows of kh by kw taps.

Tap (r, s) of the window at (i, j) meets the pixel (i · stride + r - pad, ...). For a fixed tap the pixels under all
windows are a strided slice of the padded x: no loop over pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._results import Array, MaxPool2d, deliver
from .._windows import Window, as_pair, windows
from ._windows import padded, taps


@np.errstate(all="ignore")
def max_pool2d(
    x: Array, size: Any, *, stride: Any = None, padding: Any = 0, out: Array | None = None
) -> MaxPool2d:
    """Twin of `closedform.max_pool2d`."""
    # x (N, H, W, C)  ->  y and argmax (N, H', W', C)
    #   y_nijc = max_rs x_{n, i·stride + r - pad, j·stride + s - pad, c}, over taps that meet a pixel
    # The first tap wins a tie; NaN beats every number.
    h, v = _windows(x.shape, size, stride, padding)
    N, H, W, C = x.shape
    number = padded(np.arange(H * W).reshape(1, H, W, 1), h, v, -1)  # of each pixel; -1 is padding
    x_padded = padded(x, h, v)
    y = np.zeros((N, h.n_out, v.n_out, C), x.dtype)
    argmax = np.full(y.shape, -1, np.int64)
    for _, _, pixels in taps(h, v):
        value, index = x_padded[:, *pixels], number[:, *pixels]
        better = (value > y) | (np.isnan(value) & ~np.isnan(y)) | (argmax < 0)
        taken = better & (index >= 0)
        y = np.where(taken, value, y)
        argmax = np.where(taken, index, argmax)
    return MaxPool2d(deliver(y, out), argmax, x.shape)


@np.errstate(all="ignore")
def max_pool2d_backward(dy: Array, trace: MaxPool2d, *, out: Array | None = None) -> Array:
    """Twin of `closedform.max_pool2d_backward`."""
    # dy (N, H', W', C)  ->  dx (N, H, W, C)
    # y_nijc is the entry of x at argmax_nijc and moves with it alone. Where windows overlap, one entry of x may be
    # the maximum of several: its gradient is the sum of theirs.
    N, H, W, C = trace.x_shape
    dx = np.zeros((N, H * W, C), dy.dtype)
    np.add.at(dx, (np.arange(N)[:, None, None, None], trace.argmax, np.arange(C)), dy)
    return deliver(dx.reshape(trace.x_shape), out)


@np.errstate(all="ignore")
def avg_pool2d(
    x: Array, size: Any, *, stride: Any = None, padding: Any = 0, out: Array | None = None
) -> Array:
    """Twin of `closedform.avg_pool2d`."""
    # x (N, H, W, C)  ->  y (N, H', W', C)
    #   y_nijc = 1/(kh kw) Σ_rs x_{n, i·stride + r - pad, j·stride + s - pad, c}, zero where a tap meets padding
    h, v = _windows(x.shape, size, stride, padding)
    x_padded = padded(x, h, v)
    y = np.zeros((x.shape[0], h.n_out, v.n_out, x.shape[3]), x.dtype)
    for _, _, pixels in taps(h, v):
        y += x_padded[:, *pixels]
    return deliver(y / (h.taps * v.taps), out)


@np.errstate(all="ignore")
def avg_pool2d_backward(
    dy: Array,
    x_shape: tuple[int, ...],
    size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    out: Array | None = None,
) -> Array:
    """Twin of `closedform.avg_pool2d_backward`."""
    # dy (N, H', W', C)  ->  dx (N, H, W, C)
    # ∂y_nijc/∂x is 1/(kh kw) at each pixel of the window: a pixel receives that share of every window over it.
    h, v = _windows(x_shape, size, stride, padding)
    dx = padded(np.zeros(x_shape, dy.dtype), h, v)
    for _, _, pixels in taps(h, v):
        dx[:, *pixels] += dy
    inside = dx[:, h.pad : h.pad + h.n, v.pad : v.pad + v.n]
    return deliver(inside / (h.taps * v.taps), out)


def _windows(x_shape: tuple[int, ...], size: Any, stride: Any, padding: Any) -> tuple[Window, Window]:
    size = as_pair("size", size, 1)
    return windows(
        x_shape, size, stride=size if stride is None else stride, padding=padding, window=f"size {size}"
    )
