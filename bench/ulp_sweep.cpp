// Measures the error of csrc/core/math.hpp, in units in the last place: every one of the 2^32 floats,
// and for double random points, points crowded around the special ones, and random bit patterns.
//
//   g++ -std=c++20 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -march=x86-64-v3
//       -DCF_ISA=v3 -I csrc bench/ulp_sweep.cpp -o ulp_sweep
//   ./ulp_sweep [--float] [--double] [function ...]
//
// The reference is libm in the next wider type. One ulp is the spacing of the results' type at the exact
// result (the smallest subnormal below the normal range); infinity counts as the power of two above the
// largest finite number. Exit status 1 if a bound is exceeded, NaN included.

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <numbers>
#include <random>
#include <type_traits>

#include "core/math.hpp"

namespace {

namespace cf = closedform::CF_ISA;
constexpr std::ptrdiff_t chunk = 4096;

// ---- The exact functions, in a wider type R

template <class R>
R normal_cdf(R x) {
    const R root = std::numbers::sqrt2_v<R> / 2;
    const R z = -x * root;
    R result = std::erfc(z) / 2;
    if constexpr (std::numeric_limits<R>::digits == 64) {
        // In x87 the rounding of z and of root matters to erfc far out; derivative times difference repairs
        // it.
        const R root_low = 1.8950325588932570797e-20L;
        const R difference = std::fma(-x, root, -z) - x * root_low;
        if (std::isfinite(x)) result -= difference * std::numbers::inv_sqrtpi_v<R> * std::exp(-z * z);
    }
    return result;
}

template <class R>
R sigmoid(R x) {
    return 1 / (1 + std::exp(-x));
}

template <class R>
R softplus(R x) {
    return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

template <class R>
R gelu(R x) {
    return x < -100 ? R(0) : x * normal_cdf(x);
}

template <class R>
R gelu_derivative(R x) {
    if (std::abs(x) > 100) return x < 0 ? -R(0) : R(1);
    const R density = std::exp(-x * x / 2) * std::numbers::inv_sqrtpi_v<R> / std::numbers::sqrt2_v<R>;
    return normal_cdf(x) + x * density;
}

// ---- What is measured

struct Function {
    const char* name;
    void (*in_float)(float*, const float*);
    void (*in_double)(double*, const double*);
    double (*exact)(double);
    long double (*exact_long)(long double);
    double bound;  // in ulps, where |result| >= floor; below, in ulps of floor
    double floor;  // 0: relative accuracy everywhere
    double range;  // random doubles are drawn from [-range, range]
};

template <class T, cf::Vec<T> (*f)(cf::Vec<T>)>
void apply(T* y, const T* x) {
    for (std::ptrdiff_t i = 0; i < chunk; i += cf::lanes<T>) cf::store<T>(y + i, f(cf::load<T>(x + i)));
}

#define CF_FUNCTION(name, exact, bound, floor, range)                                  \
    Function {                                                                         \
        #name, apply<float, cf::name<float>>, apply<double, cf::name<double>>,         \
            [](double x) -> double { return exact(x); },                               \
            [](long double x) -> long double { return exact(x); }, bound, floor, range \
    }

const Function functions[] = {
    CF_FUNCTION(exp, std::exp, 1.5, 0, 750),  CF_FUNCTION(log, std::log, 1.5, 0, 4),
    CF_FUNCTION(log1p, std::log1p, 3, 0, 4),  CF_FUNCTION(tanh, std::tanh, 3, 0, 20),
    CF_FUNCTION(sigmoid, sigmoid, 3, 0, 750), CF_FUNCTION(softplus, softplus, 3, 0, 750),
    CF_FUNCTION(erf, std::erf, 4, 1e-3, 7),   CF_FUNCTION(normal_cdf, normal_cdf, 4, 1e-3, 40),
    CF_FUNCTION(gelu, gelu, 4, 1e-3, 40),     CF_FUNCTION(gelu_derivative, gelu_derivative, 4, 0.5, 40),
};

// ---- Errors

// The spacing of T at x.
template <class T, class R>
R ulp(R x) {
    constexpr int digits = std::numeric_limits<T>::digits, lowest = std::numeric_limits<T>::min_exponent;
    if constexpr (std::is_same_v<R, double> && std::is_same_v<T, float>) {  // 2^32 times: read off the bits
        std::uint64_t field = std::bit_cast<std::uint64_t>(x) >> 52 & 0x7FF;
        constexpr std::uint64_t lowest_field = std::uint64_t(lowest - 1 + 1023);
        if (field < lowest_field) field = lowest_field;
        return std::bit_cast<double>((field - std::uint64_t(digits - 1)) << 52);
    }
    int exponent;
    std::frexp(x, &exponent);
    if (x == 0 || exponent < lowest) exponent = lowest;
    return std::ldexp(R(1), exponent - digits);
}

struct Worst {
    double error = 0, argument = 0;
    void see(double e, double x) {
        if (!(e <= error) && !std::isnan(error)) error = e, argument = x;
    }
};

template <class T>
struct Report {
    Worst above, below, below_relative;  // above the floor; below it, in ulps of the floor and of the result

    template <class R>
    void see(const Function& f, T x, T got, R exact) {
        constexpr R top = R(std::numeric_limits<T>::max()) / (1 - R(std::numeric_limits<T>::epsilon()) / 2);
        if (std::isnan(exact) || (x == 0 && exact == 0)) {
            const bool right =
                std::isnan(exact) ? std::isnan(got) : got == 0 && std::signbit(got) == std::signbit(exact);
            return above.see(right ? 0 : NAN, x);
        }
        const R clipped = std::abs(exact) > top ? std::copysign(top, exact) : exact;
        const R error = std::abs((std::isinf(got) ? std::copysign(top, R(got)) : R(got)) - clipped);
        const R relative =
            error / ulp<T>(std::abs(clipped) < top ? clipped : R(std::numeric_limits<T>::max()));
        if (std::abs(exact) >= f.floor) return above.see(double(relative), x);
        below.see(double(error / ulp<T>(R(f.floor))), x);
        below_relative.see(double(relative), x);
    }

    bool print(const Function& f, const char* type, double seconds) const {
        const bool good = above.error <= f.bound && below.error <= f.bound;
        std::printf("%-16s %-7s %6.3f ulp at %-22.15g", f.name, type, above.error, above.argument);
        if (f.floor > 0)
            std::printf(" |result| < %g: %.3f ulp of that (%.3g) at %.6g, relative %.3g ulp at %.6g", f.floor,
                        below.error, below.error * double(ulp<T>(f.floor)), below.argument,
                        below_relative.error, below_relative.argument);
        std::printf("%s  [%.0f s]\n", good ? "" : "  EXCEEDS THE BOUND", seconds);
        std::fflush(stdout);
        return good;
    }
};

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool sweep_float(const Function& f) {
    const double start = now();
    Report<float> report;
    alignas(64) static float x[chunk], y[chunk];
    for (std::uint64_t first = 0; first < (std::uint64_t(1) << 32); first += chunk) {
        for (std::ptrdiff_t i = 0; i < chunk; ++i)
            x[i] = std::bit_cast<float>(std::uint32_t(first) + std::uint32_t(i));
        f.in_float(y, x);
        for (std::ptrdiff_t i = 0; i < chunk; ++i) report.see(f, x[i], y[i], f.exact(double(x[i])));
    }
    return report.print(f, "float", now() - start);
}

// Where a branch, a limit or a cancellation is, of some function.
const double special[] = {0,
                          5e-324,
                          2.2250738585072014e-308,
                          1e-300,
                          1e-17,
                          0.34657359027997264,
                          0.5,
                          0.69314718055994531,
                          0.70710678118654752,
                          1,
                          1.4142135623730951,
                          2,
                          4,
                          6,
                          8.3,
                          18.5,
                          19.1,
                          26.5,
                          36.7,
                          37.5,
                          38.5,
                          39,
                          700,
                          708.396,
                          709.78271,
                          710.47,
                          744.44,
                          745.1332,
                          746,
                          1e17,
                          1.7976931348623157e308,
                          std::numeric_limits<double>::infinity(),
                          std::numeric_limits<double>::quiet_NaN()};

double sample(std::mt19937_64& random, int round, std::ptrdiff_t i, double range) {
    const std::uint64_t bits = random();
    const double u = double(std::int64_t(random())) * 0x1p-63;
    switch (round % 4) {
        case 0:
            return std::bit_cast<double>(bits);
        case 1: {  // a special point of either sign, or one of its neighbours up to 2^19 away
            const std::uint64_t steps = round == 1 ? 0 : (bits >> 24) % (std::uint64_t(1) << (bits % 20));
            const auto point = std::bit_cast<std::uint64_t>(special[std::size_t(i) % std::size(special)]);
            const double x = std::bit_cast<double>(bits & 1024 ? point + steps : point - steps);
            return bits & 2048 ? -x : x;
        }
        case 2:
            return range * u;
        default:
            return range * u * std::exp(-8 * double(bits >> 11) * 0x1p-53);
    }
}

bool sweep_double(const Function& f) {
    const double start = now();
    Report<double> report;
    alignas(64) static double x[chunk], y[chunk];
    std::mt19937_64 random(20261121);
    for (int round = 0; round < 6000; ++round) {
        for (std::ptrdiff_t i = 0; i < chunk; ++i) x[i] = sample(random, round, i, f.range);
        f.in_double(y, x);
        for (std::ptrdiff_t i = 0; i < chunk; ++i)
            report.see(f, x[i], y[i], f.exact_long(static_cast<long double>(x[i])));
    }
    return report.print(f, "double", now() - start);
}

}  // namespace

int main(int argc, char** argv) {
    bool in_float = false, in_double = false, good = true;
    int named = 0, found = 0;
    for (int i = 1; i < argc; ++i) {
        const bool is_float = !std::strcmp(argv[i], "--float"), is_double = !std::strcmp(argv[i], "--double");
        in_float |= is_float;
        in_double |= is_double;
        named += !is_float && !is_double;
    }
    for (const Function& f : functions) {
        bool wanted = named == 0;
        for (int i = 1; i < argc; ++i) wanted |= !std::strcmp(argv[i], f.name);
        if (!wanted) continue;
        ++found;
        if (in_float || !in_double) good &= sweep_float(f);
        if (in_double || !in_float) good &= sweep_double(f);
    }
    if (found < named) std::printf("unknown function or option\n");
    return good && found >= named ? 0 : 1;
}
