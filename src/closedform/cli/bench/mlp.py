"""A training step of the network 784-128-10, in closedform and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn
from ..._results import Array

NAME = "train_step"
SIZES = (1, 16, 64, 1024)
LAYERS = (784, 128, 10)
LEARNING_RATE = 0.01


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


def closedform_step(batch: int, dtype: Any = np.float32) -> Callable[[], Any]:
    network, loss, optimizer = model(dtype), nn.CrossEntropy(), nn.SGD(lr=LEARNING_RATE)
    x, y = data(batch)
    x = x.astype(dtype)
    return lambda: nn.train_step(network, loss, optimizer, x, y)


def torch_step(batch: int) -> Callable[[], Any]:
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


def flops(batch: int) -> float:
    D, H, K = LAYERS
    return 2.0 * batch * (2 * D * H + 3 * H * K)  # forward and dw; dx only where it is needed


def traffic(batch: int) -> int:
    D, H, K = LAYERS
    return 4 * (3 * (D * H + H * K) + batch * D)  # weights read, their gradients, weights written; the inputs
