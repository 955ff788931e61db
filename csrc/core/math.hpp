// exp, log, tanh, erf and their relatives, lane by lane on vectors of float or double.
//
// Every function is a template over the two types; what differs between them is in Constants<T>. The
// polynomial coefficients are computed by bench/minimax.py; errors, measured over all floats by
// bench/ulp_sweep.cpp, stand in docs/accuracy.md. NaN propagates, infinities give the limits, results
// below the normal range are rounded like the others. Nothing relies on a * b + c being contracted.
#pragma once

#include "simd.hpp"

namespace closedform::CF_ISA {
namespace {

template <class T>
struct Constants;

template <>
struct Constants<float> {
    using Unsigned = std::uint32_t;
    static constexpr float log2_e = 1.44269504f;
    // ln 2 in two parts; the first has 16 bits, so that n * ln2_high is exact for every exponent n.
    static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860682e-06f;
    // Adding this to x, |x| < 2^21, leaves round(x) in the lowest bits.
    static constexpr float round = 12582912.0f;  // 3 * 2^22
    static constexpr float sqrt_half = 0.707106769f;
    static constexpr float smallest_normal = 0x1p-126f;
    static constexpr float largest = 3.40282347e+38f;
    // A power of two that lifts the smallest subnormal into the normal range.
    static constexpr int lift = 24;
    static constexpr float lift_factor = 0x1p24f;
    // exp is 0 below the first and infinite above the second.
    static constexpr float exp_lowest = -104.0f, exp_highest = 89.0f;
    // Results that may end up subnormal are computed times 2^guard.
    static constexpr int guard = 64;
    static constexpr float unguard = 0x1p-64f;
    static constexpr Unsigned high_half = 0xFFFFF000u;  // keeps 12 bits of the significand
    static constexpr float tanh_limit = 16.0f, erf_limit = 4.0f, normal_limit = 15.0f;

    static constexpr float exp[] = {0.499999940f, 0.166665196f, 0.0416683815f, 0.00836879015f,
                                    0.00138154638f};
    static constexpr float log[] = {0.666667759f, 0.399775207f, 0.298726559f};
    static constexpr float erf[] = {0.128379166f,   -0.376126260f,    0.112835854f,   -0.0268538184f,
                                    0.00518833986f, -0.000801030896f, 7.85426237e-05f};
    static constexpr float tail_p[] = {3.20000005f,   1.36484015f,     0.343548089f,
                                       0.0367657617f, 0.000886829628f, 8.77619459e-05f};
    static constexpr float tail_q[] = {1.60000002f, 1.40580404f, 0.588775694f, 0.130845428f, 0.0132943736f};
};

template <>
struct Constants<double> {
    using Unsigned = std::uint64_t;
    static constexpr double log2_e = 1.4426950408889634;
    static constexpr double ln2_high = 0.69314718055989033, ln2_low = 5.4979230187083712e-14;  // 42 bits
    static constexpr double round = 0x3p51;
    static constexpr double sqrt_half = 0.70710678118654752;
    static constexpr double smallest_normal = 0x1p-1022;
    static constexpr double largest = 1.7976931348623157e+308;
    static constexpr int lift = 54;
    static constexpr double lift_factor = 0x1p54;
    static constexpr double exp_lowest = -746.0, exp_highest = 710.0;
    static constexpr int guard = 128;
    static constexpr double unguard = 0x1p-128;
    static constexpr Unsigned high_half = 0xFFFFFFFFF8000000u;  // keeps 26 bits of the significand
    static constexpr double tanh_limit = 32.0, erf_limit = 6.0, normal_limit = 39.0;

    static constexpr double exp[] = {0.50000000000000111,    0.16666666666666410,    0.041666666666527873,
                                     0.0083333333334957970,  0.0013888888944216904,  0.00019841269505073802,
                                     2.4801492497066317e-05, 2.7557586638259533e-06, 2.7630462955794692e-07,
                                     2.5000287733624395e-08};
    static constexpr double log[] = {0.66666666666667351, 0.39999999999408381, 0.28571428743983612,
                                     0.22222198393243969, 0.18183574424083526, 0.15313774468842442,
                                     0.14798880451502469};
    static constexpr double erf[] = {
        0.12837916709551259,    -0.37612638903183748,    0.11283791670954857,    -0.026866170645072893,
        0.0052239776247808949,  -0.00085483269787471942, 0.00012055331037191378, -1.4925593516216429e-05,
        1.6460972998910707e-06, -1.6350027446576710e-07, 1.4657896511623844e-08, -1.1365736064545913e-09,
        5.9453885291153526e-11};
    static constexpr double tail_p[] = {
        3.2000000000000002,     3.8520435198619545,     2.3911589595569529,     0.96779116110538499,
        0.27758409913150756,    0.058249768272076584,   0.0089856292581662403,  0.0010024850975331261,
        7.8022607878307159e-05, 4.0594650997847154e-06, 1.4799247281173813e-07, 4.7561131743699736e-09};
    static constexpr double tail_q[] = {1.6000000000000001,     2.6494064626463922,    2.1748254104614593,
                                        1.1435647432425466,     0.42257870721364432,   0.11414777450860383,
                                        0.022795884006578566,   0.0033275611090255153, 0.00034108966761241862,
                                        2.2327450347950295e-05, 7.1754920240274858e-07};
};

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

// c[0] + c[1] x + ... , by Horner's rule.
template <class T, std::size_t N, std::size_t I = 0>
CF_INLINE Vec<T> polynomial(const T (&c)[N], Vec<T> x) {
    if constexpr (I + 1 == N)
        return splat<T>(c[I]);
    else
        return polynomial<T, N, I + 1>(c, x) * x + c[I];
}

// The integer n nearest to x / ln 2, and bits that end in the integer n + bias.
template <class T>
struct Exponent {
    Vec<T> n;
    Bits<T> biased;
};

template <class T>
CF_INLINE Exponent<T> nearest_exponent(Vec<T> x, int bias) {
    using C = Constants<T>;
    const Vec<T> shift = splat<T>(C::round + T(bias));
    const Vec<T> t = x * C::log2_e + shift;
    return {t - shift, as_bits<T>(t)};
}

// e^r - 1 for |r| <= ln(2) / 2.
template <class T>
CF_INLINE Vec<T> expm1_reduced(Vec<T> r) {
    return r + r * r * polynomial<T>(Constants<T>::exp, r);
}

// e^x 2^guard for x <= 0 (and no further below exp_lowest than 30 percent). With x in two parts, the
// result has the accuracy of their unrounded sum.
template <class T>
CF_INLINE Vec<T> guarded_exp(Vec<T> high, Vec<T> low = Vec<T>{}) {
    using C = Constants<T>;
    const Exponent<T> e = nearest_exponent<T>(high, vector_traits<T>::exponent_bias + C::guard);
    const Vec<T> r = (high - e.n * C::ln2_high) + (low - e.n * C::ln2_low);
    return (T(1) + expm1_reduced<T>(r)) * from_bits<T>(e.biased << vector_traits<T>::mantissa_bits);
}

template <class T>
CF_INLINE Vec<T> exp(Vec<T> x) {
    using C = Constants<T>;
    constexpr int mantissa = vector_traits<T>::mantissa_bits;
    x = max(splat<T>(C::exp_lowest), min(splat<T>(C::exp_highest), x));
    const Exponent<T> e = nearest_exponent<T>(x, 2 * vector_traits<T>::exponent_bias);
    const Vec<T> r = (x - e.n * C::ln2_high) - e.n * C::ln2_low;
    // 2^n in two factors of about half the exponent: neither overflows, and only the last product,
    // which may be subnormal, is rounded.
    const Bits<T> first = (e.biased << (mantissa - 1)) & (exponent_field<T>(1) | exponent_field<T>(0));
    const Bits<T> second = (e.biased << mantissa) - first;
    return (T(1) + expm1_reduced<T>(r)) * from_bits<T>(first) * from_bits<T>(second);
}

// exp for x <= 0, the case of softmax: one product less.
template <class T>
CF_INLINE Vec<T> exp_nonpositive(Vec<T> x) {
    using C = Constants<T>;
    return guarded_exp<T>(max(splat<T>(C::exp_lowest), x)) * C::unguard;
}

// e^x - 1 for -limit <= x <= 0. (The result is 2^n expm1(r) + (2^n - 1): for n < 0 the error shrinks.)
template <class T>
CF_INLINE Vec<T> expm1_nonpositive(Vec<T> x) {
    using C = Constants<T>;
    const Exponent<T> e = nearest_exponent<T>(x, vector_traits<T>::exponent_bias);
    const Vec<T> r = (x - e.n * C::ln2_high) - e.n * C::ln2_low;
    const Vec<T> scale = from_bits<T>(e.biased << vector_traits<T>::mantissa_bits);
    return scale * expm1_reduced<T>(r) + (scale - T(1));
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

// With a = |x|: tanh(a) = (1 - e^(-2a)) / (1 + e^(-2a)).
template <class T>
CF_INLINE Vec<T> tanh(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> a = min(splat<T>(C::tanh_limit), abs<T>(x));
    const Vec<T> e = expm1_nonpositive<T>(T(-2) * a);
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
    return max(Vec<T>{}, x) + log1p_finite<T>(exp_nonpositive<T>(minus_abs<T>(x)));
}

// e^(-scale a^2) 2^guard, with scale 1 or 1/2. The square is taken in two parts, h^2 + (a - h)(a + h),
// where h is a with the lower half of its bits cleared and h^2 is exact.
template <class T>
CF_INLINE Vec<T> guarded_gaussian(Vec<T> a, T scale) {
    const Vec<T> h = from_bits<T>(as_bits<T>(a) & Constants<T>::high_half);
    return guarded_exp<T>(-scale * (h * h), -scale * ((a - h) * (a + h)));
}

// Phi(-z) = e^(-z^2/2) q / (5/2 z q + p) for 0 <= z, with polynomials p and q. Where z is large, and
// Horner's rule loses most, p is a small part of the sum, and the error of q cancels.
template <class T>
struct NormalTail {
    Vec<T> numerator, denominator;
};

template <class T>
CF_INLINE NormalTail<T> normal_tail(Vec<T> z) {
    using C = Constants<T>;
    const Vec<T> q = polynomial<T>(C::tail_q, z);
    return {q, (T(2.5) * z) * q + polynomial<T>(C::tail_p, z)};
}

template <class T>
CF_INLINE Vec<T> guarded_normal_tail(Vec<T> z) {
    const NormalTail<T> tail = normal_tail<T>(z);
    return guarded_gaussian<T>(z, T(0.5)) * tail.numerator / tail.denominator;
}

// Near zero a series; elsewhere 1 - 2 Phi(-sqrt(2) |x|).
template <class T>
CF_INLINE Vec<T> erf(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> one = splat<T>(T(1));
    const Vec<T> a = min(splat<T>(C::erf_limit), abs<T>(x));
    const Vec<T> near_zero = a + a * polynomial<T>(C::erf, a * a);
    const NormalTail<T> tail = normal_tail<T>(a * T(1.4142135623730951));
    const Vec<T> far =
        one - guarded_gaussian<T>(a, T(1)) * (T(2) * C::unguard) * tail.numerator / tail.denominator;
    return copysign<T>(select(a < one, near_zero, far), x);
}

// The distribution function of the standard normal, relatively accurate in its left tail.
template <class T>
CF_INLINE Vec<T> normal_cdf(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> tail = guarded_normal_tail<T>(min(splat<T>(C::normal_limit), abs<T>(x))) * C::unguard;
    return select(x > Vec<T>{}, T(1) - tail, tail);
}

// x Phi(x); the limit at minus infinity is -0.
template <class T>
CF_INLINE Vec<T> gelu(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> tail = guarded_normal_tail<T>(min(splat<T>(C::normal_limit), abs<T>(x)));
    const Vec<T> left = max(splat<T>(-C::normal_limit), x) * tail * C::unguard;
    return select(x > Vec<T>{}, x * (T(1) - tail * C::unguard), left);
}

// Phi(x) + x phi(x), with phi the density.
template <class T>
CF_INLINE Vec<T> gelu_derivative(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> z = min(splat<T>(C::normal_limit), abs<T>(x));
    const NormalTail<T> tail = normal_tail<T>(z);
    const Vec<T> ratio = tail.numerator / tail.denominator;  // Phi(-z) e^(z^2/2)
    const T inverse_sqrt_2pi = T(0.3989422804014327);
    const Vec<T> left = guarded_gaussian<T>(z, T(0.5)) * (ratio - z * inverse_sqrt_2pi) * C::unguard;
    return select(x > Vec<T>{}, T(1) - left, left);
}

}  // namespace
}  // namespace closedform::CF_ISA
