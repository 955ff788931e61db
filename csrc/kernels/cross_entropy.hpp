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

// One row's targets q, by vector: `base` times the weights, and either probabilities or one class on top.
template <class T>
struct RowTargets {
    const T *probabilities, *weight;
    T scale, base;  // 1 - a and a / K

    CF_INLINE Vec<T> operator()(ptrdiff_t i, ptrdiff_t count) const {
        Vec<T> q = splat(base);
        if (probabilities) q += load_some<T>(probabilities + i, count) * scale;
        return weight ? q * load_some<T>(weight + i, count) : q;
    }
};

// Loss of a row and, where d is given, its gradient times `scale`. `label` < 0: the targets are probabilities.
template <class T>
CF_INLINE double cross_entropy_row(T* d, const T* z, const RowTargets<T>& q, ptrdiff_t label, T label_mass,
                                   ptrdiff_t K, T scale) {
    const T m = row_max<T>(z, K);
    const double exp_sum = row_exp_sum<T>(d, z, K, m);
    const T log_sum = log_of<T>(exp_sum);
    const bool everywhere = q.probabilities || q.base != 0;  // targets on more than the label
    double loss = 0, mass = 0;
    if (label >= 0) {
        mass = label_mass;
        if (label_mass != 0) loss = double(label_mass) * double(log_sum - (z[label] - m));
    }
    if (everywhere) {
        Sum<T> losses, masses;
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
            const Vec<T> zi = load_some<T>(z + i, count, m);
            alignas(CF_VECTOR_BYTES) T padded[lanes<T>];
            store<T>(padded, q(i, count));
            const Vec<T> qi = load_some<T>(padded, count);
            losses.add(select(qi == Vec<T>{}, Vec<T>{}, qi * (log_sum - (zi - m))));  // 0 log 0 = 0
            masses.add(qi);
        });
        loss += losses.value();
        mass += masses.value();
    }
    if (d) {
        const T s = T(mass / exp_sum) * scale;
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
            Vec<T> g = load_some<T>(d + i, count) * s;
            if (everywhere) g -= q(i, count) * scale;
            store_some<T>(d + i, mass == 0 ? Vec<T>{} : g, count);
        });
        if (label >= 0 && mass != 0) d[label] -= label_mass * scale;
    }
    return loss;
}

template <class T>
double cross_entropy(T* losses, T* dlogits, const T* logits, Targets<T> targets, ptrdiff_t N, ptrdiff_t K,
                     double scale) {
    const T smooth = T(targets.label_smoothing), keep = T(1 - targets.label_smoothing);
    const ptrdiff_t rows = elementwise_block / (K + 1) + 1, tasks = (N + rows - 1) / rows;
    Scratch scratch((tasks + 1) * sizeof(double));
    double* const slots = scratch.as<double>();
    parallel_for(tasks, [=](ptrdiff_t task) {
        const ptrdiff_t end = N - task * rows < rows ? N : (task + 1) * rows;
        double sum = 0;
        for (ptrdiff_t n = task * rows; n < end; ++n) {
            RowTargets<T> q{nullptr, targets.weight, keep, smooth / T(K)};
            ptrdiff_t label = -1;
            T label_mass = 0;
            double loss = 0;
            T* const d = dlogits ? dlogits + n * K : nullptr;
            if (targets.probabilities)
                q.probabilities = targets.probabilities + n * K;
            else
                label = targets.classes[n];
            const bool ignored = label >= 0 || !targets.probabilities
                                     ? targets.has_ignore && targets.classes[n] == targets.ignore_index
                                     : false;
            if (ignored) {
                for (ptrdiff_t k = 0; d && k < K; ++k) d[k] = 0;
            } else {
                if (!targets.probabilities) label_mass = keep * (targets.weight ? targets.weight[label] : T(1));
                loss = cross_entropy_row<T>(d, logits + n * K, q, label, label_mass, K, T(scale));
            }
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
