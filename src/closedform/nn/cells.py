"""One layer of a recurrent network in one direction: its parameters, and what training leaves in it."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from .._results import Array
from .dense import variance
from .layer import Buffer

States: TypeAlias = tuple[Array, ...]  # h, or h and c, each (N, H); as a start () is zeros


class Cell:
    """Parameters w_x (D, GH), w_h (H, GH), b (GH,) or None and their gradients; G = 1, or 4 gates in an LSTM."""

    def __init__(
        self, D: int, H: int, G: int, *, name: str, bias: bool, reverse: bool, dtype: np.dtype[Any]
    ) -> None:
        self.name, self.gates, self.reverse = name, G, reverse
        self.w_x: Array = np.zeros((D, G * H), dtype)
        self.w_h: Array = np.zeros((H, G * H), dtype)
        self.b: Array | None = np.zeros(G * H, dtype) if bias else None
        self.dw_x: Array = np.zeros_like(self.w_x)
        self.dw_h: Array = np.zeros_like(self.w_h)
        self.db: Array | None = np.zeros(G * H, dtype) if bias else None
        self.dx = Buffer()
        self.trace: Any = None  # of the last forward in training
        self.dstates: States | None = None  # gradients of the initial states

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "trace": None,
            "dstates": None,
        }  # as the copy of any layer, without the last batch

    def draw(self, rng: np.random.Generator, init: str, offset: float) -> None:
        """New weights, normal with the variance that `init` has for one gate; b = 0, of a forget gate `offset`."""
        H = self.w_h.shape[0]
        for w in (self.w_x, self.w_h):
            scale = math.sqrt(variance(init, w.shape[0], H))
            w[...] = rng.standard_normal(w.shape, w.dtype.type) if scale else 0
            w *= w.dtype.type(scale)
        if self.b is not None:
            self.b[...] = 0
            self.b[H : 2 * H] = offset  # gates i, f, g, o; an RNN has no such columns

    def parameters(self) -> dict[str, Array]:
        return self._named(self.w_x, self.w_h, self.b)

    def gradients(self) -> dict[str, Array]:
        return self._named(self.dw_x, self.dw_h, self.db)

    def _named(self, w_x: Array, w_h: Array, b: Array | None) -> dict[str, Array]:
        arrays = {"w_x": w_x, "w_h": w_h} | ({} if b is None else {"b": b})
        return {f"{self.name}{name}": a for name, a in arrays.items()}


def cells(
    D: int, H: int, G: int, L: int, *, both: bool, bias: bool, dtype: np.dtype[Any]
) -> list[list[Cell]]:
    """L layers, of one cell or, if `both`, of one a direction. Those above the first see all of the layer below."""
    directions = (False, True) if both else (False,)
    return [
        [
            Cell(
                D if layer == 0 else H * len(directions),
                H,
                G,
                name=(f"{layer}." if L > 1 else "") + ("reverse." if reverse else ""),
                bias=bias,
                reverse=reverse,
                dtype=dtype,
            )
            for reverse in directions
        ]
        for layer in range(L)
    ]
