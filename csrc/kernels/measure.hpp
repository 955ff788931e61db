// Small helpers that are no ops: a check of values, and the measure of the machine's arithmetic limit.
#pragma once

#include "../core/simd.hpp"

namespace closedform::CF_ISA {
namespace {

template <class T>
ptrdiff_t first_outside(const T* x, ptrdiff_t n, T low, T high) {
    constexpr ptrdiff_t stretch = 64 * lanes<T>;
    for (ptrdiff_t begin = 0; begin < n; begin += stretch) {
        const ptrdiff_t end = n - begin < stretch ? n : begin + stretch;
        Int<T> outside{};
        ptrdiff_t i = begin;
        for (; i + lanes<T> <= end; i += lanes<T>) {
            const Vec<T> v = load<T>(x + i);
            outside |= (v < low) | (v > high);
        }
        const Vec<T> rest = load_partial<T>(x + i, end - i, low);
        outside |= (rest < low) | (rest > high);
        if (any<T>(outside))
            for (i = begin; i < end; ++i)
                if (x[i] < low || x[i] > high) return i;
    }
    return -1;
}

// Independent multiply-adds, enough of them in flight to hide their latency: the peak of one core.
template <class T>
double fma_rounds(ptrdiff_t rounds) {
    constexpr int chains = 12;
    // Volatile, or the compiler computes a chain in advance: one that began at 1 stayed there, and the peak
    // came out 12/11 of the true one.
    const volatile T start = T(0.5), slope = T(0.999), step = T(1e-3);
    Vec<T> acc[chains];  // in registers only if every loop over it is unrolled
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) acc[i] = splat<T>(start);
    const Vec<T> factor = splat<T>(slope), term = splat<T>(step);
    do {
        __asm__ volatile("" : "+r"(rounds));  // keeps the loop a loop
#pragma GCC unroll 12
        for (int i = 0; i < chains; ++i) acc[i] = acc[i] * factor + term;
    } while (--rounds);
    Vec<T> sum = acc[0];
#pragma GCC unroll 12
    for (int i = 1; i < chains; ++i) sum += acc[i];
    volatile T keep = reduce_add<T>(sum);
    (void)keep;
    return 2.0 * chains * lanes<T>;
}

}  // namespace
}  // namespace closedform::CF_ISA
