"""Dense layers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import Any

import numpy as np

from .._results import Array
from .compare import outputs
from .op import BadCall, Bench, Call, Gradient, Op, draw

# (N, D, H) around the tiles (6 x 16, 12 x 32, 8 x 8 and their halves) and the blocks (K 256, M 120).
SHAPES = (
    (1, 1, 1), (5, 7, 15), (6, 16, 16), (7, 17, 17), (11, 13, 31), (12, 3, 32), (13, 65, 33),
    (1, 97, 65), (97, 1, 5), (4, 4, 300), (61, 259, 47), (131, 300, 17),
)  # fmt: skip


def _forward(N: int, D: int, H: int, dtype: Any, *, bias: bool = False) -> Call:
    x, w = draw(N, D, dtype=dtype, seed=1), draw(D, H, dtype=dtype, seed=2)
    args = (x, w, draw(H, dtype=dtype, seed=3)) if bias else (x, w)
    return Call(f"{N}x{D}x{H}", args)


def _backward(N: int, D: int, H: int, dtype: Any) -> Call:
    x, w = draw(N, D, dtype=dtype, seed=1), draw(D, H, dtype=dtype, seed=2)
    return Call(f"{N}x{D}x{H}", (draw(N, H, dtype=dtype, seed=4), x, w))


def _dense_ordinary(dtype: Any) -> Iterator[Call]:
    for i, shape in enumerate(SHAPES):
        yield _forward(*shape, dtype, bias=i % 2 == 0)
    x, w = draw(2, 3, 5, dtype=dtype), draw(5, 7, dtype=dtype)
    yield Call("x (2, 3, 5)", (x, w))
    yield Call("x (5,)", (x[0, 0], w, draw(7, dtype=dtype)))


def _backward_ordinary(dtype: Any) -> Iterator[Call]:
    for shape in SHAPES:
        yield _backward(*shape, dtype)
    dy, x, w = draw(2, 3, 7, dtype=dtype), draw(2, 3, 5, dtype=dtype), draw(5, 7, dtype=dtype)
    yield Call("x (2, 3, 5)", (dy, x, w))
    yield Call("x (5,)", (dy[0, 0], x[0, 0], w))
    for needs in (("x",), ("w",), ("b", "x"), ()):
        yield Call(f"needs {needs}", (dy, x, w), {"needs": needs})


def _with_specials(call: Call) -> Call:
    args = tuple(a.copy() for a in call.args)
    for a, value in zip(args, (np.inf, np.nan, -np.inf), strict=False):
        a.flat[a.size // 2] = value
    return Call(f"{call.label}, infinite and NaN entries", args)


def _dense_edge(dtype: Any) -> Iterator[Call]:
    for shape in ((0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)):
        yield _forward(*shape, dtype, bias=True)
    yield _with_specials(_forward(7, 9, 17, dtype, bias=True))
    tiny = np.finfo(dtype).smallest_subnormal
    x, w = np.full((3, 5), tiny, dtype), np.full((5, 7), 2, dtype)
    yield Call("subnormal", (x, w))


def _backward_edge(dtype: Any) -> Iterator[Call]:
    for shape in ((0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)):
        yield _backward(*shape, dtype)
    yield _with_specials(_backward(7, 9, 17, dtype))


def _dense_hostile() -> Iterator[BadCall]:
    x, w = draw(4, 8), draw(8, 3)
    yield BadCall("rows of w", "w", (x, draw(7, 3)))
    yield BadCall("w of one axis", "w", (x, draw(8)))
    yield BadCall("w of three axes", "w", (x, draw(1, 8, 3)))
    yield BadCall("scalar x", "x", (1.0, w))
    yield BadCall("length of b", "b", (x, w, draw(4)))
    yield BadCall("b of two axes", "b", (x, w, draw(1, 3)))
    yield BadCall("ragged x", "x", ([[1.0], [1.0, 2.0]], w))


def _backward_hostile() -> Iterator[BadCall]:
    dy, x, w = draw(4, 3), draw(4, 8), draw(8, 3)
    yield BadCall("rows of w", "w", (dy, x, draw(7, 3)))
    yield BadCall("rows of dy", "dy", (draw(5, 3), x, w))
    yield BadCall("columns of dy", "dy", (draw(4, 2), x, w))
    yield BadCall("scalar dy", "dy", (1.0, x, w))
    yield BadCall("unknown need", "needs", (dy, x, w), {"needs": ("x", "q")})
    yield BadCall("needs as a string", "needs", (dy, x, w), {"needs": "xw"})
    yield BadCall("out no tuple", "out", (dy, x, w), {"out": np.zeros((4, 8))}, TypeError)
    yield BadCall("out of a wrong shape", "out", (dy, x, w), {"out": (None, np.zeros((3, 8)), None)})


def _gradients(cf: Any) -> Iterator[Gradient]:
    for shape in ((3, 4, 5), (1, 1, 1), (7, 3, 1), (5, 9, 17)):
        N, D, H = shape
        inputs = (draw(N, D, seed=1), draw(D, H, seed=2), draw(H, seed=3))
        yield Gradient(f"{N}x{D}x{H}", cf.dense, lambda dy, x, w, b: cf.dense_backward(dy, x, w), inputs)


# Rounding grows with the terms: the scale is the op on absolute values, |x| @ |w| + |b|.
def _terms(op: str) -> Any:
    def scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
        entry = next(o for o in OPS if o.name == op)
        return outputs(entry, entry.twin, Call("", tuple(map(np.abs, call.args)), call.options))

    return scale


def _depth(call: Call) -> float:
    """√n of the longest sum, n its terms, plus the last roundings: what random rounding errors add up to."""
    return 2 + sqrt(max(max(1, *a.shape, prod(a.shape[:-1])) for a in call.args))


def _bench(N: int, D: int, H: int, **kwargs: Any) -> Bench:
    return Bench(f"{N}x{D}x{H}", lambda dtype: _forward(N, D, H, dtype), **kwargs)


OPS = (
    Op(
        "dense",
        "linear",
        _dense_ordinary,
        (
            _bench(480, 480, 480, dtypes=("float32", "float64"), headline=True),
            _bench(192, 192, 192, headline=True),
            _bench(960, 960, 960, headline=True),
            _bench(6, 512, 512, headline=True),
            _bench(8, 512, 512),
            _bench(16, 512, 512, headline=True),
            _bench(4, 8, 4, headline=True),
            _bench(1920, 1920, 1920, slow=True),
        ),
        lambda c: 2.0 * c.args[0].size * c.args[1].shape[1],
        edge=_dense_edge,
        hostile=_dense_hostile,
        scale=_terms("dense"),
        tolerance=_depth,
        backward="dense_backward",
        gradients=_gradients,
        bound_by="arithmetic",
    ),
    Op(
        "dense_backward",
        "linear",
        _backward_ordinary,
        (Bench("480x480x480", lambda dtype: _backward(480, 480, 480, dtype), headline=True),),
        lambda c: 4.0 * c.args[1].size * c.args[2].shape[1] + c.args[0].size,
        edge=_backward_edge,
        hostile=_backward_hostile,
        scale=_terms("dense_backward"),
        tolerance=_depth,
        proved_by="dense",
        bound_by="arithmetic",
    ),
)
