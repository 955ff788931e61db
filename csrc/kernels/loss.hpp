// Losses of one element each: y_hat (or logits z) and y, n of them.
#pragma once

#include "../core/map.hpp"
#include "../core/math.hpp"

namespace closedform::CF_ISA {
namespace {

// Each loss stored where `losses` is given, otherwise their sum returned.
template <class T, class F>
inline double store_or_sum(T* losses, const F& loss, const T* y_hat, const T* y, ptrdiff_t n) {
    if (!losses) return map_sum<T>(n, loss, y_hat, y);
    map<T>(n, losses, loss, y_hat, y);
    return 0;
}

// (y_hat - y)^2
template <class T>
double squared_error(T* losses, const T* y_hat, const T* y, ptrdiff_t n) {
    return store_or_sum<T>(losses, [](Vec<T> p, Vec<T> y) { return (p - y) * (p - y); }, y_hat, y, n);
}

template <class T>
void squared_error_backward(T* dy_hat, const T* y_hat, const T* y, ptrdiff_t n, T scale) {
    map<T>(n, dy_hat, [=](Vec<T> p, Vec<T> y) { return (p - y) * (2 * scale); }, y_hat, y);
}

// -(y log p + (1 - y) log(1 - p)), the logarithms at least -100
template <class T>
double binary_cross_entropy(T* losses, const T* y_hat, const T* y, ptrdiff_t n) {
    const auto loss = [](Vec<T> p, Vec<T> y) {
        const Vec<T> floor = splat(T(-100));
        return -(y * max(floor, log<T>(p)) + (1 - y) * max(floor, log1p<T>(-p)));
    };
    return store_or_sum<T>(losses, loss, y_hat, y, n);
}

// (p - y) / (p (1 - p)), the denominator at least 1e-12
template <class T>
void binary_cross_entropy_backward(T* dy_hat, const T* y_hat, const T* y, ptrdiff_t n, T scale) {
    map<T>(
        n, dy_hat, [=](Vec<T> p, Vec<T> y) { return (p - y) / max(splat(T(1e-12)), p * (1 - p)) * scale; },
        y_hat, y);
}

// y softplus(-z) + (1 - y) softplus(z)
template <class T>
double binary_cross_entropy_with_logits(T* losses, const T* z, const T* y, ptrdiff_t n) {
    const auto loss = [](Vec<T> z, Vec<T> y) { return y * softplus<T>(-z) + (1 - y) * softplus<T>(z); };
    return store_or_sum<T>(losses, loss, z, y, n);
}

// sigmoid(z) - y
template <class T>
void binary_cross_entropy_with_logits_backward(T* dz, const T* z, const T* y, ptrdiff_t n, T scale) {
    map<T>(n, dz, [=](Vec<T> z, Vec<T> y) { return (sigmoid<T>(z) - y) * scale; }, z, y);
}

}  // namespace
}  // namespace closedform::CF_ISA
