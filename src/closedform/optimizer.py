"""Parameter updates of the optimisers in `closedform.nn`. The one family of ops that works in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _kernels, reference
from ._backend import using_reference
from ._results import Array
from ._validate import FLOAT32, FLOAT64, as_flag, as_floats, as_integer, as_number, check_out, same_shape


def sgd_update(
    parameter: Array,
    gradient: ArrayLike,
    velocity: Array | None,
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """One step of gradient descent, in place: g = dθ + λθ, v = μv + g, θ = θ − η (g + μv if Nesterov, else v).

    Parameters
    ----------
    parameter : θ, any shape; updated
    gradient : dθ, the same shape
    velocity : v, the same shape and dtype, zero at the start; updated. None without momentum
    lr : the learning rate η
    momentum, weight_decay : μ in [0, 1) and λ
    nesterov : look ahead along the velocity

    Raises
    ------
    ValueError, TypeError : shapes or dtypes that differ, read-only or overlapping arrays, momentum without a velocity

    Source: Sutskever et al., On the importance of initialization and momentum (2013), in PyTorch's form.
    """
    momentum = as_number("momentum", momentum, low=0)
    lr, weight_decay = as_number("lr", lr), as_number("weight_decay", weight_decay)
    nesterov = as_flag("nesterov", nesterov)
    if velocity is None and momentum != 0:
        raise ValueError("velocity: expected an array, since momentum is not 0; got None")
    arrays = (parameter,) if velocity is None else (parameter, velocity)
    as_they_are = _kernels.can_update(gradient, *arrays)  # the common case
    g: Any = gradient if as_they_are else _check_state(parameter, gradient, velocity=velocity)
    if using_reference():
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        parameter, velocity = _plain(parameter, velocity)
        return reference.sgd_update(parameter, g, velocity, **options)  # type: ignore[arg-type]
    work = arrays if as_they_are else _copies(arrays)
    v = None if velocity is None else work[1]
    _kernels.sgd_update(work[0], g, v, lr, momentum, weight_decay, nesterov)
    _copy_back(work, arrays)
    return None


def adam_update(
    parameter: Array,
    gradient: ArrayLike,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    step: int,
) -> None:
    """One step of Adam, in place: m = β₁m + (1 − β₁)g, v = β₂v + (1 − β₂)g², θ = θ − η m̂ / (√v̂ + ε),
    with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).

    Parameters
    ----------
    parameter : θ, any shape; updated
    gradient : g, the same shape
    m, v : running moments, the same shape and dtype, zero at the start; updated
    lr : the learning rate η
    beta1, beta2 : in [0, 1)
    eps : ε
    weight_decay : λ; joins the gradient, or shrinks θ by ηλ if `decoupled` (AdamW)
    step : t, counted from 1

    Raises
    ------
    ValueError, TypeError : shapes or dtypes that differ, read-only or overlapping arrays, constants out of range

    Source: Kingma, Ba, arXiv 1412.6980 (2014); Loshchilov, Hutter, arXiv 1711.05101 (2017).
    """
    lr, weight_decay = as_number("lr", lr), as_number("weight_decay", weight_decay)
    eps = as_number("eps", eps, low=0)
    beta1, beta2 = _as_decay("beta1", beta1), _as_decay("beta2", beta2)
    if (step := as_integer("step", step)) < 1:
        raise ValueError(f"step: expected an integer counted from 1; got {step}")
    step = min(step, 2**53)  # a float's largest integer: by then beta**step is 0
    decoupled = as_flag("decoupled", decoupled)
    arrays = (parameter, m, v)
    as_they_are = _kernels.can_update(gradient, *arrays)  # the common case
    g: Any = gradient if as_they_are else _check_state(parameter, gradient, m=m, v=v)
    if using_reference():
        parameter, m, v = _plain(parameter, m, v)
        return reference.adam_update(
            parameter, g, m, v, lr=lr, beta1=beta1, beta2=beta2, eps=eps,
            weight_decay=weight_decay, decoupled=decoupled, step=step,
        )  # fmt: skip
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step
    work = arrays if as_they_are else _copies(arrays)
    p, m, v = work
    _kernels.adam_update(p, g, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, correction1, correction2)
    _copy_back(work, arrays)
    return None


def _check_state(parameter: Any, gradient: Any, **state: Any) -> Array:
    """The gradient as an array of the parameter's dtype, for arrays that an update can work on."""
    if not isinstance(parameter, np.ndarray) or parameter.dtype not in (FLOAT32, FLOAT64):
        raise TypeError(
            f"parameter: expected a float32 or float64 array; got {getattr(parameter, 'dtype', parameter)!r}"
        )
    (gradient,) = as_floats(gradient=gradient)
    same_shape(parameter=parameter, gradient=gradient)
    checked: Array = gradient.astype(parameter.dtype, copy=False)
    others = [checked]
    for name, a in {"parameter": parameter, **state}.items():
        if a is None and name != "velocity":
            raise TypeError(f"{name}: expected an array; got None")
        check_out(a, parameter.shape, parameter.dtype, *others, name=name)
        others.append(a)
    return checked


def _plain(*arrays: Any) -> list[Any]:
    """The same memory without the subclass: `*` of an np.matrix is no product of elements."""
    return [None if a is None else np.asarray(a) for a in arrays]


def _as_decay(name: str, value: Any) -> float:
    beta = as_number(name, value)
    if not 0 <= beta < 1:
        raise ValueError(f"{name}: expected a number in [0, 1); got {value!r}")
    return beta


def _copies(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Contiguous arrays, which are what the kernels update."""
    return tuple(np.array(a, order="C") for a in arrays)


def _copy_back(work: tuple[Array, ...], arrays: tuple[Array, ...]) -> None:
    if work is not arrays:
        for a, updated in zip(arrays, work, strict=True):
            a[...] = updated
