"""Elementwise activations. Every array of a call has one shape, any shape.

A backward takes what its derivative is simplest in: the output y for sigmoid and tanh, otherwise the input x.
"""

from __future__ import annotations

import math

import numpy as np

from .._results import Array, deliver


@np.errstate(all="ignore")
def relu(x: Array, *, slope: float = 1.0, negative_slope: float = 0.0, out: Array | None = None) -> Array:
    """Twin of `closedform.relu`."""
    # y = slope · x           where x > 0
    #   = negative_slope · x  elsewhere
    y = slope * np.maximum(x, 0)  # maximum hands NaN on, and takes -inf to 0 (0 · -inf would be NaN)
    if negative_slope != 0:
        y = np.where(x > 0, y, negative_slope * x)
    return deliver(y, out)


@np.errstate(all="ignore")
def relu_backward(
    dy: Array, x: Array, *, slope: float = 1.0, negative_slope: float = 0.0, out: Array | None = None
) -> Array:
    """Twin of `closedform.relu_backward`."""
    # The derivative at the kink is that of the inactive side: relu'(0) = 0.
    dx = np.where(x > 0, slope * dy, negative_slope * dy)
    return deliver(dx, out)


@np.errstate(all="ignore")
def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.sigmoid`."""
    # σ(x) = 1 / (1 + e^-x) = e^x / (1 + e^x): of the two forms, the one whose exponential is at most 1.
    e = np.exp(-np.abs(x))
    return deliver(np.where(x >= 0, 1, e) / (1 + e), out)


@np.errstate(all="ignore")
def sigmoid_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.sigmoid_backward`."""
    # σ' = σ (1 - σ)
    return deliver(dy * y * (1 - y), out)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.tanh`."""
    return deliver(np.tanh(x), out)


@np.errstate(all="ignore")
def tanh_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.tanh_backward`."""
    # tanh' = 1 - tanh²(x), the square of the output. (Notes that print 1 - tanh(x²) are wrong.)
    # Factored, it keeps its relative accuracy where |y| is near 1.
    return deliver(dy * (1 - y) * (1 + y), out)


@np.errstate(all="ignore")
def softplus(x: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.softplus`."""
    # log(1 + e^x) = x + log(1 + e^-x) for x > 0: take out the positive part and nothing overflows.
    return deliver(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), out)


@np.errstate(all="ignore")
def softplus_backward(dy: Array, x: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.softplus_backward`."""
    # d/dx log(1 + e^x) = e^x / (1 + e^x) = σ(x)
    return deliver(dy * sigmoid(x), out)


# GELU is x Φ(x), with φ and Φ the density and the distribution function of the standard normal. Both are in
# float64 whatever x is: NumPy has no erf, and Python's is a double.

_erfc = np.frompyfunc(math.erfc, 1, 1)

_RSQRT2 = math.sqrt(0.5)
_RSQRT2_HIGH, _RSQRT2_LOW = 0.7071067690849304, 1.210161710447897e-08  # 1/√2: its first 24 bits, and the rest


def _density(x: Array) -> Array:
    # φ(x) = e^(-x²/2) / √(2π)
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _distribution(x: Array) -> Array:
    # Φ(x) = erfc(-x/√2) / 2, not (1 + erf(x/√2)) / 2, which cancels on the left.
    # There erfc falls like e^(-t²), which magnifies the rounding of t = x/√2 by 2t². So that rounding is
    # computed (high · high is exact) and put back to first order: dΦ/dt = √2 φ, since x = √2 t.
    x = np.clip(x, -40.0, 40.0)  # Φ is 0 or 1 beyond, in float64; infinities do not split
    x_high = x.astype(np.float32).astype(np.float64)
    x_low = x - x_high
    t = x * _RSQRT2
    t_error = (x_high * _RSQRT2_HIGH - t) + (x_high * _RSQRT2_LOW + x_low * _RSQRT2)
    erfc = np.asarray(_erfc(-t)).astype(np.float64)
    return np.asarray(0.5 * erfc + math.sqrt(2) * _density(x) * t_error)


@np.errstate(all="ignore")
def gelu(x: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.gelu`."""
    x64 = np.asarray(x, np.float64)
    y = np.where(x64 == -np.inf, 0.0, x64 * _distribution(x64))  # -inf · 0: the exponential wins
    return deliver(y.astype(x.dtype), out)


@np.errstate(all="ignore")
def gelu_backward(dy: Array, x: Array, *, out: Array | None = None) -> Array:
    """Twin of `closedform.gelu_backward`."""
    # d/dx xΦ(x) = Φ(x) + x φ(x)
    x64 = np.asarray(x, np.float64)
    derivative = _distribution(x64) + np.where(np.isinf(x64), 0.0, x64 * _density(x64))
    return deliver((dy * derivative).astype(np.result_type(dy, x)), out)
