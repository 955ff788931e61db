"""Calls of conv2d and its backward that must be refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._results import Array
from .op import BadCall, draw


def _shape_mistakes(x: Array, w: Array) -> Iterator[tuple[str, str, Array, Array, dict[str, Any], Any]]:
    """(label, argument, x, w, options, error) of mistakes that both ops refuse."""
    yield "x of three axes", "x", x[0], w, {}, ValueError
    yield "w of three axes", "w", x, w[0], {}, ValueError
    yield "channels of w", "w", x, w[:, :, :3], {}, ValueError
    yield "channels first", "w", x.transpose(0, 3, 1, 2), w, {}, ValueError
    yield "filter of no taps", "w", x, w[:0], {}, ValueError
    yield "channels of w, with groups", "w", x, w, {"groups": 2}, ValueError
    yield "groups that do not divide C", "groups", x, w, {"groups": 5}, ValueError
    yield "no groups", "groups", x, w, {"groups": 0}, ValueError
    yield "groups no integer", "groups", x, w, {"groups": 1.0}, TypeError
    yield "window larger than x", "x", x[:, :1], w, {}, ValueError
    yield "dilated window larger than x", "x", x, w, {"dilation": 4}, ValueError
    yield "stride 0", "stride", x, w, {"stride": 0}, ValueError
    yield "stride of three", "stride", x, w, {"stride": (1, 1, 1)}, ValueError
    yield "stride no integer", "stride", x, w, {"stride": 1.5}, TypeError
    yield "dilation 0", "dilation", x, w, {"dilation": (1, 0)}, ValueError
    yield "dilation a boolean", "dilation", x, w, {"dilation": True}, TypeError
    yield "negative padding", "padding", x, w, {"padding": (0, -1)}, ValueError
    yield "padding of one side", "padding", x, w, {"padding": ((1,), (1, 1))}, ValueError
    yield "unknown padding", "padding", x, w, {"padding": "full"}, ValueError
    yield "same with a stride", "padding", x, w, {"padding": "same", "stride": 2}, ValueError
    yield "padding None", "padding", x, w, {"padding": None}, TypeError
    yield "huge padding", "x", x, w, {"padding": 2**31 - 1}, ValueError
    yield "unknown algorithm", "algorithm", x, w, {"algorithm": "fft"}, ValueError
    yield "Winograd with a stride", "algorithm", x, w, {"algorithm": "winograd2", "stride": 2}, ValueError


def conv2d_hostile() -> Iterator[BadCall]:
    x, w = draw(2, 6, 7, 4), draw(3, 3, 4, 6)
    for label, argument, xs, ws, options, error in _shape_mistakes(x, w):
        yield BadCall(label, argument, (xs, ws), options, error)
    yield BadCall("length of b", "b", (x, w, draw(5)))
    yield BadCall("b of two axes", "b", (x, w, draw(1, 6)))
    yield BadCall("unknown activation", "activation", (x, w), {"activation": "tanh"})
    yield BadCall("out of a wrong shape", "out", (x, w), {"out": np.zeros((2, 6, 7, 6))})


def backward_hostile() -> Iterator[BadCall]:
    dy, x, w = draw(2, 4, 5, 6), draw(2, 6, 7, 4), draw(3, 3, 4, 6)
    for label, argument, xs, ws, options, error in _shape_mistakes(x, w):
        yield BadCall(label, argument, (dy, xs, ws), options, error)
    yield BadCall("rows of dy", "dy", (draw(2, 3, 5, 6), x, w))
    yield BadCall("dy of x's size", "dy", (draw(2, 6, 7, 6), x, w))
    yield BadCall("unknown need", "needs", (dy, x, w), {"needs": ("x", "q")})
    yield BadCall("needs as a string", "needs", (dy, x, w), {"needs": "xw"})
    yield BadCall("out no tuple", "out", (dy, x, w), {"out": np.zeros((2, 6, 7, 4))}, TypeError)
    yield BadCall("out of a wrong shape", "out", (dy, x, w), {"out": (None, np.zeros((3, 3, 4)), None)})
