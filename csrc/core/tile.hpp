// THE micro-kernel: a tile of C, MR rows by NV vectors, kept in registers while k runs.
//
//   acc[i][v] = sum over k of a(i, k) * b(k, v)
//
// Per k: NV vector loads of b, MR broadcasts of a, MR * NV fused multiply-adds.
// Every element has one accumulator that walks k in order, so its bits depend on K alone.
#pragma once

#include "simd.hpp"

namespace closedform::CF_ISA {
namespace {

// Register budget: 16 vector registers hold 12 accumulators, 2 of b, 1 broadcast; AVX-512 has 32.
// GCC for arm64 spills above 16 accumulators.
#if defined(__AVX512F__)
inline constexpr int tile_rows = 12;
#elif defined(__aarch64__)
inline constexpr int tile_rows = 8;
#else
inline constexpr int tile_rows = 6;
#endif
inline constexpr int tile_vectors = 2;

template <class T>
inline constexpr ptrdiff_t tile_columns = tile_vectors * lanes<T>;

// How tiles read A: `at(i)` is the tile that begins at row i, then a(r) is its row r, and next() moves along
// k.
//
// In place, any strides:
template <class T>
struct InPlace {
    const T* p;
    ptrdiff_t row, column;
    CF_INLINE InPlace at(ptrdiff_t i) const { return {p + i * row, row, column}; }
    CF_INLINE T operator()(int r) const { return p[r * row]; }
    CF_INLINE void next() { p += column; }
};

// From packed panels [K][tile_rows], one after the other; i is a multiple of tile_rows.
template <class T>
struct Packed {
    const T* p;
    ptrdiff_t K;
    CF_INLINE Packed at(ptrdiff_t i) const { return {p + i * K, K}; }
    CF_INLINE T operator()(int r) const { return p[r]; }
    CF_INLINE void next() { p += tile_rows; }
};

// K >= 1. Row k of b starts at b + k * ldb and holds NV whole vectors; `Ahead` prefetches rows to come, which
// pays where b is not in L1.
template <int MR, int NV, class T, bool Ahead = true, class A>
CF_INLINE void tile(ptrdiff_t K, A a, const T* b, ptrdiff_t ldb, Vec<T> (&acc)[MR][NV]) {
    do {  // a do-while: GCC spills accumulators around a loop that may not run
        Vec<T> bv[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) bv[v] = load<T>(b + v * lanes<T>);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            const Vec<T> ai = splat<T>(a(i));
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) acc[i][v] += ai * bv[v];
        }
        if constexpr (Ahead)
#pragma GCC unroll 8
            for (int v = 0; v < NV; v += 64 / CF_VECTOR_BYTES)
                __builtin_prefetch(b + 12 * ldb + v * lanes<T>);
        a.next();
        b += ldb;
    } while (--K);
}

}  // namespace
}  // namespace closedform::CF_ISA
