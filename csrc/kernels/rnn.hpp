// The plain recurrent network: h_t = f(x_t w_x + b + h_(t-1) w_h), f = tanh or relu.
#pragma once

#include "../core/math.hpp"
#include "recurrent.hpp"

namespace closedform::CF_ISA {
namespace {

template <class T>
void rnn(T* h, T* h_last, const T* x, const T* w_x, const T* w_h, const T* b, const T* h0, Recurrence r,
         bool relu) {
    const ptrdiff_t N = r.N, H = r.H;
    const InitialState<T> initial(h0, N * H);
    const T* const start = initial.data();
    // The pre-activations of a step lie where h_t will.
    const auto cell = [=](ptrdiff_t s, ptrdiff_t t, Range rows, Range units) {
        const T* const before = s ? h + time_of(r, s - 1) * N * H : start;
        for (ptrdiff_t n = rows.begin; n < rows.end; ++n) {
            T* const row = h + (t * N + n) * H;
            if (!takes_part(r, n, t))
                copy(row + units.begin, before + n * H + units.begin, units.size());
            else
                for_vectors<T>(units, [=](ptrdiff_t u, ptrdiff_t count) {
                    const Vec<T> a = load_some<T>(row + u, count);
                    store_some<T>(row + u, relu ? max(Vec<T>{}, a) : tanh<T>(a), count);
                });
        }
    };
    run_forward<1, T>(h, h, x, w_x, w_h, b, start, r, cell);
    if (h_last) copy(h_last, r.T ? h + time_of(r, r.T - 1) * N * H : start, N * H);
    clear_padding(h, r);
}

// dh0 (N, H) serves as the gradient of the state on its way back.
template <class T>
void rnn_backward(T* dx, T* dw_x, T* dw_h, T* db, T* dh0, const T* dh, const T* dh_last, const T* h,
                  const T* x, const T* w_x, const T* w_h, const T* h0, Recurrence r, bool relu) {
    const ptrdiff_t N = r.N, H = r.H;
    begin_gradient(dh0, dh_last, N * H);
    const auto cell = [=](ptrdiff_t, ptrdiff_t t, T* da, Range rows, Range units) {
        for (ptrdiff_t n = rows.begin; n < rows.end; ++n) {
            const ptrdiff_t row = (t * N + n) * H;
            T *const d = da + n * H, *const state = dh0 + n * H;
            if (!takes_part(r, n, t))
                __builtin_memset(d + units.begin, 0, units.size() * sizeof(T));
            else
                for_vectors<T>(units, [=](ptrdiff_t u, ptrdiff_t count) {
                    const Vec<T> y = load_some<T>(h + row + u, count);
                    const Vec<T> dy = load_some<T>(dh + row + u, count) + load_some<T>(state + u, count);
                    const Vec<T> slope =
                        relu ? select(y > Vec<T>{}, splat(T(1)), Vec<T>{}) : (T(1) - y) * (T(1) + y);
                    store_some<T>(d + u, dy * slope, count);
                    store_some<T>(state + u, Vec<T>{}, count);
                });
        }
    };
    run_backward<1, T>({dx, dw_x, dw_h, db}, dh0, x, h, w_x, w_h, h0, r, cell);
}

}  // namespace
}  // namespace closedform::CF_ISA
