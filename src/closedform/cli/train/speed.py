"""How fast the same network trains elsewhere: on the NumPy twins, and in PyTorch, each in a process of its own."""

from __future__ import annotations

import importlib.util
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from closedform import get_num_threads

from ..bench import text
from ..bench.cases import Case
from ..bench.processes import Worker
from ..characters import Size

SECONDS = 3.0  # of timing for each


def characters_per_second(size: Size) -> dict[str, float]:
    """Library -> characters a second, in float32, on as many threads as this process has."""
    libraries = ["closedform", "twin", *(["torch"] if importlib.util.find_spec("torch") else [])]
    case = Case(text.NAME, text.label(size), "float32").as_dict()
    found = {}
    for library in libraries:
        with TemporaryDirectory() as folder, Worker(library, get_num_threads()) as worker:
            worker.ask("setup", case=case, answer=str(Path(folder) / "answer.npz"))
            samples = worker.ask("time", seconds=SECONDS)["samples"]
        found[library] = size.rows * size.steps / statistics.median(samples)
    return found
