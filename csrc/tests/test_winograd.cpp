// Winograd's convolution without Python: every table that this CPU can run, against plain loops.
//
// F(2x2) of small integers is exact, for its transforms only halve. Prints what failed; exit status 0 if
// nothing did.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "arrays.hpp"
#include "check.hpp"
#include "core/parallel.hpp"

using namespace closedform;

namespace {

// Calls f(x's index, w's index, y's index) for every product x * w that is added to y.
template <class F>
void for_each_product(const Convolution& c, const F& f) {
    const ptrdiff_t C = c.C / c.groups, K = c.K / c.groups;
    for (ptrdiff_t n = 0; n < c.N; ++n)
        for (ptrdiff_t oh = 0; oh < c.h.out; ++oh)
            for (ptrdiff_t ow = 0; ow < c.w.out; ++ow)
                for (ptrdiff_t t = 0; t < 9; ++t) {
                    const ptrdiff_t h = oh + t / 3 - c.h.pad, w = ow + t % 3 - c.w.pad;
                    if (h < 0 || h >= c.h.in || w < 0 || w >= c.w.in) continue;
                    const ptrdiff_t x = ((n * c.h.in + h) * c.w.in + w) * c.C;
                    const ptrdiff_t y = ((n * c.h.out + oh) * c.w.out + ow) * c.K;
                    for (ptrdiff_t k = 0; k < c.K; ++k)
                        for (ptrdiff_t i = 0; i < C; ++i) f(x + k / K * C + i, (t * C + i) * c.K + k, y + k);
                }
}

// The largest |found - expected|, in eps of T and units of the largest sum of |products|; NaN if one is
// found.
template <class T>
double error(const Array<T>& found, const Array<double>& expected, const Array<double>& scale) {
    double worst = 0;
    for (ptrdiff_t i = 0; i < found.n; ++i) {
        const double e = std::fabs(double(found[i]) - expected[i]);
        if (!(e <= worst)) worst = e;
    }
    const double unit = found.n ? *std::max_element(scale.get(), scale.get() + scale.n) : 1;
    return worst / (double(std::numeric_limits<T>::epsilon()) * std::max(unit, 1.0));
}

template <class T>
void check(const Convolution& c, Algorithm algorithm) {
    const ptrdiff_t nx = c.N * c.h.in * c.w.in * c.C, nw = 9 * c.C / c.groups * c.K,
                    ny = c.N * c.h.out * c.w.out * c.K;
    if (ny == 0) return;  // the binding does not call kernels for nothing
    const double tolerance = algorithm == Algorithm::winograd2 ? 0 : 16;
    const Array<T> x = integers<T>(nx), w = integers<T>(nw), b = integers<T>(c.K), dy = integers<T>(ny);
    const Array<T> y(ny, T(99)), dx(nx, T(99));
    const Array<double> sums(ny), y_scale(ny), gradient(nx), x_scale(nx);
    for_each_product(c, [&](ptrdiff_t i, ptrdiff_t j, ptrdiff_t o) {
        sums[o] += double(x[i]) * double(w[j]);
        y_scale[o] += std::fabs(double(x[i]) * double(w[j]));
        gradient[i] += double(dy[o]) * double(w[j]);
        x_scale[i] += std::fabs(double(dy[o]) * double(w[j]));
    });
    table<T>().conv2d(y.get(), x.get(), w.get(), nullptr, c, algorithm, false);
    CHECK(error(y, sums, y_scale) <= tolerance);
    for (ptrdiff_t o = 0; o < ny; ++o) sums[o] = std::max(0.0, sums[o] + double(b[o % c.K]));
    table<T>().conv2d(y.get(), x.get(), w.get(), b.get(), c, algorithm, true);
    CHECK(error(y, sums, y_scale) <= tolerance);
    table<T>().conv2d_backward(dx.get(), nullptr, nullptr, dy.get(), x.get(), w.get(), c, algorithm);
    CHECK(error(dx, gradient, x_scale) <= tolerance);
}

// One axis, with `before` and `after` of padding.
Window axis(ptrdiff_t in, ptrdiff_t before, ptrdiff_t after) {
    return {in, std::max<ptrdiff_t>(0, in + before + after - 2), 3, 1, 1, before};
}

template <class T>
void check_both(ptrdiff_t N, Window h, Window w, ptrdiff_t C, ptrdiff_t K, ptrdiff_t groups = 1) {
    for (Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4})
        check<T>({N, C, K, groups, h, w}, algorithm);
}

template <class T>
void test_all() {
    for (ptrdiff_t C : {1, 3, 4, 7, 8, 9, 17, 32, 65})  // channels around the vector's width and the panel's
        for (ptrdiff_t K : {1, 5, 8, 16, 31, 33, 70}) check_both<T>(2, axis(6, 1, 1), axis(9, 1, 1), C, K);
    for (ptrdiff_t H : {1, 2, 3, 4, 5, 6, 7, 8, 11})  // tiles cut at the end, images smaller than the taps
        for (ptrdiff_t before : {0, 1, 2, 3})         // 3: backward with a padding of -1
            for (ptrdiff_t after : {0, 1, 3}) {
                check_both<T>(1, axis(H, before, after), axis(7, 1, 0), 5, 8);
                check_both<T>(3, axis(5, 0, 1), axis(H, before, after), 8, 4);
            }
    check_both<T>(1, axis(3, -1, 1), axis(9, 2, -3), 4, 6);       // padding that cuts
    check_both<T>(2, axis(13, 1, 1), axis(10, 1, 1), 24, 18, 2);  // groups
    check_both<T>(2, axis(6, 1, 1), axis(6, 1, 1), 7, 7, 7);
    check_both<T>(2, axis(30, 1, 1), axis(23, 1, 1), 16, 32);  // many blocks of tiles
    check_both<T>(2, axis(36, 1, 1), axis(34, 1, 1), 3, 140);  // and two lots of panels
    check_both<T>(1, axis(5, 1, 1), axis(5, 1, 1), 300, 150);  // two blocks of C, several groups of panels
    check_both<T>(3, axis(9, 1, 1), axis(11, 0, 0), 260, 24);  // two blocks of C, many tiles
}

// The same bits for any number of threads, and whatever else is in the batch.
template <class T>
void test_bits(Algorithm algorithm) {
    const Convolution c{5, 40, 72, 1, axis(17, 1, 1), axis(15, 1, 1)};
    const ptrdiff_t nx = c.h.in * c.w.in * c.C, ny = c.h.out * c.w.out * c.K;
    const Array<T> x = fractions<T>(c.N * nx), w = fractions<T>(9 * c.C * c.K), b = fractions<T>(c.K);
    const Array<T> y(c.N * ny), one(ny);
    Convolution alone = c;
    alone.N = 1;
    set_num_threads(1);
    table<T>().conv2d(one.get(), x.get() + 2 * nx, w.get(), b.get(), alone, algorithm, false);
    for (int threads : {1, 2, 3, 7}) {
        set_num_threads(threads);
        std::fill_n(y.get(), y.n, T(99));
        table<T>().conv2d(y.get(), x.get(), w.get(), b.get(), c, algorithm, false);
        CHECK(std::equal(one.get(), one.get() + ny, y.get() + 2 * ny));
    }
}

}  // namespace

int main() {
    return on_every_isa([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            test_all<float>();
            test_all<double>();
        }
        for (Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4}) {
            test_bits<float>(algorithm);
            test_bits<double>(algorithm);
        }
    });
}
