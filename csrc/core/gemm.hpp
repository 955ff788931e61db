// C = epilogue(A @ B), or C += A @ B, on the tile kernel. Any strides of A and B; C has contiguous rows.
//
// After Goto and van de Geijn (Anatomy of high-performance matrix multiplication, 2008): B is packed in
// panels that stay in L1 while a block of A in L2 passes by, and K is cut in blocks whose sums meet in C. Two
// drivers: one for few rows, which needs no shared packing, and one for many. Every cut depends on M, N, K
// alone, so the bits do not depend on the number of threads.
#pragma once

#include "arena.hpp"
#include "pack.hpp"
#include "parallel.hpp"
#include "tile.hpp"

namespace closedform::CF_ISA {
namespace {

inline constexpr ptrdiff_t block_k = 256;     // a panel of B: block_k * tile_columns, half of L1
inline constexpr ptrdiff_t block_n = 3072;    // packed B: block_k * block_n, a share of L3
inline constexpr ptrdiff_t block_m = 3072;    // packed A, likewise
inline constexpr ptrdiff_t block_rows = 144;  // rows of A in one task: block_rows * block_k, a third of L2
inline constexpr ptrdiff_t short_k = 64;      // rows of A of this length are not worth packing
inline constexpr ptrdiff_t task_flops = 1 << 20;  // about 12 us on one core: the grain of a parallel task

CF_INLINE ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) {
    return a < b ? a : b;
}
CF_INLINE ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) {
    return a > b ? a : b;
}
CF_INLINE ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) {
    return (a + b - 1) / b;
}

struct Range {
    ptrdiff_t begin, end;
    CF_INLINE ptrdiff_t size() const { return end - begin; }
    CF_INLINE bool has(ptrdiff_t i) const { return i >= begin && i < end; }
};

// The length of one of the equal pieces, a multiple of `unit`, when `total` is cut in at least `pieces`
// (as far as the unit allows).
CF_INLINE ptrdiff_t piece(ptrdiff_t total, ptrdiff_t pieces, ptrdiff_t unit) {
    return larger(1, ceil_div(total, larger(1, pieces) * unit)) * unit;
}

// The one way to cut K, so that an element's bits depend on K alone: not on the driver, nor on the other
// rows.
CF_INLINE ptrdiff_t k_block(ptrdiff_t K) {
    return piece(K, ceil_div(K, block_k), 1);
}

// What happens to a finished element: y = x + bias[j], or nothing.
template <class T>
struct AddBias {
    const T* bias;  // (N,) or null
    CF_INLINE Vec<T> operator()(Vec<T> v, ptrdiff_t j, ptrdiff_t n) const {
        if (!bias) return v;
        return v + (n >= lanes<T> ? load<T>(bias + j) : load_partial<T>(bias + j, n));
    }
};

// Where a tile's result goes: n of its columns are real; `first` and `last` say which block of K this is.
template <class T, class Epilogue>
struct Output {
    T* c;
    ptrdiff_t ldc;
    Epilogue epilogue;
    bool first, last;

    CF_INLINE Vec<T> finish(Vec<T> sum, Vec<T> before, ptrdiff_t j, ptrdiff_t n) const {
        if (!first) sum += before;
        return last ? epilogue(sum, j, n) : sum;
    }

    template <int MR, int NV>
    CF_INLINE void put(Vec<T> (&acc)[MR][NV], ptrdiff_t i, ptrdiff_t j) const {
        T* const tile = c + i * ldc + j;  // locals: the members would be read again after every store
        const ptrdiff_t row = ldc;
        if (!first)
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) acc[r][v] += load<T>(tile + r * row + v * lanes<T>);
        if (last)
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) acc[r][v] = epilogue(acc[r][v], j + v * lanes<T>, lanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) store<T>(tile + r * row + v * lanes<T>, acc[r][v]);
    }
};

// A tile at the right edge, kept apart: only n of its columns exist.
template <int MR, int NV, class T, class Out>
__attribute__((noinline)) void put_edge(const T* tile, const Out& out, ptrdiff_t i, ptrdiff_t j,
                                        ptrdiff_t n) {
    for (int r = 0; r < MR; ++r)
        for (ptrdiff_t v = 0; v < n; v += lanes<T>) {
            T* const p = out.c + (i + r) * out.ldc + j + v;
            const ptrdiff_t left = smaller(lanes<T>, n - v);
            store_partial<T>(
                p, out.finish(load<T>(tile + r * NV * lanes<T> + v), load_partial<T>(p, left), j + v, left),
                left);
        }
}

// One tile of m <= MR rows: the kernel with exactly m rows is chosen here.
template <int MR, int NV, class T, class A, class Out>
CF_INLINE void tile_of(ptrdiff_t m, ptrdiff_t K, A a, const T* b, ptrdiff_t ldb, const Out& out, ptrdiff_t i,
                       ptrdiff_t j, ptrdiff_t n) {
    if constexpr (MR > 1)
        if (m < MR) return tile_of<MR - 1, NV, T>(m, K, a, b, ldb, out, i, j, n);
    for (int r = 0; r < MR; ++r) __builtin_prefetch(out.c + (i + r) * out.ldc + j, 1);
    Vec<T> acc[MR][NV] = {};
    tile<MR, NV, T>(K, a, b, ldb, acc);
    if (n >= NV * lanes<T>) return out.put(acc, i, j);
    alignas(CF_VECTOR_BYTES) T edge[MR * NV * lanes<T>];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) store<T>(edge + (r * NV + v) * lanes<T>, acc[r][v]);
    put_edge<MR, NV, T>(edge, out, i, j, n);
}

// The most rows of a tile that is NV vectors wide.
template <int NV>
inline constexpr int rows_of_tile = NV == tile_vectors ? tile_rows
                                    : NV == 4          ? 3
                                                       : 1;

// The columns [j, j + n) of C: all M rows by one panel of B, whose rows lie ldb apart.
template <int NV, class T, class A, class Out>
__attribute__((noinline)) void multiply_panel(ptrdiff_t M, ptrdiff_t K, A a, const T* b, ptrdiff_t ldb,
                                              const Out& out, ptrdiff_t j, ptrdiff_t n) {
    constexpr int MR = rows_of_tile<NV>;
    for (ptrdiff_t i = 0, m, left = ceil_div(M, MR); left > 0; i += m, --left) {
        m = ceil_div(M - i, left);  // 8 rows are 4 + 4: 6 + 2 would leave registers idle
        tile_of<MR, NV, T>(m, K, a.at(i), b, ldb, out, i, j, n);
    }
}

// C[:, j0:j1] for few rows: every panel of B is packed when its turn comes, and used for all rows while it is
// in L1. For a few rows of tiles packing costs more than it saves, and B is read in place; unless its rows
// are so many bytes apart that they fall on a few sets of a cache: then for a single row of tiles only.
template <int NV, class T, class A, class Out>
inline void multiply_panels(ptrdiff_t M, ptrdiff_t j0, ptrdiff_t j1, ptrdiff_t K, A a, View<T> b,
                            const Out& out, T* panel) {
    constexpr ptrdiff_t width = NV * lanes<T>;
    const ptrdiff_t tiles = ceil_div(M, rows_of_tile<NV>), crowded_bytes = 1024;
    const bool few = tiles <= (b.row * ptrdiff_t(sizeof(T)) % crowded_bytes == 0 ? 1 : 6);
    for (ptrdiff_t j = j0; j < j1; j += width) {
        const ptrdiff_t n = smaller(width, j1 - j);
        if (n < width && NV > tile_vectors)
            return multiply_panels<tile_vectors, T>(M, j, j1, K, a, b, out, panel);
        const T* bp = b.p + j * b.column;
        ptrdiff_t ldb = b.row;
        if (n < width || b.column != 1 || !few) {
            pack_panel<width, T>(K, n, b.at(0, j), panel);
            bp = panel;
            ldb = width;
        }
        multiply_panel<NV, T>(M, K, a, bp, ldb, out, j, n);
    }
}

template <class T, class Epilogue>
inline void gemm_panels(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, View<T> a, View<T> b, T* c, ptrdiff_t ldc,
                        bool accumulate, const Epilogue& epilogue) {
    constexpr ptrdiff_t NR = tile_columns<T>;
    // Twice as many pieces as the grain allows, if it allows several: panels are wide, and 3 tasks for 2
    // threads would leave one of them waiting.
    const ptrdiff_t grains = 2 * M * N * K / task_flops;
    const ptrdiff_t width = piece(N, grains > 1 ? 2 * grains : 1, NR), kc_max = k_block(K);
    parallel_for(ceil_div(N, width), [=](ptrdiff_t task) {
        Scratch scratch(block_k * NR * sizeof(T));
        T* const panel = scratch.as<T>();
        const ptrdiff_t j0 = task * width, j1 = smaller(N, j0 + width);
        for (ptrdiff_t k = 0; k < K; k += kc_max) {
            const ptrdiff_t kc = smaller(kc_max, K - k);
            const Output<T, Epilogue> out{c, ldc, epilogue, k == 0 && !accumulate, k + kc == K};
            const InPlace<T> rows{a.p + k * a.column, a.row, a.column};
            const View<T> columns = b.at(k, 0);
            // With one row, or up to three, wider tiles keep enough sums in flight to hide the latency of
            // FMA.
            if (M == 1 && b.column == 1)
                multiply_panels<8, T>(M, j0, j1, kc, rows, columns, out, panel);
            else if (M <= 3 && b.column == 1)
                multiply_panels<4, T>(M, j0, j1, kc, rows, columns, out, panel);
            else
                multiply_panels<tile_vectors, T>(M, j0, j1, kc, rows, columns, out, panel);
        }
    });
}

// The packed operands of one block of the product, and how to compute it.
template <class T>
struct Blocks {
    T *b, *a;  // panels [K][NR] of B, and [K][MR] of A
    static constexpr ptrdiff_t NR = tile_columns<T>, MR = tile_rows, pack_group = 1 << 16;

    void pack(ptrdiff_t mc, ptrdiff_t nc, ptrdiff_t kc, View<T> va, View<T> vb, bool with_a,
              bool with_b) const {
        const ptrdiff_t panels_b = with_b ? ceil_div(nc, NR) : 0, panels_a = with_a ? ceil_div(mc, MR) : 0;
        const ptrdiff_t group_b = larger(1, pack_group / (kc * NR));
        const ptrdiff_t group_a = larger(1, pack_group / (kc * MR));
        const ptrdiff_t tasks_b = ceil_div(panels_b, group_b);
        parallel_for(tasks_b + ceil_div(panels_a, group_a), [=, *this](ptrdiff_t task) {
            if (task < tasks_b)
                for (ptrdiff_t p = task * group_b; p < smaller(panels_b, (task + 1) * group_b); ++p)
                    pack_panel<NR, T>(kc, smaller(NR, nc - p * NR), vb.at(0, p * NR), b + p * NR * kc);
            else
                for (ptrdiff_t p = (task - tasks_b) * group_a;
                     p < smaller(panels_a, (task - tasks_b + 1) * group_a); ++p)
                    pack_panel<MR, T>(kc, smaller(MR, mc - p * MR), transposed(va.at(p * MR, 0)),
                                      a + p * MR * kc);
        });
    }

    // C[ic:ic+mc, jc:jc+nc]: a grid of tasks, each a block of A that stays in L2 against a range of B's
    // panels.
    template <class A, class Out>
    void multiply(ptrdiff_t mc, ptrdiff_t nc, ptrdiff_t kc, A rows_of_a, const Out& out, ptrdiff_t ic,
                  ptrdiff_t jc) const {
        const ptrdiff_t tasks = smaller(16, 2 * mc * nc * kc / task_flops);
        const ptrdiff_t row_tasks = tasks <= 1 ? 1 : ceil_div(mc, block_rows);
        const ptrdiff_t rows = piece(mc, row_tasks, MR), columns = piece(nc, ceil_div(tasks, row_tasks), NR);
        const ptrdiff_t column_tasks = ceil_div(nc, columns);
        const ptrdiff_t strip = block_k / kc * NR;  // one panel of B stays in L1; of short ones, several
        parallel_for(ceil_div(mc, rows) * column_tasks, [=, *this](ptrdiff_t task) {
            const ptrdiff_t i0 = task / column_tasks * rows, i1 = smaller(mc, i0 + rows);
            const ptrdiff_t j0 = task % column_tasks * columns, j1 = smaller(nc, j0 + columns);
            for (ptrdiff_t s0 = j0; s0 < j1; s0 += strip)
                for (ptrdiff_t i = i0; i < i1; i += MR)
                    for (ptrdiff_t j = s0; j < smaller(j1, s0 + strip); j += NR)
                        tile_of<tile_rows, tile_vectors, T>(i1 - i, kc, rows_of_a.at(i), b + j * kc, NR, out,
                                                            ic + i, jc + j, smaller(NR, nc - j));
        });
    }
};

template <class T, class Epilogue>
inline void gemm_blocks(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, View<T> a, View<T> b, T* c, ptrdiff_t ldc,
                        bool accumulate, const Epilogue& epilogue) {
    constexpr ptrdiff_t NR = tile_columns<T>, MR = tile_rows;
    // Where its rows are contiguous along k, or short, the tile kernel reads A in place as fast.
    const bool pack_a = a.column != 1 && K > short_k;
    const ptrdiff_t kc_max = k_block(K);
    const ptrdiff_t nc_max = smaller(block_n, ceil_div(N, NR) * NR),
                    mc_max = smaller(block_m, ceil_div(M, MR) * MR);
    Scratch scratch((nc_max + (pack_a ? mc_max : 0)) * kc_max * sizeof(T));
    const Blocks<T> blocks{scratch.as<T>(), scratch.as<T>() + nc_max * kc_max};
    for (ptrdiff_t jc = 0; jc < N; jc += nc_max)
        for (ptrdiff_t pc = 0; pc < K; pc += kc_max)
            for (ptrdiff_t ic = 0; ic < M; ic += mc_max) {
                const ptrdiff_t nc = smaller(nc_max, N - jc), kc = smaller(kc_max, K - pc),
                                mc = smaller(mc_max, M - ic);
                const View<T> va = a.at(ic, pc);
                const Output<T, Epilogue> out{c, ldc, epilogue, pc == 0 && !accumulate, pc + kc == K};
                blocks.pack(mc, nc, kc, va, b.at(pc, jc), pack_a, ic == 0);
                if (pack_a)
                    blocks.multiply(mc, nc, kc, Packed<T>{blocks.a, kc}, out, ic, jc);
                else
                    blocks.multiply(mc, nc, kc, InPlace<T>{va.p, va.row, va.column}, out, ic, jc);
            }
}

// C (M, N) = epilogue(A (M, K) @ B (K, N)), or epilogue(C + A @ B) with `accumulate`. K = 0 is a sum of
// nothing.
template <class T, class Epilogue>
inline void gemm(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, View<T> a, View<T> b, T* c, ptrdiff_t ldc,
                 bool accumulate, const Epilogue& epilogue) {
    if (M == 0 || N == 0) return;
    if (K == 0) {
        const Output<T, Epilogue> out{c, ldc, epilogue, !accumulate, true};
        const T zeros[tile_columns<T>] = {};
        for (ptrdiff_t i = 0; i < M; ++i)
            for (ptrdiff_t j = 0; j < N; j += tile_columns<T>)
                put_edge<1, tile_vectors, T>(zeros, out, i, j, smaller(tile_columns<T>, N - j));
        return;
    }
    if (M <= block_rows)
        gemm_panels<T>(M, N, K, a, b, c, ldc, accumulate, epilogue);
    else
        gemm_blocks<T>(M, N, K, a, b, c, ldc, accumulate, epilogue);
}

}  // namespace
}  // namespace closedform::CF_ISA
