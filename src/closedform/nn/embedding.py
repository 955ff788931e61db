"""The ends of a network for sequences: `Embedding`, from ids to rows, and `LastStep`, from all steps to one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._results import Array
from .._sequences import as_lengths
from .._validate import FLOAT32, as_flag, as_labels
from .dense import count, float_dtype
from .layer import Buffer, Layer, floats


class Embedding(Layer):
    """Rows of a table for integer ids: y = w[x].

    Parameters
    ----------
    num_embeddings, embedding_dim : V rows, for the ids 0 to V − 1, of E numbers each
    dtype : float32 or float64, of the table and so of y
    seed : an int, a NumPy Generator, or None for a fresh one

    Attributes
    ----------
    w (V, E) : the table, drawn from the standard normal distribution
    dw : its gradient

    x holds integers, of any shape (...); y is (..., E). Raises TypeError for ids that are not integers, ValueError for
    one that has no row: a negative id does not count from the end.
    Gradient: dw[v] = Σ dy over the places where x = v, added in their order, so that the bits are always the same.
    y does not change with x but in jumps: dx, which `backward` returns so that the layer may stand anywhere, is 0.
    Source: Bengio et al., A neural probabilistic language model (2003).

    >>> from closedform import nn
    >>> layer = nn.Embedding(10, 3, seed=0)
    >>> layer, layer([[1, 2], [3, 1]]).shape
    (Embedding(10, 3), (2, 2, 3))
    """

    _keeps = ("_ids",)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        V, E = count("num_embeddings", num_embeddings), count("embedding_dim", embedding_dim)
        self.dtype = float_dtype(dtype)
        self.w: Array = np.zeros((V, E), self.dtype)
        self.dw: Array = np.zeros_like(self.w)
        self._ids: Array | None = None
        self._y, self._dx, self._sorted = Buffer(), Buffer(), Buffer()
        self.reset(np.random.default_rng(seed))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the table anew from `rng`."""
        rng.standard_normal(dtype=self.dtype.type, out=self.w)

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """y = w[x], of shape (..., E), for ids x (...)."""
        ids = as_labels("x", x)
        V, E = self.w.shape
        if ids.size and not (ids.min() >= 0 and ids.max() < V):
            wrong = ids[(ids < 0) | (ids >= V)].flat[0]
            raise ValueError(f"x: expected ids in [0, {V}), the rows of {self!r}; got {wrong}")
        if not training:
            return self.w[ids]
        self._ids = ids
        # mode="clip": with the default, NumPy gathers into a copy of `out` first
        return np.take(self.w, ids, 0, out=self._y((*ids.shape, E), self.dtype), mode="clip")

    def backward(self, dy: ArrayLike) -> Array:
        """Write dw; return dx = 0, of the ids' shape."""
        self.backward_parameters(dy)
        dx = self._dx(self._kept(self._ids).shape, self.dtype)
        dx[...] = 0
        return dx

    def backward_parameters(self, dy: ArrayLike) -> None:
        """Write dw: the rows of dy, sorted by id, summed run by run."""
        ids, dy = self._kept(self._ids), floats("dy", dy, self.dtype)
        E = self.w.shape[1]
        if dy.shape != (*ids.shape, E):
            raise ValueError(f"dy: expected shape {(*ids.shape, E)}, that of y; got {dy.shape}")
        self.dw[...] = 0
        if ids.size == 0:
            return
        order = np.argsort(ids, axis=None, kind="stable")  # equal ids stay in the order of their places
        ids = ids.reshape(-1)[order]
        rows = self._sorted((ids.size, E), self.dtype)
        np.take(dy.reshape(-1, E), order, 0, out=rows, mode="clip")
        starts = np.flatnonzero(np.diff(ids, prepend=-1))
        self.dw[ids[starts]] = np.add.reduceat(rows, starts)

    def parameters(self) -> dict[str, Array]:
        return {"w": self.w}

    def gradients(self) -> dict[str, Array]:
        return {"w": self.dw}

    def config(self) -> dict[str, Any]:
        V, E = self.w.shape
        return {"num_embeddings": V, "embedding_dim": E, "dtype": self.dtype.name}

    def __repr__(self) -> str:
        V, E = self.w.shape
        return f"Embedding({V}, {E}{'' if self.dtype == FLOAT32 else f', dtype={self.dtype}'})"


class LastStep(Layer):
    """The last step of a sequence: (T, N, H) to (N, H), for one prediction about all of it.

    Parameters
    ----------
    batch_first : x is (N, T, H) instead
    bidirectional : x comes from a bidirectional layer: its first half of features from the last step, the second,
        which was computed backwards, from the first step: the last state of each direction

    With `lengths` (N,) the last step of row n is lengths[n] − 1, and y is 0 for a row of length 0.
    Gradient: dx = dy at the step that was taken, 0 elsewhere.

    >>> from closedform import nn
    >>> nn.LastStep()([[[1.0], [2.0]], [[3.0], [4.0]]], lengths=[2, 1])
    array([[3.],
           [2.]])
    """

    takes_lengths = True

    _keeps = ("_shape", "_ends")

    def __init__(self, *, batch_first: bool = False, bidirectional: bool = False) -> None:
        self.batch_first = as_flag("batch_first", batch_first)
        self.bidirectional = as_flag("bidirectional", bidirectional)
        self._shape: tuple[int, ...] | None = None  # of x, time first
        self._ends: Array = np.zeros(0, np.int64)  # lengths of the rows
        self._y, self._dx = Buffer(), Buffer()

    def forward(self, x: ArrayLike, training: bool = False, *, lengths: ArrayLike | None = None) -> Array:
        """x at its last step, (N, H)."""
        x = floats("x", x)
        if x.ndim != 3:
            shape = "(N, T, H)" if self.batch_first else "(T, N, H)"
            raise ValueError(f"x: expected shape {shape}; got {x.shape}")
        x = x.swapaxes(0, 1) if self.batch_first else x
        T, N, H = x.shape
        given = as_lengths("lengths", lengths, x)
        if given is None and T == 0:
            raise ValueError("x: expected at least one step, or lengths of 0; got T = 0")
        ends = np.full(N, T) if given is None else given
        y = self._y((N, H), x.dtype) if training else np.empty((N, H), x.dtype)
        y[...] = 0
        for features, rows, steps in self._places(H, ends):
            y[rows, features] = x[steps, rows, features]
        if training:
            self._shape, self._ends = x.shape, ends
        return y

    def backward(self, dy: ArrayLike) -> Array:
        """dx, which is dy at the last step and 0 elsewhere."""
        shape = self._kept(self._shape)
        _, N, H = shape
        dy = floats("dy", dy)
        if dy.shape != (N, H):
            raise ValueError(f"dy: expected shape {(N, H)}, that of y; got {dy.shape}")
        dx = self._dx(shape, dy.dtype)
        dx[...] = 0
        for features, rows, steps in self._places(H, self._ends):
            dx[steps, rows, features] = dy[rows, features]
        return dx.swapaxes(0, 1) if self.batch_first else dx

    def _places(self, H: int, ends: Array) -> list[tuple[slice, Array, Array]]:
        """(features, rows, their last steps) for each direction; rows of length 0 have none."""
        (rows,) = np.nonzero(ends)
        last = ends[rows] - 1
        if not self.bidirectional:
            return [(slice(None), rows, last)]
        return [(slice(H // 2), rows, last), (slice(H // 2, None), rows, np.zeros_like(last))]

    def step(self, x: ArrayLike) -> Array:
        """In a stream the last step is the present one."""
        return floats("x", x)

    def config(self) -> dict[str, Any]:
        return {"batch_first": self.batch_first, "bidirectional": self.bidirectional}

    def __repr__(self) -> str:
        options = [f"{name}=True" for name, on in self.config().items() if on]
        return f"LastStep({', '.join(options)})"
