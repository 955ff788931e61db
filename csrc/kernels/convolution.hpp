// conv2d by implicit GEMM, channels last: x (N, H, W, C), w (R, S, C, K), y (N, OH, OW, K).
//
// y is a product: its rows are the output pixels, its columns the K channels, and k runs over (r, s, c). The
// patches that form the left factor are never written out. A strip of input rows is copied into a zero-padded
// buffer in L2, where the patch of a pixel is a few contiguous runs at the same distances for every pixel: so
// six pointers into the strip are the six rows of a tile. (After Georganas et al., arXiv 1808.05567 and
// 1906.06440.)
#pragma once

#include "convolution_narrow.hpp"
#include "convolution_walk.hpp"
#include "winograd.hpp"

namespace closedform::CF_ISA {
namespace {

// A stretch of a patch: `length` inputs in a row, at `offset` from the patch's first.
struct Run {
    ptrdiff_t offset, length;
};

// An output pixel: where its patch begins, and where its channels go.
template <class T>
struct Pixel {
    const T* patch;
    T* y;
};

// The rows of a tile at MR pixels, along a run.
template <int MR, class T>
struct PatchRows {
    const T* p[MR];
    ptrdiff_t k = 0;
    CF_INLINE PatchRows(const Pixel<T>* pixels, ptrdiff_t offset) {
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r) p[r] = pixels[r].patch + offset;
    }
    CF_INLINE T operator()(int r) const { return p[r][k]; }
    CF_INLINE void next() { ++k; }
};

// A tile's sums on their way to the outputs: `first` and `last` say which block of k this is. The result is
// max(sum + b, low): low is 0 for ReLU, else minus infinity.
template <class T>
struct PixelOutput {
    const T* b;  // (K,) or null
    T low;
    bool first, last;

    CF_INLINE Vec<T> finish(Vec<T> sum, ptrdiff_t j, ptrdiff_t n) const {
        return max(splat<T>(low), AddBias<T>{b}(sum, j, n));
    }

    template <int MR, int NV>
    CF_INLINE void put(Vec<T> (&acc)[MR][NV], const Pixel<T>* pixels, ptrdiff_t j) const {
        if (!first)
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) acc[r][v] += load<T>(pixels[r].y + j + v * lanes<T>);
        if (last)
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) acc[r][v] = finish(acc[r][v], j + v * lanes<T>, lanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) store<T>(pixels[r].y + j + v * lanes<T>, acc[r][v]);
    }
};

// A tile at the right edge, kept apart: only n of its columns exist.
template <int MR, int NV, class T>
__attribute__((noinline)) void put_pixel_edge(const T* tile, const PixelOutput<T>& out,
                                              const Pixel<T>* pixels, ptrdiff_t j, ptrdiff_t n) {
    for (int r = 0; r < MR; ++r)
        for (ptrdiff_t v = 0; v < n; v += lanes<T>) {
            T* const p = pixels[r].y + j + v;
            const ptrdiff_t left = smaller(lanes<T>, n - v);
            Vec<T> sum = load<T>(tile + r * NV * lanes<T> + v);
            if (!out.first) sum += load_partial<T>(p, left);
            store_partial<T>(p, out.last ? out.finish(sum, j + v, left) : sum, left);
        }
}

// m <= MR pixels by one panel of weights b, over some runs: the kernel with exactly m rows is chosen here.
template <int MR, int NV, class T>
CF_INLINE void patch_tile(ptrdiff_t m, const Run* run, const Run* end, const Pixel<T>* pixels, const T* b,
                          const PixelOutput<T>& out, ptrdiff_t j, ptrdiff_t n) {
    if constexpr (MR > 1)
        if (m < MR) return patch_tile<MR - 1, NV, T>(m, run, end, pixels, b, out, j, n);
    constexpr ptrdiff_t NR = NV * lanes<T>;
    for (int r = 0; r < MR; ++r) __builtin_prefetch(pixels[r].y + j, 1);
    Vec<T> acc[MR][NV] = {};
    do {
        tile<MR, NV, T>(run->length, PatchRows<MR, T>(pixels, run->offset), b, NR, acc);
        b += run->length * NR;
    } while (++run != end);
    if (n >= NR) return out.put(acc, pixels, j);
    alignas(CF_VECTOR_BYTES) T edge[MR * NR];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) store<T>(edge + r * NR + v * lanes<T>, acc[r][v]);
    put_pixel_edge<MR, NV, T>(edge, out, pixels, j, n);
}

inline constexpr ptrdiff_t strip_bytes = 192 << 10;  // of input that a task keeps in L2
inline constexpr ptrdiff_t patch_block = 640;        // k in one go: a panel of weights, 40 KB

// The convolution of one group in one piece of y: everything that depends on the shapes alone.
template <class T>
struct Walker {
    static constexpr ptrdiff_t NR = tile_columns<T>, MR = tile_rows;
    Walk<T> walk;
    bool in_place;         // no padding: patches are read from x
    ptrdiff_t row, pixel;  // distances in the strip, or in x
    ptrdiff_t k_total;     // R * S * C
    ptrdiff_t rows;        // rows of y in a strip
    ptrdiff_t strip_size, strip_pixels;
    ptrdiff_t n_runs;

    explicit Walker(const Walk<T>& w, ptrdiff_t tasks) : walk(w) {
        const Axis &h = walk.h, &v = walk.w;
        in_place = !h.padded() && !v.padded();
        pixel = in_place ? walk.x.pixel : walk.C;
        row = in_place ? walk.x.row : v.span(v.out) * walk.C;
        k_total = h.taps * v.taps * walk.C;
        const ptrdiff_t total = walk.N * h.out;
        const ptrdiff_t row_bytes =
            (h.stride * v.span(v.out) * walk.C + v.out * walk.K) * ptrdiff_t(sizeof(T));
        rows = larger(1, smaller(ceil_div(total, tasks), strip_bytes / row_bytes));
        rows = ceil_div(total, ceil_div(total, rows));
        const ptrdiff_t images = smaller(walk.N, rows / h.out + 2);  // that a strip can touch
        strip_size =
            in_place ? 0 : smaller(images * h.span(h.out), rows * h.stride + images * h.reach()) * row;
        strip_pixels = rows * v.out;
        n_runs = h.taps * v.taps * ceil_div(walk.C * (merged() ? v.taps : 1), patch_block);
    }

    bool merged() const { return walk.w.step == 1 && pixel == walk.C; }

    // Where a patch has its inputs, in the order of the packed weights.
    Run* make_runs(Run* run) const {
        const ptrdiff_t columns = merged() ? 1 : walk.w.taps,
                        length = merged() ? walk.w.taps * walk.C : walk.C;
        const ptrdiff_t cut = piece(length, ceil_div(length, patch_block), 1);
        for (ptrdiff_t r = 0; r < walk.h.taps; ++r)
            for (ptrdiff_t s = 0; s < columns; ++s)
                for (ptrdiff_t k = 0; k < length; k += cut)
                    *run++ = {r * walk.h.step * row + s * walk.w.step * pixel + k, smaller(cut, length - k)};
        return run;
    }

    void pack(T* packed) const {
        const ptrdiff_t panels = ceil_div(walk.K, NR), group = larger(1, (1 << 16) / (k_total * NR));
        parallel_for(ceil_div(panels, group), [=, *this](ptrdiff_t task) {
            for (ptrdiff_t p = task * group; p < smaller(panels, (task + 1) * group); ++p) {
                T* to = packed + p * NR * k_total;
                for (ptrdiff_t r = 0; r < walk.h.taps; ++r)
                    for (ptrdiff_t s = 0; s < walk.w.taps; ++s, to += walk.C * NR) {
                        const View<T> w{walk.weight(r, s), walk.weights.in, walk.weights.out};
                        pack_panel<NR, T>(walk.C, smaller(NR, walk.K - p * NR), w.at(0, p * NR), to);
                    }
            }
        });
    }

    // One row of the strip: row `i` of image n, with zeros where there is no input.
    void copy_row(T* to, ptrdiff_t n, ptrdiff_t i) const {
        const ptrdiff_t C = walk.C, columns = walk.w.span(walk.w.out), first = walk.w.first_in;
        const bool inside = i >= 0 && i < walk.h.in;
        const ptrdiff_t begin = inside ? smaller(columns, larger(0, -first)) : columns;
        const ptrdiff_t end = larger(begin, smaller(columns, walk.w.in - first));
        const T* from = walk.x.p + n * walk.x.image + i * walk.x.row + (first + begin) * walk.x.pixel;
        __builtin_memset(to, 0, begin * C * sizeof(T));
        if (walk.x.pixel == C)
            __builtin_memcpy(to + begin * C, from, (end - begin) * C * sizeof(T));
        else
            for (ptrdiff_t p = begin; p < end; ++p, from += walk.x.pixel)
                for (ptrdiff_t c = 0; c < C; ++c) to[p * C + c] = from[c];
        __builtin_memset(to + end * C, 0, (columns - end) * C * sizeof(T));
    }

    // Rows [t0, t1) of y, counted over all images: copies what they need into the strip, and lists their
    // pixels.
    void load(T* strip, Pixel<T>* pixels, ptrdiff_t t0, ptrdiff_t t1) const {
        const Axis &h = walk.h, &v = walk.w;
        for (ptrdiff_t t = t0; t < t1;) {
            const ptrdiff_t n = t / h.out, o = t % h.out, count = smaller(t1 - t, h.out - o);
            const ptrdiff_t first = h.first_in + o * h.stride;
            const T* patch = strip;
            if (in_place)
                patch = walk.x.p + n * walk.x.image + first * row + v.first_in * pixel;
            else
                for (ptrdiff_t i = 0; i < h.span(count); ++i, strip += row) copy_row(strip, n, first + i);
            for (ptrdiff_t i = 0; i < count; ++i)
                for (ptrdiff_t p = 0; p < v.out; ++p)
                    *pixels++ = {patch + i * h.stride * row + p * v.stride * pixel, walk.output(n, o + i, p)};
            t += count;
        }
    }

    // All pixels of a strip by all panels of weights.
    void multiply(const Run* runs, const Pixel<T>* pixels, ptrdiff_t count, const T* packed, const T* b,
                  T low) const {
        const T* block = packed;  // the weights of this block of k in the first panel
        for (const Run *run = runs, *end; run != runs + n_runs; run = end) {
            ptrdiff_t kc = 0;
            for (end = run; end != runs + n_runs && (end == run || kc + end->length <= patch_block); ++end)
                kc += end->length;
            const PixelOutput<T> out{b, low, run == runs, end == runs + n_runs};
            for (ptrdiff_t j = 0; j < walk.K; j += NR)
                for (ptrdiff_t i = 0; i < count;) {
                    const ptrdiff_t left = count - i;  // 7 pixels are 4 + 3: 6 + 1 would leave registers idle
                    const ptrdiff_t m = left >= 2 * MR || left <= MR ? smaller(MR, left) : (left + 1) / 2;
                    patch_tile<tile_rows, tile_vectors, T>(m, run, end, pixels + i, block + j * k_total, out,
                                                           j, smaller(NR, walk.K - j));
                    i += m;
                }
            block += kc * NR;
        }
    }
};

template <class T>
inline void convolve_strips(const Walk<T>& walk, const T* b, T low) {
    constexpr ptrdiff_t NR = tile_columns<T>;
    const ptrdiff_t k_total = walk.h.taps * walk.w.taps * walk.C;
    const ptrdiff_t flops = 2 * walk.N * walk.h.out * walk.w.out * k_total * walk.K;
    Walker<T> walker(walk, smaller(32, larger(1, flops / (4 * task_flops))));
    const ptrdiff_t total = walk.N * walk.h.out;
    Scratch weights(ceil_div(walk.K, NR) * NR * k_total * sizeof(T)), run_list(walker.n_runs * sizeof(Run));
    Run* const runs = run_list.as<Run>();
    walker.n_runs = walker.make_runs(runs) - runs;
    T* const packed = weights.as<T>();
    walker.pack(packed);
    parallel_for(ceil_div(total, walker.rows), [=, &walker](ptrdiff_t task) {
        const ptrdiff_t t0 = task * walker.rows, t1 = smaller(total, t0 + walker.rows);
        Scratch strip(walker.strip_size * sizeof(T)), pixels(walker.strip_pixels * sizeof(Pixel<T>));
        walker.load(strip.as<T>(), pixels.as<Pixel<T>>(), t0, t1);
        walker.multiply(runs, pixels.as<Pixel<T>>(), (t1 - t0) * walk.w.out, packed, b, low);
    });
}

// The walks that share x: one, or the phases of backward-data.
template <class T>
inline void convolve(const Walk<T>* walks, ptrdiff_t n, const T* b, bool relu, Algorithm algorithm) {
    const T low = relu ? T(0) : -T(__builtin_huge_val());
    if (algorithm != Algorithm::direct && n == 1 && winograd_applies(*walks)) {
        if (algorithm == Algorithm::winograd4) return winograd<4>(*walks, b, low);
        if (algorithm == Algorithm::winograd2 || winograd_pays(*walks)) return winograd<2>(*walks, b, low);
    }
    if (n && 2 * walks->K <= tile_columns<T> && walks->h.stride == 1 && walks->w.stride == 1)
        return NarrowWalks<T>(walks, n).run(b, low);
    for (ptrdiff_t i = 0; i < n; ++i) convolve_strips(walks[i], b, low);
}

template <class T>
void conv2d(T* y, const T* x, const T* w, const T* b, Convolution c, Algorithm algorithm, bool relu) {
    for (ptrdiff_t g = 0; g < c.groups; ++g) {
        const Walk<T> walk = forward_walk(y, x, w, c, g);
        convolve(&walk, 1, b ? b + g * walk.K : nullptr, relu, algorithm);
    }
}

template <class T>
void conv2d_backward_data(T* dx, const T* dy, const T* w, const Convolution& c, Algorithm algorithm) {
    bool covered = true;  // whether every phase has taps: elsewhere dx is 0
    for (ptrdiff_t i = 0; i < phases(c.h); ++i) covered &= backward_axis(c.h, i).taps > 0;
    for (ptrdiff_t i = 0; i < phases(c.w); ++i) covered &= backward_axis(c.w, i).taps > 0;
    if (!covered) __builtin_memset(dx, 0, c.N * c.h.in * c.w.in * c.C * sizeof(T));
    Scratch list(phases(c.h) * phases(c.w) * sizeof(Walk<T>));
    Walk<T>* const walks = list.as<Walk<T>>();
    for (ptrdiff_t g = 0; g < c.groups; ++g)
        convolve<T>(walks, backward_walks(walks, dx, dy, w, c, g), nullptr, false, algorithm);
}

}  // namespace
}  // namespace closedform::CF_ISA
