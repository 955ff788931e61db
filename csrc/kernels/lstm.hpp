// Long short-term memory, with a_t = x_t w_x + b + h_(t-1) w_h in four parts, one for each gate:
//
//   i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)    g = phi(a_g)
//   c_t = f c_(t-1) + i g    h_t = o phi(c_t)             phi = tanh or the identity
#pragma once

#include "../core/math.hpp"
#include "recurrent.hpp"

namespace closedform::CF_ISA {
namespace {

template <class T>
CF_INLINE Vec<T> phi(Vec<T> v, bool identity) {
    return identity ? v : tanh<T>(v);
}

// phi' by its value y.
template <class T>
CF_INLINE Vec<T> phi_slope(Vec<T> y, bool identity) {
    return identity ? splat<T>(T(1)) : (T(1) - y) * (T(1) + y);
}

// The derivative of the logistic function by its value.
template <class T>
CF_INLINE Vec<T> sigmoid_slope(Vec<T> y) {
    return y * (T(1) - y);
}

// `count` units of one row: gates are pre-activations before and the gates after, H apart.
template <class T>
CF_INLINE void lstm_cell(T* gates, T* c, T* h, const T* c_before, ptrdiff_t H, bool identity,
                         ptrdiff_t count) {
    const Vec<T> i = sigmoid<T>(load_some<T>(gates, count));
    const Vec<T> f = sigmoid<T>(load_some<T>(gates + H, count));
    const Vec<T> g = phi<T>(load_some<T>(gates + 2 * H, count), identity);
    const Vec<T> o = sigmoid<T>(load_some<T>(gates + 3 * H, count));
    const Vec<T> c_t = f * load_some<T>(c_before, count) + i * g;
    store_some<T>(gates, i, count);
    store_some<T>(gates + H, f, count);
    store_some<T>(gates + 2 * H, g, count);
    store_some<T>(gates + 3 * H, o, count);
    store_some<T>(c, c_t, count);
    store_some<T>(h, o * phi<T>(c_t, identity), count);
}

// The way back, where dh and dc are gradients with respect to the state after the step before, and before it
// after.
template <class T>
CF_INLINE void lstm_cell_backward(T* da, T* dh, T* dc, const T* dy, const T* gates, const T* c,
                                  const T* c_before, ptrdiff_t H, bool identity, ptrdiff_t count) {
    const Vec<T> i = load_some<T>(gates, count), f = load_some<T>(gates + H, count);
    const Vec<T> g = load_some<T>(gates + 2 * H, count), o = load_some<T>(gates + 3 * H, count);
    const Vec<T> y = phi<T>(load_some<T>(c, count), identity);
    const Vec<T> dh_t = load_some<T>(dy, count) + load_some<T>(dh, count);
    const Vec<T> dc_t = load_some<T>(dc, count) + dh_t * o * phi_slope<T>(y, identity);
    store_some<T>(da, dc_t * g * sigmoid_slope<T>(i), count);
    store_some<T>(da + H, dc_t * load_some<T>(c_before, count) * sigmoid_slope<T>(f), count);
    store_some<T>(da + 2 * H, dc_t * i * phi_slope<T>(g, identity), count);
    store_some<T>(da + 3 * H, dh_t * y * sigmoid_slope<T>(o), count);
    store_some<T>(dh, Vec<T>{}, count);  // run_backward adds da_t w_h^T
    store_some<T>(dc, dc_t * f, count);
}

template <class T>
CF_INLINE void clear_gates(T* gates, ptrdiff_t H, Range units) {
    for (int g = 0; g < 4; ++g) __builtin_memset(gates + g * H + units.begin, 0, units.size() * sizeof(T));
}

template <class T>
void lstm(T* h, T* h_last, T* c_last, T* c, T* gates, const T* x, const T* w_x, const T* w_h, const T* b,
          const T* h0, const T* c0, Recurrence r, bool identity) {
    const ptrdiff_t N = r.N, H = r.H;
    const InitialState<T> h_initial(h0, N * H), c_initial(c0, N * H);
    const T *const h_start = h_initial.data(), *const c_start = c_initial.data();
    const auto cell = [=](ptrdiff_t s, ptrdiff_t t, Range rows, Range units) {
        const ptrdiff_t before = s ? time_of(r, s - 1) * N * H : 0;
        const T *const h_before = s ? h + before : h_start, *const c_before = s ? c + before : c_start;
        for (ptrdiff_t n = rows.begin; n < rows.end; ++n) {
            const ptrdiff_t row = (t * N + n) * H;
            if (takes_part(r, n, t)) {
                for_vectors<T>(units, [=](ptrdiff_t u, ptrdiff_t count) {
                    lstm_cell<T>(gates + 4 * row + u, c + row + u, h + row + u, c_before + n * H + u, H,
                                 identity, count);
                });
                continue;
            }
            copy(h + row + units.begin, h_before + n * H + units.begin, units.size());
            copy(c + row + units.begin, c_before + n * H + units.begin, units.size());
            clear_gates(gates + 4 * row, H, units);
        }
    };
    run_forward<4, T>(gates, h, x, w_x, w_h, b, h_start, r, cell);
    if (h_last) copy(h_last, r.T ? h + time_of(r, r.T - 1) * N * H : h_start, N * H);
    if (c_last) copy(c_last, r.T ? c + time_of(r, r.T - 1) * N * H : c_start, N * H);
    clear_padding(h, r);
    clear_padding(c, r);
}

// dh0 and dc0 (N, H) serve as the gradients of the state on its way back.
template <class T>
void lstm_backward(T* dx, T* dw_x, T* dw_h, T* db, T* dh0, T* dc0, const T* dh, const T* dh_last,
                   const T* dc_last, const T* c, const T* gates, const T* h, const T* x, const T* w_x,
                   const T* w_h, const T* h0, const T* c0, Recurrence r, bool identity) {
    const ptrdiff_t N = r.N, H = r.H;
    begin_gradient(dh0, dh_last, N * H);
    begin_gradient(dc0, dc_last, N * H);
    const InitialState<T> c_initial(c0, N * H);
    const T* const c_start = c_initial.data();
    const auto cell = [=](ptrdiff_t s, ptrdiff_t t, T* da, Range rows, Range units) {
        for (ptrdiff_t n = rows.begin; n < rows.end; ++n) {
            const ptrdiff_t row = (t * N + n) * H;
            if (!takes_part(r, n, t)) {
                clear_gates(da + 4 * n * H, H, units);
                continue;
            }
            const T* const c_before =
                t == first_time(r, n) ? c_start + n * H : c + (time_of(r, s - 1) * N + n) * H;
            for_vectors<T>(units, [=](ptrdiff_t u, ptrdiff_t count) {
                lstm_cell_backward<T>(da + 4 * n * H + u, dh0 + n * H + u, dc0 + n * H + u, dh + row + u,
                                      gates + 4 * row + u, c + row + u, c_before + u, H, identity, count);
            });
        }
    };
    run_backward<4, T>({dx, dw_x, dw_h, db}, dh0, x, h, w_x, w_h, h0, r, cell);
}

}  // namespace
}  // namespace closedform::CF_ISA
