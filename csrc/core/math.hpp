// exp, log, tanh, erf and their relatives, lane by lane on vectors of float or double.
//
// Every function is a template over the two types; what differs between them is in Constants<T>. Errors,
// measured over all floats by bench/ulp_sweep.cpp, and sources stand in docs/accuracy.md. NaN propagates,
// infinities give the limits, results below the normal range are rounded like the others. Nothing relies on
// a * b + c being contracted.
#pragma once

#include "math_constants.hpp"
#include "simd.hpp"

namespace closedform::CF_ISA {
namespace {

// Bit patterns: shifts and sums of exponents wrap around, hence unsigned.
template <class T>
using Bits = typename vector_of<typename Constants<T>::Unsigned>::type;

template <class T>
CF_INLINE Bits<T> as_bits(Vec<T> v) {
    return reinterpret_cast<Bits<T>>(v);
}

template <class T>
CF_INLINE Vec<T> from_bits(Bits<T> v) {
    return reinterpret_cast<Vec<T>>(v);
}

template <class T>
constexpr typename Constants<T>::Unsigned exponent_field(int e) {
    using Unsigned = typename Constants<T>::Unsigned;
    return Unsigned(e + vector_traits<T>::exponent_bias) << vector_traits<T>::mantissa_bits;
}

// c[0] + c[1] x + c[2] x^2 + ... , by Horner's rule, I being the term it starts from and Step the distance
// to the next.
template <class T, std::size_t N, std::size_t Step = 1, std::size_t I = 0>
CF_INLINE Vec<T> polynomial(const T (&c)[N], Vec<T> x) {
    if constexpr (I + Step >= N)
        return splat<T>(c[I]);
    else
        return polynomial<T, N, Step, I + Step>(c, x) * x + c[I];
}

// The same where x^2 is at hand: even and odd terms apart, in half the time if there is time to spare.
template <class T, std::size_t N>
CF_INLINE Vec<T> polynomial(const T (&c)[N], Vec<T> x, Vec<T> x2) {
    return polynomial<T, N, 2, 1>(c, x2) * x + polynomial<T, N, 2, 0>(c, x2);
}

// Keeps GCC from seeing through a constant: it would make two instructions of max(constant, x).
template <class T>
CF_INLINE Vec<T> bound(T value) {
    return opaque(splat<T>(value));
}

// The integer n nearest to factor * x / ln 2, and bits that end in the integer n + bias.
template <class T>
struct Exponent {
    Vec<T> n;
    Bits<T> biased;
};

template <class T>
CF_INLINE Exponent<T> nearest_exponent(Vec<T> x, T factor, int bias) {
    using C = Constants<T>;
    const Vec<T> shift = splat<T>(C::round + T(bias));
    const Vec<T> t = x * (factor * C::log2_e) + shift;
    return {t - shift, as_bits<T>(t)};
}

// e^r - 1 for |r| <= ln(2) / 2.
template <class T>
CF_INLINE Vec<T> expm1_reduced(Vec<T> r) {
    const Vec<T> r2 = r * r;
    return r2 * polynomial<T>(Constants<T>::exp, r, r2) + r;
}

template <class T>
CF_INLINE Vec<T> exp(Vec<T> x) {
    using C = Constants<T>;
    constexpr int mantissa = vector_traits<T>::mantissa_bits;
    x = max(bound<T>(C::exp_lowest), min(bound<T>(C::exp_highest), x));
    const Exponent<T> e = nearest_exponent<T>(x, T(1), 2 * vector_traits<T>::exponent_bias);
    const Vec<T> em1 = expm1_reduced<T>((x - e.n * C::ln2_high) - e.n * C::ln2_low);
    // 2^n in two factors of about half the exponent: neither overflows, and only the last product,
    // which may be subnormal, is rounded.
    const Bits<T> first = (e.biased << (mantissa - 1)) & (exponent_field<T>(1) | exponent_field<T>(0));
    const Bits<T> second = (e.biased << mantissa) - first;
    return (from_bits<T>(first) * em1 + from_bits<T>(first)) * from_bits<T>(second);
}

// scale (1 + em1), with scale a power of two: what the functions below build on.
template <class T>
struct Power {
    Vec<T> em1, scale;
};

template <class T>
CF_INLINE Vec<T> times(Power<T> y, Vec<T> factor) {
    return y.scale * (factor + y.em1 * factor);
}

// e^x 2^shift for exp_lowest <= x <= 0.
template <class T>
CF_INLINE Power<T> shifted_exp(Vec<T> x, int shift) {
    using C = Constants<T>;
    const Exponent<T> e = nearest_exponent<T>(x, T(1), vector_traits<T>::exponent_bias + shift);
    const Vec<T> em1 = expm1_reduced<T>((x - e.n * C::ln2_high) - e.n * C::ln2_low);
    return {em1, from_bits<T>(e.biased << vector_traits<T>::mantissa_bits)};
}

// e^(-factor a^2) 2^shift, with factor 1 or 1/2. The square is taken in two parts, h^2 + (a - h)(a + h),
// where h is a with the lower half of its bits cleared and h^2 is exact.
template <class T>
CF_INLINE Power<T> shifted_gaussian(Vec<T> a, T factor, int shift) {
    using C = Constants<T>;
    const Vec<T> h = from_bits<T>(as_bits<T>(a) & C::high_half);
    const Vec<T> high = -factor * (h * h), low = -factor * ((a - h) * (a + h));
    const Exponent<T> e = nearest_exponent<T>(a * a, -factor, vector_traits<T>::exponent_bias + shift);
    const Vec<T> em1 = expm1_reduced<T>((high - e.n * C::ln2_high) + (low - e.n * C::ln2_low));
    return {em1, from_bits<T>(e.biased << vector_traits<T>::mantissa_bits)};
}

// exp for x <= 0, the case of softmax, with fewer instructions.
template <class T>
CF_INLINE Vec<T> exp_nonpositive(Vec<T> x) {
    using C = Constants<T>;
    const Power<T> y = shifted_exp<T>(max(bound<T>(C::exp_lowest), x), C::guard);
    return (y.scale * y.em1 + y.scale) * C::unguard;
}

// x = m 2^k with m in [sqrt(1/2), sqrt(2)), x positive and normal.
template <class T>
struct Scaled {
    Vec<T> m, k;
    Bits<T> k_field;  // k where the exponent is stored, wrapping around below zero
};

template <class T>
CF_INLINE Scaled<T> split_exponent(Vec<T> x, Vec<T> k_offset) {
    using C = Constants<T>;
    constexpr int mantissa = vector_traits<T>::mantissa_bits;
    constexpr auto one = exponent_field<T>(0);
    const Bits<T> bits = as_bits<T>(x);
    const Bits<T> field =
        (bits - as_bits<T>(splat<T>(C::sqrt_half)) + one) & (exponent_field<T>(1) | exponent_field<T>(0));
    // The biased exponent as a number: or-ed into the low bits of 2^mantissa_bits.
    const Vec<T> biased = from_bits<T>((field >> mantissa) | exponent_field<T>(mantissa));
    const Bits<T> k_field = field - one;
    const T unbias = T(vector_traits<T>::exponent_bias) + T(typename C::Unsigned(1) << mantissa);
    return {from_bits<T>(bits - k_field), biased - (k_offset + unbias), k_field};
}

// k ln 2 + log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)]. With s = f / (2 + f), log(1 + f) = 2 atanh(s) =
// f - f^2/2 + s (f^2/2 + s^2 P(s^2)).
template <class T>
CF_INLINE Vec<T> log_sum(Vec<T> k, Vec<T> f) {
    using C = Constants<T>;
    const Vec<T> s = f / (T(2) + f);
    const Vec<T> z = s * s;
    const Vec<T> half_square = T(0.5) * f * f;
    const Vec<T> rest = s * (half_square + z * polynomial<T>(C::log, z)) + k * C::ln2_low;
    return k * C::ln2_high - ((half_square - rest) - f);
}

// log(1 + x) for 0 <= x <= 1: the same series goes far enough, with more terms.
template <class T>
CF_INLINE Vec<T> log1p_unit(Vec<T> x) {
    const Vec<T> s = x / (T(2) + x);
    const Vec<T> z = s * s;
    const Vec<T> half_square = T(0.5) * x * x;
    return x - (half_square - s * (half_square + z * polynomial<T>(Constants<T>::log1p, z)));
}

template <class T>
CF_INLINE Vec<T> log(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> zero{};
    const auto subnormal = x < C::smallest_normal;
    const Vec<T> lifted = select(subnormal, x * C::lift_factor, x);
    const Scaled<T> y = split_exponent<T>(lifted, select(subnormal, splat<T>(T(C::lift)), zero));
    Vec<T> result = log_sum<T>(y.k, y.m - T(1));
    result = select(x <= C::largest, result, x);  // infinity and NaN
    const Vec<T> nan = splat<T>(T(__builtin_nan("")));
    const Vec<T> at_zero = splat<T>(-T(__builtin_inf()));
    return select(x > zero, result, select(x == zero, at_zero, select(x < zero, nan, x)));
}

// log(1 + x) for finite x > -1 (and -0 gives +0).
template <class T>
CF_INLINE Vec<T> log1p_finite(Vec<T> x) {
    const Vec<T> u = T(1) + x;
    const Vec<T> lost = x - (u - T(1));  // 1 + x = u + lost
    const Scaled<T> y = split_exponent<T>(u, Vec<T>{});
    // 2^(1-k) and not 2^-k, which for the largest k is no longer normal (then this is 0, and so is lost).
    const Vec<T> scale = from_bits<T>(exponent_field<T>(1) - y.k_field);
    return log_sum<T>(y.k, (y.m - T(1)) + lost * scale * T(0.5));
}

template <class T>
CF_INLINE Vec<T> log1p(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> nan = splat<T>(T(__builtin_nan("")));
    const Vec<T> at_minus_one = splat<T>(-T(__builtin_inf()));
    const Vec<T> minus_one = splat<T>(T(-1));
    Vec<T> result = copysign<T>(log1p_finite<T>(x), x);
    result = select(x <= C::largest, result, x);
    return select(x > minus_one, result, select(x == minus_one, at_minus_one, select(x < minus_one, nan, x)));
}

// tanh(a) = -e / (2 + e) with a = |x| and e = e^(-2a) - 1. (For 2a and not -2a the error of e would grow
// with 2^n, here it shrinks.)
template <class T>
CF_INLINE Vec<T> tanh(Vec<T> x) {
    using C = Constants<T>;
    const Power<T> y = shifted_exp<T>(T(-2) * min(bound<T>(C::tanh_limit), abs<T>(x)), 0);
    const Vec<T> e = y.scale * y.em1 + (y.scale - T(1));
    return copysign<T>(e / (T(2) + e), x);
}

template <class T>
CF_INLINE Vec<T> minus_abs(Vec<T> x) {
    return as_float<T>(as_int<T>(x) | sign_bit<T>());
}

template <class T>
CF_INLINE Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> one = splat<T>(T(1));
    const Vec<T> e = exp_nonpositive<T>(minus_abs<T>(x));
    return select(x >= Vec<T>{}, one, e) / (one + e);
}

template <class T>
CF_INLINE Vec<T> softplus(Vec<T> x) {
    return max(bound<T>(T(0)), x) + log1p_unit<T>(exp_nonpositive<T>(minus_abs<T>(x)));
}

// Phi(-z) = e^(-z^2/2) q / (5/2 z q + p) for 0 <= z, with polynomials p and q. Where z is large, and
// Horner's rule loses most, p is a small part of the sum, and the error of q cancels.
template <class T>
struct NormalTail {
    Vec<T> q, zq, denominator;
};

template <class T>
CF_INLINE NormalTail<T> normal_tail(Vec<T> z) {
    using C = Constants<T>;
    const Vec<T> q = polynomial<T>(C::tail_q, z), zq = z * q;
    return {q, zq, T(2.5) * zq + polynomial<T>(C::tail_p, z)};
}

// Near zero a series; elsewhere 1 - 2 Phi(-sqrt(2) |x|).
template <class T>
CF_INLINE Vec<T> erf(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> a = min(bound<T>(C::erf_limit), abs<T>(x));
    const Vec<T> near_zero = a + a * polynomial<T>(C::erf, a * a);
    const NormalTail<T> tail = normal_tail<T>(a * T(1.4142135623730951));
    const Power<T> y = shifted_gaussian<T>(a, T(1), 1);
    const Vec<T> far = T(1) - times<T>(y, tail.q) / tail.denominator;
    return copysign<T>(select(a < T(1), near_zero, far), x);
}

// The distribution function of the standard normal, relatively accurate in its left tail.
template <class T>
CF_INLINE Vec<T> normal_cdf(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> z = min(bound<T>(C::normal_limit), abs<T>(x));
    const NormalTail<T> tail = normal_tail<T>(z);
    const Vec<T> left =
        times<T>(shifted_gaussian<T>(z, T(0.5), C::guard), tail.q) / tail.denominator * C::unguard;
    return select(x > Vec<T>{}, T(1) - left, left);
}

// x Phi(x) = max(x, 0) - z Phi(-z) with z = |x|.
template <class T>
CF_INLINE Vec<T> gelu(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> z = min(bound<T>(C::normal_limit), abs<T>(x));
    const NormalTail<T> tail = normal_tail<T>(z);
    const Vec<T> product = times<T>(shifted_gaussian<T>(z, T(0.5), C::guard), tail.zq) / tail.denominator;
    return max(bound<T>(T(0)), x) - product * C::unguard;
}

// Phi(x) + x phi(x), with phi the density.
template <class T>
CF_INLINE Vec<T> gelu_derivative(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> z = min(bound<T>(C::normal_limit), abs<T>(x));
    const NormalTail<T> tail = normal_tail<T>(z);
    const Vec<T> ratio = tail.q / tail.denominator;  // Phi(-z) e^(z^2/2)
    const T inverse_sqrt_2pi = T(0.3989422804014327);
    const Power<T> y = shifted_gaussian<T>(z, T(0.5), C::guard);
    const Vec<T> left = (y.scale + y.scale * y.em1) * (ratio - z * inverse_sqrt_2pi) * C::unguard;
    return select(x > Vec<T>{}, T(1) - left, left);
}

}  // namespace
}  // namespace closedform::CF_ISA
