// Sums over the rows of x (m, C), one a channel, and elementwise loops that know the channel.
#pragma once

#include "../core/gemm.hpp"
#include "../core/map.hpp"

namespace closedform::CF_ISA {
namespace {

inline constexpr ptrdiff_t short_row = 128;       // columns: of shorter rows several are one,
inline constexpr ptrdiff_t whole_vectors = 16;    // so many, if C is no multiple: those are vectors of any T
inline constexpr ptrdiff_t chunk_rows = 32;       // rows whose sums are kept in T
inline constexpr ptrdiff_t panel_columns = 1024;  // of a task, at most: their sums stay in L1 ...
inline constexpr ptrdiff_t group_elements = 1 << 15;  // ... and it has about so many elements in all,
inline constexpr ptrdiff_t most_groups = 64;          // or more, where that made more groups of rows
inline constexpr int strip_vectors = 4;               // columns summed together in registers

// Arrays read and written, in bytes in all, from which on the result is better not written to the caches.
// Measured with 32 MiB of L3: (32, 56, 56, 64) float32 is normalised in 2.8 ms, not 3.8, and its gradient
// computed in 4.8, not 5.3; at 16 MiB in all there is no difference.
inline constexpr ptrdiff_t stream_bytes = 20 << 20;

// x as M rows of P columns and a rest of `rest` rows of C. Where C is small, `repeat` rows of x side by side
// are one, and column j is channel j % C. The rows are cut in groups, the columns in panels. All this depends
// on m and C alone.
struct Rows {
    ptrdiff_t C, repeat, P, M, rest, group, groups, panels;

    Rows(ptrdiff_t m, ptrdiff_t C_) : C(C_) {
        repeat = C < short_row ? piece(short_row, C, C % whole_vectors ? whole_vectors : 1) : 1;
        P = repeat * C;
        M = m / repeat;
        rest = m % repeat;
        panels = ceil_div(P, panel_columns);
        const ptrdiff_t least = larger(ceil_div(M, most_groups), group_elements * panels / P);
        group = piece(least, 1, chunk_rows);
        groups = ceil_div(M, group);
    }

    // f(g, first row, end, first column, columns) for all groups and panels, as tasks.
    template <class F>
    void for_tasks(const F& f) const {
        parallel_for(groups * panels, [this, &f](ptrdiff_t task) {
            const ptrdiff_t g = task / panels, p = task % panels, j = P * p / panels;
            f(g, g * group, smaller(M, (g + 1) * group), j, P * (p + 1) / panels - j);
        });
    }
};

// What holds for channels, for columns: a[C .. P) = a[0 .. C), again and again.
template <class T>
CF_INLINE void repeat_channels(T* a, const Rows& rows) {
    for (ptrdiff_t j = rows.C; j < rows.P; ++j) a[j] = a[j - rows.C];
}

// sums[k * columns + j] = the sum over n rows of term k at column j; terms(row, j, acc) adds those of a
// vector of columns to acc[0 .. K). Columns fill at least a strip; the last strip may overlap the one before
// it, and finds the same sums.
template <int K, class T, class F>
CF_INLINE void column_sums(T* sums, ptrdiff_t n, ptrdiff_t columns, const F& terms) {
    constexpr ptrdiff_t W = lanes<T>, S = strip_vectors;
    for (ptrdiff_t j = 0;; j = smaller(j + S * W, columns - S * W)) {
        Vec<T> acc[S][K] = {};
        ptrdiff_t row = 0;
        do {
#pragma GCC unroll 8
            for (ptrdiff_t v = 0; v < S; ++v) terms(row, j + v * W, acc[v]);
        } while (++row < n);
#pragma GCC unroll 8
        for (ptrdiff_t v = 0; v < S; ++v)
#pragma GCC unroll 4
            for (int k = 0; k < K; ++k) store<T>(sums + k * columns + j + v * W, acc[v][k]);
        if (j + S * W >= columns) return;
    }
}

// y[i ...] = f(i, j, count) for n elements of one row, from column j on, by vectors of `count` elements; f
// may be asked for an element twice.
template <bool streamed, class T, class F>
CF_INLINE void map_row(T* y, ptrdiff_t i, ptrdiff_t j, ptrdiff_t n, const F& f) {
    constexpr ptrdiff_t W = lanes<T>;
    ptrdiff_t k = 0;
    for (; k + W <= n; k += W) {
        const Vec<T> v = f(i + k, j + k, W);
        streamed ? stream<T>(y + i + k, v) : store<T>(y + i + k, v);
    }
    if (k == n) return;
    if (n >= W)
        store<T>(y + i + n - W, f(i + n - W, j + n - W, W));
    else
        store_partial<T>(y + i, f(i, j, n), n);
}

// The same for all `size` elements, in rows of P, from the last block of memory to the first: what was read
// last, before, is still in the caches. `inputs` arrays of that size are read.
template <class T, class F>
inline void map_backwards(ptrdiff_t size, ptrdiff_t P, int inputs, T* y, const F& f) {
    const ptrdiff_t blocks = ceil_div(size, elementwise_block);
    const bool aligned = reinterpret_cast<std::uintptr_t>(y) % CF_VECTOR_BYTES == 0 && P % lanes<T> == 0;
    const bool streamed = aligned && (inputs + 1) * size * ptrdiff_t(sizeof(T)) > stream_bytes;
    parallel_for(blocks, [=](ptrdiff_t task) {
        ptrdiff_t i = (blocks - 1 - task) * elementwise_block;
        const ptrdiff_t end = smaller(size, i + elementwise_block);
        while (i < end) {
            const ptrdiff_t j = i % P, n = smaller(P - j, end - i);
            streamed ? map_row<true, T>(y, i, j, n, f) : map_row<false, T>(y, i, j, n, f);
            i += n;
        }
        if (streamed) stream_end();
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
