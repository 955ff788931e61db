"""closedform: the textbook, compiled.

Machine-learning ops whose gradients are derived by hand. Every op exists twice under one name: here as a compiled
kernel, and in `closedform.reference` as a NumPy twin that reads like the derivation.
"""

from . import nn, reference
from ._backend import get_backend, set_backend, use_backend
from ._results import (
    LSTM,
    RNN,
    BatchNorm,
    BatchNormGradients,
    ConvolutionGradients,
    Covariance,
    CrossEntropyResult,
    DenseGradients,
    EMStep,
    EStep,
    ExtremeTrace,
    LSTMGradients,
    LSTMState,
    MaxPool2d,
    MStep,
    RNNGradients,
    Stump,
)
from ._runtime import (
    apply_environment as _apply_environment,
)
from ._runtime import (
    get_num_threads,
    num_threads,
    release_memory,
    set_num_threads,
    show_config,
)
from ._version import __version__
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
from .check import GradcheckReport, gradcheck
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

_apply_environment()

__all__ = [
    "LSTM",
    "RNN",
    "BatchNorm",
    "BatchNormGradients",
    "ConvolutionGradients",
    "Covariance",
    "CrossEntropyResult",
    "DenseGradients",
    "EMStep",
    "EStep",
    "ExtremeTrace",
    "GradcheckReport",
    "LSTMGradients",
    "LSTMState",
    "MStep",
    "MaxPool2d",
    "RNNGradients",
    "Stump",
    "__version__",
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
    "get_backend",
    "get_num_threads",
    "gmm_e_step",
    "gmm_em_step",
    "gmm_m_step",
    "gradcheck",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "lstm",
    "lstm_backward",
    "lstm_step",
    "max_pool2d",
    "max_pool2d_backward",
    "nn",
    "num_threads",
    "points_with_moments",
    "reference",
    "release_memory",
    "relu",
    "relu_backward",
    "rnn",
    "rnn_backward",
    "rnn_step",
    "samme_alpha",
    "set_backend",
    "set_num_threads",
    "sgd_update",
    "show_config",
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
    "use_backend",
]
