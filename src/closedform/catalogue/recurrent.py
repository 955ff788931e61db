"""Recurrent networks: RNN and LSTM."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod, sqrt
from typing import Any

import numpy as np

from .. import reference
from .._results import LSTM, RNN, Array
from . import recurrent_errors as errors
from .op import Bench, Call, Gradient, Op, draw
from .recurrent_mistakes import backward_hostile, sequence_hostile, step_hostile

# (T, N, D, H): units around the vectors (4 to 16 lanes), rows and units around the tiles (3 or 6 rows, 8 or 16 units),
# few rows and many, sequences of one step and longer than wide.
SHAPES = (
    (1, 1, 1, 1), (2, 3, 4, 5), (3, 6, 7, 8), (5, 7, 8, 9), (4, 2, 17, 16), (6, 13, 5, 17), (3, 5, 16, 33),
    (7, 1, 9, 31), (12, 4, 3, 24), (2, 33, 1, 7), (9, 1, 65, 64), (3, 12, 40, 65), (40, 1, 6, 3), (2, 130, 3, 15),
    (25, 9, 2, 4), (1, 19, 33, 127),
)  # fmt: skip
EMPTY = ((0, 3, 4, 5), (3, 0, 4, 5), (3, 2, 0, 5), (3, 2, 4, 0), (0, 0, 0, 0))

BENCHES = (
    (64, 32, 128, 128), (128, 1, 64, 64), (35, 20, 650, 650), (100, 64, 256, 256), (28, 128, 28, 128),
    (256, 16, 32, 32), (1000, 1, 32, 32), (50, 8, 100, 200),
)  # fmt: skip
HEADLINES = BENCHES[:2]

GATES = {"rnn": 1, "lstm": 4}
STATES = {"rnn": 1, "lstm": 2}
ACTIVATIONS = {"rnn": ("nonlinearity", ("tanh", "relu")), "lstm": ("cell_activation", ("tanh", "identity"))}


def _weights(op: str, D: int, H: int, dtype: Any) -> tuple[Array, Array, Array]:
    """Weights with which errors die out: on the way back through time too, where |W_h|ᵀ sums over all gates."""
    G = GATES[op]
    w_x = draw(D, G * H, dtype=dtype, seed=2) / sqrt(max(1, D))
    w_h = draw(H, G * H, dtype=dtype, seed=3) / (sqrt(G) * max(1, H))
    return w_x, w_h, draw(G * H, dtype=dtype, seed=4) / 2


def _states(op: str, N: int, H: int, dtype: Any) -> list[Array]:
    return [draw(N, H, dtype=dtype, seed=5 + i) for i in range(STATES[op])]


def _lengths(T: int, N: int) -> Array:
    """All of them, none, one, and others."""
    lengths = np.random.default_rng([T, N]).integers(0, T + 1, N)
    lengths[: min(N, 3)] = (T, 0, min(T, 1))[: min(N, 3)]
    return lengths


def forward_call(op: str, T: int, N: int, D: int, H: int, dtype: Any, **options: Any) -> Call:
    x = draw(T, N, D, dtype=dtype, seed=1)
    args = (x, *_weights(op, D, H, dtype), *_states(op, N, H, dtype))
    return Call(f"{T}x{N}x{D}x{H}, {options}", args, options)


def _plain(op: str, T: int, N: int, D: int, H: int, dtype: Any) -> Call:
    """No options and no states: benchmarks."""
    call = forward_call(op, T, N, D, H, dtype)
    return Call(f"{T}x{N}x{D}x{H}", call.args[:4])


def backward_call(op: str, forward: Call, *, last: bool = True) -> Call:
    trace = getattr(reference, op)(*forward.args, **forward.options)
    T, N, H = trace.h.shape
    dtype = trace.h.dtype
    names = ("dh_last", "dc_last")[: STATES[op]]
    dlast = {name: draw(N, H, dtype=dtype, seed=8 + i) for i, name in enumerate(names)} if last else {}
    return Call(forward.label, (draw(T, N, H, dtype=dtype, seed=7), trace), dlast)


def step_call(op: str, N: int, D: int, H: int, dtype: Any, **options: Any) -> Call:
    x = draw(N, D, dtype=dtype, seed=1)
    args = (x, *_states(op, N, H, dtype), *_weights(op, D, H, dtype))
    return Call(f"{N}x{D}x{H}, {options}", args, options)


# -- ordinary --


def _forwards(op: str, dtype: Any) -> Iterator[Call]:
    """The options in turn, so that each meets the others and every kind of shape."""
    name, activations = ACTIVATIONS[op]
    for i, (T, N, D, H) in enumerate(SHAPES):
        options: dict[str, Any] = {name: activations[i % 4 in (1, 2)], "reverse": i % 2 == 1}
        if i % 3 > 0:
            options["lengths"] = _lengths(T, N)
        call = forward_call(op, T, N, D, H, dtype, **options)
        x, w_x, w_h, b, *states = call.args
        if i % 5 == 2:
            call = Call(f"{call.label}, no bias", (x, w_x, w_h, None, *states), options)
        elif i % 5 == 3:
            call = Call(f"{call.label}, no states", (x, w_x, w_h, b), options)
        yield call


def _backwards(op: str, dtype: Any) -> Iterator[Call]:
    for i, call in enumerate(_forwards(op, dtype)):
        yield backward_call(op, call, last=i % 4 < 3)


def _steps(op: str, dtype: Any) -> Iterator[Call]:
    name, activations = ACTIVATIONS[op]
    for i, (_, N, D, H) in enumerate(SHAPES):
        call = step_call(op, N, D, H, dtype, **{name: activations[i % 2]})
        yield call if i % 3 else Call(f"{call.label}, no bias", call.args[:-1], call.options)


# -- edges --


def _with(call: Call, position: int, value: float, index: tuple[int, ...] | None = None) -> Call:
    """One entry of one argument replaced, the one in the middle by default."""
    a = call.args[position].copy()
    a[tuple(n // 2 for n in a.shape) if index is None else index] = value
    args = (*call.args[:position], a, *call.args[position + 1 :])
    return Call(f"{call.label}, {value} in argument {position}", args, call.options)


def _forward_edge(op: str, dtype: Any) -> Iterator[Call]:
    name, activations = ACTIVATIONS[op]
    for shape in EMPTY:
        yield forward_call(op, *shape, dtype)
        yield forward_call(op, *shape, dtype, lengths=_lengths(*shape[:2]), reverse=True)
    for activation in activations:
        call = forward_call(op, 6, 7, 5, 19, dtype, **{name: activation})
        for position in range(len(call.args)):
            yield _with(call, position, np.nan)
        for position in (0, 3, 4):
            yield _with(call, position, np.inf)
        x, w_x, w_h, b, *states = call.args
        yield Call("saturated", (x, w_x, w_h, b * 2e4, *states), call.options)
    for reverse in (False, True):
        lengths = _lengths(6, 7)
        call = forward_call(op, 6, 7, 5, 19, dtype, lengths=lengths, reverse=reverse)
        x = call.args[0].copy()
        x[np.arange(6)[:, None] >= lengths] = np.nan
        yield Call("NaN past the lengths", (x, *call.args[1:]), call.options)


def _backward_edge(op: str, dtype: Any) -> Iterator[Call]:
    for call in _forward_edge(op, dtype):
        yield backward_call(op, call)
    call = backward_call(op, forward_call(op, 6, 7, 5, 19, dtype))
    yield _with(call, 0, np.nan)
    yield _with(call, 0, np.inf)
    lengths = _lengths(6, 7)
    call = backward_call(op, forward_call(op, 6, 7, 5, 19, dtype, lengths=lengths))
    dh = call.args[0].copy()
    dh[np.arange(6)[:, None] >= lengths] = np.nan
    yield Call("NaN past the lengths of dh", (dh, call.args[1]), call.options)


def _step_edge(op: str, dtype: Any) -> Iterator[Call]:
    for _, N, D, H in EMPTY[1:]:
        yield step_call(op, N, D, H, dtype)
    call = step_call(op, 7, 5, 19, dtype)
    for position in range(len(call.args)):
        yield _with(call, position, np.nan)
    yield _with(call, 0, np.inf)
    *rest, b = call.args
    yield Call("saturated", (*rest, b * 2e4), call.options)


# -- gradients --


def _gradients(op: str, cf: Any) -> Iterator[Gradient]:
    """Every combination of lengths, direction and activation, from every result; with the states or without."""
    name, activations = ACTIVATIONS[op]
    shape = T, N, D, H = 3, 3, 2, 3  # with which no unit of relu comes near its kink
    for i in range(8):
        options = {
            name: activations[i % 2],
            "reverse": i // 2 % 2 == 1,
            "lengths": _lengths(T, N) if i >= 4 else None,
        }
        inputs = forward_call(op, *shape, np.float64).args
        yield Gradient(f"{options}", *_differentiable(op, cf, options), inputs)
        yield Gradient(f"{options}, no states", *_differentiable(op, cf, options), inputs[:3])
    for T, N, D, H in ((1, 1, 1, 1), (3, 2, 1, 9)):
        inputs = forward_call(op, T, N, D, H, np.float64).args
        yield Gradient(f"{T}x{N}x{D}x{H}", *_differentiable(op, cf, {}), inputs)


def _differentiable(op: str, cf: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """The results in one array, h and the last states, so that all are checked at once."""
    n = 1 + STATES[op]

    def forward(*inputs: Array) -> Any:
        trace = getattr(cf, op)(*inputs, **options)
        return np.concatenate([a.ravel() for a in trace[:n]])

    def backward(dy: Array, *inputs: Array) -> Any:
        trace = getattr(cf, op)(*inputs, **options)
        dh, *dlast = np.split(dy, np.cumsum([a.size for a in trace[: n - 1]]))
        last = {
            f"d{state}_last": d.reshape(trace.h_last.shape) for state, d in zip("hc", dlast, strict=False)
        }
        gradients = getattr(cf, f"{op}_backward")(dh.reshape(trace.h.shape), trace, **last)
        return tuple(gradients)[: len(inputs)]

    return forward, backward


# -- errors and speed --


def _weights_of(call: Call) -> tuple[Array, Array]:
    """w_x and w_h of a call: a trace has them, a sequence has them before the states, a step after them."""
    trace = call.args[1]
    if isinstance(trace, RNN | LSTM):
        return trace.w_x, trace.w_h
    matrices = [a for a in call.args if isinstance(a, np.ndarray) and a.ndim == 2]
    w_x, w_h = matrices[:2] if call.args[0].ndim == 3 else matrices[-2:]
    return w_x, w_h


def _flops(call: Call) -> float:
    """x W_x and h W_h in every step; the rest is small beside it."""
    return float(2 * prod(call.args[0].shape[:-1]) * sum(w.size for w in _weights_of(call)))


def _benches(make: Any, shapes: tuple[tuple[int, ...], ...] = BENCHES) -> tuple[Bench, ...]:
    def case(shape: tuple[int, ...]) -> Bench:
        label = "x".join(map(str, shape))
        return Bench(label, lambda dtype: make(*shape, dtype), headline=shape in HEADLINES)

    return tuple(map(case, shapes))


def _family(op: str, computed: tuple[str, ...], *scales: Any) -> Iterator[Op]:
    scale, backward_scale, step_scale = scales
    yield Op(
        op,
        "recurrent",
        partial(_forwards, op),
        _benches(partial(_plain, op)),
        _flops,
        edge=partial(_forward_edge, op),
        hostile=partial(sequence_hostile, op),
        scale=scale,
        backward=f"{op}_backward",
        gradients=partial(_gradients, op),
        computed=computed,
        bound_by="arithmetic",
    )
    yield Op(
        f"{op}_backward",
        "recurrent",
        partial(_backwards, op),
        _benches(lambda *shape: backward_call(op, _plain(op, *shape), last=False)),
        lambda call: 2 * _flops(call),  # each product has two gradients
        edge=partial(_backward_edge, op),
        hostile=partial(backward_hostile, op),
        scale=backward_scale,
        proved_by=op,
        bound_by="arithmetic",
    )
    yield Op(
        f"{op}_step",
        "recurrent",
        partial(_steps, op),
        _benches(partial(step_call, op), ((1, 64, 64),)),
        _flops,
        edge=partial(_step_edge, op),
        hostile=partial(step_hostile, op),
        scale=step_scale,
        no_gradient=f"one step of {op}, for inference",
    )


OPS = (
    *_family("rnn", ("h", "h_last"), errors.rnn_scale, errors.rnn_backward_scale, errors.rnn_step_scale),
    *_family(
        "lstm",
        ("h", "h_last", "c_last", "c", "gates"),
        errors.lstm_scale,
        errors.lstm_backward_scale,
        errors.lstm_step_scale,
    ),
)
