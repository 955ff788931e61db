"""Dense layers."""

from __future__ import annotations

from collections.abc import Collection

from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array, DenseGradients
from ._validate import as_floats, check_out, check_outs, some_of

INPUTS = ("x", "w", "b")  # of `dense`: what has a gradient
_OUTS = ("out dx", "out dw", "out db")


def dense(x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None, *, out: Array | None = None) -> Array:
    """Dense layer: y = x @ w + b.

    Parameters
    ----------
    x : (..., D) inputs
    w : (D, H) weights, input-major
    b : (H,) bias, or None
    out : (..., H) array to write to, of the result's dtype

    Returns
    -------
    y : (..., H)

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, or a dtype that is no real number

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.1.

    >>> import closedform as cf
    >>> cf.dense([[1.0, 2.0]], [[3.0], [4.0]], [0.5])
    array([[11.5]])
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0] or (b is not None and b.shape != w.shape[1:]):
        _explain(x, w, b)
    if out is not None:
        check_out(out, x.shape[:-1] + w.shape[1:], x.dtype, x, w, b)
    if using_reference():
        return reference.dense(x, w, b, out=out)
    return _kernels.dense(x, w, b, out)


def dense_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    needs: Collection[str] = INPUTS,
    out: tuple[Array | None, Array | None, Array | None] | None = None,
) -> DenseGradients:
    """Gradients of `dense`: dx = dy @ wᵀ, dw = xᵀ @ dy, db = Σ_rows dy.

    Parameters
    ----------
    dy : (..., H) gradient of the loss with respect to y
    x : (..., D) the inputs given to `dense`
    w : (D, H) the weights given to `dense`
    needs : which gradients to compute, of "x", "w", "b"; the others are None
    out : (dx, dw, db) arrays to write to, each may be None

    Returns
    -------
    dx (..., D), dw (D, H), db (H,) : a named tuple

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, unknown names in `needs`

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.5.
    """
    dy, x, w = as_floats(dy=dy, x=x, w=w)
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        _explain(x, w, None)
    if dy.shape[:-1] != x.shape[:-1] or dy.shape[-1:] != w.shape[1:]:
        expected = x.shape[:-1] + w.shape[1:]
        raise ValueError(f"dy: expected shape {expected}, that of dense(x, w); got {dy.shape}")
    wanted = some_of("needs", needs, INPUTS)
    if out is not None:
        if not isinstance(out, tuple) or len(out) != 3:
            raise TypeError(f"out: expected a tuple (dx, dw, db); got {out!r}")
        check_outs(out, (x.shape, w.shape, w.shape[1:]), x.dtype, dy, x, w, names=_OUTS)
    if using_reference():
        return reference.dense_backward(dy, x, w, needs=wanted, out=out)
    return DenseGradients(
        *_kernels.dense_backward(dy, x, w, "x" in wanted, "w" in wanted, "b" in wanted, out)
    )


def _explain(x: Array, w: Array, b: Array | None) -> None:
    if x.ndim < 1:
        raise ValueError("x: expected shape (..., D); got a scalar")
    if w.ndim != 2 or w.shape[0] != x.shape[-1]:
        raise ValueError(
            f"w: expected shape (D, H) with D = {x.shape[-1]}, the last axis of x; got {w.shape}"
        )
    assert b is not None
    raise ValueError(f"b: expected shape (H,) with H = {w.shape[1]}, the columns of w; got {b.shape}")
