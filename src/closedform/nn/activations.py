"""Activations as layers. Any shape; the formulas and sources stand at the functions of the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import ArrayLike

from .. import activation as ops
from .._results import Array
from .._validate import as_number
from .layer import Buffer, Layer, floats


class Activation(Layer):
    """y = f(x), element by element."""

    _keeps = ("_x_or_y",)
    _f: ClassVar[Callable[..., Array]]
    _f_backward: ClassVar[Callable[..., Array]]
    _keeps_y: ClassVar[bool] = False  # whether the derivative is a function of y, or of x

    def __init__(self) -> None:
        self._options: dict[str, float] = {}
        self._x_or_y: Array | None = None
        self._y, self._dx = Buffer(), Buffer()

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        f = type(self)._f
        if not training:
            return f(x, **self._options)
        x = floats("x", x)
        y = f(x, **self._options, out=self._y(x.shape, x.dtype))
        self._x_or_y = y if self._keeps_y else x
        return y

    def backward(self, dy: ArrayLike) -> Array:
        kept = self._kept(self._x_or_y)
        dy = floats("dy", dy, kept.dtype)
        return type(self)._f_backward(dy, kept, **self._options, out=self._dx(kept.shape, kept.dtype))

    def config(self) -> dict[str, Any]:
        return dict(self._options)


class ReLU(Activation):
    """slope · x where x > 0, negative_slope · x elsewhere: `cf.relu`. `ReLU(slope=5)` is 5·relu."""

    _f, _f_backward = staticmethod(ops.relu), staticmethod(ops.relu_backward)

    def __init__(self, slope: float = 1.0, negative_slope: float = 0.0) -> None:
        super().__init__()
        self._options = {
            "slope": as_number("slope", slope),
            "negative_slope": as_number("negative_slope", negative_slope),
        }

    def __repr__(self) -> str:
        defaults = {"slope": 1.0, "negative_slope": 0.0}
        return f"ReLU({', '.join(f'{k}={v:g}' for k, v in self._options.items() if v != defaults[k])})"


class Sigmoid(Activation):
    """σ(x) = 1 / (1 + e⁻ˣ): `cf.sigmoid`."""

    _f, _f_backward = staticmethod(ops.sigmoid), staticmethod(ops.sigmoid_backward)
    _keeps_y = True


class Tanh(Activation):
    """tanh x: `cf.tanh`."""

    _f, _f_backward = staticmethod(ops.tanh), staticmethod(ops.tanh_backward)
    _keeps_y = True


class Softplus(Activation):
    """log(1 + eˣ): `cf.softplus`."""

    _f, _f_backward = staticmethod(ops.softplus), staticmethod(ops.softplus_backward)


class GELU(Activation):
    """x Φ(x), with Φ the normal distribution function: `cf.gelu`."""

    _f, _f_backward = staticmethod(ops.gelu), staticmethod(ops.gelu_backward)
