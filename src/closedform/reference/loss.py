"""Losses and their gradients with respect to the prediction. N batch, K classes.

reduction: "sum", "mean", or "none". With "none" the backward is the gradient of the sum, since element i of
the loss depends on element (or row) i of the prediction alone.
"""

from __future__ import annotations

import numpy as np

from .._results import Array, CrossEntropyResult, Loss, deliver
from .activation import sigmoid, softplus
from .probability import log_softmax, softmax


def _reduced(loss: Array, reduction: str, count: float | Array) -> Loss:
    if reduction == "none":
        return loss
    total: Loss = loss.sum()
    return total / count if reduction == "mean" else total  # the mean of nothing is 0/0, NaN


def _reduced_gradient(gradient: Array, reduction: str, count: float | Array) -> Array:
    # A mean loss divides its gradient too: the 1/N that is easily forgotten.
    return gradient / count if reduction == "mean" else gradient


# -- elementwise: y_hat, z and y have one shape, any shape --


@np.errstate(all="ignore")
def squared_error(y_hat: Array, y: Array, *, reduction: str = "sum") -> Loss:
    """Twin of `closedform.squared_error`."""
    # L = Σ (ŷ - y)²
    loss = np.asarray((y_hat - y) ** 2)
    return _reduced(loss, reduction, loss.size)


@np.errstate(all="ignore")
def squared_error_backward(
    y_hat: Array, y: Array, *, reduction: str = "sum", out: Array | None = None
) -> Array:
    """Twin of `closedform.squared_error_backward`."""
    gradient = 2 * (y_hat - y)
    return deliver(_reduced_gradient(gradient, reduction, y_hat.size), out)


@np.errstate(all="ignore")
def binary_cross_entropy(y_hat: Array, y: Array, *, reduction: str = "mean") -> Loss:
    """Twin of `closedform.binary_cross_entropy`."""
    # L = -[y log ŷ + (1 - y) log(1 - ŷ)].  (Notes that print (1 - y)(1 - log ŷ) are wrong.)
    # As in PyTorch, logarithms are at least -100: a certain and wrong ŷ costs 100, and 0 · log 0 is 0.
    log_p = np.maximum(np.log(y_hat), -100)
    log_q = np.maximum(np.log1p(-y_hat), -100)
    loss = np.asarray(-(y * log_p + (1 - y) * log_q))
    return _reduced(loss, reduction, loss.size)


@np.errstate(all="ignore")
def binary_cross_entropy_backward(
    y_hat: Array, y: Array, *, reduction: str = "mean", out: Array | None = None
) -> Array:
    """Twin of `closedform.binary_cross_entropy_backward`."""
    # ∂L/∂ŷ = -y/ŷ + (1 - y)/(1 - ŷ) = (ŷ - y) / (ŷ (1 - ŷ)), the denominator at least 1e-12 as in PyTorch.
    gradient = (y_hat - y) / np.maximum(y_hat * (1 - y_hat), 1e-12)
    return deliver(_reduced_gradient(gradient, reduction, y_hat.size), out)


@np.errstate(all="ignore")
def binary_cross_entropy_with_logits(z: Array, y: Array, *, reduction: str = "mean") -> Loss:
    """Twin of `closedform.binary_cross_entropy_with_logits`."""
    # With ŷ = σ(z):  -log ŷ = log(1 + e^-z) = softplus(-z)  and  -log(1 - ŷ) = softplus(z).
    loss = np.asarray(y * softplus(-z) + (1 - y) * softplus(z))
    return _reduced(loss, reduction, loss.size)


@np.errstate(all="ignore")
def binary_cross_entropy_with_logits_backward(
    z: Array, y: Array, *, reduction: str = "mean", out: Array | None = None
) -> Array:
    """Twin of `closedform.binary_cross_entropy_with_logits_backward`."""
    # -y σ(-z) + (1 - y) σ(z) = σ(z) - y:  the ŷ (1 - ŷ) of σ' has cancelled the denominator.
    gradient = sigmoid(z) - y
    return deliver(_reduced_gradient(gradient, reduction, z.size), out)


# -- categorical: logits (N, K); target int (N,) or probabilities (N, K); weight (K,) --


def _target_matrix(
    logits: Array, target: Array, weight: Array | None, label_smoothing: float, ignore_index: int | None
) -> tuple[Array, float | Array]:
    """Any kind of target as a matrix q (N, K) such that L_n = -Σ_k q_nk log ŷ_nk; and the mean's divisor."""
    N, K = logits.shape
    w = np.ones(K, logits.dtype) if weight is None else weight
    a = label_smoothing
    if target.ndim == 2:  # probabilities: ignore_index has no meaning, and a mean is over the rows
        return w * ((1 - a) * target + a / K), N

    counts = np.ones(N, bool) if ignore_index is None else target != ignore_index
    label = np.where(counts, target, 0)  # an ignored label need not be a class
    one_hot = (label[:, None] == np.arange(K)).astype(logits.dtype)
    q = w * ((1 - a) * one_hot + a / K) * counts[:, None]
    return q, (w[label] * counts).sum()  # a mean weighs every row by its label's weight


@np.errstate(all="ignore")
def cross_entropy(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Loss:
    """Twin of `closedform.cross_entropy`."""
    # L_n = -Σ_k q_nk log ŷ_nk,  ŷ = softmax(logits)
    q, divisor = _target_matrix(logits, target, weight, label_smoothing, ignore_index)
    terms = np.where(q == 0, 0, q * log_softmax(logits))  # 0 · log 0 is 0: a logit of -inf excludes a class
    loss = -terms.sum(axis=1)
    return _reduced(loss, reduction, divisor)


@np.errstate(all="ignore")
def cross_entropy_backward(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    out: Array | None = None,
) -> Array:
    """Twin of `closedform.cross_entropy_backward`."""
    # ∂log ŷ_k/∂z_j = δ_kj - ŷ_j    so  ∂L_n/∂z_j = ŷ_j Σ_k q_k - q_j: for targets that sum to one, ŷ - y.
    q, divisor = _target_matrix(logits, target, weight, label_smoothing, ignore_index)
    mass = q.sum(axis=1, keepdims=True)
    gradient = _reduced_gradient(softmax(logits) * mass - q, reduction, divisor)
    return deliver(np.where(mass == 0, 0, gradient), out)  # an ignored row has none, whatever its logits


def cross_entropy_with_grad(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    out: Array | None = None,
) -> CrossEntropyResult:
    """Twin of `closedform.cross_entropy_with_grad`; `out` receives dlogits."""
    loss = cross_entropy(
        logits,
        target,
        weight=weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    dlogits = cross_entropy_backward(
        logits,
        target,
        weight=weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        out=out,
    )
    return CrossEntropyResult(loss, dlogits)
