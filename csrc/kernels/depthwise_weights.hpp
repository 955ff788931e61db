// The gradients of a depthwise convolution's filters and biases: sums over all pixels, of dy * x for each
// tap.
//
// Tasks add up blocks of pixels in slots of their own, and the slots are added in order.
#pragma once

#include "depthwise.hpp"

namespace closedform::CF_ISA {
namespace {

// sums += sum over n pixels of dy * x for R x K taps, all C >= lanes channels; total, unless null, += sum of
// dy. In `sums` and `total` the next vector of channels lies `filter` further.
template <int R, int K, class T>
__attribute__((noinline)) void correlate(T* sums, T* total, const T* dy, const T* x, ptrdiff_t n, ptrdiff_t C,
                                         ptrdiff_t x_tap, const Distances& distances) {
    const auto [x_pixel, y_pixel, x_row, w_row, w_tap, filter] = distances;
    for (ptrdiff_t j = 0; j < C; j += lanes<T>) {
        const ptrdiff_t c = smaller(j, C - lanes<T>);
        Vec<T> acc[R][K] = {}, all{};
        const T *y_at = dy + c, *x_at = x + c;
        ptrdiff_t left = n;
        do {
            const Vec<T> g = load<T>(y_at);
            all += g;
#pragma GCC unroll 3
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
                for (int k = 0; k < K; ++k) acc[r][k] += g * load<T>(x_at + r * x_row + k * x_tap);
            y_at += y_pixel;
            x_at += x_pixel;
        } while (--left);
#pragma GCC unroll 3
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
            for (int k = 0; k < K; ++k) {
                T* const to = sums + r * w_row + k * w_tap;
                store<T>(to, load<T>(to) + acc[r][k]);
            }
        if (total) {
            store<T>(total, load<T>(total) + all);
            total += filter;
        }
        sums += filter;
    }
}

template <class T>
struct DepthwiseGradient {
    Convolution c;
    Axis h, w;
    ptrdiff_t taps, filter, slot;  // filter: bias and taps of a vector of channels, as in Filters

    static constexpr ptrdiff_t L = lanes<T>;

    explicit DepthwiseGradient(const Convolution& c_)
        : c(c_),
          h(forward_axis(c.h)),
          w(forward_axis(c.w)),
          taps(c.h.taps * c.w.taps),
          filter((1 + taps) * L),
          slot(ceil_div(c.C, L) * filter) {}

    // sums (slot) += those of a block
    void add(T* sums, const T* dy, const T* x, Range rows, Range columns) const {
        constexpr ptrdiff_t group = 3;                // 3 x 3 sums fit in 16 registers
        const ptrdiff_t most = larger(7, 512 / c.C);  // pixels of a run: what they read stays in L1
        const PixelRows<T> xs(x, Phases{&h, 1}.reads(rows), Phases{&w, 1}.reads(columns), w.in, c.C);
        const PixelRows<T> dys(dy, rows, columns, w.out, c.C);
        const Distances distances{w.stride * xs.pixel, dys.pixel, h.step * xs.row, w.taps * L, L, filter};
        for (ptrdiff_t i = rows.begin; i < rows.end; ++i) {
            const Range inside = taps_inside(h, i);
            for_runs(w, columns, most, [&](Range j, Range t) {
                T* total = sums;
                for (ptrdiff_t r = inside.begin; r < inside.end; r += group)
                    for (ptrdiff_t s = t.begin; s < t.end; s += group) {
                        const T* const from = xs.at(h.first_in + i * h.stride + r * h.step,
                                                    w.first_in + j.begin * w.stride + s * w.step);
                        with_taps<group, group>(inside.end - r, t.end - s, [&]<int R, int K>() {
                            correlate<R, K, T>(sums + (1 + r * w.taps + s) * L, total, dys.at(i, j.begin),
                                               from, j.size(), larger(c.C, L), w.step * xs.pixel, distances);
                        });
                        total = nullptr;
                    }
                if (total) add_unread(total, dys.at(i, j.begin), dys.pixel, j.size());
            });
        }
    }

    // dy of n pixels that no tap reached: they count for the bias
    void add_unread(T* total, const T* dy, ptrdiff_t pixel, ptrdiff_t n) const {
        for (ptrdiff_t k = 0; k < n; ++k)
            for (ptrdiff_t j = 0; j < c.C; j += L) {
                T* const to = total + j / L * filter;
                store<T>(to, load<T>(to) + load<T>(dy + k * pixel + larger(0, smaller(j, c.C - L))));
            }
    }

    void put(T* dw, T* db, const T* sums) const {
        const ptrdiff_t n = smaller(L, c.C);
        for (ptrdiff_t j = 0; j < c.C; j += L, sums += filter) {
            const ptrdiff_t k = larger(0, smaller(j, c.C - L));
            if (db) store_partial<T>(db + k, load<T>(sums), n);
            for (ptrdiff_t t = 0; t < taps; ++t)
                store_partial<T>(dw + t * c.C + k, load<T>(sums + (1 + t) * L), n);
        }
    }
};

// dw (R, S, 1, C) and, unless it is null, db (C,)
template <class T>
void depthwise_backward_weights(T* dw, T* db, const T* dy, const T* x, const Convolution& c) {
    const DepthwiseGradient<T> gradient(c);
    const ptrdiff_t pixels = c.N * c.h.out * c.w.out, slot = gradient.slot;
    // slots: no more memory than a part of dy
    const ptrdiff_t most_tasks = larger(1, smaller(64, pixels / (4 * (1 + gradient.taps))));
    const PixelBlocks blocks(c.N, c.h.out, c.w.out, 2 * gradient.taps * larger(c.C, lanes<T>), 1, most_tasks);
    const Scratch memory(blocks.tasks() * slot * sizeof(T));
    T* const slots = memory.as<T>();
    __builtin_memset(slots, 0, blocks.tasks() * slot * sizeof(T));
    blocks.for_blocks([&](ptrdiff_t task, ptrdiff_t n, Range rows, Range columns) {
        gradient.add(slots + task * slot, dy + n * c.h.out * c.w.out * c.C, x + n * c.h.in * c.w.in * c.C,
                     rows, columns);
    });
    for (ptrdiff_t task = 1; task < blocks.tasks(); ++task)
        for (ptrdiff_t k = 0; k < slot; k += lanes<T>)
            store<T>(slots + k, load<T>(slots + k) + load<T>(slots + task * slot + k));
    gradient.put(dw, db, slots);
}

}  // namespace
}  // namespace closedform::CF_ISA
