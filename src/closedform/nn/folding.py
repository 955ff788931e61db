"""Batch normalisation folded into the layer before it, for inference."""

from __future__ import annotations

import copy

import numpy as np

from .activations import ReLU
from .convolution import Conv2d
from .dense import Dense
from .layer import Layer
from .layers import Sequential
from .normalization import BatchNorm


def fold_batchnorm(model: Sequential) -> Sequential:
    """A copy of `model` for inference, in which every `BatchNorm` right after a `Conv2d` or `Dense` is part of it.

    With the running statistics μ and σ² the two are one affine map, and each pass over memory costs once:

        s = γ / √(σ² + ε)    w' = w · s    b' = (b − μ) · s + β

    A plain `ReLU` that follows a folded convolution goes into it as well. Layers inside of a `Sequential` in the model
    are folded likewise; a model without such pairs comes back as a copy. Outputs of inference are equal within
    rounding, of b' too: where |μ| · |s| is much larger than the output, its digits are lost, and where σ² + ε is 0
    infinite outputs become NaN. `model` stays as it is, for training, which the copy is no longer meant for.

    Raises TypeError if `model` is not a `Sequential`.
    Source: Jacob et al., Quantization and training of neural networks (2018), section 3.2.

    >>> from closedform import nn
    >>> nn.fold_batchnorm(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm(8), nn.ReLU()))
    Sequential(
      0: Conv2d(3, 8, 3, activation='relu')  224
    )  224 parameters
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected a Sequential; got {type(model).__name__}")
    layers: list[Layer] = []
    folded = None  # the last of `layers`, where a BatchNorm has gone into it
    for layer in model.layers:
        last = layers[-1] if layers else None
        if isinstance(last, (Conv2d, Dense)) and isinstance(layer, BatchNorm) and _are_one_map(last, layer):
            layers[-1] = folded = _folded(last, layer)
        elif isinstance(last, Conv2d) and last is folded and _is_plain_relu(layer):
            last.activation, folded = "relu", None
        else:
            layers.append(fold_batchnorm(layer) if isinstance(layer, Sequential) else copy.deepcopy(layer))
            folded = None
    return Sequential(layers)


def _are_one_map(layer: Conv2d | Dense, norm: BatchNorm) -> bool:
    plain = type(layer) is Dense or (type(layer) is Conv2d and layer.activation is None)
    return (
        plain
        and type(norm) is BatchNorm
        and (norm.gamma.shape, norm.dtype) == (layer.w.shape[-1:], layer.dtype)
    )


def _is_plain_relu(layer: Layer) -> bool:
    return type(layer) is ReLU and layer.config() == ReLU().config()


@np.errstate(all="ignore")  # statistics may be anything, and pass on what they are
def _folded(layer: Conv2d | Dense, norm: BatchNorm) -> Conv2d | Dense:
    """w (..., K) and b (K,) with s and the shift of each output channel, computed in float64."""
    new = type(layer)(**{**layer.config(), "bias": True, "init": "zeros"})
    new.init = layer.init
    assert new.b is not None
    gamma, beta, mean, var = (a.astype(np.float64) for a in (norm.gamma, norm.beta, norm.mean, norm.var))
    s = gamma / np.sqrt(var + norm.eps)
    new.w[...] = layer.w * s
    new.b[...] = ((0 if layer.b is None else layer.b) - mean) * s + beta
    return new
