// What forward and backward-data have in common: a walk of windows over images, described axis by axis.
//
// Backward with respect to x is a walk over dy with mirrored taps. With a stride, the pixels of dx fall in
// stride * stride phases, each of which sees its own subset of the taps: as many walks of stride 1.
#pragma once

#include "../core/gemm.hpp"
#include "table.hpp"

namespace closedform::CF_ISA {
namespace {

// Which of n coordinates, from `first` on, lie in [0, in).
CF_INLINE Range inside(ptrdiff_t first, ptrdiff_t n, ptrdiff_t in) {
    const ptrdiff_t begin = smaller(n, larger(0, -first));
    return {begin, larger(begin, smaller(n, in - first))};
}

// The least k >= 0 with first + k * step >= bound.
CF_INLINE ptrdiff_t steps_to(ptrdiff_t bound, ptrdiff_t first, ptrdiff_t step) {
    return first >= bound ? 0 : ceil_div(bound - first, step);
}

// One axis of the walk. Output o, tap t reads the input at first_in + o * stride + t * step, where outside of
// [0, in) there are zeros, meets weight first_weight + t * weight_step, and goes to first_out + o * out_step.
struct Axis {
    ptrdiff_t in, out, taps;
    ptrdiff_t first_in, stride, step;
    ptrdiff_t first_weight, weight_step;
    ptrdiff_t first_out, out_step;

    ptrdiff_t reach() const { return (taps - 1) * step + 1; }  // inputs that one output spans
    ptrdiff_t span(ptrdiff_t outputs) const { return (outputs - 1) * stride + reach(); }
    bool padded() const { return first_in < 0 || first_in + span(out) > in; }
};

// The axis without the taps at either end that meet padding under every output; one tap stays.
CF_INLINE Axis trimmed(Axis a) {
    if (a.taps == 0) return a;
    const ptrdiff_t begin = smaller(a.taps - 1, steps_to(0, a.first_in + (a.out - 1) * a.stride, a.step));
    const ptrdiff_t end = smaller(a.taps, steps_to(a.in, a.first_in, a.step));
    a.taps = larger(1, end - begin);
    a.first_in += begin * a.step;
    a.first_weight += begin * a.weight_step;
    return a;
}

CF_INLINE Axis forward_axis(const Window& v) {
    return {v.in, v.out, v.taps, -v.pad, v.stride, v.dilation, 0, 1, 0, 1};
}

CF_INLINE ptrdiff_t greatest_common_divisor(ptrdiff_t a, ptrdiff_t b) {
    while (b) {
        const ptrdiff_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// How many phases there are: an input h is in phase h mod stride.
CF_INLINE ptrdiff_t phases(const Window& v) {
    return smaller(v.stride, v.in);
}

// Phase h0 of backward: the inputs h0, h0 + stride, ... Tap r brings dy at o = (h + pad - r * dilation) /
// stride where that is whole: for r = r0, r0 + every, ..., or for no r at all. From the last such tap to the
// first, o ascends in steps of dilation * every / stride.
CF_INLINE Axis backward_axis(const Window& v, ptrdiff_t h0) {
    const ptrdiff_t every = v.stride / greatest_common_divisor(v.stride, v.dilation);
    ptrdiff_t r0 = 0;
    while (r0 < v.taps && (h0 + v.pad - r0 * v.dilation) % v.stride) ++r0;
    const ptrdiff_t taps = r0 < v.taps ? (v.taps - 1 - r0) / every + 1 : 0;
    const ptrdiff_t last = r0 + (taps - 1) * every;
    return {v.out, (v.in - 1 - h0) / v.stride + 1,
            taps,  (h0 + v.pad - last * v.dilation) / v.stride,
            1,     v.dilation * every / v.stride,
            last,  -every,
            h0,    v.stride};
}

// An array of images: element (n, h, w, c) is p[n * image + h * row + w * pixel + c].
template <class T>
struct Images {
    T* p;
    ptrdiff_t image, row, pixel;
};

// Weights in place: element (r, s, c, k) is p[r * row + s * column + c * in + k * out].
template <class T>
struct Weights {
    const T* p;
    ptrdiff_t row, column, in, out;
};

// y = walk of w over x: N images, C channels in, K channels out.
template <class T>
struct Walk {
    ptrdiff_t N, C, K;
    Axis h, w;
    Images<const T> x;
    Weights<T> weights;
    Images<T> y;

    // Weights (., ., c, k) of tap (r, s).
    const T* weight(ptrdiff_t r, ptrdiff_t s) const {
        return weights.p + (h.first_weight + r * h.weight_step) * weights.row +
               (w.first_weight + s * w.weight_step) * weights.column;
    }
    ptrdiff_t flops() const { return 2 * N * h.out * w.out * h.taps * w.taps * C * K; }
    // Where output (o, p) of image n goes.
    T* output(ptrdiff_t n, ptrdiff_t o, ptrdiff_t p) const {
        return y.p + n * y.image + (h.first_out + o * h.out_step) * y.row +
               (w.first_out + p * w.out_step) * y.pixel;
    }
};

// Whether the outputs have so few channels that the narrow kernel beats panels of weights.
template <class T>
CF_INLINE bool is_narrow(const Walk<T>& walk) {
    return 2 * walk.K <= tile_columns<T>;
}

// The arrays of group g of a convolution.
template <class T>
CF_INLINE Images<T> group_of_input(T* x, const Convolution& c, ptrdiff_t g) {
    return {x + g * (c.C / c.groups), c.h.in * c.w.in * c.C, c.w.in * c.C, c.C};
}
template <class T>
CF_INLINE Images<T> group_of_output(T* y, const Convolution& c, ptrdiff_t g) {
    return {y + g * (c.K / c.groups), c.h.out * c.w.out * c.K, c.w.out * c.K, c.K};
}
template <class T>
CF_INLINE Weights<T> group_of_weights(const T* w, const Convolution& c, ptrdiff_t g) {
    const ptrdiff_t C = c.C / c.groups;
    return {w + g * (c.K / c.groups), c.w.taps * C * c.K, C * c.K, c.K, 1};
}

template <class T>
inline Walk<T> forward_walk(T* y, const T* x, const T* w, const Convolution& c, ptrdiff_t g) {
    return {c.N,
            c.C / c.groups,
            c.K / c.groups,
            trimmed(forward_axis(c.h)),
            trimmed(forward_axis(c.w)),
            group_of_input(x, c, g),
            group_of_weights(w, c, g),
            group_of_output(y, c, g)};
}

// Writes the phases that have taps to `walk`, and returns how many there are.
template <class T>
inline ptrdiff_t backward_walks(Walk<T>* walk, T* dx, const T* dy, const T* w, const Convolution& c,
                                ptrdiff_t g) {
    const Weights<T> v = group_of_weights(w, c, g);
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < phases(c.h); ++i)
        for (ptrdiff_t j = 0; j < phases(c.w); ++j) {
            const Axis rows = trimmed(backward_axis(c.h, i)), columns = trimmed(backward_axis(c.w, j));
            if (rows.taps && columns.taps)
                walk[n++] = {c.N,
                             c.K / c.groups,
                             c.C / c.groups,
                             rows,
                             columns,
                             group_of_output(dy, c, g),
                             {v.p, v.row, v.column, v.out, v.in},
                             group_of_input(dx, c, g)};
        }
    return n;
}

}  // namespace
}  // namespace closedform::CF_ISA
