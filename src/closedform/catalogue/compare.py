"""How the result of an op is compared: with its twin in float64, in units of eps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .._results import Array
from .op import Call, Op, arrays, float_dtype


def outputs(op: Op, function: Callable[..., Any], call: Call) -> tuple[Array, ...]:
    """Everything that a call computes: its results (None left out), and the arguments it updates."""
    names = list(inspect.signature(op.public).parameters)
    args = [
        a.copy() if isinstance(a, np.ndarray) and name in op.updates else a
        for name, a in zip(names, call.args, strict=False)
    ]
    result = function(*args, **call.options)
    if op.computed:
        result = tuple(getattr(result, name) for name in op.computed)
    results = result if isinstance(result, tuple) else (result,)
    updated = [a for name, a in zip(names, args, strict=False) if name in op.updates]
    return tuple(np.asarray(a) for a in (*results, *updated) if a is not None)


def in_float64(call: Call) -> Call:
    """The same call with every floating-point array in float64, those of a trace included."""

    def widen(a: Any) -> Any:
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return type(a)(*map(widen, a))
        return a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a

    return replace(
        call, args=tuple(map(widen, call.args)), options={name: widen(a) for name, a in call.options.items()}
    )


class Judge:
    """Knows what a call must give: the twin's answer in float64, and the scale of its errors."""

    def __init__(self, want: tuple[Array, ...], scales: tuple[Array, ...], dtype: np.dtype[Any]) -> None:
        self.want, self.scales, self.dtype = want, scales, dtype

    @classmethod
    def of(cls, op: Op, call: Call) -> Judge:
        call64 = in_float64(call)
        want = outputs(op, op.twin, call64)
        with np.errstate(all="ignore"):
            return cls(want, op.scale(call64, want), float_dtype(call))

    def error(self, got: tuple[Array, ...]) -> float:
        """The largest error in units of eps · scale; inf for a wrong shape, dtype, NaN or infinity."""
        if len(got) != len(self.want):
            return np.inf
        triples = zip(got, self.want, self.scales, strict=True)
        return max((_error(g, w, s, self.dtype) for g, w, s in triples), default=0.0)


def error_in_eps(op: Op, call: Call, got: tuple[Array, ...]) -> float:
    """The largest error of `got`, what `outputs` gave for this call, in units of eps · scale."""
    return Judge.of(op, call).error(got)


@np.errstate(all="ignore")
def _error(got: Array, want: Array, scale: Array, dtype: np.dtype[Any]) -> float:
    if want.dtype.kind == "i":  # indices are right or wrong
        return 0.0 if got.dtype == want.dtype and np.array_equal(got, want) else np.inf
    if got.shape != want.shape or got.dtype != dtype:
        return np.inf
    limits = np.finfo(dtype)
    unit = np.maximum(scale, float(limits.tiny))
    unit *= limits.eps
    errors = np.asarray(np.abs(got - want) / unit)  # in float64
    rounded = want.astype(dtype)  # what overflows in this dtype is infinite
    special = ~np.isfinite(rounded)
    if special.any():
        if not np.array_equal(got[special], rounded[special], equal_nan=True):
            return np.inf
        errors[special] = 0
    worst = float(np.max(errors, initial=0.0))  # NaN if any is
    return worst if worst <= np.inf else np.inf


def traffic(call: Call, results: tuple[Array, ...]) -> int:
    """Bytes that a call cannot avoid to move: every input read once, every result written once."""
    return sum(a.nbytes for a in arrays(call)) + sum(a.nbytes for a in results)
