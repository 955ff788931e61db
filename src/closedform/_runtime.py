"""Threads, memory, instruction sets: how the compiled core runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import _kernels
from ._validate import as_integer
from ._version import __version__

MAX_THREADS = 256


def _as_thread_count(name: str, value: Any) -> int:
    n = as_integer(name, value)
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"{name}: expected an integer in [1, {MAX_THREADS}]; got {n}")
    return n


def set_num_threads(n: int) -> None:
    """Run kernels on at most `n` threads, 1 to 256, in the whole process. Results keep their bits for any number."""
    _kernels.set_num_threads(_as_thread_count("n", n))


def get_num_threads() -> int:
    """How many threads a kernel may use: by default the CPUs this process may use."""
    return _kernels.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Set the number of threads of the process for the length of a `with` block."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def release_memory() -> int:
    """Give back what the library holds between calls, and return how many bytes it held.

    Each thread keeps its working memory (at most 64 MiB), and the memory of large results, once they are garbage, is
    kept for the next ones (at most 512 MiB, or 1/8 of the machine's memory if that is less).
    """
    held = _kernels.held_bytes()
    _kernels.release_memory()
    return held - _kernels.held_bytes()


def show_config() -> dict[str, Any]:
    """What this installation is and how it runs: version, ISA, threads, compiler, NumPy (`closedform info`)."""
    return {
        "closedform": __version__,
        "isa": _kernels.isa(),
        "isas available": _kernels.available_isas(),
        "threads": get_num_threads(),
        "cpus available": _kernels.available_cpus(),
        "compiler": _kernels.compiler,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def apply_environment() -> None:
    """CLOSEDFORM_ISA and CLOSEDFORM_NUM_THREADS, read once, at import."""
    isa = os.environ.get("CLOSEDFORM_ISA")
    if isa is not None and not _kernels.select_isa(isa):
        raise ImportError(
            f"CLOSEDFORM_ISA: expected one of {_kernels.available_isas()}, those this CPU supports; got {isa!r}"
        )
    threads = os.environ.get("CLOSEDFORM_NUM_THREADS")
    if threads is not None:
        if (
            not threads.isascii()
            or not threads.isdigit()
            or len(threads) > 9
            or not 1 <= int(threads) <= MAX_THREADS
        ):
            raise ImportError(
                f"CLOSEDFORM_NUM_THREADS: expected an integer in [1, {MAX_THREADS}]; got {threads!r}"
            )
        set_num_threads(int(threads))
