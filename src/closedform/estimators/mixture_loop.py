"""EM from one beginning to its end, on either backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .. import _mixture
from .._backend import using_reference
from .._gaussians import COVARIANCE_TYPES
from .mixture_blocks import Blocks
from .mixture_parameters import Parameters
from .mixture_samples import Samples

Observer = Callable[[int, float, Parameters], bool]  # (iteration from 1, lower bound, parameters) -> stop?


@dataclass
class Problem:
    """The samples and how to fit them."""

    samples: Samples | Blocks
    reg_covar: float
    on_singular: str
    floor: float  # the least eigenvalue of a repaired covariance
    least: float = 0.0  # variances below are rounding errors of the samples' mean: as good as 0
    fixed: tuple[str, ...] = ()


@dataclass
class Run:
    """One climb: how far it has come."""

    parameters: Parameters
    previous: float = -math.inf  # the lower bound that it goes on from
    lower_bounds: list[float] = field(default_factory=list)
    converged: bool = False

    @property
    def lower_bound(self) -> float:
        return self.lower_bounds[-1] if self.lower_bounds else self.previous


def climb(problem: Problem, run: Run, max_iter: int, tol: float, observer: Observer) -> None:
    """EM from run.parameters, until the lower bound changes by less than tol, or the observer stops it."""
    stopped = False

    def watch(_: int, bound: float) -> bool:
        nonlocal stopped
        run.converged = abs(bound - run.lower_bound) < tol
        run.lower_bounds.append(bound)
        stopped = observer(len(run.lower_bounds), bound, run.parameters)
        return stopped or run.converged

    run.parameters = mended(problem, run.parameters)
    while not (stopped or run.converged) and (left := max_iter - len(run.lower_bounds)) > 0:
        K = run.parameters.K
        failed_at = _iterate(problem, run.parameters, left, watch)
        if failed_at is not None:  # the M step of this iteration has left a singular covariance
            run.parameters = mended(problem, run.parameters)
            watch(0, failed_at)
            run.converged &= run.parameters.K == K  # a mixture of fewer components has yet to converge


def _iterate(
    problem: Problem, p: Parameters, max_iter: int, watch: Callable[[int, float], bool]
) -> float | None:
    """EM in place; watch(iteration, lower bound) stops it. The lower bound of an iteration that failed, or None."""
    samples = problem.samples
    if not isinstance(samples, Samples) or samples.patterns or problem.fixed or using_reference():
        for iteration in range(1, max_iter + 1):
            bound, statistics = samples.em_step(p)
            p.maximise(statistics, problem.reg_covar, problem.fixed)
            if p.factor(problem.least) >= 0:
                return bound
            if watch(iteration, bound):
                break
        return None
    never = -1.0  # the tolerance: `watch` knows the lower bound that a warm start goes on from
    kind = COVARIANCE_TYPES.index(p.covariance_type)
    pi, mu, sigma, u = p.attributes().values()
    p.statistics = None
    collapsed = False

    def look(iteration: int, bound: float) -> bool:
        nonlocal collapsed
        collapsed = p.collapsed(problem.least) >= 0
        return collapsed or watch(iteration, bound)

    callback = look if problem.least else watch
    _, _, bounds, failed = _mixture.fit(
        samples.x, samples.weight, pi, mu, sigma, u, kind, problem.reg_covar, max_iter, never, callback
    )
    return bounds[-1] if failed >= 0 or collapsed else None


# -- covariances that are not positive definite --


def mended(problem: Problem, p: Parameters) -> Parameters:
    """p with the factors of its precisions, after on_singular has dealt with covariances that have none."""
    while (k := p.factor(problem.least)) >= 0:
        if problem.on_singular == "drop" and p.K > 1 and p.covariance_type != "tied":
            p = p.without(k)
        elif problem.on_singular == "repair" and np.isfinite(p.covariances).all():
            _repair(p, k, problem.floor)
        else:
            raise ValueError(_message(p, k, problem.samples.total))
    return p


def _repair(p: Parameters, k: int, floor: float) -> None:
    """No eigenvalue of the covariance k below `floor`: the most likely such covariance, given the statistics."""
    if p.covariance_type not in ("full", "tied"):
        p.covariances[k] = np.maximum(p.covariances[k], floor)
        return
    covariance = p.covariances[k] if p.covariance_type == "full" else p.covariances
    values, vectors = np.linalg.eigh(covariance)
    least = max(floor, 1e-12 * values[-1])  # below that, rounding alone can make it indefinite
    covariance[...] = (vectors * np.maximum(values, least)) @ vectors.T


def _message(p: Parameters, k: int, total: float) -> str:
    """The first two sentences are scikit-learn's."""
    if p.covariance_type == "tied":
        which = f"It is the covariance that all components share, of {total:g} samples"
    else:
        which = (
            f"The first is component {k}, whose effective count is {p.weights[k] * total:.4g} of {total:g}"
        )
    return (
        "Fitting the mixture model failed because some components have ill-defined empirical covariance (for "
        "instance caused by singleton or collapsed samples). Try to decrease the number of components, increase "
        f"reg_covar, or scale the input data. {which}; see on_singular, to repair or drop it."
    )
