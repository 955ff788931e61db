"""Principal components: the moments of a sample, and the extremes of its variance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import _pca, reference
from ._backend import using_reference
from ._gaussians import expect_finite, expect_symmetric
from ._results import Array, Covariance, ExtremeTrace
from ._validate import as_flag, as_floats, as_integer, expect_shape


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
    N = len(x)
    ddof = as_integer("ddof", ddof)
    if not 0 <= ddof < N:
        raise ValueError(f"ddof: expected an integer in [0, N) with N = {N}, the rows of x; got {ddof}")
    if using_reference():
        return reference.covariance(x, ddof=ddof)
    if not (x.flags.c_contiguous and x.flags.aligned):
        x = x.copy(order="C")
    mean, cov = moments(x, ddof)
    return Covariance(mean.astype(x.dtype, copy=False), cov)


def moments(x: Array, ddof: int = 0) -> Covariance:
    """`covariance` of a matrix that is checked, with its mean in float64.

    Of batches that are merged, the rounding of means would pass for variance.
    """
    if using_reference():
        return reference.covariance(x.astype(np.float64), ddof=ddof)
    N, D = x.shape
    result = Covariance(np.empty(D), np.empty((D, D), x.dtype))
    if D:  # without columns, there may be any number of rows
        _pca.covariance(x, *result, N - ddof)
    return result


def points_with_moments(mean: ArrayLike, cov: ArrayLike) -> Array:
    """2m points with a given mean and covariance: μ ± √(m d_i) u_i, d_i and u_i the eigenpairs of Σ.

    Their mean is μ and, divided by their number 2m, their covariance is Σ: `covariance` of them, with its ddof = 0,
    gives both back, to rounding.

    Parameters
    ----------
    mean : (m,) μ, m >= 1
    cov : (m, m) Σ, symmetric and positive semi-definite; it may be singular

    Returns
    -------
    (2m, m) points, one a row, those with + first, the largest d_i first. The arithmetic is float64

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, NaN or infinity, a cov that is not symmetric or has a negative
        eigenvalue; rounding is forgiven

    Source: the spectral theorem; see the derivation of principal components.

    >>> import closedform as cf
    >>> x = cf.points_with_moments([1.0, 2.0], [[8.0, 0.0], [0.0, 0.5]])
    >>> x
    array([[ 5.,  2.],
           [ 1.,  3.],
           [-3.,  2.],
           [ 1.,  1.]])
    >>> cf.covariance(x).cov
    array([[8. , 0. ],
           [0. , 0.5]])
    """
    mean, cov = as_floats(mean=mean, cov=cov)
    _expect_covariance(cov)
    expect_shape("mean", mean, cov.shape[:1], f"cov being {cov.shape}")
    expect_finite("mean", mean)
    return reference.points_with_moments(mean, cov)


def extreme_trace(cov: ArrayLike, k: int, *, largest: bool = True) -> ExtremeTrace:
    """The extreme of tr(ΦᵀΣΦ) over Φ (m, k) with ΦᵀΦ = I: the sum of the k largest (or smallest) eigenvalues of Σ.

    The largest is the variance that k principal components explain, and Φ are these components.

    Parameters
    ----------
    cov : (m, m) Σ, symmetric and positive semi-definite; it may be singular
    k : in [1, m]
    largest : True for the maximum, False for the minimum

    Returns
    -------
    value, phi (m, k) : a named tuple. Columns of phi are eigenvectors, the most extreme first, of length 1, the entry
        of largest size positive. Those of equal eigenvalues are any basis of their space. The arithmetic is float64

    Raises
    ------
    ValueError, TypeError : cov is no square matrix, not finite, not symmetric or has a negative eigenvalue (rounding
        is forgiven); k no integer in [1, m]; largest no boolean

    Source: Fan, On a theorem of Weyl concerning eigenvalues of linear transformations (1949); Bishop, Pattern
    Recognition and Machine Learning (2006), section 12.1.1.

    >>> import closedform as cf
    >>> cf.extreme_trace([[2.0, 0.0], [0.0, 3.0]], 1)
    ExtremeTrace(value=np.float64(3.0), phi=array([[0.],
           [1.]]))
    """
    (cov,) = as_floats(cov=cov)
    _expect_covariance(cov)
    k, largest = as_integer("k", k), as_flag("largest", largest)
    if not 1 <= k <= len(cov):
        raise ValueError(f"k: expected an integer in [1, {len(cov)}], the size of cov; got {k}")
    return reference.extreme_trace(cov, k, largest=largest)


def _expect_covariance(cov: Array) -> None:
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1] or not cov.size:
        raise ValueError(f"cov: expected shape (m, m) with m >= 1; got {cov.shape}")
    expect_finite("cov", cov)
    expect_symmetric(cov, "full", "cov")
    d = np.linalg.eigvalsh(cov.astype(np.float64))
    if not d[0] >= -4 * len(d) * np.finfo(cov.dtype).eps * d[-1]:
        raise ValueError(
            f"cov: expected no negative eigenvalue; got {d[0]:.6g}, the largest being {d[-1]:.6g}"
        )
