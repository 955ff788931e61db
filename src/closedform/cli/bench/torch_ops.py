"""The ops of the catalogue in PyTorch, called as a user would. Imported in the worker of PyTorch alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, its usual name

from ..._results import Array
from ...catalogue import Call
from . import torch_recurrent
from .libraries import Job

aten: Any = torch.ops.aten
DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


def _gradient(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of a loss by autograd, as PyTorch's users get it."""

    def run(prediction: Any, *rest: Any) -> Any:
        prediction.requires_grad_()
        prediction.grad = None
        loss(prediction, *rest).backward()
        return prediction.grad

    return run


def _with_gradient(prediction: Any, target: Any) -> Any:
    prediction.requires_grad_()
    prediction.grad = None
    loss = F.cross_entropy(prediction, target)
    loss.backward()
    return loss.detach(), prediction.grad


def _squared_error(y_hat: Any, y: Any) -> Any:
    return F.mse_loss(y_hat, y, reduction="sum")


def _jacobian(y: Any) -> Any:
    return torch.diag_embed(y) - y.unsqueeze(-1) * y.unsqueeze(-2)


# Names of closedform; defaults of closedform.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dense": torch.matmul,
    "dense_backward": lambda dy, x, w: (dy @ w.T, x.T @ dy, dy.sum(0)),
    "relu": F.relu,
    "relu_backward": lambda dy, x: aten.threshold_backward(dy, x, 0),
    "sigmoid": torch.sigmoid,
    "sigmoid_backward": aten.sigmoid_backward,
    "tanh": torch.tanh,
    "tanh_backward": aten.tanh_backward,
    "softplus": F.softplus,
    "softplus_backward": lambda dy, x: aten.softplus_backward(dy, x, 1, 20),
    "gelu": F.gelu,
    "gelu_backward": aten.gelu_backward,
    "softmax": lambda x: torch.softmax(x, -1),
    "softmax_backward": lambda dy, y: aten._softmax_backward_data(dy, y, -1, y.dtype),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "log_softmax_backward": lambda dy, y: aten._log_softmax_backward_data(dy, y, -1, y.dtype),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "softmax_jacobian": _jacobian,
    "squared_error": _squared_error,
    "squared_error_backward": _gradient(_squared_error),
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_backward": _gradient(F.binary_cross_entropy),
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "binary_cross_entropy_with_logits_backward": _gradient(F.binary_cross_entropy_with_logits),
    "cross_entropy": F.cross_entropy,
    "cross_entropy_backward": _gradient(F.cross_entropy),
    "cross_entropy_with_grad": _with_gradient,
}


def _nchw(a: Any) -> Any:
    """Images with the channels second, as PyTorch has them, and last in memory, as they are here."""
    return torch.from_numpy(a.copy()).permute(0, 3, 1, 2)


def _nhwc(result: Any) -> tuple[Array, ...]:
    results = result if isinstance(result, tuple) else (result,)
    return _arrays(tuple(a.permute(0, 2, 3, 1) if a.dim() == 4 else a for a in results))


def _convolution(name: str, call: Call) -> Job:
    """Images and filters in the memory format that is fast: channels last, as ours are."""
    *images, filters = call.args
    images = [_nchw(a) for a in images]
    filters = (
        torch.from_numpy(filters.copy()).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    )
    stride, padding, groups = (call.options[option] for option in ("stride", "padding", "groups"))
    if name == "conv2d":
        (x,) = images
        forward = partial(F.conv2d, x, filters, stride=stride, padding=padding, groups=groups)
        return Job(forward, lambda: _nhwc(forward()))
    dy, x = images
    sizes = ([filters.shape[0]], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, [True] * 3)
    backward = partial(aten.convolution_backward, dy, x, filters, *sizes)

    def check() -> tuple[Array, ...]:
        dx, dw, db = backward()
        return _arrays((dx.permute(0, 2, 3, 1), dw.permute(2, 3, 1, 0), db))

    return Job(backward, check)


def _batchnorm(name: str, call: Call) -> Job:
    x = _nchw(call.args[0])
    if name == "batchnorm_backward":
        trace = call.args[1]
        gamma, mean, rstd = (torch.from_numpy(a) for a in (trace.gamma, trace.mean, trace.rstd))
        rest = (None, None, mean, rstd, True, 1e-5, [True] * 3)
        run = partial(aten.native_batch_norm_backward, x, _nchw(trace.x), gamma, *rest)
    else:
        gamma, beta, *given = (torch.from_numpy(a) for a in call.args[1:])
        run = partial(aten.native_batch_norm, x, gamma, beta, *(given or (None, None)), not given, 0.1, 1e-5)
    return Job(run, lambda: _nhwc(run() if name != "batchnorm_inference" else run()[0]))


def _pooling(name: str, call: Call) -> Job:
    first = _nchw(call.args[0])
    if (
        name == "max_pool2d_backward"
    ):  # any window that fits the two shapes will do: it is the indices that count
        trace = call.args[1]
        stride = trace.x_shape[1] // first.shape[2]
        size, padding = trace.x_shape[1] - (first.shape[2] - 1) * stride, 0
    else:
        size = call.args[-1]
        stride, padding = call.options.get("stride", size), call.options.get("padding", 0)
    window = [size] * 2, [stride] * 2, [padding] * 2
    if name == "max_pool2d":
        run = partial(aten.max_pool2d_with_indices, first, *window)
    elif name == "max_pool2d_backward":
        x = _nchw(np.empty(trace.x_shape, call.args[0].dtype))
        run = partial(
            aten.max_pool2d_with_indices_backward, first, x, *window, [1, 1], False, _nchw(trace.argmax)
        )
    elif name == "avg_pool2d":
        run = partial(aten.avg_pool2d, first, *window)
    else:
        x = _nchw(np.empty(call.args[1], call.args[0].dtype))
        run = partial(aten.avg_pool2d_backward, first, x, *window, False, True, None)
    return Job(run, lambda: _nhwc(run()))


# Ops on images, that PyTorch wants with axes of another order.
IMAGES = {
    **{f"conv2d{form}": _convolution for form in ("", "_backward")},
    **{f"batchnorm{form}": _batchnorm for form in ("", "_backward", "_inference")},
    **{f"{kind}_pool2d{form}": _pooling for kind in ("max", "avg") for form in ("", "_backward")},
}


def prepare(name: str, call: Call) -> Job | None:
    if name.startswith(("rnn", "lstm")):
        return torch_recurrent.prepare(name, call)
    if name in IMAGES:
        return IMAGES[name](name, call)
    if name in ("sgd_update", "adam_update"):
        return Job(_optimizer(name, call)[0], lambda: _checked_step(name, call))
    if name not in FUNCTIONS or (call.options and name != "relu"):
        return None
    function = FUNCTIONS[name]
    args = [torch.from_numpy(a.copy()) for a in call.args]
    return Job(lambda: function(*args), lambda: _arrays(function(*args)))


def _arrays(result: Any) -> tuple[Array, ...]:
    results = result if isinstance(result, tuple) else (result,)
    return tuple(a.detach().numpy().copy() for a in results)


def _optimizer(name: str, call: Call) -> tuple[Callable[[], Any], tuple[Any, ...]]:
    """An optimiser in the state that the call describes, and its tensors: the parameter, then the moments."""
    parameter, gradient, *state = (torch.from_numpy(a.copy()) for a in call.args if a is not None)
    parameter.requires_grad_()
    parameter.grad = gradient
    options = dict(call.options)
    if name == "sgd_update":
        sgd = torch.optim.SGD([parameter], **options)
        if state:
            sgd.state[parameter]["momentum_buffer"] = state[0]
        return sgd.step, (parameter, *state)
    step = float(options.pop("step")) - 1
    betas = options.pop("beta1", 0.9), options.pop("beta2", 0.999)
    kind = torch.optim.AdamW if options.pop("decoupled", False) else torch.optim.Adam
    adam = kind([parameter], betas=betas, **options)
    adam.state[parameter].update(step=torch.tensor(step), exp_avg=state[0], exp_avg_sq=state[1])
    return adam.step, (parameter, *state)


def _checked_step(name: str, call: Call) -> tuple[Array, ...]:
    step, tensors = _optimizer(name, call)
    step()
    return _arrays(tensors)
