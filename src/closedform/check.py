"""`gradcheck`: a hand-derived gradient against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Float64: TypeAlias = NDArray[np.float64]

# Two central differences, with steps h and h/2, are combined so that their h² errors cancel (Richardson).
# Left are a truncation error ~ h⁴ and a rounding error ~ eps/h, equal at:
_STEP = float(np.finfo(np.float64).eps ** (1 / 5))


@dataclass(frozen=True)
class GradcheckReport:
    """What `gradcheck` found. It is truthy when every entry passed; `str(report)` tells the whole story.

    The worst entry is the one with the largest error / tolerance.
    """

    passed: bool
    n_checked: int  # entries compared
    worst_input: int | None  # position in `inputs`; None if there was no entry to compare (inputs of size 0)
    worst_entry: tuple[int, ...]  # its index in that input
    analytic: float  # what `backward` says there
    numeric: float  # what central differences say
    error: float  # |analytic - numeric|
    tolerance: float  # atol + rtol |numeric|

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = f"gradcheck {'passed' if self.passed else 'FAILED'}, {self.n_checked} entries compared"
        if self.worst_input is None:
            return verdict
        return (
            f"{verdict}; worst is input {self.worst_input} at {self.worst_entry}: "
            f"analytic {self.analytic:.10g}, numeric {self.numeric:.10g}, "
            f"error {self.error:.3g}, tolerance {self.tolerance:.3g}"
        )


def gradcheck(
    f: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[ArrayLike],
    *,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    seed: int = 0,
) -> GradcheckReport:
    """Check a hand-derived backward against central differences, entry by entry, in float64.

    A random upstream gradient `dy` makes a scalar of the output, L = Σ dy * f(inputs); every entry of
    `backward(dy, *inputs)` is compared with the derivative of L,

        D(h) = (L(x + h) - L(x - h)) / 2h,  dL/dx = (4 D(h/2) - D(h)) / 3 + O(h⁴),  h = eps^(1/5) max(1, |x|).

    Choose points away from kinks: nearer than h (about 7e-4) to its corner, a relu has no such derivative.

    Parameters
    ----------
    f : callable
        `f(*inputs)` returns the output in float64: an array, a scalar (a loss), or a tuple (such as a trace)
        whose first field is the output. Inputs come as float64 arrays; labels and options go into a closure.
    backward : callable
        `backward(dy, *inputs)` returns the gradients in the order of `inputs`, each of its input's shape: a
        tuple, or an array if there is one input. None in place of a gradient leaves that input unchecked. Of
        the shape of the output, `dy` is a scalar for a scalar loss, and multiplies its gradient.
    inputs : sequence of array_like
        The point. Converted to float64 copies: never modified.
    rtol, atol : float
        An entry passes if |analytic - numeric| <= atol + rtol |numeric|. NaN and infinity do not pass.
    seed : int
        Of the upstream gradient, whose entries have random signs and sizes between 0.5 and 1.5.

    Returns
    -------
    GradcheckReport
        Truthy when every entry passed. It names the worst entry of the worst input.

    Raises
    ------
    TypeError
        `inputs` is not a sequence; an input is not real numbers that fit float64; f does not return float64.
    ValueError
        `inputs` is empty; `backward` returns too few or too many gradients, a wrong shape, or only None.

    Notes
    -----
    J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed., section 8.1 (finite differences);
    L. F. Richardson, Phil. Trans. R. Soc. A 210 (1911) 307 (the deferred approach to the limit).

    Examples
    --------
    >>> import numpy as np
    >>> import closedform as cf
    >>> x = np.array([0.3, -0.7])
    >>> bool(cf.gradcheck(np.sin, lambda dy, x: dy * np.cos(x), [x]))
    True
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise ValueError(f"{name}: expected a number >= 0; got {value!r}")
    points = _points(inputs)
    dy = _upstream(_output(f, points).shape, seed)
    gradients = _gradients(backward(dy[()], *_copies(points)), points)  # [()] makes a 0-d array a scalar

    worst = GradcheckReport(True, 0, None, (), 0.0, 0.0, 0.0, atol)
    n_checked = 0
    for i, gradient in enumerate(gradients):
        if gradient is None:
            continue
        for entry in np.ndindex(gradient.shape):
            n_checked += 1
            analytic, numeric = float(gradient[entry]), _derivative(f, points, i, entry, dy)
            error, tolerance = abs(analytic - numeric), atol + rtol * abs(numeric)
            passed = error <= tolerance < np.inf
            found = GradcheckReport(passed, 0, i, entry, analytic, numeric, error, tolerance)
            if worst.worst_input is None or _badness(found) > _badness(worst):
                worst = found
    return replace(worst, n_checked=n_checked)  # everything passed if the worst entry did


def _badness(report: GradcheckReport) -> tuple[bool, float]:
    """Failures first, then by error / tolerance, with NaN as infinity. A tolerance may be 0."""
    with np.errstate(all="ignore"):
        ratio = np.float64(report.error) / report.tolerance
    return not report.passed, float(ratio) if ratio <= np.inf else np.inf


def _points(inputs: Sequence[ArrayLike]) -> list[_Float64]:
    if not isinstance(inputs, Sequence):  # an array would be taken for a sequence of its rows
        raise TypeError(f"inputs: expected a sequence, such as (x,) or [x, w]; got {type(inputs).__name__}")
    if len(inputs) == 0:
        raise ValueError("inputs: expected at least one array; got an empty sequence")
    points = []
    for i, given in enumerate(inputs):
        array = np.asarray(given)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"input {i}: expected real numbers that fit float64; got dtype {array.dtype}")
        points.append(array.astype(np.float64))
    return points


def _copies(points: list[_Float64]) -> list[_Float64]:
    return [point.copy() for point in points]  # f and backward may do with them what they like


def _upstream(shape: tuple[int, ...], seed: int) -> _Float64:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def _output(f: Callable[..., Any], points: list[_Float64]) -> _Float64:
    y = f(*_copies(points))
    y = np.array(y[0] if isinstance(y, tuple) else y)
    if y.dtype != np.float64:
        raise TypeError(f"f: expected a float64 output, for differences need all its digits; got {y.dtype}")
    return y


def _gradients(returned: Any, points: list[_Float64]) -> list[_Float64 | None]:
    gradients = list(returned) if isinstance(returned, tuple | list) else [returned]
    if len(gradients) != len(points):
        raise ValueError(f"backward: expected {len(points)} gradients, one an input; got {len(gradients)}")
    if all(gradient is None for gradient in gradients):
        raise ValueError("backward: expected a gradient for at least one input; got None for every one")
    checked: list[_Float64 | None] = []
    for i, (gradient, point) in enumerate(zip(gradients, points, strict=True)):
        if gradient is None:
            checked.append(None)
            continue
        array = np.asarray(gradient)
        if array.shape != point.shape:
            raise ValueError(
                f"backward: expected a gradient of shape {point.shape} for input {i}; got {array.shape}"
            )
        if array.dtype.kind not in "biuf":
            raise TypeError(f"backward: expected a gradient of real numbers for input {i}; got {array.dtype}")
        checked.append(array.astype(np.float64))
    return checked


def _derivative(
    f: Callable[..., Any], points: list[_Float64], i: int, entry: tuple[int, ...], dy: _Float64
) -> float:
    """dL/dx for one entry x of input i, by central differences with one Richardson step."""
    x = points[i][entry]
    h = _STEP * max(1.0, abs(x))

    def central(h: float) -> Any:
        # Outputs are subtracted before they are summed: those that x does not reach then cancel exactly.
        above, below = _copies(points), _copies(points)
        above[i][entry], below[i][entry] = x + h, x - h
        with np.errstate(all="ignore"):  # the point may be at infinity or NaN: the entry then fails, quietly
            difference = _output(f, above) - _output(f, below)
            return np.sum(dy * difference) / (above[i][entry] - below[i][entry])

    with np.errstate(all="ignore"):
        return float((4 * central(h / 2) - central(h)) / 3)
