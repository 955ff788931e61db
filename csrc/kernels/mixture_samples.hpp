// A mixture about its centre, and a chunk of samples as the kernels of mixtures see it.
#pragma once

#include "../core/gemm.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

using Lanes = Vec<double>;
inline constexpr ptrdiff_t W = lanes<double>;
inline constexpr int sample_vectors = 4;  // vectors of samples in a tile of the E-step

// Rows in a chunk, a multiple of 4 vectors on every ISA: what is made of them stays in L1 or L2.
CF_INLINE ptrdiff_t chunk_samples(const Mixture& m) {
    const ptrdiff_t rows = 2 * m.D + m.K;  // of the chunk, in doubles
    return rows <= 32 ? 128 : rows <= 512 ? 64 : 32;
}

// A mixture about its centre.
struct Centred {
    Mixture m;
    double *means, *turned;  // (K, D) means, and of tied components, means u

    static ptrdiff_t size(const Mixture& m) { return 2 * m.K * m.D; }
    Centred(double* memory, const Mixture& mixture) : m(mixture), means(memory), turned(means + m.K * m.D) {
        const ptrdiff_t D = m.D;
        for (ptrdiff_t k = 0; k < m.K; ++k)
            for (ptrdiff_t d = 0; d < D; ++d) means[k * D + d] = m.means[k * D + d] - m.centre[d];
        if (m.type != CovarianceType::tied) return;
        const double* const u = m.precisions_cholesky;
        for (ptrdiff_t k = 0; k < m.K; ++k)
            for (ptrdiff_t j = 0; j < D; ++j) {
                double sum = 0;
                for (ptrdiff_t d = 0; d <= j; ++d) sum += means[k * D + d] * u[d * D + j];
                turned[k * D + j] = sum;
            }
    }
    static bool matrices(const Mixture& m) {
        return m.type == CovarianceType::full || m.type == CovarianceType::tied;
    }
};

// A chunk of samples and what becomes of it; [.][n] are rows of n samples.
struct Samples {
    ptrdiff_t n;          // samples, the last of them perhaps made up, of weight 0
    double *x, *z;        // [D][n] samples about the centre, and what is made of them
    double* root_r;       // [K][n] log densities, then the roots of responsibilities times weights
    double* root_weight;  // [n]
    double* log;          // [n] log-likelihoods

    static ptrdiff_t size(const Mixture& m, ptrdiff_t n) { return (2 * m.D + m.K + 2) * n; }
    Samples(double* memory, const Mixture& m, ptrdiff_t n_)
        : n(n_),
          x(memory),
          z(x + m.D * n),
          root_r(z + m.D * n),
          root_weight(root_r + m.K * n),
          log(root_weight + n) {}

    // Rows [0, count) of x; the rest repeats the last, so that it is as finite as they are.
    template <class T>
    void load(const T* rows, const double* weights, ptrdiff_t count, const Mixture& m) const {
        constexpr ptrdiff_t few = 8;  // features at a time: rows are read along, and so many columns written
        for (ptrdiff_t d = 0; d < m.D; d += few) {
            const ptrdiff_t end = smaller(m.D, d + few);
            for (ptrdiff_t i = 0; i < n; ++i) {
                const T* const row = rows + smaller(i, count - 1) * m.D;
                for (ptrdiff_t e = d; e < end; ++e) x[e * n + i] = double(row[e]) - m.centre[e];
            }
        }
        for (ptrdiff_t i = 0; i < n; ++i)
            root_weight[i] = i >= count ? 0 : weights ? __builtin_sqrt(weights[i]) : 1;
    }
};

}  // namespace
}  // namespace closedform::CF_ISA
