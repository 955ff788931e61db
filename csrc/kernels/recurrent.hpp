// What rnn and lstm have in common.
//
// x (T, N, D), h (T, N, H), pre-activations a (T, N, G H), G = 1 for rnn and 4 gates for lstm:
//
//   a_t = x_t w_x + b + h_(t-1) w_h, and a cell makes h_t of a_t.
//
// The first product is done for many steps at once, so are the gradients of the weights, and both are large.
// What remains of a step is a product with w_h, packed once for all steps, and elementwise work on numbers
// that are still in the cache. (After Appleyard et al., arXiv 1604.01946.)
//
// Rows shorter than T carry their state along where they do not take part: forward, h and c hold it until
// clear_padding(); backward, its gradients pass by.
#pragma once

#include "../core/gemm.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

inline constexpr ptrdiff_t chunk_bytes = 4 << 20;       // of pre-activations computed ahead: a share of L3
inline constexpr ptrdiff_t row_block = 8;               // rows that go through all steps together
inline constexpr ptrdiff_t resident_bytes = 512 << 10;  // of weights that stay in L2 while they do
inline constexpr ptrdiff_t pack_steps = 4;              // fewer do not pay for packing the weights

// Time t of step s: time runs backwards in a reverse recurrence.
CF_INLINE ptrdiff_t time_of(const Recurrence& r, ptrdiff_t s) {
    return r.reverse ? r.T - 1 - s : s;
}

CF_INLINE bool takes_part(const Recurrence& r, ptrdiff_t n, ptrdiff_t t) {
    return !r.lengths || t < r.lengths[n];
}

// The time of row n's first step.
CF_INLINE ptrdiff_t first_time(const Recurrence& r, ptrdiff_t n) {
    return !r.reverse ? 0 : (r.lengths ? r.lengths[n] : r.T) - 1;
}

// f(u, count) for the units of a range, a vector of `count` at a time.
template <class T, class F>
CF_INLINE void for_vectors(Range units, const F& f) {
    ptrdiff_t u = units.begin;
    for (; u + lanes<T> <= units.end; u += lanes<T>) f(u, lanes<T>);
    if (u < units.end) f(u, units.end - u);
}

// a (T, N, H) is 0 where a row does not take part.
template <class T>
void clear_padding(T* a, const Recurrence& r) {
    for (ptrdiff_t n = 0; r.lengths && n < r.N; ++n)
        for (ptrdiff_t t = r.lengths[n]; t < r.T; ++t)
            __builtin_memset(a + (t * r.N + n) * r.H, 0, r.H * sizeof(T));
}

// The gradient with respect to the last state: `last`, or zeros.
template <class T>
CF_INLINE void begin_gradient(T* state, const T* last, ptrdiff_t n) {
    last ? __builtin_memcpy(state, last, n * sizeof(T)) : __builtin_memset(state, 0, n * sizeof(T));
}

// Vectors in a row of a panel of weights: with few rows, wide panels keep enough sums in flight to hide the
// latency of FMA.
template <class T>
CF_INLINE ptrdiff_t panel_vectors(ptrdiff_t N, ptrdiff_t columns) {
    if (N == 1 && columns >= 8 * lanes<T>) return 8;
    return N <= 3 ? 4 : tile_vectors;
}

// Weights w (K, parts * columns), packed in panels for the products of all steps; K = 0: none.
template <class T>
class StepWeights {
  public:
    StepWeights(View<T> w, ptrdiff_t K, ptrdiff_t parts, ptrdiff_t columns, ptrdiff_t N)
        : K_(K),
          parts_(parts),
          columns_(columns),
          vectors_(panel_vectors<T>(N, columns)),
          panels_(ceil_div(columns, vectors_ * lanes<T>)),
          memory_(K * parts * panels_ * vectors_ * lanes<T> * sizeof(T)) {
        if (K == 0) return;
        if (vectors_ == 8)
            pack<8>(w);
        else if (vectors_ == 4)
            pack<4>(w);
        else
            pack<tile_vectors>(w);
    }

    // c += a @ w in m rows, the columns `range` of every part.
    void multiply(ptrdiff_t m, const T* a, ptrdiff_t lda, T* c, ptrdiff_t ldc, Range range) const {
        if (vectors_ == 8) return multiply<8>(m, a, lda, c, ldc, range);
        if (vectors_ == 4) return multiply<4>(m, a, lda, c, ldc, range);
        multiply<tile_vectors>(m, a, lda, c, ldc, range);
    }

  private:
    ptrdiff_t K_, parts_, columns_, vectors_, panels_;  // vectors in a row of a panel, panels of a part
    Scratch memory_;

    template <int NV>
    CF_INLINE T* panel(ptrdiff_t i) const {
        return memory_.template as<T>() + i * K_ * (NV * lanes<T>);
    }

    template <int NV>
    void pack(View<T> w) const {
        constexpr ptrdiff_t P = NV * lanes<T>;
        const ptrdiff_t group = larger(1, (1 << 16) / (K_ * P)), all = parts_ * panels_;
        parallel_for(ceil_div(all, group), [=, this](ptrdiff_t task) {
            for (ptrdiff_t i = task * group; i < smaller(all, (task + 1) * group); ++i) {
                const ptrdiff_t j = i % panels_ * P;
                pack_panel<P, T>(K_, smaller(P, columns_ - j), w.at(0, i / panels_ * columns_ + j),
                                 panel<NV>(i));
            }
        });
    }

    template <int NV>
    void multiply(ptrdiff_t rows, const T* a, ptrdiff_t lda, T* c, ptrdiff_t ldc, Range range) const {
        constexpr ptrdiff_t P = NV * lanes<T>;
        const ptrdiff_t kc_max = k_block(K_);
        for (ptrdiff_t k = 0; k < K_; k += kc_max)
            for (ptrdiff_t part = 0; part < parts_; ++part) {
                const Output<T, AddBias<T>> out{c + part * columns_, ldc, {nullptr}, false, false};
                for (ptrdiff_t j = range.begin; j < range.end; j += P)
                    multiply_panel<NV, T>(rows, smaller(kc_max, K_ - k), InPlace<T>{a + k, lda, 1},
                                          panel<NV>(part * panels_ + j / P) + k * P, P, out, j,
                                          smaller(P, columns_ - j));
            }
    }
};

// How the work of the steps is cut. In blocks of rows, each of which goes through all steps on its own;
// or, if there are few rows or the weights do not stay in L2, in blocks of units, which meet after every
// step.
struct StepBlocks {
    ptrdiff_t N, H, rows, units;

    // `weights` numbers of `size` bytes, in panels of `width` columns
    StepBlocks(const Recurrence& r, ptrdiff_t weights, ptrdiff_t size, ptrdiff_t width)
        : N(r.N), H(r.H), rows(larger(1, N)), units(H) {
        if (N >= 2 * row_block && weights * size <= resident_bytes)
            rows = ceil_div(N, N / row_block);
        else
            units = piece(H, smaller(16, 2 * larger(N, 3) * weights / (task_flops / 4)), width);
    }
    bool by_rows() const { return units >= H; }

    // f(i, rows, units) for i = 0, ..., n - 1 in turn, and all blocks.
    template <class F>
    void for_steps(ptrdiff_t n, const F& f) const {
        if (by_rows())
            return parallel_for(ceil_div(N, rows), [=, this, &f](ptrdiff_t block) {
                const Range mine{block * rows, smaller(N, (block + 1) * rows)};
                for (ptrdiff_t i = 0; i < n; ++i) f(i, mine, Range{0, H});
            });
        for (ptrdiff_t i = 0; i < n; ++i)
            parallel_for(ceil_div(H, units), [=, this, &f](ptrdiff_t block) {
                f(i, Range{0, N}, Range{block * units, smaller(H, (block + 1) * units)});
            });
    }
};

// Steps whose pre-activations are computed ahead.
CF_INLINE ptrdiff_t chunk_steps(const Recurrence& r, ptrdiff_t step_bytes) {
    return piece(r.T, ceil_div(r.T * step_bytes, chunk_bytes), 1);
}

// A state (N, H) to begin with: `given`, or zeros.
template <class T>
class InitialState {
  public:
    InitialState(const T* given, ptrdiff_t n) : memory_(given ? 0 : n * sizeof(T)), data_(given) {
        if (given) return;
        __builtin_memset(memory_.template as<T>(), 0, n * sizeof(T));
        data_ = memory_.template as<T>();
    }
    const T* data() const { return data_; }

  private:
    Scratch memory_;
    const T* data_;
};

// The forward pass: a (T, N, G H) and h (T, N, H), step by step. cell(s, t, rows, units) makes h_t of a_t at
// step s, time t.
template <int G, class T, class F>
void run_forward(T* a, T* h, const T* x, const T* w_x, const T* w_h, const T* b, const T* h0,
                 const Recurrence& r, const F& cell) {
    const ptrdiff_t N = r.N, H = r.H, A = G * H;
    const StepBlocks blocks(r, H * A, sizeof(T), panel_vectors<T>(N, H) * lanes<T>);
    const bool packed = r.T >= pack_steps, by_rows = blocks.by_rows();
    const ptrdiff_t parts = by_rows ? 1 : G, columns = A / parts;
    const StepWeights<T> weights({w_h, A, 1}, packed ? H : 0, parts, columns, N);
    const auto before = [=](ptrdiff_t s) { return s ? h + time_of(r, s - 1) * N * H : h0; };

    const ptrdiff_t chunk = chunk_steps(r, N * A * ptrdiff_t(sizeof(T)));
    for (ptrdiff_t s0 = 0; s0 < r.T; s0 += chunk) {
        const ptrdiff_t n = smaller(chunk, r.T - s0), t0 = r.reverse ? r.T - s0 - n : s0;
        gemm<T>(n * N, A, r.D, {x + t0 * N * r.D, r.D, 1}, {w_x, A, 1}, a + t0 * N * A, A, false,
                AddBias<T>{b});
        if (packed) {
            blocks.for_steps(n, [=, &weights](ptrdiff_t i, Range rows, Range units) {
                const ptrdiff_t s = s0 + i, t = time_of(r, s);
                weights.multiply(rows.size(), before(s) + rows.begin * H, H, a + (t * N + rows.begin) * A, A,
                                 by_rows ? Range{0, columns} : units);
                cell(s, t, rows, units);
            });
            continue;
        }
        for (ptrdiff_t s = s0; s < s0 + n; ++s) {
            const ptrdiff_t t = time_of(r, s);
            gemm<T>(N, A, H, {before(s), H, 1}, {w_h, A, 1}, a + t * N * A, A, true, AddBias<T>{nullptr});
            blocks.for_steps(1, [=](ptrdiff_t, Range rows, Range units) { cell(s, t, rows, units); });
        }
    }
}

// The gradients that are sums over all steps, a chunk of da = dL/da at a time; they begin at 0.
template <class T>
struct Gradients {
    T *dx, *dw_x, *dw_h, *db;
};

template <int G, class T>
struct ChunkGradients {
    Gradients<T> to;
    const T *x, *h, *w_x;
    Recurrence r;
    T* first;  // (N, G H) da of every row's first step, which meets h0, or null

    // n steps from time t0 on
    void add(const T* da, ptrdiff_t t0, ptrdiff_t n) const {
        const ptrdiff_t N = r.N, D = r.D, H = r.H, A = G * H, rows = n * N;
        const AddBias<T> nothing{nullptr};
        const View<T> d{da, A, 1};
        gemm<T>(rows, D, A, d, {w_x, 1, A}, to.dx + t0 * N * D, D, false, nothing);

        Scratch memory(r.lengths ? rows * D * sizeof(T) : 0);
        const T* const inputs = r.lengths ? without_padding(memory.as<T>(), t0, n) : x + t0 * N * D;
        gemm<T>(D, A, rows, {inputs, 1, D}, d, to.dw_x, A, true, nothing);
        const T one = 1;
        gemm<T>(1, A, rows, {&one, 0, 0}, d, to.db, A, true, nothing);

        // h_(t-1) of all steps but the first; in reverse, h_(t+1)
        const ptrdiff_t begin = r.reverse ? t0 : larger(1, t0);
        const ptrdiff_t end = r.reverse ? smaller(r.T - 1, t0 + n) : t0 + n;
        const T* const before = h + (begin + (r.reverse ? 1 : -1)) * N * H;
        if (end > begin)
            gemm<T>(H, A, (end - begin) * N, {before, 1, H}, {da + (begin - t0) * N * A, A, 1}, to.dw_h, A,
                    true, nothing);
        for (ptrdiff_t i = 0; first && i < N; ++i) {
            const ptrdiff_t t = first_time(r, i);
            if (t >= t0 && t < t0 + n) copy(first + i * A, da + ((t - t0) * N + i) * A, A);
        }
    }

    void add_first(const T* h0) const {
        const ptrdiff_t A = G * r.H;
        if (first) gemm<T>(r.H, A, r.N, {h0, 1, r.H}, {first, A, 1}, to.dw_h, A, true, AddBias<T>{nullptr});
    }

  private:
    // x of these steps with zeros in the padding, where there may be anything, NaN too.
    const T* without_padding(T* clean, ptrdiff_t t0, ptrdiff_t n) const {
        const ptrdiff_t D = r.D;
        for (ptrdiff_t i = 0; i < n * r.N; ++i)
            if (takes_part(r, i % r.N, t0 + i / r.N))
                copy(clean + i * D, x + (t0 * r.N + i) * D, D);
            else
                __builtin_memset(clean + i * D, 0, D * sizeof(T));
        return clean;
    }
};

// The backward pass. dh (N, H) is the gradient with respect to the state, at first to the last one and in the
// end to h0. cell(s, t, da_t, rows, units) makes da_t (N, G H) of it, and leaves 0 where a row takes part.
template <int G, class T, class F>
void run_backward(const Gradients<T>& to, T* dh, const T* x, const T* h, const T* w_x, const T* w_h,
                  const T* h0, const Recurrence& r, const F& cell) {
    const ptrdiff_t N = r.N, H = r.H, A = G * H;
    const StepBlocks blocks(r, H * A, sizeof(T), panel_vectors<T>(N, H) * lanes<T>);
    const bool packed = r.T >= pack_steps;
    const View<T> w_ht{w_h, 1, A};
    const StepWeights<T> weights(w_ht, packed ? A : 0, 1, H, N);

    const ptrdiff_t chunk = chunk_steps(r, N * A * ptrdiff_t(sizeof(T)));
    Scratch memory(chunk * N * A * sizeof(T)), first_rows(h0 ? N * A * sizeof(T) : 0);
    if (h0) __builtin_memset(first_rows.as<T>(), 0, N * A * sizeof(T));
    __builtin_memset(to.dw_x, 0, r.D * A * sizeof(T));
    __builtin_memset(to.dw_h, 0, H * A * sizeof(T));
    __builtin_memset(to.db, 0, A * sizeof(T));
    const ChunkGradients<G, T> gradients{to, x, h, w_x, r, h0 ? first_rows.as<T>() : nullptr};
    for (ptrdiff_t s1 = r.T; s1 > 0; s1 -= chunk) {
        const ptrdiff_t s0 = larger(0, s1 - chunk), n = s1 - s0, t0 = r.reverse ? r.T - s1 : s0;
        T* const da = memory.as<T>();
        const auto at = [=](ptrdiff_t s) { return da + (time_of(r, s) - t0) * N * A; };
        if (packed)
            blocks.for_steps(n + 1, [=, &weights](ptrdiff_t i, Range rows, Range units) {
                const ptrdiff_t s = s1 - 1 - i;
                if (i > 0)
                    weights.multiply(rows.size(), at(s + 1) + rows.begin * A, A, dh + rows.begin * H, H,
                                     units);
                if (i < n) cell(s, time_of(r, s), at(s), rows, units);
            });
        else
            for (ptrdiff_t s = s1 - 1; s >= s0; --s) {
                blocks.for_steps(1, [=](ptrdiff_t, Range rows, Range units) {
                    cell(s, time_of(r, s), at(s), rows, units);
                });
                gemm<T>(N, H, A, {at(s), A, 1}, w_ht, dh, H, true, AddBias<T>{nullptr});
            }
        gradients.add(da, t0, n);
    }
    gradients.add_first(h0);
}

}  // namespace
}  // namespace closedform::CF_ISA
