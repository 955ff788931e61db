"""Categorical cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Any

import numpy as np

from .. import reference
from .._results import Array
from .op import BadCall, Bench, Call, Gradient, Op, draw, draw_unit

Options = Mapping[str, Any]
KERNEL = ("_kernels.cross_entropy",)
CLASSES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 65, 127, 1009)


def _labels(N: int, K: int) -> Array:
    return np.random.default_rng([N, K]).integers(0, K, N)


def _probabilities(N: int, K: int, dtype: Any) -> Array:
    p = draw_unit(N, K, dtype=dtype)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _options(K: int, dtype: Any) -> tuple[Options, ...]:
    weight = draw_unit(K, dtype=dtype, seed=9) + 1
    return (
        {},
        {"reduction": "sum", "weight": weight},
        {"reduction": "none", "label_smoothing": 0.1},
        {"ignore_index": 0, "weight": weight, "label_smoothing": 0.25},
        {"reduction": "none", "ignore_index": K - 1},
    )


def _name(options: Options) -> str:
    return ", ".join(k if isinstance(v, np.ndarray) else f"{k} {v}" for k, v in options.items())


def _ordinary(dtype: Any) -> Iterator[Call]:
    for i, K in enumerate(CLASSES):
        N = 4 + i % 3
        logits, options = draw(N, K, dtype=dtype, high=9), _options(K, dtype)[i % 5]
        yield Call(f"({N}, {K}) {_name(options)}", (logits, _labels(N, K)), options)
        soft = {k: v for k, v in options.items() if k != "ignore_index"}
        yield Call(f"({N}, {K}) probabilities {_name(soft)}", (logits, _probabilities(N, K, dtype)), soft)


def _edge(dtype: Any) -> Iterator[Call]:
    empty = np.zeros(0, np.int64)
    for reduction in ("sum", "mean", "none"):
        yield Call(f"no rows, {reduction}", (np.ones((0, 3), dtype), empty), {"reduction": reduction})
        ignored = {"reduction": reduction, "ignore_index": -100}
        yield Call(f"every row ignored, {reduction}", (draw(3, 4, dtype=dtype), np.full(3, -100)), ignored)
    some = np.array([1, -100, 2])
    yield Call(
        "one row ignored", (draw(3, 4, dtype=dtype), some), {"ignore_index": -100, "reduction": "none"}
    )
    rows = np.zeros((6, 5), dtype)
    rows[0] = -np.inf
    rows[1, 3] = -np.inf
    rows[2, 2] = np.inf
    rows[3, 2] = np.nan
    rows[4, 1] = 300.0  # saturated and right
    rows[5, 0] = np.finfo(dtype).max  # saturated and wrong
    yield Call("infinite, NaN, saturated rows", (rows, np.array([0, 0, 0, 0, 1, 1])), {"reduction": "none"})
    yield Call("an impossible label", (rows[1:2], np.array([3])), {"reduction": "none"})
    one_hot = np.eye(5, dtype=dtype)[[0, 0, 2, 1, 1, 1]]
    yield Call("one-hot probabilities", (rows, one_hot), {"reduction": "none"})


def _hostile() -> Iterator[BadCall]:
    x, labels = draw(4, 3), np.array([0, 1, 2, 1])
    yield BadCall("logits of one axis", "logits", (draw(4), labels))
    yield BadCall("logits of three axes", "logits", (draw(4, 3, 2), labels))
    yield BadCall("no classes", "logits", (np.ones((4, 0)), labels))
    yield BadCall("too few labels", "target", (x, labels[:3]))
    yield BadCall("label too large", "target", (x, np.array([0, 1, 3, 1])))
    yield BadCall("negative label", "target", (x, np.array([0, -1, 2, 1])))
    yield BadCall("label not the ignored one", "target", (x, np.array([0, -1, 2, 1])), {"ignore_index": -2})
    yield BadCall("huge label", "target", (x, np.array([0, 2**64 - 1, 2, 1], np.uint64)))
    yield BadCall("labels as floats", "target", (x, labels.astype(float)), error=TypeError)
    yield BadCall("shape of the probabilities", "target", (x, draw_unit(4, 2)))
    yield BadCall("ignoring probabilities", "ignore_index", (x, draw_unit(4, 3)), {"ignore_index": 0})
    yield BadCall("ignore_index no integer", "ignore_index", (x, labels), {"ignore_index": 0.5}, TypeError)
    yield BadCall("length of weight", "weight", (x, labels), {"weight": np.ones(4)})
    yield BadCall("weight of two axes", "weight", (x, labels), {"weight": np.ones((1, 3))})
    for smoothing in (-0.1, 1.1, np.nan):
        yield BadCall(
            f"label_smoothing {smoothing}", "label_smoothing", (x, labels), {"label_smoothing": smoothing}
        )
    yield BadCall("unknown reduction", "reduction", (x, labels), {"reduction": "max"})


# -- scales: a row's loss is Σ q (log Σ e^z - z), its gradient S Σ q - q --


def _mass(call: Call) -> tuple[Array, float]:
    """Σ q of every row, and what the reduction divides by."""
    z, target = call.args
    N, K = z.shape
    mean = call.options.get("reduction", "mean") == "mean"
    w = call.options.get("weight", np.ones(K))
    a = call.options.get("label_smoothing", 0.0)
    if target.ndim == 2:
        return (w * ((1 - a) * target + a / K)).sum(axis=1), N if mean else 1
    counts = target != call.options.get("ignore_index", -1)
    label = w[np.where(counts, target, 0)] * counts
    return (1 - a) * label + a * w.mean() * counts, float(label.sum()) if mean and counts.any() else 1


def _loss_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    mass, divisor = _mass(call)
    extra = mass if call.options.get("reduction") == "none" else mass.sum() / divisor
    return (np.abs(want[0]) + extra,)


def _gradient_scale(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    z = call.args[0]
    mass, divisor = _mass(call)
    distance = np.nan_to_num(np.abs(z - z.max(axis=1, keepdims=True, initial=-np.inf)), posinf=0.0)
    softmax = reference.softmax(z)
    spread = 1 + distance + np.sum(np.nan_to_num(softmax * distance), axis=1, keepdims=True)
    return (softmax * spread * mass[:, None] / divisor + np.abs(want[-1]),)


def _both_scales(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    return *_loss_scale(call, want[:1]), *_gradient_scale(call, want[1:])


def _depth(call: Call) -> float:
    return 5 + sqrt(call.args[0].shape[1]) + sqrt(call.args[0].shape[0])


# -- gradients --


def _gradients(with_grad: bool) -> Any:
    def gradients(cf: Any) -> Iterator[Gradient]:
        N, K = 4, 5
        for target in (_labels(N, K), _probabilities(N, K, np.float64)):
            for o in _options(K, np.float64):
                if target.ndim == 2:
                    o = {k: v for k, v in o.items() if k != "ignore_index"}

                def f(z: Array, target: Array = target, o: Options = o) -> Any:
                    return (
                        cf.cross_entropy_with_grad(z, target, **o)
                        if with_grad
                        else cf.cross_entropy(z, target, **o)
                    )

                def backward(dy: Array, z: Array, target: Array = target, o: Options = o) -> Array:
                    dz = cf.cross_entropy_with_grad(z, target, **o).dlogits if with_grad else None
                    dz = cf.cross_entropy_backward(z, target, **o) if dz is None else dz
                    return np.asarray(dy[:, None] * dz if np.ndim(dy) else dy * dz)

                yield Gradient(f"{target.ndim}-d target, {_name(o)}", f, backward, (draw(N, K, high=4),))

    return gradients


def _bench(N: int, K: int, **kwargs: Any) -> Bench:
    return Bench(
        f"{N}x{K}", lambda dtype: Call("", (draw(N, K, dtype=dtype, high=9), _labels(N, K))), **kwargs
    )


def _op(name: str, flops: int, scale: Any, benches: tuple[Bench, ...], **kwargs: Any) -> Op:
    return Op(
        name,
        "loss",
        _ordinary,
        benches,
        lambda c: flops * c.args[0].size,
        edge=_edge,
        hostile=_hostile,
        scale=scale,
        tolerance=_depth,
        kernels=KERNEL,
        **kwargs,
    )


OPS = (
    _op(
        "cross_entropy",
        18,
        _loss_scale,
        (_bench(4096, 1000),),
        backward="cross_entropy_backward",
        gradients=_gradients(with_grad=False),
    ),
    _op("cross_entropy_backward", 20, _gradient_scale, (_bench(4096, 1000),), proved_by="cross_entropy"),
    _op(
        "cross_entropy_with_grad",
        20,
        _both_scales,
        (_bench(4096, 1000, headline=True), _bench(64, 10), _bench(2048, 32000, slow=True)),
        gradients=_gradients(with_grad=True),
    ),
)
