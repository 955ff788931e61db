"""Principal components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._results import Array
from .op import BadCall, Bench, Call, Op, draw, float_dtype

# (N, D) around the panels (8, 16, 32 columns) and the chunks (256 rows), and with several groups of chunks.
SHAPES = (
    (1, 1), (2, 3), (5, 17), (9, 4), (61, 33), (255, 15), (256, 16), (257, 31), (1009, 7), (1031, 65),
    (5000, 5), (700, 131), (300, 402), (9001, 40),
)  # fmt: skip


def _call(N: int, D: int, dtype: Any, **options: Any) -> Call:
    x = draw(N, D, dtype=dtype, seed=1)
    x[:, 1::2] += x[:, : D - 1 : 2] / 2  # correlated
    return Call(f"{N}x{D}, {options}", (x,), options)


def _ordinary(dtype: Any) -> Iterator[Call]:
    for i, (N, D) in enumerate(SHAPES):
        yield _call(N, D, dtype, **({"ddof": 1} if i % 2 else {}))


def _edge(dtype: Any) -> Iterator[Call]:
    for N in (1, 300):
        yield _call(N, 0, dtype)
    for offset in (1e4, -1e3):
        x = _call(1500, 19, dtype).args[0]
        yield Call(f"about {offset:g}", ((x + np.arange(19) * offset).astype(dtype),), {"ddof": 3})
    x = np.full((600, 18), 0.1, dtype)
    x[:, 1] = 0
    yield Call("constant columns", (x,))
    x = _call(1000, 21, dtype).args[0]
    for i, value in enumerate((np.inf, -np.inf, np.nan)):
        x[(i * 400 + 17) % 1000, 4 * i] = value
    x[[3, 900], 20] = np.inf, -np.inf
    yield Call("infinite and NaN entries", (x,))


def _hostile() -> Iterator[BadCall]:
    x = draw(5, 3)
    yield BadCall("one axis", "x", (x[0],))
    yield BadCall("three axes", "x", (x[None],))
    yield BadCall("no rows", "x", (x[:0],))
    yield BadCall("ragged", "x", ([[1.0], [1.0, 2.0]],))
    yield BadCall("ddof = N", "ddof", (x,), {"ddof": 5})
    yield BadCall("negative ddof", "ddof", (x,), {"ddof": -1})
    yield BadCall("ddof no integer", "ddof", (x,), {"ddof": 1.0}, TypeError)
    yield BadCall("ddof a boolean", "ddof", (x,), {"ddof": True}, TypeError)


def _scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    """Means: the size of the terms. Covariances: the two deviations, and the rounding of the twin's mean."""
    size = np.abs(call.args[0]).mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.diagonal(want[1]))
    rest = np.finfo(np.float64).eps * size
    eps = np.finfo(float_dtype(call)).eps
    return size, np.outer(deviation, deviation) + np.outer(rest, rest) / eps


def _bench(N: int, D: int, **kwargs: Any) -> Bench:
    return Bench(f"{N}x{D}", lambda dtype: _call(N, D, dtype), **kwargs)


OPS = (
    Op(
        "covariance",
        "pca",
        _ordinary,
        (
            _bench(100_000, 64, dtypes=("float32", "float64"), headline=True),
            _bench(5000, 784),
            _bench(1797, 64),
            _bench(100_000, 8),
            _bench(1_000_000, 64, slow=True),
        ),
        # Multiply-adds of one triangle, the other is its mirror image.
        lambda c: float(c.args[0].size * c.args[0].shape[1]),
        edge=_edge,
        hostile=_hostile,
        scale=_scale,
        tolerance=8.0,
        no_gradient="statistics of a sample, not a function that a loss goes through",
        kernels=("_pca.covariance",),
        bound_by="arithmetic",
    ),
)
