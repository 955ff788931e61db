"""Mean and covariance. N samples, D features."""

from __future__ import annotations

import numpy as np

from .._results import Array, Covariance


@np.errstate(all="ignore")
def covariance(x: Array, *, ddof: int = 0) -> Covariance:
    """Twin of `closedform.covariance`."""
    # x (N, D)  ->  μ (D,), Σ (D, D)
    #   μ_d = (1/N) Σ_n x_nd
    #   Σ_de = 1/(N − ddof) Σ_n (x_nd − μ_d)(x_ne − μ_e)
    N = x.shape[0]  # > ddof: the wrapper checks
    # In float64, and along contiguous memory, where NumPy sums pairwise: errors of μ would pass for variance.
    mean = x.T.copy().mean(axis=1, dtype=np.float64)
    z = (x - mean).astype(x.dtype)
    return Covariance(mean.astype(x.dtype), z.T @ z / x.dtype.type(N - ddof))
