"""Recurrent networks: RNN and LSTM, whole sequences and single steps."""

from __future__ import annotations

from typing import TypeAlias

from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import LSTM, RNN, Array, LSTMGradients, LSTMState, RNNGradients
from ._sequences import as_lengths, as_step, check_gradients, expect_sequence, expect_states
from ._validate import as_flag, as_floats, expect_shape, one_of

NONLINEARITIES = ("tanh", "relu")
CELL_ACTIVATIONS = ("tanh", "identity")
Outs: TypeAlias = "tuple[Array | None, ...] | None"


def rnn(
    x: ArrayLike,
    w_x: ArrayLike,
    w_h: ArrayLike,
    b: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    nonlinearity: str = "tanh",
    lengths: ArrayLike | None = None,
    reverse: bool = False,
) -> RNN:
    """Recurrent network: h_t = φ(x_t W_x + h_{t−1} W_h + b), from t = 1 to T.

    Parameters
    ----------
    x : (T, N, D) inputs, time first
    w_x, w_h, b : (D, H), (H, H), (H,) weights; None for no bias
    h0 : (N, H) states before the first step; None for zeros
    nonlinearity : φ, "tanh" or "relu"
    lengths : (N,) integers in [0, T], the steps of each row; None for T. Nothing of x past them is read
    reverse : start at each row's last step, and end at its first

    Returns
    -------
    h : (T, N, H) the state after each step, at its place in time; 0 past a row's length
    h_last : (N, H) the state after the last step that a row takes; h0 where it takes none
    x, w_x, w_h, b, h0, lengths, nonlinearity, reverse : the arguments. All are a named tuple, which `rnn_backward`
        takes: leave the arrays as they are until then

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, lengths out of range, an unknown nonlinearity

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 10.2.

    >>> import closedform as cf
    >>> cf.rnn([[[1.0]], [[2.0]], [[-4.0]]], [[1.0]], [[0.5]], nonlinearity="relu").h.ravel()
    array([1. , 2.5, 0. ])
    """
    x, w_x, w_h, b, h0 = as_floats(x=x, w_x=w_x, w_h=w_h, b=b, h0=h0)
    expect_sequence(x, w_x, w_h, 1, b=b, h0=h0)
    relu = one_of("nonlinearity", nonlinearity, NONLINEARITIES) == "relu"
    lengths, reverse = as_lengths("lengths", lengths, x), as_flag("reverse", reverse)
    if using_reference():
        return reference.rnn(x, w_x, w_h, b, h0, nonlinearity=nonlinearity, lengths=lengths, reverse=reverse)
    h, h_last = _kernels.rnn(x, w_x, w_h, b, h0, lengths, relu, reverse)
    return RNN(h, h_last, x, w_x, w_h, b, h0, lengths, nonlinearity, reverse)


def rnn_backward(
    dh: ArrayLike, trace: RNN, *, dh_last: ArrayLike | None = None, out: Outs = None
) -> RNNGradients:
    """Gradients of `rnn`, by backpropagation through time.

    With a_t = x_t W_x + h_{t−1} W_h + b and δ_t its gradient: δ_t = (dh_t + δ_{t+1} W_hᵀ) φ'(a_t), dx_t = δ_t W_xᵀ,
    dW_x = Σ x_tᵀ δ_t, dW_h = Σ h_{t−1}ᵀ δ_t, db = Σ δ_t, dh_0 = δ_1 W_hᵀ.

    Parameters
    ----------
    dh : (T, N, H) gradient of the loss with respect to h; not read past a row's length
    trace : the result of `rnn`
    dh_last : (N, H) gradient of the loss with respect to h_last; None for zeros
    out : (dx, dw_x, dw_h, db, dh0) arrays to write to, each may be None

    Returns
    -------
    dx (T, N, D), 0 past a row's length; dw_x (D, H), dw_h (H, H), db (H,), dh0 (N, H) : a named tuple. db and dh0 are
        there for an rnn without b or h0, too

    Raises
    ------
    ValueError, TypeError : no trace, shapes that are not those of h and h_last, `out` that does not fit

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 10.2.2.
    """
    if not isinstance(trace, RNN):
        raise TypeError(f"trace: expected the result of rnn; got {type(trace).__name__}")
    fields = {f"trace.{name}": getattr(trace, name) for name in ("h", "x", "w_x", "w_h", "h0")}
    dh, dh_last, h, x, w_x, w_h, h0 = as_floats(dh=dh, dh_last=dh_last, **fields)
    expect_sequence(x, w_x, w_h, 1, "trace.", h0=h0)
    shape = (*x.shape[:2], len(w_h))
    expect_shape("trace.h", h, shape, "(T, N, H)")
    expect_shape("dh", dh, shape, "that of h")
    expect_states(shape[1:], dh_last=dh_last)
    relu = one_of("trace.nonlinearity", trace.nonlinearity, NONLINEARITIES) == "relu"
    lengths, reverse = as_lengths("trace.lengths", trace.lengths, x), as_flag("trace.reverse", trace.reverse)
    if out is not None:
        check_gradients(out, x, w_x, w_h, (h0,), dh, dh_last, h, lengths)
    if using_reference():
        checked = RNN(h, h, x, w_x, w_h, None, h0, lengths, trace.nonlinearity, reverse)
        return reference.rnn_backward(dh, checked, dh_last=dh_last, out=out)
    return RNNGradients(*_kernels.rnn_backward(dh, dh_last, h, x, w_x, w_h, h0, lengths, relu, reverse, out))


def rnn_step(
    x: ArrayLike,
    h: ArrayLike,
    w_x: ArrayLike,
    w_h: ArrayLike,
    b: ArrayLike | None = None,
    *,
    nonlinearity: str = "tanh",
) -> Array:
    """One step of `rnn`, for streams: φ(x W_x + h W_h + b).

    Parameters
    ----------
    x : (N, D) inputs of this step
    h : (N, H) states after the step before
    w_x, w_h, b : (D, H), (H, H), (H,) weights; None for no bias
    nonlinearity : φ, "tanh" or "relu"

    Returns
    -------
    h : (N, H) states after this step

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, an unknown nonlinearity

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 10.2.

    >>> import closedform as cf
    >>> cf.rnn_step([[2.0]], [[1.0]], [[1.0]], [[0.5]], nonlinearity="relu")
    array([[2.5]])
    """
    x, h, _, w_x, w_h, b = as_step(1, x, h, h, w_x, w_h, b)
    relu = one_of("nonlinearity", nonlinearity, NONLINEARITIES) == "relu"
    if using_reference():
        return reference.rnn_step(x, h, w_x, w_h, b, nonlinearity=nonlinearity)
    return _kernels.rnn_step(x, h, w_x, w_h, b, relu)


def lstm(
    x: ArrayLike,
    w_x: ArrayLike,
    w_h: ArrayLike,
    b: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    cell_activation: str = "tanh",
    lengths: ArrayLike | None = None,
    reverse: bool = False,
) -> LSTM:
    """Long short-term memory: c_t = f c_{t−1} + i g and h_t = o φ(c_t), from t = 1 to T.

    The gates are i, f, o = σ(z_i), σ(z_f), σ(z_o) and g = φ(z_g), where [z_i z_f z_g z_o] = x_t W_x + h_{t−1} W_h + b.

    Parameters
    ----------
    x : (T, N, D) inputs, time first
    w_x, w_h, b : (D, 4H), (H, 4H), (4H,) weights, of the gates i, f, g, o side by side; None for no bias
    h0, c0 : (N, H) states before the first step; None for zeros
    cell_activation : φ, "tanh" or "identity"
    lengths : (N,) integers in [0, T], the steps of each row; None for T. Nothing of x past them is read
    reverse : start at each row's last step, and end at its first

    Returns
    -------
    h : (T, N, H) the state h after each step, at its place in time; 0 past a row's length
    h_last, c_last : (N, H) the states after the last step that a row takes; h0 and c0 where it takes none
    c : (T, N, H) the state c after each step; 0 past a row's length
    gates : (T, N, 4H) i, f, g, o side by side, after their activations; 0 past a row's length
    x, w_x, w_h, b, h0, c0, lengths, cell_activation, reverse : the arguments. All are a named tuple, which
        `lstm_backward` takes: leave the arrays as they are until then. `trace.table(row, unit)` prints the gates

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, lengths out of range, an unknown cell activation

    Source: Hochreiter, Schmidhuber, Long short-term memory (1997); the gate f: Gers, Schmidhuber, Cummins, Learning to
    forget (2000).

    >>> import numpy as np, closedform as cf
    >>> w_x, b = np.array([[0.0, 0.0, 1.0, 0.0]]), np.array([50.0, 50.0, 0.0, 50.0])  # open gates: c sums x
    >>> cf.lstm([[[1.0]], [[2.0]], [[-4.0]]], w_x, np.zeros((1, 4)), b, cell_activation="identity").c.ravel()
    array([ 1.,  3., -1.])
    """
    x, w_x, w_h, b, h0, c0 = as_floats(x=x, w_x=w_x, w_h=w_h, b=b, h0=h0, c0=c0)
    expect_sequence(x, w_x, w_h, 4, b=b, h0=h0, c0=c0)
    identity = one_of("cell_activation", cell_activation, CELL_ACTIVATIONS) == "identity"
    lengths, reverse = as_lengths("lengths", lengths, x), as_flag("reverse", reverse)
    if using_reference():
        return reference.lstm(
            x, w_x, w_h, b, h0, c0, cell_activation=cell_activation, lengths=lengths, reverse=reverse
        )
    states = _kernels.lstm(x, w_x, w_h, b, h0, c0, lengths, identity, reverse)
    return LSTM(*states, x, w_x, w_h, b, h0, c0, lengths, cell_activation, reverse)


def lstm_backward(
    dh: ArrayLike,
    trace: LSTM,
    *,
    dh_last: ArrayLike | None = None,
    dc_last: ArrayLike | None = None,
    out: Outs = None,
) -> LSTMGradients:
    """Gradients of `lstm`, by backpropagation through time.

    dc_t gathers dh_t o φ'(c_t) and dc_{t+1} f_{t+1}; dz_t, of the gates, is dc_t g i(1 − i), dc_t c_{t−1} f(1 − f),
    dc_t i φ'(z_g), dh_t φ(c_t) o(1 − o) side by side; and dx_t = dz_t W_xᵀ, dh_{t−1} += dz_t W_hᵀ, dW_x = Σ x_tᵀ dz_t,
    dW_h = Σ h_{t−1}ᵀ dz_t, db = Σ dz_t.

    Parameters
    ----------
    dh : (T, N, H) gradient of the loss with respect to h; not read past a row's length
    trace : the result of `lstm`
    dh_last, dc_last : (N, H) gradients of the loss with respect to h_last and c_last; None for zeros
    out : (dx, dw_x, dw_h, db, dh0, dc0) arrays to write to, each may be None

    Returns
    -------
    dx (T, N, D), 0 past a row's length; dw_x (D, 4H), dw_h (H, 4H), db (4H,), dh0 (N, H), dc0 (N, H) : a named tuple.
        db, dh0 and dc0 are there for an lstm without b, h0 or c0, too

    Raises
    ------
    ValueError, TypeError : no trace, shapes that are not those of h and its last, `out` that does not fit

    Source: Graves, Schmidhuber, Framewise phoneme classification with bidirectional LSTM (2005), appendix A, without
    peepholes.
    """
    if not isinstance(trace, LSTM):
        raise TypeError(f"trace: expected the result of lstm; got {type(trace).__name__}")
    names = ("c", "gates", "h", "x", "w_x", "w_h", "h0", "c0")
    fields = {f"trace.{name}": getattr(trace, name) for name in names}
    dh, dh_last, dc_last, c, gates, h, x, w_x, w_h, h0, c0 = as_floats(
        dh=dh, dh_last=dh_last, dc_last=dc_last, **fields
    )
    expect_sequence(x, w_x, w_h, 4, "trace.", h0=h0, c0=c0)
    T, N, H = shape = (*x.shape[:2], len(w_h))
    expect_shape("trace.h", h, shape, "(T, N, H)")
    expect_shape("trace.c", c, shape, "(T, N, H)")
    expect_shape("trace.gates", gates, (T, N, 4 * H), "(T, N, 4H)")
    expect_shape("dh", dh, shape, "that of h")
    expect_states((N, H), dh_last=dh_last, dc_last=dc_last)
    identity = one_of("trace.cell_activation", trace.cell_activation, CELL_ACTIVATIONS) == "identity"
    lengths, reverse = as_lengths("trace.lengths", trace.lengths, x), as_flag("trace.reverse", trace.reverse)
    if out is not None:
        check_gradients(out, x, w_x, w_h, (h0, c0), dh, dh_last, dc_last, h, c, gates, lengths)
    if using_reference():
        checked = LSTM(h, h, c, c, gates, x, w_x, w_h, None, h0, c0, lengths, trace.cell_activation, reverse)
        return reference.lstm_backward(dh, checked, dh_last=dh_last, dc_last=dc_last, out=out)
    return LSTMGradients(
        *_kernels.lstm_backward(
            dh, dh_last, dc_last, c, gates, h, x, w_x, w_h, h0, c0, lengths, identity, reverse, out
        )
    )


def lstm_step(
    x: ArrayLike,
    h: ArrayLike,
    c: ArrayLike,
    w_x: ArrayLike,
    w_h: ArrayLike,
    b: ArrayLike | None = None,
    *,
    cell_activation: str = "tanh",
) -> LSTMState:
    """One step of `lstm`, for streams.

    Parameters
    ----------
    x : (N, D) inputs of this step
    h, c : (N, H) states after the step before
    w_x, w_h, b : (D, 4H), (H, 4H), (4H,) weights, of the gates i, f, g, o side by side; None for no bias
    cell_activation : φ, "tanh" or "identity"

    Returns
    -------
    h, c : (N, H) states after this step, a named tuple

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, an unknown cell activation

    Source: as `lstm`.

    >>> import numpy as np, closedform as cf
    >>> w_x, b = np.array([[0.0, 0.0, 1.0, 0.0]]), np.array([50.0, 50.0, 0.0, 50.0])
    >>> cf.lstm_step([[2.0]], [[0.0]], [[1.0]], w_x, np.zeros((1, 4)), b, cell_activation="identity")
    LSTMState(h=array([[3.]]), c=array([[3.]]))
    """
    x, h, c, w_x, w_h, b = as_step(4, x, h, c, w_x, w_h, b)
    identity = one_of("cell_activation", cell_activation, CELL_ACTIVATIONS) == "identity"
    if using_reference():
        return reference.lstm_step(x, h, c, w_x, w_h, b, cell_activation=cell_activation)
    return LSTMState(*_kernels.lstm_step(x, h, c, w_x, w_h, b, identity))
