// Cross-entropy of softmax(logits): loss and gradient in one sweep. logits (N, K).
//
//   loss_n = -sum_k q_nk log S_nk = sum_k q_nk (lse_n - z_nk)      dz_nk = S_nk sum(q_n) - q_nk
//
// with q the targets after weights and smoothing: (1 - a) w_y at the class y (or (1 - a) w_k p_k
// everywhere), plus a w_k / K everywhere.
#pragma once

#include "probability.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

// One row's targets q.
template <class T>
struct RowTargets {
    const T *probabilities, *weight;  // (K,), or null
    T keep, base;                     // 1 - a and a / K
    ptrdiff_t label;                  // the class, or -1 where the targets are probabilities

    // Whether there is a target besides the label's share.
    CF_INLINE bool spread() const { return probabilities || base != 0; }

    // The label's share, and by vector all the rest.
    CF_INLINE T at_label() const { return label < 0 ? T(0) : keep * (weight ? weight[label] : T(1)); }
    CF_INLINE Vec<T> rest(ptrdiff_t i, ptrdiff_t count) const {
        Vec<T> q = splat(base);
        if (probabilities) q += load_some<T>(probabilities + i, count) * keep;
        return weight ? q * load_some<T>(weight + i, count) : q;
    }
};

struct LossAndMass {
    double loss, mass;  // mass: the sum of q
};

// sum_k q_k (log_sum - (z_k - m)), where 0 log 0 = 0
template <class T>
CF_INLINE LossAndMass row_loss(const T* z, const RowTargets<T>& q, ptrdiff_t K, T m, T log_sum) {
    const T share = q.at_label();
    LossAndMass result{share == 0 ? 0 : double(share) * double(log_sum - (z[q.label] - m)), double(share)};
    if (!q.spread()) return result;
    Sum<T> loss, mass;
    for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
        const Vec<T> qi = first_lanes<T>(q.rest(i, count), count);
        const Vec<T> zi = load_some<T>(z + i, count);
        loss.add(select(qi == Vec<T>{}, Vec<T>{}, qi * (log_sum - (zi - m))));
        mass.add(qi);
    });
    return {result.loss + loss.value(), result.mass + mass.value()};
}

// d = (S mass - q) scale, where d holds the exponentials and S = d / exp_sum; a row without targets has none
template <class T>
CF_INLINE void row_gradient(T* d, const RowTargets<T>& q, ptrdiff_t K, double exp_sum, double mass, T scale) {
    if (mass == 0) {
        for (ptrdiff_t k = 0; k < K; ++k) d[k] = 0;
        return;
    }
    const T s = T(mass / exp_sum), e_label = q.label < 0 ? T(0) : d[q.label];
    for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
        Vec<T> g = load_some<T>(d + i, count) * s;
        if (q.spread()) g -= q.rest(i, count);
        store_some<T>(d + i, g * scale, count);
    });
    if (q.label < 0) return;
    const T rest = q.base * (q.weight ? q.weight[q.label] : T(1));
    d[q.label] = (e_label * s - (q.at_label() + rest)) * scale;
}

// One row's loss and, where d is given, its gradient times `scale`.
template <class T>
CF_INLINE double cross_entropy_row(T* d, const T* z, const RowTargets<T>& q, ptrdiff_t K, T scale) {
    const T m = row_max<T>(z, K);
    const double exp_sum = row_exp_sum<T>(d, z, K, m);
    const LossAndMass result = row_loss<T>(z, q, K, m, log_of<T>(exp_sum));
    if (d) row_gradient<T>(d, q, K, exp_sum, result.mass, scale);
    return result.loss;
}

template <class T>
double cross_entropy(T* losses, T* dlogits, const T* logits, Targets<T> targets, ptrdiff_t N, ptrdiff_t K,
                     double scale) {
    const T keep = T(1 - targets.label_smoothing), base = T(targets.label_smoothing / double(K));
    const ptrdiff_t rows = elementwise_block / (K + 1) + 1, tasks = (N + rows - 1) / rows;
    Scratch scratch((tasks + 1) * sizeof(double));
    double* const slots = scratch.as<double>();
    parallel_for(tasks, [=](ptrdiff_t task) {
        const ptrdiff_t end = N - task * rows < rows ? N : (task + 1) * rows;
        double sum = 0;
        for (ptrdiff_t n = task * rows; n < end; ++n) {
            RowTargets<T> q{nullptr, targets.weight, keep, base, -1};
            if (targets.probabilities)
                q.probabilities = targets.probabilities + n * K;
            else
                q.label = targets.classes[n];
            if (!targets.probabilities && targets.has_ignore && q.label == targets.ignore_index)
                q = {nullptr, nullptr, T(0), T(0), -1};  // no targets at all
            const double loss =
                cross_entropy_row<T>(dlogits ? dlogits + n * K : nullptr, logits + n * K, q, K, T(scale));
            if (losses) losses[n] = T(loss);
            sum += loss;
        }
        slots[task] = sum;
    });
    double total = 0;
    for (ptrdiff_t task = 0; task < tasks; ++task) total += slots[task];
    return total * scale;
}

}  // namespace
}  // namespace closedform::CF_ISA
