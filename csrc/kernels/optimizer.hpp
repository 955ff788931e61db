// Parameter updates, in place: one pass over the parameters and their state. Plain loops: the compiler
// vectorises them, square root and all.
#pragma once

#include "../core/map.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

// An update costs a tenth of a nanosecond or two an element: it takes this many to be worth a task.
inline constexpr ptrdiff_t update_block = 1 << 17;

// f(begin, end) over fixed blocks of [0, n)
template <class F>
inline void for_blocks(ptrdiff_t n, const F& f) {
    parallel_for((n + update_block - 1) / update_block, [=](ptrdiff_t task) {
        const ptrdiff_t i = task * update_block;
        f(i, n - i < update_block ? n : i + update_block);
    });
}

// g += weight_decay * p    v = momentum * v + g    p -= lr * (g + momentum * v if nesterov, else v)
template <class T>
void sgd_update(T* parameter, const T* gradient, T* velocity, ptrdiff_t n, double lr, double momentum,
                double weight_decay, bool nesterov) {
    const T eta = T(lr), mu = T(momentum), lambda = T(weight_decay);
    for_blocks(n, [=](ptrdiff_t begin, ptrdiff_t end) {
        T* __restrict p = parameter;
        T* __restrict v = velocity;
        const T* __restrict dp = gradient;
        if (!v)
            for (ptrdiff_t i = begin; i < end; ++i) p[i] -= eta * (dp[i] + lambda * p[i]);
        else
            for (ptrdiff_t i = begin; i < end; ++i) {
                const T g = dp[i] + lambda * p[i];
                v[i] = mu * v[i] + g;
                p[i] -= eta * (nesterov ? g + mu * v[i] : v[i]);
            }
    });
}

// m = beta1 m + (1 - beta1) g    v = beta2 v + (1 - beta2) g^2
// p -= lr * (m / correction1) / (sqrt(v / correction2) + eps)
// Weight decay joins the gradient or, decoupled (AdamW), shrinks the parameter first.
template <class T>
void adam_update(T* parameter, const T* gradient, T* m, T* v, ptrdiff_t n, Adam o) {
    const T beta1 = T(o.beta1), beta2 = T(o.beta2), rest1 = T(1 - o.beta1), rest2 = T(1 - o.beta2),
            eps = T(o.eps);
    const T lambda = o.decoupled ? T(0) : T(o.weight_decay);
    const T shrink = o.decoupled ? T(1 - o.lr * o.weight_decay) : T(1);
    const T step = T(o.lr / o.correction1), unbias = T(1 / __builtin_sqrt(o.correction2));
    for_blocks(n, [=](ptrdiff_t begin, ptrdiff_t end) {
        T* __restrict p = parameter;
        T* __restrict m1 = m;
        T* __restrict m2 = v;
        const T* __restrict dp = gradient;
        for (ptrdiff_t i = begin; i < end; ++i) {
            const T g = dp[i] + lambda * p[i];
            m1[i] = beta1 * m1[i] + rest1 * g;
            m2[i] = beta2 * m2[i] + rest2 * g * g;
            const T root =
                sizeof(T) == 4 ? T(__builtin_sqrtf(float(m2[i]))) : T(__builtin_sqrt(double(m2[i])));
            p[i] = shrink * p[i] - step * m1[i] / (root * unbias + eps);
        }
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
