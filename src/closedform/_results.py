"""How results leave an op: the named tuples, and `out=`. Shared by the compiled floor and the NumPy twins."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]  # float32 or float64 (integers for class labels): the wrappers see to that
Loss: TypeAlias = "np.floating[Any] | NDArray[Any]"  # a scalar; with reduction="none", an array


class DenseGradients(NamedTuple):
    """Gradients of `dense`; None for one that `needs` left out."""

    dx: Array | None
    dw: Array | None
    db: Array | None


class ConvolutionGradients(NamedTuple):
    """Gradients of `conv2d`; None for one that `needs` left out."""

    dx: Array | None
    dw: Array | None
    db: Array | None


class MaxPool2d(NamedTuple):
    """What `max_pool2d` computes and its backward needs.

    y (N, H', W', C); argmax (N, H', W', C), int64: the pixel that each maximum came from, as h · W + w in the image;
    x_shape (N, H, W, C).
    """

    y: Array
    argmax: Array
    x_shape: tuple[int, ...]


class BatchNorm(NamedTuple):
    """What `batchnorm` computes and its backward needs: y, and mean and rstd = 1/√(σ² + ε) of each channel, (C,).

    x and gamma are the arguments themselves, not copies.
    """

    y: Array
    mean: Array
    rstd: Array
    x: Array
    gamma: Array


class BatchNormGradients(NamedTuple):
    """Gradients of `batchnorm`."""

    dx: Array
    dgamma: Array
    dbeta: Array


class RNN(NamedTuple):
    """What `rnn` computes, and its backward needs: h (T, N, H), the state after each step, and h_last (N, H).

    The other fields are the arguments themselves, not copies.
    """

    h: Array
    h_last: Array
    x: Array
    w_x: Array
    w_h: Array
    b: Array | None
    h0: Array | None
    lengths: Array | None
    nonlinearity: str
    reverse: bool


class RNNGradients(NamedTuple):
    """Gradients of `rnn`."""

    dx: Array
    dw_x: Array
    dw_h: Array
    db: Array
    dh0: Array


class LSTM(NamedTuple):
    """What `lstm` computes, and its backward needs.

    h, c (T, N, H), the states after each step; h_last, c_last (N, H); gates (T, N, 4H), after their activations, in the
    order i, f, g, o. The other fields are the arguments themselves, not copies.
    """

    h: Array
    h_last: Array
    c_last: Array
    c: Array
    gates: Array
    x: Array
    w_x: Array
    w_h: Array
    b: Array | None
    h0: Array | None
    c0: Array | None
    lengths: Array | None
    cell_activation: str
    reverse: bool


class LSTMGradients(NamedTuple):
    """Gradients of `lstm`."""

    dx: Array
    dw_x: Array
    dw_h: Array
    db: Array
    dh0: Array
    dc0: Array


class LSTMState(NamedTuple):
    """The states after a step, (N, H) each, from `lstm_step`."""

    h: Array
    c: Array


class Covariance(NamedTuple):
    """Mean (D,) and covariance (D, D) of rows, from `covariance`."""

    mean: Array
    cov: Array


class CrossEntropyResult(NamedTuple):
    """Loss and gradient of `cross_entropy_with_grad`."""

    loss: Loss
    dlogits: Array


def deliver(result: ArrayLike, out: Array | None) -> Array:
    """Return `result` as an array or, where `out` is given, copy it there and return `out`."""
    if out is None:
        return np.asarray(result)
    out[...] = result
    return out
