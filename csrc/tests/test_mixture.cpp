// Tests of the kernels of mixtures without Python: every table that this CPU can run, against the formulas in
// long double.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "arrays.hpp"
#include "check.hpp"
#include "core/parallel.hpp"

using namespace closedform;
using std::ptrdiff_t;

namespace {

using Sums = Array<double>;
using Real = long double;

// A mixture whose components overlap, and N samples (T) of weights between 0 and 1.
template <class T>
struct Case {
    ptrdiff_t N, D, K, P;  // P numbers in the precisions' factors
    CovarianceType type;
    bool weighted, given;  // with weights; with responsibilities of its own
    Array<double> means, u, offset, centre, weights;
    Array<T> x, responsibilities;

    static ptrdiff_t parameters(CovarianceType type, ptrdiff_t D, ptrdiff_t K) {
        return type == CovarianceType::full   ? K * D * D
               : type == CovarianceType::tied ? D * D
               : type == CovarianceType::diag ? K * D
                                              : K;
    }

    Case(ptrdiff_t n, ptrdiff_t d, ptrdiff_t k, CovarianceType t)
        : N(n),
          D(d),
          K(k),
          P(parameters(t, d, k)),
          type(t),
          weighted(random_below(2)),
          given(random_below(4) == 0),
          means(fractions<double>(k * d)),
          u(fractions<double>(P)),
          offset(fractions<double>(k)),
          centre(d),
          weights(fractions<double>(n)),
          x(fractions<T>(n * d)),
          responsibilities(fractions<T>(n * k)) {
        for (ptrdiff_t i = 0; i < P; ++i) u[i] = entry(i);
        for (ptrdiff_t i = 0; i < N; ++i) weights[i] = i % 5 ? std::fabs(weights[i]) : 0;
        for (ptrdiff_t i = 0; i < N * K; ++i) responsibilities[i] = std::fabs(responsibilities[i]);
        if (type == CovarianceType::tied)
            for (ptrdiff_t j = 0; j < D; ++j) centre[j] = 0.1 * double(j % 3);
    }

    // Factors are upper triangular, their diagonals positive.
    double entry(ptrdiff_t i) const {
        if (type == CovarianceType::diag || type == CovarianceType::spherical) return 1 + std::fabs(u[i]);
        const ptrdiff_t row = i / D % D, column = i % D;
        return row == column ? 1 + std::fabs(u[i]) : row < column ? u[i] / double(D) : 0;
    }

    Mixture mixture() const { return {D, K, type, offset.get(), means.get(), u.get(), centre.get()}; }
    ptrdiff_t size() const { return 1 + K + K * D + P; }

    Sums sums() const {
        Sums s(size());
        table<T>().gmm_sums(s.get(), x.get(), given ? responsibilities.get() : nullptr,
                            weighted ? weights.get() : nullptr, N, mixture());
        return s;
    }

    Real deviation(ptrdiff_t i, ptrdiff_t k, ptrdiff_t d) const {
        return Real(x[i * D + d]) - means[k * D + d];
    }

    Real log_density(ptrdiff_t i, ptrdiff_t k) const {
        Real square = 0;
        for (ptrdiff_t j = 0; j < D; ++j) {
            Real y = 0;
            if (type == CovarianceType::diag || type == CovarianceType::spherical)
                y = deviation(i, k, j) * u[type == CovarianceType::diag ? k * D + j : k];
            else
                for (ptrdiff_t d = 0; d <= j; ++d)
                    y += deviation(i, k, d) * u[(type == CovarianceType::full ? k * D * D : 0) + d * D + j];
            square += y * y;
        }
        return offset[k] - square / 2;
    }

    // The log-likelihood of sample i, and its responsibilities.
    Real expect(ptrdiff_t i, std::vector<Real>& r) const {
        Real sum = 0;
        for (ptrdiff_t k = 0; k < K; ++k) sum += r[std::size_t(k)] = std::exp(log_density(i, k));
        for (ptrdiff_t k = 0; k < K; ++k) r[std::size_t(k)] /= sum;
        return std::log(sum);
    }

    void check() const {
        std::vector<Real> want(std::size_t(size()), 0), r(std::size_t(K), 0);
        Array<T> log_likelihood(N, T(NAN)), found(N * K, T(NAN));
        table<T>().gmm_e_step(log_likelihood.get(), found.get(), x.get(), N, mixture());
        bool e_step = true;
        for (ptrdiff_t i = 0; i < N; ++i) {
            const Real l = expect(i, r), weight = weighted ? weights[i] : 1;
            e_step &= close<T>(log_likelihood[i], double(l), double(D));
            for (ptrdiff_t k = 0; k < K; ++k) e_step &= close<T>(found[i * K + k], double(r[std::size_t(k)]));
            if (!given) want[0] += weight * l;
            for (ptrdiff_t k = 0; k < K; ++k)
                add(want, i, k, weight * (given ? Real(responsibilities[i * K + k]) : r[std::size_t(k)]));
        }
        const Sums got = sums();
        bool all = true;
        for (ptrdiff_t i = 0; i < size(); ++i)
            all &= close<double>(got[i], double(want[std::size_t(i)]), double(N * (i ? 1 : D)));
        CHECK(e_step);
        CHECK(all);
        if (!(e_step && all))
            std::printf("  with %s, float%d, type %d, N %td, D %td, K %td, weighted %d, given %d\n",
                        kernels().isa, int(8 * sizeof(T)), int(type), N, D, K, weighted, given);
    }

    // What sample i adds to the sums for component k, of which it has the share r.
    void add(std::vector<Real>& sums, ptrdiff_t i, ptrdiff_t k, Real r) const {
        Real* const first = &sums[std::size_t(1 + K)] + k * D;
        Real* const second = &sums[std::size_t(1 + K)] + K * D;
        sums[std::size_t(1 + k)] += r;
        for (ptrdiff_t d = 0; d < D; ++d) {
            const Real z = deviation(i, k, d);
            first[d] += r * z;
            if (type == CovarianceType::diag) second[k * D + d] += r * z * z;
            if (type == CovarianceType::spherical) second[k] += r * z * z;
            if (type == CovarianceType::full)
                for (ptrdiff_t e = 0; e < D; ++e) second[(k * D + d) * D + e] += r * z * deviation(i, k, e);
            if (type == CovarianceType::tied)
                for (ptrdiff_t e = 0; e < D; ++e)
                    second[d * D + e] +=
                        r * (x[i * D + d] - Real(centre[d])) * (x[i * D + e] - Real(centre[e]));
        }
    }
};

constexpr CovarianceType types[] = {CovarianceType::full, CovarianceType::tied, CovarianceType::diag,
                                    CovarianceType::spherical};

// Around vectors, tiles of 2 to 4 features, chunks of 32, 64 and 128 samples.
template <class T>
void check_table() {
    for (const CovarianceType type : types)
        for (const ptrdiff_t D : {1, 2, 3, 4, 5, 7, 8, 16, 17, 33})
            for (const ptrdiff_t K : {1, 2, 5, 17})
                for (const ptrdiff_t N : {1, 3, 31, 64, 129, 300}) Case<T>(N, D, K, type).check();
}

template <class T>
void check_threads() {
    for (const CovarianceType type : types) {
        const Case<T> one(20'001, 9, 4, type);
        set_num_threads(1);
        const Sums alone = one.sums();
        for (const int threads : {2, 3, 7}) {
            set_num_threads(threads);
            CHECK(std::memcmp(one.sums().get(), alone.get(), std::size_t(alone.n) * sizeof(double)) == 0);
        }
    }
}

}  // namespace

int main() {
    return on_every_isa([] {
        check_table<float>();
        check_table<double>();
        check_threads<float>();
        check_threads<double>();
    });
}
