"""Windows that slide over images: what convolutions and poolings mean by stride, dilation and padding."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ._validate import as_integer

Pair: TypeAlias = tuple[int, int]  # (height, width), or (before, after)
Sides: TypeAlias = "int | tuple[int, int]"
Padding: TypeAlias = "int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | str"

# The largest side (padding included), stride and dilation: the product of two fits 64 bits.
LIMIT = 2**31 - 1


class Window(NamedTuple):
    """One spatial axis: tap t of window o covers the coordinate o * stride + t * dilation - pad of n.

    Coordinates outside [0, n) are padding. `Window` in csrc/kernels/table.hpp is the same, field by field.
    """

    n: int
    n_out: int
    taps: int
    stride: int
    dilation: int
    pad: int

    @property
    def pad_after(self) -> int:
        """How far the last window reaches past the input; 0 if it does not."""
        end = (self.n_out - 1) * self.stride + (self.taps - 1) * self.dilation - self.pad + 1
        return max(0, end - self.n) if self.n_out > 0 else 0


def as_shape(name: str, value: Any) -> tuple[int, ...]:
    """A shape that is given as such, without an array."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: expected a tuple of integers; got {value!r}")
    shape = tuple(as_integer(name, n) for n in value)
    if min(shape, default=0) < 0:
        raise ValueError(f"{name}: expected sizes of at least 0; got {shape}")
    return shape


def as_pair(name: str, value: Any, low: int) -> Pair:
    """(height, width), from a pair or from one integer for both; each in [low, LIMIT]."""
    if type(value) is int and low <= value <= LIMIT:
        return value, value  # the common case
    if _is_sequence(value):
        if len(value) != 2:
            raise ValueError(f"{name}: expected an integer or a pair (height, width); got {value!r}")
        return _side(name, value[0], low), _side(name, value[1], low)
    both = _side(name, value, low)
    return both, both


def as_padding(value: Any, taps: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)), from that, (height, width), one integer, "same" or "valid"."""
    if isinstance(value, str):
        return _named_padding(value, taps, stride, dilation)
    if _is_sequence(value) and len(value) == 2 and any(_is_sequence(sides) for sides in value):
        if not all(_is_sequence(sides) for sides in value):
            raise TypeError(f"padding: expected ((top, bottom), (left, right)) or integers; got {value!r}")
        rows, columns = (as_pair("padding", sides, 0) for sides in value)
        return rows, columns
    height, width = as_pair("padding", value, 0)
    return (height, height), (width, width)


def _named_padding(value: str, taps: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    if value == "valid":
        return (0, 0), (0, 0)
    if value != "same":
        raise ValueError(f'padding: expected integers, "same" or "valid"; got {value!r}')
    if stride != (1, 1):
        raise ValueError(f'padding: expected integers or "valid", since stride is {stride}; got "same"')
    rows, columns = (d * (k - 1) for d, k in zip(dilation, taps, strict=True))
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


def windows(
    x_shape: tuple[int, ...],
    taps: Pair,
    *,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    window: str,
    images: str = "x",
    least: int = 0,
) -> tuple[Window, Window]:
    """The axes of height and width of images (N, H, W, C) under windows of `taps` = (height, width) ≥ 1.

    n' = ⌊(n + before + after − dilation · (taps − 1) − 1) / stride⌋ + 1 windows fit on an axis. None is an empty
    output; less than `least` is a ValueError, in which `window` tells what slides, such as "w (3, 3, 8, 16)", and
    `images` is the argument whose shape it is.
    """
    stride, dilation = as_pair("stride", stride, 1), as_pair("dilation", dilation, 1)
    padding = as_padding(padding, taps, stride, dilation)
    (top, bottom), (left, right) = padding
    if x_shape[1] + top + bottom > LIMIT or x_shape[2] + left + right > LIMIT:
        raise ValueError(
            f"{images}: expected a height and width of at most {LIMIT}, padding included; "
            f"got shape {x_shape} and padding {padding}"
        )
    h = _axis(x_shape[1], taps[0], stride[0], dilation[0], top, bottom)
    w = _axis(x_shape[2], taps[1], stride[1], dilation[1], left, right)
    if h.n_out < least or w.n_out < least:
        raise ValueError(
            f"{images}: expected images with room for the window; got shape {x_shape}, which with {window}, "
            f"stride {stride}, padding {padding} and dilation {dilation} makes an output of {h.n_out} by {w.n_out}"
        )
    return h, w


def _axis(n: int, taps: int, stride: int, dilation: int, before: int, after: int) -> Window:
    n_out = (n + before + after - dilation * (taps - 1) - 1) // stride + 1
    # A stride between fewer than two windows, or a dilation between fewer than two taps, has no effect: 1 will do.
    return Window(n, n_out, taps, stride if n_out > 1 else 1, dilation if taps > 1 else 1, before)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _side(name: str, value: Any, low: int) -> int:
    n = as_integer(name, value)
    if not low <= n <= LIMIT:
        raise ValueError(f"{name}: expected integers in [{low}, {LIMIT}]; got {n}")
    return n
