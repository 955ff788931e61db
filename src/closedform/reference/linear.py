"""Dense layer. N batch (any number of leading axes), D input, H hidden."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from .._results import Array, DenseGradients, deliver


@np.errstate(all="ignore")
def dense(x: Array, w: Array, b: Array | None = None, *, out: Array | None = None) -> Array:
    """Twin of `closedform.dense`."""
    # x (..., D), w (D, H), b (H,)  ->  y (..., H)
    #   y_nh = Σ_d x_nd w_dh + b_h
    y = x @ w
    return deliver(y if b is None else y + b, out)


@np.errstate(all="ignore")
def dense_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    needs: Collection[str] = ("x", "w", "b"),
    out: tuple[Array | None, Array | None, Array | None] | None = None,
) -> DenseGradients:
    """Twin of `closedform.dense_backward`."""
    # dy (..., H), x (..., D), w (D, H)  ->  dx (..., D), dw (D, H), db (H,)
    #   ∂y_nh/∂x_nd = w_dh    so  dx_nd = Σ_h dy_nh w_dh
    #   ∂y_nh/∂w_dh = x_nd    so  dw_dh = Σ_n x_nd dy_nh
    #   ∂y_nh/∂b_h  = 1       so  db_h  = Σ_n dy_nh
    D, H = w.shape
    N = dy.size // H if H else x.size // max(D, 1)  # counted, because reshape(-1, 0) is ambiguous
    out_dx, out_dw, out_db = out if out is not None else (None, None, None)
    rows_x, rows_dy = x.reshape(N, D), dy.reshape(N, H)

    dx = deliver(dy @ w.T, out_dx) if "x" in needs else None
    dw = deliver(rows_x.T @ rows_dy, out_dw) if "w" in needs else None
    db = deliver(rows_dy.sum(axis=0), out_db) if "b" in needs else None
    return DenseGradients(dx, dw, db)
