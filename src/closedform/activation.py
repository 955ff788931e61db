"""Activations, element by element, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array
from ._validate import as_floats, as_number, check_out, same_shape


def relu(x: ArrayLike, *, slope: float = 1.0, negative_slope: float = 0.0, out: Array | None = None) -> Array:
    """Rectified linear unit: slope · x where x > 0, negative_slope · x elsewhere.

    Parameters
    ----------
    x : any shape
    slope : on the active side; `relu(x, slope=5)` is 5·relu(x)
    negative_slope : on the other side; 0.01 makes it leaky
    out : array to write to, of x's shape and dtype

    Returns
    -------
    y : the shape of x

    Raises
    ------
    ValueError, TypeError : a slope that is not a finite number, `out` that does not fit

    Its use against vanishing gradients: the derivative is 1 on the active side (not that y is never negative).
    Source: Glorot, Bordes, Bengio, Deep sparse rectifier neural networks (2011); Maas et al. (2013) for the leak.
    """
    (x,) = as_floats(x=x)
    slope, negative_slope = as_number("slope", slope), as_number("negative_slope", negative_slope)
    check_out(out, x.shape, x.dtype, x)
    if using_reference():
        return reference.relu(x, slope=slope, negative_slope=negative_slope, out=out)
    return _kernels.relu(x, slope, negative_slope, out)


def relu_backward(
    dy: ArrayLike, x: ArrayLike, *, slope: float = 1.0, negative_slope: float = 0.0, out: Array | None = None
) -> Array:
    """Gradient of `relu`: dy · slope where x > 0, dy · negative_slope elsewhere (relu'(0) = 0).

    Parameters
    ----------
    dy : gradient with respect to y, the shape of x
    x : what was given to `relu`
    slope, negative_slope : as in `relu`
    out : array to write to

    Returns
    -------
    dx : the shape of x

    Raises
    ------
    ValueError, TypeError : as `relu`; shapes that differ
    """
    dy, x = as_floats(dy=dy, x=x)
    same_shape(x=x, dy=dy)
    slope, negative_slope = as_number("slope", slope), as_number("negative_slope", negative_slope)
    check_out(out, x.shape, x.dtype, dy, x)
    if using_reference():
        return reference.relu_backward(dy, x, slope=slope, negative_slope=negative_slope, out=out)
    return _kernels.relu_backward(dy, x, slope, negative_slope, out)


def sigmoid(x: ArrayLike, *, out: Array | None = None) -> Array:
    """Logistic function: σ(x) = 1 / (1 + e⁻ˣ), to 3 ULP over the whole range.

    x has any shape; `out`, if given, its shape and dtype; y has the shape of x.
    Raises ValueError or TypeError naming the argument that does not fit.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 3.10.
    """
    return _forward(_kernels.sigmoid, reference.sigmoid, x, out)


def sigmoid_backward(dy: ArrayLike, y: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of `sigmoid`: dx = dy · y · (1 − y), with y = sigmoid(x) and dy of one shape.

    Raises ValueError or TypeError naming the argument that does not fit.
    """
    return _backward(_kernels.sigmoid_backward, reference.sigmoid_backward, dy, "y", y, out)


def tanh(x: ArrayLike, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent, to 3 ULP over the whole range.

    x has any shape; `out`, if given, its shape and dtype; y has the shape of x.
    Raises ValueError or TypeError naming the argument that does not fit.
    """
    return _forward(_kernels.tanh, reference.tanh, x, out)


def tanh_backward(dy: ArrayLike, y: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of `tanh`: dx = dy · (1 − y²), with y = tanh(x) and dy of one shape.

    The square is of the output: 1 − tanh(x²), which circulates, is a slip.
    Raises ValueError or TypeError naming the argument that does not fit.
    """
    return _backward(_kernels.tanh_backward, reference.tanh_backward, dy, "y", y, out)


def softplus(x: ArrayLike, *, out: Array | None = None) -> Array:
    """Softplus: log(1 + eˣ), a smooth relu, to 3 ULP over the whole range.

    x has any shape; `out`, if given, its shape and dtype; y has the shape of x.
    Raises ValueError or TypeError naming the argument that does not fit.
    Source: Dugas et al., Incorporating second-order functional knowledge (2001).
    """
    return _forward(_kernels.softplus, reference.softplus, x, out)


def softplus_backward(dy: ArrayLike, x: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of `softplus`: dx = dy · σ(x), with x and dy of one shape.

    Raises ValueError or TypeError naming the argument that does not fit.
    """
    return _backward(_kernels.softplus_backward, reference.softplus_backward, dy, "x", x, out)


def gelu(x: ArrayLike, *, out: Array | None = None) -> Array:
    """Gaussian error linear unit, exact: x · Φ(x) = x · (1 + erf(x / √2)) / 2.

    x has any shape; `out`, if given, its shape and dtype; y has the shape of x.
    Raises ValueError or TypeError naming the argument that does not fit.
    Source: Hendrycks, Gimpel, Gaussian error linear units, arXiv 1606.08415 (2016).
    """
    return _forward(_kernels.gelu, reference.gelu, x, out)


def gelu_backward(dy: ArrayLike, x: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of `gelu`: dx = dy · (Φ(x) + x · φ(x)), φ the normal density; x and dy of one shape.

    Raises ValueError or TypeError naming the argument that does not fit.
    """
    return _backward(_kernels.gelu_backward, reference.gelu_backward, dy, "x", x, out)


def _forward(kernel: Callable[..., Array], twin: Callable[..., Array], x: Any, out: Array | None) -> Array:
    (x,) = as_floats(x=x)
    check_out(out, x.shape, x.dtype, x)
    return twin(x, out=out) if using_reference() else kernel(x, out)


def _backward(
    kernel: Callable[..., Array], twin: Callable[..., Array], dy: Any, name: str, a: Any, out: Array | None
) -> Array:
    dy, a = as_floats(**{"dy": dy, name: a})
    same_shape(**{name: a, "dy": dy})
    check_out(out, a.shape, a.dtype, dy, a)
    return twin(dy, a, out=out) if using_reference() else kernel(dy, a, out)
