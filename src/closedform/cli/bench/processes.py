"""The workers, seen from the process that measures: one a library, and only one of them ever runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any


class WorkerError(RuntimeError):
    """A worker could not answer."""


class Worker:
    """A library in a process of its own, stopped (SIGSTOP) whenever it is not asked something.

    A stopped process cannot spin: the threads of a rival's pool, which wait for work in a loop, then take no
    time from the library that is measured.
    """

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        count = str(threads)
        environment = os.environ | {
            "CLOSEDFORM_NUM_THREADS": count,
            "OMP_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "closedform.cli.bench.worker", library, count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            process_group=0,  # Ctrl-C is for this process, which then ends its workers
        )
        try:
            self.version: str = self._read()["version"]
        except BaseException:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer; the worker runs in between."""
        self._signal(signal.SIGCONT)
        try:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # reading then finds out
                self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
                self._process.stdin.flush()
            return self._read()
        finally:
            self._signal(signal.SIGSTOP)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the process of {self.library} ended: status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise WorkerError(f"{self.library}: {answer['failed']}")
        return answer

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, number)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
