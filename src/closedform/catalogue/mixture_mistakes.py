"""Calls of the steps of EM that must be refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..reference.mixture import precisions_cholesky
from .op import BadCall, draw, draw_unit

N, D, K = 5, 3, 2
X = draw(N, D, seed=1)
PARAMETERS = X, np.array([0.25, 0.75]), draw(K, D, seed=2)
MIX = np.eye(D) + 0.2 * draw(K, D, D, seed=3)
COVARIANCES = MIX @ np.swapaxes(MIX, 1, 2)
FACTORS, _ = precisions_cholesky(COVARIANCES, "full")


def _bad_samples(args: tuple[Any, ...], *, empty: bool) -> Iterator[BadCall]:
    x, *rest = args
    yield BadCall("one axis", "x", (x[0], *rest))
    yield BadCall("three axes", "x", (x[None], *rest))
    yield BadCall("no features", "x", (x[:, :0], *rest))
    yield BadCall("ragged", "x", ([[1.0], [1.0, 2.0]], *rest))
    yield BadCall("a string", "x", ("samples", *rest), error=TypeError)
    for value in (np.nan, np.inf, -np.inf):
        spoiled = x.copy()
        spoiled[2, 1] = value
        yield BadCall(f"{value} in x", "x", (spoiled, *rest))
    yield BadCall("another covariance type", "covariance_type", args, {"covariance_type": "round"})
    yield BadCall("no covariance type", "covariance_type", args, {"covariance_type": None})
    if not empty:
        yield BadCall("no rows", "x", (x[:0], *rest))


def _bad_parameters(args: tuple[Any, ...], name: str) -> Iterator[BadCall]:
    x, weights, means, a = args
    yield BadCall("too many weights", "weights", (x, np.full(3, 1 / 3), means, a))
    yield BadCall("a negative weight", "weights", (x, weights * [-1, 1] + [0, 2 * weights[0]], means, a))
    yield BadCall("weights that do not sum to 1", "weights", (x, weights * 1.1, means, a))
    yield BadCall("a weight that is NaN", "weights", (x, weights * [1, np.nan], means, a))
    yield BadCall("means of other features", "means", (x, weights, means[:, 1:], a))
    yield BadCall("no means", "means", (x, weights[:0], means[:0], a[:0]))
    yield BadCall("an infinite mean", "means", (x, weights, means * [1, 1, np.inf], a))
    yield BadCall("of one component", name, (x, weights, means, a[:1]))
    yield BadCall("of another type", name, args, {"covariance_type": "tied"})
    spoiled = a.copy()
    spoiled[1, 0, 0] = np.nan
    yield BadCall("a NaN in a matrix", name, (x, weights, means, spoiled))


def _bad_options(args: tuple[Any, ...]) -> Iterator[BadCall]:
    for label, weight in {
        "too few weights": np.ones(N - 1),
        "weights in a column": np.ones((N, 1)),
        "a negative weight": np.array([1.0, 1, -1, 1, 1]),
        "an infinite weight": np.array([1.0, 1, np.inf, 1, 1]),
        "weights of sum 0": np.zeros(N),
    }.items():
        yield BadCall(label, "sample_weight", args, {"sample_weight": weight})
    yield BadCall("a negative reg_covar", "reg_covar", args, {"reg_covar": -1e-6})
    yield BadCall("reg_covar a string", "reg_covar", args, {"reg_covar": "auto"}, TypeError)


def e_step_mistakes() -> Iterator[BadCall]:
    args = *PARAMETERS, FACTORS
    yield from _bad_samples(args, empty=True)
    yield from _bad_parameters(args, "precisions_cholesky")
    *rest, u = args
    yield BadCall("lower triangles", "precisions_cholesky", (*rest, np.swapaxes(u, 1, 2)))
    yield BadCall("a negative diagonal", "precisions_cholesky", (*rest, -u))


def m_step_mistakes() -> Iterator[BadCall]:
    args = X, draw_unit(N, K)
    yield from _bad_samples(args, empty=False)
    yield from _bad_options(args)
    x, r = args
    for label, bad in {
        "of fewer rows": r[:4], "one axis": r[:, 0], "of no component": r[:, :0], "negative": -r, "NaN": r * np.nan,
    }.items():  # fmt: skip
        yield BadCall(f"responsibilities {label}", "responsibilities", (x, bad))


def em_step_mistakes() -> Iterator[BadCall]:
    args = *PARAMETERS, COVARIANCES
    yield from _bad_samples(args, empty=False)
    yield from _bad_options(args)
    yield from _bad_parameters(args, "covariances")
    *rest, covariances = args
    yield BadCall("not symmetric", "covariances", (*rest, covariances + np.triu(np.ones((D, D)))))
    yield BadCall("not positive definite", "covariances", (*rest, covariances - 9 * np.eye(D)))
