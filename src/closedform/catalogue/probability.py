"""Softmax and its relatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from .. import reference
from .._results import Array
from .op import SIZES, BadCall, Bench, Call, Gradient, Op, draw, specials

EXP_FLOPS, LOG_FLOPS = 16, 20  # about
Options = Mapping[str, Any]
AXES: tuple[Options, ...] = ({}, {"axis": 0}, {"axis": -2})
TEMPERATURES: tuple[Options, ...] = (*AXES, {"temperature": 0.3}, {"axis": 0, "temperature": 7.0})


def _ordinary(options: tuple[Options, ...]) -> Callable[[Any], Iterator[Call]]:
    def calls(dtype: Any) -> Iterator[Call]:
        for i, K in enumerate(SIZES):
            o = options[i % len(options)]
            yield Call(f"(3, {K}){o or ''}", (draw(3, K, dtype=dtype, high=9),), o)
        yield Call("(17,)", (draw(17, dtype=dtype),))
        yield Call("(5, 3, 10), axis 1", (draw(5, 3, 10, dtype=dtype),), {"axis": 1})

    return calls


def _edge(dtype: Any) -> Iterator[Call]:
    for shape in ((0, 3), (3, 0), (0, 0), (1, 1), (3, 0, 2)):
        yield Call(f"shape {shape}", (np.ones(shape, dtype),))
    yield Call("empty axis 0", (np.ones((0, 3), dtype),), {"axis": 0})
    rows = np.zeros((9, 11), dtype)
    rows[0] = -np.inf  # nothing is possible
    rows[1, 4] = -np.inf  # one class is not
    rows[2, 5] = np.inf
    rows[3, 2:4] = np.inf
    rows[4, 3] = np.nan
    rows[5, 6] = np.finfo(dtype).max
    rows[6] = -np.finfo(dtype).max
    rows[7, 8] = 200.0  # saturated
    rows[8] = np.finfo(dtype).smallest_subnormal
    yield Call("infinite, NaN, saturated and subnormal rows", (rows,))
    yield Call("special values alone", (specials(dtype)[:, None],))


def _edge_tempered(dtype: Any) -> Iterator[Call]:
    yield from _edge(dtype)
    for temperature in (1e-30, 1e-3, 1e4, 1e30):
        yield Call(f"temperature {temperature:g}", (draw(3, 11, dtype=dtype),), {"temperature": temperature})


def _hostile_forward(argument: str = "x") -> list[BadCall]:
    return [BadCall("ragged", argument, ([[1.0], [1.0, 2.0]],))]


def _hostile_axis() -> Iterator[BadCall]:
    yield from _hostile_forward()
    yield BadCall("scalar", "axis", (1.0,))
    yield BadCall("no such axis", "axis", (draw(3, 4),), {"axis": 2})
    yield BadCall("no such negative axis", "axis", (draw(3, 4),), {"axis": -3})
    yield BadCall("huge axis", "axis", (draw(3, 4),), {"axis": 2**70})
    yield BadCall("axis no integer", "axis", (draw(3, 4),), {"axis": 0.0}, TypeError)
    yield BadCall("axis None", "axis", (draw(3, 4),), {"axis": None}, TypeError)


def _hostile_softmax() -> Iterator[BadCall]:
    yield from _hostile_axis()
    for temperature in (0.0, -1.0, np.inf, np.nan):
        yield BadCall(f"temperature {temperature}", "temperature", (draw(3),), {"temperature": temperature})
    yield BadCall("temperature no number", "temperature", (draw(3),), {"temperature": "hot"}, TypeError)


def _hostile_backward() -> Iterator[BadCall]:
    yield BadCall("shape of dy", "dy", (draw(3, 4), draw(3, 5)))
    yield BadCall("dy broadcasts", "dy", (draw(1, 4), draw(3, 4)))
    yield BadCall("no such axis", "axis", (draw(3, 4), draw(3, 4)), {"axis": 2})


def _backward_of(calls: Callable[[Any], Iterator[Call]], twin: Any) -> Callable[[Any], Iterator[Call]]:
    def backward(dtype: Any) -> Iterator[Call]:
        for call in calls(dtype):
            (x,) = call.args
            yield Call(
                call.label, (draw(*x.shape, dtype=dtype, seed=1), twin(x, **call.options)), call.options
            )

    return backward


def _jacobian_calls(dtype: Any) -> Iterator[Call]:
    for shape in ((1,), (2, 3), (3, 8), (2, 2, 9), (5, 17), (1, 33)):
        yield Call(f"{shape}", (reference.softmax(draw(*shape, dtype=dtype)),))


def _jacobian_edge(dtype: Any) -> Iterator[Call]:
    for shape in ((0, 3), (3, 0)):
        yield Call(f"shape {shape}", (np.ones(shape, dtype),))
    yield Call("one-hot and NaN", (np.array([[0, 1, 0], [np.nan, 0.5, 0.5]], dtype),))


# -- scales --


def _shift(call: Call) -> tuple[Array, float]:
    """Distance d of x from its maximum, over the temperature: e^-d has d times the relative error of d."""
    x, axis = call.args[0], call.options.get("axis", -1)
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return np.nan_to_num(np.abs(x - top) / call.options.get("temperature", 1.0), nan=0.0, posinf=0.0), axis


def _softmax_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    d, axis = _shift(call)
    y = want[0]
    return (y * (1 + d + np.sum(np.nan_to_num(y * d), axis=int(axis), keepdims=True)),)


def _softmax_backward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    dy, y = map(np.abs, call.args)
    o = call.options
    return (y * (dy + np.sum(dy * y, axis=o.get("axis", -1), keepdims=True)) / o.get("temperature", 1.0),)


def _log_softmax_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    return (np.abs(want[0]) + 1,)


def _log_softmax_backward_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    dy, y = call.args
    total = np.sum(np.abs(dy), axis=call.options.get("axis", -1), keepdims=True)
    return (np.abs(dy) + np.exp(y) * (1 + np.nan_to_num(np.abs(y), posinf=0.0)) * total,)


def _logsumexp_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    x, axis = call.args[0], call.options.get("axis", -1)
    top = np.max(x, axis=axis, initial=-np.inf)
    return (np.nan_to_num(np.abs(top), posinf=0.0) + np.abs(want[0]) + 1,)


def _depth(call: Call) -> float:
    """Some roundings, and √K of a sum of K."""
    a = call.args[0]
    return 4 + sqrt(a.shape[call.options.get("axis", -1)] if a.ndim else 1)


# -- gradients --


def _gradients(name: str, options: tuple[Options, ...]) -> Callable[[Any], Iterator[Gradient]]:
    def gradients(cf: Any) -> Iterator[Gradient]:
        f, df = getattr(cf, name), getattr(cf, f"{name}_backward")
        for i, o in enumerate(options):

            def backward(dy: Array, x: Array, o: Options = o) -> Any:
                return df(dy, f(x, **o), **o)

            yield Gradient(f"{dict(o)}", partial(f, **o), backward, (draw(3, 5, seed=i),))

    return gradients


def _logsumexp_gradients(
    cf: Any,
) -> Iterator[Gradient]:  # it has no backward of its own: softmax is its gradient
    for i, axis in enumerate((-1, 0)):

        def backward(dy: Array, x: Array, axis: int = axis) -> Any:
            return np.expand_dims(dy, axis) * cf.softmax(x, axis=axis)

        yield Gradient(f"axis {axis}", partial(cf.logsumexp, axis=axis), backward, (draw(3, 5, seed=i),))


def _jacobian_gradients(cf: Any) -> Iterator[Gradient]:
    def backward(dy: Array, x: Array) -> Array:
        return np.asarray(np.einsum("nk,nkj->nj", dy, cf.softmax_jacobian(cf.softmax(x))))

    yield Gradient("rows", cf.softmax, backward, (draw(3, 5),))


# -- benches --


def _benches(
    make: Callable[..., Call], *shapes: tuple[int, ...], headlines: tuple[tuple[int, ...], ...] = ()
) -> tuple[Bench, ...]:
    return tuple(
        Bench("x".join(map(str, shape)), partial(make, shape=shape), headline=shape in headlines)
        for shape in shapes
    )


def _x(dtype: Any, shape: tuple[int, ...]) -> Call:
    return Call("x".join(map(str, shape)), (draw(*shape, dtype=dtype, high=9),))


def _dy_y(twin: Any) -> Callable[[Any, tuple[int, ...]], Call]:
    def make(dtype: Any, shape: tuple[int, ...]) -> Call:
        call = _x(dtype, shape)
        return Call(call.label, (draw(*shape, dtype=dtype, seed=1), twin(call.args[0])))

    return make


SHAPES = ((128, 1000), (4096, 1000))


def _pair(
    name: str, options: tuple[Options, ...], flops: int, flops_backward: int, scales: tuple[Any, Any]
) -> tuple[Op, Op]:
    twin = getattr(reference, name)
    edge = _edge_tempered if name == "softmax" else _edge
    return (
        Op(
            name,
            "probability",
            _ordinary(options),
            _benches(_x, *SHAPES, headlines=SHAPES[1:] if name == "softmax" else ()),
            lambda c: flops * c.args[0].size,
            edge=edge,
            hostile=_hostile_softmax if name == "softmax" else _hostile_axis,
            scale=scales[0],
            tolerance=_depth,
            backward=f"{name}_backward",
            gradients=_gradients(name, options),
        ),
        Op(
            f"{name}_backward",
            "probability",
            _backward_of(_ordinary(options), twin),
            _benches(_dy_y(twin), *SHAPES),
            lambda c: flops_backward * c.args[0].size,
            edge=_backward_of(edge, twin),
            hostile=_hostile_backward,
            scale=scales[1],
            tolerance=_depth,
            proved_by=name,
        ),
    )


OPS = (
    *_pair("softmax", TEMPERATURES, EXP_FLOPS + 3, 5, (_softmax_scale, _softmax_backward_scale)),
    *_pair(
        "log_softmax", AXES, EXP_FLOPS + 3, EXP_FLOPS + 3, (_log_softmax_scale, _log_softmax_backward_scale)
    ),
    Op(
        "logsumexp",
        "probability",
        _ordinary(AXES),
        _benches(_x, *SHAPES),
        lambda c: (EXP_FLOPS + 2) * c.args[0].size,
        edge=_edge,
        hostile=_hostile_axis,
        scale=_logsumexp_scale,
        tolerance=_depth,
        gradients=_logsumexp_gradients,
    ),
    Op(
        "softmax_jacobian",
        "probability",
        _jacobian_calls,
        _benches(lambda dtype, shape: Call("", (reference.softmax(draw(*shape, dtype=dtype)),)), (512, 100)),
        lambda c: 2 * c.args[0].size * c.args[0].shape[-1],
        edge=_jacobian_edge,
        hostile=lambda: [*_hostile_forward("y"), BadCall("scalar", "y", (1.0,))],
        gradients=_jacobian_gradients,
    ),
)
