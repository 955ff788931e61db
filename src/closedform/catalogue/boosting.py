"""Boosting: the best decision stump.

Thresholds and errors are exact here, in both precisions: x is a multiple of 2⁻⁶, and weights of 2⁻⁴, so that equal
errors are equal. Errors are float64 in any case, and so are the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._results import Array
from .op import BadCall, Bench, Call, Op

# (N, F, K, how many values): fewer values than bins, more than rows, and all between. There are N/8K bins.
SHAPES = (
    (1, 1, 1, 1), (2, 1, 2, 2), (3, 5, 2, 4), (17, 2, 5, 9), (64, 3, 2, 300), (127, 7, 3, 40), (500, 1, 1, 90),
    (1009, 3, 2, 60), (1009, 2, 3, 10_000), (2003, 5, 31, 17), (2500, 3, 300, 500), (9001, 2, 2, 700),
    (20_000, 2, 3, 30_000),
)  # fmt: skip


def _call(N: int, F: int, K: int, values: int, dtype: Any) -> Call:
    """Rows of a class lie about the same value, which differs from feature to feature, and half of them anywhere."""
    rng = np.random.default_rng([N, F, K, values])
    y = rng.integers(0, K, N)
    centres = rng.integers(0, values, (F, K)).T[y]
    x = np.where(rng.random((N, F)) < 0.5, rng.integers(0, values, (N, F)), centres)
    weight = rng.integers(0, 50, N) / 16
    weight[0] = 1
    return Call(f"{N}x{F}, K = {K}, {values} values", ((x / 64 - 3).astype(dtype), y, weight, K))


def _ordinary(dtype: Any) -> Iterator[Call]:
    for shape in SHAPES:
        yield _call(*shape, dtype)


def _edge(dtype: Any) -> Iterator[Call]:
    x, y, weight, K = _call(1009, 3, 4, 200, dtype).args
    yield Call("features of one value", (np.full_like(x, 0.5), y, weight, K))
    yield Call("one class of many", (x, np.full_like(y, 7), weight, 100))
    yield Call("equal features", (x[:, [1, 1, 0]], y, weight, K))
    yield Call("separable", (x, (x[:, 1] > 0.25).astype(np.int64), weight, 2))
    yield Call("every error alike", (x, y, np.where(y == 2, weight, 0) + (y == 2), K))
    yield Call("few rows that count", (x, y, np.where(np.arange(1009) % 97 == 5, 0.5, 0), K))
    for exponent in (1000, -1000):
        yield Call(f"weights of about 2^{exponent}", (x, y, np.ldexp(weight, exponent), K))
    x = x.copy()
    x[::3, 1], x[1::5, 1], x[1::2, 2] = np.inf, -np.inf, np.inf
    yield Call("infinities", (x, y, weight, K))
    x = np.where(x > 0, 0.0, -0.0).astype(dtype)
    yield Call("zeros of both signs", (x, y, weight, K))
    if np.dtype(dtype) == np.float64:  # there the twin rounds the threshold as the kernel does
        f = np.finfo(dtype)
        tiny, big = f.smallest_subnormal, f.max
        for a, b in ((1, np.nextafter(1, 2)), (0, tiny), (-tiny, 0), (3 * tiny, 4 * tiny), (-big, big)):
            x = np.where(y[:, None] == 1, b, a)
            yield Call(f"{a} or {b}", (x, y, weight, K))


def _hostile() -> Iterator[BadCall]:
    x, y, w, K = _call(17, 2, 3, 9, np.float64).args
    yield BadCall("one axis", "x", (x[:, 0], y, w, K))
    yield BadCall("no rows", "x", (x[:0], y[:0], w[:0], K))
    yield BadCall("no features", "x", (x[:, :0], y, w, K))
    yield BadCall("NaN", "x", (np.where(x > 0, x, np.nan), y, w, K))
    yield BadCall("ragged", "x", ([[1.0], [1.0, 2.0]], y, w, K))
    yield BadCall("fewer labels than rows", "y", (x, y[1:], w, K))
    yield BadCall("labels in a column", "y", (x, y[:, None], w, K))
    yield BadCall("labels that are no integers", "y", (x, y / 2, w, K), error=TypeError)
    yield BadCall("a label beyond the classes", "y", (x, y, w, int(y.max())))
    yield BadCall("a negative label", "y", (x, y - 1, w, K))
    yield BadCall("no classes", "n_classes", (x, y, w, 0))
    yield BadCall("n_classes no integer", "n_classes", (x, y, w, 3.0), error=TypeError)
    for label, weight in {
        "fewer weights than rows": w[1:],
        "weights in a column": w[:, None],
        "a negative weight": np.where(y == 1, -1.0, 1.0),
        "a weight that is NaN": np.where(y == 1, np.nan, 1.0),
        "an infinite weight": np.where(y == 1, np.inf, 1.0),
        "weights of sum 0": np.zeros_like(w),
        "weights of an infinite sum": np.full_like(w, 1e308),
    }.items():
        yield BadCall(label, "sample_weight", (x, y, weight, K))


def _scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(np.ones(()) for _ in want)  # nothing is rounded


def _bench(N: int, F: int, K: int, values: int = 1 << 20, **kwargs: Any) -> Bench:
    label = f"{N}x{F}, {K} classes"
    return Bench(label, lambda dtype: _call(N, F, K, values, dtype), ("float64", "float32"), **kwargs)


OPS = (
    Op(
        "find_stump",
        "boosting",
        _ordinary,
        (
            _bench(100_000, 20, 5),
            _bench(10_000, 20, 2),
            _bench(1797, 64, 10, 17),
            _bench(1_000_000, 50, 2, slow=True),
        ),
        lambda c: float(c.args[0].size),  # additions
        edge=_edge,
        hostile=_hostile,
        scale=_scale,
        tolerance=0.0,
        no_gradient="a choice among finitely many stumps",
        kernels=("_boosting.Stumps",),
    ),
)
