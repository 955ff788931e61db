# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: embedsignature=False, freethreading_compatible=True
"""Compiled driver of Gaussian mixtures. Call the wrappers in `closedform`: they validate and explain.

N samples, D features, K components. x (N, D) is float or double, all parameters are double; covariances and the
Cholesky factors of precisions are full (K, D, D), tied (D, D), diag (K, D) or spherical (K,).
"""

import numpy as np

from libc.math cimport INFINITY, fabs, isfinite, log, sqrt
from libc.string cimport memset

ctypedef fused real:
    float
    double

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from "kernels/table.hpp" namespace "closedform" nogil:
    cdef enum class CovarianceType:
        full
        tied
        diag
        spherical

    cdef cppclass Mixture:
        ptrdiff_t D, K
        CovarianceType type
        const double* offset
        const double* means
        const double* precisions_cholesky
        const double* centre

    cdef cppclass Kernels[T]:
        void (*gmm_sums)(double* sums, const T* x, const T* responsibilities, const double* weights, ptrdiff_t N,
                         Mixture m) except +
        void (*gmm_e_step)(T* log_likelihood, T* responsibilities, const T* x, ptrdiff_t N, Mixture m) except +

    cdef cppclass KernelTable:
        Kernels[float] f32
        Kernels[double] f64

cdef extern from "core/isa.hpp" namespace "closedform" nogil:
    const KernelTable& kernels()

cdef extern from "core/cholesky.hpp" namespace "closedform" nogil:
    bint inverse_cholesky(double* u, const double* a, ptrdiff_t D) except +

cdef double EPS = np.finfo(np.float64).eps
cdef double LOG_2_PI = np.log(2 * np.pi)
cdef double BLOCK_FLOPS = 4e9  # between two looks at Ctrl-C: a tenth of a second


cdef ptrdiff_t covariance_size(CovarianceType type, ptrdiff_t K, ptrdiff_t D) noexcept nogil:
    if type == CovarianceType.full:
        return K * D * D
    if type == CovarianceType.tied:
        return D * D
    return K * D if type == CovarianceType.diag else K


cdef class _Model:
    """The parameters of a mixture, and what a pass over samples needs besides."""

    cdef CovarianceType type
    cdef ptrdiff_t K, D, size
    cdef double[::1] weights, means, covariances, precisions_cholesky, offset, centre, sums

    def __init__(self, int type, weights, means, precisions_cholesky, covariances=None):
        self.type = <CovarianceType>type
        self.K, self.D = means.shape
        self.size = covariance_size(self.type, self.K, self.D)
        self.weights, self.means = weights, means.reshape(-1)
        self.precisions_cholesky = precisions_cholesky.reshape(-1)
        self.covariances = (precisions_cholesky if covariances is None else covariances).reshape(-1)
        self.offset, self.centre = np.empty(self.K), np.empty(self.D)
        self.sums = np.empty(1 + self.K + self.K * self.D + self.size)
        if not 0 <= type <= 3 or self.K < 1 or self.D < 1 or len(weights) != self.K:
            raise ValueError("mixture: shapes of the parameters")
        if self.precisions_cholesky.shape[0] != self.size or self.covariances.shape[0] != self.size:
            raise ValueError("mixture: shape of the covariances")

    cdef Mixture mixture(self) noexcept nogil:
        cdef Mixture m
        m.D, m.K, m.type = self.D, self.K, self.type
        m.offset, m.means, m.centre = &self.offset[0], &self.means[0], &self.centre[0]
        m.precisions_cholesky = &self.precisions_cholesky[0]
        return m

    cdef void prepare(self) noexcept nogil:
        """offset = log weight - D/2 log 2 pi + log det of the precision's factor, and the centre."""
        cdef ptrdiff_t k
        cdef double log_det = 0, log_weight
        for k in range(self.K):
            if k == 0 or self.type != CovarianceType.tied:
                log_det = self.log_determinant(k)
            log_weight = log(self.weights[k]) if self.weights[k] > 0 else -INFINITY
            self.offset[k] = log_weight - 0.5 * self.D * LOG_2_PI + log_det
        self.find_centre()

    cdef void find_centre(self) noexcept nogil:
        """The mean of the whole mixture, for tied covariances. The others' sums need no common centre: 0 is exact."""
        cdef ptrdiff_t k, d, D = self.D
        memset(&self.centre[0], 0, D * sizeof(double))
        if self.type != CovarianceType.tied:
            return
        for k in range(self.K):
            for d in range(D):
                self.centre[d] += self.weights[k] * self.means[k * D + d]

    cdef double log_determinant(self, ptrdiff_t k) noexcept nogil:
        cdef ptrdiff_t d, D = self.D
        cdef double total = 0
        cdef const double* u = &self.precisions_cholesky[0]
        if self.type == CovarianceType.spherical:
            return D * log(u[k])
        for d in range(D):
            if self.type == CovarianceType.diag:
                total += log(u[k * D + d])
            else:
                total += log(u[k * D * D * (self.type == CovarianceType.full) + d * (D + 1)])
        return total

    cdef ptrdiff_t factor(self) except? -2 nogil:
        """precisions_cholesky of the covariances; the first component that has none, or -1."""
        cdef ptrdiff_t i, D = self.D
        if self.type == CovarianceType.full or self.type == CovarianceType.tied:
            for i in range(self.size // (D * D)):
                if not inverse_cholesky(&self.precisions_cholesky[i * D * D], &self.covariances[i * D * D], D):
                    return i
            return -1
        for i in range(self.size):
            if not (self.covariances[i] > 0 and isfinite(self.covariances[i])):
                return i // D if self.type == CovarianceType.diag else i
            self.precisions_cholesky[i] = 1 / sqrt(self.covariances[i])
        return -1

    cdef void maximise(self, double reg_covar) noexcept nogil:
        """The M step: weights, means and covariances from the sums, which are about the means so far."""
        cdef ptrdiff_t k, d, e, D = self.D, K = self.K
        cdef double n, before, total = 0, total_shift
        cdef double* counts = &self.sums[1]
        cdef double* shift = counts + K
        cdef double* second = shift + K * D
        cdef double* row
        for k in range(K):
            counts[k] += 10 * EPS  # an empty component keeps its mean
            total += counts[k]
        for k in range(K):
            n = counts[k]
            self.weights[k] = n / total
            total_shift = 0
            for d in range(D):
                shift[k * D + d] /= n
                total_shift += shift[k * D + d] * shift[k * D + d]
                before = self.means[k * D + d]
                self.means[k * D + d] = before + shift[k * D + d]
                if self.type == CovarianceType.tied:  # from now on the new mean about the centre, before it is rounded
                    shift[k * D + d] += before - self.centre[d]
            if self.type == CovarianceType.full:
                for d in range(D):
                    row = second + (k * D + d) * D
                    for e in range(D):
                        self.covariances[(k * D + d) * D + e] = row[e] / n - shift[k * D + d] * shift[k * D + e]
                    self.covariances[(k * D + d) * D + d] = (
                        max(0, self.covariances[(k * D + d) * D + d]) + reg_covar)
            elif self.type == CovarianceType.diag:
                for d in range(D):
                    self.covariances[k * D + d] = (
                        max(0, second[k * D + d] / n - shift[k * D + d] * shift[k * D + d]) + reg_covar)
            elif self.type == CovarianceType.spherical:
                self.covariances[k] = max(0, (second[k] / n - total_shift) / D) + reg_covar
        if self.type == CovarianceType.tied:
            self.maximise_tied(total, reg_covar)

    cdef void maximise_tied(self, double total, double reg_covar) noexcept nogil:
        """The scatter about the centre, less that of the means about it."""
        cdef ptrdiff_t k, d, e, D = self.D, K = self.K
        cdef double* counts = &self.sums[1]
        cdef double* means = counts + K  # about the centre
        cdef double* second = means + K * D
        cdef double sum
        for d in range(D):
            for e in range(d + 1):
                sum = second[d * D + e]
                for k in range(K):
                    sum -= counts[k] * means[k * D + d] * means[k * D + e]
                self.covariances[d * D + e] = self.covariances[e * D + d] = sum / total
            self.covariances[d * D + d] = max(0, self.covariances[d * D + d]) + reg_covar


cdef ptrdiff_t block_rows(_Model model, ptrdiff_t N) noexcept nogil:
    """Samples between two looks at Ctrl-C."""
    cdef double flops = model.K * (2.0 * model.D * model.D + 50)
    return min(N, 1 + <ptrdiff_t>(BLOCK_FLOPS / flops))


cdef int add_up(_Model model, const real* x, const real* responsibilities, const double* weights,
                ptrdiff_t N) except -1 nogil:
    """Fills model.sums: see gmm_sums in csrc/kernels/table.hpp."""
    cdef ptrdiff_t i = 0, n, rows = block_rows(model, N)
    cdef Mixture m = model.mixture()
    memset(&model.sums[0], 0, model.sums.shape[0] * sizeof(double))
    cdef const real* r = NULL
    cdef const double* w = NULL
    while i < N:
        n = min(rows, N - i)
        if responsibilities:
            r = responsibilities + i * m.K
        if weights:
            w = weights + i
        if real is float:
            kernels().f32.gmm_sums(&model.sums[0], x + i * m.D, r, w, n, m)
        else:
            kernels().f64.gmm_sums(&model.sums[0], x + i * m.D, r, w, n, m)
        i += n
        with gil:
            PyErr_CheckSignals()
    return 0


cdef double total_weight(const double[::1] sample_weight, ptrdiff_t N) noexcept nogil:
    cdef ptrdiff_t i
    cdef double total = 0
    if sample_weight is None:
        return N
    for i in range(N):
        total += sample_weight[i]
    return total


cdef const double* pointer(const double[::1] a) noexcept nogil:
    if a is None:
        return NULL
    return &a[0]


cdef check(_Model model, ptrdiff_t N, ptrdiff_t D, const double[::1] sample_weight):
    if N < 1 or D != model.D or (sample_weight is not None and sample_weight.shape[0] != N):
        raise ValueError("mixture: shapes of x and sample_weight")


def precisions_cholesky(covariances, int covariance_type, out, /):
    """Fills `out`; the index of the first component whose covariance is not positive definite, or -1."""
    K = 1 if covariance_type == 1 else len(covariances)
    D = 1 if covariance_type == 3 else covariances.shape[covariances.ndim - 1]
    cdef _Model model = _Model(covariance_type, np.empty(K), np.empty((K, D)), out, covariances)
    with nogil:
        failed = model.factor()
    return failed


def e_step(const real[:, ::1] x, weights, means, precisions_cholesky, int covariance_type, real[::1] log_likelihood,
           real[:, ::1] responsibilities, /):
    """Fills log_likelihood (N,) and responsibilities (N, K)."""
    cdef _Model model = _Model(covariance_type, weights.copy(), means.copy(), precisions_cholesky.copy())
    cdef ptrdiff_t i = 0, n, N = x.shape[0], rows = block_rows(model, N)
    check(model, N, x.shape[1], None)
    if log_likelihood.shape[0] != N or responsibilities.shape[0] != N or responsibilities.shape[1] != model.K:
        raise ValueError("e_step: shapes of the results")
    cdef Mixture m = model.mixture()
    with nogil:
        model.prepare()
        while i < N:
            n = min(rows, N - i)
            if real is float:
                kernels().f32.gmm_e_step(&log_likelihood[i], &responsibilities[i, 0], &x[i, 0], n, m)
            else:
                kernels().f64.gmm_e_step(&log_likelihood[i], &responsibilities[i, 0], &x[i, 0], n, m)
            i += n
            with gil:
                PyErr_CheckSignals()


def m_step(const real[:, ::1] x, const real[:, ::1] responsibilities, const double[::1] sample_weight,
           int covariance_type, double reg_covar, weights, means, covariances, /):
    """Fills weights (K,), means (K, D) and covariances. Two passes: the means, and the covariances about them."""
    cdef _Model model = _Model(covariance_type, weights, means, covariances)
    check(model, x.shape[0], x.shape[1], sample_weight)
    if responsibilities.shape[0] != x.shape[0] or responsibilities.shape[1] != model.K:
        raise ValueError("m_step: shape of the responsibilities")
    cdef _Model first = _Model(2, weights, means, np.empty_like(means))
    weights[:], means[:] = 1 / first.K, x[0]
    with nogil:
        first.find_centre()
        add_up(first, &x[0, 0], &responsibilities[0, 0], pointer(sample_weight), x.shape[0])
        first.maximise(0)
        model.find_centre()
        add_up(model, &x[0, 0], &responsibilities[0, 0], pointer(sample_weight), x.shape[0])
        model.maximise(reg_covar)


def em_step(const real[:, ::1] x, const double[::1] sample_weight, weights, means, precisions_cholesky,
            int covariance_type, double reg_covar, new_weights, new_means, new_covariances, /):
    """Fills the new parameters; the mean log-likelihood of the given ones."""
    cdef _Model model = _Model(covariance_type, new_weights, new_means, precisions_cholesky.copy(), new_covariances)
    check(model, x.shape[0], x.shape[1], sample_weight)
    new_weights[:], new_means[:] = weights, means
    with nogil:
        model.prepare()
        add_up[real](model, &x[0, 0], NULL, pointer(sample_weight), x.shape[0])
        model.maximise(reg_covar)
    return model.sums[0] / total_weight(sample_weight, x.shape[0])


def fit(const real[:, ::1] x, const double[::1] sample_weight, weights, means, covariances, precisions_cholesky,
        int covariance_type, double reg_covar, ptrdiff_t max_iter, double tol, callback, /):
    """EM, in place, until the mean log-likelihood gains less than `tol`.

    Returns (converged, iterations, mean log-likelihood before each of them, a component whose covariance is not
    positive definite, or -1). callback(iteration, mean log-likelihood) stops by a true value. Ctrl-C leaves the
    parameters of the last whole iteration.
    """
    cdef _Model model = _Model(covariance_type, weights, means, precisions_cholesky, covariances)
    check(model, x.shape[0], x.shape[1], sample_weight)
    cdef double total = total_weight(sample_weight, x.shape[0]), bound, before = -INFINITY
    cdef ptrdiff_t i, failed
    bounds = []
    for i in range(max_iter):
        with nogil:
            model.prepare()
            add_up[real](model, &x[0, 0], NULL, pointer(sample_weight), x.shape[0])
            model.maximise(reg_covar)
            failed = model.factor()
        bound = model.sums[0] / total
        bounds.append(bound)
        if failed >= 0:
            return False, i + 1, bounds, failed
        stop = callback is not None and callback(i + 1, bound)
        if fabs(bound - before) < tol:
            return True, i + 1, bounds, -1
        if stop:
            break
        before = bound
    return False, len(bounds), bounds, -1
