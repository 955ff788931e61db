"""Measures the cases: every library checked first, then timed, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .cases import Case, in_gigaflops
from .processes import Worker

ROUNDS = 5
LONG_CALL = 0.25  # seconds; a library that takes longer for one call is timed in one round only

Row = dict[str, Any]


class Session:
    """All cases on one number of threads: the workers, the limits they measured, and the rows."""

    def __init__(self, libraries: Sequence[str], threads: int, seconds: float, folder: Path) -> None:
        self.threads, self.seconds, self.folder = threads, seconds, folder
        self._stack = ExitStack()
        self.workers: dict[str, Worker] = {}
        try:
            for library in libraries:
                self.workers[library] = self._stack.enter_context(Worker(library, threads))
        except BaseException:
            self._stack.close()
            raise
        self._gigaflops: dict[str, float] = {}
        self._gigabytes: dict[int, float] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def versions(self) -> list[str]:
        return [worker.version for worker in self.workers.values()]

    def limits(self) -> dict[str, Any]:
        """What was measured of the machine: GFLOP/s by dtype, GB/s of copies by the bytes they move."""
        copies = {str(moved): speed for moved, speed in sorted(self._gigabytes.items())}
        return {"threads": self.threads, "GFLOP/s": dict(self._gigaflops), "GB/s": copies}

    def gigaflops(self, dtype: str) -> float:
        if dtype not in self._gigaflops:
            self._gigaflops[dtype] = self.workers["closedform"].ask("limits", dtype=dtype)["gigaflops"]
        return self._gigaflops[dtype]

    def gigabytes(self, moved: int) -> float:
        size = max(1 << 15, 1 << (max(moved, 1).bit_length() - 1))  # a power of two: few copies to measure
        if size not in self._gigabytes:
            answer = self.workers["closedform"].ask("bandwidth", moved=size)
            self._gigabytes[size] = answer["gigabytes"]
        return self._gigabytes[size]

    def measure(self, case: Case) -> Row:
        """One row: answers checked, then rounds in which each library runs in turn."""
        found: dict[str, Row] = {}
        for library, worker in self.workers.items():
            answer = str(self.folder / f"{library}.npz")
            setup = worker.ask("setup", case=case.as_dict(), answer=answer)
            if setup["supported"]:
                found[library] = {**setup, **self._judged(case, library, answer), "samples": []}
        for i in range(ROUNDS):
            for library, result in found.items():
                if i == 0 or result["first"] < LONG_CALL:
                    timed = self.workers[library].ask("time", seconds=self.seconds / ROUNDS)
                    result["samples"] += timed["samples"]
        return self._row(case, found)

    def _judged(self, case: Case, library: str, answer: str) -> Row:
        if library == "twin":
            return {"error": None}  # it is the judge, in float64
        return self.workers["twin"].ask("error", case=case.as_dict(), answer=answer)

    def _row(self, case: Case, found: dict[str, Row]) -> Row:
        ours = found["closedform"]
        flops, moved = ours["flops"], ours["bytes"]
        libraries = {library: _summary(result) for library, result in found.items()}
        median = libraries["closedform"]["seconds"]
        limit = max(flops / self.gigaflops(case.dtype), moved / self.gigabytes(moved)) / 1e9
        arithmetic = in_gigaflops(case)
        return {
            **case.as_dict(),
            "threads": self.threads,
            "speed": (flops if arithmetic else moved) / median / 1e9,
            "unit": "GFLOP/s" if arithmetic else "GB/s",
            "of_limit": limit / median,
            "allowed_error": ours["allowed"],
            "correct": ours["error"] <= ours["allowed"],
            "libraries": libraries,
            "speedup": {name: r["seconds"] / median for name, r in libraries.items() if name != "closedform"},
        }


def _summary(result: Row) -> Row:
    samples = result["samples"]
    quartiles = statistics.quantiles(samples, n=4) if len(samples) > 1 else [samples[0]] * 3
    median = statistics.median(samples)
    return {
        "seconds": median,
        "spread": (quartiles[2] - quartiles[0]) / median,
        "samples": len(samples),
        "error": result["error"],
        "memory": result["memory"],
        "scratch": result["scratch"],
    }


def run(
    cases: Sequence[Case],
    libraries: Sequence[str],
    threads: Sequence[int],
    seconds: float,
    started: Callable[[Case, int], None],
) -> dict[str, Any]:
    """Measure every case on every number of threads; `started` is told of each."""
    rows: list[Row] = []
    limits: list[Row] = []
    versions: list[str] = []
    with TemporaryDirectory(prefix="closedform-bench-") as folder:
        for n in threads:
            with Session(libraries, n, seconds, Path(folder)) as session:
                versions = session.versions()
                for case in cases:
                    started(case, n)
                    rows.append(session.measure(case))
                limits.append(session.limits())
    order = {case: i for i, case in enumerate(cases)}
    rows.sort(key=lambda row: order[Case(row["op"], row["label"], row["dtype"])])
    return {"versions": versions, "limits": limits, "rows": rows, "import": import_seconds()}


IMPORTS = """
from time import perf_counter as now
start = now()
import numpy
between = now()
import closedform
print(between - start, now() - between)
"""


def import_seconds(repeats: int = 5) -> dict[str, float]:
    """Medians of importing NumPy, then closedform, in new processes."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(repeats)
    ]
    numpy, closedform = (statistics.median(map(float, times)) for times in zip(*runs, strict=True))
    return {"numpy": numpy, "closedform": closedform}
