"""Softmax, its logarithm, log-sum-exp, and their gradients, along one axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array
from ._validate import FLOAT64, as_axis, as_floats, as_number, check_out, same_shape

SMALLEST, LARGEST = 2.0**-149, (2 - 2.0**-23) * 2.0**127  # of float32


def softmax(x: ArrayLike, *, axis: int = -1, temperature: float = 1.0, out: Array | None = None) -> Array:
    """Softmax: S_i = exp(x_i / τ) / Σ_j exp(x_j / τ), the row's maximum subtracted first.

    Parameters
    ----------
    x : any shape with at least one axis
    axis : the axis whose entries sum to one
    temperature : τ > 0; towards 0 the result tends to the one-hot argmax
    out : array to write to, of x's shape and dtype

    Returns
    -------
    y : the shape of x

    Raises
    ------
    ValueError, TypeError : no such axis, τ not positive, `out` that does not fit

    Some courses call this "softargmax". It takes the largest element only in the limit τ → 0.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.3.

    >>> import closedform as cf
    >>> cf.softmax([1.0, 1.0, 1.0, 1.0])
    array([0.25, 0.25, 0.25, 0.25])
    """
    (x,) = as_floats(x=x)
    axis = as_axis(axis, x)
    temperature = _as_temperature(temperature, x.dtype)
    check_out(out, x.shape, x.dtype, x)
    if using_reference():
        return reference.softmax(x, axis=axis, temperature=temperature, out=out)
    return _along(axis, lambda out, x: _kernels.softmax(x, temperature, out), out, x)


def softmax_backward(
    dy: ArrayLike, y: ArrayLike, *, axis: int = -1, temperature: float = 1.0, out: Array | None = None
) -> Array:
    """Gradient of `softmax`: dx = y · (dy − Σ dy·y) / τ, the Jacobian applied without being formed.

    Parameters
    ----------
    dy : gradient with respect to y, the shape of y
    y : the result of `softmax`
    axis, temperature : as given to `softmax`
    out : array to write to

    Returns
    -------
    dx : the shape of y

    Raises
    ------
    ValueError, TypeError : as `softmax`; shapes that differ
    """
    dy, y = as_floats(dy=dy, y=y)
    same_shape(y=y, dy=dy)
    axis = as_axis(axis, y)
    temperature = _as_temperature(temperature, y.dtype)
    check_out(out, y.shape, y.dtype, dy, y)
    if using_reference():
        return reference.softmax_backward(dy, y, axis=axis, temperature=temperature, out=out)
    return _along(axis, lambda out, dy, y: _kernels.softmax_backward(dy, y, temperature, out), out, dy, y)


def log_softmax(x: ArrayLike, *, axis: int = -1, out: Array | None = None) -> Array:
    """Logarithm of softmax: x − logsumexp(x), computed as (x − max) − log Σ exp(x − max).

    Parameters
    ----------
    x : any shape with at least one axis
    axis : the axis of the classes
    out : array to write to, of x's shape and dtype

    Returns
    -------
    y : the shape of x

    Raises
    ------
    ValueError, TypeError : no such axis, `out` that does not fit
    """
    (x,) = as_floats(x=x)
    axis = as_axis(axis, x)
    check_out(out, x.shape, x.dtype, x)
    if using_reference():
        return reference.log_softmax(x, axis=axis, out=out)
    return _along(axis, lambda out, x: _kernels.log_softmax(x, out), out, x)


def log_softmax_backward(dy: ArrayLike, y: ArrayLike, *, axis: int = -1, out: Array | None = None) -> Array:
    """Gradient of `log_softmax`: dx = dy − exp(y) · Σ dy, with y its result and dy of one shape.

    Raises ValueError or TypeError naming the argument that does not fit.
    """
    dy, y = as_floats(dy=dy, y=y)
    same_shape(y=y, dy=dy)
    axis = as_axis(axis, y)
    check_out(out, y.shape, y.dtype, dy, y)
    if using_reference():
        return reference.log_softmax_backward(dy, y, axis=axis, out=out)
    return _along(axis, lambda out, dy, y: _kernels.log_softmax_backward(dy, y, out), out, dy, y)


def logsumexp(x: ArrayLike, *, axis: int = -1, out: Array | None = None) -> Array:
    """log Σ exp(x) along `axis`, which is removed: the smooth maximum, that some courses call "softmax".

    Parameters
    ----------
    x : any shape with at least one axis
    axis : the axis summed over
    out : array to write to, of x's shape without `axis`

    Returns
    -------
    y : the shape of x without `axis`; −inf where all of x is −inf (or the axis is empty)

    Raises
    ------
    ValueError, TypeError : no such axis, `out` that does not fit

    Source: Boyd, Vandenberghe, Convex Optimization (2004), section 3.1.5.
    """
    (x,) = as_floats(x=x)
    axis = as_axis(axis, x)
    check_out(out, x.shape[:axis] + x.shape[axis + 1 :], x.dtype, x)
    if using_reference():
        return reference.logsumexp(x, axis=axis, out=out)
    return _kernels.logsumexp(np.moveaxis(x, axis, -1), out)


def softmax_jacobian(y: ArrayLike, *, out: Array | None = None) -> Array:
    """Jacobian of softmax at its result y: ∂S_i/∂x_j = S_i δ_ij − S_i S_j.

    Parameters
    ----------
    y : (..., K) results of `softmax` over the last axis
    out : (..., K, K) array to write to

    Returns
    -------
    jacobian : (..., K, K), symmetric; its rows sum to zero

    Raises
    ------
    ValueError, TypeError : y without an axis, `out` that does not fit
    """
    (y,) = as_floats(y=y)
    if not 1 <= y.ndim < 64:  # NumPy's arrays have at most 64 axes
        raise ValueError(f"y: expected shape (..., K) of 1 to 63 axes; got {y.ndim}")
    check_out(out, (*y.shape, y.shape[-1]), y.dtype, y)
    if using_reference():
        return reference.softmax_jacobian(y, out=out)
    return _kernels.softmax_jacobian(y, out)


def _as_temperature(temperature: Any, dtype: Any) -> float:
    """A positive number that the dtype can hold: rounded to 0 or infinity it would make NaN of a row."""
    temperature = as_number("temperature", temperature, low=0, open_low=True)
    return temperature if dtype == FLOAT64 else min(max(temperature, SMALLEST), LARGEST)


def _along(axis: int, kernel: Callable[..., Array], out: Array | None, *arrays: Any) -> Array:
    """Run a kernel of the last axis along any axis; the result is contiguous and has the arguments' shape."""
    if axis == arrays[0].ndim - 1:
        return kernel(out, *arrays)
    result = np.empty_like(arrays[0], order="C") if out is None else out
    result[...] = np.moveaxis(kernel(None, *(np.moveaxis(a, axis, -1) for a in arrays)), -1, axis)
    return result
