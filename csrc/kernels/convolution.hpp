// conv2d and its gradients: which kernel computes what.
//
// x (N, H, W, C), w (R, S, C / groups, K), y (N, OH, OW, K). No kernel writes out the patches of x.
#pragma once

#include "activation.hpp"
#include "convolution_direct.hpp"
#include "convolution_narrow.hpp"
#include "convolution_weights.hpp"
#include "depthwise_weights.hpp"
#include "linear.hpp"
#include "winograd.hpp"

namespace closedform::CF_ISA {
namespace {

// The walks that share x: one, or the phases of backward-data. Where Winograd's algorithm does not apply, as
// to a walk whose outer taps meet padding alone, the sum is direct, whatever `algorithm` says.
template <class T>
inline void convolve(const Walk<T>* walks, ptrdiff_t n, const T* b, bool relu, Algorithm algorithm) {
    const T low = relu ? T(0) : -T(__builtin_huge_val());
    if (algorithm != Algorithm::direct && n == 1 && winograd_applies(*walks)) {
        if (algorithm == Algorithm::winograd4) return winograd<4>(*walks, b, low);
        if (algorithm == Algorithm::winograd2 || winograd_pays(*walks)) return winograd<2>(*walks, b, low);
    }
    if (n && is_narrow(*walks) && walks->h.stride == 1 && walks->w.stride == 1)
        return NarrowWalks<T>(walks, n).run(b, low);
    for (ptrdiff_t i = 0; i < n; ++i) convolve_direct(walks[i], b, low);
}

// Whether a single window covers just the image: then y = x @ w + b is a dense layer, N rows of H W C
// numbers. As a walk, dx would be k * k outputs under k * k taps, of which each output needs one.
CF_INLINE bool is_dense(const Convolution& c) {
    const auto covers = [](const Window& v) {
        return v.out == 1 && v.pad == 0 && v.dilation == 1 && v.taps == v.in;
    };
    return c.groups == 1 && covers(c.h) && covers(c.w);
}

template <class T>
inline void conv2d_dense(T* y, const T* x, const T* w, const T* b, const Convolution& c, bool clip) {
    const ptrdiff_t D = c.h.in * c.w.in * c.C;
    dense<T>(y, {x, D, 1}, {w, c.K, 1}, b, c.N, D, c.K);
    if (clip) relu<T>(y, y, c.N * c.K, T(1), T(0));
}

template <class T>
void conv2d(T* y, const T* x, const T* w, const T* b, Convolution c, Algorithm algorithm, bool relu) {
    if (is_depthwise(c)) return depthwise(y, x, w, b, c, relu);
    if (is_dense(c)) return conv2d_dense(y, x, w, b, c, relu);
    for (ptrdiff_t g = 0; g < c.groups; ++g) {
        const Walk<T> walk = forward_walk(y, x, w, c, g);
        convolve(&walk, 1, b ? b + g * walk.K : nullptr, relu, algorithm);
    }
}

template <class T>
void conv2d_backward_data(T* dx, const T* dy, const T* w, const Convolution& c, Algorithm algorithm) {
    if (is_depthwise(c)) return depthwise_backward_data(dx, dy, w, c);
    bool covered = true;  // whether every phase has taps: elsewhere dx is 0
    for (ptrdiff_t i = 0; i < phases(c.h); ++i) covered &= backward_axis(c.h, i).taps > 0;
    for (ptrdiff_t i = 0; i < phases(c.w); ++i) covered &= backward_axis(c.w, i).taps > 0;
    if (!covered) __builtin_memset(dx, 0, c.N * c.h.in * c.w.in * c.C * sizeof(T));
    Scratch list(phases(c.h) * phases(c.w) * sizeof(Walk<T>));
    Walk<T>* const walks = list.as<Walk<T>>();
    for (ptrdiff_t g = 0; g < c.groups; ++g) {
        const ptrdiff_t n = backward_walks(walks, dx, dy, w, c, g);
        convolve<T>(walks, n, nullptr, false, algorithm);
    }
}

// dx, dw, db: null for a gradient that is not wanted.
template <class T>
void conv2d_backward(T* dx, T* dw, T* db, const T* dy, const T* x, const T* w, Convolution c,
                     Algorithm algorithm) {
    if (is_dense(c)) {
        const ptrdiff_t D = c.h.in * c.w.in * c.C;
        return dense_backward<T>(dx, dw, db, {dy, c.K, 1}, {x, D, 1}, {w, c.K, 1}, c.N, D, c.K);
    }
    if (dx) conv2d_backward_data<T>(dx, dy, w, c, algorithm);
    if (dw && is_depthwise(c)) return depthwise_backward_weights<T>(dw, db, dy, x, c);
    if (dw) return conv2d_backward_weights<T>(dw, db, dy, x, c);
    const T one = 1;
    if (db)
        gemm<T>(1, c.K, c.N * c.h.out * c.w.out, {&one, 0, 0}, {dy, c.K, 1}, db, c.K, false,
                AddBias<T>{nullptr});
}

}  // namespace
}  // namespace closedform::CF_ISA
