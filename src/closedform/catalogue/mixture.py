"""Gaussian mixtures: the steps of EM."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np

from .._gaussians import COVARIANCE_TYPES
from .._results import Array
from ..reference.mixture import precisions_cholesky
from .mixture_errors import e_step_scale, em_step_scale, m_step_scale
from .mixture_mistakes import e_step_mistakes, em_step_mistakes, m_step_mistakes
from .op import Bench, Call, Op, draw, draw_unit, float_dtype

# (N, D, K) around vectors (4, 8 lanes), tiles (3 and 4 features) and chunks (128, 64 or 32 samples), and several tasks.
SHAPES = (
    (1, 1, 1), (3, 1, 2), (31, 2, 1), (127, 2, 5), (128, 3, 2), (129, 4, 17), (300, 5, 2), (129, 7, 5), (65, 16, 2),
    (127, 17, 5), (128, 16, 17), (300, 33, 2), (33, 33, 17), (3000, 9, 4), (70, 251, 2),
)  # fmt: skip


def _samples(N: int, D: int, dtype: Any, offset: float = 0.0) -> Array:
    x = draw(N, D, dtype=np.float64, seed=1)
    x[:, 1::2] += x[:, : D - 1 : 2] / 2  # correlated
    return np.asarray(x + offset, dtype)


def _covariances(K: int, D: int, kind: str, dtype: Any) -> Array:
    """Positive definite, and far from singular: condition numbers of about 10."""
    if kind in ("diag", "spherical"):
        return np.asarray(draw_unit(*((K, D) if kind == "diag" else (K,)), seed=4) + 0.5, dtype)
    mix = np.eye(D) + 0.3 / np.sqrt(D) * draw(K, D, D, seed=4)
    full = mix @ np.swapaxes(mix, 1, 2)
    full = (full + np.swapaxes(full, 1, 2)) / 2
    return np.asarray(full if kind == "full" else full[0], dtype)


def _mixture(N: int, D: int, K: int, kind: str, dtype: Any, offset: float = 0.0) -> tuple[Array, ...]:
    """x, weights, means and covariances; the components overlap."""
    weights = draw_unit(K, seed=2)
    means = offset + draw(K, D, seed=3) / np.sqrt(D)
    x = _samples(N, D, dtype, offset)
    return x, (weights / weights.sum()).astype(dtype), means.astype(dtype), _covariances(K, D, kind, dtype)


def _responsibilities(N: int, K: int, dtype: Any) -> Array:
    r = draw_unit(N, K, seed=5)
    return np.asarray(r / r.sum(axis=1, keepdims=True), dtype)


def _e_step(N: int, D: int, K: int, kind: str, dtype: Any, offset: float = 0.0) -> Call:
    x, weights, means, covariances = _mixture(N, D, K, kind, dtype, offset)
    u, _ = precisions_cholesky(covariances.astype(np.float64), kind)
    label = f"{kind} {N}x{D}, K = {K}, about {offset:g}"
    return Call(label, (x, weights, means, u.astype(dtype)), {"covariance_type": kind})


def _m_step(N: int, D: int, K: int, kind: str, dtype: Any, offset: float = 0.0, **options: Any) -> Call:
    label = f"{kind} {N}x{D}, K = {K}, about {offset:g}, {', '.join(options)}"
    args = _samples(N, D, dtype, offset), _responsibilities(N, K, dtype)
    return Call(label, args, {"covariance_type": kind, **options})


def _em_step(N: int, D: int, K: int, kind: str, dtype: Any, offset: float = 0.0, **options: Any) -> Call:
    label = f"{kind} {N}x{D}, K = {K}, about {offset:g}, {', '.join(options)}"
    return Call(label, _mixture(N, D, K, kind, dtype, offset), {"covariance_type": kind, **options})


def _options(i: int, N: int, dtype: Any) -> dict[str, Any]:
    """Of the i-th case: every other one has weights, every third another reg_covar."""
    options: dict[str, Any] = {"sample_weight": draw_unit(N, dtype=dtype, seed=6)} if i % 2 else {}
    return options | ({"reg_covar": 0.01} if i % 3 == 0 else {})


def _cases() -> Iterator[tuple[int, tuple[int, int, int, str]]]:
    cases = [(*shape, kind) for shape in SHAPES for kind in COVARIANCE_TYPES]
    return (
        (i + i // 4, case) for i, case in enumerate(cases)
    )  # so that every type has options of every kind


def _ordinary_e(dtype: Any) -> Iterator[Call]:
    for _, case in _cases():
        yield _e_step(*case, dtype)


def _ordinary_m(dtype: Any) -> Iterator[Call]:
    for i, case in _cases():
        yield _m_step(*case, dtype, **_options(i, case[0], dtype))


def _ordinary_em(dtype: Any) -> Iterator[Call]:
    for i, case in _cases():
        yield _em_step(*case, dtype, **_options(i, case[0], dtype))


def _edge_e(dtype: Any) -> Iterator[Call]:
    for kind in COVARIANCE_TYPES:
        yield _e_step(0, 3, 2, kind, dtype)
        yield _e_step(150, 5, 3, kind, dtype, offset=1e4)
        call = _e_step(70, 3, 4, kind, dtype)
        x, weights, means, u = call.args
        yield Call(f"{kind}, far from all means", ((x * 1e4).astype(dtype), weights, means, u), call.options)
        tiny = x * float(np.finfo(dtype).smallest_subnormal)
        yield Call(f"{kind}, subnormal samples", (tiny, weights, means, u), call.options)
        weights = np.array([0, 0.25, 0.75, 0], dtype)
        yield Call(f"{kind}, components of weight 0", (x, weights, means, u), call.options)


def _edge_m(dtype: Any) -> Iterator[Call]:
    for kind in COVARIANCE_TYPES:
        for offset in (1e4, -1e6):
            yield _m_step(700, 5, 3, kind, dtype, offset)
        options = {"covariance_type": kind}
        x, r = _m_step(130, 3, 4, kind, dtype).args
        empty = r.copy()
        empty[:, 1] = 0
        yield Call(f"{kind}, a component without samples", (x, empty), options)
        yield Call(f"{kind}, no responsibilities", (x, np.zeros_like(r)), options)
        yield Call(f"{kind}, rows that do not sum to 1", (x, r * draw_unit(130, 1, dtype=dtype)), options)
        weight = np.where(np.arange(130) % 3, draw_unit(130), 0).astype(dtype)
        yield Call(f"{kind}, weights of 0", (x, r), options | {"sample_weight": weight})
        yield Call(f"{kind}, rows all alike", (np.full_like(x, 0.1), r), options)
        one = x.argmax(axis=1)
        yield Call(f"{kind}, sure of every sample", (x, np.eye(4, dtype=dtype)[one]), options)


def _edge_em(dtype: Any) -> Iterator[Call]:
    for kind in COVARIANCE_TYPES:
        yield _em_step(700, 5, 3, kind, dtype, 1e4)
        options = {"covariance_type": kind}
        x, weights, means, covariances = _em_step(130, 3, 4, kind, dtype).args
        one = np.array([0, 1, 0, 0], dtype)
        yield Call(f"{kind}, components of weight 0", (x, one, means, covariances), options)
        apart = (means + 1000 * np.arange(4)[:, None]).astype(dtype)
        yield Call(f"{kind}, components that are far away", (x, weights, apart, covariances), options)
        weight = np.where(np.arange(130) % 3, draw_unit(130), 0).astype(dtype)
        rest = weights, means, covariances
        yield Call(f"{kind}, weights of 0", (x, *rest), options | {"sample_weight": weight})
        yield Call(f"{kind}, rows all alike", (np.full_like(x, 0.1), *rest), options)


def _flops(call: Call) -> float:
    """Multiply-adds of the products with Cholesky factors, and of the lower halves of the scatters."""
    x, other = call.args[:2]
    (N, D), K = x.shape, other.shape[-1]
    matrix = float(N * D * (D + 1))
    step: float = {
        "full": K * matrix,
        "tied": matrix + 3.0 * N * D * K,
        "diag": 4.0 * N * D * K,
        "spherical": 4.0 * N * D * K,
    }[call.options["covariance_type"]]
    return 2 * step if len(call.args) == 4 and call.args[3].ndim else step


# (N, D, K, type): those that speed is promised for, and one where the overhead of a call counts.
BENCHES = (
    (100_000, 16, 16, "full"), (100_000, 16, 16, "diag"), (1_000_000, 2, 8, "full"), (50_000, 10, 8, "tied"),
    (100_000, 16, 16, "spherical"), (200, 4, 3, "full"),
)  # fmt: skip
HEADLINES = BENCHES[:1]


def _benches(make: Any, headlines: tuple[Any, ...] = ()) -> tuple[Bench, ...]:
    def case(shape: tuple[int, int, int, str]) -> Bench:
        N, D, K, kind = shape
        label = f"{kind} {N}x{D}x{K}"
        dtypes = ("float64", "float32") if shape in headlines[:1] else ("float64",)
        return Bench(label, lambda dtype: make(*shape, np.dtype(dtype).type), dtypes, shape in headlines)

    return tuple(map(case, BENCHES))


def _tolerance(call: Call) -> float:
    """Of float32 the last rounding alone: the arithmetic is float64."""
    return 1.0 if float_dtype(call) == np.float32 else 2.0


def _m_tolerance(call: Call) -> float:
    """In float64 the roundings of sums of N terms as well, of which some √N are left."""
    return 1.0 if float_dtype(call) == np.float32 else 2 + sqrt(len(call.args[0])) / 8


OPS = (
    Op(
        "gmm_e_step",
        "mixture",
        _ordinary_e,
        _benches(_e_step),
        _flops,
        edge=_edge_e,
        hostile=e_step_mistakes,
        scale=e_step_scale,
        tolerance=_tolerance,
        no_gradient="EM needs none: each step has its solution in closed form",
        kernels=("_mixture.e_step",),
        bound_by="arithmetic",
    ),
    Op(
        "gmm_m_step",
        "mixture",
        _ordinary_m,
        _benches(_m_step),
        _flops,
        edge=_edge_m,
        hostile=m_step_mistakes,
        scale=m_step_scale,
        tolerance=_m_tolerance,
        no_gradient="the maximum itself, where a gradient is 0",
        kernels=("_mixture.m_step",),
        bound_by="arithmetic",
    ),
    Op(
        "gmm_em_step",
        "mixture",
        _ordinary_em,
        _benches(_em_step, HEADLINES),
        _flops,
        edge=_edge_em,
        hostile=em_step_mistakes,
        scale=em_step_scale,
        tolerance=_tolerance,
        no_gradient="a step of EM takes the place of gradient descent",
        kernels=("_mixture.em_step", "_mixture.precisions_cholesky", "_mixture.fit"),
        bound_by="arithmetic",
    ),
)
