"""Calls of recurrent networks that must be refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import reference
from .._results import Array
from .op import BadCall, draw

T, N, D, H = 3, 4, 2, 5


def _arguments(op: str) -> dict[str, Array]:
    G = 1 if op == "rnn" else 4
    args = {
        "x": draw(T, N, D),
        "w_x": draw(D, G * H),
        "w_h": draw(H, G * H),
        "b": draw(G * H),
        "h0": draw(N, H),
    }
    return args if op == "rnn" else args | {"c0": draw(N, H, seed=1)}


def _changed(args: dict[str, Array], label: str, name: str, value: Any, argument: str = "") -> BadCall:
    """One argument made wrong; the error names it, or another that no longer fits."""
    return BadCall(f"{name}: {label}", argument or name, tuple((args | {name: value}).values()))


def _shapes(args: dict[str, Array]) -> Iterator[BadCall]:
    """Wrong shapes of everything but x."""
    for name, a in args.items():
        yield _changed(args, "a number", name, 1.0)
        if name != "x":
            yield _changed(args, "one more axis", name, a[None])
            yield _changed(args, "a row less", name, a[1:], "w_x" if name == "w_x" else name)
    yield _changed(args, "a column less", "w_x", args["w_x"][:, 1:])
    yield _changed(args, "a column less", "w_h", args["w_h"][:, 1:])
    yield _changed(args, "another D", "x", draw(*args["x"].shape[:-1], D + 1), "w_x")
    yield _changed(args, "ragged", "x", [[1.0], [1.0, 2.0]])


def sequence_hostile(op: str) -> Iterator[BadCall]:
    args = _arguments(op)
    activation = _activation(op)
    yield from _shapes(args)
    yield _changed(args, "two axes", "x", args["x"][0])
    given = tuple(args.values())
    for label, lengths in (
        ("too long", [0, 1, 2, T + 1]),
        ("negative", [0, 1, 2, -1]),
        ("too few", [1] * (N - 1)),
        ("two axes", [[1] * N]),
        ("unsigned, huge", np.array([0, 1, 2, 2**64 - 1], np.uint64)),
    ):
        yield BadCall(f"lengths: {label}", "lengths", given, {"lengths": lengths})
    for label, lengths in (("floats", [1.0] * N), ("booleans", [True] * N)):
        yield BadCall(f"lengths: {label}", "lengths", given, {"lengths": lengths}, TypeError)
    for value in ("sigmoid", None, 1):
        yield BadCall(f"{activation} {value}", activation, given, {activation: value})
    yield BadCall("reverse 1", "reverse", given, {"reverse": 1}, TypeError)


def step_hostile(op: str) -> Iterator[BadCall]:
    sequence = _arguments(op)
    states = {"h": sequence["h0"]} if op == "rnn" else {"h": sequence["h0"], "c": sequence["c0"]}
    args = {"x": sequence["x"][0], **states, **{name: sequence[name] for name in ("w_x", "w_h", "b")}}
    activation = _activation(op)
    yield from _shapes(args)
    yield _changed(args, "three axes", "x", sequence["x"])
    for value in ("sigmoid", None):
        yield BadCall(f"{activation} {value}", activation, tuple(args.values()), {activation: value})


def backward_hostile(op: str) -> Iterator[BadCall]:
    trace = getattr(reference, op)(*_arguments(op).values(), lengths=np.array([3, 0, 1, 2]))
    dh = draw(T, N, H, seed=2)
    yield BadCall("steps of dh", "dh", (dh[1:], trace))
    yield BadCall("axes of dh", "dh", (dh[0], trace))
    yield BadCall("no trace", "trace", (dh, tuple(trace)), error=TypeError)
    yield BadCall("h for a trace", "trace", (dh, trace.h), error=TypeError)
    yield BadCall("trace of nothing", "trace", (dh, trace._replace(x=None)), error=TypeError)
    for name in ("x", "w_x", "w_h", "h0", "h"):
        wrong = trace._replace(**{name: getattr(trace, name)[1:]})
        yield BadCall(f"trace whose {name} does not fit", "trace", (dh, wrong))
    yield BadCall("trace with lengths out of range", "trace", (dh, trace._replace(lengths=np.full(N, T + 1))))
    yield BadCall("trace without direction", "trace", (dh, trace._replace(reverse=None)), error=TypeError)
    yield BadCall("trace of another activation", "trace", (dh, trace._replace(**{_activation(op): "gelu"})))
    for name in ("dh_last", "dc_last")[: len(_arguments(op)) - 4]:
        yield BadCall(f"rows of {name}", name, (dh, trace), {name: draw(N + 1, H)})
        yield BadCall(f"axes of {name}", name, (dh, trace), {name: dh})
    n = len(_arguments(op))
    yield BadCall("out no tuple", "out", (dh, trace), {"out": np.zeros((T, N, D))}, TypeError)
    yield BadCall("out of two", "out", (dh, trace), {"out": (None, None)}, TypeError)
    yield BadCall("out of a wrong shape", "out", (dh, trace), {"out": (None, np.zeros(2), *[None] * (n - 2))})
    yield BadCall("out over x", "out", (dh, trace), {"out": (trace.x, *[None] * (n - 1))})
    both = np.zeros((H, trace.w_h.shape[1]))
    yield BadCall("out twice", "out", (dh, trace), {"out": (None, both[:D], both, *[None] * (n - 3))})


def _activation(op: str) -> str:
    return "nonlinearity" if op == "rnn" else "cell_activation"
