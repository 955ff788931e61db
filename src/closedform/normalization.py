"""Batch normalisation."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array, BatchNorm, BatchNormGradients
from ._validate import as_floats, as_number, check_out, check_outs, expect_shape

_OUTS = ("out dx", "out dgamma", "out dbeta")


def batchnorm(
    x: ArrayLike, gamma: ArrayLike, beta: ArrayLike, *, eps: float = 1e-5, out: Array | None = None
) -> BatchNorm:
    """Batch normalisation: y = γ x̂ + β with x̂ = (x − μ)/√(σ² + ε), μ and σ² of each channel over all rows.

    Parameters
    ----------
    x : (..., C) inputs; all axes but the last are rows, m of them
    gamma, beta : (C,) scale and shift
    eps : ε ≥ 0, which keeps the root away from 0
    out : array to write y to, of x's shape and the result's dtype

    Returns
    -------
    y : the shape of x
    mean, rstd : (C,) μ and 1/√(σ² + ε), where σ² = Σ (x − μ)²/m is the biased variance; NaN if there are no rows
    x, gamma : the arguments. All five are a named tuple, which `batchnorm_backward` takes: leave x and gamma as they
        are until then

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, a negative ε, `out` that does not fit

    A NaN makes all of its channel NaN. Squares of x − μ must be in the range of the dtype.
    Source: Ioffe, Szegedy, Batch normalization (2015), algorithm 1.

    >>> import closedform as cf
    >>> trace = cf.batchnorm([[1.0], [3.0]], [2.0], [0.5], eps=0.0)
    >>> trace.y
    array([[-1.5],
           [ 2.5]])
    """
    x, gamma, beta = as_floats(x=x, gamma=gamma, beta=beta)
    _expect_channels(x, gamma=gamma, beta=beta)
    eps = as_number("eps", eps, low=0)
    if out is not None:
        check_out(out, x.shape, x.dtype, x, gamma, beta)
    if using_reference():
        return reference.batchnorm(x, gamma, beta, eps=eps, out=out)
    y, mean, rstd = _kernels.batchnorm(x, gamma, beta, eps, out)
    return BatchNorm(y, mean, rstd, x, gamma)


def batchnorm_backward(
    dy: ArrayLike,
    trace: BatchNorm,
    *,
    out: tuple[Array | None, Array | None, Array | None] | None = None,
) -> BatchNormGradients:
    """Gradients of `batchnorm`: dγ = Σ dy·x̂, dβ = Σ dy, dx = γ/√(σ² + ε) · (dy − dβ/m − x̂·dγ/m).

    Parameters
    ----------
    dy : (..., C) gradient of the loss with respect to y
    trace : the result of `batchnorm`
    out : (dx, dgamma, dbeta) arrays to write to, each may be None

    Returns
    -------
    dx (..., C), dgamma (C,), dbeta (C,) : a named tuple

    Raises
    ------
    ValueError, TypeError : no trace, a shape that is not that of y, `out` that does not fit

    Source: Ioffe, Szegedy, Batch normalization (2015), section 3, with its sums collected.
    """
    if not isinstance(trace, BatchNorm):
        raise TypeError(f"trace: expected the result of batchnorm; got {type(trace).__name__}")
    fields = {f"trace.{name}": getattr(trace, name) for name in ("x", "mean", "rstd", "gamma")}
    dy, x, mean, rstd, gamma = as_floats(dy=dy, **fields)
    _expect_channels(x, "trace.", mean=mean, rstd=rstd, gamma=gamma)
    expect_shape("dy", dy, x.shape, "that of y")
    if out is not None:
        if not isinstance(out, tuple) or len(out) != 3:
            raise TypeError(f"out: expected a tuple (dx, dgamma, dbeta); got {out!r}")
        shapes = (x.shape, gamma.shape, gamma.shape)
        check_outs(out, shapes, x.dtype, dy, x, mean, rstd, gamma, names=_OUTS)
    if using_reference():
        return reference.batchnorm_backward(dy, BatchNorm(x, mean, rstd, x, gamma), out=out)
    return BatchNormGradients(*_kernels.batchnorm_backward(dy, x, mean, rstd, gamma, out))


def batchnorm_inference(
    x: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> Array:
    """Batch normalisation with given statistics: y = γ (x − μ)/√(σ² + ε) + β.

    Parameters
    ----------
    x : (..., C) inputs
    gamma, beta : (C,) scale and shift
    mean, var : (C,) μ and σ², usually running means of those of the training batches
    eps : ε ≥ 0
    out : array to write to, of x's shape and the result's dtype

    Returns
    -------
    y : the shape of x

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, a negative ε, `out` that does not fit

    Source: Ioffe, Szegedy, Batch normalization (2015), algorithm 2.

    >>> import closedform as cf
    >>> cf.batchnorm_inference([[7.0]], [2.0], [0.5], [1.0], [9.0], eps=0.0)
    array([[4.5]])
    """
    x, gamma, beta, mean, var = as_floats(x=x, gamma=gamma, beta=beta, mean=mean, var=var)
    _expect_channels(x, gamma=gamma, beta=beta, mean=mean, var=var)
    eps = as_number("eps", eps, low=0)
    if out is not None:
        check_out(out, x.shape, x.dtype, x, gamma, beta, mean, var)
    if using_reference():
        return reference.batchnorm_inference(x, gamma, beta, mean, var, eps=eps, out=out)
    return _kernels.batchnorm_inference(x, gamma, beta, mean, var, eps, out)


def _expect_channels(x: Array, prefix: str = "", **arrays: Array) -> None:
    if x.ndim < 1:
        raise ValueError(f"{prefix}x: expected shape (..., C); got a scalar")
    for name, a in arrays.items():
        expect_shape(f"{prefix}{name}", a, x.shape[-1:], f"one number for each channel of {prefix}x")
