// Pooling of images, channels last: what windows cover, and means over them. Maxima are in max_pooling.hpp.
#pragma once

#include "../core/gemm.hpp"
#include "../core/map.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

inline constexpr ptrdiff_t pooling_task = 1 << 15;  // taps of one task, about

struct Span {
    ptrdiff_t begin, end;
};

// The coordinates under window o, without padding. There is one at least: the binding sees to that.
CF_INLINE Span under(const Window& a, ptrdiff_t o) {
    const ptrdiff_t first = o * a.stride - a.pad;
    return {larger(0, first), smaller(a.in, first + a.taps)};
}

// The windows over coordinate i; there may be none.
CF_INLINE Span over(const Window& a, ptrdiff_t i) {
    const ptrdiff_t at = i + a.pad;
    return {at < a.taps ? 0 : (at - a.taps) / a.stride + 1, smaller(a.out, at / a.stride + 1)};
}

// f(first, end) for `rows` rows of images, some in one task; `cost` taps each.
template <class F>
inline void for_blocks_of_rows(ptrdiff_t rows, ptrdiff_t cost, const F& f) {
    const ptrdiff_t few = pooling_task / (cost + 1) + 1;
    parallel_for(ceil_div(rows, few),
                 [=](ptrdiff_t task) { f(task * few, smaller(rows, (task + 1) * few)); });
}

// y (N, to_h, to_w, C) = scale * the sum of x (N, from_h, from_w, C) over rows[i] and columns[j].
template <class T>
struct Sums {
    T* y;
    const T* x;
    ptrdiff_t C, to_h, to_w, from_h, from_w;
    const Span *rows, *columns;
    T scale;
};

// One pixel of y, S vectors of channels, of an image whose rows have W pixels of C channels.
template <int S, class T>
CF_INLINE void sum_pixel(T* y, const T* image, Span h, Span w, ptrdiff_t W, ptrdiff_t C, T scale) {
    Vec<T> sum[S] = {};
    if (h.begin < h.end && w.begin < w.end) {
        ptrdiff_t i = h.begin;
        do {
            const T *p = image + (i * W + w.begin) * C, *const last = image + (i * W + w.end) * C;
            do {
#pragma GCC unroll 8
                for (int v = 0; v < S; ++v) sum[v] += load<T>(p + v * lanes<T>);
            } while ((p += C) < last);
        } while (++i < h.end);
    }
#pragma GCC unroll 8
    for (int v = 0; v < S; ++v) store<T>(y + v * lanes<T>, sum[v] * splat(scale));
}

// C at least a vector; the last vector may overlap the one before it, and finds the same.
template <class T>
inline void sum_channels(const Sums<T>& s, ptrdiff_t first, ptrdiff_t end) {
    constexpr ptrdiff_t L = lanes<T>, S = 4;
    const ptrdiff_t W = s.from_w, C = s.C;
    for (ptrdiff_t r = first; r < end; ++r) {
        const T* const image = s.x + r / s.to_h * s.from_h * W * C;
        const Span h = s.rows[r % s.to_h];
        for (ptrdiff_t j = 0; j < s.to_w; ++j) {
            const Span w = s.columns[j];
            T* const y = s.y + (r * s.to_w + j) * C;
            ptrdiff_t c = 0;
            for (; c + S * L <= C; c += S * L) sum_pixel<S, T>(y + c, image + c, h, w, W, C, s.scale);
            for (; c < C; c += L) {
                const ptrdiff_t k = smaller(c, C - L);
                sum_pixel<1, T>(y + k, image + k, h, w, W, C, s.scale);
            }
        }
    }
}

// to[k] += from[k], k < n
template <class T>
CF_INLINE void add_row(T* __restrict to, const T* __restrict from, ptrdiff_t n) {
    for (ptrdiff_t k = 0; k < n; ++k) to[k] += from[k];
}

// C less than a vector: first over rows, whose elements lie side by side.
template <class T>
inline void sum_rows(const Sums<T>& s, ptrdiff_t first, ptrdiff_t end) {
    const ptrdiff_t C = s.C, n = s.from_w * C;
    const Scratch scratch(n * sizeof(T));
    T* const row = scratch.as<T>();
    for (ptrdiff_t r = first; r < end; ++r) {
        const Span h = s.rows[r % s.to_h];
        for (ptrdiff_t k = 0; k < n; ++k) row[k] = 0;
        for (ptrdiff_t i = h.begin; i < h.end; ++i) add_row(row, s.x + (r / s.to_h * s.from_h + i) * n, n);
        for (ptrdiff_t j = 0; j < s.to_w; ++j)
            for (ptrdiff_t c = 0; c < C; ++c) {
                T sum = 0;
                for (ptrdiff_t k = s.columns[j].begin; k < s.columns[j].end; ++k) sum += row[k * C + c];
                s.y[(r * s.to_w + j) * C + c] = sum * s.scale;
            }
    }
}

template <class T>
inline void sum_rectangles(const Sums<T>& s, ptrdiff_t N, ptrdiff_t cost) {
    for_blocks_of_rows(N * s.to_h, s.to_w * s.C * cost, [=](ptrdiff_t first, ptrdiff_t end) {
        s.C < lanes<T> ? sum_rows(s, first, end) : sum_channels(s, first, end);
    });
}

template <class T>
void avg_pool2d(T* y, const T* x, Pooling p) {
    const Scratch scratch((p.h.out + p.w.out) * sizeof(Span));
    Span *const rows = scratch.as<Span>(), *const columns = rows + p.h.out;
    for (ptrdiff_t i = 0; i < p.h.out; ++i) rows[i] = under(p.h, i);
    for (ptrdiff_t j = 0; j < p.w.out; ++j) columns[j] = under(p.w, j);
    const ptrdiff_t cost = smaller(p.h.taps, p.h.in) * smaller(p.w.taps, p.w.in);
    const T scale = 1 / T(p.h.taps * p.w.taps);
    sum_rectangles<T>({y, x, p.C, p.h.out, p.w.out, p.h.in, p.w.in, rows, columns, scale}, p.N, cost);
}

// A pixel receives its share from every window over it.
template <class T>
void avg_pool2d_backward(T* dx, const T* dy, Pooling p) {
    const Scratch scratch((p.h.in + p.w.in) * sizeof(Span));
    Span *const rows = scratch.as<Span>(), *const columns = rows + p.h.in;
    for (ptrdiff_t i = 0; i < p.h.in; ++i) rows[i] = over(p.h, i);
    for (ptrdiff_t j = 0; j < p.w.in; ++j) columns[j] = over(p.w, j);
    const T scale = 1 / T(p.h.taps * p.w.taps);
    sum_rectangles<T>({dx, dy, p.C, p.h.in, p.w.in, p.h.out, p.w.out, rows, columns, scale}, p.N, 1);
}

}  // namespace
}  // namespace closedform::CF_ISA
