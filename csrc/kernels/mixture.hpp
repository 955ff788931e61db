// Gaussian mixtures: the sums of an EM step in one pass over x (N, D), for K components.
//
// Samples go by in chunks, transposed, so that vectors run along samples: then neither the triangle of a
// Cholesky factor nor a small D leaves lanes idle, and the responsibilities of a chunk never leave the cache.
// Everything is float64, and centred: sums are about the means that the responsibilities were computed with,
// which EM moves little; those of a tied covariance about the centre of the mixture. Tasks are ranges of
// chunks with sums of their own, added in order.
#pragma once

#include "mixture_density.hpp"
#include "mixture_sums.hpp"

namespace closedform::CF_ISA {
namespace {

inline constexpr ptrdiff_t most_mixture_tasks = 16;  // each with sums of its own

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
                    for (ptrdiff_t s = 0; s < n; ++s) {
                        const double r = double(responsibilities[(i + smaller(s, count - 1)) * m.K + k]);
                        c.root_r[k * n + s] = c.root_weight[s] * __builtin_sqrt(r);
                    }
            } else {
                log_densities(c, centred);
                normalise(c, m.K);
                Lanes total = load<double>(own.log_likelihood);
                for (ptrdiff_t s = 0; s < n; s += W) {
                    const Lanes root = load<double>(c.root_weight + s);
                    total += root * root * load<double>(c.log + s);
                }
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
                    responsibilities[(i + s) * m.K + k] = T(c.root_r[k * n + s] * c.root_r[k * n + s]);
            }
        }
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
