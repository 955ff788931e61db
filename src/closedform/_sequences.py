"""Sequences, states and weights of recurrent networks, checked.

T time, N batch, D input, H hidden, G gates: 1 of an RNN, 4 of an LSTM.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _kernels
from ._results import Array
from ._validate import as_array, as_floats, check_outs, expect_shape

_GRADIENTS = ("dx", "dw_x", "dw_h", "db", "dh0", "dc0")


def expect_sequence(
    x: Array,
    w_x: Array,
    w_h: Array,
    G: int,
    prefix: str = "",
    b: Array | None = None,
    **states: Array | None,
) -> None:
    """x (T, N, D), w_x (D, GH), w_h (H, GH), b (GH,), states (N, H)."""
    if x.ndim != 3:
        raise ValueError(f"{prefix}x: expected shape (T, N, D); got {x.shape}")
    _expect_weights(x, w_x, w_h, b, G, prefix)
    expect_states((x.shape[1], len(w_h)), prefix, **states)


def as_step(G: int, x: Any, h: Any, c: Any, w_x: Any, w_h: Any, b: Any) -> tuple[Any, ...]:
    """x (N, D), h, c (N, H), w_x (D, GH), w_h (H, GH), b (GH,) as arrays of one dtype."""
    if _kernels.can_step(G, x, h, c, w_x, w_h, b):  # the common case: a small step takes only microseconds
        return x, h, c, w_x, w_h, b
    x, h, c, w_x, w_h, b = as_floats(x=x, h=h, c=c, w_x=w_x, w_h=w_h, b=b)
    if x.ndim != 2:
        raise ValueError(f"x: expected shape (N, D); got {x.shape}")
    _expect_weights(x, w_x, w_h, b, G)
    expect_states((x.shape[0], len(w_h)), h=h, c=c)
    return x, h, c, w_x, w_h, b


def _expect_weights(x: Array, w_x: Array, w_h: Array, b: Array | None, G: int, prefix: str = "") -> None:
    columns = "H" if G == 1 else f"{G}H"
    if w_h.ndim != 2 or w_h.shape[1] != G * w_h.shape[0]:
        raise ValueError(f"{prefix}w_h: expected shape (H, {columns}); got {w_h.shape}")
    D, width = x.shape[-1], w_h.shape[1]
    expect_shape(f"{prefix}w_x", w_x, (D, width), f"(D, {columns}) with D of x and H of w_h")
    if b is not None:
        expect_shape(f"{prefix}b", b, (width,), f"({columns},)")


def expect_states(shape: tuple[int, ...], prefix: str = "", **states: Array | None) -> None:
    for name, a in states.items():
        if a is not None:
            expect_shape(f"{prefix}{name}", a, shape, "(N, H)")


def as_lengths(name: str, value: Any, x: Array) -> Array | None:
    """Integers in [0, T], one for each row, as int64."""
    if value is None:
        return None
    T, N, _ = x.shape
    lengths = as_array(name, value)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers; got dtype {lengths.dtype}")
    expect_shape(name, lengths, (N,), "one length for each row")
    wrong = (lengths < 0) | (lengths > T)
    if wrong.any():
        raise ValueError(f"{name}: expected integers in [0, {T}], the steps of x; got {lengths[wrong][0]}")
    return np.ascontiguousarray(lengths, np.int64)


def check_gradients(
    out: Any, x: Array, w_x: Array, w_h: Array, states: tuple[Array | None, ...], *others: Array | None
) -> None:
    """`out` of a backward: dx, dw_x, dw_h, db, and the gradient of each state."""
    names = _GRADIENTS[: 4 + len(states)]
    if not isinstance(out, tuple) or len(out) != len(names):
        raise TypeError(f"out: expected a tuple ({', '.join(names)}); got {out!r}")
    state = (x.shape[1], len(w_h))
    shapes = (x.shape, w_x.shape, w_h.shape, w_h.shape[1:], *(state for _ in states))
    inputs = [a for a in (x, w_x, w_h, *states, *others) if a is not None]
    check_outs(out, shapes, x.dtype, *inputs, names=tuple(f"out {name}" for name in names))
