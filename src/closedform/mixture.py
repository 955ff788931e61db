"""Gaussian mixtures by expectation and maximisation (EM): each step, and both in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import _mixture, reference
from ._backend import using_reference
from ._gaussians import (
    COVARIANCE_TYPES,
    as_parameters,
    as_responsibilities,
    as_sample_weight,
    covariance_shape,
    expect_factors,
    expect_samples,
    expect_symmetric,
    settled,
)
from ._results import Array, EMStep, EStep, MStep
from ._validate import as_floats, as_number, one_of
from .reference import mixture as _twin


def gmm_e_step(
    x: ArrayLike,
    weights: ArrayLike,
    means: ArrayLike,
    precisions_cholesky: ArrayLike,
    *,
    covariance_type: str = "full",
) -> EStep:
    """E step of a Gaussian mixture: r_ik = π_k N(x_i; μ_k, Σ_k) / p(x_i), with p(x_i) = Σ_k π_k N(x_i; μ_k, Σ_k).

    Parameters
    ----------
    x : (N, D) samples, one a row; N may be 0
    weights : (K,) π ≥ 0, of sum 1 to within 1e-6
    means : (K, D) μ
    precisions_cholesky : U_k with U_k U_kᵀ = Σ_k⁻¹, upper triangular: full (K, D, D), tied (D, D). For diag (K, D) and
        spherical (K,) they are 1/σ
    covariance_type : "full", each component has its own Σ_k; "tied", all share one; "diag", its own diagonal; or
        "spherical", its own variance times the identity

    Returns
    -------
    log_likelihood (N,), log p(x_i), and responsibilities (N, K) : a named tuple, in x's dtype. The arithmetic is
        float64, in the domain of logarithms: a sample may lie any number of deviations away, as long as the square of
        that is in range

    Raises
    ------
    ValueError, TypeError : shapes that do not fit, NaN or infinity, weights that do not sum to 1, an entry that is not
        0 below the diagonal of a U_k or not positive on it, an unknown covariance_type

    Source: Dempster, Laird, Rubin, Maximum likelihood from incomplete data via the EM algorithm (1977); Bishop, Pattern
    Recognition and Machine Learning (2006), section 9.2.2. Shapes are those of scikit-learn's GaussianMixture.

    >>> import closedform as cf
    >>> e = cf.gmm_e_step([[0.0], [1.0]], [0.5, 0.5], [[0.0], [2.0]], [1.0, 1.0], covariance_type="spherical")
    >>> e.responsibilities.round(3)
    array([[0.881, 0.119],
           [0.5  , 0.5  ]])
    """
    (x,) = as_floats(x=x)
    expect_samples(x)
    N, D = x.shape
    covariance_type = one_of("covariance_type", covariance_type, COVARIANCE_TYPES)
    factors = "precisions_cholesky", precisions_cholesky
    weights, means, u, _ = as_parameters(weights, means, factors, covariance_type, D)
    expect_factors(u, covariance_type)
    x = settled("x", x)
    if using_reference():
        return reference.gmm_e_step(x, weights, means, u, covariance_type=covariance_type)
    result = EStep(np.empty(N, x.dtype), np.empty((N, len(means)), x.dtype))
    if N:
        _mixture.e_step(x, weights, means, u, COVARIANCE_TYPES.index(covariance_type), *result)
    return result


def gmm_m_step(
    x: ArrayLike,
    responsibilities: ArrayLike,
    *,
    covariance_type: str = "full",
    reg_covar: float = 1e-6,
    sample_weight: ArrayLike | None = None,
) -> MStep:
    """M step of a Gaussian mixture: π_k = n_k / Σ_j n_j, μ_k = Σ_i w_i r_ik x_i / n_k, Σ_k = S_k / n_k + ρI, with
    n_k = Σ_i w_i r_ik and S_k = Σ_i w_i r_ik (x_i − μ_k)(x_i − μ_k)ᵀ about the new μ_k.

    Parameters
    ----------
    x : (N, D) samples, one a row
    responsibilities : (N, K) r ≥ 0, of the E step. Rows need not sum to 1: of a mixture, they are one more weight of
        the sample
    covariance_type : "full"; "tied", Σ = Σ_k S_k / Σ_k n_k + ρI; "diag", the diagonal of the full one; "spherical", the
        mean of that diagonal
    reg_covar : ρ ≥ 0
    sample_weight : (N,) w ≥ 0, of positive sum; None for ones. Weights of 2 are as good as rows that occur twice,
        weights of 0 as rows that are not there

    Returns
    -------
    weights (K,), of sum 1; means (K, D); covariances, full (K, D, D), tied (D, D), diag (K, D) or spherical (K,) : a
        named tuple, in the dtype of x and responsibilities; the arithmetic is float64. n_k has 10 eps added to it, so
        that a component without samples has the first row for a mean, covariance ρI and hardly any weight. With ρ = 0
        covariances may be singular

    Raises
    ------
    ValueError, TypeError : no rows, shapes that do not fit, NaN or infinity, negative responsibilities or weights, an
        unknown covariance_type

    Source: Dempster, Laird, Rubin, Maximum likelihood from incomplete data via the EM algorithm (1977); Bishop, Pattern
    Recognition and Machine Learning (2006), section 9.2.2. ρ and 10 eps are scikit-learn's.

    >>> import closedform as cf
    >>> m = cf.gmm_m_step([[0.0], [2.0], [9.0]], [[1, 0], [1, 0], [0, 1]], reg_covar=0.5)
    >>> m.means.round(3), m.covariances.round(3)
    (array([[1.],
           [9.]]), array([[[1.5]],
    <BLANKLINE>
           [[0.5]]]))
    """
    x, r = as_responsibilities(x, responsibilities)
    covariance_type, reg_covar, w = _options(covariance_type, reg_covar, sample_weight, len(x))
    if using_reference():
        return reference.gmm_m_step(
            x, r, covariance_type=covariance_type, reg_covar=reg_covar, sample_weight=w
        )
    new = m_step(x, r, w, covariance_type, reg_covar)
    return MStep(*(a.astype(x.dtype, copy=False) for a in new))


def m_step(
    x: Array, r: Array, w: Array | None, covariance_type: str = "full", reg_covar: float = 0.0
) -> MStep:
    """`gmm_m_step` of arrays that are checked, in float64: it is not rounded to the dtype of x."""
    if using_reference():
        return reference.gmm_m_step(
            x.astype(np.float64), r, covariance_type=covariance_type, reg_covar=reg_covar, sample_weight=w
        )
    new = _empty(covariance_type, r.shape[1], x.shape[1])
    _mixture.m_step(x, r, w, COVARIANCE_TYPES.index(covariance_type), reg_covar, *new)
    return MStep(*new)


def gmm_em_step(
    x: ArrayLike,
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    *,
    covariance_type: str = "full",
    reg_covar: float = 1e-6,
    sample_weight: ArrayLike | None = None,
) -> EMStep:
    """One iteration of EM: `gmm_m_step` of the responsibilities of `gmm_e_step`, in one pass over x.

    The responsibilities (N, K) are never stored: beside x, the memory it takes does not depend on N.

    Parameters
    ----------
    x : (N, D) samples, one a row
    weights, means : (K,) π ≥ 0, of sum 1 to within 1e-6; (K, D) μ
    covariances : Σ, symmetric and positive definite: full (K, D, D), tied (D, D), diag (K, D), spherical (K,)
    covariance_type, reg_covar, sample_weight : as for `gmm_m_step`

    Returns
    -------
    log_likelihood : Σ_i w_i log p(x_i) / Σ_i w_i under the parameters given, not the new ones. From one iteration to
        the next it never falls, but for rounding and for what reg_covar does
    weights, means, covariances : the new parameters, of the given shapes; a component without samples keeps its mean.
        All are a named tuple, in float64 unless x and the parameters are float32; the arithmetic is float64

    Raises
    ------
    ValueError, TypeError : no rows, shapes that do not fit, NaN or infinity, weights that do not sum to 1, a covariance
        that is not positive definite (it names the component and its count of samples), an unknown covariance_type

    Source: Dempster, Laird, Rubin, Maximum likelihood from incomplete data via the EM algorithm (1977); Bishop, Pattern
    Recognition and Machine Learning (2006), section 9.2.2.

    >>> import closedform as cf
    >>> x, weights, means, covariances = [[0.0], [1.0], [5.0], [6.0]], [0.5, 0.5], [[1.0], [4.0]], [1.0, 1.0]
    >>> for _ in range(4):
    ...     value, weights, means, covariances = cf.gmm_em_step(
    ...         x, weights, means, covariances, covariance_type="spherical")
    ...     print(f"{value:.3f}", means.ravel().round(3))
    -2.359 [0.499 5.474]
    -1.436 [0.5 5.5]
    -1.419 [0.5 5.5]
    -1.419 [0.5 5.5]
    """
    (x,) = as_floats(x=x)
    expect_samples(x, least=1)
    N, D = x.shape
    covariance_type, reg_covar, w = _options(covariance_type, reg_covar, sample_weight, N)
    weights, means, covariances, given = as_parameters(
        weights, means, ("covariances", covariances), covariance_type, D
    )
    expect_symmetric(covariances, covariance_type)
    x = settled("x", x)
    u = _factors(covariances, covariance_type, weights * (N if w is None else w.sum()))
    dtype = np.result_type(x, given)
    if using_reference():
        step = reference.gmm_em_step(
            x, weights, means, covariances,
            covariance_type=covariance_type, reg_covar=reg_covar, sample_weight=w,
        )  # fmt: skip
        value, new = step[0], step[1:]
    else:
        new = _empty(covariance_type, *means.shape)
        index = COVARIANCE_TYPES.index(covariance_type)
        value = _mixture.em_step(x, w, weights, means, u, index, reg_covar, *new)
    return EMStep(dtype.type(value), *(a.astype(dtype, copy=False) for a in new))


def precisions_cholesky(covariances: Array, covariance_type: str) -> tuple[Array, int]:
    """Upper triangular U with U Uᵀ = Σ⁻¹ of float64 covariances, and the first that is not positive definite, or −1."""
    if using_reference():
        return _twin.precisions_cholesky(covariances, covariance_type)
    u, index = np.empty(covariances.shape), COVARIANCE_TYPES.index(covariance_type)
    return u, _mixture.precisions_cholesky(np.array(covariances, order="C"), index, u)


def _factors(covariances: Array, covariance_type: str, counts: Array) -> Array:
    """`precisions_cholesky`, or an error that names the component and its count of samples."""
    u, failed = precisions_cholesky(covariances, covariance_type)
    if failed >= 0:
        whose = f"of component {failed}, with a count of {counts[failed]:.3g}"
        if covariance_type == "tied":
            whose = "that all share"
        raise ValueError(f"covariances: expected positive definite ones; got one that is not, {whose}")
    return u


def _options(
    covariance_type: str, reg_covar: float, sample_weight: ArrayLike | None, N: int
) -> tuple[str, float, Array | None]:
    return (
        one_of("covariance_type", covariance_type, COVARIANCE_TYPES),
        as_number("reg_covar", reg_covar, low=0),
        as_sample_weight(sample_weight, N),
    )


def _empty(covariance_type: str, K: int, D: int) -> tuple[Array, Array, Array]:
    """Room for new weights, means and covariances."""
    return np.empty(K), np.empty((K, D)), np.empty(covariance_shape(covariance_type, K, D))
