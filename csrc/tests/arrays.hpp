// Arrays of random numbers for the tests of kernels.
//
// They are blocks of exactly their size, so that the address sanitizer sees a read or write beside them.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>

#include "check.hpp"
#include "core/isa.hpp"
#include "kernels/table.hpp"

namespace closedform {

template <class T>
const Kernels<T>& table() {
    if constexpr (sizeof(T) == 4)
        return kernels().f32;
    else
        return kernels().f64;
}

// n numbers on the heap: small integers, whose products and sums are exact, or fractions in (-1, 1).
template <class T>
struct Array {
    ptrdiff_t n;
    std::unique_ptr<T[]> data;
    explicit Array(ptrdiff_t n, T value = T(0)) : n(n), data(new T[std::size_t(n)]) {
        for (ptrdiff_t i = 0; i < n; ++i) data[std::size_t(i)] = value;
    }
    T& operator[](ptrdiff_t i) const { return data[std::size_t(i)]; }
    T* get() const { return data.get(); }
};

inline std::uint32_t state = 1;

inline int random_below(int n) {
    state = state * 1664525u + 1013904223u;
    return int((state >> 8) % std::uint32_t(n));
}

template <class T>
Array<T> integers(ptrdiff_t n) {
    Array<T> a(n);
    for (ptrdiff_t i = 0; i < n; ++i) a[i] = T(random_below(9) - 4);
    return a;
}

template <class T>
Array<T> fractions(ptrdiff_t n) {
    Array<T> a(n);
    for (ptrdiff_t i = 0; i < n; ++i) a[i] = T(random_below(2001) - 1000) / T(1001);
    return a;
}

template <class T>
bool close(double found, double expected, double scale = 1) {
    const double eps = sizeof(T) == 4 ? 1.2e-7 : 2.3e-16;
    return std::fabs(found - expected) <= 32 * eps * (std::fabs(expected) + scale);
}

// test() with every ISA of this machine; the exit status of the program.
template <class F>
int on_every_isa(const F& test) {
    int n = 0;
    const char* const* names = available_isas(&n);
    for (int i = 0; i < n; ++i) {
        if (!select_isa(names[i])) return 1;
        test();
        std::printf("%s: %d failed so far\n", names[i], failures.load());
    }
    return failures == 0 ? 0 : 1;
}

}  // namespace closedform
