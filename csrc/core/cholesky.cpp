// a = r^T r with r upper triangular, and u = r^-1. Both by rows: the inner loops add multiples of rows to
// rows.
#include "cholesky.hpp"

#include <cmath>
#include <vector>

namespace closedform {
namespace {

using std::ptrdiff_t;

// to[j] -= factor * from[j] for j in [begin, end)
void subtract(double* __restrict to, const double* __restrict from, double factor, ptrdiff_t begin,
              ptrdiff_t end) {
    for (ptrdiff_t j = begin; j < end; ++j) to[j] -= factor * from[j];
}

// The upper triangle of r (D, D), a to begin with, becomes its factor.
bool factor(double* r, ptrdiff_t D) {
    for (ptrdiff_t i = 0; i < D; ++i) {
        double* const row = r + i * D;
        if (!(row[i] > 0) || !std::isfinite(row[i])) return false;  // NaN too
        const double root = std::sqrt(row[i]);
        for (ptrdiff_t j = i; j < D; ++j) row[j] /= root;
        for (ptrdiff_t k = i + 1; k < D; ++k) subtract(r + k * D, row, row[k], k, D);
    }
    return true;
}

}  // namespace

bool inverse_cholesky(double* u, const double* a, ptrdiff_t D) {
    std::vector<double> r(a, a + D * D);
    if (!factor(r.data(), D)) return false;
    for (ptrdiff_t i = D - 1; i >= 0; --i) {
        // r[i] u = e_i:  u[i] = (e_i - sum over k > i of r[i][k] u[k]) / r[i][i]
        double* const row = u + i * D;
        const double* const factors = r.data() + i * D;
        for (ptrdiff_t j = 0; j < D; ++j) row[j] = j == i;
        for (ptrdiff_t k = i + 1; k < D; ++k) subtract(row, u + k * D, factors[k], k, D);
        for (ptrdiff_t j = i; j < D; ++j) row[j] /= factors[i];
    }
    return true;
}

}  // namespace closedform
