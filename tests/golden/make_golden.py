"""Writes the .npz files beside it: expectations that owe nothing to closedform.

    python tests/golden/make_golden.py        (where torch and mpmath are installed)

cross_entropy.npz
    Losses and gradients by PyTorch autograd, in float64. Arguments are named `<case>/<argument>`, results
    `<case>/out.<variant>` and `<case>/grad.<variant>`.
elementary.npz
    Functions of `x` (of `x_log` for log) by mpmath, with 50 digits, rounded to float64. Every `x` is a
    float32 number, so that both precisions can be tested. Below 1e-30 or so `out.gelu` has lost its digits:
    1 + erf cancels there, even with 50 of them.

The files in the repository were drawn with another stream of random numbers; any stream will do.
"""

from __future__ import annotations

from pathlib import Path

import mpmath as mp
import numpy as np
import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy

HERE = Path(__file__).parent
CASES = [
    (1, 2, 1.0),
    (7, 5, 1.0),
    (33, 10, 30.0),
    (4, 1000, 1.0),
    (3, 17, 1e3),
]  # N rows, K classes, logit scale


def cross_entropy(rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {}
    for case, (N, K, scale) in enumerate(CASES):
        given = {
            "logits": rng.normal(size=(N, K)) * scale,
            "target": rng.integers(0, K, N),
            "weight": rng.uniform(0.5, 2, K),
            "soft": rng.dirichlet(np.ones(K), N),
        }
        labels, weight, soft = (torch.tensor(given[name]) for name in ("target", "weight", "soft"))
        variants = {
            "plain": (labels, {}),
            "sum": (labels, {"reduction": "sum"}),
            "weighted": (labels, {"weight": weight}),
            "smooth": (labels, {"label_smoothing": 0.1}),
            "ignore": (labels, {"ignore_index": int(labels[0]), "reduction": "sum"}),
            "softtarget": (soft, {}),
        }
        arrays |= {f"{case:02d}/{name}": array for name, array in given.items()}
        for variant, (target, options) in variants.items():
            logits = torch.tensor(given["logits"], requires_grad=True)
            loss = torch_cross_entropy(logits, target, **options)
            loss.backward()
            arrays[f"{case:02d}/out.{variant}"] = loss.detach().numpy()
            arrays[f"{case:02d}/grad.{variant}"] = logits.grad.numpy()
    return arrays


def elementary(rng: np.random.Generator) -> dict[str, np.ndarray]:
    powers = 10.0 ** np.arange(-30, 0)
    x = np.concatenate(
        [
            np.linspace(-104, 89, 1201),
            np.linspace(-20, 20, 801),
            rng.normal(size=500) * 1e-3,
            powers,
            -powers,
            [0.0, 700.0, -740.0],
        ]
    )
    x = x.astype(np.float32).astype(np.float64)
    x_log = np.abs(x) + 1e-30
    functions = {
        "exp": (x, mp.exp),
        "tanh": (x, mp.tanh),
        "sigmoid": (x, lambda v: 1 / (1 + mp.exp(-v))),
        "softplus": (x, lambda v: mp.log1p(mp.exp(v))),
        "gelu": (x, lambda v: v * (1 + mp.erf(v / mp.sqrt(2))) / 2),
        "log": (x_log, mp.log),
    }
    with mp.workdps(50):
        values = {
            f"out.{name}": np.array([float(function(mp.mpf(float(v)))) for v in at])
            for name, (at, function) in functions.items()
        }
    return {"x": x, "x_log": x_log, **values}


if __name__ == "__main__":
    rng = np.random.default_rng(20261121)
    np.savez_compressed(HERE / "cross_entropy.npz", **cross_entropy(rng))
    np.savez_compressed(HERE / "elementary.npz", **elementary(rng))
