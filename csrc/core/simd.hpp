// The vector type: compiler vector extensions (GCC, Clang), one register wide.
//
// Everything here is compiled once per ISA, inside namespace closedform::CF_ISA, and has internal
// linkage: a function compiled for AVX-512 must never be the copy that the linker keeps for all.
// Functions take vectors by value and are inlined, so a vector never crosses a call.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef CF_ISA
#error "CF_ISA names the instruction set this object is compiled for; the build defines it"
#endif

#if defined(__AVX512F__)
#define CF_VECTOR_BYTES 64
#elif defined(__AVX__)
#define CF_VECTOR_BYTES 32
#else
#define CF_VECTOR_BYTES 16
#endif

#define CF_INLINE inline __attribute__((always_inline))

namespace closedform::CF_ISA {
namespace {

using std::ptrdiff_t;

template <class T>
struct vector_traits;

template <>
struct vector_traits<float> {
    using integer = std::int32_t;
    static constexpr int mantissa_bits = 23;
    static constexpr integer exponent_bias = 127;
};

template <>
struct vector_traits<double> {
    using integer = std::int64_t;
    static constexpr int mantissa_bits = 52;
    static constexpr integer exponent_bias = 1023;
};

template <class T>
struct vector_of {
    typedef T type __attribute__((vector_size(CF_VECTOR_BYTES)));
    // The same bytes at any alignment: what unaligned loads and stores go through.
    typedef T unaligned __attribute__((vector_size(CF_VECTOR_BYTES), aligned(alignof(T)), may_alias));
};

// A vector of T, the integer vector with lanes of the same width (also what comparisons return),
// and the number of lanes.
template <class T>
using Vec = typename vector_of<T>::type;
template <class T>
using Int = typename vector_of<typename vector_traits<T>::integer>::type;
template <class T>
inline constexpr ptrdiff_t lanes = CF_VECTOR_BYTES / sizeof(T);

template <class T>
CF_INLINE Vec<T> splat(T value) {
    return value - Vec<T>{};  // x - 0 is x for every x, -0.0 and NaN included
}

template <class T>
CF_INLINE Int<T> splat_int(typename vector_traits<T>::integer value) {
    return value - Int<T>{};
}

template <class T>
CF_INLINE Vec<T> load(const T* p) {
    return *reinterpret_cast<const typename vector_of<T>::unaligned*>(p);
}

template <class T>
CF_INLINE void store(T* p, Vec<T> v) {
    *reinterpret_cast<typename vector_of<T>::unaligned*>(p) = v;
}

// A store past the caches, p a multiple of the vector's size: for results too large to be found there again.
// Such stores come in no order: a task that made some ends with stream_end.
template <class T>
CF_INLINE void stream(T* p, Vec<T> v) {
#if defined(__clang__)
    __builtin_nontemporal_store(v, reinterpret_cast<Vec<T>*>(p));
#elif defined(__AVX512F__)
    __builtin_ia32_movntps512(reinterpret_cast<float*>(p), reinterpret_cast<Vec<float>>(v));
#elif defined(__AVX__)
    __builtin_ia32_movntps256(reinterpret_cast<float*>(p), reinterpret_cast<Vec<float>>(v));
#elif defined(__SSE__)
    __builtin_ia32_movntps(reinterpret_cast<float*>(p), reinterpret_cast<Vec<float>>(v));
#else
    store<T>(p, v);
#endif
}

CF_INLINE void stream_end() {
#if defined(__SSE__)
    __builtin_ia32_sfence();
#endif
}

// The first n lanes (0 <= n <= lanes), the rest filled with `fill`.
template <class T>
CF_INLINE Vec<T> load_partial(const T* p, ptrdiff_t n, T fill = T(0)) {
    alignas(CF_VECTOR_BYTES) T buffer[lanes<T>];
    for (ptrdiff_t i = 0; i < lanes<T>; ++i) buffer[i] = fill;
    for (ptrdiff_t i = 0; i < n; ++i) buffer[i] = p[i];
    return load<T>(buffer);
}

template <class T>
CF_INLINE void store_partial(T* p, Vec<T> v, ptrdiff_t n) {
    alignas(CF_VECTOR_BYTES) T buffer[lanes<T>];
    store<T>(buffer, v);
    for (ptrdiff_t i = 0; i < n; ++i) p[i] = buffer[i];
}

// The same where `count` mostly is a whole vector.
template <class T>
CF_INLINE Vec<T> load_some(const T* p, ptrdiff_t count, T fill = T(0)) {
    return count == lanes<T> ? load<T>(p) : load_partial<T>(p, count, fill);
}

template <class T>
CF_INLINE void store_some(T* p, Vec<T> v, ptrdiff_t count) {
    count == lanes<T> ? store<T>(p, v) : store_partial<T>(p, v, count);
}

// The first n lanes of v, zeros after them.
template <class T>
CF_INLINE Vec<T> first_lanes(Vec<T> v, ptrdiff_t n) {
    if (n == lanes<T>) return v;
    alignas(CF_VECTOR_BYTES) T buffer[lanes<T>];
    store<T>(buffer, v);
    return load_partial<T>(buffer, n);
}

// Lane by lane: mask ? a : b.
template <class V, class M>
CF_INLINE V select(M mask, V a, V b) {
    return mask ? a : b;
}

// NaN in b propagates, NaN in a does not: put the data second.
template <class V>
CF_INLINE V max(V a, V b) {
    return a > b ? a : b;
}

template <class V>
CF_INLINE V min(V a, V b) {
    return a < b ? a : b;
}

template <class T>
CF_INLINE Int<T> as_int(Vec<T> v) {
    return reinterpret_cast<Int<T>>(v);
}

template <class T>
CF_INLINE Vec<T> as_float(Int<T> v) {
    return reinterpret_cast<Vec<T>>(v);
}

template <class T>
CF_INLINE Int<T> sign_bit() {
    using I = typename vector_traits<T>::integer;
    return splat_int<T>(I(I(1) << (sizeof(I) * 8 - 1)));
}

template <class T>
CF_INLINE Vec<T> abs(Vec<T> v) {
    return as_float<T>(as_int<T>(v) & ~sign_bit<T>());
}

template <class T>
CF_INLINE Vec<T> copysign(Vec<T> magnitude, Vec<T> sign) {
    return as_float<T>((as_int<T>(magnitude) & ~sign_bit<T>()) | (as_int<T>(sign) & sign_bit<T>()));
}

// Compilers see the one instruction in this.
CF_INLINE Vec<double> square_root(Vec<double> v) {
#pragma GCC unroll 8
    for (ptrdiff_t i = 0; i < lanes<double>; ++i) v[i] = __builtin_sqrt(v[i]);
    return v;
}

// v, but the compiler does not know it: it can neither load it once more instead, nor fold a constant.
template <class V>
CF_INLINE V opaque(V v) {
#if defined(__GNUC__) && !defined(__clang__)
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__x86_64__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
#endif
    return v;
}

// Whether any lane of a comparison's result is set.
template <class T>
CF_INLINE bool any(Int<T> mask) {
    typename vector_traits<T>::integer bits = 0;
    for (ptrdiff_t i = 0; i < lanes<T>; ++i) bits |= mask[i];
    return bits != 0;
}

// Horizontal reductions in a fixed order: halves, then quarters, ...
template <class T>
CF_INLINE T reduce_add(Vec<T> v) {
    alignas(CF_VECTOR_BYTES) T b[lanes<T>];
    store<T>(b, v);
    for (ptrdiff_t half = lanes<T> / 2; half > 0; half /= 2)
        for (ptrdiff_t i = 0; i < half; ++i) b[i] += b[i + half];
    return b[0];
}

// NaN in any lane gives NaN.
template <class T>
CF_INLINE T reduce_max(Vec<T> v) {
    alignas(CF_VECTOR_BYTES) T b[lanes<T>];
    store<T>(b, v);
    T m = b[0];
    for (ptrdiff_t i = 1; i < lanes<T>; ++i) m = (b[i] > m || b[i] != b[i]) ? b[i] : m;
    return m;
}

}  // namespace
}  // namespace closedform::CF_ISA
