// The M step of a chunk of samples: sums of r, r z and r z z^T, z = x - mean.
#pragma once

#include "mixture_samples.hpp"

namespace closedform::CF_ISA {
namespace {

// Sums of one task, each a vector of partial sums until finish(): counts (K), first (K, D), second: tiles.
struct LaneSums {
    const Mixture& m;
    double *log_likelihood, *counts, *first, *second;
    double* spare;  // (D,) for sums that are not wanted

    static ptrdiff_t of_second(const Mixture& m) {
        return m.type == CovarianceType::full   ? m.K * m.D * m.D
               : m.type == CovarianceType::tied ? m.D * m.D
               : m.type == CovarianceType::diag ? m.K * m.D
                                                : m.K;
    }
    static ptrdiff_t size(const Mixture& m) { return 1 + m.K + m.K * m.D + of_second(m); }

    LaneSums(double* memory, const Mixture& mixture)
        : m(mixture),
          log_likelihood(memory),
          counts(memory + W),
          first(counts + m.K * W),
          second(first + m.K * m.D * W),
          spare(second + of_second(m) * W) {
        __builtin_memset(memory, 0, (size(m) + m.D) * W * sizeof(double));
    }
};

// second[i][j] += sum over samples of z[i] z[j]: a tile of the rows from z_i on and those from z_j on
template <int I, int J>
CF_INLINE void product_tile(double* second, ptrdiff_t D, const double* z_i, const double* z_j, ptrdiff_t n) {
    Lanes acc[I][J];
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) acc[i][j] = load<double>(second + (i * D + j) * W);
    ptrdiff_t s = 0;
    do {
        Lanes left[I];
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) left[i] = load<double>(z_i + i * n + s);
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) {
            const Lanes right = opaque(load<double>(z_j + j * n + s));
#pragma GCC unroll 4
            for (int i = 0; i < I; ++i) acc[i][j] += left[i] * right;
        }
        s += W;
    } while (s < n);
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) store<double>(second + (i * D + j) * W, acc[i][j]);
}

// The rows [i, i + I) of the lower triangle of z z^T.
template <int I>
inline void product_rows(double* second, const Samples& c, ptrdiff_t D, ptrdiff_t i) {
    const double* const z = c.z + i * c.n;
    const ptrdiff_t end = i + I;
    ptrdiff_t j = 0;
    for (; j + 4 <= end; j += 4) product_tile<I, 4>(second + (i * D + j) * W, D, z, c.z + j * c.n, c.n);
    for (; j + 2 <= end; j += 2) product_tile<I, 2>(second + (i * D + j) * W, D, z, c.z + j * c.n, c.n);
    if (j < end) product_tile<I, 1>(second + (i * D + j) * W, D, z, c.z + j * c.n, c.n);
}

inline void lower_product(double* second, const Samples& c, ptrdiff_t D) {
    ptrdiff_t i = 0;
    for (; i + 2 <= D; i += 2) product_rows<2>(second, c, D, i);
    if (i < D) product_rows<1>(second, c, D, i);
}

// z = sqrt(r) (x - mean) for the I features from d on: adds up sqrt(r) z in `first`, and z^2 in `second`,
// whose sums lie `step` apart; or keeps z, for the sake of the product z z^T.
template <int I, bool squares>
CF_INLINE void weigh(const Samples& c, const double* root_r, const double* mean, ptrdiff_t d, double* first,
                     double* second, ptrdiff_t step) {
    const ptrdiff_t n = c.n;
    const double* const x = c.x + d * n;
    double* const kept = c.z + d * n;
    Lanes sum[I], square[I] = {}, centre[I];
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i) centre[i] = splat<double>(mean[i]);
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i) sum[i] = load<double>(first + i * W);
    ptrdiff_t s = 0;
    do {
        const Lanes root = load<double>(root_r + s);
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) {
            const Lanes z = root * (load<double>(x + i * n + s) - centre[i]);
            sum[i] += root * z;
            if constexpr (squares)
                square[i] += z * z;
            else
                store<double>(kept + i * n + s, z);
        }
        s += W;
    } while (s < n);
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i) {
        store<double>(first + i * W, sum[i]);
        double* const total = second + i * step * W;
        if constexpr (squares) store<double>(total, load<double>(total) + square[i]);
    }
}

template <bool squares>
inline void weigh_all(const Samples& c, const double* root_r, const double* mean, ptrdiff_t D, double* first,
                      double* second, ptrdiff_t step) {
    ptrdiff_t d = 0;
    for (; d + 4 <= D; d += 4)
        weigh<4, squares>(c, root_r, mean + d, d, first + d * W, second + d * step * W, step);
    for (; d < D; ++d) weigh<1, squares>(c, root_r, mean + d, d, first + d * W, second + d * step * W, step);
}

// Adds the chunk.
inline void accumulate(const LaneSums& sums, const Samples& c, const double* means) {
    const Mixture& m = sums.m;
    const ptrdiff_t D = m.D, n = c.n;
    for (ptrdiff_t k = 0; k < m.K; ++k) {
        const double *const root_r = c.root_r + k * n, *const mean = means + k * D;
        Lanes count{};
        for (ptrdiff_t i = 0; i < n; i += W) {
            const Lanes root = load<double>(root_r + i);
            count += root * root;
        }
        if (reduce_max<double>(count) == 0) continue;  // far from all of these samples
        store<double>(sums.counts + k * W, load<double>(sums.counts + k * W) + count);
        double *const first = sums.first + k * D * W, *const second = sums.second;
        switch (m.type) {
            case CovarianceType::full:
                weigh_all<false>(c, root_r, mean, D, first, second, 0);
                lower_product(second + k * D * D * W, c, D);
                break;
            case CovarianceType::tied:
                weigh_all<true>(c, root_r, mean, D, first, sums.spare, 0);
                break;
            case CovarianceType::diag:
                weigh_all<true>(c, root_r, mean, D, first, second + k * D * W, 1);
                break;
            case CovarianceType::spherical:
                weigh_all<true>(c, root_r, mean, D, first, second + k * W, 0);
        }
    }
    if (m.type != CovarianceType::tied) return;
    for (ptrdiff_t i = 0; i < n; i += W) {  // about one centre, with the weight of all components
        Lanes total{};
        for (ptrdiff_t k = 0; k < m.K; ++k) {
            const Lanes root = load<double>(c.root_r + k * n + i);
            total += root * root;
        }
        store<double>(c.root_weight + i, square_root(total));
    }
    for (ptrdiff_t d = 0; d < D; ++d)
        for (ptrdiff_t i = 0; i < n; i += W)
            store<double>(c.z + d * n + i, load<double>(c.root_weight + i) * load<double>(c.x + d * n + i));
    lower_product(sums.second, c, D);
}

// The sums of a task, lane by lane, to their place in `out`: log-likelihood, counts, first, and second, of
// which full and tied are symmetric matrices.
inline void finish(const LaneSums& sums, double* out) {
    const Mixture& m = sums.m;
    const ptrdiff_t plain = LaneSums::size(m) - LaneSums::of_second(m), D = m.D;
    const bool matrices = Centred::matrices(m);
    for (ptrdiff_t i = 0; i < plain; ++i)
        out[i] = reduce_add<double>(load<double>(sums.log_likelihood + i * W));
    double* const second = out + plain;
    if (!matrices)
        for (ptrdiff_t i = 0; i < LaneSums::of_second(m); ++i)
            second[i] = reduce_add<double>(load<double>(sums.second + i * W));
    for (ptrdiff_t k = 0; matrices && k < LaneSums::of_second(m) / (D * D); ++k) {
        double* const matrix = second + k * D * D;
        for (ptrdiff_t i = 0; i < D; ++i)
            for (ptrdiff_t j = 0; j <= i; ++j)
                matrix[i * D + j] = matrix[j * D + i] =
                    reduce_add<double>(load<double>(sums.second + (k * D * D + i * D + j) * W));
    }
}

}  // namespace
}  // namespace closedform::CF_ISA
