"""The ops of the catalogue in scikit-learn. Imported in the worker of scikit-learn alone.

Its ops are steps inside estimators: a step of EM is what one more iteration of its `fit` costs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

from ..._results import Array
from ...catalogue import Call
from .libraries import Job

Results = tuple[Array, ...]


def _mixture(call: Call, n_components: int) -> Any:
    options = dict(call.options)
    return GaussianMixture(n_components, covariance_type=options.pop("covariance_type"), **options)


def _e_step(call: Call) -> Callable[[], Results]:
    x, weights, means, precisions_cholesky = call.args
    mixture = _mixture(call, len(weights))
    mixture.weights_, mixture.means_, mixture.precisions_cholesky_ = weights, means, precisions_cholesky

    def run() -> Results:
        log_likelihood, log_responsibilities = mixture._estimate_log_prob_resp(x)
        return log_likelihood, np.exp(log_responsibilities)

    return run


def _m_step(call: Call) -> Callable[[], Results]:
    x, responsibilities = call.args
    mixture = _mixture(call, responsibilities.shape[1])

    def run() -> Results:
        mixture._m_step(x, np.log(responsibilities))
        return mixture.weights_, mixture.means_, mixture.covariances_

    return run


def _em_step(call: Call) -> Callable[[], Results]:
    x, weights, means, covariances = call.args
    mixture = _mixture(call, len(weights))
    start = weights, means, _compute_precision_cholesky(covariances, call.options["covariance_type"])

    def run() -> Results:
        mixture.weights_, mixture.means_, mixture.precisions_cholesky_ = start
        log_likelihood, log_responsibilities = mixture._e_step(x)
        mixture._m_step(x, log_responsibilities)
        return np.asarray(log_likelihood), mixture.weights_, mixture.means_, mixture.covariances_

    return run


MAKERS: dict[str, Callable[[Call], Callable[[], Results]]] = {
    "gmm_e_step": _e_step,
    "gmm_m_step": _m_step,
    "gmm_em_step": _em_step,
}


def prepare(name: str, call: Call) -> Job | None:
    """The call of an op, or None if scikit-learn has no such step."""
    if name not in MAKERS:
        return None
    run = MAKERS[name](call)
    return Job(partial(run), lambda: tuple(map(np.asarray, run())))
