// Depthwise convolution: groups == C == K, one filter a channel. x (N, H, W, C), w (R, S, 1, C), y (N, OH,
// OW, C).
//
// There is little arithmetic to an element, so memory bounds it. Vectors run over the channels within a few
// pixels at a time: so memory is read line after line. Every cut depends on the problem alone, so the bits do
// not depend on the number of threads.
#pragma once

#include "depthwise_geometry.hpp"

namespace closedform::CF_ISA {
namespace {

inline bool is_depthwise(const Convolution& c) {
    return c.groups == c.C && c.C == c.K && c.C > 1;
}

// f<R, K>() with R = rows <= MR and K = columns <= MK.
template <int MR, int MK, class F>
CF_INLINE void with_taps(ptrdiff_t rows, ptrdiff_t columns, const F& f) {
    if constexpr (MR > 1)
        if (rows < MR) return with_taps<MR - 1, MK>(rows, columns, f);
    if constexpr (MK > 1)
        if (columns < MK) return with_taps<MR, MK - 1>(rows, columns, f);
    f.template operator()<MR, MK>();
}

// For each vector of channels its bias, or zeros, and its taps. The last vector ends with the last channel:
// it may overlap the one before it. With fewer channels than lanes there is one vector, filled up with zeros.
template <class T>
class Filters {
  public:
    const ptrdiff_t taps, size;  // size: of a vector's bias and taps

    Filters(const T* w, const T* b, ptrdiff_t taps_, ptrdiff_t C)
        : taps(taps_), size((1 + taps) * lanes<T>), memory(ceil_div(C, lanes<T>) * size * sizeof(T)) {
        T* to = memory.as<T>();
        for (ptrdiff_t j = 0; j < C; j += lanes<T>)
            for (ptrdiff_t t = -1; t < taps; ++t, to += lanes<T>) {
                const T* const from = t < 0 ? b : w + t * C;
                const ptrdiff_t c = larger(0, smaller(j, C - lanes<T>));
                store<T>(to, from ? load_partial<T>(from + c, smaller(C, lanes<T>)) : Vec<T>{});
            }
    }

    CF_INLINE const T* bias() const { return memory.as<T>(); }
    CF_INLINE const T* tap(ptrdiff_t t) const { return memory.as<T>() + (1 + t) * lanes<T>; }

  private:
    const Scratch memory;
};

// Which lanes are `first` or beyond.
template <class T>
CF_INLINE Int<T> lanes_from(ptrdiff_t first) {
    using I = typename vector_traits<T>::integer;
    Int<T> lane;
    for (ptrdiff_t i = 0; i < lanes<T>; ++i) lane[i] = I(i);
    return lane >= splat_int<T>(I(first));
}

// Distances in memory: from a pixel of x or y to the next, from a tap to the next in its row or to the next
// row, in x and in the filter, and from a filter to that of the next channels.
struct Distances {
    ptrdiff_t x_pixel, y_pixel, x_row, w_row, w_tap, filter;
};

// y = bias (null: y) + sum over R x K taps of w * x, for n pixels, P at a time, all C >= lanes channels; then
// clipped at 0, if `relu`. For one pixel of y a tap reads what the tap before it reads for the next: it is
// loaded once.
template <int P, int R, int K, class T>
__attribute__((noinline)) void gather_pixels(ptrdiff_t n, T* y, const T* x, const T* w, const T* bias,
                                             const Distances& distances, ptrdiff_t C, bool relu) {
    const auto [x_pixel, y_pixel, x_row, w_row, w_tap, filter] = distances;
    const Int<T> unfinished =
        lanes_from<T>(C % lanes<T> ? lanes<T> - C % lanes<T> : 0);  // in the last vector
    for (; n >= P; n -= P) {
        ptrdiff_t v = 0;  // where the filter of these channels begins
        for (ptrdiff_t j = 0; j < C; j += lanes<T>, v += filter) {
            const ptrdiff_t c = smaller(j, C - lanes<T>);
            Vec<T> acc[P];
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p) acc[p] = load<T>(bias ? bias + v : y + p * y_pixel + c);
            const T *x_at = x + c, *w_at = w + v;
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                Vec<T> weight[K];
#pragma GCC unroll 8
                for (int k = 0; k < K; ++k) weight[k] = load<T>(w_at + k * w_tap);
#pragma GCC unroll 16
                for (int q = 0; q < P + K - 1; ++q) {
                    const Vec<T> value = load<T>(x_at + q * x_pixel);
#pragma GCC unroll 8
                    for (int k = 0; k < K; ++k)
                        if (q >= k && q < k + P) acc[q - k] += value * weight[k];
                }
                x_at += x_row;
                w_at += w_row;
            }
            if (relu)
#pragma GCC unroll 8
                for (int p = 0; p < P; ++p) acc[p] = max(Vec<T>{}, acc[p]);
            if (c < j && !bias)  // what the vector before this one has added to y, must not be added twice
#pragma GCC unroll 8
                for (int p = 0; p < P; ++p) acc[p] = select(unfinished, acc[p], load<T>(y + p * y_pixel + c));
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p) store<T>(y + p * y_pixel + c, acc[p]);
        }
        x += P * x_pixel;
        y += P * y_pixel;
    }
}

// Any number of pixels.
template <int R, int K, class T>
CF_INLINE void gather_run(ptrdiff_t n, T* y, const T* x, const T* w, const T* bias, const Distances& d,
                          ptrdiff_t C, bool relu) {
    constexpr int P = 4;  // with K sums and as many weights fewer than 16 registers
    const ptrdiff_t whole = n / P * P;
    if (whole > 0) gather_pixels<P, R, K, T>(whole, y, x, w, bias, d, C, relu);
    if (whole < n)
        gather_pixels<1, R, K, T>(n - whole, y + whole * d.y_pixel, x + whole * d.x_pixel, w, bias, d, C,
                                  relu);
}

// Forward: y = bias + taps on x. Backward: the same of dx and dy, by phases.
template <class T>
struct Gather {
    Phases h, w;
    ptrdiff_t S, C;  // columns of the filter
    const Filters<T>& filters;
    bool relu;

    static constexpr ptrdiff_t L = lanes<T>;
    ptrdiff_t full() const { return larger(C, L); }

    // The pixels j of one row and one phase a, b; output o of the row.
    void run(T* y, ptrdiff_t y_pixel, const PixelRows<T>& x, const Axis& a, ptrdiff_t o, const Axis& b,
             Range columns) const {
        constexpr ptrdiff_t row_group = 3;
        const ptrdiff_t tap_group = b.step == b.stride ? 5 : 1;  // taps that share what they load
        const Distances distances{b.stride * x.pixel,    y_pixel,           a.step * x.row,
                                  a.weight_step * S * L, b.weight_step * L, filters.size};
        const Range rows = taps_inside(a, o);
        for_runs(b, columns, b.out, [&](Range j, Range taps) {
            const T* bias = filters.bias();
            for (ptrdiff_t r = rows.begin; r < rows.end; r += row_group)
                for (ptrdiff_t s = taps.begin; s < taps.end; s += tap_group) {
                    const bool last = r + row_group >= rows.end && s + tap_group >= taps.end;
                    const T* const from = x.at(a.first_in + o * a.stride + r * a.step,
                                               b.first_in + j.begin * b.stride + s * b.step);
                    const T* const tap = filters.tap((a.first_weight + r * a.weight_step) * S +
                                                     b.first_weight + s * b.weight_step);
                    with_taps<row_group, 5>(
                        rows.end - r, smaller(tap_group, taps.end - s), [&]<int MR, int MK>() {
                            gather_run<MR, MK, T>(j.size(), y + j.begin * y_pixel, from, tap, bias, distances,
                                                  full(), relu && last);
                        });
                    bias = nullptr;
                }
            if (bias) fill(y + j.begin * y_pixel, y_pixel, j.size());
        });
    }

    // n pixels that no tap reaches
    void fill(T* y, ptrdiff_t y_pixel, ptrdiff_t n) const {
        for (ptrdiff_t k = 0; k < n; ++k)
            for (ptrdiff_t j = 0; j < full(); j += L) {
                const Vec<T> bias = load<T>(filters.bias() + j / L * filters.size);
                store<T>(y + k * y_pixel + smaller(j, full() - L), relu ? max(Vec<T>{}, bias) : bias);
            }
    }

    void operator()(T* y, const T* x, ptrdiff_t N, ptrdiff_t H, ptrdiff_t W) const {
        const ptrdiff_t flops = larger(1, 2 * filters.taps * full() / (h.n * w.n));
        const PixelBlocks blocks(N, H, W, flops, w.n, N * H * W);
        blocks.for_blocks([&](ptrdiff_t, ptrdiff_t n, Range rows, Range columns) {
            const PixelRows<T> from(x + n * h.in() * w.in() * C, h.reads(rows), w.reads(columns), w.in(), C);
            const Scratch padded(C < L ? columns.size() * L * sizeof(T) : 0);
            for (ptrdiff_t i = rows.begin; i < rows.end; ++i) {
                T* const y_row = y + ((n * H + i) * W + columns.begin) * C;
                T* const to = C < L ? padded.as<T>() : y_row;
                const ptrdiff_t first = columns.begin / w.n;
                for (ptrdiff_t p = 0; p < w.n; ++p)
                    run(to + (p - first * w.n) * full(), w.n * full(), from, h.of(i), i / h.n, w.of(p),
                        {first, smaller(w.of(p).out, ceil_div(columns.end, w.n))});
                if (C < L) compact(y_row, to, columns.size());
            }
        });
    }

    void compact(T* y, const T* padded, ptrdiff_t n) const {
        for (ptrdiff_t k = 0; k < n; ++k)
            for (ptrdiff_t c = 0; c < C; ++c) y[k * C + c] = padded[k * L + c];
    }
};

// y = sum over taps of w * x + b, clipped at 0 if `relu`
template <class T>
void depthwise(T* y, const T* x, const T* w, const T* b, const Convolution& c, bool relu) {
    const Axis h = forward_axis(c.h), v = forward_axis(c.w);
    const Filters<T> filters(w, b, c.h.taps * c.w.taps, c.C);
    Gather<T>{{&h, 1}, {&v, 1}, c.w.taps, c.C, filters, relu}(y, x, c.N, c.h.out, c.w.out);
}

template <class T>
void depthwise_backward_data(T* dx, const T* dy, const T* w, const Convolution& c) {
    const ptrdiff_t n_h = phases(c.h), n_w = phases(c.w);
    const Scratch memory((n_h + n_w) * sizeof(Axis));
    Axis *const h = memory.as<Axis>(), *const v = h + n_h;
    for (ptrdiff_t p = 0; p < n_h; ++p) h[p] = backward_axis(c.h, p);
    for (ptrdiff_t p = 0; p < n_w; ++p) v[p] = backward_axis(c.w, p);
    const Filters<T> filters(w, nullptr, c.h.taps * c.w.taps, c.C);
    Gather<T>{{h, n_h}, {v, n_w}, c.w.taps, c.C, filters, false}(dx, dy, c.N, c.h.in, c.w.in);
}

}  // namespace
}  // namespace closedform::CF_ISA
