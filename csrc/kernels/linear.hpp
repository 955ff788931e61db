// Dense layer: x (N, D), w (D, H), b (H,), y (N, H).
#pragma once

#include "../core/gemm.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

template <class T>
CF_INLINE View<T> view(Matrix<T> m) {
    return {m.data, m.row, m.column};
}

// y = x @ w + b
template <class T>
void dense(T* y, Matrix<T> x, Matrix<T> w, const T* b, ptrdiff_t N, ptrdiff_t D, ptrdiff_t H) {
    gemm<T>(N, H, D, view(x), view(w), y, H, false, AddBias<T>{b});
}

// dx = dy @ w^T    dw = x^T @ dy    db = 1^T @ dy    (null: not wanted)
template <class T>
void dense_backward(T* dx, T* dw, T* db, Matrix<T> dy, Matrix<T> x, Matrix<T> w, ptrdiff_t N, ptrdiff_t D,
                    ptrdiff_t H) {
    const AddBias<T> nothing{nullptr};
    const T one = 1;
    if (dx) gemm<T>(N, D, H, view(dy), transposed(view(w)), dx, D, false, nothing);
    if (dw) gemm<T>(D, H, N, transposed(view(x)), view(dy), dw, H, false, nothing);
    if (db) gemm<T>(1, H, N, View<T>{&one, 0, 0}, view(dy), db, H, false, nothing);
}

}  // namespace
}  // namespace closedform::CF_ISA
