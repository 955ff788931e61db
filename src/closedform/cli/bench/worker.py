"""One library in a process of its own: reads a request a line, writes an answer a line, both JSON.

Started as `python -m closedform.cli.bench.worker <library> <threads>` by `processes.Worker`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ... import release_memory
from ...catalogue import Judge
from . import libraries, limits
from .cases import Case, allowed, from_dict

SAMPLE_SECONDS = 2e-4  # a sample repeats a short call until it lasts this long
LONG_CALL = 0.25  # seconds; such a call is not warmed up again


class Worker:
    """Answers the requests; each method whose name a request gives returns a JSON object."""

    def __init__(self, library: str, threads: int) -> None:
        self.library, self.threads = library, threads
        self.version = libraries.versions(library, threads)
        self.job: libraries.Job | None = None
        self.judge: tuple[Case, Judge] | None = None
        self.first = 0.0

    def setup(self, case: dict[str, str], answer: str) -> dict[str, Any]:
        """Make a case ready, write its answer to a file, and measure the memory of one call."""
        self.job = None  # free the last case's arrays first
        self.job = libraries.prepare(self.library, from_dict(case))
        if self.job is None:
            return {"supported": False}
        results = self.job.check()
        np.savez(answer, *results)
        moved = self.job.traffic(results)
        size = sum(a.nbytes for a in results)
        del results
        gc.collect()
        release_memory()
        memory, self.first = _memory_of(self.job.call)
        return {
            "supported": True,
            "memory": memory,
            "scratch": None if memory is None else max(0, memory - size),
            "first": self.first,
            "flops": self.job.flops,
            "bytes": moved,
        }

    def error(self, case: dict[str, str], answer: str) -> dict[str, Any]:
        """The error of the answer in a file, and what is accepted, in eps."""
        asked = from_dict(case)
        if self.judge is None or self.judge[0] != asked:
            self.judge = None
            self.judge = asked, libraries.judge(asked)
        with np.load(answer) as file:
            error = self.judge[1].error(tuple(file[name] for name in file.files))
        return {"error": error, "allowed": allowed(asked)}

    def time(self, seconds: float) -> dict[str, Any]:
        """Seconds of a call, sample by sample, for some time and at least once."""
        assert self.job is not None
        call, repeats = self.job.call, 1
        if self.first < LONG_CALL:
            call()  # wakes threads and caches
            start = perf_counter()
            call()
            repeats = max(1, int(SAMPLE_SECONDS / max(perf_counter() - start, 1e-7)))
        samples: list[float] = []
        gc.disable()
        end = perf_counter() + seconds
        while not samples or perf_counter() < end:
            start = perf_counter()
            for _ in range(repeats):
                call()
            samples.append((perf_counter() - start) / repeats)
        gc.enable()
        return {"samples": samples}

    def limits(self, dtype: str) -> dict[str, Any]:
        return {"gigaflops": limits.gigaflops(dtype, self.threads)}

    def bandwidth(self, moved: int) -> dict[str, Any]:
        return {"gigabytes": limits.gigabytes(moved)}


def _memory_of(call: Callable[[], Any]) -> tuple[int | None, float]:
    """Bytes by which a call raises the peak of this process, where Linux can tell, and its seconds."""
    before = None
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
    except OSError:
        pass
    start = perf_counter()
    result = call()
    seconds = perf_counter() - start
    del result
    return None if before is None else max(0, _status("VmHWM") - before), seconds


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def main() -> None:
    library, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    worker = Worker(library, threads)
    print(json.dumps({"version": worker.version}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as e:
            answer = {"failed": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
