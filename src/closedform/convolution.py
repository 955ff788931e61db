"""Convolution."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array, ConvolutionGradients
from ._validate import as_floats, as_integer, check_out, check_outs, expect_shape, one_of, some_of
from ._windows import Padding, Sides, Window, as_shape, windows

ALGORITHMS = ("auto", "direct", "winograd2", "winograd4")  # as the enum of csrc/kernels/table.hpp
ACTIVATIONS = ("relu",)  # besides None
_OUTS = ("out dx", "out dw", "out db")


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Convolution, channels last: y = b + Σ_rs x_rs @ w_rs, with x_rs the pixels that tap (r, s) meets.

    Parameters
    ----------
    x : (N, H, W, C) images
    w : (KH, KW, C / groups, K) filters, not flipped (a cross-correlation, as in all of deep learning)
    b : (K,) bias, or None
    stride, dilation : steps between windows and between taps, an integer or (height, width)
    padding : zeros around the images: an integer, (height, width), ((top, bottom), (left, right)), "valid" for none, or
        "same" for outputs of the size of x (stride 1 only; the odd zero goes to the bottom and the right)
    groups : filters k of group g see only the channels of group g; groups = C is a depthwise convolution
    activation : "relu" for max(y, 0) in the same pass over memory, or None
    algorithm : "direct", "winograd2" or "winograd4" (3x3 filters with stride 1, dilation 1 and one group), or "auto",
        which takes "direct" or "winograd2" by the size of an image and its channels. Winograd's F(2x2) needs 2.25
        times fewer products and rounds as well as the direct sum, about twice worse where most of x is 0; F(4x4) needs
        4 times fewer and rounds up to 10 times worse. Both spread a NaN or an infinity to neighbours, and overflow
        where sums of a few entries of x do
    out : (N, H', W', K) array to write to, of the result's dtype

    Returns
    -------
    y : (N, H', W', K): y_ijk = b_k + Σ_rsc x_{i·stride + r·dilation − top, j·stride + s·dilation − left, c} w_rsck.
        H' = ⌊(H + top + bottom − dilation · (KH − 1) − 1) / stride⌋ + 1. Where that is 0, or N is,
        y is empty

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, a negative H' or W', channels that groups do not divide

    Source: Dumoulin, Visin, A guide to convolution arithmetic for deep learning (2016); for Winograd's algorithm Lavin,
    Gray, Fast algorithms for convolutional neural networks (2016).

    >>> import numpy as np, closedform as cf
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> cf.conv2d(x, np.ones((2, 2, 1, 1))).squeeze()
    array([[ 8., 12.],
           [20., 24.]])
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    h, v, groups = _geometry("x", x.shape, "w", w.shape, stride, padding, dilation, groups)
    chosen = _algorithm(algorithm, h, v, groups)
    if b is not None:
        expect_shape("b", b, w.shape[3:], "a bias for each filter of w")
    if activation is not None:
        one_of("activation", activation, ACTIVATIONS)
    if out is not None:
        check_out(out, (x.shape[0], h.n_out, v.n_out, w.shape[3]), x.dtype, x, w, b)
    if using_reference():
        return reference.conv2d(
            x,
            w,
            b,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            activation=activation,
            out=out,
        )
    return _kernels.conv2d(x, w, b, h, v, groups, chosen, activation is not None, out)


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
    groups: int = 1,
    needs: Collection[str] = ("x", "w", "b"),
    algorithm: str = "auto",
    out: tuple[Array | None, Array | None, Array | None] | None = None,
) -> ConvolutionGradients:
    """Gradients of `conv2d`: dx = Σ_rs dy @ w_rsᵀ, each term on the pixels of its tap, dw_rs = x_rsᵀ @ dy, db = Σ dy.

    Parameters
    ----------
    dy : (N, H', W', K) gradient of the loss with respect to y (after `activation="relu"`: relu_backward(dy, y))
    x : (N, H, W, C) the images given to `conv2d`
    w : (KH, KW, C / groups, K) the filters given to `conv2d`
    stride, padding, dilation, groups : as given to `conv2d`
    needs : which gradients to compute, of "x", "w", "b"; the others are None
    algorithm : as in `conv2d`, for dx
    out : (dx, dw, db) arrays to write to, each may be None

    Returns
    -------
    dx (N, H, W, C), dw (KH, KW, C / groups, K), db (K,) : a named tuple

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, unknown names in `needs`

    Source: Dumoulin, Visin, A guide to convolution arithmetic for deep learning (2016), section 4.
    """
    dy, x, w = as_floats(dy=dy, x=x, w=w)
    h, v, groups = _geometry("x", x.shape, "w", w.shape, stride, padding, dilation, groups)
    chosen = _algorithm(algorithm, h, v, groups)
    expect_shape("dy", dy, (x.shape[0], h.n_out, v.n_out, w.shape[3]), "that of conv2d(x, w)")
    wanted = some_of("needs", needs, ("x", "w", "b"))
    if out is not None:
        if not isinstance(out, tuple) or len(out) != 3:
            raise TypeError(f"out: expected a tuple (dx, dw, db); got {out!r}")
        check_outs(out, (x.shape, w.shape, w.shape[3:]), x.dtype, dy, x, w, names=_OUTS)
    if using_reference():
        return reference.conv2d_backward(
            dy,
            x,
            w,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            needs=wanted,
            out=out,
        )
    return ConvolutionGradients(
        *_kernels.conv2d_backward(
            dy, x, w, h, v, groups, chosen, "x" in wanted, "w" in wanted, "b" in wanted, out
        )
    )


def conv2d_output_shape(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    *,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
    groups: int = 1,
) -> tuple[int, int, int, int]:
    """The shape of conv2d(x, w): n' = ⌊(n + before + after − dilation · (taps − 1) − 1) / stride⌋ + 1 on each axis.

    Parameters
    ----------
    x_shape : (N, H, W, C)
    w_shape : (KH, KW, C / groups, K)
    stride, padding, dilation, groups : as in `conv2d`

    Returns
    -------
    (N, H', W', K)

    Raises
    ------
    ValueError, TypeError : as `conv2d`

    >>> import closedform as cf
    >>> cf.conv2d_output_shape((8, 224, 224, 3), (7, 7, 3, 64), stride=2, padding=3)
    (8, 112, 112, 64)
    """
    x_shape, w_shape = as_shape("x_shape", x_shape), as_shape("w_shape", w_shape)
    h, v, _ = _geometry("x_shape", x_shape, "w_shape", w_shape, stride, padding, dilation, groups)
    return x_shape[0], h.n_out, v.n_out, w_shape[3]


def _geometry(
    x: str,
    x_shape: tuple[int, ...],
    w: str,
    w_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> tuple[Window, Window, int]:
    """The windows on both axes, and groups, once everything fits; x and w are the arguments' names."""
    if len(x_shape) != 4:
        raise ValueError(f"{x}: expected shape (N, H, W, C); got {x_shape}")
    if len(w_shape) != 4 or w_shape[0] == 0 or w_shape[1] == 0:
        raise ValueError(f"{w}: expected shape (KH, KW, C / groups, K), KH and KW at least 1; got {w_shape}")
    C, K = x_shape[3], w_shape[3]
    groups = as_integer("groups", groups)
    if groups < 1 or C % groups or K % groups:
        raise ValueError(
            f"groups: expected a positive divisor of C = {C} and K = {K}, the last axes of {x} and {w}; got {groups}"
        )
    if w_shape[2] != C // groups:
        expected = f"(KH, KW, {C // groups}, K), since {x} has shape {x_shape} and groups is {groups}"
        raise ValueError(f"{w}: expected shape {expected}; got {w_shape}")
    h, v = windows(
        x_shape,
        (w_shape[0], w_shape[1]),
        stride=stride,
        padding=padding,
        dilation=dilation,
        window=f"{w} {w_shape}",
        images=x,
    )
    return h, v, groups


def _algorithm(name: Any, h: Window, v: Window, groups: int) -> int:
    """The index of an algorithm that can do this convolution."""
    if type(name) is str and name == "auto":
        return 0  # the common case
    one_of("algorithm", name, ALGORITHMS)
    plain = groups == 1 and all((a.taps, a.stride, a.dilation) == (3, 1, 1) for a in (h, v))
    if name.startswith("winograd") and not plain:
        raise ValueError(
            'algorithm: expected "auto" or "direct", since Winograd\'s is for 3x3 filters with stride 1, dilation 1 '
            f"and one group; got {name!r}"
        )
    return ALGORITHMS.index(name)
