"""Windows over images without a loop over pixels: under one tap, the pixels of all windows are a strided slice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._results import Array
from .._windows import Window


def padded(x: Array, h: Window, v: Window, value: float = 0) -> Array:
    """x (N, H, W, C) with as much padding around it as the windows reach."""
    around = ((0, 0), (h.pad, h.pad_after), (v.pad, v.pad_after), (0, 0))
    return np.pad(x, around, constant_values=value)


def taps(h: Window, v: Window) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """Each tap (r, s), row by row, and the rows and columns of the padded x that it meets under all windows."""
    for r in range(h.taps):
        for s in range(v.taps):
            yield r, s, (_under(h, r), _under(v, s))


def _under(window: Window, tap: int) -> slice:
    first = tap * window.dilation
    return slice(first, first + window.n_out * window.stride, window.stride)
