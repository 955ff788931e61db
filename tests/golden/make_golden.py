"""Writes the .npz files beside it: expectations that owe nothing to closedform.

    python tests/golden/make_golden.py        (where torch, scikit-learn and mpmath are installed)

conv2d.npz
    conv2d and its gradients by PyTorch autograd, in float64, channels last: `<case>/<argument>`, `<case>/out.y` and
    `<case>/grad.<argument>`.
batchnorm.npz
    Batch normalisation and its gradients by PyTorch autograd, in float64: `<case>/<argument>`, `<case>/out.y` and
    `<case>/grad.<argument>`.
rnn.npz, lstm.npz
    One layer with initial states, and its gradients from those of every state and of the last, by PyTorch autograd,
    in float64. PyTorch has the weights transposed and two biases, whose sum is b: `<case>/<argument>`, `<case>/dh`,
    `<case>/dh_last`, `<case>/out.h`, `<case>/grad.<argument>`; of the LSTM c likewise.
mixture.npz
    Mixtures by scikit-learn's GaussianMixture, of every covariance type, in float64: `<case>/<argument>`, the E step in
    `<case>/out.log_likelihood` and `<case>/out.responsibilities`, and from them the M step in `<case>/out.weights`,
    `<case>/out.means` and `<case>/out.covariances`.
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

import warnings
from pathlib import Path

import mpmath as mp
import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch.nn.functional import batch_norm as torch_batch_norm
from torch.nn.functional import conv2d as torch_conv2d
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.nn.functional import pad

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


ONE, NONE = (1, 1), ((0, 0), (0, 0))
CONVOLUTIONS = [  # x (N, H, W, C), filters (kh, kw, K), stride, padding, dilation, groups
    ((2, 5, 5, 3), (3, 3, 4), ONE, NONE, ONE, 1),
    ((2, 7, 6, 3), (3, 3, 5), ONE, ((1, 1), (1, 1)), ONE, 1),
    ((1, 8, 9, 2), (3, 2, 7), (2, 1), ((1, 0), (0, 2)), ONE, 1),
    ((3, 6, 6, 17), (1, 1, 9), ONE, NONE, ONE, 1),
    ((2, 7, 7, 8), (1, 1, 8), (2, 2), NONE, ONE, 1),
    ((2, 9, 8, 4), (3, 3, 6), (1, 2), ((2, 2), (2, 2)), (2, 2), 1),
    ((2, 8, 8, 6), (3, 3, 8), ONE, ((1, 1), (1, 1)), ONE, 2),
    ((2, 7, 7, 5), (3, 3, 5), (2, 2), ((1, 1), (1, 1)), ONE, 5),
    ((2, 7, 7, 3), (3, 3, 6), ONE, ((1, 1), (1, 1)), ONE, 3),
    ((1, 11, 11, 3), (7, 7, 16), (2, 2), ((3, 3), (3, 3)), ONE, 1),
    ((1, 3, 3, 1), (3, 3, 1), (3, 3), NONE, ONE, 1),
    ((2, 12, 10, 16), (3, 3, 33), ONE, ((1, 1), (1, 1)), ONE, 1),
    ((1, 6, 5, 2), (2, 3, 3), (3, 2), ((1, 2), (0, 1)), (1, 2), 1),
]


def conv2d(rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {}
    for case, (x_shape, (kh, kw, K), stride, padding, dilation, groups) in enumerate(CONVOLUTIONS):
        shapes = {"x": x_shape, "w": (kh, kw, x_shape[3] // groups, K), "b": (K,)}
        given = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        x, w, b = (torch.tensor(a, requires_grad=True) for a in given.values())
        (top, bottom), (left, right) = padding
        padded = pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
        y = torch_conv2d(padded, w.permute(3, 2, 0, 1), b, stride, 0, dilation, groups).permute(0, 2, 3, 1)
        dy = rng.normal(size=y.shape)
        y.backward(torch.tensor(dy))
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        gradients = {f"grad.{name}": a.grad.numpy() for name, a in zip(given, (x, w, b), strict=True)}
        results = {"dy": dy, "out.y": y.detach().numpy(), **gradients}
        arrays |= {f"{case:02d}/{name}": a for name, a in (given | options | results).items()}
    return arrays


NORMALIZATIONS = [  # x (..., C), eps, mean
    ((4, 3), 1e-5, 0),
    ((2, 5, 4, 7), 1e-5, 0),
    ((3, 9, 17), 1e-3, 5),
    ((64, 33), 1e-5, 1e4),
    ((2, 1), 1e-5, 0),
]


def batchnorm(rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {}
    for case, (shape, eps, mean) in enumerate(NORMALIZATIONS):
        C = shape[-1]
        given = {"x": rng.normal(size=shape) + mean, "gamma": rng.normal(size=C), "beta": rng.normal(size=C)}
        x, gamma, beta = (torch.tensor(a, requires_grad=True) for a in given.values())
        y = torch_batch_norm(x.reshape(-1, C), None, None, gamma, beta, True, 0.1, eps).reshape(shape)
        dy = rng.normal(size=shape)
        y.backward(torch.tensor(dy))
        gradients = {f"grad.{name}": a.grad.numpy() for name, a in zip(given, (x, gamma, beta), strict=True)}
        results = {"dy": dy, "eps": eps, "out.y": y.detach().numpy(), **gradients}
        arrays |= {f"{case:02d}/{name}": a for name, a in (given | results).items()}
    return arrays


SEQUENCES = [
    (1, 1, 1, 1),
    (5, 3, 4, 6),
    (7, 1, 8, 16),
    (3, 9, 5, 33),
    (12, 4, 17, 8),
    (2, 6, 3, 64),
]  # T, N, D, H


def recurrent(layer: type, states: tuple[str, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {}
    for case, (T, N, D, H) in enumerate(SEQUENCES):
        module = layer(D, H).double()
        w_x, w_h, b, b_too = module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0
        x, *initial = (
            torch.tensor(rng.normal(size=shape), requires_grad=True)
            for shape in ((T, N, D), *len(states) * [(1, N, H)])
        )
        h, last = module(x, initial[0] if len(states) == 1 else tuple(initial))
        lasts = (last,) if len(states) == 1 else last
        dh, *dlasts = (rng.normal(size=a.shape) for a in (h, *(a[0] for a in lasts)))
        upstream = zip((h, *(a[0] for a in lasts)), (dh, *dlasts), strict=True)
        sum((a * torch.tensor(da)).sum() for a, da in upstream).backward()

        def array(a: torch.Tensor) -> np.ndarray:
            return a.detach().numpy().copy()

        given = {
            "x": array(x),
            "w_x": array(w_x).T,
            "w_h": array(w_h).T,
            "b": array(b) + array(b_too),
            "dh": dh,
        }
        gradients = {
            "x": array(x.grad),
            "w_x": array(w_x.grad).T,
            "w_h": array(w_h.grad).T,
            "b": array(b.grad),
        }
        results = {"out.h": array(h)} | {
            f"out.{s}_last": array(a)[0] for s, a in zip(states[1:], lasts[1:], strict=True)
        }
        for s, a, dlast in zip(states, initial, dlasts, strict=True):
            given |= {f"{s}0": array(a)[0], f"d{s}_last": dlast}
            gradients[f"{s}0"] = array(a.grad)[0]
        results |= {f"grad.{name}": a for name, a in gradients.items()}
        arrays |= {f"{case:02d}/{name}": a for name, a in (given | results).items()}
    return arrays


MIXTURES = [(200, 2, 3), (500, 9, 4), (300, 17, 5)]  # N, D, K


def mixture(rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {}
    kinds = [(kind, *sizes) for kind in ("full", "tied", "diag", "spherical") for sizes in MIXTURES]
    for case, (kind, N, D, K) in enumerate(kinds):
        x = rng.normal(size=(N, D)) + 4 * rng.normal(size=(K, D))[rng.integers(0, K, N)]
        peer = GaussianMixture(
            K, covariance_type=kind, max_iter=1, tol=0, random_state=0, init_params="random_from_data"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one iteration does not converge
            peer.fit(x)

        def parameters(names: tuple[str, ...], peer: GaussianMixture = peer) -> dict[str, np.ndarray]:
            return {name: getattr(peer, f"{name}_") for name in names}

        given = {"x": x, "covariance_type": kind}
        given |= parameters(("weights", "means", "covariances", "precisions_cholesky"))
        log_likelihood, log_responsibilities = peer._estimate_log_prob_resp(x)
        peer._m_step(x, log_responsibilities)
        results = {"log_likelihood": log_likelihood, "responsibilities": np.exp(log_responsibilities)}
        results |= parameters(("weights", "means", "covariances"))
        given |= {f"out.{name}": a for name, a in results.items()}
        arrays |= {f"{case:02d}/{name}": a for name, a in given.items()}
    return arrays


if __name__ == "__main__":
    rng = np.random.default_rng(20261121)
    torch.manual_seed(20261121)  # draws the weights of recurrent networks
    np.savez_compressed(HERE / "cross_entropy.npz", **cross_entropy(rng))
    np.savez_compressed(HERE / "elementary.npz", **elementary(rng))
    np.savez_compressed(HERE / "conv2d.npz", **conv2d(rng))
    np.savez_compressed(HERE / "batchnorm.npz", **batchnorm(rng))
    np.savez_compressed(HERE / "rnn.npz", **recurrent(torch.nn.RNN, ("h",), rng))
    np.savez_compressed(HERE / "lstm.npz", **recurrent(torch.nn.LSTM, ("h", "c"), rng))
    np.savez_compressed(HERE / "mixture.npz", **mixture(rng))
