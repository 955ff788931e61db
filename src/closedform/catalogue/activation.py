"""Activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import reference
from .._results import Array
from .op import SIZES, BadCall, Bench, Call, Gradient, Op, draw, relative, specials

# Arithmetic of one element, about: what a polynomial of the needed degree costs.
FLOPS = {"relu": 1, "sigmoid": 20, "tanh": 24, "softplus": 36, "gelu": 36}
# How far an op may be from the exact value, in eps.
TOLERANCE = {"relu": 1, "sigmoid": 3, "tanh": 3, "softplus": 3, "gelu": 4}
HEADLINES = {("sigmoid", "64k"), ("tanh", "64k"), ("gelu", "64k"), ("relu", "8M"), ("tanh", "8M")}
IN_CACHE, IN_MEMORY = 1 << 16, 1 << 23  # elements: in float32 with their result 512 KiB and 64 MiB

Options = Mapping[str, Any]
Scale = Callable[[Call, tuple[Array, ...]], tuple[Array, ...]]


def _layer(
    name: str, *, from_output: bool = False, options: tuple[Options, ...] = ({},), **scales: Scale
) -> tuple[Op, Op]:
    """The two ops of an activation: forward, and the backward from its output or input."""
    backward = f"{name}_backward"
    forward_twin = getattr(reference, name)

    def ordinary(dtype: Any) -> Iterator[Call]:
        for i, n in enumerate(SIZES):
            x, o = draw(n, dtype=dtype, high=6), options[i % len(options)]
            yield Call(f"n = {n}{o or ''}", (x,), o)
        yield Call("(3, 5, 7)", (draw(3, 5, 7, dtype=dtype),))

    def edge(dtype: Any) -> Iterator[Call]:
        for o in options:
            yield Call(f"special values{o or ''}", (specials(dtype),), o)
        yield from (Call(f"shape {shape}", (np.ones(shape, dtype),)) for shape in ((0,), (3, 0), ()))

    def backward_of(calls: Iterator[Call]) -> Iterator[Call]:
        for call in calls:
            (x,) = call.args
            dy = draw(*x.shape, dtype=x.dtype, seed=1)
            yield Call(call.label, (dy, forward_twin(x, **call.options) if from_output else x), call.options)

    def bench(n: int, label: str) -> tuple[Bench, Bench]:
        headline = (name, label) in HEADLINES

        def one(dtype: Any) -> Call:
            return Call(label, (draw(n, dtype=dtype, high=6),))

        return Bench(label, one, headline=headline), Bench(
            label, lambda dtype: next(backward_of(iter([one(dtype)])))
        )

    def gradients(cf: Any) -> Iterator[Gradient]:
        f, df = getattr(cf, name), getattr(cf, backward)
        for i, o in enumerate(options):
            yield Gradient(
                f"n = 17{o or ''}",
                lambda x, o=o: f(x, **o),
                lambda dy, x, o=o: df(dy, f(x, **o) if from_output else x, **o),
                (draw(17, seed=i, high=4),),
            )

    def hostile() -> Iterator[BadCall]:
        yield BadCall("ragged x", "x", ([[1.0], [1.0, 2.0]],))
        for option in options[0]:
            yield BadCall(f"infinite {option}", option, (draw(3),), {option: np.inf})
            yield BadCall(f"{option} no number", option, (draw(3),), {option: "two"}, TypeError)

    def hostile_backward() -> Iterator[BadCall]:
        yield BadCall("shape of dy", "dy", (draw(3), draw(4)))
        yield BadCall("dy broadcasts", "dy", (draw(1, 4), draw(3, 4)))

    benches = [bench(IN_CACHE, "64k"), bench(IN_MEMORY, "8M")]
    forward_op = Op(
        name,
        "activation",
        ordinary,
        tuple(b[0] for b in benches),
        lambda c: FLOPS[name] * c.args[0].size,
        edge=edge,
        hostile=hostile,
        scale=scales.get("scale", relative),
        tolerance=TOLERANCE[name],
        backward=backward,
        gradients=gradients,
    )
    cost = 3 if from_output else FLOPS[name] + 2
    backward_op = Op(
        backward,
        "activation",
        lambda dtype: backward_of(ordinary(dtype)),
        tuple(b[1] for b in benches),
        lambda c: cost * c.args[0].size,
        edge=lambda dtype: backward_of(edge(dtype)),
        hostile=hostile_backward,
        scale=scales.get("backward_scale", relative),
        tolerance=4 + (0 if from_output else TOLERANCE[name]),
        proved_by=name,
    )
    return forward_op, backward_op


def _gelu_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    return (np.maximum(np.abs(want[0]), 1e-3),)  # below 1e-3 the promise is an absolute error


def _gelu_backward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    dy, x = call.args  # Φ(x) + xφ(x): two terms, that cancel near -0.75
    derivative = reference.gelu_backward(np.ones_like(x), x)
    distribution = np.nan_to_num(np.where(x == 0, 0.5, reference.gelu(x) / x), nan=1.0)
    return (np.abs(dy) * np.maximum(distribution + np.abs(derivative - distribution), 1e-3),)


OPS = (
    *_layer(
        "relu", options=({"slope": 1.0, "negative_slope": 0.0}, {"slope": 5.0}, {"negative_slope": -0.25})
    ),
    *_layer("sigmoid", from_output=True),
    *_layer("tanh", from_output=True),
    *_layer("softplus"),
    *_layer("gelu", scale=_gelu_scale, backward_scale=_gelu_backward_scale),
)
