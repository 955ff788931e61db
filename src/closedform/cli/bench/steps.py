"""The training steps that are measured, in closedform, on its twins, in PyTorch: checked by the losses of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import use_backend
from ..._results import Array
from ...catalogue import Judge
from . import mlp, text

STEPS: dict[str, Any] = {mlp.NAME: mlp, text.NAME: text}
CHECKED_STEPS = 3
TOLERANCE = 64.0  # eps, of those losses: means over sums of hundreds of products, three times over

Step = Callable[[], Any]


def make(library: str, name: str, label: str, dtype: Any = np.float32) -> Step:
    """A new network, and what trains it by one step and returns the loss."""
    network = STEPS[name]
    size = network.size_of(label)
    step: Step = network.torch_step(size) if library == "torch" else network.closedform_step(size, dtype)
    return _on_twins(step) if library == "twin" else step


def _on_twins(step: Step) -> Step:
    def run() -> Any:
        with use_backend("reference"):
            return step()

    return run


def losses(step: Step, dtype: Any = np.float32) -> tuple[Array, ...]:
    """Of the first steps, which must agree."""
    return (np.array([float(step()) for _ in range(CHECKED_STEPS)], dtype),)


def judge(name: str, label: str) -> Judge:
    """The float64 twin's losses."""
    want = losses(make("twin", name, label, np.float64), np.float64)
    return Judge(want, tuple(map(np.abs, want)), np.dtype(np.float32))


def cost(name: str, label: str) -> tuple[float, int]:
    """(flops, bytes) of a step."""
    network = STEPS[name]
    size = network.size_of(label)
    return network.flops(size), network.traffic(size)
