"""Softmax and its relatives, along one axis of length K. Sums are over that axis.

Some courses call softmax "softargmax", and logsumexp "softmax". Neither is an argmax: softmax becomes the
one-hot argmax only in the limit of zero temperature.
"""

from __future__ import annotations

import numpy as np

from .._results import Array, deliver


def _largest(x: Array, axis: int) -> Array:
    return np.asarray(np.max(x, axis=axis, keepdims=True, initial=-np.inf))  # initial: K = 0 is allowed


@np.errstate(all="ignore")
def softmax(x: Array, *, axis: int = -1, temperature: float = 1.0, out: Array | None = None) -> Array:
    """Twin of `closedform.softmax`."""
    # S_i = e^(x_i/τ) / Σ_j e^(x_j/τ).  S(x + c) = S(x): with the maximum taken away no exponential exceeds 1,
    # and the sum is at least 1. Taken away before the division by τ, so that a small τ cannot overflow.
    e = np.exp((x - _largest(x, axis)) / temperature)
    return deliver(e / e.sum(axis=axis, keepdims=True), out)


@np.errstate(all="ignore")
def softmax_backward(
    dy: Array, y: Array, *, axis: int = -1, temperature: float = 1.0, out: Array | None = None
) -> Array:
    """Twin of `closedform.softmax_backward`."""
    # ∂S_i/∂x_j = (S_i δ_ij - S_i S_j) / τ    so  dx_j = S_j (dy_j - Σ_i dy_i S_i) / τ
    dx = y * (dy - (dy * y).sum(axis=axis, keepdims=True)) / temperature
    return deliver(dx, out)


@np.errstate(all="ignore")
def log_softmax(x: Array, *, axis: int = -1, out: Array | None = None) -> Array:
    """Twin of `closedform.log_softmax`."""
    # log S_i = x_i - logsumexp(x), both sides shifted by the maximum, so that its size costs no accuracy.
    shifted = x - _largest(x, axis)
    return deliver(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)), out)


@np.errstate(all="ignore")
def log_softmax_backward(dy: Array, y: Array, *, axis: int = -1, out: Array | None = None) -> Array:
    """Twin of `closedform.log_softmax_backward`."""
    # y = log S, and ∂y_i/∂x_j = δ_ij - S_j    so  dx_j = dy_j - S_j Σ_i dy_i
    return deliver(dy - np.exp(y) * dy.sum(axis=axis, keepdims=True), out)


@np.errstate(all="ignore")
def logsumexp(x: Array, *, axis: int = -1, out: Array | None = None) -> Array:
    """Twin of `closedform.logsumexp`."""
    # log Σ_j e^(x_j) = m + log Σ_j e^(x_j - m) for any m: the maximum, or 0 where that is infinite.
    m = _largest(x, axis)
    m = np.where(np.isfinite(m), m, 0)
    result = np.log(np.exp(x - m).sum(axis=axis, keepdims=True)) + m
    return deliver(result.squeeze(axis), out)


@np.errstate(all="ignore")
def softmax_jacobian(y: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.softmax_jacobian`."""
    # y (..., K)  ->  J (..., K, K),  J_ij = S_i (δ_ij - S_j)
    K = y.shape[-1]
    return deliver(y[..., :, None] * (np.eye(K, dtype=y.dtype) - y[..., None, :]), out)
