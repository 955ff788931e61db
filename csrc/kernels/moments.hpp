// Mean and covariance of rows in one pass: x (N, D).
//
// Rows come in chunks that fit in L2. A chunk is centred at the mean of the rows before it, so nothing large
// is ever squared and cancelled, and its scatter joins theirs by the formulas of Chan, Golub and LeVeque
// (Updating formulae and a pairwise algorithm for computing sample variances, 1979). Chunks and the order of
// merging depend on N and D alone, so the bits do not depend on the number of threads.
#pragma once

#include "../core/gemm.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

inline constexpr ptrdiff_t moment_rows = block_k;     // rows of a chunk: one walk of the tile kernel along k
inline constexpr ptrdiff_t moment_groups = 64;        // tasks, each with statistics of its own ...
inline constexpr ptrdiff_t moment_doubles = 1 << 20;  // ... of so many elements in all,
inline constexpr ptrdiff_t fewest_groups = 8;  // or, if fewer would fit, one: then tasks share its columns

// Columns are handled in panels as wide as a tile; D is padded to whole panels with columns of zeros.
template <class T>
CF_INLINE ptrdiff_t padded(ptrdiff_t D) {
    return ceil_div(D, tile_columns<T>) * tile_columns<T>;
}

// Statistics of n rows x. P is the padded D; of the scatter, only what is on or above the diagonal counts.
// Means are told from an origin, a row of the data: even in float64, the rounding of a mean far from 0 would
// be seen in the scatter. Statistics to be merged share the origin.
struct Moments {
    double n;
    double* mean;     // (P,): that of x - origin
    double* scatter;  // (P, P): sum over the rows of (x - origin - mean)(x - origin - mean)^T

    static constexpr ptrdiff_t size(ptrdiff_t P) { return P * (P + 1); }

    // None yet, in a lease of `size(P)` elements.
    CF_INLINE static Moments none(double* memory, ptrdiff_t P) {
        for (ptrdiff_t i = 0; i < size(P); ++i) memory[i] = 0;
        return {0, memory, memory + P};
    }
};

// a = a and b together. With d = mean_b - mean_a:
//   scatter = scatter_a + scatter_b + (n_a n_b / n) d d^T        mean = mean_a + (n_b / n) d
inline void merge(Moments& a, const Moments& b, ptrdiff_t P) {
    const double n = a.n + b.n, weight = a.n * b.n / n;
    for (ptrdiff_t i = 0; i < P; ++i) {
        const double di = weight * (b.mean[i] - a.mean[i]);
        for (ptrdiff_t j = i; j < P; ++j)
            a.scatter[i * P + j] += b.scatter[i * P + j] + di * (b.mean[j] - a.mean[j]);
    }
    for (ptrdiff_t i = 0; i < P; ++i) a.mean[i] += (b.mean[i] - a.mean[i]) * (b.n / n);
    a.n = n;
}

// Working memory of a chunk of `rows`.
template <class T>
struct Chunk {
    ptrdiff_t rows, D, P;
    double *e, *me, *d, *wd;  // (P,) the terms of the corrections: see add_chunk
    T *shift, *rest;          // (P,) their sum is the shift, to twice the precision of T
    T *sum, *used;            // (P,) used: whether D has the column, 1 or 0
    T* z;                     // panels [P / NR][rows][NR]

    static constexpr ptrdiff_t bytes(ptrdiff_t rows, ptrdiff_t P) {
        return P * (4 * sizeof(double) + (4 + rows) * sizeof(T));
    }

    Chunk(const Scratch& scratch, ptrdiff_t most_rows, ptrdiff_t D_)
        : rows(most_rows), D(D_), P(padded<T>(D_)), e(scratch.as<double>()), me(e + P), d(me + P), wd(d + P) {
        shift = reinterpret_cast<T*>(wd + P);
        rest = shift + P;
        sum = rest + P;
        used = sum + P;
        z = used + P;
        for (ptrdiff_t j = 0; j < P; ++j) {
            e[j] = me[j] = d[j] = wd[j] = 0;
            shift[j] = rest[j] = 0;
            used[j] = j < D;
        }
    }

    // Lets the shift of column j be origin + value. Were it rounded to T, data on a coarse grid would be
    // centred at a point of the grid, and every sum of their squares rounded the same way.
    void set_shift(ptrdiff_t j, double origin, double value) const {
        shift[j] = T(origin + value);
        rest[j] = T(value - (double(shift[j]) - origin));
    }

    // z = x - shift, zero in columns that D does not have; sum = its column sums. A few rows at a time, so
    // that x is read in order.
    void centre(const T* x) const {
        constexpr ptrdiff_t NR = tile_columns<T>, few = 8;
        for (ptrdiff_t j = 0; j < P; ++j) sum[j] = 0;
        for (ptrdiff_t n = 0; n < rows; n += few)
            for (ptrdiff_t j = 0; j < P; j += NR) {
                for (ptrdiff_t r = n + 2 * few; r < n + 3 * few;
                     ++r)  // hardware does not follow this pattern
                    for (ptrdiff_t v = 0; v < NR; v += ptrdiff_t(64 / sizeof(T)))
                        __builtin_prefetch(x + r * D + j + v);
                const ptrdiff_t end = smaller(rows, n + few);
                if (j + NR <= D)
                    centre_panel<true>(x, n, end, j);
                else
                    centre_panel<false>(x, n, end, j);
            }
    }

    template <bool whole>
    CF_INLINE void centre_panel(const T* x, ptrdiff_t n, ptrdiff_t end, ptrdiff_t j) const {
        constexpr ptrdiff_t V = tile_vectors, NR = tile_columns<T>, W = lanes<T>;
        const T *from = x + n * D + j, *const x_end = x + rows * D;
        T* to = z + j * rows + n * NR;
        Vec<T> c[V], c_rest[V], total[V];
#pragma GCC unroll 2
        for (ptrdiff_t v = 0; v < V; ++v) {
            c[v] = load<T>(shift + j + v * W), c_rest[v] = load<T>(rest + j + v * W);
            total[v] = load<T>(sum + j + v * W);
        }
        for (ptrdiff_t r = n; r < end; ++r, from += D, to += NR)
#pragma GCC unroll 2
            for (ptrdiff_t v = 0; v < V; ++v) {
                const T* const at = from + v * W;
                Vec<T> centred;
                if (whole) {
                    centred = load<T>(at) - c[v] - c_rest[v];
                } else {  // what a vector reads beyond the row does not count
                    const ptrdiff_t left = x_end - at;
                    centred =
                        (left >= W ? load<T>(at) : load_partial<T>(at, larger(0, left))) - c[v] - c_rest[v];
                    centred = select(load<T>(used + j + v * W) != Vec<T>{}, centred, Vec<T>{});
                }
                store<T>(to + v * W, centred);
                total[v] += centred;
            }
#pragma GCC unroll 2
        for (ptrdiff_t v = 0; v < V; ++v) store<T>(sum + j + v * W, total[v]);
    }
};

// A vector of doubles, from as many elements.
template <class T>
CF_INLINE Vec<double> widened(const T* p) {
    typedef T elements
        __attribute__((vector_size(lanes<double> * sizeof(T)), aligned(alignof(T)), may_alias));
    return __builtin_convertvector(*reinterpret_cast<const elements*>(p), Vec<double>);
}

// A tile of Z^T Z with its corrections, MR rows by one panel, joins the scatter.
template <int MR, class T>
CF_INLINE void add_tile(ptrdiff_t m, const Chunk<T>& chunk, const Moments& to, ptrdiff_t i, ptrdiff_t j) {
    if constexpr (MR > 1)
        if (m < MR) return add_tile<MR - 1, T>(m, chunk, to, i, j);
    constexpr ptrdiff_t NR = tile_columns<T>;
    double* const scatter = to.scatter + i * chunk.P + j;
    for (int r = 0; r < MR; ++r) __builtin_prefetch(scatter + r * chunk.P, 1);
    Vec<T> acc[MR][tile_vectors] = {};
    tile<MR, tile_vectors, T>(chunk.rows, InPlace<T>{chunk.z + i / NR * NR * chunk.rows + i % NR, 1, NR},
                              chunk.z + j * chunk.rows, NR, acc);
    alignas(CF_VECTOR_BYTES) T sums[MR * NR];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < tile_vectors; ++v) store<T>(sums + r * NR + v * lanes<T>, acc[r][v]);
    const double *const e = chunk.e + j, *const d = chunk.d + j;
    for (int r = 0; r < MR; ++r) {
        const double me = chunk.me[i + r], wd = chunk.wd[i + r];
        double* const row = scatter + r * chunk.P;
#pragma GCC unroll 16
        for (ptrdiff_t v = 0; v < NR; v += lanes<double>) {
            const Vec<double> product = widened<T>(sums + r * NR + v) - me * load<double>(e + v);
            store<double>(row + v, load<double>(row + v) + (product + wd * load<double>(d + v)));
        }
    }
}

// All tiles on or above the diagonal. A panel serves as B and, some of its columns at a time, as A.
template <class T>
inline void add_tiles(const Chunk<T>& chunk, const Moments& to) {
    constexpr ptrdiff_t NR = tile_columns<T>, strips = (NR + tile_rows - 1) / tile_rows;
    constexpr ptrdiff_t rows = (NR + strips - 1) / strips;
    const ptrdiff_t panels = chunk.P / NR;
    const ptrdiff_t tasks = chunk.rows * chunk.P * chunk.P < 2 * task_flops ? 1 : panels;
    parallel_for(tasks, [&](ptrdiff_t task) {
        for (ptrdiff_t p = panels - 1 - task; p >= 0; p -= tasks)  // the longest columns first
            for (ptrdiff_t q = 0; q <= p; ++q)
                for (ptrdiff_t i = q * NR; i < smaller(chunk.D, (q + 1) * NR); i += rows)
                    add_tile<rows, T>(smaller(rows, smaller(chunk.D, (q + 1) * NR) - i), chunk, to, i,
                                      p * NR);
    });
}

// Adds the m rows x (m, D) of a chunk to n others. With any shift c, z = x - c, and e the mean of z, the rows
// have the mean c + e, which lies d from that of the others:
//   scatter += Z^T Z - m e e^T + (n m / (n + m)) d d^T        mean += (m / (n + m)) d
// The shift is the others' mean: then, with n >= m, what cancels is less than what is added. The
// first chunk has its own mean for a shift.
template <class T>
inline void add_chunk(Moments& to, const Chunk<T>& chunk, const T* x, const T* origin) {
    const double m = double(chunk.rows), n = to.n + m;
    for (ptrdiff_t j = 0; j < chunk.D; ++j) chunk.set_shift(j, origin[j], to.mean[j]);
    chunk.centre(x);
    if (to.n == 0) {
        for (ptrdiff_t j = 0; j < chunk.D; ++j) chunk.set_shift(j, origin[j], double(chunk.sum[j]) / m);
        chunk.centre(x);
    }
    for (ptrdiff_t j = 0; j < chunk.D; ++j) {
        chunk.e[j] = double(chunk.sum[j]) / m;
        chunk.d[j] = chunk.e[j] + (double(chunk.shift[j]) - origin[j] + double(chunk.rest[j]) - to.mean[j]);
        chunk.me[j] = m * chunk.e[j];
        chunk.wd[j] = to.n * m / n * chunk.d[j];
        to.mean[j] += m / n * chunk.d[j];
    }
    to.n = n;
    add_tiles(chunk, to);
}

// The moments of x (N, D), N >= 1. Groups of chunks are tasks, with statistics of their own; then
// groups are merged in pairs, pairs of pairs, ...
template <class T>
struct MomentGroups {
    ptrdiff_t N, D, P, chunks, chunks_each, count;

    MomentGroups(ptrdiff_t N_, ptrdiff_t D_)
        : N(N_), D(D_), P(padded<T>(D_)), chunks(ceil_div(N_, moment_rows)) {
        const ptrdiff_t fitting = moment_doubles / Moments::size(larger(P, 1));
        const ptrdiff_t most = fitting < fewest_groups ? 1 : smaller(moment_groups, fitting);
        const ptrdiff_t least_work = ceil_div(task_flops, moment_rows * larger(P * P, 1));
        chunks_each = larger(ceil_div(chunks, most), least_work);
        count = ceil_div(chunks, chunks_each);
    }

    ptrdiff_t bytes() const { return count * (Moments::size(P) * sizeof(double) + sizeof(Moments)); }

    Moments collect(const Scratch& scratch, const T* x) const {
        double* const memory = scratch.as<double>();
        Moments* const groups = reinterpret_cast<Moments*>(memory + count * Moments::size(P));
        parallel_for(count, [=, *this](ptrdiff_t g) {
            const ptrdiff_t begin = g * chunks_each * moment_rows;
            const ptrdiff_t end = smaller(N, begin + chunks_each * moment_rows);
            const ptrdiff_t most_rows = smaller(moment_rows, end - begin);
            const Scratch working(Chunk<T>::bytes(most_rows, P));
            Chunk<T> chunk(working, most_rows, D);
            groups[g] = Moments::none(memory + g * Moments::size(P), P);
            for (ptrdiff_t n = begin; n < end; n += moment_rows) {
                chunk.rows = smaller(moment_rows, end - n);
                add_chunk(groups[g], chunk, x + n * D, x);
            }
        });
        for (ptrdiff_t step = 1; step < count; step *= 2)
            parallel_for(ceil_div(count - step, 2 * step), [=, *this](ptrdiff_t pair) {
                merge(groups[2 * step * pair], groups[2 * step * pair + step], P);
            });
        return groups[0];
    }
};

// mean (D,) and cov (D, D) = scatter / divisor. The mean is not rounded to T: of batches that are merged, its
// rounding would pass for variance. A column with an infinity or NaN has the mean that its sum gives, and NaN
// as its covariance with any.
template <class T>
void covariance(double* mean, T* cov, const T* x, ptrdiff_t N, ptrdiff_t D, double divisor) {
    const MomentGroups<T> groups(N, D);
    const Scratch scratch(groups.bytes());
    const Moments moments = groups.collect(scratch, x);
    double* const spoiled = moments.mean;  // from now on: 0 or NaN
    for (ptrdiff_t j = 0; j < D; ++j) {
        double m = x[j] + moments.mean[j];
        spoiled[j] = m - m;
        if (!(spoiled[j] == 0)) {  // a running mean no longer knows which
            m = 0;
            for (ptrdiff_t n = 0; n < N; ++n) m += double(x[n * D + j]) / double(N);
        }
        mean[j] = m;
    }
    const ptrdiff_t rows = D < 256 ? larger(D, 1) : 16;
    parallel_for(ceil_div(D, rows), [=, P = groups.P, scatter = moments.scatter](ptrdiff_t task) {
        const auto entry = [&](ptrdiff_t i, ptrdiff_t j) {
            return T(scatter[i * P + j] / divisor + (spoiled[i] + spoiled[j]));
        };
        const ptrdiff_t begin = task * rows, end = smaller(D, begin + rows);
        for (ptrdiff_t i = begin; i < end; ++i)
            for (ptrdiff_t j = i; j < D; ++j) cov[i * D + j] = entry(i, j);
        for (ptrdiff_t j = 0; j < end; ++j)  // mirrored; scatter is read along its rows
            for (ptrdiff_t i = larger(begin, j + 1); i < end; ++i) cov[i * D + j] = entry(j, i);
    });
}

}  // namespace
}  // namespace closedform::CF_ISA
