# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=False, freethreading_compatible=True
"""Compiled driver of PCA. Call the wrappers in `closedform`: they validate and explain."""

ctypedef fused real:
    float
    double

cdef extern from "kernels/table.hpp" namespace "closedform" nogil:
    cdef cppclass Kernels[T]:
        void (*covariance)(double* mean, T* cov, const T* x, ptrdiff_t N, ptrdiff_t D, double divisor) except +

    cdef cppclass KernelTable:
        Kernels[float] f32
        Kernels[double] f64

cdef extern from "core/isa.hpp" namespace "closedform" nogil:
    const KernelTable& kernels()


def covariance(const real[:, ::1] x, double[::1] mean, real[:, ::1] cov, double divisor, /):
    """Fills mean (D,), float64, and cov (D, D) with the moments of x (N, D), N >= 1."""
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1]
    if N < 1 or mean.shape[0] != D or cov.shape[0] != D or cov.shape[1] != D:
        raise ValueError("covariance: shapes")
    with nogil:
        if real is float:
            kernels().f32.covariance(&mean[0], &cov[0, 0], &x[0, 0], N, D, divisor)
        else:
            kernels().f64.covariance(&mean[0], &cov[0, 0], &x[0, 0], N, D, divisor)
