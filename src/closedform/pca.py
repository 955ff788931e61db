"""Principal components: the moments of a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import _pca, reference
from ._backend import using_reference
from ._results import Covariance
from ._validate import as_floats, as_integer


def covariance(x: ArrayLike, *, ddof: int = 0) -> Covariance:
    """Mean and covariance of rows: μ = (1/N) Σ_n x_n, Σ = 1/(N − ddof) Σ_n (x_n − μ)(x_n − μ)ᵀ.

    One pass over x, always about a mean: a large offset costs no accuracy. Sums are kept in float64.

    Parameters
    ----------
    x : (N, D) samples, one a row
    ddof : what the divisor takes off N: 0 for the covariance of these very rows (maximum likelihood), 1 for
        the unbiased estimate from a sample

    Returns
    -------
    mean (D,), cov (D, D) : a named tuple, in x's dtype; cov is exactly symmetric. A column with an infinity
        or NaN has NaN as its covariance with any.

    Raises
    ------
    ValueError, TypeError : x is no matrix of at least one row, or ddof no integer in [0, N)

    Source: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample variances
    (1979).

    >>> import closedform as cf
    >>> mean, cov = cf.covariance([[1.0, 2.0], [3.0, 6.0]])
    >>> mean, cov
    (array([2., 4.]), array([[1., 2.],
           [2., 4.]]))
    """
    (x,) = as_floats(x=x)
    if x.ndim != 2 or x.shape[0] < 1:
        raise ValueError(f"x: expected shape (N, D) with N >= 1; got {x.shape}")
    N, D = x.shape
    ddof = as_integer("ddof", ddof)
    if not 0 <= ddof < N:
        raise ValueError(f"ddof: expected an integer in [0, N) with N = {N}, the rows of x; got {ddof}")
    if using_reference():
        return reference.covariance(x, ddof=ddof)
    if not (x.flags.c_contiguous and x.flags.aligned):
        x = x.copy(order="C")
    result = Covariance(np.empty(D, x.dtype), np.empty((D, D), x.dtype))
    _pca.covariance(x, *result, N - ddof)
    return result
