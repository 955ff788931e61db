"""Losses and their gradients with respect to the prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array, CrossEntropyResult, Loss
from ._validate import (
    REDUCTIONS,
    as_array,
    as_floats,
    as_integer,
    as_labels,
    as_number,
    check_out,
    expect_shape,
    one_of,
    same_shape,
)


def squared_error(y_hat: ArrayLike, y: ArrayLike, *, reduction: str = "sum") -> Loss:
    """Squared error: ‖ŷ − y‖².

    Parameters
    ----------
    y_hat : predictions, any shape
    y : targets, the same shape
    reduction : "sum", "mean" (over all elements) or "none"

    Returns
    -------
    loss : a scalar of the arguments' dtype; with "none" an array

    Raises
    ------
    ValueError, TypeError : shapes that differ, unknown reduction

    Source: Bishop, Pattern Recognition and Machine Learning (2006), section 1.1.
    """
    y_hat, y = as_floats(y_hat=y_hat, y=y)
    same_shape(y_hat=y_hat, y=y)
    return _elementwise(_kernels.squared_error, reference.squared_error, y_hat, y, reduction)


def squared_error_backward(
    y_hat: ArrayLike, y: ArrayLike, *, reduction: str = "sum", out: Array | None = None
) -> Array:
    """Gradient of `squared_error` with respect to ŷ: 2(ŷ − y), divided by the number of elements for "mean".

    Parameters, errors: as `squared_error`; `out` is an array to write to. With "none": of the elements' sum.
    """
    y_hat, y = as_floats(y_hat=y_hat, y=y)
    same_shape(y_hat=y_hat, y=y)
    kernel, twin = _kernels.squared_error_backward, reference.squared_error_backward
    return _elementwise_backward(kernel, twin, y_hat, y, reduction, out)


def binary_cross_entropy(y_hat: ArrayLike, y: ArrayLike, *, reduction: str = "mean") -> Loss:
    """Binary cross-entropy of probabilities: −(y log ŷ + (1 − y) log(1 − ŷ)).

    Parameters
    ----------
    y_hat : predicted probabilities in [0, 1], any shape
    y : targets in [0, 1], the same shape
    reduction : "mean" (over all elements), "sum" or "none"

    Returns
    -------
    loss : a scalar of the arguments' dtype; with "none" an array

    Raises
    ------
    ValueError, TypeError : shapes that differ, values outside [0, 1], unknown reduction

    The logarithms are at least −100, as in PyTorch: a certain and wrong ŷ costs 100. From logits,
    `binary_cross_entropy_with_logits` loses nothing. (1 − y)(1 − log ŷ), which circulates, is a slip.
    Source: Bishop, Pattern Recognition and Machine Learning (2006), section 4.3.2.
    """
    y_hat, y = as_floats(y_hat=y_hat, y=y)
    same_shape(y_hat=y_hat, y=y)
    _expect_unit("y_hat", y_hat)
    _expect_unit("y", y)
    return _elementwise(_kernels.binary_cross_entropy, reference.binary_cross_entropy, y_hat, y, reduction)


def binary_cross_entropy_backward(
    y_hat: ArrayLike, y: ArrayLike, *, reduction: str = "mean", out: Array | None = None
) -> Array:
    """Gradient of `binary_cross_entropy` with respect to ŷ: (ŷ − y) / (ŷ (1 − ŷ)), the denominator at least 1e-12.

    Parameters, errors: as `binary_cross_entropy`; `out` is an array to write to. "mean" divides by the number of
    elements; "none" gives the gradient of the elements' sum.
    """
    y_hat, y = as_floats(y_hat=y_hat, y=y)
    same_shape(y_hat=y_hat, y=y)
    _expect_unit("y_hat", y_hat)
    _expect_unit("y", y)
    kernel, twin = _kernels.binary_cross_entropy_backward, reference.binary_cross_entropy_backward
    return _elementwise_backward(kernel, twin, y_hat, y, reduction, out)


def binary_cross_entropy_with_logits(z: ArrayLike, y: ArrayLike, *, reduction: str = "mean") -> Loss:
    """Binary cross-entropy of logits, ŷ = σ(z): y softplus(−z) + (1 − y) softplus(z).

    Parameters
    ----------
    z : logits, any shape
    y : targets in [0, 1], the same shape
    reduction : "mean" (over all elements), "sum" or "none"

    Returns
    -------
    loss : a scalar of the arguments' dtype; with "none" an array

    Raises
    ------
    ValueError, TypeError : shapes that differ, targets outside [0, 1], unknown reduction
    """
    z, y = as_floats(z=z, y=y)
    same_shape(z=z, y=y)
    _expect_unit("y", y)
    kernel, twin = _kernels.binary_cross_entropy_with_logits, reference.binary_cross_entropy_with_logits
    return _elementwise(kernel, twin, z, y, reduction)


def binary_cross_entropy_with_logits_backward(
    z: ArrayLike, y: ArrayLike, *, reduction: str = "mean", out: Array | None = None
) -> Array:
    """Gradient of `binary_cross_entropy_with_logits` with respect to z: σ(z) − y.

    Parameters, errors: as `binary_cross_entropy_with_logits`; `out` is an array to write to. "mean" divides by the
    number of elements; "none" gives the gradient of the elements' sum.
    """
    z, y = as_floats(z=z, y=y)
    same_shape(z=z, y=y)
    _expect_unit("y", y)
    kernel = _kernels.binary_cross_entropy_with_logits_backward
    twin = reference.binary_cross_entropy_with_logits_backward
    return _elementwise_backward(kernel, twin, z, y, reduction, out)


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Loss:
    """Cross-entropy of softmax(logits) against class indices or probabilities.

    Parameters
    ----------
    logits : (N, K)
    target : (N,) integer class indices, or (N, K) probabilities
    weight : (K,) weights of the classes, or None
    label_smoothing : a in [0, 1]: targets become (1 − a) target + a / K
    ignore_index : a class index whose rows do not count (with class indices only), or None
    reduction : "mean", "sum" or "none". With class indices the mean is over Σ_n weight[target_n], the ignored rows
        left out; with probabilities over N

    Returns
    -------
    loss : −Σ_k target_k log S_k of each row, reduced; a scalar of the logits' dtype; with "none" (N,)

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, class indices outside [0, K), unknown reduction

    Source: Bishop, Pattern Recognition and Machine Learning (2006), section 4.3.4; smoothing: Szegedy et al.,
    arXiv 1512.00567 (2015). Options as in PyTorch's `cross_entropy`.

    >>> import closedform as cf
    >>> float(cf.cross_entropy([[0.0, 0.0]], [1]))  # log 2
    0.6931471805599453
    """
    a = _CrossEntropy(logits, target, weight, label_smoothing, ignore_index, reduction)
    if using_reference():
        return reference.cross_entropy(a.logits, a.target, **a.options)
    return a.scalar(a.run(with_grad=False)[0])


def cross_entropy_backward(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    out: Array | None = None,
) -> Array:
    """Gradient of `cross_entropy` with respect to the logits: S Σ_k target_k − target, which is ŷ − y for targets
    that sum to one; divided as the reduction divides.

    Parameters, errors: as `cross_entropy`; `out` is an (N, K) array to write to. With "none": of the rows' sum.
    """
    a = _CrossEntropy(logits, target, weight, label_smoothing, ignore_index, reduction)
    a.check_out(out)
    if using_reference():
        return reference.cross_entropy_backward(a.logits, a.target, **a.options, out=out)
    dlogits: Array = a.run(with_grad=True, out=out)[1]
    return dlogits


def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    out: Array | None = None,
) -> CrossEntropyResult:
    """`cross_entropy` and its gradient in one sweep over the logits: (loss, dlogits).

    Parameters, errors: as `cross_entropy`; `out` is an (N, K) array for dlogits.
    """
    a = _CrossEntropy(logits, target, weight, label_smoothing, ignore_index, reduction)
    a.check_out(out)
    if using_reference():
        return reference.cross_entropy_with_grad(a.logits, a.target, **a.options, out=out)
    loss, dlogits = a.run(with_grad=True, out=out)
    return CrossEntropyResult(a.scalar(loss), dlogits)


class _CrossEntropy:
    """The validated arguments of the three functions above."""

    def __init__(
        self, logits: Any, target: Any, weight: Any, label_smoothing: Any, ignore_index: Any, reduction: Any
    ) -> None:
        target = as_array("target", target)
        soft = target.ndim == 2
        logits, weight, probabilities = as_floats(
            logits=logits, weight=weight, target=target if soft else None
        )
        if logits.ndim != 2 or logits.shape[1] == 0:
            raise ValueError(f"logits: expected shape (N, K) with at least one class; got {logits.shape}")
        N, K = logits.shape
        if weight is not None:
            expect_shape("weight", weight, (K,), "one a class")
        if soft:
            expect_shape("target", probabilities, (N, K), "that of the logits")
            if ignore_index is not None:
                raise ValueError("ignore_index: expected None, since the targets are probabilities")
        else:
            target = as_labels("target", target)
            expect_shape(
                "target", target, (N,), "a class index for each row of the logits, or (N, K) probabilities"
            )
            ignore_index = _check_labels(target, K, ignore_index)
        self.logits: Array = logits
        self.target: Array = probabilities if soft else target
        self.options = {
            "weight": weight,
            "label_smoothing": as_number("label_smoothing", label_smoothing, low=0, high=1),
            "ignore_index": ignore_index,
            "reduction": one_of("reduction", reduction, REDUCTIONS),
        }

    def check_out(self, out: Array | None) -> None:
        check_out(out, self.logits.shape, self.logits.dtype, self.logits, self.target, self.options["weight"])

    def run(self, *, with_grad: bool, out: Array | None = None) -> tuple[Any, Any]:
        o = self.options
        each = o["reduction"] == "none"
        scale = _inverse(self._divisor()) if o["reduction"] == "mean" else 1.0
        return _kernels.cross_entropy(
            self.logits,
            self.target,
            o["weight"],
            o["label_smoothing"],
            o["ignore_index"],
            scale,
            each,
            with_grad,
            out,
        )

    def _divisor(self) -> float:
        """What the mean divides by: the rows, or for class indices the sum of their labels' weights."""
        weight, ignore = self.options["weight"], self.options["ignore_index"]
        if self.target.ndim == 2 or (weight is None and ignore is None):
            return len(self.target)
        labels = self.target if ignore is None else self.target[self.target != ignore]
        return float(len(labels) if weight is None else weight[labels].sum(dtype=np.float64))

    def scalar(self, loss: Any) -> Loss:
        result: Loss = self.logits.dtype.type(loss) if isinstance(loss, float) else loss
        return result


def _check_labels(target: Array, K: int, ignore_index: Any) -> int | None:
    if ignore_index is not None:
        ignore_index = as_integer("ignore_index", ignore_index)
        if not -(2**63) <= ignore_index < 2**63:
            raise ValueError(f"ignore_index: expected an integer of 64 bits; got {ignore_index}")
    row = _kernels.first_bad_label(target, K, ignore_index)
    if row >= 0:
        raise ValueError(f"target: expected class indices in [0, {K}); got {target[row]} in row {row}")
    return ignore_index


def _inverse(divisor: float) -> float:
    return 1 / divisor if divisor else float("inf")  # a mean over nothing: 0 · inf is NaN, as 0 / 0


def _expect_unit(name: str, a: Array) -> None:
    i = _kernels.first_outside(a, 0.0, 1.0)
    if i >= 0:
        raise ValueError(f"{name}: expected values in [0, 1]; got {a.flat[i]} at flat index {i}")


def _elementwise(
    kernel: Callable[..., Any], twin: Callable[..., Loss], y_hat: Array, y: Array, reduction: str
) -> Loss:
    one_of("reduction", reduction, REDUCTIONS)
    if using_reference():
        return twin(y_hat, y, reduction=reduction)
    scale = _inverse(y_hat.size) if reduction == "mean" else 1.0
    loss: Loss = kernel(y_hat, y, scale, reduction == "none")
    return loss if reduction == "none" else y_hat.dtype.type(loss)


def _elementwise_backward(
    kernel: Callable[..., Array],
    twin: Callable[..., Array],
    y_hat: Array,
    y: Array,
    reduction: str,
    out: Array | None,
) -> Array:
    one_of("reduction", reduction, REDUCTIONS)
    check_out(out, y_hat.shape, y_hat.dtype, y_hat, y)
    if using_reference():
        return twin(y_hat, y, reduction=reduction, out=out)
    return kernel(y_hat, y, _inverse(y_hat.size) if reduction == "mean" else 1.0, out)
