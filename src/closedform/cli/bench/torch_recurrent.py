"""RNN and LSTM in PyTorch, its layers called as a user would. Imported in the worker of PyTorch alone.

The forward is that of training, which keeps what the backward needs, as our traces do. The backward is repeated on the
graph of one forward. A training step takes the sum of both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..._results import Array
from ...catalogue import Call
from .libraries import Job


def prepare(name: str, call: Call) -> Job:
    op, _, form = name.partition("_")
    return {"": _forward, "backward": _backward, "step": _step}[form](op, call)


def _layer(kind: str, w_x: Array, w_h: Array, b: Array | None, suffix: str = "") -> Any:
    """A module with these weights, transposed as PyTorch has them; of its two biases one is 0."""
    module = getattr(torch.nn, kind)(w_x.shape[0], w_h.shape[0], dtype=torch.from_numpy(w_x).dtype)
    given = {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias_ih": b, "bias_hh": None}
    with torch.no_grad():
        for name, a in given.items():
            parameter = getattr(module, f"{name}{suffix}")
            parameter.copy_(torch.zeros(()) if a is None else torch.from_numpy(a.copy()))
    return module


def _forward(op: str, call: Call) -> Job:
    x, w_x, w_h, b = call.args
    module, inputs = _layer(op.upper(), w_x, w_h, b, "_l0"), torch.from_numpy(x.copy())

    def check() -> tuple[Array, ...]:
        h, last = module(inputs)
        if op == "rnn":
            return _arrays(h, last[0])
        return _arrays(h, last[0][0], last[1][0], *_cells(module, inputs, h))

    return Job(lambda: module(inputs), check)


def _cells(module: Any, x: Any, h: Any) -> tuple[Any, Any]:
    """c and the gates, which PyTorch keeps to itself: they follow from its h."""
    h_prev = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    z = x @ module.weight_ih_l0.T + h_prev @ module.weight_hh_l0.T + module.bias_ih_l0
    i, f, g, o = z.chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = [torch.zeros_like(h[0])]
    for t in range(len(x)):
        c.append(f[t] * c[-1] + i[t] * g[t])
    return torch.stack(c[1:]), torch.cat((i, f, g, o), -1)


def _backward(op: str, call: Call) -> Job:
    dh, trace = call.args
    module = _layer(op.upper(), trace.w_x, trace.w_h, trace.b, "_l0")
    x = torch.from_numpy(trace.x.copy()).requires_grad_()
    state = torch.zeros(1, *trace.h.shape[1:], dtype=x.dtype)
    states = [state.clone().requires_grad_() for _ in range(1 if op == "rnn" else 2)]
    h, _ = module(x, states[0] if op == "rnn" else tuple(states))
    weights = [getattr(module, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih")]
    upstream = torch.from_numpy(dh.copy())

    def run() -> Any:
        return torch.autograd.grad(h, [x, *weights, *states], upstream, retain_graph=True)

    def check() -> tuple[Array, ...]:
        dx, dw_x, dw_h, db, *dstates = run()
        return _arrays(dx, dw_x.T, dw_h.T, db, *(d[0] for d in dstates))

    return Job(run, check)


def _step(op: str, call: Call) -> Job:
    tensors = [torch.from_numpy(a.copy()) for a in call.args]
    x, *states = tensors[: len(tensors) - 3]
    module = _layer(f"{op.upper()}Cell", *call.args[-3:])

    def run() -> Any:
        with torch.no_grad():
            return module(x, states[0] if op == "rnn" else tuple(states))

    return Job(run, lambda: _arrays(run()) if op == "rnn" else _arrays(*run()))


def _arrays(*results: Any) -> tuple[Array, ...]:
    return tuple(np.ascontiguousarray(a.detach().numpy()) for a in results)
