"""Pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array, MaxPool2d
from ._validate import as_floats, check_out, expect_shape
from ._windows import LIMIT, Padding, Pair, Sides, Window, as_padding, as_pair, as_shape, windows


def max_pool2d(
    x: ArrayLike,
    size: Sides,
    *,
    stride: Sides | None = None,
    padding: Padding = 0,
    out: Array | None = None,
) -> MaxPool2d:
    """Max pooling, channels last: y = the largest entry of x in each window, channel by channel.

    Parameters
    ----------
    x : (N, H, W, C) images
    size : height and width of the window, an integer or (height, width)
    stride : steps between windows, likewise; None for `size`: windows side by side
    padding : what surrounds the images and never is the maximum: an integer, (height, width), ((top, bottom),
        (left, right)), "valid" for none, or "same" for outputs of the size of x (stride 1 only). Each side must be
        smaller than the window, so that every window meets a pixel
    out : (N, H', W', C) array to write y to, of the result's dtype

    Returns
    -------
    y : (N, H', W', C), with H' = ⌊(H + top + bottom − height) / stride⌋ + 1: pixels that fill no window are left out
    argmax : the same shape, int64, where the maximum is: h · W + w in the image. The first wins a tie; NaN counts as
        larger than any number
    x_shape : the shape of x. All three are a named tuple, which `max_pool2d_backward` takes

    Raises
    ------
    ValueError, TypeError : no images, a window larger than the padded image, padding as large as the window

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.3.

    >>> import numpy as np, closedform as cf
    >>> trace = cf.max_pool2d(np.arange(16.0).reshape(1, 4, 4, 1), 2)
    >>> trace.y.squeeze()
    array([[ 5.,  7.],
           [13., 15.]])
    """
    (x,) = as_floats(x=x)
    h, v = _geometry("x", x.shape, size, stride, padding)
    if h.n * v.n > LIMIT:  # the kernel counts pixels in 32 bits
        raise ValueError(f"x: expected images of at most {LIMIT} pixels; got shape {x.shape}")
    if out is not None:
        check_out(out, (x.shape[0], h.n_out, v.n_out, x.shape[3]), x.dtype, x)
    if using_reference():
        return reference.max_pool2d(x, size, stride=stride, padding=padding, out=out)
    return MaxPool2d(*_kernels.max_pool2d(x, h, v, out), x.shape)


def max_pool2d_backward(dy: ArrayLike, trace: MaxPool2d, *, out: Array | None = None) -> Array:
    """Gradient of `max_pool2d`: dx is dy where the maximum was and 0 elsewhere, summed where windows share it.

    Parameters
    ----------
    dy : (N, H', W', C) gradient of the loss with respect to y
    trace : the result of `max_pool2d`
    out : (N, H, W, C) array to write to, of dy's dtype

    Returns
    -------
    dx : (N, H, W, C)

    Raises
    ------
    ValueError, TypeError : no trace, a shape that is not that of y, `out` that does not fit
    """
    (dy,) = as_floats(dy=dy)
    if not isinstance(trace, MaxPool2d):
        raise TypeError(f"trace: expected the result of max_pool2d; got {type(trace).__name__}")
    argmax, x_shape = trace.argmax, as_shape("trace.x_shape", trace.x_shape)
    if not isinstance(argmax, np.ndarray) or argmax.dtype != np.int64:
        raise TypeError(f"trace.argmax: expected an int64 array; got {getattr(argmax, 'dtype', argmax)!r}")
    expect_shape("dy", dy, argmax.shape, "that of y")
    if dy.shape[:1] != x_shape[:1] or dy.shape[3:] != x_shape[3:]:
        raise ValueError(
            f"trace.x_shape: expected (N, H, W, C) with N and C of y, {argmax.shape}; got {x_shape}"
        )
    if out is not None:
        check_out(out, x_shape, dy.dtype, dy, argmax)
    if not using_reference():
        dx = _kernels.max_pool2d_backward(dy, argmax, x_shape, out)
        if dx is not None:
            return dx
    _expect_pixels(argmax, x_shape)
    return reference.max_pool2d_backward(dy, trace, out=out)


def avg_pool2d(
    x: ArrayLike,
    size: Sides,
    *,
    stride: Sides | None = None,
    padding: Padding = 0,
    out: Array | None = None,
) -> Array:
    """Average pooling, channels last: y = the mean of x over each window, Σ x / (height · width).

    Parameters
    ----------
    x : (N, H, W, C) images
    size, stride, padding : as in `max_pool2d`; padding counts as zeros, the divisor is always height · width
    out : (N, H', W', C) array to write to, of the result's dtype

    Returns
    -------
    y : (N, H', W', C)

    Raises
    ------
    ValueError, TypeError : no images, a window larger than the padded image, padding as large as the window

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.3.

    >>> import numpy as np, closedform as cf
    >>> cf.avg_pool2d(np.arange(16.0).reshape(1, 4, 4, 1), 2).squeeze()
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    (x,) = as_floats(x=x)
    h, v = _geometry("x", x.shape, size, stride, padding)
    if out is not None:
        check_out(out, (x.shape[0], h.n_out, v.n_out, x.shape[3]), x.dtype, x)
    if using_reference():
        return reference.avg_pool2d(x, size, stride=stride, padding=padding, out=out)
    return _kernels.avg_pool2d(x, h, v, out)


def avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: tuple[int, ...],
    size: Sides,
    *,
    stride: Sides | None = None,
    padding: Padding = 0,
    out: Array | None = None,
) -> Array:
    """Gradient of `avg_pool2d`: dx = Σ dy / (height · width) over the windows that cover the pixel.

    Parameters
    ----------
    dy : (N, H', W', C) gradient of the loss with respect to y
    x_shape : (N, H, W, C), the shape of the images
    size, stride, padding : as given to `avg_pool2d`
    out : (N, H, W, C) array to write to, of dy's dtype

    Returns
    -------
    dx : (N, H, W, C)

    Raises
    ------
    ValueError, TypeError : as `avg_pool2d`; a shape that is not that of y
    """
    (dy,) = as_floats(dy=dy)
    x_shape = as_shape("x_shape", x_shape)
    h, v = _geometry("x_shape", x_shape, size, stride, padding)
    expect_shape("dy", dy, (x_shape[0], h.n_out, v.n_out, x_shape[3]), "that of avg_pool2d(x, size)")
    if out is not None:
        check_out(out, x_shape, dy.dtype, dy)
    if using_reference():
        return reference.avg_pool2d_backward(dy, x_shape, size, stride=stride, padding=padding, out=out)
    return _kernels.avg_pool2d_backward(dy, h, v, out)


def expect_pixels_under(taps: Pair, padding: tuple[Pair, Pair]) -> None:
    """Every window meets a pixel, if there are any: `padding` is smaller than the window."""
    if max(padding[0]) >= taps[0] or max(padding[1]) >= taps[1]:
        raise ValueError(f"padding: expected less than the window's size {taps} on each side; got {padding}")


def _geometry(
    x: str, x_shape: tuple[int, ...], size: Any, stride: Any, padding: Any
) -> tuple[Window, Window]:
    """The windows on both axes, each of which meets a pixel; x is the argument's name."""
    if len(x_shape) != 4:
        raise ValueError(f"{x}: expected shape (N, H, W, C); got {x_shape}")
    taps = as_pair("size", size, 1)
    stride = taps if stride is None else as_pair("stride", stride, 1)
    padding = as_padding(padding, taps, stride, (1, 1))
    expect_pixels_under(taps, padding)
    window = f"a window of size {taps}"
    h, v = windows(x_shape, taps, stride=stride, padding=padding, window=window, images=x, least=1)
    if h.n == 0 or v.n == 0:
        raise ValueError(f"{x}: expected images with pixels; got shape {x_shape} and padding {padding}")
    return h, v


def _expect_pixels(argmax: Array, x_shape: tuple[int, ...]) -> None:
    pixels = x_shape[1] * x_shape[2]
    wrong = (argmax < 0) | (argmax >= pixels)
    if wrong.any():
        raise ValueError(
            f"trace.argmax: expected numbers of pixels, less than {pixels} in images of shape {x_shape}; "
            f"got {argmax[wrong][0]}"
        )
