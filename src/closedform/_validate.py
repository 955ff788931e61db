"""Argument checks, made once, in the wrappers. Every message names the argument, what was expected, what came."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy import ndarray

from . import _kernels
from ._results import Array

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
REDUCTIONS = ("sum", "mean", "none")
OPTIONAL = frozenset(  # arguments that `as_floats` lets be None
    {"b", "weight", "target", "h0", "c0", "dh_last", "dc_last", "trace.h0", "trace.c0"}
)


def as_floats(**arguments: Any) -> Collection[Any]:
    """The arguments as float32 or float64 arrays of one dtype, in order; None stays None where it may be.

    Mixed precisions are promoted; integers and booleans become float64. Layout is left alone.
    """
    dtype = None
    for name, a in arguments.items():  # the common case, in a microsecond: arrays of one dtype, nothing to do
        if type(a) is not ndarray:
            if a is None and name in OPTIONAL:
                continue
            break
        if a.dtype is not dtype:
            if dtype is not None or (a.dtype is not FLOAT32 and a.dtype is not FLOAT64):
                break
            dtype = a.dtype
    else:
        return arguments.values()

    arrays = {
        name: as_array(name, a) for name, a in arguments.items() if a is not None or name not in OPTIONAL
    }
    for name, a in arrays.items():
        if a.dtype.kind not in "fiub" or (a.dtype.kind == "f" and a.dtype.itemsize not in (4, 8)):
            raise TypeError(f"{name}: expected float32, float64, integers or booleans; got dtype {a.dtype}")
    wide = any(a.dtype.kind != "f" or a.dtype.itemsize == 8 for a in arrays.values())
    dtype = FLOAT64 if wide else FLOAT32
    return [_cast(name, arrays[name], dtype) if name in arrays else None for name in arguments]


def _cast(name: str, a: Array, dtype: Any) -> Array:
    try:
        return a.astype(dtype, copy=False)
    except ValueError as e:  # a broadcast array whose elements, written out, no address reaches
        raise ValueError(
            f"{name}: expected an array that fits in memory as {dtype}; got shape {a.shape}"
        ) from e


def as_array(name: str, a: Any) -> Array:
    """Any array-like as an ndarray (subclasses become plain arrays)."""
    try:
        return np.asarray(a)
    except ValueError as e:
        raise ValueError(f"{name}: expected an array; got nested sequences of unequal lengths") from e


def as_labels(name: str, a: Any) -> Array:
    """Integer class labels as int64."""
    labels = as_array(name, a)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer class indices; got dtype {labels.dtype}")
    if labels.dtype.kind == "u" and labels.size and labels.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected class indices; got {labels.max()}")
    return labels.astype(np.int64, copy=False)


def same_shape(**pair: Array) -> None:
    (name, a), (other, b) = pair.items()
    if a.shape != b.shape:
        raise ValueError(f"{other}: expected the shape of {name}, {a.shape}; got {b.shape}")


def expect_shape(name: str, a: Array, expected: tuple[int, ...], why: str) -> None:
    if a.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, {why}; got {a.shape}")


def as_axis(axis: Any, a: Array) -> int:
    """A valid axis of `a`, counted from the front."""
    axis = as_integer("axis", axis)
    if not -a.ndim <= axis < a.ndim:
        raise ValueError(f"axis: expected an axis of an array with {a.ndim} dimensions; got {axis}")
    return axis % a.ndim


def as_integer(name: str, value: Any) -> int:
    """An integer, of Python or NumPy; no boolean and no float."""
    if type(value) is int:
        return value  # the common case
    if not isinstance(value, (bool, np.bool_)):
        with contextlib.suppress(TypeError):
            return operator.index(value)
    raise TypeError(f"{name}: expected an integer; got {value!r}")


def as_flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False; got {value!r}")
    return bool(value)


def one_of(name: str, value: Any, choices: Collection[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {tuple(choices)}; got {value!r}")
    return value


def some_of(name: str, values: Any, choices: Collection[str]) -> tuple[str, ...]:
    """Any of the choices, from any iterable but a string."""
    if values is choices:
        return tuple(choices)
    if isinstance(values, str) or not np.iterable(values):
        raise ValueError(f"{name}: expected names out of {tuple(choices)}; got {values!r}")
    return tuple(one_of(name, v, choices) for v in values)


def as_number(
    name: str, value: Any, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False
) -> float:
    """A finite real number in [low, high], or (low, high] with `open_low`."""
    if (
        type(value) is float
        and low <= value <= high
        and value - value == 0
        and not (open_low and value == low)
    ):
        return value  # the common case
    kind = value.dtype.kind if isinstance(value, (ndarray, np.generic)) else ""
    if isinstance(value, (str, bytes, bytearray)) or kind not in "fiub" or (kind and value.ndim > 0):
        raise TypeError(f"{name}: expected a number; got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError) as e:
        raise TypeError(f"{name}: expected a number; got {value!r}") from e
    if not (math.isfinite(number) and low <= number <= high and not (open_low and number == low)):
        bracket = "(" if open_low else "["
        limits = "" if low == -math.inf and high == math.inf else f" in {bracket}{low:g}, {high:g}]"
        raise ValueError(f"{name}: expected a finite number{limits}; got {value!r}")
    return number


def check_out(out: Any, shape: tuple[int, ...], dtype: Any, *inputs: Array | None, name: str = "out") -> None:
    """`out` can take the result: shape, dtype, writable, and apart from every input."""
    if out is None:
        return
    if _kernels.can_take(out, shape, dtype, *inputs):  # the common case
        return
    if not isinstance(out, ndarray):
        raise TypeError(f"{name}: expected an array or None; got {type(out).__name__}")
    if out.dtype != dtype or not out.dtype.isnative:
        raise TypeError(f"{name}: expected dtype {dtype}; got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}; got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name}: expected a writable array; got a read-only one")
    for a in inputs:
        if a is not None and _overlap(out, a):
            raise ValueError(
                f"{name}: expected memory of its own; got an array that overlaps another argument"
            )


def check_outs(
    outs: tuple[Any, ...],
    shapes: tuple[tuple[int, ...], ...],
    dtype: Any,
    *inputs: Array,
    names: tuple[str, ...],
) -> None:
    """`check_out` of several results, which are apart from each other too."""
    if _kernels.can_take_all(outs, shapes, dtype, *inputs):  # the common case
        return
    for i, (out, shape, name) in enumerate(zip(outs, shapes, names, strict=True)):
        check_out(out, shape, dtype, *inputs, *outs[:i], name=name)


def _overlap(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # its stub knows -1 and 0
    except np.exceptions.TooHardError:
        return True
