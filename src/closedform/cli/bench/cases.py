"""What is measured: the catalogue's benchmark cases, and training steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...catalogue import OPS, Bench, Op, find
from .steps import STEPS, TOLERANCE


@dataclass(frozen=True)
class Case:
    """One row of the table, before it is measured on some number of threads."""

    op: str
    label: str
    dtype: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def choose(names: Sequence[str], *, full: bool) -> list[Case]:
    """The cases of some ops or families, or the headlines. ValueError for a name that is neither."""
    steps = [name for name in STEPS if name in names or not names]
    rest = [name for name in names if name not in STEPS]
    ops = find(rest) if rest or not names else []
    cases = [
        Case(op.name, bench.label, dtype)
        for op in ops
        for bench in op.benches
        if full or (bench.headline if not names else not bench.slow)
        for dtype in bench.dtypes
    ]
    return cases + [
        Case(name, STEPS[name].label(size), "float32") for name in steps for size in STEPS[name].SIZES
    ]


def entry(case: Case) -> tuple[Op, Bench]:
    """The catalogue's entry of a case that is an op's."""
    op = next(op for op in OPS if op.name == case.op)
    return op, next(bench for bench in op.benches if bench.label == case.label)


def in_gigaflops(case: Case) -> bool:
    """Whether the speed of a case is told in GFLOP/s, not GB/s."""
    return case.op in STEPS or entry(case)[0].bound_by == "arithmetic"


def allowed(case: Case) -> float:
    """The largest error accepted, in eps."""
    if case.op in STEPS:
        return TOLERANCE
    op, bench = entry(case)
    return op.allowed(bench.make(case.dtype))


def from_dict(data: dict[str, Any]) -> Case:
    return Case(data["op"], data["label"], data["dtype"])
