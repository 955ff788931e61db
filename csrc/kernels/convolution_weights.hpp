// The gradients of conv2d with respect to its weights and bias.
//
// dw (R * S * C, K) is a product too: k runs over the pixels of y, the rows of the left factor are the inputs
// under each tap. A strip of x is packed in panels of MR channels, the same strip of dy in panels of NR;
// every tap then reads the same panel of x, shifted: `offsets` says where each pixel's window begins.
#pragma once

#include "convolution_walk.hpp"

namespace closedform::CF_ISA {
namespace {

// Rows of a tile: MR consecutive elements at the begin of every pixel's window, pixel after pixel.
template <class T>
struct WindowRows {
    const T* p;
    const ptrdiff_t* offset;
    CF_INLINE T operator()(int r) const { return p[*offset + r]; }
    CF_INLINE void next() { ++offset; }
};

// A row of ones: the product with it sums dy over the pixels, which is db.
template <class T>
struct Ones {
    CF_INLINE T operator()(int) const { return T(1); }
    CF_INLINE void next() {}
};

inline constexpr ptrdiff_t block_pixels = 256;       // k of a product: the panels of x and dy stay in L1
inline constexpr ptrdiff_t panel_bytes = 16 << 10;   // of a panel of x
inline constexpr ptrdiff_t partial_bytes = 4 << 20;  // of partial sums of dw, in all
inline constexpr ptrdiff_t merged_channels = 16;  // up to here a panel is one pixel, and its rows are (s, c)

// Where sums of products go: rows of dw lie `row` apart; db is null if it is not wanted.
template <class T>
struct WeightSums {
    T *dw, *db;
    ptrdiff_t row;
};

// The gradient of one group. A task has a range of panels of x, and a chunk of the rows of y whose sums go to
// a slot of its own: slots are added in order, so the bits do not depend on the number of threads.
template <class T>
struct WeightGradient {
    static constexpr ptrdiff_t NR = tile_columns<T>, MR = tile_rows;
    ptrdiff_t N, C, K;
    Axis h, w;  // with the taps that meet pixels
    ptrdiff_t all_taps_w;
    Images<const T> x, dy;
    bool merged;
    ptrdiff_t panel, panels;  // channels in a panel of x, and their number
    ptrdiff_t columns, rows;  // of x in a strip, of y in a strip
    ptrdiff_t chunk_rows, chunks, range_panels, ranges;

    WeightGradient(const Convolution& c, const T* x_, const T* dy_, ptrdiff_t g)
        : N(c.N),
          C(c.C / c.groups),
          K(c.K / c.groups),
          h(trimmed(forward_axis(c.h))),
          w(trimmed(forward_axis(c.w))),
          all_taps_w(c.w.taps),
          x(group_of_input(x_, c, g)),
          dy(group_of_output(dy_, c, g)) {
        merged = C <= merged_channels && w.step == 1;
        panel = merged ? C : MR;
        panels = ceil_div(C, panel);
        columns = w.span(w.out);
        constexpr ptrdiff_t item = sizeof(T);
        const ptrdiff_t total = N * h.out, flops = 2 * total * w.out * h.taps * w.taps * C * K;
        const ptrdiff_t tasks = smaller(16, 1 + flops / (4 * task_flops));
        const ptrdiff_t row_bytes = h.stride * columns * panel * item;
        const ptrdiff_t most_rows = larger(1, smaller(block_pixels / w.out, panel_bytes / row_bytes));
        const ptrdiff_t dw_bytes = c.h.taps * c.w.taps * C * K * item;
        const ptrdiff_t most_chunks =
            smaller(ceil_div(total, most_rows), larger(1, partial_bytes / dw_bytes));
        chunk_rows = ceil_div(total, smaller(tasks, most_chunks));
        chunks = ceil_div(total, chunk_rows);
        rows = ceil_div(chunk_rows, ceil_div(chunk_rows, most_rows));
        range_panels = ceil_div(panels, smaller(panels, ceil_div(tasks, chunks)));
        ranges = ceil_div(panels, range_panels);
    }

    // Row of dw of tap (r, s) and channel c.
    ptrdiff_t dw_row(ptrdiff_t r, ptrdiff_t s, ptrdiff_t c) const {
        return ((h.first_weight + r) * all_taps_w + w.first_weight + s) * C + c;
    }

    ptrdiff_t images() const { return smaller(N, rows / h.out + 2); }  // that a strip can touch
    ptrdiff_t strip_rows() const {
        return smaller(images() * h.span(h.out), rows * h.stride + images() * h.reach());
    }

    // Rows [t0, t1) of y: packs the inputs of panels [p0, p1), each [strip_rows][columns][panel], zeros in
    // the padding, and says where the window of each pixel begins.
    void load(T* strip, ptrdiff_t* offsets, ptrdiff_t t0, ptrdiff_t t1, ptrdiff_t p0, ptrdiff_t p1) const {
        const ptrdiff_t size = strip_rows() * columns * panel, row = columns * panel;
        ptrdiff_t base = 0;
        for (ptrdiff_t t = t0; t < t1;) {
            const ptrdiff_t n = t / h.out, o = t % h.out, count = smaller(t1 - t, h.out - o);
            for (ptrdiff_t i = 0; i < h.span(count); ++i)
                load_row(strip + base + i * row, size, n, h.first_in + o * h.stride + i, p0, p1);
            for (ptrdiff_t i = 0; i < count; ++i)
                for (ptrdiff_t q = 0; q < w.out; ++q)
                    *offsets++ = base + i * h.stride * row + q * w.stride * panel;
            base += h.span(count) * row;
            t += count;
        }
    }

    // Row i of image n, into the same row of all panels.
    void load_row(T* to, ptrdiff_t size, ptrdiff_t n, ptrdiff_t i, ptrdiff_t p0, ptrdiff_t p1) const {
        const auto [begin, end] =
            i >= 0 && i < h.in ? inside(w.first_in, columns, w.in) : Range{columns, columns};
        for (ptrdiff_t p = p0; p < p1; ++p) {
            T* const row = to + (p - p0) * size;
            for (ptrdiff_t c = 0; c < begin * panel; ++c) row[c] = T(0);
            for (ptrdiff_t c = end * panel; c < columns * panel; ++c) row[c] = T(0);
        }
        const T* from = x.p + n * x.image + i * x.row + (w.first_in + begin) * x.pixel;
        if (merged && x.pixel == C) {
            __builtin_memcpy(to + begin * C, from, (end - begin) * C * sizeof(T));
            return;
        }
        const ptrdiff_t whole = merged ? p0 : larger(p0, smaller(p1, C / MR));
        for (ptrdiff_t q = begin; q < end; ++q, from += x.pixel) {
            T* pixel = to + q * panel;
            for (ptrdiff_t p = p0; p < whole; ++p, pixel += size)
                __builtin_memcpy(pixel, from + p * MR, MR * sizeof(T));
            for (ptrdiff_t p = whole; p < p1; ++p, pixel += size)
                for (ptrdiff_t c = 0; c < smaller(panel, C - p * panel); ++c) pixel[c] = from[p * panel + c];
        }
    }

    // dw[:, j:j+n] += the strip's share, from one panel of x and one of dy, pixels [q, q + count).
    void multiply(const T* strip, const ptrdiff_t* offsets, ptrdiff_t count, const T* b,
                  const Output<T, AddBias<T>>& out, ptrdiff_t p, ptrdiff_t j) const {
        const ptrdiff_t live = smaller(panel, C - p * panel);
        const ptrdiff_t length = merged ? w.taps * C : live, taps = merged ? 1 : w.taps;
        const ptrdiff_t m = piece(length, ceil_div(length, MR), 1);
        for (ptrdiff_t r = 0; r < h.taps; ++r)
            for (ptrdiff_t s = 0; s < taps; ++s) {
                const T* tap = strip + (r * h.step * columns + s * w.step) * panel;
                for (ptrdiff_t i = 0; i < length; i += m)
                    tile_of<tile_rows, tile_vectors, T>(smaller(m, length - i), count,
                                                        WindowRows<T>{tap + i, offsets}, b, NR, out,
                                                        dw_row(r, s, p * panel + i), j, smaller(NR, K - j));
            }
    }

    // A chunk's rows of y and a range's panels of x: their share of dw and, with the first panel, of db.
    void task(const WeightSums<T>& sums, ptrdiff_t chunk, ptrdiff_t range) const {
        const ptrdiff_t t0 = chunk * chunk_rows, t1 = smaller(N * h.out, t0 + chunk_rows);
        const ptrdiff_t p0 = range * range_panels, p1 = smaller(panels, p0 + range_panels);
        const ptrdiff_t size = strip_rows() * columns * panel, pixels = rows * w.out;
        Scratch x_strip((p1 - p0) * size * sizeof(T)), dy_panel(block_pixels * NR * sizeof(T)),
            where(pixels * sizeof(ptrdiff_t));
        T *const strip = x_strip.as<T>(), *const b = dy_panel.as<T>();
        ptrdiff_t* const offsets = where.as<ptrdiff_t>();
        for (ptrdiff_t t = t0; t < t1; t += rows) {
            const ptrdiff_t end = smaller(t1, t + rows), count = (end - t) * w.out;
            load(strip, offsets, t, end, p0, p1);
            for (ptrdiff_t q = 0; q < count; q += block_pixels)
                for (ptrdiff_t j = 0; j < K; j += NR) {
                    const ptrdiff_t kc = smaller(block_pixels, count - q), n = smaller(NR, K - j);
                    const bool first = t == t0 && q == 0;
                    pack_panel<NR, T>(kc, n, {dy.p + (t * w.out + q) * dy.pixel + j, dy.pixel, 1}, b);
                    for (ptrdiff_t p = p0; p < p1; ++p)
                        multiply(strip + (p - p0) * size, offsets + q, kc, b,
                                 {sums.dw, sums.row, {nullptr}, first, true}, p, j);
                    if (sums.db && p0 == 0)
                        tile_of<1, tile_vectors, T>(1, kc, Ones<T>{}, b, NR,
                                                    Output<T, AddBias<T>>{sums.db, 0, {nullptr}, first, true},
                                                    0, j, n);
                }
        }
    }
};

// sum = slots[0] + slots[1] + ..., n_rows by n_columns; rows lie sum_row apart in sum, slots `slot`.
template <class T>
inline void add_slots(T* sum, ptrdiff_t sum_row, const T* slots, ptrdiff_t slot, ptrdiff_t n_slots,
                      ptrdiff_t n_rows, ptrdiff_t n_columns) {
    const ptrdiff_t group = larger(1, (1 << 14) / n_columns);
    parallel_for(ceil_div(n_rows, group), [=](ptrdiff_t task) {
        for (ptrdiff_t i = task * group; i < smaller(n_rows, (task + 1) * group); ++i)
            for (ptrdiff_t j = 0; j < n_columns; ++j) {
                const T* const part = slots + i * n_columns + j;
                T total = *part;
                for (ptrdiff_t s = 1; s < n_slots; ++s) total += part[s * slot];
                sum[i * sum_row + j] = total;
            }
    });
}

// dw and, unless it is null, db.
template <class T>
void conv2d_backward_weights(T* dw, T* db, const T* dy, const T* x, const Convolution& c) {
    const ptrdiff_t K = c.K / c.groups, R = c.h.taps * c.w.taps * (c.C / c.groups), slot = (R + 1) * K;
    for (ptrdiff_t g = 0; g < c.groups; ++g) {
        const WeightGradient<T> gradient(c, x, dy, g);
        const bool all_taps = gradient.h.taps * gradient.w.taps == c.h.taps * c.w.taps;
        const WeightSums<T> total{dw + g * K, db ? db + g * K : nullptr, c.K};
        const ptrdiff_t chunks = gradient.chunks;
        Scratch partial(chunks > 1 ? chunks * slot * sizeof(T) : 0);
        T* const slots = partial.as<T>();
        if (!all_taps && g == 0) __builtin_memset(dw, 0, R * c.K * sizeof(T));
        if (!all_taps && chunks > 1) __builtin_memset(slots, 0, chunks * slot * sizeof(T));
        parallel_for(chunks * gradient.ranges, [=, &gradient](ptrdiff_t task) {
            const ptrdiff_t chunk = task / gradient.ranges;
            T* const own = slots + chunk * slot;
            gradient.task(chunks == 1 ? total : WeightSums<T>{own, db ? own + R * K : nullptr, K}, chunk,
                          task % gradient.ranges);
        });
        if (chunks == 1) continue;
        add_slots(total.dw, c.K, slots, slot, chunks, R, K);
        if (db) add_slots(total.db, c.K, slots + R * K, slot, chunks, 1, K);
    }
}

}  // namespace
}  // namespace closedform::CF_ISA
