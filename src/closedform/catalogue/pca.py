"""Principal components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
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


# -- eigenvalues of a covariance (m, m) --

SIZES = (1, 2, 3, 5, 8, 17, 33)
LAPACK = "its work is an eigendecomposition, which LAPACK does: NumPy's, on both backends"


def _matrix(m: int, dtype: Any, rank: int | None = None) -> Array:
    """A covariance with eigenvalues far apart, exactly symmetric."""
    x = draw(m if rank is None else rank, m, seed=5) * np.arange(1, m + 1)
    return (x.T @ x / m).astype(dtype)


def _points(m: int, dtype: Any) -> Call:
    return Call(f"m = {m}", (draw(m, dtype=dtype, seed=6), _matrix(m, dtype)))


def _trace(m: int, dtype: Any, k: int = 8, largest: bool = True) -> Call:
    return Call(f"m = {m}, k = {k}, largest {largest}", (_matrix(m, dtype), k), {"largest": largest})


def _ordinary_points(dtype: Any) -> Iterator[Call]:
    for m in SIZES:
        yield _points(m, dtype)


def _ordinary_trace(dtype: Any) -> Iterator[Call]:
    for m in SIZES:
        for k in sorted({1, (m + 1) // 2, m}):
            for largest in (True, False):
                yield _trace(m, dtype, k, largest)


def _edge_matrices(dtype: Any) -> Iterator[tuple[str, Array]]:
    limits = np.finfo(dtype)
    yield "zero", np.zeros((4, 4), dtype)
    yield "identity", np.eye(5, dtype=dtype)
    yield "singular, diagonal", np.diag([0, 3, 0, 1]).astype(dtype)
    yield "tiny and huge", np.diag([limits.tiny, limits.max / 8]).astype(dtype)
    yield "one negative by rounding", np.diag([1, 2, -limits.eps]).astype(dtype)
    yield "of rank 2", _matrix(6, dtype, rank=2)


def _edge_points(dtype: Any) -> Iterator[Call]:
    for label, cov in _edge_matrices(dtype):
        yield Call(label, (draw(len(cov), dtype=dtype, seed=7), cov))


def _edge_trace(dtype: Any) -> Iterator[Call]:
    for label, cov in _edge_matrices(dtype):
        for largest in (True, False):
            yield Call(label, (cov, 2), {"largest": largest})


def _bad_matrices() -> Iterator[tuple[str, Any]]:
    cov = _matrix(3, np.float64)
    yield "one axis", cov[0]
    yield "no square", cov[:2]
    yield "no features", cov[:0, :0]
    yield "a stack", cov[None]
    yield "not symmetric", cov + np.triu(np.full((3, 3), 0.1), 1)
    yield "a negative eigenvalue", cov - 0.1 * np.trace(cov) * np.eye(3)
    yield "negative", -np.eye(3)
    for value in (np.nan, np.inf):
        yield f"{value} inside", np.where(np.eye(3) == 1, value, cov)


def _hostile_points() -> Iterator[BadCall]:
    mean, cov = draw(3), _matrix(3, np.float64)
    for label, bad in _bad_matrices():
        yield BadCall(label, "cov", (mean, bad))
    yield BadCall("two axes", "mean", (mean[None], cov))
    yield BadCall("another size", "mean", (mean[:2], cov))
    yield BadCall("NaN", "mean", (mean * np.nan, cov))


def _hostile_trace() -> Iterator[BadCall]:
    cov = _matrix(3, np.float64)
    for label, bad in _bad_matrices():
        yield BadCall(label, "cov", (bad, 1))
    for k in (0, 4, -1):
        yield BadCall(f"k = {k}", "k", (cov, k))
    yield BadCall("k no integer", "k", (cov, 1.0), error=TypeError)
    yield BadCall("largest no boolean", "largest", (cov, 1), {"largest": 1}, TypeError)


def _eigenvalues(cov: Array) -> tuple[Array, Array]:
    """d (m,), the largest first, and by how many eps rounding turns the eigenvectors: d_1 over the nearest gap."""
    d = np.maximum(np.linalg.eigvalsh(cov)[::-1], np.finfo(np.float64).tiny)
    gaps = np.abs(d[:, None] - d) + np.diag(np.full(len(d), np.inf))
    return d, 1 + d[0] / gaps.min(axis=1)


def _points_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    """Of a step √(m d) u: u turns, and d is wrong by d_1, so its root by d_1 / √d."""
    mean, cov = call.args
    d, turned = _eigenvalues(cov)
    step = np.sqrt(len(d)) * (np.sqrt(d) * turned + d[0] / np.sqrt(d))
    return (np.abs(mean) + np.tile(step, 2)[:, None],)


def _trace_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    cov, k = call.args
    d, turned = _eigenvalues(cov)
    turned = turned if call.options["largest"] else turned[::-1]
    return np.asarray(k * d[0]), np.broadcast_to(turned[:k], want[1].shape)


def _flops_eigen(call: Call) -> float:
    """m³ times 4/3 to tridiagonal form, about 8/3 for the eigenvectors of that, and 2 back."""
    return 6.0 * len(call.args[0]) ** 3


def _benches(make: Callable[[int, Any], Call]) -> tuple[Bench, ...]:
    return tuple(Bench(f"{m}x{m}", partial(make, m)) for m in (64, 256))


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
    Op(
        "points_with_moments",
        "pca",
        _ordinary_points,
        _benches(_points),
        _flops_eigen,
        edge=_edge_points,
        hostile=_hostile_points,
        scale=_points_scale,
        tolerance=1.0,
        no_gradient="a construction, by eigenvectors",
        no_kernel=LAPACK,
        bound_by="arithmetic",
    ),
    Op(
        "extreme_trace",
        "pca",
        _ordinary_trace,
        _benches(_trace),
        _flops_eigen,
        edge=_edge_trace,
        hostile=_hostile_trace,
        scale=_trace_scale,
        tolerance=1.0,
        no_gradient="the extreme itself, where the gradient along orthonormal frames is 0",
        no_kernel=LAPACK,
        bound_by="arithmetic",
    ),
)
