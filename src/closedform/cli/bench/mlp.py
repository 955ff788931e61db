"""A training step of the network 784-128-10, in closedform, on its twins, and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn, use_backend
from ..._results import Array
from ...catalogue import Judge

NAME = "train_step"
SIZES = (1, 16, 64, 1024)
LAYERS = (784, 128, 10)
LEARNING_RATE = 0.01
CHECKED_STEPS = 3
TOLERANCE = 64.0  # eps, of the losses of the first steps: sums over 784 inputs, three times over

Step = Callable[[], Any]


def label(batch: int) -> str:
    return f"batch {batch}"


def size_of(label: str) -> int:
    return int(label.split()[1])


def data(batch: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(batch)
    return rng.random((batch, LAYERS[0]), np.float32), rng.integers(0, LAYERS[-1], batch)


def model(dtype: Any) -> nn.Sequential:
    D, H, K = LAYERS
    made = nn.Sequential(nn.Dense(D, H, dtype=dtype), nn.ReLU(), nn.Dense(H, K, dtype=dtype))
    rng = np.random.default_rng(0)
    for p in made.parameters().values():  # the same weights for every library and precision
        p[...] = rng.normal(0, 0.05, p.shape).astype(np.float32)
    return made


def closedform_step(batch: int, dtype: Any = np.float32) -> Step:
    network, loss, optimizer = model(dtype), nn.CrossEntropy(), nn.SGD(lr=LEARNING_RATE)
    x, y = data(batch)
    x = x.astype(dtype)
    return lambda: nn.train_step(network, loss, optimizer, x, y)


def twin_step(batch: int, dtype: Any = np.float32) -> Step:
    step = closedform_step(batch, dtype)

    def run() -> Any:
        with use_backend("reference"):
            return step()

    return run


def torch_step(batch: int) -> Step:
    import torch

    D, H, K = LAYERS
    network = torch.nn.Sequential(torch.nn.Linear(D, H), torch.nn.ReLU(), torch.nn.Linear(H, K))
    with torch.no_grad():
        for p, given in zip(network.parameters(), model(np.float32).parameters().values(), strict=True):
            p.copy_(torch.from_numpy(given.T.copy()))  # torch stores weights output-major
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    x, y = map(torch.from_numpy, data(batch))

    def run() -> Any:
        loss = criterion(network(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def losses(step: Step, dtype: Any = np.float32) -> tuple[Array, ...]:
    return (np.array([float(step()) for _ in range(CHECKED_STEPS)], dtype),)


def judge(batch: int) -> Judge:
    want = losses(twin_step(batch, np.float64), np.float64)
    return Judge(want, tuple(map(np.abs, want)), np.dtype(np.float32))


def flops(batch: int) -> float:
    D, H, K = LAYERS
    return 2.0 * batch * (2 * D * H + 3 * H * K)  # forward and dw; dx only where it is needed


def traffic(batch: int) -> int:
    D, H, K = LAYERS
    return 4 * (3 * (D * H + H * K) + batch * D)  # weights read, their gradients, weights written; the inputs
