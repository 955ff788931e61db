"""What the recurrent layers share: a stack of cells, in both directions, with a state carried from call to call."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._results import Array
from .._validate import FLOAT32, as_flag, as_number, one_of
from .cells import Cell, States, cells
from .dense import INITS, count, float_dtype
from .exchange import Arrays, from_torch, to_torch
from .layer import Buffer, Layer, floats, inputs
from .layers import Dropout

OPTIONS = {
    "num_layers": 1,
    "bias": True,
    "dropout": 0.0,
    "bidirectional": False,
    "batch_first": False,
    "carry": False,
}  # with their defaults


class Recurrent(Layer):
    """Layers of cells. Subclasses say what a cell computes, and how many gates and states it has."""

    takes_lengths = True
    gates = 1  # blocks of H columns in w_x and w_h
    n_states = 1  # arrays (N, H) that a step hands to the next: h, or h and c
    forget_bias = 0.0
    own_options: dict[str, Any]  # of the subclass's constructor, with their defaults

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        dropout: float,
        bidirectional: bool,
        batch_first: bool,
        carry: bool,
        init: str,
        dtype: DTypeLike,
        seed: int | np.random.Generator | None,
    ) -> None:
        self.input_size = count("input_size", input_size, low=1)
        self.hidden_size = count("hidden_size", hidden_size, low=1)
        self.num_layers = count("num_layers", num_layers, low=1)
        self.bias = as_flag("bias", bias)
        self.dropout = as_number("dropout", dropout, low=0, high=1)
        self.bidirectional = as_flag("bidirectional", bidirectional)
        self.batch_first = as_flag("batch_first", batch_first)
        self.carry = as_flag("carry", carry)
        if self.carry and self.bidirectional:
            raise ValueError("carry: expected False, since one direction starts at the end; got True")
        self.init = one_of("init", init, INITS)
        self.dtype = float_dtype(dtype)
        sizes = self.input_size, self.hidden_size, self.gates, self.num_layers
        self._layers = cells(*sizes, both=self.bidirectional, bias=self.bias, dtype=self.dtype)
        self._cells = [cell for layer in self._layers for cell in layer]
        self._dropouts = [Dropout(self.dropout) for _ in self._layers[1:]] if self.dropout else []
        self._carried: list[States] | None = None  # of each cell
        self._converted, self._joined = Buffer(), [Buffer() for _ in self._layers]
        self.reset(np.random.default_rng(seed))

    def _forward(self, cell: Cell, x: Array, states: States, lengths: ArrayLike | None) -> Any:
        """The trace of one cell."""
        raise NotImplementedError

    def _backward(self, cell: Cell, dh: Array, dx: Array) -> States:
        """Write dx and the cell's gradients; return the gradients of its initial states."""
        raise NotImplementedError

    def _step(self, cell: Cell, x: Array, states: States) -> States:
        raise NotImplementedError

    @staticmethod
    def _last(trace: Any) -> States:
        raise NotImplementedError

    # -- the layer --

    def forward(self, x: ArrayLike, training: bool = False, *, lengths: ArrayLike | None = None) -> Array:
        """h of the last layer at every step, that of both directions side by side.

        lengths : (N,) how many steps of each row count, in [0, T], or None for all. y is 0 at the others
        """
        x = inputs(x, self.dtype, self._converted if training else None)
        if x.ndim != 3 or x.shape[2] != self.input_size:
            axes = "N, T" if self.batch_first else "T, N"
            raise ValueError(
                f"x: expected shape ({axes}, {self.input_size}), the inputs of {self!r}; got {x.shape}"
            )
        x = x.swapaxes(0, 1) if self.batch_first else x
        carrying = training and self.carry
        starts = iter(self._starts(x.shape[1]) if carrying else [()] * len(self._cells))
        last: list[States] = []
        for i, layer in enumerate(self._layers):
            if i and self._dropouts:
                x = self._dropouts[i - 1].forward(x, training)
            traces = [self._forward(cell, x, next(starts), lengths) for cell in layer]
            last += map(self._last, traces)
            if training:
                for cell, trace in zip(layer, traces, strict=True):
                    cell.trace = trace
            x = traces[0].h if len(traces) == 1 else self._side_by_side(traces, i, training)
        if carrying:
            self._carried = last
        return x.swapaxes(0, 1) if self.batch_first else x

    def _side_by_side(self, traces: list[Any], layer: int, training: bool) -> Array:
        T, N, H = traces[0].h.shape
        y = (
            self._joined[layer]((T, N, 2 * H), self.dtype)
            if training
            else np.empty((T, N, 2 * H), self.dtype)
        )
        return np.concatenate([trace.h for trace in traces], axis=-1, out=y)

    def backward(self, dy: ArrayLike) -> Array:
        """Through all layers and steps in reverse: write the gradients of the parameters, return dx."""
        T, N, H = self._kept(self.trace).h.shape
        dy = floats("dy", dy, self.dtype)
        expected = *((N, T) if self.batch_first else (T, N)), H * len(self._layers[-1])
        if dy.shape != expected:
            raise ValueError(f"dy: expected shape {expected}, that of y; got {dy.shape}")
        dy = dy.swapaxes(0, 1) if self.batch_first else dy
        for i in range(self.num_layers - 1, -1, -1):
            dxs = []
            for j, cell in enumerate(self._layers[i]):
                dxs.append(cell.dx(cell.trace.x.shape, self.dtype))
                cell.dstates = self._backward(cell, dy[:, :, j * H : (j + 1) * H], dxs[j])
            dy = dxs[0] if len(dxs) == 1 else np.add(dxs[0], dxs[1], out=dxs[0])  # both directions read x
            if i and self._dropouts:
                dy = self._dropouts[i - 1].backward(dy)
        return dy.swapaxes(0, 1) if self.batch_first else dy

    @property
    def trace(self) -> Any:
        """What the op of the last layer, forwards in time, computed at the last forward in training; None before."""
        return self._layers[-1][0].trace

    # -- the carried state --

    def step(self, x: ArrayLike) -> Array:
        """The next step of a stream, in inference: h of the last layer, (N, H), for x (N, D).

        It starts at the carried state and moves that on, whether `carry` is set or not.
        """
        if self.bidirectional:
            raise ValueError(
                f"x: expected a whole sequence, which {self!r} also reads backwards; got one step"
            )
        x = inputs(x, self.dtype, None)
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise ValueError(
                f"x: expected shape (N, {self.input_size}), one step for {self!r}; got {x.shape}"
            )
        last: list[States] = []
        for cell, states in zip(self._cells, self._starts(len(x)), strict=True):
            last.append(self._step(cell, x, states))
            x = last[-1][0]
        self._carried = last
        return x.copy()  # nobody else may write to the carried h

    def _starts(self, N: int) -> list[States]:
        """The states of N rows that each cell starts from: those carried, or zeros."""
        if self._carried is None:
            return [(np.zeros((N, self.hidden_size), self.dtype),) * self.n_states for _ in self._cells]
        carried = self._carried[0][0]
        if len(carried) != N:
            raise ValueError(
                f"x: expected {len(carried)} rows, those of the carried state (reset_carried() drops it); got {N}"
            )
        return self._carried

    @property
    def carried(self) -> tuple[Array, ...] | None:
        """The carried state: h, or h and c, each (num_layers, N, H), copied; None before the first step of a sequence.

        May be set. Gradients do not flow through it into the call before: it is detached.
        """
        return None if self._carried is None else _stacked(self._carried)

    @carried.setter
    def carried(self, states: tuple[ArrayLike, ...] | None) -> None:
        if states is None:
            return self.reset_carried()
        if len(states) != self.n_states:
            raise ValueError(f"carried: expected {self.n_states} arrays, or None; got {len(states)}")
        arrays = [np.array(floats("carried", a, self.dtype)) for a in states]
        for a in arrays:
            if a.ndim != 3 or a.shape != (len(self._cells), arrays[0].shape[1], self.hidden_size):
                expected = f"({len(self._cells)}, N, {self.hidden_size})"
                raise ValueError(f"carried: expected arrays of shape {expected}; got {a.shape}")
        self._carried = list(zip(*arrays, strict=True))
        return None

    @property
    def dcarried(self) -> tuple[Array, ...]:
        """The gradient, from the last backward, of the state that the forward before it started from."""
        gradients = [cell.dstates for cell in self._cells if cell.dstates is not None]
        if not gradients:
            raise RuntimeError(f"{self!r}: dcarried needs a backward before it")
        return _stacked(gradients)

    def reset_carried(self) -> None:
        self._carried = None

    # -- parameters --

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the weights anew from `rng`, and drop the carried state."""
        self.reset_carried()
        for cell in self._cells:
            cell.draw(rng, self.init, self.forget_bias)
        self.reseed(rng)

    def reseed(self, rng: np.random.Generator) -> None:
        for dropout, own in zip(self._dropouts, rng.spawn(len(self._dropouts)), strict=True):
            dropout.reseed(own)

    def parameters(self) -> dict[str, Array]:
        return {name: p for cell in self._cells for name, p in cell.parameters().items()}

    def gradients(self) -> dict[str, Array]:
        return {name: g for cell in self._cells for name, g in cell.gradients().items()}

    @classmethod
    def from_torch_state(cls, state: Arrays, **options: Any) -> Self:
        """The layer with the weights of its PyTorch namesake.

        state : name -> array, the `state_dict()` of `torch.nn.LSTM` or `torch.nn.RNN` with the tensors as arrays. It
            tells sizes, layers, directions, bias and dtype; its two biases, which PyTorch adds, become one
        options : the others of the constructor, such as `batch_first`

        Raises ValueError or TypeError for names, shapes or dtypes that do not belong to such a layer.
        """
        sizes, weights = from_torch(state, cls.gates)
        layer = cls(**sizes, **options, init="zeros")
        layer.init = "glorot"
        for p, w in zip(layer.parameters().values(), weights, strict=True):
            p[...] = w
        return layer

    def to_torch_state(self) -> dict[str, Array]:
        """Name -> array, a copy, as `load_state_dict` of the PyTorch namesake takes it after `torch.from_numpy`.

        PyTorch has two biases: the first is b, the second 0.
        """
        return to_torch(self._layers)

    def config(self) -> dict[str, Any]:
        names = "input_size", "hidden_size", *OPTIONS, *self.own_options, "init"
        return {name: getattr(self, name) for name in names} | {"dtype": self.dtype.name}

    def __repr__(self) -> str:
        defaults = OPTIONS | self.own_options
        given = {name: getattr(self, name) for name in defaults if getattr(self, name) != defaults[name]}
        options = "".join(f", {name}={v!r}" for name, v in given.items())
        options += f", dtype={self.dtype}" if self.dtype != FLOAT32 else ""
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{options})"


def _stacked(states: list[States]) -> tuple[Array, ...]:
    """(h of every cell, ...) from the states cell by cell."""
    return tuple(np.stack(arrays) for arrays in zip(*states, strict=True))
