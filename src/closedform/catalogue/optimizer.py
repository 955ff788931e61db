"""Parameter updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._results import Array
from .compare import outputs
from .op import SIZES, BadCall, Bench, Call, Op, draw

SGD = (
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.03, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"lr": 0.2, "weight_decay": 0.1},
)
ADAM = (
    {"lr": 0.01, "step": 1},
    {"lr": 0.1, "step": 7, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1},
    {"lr": 0.01, "step": 1000, "weight_decay": 0.1, "decoupled": True},
)


def _sgd(n: int, dtype: Any, i: int) -> Call:
    options = SGD[i % len(SGD)]
    velocity = draw(n, dtype=dtype, seed=2) if "momentum" in options else None
    return Call(
        f"n = {n}, {options}", (draw(n, dtype=dtype), draw(n, dtype=dtype, seed=1), velocity), options
    )


def _adam(n: int, dtype: Any, i: int) -> Call:
    options = ADAM[i % len(ADAM)]
    m, v = draw(n, dtype=dtype, seed=2), np.abs(draw(n, dtype=dtype, seed=3))
    return Call(f"n = {n}, {options}", (draw(n, dtype=dtype), draw(n, dtype=dtype, seed=1), m, v), options)


def _ordinary(make: Any) -> Any:
    return lambda dtype: (make(n, dtype, i) for i, n in enumerate(SIZES))


def _edge(make: Any) -> Any:
    def calls(dtype: Any) -> Iterator[Call]:
        yield make(0, dtype, 1)
        for i in range(3):
            call = make(19, dtype, i)
            gradient = call.args[1].copy()
            largest = np.sqrt(np.finfo(dtype).max) / 16  # Adam squares it
            gradient[:7] = [0, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny, largest, -0.0]
            yield Call("special gradients", (call.args[0], gradient, *call.args[2:]), call.options)

    return calls


def _common_hostile(make: Any, state: str) -> Iterator[BadCall]:
    call = make(6, np.float64, 1)
    p, g, s, *rest = call.args
    read_only = p.copy()
    read_only.flags.writeable = False
    yield BadCall("read-only parameter", "parameter", (read_only, g, s, *rest), call.options)
    yield BadCall("parameter is the gradient", "parameter", (p, p, s, *rest), call.options)
    yield BadCall("shape of the gradient", "gradient", (p, g[:5], s, *rest), call.options)
    yield BadCall("shape of the state", state, (p, g, s[:5], *rest), call.options)
    yield BadCall("dtype of the state", state, (p, g, s.astype(np.float32), *rest), call.options, TypeError)
    yield BadCall("parameter a list", "parameter", ([1.0], [1.0], s, *rest), call.options, TypeError)
    for name in ("lr", "weight_decay"):
        yield BadCall(f"{name} NaN", name, call.args, {**call.options, name: np.nan})
        yield BadCall(f"{name} no number", name, call.args, {**call.options, name: "small"}, TypeError)


def _sgd_hostile() -> Iterator[BadCall]:
    yield from _common_hostile(_sgd, "velocity")
    p, g, _ = _sgd(6, np.float64, 1).args
    yield BadCall("momentum without velocity", "velocity", (p, g, None), {"lr": 0.1, "momentum": 0.9})
    yield BadCall("negative momentum", "momentum", (p, g, p.copy()), {"lr": 0.1, "momentum": -0.1})


def _adam_hostile() -> Iterator[BadCall]:
    yield from _common_hostile(_adam, "m")
    call = _adam(6, np.float64, 0)
    for name, value in (("beta1", 1.0), ("beta2", -0.1), ("eps", -1.0), ("step", 0)):
        yield BadCall(f"{name} {value}", name, call.args, {**call.options, name: value})


def _absolute(name: str) -> Any:
    """The update of absolute values with -lr: every difference becomes the sum of its terms' sizes."""

    def scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
        op = next(o for o in OPS if o.name == name)
        args = tuple(a if a is None else np.abs(a) for a in call.args)
        return outputs(op, op.twin, Call("", args, {**call.options, "lr": -call.options["lr"]}))

    return scale


NO_GRADIENT = "a parameter update, not a function to differentiate"


def _benches(make: Callable[..., Call]) -> tuple[Bench, ...]:
    return (
        Bench("32k", lambda dtype: make(1 << 15, dtype, 1)),
        Bench("4M", lambda dtype: make(1 << 22, dtype, 1), headline=make is _adam),
    )


OPS = (
    Op(
        "sgd_update",
        "optimizer",
        _ordinary(_sgd),
        _benches(_sgd),
        lambda c: 6 * c.args[0].size,
        edge=_edge(_sgd),
        hostile=_sgd_hostile,
        scale=_absolute("sgd_update"),
        no_gradient=NO_GRADIENT,
        updates=("parameter", "velocity"),
    ),
    Op(
        "adam_update",
        "optimizer",
        _ordinary(_adam),
        _benches(_adam),
        lambda c: 16 * c.args[0].size,
        edge=_edge(_adam),
        hostile=_adam_hostile,
        scale=_absolute("adam_update"),
        tolerance=6.0,
        no_gradient=NO_GRADIENT,
        updates=("parameter", "m", "v"),
    ),
)
