from collections.abc import Callable
from typing import Any

from ._results import Array

# covariance_type: the index in ("full", "tied", "diag", "spherical")

def e_step(
    x: Array,
    weights: Array,
    means: Array,
    precisions_cholesky: Array,
    covariance_type: int,
    log_likelihood: Array,
    responsibilities: Array,
    /,
) -> None: ...
def m_step(
    x: Array,
    responsibilities: Array,
    sample_weight: Array | None,
    covariance_type: int,
    reg_covar: float,
    weights: Array,
    means: Array,
    covariances: Array,
    /,
) -> None: ...
def precisions_cholesky(covariances: Array, covariance_type: int, out: Array, /) -> int: ...
def em_step(
    x: Array,
    sample_weight: Array | None,
    weights: Array,
    means: Array,
    precisions_cholesky: Array,
    covariance_type: int,
    reg_covar: float,
    new_weights: Array,
    new_means: Array,
    new_covariances: Array,
    /,
) -> float: ...
def fit(
    x: Array,
    sample_weight: Array | None,
    weights: Array,
    means: Array,
    covariances: Array,
    precisions_cholesky: Array,
    covariance_type: int,
    reg_covar: float,
    max_iter: int,
    tol: float,
    callback: Callable[..., Any] | None,
    /,
) -> tuple[bool, int, list[float], int]: ...
