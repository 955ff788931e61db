// All kernels, compiled once per instruction set; exports one symbol, their table.
//
// No templates of the standard library here: an inline function compiled for a newer instruction set
// could become the one copy that the linker keeps, and crash older machines.
#include "kernels/activation.hpp"
#include "kernels/convolution.hpp"
#include "kernels/cross_entropy.hpp"
#include "kernels/linear.hpp"
#include "kernels/loss.hpp"
#include "kernels/lstm.hpp"
#include "kernels/max_pooling.hpp"
#include "kernels/measure.hpp"
#include "kernels/mixture.hpp"
#include "kernels/moments.hpp"
#include "kernels/normalization.hpp"
#include "kernels/optimizer.hpp"
#include "kernels/pooling.hpp"
#include "kernels/probability.hpp"
#include "kernels/rnn.hpp"
#include "kernels/table.hpp"

#define CF_JOIN_(a, b) a##b
#define CF_JOIN(a, b) CF_JOIN_(a, b)
#define CF_STRING_(a) #a
#define CF_STRING(a) CF_STRING_(a)

namespace closedform {
namespace CF_ISA {
namespace {

template <class T>
constexpr Kernels<T> make_kernels() {
    Kernels<T> k{};
    k.dense = dense<T>;
    k.dense_backward = dense_backward<T>;
    k.relu = relu<T>;
    k.relu_backward = relu_backward<T>;
    k.sigmoid = sigmoid<T>;
    k.sigmoid_backward = sigmoid_backward<T>;
    k.tanh = tanh<T>;
    k.tanh_backward = tanh_backward<T>;
    k.softplus = softplus<T>;
    k.softplus_backward = softplus_backward<T>;
    k.gelu = gelu<T>;
    k.gelu_backward = gelu_backward<T>;
    k.exp = exp<T>;
    k.log = log<T>;
    k.log1p = log1p<T>;
    k.erf = erf<T>;
    k.softmax = softmax<T>;
    k.softmax_backward = softmax_backward<T>;
    k.log_softmax = log_softmax<T>;
    k.log_softmax_backward = log_softmax_backward<T>;
    k.logsumexp = logsumexp<T>;
    k.softmax_jacobian = softmax_jacobian<T>;
    k.squared_error = squared_error<T>;
    k.squared_error_backward = squared_error_backward<T>;
    k.binary_cross_entropy = binary_cross_entropy<T>;
    k.binary_cross_entropy_backward = binary_cross_entropy_backward<T>;
    k.binary_cross_entropy_with_logits = binary_cross_entropy_with_logits<T>;
    k.binary_cross_entropy_with_logits_backward = binary_cross_entropy_with_logits_backward<T>;
    k.cross_entropy = cross_entropy<T>;
    k.conv2d = conv2d<T>;
    k.conv2d_backward = conv2d_backward<T>;
    k.batchnorm = batchnorm<T>;
    k.batchnorm_backward = batchnorm_backward<T>;
    k.batchnorm_inference = batchnorm_inference<T>;
    k.max_pool2d = max_pool2d<T>;
    k.max_pool2d_backward = max_pool2d_backward<T>;
    k.avg_pool2d = avg_pool2d<T>;
    k.avg_pool2d_backward = avg_pool2d_backward<T>;
    k.rnn = rnn<T>;
    k.rnn_backward = rnn_backward<T>;
    k.lstm = lstm<T>;
    k.lstm_backward = lstm_backward<T>;
    k.sgd_update = sgd_update<T>;
    k.adam_update = adam_update<T>;
    k.covariance = covariance<T>;
    k.gmm_sums = gmm_sums<T>;
    k.gmm_e_step = gmm_e_step<T>;
    k.first_outside = first_outside<T>;
    k.fma_rounds = fma_rounds<T>;
    return k;
}

}  // namespace
}  // namespace CF_ISA

extern const KernelTable CF_JOIN(table_, CF_ISA);
const KernelTable CF_JOIN(table_, CF_ISA) = {CF_STRING(CF_ISA), CF_ISA::make_kernels<float>(),
                                             CF_ISA::make_kernels<double>()};

}  // namespace closedform
