"""How far rounding takes a recurrent network, step by step: the scales of its errors, in units of eps.

Running error analysis: every number carries a bound of its error to first order, made of what its own rounding adds and
of what the errors of its arguments become. A step adds to the errors of the state before it, and |W_h| and the slopes
of the activations shrink them. N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import reference
from .._results import LSTM, RNN, Array
from ..reference.recurrent import ACTIVATIONS, active, before, steps
from .op import Call


def rnn_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    """Of h and h_last."""
    trace = reference.rnn(*call.args, **call.options)
    slope = ACTIVATIONS[trace.nonlinearity][1](np.ones_like(trace.h), trace.h)
    terms, w_h = _terms(trace), np.abs(trace.w_h)
    e_h, e_t = np.zeros_like(trace.h), np.zeros_like(trace.h_last)
    for t in steps(len(trace.x), trace.reverse):
        rows = active(t, trace.lengths)
        e_z = terms[t, rows] + e_t[rows] @ w_h
        e_h[t, rows] = e_t[rows] = _finite(slope[t, rows] * e_z) + np.abs(trace.h[t, rows])
    return e_h, e_t


def lstm_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    """Of h, h_last, c_last, c and gates."""
    trace = reference.lstm(*call.args, **call.options)
    phi, phi_backward = ACTIVATIONS[trace.cell_activation]
    terms, w_h = _terms(trace), np.abs(trace.w_h)
    c_prev = np.abs(before(trace.c, trace.c0, trace.lengths, trace.reverse))
    e_h, e_c, e_gates = (np.zeros_like(a) for a in (trace.h, trace.c, trace.gates))
    e_ht, e_ct = np.zeros_like(trace.h_last), np.zeros_like(trace.c_last)
    for t in steps(len(trace.x), trace.reverse):
        rows = active(t, trace.lengths)
        i, f, g, o = np.split(trace.gates[t, rows], 4, axis=-1)
        phi_c = phi(trace.c[t, rows])
        slopes = i * (1 - i), f * (1 - f), phi_backward(np.ones_like(g), g), o * (1 - o)
        e_z = terms[t, rows] + e_ht[rows] @ w_h
        e_gate = _finite(np.concatenate(slopes, axis=-1) * e_z) + np.abs(trace.gates[t, rows])
        e_i, e_f, e_g, e_o = np.split(e_gate, 4, axis=-1)
        of_old = f * e_ct[rows] + c_prev[t, rows] * (e_f + f)
        e_c[t, rows] = e_ct[rows] = _finite(of_old + np.abs(g) * (e_i + i) + i * e_g)
        of_cell = o * phi_backward(e_ct[rows], phi_c)
        e_h[t, rows] = e_ht[rows] = _finite(of_cell + np.abs(phi_c) * (e_o + o))
        e_gates[t, rows] = e_gate
    return e_h, e_ht, e_ct, e_c, e_gates


def rnn_step_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    x, h, w_x, w_h, *b = call.args
    sequence = Call("", (x[None], w_x, w_h, *(b or [None]), h), call.options)
    return rnn_scale(sequence, want)[1:]


def lstm_step_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    x, h, c, w_x, w_h, *b = call.args
    sequence = Call("", (x[None], w_x, w_h, *(b or [None]), h, c), call.options)
    return lstm_scale(sequence, want)[1:3]


# A backward is linear in dh and adds products alone, so its errors are in proportion to the terms: to what comes out
# when every number is replaced by its size. Gates and slopes are positive.


def rnn_backward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    dh, trace = call.args
    last = {name: np.abs(a) for name, a in call.options.items()}
    gradients: tuple[Array, ...] = reference.rnn_backward(np.abs(dh), _absolute(trace), **last)
    return gradients


def lstm_backward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    """Not the twin itself: φ'(c) is 1 − φ(c)² of a rounded φ(c), and known to eps, not to eps of itself."""
    dh, trace = np.abs(call.args[0]), _absolute(call.args[1])
    phi, phi_backward = ACTIVATIONS[trace.cell_activation]
    h_prev = before(trace.h, trace.h0, trace.lengths, trace.reverse)
    c_prev = before(trace.c, trace.c0, trace.lengths, trace.reverse)
    zeros = np.zeros_like(trace.h_last)
    dh_t, dc_t = (np.abs(call.options.get(name, zeros)) for name in ("dh_last", "dc_last"))
    dz = np.zeros_like(trace.gates)
    for t in reversed(steps(len(trace.x), trace.reverse)):
        rows = active(t, trace.lengths)
        i, f, g, o = np.split(trace.gates[t, rows], 4, axis=-1)
        dh_rows = dh[t, rows] + dh_t[rows]
        dc_rows = dc_t[rows] + dh_rows * o
        of_gates = (
            dc_rows * g * i * (1 - i),
            dc_rows * c_prev[t, rows] * f * (1 - f),
            phi_backward(dc_rows * i, g),
            dh_rows * phi(trace.c[t, rows]) * o * (1 - o),
        )
        dz[t, rows] = np.concatenate(of_gates, axis=-1)
        dh_t[rows], dc_t[rows] = dz[t, rows] @ trace.w_h.T, dc_rows * f
    x = np.where(np.any(dz != 0, axis=-1, keepdims=True), trace.x, 0)  # nothing past a row's length
    dw_x, dw_h = (np.tensordot(a, dz, axes=((0, 1), (0, 1))) for a in (x, h_prev))
    return dz @ trace.w_x.T, dw_x, dw_h, dz.sum(axis=(0, 1)), dh_t, dc_t


def _absolute(trace: Any) -> Any:
    return type(trace)(*(np.abs(a) if isinstance(a, np.ndarray) else a for a in trace))


def _terms(trace: RNN | LSTM) -> Array:
    """The terms of z, |x_t| |W_x| + |h_{t-1}| |W_h| + |b|."""
    h_prev = np.abs(before(trace.h, trace.h0, trace.lengths, trace.reverse))
    terms: Array = np.abs(trace.x) @ np.abs(trace.w_x) + h_prev @ np.abs(trace.w_h)
    return terms if trace.b is None else terms + np.abs(trace.b)


def _finite(errors: Array) -> Array:
    """What is infinite or NaN is so exactly, and where it saturates an activation nothing is left of its error."""
    return np.nan_to_num(errors, nan=0, posinf=0)
