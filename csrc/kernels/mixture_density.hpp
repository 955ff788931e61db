// The E step of a chunk of samples: log densities, and from them responsibilities.
#pragma once

#include "../core/math.hpp"
#include "mixture_samples.hpp"

namespace closedform::CF_ISA {
namespace {

// sums[j][v] += sum over d <= j of x[d] u[d][j], j = j0, ..., j0 + J - 1, for V vectors of samples
template <int J, int V>
CF_INLINE void triangular_product(const double* x, ptrdiff_t n, const double* u, ptrdiff_t D, ptrdiff_t j0,
                                  Lanes (&sums)[J][V]) {
    ptrdiff_t d = j0 + J;
    u += j0;
    do {
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) {
            const Lanes factor = splat<double>(u[j]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sums[j][v] += factor * load<double>(x + v * W);
        }
        x += n;
        u += D;
    } while (--d);
}

// f(j, y) for J columns j of y = x u, V vectors of samples at once
template <int J, class F>
CF_INLINE void columns(const double* x, ptrdiff_t n, const double* u, ptrdiff_t D, ptrdiff_t j0, const F& f) {
    Lanes y[J][sample_vectors] = {};
    triangular_product<J, sample_vectors>(x, n, u, D, j0, y);
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) f(j0 + j, y[j]);
}

// The same for all columns of the upper triangular u (D, D): three at a time, for that fills the registers.
template <class F>
CF_INLINE void all_columns(const double* x, ptrdiff_t n, const double* u, ptrdiff_t D, const F& f) {
    ptrdiff_t j = 0;
    for (; D - j > 4 || D - j == 3; j += 3) columns<3>(x, n, u, D, j, f);
    for (; D - j >= 2; j += 2) columns<2>(x, n, u, D, j, f);
    if (j < D) columns<1>(x, n, u, D, j, f);
}

// log_k[i] = offset - |(x - mean) u|^2 / 2 for all samples: full covariance
CF_INLINE void full_density(const Samples& c, const double* mean, const double* u, ptrdiff_t D, double offset,
                            double* log_k) {
    constexpr int V = sample_vectors;
    const ptrdiff_t n = c.n;
    for (ptrdiff_t d = 0; d < D; ++d) {
        const double *const x = c.x + d * n, of_feature = mean[d];
        double* const z = c.z + d * n;
        for (ptrdiff_t i = 0; i < n; i += W) store<double>(z + i, load<double>(x + i) - of_feature);
    }
    for (ptrdiff_t i = 0; i < n; i += V * W) {
        Lanes q[V] = {};
        all_columns(c.z + i, n, u, D, [&q](ptrdiff_t, const Lanes(&y)[V]) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) q[v] += y[v] * y[v];
        });
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store<double>(log_k + i + v * W, offset - 0.5 * q[v]);
    }
}

// The same from a[d][i] - centre[d], each times scale[d * step]: diagonal covariances, and what has been
// made so.
CF_INLINE void diagonal_density(const Samples& c, const double* a, const double* centre, const double* scale,
                                ptrdiff_t step, ptrdiff_t D, double offset, double* log_k) {
    constexpr int V = sample_vectors;
    for (ptrdiff_t i = 0; i < c.n; i += V * W) {
        Lanes q[V] = {};
        for (ptrdiff_t d = 0; d < D; ++d)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) {
                const Lanes t = (load<double>(a + d * c.n + i + v * W) - centre[d]) * scale[d * step];
                q[v] += t * t;
            }
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store<double>(log_k + i + v * W, offset - 0.5 * q[v]);
    }
}

// root_r[k] = log (weight_k density_k) of the chunk's samples.
inline void log_densities(const Samples& c, const Centred& centred) {
    const Mixture& m = centred.m;
    const ptrdiff_t D = m.D, n = c.n;
    const double* const u = m.precisions_cholesky;
    if (m.type == CovarianceType::tied) {  // z = x u, once for all components
        constexpr int V = sample_vectors;
        double* const z = c.z;
        for (ptrdiff_t i = 0; i < n; i += V * W)
            all_columns(c.x + i, n, u, D,
                        [=](ptrdiff_t j, const Lanes(&y)[V]) __attribute__((always_inline)) {
#pragma GCC unroll 4
                            for (int v = 0; v < V; ++v) store<double>(z + j * n + i + v * W, y[v]);
                        });
    }
    const double one = 1;
    for (ptrdiff_t k = 0; k < m.K; ++k) {
        const double *const mean = centred.means + k * D, *const turned = centred.turned + k * D;
        double* const log_k = c.root_r + k * n;
        switch (m.type) {
            case CovarianceType::full:
                full_density(c, mean, u + k * D * D, D, m.offset[k], log_k);
                break;
            case CovarianceType::tied:
                diagonal_density(c, c.z, turned, &one, 0, D, m.offset[k], log_k);
                break;
            case CovarianceType::diag:
                diagonal_density(c, c.x, mean, u + k * D, 1, D, m.offset[k], log_k);
                break;
            case CovarianceType::spherical:
                diagonal_density(c, c.x, mean, u + k, 0, D, m.offset[k], log_k);
        }
    }
}

// From log densities to the roots of responsibilities times weights: a softmax over the components, in place;
// c.log is the log of its divisor. The M step wants roots, for products of sqrt(r) z; here they are cheap:
// sqrt(exp(a)) = exp(a / 2).
inline void normalise(const Samples& c, ptrdiff_t K) {
    for (ptrdiff_t i = 0; i < c.n; i += W) {
        double* const r = c.root_r + i;
        Lanes largest = load<double>(r), sum{};
        for (ptrdiff_t k = 1; k < K; ++k) largest = max(largest, load<double>(r + k * c.n));
        for (ptrdiff_t k = 0; k < K; ++k) {
            const Lanes root = exp_nonpositive<double>(0.5 * (load<double>(r + k * c.n) - largest));
            store<double>(r + k * c.n, root);
            sum += root * root;
        }
        const Lanes scale = load<double>(c.root_weight + i) / square_root(sum);
        for (ptrdiff_t k = 0; k < K; ++k) store<double>(r + k * c.n, load<double>(r + k * c.n) * scale);
        store<double>(c.log + i, largest + log<double>(sum));
    }
}

}  // namespace
}  // namespace closedform::CF_ISA
