"""Recurrent networks. T time, N batch, D input, H hidden: x (T, N, D), every state h_t, c_t (N, H).

A loop over time, forwards and back. `reverse` runs it from t = T - 1 to 0. With `lengths`, row n takes part in step t
if t < lengths[n]; what the other rows have to say at t, `x` included, is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from .._results import LSTM, RNN, Array, LSTMGradients, LSTMState, RNNGradients, deliver
from .activation import relu, relu_backward, sigmoid, tanh, tanh_backward

Outs: TypeAlias = "tuple[Array | None, ...] | None"


def _identity(x: Array) -> Array:
    return x


def _identity_backward(dy: Array, y: Array) -> Array:
    return dy


# Each function with its backward, which takes dy and the output y. Of relu, y > 0 where its input is.
ACTIVATIONS: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "tanh": (tanh, tanh_backward),
    "relu": (relu, relu_backward),
    "identity": (_identity, _identity_backward),
}


# -- RNN --


@np.errstate(all="ignore")
def rnn_step(
    x: Array, h: Array, w_x: Array, w_h: Array, b: Array | None = None, *, nonlinearity: str = "tanh"
) -> Array:
    """Twin of `closedform.rnn_step`."""
    # x (N, D), h (N, H), w_x (D, H), w_h (H, H), b (H,)  ->  h_t (N, H)
    #   h_t = φ(x_t W_x + h_{t-1} W_h + b)
    phi, _ = ACTIVATIONS[nonlinearity]
    return phi(_affine(x, h, w_x, w_h, b))


@np.errstate(all="ignore")
def rnn(
    x: Array,
    w_x: Array,
    w_h: Array,
    b: Array | None = None,
    h0: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    lengths: Array | None = None,
    reverse: bool = False,
) -> RNN:
    """Twin of `closedform.rnn`."""
    # x (T, N, D)  ->  h (T, N, H), h_last (N, H): the state after each step, and after the last
    T, N, _ = x.shape
    H = len(w_h)
    h_t = _state(h0, (N, H), x)
    h = np.zeros((T, N, H), x.dtype)
    for t in steps(T, reverse):
        rows = active(t, lengths)
        h_t[rows] = rnn_step(x[t, rows], h_t[rows], w_x, w_h, b, nonlinearity=nonlinearity)
        h[t, rows] = h_t[rows]
    return RNN(h, h_t, x, w_x, w_h, b, h0, lengths, nonlinearity, reverse)


@np.errstate(all="ignore")
def rnn_backward(dh: Array, trace: RNN, *, dh_last: Array | None = None, out: Outs = None) -> RNNGradients:
    """Twin of `closedform.rnn_backward`."""
    # dh (T, N, H), dh_last (N, H)  ->  dx (T, N, D), dw_x (D, H), dw_h (H, H), db (H,), dh0 (N, H)
    #   h_t = φ(a_t),  a_t = x_t W_x + h_{t-1} W_h + b
    # h_t reaches the loss by itself and through a_{t+1}. With δ_t the gradient of a_t, from the last step to the first,
    #   δ_t = (dh_t + δ_{t+1} W_hᵀ) * φ'(a_t)        where, for tanh, φ'(a_t) = 1 - h_t²
    # Each δ_t is multiplied by W_hᵀ, then by φ', then by W_hᵀ again: the factors alternate, and cannot be collected.
    #   dx_t = δ_t W_xᵀ    dW_x = Σ x_tᵀ δ_t    dW_h = Σ h_{t-1}ᵀ δ_t, with h_0 in the first term    db = Σ δ_t
    #   dh_0 = δ_1 W_hᵀ
    x, w_x, w_h = trace.x, trace.w_x, trace.w_h
    _, phi_backward = ACTIVATIONS[trace.nonlinearity]
    h_prev = before(trace.h, trace.h0, trace.lengths, trace.reverse)
    dh_t = _state(dh_last, trace.h.shape[1:], x)
    dx, dw_x, dw_h, db = (
        np.zeros(shape, x.dtype) for shape in (x.shape, w_x.shape, w_h.shape, w_h.shape[1:])
    )

    for t in reversed(steps(len(x), trace.reverse)):
        rows = active(t, trace.lengths)
        delta = phi_backward(dh[t, rows] + dh_t[rows], trace.h[t, rows])
        dx[t, rows] = delta @ w_x.T
        dw_x += x[t, rows].T @ delta
        dw_h += h_prev[t, rows].T @ delta
        db += delta.sum(axis=0)
        dh_t[rows] = delta @ w_h.T
    return RNNGradients(*map(deliver, (dx, dw_x, dw_h, db, dh_t), out or 5 * (None,)))


# -- LSTM. Gates side by side, in the order i, f, g, o: w_x (D, 4H), w_h (H, 4H), b (4H,) --


@np.errstate(all="ignore")
def lstm_step(
    x: Array,
    h: Array,
    c: Array,
    w_x: Array,
    w_h: Array,
    b: Array | None = None,
    *,
    cell_activation: str = "tanh",
) -> LSTMState:
    """Twin of `closedform.lstm_step`."""
    return _lstm_cell(x, h, c, w_x, w_h, b, cell_activation)[0]


def _lstm_cell(
    x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array | None, cell_activation: str
) -> tuple[LSTMState, Array]:
    # x (N, D), h, c (N, H)  ->  h_t, c_t (N, H), gates (N, 4H)
    #   [z_i z_f z_g z_o] = x_t W_x + h_{t-1} W_h + b
    #   i, f, o = σ(z_i), σ(z_f), σ(z_o)    g = φ(z_g)
    #   c_t = f c_{t-1} + i g               h_t = o φ(c_t)
    phi, _ = ACTIVATIONS[cell_activation]
    z_i, z_f, z_g, z_o = np.split(_affine(x, h, w_x, w_h, b), 4, axis=-1)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), phi(z_g), sigmoid(z_o)
    c_t = f * c + i * g
    return LSTMState(o * phi(c_t), c_t), np.concatenate((i, f, g, o), axis=-1)


@np.errstate(all="ignore")
def lstm(
    x: Array,
    w_x: Array,
    w_h: Array,
    b: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    *,
    cell_activation: str = "tanh",
    lengths: Array | None = None,
    reverse: bool = False,
) -> LSTM:
    """Twin of `closedform.lstm`."""
    # x (T, N, D)  ->  h, c (T, N, H), gates (T, N, 4H), and h_last, c_last (N, H)
    T, N, _ = x.shape
    H = len(w_h)
    h_t, c_t = _state(h0, (N, H), x), _state(c0, (N, H), x)
    h, c, gates = (np.zeros((T, N, size), x.dtype) for size in (H, H, 4 * H))
    for t in steps(T, reverse):
        rows = active(t, lengths)
        (h_t[rows], c_t[rows]), gates[t, rows] = _lstm_cell(
            x[t, rows], h_t[rows], c_t[rows], w_x, w_h, b, cell_activation
        )
        h[t, rows], c[t, rows] = h_t[rows], c_t[rows]
    return LSTM(h, h_t, c_t, c, gates, x, w_x, w_h, b, h0, c0, lengths, cell_activation, reverse)


@np.errstate(all="ignore")
def lstm_backward(
    dh: Array,
    trace: LSTM,
    *,
    dh_last: Array | None = None,
    dc_last: Array | None = None,
    out: Outs = None,
) -> LSTMGradients:
    """Twin of `closedform.lstm_backward`."""
    # dh (T, N, H), dh_last, dc_last (N, H)
    #   ->  dx (T, N, D), dw_x (D, 4H), dw_h (H, 4H), db (4H,), dh0, dc0 (N, H)
    # h_t reaches the loss by itself and through z_{t+1}; c_t through h_t and through c_{t+1}. From the last step to the
    # first, with dh_t and dc_t both sums of what arrives:
    #   h_t = o φ(c_t)           so  do = dh_t φ(c_t)      dc_t += dh_t o φ'(c_t)
    #   c_t = f c_{t-1} + i g    so  di = dc_t g           df = dc_t c_{t-1}      dg = dc_t i      dc_{t-1} = dc_t f
    #   σ' = σ (1 - σ)           so  dz_i = di i (1 - i)   dz_f, dz_o likewise    dz_g = dg φ'(z_g)
    #   z_t = x_t W_x + h_{t-1} W_h + b: the rest is as in the RNN, with dz_t for δ_t
    x, w_x, w_h = trace.x, trace.w_x, trace.w_h
    phi, phi_backward = ACTIVATIONS[trace.cell_activation]
    h_prev = before(trace.h, trace.h0, trace.lengths, trace.reverse)
    c_prev = before(trace.c, trace.c0, trace.lengths, trace.reverse)
    dh_t, dc_t = (_state(a, trace.h.shape[1:], x) for a in (dh_last, dc_last))
    dx, dw_x, dw_h, db = (
        np.zeros(shape, x.dtype) for shape in (x.shape, w_x.shape, w_h.shape, w_h.shape[1:])
    )

    for t in reversed(steps(len(x), trace.reverse)):
        rows = active(t, trace.lengths)
        i, f, g, o = np.split(trace.gates[t, rows], 4, axis=-1)
        phi_c = phi(trace.c[t, rows])
        dh_rows = dh[t, rows] + dh_t[rows]
        dc_rows = dc_t[rows] + phi_backward(dh_rows * o, phi_c)
        dz = np.concatenate(
            (
                dc_rows * g * i * (1 - i),
                dc_rows * c_prev[t, rows] * f * (1 - f),
                phi_backward(dc_rows * i, g),
                dh_rows * phi_c * o * (1 - o),
            ),
            axis=-1,
        )
        dx[t, rows] = dz @ w_x.T
        dw_x += x[t, rows].T @ dz
        dw_h += h_prev[t, rows].T @ dz
        db += dz.sum(axis=0)
        dh_t[rows], dc_t[rows] = dz @ w_h.T, dc_rows * f
    return LSTMGradients(*map(deliver, (dx, dw_x, dw_h, db, dh_t, dc_t), out or 6 * (None,)))


# -- shared --


def _affine(x: Array, h: Array, w_x: Array, w_h: Array, b: Array | None) -> Array:
    z: Array = x @ w_x + h @ w_h
    return z if b is None else z + b


def _state(given: Array | None, shape: tuple[int, ...], like: Array) -> Array:
    """A state to be carried from step to step: a copy, or zeros."""
    return np.zeros(shape, like.dtype) if given is None else given.copy()


def steps(T: int, reverse: bool) -> Sequence[int]:
    return range(T)[::-1] if reverse else range(T)


def active(t: int, lengths: Array | None) -> slice | Array:
    """An index of the rows that take part in step t."""
    return slice(None) if lengths is None else t < lengths


def before(states: Array, initial: Array | None, lengths: Array | None, reverse: bool) -> Array:
    """The state that each step starts from, (T, N, H): one step earlier, and `initial` at a row's first step."""
    T, N, _ = states.shape
    result = np.zeros_like(states)
    if not reverse:
        result[1:] = states[:-1]
        first, rows = np.zeros(N, int), np.full(N, T > 0)
    else:
        result[:-1] = states[1:]
        first = np.full(N, T) - 1 if lengths is None else lengths - 1
        rows = first >= 0
    if initial is not None:
        result[first[rows], rows] = initial[rows]
    return result
