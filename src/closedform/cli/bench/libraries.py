"""One case in one library: the call to time, and its answer to check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..._results import Array
from ...catalogue import Judge, outputs, traffic
from . import steps
from .cases import Case, entry


@dataclass
class Job:
    """A case, made ready. `check` starts anew and gives what the judge compares; `call` may be repeated."""

    call: Callable[[], Any]
    check: Callable[[], tuple[Array, ...]]
    flops: float = 0.0
    traffic: Callable[[tuple[Array, ...]], int] = lambda results: 0


def prepare(library: str, case: Case) -> Job | None:
    """The job, or None if the library lacks the op."""
    if case.op in steps.STEPS:
        if library == "sklearn":
            return None
        make = partial(steps.make, library, case.op, case.label)
        flops, moved = steps.cost(case.op, case.label)
        return Job(make(), lambda: steps.losses(make()), flops, lambda _: moved)
    op, bench = entry(case)
    call = bench.make(case.dtype)
    if library == "torch":
        from . import torch_ops

        return torch_ops.prepare(op.name, call)
    if library == "sklearn":
        from . import sklearn_ops

        return sklearn_ops.prepare(op.name, call)
    function = op.public if library == "closedform" else op.twin
    return Job(
        partial(function, *call.args, **call.options),
        lambda: outputs(op, function, call),
        op.flops(call),
        lambda results: traffic(call, results),
    )


def judge(case: Case) -> Judge:
    """The float64 twin's answer."""
    if case.op in steps.STEPS:
        return steps.judge(case.op, case.label)
    op, bench = entry(case)
    return Judge.of(op, bench.make(case.dtype))


def versions(library: str, threads: int) -> str:
    """Set the number of threads; the library's name and version, for the heading."""
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
        return f"PyTorch {torch.__version__}"
    if library == "sklearn":
        import sklearn

        return f"scikit-learn {sklearn.__version__}"
    import closedform

    closedform.set_num_threads(threads)
    return f"closedform {closedform.__version__}" if library == "closedform" else f"NumPy {np.__version__}"
