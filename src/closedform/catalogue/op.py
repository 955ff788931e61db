"""What an entry of the catalogue says about an op, and the inputs it is tried on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

import closedform

from .._results import Array

# Around every vector width (4 to 16 lanes) and tile, and primes.
SIZES = (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 127, 1009)


@dataclass(frozen=True)
class Call:
    """The arguments of one call, in one dtype."""

    label: str
    args: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadCall:
    """A call that must raise `error`, its message starting with the argument's name."""

    label: str
    argument: str
    args: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    error: type[Exception] = ValueError


@dataclass(frozen=True)
class Gradient:
    """One derivative to check: the arguments of `closedform.gradcheck`."""

    label: str
    f: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: tuple[Array, ...]


@dataclass(frozen=True)
class Bench:
    """One benchmark case. `make(dtype)` draws its call.

    `bench` runs the headlines, `bench <op>` every case that is not slow, `bench --full` all.
    """

    label: str
    make: Callable[[Any], Call]
    dtypes: tuple[str, ...] = ("float32",)
    headline: bool = False
    slow: bool = False


def _no_calls(dtype: Any) -> list[Call]:
    return []


def relative(call: Call, want: tuple[Array, ...]) -> tuple[Array, ...]:
    """The default scale of errors: the result itself, entry by entry."""
    return tuple(np.abs(a) for a in want)


@dataclass(frozen=True)
class Op:
    """One public function. Everything that tests, `verify` and `bench` know about it is here.

    An op is differentiable (`gradients`, called with `closedform` or its `reference`, yields what gradcheck
    compares), or it is the backward of one that is (`proved_by`), or says why it is neither (`no_gradient`).
    """

    name: str
    family: str
    ordinary: Callable[[Any], Iterable[Call]]  # of a dtype; random, non-zero, asymmetric
    benches: tuple[Bench, ...]
    flops: Callable[[Call], float]  # of one call
    edge: Callable[[Any], Iterable[Call]] = (
        _no_calls  # of a dtype; empty, infinite, NaN, subnormal, saturated
    )
    hostile: Callable[[], Iterable[BadCall]] = (
        tuple  # beside wrong dtypes and wrong `out`, which are tried on all
    )
    scale: Callable[[Call, tuple[Array, ...]], tuple[Array, ...]] = (
        relative  # errors are in units of eps · scale
    )
    tolerance: float | Callable[[Call], float] = 4.0  # in those units
    backward: str | None = None
    gradients: Callable[[Any], Iterable[Gradient]] | None = None
    proved_by: str | None = None
    no_gradient: str | None = None
    updates: tuple[str, ...] = ()  # arguments changed in place
    computed: tuple[str, ...] = ()  # of a trace, the fields that are computed: others are the arguments
    kernels: tuple[str, ...] = ()  # its compiled functions; by default _kernels.<name>
    no_kernel: str | None = None  # why it has none: then both backends run the twin
    bound_by: str = "memory"  # what its speed is told in: "memory" GB/s, "arithmetic" GFLOP/s

    @property
    def public(self) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(closedform, self.name)
        return function

    @property
    def twin(self) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(closedform.reference, self.name)
        return function

    @property
    def kernel_names(self) -> tuple[str, ...]:
        return () if self.no_kernel else self.kernels or (f"_kernels.{self.name}",)

    def allowed(self, call: Call) -> float:
        """The largest error accepted, in eps. In float64 twice as much, since the twin rounds as well."""
        tolerance = self.tolerance(call) if callable(self.tolerance) else self.tolerance
        return tolerance * (2 if float_dtype(call) == np.float64 else 1)


def float_dtype(call: Call) -> np.dtype[Any]:
    """The floating-point type that a call computes in."""
    return np.result_type(*(a for a in arrays(call) if a.dtype.kind == "f"))


def arrays(call: Call) -> list[Array]:
    """The arrays a call is given, one by one. Of a trace without the y, which a backward need not read."""
    found = []
    for a in (*call.args, *call.options.values()):
        if isinstance(a, np.ndarray):
            found.append(a)
        elif isinstance(a, tuple) and hasattr(a, "_fields"):
            fields = zip(a._fields, a, strict=True)
            found += [b for name, b in fields if name != "y" and isinstance(b, np.ndarray)]
    return found


# -- inputs --

PERIOD = 65537  # large arrays repeat: prime, so that no row or block equals the next


def _repeated(values: Callable[[tuple[int, ...]], Array], shape: tuple[int, ...], dtype: Any) -> Array:
    n = prod(shape)
    return np.resize(values((min(n, PERIOD),)).astype(dtype), shape) if n else np.empty(shape, dtype)


def draw(*shape: int, dtype: Any = np.float64, seed: int = 0, low: float = 0.2, high: float = 2.0) -> Array:
    """Random, of both signs, more often positive, and never near 0 (where relu has its kink)."""
    rng = np.random.default_rng([seed, *shape])
    return _repeated(
        lambda n: rng.uniform(low, high, n) * np.where(rng.random(n) < 0.6, 1.0, -1.0), shape, dtype
    )


def draw_unit(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Array:
    """Random, inside (0, 1)."""
    rng = np.random.default_rng([seed, *shape])
    return _repeated(lambda n: rng.uniform(0.02, 0.95, n), shape, dtype)


def specials(dtype: Any) -> Array:
    """Zeros, infinities, NaN, subnormals, the largest numbers, and where exponentials saturate."""
    f = np.finfo(dtype)
    positive = [
        0.0,
        f.smallest_subnormal,
        3 * f.smallest_subnormal,
        f.tiny,
        f.eps,
        1e-8,
        1e-3,
        0.75,
        1.0,
        5.0,
    ]
    positive += [
        9.5,
        17.5,
        20.0,
        38.0,
        87.0,
        89.0,
        104.0,
        708.0,
        710.0,
        746.0,
        f.max**0.5,
        f.max / 2,
        f.max,
        np.inf,
    ]
    return np.array([*positive, *(-p for p in positive), np.nan], dtype)
