"""Optimisers: `step(model)` updates the parameters from the gradients that `backward` left."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._results import Array
from .._validate import as_number
from ..optimizer import adam_update, sgd_update
from .layer import Layer


class Optimizer:
    """What the optimisers share: the learning rate `lr`, which may be changed between steps, and their state.

    The state is kept by the parameters' names, so an optimiser belongs to one model from its first step on.
    """

    _slots: tuple[str, ...] = ()  # arrays kept for each parameter

    def __init__(self, lr: float, weight_decay: float) -> None:
        self.lr = as_number("lr", lr, low=0)
        self.weight_decay = as_number("weight_decay", weight_decay, low=0)
        self.n_steps = 0
        self._state: dict[
            str, tuple[Array, ...]
        ] = {}  # parameter's name -> its arrays, in the order of _slots

    def step(self, model: Layer) -> None:
        """Update every parameter of `model`, in place."""
        self.n_steps += 1
        gradients = model.gradients()
        for name, parameter in model.parameters().items():
            state = self._state.get(name)
            if state is None:
                state = self._state[name] = tuple(np.zeros_like(parameter) for _ in self._slots)
            self._update(parameter, gradients[name], *state)

    def _update(self, parameter: Array, gradient: Array, *state: Array) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state: "lr", "n_steps" and, of "velocity" or "m" and "v", name -> array."""
        arrays = {
            slot: {name: state[i].copy() for name, state in self._state.items()}
            for i, slot in enumerate(self._slots)
        }
        return {"lr": self.lr, "n_steps": self.n_steps, **arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict()`. Raises ValueError for that of another kind of optimiser."""
        if set(state) != {"lr", "n_steps", *self._slots}:
            raise ValueError(
                f"state: expected the entries {('lr', 'n_steps', *self._slots)}; got {tuple(state)}"
            )
        names = state[self._slots[0]] if self._slots else ()
        self._state = {name: tuple(np.array(state[slot][name]) for slot in self._slots) for name in names}
        self.lr, self.n_steps = float(state["lr"]), int(state["n_steps"])


class SGD(Optimizer):
    """Gradient descent, with momentum, Nesterov's variant, weight decay: `cf.sgd_update` a parameter.

    Parameters
    ----------
    lr : learning rate
    momentum : in [0, 1)
    nesterov : look ahead along the velocity; needs momentum
    weight_decay : λ, added to the gradient as λθ
    """

    def __init__(
        self, lr: float = 0.01, momentum: float = 0.0, *, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = as_number("momentum", momentum, low=0)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected False, since momentum is 0; got True")
        if self.momentum:
            self._slots = ("velocity",)

    def _update(self, parameter: Array, gradient: Array, *state: Array) -> None:
        sgd_update(
            parameter,
            gradient,
            state[0] if state else None,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr:g}, momentum={self.momentum:g}, nesterov={self.nesterov}, "
            f"weight_decay={self.weight_decay:g})"
        )


class Adam(Optimizer):
    """Adam: `cf.adam_update` a parameter.

    Parameters
    ----------
    lr : learning rate
    betas : (β₁, β₂), each in [0, 1)
    eps : ε
    weight_decay : λ, added to the gradient as λθ; for the decoupled form see `AdamW`
    """

    _slots = ("m", "v")
    _decoupled = False

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        if len(betas) != 2 or not all(0 <= as_number("betas", beta) < 1 for beta in betas):
            raise ValueError(f"betas: expected two numbers in [0, 1); got {betas!r}")
        self.beta1, self.beta2 = map(float, betas)
        self.eps = as_number("eps", eps, low=0)

    def _update(self, parameter: Array, gradient: Array, *state: Array) -> None:
        adam_update(
            parameter,
            gradient,
            *state,
            lr=self.lr,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled=self._decoupled,
            step=self.n_steps,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lr={self.lr:g}, betas=({self.beta1:g}, {self.beta2:g}), "
            f"eps={self.eps:g}, weight_decay={self.weight_decay:g})"
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameters shrink by ηλ at every step. λ = 0.01 by default."""

    _decoupled = True

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay)


def clip_grad_norm(model: Layer, max_norm: float) -> float:
    """Scale all gradients of `model`, in place, so that their joint Euclidean norm is at most `max_norm`.

    Returns the norm before, summed in float64. A norm that is not finite (an inf or NaN among the gradients)
    leaves the gradients as they are, and is returned: the caller decides.

    Raises ValueError or TypeError if `max_norm` is not a number > 0.
    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks (2013).
    """
    max_norm = as_number("max_norm", max_norm, low=0, open_low=True)
    gradients = model.gradients().values()
    with np.errstate(over="ignore", invalid="ignore"):
        norm = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients))
    if math.isfinite(norm) and norm > max_norm:
        for g in gradients:
            g *= g.dtype.type(max_norm / norm)
    return norm
