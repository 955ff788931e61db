"""Convolution."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import Any, TypeAlias

import numpy as np

import closedform

from .._results import Array
from .compare import outputs
from .convolution_mistakes import backward_hostile, conv2d_hostile
from .op import Bench, Call, Gradient, Op, draw

# x (N, H, W, C), w (kh, kw, K) and options.
Form: TypeAlias = tuple[tuple[int, int, int, int], tuple[int, int, int], dict[str, Any]]

# Channels around the vectors (4 to 16 lanes) and tiles, pixels around the rows of a tile (6, 8, 12); windows of all
# forms.
ORDINARY: tuple[Form, ...] = (
    ((1, 5, 4, 1), (3, 3, 1), {}),
    ((2, 6, 7, 3), (3, 3, 5), {"padding": 1}),
    ((1, 9, 5, 7), (3, 3, 8), {"padding": "same"}),
    ((2, 7, 6, 8), (3, 3, 7), {"stride": 2, "padding": 1}),
    ((3, 5, 8, 9), (2, 5, 17), {"padding": ((1, 0), (0, 2))}),
    ((1, 7, 7, 17), (3, 3, 9), {"padding": (0, 1)}),
    ((1, 6, 13, 64), (3, 3, 65), {"padding": 1}),
    ((2, 5, 7, 65), (3, 3, 64), {"stride": (2, 1), "padding": 1}),
    ((2, 8, 9, 33), (1, 1, 31), {}),
    ((2, 7, 8, 16), (1, 1, 15), {"stride": 2}),
    ((1, 6, 5, 2), (1, 1, 3), {"padding": (2, 1), "stride": (1, 3)}),
    ((1, 23, 19, 3), (7, 7, 16), {"stride": 2, "padding": 3}),
    ((3, 12, 11, 1), (5, 5, 32), {}),
    ((1, 9, 31, 4), (1, 3, 6), {"dilation": (1, 4)}),
    ((2, 14, 6, 5), (3, 2, 10), {"dilation": (3, 2), "stride": (1, 2), "padding": ((2, 3), (1, 0))}),
    ((1, 12, 12, 3), (3, 3, 4), {"stride": (5, 4)}),  # pixels that no window sees
    ((1, 11, 10, 6), (4, 4, 4), {"stride": 3, "dilation": 2, "padding": 4}),
    ((2, 2, 1, 3), (5, 4, 6), {"padding": 3}),  # images smaller than the window
    ((1, 1, 2, 7), (3, 3, 9), {"padding": 4}),  # windows of padding only
    ((1, 8, 8, 6), (3, 3, 8), {"padding": 1, "groups": 2}),
    ((2, 7, 5, 51), (3, 2, 34), {"groups": 17, "stride": 2}),
    ((1, 5, 6, 48), (1, 1, 36), {"groups": 3}),
    ((2, 9, 7, 17), (3, 3, 17), {"padding": 1, "groups": 17}),
    ((1, 10, 8, 64), (5, 3, 64), {"padding": (2, 1), "groups": 64, "stride": 2}),
    ((1, 8, 9, 9), (3, 3, 18), {"groups": 9, "dilation": 2}),
)

# Of the benchmarks: (N, H, W, C, K, k, stride, pad, groups).
BENCHES = (
    (32, 32, 32, 3, 64, 3, 1, 1, 1),
    (32, 32, 32, 64, 64, 3, 1, 1, 1),
    (8, 56, 56, 64, 64, 3, 1, 1, 1),
    (8, 28, 28, 128, 128, 3, 1, 1, 1),
    (8, 14, 14, 256, 256, 3, 1, 1, 1),
    (8, 7, 7, 512, 512, 3, 1, 1, 1),
    (8, 56, 56, 64, 256, 1, 1, 0, 1),
    (8, 56, 56, 128, 128, 3, 2, 1, 1),
    (4, 224, 224, 3, 64, 7, 2, 3, 1),
    (64, 28, 28, 1, 32, 5, 1, 0, 1),
    (1, 28, 28, 8, 16, 3, 1, 1, 1),
    (8, 56, 56, 64, 64, 3, 1, 1, 64),
)
HEADLINES = {"conv2d": (BENCHES[2], BENCHES[10]), "conv2d_backward": (BENCHES[2],)}


def _arrays(x: tuple[int, ...], w: tuple[int, ...], dtype: Any, groups: int = 1) -> tuple[Array, Array]:
    kh, kw, K = w
    images = draw(*x, dtype=dtype, seed=1)
    return images, draw(kh, kw, x[3] // groups, K, dtype=dtype, seed=2)


def _forward(
    x: tuple[int, ...], w: tuple[int, ...], dtype: Any, *, bias: bool = False, **options: Any
) -> Call:
    args = _arrays(x, w, dtype, options.get("groups", 1))
    if bias:
        args = (*args, draw(w[2], dtype=dtype, seed=3))
    return Call(f"{x} {w}, {options}", args, options)


def _backward(x: tuple[int, ...], w: tuple[int, ...], dtype: Any, **options: Any) -> Call:
    images, filters = _arrays(x, w, dtype, options.get("groups", 1))
    y_shape = closedform.conv2d_output_shape(images.shape, filters.shape, **_geometry(options))
    return Call(f"{x} {w}, {options}", (draw(*y_shape, dtype=dtype, seed=4), images, filters), options)


def _geometry(options: Any) -> dict[str, Any]:
    return {name: options[name] for name in ("stride", "padding", "dilation", "groups") if name in options}


def _winograd(make: Any, dtype: Any) -> Iterator[Call]:
    """Every algorithm, on images around the tiles of 2 by 2 and 4 by 4 outputs, in batches and with few channels."""
    for algorithm in ("direct", "winograd2", "winograd4"):
        for H, W, C, K in ((3, 3, 1, 1), (4, 6, 17, 9), (7, 8, 8, 16), (9, 5, 5, 33), (13, 14, 40, 24)):
            yield make((2, H, W, C), (3, 3, K), dtype, padding=1, algorithm=algorithm)
        yield make((1, 11, 10, 3), (3, 3, 7), dtype, padding=((0, 2), (1, 0)), algorithm=algorithm)


def _nchw(a: Array) -> Array:
    """The same images in memory as NCHW."""
    return np.ascontiguousarray(a.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)


def _conv2d_ordinary(dtype: Any) -> Iterator[Call]:
    for i, (x, w, options) in enumerate(ORDINARY):
        yield _forward(x, w, dtype, bias=i % 2 == 0, **options)
    yield _forward((2, 7, 6, 9), (3, 3, 17), dtype, bias=True, activation="relu", padding=1)
    yield _forward((2, 7, 6, 18), (3, 3, 9), dtype, activation="relu", groups=9)
    call = _forward((2, 6, 7, 11), (3, 3, 10), dtype, padding=1)
    yield Call("NCHW viewed as NHWC", (_nchw(call.args[0]), call.args[1]), call.options)
    yield from _winograd(_forward, dtype)


def _backward_ordinary(dtype: Any) -> Iterator[Call]:
    for x, w, options in ORDINARY:
        yield _backward(x, w, dtype, **options)
    for needs in (("x",), ("w",), ("b", "x"), ()):
        yield _backward((2, 6, 5, 7), (3, 3, 9), dtype, needs=needs, padding=1)
    call = _backward((2, 6, 7, 11), (3, 3, 10), dtype, padding=1)
    dy, x, w = call.args
    yield Call("NCHW viewed as NHWC", (_nchw(dy), _nchw(x), w), call.options)
    yield from _winograd(_backward, dtype)


# No images, no channels, no filters, no pixels but padding, no windows.
EMPTY: tuple[Form, ...] = (
    ((0, 5, 4, 3), (3, 3, 2), {}),
    ((2, 5, 4, 0), (3, 3, 2), {"padding": 1}),
    ((2, 5, 4, 3), (3, 3, 0), {"padding": 1}),
    ((2, 0, 4, 3), (3, 3, 2), {"padding": 2}),
    ((2, 2, 4, 3), (3, 3, 2), {}),
    ((2, 4, 2, 4), (1, 4, 6), {"stride": 2, "groups": 2}),
)


def _conv2d_edge(dtype: Any) -> Iterator[Call]:
    for x, w, options in EMPTY:
        yield _forward(x, w, dtype, bias=True, **options)
    yield _forward((2, 5, 4, 0), (3, 3, 2), dtype, bias=True, activation="relu")
    for options in ({"stride": 2}, {"algorithm": "direct"}, {"groups": 3, "activation": "relu"}):
        yield _with_specials(_forward((2, 9, 8, 9), (3, 3, 18), dtype, bias=True, **options))
    yield _with_specials(_forward((1, 20, 6, 3), (5, 5, 33), dtype, bias=True))
    yield _with_specials(_forward((1, 6, 7, 33), (1, 1, 17), dtype))
    x = np.full((1, 4, 5, 3), np.finfo(dtype).smallest_subnormal, dtype)
    yield Call("subnormal", (x, np.full((2, 3, 3, 5), 2, dtype)), {"padding": 1})


def _with_specials(call: Call) -> Call:
    """Infinities and NaN, far from the padding: what 0 · ∞ is there depends on whether it is computed."""
    args = tuple(a.copy() for a in call.args)
    for a, value in zip(args, (np.inf, np.nan, -np.inf), strict=False):
        a[tuple(n // 2 for n in a.shape)] = value
    return Call(f"{call.label}, infinite and NaN entries", args, call.options)


def _backward_edge(dtype: Any) -> Iterator[Call]:
    for x, w, options in EMPTY:
        yield _backward(x, w, dtype, **options)
    for options in ({"stride": 2}, {"algorithm": "direct"}, {"groups": 3}):
        dy, x, w = _with_specials(_backward((2, 9, 8, 9), (3, 3, 18), dtype, **options)).args
        yield Call(
            f"infinite dy, NaN in x, {options}", (dy, x, np.nan_to_num(w, posinf=1, neginf=1)), options
        )


GRADIENTS: tuple[Form, ...] = (
    ((2, 4, 5, 3), (3, 2, 4), {}),
    ((1, 5, 4, 2), (3, 3, 3), {"padding": "same"}),
    ((2, 5, 4, 3), (3, 3, 2), {"stride": 2, "padding": 1}),
    ((1, 6, 5, 2), (2, 3, 3), {"stride": (3, 2), "padding": ((1, 2), (0, 1)), "dilation": (1, 2)}),
    ((1, 7, 7, 1), (3, 3, 2), {"dilation": 3}),
    ((1, 3, 4, 4), (3, 3, 6), {"padding": 1, "groups": 2}),
    ((1, 4, 3, 3), (2, 2, 6), {"stride": 2, "groups": 3}),
    ((2, 2, 3, 5), (1, 1, 3), {}),
    ((1, 2, 2, 2), (4, 3, 2), {"padding": 2}),  # images smaller than the window
    *(((1, 5, 6, 2), (3, 3, 2), {"padding": 1, "algorithm": a}) for a in ("winograd2", "winograd4")),
)


def _gradients(cf: Any) -> Iterator[Gradient]:
    for x, w, options in GRADIENTS:
        inputs = (*_arrays(x, w, np.float64, options.get("groups", 1)), draw(w[2], seed=3))
        yield Gradient(f"{x} {w}, {options}", *_differentiable(cf, options), inputs)


def _differentiable(cf: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    def forward(x: Array, w: Array, b: Array) -> Any:
        return cf.conv2d(x, w, b, **options)

    def backward(dy: Array, x: Array, w: Array, b: Array) -> Any:
        return cf.conv2d_backward(dy, x, w, **options)

    return forward, backward


# Rounding grows with the terms: the scale is the op on absolute values.
def _terms(op: str) -> Any:
    def scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
        entry = next(o for o in OPS if o.name == op)
        options = {name: value for name, value in call.options.items() if name != "activation"}
        return outputs(entry, entry.twin, Call("", tuple(map(np.abs, call.args)), options))

    return scale


# What Winograd's transforms make of independent rounding errors: max_i Σ_m A_im² |G_m|² |B_m|² / 3, the square for an
# axis and so the factor for two, with the matrices of csrc/kernels/winograd_transforms.hpp.
GROWTH = {"winograd2": 1.67, "winograd4": 7.14}


def _depth(terms: int, call: Call) -> float:
    """√n of the sums, n their terms, plus the last roundings: what random rounding errors add up to."""
    return (2 + sqrt(terms)) * GROWTH.get(call.options.get("algorithm", "auto"), 1)


def _depth_forward(call: Call) -> float:
    return _depth(prod(call.args[1].shape[:3]), call)


def _depth_backward(call: Call) -> float:
    dy, _, w = call.args
    kh, kw, _, K = w.shape
    return _depth(max(prod(dy.shape[:3]), kh * kw * K // call.options.get("groups", 1)), call)


def _products(y_shape: tuple[int, ...], w: Array) -> float:
    """Flops of one product for each tap, channel, filter and output pixel, those with padding included."""
    return 2.0 * prod(y_shape[:3]) * w.size


def _forward_flops(call: Call) -> float:
    x, w = call.args[:2]
    return _products(closedform.conv2d_output_shape(x.shape, w.shape, **_geometry(call.options)), w)


def _backward_flops(call: Call) -> float:
    dy, _, w = call.args
    return 2 * _products(dy.shape, w) + float(dy.size)


def _benches(op: str, make: Any) -> Iterator[Bench]:
    for case in BENCHES:
        N, H, W, C, K, k, stride, pad, groups = case
        options = {"stride": stride, "padding": pad, "groups": groups}
        label = f"{N}x{H}x{W}x{C} {K} {k}x{k}"
        label += f" /{stride}" if stride > 1 else " dw" if groups > 1 else ""

        def call(
            dtype: Any, x: Any = (N, H, W, C), w: Any = (k, k, K), options: dict[str, Any] = options
        ) -> Call:
            made: Call = make(x, w, dtype, **options)
            return made

        yield Bench(label, call, headline=case in HEADLINES[op])


OPS = (
    Op(
        "conv2d",
        "convolution",
        _conv2d_ordinary,
        tuple(_benches("conv2d", _forward)),
        _forward_flops,
        edge=_conv2d_edge,
        hostile=conv2d_hostile,
        scale=_terms("conv2d"),
        tolerance=_depth_forward,
        backward="conv2d_backward",
        gradients=_gradients,
        bound_by="arithmetic",
    ),
    Op(
        "conv2d_backward",
        "convolution",
        _backward_ordinary,
        tuple(_benches("conv2d_backward", _backward)),
        _backward_flops,
        edge=_backward_edge,
        hostile=backward_hostile,
        scale=_terms("conv2d_backward"),
        tolerance=_depth_backward,
        proved_by="conv2d",
        bound_by="arithmetic",
    ),
)
