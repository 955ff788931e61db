"""The recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._results import Array
from .._validate import as_number, one_of
from ..recurrent import lstm, lstm_backward, lstm_step, rnn, rnn_backward, rnn_step
from .cells import Cell, States
from .recurrent_base import Recurrent


class RNN(Recurrent):
    """Recurrent layer: h_t = φ(x_t @ w_x + h_{t−1} @ w_h + b), with h_0 = 0: `cf.rnn`.

    Parameters
    ----------
    input_size, hidden_size : D and H
    num_layers : layers, one on top of the other
    nonlinearity : φ, "tanh" or "relu"
    bias : whether there is a b
    dropout : the share of entries set to 0 between layers, in training
    bidirectional : a second cell a layer reads each row from its end to its beginning; y has both, side by side: 2H
    batch_first : x and y are (N, T, ...) instead of (T, N, ...), as `fit` wants them
    carry : in training start from the state that the last forward in training ended with, for truncated
        backpropagation through time. Gradients end where a call begins. `reset_carried()` starts a new sequence
    init : how w_x and w_h are drawn: "glorot" (normal, variance 2/(D + H) and 1/H), "he", "zeros". b starts at 0
    dtype : float32 or float64, of the parameters and so of the computation: inputs are converted to it
    seed : an int, a NumPy Generator, or None for a fresh one

    Attributes
    ----------
    carried, dcarried : the state carried from call to call, which may be set, and the gradient of the one that the
        last forward in training started from: tuples of one array (layers, N, H), with two a layer if bidirectional
    trace : of the last forward in training, as `cf.rnn` returns it for the last layer

    x is (T, N, D), y (T, N, H). Parameters are named "w_x", "w_h", "b", with "reverse." in front for the backward
    direction, and the number of the layer in front of that if there are several: "1.reverse.w_x".
    Inference, `forward(x)`, starts at zero and carries nothing; `step(x)` takes a stream step by step; `lengths=` says
    how many steps of each row count. `from_torch_state` and `to_torch_state` exchange weights with PyTorch. Raises
    ValueError or TypeError naming the argument that does not fit.
    Gradients: `cf.rnn_backward`, layer by layer.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), sections 10.2, 10.3 and 10.5.

    >>> from closedform import nn
    >>> layer = nn.RNN(4, 3, num_layers=2, seed=0)
    >>> layer, layer.n_parameters
    (RNN(4, 3, num_layers=2), 45)
    """

    own_options = {"nonlinearity": "tanh"}  # noqa: RUF012

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        batch_first: bool = False,
        carry: bool = False,
        init: str = "glorot",
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.nonlinearity = one_of("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            batch_first=batch_first,
            carry=carry,
            init=init,
            dtype=dtype,
            seed=seed,
        )

    def _forward(self, cell: Cell, x: Array, states: States, lengths: ArrayLike | None) -> Any:
        options: Any = {"nonlinearity": self.nonlinearity, "lengths": lengths, "reverse": cell.reverse}
        return rnn(x, cell.w_x, cell.w_h, cell.b, *states, **options)

    def _backward(self, cell: Cell, dh: Array, dx: Array) -> States:
        return rnn_backward(dh, cell.trace, out=(dx, cell.dw_x, cell.dw_h, cell.db, None))[4:]

    def _step(self, cell: Cell, x: Array, states: States) -> States:
        (h,) = states
        return (rnn_step(x, h, cell.w_x, cell.w_h, cell.b, nonlinearity=self.nonlinearity),)

    @staticmethod
    def _last(trace: Any) -> States:
        return (trace.h_last,)


class LSTM(Recurrent):
    """Long short-term memory: c_t = f c_{t−1} + i g, h_t = o φ(c_t), with i, f, o = σ(z), g = φ(z): `cf.lstm`.

    Parameters
    ----------
    input_size, hidden_size : D and H
    num_layers : layers, one on top of the other
    cell_activation : φ, "tanh" or "identity"
    forget_bias : where b of the forget gates starts, the rest of b at 0. With 1 a new network keeps σ(1) = 73 % of c at
        every step instead of half, so that gradients reach further back; PyTorch has no such option, Keras starts at 1
    bias, dropout, bidirectional, batch_first, carry, init, dtype, seed : as in `RNN`. `init` draws w_x and w_h with the
        variance that it has for one gate, of H units

    Attributes
    ----------
    carried, dcarried : as in `RNN`, of two arrays, for h and c
    trace : of the last forward in training, as `cf.lstm` returns it for the last layer: `trace.table()` has all gates

    x is (T, N, D), y (T, N, H). Parameters are named as in `RNN`: w_x (D, 4H), w_h (H, 4H) and b (4H,), with the gates
    in the order i, f, g, o.
    Inference, `forward(x)`, starts at zero and carries nothing; `step(x)` takes a stream step by step; `lengths=` says
    how many steps of each row count. `from_torch_state` and `to_torch_state` exchange weights with PyTorch. Raises
    ValueError or TypeError naming the argument that does not fit.
    Gradients: `cf.lstm_backward`, layer by layer.
    Source: Hochreiter, Schmidhuber, Long short-term memory (1997); for the forget gate Gers, Schmidhuber, Cummins,
    Learning to forget (2000), for its bias Jozefowicz, Zaremba, Sutskever (2015).

    >>> from closedform import nn
    >>> layer = nn.LSTM(4, 3, bidirectional=True, seed=0)
    >>> layer, layer.n_parameters
    (LSTM(4, 3, bidirectional=True), 192)
    """

    gates = 4
    n_states = 2
    own_options = {"cell_activation": "tanh", "forget_bias": 1.0}  # noqa: RUF012

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        cell_activation: str = "tanh",
        forget_bias: float = 1.0,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        batch_first: bool = False,
        carry: bool = False,
        init: str = "glorot",
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.cell_activation = one_of("cell_activation", cell_activation, ("tanh", "identity"))
        self.forget_bias = as_number("forget_bias", forget_bias)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            batch_first=batch_first,
            carry=carry,
            init=init,
            dtype=dtype,
            seed=seed,
        )

    def _forward(self, cell: Cell, x: Array, states: States, lengths: ArrayLike | None) -> Any:
        options: Any = {"cell_activation": self.cell_activation, "lengths": lengths, "reverse": cell.reverse}
        return lstm(x, cell.w_x, cell.w_h, cell.b, *states, **options)

    def _backward(self, cell: Cell, dh: Array, dx: Array) -> States:
        return lstm_backward(dh, cell.trace, out=(dx, cell.dw_x, cell.dw_h, cell.db, None, None))[4:]

    def _step(self, cell: Cell, x: Array, states: States) -> States:
        h, c = states
        return lstm_step(x, h, c, cell.w_x, cell.w_h, cell.b, cell_activation=self.cell_activation)

    @staticmethod
    def _last(trace: Any) -> States:
        return trace.h_last, trace.c_last
