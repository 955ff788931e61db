// What differs between float and double in math.hpp: limits, and the coefficients that bench/minimax.py
// computes (its --check compares them with this file).
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
    static constexpr float log1p[] = {0.666664004f, 0.400223285f, 0.279879659f, 0.280833095f};
    static constexpr float erf[] = {0.128379166f,   -0.376126260f,    0.112835854f,   -0.0268538184f,
                                    0.00518833986f, -0.000801030896f, 7.85426237e-05f};
    static constexpr float tail_p[] = {3.50000000f,   1.49279392f,     0.375755697f,
                                       0.0402125530f, 0.000969969900f, 9.59896279e-05f};
    static constexpr float tail_q[] = {1.75000000f, 1.53759825f, 0.643973410f, 0.143112183f, 0.0145407217f};
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
    static constexpr double log1p[] = {0.66666666666666274, 0.40000000000169406, 0.28571428546209504,
                                       0.22222224077457242, 0.18181739961729601, 0.15386647509956089,
                                       0.13299786288728518, 0.12115748304165649, 0.082967933321619461,
                                       0.17100732234104932};
    static constexpr double erf[] = {
        0.12837916709551259,    -0.37612638903183748,    0.11283791670954857,    -0.026866170645072893,
        0.0052239776247808949,  -0.00085483269787471942, 0.00012055331037191378, -1.4925593516216429e-05,
        1.6460972998910707e-06, -1.6350027446576710e-07, 1.4657896511623844e-08, -1.1365736064545913e-09,
        5.9453885291153526e-11};
    static constexpr double tail_p[] = {
        3.5000000000000000,     4.2131725998490124,     2.6153301120154171,     1.0585215824590148,
        0.30360760842508638,    0.063710684047583760,   0.0098280320011193238,  0.0010964680754268566,
        8.5337227366898447e-05, 4.4400399528895319e-06, 1.6186676713783860e-07, 5.2019987844671591e-09};
    static constexpr double tail_q[] = {1.7500000000000000,     2.8977883185194915,    2.3787152926922208,
                                        1.2507739379215355,     0.46219546101492348,   0.12484912836878544,
                                        0.024932998132195308,   0.0036395199629966576, 0.00037306682395108284,
                                        2.4420648818070634e-05, 7.8481944012800626e-07};
};

}  // namespace
}  // namespace closedform::CF_ISA
