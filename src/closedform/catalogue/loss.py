"""Elementwise losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any

import numpy as np

from .. import reference
from .._results import Array
from .op import SIZES, BadCall, Bench, Call, Gradient, Op, draw, draw_unit, relative, specials

REDUCTIONS = ("sum", "mean", "none")
Make = Callable[..., tuple[Array, Array]]  # (*shape, dtype=) -> prediction, target


def _reals(*shape: int, dtype: Any = np.float64) -> tuple[Array, Array]:
    return draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=1)


def _probabilities(*shape: int, dtype: Any = np.float64) -> tuple[Array, Array]:
    return draw_unit(*shape, dtype=dtype), draw_unit(*shape, dtype=dtype, seed=1)


def _logits(*shape: int, dtype: Any = np.float64) -> tuple[Array, Array]:
    return draw(*shape, dtype=dtype, high=6), draw_unit(*shape, dtype=dtype, seed=1)


def _ordinary(make: Make) -> Callable[[Any], Iterator[Call]]:
    def calls(dtype: Any) -> Iterator[Call]:
        for i, n in enumerate(SIZES):
            reduction = REDUCTIONS[i % 3]
            yield Call(f"n = {n}, {reduction}", make(n, dtype=dtype), {"reduction": reduction})
        yield Call("(3, 5, 7)", make(3, 5, 7, dtype=dtype))

    return calls


def _edge(
    prediction: Callable[[Any], Array], target: Callable[[Any], Array]
) -> Callable[[Any], Iterator[Call]]:
    def calls(dtype: Any) -> Iterator[Call]:
        for reduction in REDUCTIONS:
            yield Call(
                f"empty, {reduction}",
                (np.ones((0, 3), dtype), np.ones((0, 3), dtype)),
                {"reduction": reduction},
            )
        p, t = prediction(dtype), target(dtype)
        grid = np.repeat(p, t.size), np.tile(t, p.size)
        yield Call("special values", grid, {"reduction": "none"})
        yield Call("special values, summed", grid, {"reduction": "sum"})
        yield Call("scalars", (np.asarray(p[0]), np.asarray(t[0])))

    return calls


def _certain(dtype: Any) -> Array:
    """Probabilities at and next to their limits."""
    f = np.finfo(dtype)
    return np.array([0.0, f.smallest_subnormal, f.tiny, f.eps, 0.5, 1 - f.epsneg, 1.0, np.nan], dtype)


def _bits(dtype: Any) -> Array:
    return np.array([0.0, 0.3, 1.0], dtype)


def _hostile(first: str, *, unit: bool, unit_target: bool) -> Callable[[], Iterator[BadCall]]:
    def calls() -> Iterator[BadCall]:
        p = draw_unit(3, 4)
        yield BadCall("shape of y", "y", (p, draw_unit(3, 5)))
        yield BadCall("y broadcasts", "y", (p, draw_unit(4)))
        yield BadCall("unknown reduction", "reduction", (p, p), {"reduction": "average"})
        yield BadCall("reduction None", "reduction", (p, p), {"reduction": None})
        for value in (-0.1, 1.5, np.inf):
            bad = p.copy()
            bad[1, 2] = value
            if unit:
                yield BadCall(f"{first} has {value}", first, (bad, p))
            if unit_target:
                yield BadCall(f"y has {value}", "y", (p, bad))

    return calls


def _gradients(name: str, make: Make) -> Callable[[Any], Iterator[Gradient]]:
    def gradients(cf: Any) -> Iterator[Gradient]:
        for reduction in REDUCTIONS:
            p, t = make(3, 5)
            yield Gradient(
                reduction,
                lambda p, t=t, r=reduction: getattr(cf, name)(p, t, reduction=r),
                lambda dy, p, t=t, r=reduction: dy * getattr(cf, f"{name}_backward")(p, t, reduction=r),
                (p,),
            )

    return gradients


def _depth(call: Call) -> float:
    summed = call.options.get("reduction") != "none"
    return 5 + (sqrt(call.args[0].size) if summed else 0)


def _mean_divisor(call: Call, default: str) -> float:
    return call.args[0].size if call.options.get("reduction", default) == "mean" else 1


def _logits_backward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    z, y = call.args
    return ((reference.sigmoid(z) + y) / _mean_divisor(call, "mean"),)  # a difference


def _bench(make: Make, n: int, label: str) -> Bench:
    return Bench(label, lambda dtype: Call(label, make(n, dtype=dtype)))


def _pair(
    name: str,
    make: Make,
    edge: Any,
    hostile: Any,
    flops: int,
    flops_backward: int,
    backward_scale: Any = relative,
) -> tuple[Op, Op]:
    benches = (_bench(make, 1 << 16, "64k"), _bench(make, 1 << 22, "4M"))
    return (
        Op(
            name,
            "loss",
            _ordinary(make),
            benches,
            lambda c: flops * c.args[0].size,
            edge=edge,
            hostile=hostile,
            tolerance=_depth,
            backward=f"{name}_backward",
            gradients=_gradients(name, make),
        ),
        Op(
            f"{name}_backward",
            "loss",
            _ordinary(make),
            benches,
            lambda c: flops_backward * c.args[0].size,
            edge=edge,
            hostile=hostile,
            scale=backward_scale,
            tolerance=5.0,
            proved_by=name,
        ),
    )


OPS = (
    *_pair(
        "squared_error",
        _reals,
        _edge(specials, specials),
        _hostile("y_hat", unit=False, unit_target=False),
        3,
        2,
    ),
    *_pair(
        "binary_cross_entropy",
        _probabilities,
        _edge(_certain, _bits),
        _hostile("y_hat", unit=True, unit_target=True),
        44,
        6,
    ),
    *_pair(
        "binary_cross_entropy_with_logits",
        _logits,
        _edge(specials, _bits),
        _hostile("z", unit=False, unit_target=True),
        40,
        21,
        _logits_backward_scale,
    ),
)
