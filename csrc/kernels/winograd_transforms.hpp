// The transforms of Winograd's minimal filtering, F(2x2, 3x3) and F(4x4, 3x3), on vectors of channels.
//
// M outputs y of a filter g with 3 taps over M + 2 inputs d need M + 2 products instead of 3 M, with . the
// product element by element:
//
//   y = A^T [(G g) . (B^T d)]
//
// Winograd, Arithmetic complexity of computations, 1980; for neural networks Lavin and Gray, Fast algorithms
// for convolutional neural networks, arXiv 1509.09308. It is Toom and Cook's product of polynomials,
// transposed (derived in docs/derivations/winograd.md). For the points p_j, of which the last is infinity,
//
//   row i of A^T: p_j^i for all j,                             and 1 at infinity in the last row, else 0
//   row j of G: (1, p_j, p_j^2) / N_j,                         at infinity (0, 0, 1)
//   row j of B^T: the coefficients of prod_{l != j} (x - p_l), at infinity of prod_l (x - p_l)
//   N_j = prod_{l != j} (p_j - p_l)
//
// In two dimensions each transform is applied to rows and columns: (M + 2)^2 products instead of 9 M^2.
#pragma once

#include "../core/simd.hpp"

namespace closedform::CF_ISA {
namespace {

// One dimension: v = B^T d, u = G g, y = A^T z.
template <int M, class T>
struct Transform;

// Points 0, 1, -1; the signs of the row of 0 are turned in both B^T and G.
template <class T>
struct Transform<2, T> {
    static CF_INLINE void input(const Vec<T> (&d)[4], Vec<T> (&v)[4]) {
        v[0] = d[0] - d[2];
        v[1] = d[1] + d[2];
        v[2] = d[2] - d[1];
        v[3] = d[3] - d[1];
    }
    static CF_INLINE void weights(const Vec<T> (&g)[3], Vec<T> (&u)[4]) {
        const Vec<T> even = T(0.5) * (g[0] + g[2]), odd = T(0.5) * g[1];
        u[0] = g[0];
        u[1] = even + odd;
        u[2] = even - odd;
        u[3] = g[2];
    }
    static CF_INLINE void output(const Vec<T> (&z)[4], Vec<T> (&y)[2]) {
        y[0] = z[0] + z[1] + z[2];
        y[1] = z[1] - z[2] + z[3];
    }
};

// Points 0, a, -a, b, -b with a = 2/3, b = 3/2. Of the pairs tried this has the least rounding error, less
// than half of that of Lavin and Gray's 1, 2; and a b = 1 spares a product.
template <class T>
struct Transform<4, T> {
    static constexpr T a = T(2.0 / 3), b = T(1.5), a2 = T(4.0 / 9), b2 = T(2.25), a3 = T(8.0 / 27),
                       b3 = T(3.375);
    static constexpr T Na = T(-130.0 / 81), Nb = T(65.0 / 8);  // 2 a^2 (a^2 - b^2), 2 b^2 (b^2 - a^2)

    static CF_INLINE void input(const Vec<T> (&d)[6], Vec<T> (&v)[6]) {
        const Vec<T> even_a = d[4] - b2 * d[2], odd_a = d[3] - b2 * d[1];
        const Vec<T> even_b = d[4] - a2 * d[2], odd_b = d[3] - a2 * d[1];
        v[0] = d[0] + d[4] - (a2 + b2) * d[2];
        v[1] = even_a + a * odd_a;
        v[2] = even_a - a * odd_a;
        v[3] = even_b + b * odd_b;
        v[4] = even_b - b * odd_b;
        v[5] = d[1] + d[5] - (a2 + b2) * d[3];
    }
    static CF_INLINE void weights(const Vec<T> (&g)[3], Vec<T> (&u)[6]) {
        const Vec<T> even_a = T(1 / Na) * g[0] + T(a2 / Na) * g[2], odd_a = T(a / Na) * g[1];
        const Vec<T> even_b = T(1 / Nb) * g[0] + T(b2 / Nb) * g[2], odd_b = T(b / Nb) * g[1];
        u[0] = g[0];
        u[1] = even_a + odd_a;
        u[2] = even_a - odd_a;
        u[3] = even_b + odd_b;
        u[4] = even_b - odd_b;
        u[5] = g[2];
    }
    static CF_INLINE void output(const Vec<T> (&z)[6], Vec<T> (&y)[4]) {
        const Vec<T> sum_a = z[1] + z[2], difference_a = z[1] - z[2];
        const Vec<T> sum_b = z[3] + z[4], difference_b = z[3] - z[4];
        y[0] = z[0] + sum_a + sum_b;
        y[1] = a * difference_a + b * difference_b;
        y[2] = a2 * sum_a + b2 * sum_b;
        y[3] = a3 * difference_a + b3 * difference_b + z[5];
    }
};

// Two dimensions, one vector of channels: element (i, j) of a tile is at p + i * row + j * column, element
// (i, j) of a transformed one at q + (i * span + j) * plane.
template <int M, class T>
CF_INLINE void transform_input(const T* p, ptrdiff_t row, ptrdiff_t column, T* q, ptrdiff_t plane) {
    constexpr int span = M + 2;
    Vec<T> half[span][span];
#pragma GCC unroll 6
    for (int i = 0; i < span; ++i) {
        Vec<T> d[span];
#pragma GCC unroll 6
        for (int j = 0; j < span; ++j) d[j] = load<T>(p + i * row + j * column);
        Transform<M, T>::input(d, half[i]);
    }
#pragma GCC unroll 6
    for (int j = 0; j < span; ++j) {
        Vec<T> d[span], v[span];
#pragma GCC unroll 6
        for (int i = 0; i < span; ++i) d[i] = half[i][j];
        Transform<M, T>::input(d, v);
#pragma GCC unroll 6
        for (int i = 0; i < span; ++i) store<T>(q + (i * span + j) * plane, v[i]);
    }
}

template <int M, class T>
CF_INLINE void transform_weights(const T* p, ptrdiff_t tap, T* q, ptrdiff_t plane) {
    constexpr int span = M + 2;
    Vec<T> half[span][3];
#pragma GCC unroll 6
    for (int j = 0; j < 3; ++j) {
        Vec<T> g[3], u[span];
#pragma GCC unroll 6
        for (int i = 0; i < 3; ++i) g[i] = load<T>(p + (i * 3 + j) * tap);
        Transform<M, T>::weights(g, u);
#pragma GCC unroll 6
        for (int i = 0; i < span; ++i) half[i][j] = u[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < span; ++i) {
        Vec<T> u[span];
        Transform<M, T>::weights(half[i], u);
#pragma GCC unroll 6
        for (int j = 0; j < span; ++j) store<T>(q + (i * span + j) * plane, u[j]);
    }
}

// y = max(A^T z A + bias, low)
template <int M, class T>
CF_INLINE void transform_output(const T* q, ptrdiff_t plane, Vec<T> bias, Vec<T> low, T* p, ptrdiff_t row,
                                ptrdiff_t column) {
    constexpr int span = M + 2;
    Vec<T> half[M][span];
#pragma GCC unroll 6
    for (int j = 0; j < span; ++j) {
        Vec<T> z[span], y[M];
#pragma GCC unroll 6
        for (int i = 0; i < span; ++i) z[i] = load<T>(q + (i * span + j) * plane);
        Transform<M, T>::output(z, y);
#pragma GCC unroll 6
        for (int i = 0; i < M; ++i) half[i][j] = y[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < M; ++i) {
        Vec<T> y[M];
        Transform<M, T>::output(half[i], y);
#pragma GCC unroll 6
        for (int j = 0; j < M; ++j) store<T>(p + i * row + j * column, max(low, y[j] + bias));
    }
}

}  // namespace
}  // namespace closedform::CF_ISA
