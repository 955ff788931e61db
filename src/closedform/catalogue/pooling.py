"""Pooling."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import Any, TypeAlias

import numpy as np

from .. import reference
from .._results import Array
from .op import BadCall, Bench, Call, Gradient, Op, draw

# x (N, H, W, C), size and options.
Form: TypeAlias = tuple[tuple[int, int, int, int], Any, dict[str, Any]]

# Channels below, around and above vectors of 4 to 16 lanes, and strips of four of them; windows side by side, with gaps
# and overlapping.
ORDINARY: tuple[Form, ...] = (
    ((1, 4, 6, 1), 2, {}),
    ((2, 7, 9, 3), 2, {}),
    ((2, 9, 8, 7), 3, {"stride": 2, "padding": 1}),
    ((1, 5, 7, 8), (2, 3), {"stride": 1}),
    ((3, 6, 5, 9), (3, 2), {"stride": (1, 2), "padding": ((1, 2), (0, 1))}),
    ((2, 8, 7, 17), 3, {"stride": 1, "padding": "same"}),
    ((1, 11, 10, 2), 2, {"stride": (4, 3)}),  # pixels that no window sees
    ((2, 6, 6, 64), 2, {}),
    ((1, 7, 6, 65), 3, {"stride": 2, "padding": (1, 0)}),
    ((2, 5, 4, 15), (5, 4), {}),  # all of the image
    ((1, 1, 3, 5), (2, 4), {"padding": ((1, 0), (3, 1)), "stride": 1}),  # images smaller than the window
    ((1, 23, 37, 1), (4, 5), {"stride": (2, 3), "padding": (3, 4)}),
    ((2, 19, 31, 4), 2, {}),
)

EMPTY: tuple[Form, ...] = (
    ((0, 5, 4, 3), 2, {}),
    ((2, 5, 4, 0), 2, {}),
)

BENCHES: tuple[Form, ...] = (
    ((32, 32, 32, 64), 2, {}),
    ((8, 112, 112, 64), 3, {"stride": 2, "padding": 1}),
    ((32, 32, 32, 3), 2, {}),
    ((32, 32, 32, 1), 2, {}),
    ((32, 7, 7, 512), 7, {}),
)


def _forward(x: tuple[int, ...], size: Any, options: dict[str, Any], dtype: Any) -> Call:
    return Call(f"{x} {size}, {options}", (draw(*x, dtype=dtype, seed=1), size), options)


def _max_backward(x: tuple[int, ...], size: Any, options: dict[str, Any], dtype: Any) -> Call:
    call = _forward(x, size, options, dtype)
    trace = reference.max_pool2d(*call.args, **options)
    return Call(call.label, (draw(*trace.y.shape, dtype=dtype, seed=4), trace))


def _avg_backward(x: tuple[int, ...], size: Any, options: dict[str, Any], dtype: Any) -> Call:
    call = _forward(x, size, options, dtype)
    y = reference.avg_pool2d(*call.args, **options)
    return Call(call.label, (draw(*y.shape, dtype=dtype, seed=4), x, size), options)


def _on(forms: tuple[Form, ...], make: Any) -> Any:
    return lambda dtype: [make(*form, dtype) for form in forms]


def _ties(dtype: Any) -> Iterator[Call]:
    """Few values, so that the first of many maxima must win; infinities, whole windows of them; NaN."""
    rng = np.random.default_rng(5)
    for C in (1, 3, 8, 17, 33):
        for size, options in (
            (2, {}),
            (3, {"stride": 2, "padding": 1}),
            ((2, 4), {"stride": 1, "padding": (0, 3)}),
        ):
            x = rng.choice([-np.inf, -1, 0, 1], (2, 9, 8, C), p=[0.7, 0.1, 0.1, 0.1]).astype(dtype)
            yield Call(f"ties, {C} channels, {size}", (x, size), options)
            x[rng.random(x.shape) < 0.1] = np.nan
            x[rng.random(x.shape) < 0.05] = np.inf
            yield Call(f"ties and NaN, {C} channels, {size}", (x, size), options)


def _max_edge(dtype: Any) -> Iterator[Call]:
    yield from _on(EMPTY, _forward)(dtype)
    yield from _ties(dtype)


def _max_backward_edge(dtype: Any) -> Iterator[Call]:
    yield from _on(EMPTY, _max_backward)(dtype)
    for call in _ties(dtype):
        trace = reference.max_pool2d(*call.args, **call.options)
        dy = draw(*trace.y.shape, dtype=dtype, seed=4)
        dy.flat[7] = np.nan
        yield Call(call.label, (dy, trace))


def _avg_edge(dtype: Any) -> Iterator[Call]:
    yield from _on(EMPTY, _forward)(dtype)
    for C in (1, 17):
        x, size = _forward((2, 7, 6, C), 3, {}, dtype).args
        x[0, 2, 3], x[1, 5, 0], x[1, 1, 4] = np.inf, np.nan, -np.inf
        yield Call(f"infinite and NaN entries, {C} channels", (x, size), {"stride": 2, "padding": 1})


def _avg_backward_edge(dtype: Any) -> Iterator[Call]:
    yield from _on(EMPTY, _avg_backward)(dtype)
    dy, x_shape, size = _avg_backward((2, 7, 6, 17), 3, {"stride": 2}, dtype).args
    dy[0, 1, 1], dy[1, 2, 0] = np.inf, np.nan
    yield Call("infinite and NaN entries", (dy, x_shape, size), {"stride": 2})


def _mistakes(x: Array) -> Iterator[tuple[str, str, Any, dict[str, Any], type[Exception]]]:
    """(label, argument, size, options, error) of windows that all but max_pool2d_backward refuse."""
    yield "size 0", "size", 0, {}, ValueError
    yield "size of three", "size", (2, 2, 2), {}, ValueError
    yield "size no integer", "size", 2.0, {}, TypeError
    yield "size None", "size", None, {}, TypeError
    yield "stride 0", "stride", 2, {"stride": (1, 0)}, ValueError
    yield "stride a boolean", "stride", 2, {"stride": True}, TypeError
    yield "negative padding", "padding", 2, {"padding": -1}, ValueError
    yield "padding as large as the window", "padding", (3, 2), {"padding": (1, 2)}, ValueError
    yield "padding on one side", "padding", 2, {"padding": ((0, 2), (0, 0))}, ValueError
    yield "unknown padding", "padding", 2, {"padding": "full"}, ValueError
    yield "same with a stride", "padding", 2, {"padding": "same"}, ValueError


def _forward_hostile() -> Iterator[BadCall]:
    x = draw(2, 6, 7, 4)
    for label, argument, size, options, error in _mistakes(x):
        yield BadCall(label, argument, (x, size), options, error)
    yield BadCall("window larger than x", "x", (x, 8), {"stride": 1})
    yield BadCall("x of three axes", "x", (x[0], 2))
    yield BadCall("ragged x", "x", ([[1.0], [1.0, 2.0]], 2))
    yield BadCall("window larger than x by less than its stride", "x", (x[:, :, :1], 2))
    yield BadCall("no pixels", "x", (x[:, :0], (1, 2)))
    yield BadCall("windows of padding alone", "x", (x[:, :0], 2), {"padding": 1})


def _avg_backward_hostile() -> Iterator[BadCall]:
    dy, x_shape = draw(2, 3, 3, 4), (2, 6, 7, 4)
    for label, argument, size, options, error in _mistakes(dy):
        yield BadCall(label, argument, (dy, x_shape, size), options, error)
    yield BadCall("rows of dy", "dy", (dy[:, 1:], x_shape, 2))
    yield BadCall("images of dy", "dy", (dy[1:], x_shape, 2))
    yield BadCall("axes of dy", "dy", (dy[0], x_shape, 2))
    yield BadCall("window larger than x", "x_shape", (dy, x_shape, 8), {"stride": 1})
    yield BadCall("shape of three axes", "x_shape", (dy, x_shape[1:], 2))
    yield BadCall("negative shape", "x_shape", (dy, (2, 6, -7, 4), 2))
    yield BadCall("no shape", "x_shape", (dy, 6, 2), error=TypeError)
    yield BadCall("shape no integers", "x_shape", (dy, (2, 6.0, 7, 4), 2), error=TypeError)


def _max_backward_hostile() -> Iterator[BadCall]:
    dy, trace = _max_backward((2, 6, 7, 4), 2, {}, np.float64).args
    yield BadCall("rows of dy", "dy", (dy[:, 1:], trace))
    yield BadCall("axes of dy", "dy", (dy[0], trace))
    yield BadCall("no trace", "trace", (dy, tuple(trace)), error=TypeError)
    yield BadCall("y for a trace", "trace", (dy, trace.y), error=TypeError)
    for label, fields, error in (
        ("argmax no integers", {"argmax": trace.argmax.astype(float)}, TypeError),
        ("no argmax", {"argmax": None}, TypeError),
        ("no shape", {"x_shape": None}, TypeError),
        ("three axes", {"x_shape": (2, 6, 7)}, ValueError),
        ("other images", {"x_shape": (3, 6, 7, 4)}, ValueError),
        ("other channels", {"x_shape": (2, 6, 7, 5)}, ValueError),
        ("smaller images", {"x_shape": (2, 5, 7, 4)}, ValueError),
        ("no pixels", {"x_shape": (2, 0, 7, 4)}, ValueError),
        ("negative index", {"argmax": trace.argmax - 9}, ValueError),
    ):
        yield BadCall(f"trace: {label}", "trace", (dy, trace._replace(**fields)), error=error)


def _apart(*shape: int) -> Array:
    """In random order, and farther apart than a difference quotient reaches: no maximum changes its place."""
    n = prod(shape)
    return (np.random.default_rng(7).permutation(n).reshape(shape) - n / 3) / 50


def _max_gradients(cf: Any) -> Iterator[Gradient]:
    for x, size, options in (*ORDINARY[:7], ORDINARY[10]):

        def forward(x: Array, size: Any = size, options: dict[str, Any] = options) -> Any:
            return cf.max_pool2d(x, size, **options).y

        def backward(dy: Array, x: Array, size: Any = size, options: dict[str, Any] = options) -> Any:
            return cf.max_pool2d_backward(dy, cf.max_pool2d(x, size, **options))

        yield Gradient(f"{x} {size}, {options}", forward, backward, (_apart(*x),))


def _avg_gradients(cf: Any) -> Iterator[Gradient]:
    for x, size, options in (*ORDINARY[:7], ORDINARY[10]):

        def forward(x: Array, size: Any = size, options: dict[str, Any] = options) -> Any:
            return cf.avg_pool2d(x, size, **options)

        def backward(dy: Array, x: Array, size: Any = size, options: dict[str, Any] = options) -> Any:
            return cf.avg_pool2d_backward(dy, x.shape, size, **options)

        yield Gradient(f"{x} {size}, {options}", forward, backward, (draw(*x),))


# Rounding grows with the terms: the scale is the op on absolute values.
def _terms(twin: Any) -> Any:
    def scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
        return (twin(np.abs(call.args[0]), *call.args[1:], **call.options),)

    return scale


def _depth(call: Call) -> float:
    """The last roundings, and √n of a sum over a window of n taps, or over n windows that share a pixel."""
    size = call.args[-1]
    return 3 + sqrt(prod(size) if isinstance(size, tuple) else size**2)


def _taps(call: Call, pixels: int) -> float:
    size = call.args[-1]
    return float(pixels * (prod(size) if isinstance(size, tuple) else size**2))


def _forward_flops(call: Call) -> float:
    return _taps(call, reference.avg_pool2d(*call.args, **call.options).size)


def _benches(make: Any) -> tuple[Bench, ...]:
    def case(form: Form) -> Bench:
        (N, H, W, C), size, options = form
        label = f"{N}x{H}x{W}x{C} {size}x{size}" + (f" /{options['stride']}" if options else "")
        return Bench(label, lambda dtype: make(*form, dtype), headline=form is BENCHES[0])

    return tuple(map(case, BENCHES))


OPS = (
    Op(
        "max_pool2d",
        "pooling",
        _on(ORDINARY, _forward),
        _benches(_forward),
        _forward_flops,
        edge=_max_edge,
        hostile=_forward_hostile,
        tolerance=0.0,
        backward="max_pool2d_backward",
        gradients=_max_gradients,
        computed=("y", "argmax"),
    ),
    Op(
        "max_pool2d_backward",
        "pooling",
        _on(ORDINARY, _max_backward),
        _benches(_max_backward),
        lambda c: float(c.args[0].size),
        edge=_max_backward_edge,
        hostile=_max_backward_hostile,
        scale=_terms(reference.max_pool2d_backward),
        tolerance=8.0,  # a pixel is under as many as 20 windows here, and few of them have it for a maximum
        proved_by="max_pool2d",
    ),
    Op(
        "avg_pool2d",
        "pooling",
        _on(ORDINARY, _forward),
        _benches(_forward),
        _forward_flops,
        edge=_avg_edge,
        hostile=_forward_hostile,
        scale=_terms(reference.avg_pool2d),
        tolerance=_depth,
        backward="avg_pool2d_backward",
        gradients=_avg_gradients,
    ),
    Op(
        "avg_pool2d_backward",
        "pooling",
        _on(ORDINARY, _avg_backward),
        _benches(_avg_backward),
        lambda c: _taps(c, c.args[0].size),
        edge=_avg_backward_edge,
        hostile=_avg_backward_hostile,
        scale=_terms(reference.avg_pool2d_backward),
        tolerance=_depth,
        proved_by="avg_pool2d",
    ),
)
