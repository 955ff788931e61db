"""Parameter updates, in place. Every array of a call has the parameter's shape."""

from __future__ import annotations

import math

import numpy as np

from .._results import Array


@np.errstate(all="ignore")
def sgd_update(
    parameter: Array,
    gradient: Array,
    velocity: Array | None,
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Twin of `closedform.sgd_update`."""
    # g ← dθ + λθ;   v ← μv + g;   θ ← θ - η (g + μv if Nesterov, else v)
    # velocity may be None if μ = 0: then v = g.
    g = gradient + weight_decay * parameter
    if velocity is not None:
        velocity *= momentum
        velocity += g
        g = g + momentum * velocity if nesterov else velocity
    parameter -= lr * g


@np.errstate(all="ignore")
def adam_update(
    parameter: Array,
    gradient: Array,
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
    """Twin of `closedform.adam_update`."""
    # m ← β₁m + (1 - β₁)g;   v ← β₂v + (1 - β₂)g²;   θ ← θ - η m̂ / (√v̂ + ε)
    # m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) make up for m and v having started at 0; t counts from 1.
    # Weight decay: Adam adds λθ to the gradient; AdamW (decoupled) shrinks θ by ηλ instead.
    if decoupled:
        parameter *= 1 - lr * weight_decay
        g = gradient
    else:
        g = gradient + weight_decay * parameter
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    m_hat = m / (1 - beta1**step)
    root_v_hat = np.sqrt(v) / math.sqrt(1 - beta2**step)
    parameter -= lr * m_hat / (root_v_hat + eps)
