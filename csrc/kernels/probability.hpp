// Softmax and its relatives over the last axis: N rows of K. A row is shifted by its maximum, always.
#pragma once

#include "../core/map.hpp"
#include "../core/math.hpp"

namespace closedform::CF_ISA {
namespace {

// Calls f(index, count) for whole vectors, then once for the rest of [0, n).
template <class T, class F>
CF_INLINE void for_vectors(ptrdiff_t n, const F& f) {
    ptrdiff_t i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) f(i, lanes<T>);
    if (i < n) f(i, n - i);
}

// Rows of one task: enough of them to be worth handing out.
template <class F>
inline void for_rows(ptrdiff_t N, ptrdiff_t K, const F& f) {
    const ptrdiff_t rows = elementwise_block / (K + 1) + 1;
    parallel_for((N + rows - 1) / rows, [=](ptrdiff_t task) {
        const ptrdiff_t end = N - task * rows < rows ? N : (task + 1) * rows;
        for (ptrdiff_t i = task * rows; i < end; ++i) f(i);
    });
}

template <class T>
inline constexpr T infinity = T(__builtin_inff());

// The largest element; NaN if any is NaN.
template <class T>
CF_INLINE T row_max(const T* x, ptrdiff_t K) {
    Vec<T> m = splat(-infinity<T>);
    Int<T> has_nan{};
    for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
        const Vec<T> v = load_some<T>(x + i, count, -infinity<T>);
        has_nan |= v != v;
        m = max(m, v);
    });
    const T largest = reduce_max<T>(m);
    return any<T>(has_nan) ? T(__builtin_nanf("")) : largest;
}

// sum of exp((x - shift) / temperature), each term stored in e where e is given
template <class T>
CF_INLINE double row_exp_sum(T* e, const T* x, ptrdiff_t K, T shift, T temperature = T(1)) {
    Sum<T> sum;
    for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
        Vec<T> v = load_some<T>(x + i, count, -infinity<T>) - shift;
        if (temperature != T(1)) v /= splat(temperature);  // a division is dear, and 1 is what most ask for
        v = exp_nonpositive<T>(v);
        if (e) store_some<T>(e + i, v, count);
        sum.add(v);
    });
    return sum.value();
}

// S_j = exp((x_j - max) / temperature) / sum
template <class T>
void softmax(T* y, const T* x, ptrdiff_t N, ptrdiff_t K, T temperature) {
    for_rows(N, K, [=](ptrdiff_t row) {
        T* const yr = y + row * K;
        const double sum = row_exp_sum<T>(yr, x + row * K, K, row_max<T>(x + row * K, K), temperature);
        const T scale = T(1 / sum);
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
            store_some<T>(yr + i, load_some<T>(yr + i, count) * scale, count);
        });
    });
}

// dx = y * (dy - <dy, y>) / temperature: the Jacobian diag(y) - y y^T, applied
template <class T>
void softmax_backward(T* dx, const T* dy, const T* y, ptrdiff_t N, ptrdiff_t K, T temperature) {
    for_rows(N, K, [=](ptrdiff_t row) {
        const T *const dyr = dy + row * K, *const yr = y + row * K;
        Sum<T> sum;
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
            sum.add(load_some<T>(dyr + i, count) * load_some<T>(yr + i, count));
        });
        const T dot = T(sum.value());
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
            const Vec<T> v = load_some<T>(yr + i, count) * (load_some<T>(dyr + i, count) - dot) / temperature;
            store_some<T>(dx + row * K + i, v, count);
        });
    });
}

template <class T>
CF_INLINE T log_of(double x) {
    alignas(CF_VECTOR_BYTES) T lane[lanes<T>];
    store<T>(lane, log<T>(splat(T(x))));
    return lane[0];
}

template <class T>
CF_INLINE T row_logsumexp(const T* x, ptrdiff_t K) {
    const T m = row_max<T>(x, K);
    if (m - m != 0) return m;  // infinite or NaN: the sum is too
    return m + log_of<T>(row_exp_sum<T>(nullptr, x, K, m));
}

template <class T>
void logsumexp(T* y, const T* x, ptrdiff_t N, ptrdiff_t K) {
    for_rows(N, K, [=](ptrdiff_t row) { y[row] = row_logsumexp<T>(x + row * K, K); });
}

// y_j = (x_j - max) - log(sum): the difference first, it is exact where it matters
template <class T>
void log_softmax(T* y, const T* x, ptrdiff_t N, ptrdiff_t K) {
    for_rows(N, K, [=](ptrdiff_t row) {
        const T* const xr = x + row * K;
        const T m = row_max<T>(xr, K), log_sum = log_of<T>(row_exp_sum<T>(nullptr, xr, K, m));
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
            store_some<T>(y + row * K + i, (load_some<T>(xr + i, count) - m) - log_sum, count);
        });
    });
}

// dx = dy - exp(y) * sum(dy)
template <class T>
void log_softmax_backward(T* dx, const T* dy, const T* y, ptrdiff_t N, ptrdiff_t K) {
    for_rows(N, K, [=](ptrdiff_t row) {
        const T *const dyr = dy + row * K, *const yr = y + row * K;
        Sum<T> sum;
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) { sum.add(load_some<T>(dyr + i, count)); });
        const T total = T(sum.value());
        for_vectors<T>(K, [&](ptrdiff_t i, ptrdiff_t count) {
            const Vec<T> v = load_some<T>(dyr + i, count) - exp<T>(load_some<T>(yr + i, count)) * total;
            store_some<T>(dx + row * K + i, v, count);
        });
    });
}

// J_ij = y_i (delta_ij - y_j)
template <class T>
void softmax_jacobian(T* jacobian, const T* y, ptrdiff_t N, ptrdiff_t K) {
    for_rows(N * K, K, [=](ptrdiff_t r) {
        const ptrdiff_t row = r / K, i = r % K;
        const T* const yr = y + row * K;
        const T yi = yr[i];
        for_vectors<T>(K, [&](ptrdiff_t j, ptrdiff_t count) {
            store_some<T>(jacobian + r * K + j, load_some<T>(yr + j, count) * -yi, count);
        });
        jacobian[r * K + i] = yi * (T(1) - yi);
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
