"""A training step of a language model of characters, in closedform and in PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn
from ..._results import Array
from .. import characters
from ..characters import Size

NAME = "text_step"
SIZES = (Size(100, 64, 256, 1, 32, 64),)
LEARNING_RATE = 0.1


def label(size: Size) -> str:
    V, E, H, L, N, T = size
    return f"V{V} E{E} H{H} L{L} {N}x{T}"


def size_of(label: str) -> Size:
    return Size(*map(int, re.findall(r"\d+", label)))


def data(size: Size) -> tuple[Array, Array]:
    ids = np.random.default_rng(size.rows).integers(0, size.vocabulary, (size.steps + 1, size.rows))
    return ids[:-1], ids[1:]


def model(size: Size, dtype: Any) -> nn.Sequential:
    made = characters.network(size, dtype)
    rng = np.random.default_rng(0)
    for p in made.parameters().values():  # the same weights for every library and precision
        p[...] = rng.normal(0, 0.05, p.shape).astype(np.float32)
    return made


def closedform_step(size: Size, dtype: Any = np.float32) -> Callable[[], Any]:
    network, loss, optimizer = model(size, dtype), nn.CrossEntropy(), nn.SGD(lr=LEARNING_RATE)
    x, y = data(size)
    return lambda: nn.train_step(network, loss, optimizer, x, y)


def torch_step(size: Size) -> Callable[[], Any]:
    import torch

    V, E, H, L, N, _ = size
    embedding, lstm, head = torch.nn.Embedding(V, E), torch.nn.LSTM(E, H, L), torch.nn.Linear(H, V)
    network = torch.nn.ModuleList([embedding, lstm, head])
    made: Any = model(size, np.float32)
    given = {f"1.{name}": a for name, a in made[1].to_torch_state().items()}
    given |= {"0.weight": made[0].w, "2.weight": made[2].w.T.copy(), "2.bias": made[2].b}
    network.load_state_dict({name: torch.from_numpy(a) for name, a in given.items()})
    criterion = torch.nn.CrossEntropyLoss()
    # its two biases are one of ours: half the rate for each
    biases = [p for name, p in lstm.named_parameters() if "bias" in name]
    others = [p for p in network.parameters() if all(p is not b for b in biases)]
    groups: Any = [{"params": others}, {"params": biases, "lr": LEARNING_RATE / 2}]
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE)
    x, y = map(torch.from_numpy, data(size))
    state = torch.zeros(L, N, H), torch.zeros(L, N, H)

    def run() -> Any:
        nonlocal state
        h, last = lstm(embedding(x), state)
        state = last[0].detach(), last[1].detach()
        loss = criterion(head(h).flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def flops(size: Size) -> float:
    return characters.flops(size)


def traffic(size: Size) -> int:
    V, E, H, L, N, T = size
    weights = V * E + 4 * H * (E + H + 1) + (L - 1) * 4 * H * (2 * H + 1) + (H + 1) * V
    return 4 * (
        3 * weights + T * N * (E + 6 * H * L + V)
    )  # weights read, their gradients, weights written; activations
