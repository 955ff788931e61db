// Batch normalisation: x (m, C), statistics of each channel over the m rows.
//
// Two passes over memory: the first collects statistics, the second, elementwise, walks backwards. What tasks
// find is put together in order, so the bits do not depend on the number of threads.
#pragma once

#include "channels.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

// Statistics of n rows: of each column the mean, told from an origin near the data, and the sum of squared
// deviations from it. Statistics to be merged share the origin.
struct ColumnMoments {
    double n;
    double *mean, *squares;
};

// a = a and b together (Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample
// variances, 1979). With d = mean_b - mean_a,
//   squares = squares_a + squares_b + (n_a n_b / n) d^2        mean = mean_a + (n_b / n) d
inline void merge(ColumnMoments& a, const ColumnMoments& b, ptrdiff_t columns) {
    const double n = a.n + b.n, share = b.n / n, weight = a.n * share;
    for (ptrdiff_t j = 0; j < columns; ++j) {
        const double d = b.mean[j] - a.mean[j];
        a.squares[j] += b.squares[j] + weight * (d * d);
        a.mean[j] += share * d;
    }
    a.n = n;
}

// The moments of rows [begin, end) of x, in some columns, at least one row. A chunk is centred at a shift:
// with z = x - shift, its squares are sum z^2 - (sum z)^2 / m. What cancels there is of the size of what
// stays: the first shift is the mean of a quarter of its chunk, so that m (mean - shift)^2 is at most 4 times
// the squares; the others are means of all rows before, and those are at least as many.
template <class T>
inline void column_moments(ColumnMoments found, const T* x, const T* origin, ptrdiff_t begin, ptrdiff_t end,
                           ptrdiff_t P, ptrdiff_t columns) {
    const Scratch scratch(3 * columns * sizeof(T));
    T *const shift = scratch.as<T>(), *const sums = shift + columns;
    for (ptrdiff_t j = 0; j < columns; ++j) shift[j] = found.mean[j] = found.squares[j] = 0;
    const ptrdiff_t first = smaller(chunk_rows / 4, end - begin);
    for (ptrdiff_t i = begin; i < begin + first; ++i)
        for (ptrdiff_t j = 0; j < columns; ++j) shift[j] += x[i * P + j] * (T(1) / T(first));

    for (ptrdiff_t i = begin; i < end; i += chunk_rows) {
        const T* const chunk = x + i * P;
        const ptrdiff_t rows = smaller(chunk_rows, end - i);
        column_sums<2>(sums, rows, columns, [=](ptrdiff_t row, ptrdiff_t j, Vec<T>* acc) {
            const Vec<T> z = load<T>(chunk + row * P + j) - load<T>(shift + j);
            acc[0] += z;
            acc[1] += z * z;
        });
        const double m = double(rows), n = double(i - begin) + m, share = m / n;
        const double weight = double(i - begin) * share, one_mth = 1 / m;
        for (ptrdiff_t j = 0; j < columns; ++j) {
            const double z = double(sums[j]), mean = z * one_mth;
            const double d = (double(shift[j]) - double(origin[j])) + mean - found.mean[j];
            found.squares[j] += (double(sums[columns + j]) - z * mean) + weight * (d * d);
            found.mean[j] += share * d;
            shift[j] = T(double(origin[j]) + found.mean[j]);
        }
    }
}

// The moments of the channels, in [0, C) of the result; memory: 2 P doubles a group, at least one.
template <class T>
inline ColumnMoments channel_moments(double* memory, const T* x, const T* origin, const Rows& rows) {
    const ptrdiff_t C = rows.C, P = rows.P;
    const auto moments = [=](double n, ptrdiff_t g, ptrdiff_t j) {
        return ColumnMoments{n, memory + 2 * P * g + j, memory + 2 * P * g + P + j};
    };
    rows.for_tasks([&](ptrdiff_t g, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t j, ptrdiff_t columns) {
        column_moments<T>(moments(0, g, j), x + j, origin + j, begin, end, P, columns);
    });
    ColumnMoments total = moments(double(smaller(rows.group, rows.M)), 0, 0);
    for (ptrdiff_t g = 1; g < rows.groups; ++g)
        merge(total, moments(double(smaller(rows.group, rows.M - g * rows.group)), g, 0), P);
    if (rows.M == 0)
        for (ptrdiff_t j = 0; j < 2 * P; ++j) memory[j] = 0;
    else
        for (ptrdiff_t j = C; j < P; j += C) merge(total, moments(double(rows.M), 0, j), C);
    for (ptrdiff_t i = 0; i < rows.rest; ++i) {  // then P > C, and the next columns have served
        const ColumnMoments single = moments(1, 0, C);
        for (ptrdiff_t c = 0; c < C; ++c) {
            single.mean[c] = double(x[(rows.M * rows.repeat + i) * C + c]) - double(origin[c]);
            single.squares[c] = 0;
        }
        merge(total, single, C);
    }
    return total;
}

// y = (x - centre) * scale + shift, all three (P,). Not x * scale + (shift - centre * scale): that cancels
// where the centre is large.
template <class T>
inline void normalize(T* y, const T* x, T* centre, T* scale, T* shift, ptrdiff_t m, const Rows& rows) {
    repeat_channels(centre, rows);
    repeat_channels(scale, rows);
    repeat_channels(shift, rows);
    map_backwards<T>(m * rows.C, rows.P, 1, y, [=](ptrdiff_t i, ptrdiff_t j, ptrdiff_t n) {
        const Vec<T> z = load_some<T>(x + i, n) - load_some<T>(centre + j, n);
        return z * load_some<T>(scale + j, n) + load_some<T>(shift + j, n);
    });
}

// y (m, C), mean (C,), rstd (C,) = 1 / sqrt(variance + eps)
template <class T>
void batchnorm(T* y, T* mean, T* rstd, const T* x, const T* gamma, const T* beta, ptrdiff_t m, ptrdiff_t C,
               double eps) {
    if (m == 0 || C == 0) {
        for (ptrdiff_t c = 0; c < C; ++c) mean[c] = rstd[c] = T(__builtin_nan(""));
        return;
    }
    const Rows rows(m, C);
    const ptrdiff_t P = rows.P, doubles = 2 * P * larger(rows.groups, 1);
    const Scratch scratch(doubles * sizeof(double) + 4 * P * sizeof(T));
    T* const origin = reinterpret_cast<T*>(scratch.as<double>() + doubles);
    T *const centre = origin + P, *const scale = centre + P, *const shift = scale + P;
    for (ptrdiff_t c = 0; c < C; ++c) origin[c] = x[c];
    repeat_channels(origin, rows);
    const ColumnMoments total = channel_moments(scratch.as<double>(), x, origin, rows);

    double* const r = total.squares;  // from now on 1 / sqrt(variance + eps), in a loop that vectorises
    for (ptrdiff_t c = 0; c < C; ++c) r[c] = 1 / __builtin_sqrt(total.squares[c] / double(m) + eps);
    for (ptrdiff_t c = 0; c < C; ++c) {
        const double a = r[c] * double(gamma[c]);
        mean[c] = centre[c] = T(double(origin[c]) + total.mean[c]);
        rstd[c] = T(r[c]);
        scale[c] = T(a);
        const double rounding = double(centre[c]) - double(origin[c]) - total.mean[c];
        shift[c] = T(double(beta[c]) + rounding * a);
    }
    for (ptrdiff_t c = 0; c < C; ++c)
        if (!(mean[c] - mean[c] == 0)) {  // a running mean no longer tells an infinity from a NaN
            double sum = 0;
            for (ptrdiff_t i = 0; i < m; ++i) sum += double(x[i * C + c]);
            mean[c] = T(sum / double(m));
        }
    normalize(y, x, centre, scale, shift, m, rows);
}

template <class T>
void batchnorm_inference(T* y, const T* x, const T* gamma, const T* beta, const T* mean, const T* var,
                         ptrdiff_t m, ptrdiff_t C, double eps) {
    if (m == 0 || C == 0) return;
    const Rows rows(m, C);
    const Scratch scratch(3 * rows.P * sizeof(T));
    T *const centre = scratch.as<T>(), *const scale = centre + rows.P, *const shift = scale + rows.P;
    for (ptrdiff_t c = 0; c < C; ++c) {
        centre[c] = mean[c];
        scale[c] = T(double(gamma[c]) / __builtin_sqrt(double(var[c]) + eps));
        shift[c] = beta[c];
    }
    normalize(y, x, centre, scale, shift, m, rows);
}

// Three sums of each channel over the rows, in memory[k * P + c]: of dy, of z = x - centre, and of dy z.
// Memory: 3 P doubles a group, at least one.
template <class T>
inline void channel_sums(double* memory, const T* dy, const T* x, const T* centre, const Rows& rows) {
    const ptrdiff_t C = rows.C, P = rows.P, all = 3 * P;
    rows.for_tasks([&](ptrdiff_t g, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t first, ptrdiff_t columns) {
        const Scratch scratch(3 * columns * sizeof(T));
        T* const sums = scratch.as<T>();
        const T* const means = centre + first;
        for (ptrdiff_t i = begin; i < end; i += chunk_rows) {
            const T *const dys = dy + i * P + first, *const xs = x + i * P + first;
            column_sums<3>(sums, smaller(chunk_rows, end - i), columns,
                           [=](ptrdiff_t row, ptrdiff_t j, Vec<T>* acc) {
                               const Vec<T> d = load<T>(dys + row * P + j);
                               const Vec<T> z = load<T>(xs + row * P + j) - load<T>(means + j);
                               acc[0] += d;
                               acc[1] += z;
                               acc[2] += d * z;
                           });
            for (int k = 0; k < 3; ++k) {
                double* const to = memory + all * g + k * P + first;
                for (ptrdiff_t j = 0; j < columns; ++j)
                    to[j] = (i == begin ? 0 : to[j]) + double(sums[k * columns + j]);
            }
        }
    });
    if (rows.M == 0)
        for (ptrdiff_t j = 0; j < all; ++j) memory[j] = 0;
    for (ptrdiff_t g = 1; g < rows.groups; ++g)
        for (ptrdiff_t j = 0; j < all; ++j) memory[j] += memory[all * g + j];
    for (int k = 0; k < 3; ++k)
        for (ptrdiff_t r = 1; r < rows.repeat; ++r)
            for (ptrdiff_t c = 0; c < C; ++c) memory[k * P + c] += memory[k * P + r * C + c];
    for (ptrdiff_t i = rows.M * P; i < rows.M * P + rows.rest * C; ++i) {
        const double d = double(dy[i]), z = double(x[i]) - double(centre[i % C]);
        memory[i % C] += d;
        memory[P + i % C] += z;
        memory[2 * P + i % C] += d * z;
    }
}

// With sums over the rows, z = x - mean as it was rounded, and e = sum z / m, what that left of the mean:
//   dbeta = sum dy     dgamma = rstd s     s = sum dy (z - e) = sum dy z - e sum dy
//   dx = gamma rstd (dy - dbeta / m - (z - e) rstd^2 s / m) = a dy + (b z + c)
template <class T>
void batchnorm_backward(T* dx, T* dgamma, T* dbeta, const T* dy, const T* x, const T* mean, const T* rstd,
                        const T* gamma, ptrdiff_t m, ptrdiff_t C) {
    for (ptrdiff_t c = 0; c < C; ++c) dgamma[c] = dbeta[c] = 0;
    if (m == 0 || C == 0) return;
    const Rows rows(m, C);
    const ptrdiff_t P = rows.P, doubles = 3 * P * larger(rows.groups, 1);
    const Scratch scratch(doubles * sizeof(double) + 4 * P * sizeof(T));
    double* const sums = scratch.as<double>();
    T* const centre = reinterpret_cast<T*>(sums + doubles);
    T *const of_dy = centre + P, *const of_z = of_dy + P, *const constant = of_z + P;
    for (ptrdiff_t c = 0; c < C; ++c) centre[c] = mean[c];
    repeat_channels(centre, rows);
    channel_sums(sums, dy, x, centre, rows);

    const double one_mth = 1 / double(m);
    for (ptrdiff_t c = 0; c < C; ++c) {
        const double sum_dy = sums[c], e = sums[P + c] * one_mth, s = sums[2 * P + c] - e * sum_dy;
        const double r = double(rstd[c]), a = double(gamma[c]) * r, b = -(a * r * r * s * one_mth);
        dgamma[c] = T(s * r);
        dbeta[c] = T(sum_dy);
        of_dy[c] = T(a);
        of_z[c] = T(b);
        constant[c] = T(-(a * sum_dy * one_mth) - b * e);
    }
    repeat_channels(of_dy, rows);
    repeat_channels(of_z, rows);
    repeat_channels(constant, rows);
    map_backwards<T>(m * C, P, 2, dx, [=](ptrdiff_t i, ptrdiff_t j, ptrdiff_t n) {
        const Vec<T> z = load_some<T>(x + i, n) - load_some<T>(centre + j, n);
        const Vec<T> rest = load_some<T>(of_z + j, n) * z + load_some<T>(constant + j, n);
        return load_some<T>(of_dy + j, n) * load_some<T>(dy + i, n) + rest;
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
