// Convolution by implicit GEMM.
//
// y is a product: its rows are the output pixels, its columns the K channels, and k runs over (r, s, c). The
// patches that form the left factor are never written out. In a strip, the patch of a pixel is a few
// contiguous runs at the same distances for every pixel: so six pointers into the strip are the six rows of a
// tile. (After Georganas et al., arXiv 1808.05567 and 1906.06440.)
#pragma once

#include "convolution_strips.hpp"

namespace closedform::CF_ISA {
namespace {

// A stretch of a patch: `length` inputs in a row, at `offset` from the patch's first.
struct Run {
    ptrdiff_t offset, length;
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

inline constexpr ptrdiff_t patch_block = 640;  // k in one go: a panel of weights, 40 KB

// One walk by strips: everything that depends on the shapes alone.
template <class T>
struct Direct {
    static constexpr ptrdiff_t NR = tile_columns<T>, MR = tile_rows;
    Walk<T> walk;
    Strips<T> strips;
    ptrdiff_t k_total;                    // R * S * C
    ptrdiff_t row_runs, run, piece_size;  // runs in a row of taps, their length, and that of their pieces
    ptrdiff_t n_runs;                     // pieces, in all

    Direct(const Walk<T>& w, ptrdiff_t tasks) : walk(w), strips(w, tasks) {
        const bool merged = walk.w.step == 1 && strips.pixel == walk.C;  // a row of taps is one run
        row_runs = merged ? 1 : walk.w.taps;
        run = merged ? walk.w.taps * walk.C : walk.C;
        piece_size = piece(run, ceil_div(run, patch_block), 1);
        k_total = walk.h.taps * row_runs * run;
        n_runs = walk.h.taps * row_runs * ceil_div(run, piece_size);
    }

    // Where a patch has its inputs, in the order of the packed weights.
    void make_runs(Run* to) const {
        for (ptrdiff_t r = 0; r < walk.h.taps; ++r)
            for (ptrdiff_t s = 0; s < row_runs; ++s)
                for (ptrdiff_t k = 0; k < run; k += piece_size)
                    *to++ = {strips.offset(r, s) + k, smaller(piece_size, run - k)};
    }

    void pack(T* packed) const {
        const ptrdiff_t panels = ceil_div(walk.K, NR), group = larger(1, (1 << 16) / (k_total * NR));
        parallel_for(ceil_div(panels, group), [=, this](ptrdiff_t task) {
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
inline void convolve_direct(const Walk<T>& walk, const T* b, T low) {
    constexpr ptrdiff_t NR = tile_columns<T>;
    const Direct<T> direct(walk, smaller(32, larger(1, walk.flops() / (4 * task_flops))));
    const Strips<T>& strips = direct.strips;
    Scratch weights(ceil_div(walk.K, NR) * NR * direct.k_total * sizeof(T)),
        run_list(direct.n_runs * sizeof(Run));
    Run* const runs = run_list.as<Run>();
    T* const packed = weights.as<T>();
    direct.make_runs(runs);
    direct.pack(packed);
    parallel_for(strips.count, [=, &direct, &strips](ptrdiff_t task) {
        Scratch strip(strips.size * sizeof(T)), pixels(strips.pixels * sizeof(Pixel<T>));
        const ptrdiff_t count = strips.load(strip.as<T>(), pixels.as<Pixel<T>>(), task);
        direct.multiply(runs, pixels.as<Pixel<T>>(), count, packed, b, low);
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
