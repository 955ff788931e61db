// Activations and their derivatives, element by element. The functions themselves: core/math.hpp.
#pragma once

#include "../core/map.hpp"
#include "../core/math.hpp"

namespace closedform::CF_ISA {
namespace {

// y = slope * x where x > 0, negative_slope * x elsewhere; at x = 0 the derivative is negative_slope.
template <class T>
void relu(T* y, const T* x, ptrdiff_t n, T slope, T negative_slope) {
    if (negative_slope == 0)  // max, since 0 * -inf would be NaN
        map<T>(n, y, [=](Vec<T> x) { return slope * max(Vec<T>{}, x); }, x);
    else
        map<T>(
            n, y, [=](Vec<T> x) { return x * select(x > Vec<T>{}, splat(slope), splat(negative_slope)); }, x);
}

template <class T>
void relu_backward(T* dx, const T* dy, const T* x, ptrdiff_t n, T slope, T negative_slope) {
    map<T>(
        n, dx,
        [=](Vec<T> dy, Vec<T> x) { return dy * select(x > Vec<T>{}, splat(slope), splat(negative_slope)); },
        dy, x);
}

template <class T>
void sigmoid(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return sigmoid<T>(x); }, x);
}

template <class T>
void sigmoid_backward(T* dx, const T* dy, const T* y, ptrdiff_t n) {
    map<T>(n, dx, [](Vec<T> dy, Vec<T> y) { return dy * (y * (T(1) - y)); }, dy, y);
}

template <class T>
void tanh(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return tanh<T>(x); }, x);
}

template <class T>
void tanh_backward(T* dx, const T* dy, const T* y, ptrdiff_t n) {
    map<T>(n, dx, [](Vec<T> dy, Vec<T> y) { return dy * ((T(1) - y) * (T(1) + y)); }, dy, y);
}

template <class T>
void softplus(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return softplus<T>(x); }, x);
}

template <class T>
void softplus_backward(T* dx, const T* dy, const T* x, ptrdiff_t n) {
    map<T>(n, dx, [](Vec<T> dy, Vec<T> x) { return dy * sigmoid<T>(x); }, dy, x);
}

template <class T>
void gelu(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return gelu<T>(x); }, x);
}

template <class T>
void gelu_backward(T* dx, const T* dy, const T* x, ptrdiff_t n) {
    map<T>(n, dx, [](Vec<T> dy, Vec<T> x) { return dy * gelu_derivative<T>(x); }, dy, x);
}

template <class T>
void exp(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return exp<T>(x); }, x);
}

template <class T>
void log(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return log<T>(x); }, x);
}

template <class T>
void log1p(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return log1p<T>(x); }, x);
}

template <class T>
void erf(T* y, const T* x, ptrdiff_t n) {
    map<T>(n, y, [](Vec<T> x) { return erf<T>(x); }, x);
}

}  // namespace
}  // namespace closedform::CF_ISA
