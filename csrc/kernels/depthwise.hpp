// Depthwise convolution: groups == C == K, one filter a channel. Vectors run over the channels.
//
// There is little arithmetic to an element, so memory bounds it: the strips are those of the direct kernel,
// and a vector of the filter, loaded once, serves a few pixels.
#pragma once

#include "convolution_strips.hpp"
#include "convolution_weights.hpp"

namespace closedform::CF_ISA {
namespace {

inline bool is_depthwise(const Convolution& c) {
    return c.groups == c.C && c.C == c.K && c.C > 1;
}

// The walk of the first channel, widened to all: weights.in and weights.out no longer mean anything.
template <class T>
inline Walk<T> depthwise_walk(Walk<T> walk) {
    walk.C = walk.K = walk.x.pixel;
    return walk;
}

// P pixels of y, all channels: y = max(sum over taps of x * w + b, low). filters: b, then each tap, [1 +
// taps][row].
template <int P, class T>
inline void depthwise_pixels(const Pixel<T>* pixels, const ptrdiff_t* offsets, ptrdiff_t taps,
                             const T* filters, ptrdiff_t row, ptrdiff_t C, T low) {
    for (ptrdiff_t c = 0; c < C; c += lanes<T>) {
        const T* w = filters + c;
        const T* x[P];
        Vec<T> acc[P];
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) x[p] = pixels[p].patch + c, acc[p] = load<T>(w);
        ptrdiff_t t = 0;
        do {
            const Vec<T> tap = load<T>(w += row);
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p) acc[p] += tap * load<T>(x[p] + offsets[t]);
        } while (++t < taps);
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) {
            acc[p] = max(splat<T>(low), acc[p]);
            if (C - c >= lanes<T>)
                store<T>(pixels[p].y + c, acc[p]);
            else
                store_partial<T>(pixels[p].y + c, acc[p], C - c);
        }
    }
}

// Where each tap has its inputs in a strip.
template <class T>
inline void tap_offsets(const Strips<T>& strips, ptrdiff_t* offsets) {
    for (ptrdiff_t r = 0; r < strips.walk.h.taps; ++r)
        for (ptrdiff_t s = 0; s < strips.walk.w.taps; ++s) *offsets++ = strips.offset(r, s);
}

template <class T>
inline Strips<T> depthwise_strips(const Walk<T>& walk) {
    const ptrdiff_t tasks = larger(1, smaller(64, walk.flops() / walk.K / task_flops));
    return Strips<T>(walk, tasks, walk.C % lanes<T> == 0);  // whole vectors must not read beyond x
}

template <class T>
inline void depthwise(const Walk<T>& walk, const T* b, bool relu) {
    const ptrdiff_t C = walk.C, row = ceil_div(C, lanes<T>) * lanes<T>, taps = walk.h.taps * walk.w.taps;
    const Strips<T> strips = depthwise_strips(walk);
    Scratch padded((1 + taps) * row * sizeof(T)), list(taps * sizeof(ptrdiff_t));
    T* const filters = padded.as<T>();
    ptrdiff_t* const offsets = list.as<ptrdiff_t>();
    tap_offsets(strips, offsets);
    for (ptrdiff_t c = 0; c < row; ++c) filters[c] = b && c < C ? b[c] : T(0);
    for (ptrdiff_t t = 0; t < taps; ++t)
        for (ptrdiff_t c = 0; c < row; ++c)
            filters[(1 + t) * row + c] = c < C ? walk.weight(t / walk.w.taps, t % walk.w.taps)[c] : T(0);
    const T low = relu ? T(0) : -T(__builtin_huge_val());
    parallel_for(strips.count, [=, &strips](ptrdiff_t task) {
        Scratch strip((strips.size + lanes<T>)*sizeof(T)), pixels(strips.pixels * sizeof(Pixel<T>));
        const Pixel<T>* pixel = pixels.as<Pixel<T>>();
        ptrdiff_t left = strips.load(strip.as<T>(), pixels.as<Pixel<T>>(), task);
        constexpr int P = 6;  // pixels at a time
        for (; left >= P; left -= P, pixel += P)
            depthwise_pixels<P>(pixel, offsets, taps, filters, row, C, low);
        for (; left > 0; --left, ++pixel) depthwise_pixels<1>(pixel, offsets, taps, filters, row, C, low);
    });
}

// Steps in memory, in elements: from a row of taps to the next in the strip, from a tap to the next, and the
// same in the sums.
struct TapSteps {
    ptrdiff_t row, tap, sums_row, sums_tap;
};

// sums += sum over pixels of dy * x, for rows <= R by columns <= S taps and the n channels from c on.
template <int R, int S, class T>
CF_INLINE void correlate(ptrdiff_t rows, ptrdiff_t columns, const Pixel<T>* pixels, ptrdiff_t offset,
                         const T* dy, ptrdiff_t C, ptrdiff_t n, ptrdiff_t count, T* sums,
                         const TapSteps& steps) {
    if constexpr (R > 1)
        if (rows < R)
            return correlate<R - 1, S, T>(rows, columns, pixels, offset, dy, C, n, count, sums, steps);
    if constexpr (S > 1)
        if (columns < S)
            return correlate<R, S - 1, T>(rows, columns, pixels, offset, dy, C, n, count, sums, steps);
    const ptrdiff_t row = steps.row, tap = steps.tap;
    Vec<T> acc[R][S] = {};
    do {
        const Vec<T> g = n >= lanes<T> ? load<T>(dy) : load_partial<T>(dy, n);
        const T* const x = (pixels++)->patch + offset;
#pragma GCC unroll 3
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
            for (int s = 0; s < S; ++s) acc[r][s] += g * load<T>(x + r * row + s * tap);
        dy += C;
    } while (--count);
#pragma GCC unroll 3
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
        for (int s = 0; s < S; ++s) {
            T* const to = sums + r * steps.sums_row + s * steps.sums_tap;
            store<T>(to, load<T>(to) + acc[r][s]);
        }
}

// Every task adds up its strips in a slot of its own; the slots are added in order.
template <class T>
void depthwise_backward_weights(T* dw, const T* dy, const T* x, const Convolution& c) {
    constexpr int most = 3;  // rows and columns of taps at a time: 3 x 3 sums fit in 16 registers
    constexpr ptrdiff_t most_slots = 16;
    const Walk<T> walk = depthwise_walk(forward_walk<T>(dw, x, dw, c, 0));  // y is not written
    const ptrdiff_t C = c.C, row = ceil_div(C, lanes<T>) * lanes<T>, taps = walk.h.taps * walk.w.taps,
                    slot = taps * row;
    const Strips<T> strips = depthwise_strips(walk);
    const ptrdiff_t each = ceil_div(strips.count, most_slots), n_slots = ceil_div(strips.count, each);
    const TapSteps steps{strips.offset(1, 0), strips.offset(0, 1), walk.w.taps * row, row};
    Scratch partial(n_slots * slot * sizeof(T));
    T* const slots = partial.as<T>();
    parallel_for(n_slots, [=, &strips](ptrdiff_t task) {
        Scratch strip((strips.size + lanes<T>)*sizeof(T)), list(strips.pixels * sizeof(Pixel<T>));
        const Pixel<T>* const pixels = list.as<Pixel<T>>();
        T* const sums = slots + task * slot;
        for (ptrdiff_t i = 0; i < slot; ++i) sums[i] = T(0);
        for (ptrdiff_t i = task * each; i < smaller(strips.count, (task + 1) * each); ++i) {
            const ptrdiff_t count = strips.load(strip.as<T>(), list.as<Pixel<T>>(), i);
            const T* const g = dy + i * strips.rows * walk.w.out * C;
            for (ptrdiff_t k = 0; k < C; k += lanes<T>)
                for (ptrdiff_t r = 0; r < walk.h.taps; r += most)
                    for (ptrdiff_t q = 0; q < walk.w.taps; q += most)
                        correlate<most, most, T>(walk.h.taps - r, walk.w.taps - q, pixels,
                                                 strips.offset(r, q) + k, g + k, C, C - k, count,
                                                 sums + (r * walk.w.taps + q) * row + k, steps);
        }
    });
    add_slots(dw, C, slots, row, slot, n_slots, taps, C);
}

}  // namespace
}  // namespace closedform::CF_ISA
