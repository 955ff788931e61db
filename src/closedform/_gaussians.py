"""Checks of the arguments of Gaussian mixtures. N samples, D features, K components.

Parameters become float64, which the arithmetic is done in; samples stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._results import Array
from ._validate import FLOAT64, as_floats, expect_shape

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")  # their indices are the compiled driver's
SUM_TOLERANCE = 1e-6  # of weights, which may come from float32


def covariance_shape(covariance_type: str, K: int, D: int) -> tuple[int, ...]:
    """Of covariances, and of the Cholesky factors of their inverses."""
    return {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[covariance_type]


def expect_samples(x: Array, least: int = 0) -> None:
    if x.ndim != 2 or x.shape[1] < 1 or x.shape[0] < least:
        rows = f" and N >= {least}" if least else ""
        raise ValueError(f"x: expected shape (N, D) with D >= 1{rows}; got {x.shape}")


def settled(name: str, a: Array) -> Array:
    """Large arrays once all shapes are right: as the compiled driver reads them, and finite."""
    a = np.require(a, requirements=("C", "A"))
    expect_finite(name, a)
    return a


def expect_finite(name: str, a: Array) -> None:
    with np.errstate(all="ignore"):
        if np.isfinite(a.sum()):  # one pass without memory; a sum may also overflow
            return
    _expect_all(name, a, np.isfinite(a), "finite numbers")


def as_parameters(
    weights: Any, means: Any, matrices: tuple[str, Any], covariance_type: str, D: int
) -> tuple[Array, Array, Array, Any]:
    """weights (K,), means (K, D), covariances or Cholesky factors, in float64; and the dtype they came in."""
    name, a = matrices
    weights, means, a = as_floats(weights=weights, means=means, **{name: a})
    dtype = weights.dtype
    if means.ndim != 2 or means.shape[0] < 1 or means.shape[1] != D:
        raise ValueError(
            f"means: expected shape (K, {D}) with K >= 1, x having {D} features; got {means.shape}"
        )
    K = len(means)
    expect_shape("weights", weights, (K,), "one for each of the means")
    expect_shape(
        name, a, covariance_shape(covariance_type, K, D), f"covariance_type being {covariance_type!r}"
    )
    weights, means, a = (np.array(p, FLOAT64, order="C") for p in (weights, means, a))  # copies: writable
    _expect_all("weights", weights, weights >= 0, "numbers >= 0")
    if not abs(weights.sum() - 1) <= SUM_TOLERANCE:
        raise ValueError(f"weights: expected numbers that sum to 1; got a sum of {weights.sum():.9g}")
    expect_finite("means", means)
    expect_finite(name, a)
    return weights, means, a, dtype


def expect_factors(u: Array, covariance_type: str) -> None:
    """Upper triangles with a positive diagonal: the kernel reads no more, and takes the logarithm of that."""
    matrices = covariance_type in ("full", "tied")
    diagonal = np.diagonal(u, axis1=-2, axis2=-1) if matrices else u
    where = "on the diagonal" if matrices else "everywhere"
    _expect_all("precisions_cholesky", diagonal, diagonal > 0, f"numbers > 0 {where}")
    if matrices:
        below = np.tril(np.ones(u.shape[-2:], bool), -1)
        _expect_all("precisions_cholesky", u, (u == 0) | ~below, "0 below the diagonal")


def expect_symmetric(covariances: Array, covariance_type: str, name: str = "covariances") -> None:
    if covariance_type in ("full", "tied"):
        difference = np.abs(covariances - np.swapaxes(covariances, -1, -2))
        size = np.abs(covariances).max(axis=(-1, -2), keepdims=True)
        _expect_all(name, covariances, difference <= 1e-5 * size, "symmetric matrices")


def as_responsibilities(x: Any, responsibilities: Any) -> tuple[Array, Array]:
    """x (N, D) and responsibilities (N, K), of one dtype."""
    x, r = as_floats(x=x, responsibilities=responsibilities)
    expect_samples(x, least=1)
    N = len(x)
    if r.ndim != 2 or r.shape[0] != N or r.shape[1] < 1:
        raise ValueError(
            f"responsibilities: expected shape ({N}, K) with K >= 1, x having {N} rows; got {r.shape}"
        )
    r = settled("responsibilities", r)
    if r.min() < 0:
        _expect_all("responsibilities", r, r >= 0, "numbers >= 0")
    return settled("x", x), r


def as_sample_weight(sample_weight: Any, N: int) -> Array | None:
    """(N,) in float64, of positive sum; None stays None."""
    if sample_weight is None:
        return None
    (w,) = as_floats(sample_weight=sample_weight)
    expect_shape("sample_weight", w, (N,), "one number for each row of x")
    w = settled("sample_weight", w.astype(FLOAT64, copy=False))
    _expect_all("sample_weight", w, w >= 0, "numbers >= 0")
    with np.errstate(over="ignore"):
        total = w.sum()
    if not 0 < total < np.inf:
        raise ValueError(f"sample_weight: expected a finite sum > 0; got {total:g}")
    return w


def _expect_all(name: str, a: Array, good: Array, what: str) -> None:
    """`good` (a's shape) is true everywhere, or an error names the first place where it is not."""
    if not good.all():
        i = tuple(int(j) for j in np.argwhere(~good)[0])
        raise ValueError(f"{name}: expected {what}; got {a[i]} at index {i if len(i) > 1 else i[0]}")
