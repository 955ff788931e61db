"""The weights of recurrent layers by PyTorch's names and in its layouts, as NumPy arrays: torch is not needed.

A cell of layer l is weight_ih_l{l} (GH, D) = w_xᵀ, weight_hh_l{l} (GH, H) = w_hᵀ, and bias_ih_l{l} and bias_hh_l{l}
(GH,), which are added; names of the backward direction end with "_reverse". The gates have our order: i, f, g, o.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .._results import Array
from .._validate import as_floats, expect_shape
from .cells import Cell

Arrays: TypeAlias = Mapping[str, ArrayLike]
NAME = re.compile(r"(?:weight|bias)_(?:ih|hh)_l(\d+)(_reverse)?")


def from_torch(state: Arrays, gates: int) -> tuple[dict[str, Any], list[Array]]:
    """(sizes, for the constructor; the parameters, in the order of the layer's own)."""
    found = [match for match in map(NAME.fullmatch, state) if match]
    layers = 1 + max((int(match[1]) for match in found), default=0)
    directions = ("", "_reverse") if any(match[2] for match in found) else ("",)
    bias = any(match[0].startswith("bias") for match in found)
    layers = min(layers, len(state) + 1)  # more of them cannot be there: the names will tell
    cells = [_names(f"l{i}{direction}", bias) for i in range(layers) for direction in directions]
    expected = [name for names in cells for name in names]
    if set(expected) != set(state):
        raise ValueError(f"state: expected the names {sorted(expected)}; got {sorted(state)}")
    arrays = dict(zip(expected, as_floats(**{name: state[name] for name in expected}), strict=True))
    for name in expected[:2]:
        if arrays[name].ndim != 2:
            raise ValueError(f"{name}: expected a matrix of weights; got shape {arrays[name].shape}")
    D, H = arrays["weight_ih_l0"].shape[1], arrays["weight_hh_l0"].shape[1]
    parameters: list[Array] = []
    for i, names in enumerate(cells):
        below = D if i < len(directions) else H * len(directions)  # features that the cell reads
        rows = gates * H
        for name, shape in zip(names, ((rows, below), (rows, H), (rows,), (rows,)), strict=False):
            expect_shape(name, arrays[name], shape, f"that of {gates} gates of {H} units")
        w_x, w_h, *biases = (arrays[name] for name in names)
        parameters += [w_x.T, w_h.T, *([biases[0] + biases[1]] if bias else [])]
    sizes = {
        "input_size": D,
        "hidden_size": H,
        "num_layers": layers,
        "bias": bias,
        "bidirectional": len(directions) == 2,
        "dtype": parameters[0].dtype,
    }
    return sizes, parameters


def to_torch(layers: list[list[Cell]]) -> dict[str, Array]:
    """Name -> array, in PyTorch's order."""
    state: dict[str, Array] = {}
    for i, layer in enumerate(layers):
        for cell in layer:
            arrays = [cell.w_x.T.copy(), cell.w_h.T.copy()]
            arrays += [] if cell.b is None else [cell.b.copy(), np.zeros_like(cell.b)]
            names = _names(f"l{i}{'_reverse' if cell.reverse else ''}", cell.b is not None)
            state |= zip(names, arrays, strict=True)
    return state


def _names(end: str, bias: bool) -> list[str]:
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if bias else [])]
    return [f"{kind}_{end}" for kind in kinds]
