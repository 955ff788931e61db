"""Principal components."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np

from .._results import Array
from .op import BadCall, Bench, Call, Op, draw

# (N, D): few and many rows, odd and even widths, around the vectors and the blocks of rows
SHAPES = (
    (1, 1),
    (2, 3),
    (3, 1),
    (7, 4),
    (17, 5),
    (64, 8),
    (65, 9),
    (101, 16),
    (129, 17),
    (257, 33),
    (1009, 7),
)


def _ordinary(dtype: Any) -> Iterator[Call]:
    for i, (N, D) in enumerate(SHAPES):
        options = {"ddof": 1} if i % 2 and N > 1 else {}
        yield Call(f"({N}, {D}){options or ''}", (draw(N, D, dtype=dtype) + _number(dtype, 3),), options)


def _number(dtype: Any, value: float) -> Any:
    return np.dtype(dtype).type(value)


def _edge(dtype: Any) -> Iterator[Call]:
    yield Call("no columns", (np.ones((3, 0), dtype),))
    yield Call("constant columns", (np.full((9, 3), 0.1, dtype),))
    yield Call("a large offset", (draw(33, 5, dtype=dtype) + _number(dtype, 1e5),))
    x = draw(19, 6, dtype=dtype)
    x[3, 1], x[5, 2], x[7, 4] = np.inf, np.nan, -np.inf
    yield Call("infinite and NaN columns", (x,))
    yield Call("subnormal", (np.full((5, 3), np.finfo(dtype).smallest_subnormal, dtype),))


def _hostile() -> Iterator[BadCall]:
    x = draw(5, 3)
    yield BadCall("x of one axis", "x", (draw(5),))
    yield BadCall("x of three axes", "x", (draw(2, 5, 3),))
    yield BadCall("no rows", "x", (np.ones((0, 3)),))
    for ddof in (-1, 5, 2**70):
        yield BadCall(f"ddof {ddof}", "ddof", (x,), {"ddof": ddof})
    for wrong in (0.5, "1", None):
        yield BadCall(f"ddof {wrong!r}", "ddof", (x,), {"ddof": wrong}, TypeError)


def _scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,) = call.args
    N = len(x)
    mean = np.abs(x).mean(axis=0)
    z = np.abs(x - x.mean(axis=0))
    of_mean = np.finfo(np.float64).eps * np.outer(
        mean, mean
    )  # the square of a rounding of the mean, over eps
    return mean, z.T @ z / (N - call.options.get("ddof", 0)) + of_mean


def _bench(N: int, D: int, **kwargs: Any) -> Bench:
    return Bench(f"{N}x{D}", lambda dtype: Call("", (draw(N, D, dtype=dtype),)), **kwargs)


OPS = (
    Op(
        "covariance",
        "pca",
        _ordinary,
        (_bench(10_000, 64, dtypes=("float32", "float64")), _bench(100_000, 64, slow=True)),
        lambda c: float(c.args[0].size * (c.args[0].shape[1] + 3)),  # half the matrix: it is symmetric
        edge=_edge,
        hostile=_hostile,
        scale=_scale,
        tolerance=lambda c: 4 + sqrt(len(c.args[0])),
        no_gradient="a statistic of data, which nothing here differentiates",
        kernels=("_pca.covariance",),
        bound_by="arithmetic",
    ),
)
