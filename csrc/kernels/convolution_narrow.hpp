// Convolutions with few output channels, such as the gradient of a first layer with respect to its images.
//
// A panel of weights would be mostly empty, so here the vectors run along the pixels of y: a strip of x is
// transposed into planes [C][rows][width], and a tile is a few channels of y by a stretch of pixels. The
// stretch runs on across the padding at the ends of rows; what comes out there is dropped.
#pragma once

#include "convolution_walk.hpp"

namespace closedform::CF_ISA {
namespace {

inline constexpr ptrdiff_t plane_bytes = 224 << 10;  // of input, transposed, that a task keeps in L2

// Walks of stride 1 over the same x: one, or the phases of backward-data, which share the transposed strip.
template <class T>
struct NarrowWalks {
    static constexpr ptrdiff_t stretch = 8 * lanes<T>;
    const Walk<T>* walks;
    ptrdiff_t n_walks;
    ptrdiff_t first_h, first_w;     // input coordinates where a strip begins
    ptrdiff_t rows, height, width;  // of y in a strip, of x in a strip
    ptrdiff_t outputs, plane;       // most rows of y of any walk; distance of the planes

    NarrowWalks(const Walk<T>* walks_, ptrdiff_t n) : walks(walks_), n_walks(n), outputs(0) {
        first_h = walks->h.first_in, first_w = walks->w.first_in;
        ptrdiff_t end_h = first_h, end_w = first_w;  // of what the first row of y, and a whole row, need
        for (const Walk<T>* v = walks; v != walks + n; ++v) {
            first_h = smaller(first_h, v->h.first_in), end_h = larger(end_h, v->h.first_in + v->h.reach());
            first_w = smaller(first_w, v->w.first_in),
            end_w = larger(end_w, v->w.first_in + v->w.span(v->w.out));
            outputs = larger(outputs, v->h.out);
        }
        width = end_w - first_w;
        const ptrdiff_t in_cache =
            plane_bytes / ptrdiff_t(sizeof(T)) / (width * walks->C) - (end_h - first_h);
        rows = ceil_div(outputs, ceil_div(outputs, smaller(outputs, larger(1, in_cache))));
        height = end_h - first_h + rows - 1;
        // An odd number of cache lines: planes at a power of two would compete for the same sets of L1.
        plane = (ceil_div(height * width + stretch, 16) | 1) * 16;
    }

    // Rows of x from first_h + o on, transposed: element (c, i, q) is planes[c * plane + i * width + q].
    void load(T* planes, ptrdiff_t n, ptrdiff_t o) const {
        const ptrdiff_t C = walks->C;
        const Images<const T>& x = walks->x;
        const auto [begin, end] = inside(first_w, width, walks->w.in);
        __builtin_memset(planes, 0, C * plane * sizeof(T));
        for (ptrdiff_t i = 0; i < height; ++i) {
            const ptrdiff_t h = first_h + o + i;
            if (h >= 0 && h < walks->h.in)
                transpose(end - begin, C, x.p + n * x.image + h * x.row + (first_w + begin) * x.pixel,
                          x.pixel, planes + i * width + begin);
        }
    }

    // to[c * plane + q] = from[q * pixel + c] for q < Q, c < C
    void transpose(ptrdiff_t Q, ptrdiff_t C, const T* from, ptrdiff_t pixel, T* to) const {
        constexpr ptrdiff_t W = lanes<T>;
        const ptrdiff_t whole_q = Q / W * W, whole_c = C / W * W;
        for (ptrdiff_t q = 0; q < whole_q; q += W)
            for (ptrdiff_t c = 0; c < whole_c; c += W)
                transpose_block<T>(from + q * pixel + c, pixel, to + c * plane + q, plane);
        for (ptrdiff_t c = 0; c < C; ++c)
            for (ptrdiff_t q = c < whole_c ? whole_q : 0; q < Q; ++q) to[c * plane + q] = from[q * pixel + c];
    }

    // Weights of channels [k, k + M) of one walk, as [R][S][C][M].
    static void pack(const Walk<T>& v, ptrdiff_t k, ptrdiff_t M, T* to) {
        for (ptrdiff_t r = 0; r < v.h.taps; ++r)
            for (ptrdiff_t s = 0; s < v.w.taps; ++s)
                for (ptrdiff_t c = 0; c < v.C; ++c)
                    for (ptrdiff_t m = 0; m < M; ++m)
                        *to++ = v.weight(r, s)[c * v.weights.in + (k + m) * v.weights.out];
    }

    // Channels [k, k + M) of rows [o, o + count) of y, image n.
    template <int M>
    void multiply(const Walk<T>& v, const T* planes, const T* packed, const T* b, T low, ptrdiff_t n,
                  ptrdiff_t o, ptrdiff_t count, ptrdiff_t k) const {
        constexpr int NV = M == 1 ? 8 : 4;  // sums enough to hide the latency of FMA
        const T* const first = planes + (v.h.first_in - first_h) * width + v.w.first_in - first_w;
        for (ptrdiff_t f = 0; f < count * width; f += NV * lanes<T>) {
            Vec<T> acc[M][NV] = {};
            RowsOf<M> a{packed};
            for (ptrdiff_t r = 0; r < v.h.taps; ++r)
                for (ptrdiff_t s = 0; s < v.w.taps; ++s, a.p += v.C * M)
                    tile<M, NV, T, false>(v.C, a, first + f + r * v.h.step * width + s * v.w.step, plane,
                                          acc);
            alignas(CF_VECTOR_BYTES) T sums[M * NV * lanes<T>];
#pragma GCC unroll 16
            for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
                for (int i = 0; i < NV; ++i) store<T>(sums + (m * NV + i) * lanes<T>, acc[m][i]);
            put(v, sums, M, NV * lanes<T>, b, low, n, o, count, f, k);
        }
    }

    // Weights [C][M], M at a time.
    template <int M>
    struct RowsOf {
        const T* p;
        CF_INLINE T operator()(int r) const { return p[r]; }
        CF_INLINE void next() { p += M; }
    };

    // sums[m][i] belongs to channel k + m of flat pixel f + i, if there is such a pixel.
    __attribute__((noinline)) void put(const Walk<T>& v, const T* sums, ptrdiff_t M, ptrdiff_t length,
                                       const T* b, T low, ptrdiff_t n, ptrdiff_t o, ptrdiff_t count,
                                       ptrdiff_t f, ptrdiff_t k) const {
        for (ptrdiff_t i = 0; i < length;) {
            const ptrdiff_t row = (f + i) / width, column = (f + i) % width;
            const ptrdiff_t end = smaller(length, i + width - column);
            T* y = v.output(n, o + row, column) + k;
            if (row < count)
                for (ptrdiff_t q = i; q < smaller(end, i + v.w.out - column);
                     ++q, y += v.w.out_step * v.y.pixel)
                    for (ptrdiff_t m = 0; m < M; ++m) {
                        const T sum = sums[m * length + q] + (b ? b[k + m] : T(0));
                        y[m] = low > sum ? low : sum;
                    }
            i = end;
        }
    }

    void run(const T* b, T low) const {
        const ptrdiff_t K = walks->K, C = walks->C, N = walks->N;
        constexpr ptrdiff_t group = 3;  // channels in a tile
        ptrdiff_t taps = 0;
        for (const Walk<T>* v = walks; v != walks + n_walks; ++v) taps += v->h.taps * v->w.taps;
        Scratch weights(taps * C * K * sizeof(T));
        T* to = weights.as<T>();
        for (const Walk<T>* v = walks; v != walks + n_walks; ++v)
            for (ptrdiff_t k = 0; k < K; k += group) {
                const ptrdiff_t M = smaller(group, K - k);
                pack(*v, k, M, to);
                to += v->h.taps * v->w.taps * C * M;
            }
        const ptrdiff_t strips = ceil_div(outputs, rows);
        parallel_for(N * strips, [=, this, &weights](ptrdiff_t task) {
            Scratch strip((C * plane + width) * sizeof(T));  // taps read on past the last plane
            const ptrdiff_t n = task / strips, o = task % strips * rows;
            load(strip.as<T>(), n, o);
            const T* packed = weights.as<T>();
            for (const Walk<T>* v = walks; v != walks + n_walks; ++v)
                for (ptrdiff_t k = 0; k < K; k += group) {
                    const ptrdiff_t M = smaller(group, K - k), count = smaller(rows, v->h.out - o);
                    const T* const x = strip.as<T>();
                    if (M == 3) multiply<3>(*v, x, packed, b, low, n, o, count, k);
                    if (M == 2) multiply<2>(*v, x, packed, b, low, n, o, count, k);
                    if (M == 1) multiply<1>(*v, x, packed, b, low, n, o, count, k);
                    packed += v->h.taps * v->w.taps * C * M;
                }
        });
    }
};

}  // namespace
}  // namespace closedform::CF_ISA
