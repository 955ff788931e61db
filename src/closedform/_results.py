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

    def table(self, row: int = 0, unit: int = 0) -> str:
        """The gates of one unit at every step of one row, in the order of the steps, as textbooks print them.

        f(z) is the sigmoid, g the cell activation of z_g, and y is h. The z are computed again from x, h and the
        weights: a saturated gate no longer tells its own.
        """
        T, N, H = self.h.shape
        for name, value, size in (("row", row, N), ("unit", unit, H)):
            if value not in range(size):
                raise ValueError(f"{name}: expected an integer in [0, {size}); got {value!r}")
        steps = np.arange(T if self.lengths is None else self.lengths[row])
        if self.reverse:
            steps = steps[::-1]
        h = self.h[steps, row]
        h_prev = np.zeros_like(h)
        h_prev[1:] = h[:-1]
        h_prev[:1] = 0 if self.h0 is None else self.h0[row]
        columns = unit + H * np.arange(4)
        z = self.x[steps, row] @ self.w_x[:, columns] + h_prev @ self.w_h[:, columns]
        z_i, z_f, z_g, z_o = (z if self.b is None else z + self.b[columns]).T
        i, f, g, o = self.gates[steps, row][:, columns].T
        numbers = {
            "z_i": z_i, "f(z_i)": i, "z_f": z_f, "f(z_f)": f, "z_o": z_o, "f(z_o)": o, "z_g": z_g, "g": g,
            "c": self.c[steps, row, unit], "y": h[:, unit],
        }  # fmt: skip
        cells = [["t", *map(str, steps)], *([n, *(f"{v:.3f}" for v in a)] for n, a in numbers.items())]
        widths = [max(map(len, column)) for column in cells]
        lines = zip(*cells, strict=True)
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


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


class ExtremeTrace(NamedTuple):
    """An extreme of tr(ΦᵀΣΦ), and the orthonormal Φ (m, k) that has it, from `extreme_trace`."""

    value: np.floating[Any]
    phi: Array


class EStep(NamedTuple):
    """log p(x_i) (N,) and responsibilities (N, K) of samples, from `gmm_e_step`."""

    log_likelihood: Array
    responsibilities: Array


class MStep(NamedTuple):
    """The parameters of a mixture, from `gmm_m_step`: weights (K,), means (K, D), and covariances of the given type.

    Covariances are full (K, D, D), tied (D, D), diag (K, D) or spherical (K,).
    """

    weights: Array
    means: Array
    covariances: Array


class EMStep(NamedTuple):
    """What `gmm_em_step` computes: the mean log-likelihood of the parameters it was given, and the next ones."""

    log_likelihood: np.floating[Any]
    weights: Array
    means: Array
    covariances: Array


class Stump(NamedTuple):
    """A decision stump, from `find_stump`: x[feature] <= threshold goes left. Each side predicts its class; error is
    the weight of those it has wrong, as a share of all."""

    feature: int
    threshold: float
    left_class: int
    right_class: int
    error: float


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
