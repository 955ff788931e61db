// Gaussian mixtures: the sums of an EM step in one pass over x (N, D), for K components.
//
// Samples go by in chunks, transposed, so that vectors run along samples: then neither the triangle of a
// Cholesky factor nor a small D leaves lanes idle, and the responsibilities of a chunk never leave the cache.
// Everything is float64, and centred: samples and means lose the centre of the mixture when they are loaded,
// and sums are about the means that the responsibilities were computed with, which EM moves little. Tasks are
// ranges of chunks with sums of their own, added in order.
#pragma once

#include "../core/gemm.hpp"
#include "../core/math.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

using Lanes = Vec<double>;
inline constexpr ptrdiff_t W = lanes<double>;
inline constexpr int sample_vectors = 4;             // vectors of samples in a tile of the E-step
inline constexpr ptrdiff_t most_mixture_tasks = 16;  // each with sums of its own

// Rows in a chunk, a multiple of 4 vectors on every ISA: what is made of them stays in L1 or L2.
CF_INLINE ptrdiff_t chunk_samples(const Mixture& m) {
    const ptrdiff_t rows = 2 * m.D + m.K;  // of the chunk, in doubles
    return rows <= 32 ? 128 : rows <= 512 ? 64 : 32;
}

// A mixture about its centre.
struct Centred {
    Mixture m;
    double *means, *turned;  // (K, D) means, and where z u is needed, means u

    static ptrdiff_t size(const Mixture& m) { return 2 * m.K * m.D; }
    Centred(double* memory, const Mixture& mixture) : m(mixture), means(memory), turned(means + m.K * m.D) {
        const ptrdiff_t D = m.D;
        for (ptrdiff_t k = 0; k < m.K; ++k)
            for (ptrdiff_t d = 0; d < D; ++d) means[k * D + d] = m.means[k * D + d] - m.centre[d];
        if (!matrices(m)) return;
        const double* u = m.precisions_cholesky;
        for (ptrdiff_t k = 0; k < m.K; ++k, u += m.type == CovarianceType::full ? D * D : 0)
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
    ptrdiff_t n;           // samples, the last of them perhaps made up, of weight 0
    double *x, *z;         // [D][n] samples about the centre, and what is made of them
    double* r;             // [K][n] log densities, then responsibilities
    double *weight, *log;  // [n] of the samples; their log-likelihood

    static ptrdiff_t size(const Mixture& m, ptrdiff_t n) { return (2 * m.D + m.K + 2) * n; }
    Samples(double* memory, const Mixture& m, ptrdiff_t n_)
        : n(n_), x(memory), z(x + m.D * n), r(z + m.D * n), weight(r + m.K * n), log(weight + n) {}

    // Rows [0, count) of x; the rest repeats the last, so that it is as finite as they are.
    template <class T>
    void load(const T* rows, const double* weights, ptrdiff_t count, const Mixture& m) const {
        for (ptrdiff_t d = 0; d < m.D; ++d) {
            double *const to = x + d * n, centre = m.centre[d];
            for (ptrdiff_t i = 0; i < n; ++i) to[i] = double(rows[smaller(i, count - 1) * m.D + d]) - centre;
        }
        for (ptrdiff_t i = 0; i < n; ++i) weight[i] = i >= count ? 0 : weights ? weights[i] : 1;
    }
};

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

// f(j, y) for J columns j of y = x u - turned, V vectors of samples at once
template <int J, class F>
CF_INLINE void columns(const double* x, ptrdiff_t n, const double* u, const double* turned, ptrdiff_t D,
                       ptrdiff_t j0, const F& f) {
    constexpr int V = sample_vectors;
    Lanes y[J][V];
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) y[j][v] = splat<double>(turned ? -turned[j0 + j] : 0.0);
    triangular_product<J, V>(x, n, u, D, j0, y);
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) f(j0 + j, y[j]);
}

// The same for all columns of the upper triangular u (D, D): three at a time, for that fills the registers.
template <class F>
CF_INLINE void all_columns(const double* x, ptrdiff_t n, const double* u, const double* turned, ptrdiff_t D,
                           const F& f) {
    ptrdiff_t j = 0;
    for (; D - j > 4 || D - j == 3; j += 3) columns<3>(x, n, u, turned, D, j, f);
    for (; D - j >= 2; j += 2) columns<2>(x, n, u, turned, D, j, f);
    if (j < D) columns<1>(x, n, u, turned, D, j, f);
}

// log_k[i] = offset - |x u - turned|^2 / 2 for all samples: full covariance
CF_INLINE void full_density(const Samples& c, const double* u, const double* turned, ptrdiff_t D,
                            double offset, double* log_k) {
    constexpr int V = sample_vectors;
    for (ptrdiff_t i = 0; i < c.n; i += V * W) {
        Lanes q[V] = {};
        all_columns(c.x + i, c.n, u, turned, D,
                    [&q](ptrdiff_t, const Lanes(&y)[V]) __attribute__((always_inline)) {
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

// r[k] = log (weight_k density_k) of the chunk's samples.
inline void log_densities(const Samples& c, const Centred& centred) {
    const Mixture& m = centred.m;
    const ptrdiff_t D = m.D, n = c.n;
    const double* const u = m.precisions_cholesky;
    if (m.type == CovarianceType::tied) {  // z = x u, once for all components
        constexpr int V = sample_vectors;
        double* const z = c.z;
        for (ptrdiff_t i = 0; i < n; i += V * W)
            all_columns(c.x + i, n, u, nullptr, D,
                        [=](ptrdiff_t j, const Lanes(&y)[V]) __attribute__((always_inline)) {
#pragma GCC unroll 4
                            for (int v = 0; v < V; ++v) store<double>(z + j * n + i + v * W, y[v]);
                        });
    }
    const double one = 1;
    for (ptrdiff_t k = 0; k < m.K; ++k) {
        const double *const mean = centred.means + k * D, *const turned = centred.turned + k * D;
        double* const log_k = c.r + k * n;
        switch (m.type) {
            case CovarianceType::full:
                full_density(c, u + k * D * D, turned, D, m.offset[k], log_k);
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

// From log densities to responsibilities times the samples' weights: a softmax over the components, in place;
// c.log is the log of its divisor.
inline void normalise(const Samples& c, ptrdiff_t K) {
    for (ptrdiff_t i = 0; i < c.n; i += W) {
        double* const r = c.r + i;
        Lanes largest = load<double>(r), sum{};
        for (ptrdiff_t k = 1; k < K; ++k) largest = max(largest, load<double>(r + k * c.n));
        for (ptrdiff_t k = 0; k < K; ++k) {
            const Lanes e = exp_nonpositive<double>(load<double>(r + k * c.n) - largest);
            store<double>(r + k * c.n, e);
            sum += e;
        }
        const Lanes scale = load<double>(c.weight + i) / sum;
        for (ptrdiff_t k = 0; k < K; ++k) store<double>(r + k * c.n, load<double>(r + k * c.n) * scale);
        store<double>(c.log + i, largest + log<double>(sum));
    }
}

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
        Lanes right[J];
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) right[j] = load<double>(z_j + j * n + s);
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) {
            const Lanes left = load<double>(z_i + i * n + s);
#pragma GCC unroll 4
            for (int j = 0; j < J; ++j) acc[i][j] += left * right[j];
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

// z = x - mean for the I features from d on: adds up r z in `first`, and r z^2 in `second`, whose sums lie
// `step` apart. Or, for the sake of the product z z^T, z = sqrt(r) (x - mean), which is kept.
template <int I, bool squares>
CF_INLINE void weigh(const Samples& c, const double* r, const double* mean, ptrdiff_t d, double* first,
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
        const Lanes weight = load<double>(r + s);
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) {
            const Lanes z = load<double>(x + i * n + s) - centre[i], weighted = weight * z;
            if constexpr (squares) {
                sum[i] += weighted;
                square[i] += weighted * z;
            } else {
                sum[i] += weight * weighted;
                store<double>(kept + i * n + s, weighted);
            }
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
inline void weigh_all(const Samples& c, const double* r, const double* mean, ptrdiff_t D, double* first,
                      double* second, ptrdiff_t step) {
    ptrdiff_t d = 0;
    for (; d + 4 <= D; d += 4)
        weigh<4, squares>(c, r, mean + d, d, first + d * W, second + d * step * W, step);
    for (; d < D; ++d) weigh<1, squares>(c, r, mean + d, d, first + d * W, second + d * step * W, step);
}

CF_INLINE void take_roots(double* r, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; ++i) r[i] = __builtin_sqrt(r[i]);
}

// Adds the chunk, whose r are responsibilities times weights.
inline void accumulate(const LaneSums& sums, const Samples& c, const double* means) {
    const Mixture& m = sums.m;
    const ptrdiff_t D = m.D, n = c.n;
    for (ptrdiff_t k = 0; k < m.K; ++k) {
        double* const r = c.r + k * n;
        const double* const mean = means + k * D;
        Lanes count{};
        for (ptrdiff_t i = 0; i < n; i += W) count += load<double>(r + i);
        if (reduce_max<double>(count) == 0) continue;  // far from all of these samples
        store<double>(sums.counts + k * W, load<double>(sums.counts + k * W) + count);
        double *const first = sums.first + k * D * W, *const second = sums.second;
        switch (m.type) {
            case CovarianceType::full:
                take_roots(r, n);
                weigh_all<false>(c, r, mean, D, first, second, 0);
                lower_product(second + k * D * D * W, c, D);
                break;
            case CovarianceType::tied:
                weigh_all<true>(c, r, mean, D, first, sums.spare, 0);
                break;
            case CovarianceType::diag:
                weigh_all<true>(c, r, mean, D, first, second + k * D * W, 1);
                break;
            case CovarianceType::spherical:
                weigh_all<true>(c, r, mean, D, first, second + k * W, 0);
        }
    }
    if (m.type != CovarianceType::tied) return;
    for (ptrdiff_t i = 0; i < n; i += W) {  // about one centre, with the weight of all components
        Lanes total{};
        for (ptrdiff_t k = 0; k < m.K; ++k) total += load<double>(c.r + k * n + i);
        store<double>(c.weight + i, total);
    }
    take_roots(c.weight, n);
    for (ptrdiff_t d = 0; d < D; ++d)
        for (ptrdiff_t i = 0; i < n; i += W)
            store<double>(c.z + d * n + i, load<double>(c.weight + i) * load<double>(c.x + d * n + i));
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
    for (ptrdiff_t i = 0; i < LaneSums::of_second(m); ++i) {
        const ptrdiff_t row = i / D % D, column = i % D;
        if (!matrices || column <= row) second[i] = reduce_add<double>(load<double>(sums.second + i * W));
    }
    for (ptrdiff_t i = 0; matrices && i < LaneSums::of_second(m); ++i) {
        const ptrdiff_t row = i / D % D, column = i % D;
        if (column > row) second[i] = second[i + (column - row) * (D - 1)];
    }
}

// How N samples are cut: tasks of so many rows, a multiple of the chunk's.
CF_INLINE ptrdiff_t task_rows(ptrdiff_t N, const Mixture& m) {
    const ptrdiff_t work = N * m.K * (Centred::matrices(m) ? 2 * m.D * m.D + 50 : 10 * m.D + 50);
    return piece(N, smaller(most_mixture_tasks, work / task_flops), chunk_samples(m));
}

// Adds to `sums` [1 + K + K D + second] those of N samples: of their log-likelihoods, and of r, r z, r z z^T,
// times `weights` (N,), null for ones. r are `responsibilities` (N, K) or, where they are null, those of the
// mixture.
template <class T>
void gmm_sums(double* sums, const T* x, const T* responsibilities, const double* weights, ptrdiff_t N,
              Mixture m) {
    const ptrdiff_t n = chunk_samples(m), rows = task_rows(N, m), tasks = ceil_div(N, rows);
    const ptrdiff_t size = LaneSums::size(m);
    Scratch slots(tasks * size * sizeof(double)), parameters(Centred::size(m) * sizeof(double));
    const Centred centred(parameters.as<double>(), m);
    parallel_for(tasks, [=, &centred, &slots](ptrdiff_t task) {
        const Mixture& m = centred.m;
        Scratch memory((Samples::size(m, n) + (size + m.D) * W) * sizeof(double));
        const Samples c(memory.as<double>(), m, n);
        const LaneSums own(memory.as<double>() + Samples::size(m, n), m);
        for (ptrdiff_t i = task * rows; i < smaller(N, (task + 1) * rows); i += n) {
            const ptrdiff_t count = smaller(n, N - i);
            c.load(x + i * m.D, weights ? weights + i : nullptr, count, m);
            if (responsibilities) {
                for (ptrdiff_t k = 0; k < m.K; ++k)
                    for (ptrdiff_t s = 0; s < n; ++s)
                        c.r[k * n + s] =
                            c.weight[s] * double(responsibilities[(i + smaller(s, count - 1)) * m.K + k]);
            } else {
                log_densities(c, centred);
                normalise(c, m.K);
                Lanes total = load<double>(own.log_likelihood);
                for (ptrdiff_t s = 0; s < n; s += W)
                    total += load<double>(c.weight + s) * load<double>(c.log + s);
                store<double>(own.log_likelihood, total);
            }
            accumulate(own, c, centred.means);
        }
        finish(own, slots.as<double>() + task * size);
    });
    for (ptrdiff_t task = 0; task < tasks; ++task)
        for (ptrdiff_t i = 0; i < size; ++i) sums[i] += slots.as<double>()[task * size + i];
}

// The log-likelihood (N,) of every sample, and unless null its responsibilities (N, K).
template <class T>
void gmm_e_step(T* log_likelihood, T* responsibilities, const T* x, ptrdiff_t N, Mixture m) {
    const ptrdiff_t n = chunk_samples(m), rows = task_rows(N, m);
    Scratch parameters(Centred::size(m) * sizeof(double));
    const Centred centred(parameters.as<double>(), m);
    parallel_for(ceil_div(N, rows), [=, &centred](ptrdiff_t task) {
        const Mixture& m = centred.m;
        Scratch memory(Samples::size(m, n) * sizeof(double));
        const Samples c(memory.as<double>(), m, n);
        for (ptrdiff_t i = task * rows; i < smaller(N, (task + 1) * rows); i += n) {
            const ptrdiff_t count = smaller(n, N - i);
            c.load<T>(x + i * m.D, nullptr, count, m);
            log_densities(c, centred);
            normalise(c, m.K);
            for (ptrdiff_t s = 0; s < count; ++s) {
                log_likelihood[i + s] = T(c.log[s]);
                for (ptrdiff_t k = 0; responsibilities && k < m.K; ++k)
                    responsibilities[(i + s) * m.K + k] = T(c.r[k * n + s]);
            }
        }
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
