"""Batch normalisation, and its running statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._results import Array
from .._results import BatchNorm as Trace
from .._validate import FLOAT32, as_number, one_of
from ..normalization import batchnorm, batchnorm_backward, batchnorm_inference
from .dense import count, float_dtype
from .layer import Buffer, Layer, floats, inputs

CONVENTIONS = ("torch", "keras")
VARIANCES = ("unbiased", "biased")


class BatchNorm(Layer):
    """Batch normalisation: y = γ (x − μ)/√(σ² + ε) + β, with μ and σ² of each channel over the batch in training, the
    running statistics in inference.

    Parameters
    ----------
    features : C
    momentum, convention : how much of the running statistics stays at a step. Libraries mean opposite things by
        momentum, so the convention must be named along with it:

        - "torch": running = (1 − momentum) · running + momentum · batch
        - "keras": running = momentum · running + (1 − momentum) · batch

        Without the two it is `momentum=0.1, convention="torch"`, the same as `momentum=0.9, convention="keras"`
    eps : ε ≥ 0
    running_var : which variance of a batch of m rows enters the running one: "unbiased", Σ (x − μ)²/(m − 1), as in
        PyTorch, or "biased", Σ (x − μ)²/m, as in Keras and in what training itself divides by
    dtype : float32 or float64, of the parameters and so of the computation: inputs are converted to it

    Attributes
    ----------
    gamma, beta (C,) : parameters, 1 and 0 at the start
    dgamma, dbeta : their gradients
    mean, var (C,) : running statistics, 0 and 1 at the start. They are `state()`: not learned, but saved with the model

    x is (..., C); all axes but the last are rows. A NaN in a batch makes its channel NaN, in y and in the running
    statistics. Raises ValueError or TypeError naming the argument that does not fit; in training the unbiased variance
    needs two rows.
    Gradients: `cf.batchnorm_backward`, through μ and σ² of the batch.
    Source: Ioffe, Szegedy, Batch normalization (2015), algorithms 1 and 2.

    >>> from closedform import nn
    >>> nn.BatchNorm(16), nn.BatchNorm(16, momentum=0.99, convention="keras", running_var="biased")
    (BatchNorm(16), BatchNorm(16, momentum=0.99, convention='keras', running_var='biased'))
    """

    _keeps = ("_trace",)

    def __init__(
        self,
        features: int,
        *,
        momentum: float | None = None,
        convention: str | None = None,
        eps: float = 1e-5,
        running_var: str = "unbiased",
        dtype: DTypeLike = np.float32,
    ) -> None:
        C = count("features", features)
        self.momentum, self.convention = _named(momentum, convention)
        # the weight of the new batch
        self._share = self.momentum if self.convention == "torch" else 1 - self.momentum
        self.eps = as_number("eps", eps, low=0)
        self.running_var = one_of("running_var", running_var, VARIANCES)
        self.dtype = float_dtype(dtype)
        self.gamma, self.beta = np.ones(C, self.dtype), np.zeros(C, self.dtype)
        self.dgamma, self.dbeta = np.zeros(C, self.dtype), np.zeros(C, self.dtype)
        self.mean, self.var = np.zeros(C, self.dtype), np.ones(C, self.dtype)
        self._trace: Trace | None = None
        self._converted, self._y, self._dx = Buffer(), Buffer(), Buffer()

    def reset(self, rng: np.random.Generator) -> None:
        """γ = 1, β = 0, and running statistics of mean 0 and variance 1; there is nothing to draw."""
        for array, start in ((self.gamma, 1), (self.beta, 0), (self.mean, 0), (self.var, 1)):
            array[...] = start

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """y, of x's shape. In training the running statistics move towards those of the batch."""
        x = inputs(x, self.dtype, self._converted if training else None)
        if x.shape[-1:] != self.gamma.shape:
            raise ValueError(
                f"x: expected shape (..., {self.gamma.size}), the inputs of {self!r}; got {x.shape}"
            )
        if not training:
            return batchnorm_inference(x, self.gamma, self.beta, self.mean, self.var, eps=self.eps)
        m = math.prod(x.shape[:-1])
        if m == 1 and self.running_var == "unbiased":
            raise ValueError(
                "x: expected at least two rows, for their unbiased variance "
                f"(running_var='biased' takes one); got shape {x.shape}"
            )
        trace = batchnorm(x, self.gamma, self.beta, eps=self.eps, out=self._y(x.shape, self.dtype))
        if m > 0:
            self._track(trace, m)
        self._trace = trace
        return trace.y

    @np.errstate(all="ignore")  # infinities and NaN are passed on
    def _track(self, trace: Trace, m: int) -> None:
        """Running statistics, from those of a batch of m rows."""
        # σ² = 1/rstd² - ε. However small σ² is, the error is some eps of σ² + ε, which is what inference divides by.
        var = np.maximum(1 / np.square(trace.rstd, dtype=np.float64) - self.eps, 0)
        if self.running_var == "unbiased":
            var *= m / (m - 1)
        for running, batch in ((self.mean, trace.mean), (self.var, var)):
            running[...] = (1 - self._share) * running + self._share * batch

    def backward(self, dy: ArrayLike) -> Array:
        """Write dγ = Σ dy·x̂ and dβ = Σ dy; return dx."""
        trace = self._kept(self._trace)
        dx = self._dx(trace.x.shape, self.dtype)
        dy = floats("dy", dy, self.dtype)
        batchnorm_backward(dy, trace, out=(dx, self.dgamma, self.dbeta))
        return dx

    def parameters(self) -> dict[str, Array]:
        return {"gamma": self.gamma, "beta": self.beta}

    def gradients(self) -> dict[str, Array]:
        return {"gamma": self.dgamma, "beta": self.dbeta}

    def state(self) -> dict[str, Array]:
        return {"mean": self.mean, "var": self.var}

    def config(self) -> dict[str, Any]:
        return {
            "features": self.gamma.size,
            "momentum": self.momentum,
            "convention": self.convention,
            "eps": self.eps,
            "running_var": self.running_var,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        options = ""
        if (self.momentum, self.convention) != (0.1, "torch"):
            options += f", momentum={self.momentum:g}, convention={self.convention!r}"
        options += f", eps={self.eps:g}" if self.eps != 1e-5 else ""
        options += f", running_var={self.running_var!r}" if self.running_var != "unbiased" else ""
        options += f", dtype={self.dtype}" if self.dtype != FLOAT32 else ""
        return f"BatchNorm({self.gamma.size}{options})"


def _named(momentum: float | None, convention: str | None) -> tuple[float, str]:
    """Both, or neither: 0.1 in one library is 0.9 in the other."""
    if momentum is None and convention is None:
        return 0.1, "torch"
    if convention is None:
        raise ValueError(
            'convention: expected "torch" (momentum is the weight of the new batch) or "keras" (that of the old '
            f"statistics) along with momentum={momentum!r}; got None"
        )
    if momentum is None:
        raise ValueError(
            f"momentum: expected a number in [0, 1] along with convention={convention!r}; got None"
        )
    return as_number("momentum", momentum, low=0, high=1), one_of("convention", convention, CONVENTIONS)
