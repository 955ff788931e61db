"""What every layer is, and the memory that it reuses from step to step."""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from .._results import Array
from .._validate import FLOAT32, FLOAT64, as_floats

Kept = TypeVar("Kept")


class Layer:
    """A function with parameters and a hand-derived backward. Subclasses define `forward` and `backward`.

    **Whose memory.** With `training=True` a layer writes its result to memory of its own, and `backward` does
    the same: what they return is valid until the layer's next call (copy it to keep it). Inference,
    `training=False`, returns new arrays and leaves the layer as it was, so that several threads may share a
    model for it. (`Flatten`, `Dropout` and an empty `Sequential` then pass on what they were given, or a view
    of it.)

    **Sequences.** Layers with `takes_lengths` have an argument more, `forward(x, training, lengths=lengths)`: how many
    steps of each row count. `step` takes a stream one step at a time.

    **Gradients** live as long as the layer: `backward` overwrites them, it does not add to them.

    **Copies**, deep or pickled, have the parameters but not the last batch: what `forward` keeps for `backward` is
    in the attributes that `_keeps` names, and is None in a copy.
    """

    takes_lengths = False
    _keeps: ClassVar[tuple[str, ...]] = ()

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """The layer's output. In training it keeps what `backward` needs: leave x unchanged until then."""
        raise NotImplementedError

    def backward(self, dy: ArrayLike) -> Array:
        """Write the gradients of the parameters, and return dx, for the last forward in training.

        dy has the shape of that forward's result. Raises RuntimeError if there was none, ValueError if shapes
        differ.
        """
        raise NotImplementedError

    def backward_parameters(self, dy: ArrayLike) -> None:
        """`backward` for the layer nearest to the data: the gradients of the parameters alone, without dx."""
        self.backward(dy)

    def step(self, x: ArrayLike) -> Array:
        """The next step of a stream, in inference: `forward`, but for layers that carry a state from step to step."""
        return self.forward(x)

    def reset_carried(self) -> None:
        """Forget the state carried from earlier steps: what comes next is the beginning of a sequence."""

    def parameters(self) -> dict[str, Array]:
        """Name -> array: the live arrays, to be read or written in place."""
        return {}

    def gradients(self) -> dict[str, Array]:
        """Name -> gradient, for the names of `parameters()`: zeros before the first `backward`."""
        return {}

    def state(self) -> dict[str, Array]:
        """Name -> array: what inference needs besides the parameters, and training does not learn by gradients, such as
        the running statistics of `BatchNorm`. Live arrays, saved with the model; not counted as parameters.
        """
        return {}

    @property
    def n_parameters(self) -> int:
        """How many numbers the layer learns."""
        return sum(p.size for p in self.parameters().values())

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the parameters anew, and take randomness from `rng` from now on."""
        self.reseed(rng)

    def reseed(self, rng: np.random.Generator) -> None:
        """Take the randomness of training (dropout) from `rng` from now on. Parameters stay."""

    def config(self) -> dict[str, Any]:
        """The arguments, fit for JSON, that construct this layer again: `type(layer)(**layer.config())`."""
        return {}

    def __call__(self, x: ArrayLike, **lengths: Any) -> Array:
        """Inference: `forward(x)`, with `lengths=` for layers that take them."""
        return self.forward(x, **lengths)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __getstate__(self) -> dict[str, Any]:
        return {name: None if name in self._keeps else value for name, value in self.__dict__.items()}

    def _kept(self, a: Kept | None) -> Kept:
        """What `forward` kept for `backward`, or an error if there was no such call."""
        if a is None:
            raise RuntimeError(f"{self!r}: backward needs a forward(x, training=True) before it")
        return a


class Buffer:
    """Memory written to at every step: it grows when it must, and a smaller batch takes its first rows."""

    __slots__ = ("_memory", "_view")

    def __init__(self) -> None:
        self._memory: Array = np.empty(0, np.float32)
        self._view: Array = self._memory

    def __call__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of this shape and dtype, whose contents may be anything. Valid until the next call."""
        view = self._view
        if view.shape == shape and view.dtype == dtype:
            return view
        size = math.prod(shape)
        if self._memory.size < size or self._memory.dtype != dtype:
            self._memory = np.empty(size, dtype)
        self._view = self._memory[:size].reshape(shape)
        return self._view

    def __reduce__(self) -> tuple[type[Buffer], tuple[()]]:
        return Buffer, ()  # a copy, deep or pickled, starts with empty memory


def floats(name: str, a: ArrayLike, dtype: np.dtype[Any] | None = None) -> Array:
    """`a` as an array of float32 or float64, or of `dtype`, the one that a layer or loss computes in."""
    if type(a) is ndarray:
        given = a.dtype
        if given == dtype if dtype is not None else given is FLOAT32 or given is FLOAT64:
            return a
    (array,) = as_floats(**{name: a})
    converted: Array = array if dtype is None else array.astype(dtype, copy=False)
    return converted


def inputs(x: ArrayLike, dtype: np.dtype[Any], memory: Buffer | None) -> Array:
    """x in a layer's dtype: data of another, such as bytes, are converted batch by batch, to `memory` if given."""
    if type(x) is ndarray and x.dtype == dtype:
        return x
    given = floats("x", x)
    if given.dtype == dtype or memory is None:
        return floats("x", given, dtype)
    converted = memory(given.shape, dtype)
    np.copyto(converted, given, casting="same_kind")
    return converted
