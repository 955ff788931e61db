// Tests of depthwise convolution without Python: every table that this CPU can run, against plain loops in
// double. Errors are in units of eps times the sum of the products' magnitudes.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "arrays.hpp"
#include "check.hpp"
#include "core/parallel.hpp"

using namespace closedform;
using std::ptrdiff_t;

namespace {

double worst = 0;  // error seen

// Sums of products, and of their magnitudes.
struct Expected {
    Array<double> sum, scale;
    explicit Expected(ptrdiff_t n) : sum(n), scale(n) {}
    void add(ptrdiff_t i, double term) {
        sum[i] += term;
        scale[i] += std::fabs(term);
    }
    template <class T>
    bool near(const Array<T>& got) const {
        const double eps = sizeof(T) == 4 ? std::ldexp(1.0, -23) : std::ldexp(1.0, -52);
        bool all = got.n == sum.n;
        for (ptrdiff_t i = 0; all && i < got.n; ++i) {
            const double error = std::fabs(double(got[i]) - sum[i]), unit = eps * scale[i];
            if (unit > 0 && error / unit > worst) worst = error / unit;
            all = error <= 4 * unit;
        }
        return all;
    }
};

template <class T>
struct Results {
    Array<T> y, dx, dw, db;
    bool same_bits(const Results& o) const {
        const auto same = [](const Array<T>& a, const Array<T>& b) {
            return std::memcmp(a.get(), b.get(), std::size_t(a.n) * sizeof(T)) == 0;
        };
        return same(y, o.y) && same(dx, o.dx) && same(dw, o.dw) && same(db, o.db);
    }
};

template <class T>
struct Case {
    Convolution c;
    bool biased, relu;
    Array<T> x, w, b, dy;

    explicit Case(const Convolution& c)
        : c(c),
          biased(random_below(4) > 0),
          relu(random_below(2)),
          x(fractions<T>(c.N * c.h.in * c.w.in * c.C)),
          w(fractions<T>(c.h.taps * c.w.taps * c.C)),
          b(fractions<T>(c.C)),
          dy(fractions<T>(c.N * c.h.out * c.w.out * c.C)) {}

    Results<T> run() const {
        const T nan = T(NAN);
        Results<T> r{Array<T>(dy.n, nan), Array<T>(x.n, nan), Array<T>(w.n, nan), Array<T>(c.C, nan)};
        table<T>().conv2d(r.y.get(), x.get(), w.get(), biased ? b.get() : nullptr, c, Algorithm::automatic,
                          relu);
        table<T>().conv2d_backward(r.dx.get(), r.dw.get(), r.db.get(), dy.get(), x.get(), w.get(), c,
                                   Algorithm::automatic);
        return r;
    }

    void check() const {
        Expected y(dy.n), dx(x.n), dw(w.n), db(c.C);
        for (ptrdiff_t i = 0; i < dy.n; ++i) {
            y.add(i, biased ? double(b[i % c.C]) : 0);
            db.add(i % c.C, double(dy[i]));
        }
        for (ptrdiff_t n = 0; n < c.N; ++n)
            for (ptrdiff_t o = 0; o < c.h.out; ++o)
                for (ptrdiff_t p = 0; p < c.w.out; ++p)
                    for (ptrdiff_t r = 0; r < c.h.taps; ++r)
                        for (ptrdiff_t s = 0; s < c.w.taps; ++s) {
                            const ptrdiff_t i = o * c.h.stride + r * c.h.dilation - c.h.pad;
                            const ptrdiff_t j = p * c.w.stride + s * c.w.dilation - c.w.pad;
                            if (i < 0 || i >= c.h.in || j < 0 || j >= c.w.in) continue;
                            for (ptrdiff_t k = 0; k < c.C; ++k) {
                                const ptrdiff_t to = ((n * c.h.out + o) * c.w.out + p) * c.C + k;
                                const ptrdiff_t from = ((n * c.h.in + i) * c.w.in + j) * c.C + k;
                                const ptrdiff_t tap = (r * c.w.taps + s) * c.C + k;
                                y.add(to, double(x[from]) * double(w[tap]));
                                dx.add(from, double(dy[to]) * double(w[tap]));
                                dw.add(tap, double(dy[to]) * double(x[from]));
                            }
                        }
        for (ptrdiff_t i = 0; relu && i < dy.n; ++i) y.sum[i] = std::fmax(0, y.sum[i]);
        const Results<T> got = run();
        const int before = failures;
        CHECK(y.near(got.y));
        CHECK(dx.near(got.dx));
        CHECK(dw.near(got.dw));
        CHECK(db.near(got.db));
        if (failures > before)
            std::printf(
                "  with %s, float%d, N %td, C %td, in %td %td, out %td %td, taps %td %td, stride %td %td, "
                "dilation %td %td, pad %td %td, relu %d\n",
                kernels().isa, int(8 * sizeof(T)), c.N, c.C, c.h.in, c.w.in, c.h.out, c.w.out, c.h.taps,
                c.w.taps, c.h.stride, c.w.stride, c.h.dilation, c.w.dilation, c.h.pad, c.w.pad, relu);
    }
};

// Padding after the last row or column is what `out` makes of it: more, less or none.
Window random_window() {
    for (;;) {
        Window v{1 + random_below(20), 0, 1 + random_below(7), 1 + random_below(3), 1 + random_below(2),
                 random_below(5)};
        const ptrdiff_t room = v.in + v.pad + random_below(5) - v.dilation * (v.taps - 1) - 1;
        v.out = room < 0 ? 0 : room / v.stride + 1;
        if (v.out > 0) return v;
    }
}

Convolution random_convolution() {
    constexpr ptrdiff_t channels[] = {1, 2, 3, 7, 8, 9, 16, 17, 33, 64, 65};
    const ptrdiff_t C = channels[random_below(11)];
    return {1 + random_below(3), C, C, C, random_window(), random_window()};
}

Convolution square(ptrdiff_t N, ptrdiff_t H, ptrdiff_t C, ptrdiff_t taps, ptrdiff_t stride,
                   ptrdiff_t dilation = 1) {
    const ptrdiff_t pad = dilation * (taps - 1) / 2;
    const Window v{H, (H + 2 * pad - dilation * (taps - 1) - 1) / stride + 1, taps, stride, dilation, pad};
    return {N, C, C, C, v, v};
}

// Several tasks, blocks of columns, pixels 2 KiB apart, a kernel larger than the image, a stride larger than
// both.
const Convolution large[] = {
    square(3, 28, 64, 3, 1),
    square(2, 14, 512, 3, 1),
    square(2, 15, 256, 3, 2),
    square(4, 28, 3, 5, 1, 2),
    square(9, 7, 72, 5, 2),
    {1, 40, 40, 40, {1, 1, 1, 1, 1, 0}, {3000, 3000, 7, 1, 1, 3}},
    {2, 20, 20, 20, {2, 1, 9, 1, 1, 4}, {3, 2, 11, 2, 1, 5}},
    {1, 12, 12, 12, {4, 1, 2, 9, 1, 0}, {5, 1, 1, 7, 1, 0}},
};

template <class T>
void check_table() {
    for (int i = 0; i < 150; ++i) Case<T>(random_convolution()).check();
    for (const Convolution& c : large) Case<T>(c).check();
}

template <class T>
void check_threads() {
    for (const Convolution& c : large) {
        const Case<T> one(c);
        set_num_threads(1);
        const Results<T> alone = one.run();
        for (int threads : {2, 3, 5}) {
            set_num_threads(threads);
            CHECK(one.run().same_bits(alone));
        }
    }
}

}  // namespace

int main() {
    const int status = on_every_isa([] {
        check_table<float>();
        check_table<double>();
        check_threads<float>();
        check_threads<double>();
    });
    std::printf("largest error: %.2f units\n", worst);
    return status;
}
