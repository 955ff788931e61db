"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import Any

import numpy as np

from .. import reference
from .._results import Array
from .op import BadCall, Bench, Call, Gradient, Op, draw, draw_unit

# (..., C): rows side by side (C below 128), whole vectors or not; chunks of 32 rows, groups, panels of 1024 columns.
SHAPES = (
    (1, 1), (2, 3), (9, 1), (7, 5), (17,), (3, 5, 7), (2, 5, 4, 8), (600, 1), (1500, 3), (33, 17), (5, 64), (70, 63),
    (2, 9, 31, 33), (31, 128), (33, 131), (64, 130), (6, 1025), (40, 1027), (3000, 65), (5, 3100),
)  # fmt: skip

BENCHES = ((32, 32, 32, 64), (32, 56, 56, 64), (256, 1, 1, 1024), (8, 14, 14, 256))
HEADLINES = BENCHES[:1]


def _channels(shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
    return draw(shape[-1], dtype=dtype, seed=2), draw(shape[-1], dtype=dtype, seed=3)


def _forward(shape: tuple[int, ...], dtype: Any, **options: Any) -> Call:
    return Call(f"{shape}, {options}", (draw(*shape, dtype=dtype, seed=1), *_channels(shape, dtype)), options)


def _inference(shape: tuple[int, ...], dtype: Any, **options: Any) -> Call:
    statistics = draw(shape[-1], dtype=dtype, seed=5), draw_unit(shape[-1], dtype=dtype, seed=6)
    forward = _forward(shape, dtype, **options)
    return Call(forward.label, (*forward.args, *statistics), options)


def _backward(forward: Call) -> Call:
    dy = draw(*forward.args[0].shape, dtype=forward.args[0].dtype, seed=4)
    return Call(forward.label, (dy, reference.batchnorm(*forward.args, **forward.options)))


def _forwards(dtype: Any) -> Iterator[Call]:
    for i, shape in enumerate(SHAPES):
        yield _forward(shape, dtype, **({"eps": 1e-3} if i % 3 == 0 else {}))


def _inferences(dtype: Any) -> Iterator[Call]:
    for i, shape in enumerate(SHAPES):
        yield _inference(shape, dtype, **({"eps": 1e-3} if i % 3 == 0 else {}))


def _backwards(dtype: Any) -> Iterator[Call]:
    yield from map(_backward, _forwards(dtype))


def _far(dtype: Any) -> Iterator[Call]:
    """Where E[x²] − E[x]² has no correct digit: far from 0, constant, all of one size but one."""
    for shape, offset in (((64, 33), 1e4), ((2000, 19), -1e4), ((300, 130), 1e6)):
        x, gamma, beta = _forward(shape, dtype).args
        yield Call(f"{shape} about {offset:g}", ((x + offset).astype(dtype), gamma, beta))
    x, gamma, beta = _forward((50, 18), dtype).args
    x[:] = 0.1
    x[:, 1] = 0
    yield Call("constant channels", (x, gamma, beta))
    for row in (0, 40):
        x, gamma, beta = _forward((700, 18), dtype).args
        x[row] = 1e4
        yield Call(f"row {row} far away", (x, gamma, beta))


def _spoiled(dtype: Any) -> Call:
    """Infinite and NaN entries: each spoils its channel."""
    x, gamma, beta = _forward((500, 21), dtype).args
    for i, value in enumerate((np.inf, -np.inf, np.nan)):
        x[i * 170 + 17, 4 * i] = value
    x[[3, 400], 20] = np.inf, -np.inf
    beta[18:20] = np.inf, np.nan
    return Call("infinite and NaN entries", (x, gamma, beta))


EMPTY = ((0, 3), (5, 0), (2, 0, 4, 6), (0, 0))


def _forward_edge(dtype: Any) -> Iterator[Call]:
    for shape in EMPTY:
        yield _forward(shape, dtype)
    yield from _far(dtype)
    yield _spoiled(dtype)


def _backward_edge(dtype: Any) -> Iterator[Call]:
    yield from map(_backward, _forward_edge(dtype))
    dy, trace = _backward(_forward((300, 7), dtype)).args
    dy[100, 3] = np.nan
    yield Call("NaN in dy", (dy, trace))


def _inference_edge(dtype: Any) -> Iterator[Call]:
    for shape in EMPTY:
        yield _inference(shape, dtype)
    x, gamma, beta, mean, var = _inference((50, 21), dtype).args
    yield Call("about 10000", ((x + 1e4).astype(dtype), gamma, beta, (mean + 1e4).astype(dtype), var))
    yield Call("infinite and NaN entries", (*_spoiled(dtype).args, mean, var))
    var[3], var[4], mean[5] = np.inf, -1, np.nan
    yield Call("infinite, negative and NaN statistics", (x, gamma, beta, mean, var))


def _mistakes(x: Array, **channels: Array) -> Iterator[tuple[str, str, tuple[Any, ...], dict[str, Any]]]:
    """(label, argument, arguments, options) of mistakes that forward and inference refuse."""
    given = tuple(channels.values())
    yield "scalar x", "x", (1.0, *given), {}
    yield "ragged x", "x", ([[1.0], [1.0, 2.0]], *given), {}
    yield "negative eps", "eps", (x, *given), {"eps": -1e-5}
    yield "infinite eps", "eps", (x, *given), {"eps": np.inf}
    for i, (name, a) in enumerate(channels.items()):
        for label, wrong in (("length", a[1:]), ("two axes", a[None]), ("a number", a[0])):
            yield f"{name}: {label}", name, (x, *given[:i], wrong, *given[i + 1 :]), {}


def _forward_hostile() -> Iterator[BadCall]:
    for label, argument, args, options in _mistakes(draw(5, 3), gamma=draw(3), beta=draw(3, seed=1)):
        yield BadCall(label, argument, args, options)


def _inference_hostile() -> Iterator[BadCall]:
    channels = {name: draw(3, seed=i) for i, name in enumerate(("gamma", "beta", "mean", "var"))}
    for label, argument, args, options in _mistakes(draw(5, 3), **channels):
        yield BadCall(label, argument, args, options)


def _backward_hostile() -> Iterator[BadCall]:
    dy, trace = _backward(_forward((5, 3), np.float64)).args
    yield BadCall("rows of dy", "dy", (dy[1:], trace))
    yield BadCall("axes of dy", "dy", (dy[None], trace))
    yield BadCall("no trace", "trace", (dy, tuple(trace)), error=TypeError)
    yield BadCall("y for a trace", "trace", (dy, trace.y), error=TypeError)
    yield BadCall("trace of nothing", "trace", (dy, trace._replace(x=None)), error=TypeError)
    yield BadCall("trace that does not fit", "trace", (dy, trace._replace(gamma=draw(4))))
    yield BadCall("trace with a scalar x", "trace", (dy, trace._replace(x=1.0)))
    yield BadCall("out no tuple", "out", (dy, trace), {"out": np.zeros((5, 3))}, TypeError)
    yield BadCall("out of two", "out", (dy, trace), {"out": (None, None)}, TypeError)
    yield BadCall("out of a wrong shape", "out", (dy, trace), {"out": (None, np.zeros(2), None)})
    yield BadCall("out over x", "out", (dy, trace), {"out": (trace.x, None, None)})


def _gradients(cf: Any) -> Iterator[Gradient]:
    def forward(x: Array, gamma: Array, beta: Array) -> Any:
        return cf.batchnorm(x, gamma, beta, eps=1e-3).y

    def backward(dy: Array, x: Array, gamma: Array, beta: Array) -> Any:
        return cf.batchnorm_backward(dy, cf.batchnorm(x, gamma, beta, eps=1e-3))

    for shape in ((7, 3), (2, 3, 4, 5), (3, 1), (1, 4), (6, 17), (2, 130)):
        yield Gradient(f"{shape}", forward, backward, _forward(shape, np.float64).args)


# The scales are the terms that are added: rounding is in proportion to them, whatever their sum.


def _forward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    """y: γ x̂ and β, and since a mean is known to eps σ, γ too. Means: the terms, and σ. rstd: itself."""
    x, gamma, beta = call.args
    return np.abs(want[0] - beta) + np.abs(gamma) + np.abs(beta), _mean(np.abs(x)) + 1 / want[2], want[2]


def _inference_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    beta = call.args[2]
    return (np.abs(want[0] - beta) + np.abs(beta),)


def _backward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    dy, trace = np.abs(call.args[0]), call.args[1]
    m = prod(dy.shape[:-1])
    xhat = np.abs(trace.x - _mean(trace.x)) * trace.rstd
    of_gamma, of_beta = _mean(dy * xhat), _mean(dy)
    dx = np.abs(trace.gamma) * trace.rstd * (dy + of_beta + xhat * of_gamma)
    return dx, m * of_gamma, m * of_beta


def _mean(x: Array) -> Array:
    total: Array = x.sum(axis=tuple(range(x.ndim - 1)))
    return total / max(1, prod(x.shape[:-1]))


def _depth(call: Call) -> float:
    """The last roundings, and √n of the kernel's sums in float32, 32 rows; of the twin's in float64, all."""
    x = call.args[0]
    rows = prod(x.shape[:-1])
    return 4 + sqrt(min(rows, 32) if x.dtype == np.float32 else rows)


def _benches(make: Any) -> tuple[Bench, ...]:
    def case(shape: tuple[int, ...]) -> Bench:
        label = "x".join(map(str, shape))
        return Bench(label, lambda dtype: make(shape, dtype), headline=shape in HEADLINES)

    return tuple(map(case, BENCHES))


OPS = (
    Op(
        "batchnorm",
        "normalization",
        _forwards,
        _benches(_forward),
        lambda c: 7.0 * c.args[0].size,
        edge=_forward_edge,
        hostile=_forward_hostile,
        scale=_forward_scale,
        tolerance=_depth,
        backward="batchnorm_backward",
        gradients=_gradients,
        computed=("y", "mean", "rstd"),
    ),
    Op(
        "batchnorm_backward",
        "normalization",
        _backwards,
        _benches(lambda shape, dtype: _backward(_forward(shape, dtype))),
        lambda c: 10.0 * c.args[0].size,
        edge=_backward_edge,
        hostile=_backward_hostile,
        scale=_backward_scale,
        tolerance=_depth,
        proved_by="batchnorm",
    ),
    Op(
        "batchnorm_inference",
        "normalization",
        _inferences,
        _benches(_inference),
        lambda c: 3.0 * c.args[0].size,
        edge=_inference_edge,
        hostile=_inference_hostile,
        scale=_inference_scale,
        no_gradient="used after training; a scale and a shift",
    ),
)
