"""Batch normalisation. x (..., C): m rows, all leading axes together, of C channels. Sums and means are over rows."""

from __future__ import annotations

from math import prod

import numpy as np

from .._results import Array, BatchNorm, BatchNormGradients, deliver


@np.errstate(all="ignore")
def batchnorm(
    x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5, out: Array | None = None
) -> BatchNorm:
    """Twin of `closedform.batchnorm`."""
    # x (..., C), gamma (C,), beta (C,)  ->  y (..., C), mean (C,), rstd (C,)
    #   μ = Σ x / m    σ² = Σ (x - μ)² / m    x̂ = (x - μ) / √(σ² + ε)    y = γ x̂ + β
    # σ² from the centred x, never as the difference Σ x²/m - μ²: that cancels where |μ| is much larger than σ.
    mean, centred = _centred(x)
    rstd = _rstd(_mean(centred**2), eps)
    return BatchNorm(deliver(gamma * (centred * rstd) + beta, out), mean, rstd, x, gamma)


@np.errstate(all="ignore")
def batchnorm_backward(
    dy: Array,
    trace: BatchNorm,
    *,
    out: tuple[Array | None, Array | None, Array | None] | None = None,
) -> BatchNormGradients:
    """Twin of `closedform.batchnorm_backward`."""
    # dy (..., C)  ->  dx (..., C), dgamma (C,), dbeta (C,)
    #   y = γ x̂ + β               so  dγ = Σ dy x̂    dβ = Σ dy    dx̂ = γ dy
    #   x̂ = (x - μ)(σ² + ε)^(-½)  so  dσ² = -½ Σ dx̂ (x - μ) (σ² + ε)^(-3/2)
    #                             and  dμ = -Σ dx̂ / √(σ² + ε) + dσ² (-2/m) Σ (x - μ), whose last sum is 0
    #   each row enters x̂ itself, σ² by 2 (x - μ) / m, and μ by 1/m:
    #                                 dx = dx̂ / √(σ² + ε) + dσ² 2 (x - μ) / m + dμ / m
    # With dσ² and dμ written out, dx = γ/√(σ² + ε) (dy - dβ/m - x̂ dγ/m): two sums are enough, and they are the
    # gradients of γ and β. So the kernel computes it.
    x, rstd, gamma = trace.x, trace.rstd, trace.gamma
    out_dx, out_dgamma, out_dbeta = out if out is not None else (None, None, None)
    rows = tuple(range(x.ndim - 1))
    m = x.dtype.type(_rows(x))
    _, centred = _centred(x)  # not x - trace.mean, which has been rounded

    dxhat = gamma * dy
    dvar = -0.5 * (dxhat * centred).sum(axis=rows) * rstd**3
    dmean = -dxhat.sum(axis=rows) * rstd
    dx = dxhat * rstd + dvar * (2 * centred / m) + dmean / m
    return BatchNormGradients(
        deliver(dx, out_dx),
        deliver((dy * (centred * rstd)).sum(axis=rows), out_dgamma),
        deliver(dy.sum(axis=rows), out_dbeta),
    )


@np.errstate(all="ignore")
def batchnorm_inference(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    var: Array,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> Array:
    """Twin of `closedform.batchnorm_inference`."""
    # y = γ (x - μ) / √(σ² + ε) + β, with statistics that are given
    rstd = _rstd(var, eps)
    return deliver(gamma * ((x - mean) * rstd) + beta, out)


def _centred(x: Array) -> tuple[Array, Array]:
    """(mean, x - mean) of each channel. The mean is taken off in two steps, so that its rounding is, too."""
    mean = _mean(x)
    centred = x - mean
    return mean, centred - _mean(centred)


def _mean(x: Array) -> Array:
    """Σ x / m of each channel, summed in float64: NaN if there are no rows."""
    total = x.sum(axis=tuple(range(x.ndim - 1)), dtype=np.float64)
    return np.asarray(total / _rows(x)).astype(x.dtype)


def _rstd(var: Array, eps: float) -> Array:
    """1/√(σ² + ε), the sum in float64: an ε that is 0 in float32 still keeps the root away from 0."""
    return np.asarray(1 / np.sqrt(var.astype(np.float64) + eps)).astype(var.dtype)


def _rows(x: Array) -> np.float64:
    return np.float64(prod(x.shape[:-1]))
