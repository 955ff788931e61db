"""The NumPy twins: every op of closedform, written to read like its derivation.

Same names and signatures as `closedform`; the public docstrings, with parameters and sources, stand there. A
twin is pure NumPy, computes in the dtype of its inputs and trusts them: the wrappers check shapes, dtypes and
options. Each twin is proved by finite differences, and each compiled kernel by its float64 twin.

Floating-point warnings are off (`np.errstate`): like the compiled kernels, a twin answers overflow, 0/0 and
infinities with the IEEE value and not with a warning.
"""

from .activation import (
    gelu,
    gelu_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from .boosting import find_stump, samme_alpha
from .convolution import conv2d, conv2d_backward, conv2d_output_shape
from .linear import dense, dense_backward
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_with_grad,
    squared_error,
    squared_error_backward,
)
from .mixture import gmm_e_step, gmm_em_step, gmm_m_step
from .normalization import batchnorm, batchnorm_backward, batchnorm_inference
from .optimizer import adam_update, sgd_update
from .pca import covariance, extreme_trace, points_with_moments
from .pooling import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward
from .probability import (
    log_softmax,
    log_softmax_backward,
    logsumexp,
    softmax,
    softmax_backward,
    softmax_jacobian,
)
from .recurrent import lstm, lstm_backward, lstm_step, rnn, rnn_backward, rnn_step

__all__ = [
    "adam_update",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batchnorm",
    "batchnorm_backward",
    "batchnorm_inference",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "conv2d",
    "conv2d_backward",
    "conv2d_output_shape",
    "covariance",
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_with_grad",
    "dense",
    "dense_backward",
    "extreme_trace",
    "find_stump",
    "gelu",
    "gelu_backward",
    "gmm_e_step",
    "gmm_em_step",
    "gmm_m_step",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "lstm",
    "lstm_backward",
    "lstm_step",
    "max_pool2d",
    "max_pool2d_backward",
    "points_with_moments",
    "relu",
    "relu_backward",
    "rnn",
    "rnn_backward",
    "rnn_step",
    "samme_alpha",
    "sgd_update",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "softmax_jacobian",
    "softplus",
    "softplus_backward",
    "squared_error",
    "squared_error_backward",
    "tanh",
    "tanh_backward",
]
