// Every kernel by name: one table per ISA, chosen at import. Outputs first, then inputs, then sizes.
//
// Arrays are contiguous (row-major) unless a Matrix says otherwise; kernels trust their arguments:
// the binding has checked them. Dims: N rows (batch), D inputs, H hidden units, K classes, n elements.
#pragma once

#include <cstddef>
#include <cstdint>

namespace closedform {

using std::ptrdiff_t;

// Element (i, j) is data[i * row + j * column].
template <class T>
struct Matrix {
    const T* data;
    ptrdiff_t row, column;
};

// What the targets of a cross-entropy are, beside the logits.
template <class T>
struct Targets {
    const std::int64_t* classes;  // (N,) class indices, or null
    const T* probabilities;       // (N, K), or null
    const T* weight;              // (K,) or null for ones
    double label_smoothing;
    bool has_ignore;
    std::int64_t ignore_index;
};

// Adam's constants; correction1 = 1 - beta1^step and correction2 = 1 - beta2^step.
struct Adam {
    double lr, beta1, beta2, eps, weight_decay, correction1, correction2;
    bool decoupled;
};

// One spatial axis of a convolution or a pooling: window o of `out` covers, for tap t of `taps`, the input
// coordinate o * stride + t * dilation - pad; coordinates outside [0, in) are padding.
struct Window {
    ptrdiff_t in, out, taps, stride, dilation, pad;
};

// x (N, h.in, w.in, C), weights (h.taps, w.taps, C / groups, K), y (N, h.out, w.out, K); none empty.
struct Convolution {
    ptrdiff_t N, C, K, groups;
    Window h, w;
};

// How a convolution is computed.
enum class Algorithm { automatic, direct, winograd2, winograd4 };

// x (N, h.in, w.in, C), y (N, h.out, w.out, C)
struct Pooling {
    ptrdiff_t N, C;
    Window h, w;
};

// T steps of N rows: D inputs, H units. Row n takes part at time t < lengths[n], or always if that is null.
struct Recurrence {
    ptrdiff_t T, N, D, H;
    const std::int64_t* lengths;
    bool reverse;  // time runs backwards
};

// What the covariances of a mixture share.
enum class CovarianceType { full, tied, diag, spherical };

// K Gaussians in D dimensions, in float64 whatever the samples are. precisions_cholesky: of the inverse
// covariances, upper triangular; full (K, D, D), tied (D, D), diag (K, D), spherical (K,).
struct Mixture {
    ptrdiff_t D, K;
    CovarianceType type;
    const double* offset;  // (K,) the log of weight_k density_k at the mean
    const double* means;   // (K, D)
    const double* precisions_cholesky;
    const double* centre;  // (D,) subtracted from samples and means: near the samples' mean if tied, else 0
};

template <class T>
struct Kernels {
    // linear
    void (*dense)(T* y, Matrix<T> x, Matrix<T> w, const T* b, ptrdiff_t N, ptrdiff_t D, ptrdiff_t H);
    void (*dense_backward)(T* dx, T* dw, T* db, Matrix<T> dy, Matrix<T> x, Matrix<T> w, ptrdiff_t N,
                           ptrdiff_t D, ptrdiff_t H);
    // activation
    void (*relu)(T* y, const T* x, ptrdiff_t n, T slope, T negative_slope);
    void (*relu_backward)(T* dx, const T* dy, const T* x, ptrdiff_t n, T slope, T negative_slope);
    void (*sigmoid)(T* y, const T* x, ptrdiff_t n);
    void (*sigmoid_backward)(T* dx, const T* dy, const T* y, ptrdiff_t n);
    void (*tanh)(T* y, const T* x, ptrdiff_t n);
    void (*tanh_backward)(T* dx, const T* dy, const T* y, ptrdiff_t n);
    void (*softplus)(T* y, const T* x, ptrdiff_t n);
    void (*softplus_backward)(T* dx, const T* dy, const T* x, ptrdiff_t n);
    void (*gelu)(T* y, const T* x, ptrdiff_t n);
    void (*gelu_backward)(T* dx, const T* dy, const T* x, ptrdiff_t n);
    // the functions the others are made of, for tests of their accuracy
    void (*exp)(T* y, const T* x, ptrdiff_t n);
    void (*log)(T* y, const T* x, ptrdiff_t n);
    void (*log1p)(T* y, const T* x, ptrdiff_t n);
    void (*erf)(T* y, const T* x, ptrdiff_t n);
    // probability: N rows of K
    void (*softmax)(T* y, const T* x, ptrdiff_t N, ptrdiff_t K, T temperature);
    void (*softmax_backward)(T* dx, const T* dy, const T* y, ptrdiff_t N, ptrdiff_t K, T temperature);
    void (*log_softmax)(T* y, const T* x, ptrdiff_t N, ptrdiff_t K);
    void (*log_softmax_backward)(T* dx, const T* dy, const T* y, ptrdiff_t N, ptrdiff_t K);
    void (*logsumexp)(T* y, const T* x, ptrdiff_t N, ptrdiff_t K);
    void (*softmax_jacobian)(T* jacobian, const T* y, ptrdiff_t N, ptrdiff_t K);
    // loss: with `losses` one loss per element, else their sum is returned; gradients are times `scale`
    double (*squared_error)(T* losses, const T* y_hat, const T* y, ptrdiff_t n);
    void (*squared_error_backward)(T* dy_hat, const T* y_hat, const T* y, ptrdiff_t n, T scale);
    double (*binary_cross_entropy)(T* losses, const T* y_hat, const T* y, ptrdiff_t n);
    void (*binary_cross_entropy_backward)(T* dy_hat, const T* y_hat, const T* y, ptrdiff_t n, T scale);
    double (*binary_cross_entropy_with_logits)(T* losses, const T* z, const T* y, ptrdiff_t n);
    void (*binary_cross_entropy_with_logits_backward)(T* dz, const T* z, const T* y, ptrdiff_t n, T scale);
    // losses (N,) or null; dlogits (N, K) or null; returns the sum of the losses times `scale`
    double (*cross_entropy)(T* losses, T* dlogits, const T* logits, Targets<T> targets, ptrdiff_t N,
                            ptrdiff_t K, double scale);
    // convolution: `relu` clips y at 0. Null: no bias, or a gradient that is not wanted
    void (*conv2d)(T* y, const T* x, const T* w, const T* b, Convolution c, Algorithm algorithm, bool relu);
    void (*conv2d_backward)(T* dx, T* dw, T* db, const T* dy, const T* x, const T* w, Convolution c,
                            Algorithm algorithm);
    // normalization: x (m, C), all else but y, dy and dx (C,)
    void (*batchnorm)(T* y, T* mean, T* rstd, const T* x, const T* gamma, const T* beta, ptrdiff_t m,
                      ptrdiff_t C, double eps);
    void (*batchnorm_backward)(T* dx, T* dgamma, T* dbeta, const T* dy, const T* x, const T* mean,
                               const T* rstd, const T* gamma, ptrdiff_t m, ptrdiff_t C);
    void (*batchnorm_inference)(T* y, const T* x, const T* gamma, const T* beta, const T* mean, const T* var,
                                ptrdiff_t m, ptrdiff_t C, double eps);
    // pooling: every window meets a pixel. argmax counts the pixels of an image; backward gives false for one
    // that it does not have
    void (*max_pool2d)(T* y, std::int64_t* argmax, const T* x, Pooling p);
    bool (*max_pool2d_backward)(T* dx, const T* dy, const std::int64_t* argmax, ptrdiff_t N, ptrdiff_t pixels,
                                ptrdiff_t windows, ptrdiff_t C);
    void (*avg_pool2d)(T* y, const T* x, Pooling p);
    void (*avg_pool2d_backward)(T* dx, const T* dy, Pooling p);
    // recurrent: x (T, N, D), h, c (T, N, H), gates (T, N, 4 H); states (N, H). Null: no b, zeros
    // for a state, a last state not wanted
    void (*rnn)(T* h, T* h_last, const T* x, const T* w_x, const T* w_h, const T* b, const T* h0,
                Recurrence r, bool relu);
    void (*rnn_backward)(T* dx, T* dw_x, T* dw_h, T* db, T* dh0, const T* dh, const T* dh_last, const T* h,
                         const T* x, const T* w_x, const T* w_h, const T* h0, Recurrence r, bool relu);
    void (*lstm)(T* h, T* h_last, T* c_last, T* c, T* gates, const T* x, const T* w_x, const T* w_h,
                 const T* b, const T* h0, const T* c0, Recurrence r, bool identity);
    void (*lstm_backward)(T* dx, T* dw_x, T* dw_h, T* db, T* dh0, T* dc0, const T* dh, const T* dh_last,
                          const T* dc_last, const T* c, const T* gates, const T* h, const T* x, const T* w_x,
                          const T* w_h, const T* h0, const T* c0, Recurrence r, bool identity);
    // optimizer: in place
    void (*sgd_update)(T* parameter, const T* gradient, T* velocity, ptrdiff_t n, double lr, double momentum,
                       double weight_decay, bool nesterov);
    void (*adam_update)(T* parameter, const T* gradient, T* m, T* v, ptrdiff_t n, Adam options);
    // moments: mean (D,) and cov (D, D), the centred cross-products of x (N, D) over `divisor`
    void (*covariance)(double* mean, T* cov, const T* x, ptrdiff_t N, ptrdiff_t D, double divisor);
    // mixture: `sums` [1 + K + K D + size of the precisions] gains those of the log-likelihoods of N samples,
    // and of r, r z and r z z^T, z = x - mean: r are `responsibilities` (N, K), or the mixture's, times
    // `weights` (N,)
    void (*gmm_sums)(double* sums, const T* x, const T* responsibilities, const double* weights, ptrdiff_t N,
                     Mixture m);
    void (*gmm_e_step)(T* log_likelihood, T* responsibilities, const T* x, ptrdiff_t N, Mixture m);
    // checks of values: the first index outside [low, high] (NaN is inside: it propagates), or -1
    ptrdiff_t (*first_outside)(const T* x, ptrdiff_t n, T low, T high);
    // the machine's limit: multiply-adds in registers, as many as `rounds` says; returns their number of
    // flops
    double (*fma_rounds)(ptrdiff_t rounds);
};

struct KernelTable {
    const char* isa;
    Kernels<float> f32;
    Kernels<double> f64;
};

}  // namespace closedform
