// Elementwise loops and reductions, cut in blocks of a fixed size.
#pragma once

#include "arena.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace closedform::CF_ISA {
namespace {

// Elements a task of an elementwise loop handles: some 10 us of work, well above the cost of handing it out.
inline constexpr ptrdiff_t elementwise_block = 1 << 15;

// y[i] = f(inputs[i]...) for i in [0, n), by vectors; the last, partial one is padded with zeros.
template <class T, class F, class... Inputs>
inline void map(ptrdiff_t n, T* y, const F& f, const Inputs*... inputs) {
    parallel_for((n + elementwise_block - 1) / elementwise_block, [=](ptrdiff_t task) {
        ptrdiff_t i = task * elementwise_block;
        const ptrdiff_t end = n - i < elementwise_block ? n : i + elementwise_block;
        for (; i + lanes<T> <= end; i += lanes<T>) store<T>(y + i, f(load<T>(inputs + i)...));
        if (i < end) store_partial<T>(y + i, f(load_partial<T>(inputs + i, end - i)...), end - i);
    });
}

// A sum that stays accurate over long runs: lanes of T for a short stretch, then double, compensated (Kahan,
// Further remarks on reducing truncation errors, 1965).
template <class T>
struct Sum {
    double total = 0, excess = 0;  // excess: what rounding added to total
    Vec<T> partial{};
    ptrdiff_t pending = 0;

    CF_INLINE void add(Vec<T> v) {
        partial += v;
        if (++pending == 64) flush();
    }
    CF_INLINE void flush() {
        const double term = double(reduce_add<T>(partial)) - excess, next = total + term;
        excess = next - next == 0 ? (next - total) - term : 0;  // not once the sum is infinite
        total = next;
        partial = Vec<T>{};
        pending = 0;
    }
    CF_INLINE double value() {
        flush();
        return total;
    }
};

// sum of f(inputs[i]...): one slot a block, the slots added in order.
template <class T, class F, class... Inputs>
inline double map_sum(ptrdiff_t n, const F& f, const Inputs*... inputs) {
    const ptrdiff_t blocks = (n + elementwise_block - 1) / elementwise_block;
    Scratch scratch((blocks + 1) * sizeof(double));
    double* const slots = scratch.as<double>();
    parallel_for(blocks, [=](ptrdiff_t task) {
        ptrdiff_t i = task * elementwise_block;
        const ptrdiff_t end = n - i < elementwise_block ? n : i + elementwise_block;
        Sum<T> sum;
        for (; i + lanes<T> <= end; i += lanes<T>) sum.add(f(load<T>(inputs + i)...));
        if (i < end)  // whatever f gives for the padding, it does not count
            sum.add(first_lanes<T>(f(load_partial<T>(inputs + i, end - i)...), end - i));
        slots[task] = sum.value();
    });
    double total = 0;
    for (ptrdiff_t task = 0; task < blocks; ++task) total += slots[task];
    return total;
}

}  // namespace
}  // namespace closedform::CF_ISA
