"""Convolution. N batch, H by W pixels, C channels in, K channels out (filters), G groups; window of kh by kw taps.

Tap (r, s) of the window at (i, j) meets pixel (i·stride + r·dilation − pad, ...), which is zero outside of x. For a
fixed tap the pixels under all windows are a strided slice of the padded x, and the convolution is a sum of matrix
products, one a tap: no loop over pixels. Groups are a leading axis: G convolutions of C/G by K/G channels.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Any

import numpy as np

from .._results import Array, ConvolutionGradients, deliver
from .._windows import Pair, Window, windows
from ._windows import padded, taps


def conv2d_output_shape(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[int, int, int, int]:
    """Twin of `closedform.conv2d_output_shape`."""
    h, v = _windows(x_shape, w_shape, stride, padding, dilation)
    return x_shape[0], h.n_out, v.n_out, w_shape[3]


@np.errstate(all="ignore")
def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Twin of `closedform.conv2d`. It has one algorithm."""
    # x (N, H, W, C), w (kh, kw, C/G, K), b (K,)  ->  y (N, H', W', K)
    #   y_nijk = Σ_rsc x_{n, i·stride + r·dilation − pad, j·stride + s·dilation − pad, c} w_rsck + b_k
    h, v = _windows(x.shape, w.shape, stride, padding, dilation)
    xg, wg = _by_group(padded(x, h, v), groups), _by_group(w, groups)
    y = np.zeros((groups, x.shape[0], h.n_out, v.n_out, wg.shape[-1]), x.dtype)
    for r, s, pixels in taps(h, v):
        y += _product(xg[:, :, *pixels], wg[:, r, s])
    y = _ungrouped(y)
    if b is not None:
        y += b
    if activation == "relu":
        y = np.maximum(y, 0)
    return deliver(y, out)


@np.errstate(all="ignore")
def conv2d_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    needs: Collection[str] = ("x", "w", "b"),
    algorithm: str = "auto",
    out: tuple[Array | None, Array | None, Array | None] | None = None,
) -> ConvolutionGradients:
    """Twin of `closedform.conv2d_backward`."""
    # dy (N, H', W', K), x (N, H, W, C), w (kh, kw, C/G, K)  ->  dx, dw, db (K,)
    # Each tap is a dense layer, from the pixels it meets to y. So, with x_rs those pixels,
    #   dw_rs = x_rsᵀ @ dy        dx_rs = dy @ w_rsᵀ, summed where windows overlap        db = Σ_nij dy_nij
    h, v = _windows(x.shape, w.shape, stride, padding, dilation)
    x_padded = padded(x, h, v)
    dx_padded, dw = np.zeros(x_padded.shape, x.dtype), np.zeros(w.shape, x.dtype)
    xg, wg, dyg = (_by_group(a, groups) for a in (x_padded, w, dy))
    dxg, dwg = _by_group(dx_padded, groups), _by_group(dw, groups)  # views
    for r, s, pixels in taps(h, v):
        if "x" in needs:
            dxg[:, :, *pixels] += _product(dyg, wg[:, r, s].swapaxes(-1, -2))
        if "w" in needs:
            dwg[:, r, s] = _rows(xg[:, :, *pixels]).swapaxes(-1, -2) @ _rows(dyg)

    dx = dx_padded[:, h.pad : h.pad + h.n, v.pad : v.pad + v.n]
    out_dx, out_dw, out_db = out if out is not None else (None, None, None)
    return ConvolutionGradients(
        deliver(np.ascontiguousarray(dx), out_dx) if "x" in needs else None,
        deliver(dw, out_dw) if "w" in needs else None,
        deliver(dy.sum(axis=(0, 1, 2)), out_db) if "b" in needs else None,
    )


def _windows(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> tuple[Window, Window]:
    size: Pair = w_shape[0], w_shape[1]
    return windows(x_shape, size, stride=stride, padding=padding, dilation=dilation, window=f"w {w_shape}")


def _by_group(a: Array, groups: int) -> Array:
    """(..., G · C) -> (G, ..., C), a view where a is contiguous."""
    return np.moveaxis(a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups), -2, 0)


def _ungrouped(a: Array) -> Array:
    """(G, ..., C) -> (..., G · C)"""
    a = np.moveaxis(a, 0, -2)
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _rows(a: Array) -> Array:
    """(G, ..., C) -> (G, N · H · W, C)"""
    return a.reshape(a.shape[0], prod(a.shape[1:-1]), a.shape[-1])


def _product(a: Array, m: Array) -> Array:
    """(G, ..., C) times (G, C, K): one matrix product a group."""
    return (_rows(a) @ m).reshape(*a.shape[:-1], m.shape[-1])
