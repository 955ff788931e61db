// Packing: operands copied into the order in which the tile kernel reads them.
#pragma once

#include "simd.hpp"

namespace closedform::CF_ISA {
namespace {

// A matrix in place, any strides (in elements): element (i, j) is p[i * row + j * column].
template <class T>
struct View {
    const T* p;
    ptrdiff_t row, column;
    CF_INLINE View at(ptrdiff_t i, ptrdiff_t j) const { return {p + i * row + j * column, row, column}; }
};

template <class T>
CF_INLINE View<T> transposed(View<T> a) {
    return {a.p, a.column, a.row};
}

template <int... L>
struct LaneList {};
template <int N, int... L>
struct LaneRange : LaneRange<N - 1, N - 1, L...> {};
template <int... L>
struct LaneRange<0, L...> {
    using list = LaneList<L...>;
};

// Exchanges the off-diagonal blocks of step S between two rows: one stage of a transpose.
template <int S, class T, int... L>
CF_INLINE void exchange(Vec<T>& a, Vec<T>& b, LaneList<L...>) {
    constexpr int W = lanes<T>;
    const Vec<T> low = __builtin_shufflevector(a, b, ((L & S) ? W + L - S : L)...);
    b = __builtin_shufflevector(a, b, ((L & S) ? W + L : L + S)...);
    a = low;
}

template <int S, class T>
CF_INLINE void transpose_stages(Vec<T> (&r)[lanes<T>]) {
    if constexpr (S < lanes<T>) {
#pragma GCC unroll 16
        for (int i = 0; i < lanes<T>; ++i)
            if (!(i & S)) exchange<S, T>(r[i], r[i + S], typename LaneRange<lanes<T>>::list{});
        transpose_stages<2 * S, T>(r);
    }
}

// A square block, one vector wide: to[k][j] = from[j][k], rows `from_row` and `to_row` elements apart.
template <class T>
CF_INLINE void transpose_block(const T* from, ptrdiff_t from_row, T* to, ptrdiff_t to_row) {
    Vec<T> r[lanes<T>];
#pragma GCC unroll 16
    for (int j = 0; j < lanes<T>; ++j) r[j] = load<T>(from + j * from_row);
    transpose_stages<1, T>(r);
#pragma GCC unroll 16
    for (int k = 0; k < lanes<T>; ++k) store<T>(to + k * to_row, r[k]);
}

// n elements. Not memcpy: for a few KB that uses `rep movsb`, which leaves nothing in the cache.
template <class T>
CF_INLINE void copy(T* to, const T* from, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store<T>(to + i, load<T>(from + i));
    for (; i < n; ++i) to[i] = from[i];
}

// The panel below for contiguous rows of n < P, by whole vectors as long as they end inside the matrix;
// returns how many rows were done.
template <int P, class T>
__attribute__((noinline)) ptrdiff_t pack_narrow(ptrdiff_t K, ptrdiff_t n, View<T> src, T* __restrict panel) {
    constexpr ptrdiff_t W = lanes<T>;
    T inside[P];
    for (ptrdiff_t j = 0; j < P; ++j) inside[j] = T(j < n);
    ptrdiff_t k = 0;
    for (; (K - 1 - k) * src.row + n >= P; ++k)
        for (ptrdiff_t j = 0; j < P; j += W)
            store<T>(panel + k * P + j,
                     select(load<T>(inside + j) > Vec<T>{}, load<T>(src.p + k * src.row + j), Vec<T>{}));
    return k;
}

// One panel [K][P] of the K x n matrix src (n <= P): panel[k][j] = src(k, j), zero for j >= n.
// Serves B (P = tile_columns) and, transposed, A (P = tile_rows).
template <int P, class T>
inline void pack_panel(ptrdiff_t K, ptrdiff_t n, View<T> src, T* __restrict panel) {
    constexpr ptrdiff_t W = lanes<T>;
    ptrdiff_t k = 0;
    if (n == P && src.column == 1) {
        for (; k < K; ++k) __builtin_memcpy(panel + k * P, src.p + k * src.row, P * sizeof(T));
    } else if (n == P && P % W == 0 && src.row == 1) {
        for (; k + W <= K; k += W)
            for (ptrdiff_t j = 0; j < P; j += W)
                transpose_block<T>(src.p + k + j * src.column, src.column, panel + k * P + j, P);
    } else if (P % W == 0 && src.column == 1) {
        k = pack_narrow<P, T>(K, n, src, panel);
    }
    for (; k < K; ++k)
        for (ptrdiff_t j = 0; j < P; ++j)
            panel[k * P + j] = j < n ? src.p[k * src.row + j * src.column] : T(0);
}

}  // namespace
}  // namespace closedform::CF_ISA
