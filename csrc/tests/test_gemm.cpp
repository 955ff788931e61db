// Tests of the kernels without Python: every kernel of every table that this CPU can run, against plain
// loops.
//
// Prints what failed; exit status 0 if nothing did.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "arrays.hpp"
#include "check.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "kernels/table.hpp"

using namespace closedform;
using std::ptrdiff_t;

namespace {

// A matrix of exact integers, stored by rows or by columns.
template <class T>
struct Operand {
    Array<T> values;
    Matrix<T> m;
    Operand(ptrdiff_t rows, ptrdiff_t columns, bool by_rows)
        : values(integers<T>(rows * columns)), m{values.get(), by_rows ? columns : 1, by_rows ? 1 : rows} {}
    T operator()(ptrdiff_t i, ptrdiff_t j) const { return m.data[i * m.row + j * m.column]; }
};

template <class T>
void check_dense(ptrdiff_t N, ptrdiff_t D, ptrdiff_t H, int layout) {
    const Operand<T> x(N, D, !(layout & 1)), w(D, H, !(layout & 2)), dy(N, H, !(layout & 4));
    const Array<T> b = integers<T>(H), y(N * H, T(7)), dx(N * D, T(7)), dw(D * H, T(7)), db(H, T(7));
    table<T>().dense(y.get(), x.m, w.m, b.get(), N, D, H);
    table<T>().dense_backward(dx.get(), dw.get(), db.get(), dy.m, x.m, w.m, N, D, H);
    long wrong = 0;
    for (ptrdiff_t n = 0; n < N; ++n)
        for (ptrdiff_t h = 0; h < H; ++h) {
            T sum = b[h];
            for (ptrdiff_t d = 0; d < D; ++d) sum += x(n, d) * w(d, h);
            wrong += !(y[n * H + h] == sum);
        }
    for (ptrdiff_t n = 0; n < N; ++n)
        for (ptrdiff_t d = 0; d < D; ++d) {
            T sum = 0;
            for (ptrdiff_t h = 0; h < H; ++h) sum += dy(n, h) * w(d, h);
            wrong += !(dx[n * D + d] == sum);
        }
    for (ptrdiff_t h = 0; h < H; ++h) {
        T column = 0;
        for (ptrdiff_t n = 0; n < N; ++n) column += dy(n, h);
        wrong += !(db[h] == column);
        for (ptrdiff_t d = 0; d < D; ++d) {
            T sum = 0;
            for (ptrdiff_t n = 0; n < N; ++n) sum += x(n, d) * dy(n, h);
            wrong += !(dw[d * H + h] == sum);
        }
    }
    if (wrong)
        std::printf("N = %td, D = %td, H = %td, layout %d: %ld entries are wrong\n", N, D, H, layout, wrong);
    CHECK(wrong == 0);
}

template <class T>
void test_dense() {
    const ptrdiff_t sizes[] = {0, 1, 2, 5, 6, 7, 11, 13, 16, 17, 33, 65};
    int layout = 0;
    for (ptrdiff_t N : sizes)
        for (ptrdiff_t D : sizes)
            for (ptrdiff_t H : sizes) check_dense<T>(N, D, H, layout++ % 8);
    // few rows, many rows, several blocks of each dimension
    const ptrdiff_t shapes[][3] = {{1, 600, 40},  {3, 300, 130},  {145, 257, 35},
                                   {300, 20, 50}, {20, 10, 3100}, {3100, 3, 18},
                                   {2, 3100, 5},  {30, 150, 200}, {30, 40, 256}};
    for (const auto& s : shapes)
        for (layout = 0; layout < 8; ++layout) check_dense<T>(s[0], s[1], s[2], layout);
}

template <class T>
void test_elementwise() {
    for (ptrdiff_t n : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 1000, 16385, 40000}) {
        const Array<T> x = fractions<T>(n), a = fractions<T>(n), y(n);
        long wrong = 0;
        table<T>().relu(y.get(), x.get(), n, T(2), T(0.5));
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !(y[i] == x[i] * T(x[i] > 0 ? 2 : 0.5));
        table<T>().tanh(y.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !close<T>(y[i], std::tanh(double(x[i])), 0);
        table<T>().exp(y.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !close<T>(y[i], std::exp(double(x[i])), 0);
        table<T>().log1p(y.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !close<T>(y[i], std::log1p(double(x[i])), 0);
        table<T>().erf(y.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !close<T>(y[i], std::erf(double(x[i])), 0);
        table<T>().sigmoid(y.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !close<T>(y[i], 1 / (1 + std::exp(-double(x[i]))), 0);
        table<T>().softplus(y.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !close<T>(y[i], std::log1p(std::exp(double(x[i]))), 0);
        table<T>().gelu(y.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i)
            wrong += !close<T>(y[i], double(x[i]) * 0.5 * std::erfc(-double(x[i]) * std::sqrt(0.5)), 0);
        table<T>().gelu_backward(y.get(), a.get(), x.get(), n);
        table<T>().tanh_backward(y.get(), a.get(), x.get(), n);
        for (ptrdiff_t i = 0; i < n; ++i)
            wrong += !close<T>(y[i], double(a[i]) * (1 - double(x[i]) * double(x[i])));
        CHECK(wrong == 0);
        CHECK(table<T>().first_outside(x.get(), n, T(-1), T(1)) == -1);
        if (n > 0) {
            x[n - 1] = 2;
            CHECK(table<T>().first_outside(x.get(), n, T(-1), T(1)) == n - 1);
        }
    }
}

template <class T>
void test_rows() {
    for (ptrdiff_t N : {0, 1, 3, 300})
        for (ptrdiff_t K : {1, 2, 7, 8, 9, 16, 17, 65, 1000}) {
            const Array<T> x = fractions<T>(N * K), y(N * K), lse(N), dlogits(N * K), losses(N), dx(N * K);
            const Array<std::int64_t> classes(N);
            for (ptrdiff_t n = 0; n < N; ++n) classes[n] = random_below(int(K));
            const Array<T> weight = fractions<T>(K);
            table<T>().softmax(y.get(), x.get(), N, K, T(1));
            table<T>().logsumexp(lse.get(), x.get(), N, K);
            const Targets<T> targets{classes.get(), nullptr, weight.get(),
                                     0.1,           true,    classes.n ? classes[0] : 0};
            table<T>().cross_entropy(losses.get(), dlogits.get(), x.get(), targets, N, K, 1.0);
            const Targets<T> soft{nullptr, y.get(), nullptr, 0.0, false, 0};
            const double total = table<T>().cross_entropy(nullptr, dx.get(), x.get(), soft, N, K, 1.0);
            long wrong = 0;
            long double entropy = 0;
            for (ptrdiff_t n = 0; n < N; ++n) {
                double sum = 0;
                for (ptrdiff_t k = 0; k < K; ++k) sum += std::exp(double(x[n * K + k]));
                wrong += !close<T>(lse[n], std::log(sum));
                for (ptrdiff_t k = 0; k < K; ++k) {
                    const double s = std::exp(double(x[n * K + k])) / sum;
                    wrong += !close<T>(y[n * K + k], s, 0);
                    wrong += !close<T>(dx[n * K + k], 0);  // targets that are the softmax itself
                    entropy -= (long double)(s)*std::log(s);
                    if (classes[n] == targets.ignore_index)
                        wrong += !(dlogits[n * K + k] == 0 && losses[n] == 0);
                }
            }
            CHECK(wrong == 0);
            CHECK(close<T>(total, double(entropy)));
            table<T>().log_softmax(dx.get(), x.get(), N, K);
            table<T>().softmax_backward(dx.get(), x.get(), y.get(), N, K, T(2));
            table<T>().log_softmax_backward(dx.get(), x.get(), y.get(), N, K);
            const Array<T> jacobian(N * K * (K < 100 ? K : 0));
            if (K < 100) table<T>().softmax_jacobian(jacobian.get(), y.get(), N, K);
        }
}

template <class T>
void test_updates() {
    for (ptrdiff_t n : {0, 1, 7, 8, 9, 16385}) {
        const Array<T> p = integers<T>(n), g = integers<T>(n), v(n, T(1)), m(n), before(n);
        std::memcpy(before.get(), p.get(), std::size_t(n) * sizeof(T));
        table<T>().sgd_update(p.get(), g.get(), v.get(), n, 0.5, 0.5, 0.0, false);
        long wrong = 0;
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !(p[i] == before[i] - T(0.5) * (T(0.5) + g[i]));
        table<T>().sgd_update(p.get(), g.get(), nullptr, n, 0.5, 0.0, 0.25, false);
        table<T>().adam_update(p.get(), g.get(), m.get(), v.get(), n,
                               {0.1, 0.9, 0.99, 1e-8, 0.01, 0.1, 0.01, true});
        for (ptrdiff_t i = 0; i < n; ++i) wrong += !close<T>(m[i], 0.1 * double(g[i]));
        CHECK(wrong == 0);
    }
}

template <class T>
void test_all() {
    test_dense<T>();
    test_elementwise<T>();
    test_rows<T>();
    test_updates<T>();
}

}  // namespace

int main() {
    return on_every_isa([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            test_all<float>();
            test_all<double>();
        }
    });
}
