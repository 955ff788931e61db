"""A language model of characters: which comes next. The network of `train text`, and of a case of `bench`."""

from __future__ import annotations

from typing import Any, NamedTuple

from closedform import nn


class Size(NamedTuple):
    """The network, and the batches it is trained on: N rows of T characters."""

    vocabulary: int
    embedding: int
    hidden: int
    layers: int
    rows: int
    steps: int


def network(size: Size, dtype: Any, *, dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    """Ids (T, N) to logits (T, N, V): an LSTM that carries its state from one piece of the text to the next."""
    V, E, H, L = size[:4]
    return nn.Sequential(
        nn.Embedding(V, E, dtype=dtype),
        nn.LSTM(E, H, L, dropout=dropout if L > 1 else 0.0, carry=True, dtype=dtype),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Dense(H, V, init="glorot", dtype=dtype),
        seed=seed,
    )


def flops(size: Size) -> float:
    """Of a training step: the products of the LSTM and of the last layer, forwards and, twice that, backwards."""
    V, E, H, L, N, T = size
    weights = 4 * H * (E + H) + (L - 1) * 4 * H * 2 * H + H * V
    return 6.0 * T * N * weights
