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

// One panel [K][P] of the K x n matrix src (n <= P): panel[k][j] = src(k, j), zero for j >= n.
// Serves B (P = tile_columns) and, transposed, A (P = tile_rows).
template <int P, class T>
inline void pack_panel(ptrdiff_t K, ptrdiff_t n, View<T> src, T* __restrict panel) {
    if (n < P) {
        for (ptrdiff_t k = 0; k < K; ++k)
            for (ptrdiff_t j = 0; j < P; ++j) panel[k * P + j] = j < n ? src.p[k * src.row + j * src.column] : T(0);
    } else if (src.column == 1) {
        for (ptrdiff_t k = 0; k < K; ++k)
            for (ptrdiff_t j = 0; j < P; ++j) panel[k * P + j] = src.p[k * src.row + j];
    } else {
        // Columns of src are (usually) contiguous: 8 of k at a time keeps the reads sequential and
        // the writes within a few cache lines.
        ptrdiff_t k = 0;
        for (; k + 8 <= K; k += 8)
            for (ptrdiff_t j = 0; j < P; ++j)
                for (ptrdiff_t i = k; i < k + 8; ++i) panel[i * P + j] = src.p[i * src.row + j * src.column];
        for (; k < K; ++k)
            for (ptrdiff_t j = 0; j < P; ++j) panel[k * P + j] = src.p[k * src.row + j * src.column];
    }
}

}  // namespace
}  // namespace closedform::CF_ISA
