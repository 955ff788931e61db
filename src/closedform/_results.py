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
