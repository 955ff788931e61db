// Tests of conv2d and its gradients without Python: every table that this CPU can run, against plain loops.
//
// The arrays hold small integers, so that every sum is exact and any order of summation gives the same bits.
#include <cstdio>
#include <cstring>

#include "arrays.hpp"
#include "check.hpp"
#include "core/arena.hpp"
#include "core/parallel.hpp"

using namespace closedform;
using std::ptrdiff_t;

namespace {

ptrdiff_t input(const Window& v, ptrdiff_t o, ptrdiff_t t) {
    return o * v.stride + t * v.dilation - v.pad;
}

// f(output, input, weight) for every product of a convolution, as indices of the three arrays.
template <class F>
void for_products(const Convolution& c, F f) {
    const ptrdiff_t C = c.C / c.groups, K = c.K / c.groups;
    for (ptrdiff_t n = 0; n < c.N; ++n)
        for (ptrdiff_t o = 0; o < c.h.out; ++o)
            for (ptrdiff_t p = 0; p < c.w.out; ++p)
                for (ptrdiff_t r = 0; r < c.h.taps; ++r)
                    for (ptrdiff_t s = 0; s < c.w.taps; ++s) {
                        const ptrdiff_t i = input(c.h, o, r), j = input(c.w, p, s);
                        if (i < 0 || i >= c.h.in || j < 0 || j >= c.w.in) continue;
                        for (ptrdiff_t k = 0; k < c.K; ++k)
                            for (ptrdiff_t q = 0; q < C; ++q)
                                f(((n * c.h.out + o) * c.w.out + p) * c.K + k,
                                  ((n * c.h.in + i) * c.w.in + j) * c.C + k / K * C + q,
                                  ((r * c.w.taps + s) * C + q) * c.K + k);
                    }
}

template <class T>
bool equal(const Array<T>& a, const Array<T>& b) {
    return a.n == b.n && std::memcmp(a.get(), b.get(), std::size_t(a.n) * sizeof(T)) == 0;
}

template <class T>
struct Case {
    Convolution c;
    Array<T> x, w, b, dy;

    explicit Case(const Convolution& c)
        : c(c),
          x(integers<T>(c.N * c.h.in * c.w.in * c.C)),
          w(integers<T>(c.h.taps * c.w.taps * (c.C / c.groups) * c.K)),
          b(integers<T>(c.K)),
          dy(integers<T>(c.N * c.h.out * c.w.out * c.K)) {}

    Array<T> forward(Algorithm how, bool relu) const {
        Array<T> y(dy.n, T(99));
        table<T>().conv2d(y.get(), x.get(), w.get(), b.get(), c, how, relu);
        return y;
    }

    void check(Algorithm how) const {
        Array<T> y(dy.n), clipped(dy.n), dx(x.n), dw(w.n), db(c.K);
        for (ptrdiff_t i = 0; i < dy.n; ++i) y[i] = b[i % c.K], db[i % c.K] += dy[i];
        for_products(c, [&](ptrdiff_t o, ptrdiff_t i, ptrdiff_t k) {
            y[o] += x[i] * w[k];
            dx[i] += dy[o] * w[k];
            dw[k] += dy[o] * x[i];
        });
        for (ptrdiff_t i = 0; i < dy.n; ++i) clipped[i] = y[i] > 0 ? y[i] : T(0);
        Array<T> got_dx(x.n, T(99)), got_dw(w.n, T(99)), got_db(c.K, T(99)), db_alone(c.K, T(99));
        table<T>().conv2d_backward(got_dx.get(), got_dw.get(), got_db.get(), dy.get(), x.get(), w.get(), c,
                                   how);
        table<T>().conv2d_backward(nullptr, nullptr, db_alone.get(), dy.get(), x.get(), w.get(), c, how);
        const int before = failures;
        CHECK(equal(forward(how, false), y));
        CHECK(equal(forward(how, true), clipped));
        CHECK(equal(got_dx, dx));
        CHECK(equal(got_dw, dw));
        CHECK(equal(got_db, db));
        CHECK(equal(db_alone, db));
        if (failures > before)
            std::printf(
                "  with %s, float%d, algorithm %d: N %td, H %td, W %td, C %td, K %td, groups %td, taps %td "
                "%td, "
                "stride %td %td, dilation %td %td, pad %td %td, out %td %td\n",
                kernels().isa, int(8 * sizeof(T)), int(how), c.N, c.h.in, c.w.in, c.C, c.K, c.groups,
                c.h.taps, c.w.taps, c.h.stride, c.w.stride, c.h.dilation, c.w.dilation, c.h.pad, c.w.pad,
                c.h.out, c.w.out);
    }
};

Window random_window() {
    for (;;) {
        Window v{1 + random_below(14), 0, 1 + random_below(4), 1 + random_below(3), 1 + random_below(3),
                 random_below(3)};
        const ptrdiff_t room = v.in + v.pad + random_below(3) - v.dilation * (v.taps - 1) - 1;
        v.out = room < 0 ? 0 : room / v.stride + 1;
        if (v.out > 0) return v;
    }
}

Convolution random_convolution() {
    const ptrdiff_t groups = random_below(3) ? 1 : 1 + random_below(3);
    const bool depthwise = random_below(8) == 0;
    const ptrdiff_t C = depthwise ? groups : groups * (1 + random_below(20));
    return {1 + random_below(3), C, depthwise ? C : groups * (1 + random_below(36)), groups, random_window(),
            random_window()};
}

Convolution square(ptrdiff_t N, ptrdiff_t H, ptrdiff_t C, ptrdiff_t K, ptrdiff_t taps, ptrdiff_t stride,
                   ptrdiff_t pad, ptrdiff_t groups = 1) {
    const Window v{H, (H + 2 * pad - taps) / stride + 1, taps, stride, 1, pad};
    return {N, C, K, groups, v, v};
}

template <class T>
void check_table() {
    for (int i = 0; i < 60; ++i) Case<T>(random_convolution()).check(Algorithm::direct);
    const Convolution several_blocks[] = {
        square(2, 12, 130, 40, 3, 1, 1),  // k in several blocks
        square(3, 40, 9, 17, 3, 2, 1),    // several strips
        square(2, 9, 700, 5, 1, 1, 0),    // a run in several pieces; few output channels
        square(1, 30, 3, 33, 7, 2, 3),   square(5, 7, 64, 65, 3, 1, 1), square(2, 33, 33, 33, 3, 1, 1, 33),
    };
    for (const Convolution& c : several_blocks) Case<T>(c).check(Algorithm::direct);
    const Window far{9, 8, 4, 1, 11, 16}, only_padding{1, 1, 2, 1, 4, 2}, plain{5, 5, 3, 1, 1, 1};
    const Convolution padded[] = {
        square(7, 5, 9, 18, 5, 1, 0),    square(2, 4, 6, 10, 4, 1, 0, 2),  // one window, over the image
        {2, 10, 20, 1, far, plain},      {2, 20, 10, 1, plain, far},       // taps that meet padding alone
        {1, 3, 4, 1, only_padding, far},
    };
    for (const Convolution& c : padded) Case<T>(c).check(Algorithm::direct);
}

// Few channels, and taps so far apart that reading on past the last row of a strip leaves its memory. From
// 4 MiB up the first lease after a release is a block of its own, and what follows it is not mapped.
template <class T>
void check_far_taps() {
    const ptrdiff_t far = 100000, wide = 2 * far + 1;
    const Case<T> one({1, 3, 3, 1, {1, 1, 1, 1, 1, 0}, {wide, wide, 3, 1, far, far}});
    release_scratch();
    one.check(Algorithm::direct);
}

// The same bits for any number of threads, with fractions, whose sums do depend on their order.
template <class T>
void check_threads() {
    for (const Convolution& c :
         {square(4, 28, 16, 24, 3, 1, 1), square(2, 56, 3, 32, 7, 2, 3), square(2, 10, 160, 160, 3, 1, 1),
          square(30, 6, 20, 50, 6, 1, 0), square(4, 28, 32, 32, 3, 1, 1, 32)}) {
        Case<T> one(c);
        one.x = fractions<T>(one.x.n), one.w = fractions<T>(one.w.n), one.dy = fractions<T>(one.dy.n);
        Array<T> y(0), dx(0), dw(0), db(0);
        for (int threads : {1, 2, 3, 5}) {
            set_num_threads(threads);
            Array<T> got_dx(one.x.n), got_dw(one.w.n), got_db(c.K);
            table<T>().conv2d_backward(got_dx.get(), got_dw.get(), got_db.get(), one.dy.get(), one.x.get(),
                                       one.w.get(), c, Algorithm::automatic);
            Array<T> got_y = one.forward(Algorithm::automatic, true);
            if (threads > 1) {
                CHECK(equal(got_y, y));
                CHECK(equal(got_dx, dx));
                CHECK(equal(got_dw, dw));
                CHECK(equal(got_db, db));
            }
            y = std::move(got_y), dx = std::move(got_dx), dw = std::move(got_dw), db = std::move(got_db);
        }
    }
}

}  // namespace

int main() {
    return on_every_isa([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            check_table<float>();
            check_table<double>();
        }
        check_far_taps<float>();
        check_far_taps<double>();
        check_threads<float>();
        check_threads<double>();
    });
}
