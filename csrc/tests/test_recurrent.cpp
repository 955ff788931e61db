// rnn and lstm against plain loops in double precision, with every ISA: sizes around the vectors and tiles,
// both ways to cut a step, lengths, both directions, and the bits for any number of threads.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "arrays.hpp"
#include "core/parallel.hpp"

using namespace closedform;

namespace {

struct Case {
    ptrdiff_t T, N, D, H;
};

// One row at a time; rows in blocks; units in blocks, for the weights are large or the rows few; steps too
// few to pack the weights.
constexpr Case cases[] = {{1, 1, 1, 1},   {1, 3, 2, 5},   {3, 2, 1, 9},   {6, 1, 3, 17},
                          {5, 1, 4, 70},  {7, 3, 2, 33},  {4, 7, 3, 19},  {9, 17, 5, 12},
                          {5, 33, 2, 16}, {4, 5, 3, 130}, {4, 18, 2, 300}};

// The arrays of one case, and what the kernels make of them. G gates: 1 is an rnn, 4 an lstm.
template <class T>
struct Layer {
    Case size;
    ptrdiff_t G, A = G * size.H, state = size.N * size.H, all = size.T * state;
    bool ragged, reverse, plain;  // plain: relu, or the identity
    Array<T> x = fractions<T>(size.T * size.N * size.D), w_x = fractions<T>(size.D * A);
    Array<T> w_h = fractions<T>(size.H * A), b = fractions<T>(A), h0 = fractions<T>(state);
    Array<T> c0 = fractions<T>(state), dy = fractions<T>(all), dh_last = fractions<T>(state);
    Array<T> dc_last = fractions<T>(state);
    Array<std::int64_t> lengths{size.N};

    Layer(Case s, ptrdiff_t gates, bool ragged, bool reverse, bool plain)
        : size(s), G(gates), ragged(ragged), reverse(reverse), plain(plain) {
        const T scale = T(1 / std::sqrt(double(size.H)));
        for (ptrdiff_t i = 0; i < w_h.n; ++i) w_h[i] *= scale;
        for (ptrdiff_t n = 0; n < size.N; ++n)
            lengths[n] = n == 0 || !ragged ? size.T : random_below(int(size.T) + 1);
        for (ptrdiff_t n = 0; n < size.N; ++n)  // nothing of x in the padding is read
            for (ptrdiff_t t = lengths[n]; t < size.T; ++t)
                for (ptrdiff_t d = 0; d < size.D; ++d) x[(t * size.N + n) * size.D + d] = T(NAN);
    }

    // h, h_last, c, c_last, gates, dx, dw_x, dw_h, db, dh0, dc0; an rnn leaves those of c and the gates at 0.
    std::vector<Array<T>> run() const {
        std::vector<Array<T>> r;
        for (ptrdiff_t n : {all, state, all, state, size.T * size.N * A, x.n, w_x.n, w_h.n, A, state, state})
            r.emplace_back(n);
        const Recurrence to{size.T, size.N, size.D, size.H, ragged ? lengths.get() : nullptr, reverse};
        const auto at = [&](int i) { return r[std::size_t(i)].get(); };
        if (G == 1) {
            table<T>().rnn(at(0), at(1), x.get(), w_x.get(), w_h.get(), b.get(), h0.get(), to, plain);
            table<T>().rnn_backward(at(5), at(6), at(7), at(8), at(9), dy.get(), dh_last.get(), at(0),
                                    x.get(), w_x.get(), w_h.get(), h0.get(), to, plain);
        } else {
            table<T>().lstm(at(0), at(1), at(3), at(2), at(4), x.get(), w_x.get(), w_h.get(), b.get(),
                            h0.get(), c0.get(), to, plain);
            table<T>().lstm_backward(at(5), at(6), at(7), at(8), at(9), at(10), dy.get(), dh_last.get(),
                                     dc_last.get(), at(2), at(4), at(0), x.get(), w_x.get(), w_h.get(),
                                     h0.get(), c0.get(), to, plain);
        }
        return r;
    }
};

double sigmoid(double z) {
    return 1 / (1 + std::exp(-z));
}

// The same by plain loops, a row after the other.
template <class T>
struct Naive {
    const Layer<T>& l;
    const ptrdiff_t N = l.size.N, D = l.size.D, H = l.size.H, A = l.A;
    std::vector<std::vector<double>> r;

    explicit Naive(const Layer<T>& layer) : l(layer) {
        for (ptrdiff_t n :
             {l.all, l.state, l.all, l.state, l.size.T * N * A, l.x.n, l.w_x.n, l.w_h.n, A, l.state, l.state})
            r.emplace_back(std::size_t(n));
        for (ptrdiff_t n = 0; n < N; ++n) row(n);
    }

    double phi(double z) const { return !l.plain ? std::tanh(z) : l.G == 1 ? std::fmax(0, z) : z; }
    double slope(double y) const { return !l.plain ? 1 - y * y : l.G == 1 ? double(y > 0) : 1; }
    double& at(int i, ptrdiff_t k) { return r[std::size_t(i)][std::size_t(k)]; }

    void row(ptrdiff_t n) {
        const ptrdiff_t steps = l.lengths[n];
        std::vector<std::vector<double>> h, c;  // the states after 0, 1, ... steps
        h.emplace_back(l.h0.get() + n * H, l.h0.get() + (n + 1) * H);
        c.emplace_back(l.c0.get() + n * H, l.c0.get() + (n + 1) * H);
        const auto place = [&](ptrdiff_t s) { return (l.reverse ? steps - 1 - s : s) * N + n; };
        for (ptrdiff_t s = 0; s < steps; ++s) forward(place(s), h, c);
        for (ptrdiff_t u = 0; u < H; ++u) {
            at(1, n * H + u) = h.back()[std::size_t(u)];
            if (l.G == 4) at(3, n * H + u) = c.back()[std::size_t(u)];
        }
        std::vector<double> dh(l.dh_last.get() + n * H, l.dh_last.get() + (n + 1) * H);
        std::vector<double> dc(l.dc_last.get() + n * H, l.dc_last.get() + (n + 1) * H);
        for (ptrdiff_t s = steps - 1; s >= 0; --s)
            backward(place(s), h[std::size_t(s)], c[std::size_t(s)], dh, dc);
        for (ptrdiff_t u = 0; u < H; ++u) {
            at(9, n * H + u) = dh[std::size_t(u)];
            if (l.G == 4) at(10, n * H + u) = dc[std::size_t(u)];
        }
    }

    void forward(ptrdiff_t p, std::vector<std::vector<double>>& hs, std::vector<std::vector<double>>& cs) {
        std::vector<double> a(l.b.get(), l.b.get() + A), h(std::size_t(H), 0), c(std::size_t(H), 0);
        for (ptrdiff_t j = 0; j < A; ++j) {
            for (ptrdiff_t d = 0; d < D; ++d)
                a[std::size_t(j)] += double(l.x[p * D + d]) * double(l.w_x[d * A + j]);
            for (ptrdiff_t k = 0; k < H; ++k)
                a[std::size_t(j)] += hs.back()[std::size_t(k)] * double(l.w_h[k * A + j]);
        }
        for (ptrdiff_t u = 0; u < H; ++u) {
            const auto z = [&](ptrdiff_t g) { return a[std::size_t(g * H + u)]; };
            double& h_t = h[std::size_t(u)];
            if (l.G == 1) {
                h_t = phi(z(0));
            } else {
                const double gates[] = {sigmoid(z(0)), sigmoid(z(1)), phi(z(2)), sigmoid(z(3))};
                c[std::size_t(u)] = gates[1] * cs.back()[std::size_t(u)] + gates[0] * gates[2];
                h_t = gates[3] * phi(c[std::size_t(u)]);
                for (ptrdiff_t g = 0; g < 4; ++g) at(4, p * A + g * H + u) = gates[g];
                at(2, p * H + u) = c[std::size_t(u)];
            }
            at(0, p * H + u) = h_t;
        }
        hs.push_back(h);
        cs.push_back(c);
    }

    void backward(ptrdiff_t p, const std::vector<double>& h_before, const std::vector<double>& c_before,
                  std::vector<double>& dh, std::vector<double>& dc) {
        std::vector<double> da(std::size_t(A), 0);
        for (ptrdiff_t u = 0; u < H; ++u) {
            const double d = dh[std::size_t(u)] + double(l.dy[p * H + u]);
            if (l.G == 1) {
                da[std::size_t(u)] = d * slope(at(0, p * H + u));
                continue;
            }
            const double* g = &at(4, p * A + u);
            const double i = g[0], f = g[H], gg = g[2 * H], o = g[3 * H], y = phi(at(2, p * H + u));
            double& dc_t = dc[std::size_t(u)];
            dc_t += d * o * slope(y);
            da[std::size_t(u)] = dc_t * gg * i * (1 - i);
            da[std::size_t(H + u)] = dc_t * c_before[std::size_t(u)] * f * (1 - f);
            da[std::size_t(2 * H + u)] = dc_t * i * slope(gg);
            da[std::size_t(3 * H + u)] = d * y * o * (1 - o);
            dc_t *= f;
        }
        std::fill(dh.begin(), dh.end(), 0);
        for (ptrdiff_t j = 0; j < A; ++j) {
            const double d = da[std::size_t(j)];
            at(8, j) += d;
            for (ptrdiff_t k = 0; k < D; ++k) {
                at(6, k * A + j) += double(l.x[p * D + k]) * d;
                at(5, p * D + k) += d * double(l.w_x[k * A + j]);
            }
            for (ptrdiff_t k = 0; k < H; ++k) {
                at(7, k * A + j) += h_before[std::size_t(k)] * d;
                dh[std::size_t(k)] += d * double(l.w_h[k * A + j]);
            }
        }
    }
};

template <class T>
void check(const Layer<T>& layer) {
    const Naive<T> naive(layer);
    std::vector<Array<T>> first;
    for (int threads : {1, 2, 3, 7}) {
        set_num_threads(threads);
        std::vector<Array<T>> got = layer.run();
        if (threads > 1) {
            for (std::size_t i = 0; i < got.size(); ++i)
                CHECK(std::memcmp(got[i].get(), first[i].get(), std::size_t(got[i].n) * sizeof(T)) == 0);
            continue;
        }
        for (std::size_t i = 0; i < got.size(); ++i) {
            ptrdiff_t wrong = 0;
            for (ptrdiff_t k = 0; k < got[i].n; ++k)
                wrong += !close<T>(double(got[i][k]), naive.r[i][std::size_t(k)], double(layer.size.T));
            CHECK(wrong == 0);
            if (wrong)
                std::printf("G = %td, T = %td, N = %td, D = %td, H = %td, result %zu: %td wrong\n", layer.G,
                            layer.size.T, layer.size.N, layer.size.D, layer.size.H, i, wrong);
        }
        first = std::move(got);
    }
}

template <class T>
void check_all() {
    for (const Case& size : cases)
        for (ptrdiff_t gates : {1, 4})
            for (bool ragged : {false, true})
                for (bool reverse : {false, true})
                    for (bool plain : {false, true}) check(Layer<T>(size, gates, ragged, reverse, plain));
}

}  // namespace

int main() {
    return on_every_isa([] {
        check_all<float>();
        check_all<double>();
    });
}
